/* equalize_sizes.h - how large the channels are that layers read and make, from running samples. */
#ifndef OXP_PREPARE_EQUALIZE_SIZES_H
#define OXP_PREPARE_EQUALIZE_SIZES_H

#include "prepare/equalize_walk.h"

/* What the samples showed of a value that a layer reads or makes. */
typedef struct oxp_channel_sizes {
    size_t channels;   /* 0: not asked */
    float *high, *low; /* [channels]: largest x and -x, at least 0 */
    double *squares;   /* [channels]: sum of x^2 */
    double *elements;  /* [channels] */
} oxp_channel_sizes;

/* *out, by value id, in the walk's arena. Channels whose number depends on the sample are pinned.
 * Errors of the run itself are those of `ctx`. */
oxp_status oxp_channel_sizes_measure(oxp_channel_sizes **out, oxp_equalize_walk *w, oxp_ctx *ctx,
                                     const oxp_graph *graph,
                                     const oxp_tensor *const *const *samples, size_t count);

#endif
