/* equalize_scales.h - the factors of least expected noise. */
#ifndef OXP_PREPARE_EQUALIZE_SCALES_H
#define OXP_PREPARE_EQUALIZE_SCALES_H

#include "prepare/equalize.h"
#include "prepare/equalize_walk.h"

/* What the samples showed of a value that a layer reads or makes. */
typedef struct oxp_channel_sizes {
    size_t channels;   /* 0: not asked */
    float *high, *low; /* [channels]: largest x and -x, at least 0 */
    double *squares;   /* [channels]: sum of x^2 */
    double *elements;  /* [channels] */
} oxp_channel_sizes;

typedef struct oxp_factors {
    double *factor; /* by variable */
    size_t *group;  /* by variable: index + 1 of its group, 0 = none */
    oxp_equalized_group *groups;
    size_t group_count, group_capacity;
} oxp_factors;

/* sizes: by value id. All lives in the walk's arena but for out->groups (oxp_free). */
oxp_status oxp_factors_find(oxp_factors *out, oxp_equalize_walk *w, const oxp_channel_sizes *sizes,
                            const oxp_equalize_options *options);

#endif
