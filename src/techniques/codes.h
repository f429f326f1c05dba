/* codes.h - the 8-bit codes of weights, made better by what their layers read.
 *
 * Plain codes (oxp_codes_make) need no samples: the scale of each channel is that of least squared
 * error, each code the nearest. With samples, codes and scales are chosen for the least error of
 * the layer's output (kernels/rounding.h) under the second moments of its input
 * (calibration/moments.h), taken of the rounded input where that is computed in integers; and the
 * mean of the error that remains goes into the layer's bias (bias_correction.h). */
#ifndef OXP_TECHNIQUES_CODES_H
#define OXP_TECHNIQUES_CODES_H

#include "techniques/technique.h"

typedef struct oxp_refinement {
    const oxp_graph *graph; /* of the prepared model */
    const oxp_site *sites;
    size_t site_count;
    const bool *wanted;             /* by site */
    const oxp_scale *const *scales; /* by site: of its quantised input, or NULL */
    const oxp_source *source;
    const size_t *which;
    size_t samples;
    int limit;           /* of the codes */
    bool round, correct; /* codes for the output; means into biases */
    bool make_biases;    /* also where a new bias costs bytes */
} oxp_refinement;

/* Changes the codes of the wanted sites whose input can be seen, and fills their shifts. Memory
 * beside the codes stays within a budget: sites are taken in groups, the samples run once for
 * each. */
oxp_status oxp_codes_refine(oxp_codes *codes, oxp_arena *arena, const oxp_refinement *r);

/* signal and noise of the codes as they are. */
void oxp_codes_measure(oxp_codes *c, const oxp_site *s);

#endif
