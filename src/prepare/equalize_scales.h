/* equalize_scales.h - the factors of least expected noise. */
#ifndef OXP_PREPARE_EQUALIZE_SCALES_H
#define OXP_PREPARE_EQUALIZE_SCALES_H

#include "prepare/equalize.h"
#include "prepare/equalize_sizes.h"

typedef struct oxp_factors {
    double *factor; /* by variable */
    size_t *group;  /* by variable: index + 1 of its group, 0 = none */
    oxp_equalized_group *groups;
    size_t group_count, group_capacity;
    double noise_before, noise_after; /* expected, of all layers of the walk */
} oxp_factors;

/* sizes: by value id. All lives in the walk's arena but for out->groups (oxp_free). */
oxp_status oxp_factors_find(oxp_factors *out, oxp_equalize_walk *w, const oxp_channel_sizes *sizes,
                            const oxp_equalize_options *options);

#endif
