/* perturbation.h - what rounding a weight changes, against a gradient: g . (Q(w) - w), without
 * keeping the rounded weight. */
#ifndef OXP_KERNELS_PERTURBATION_H
#define OXP_KERNELS_PERTURBATION_H

#include "kernels/quantise.h"

/* Codes in [-limit, limit] with a scale per (block, channel), as oxp_quantise_weight_with() makes
 * them. g NULL: the squared size of the change instead. Sums in double. */
double oxp_rounding_change(const float *g, const float *w, const float *scales, oxp_weight_layout l,
                           int limit);

/* The same for half precision, values beyond its range clamped to the largest. */
double oxp_half_change(const float *g, const float *w, size_t n);
/* w in half precision, as floats. */
void oxp_half_round(float *out, const float *w, size_t n);

#endif
