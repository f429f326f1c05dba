/* scale_error.h - how exactly n inputs determine the scale of least squared error.
 *
 * s* minimises E (X - Q_s(X))^2 with Q_s(x) = s c(x), c the integer code counted from the zero
 * point, qmin <= c <= qmax. For n independent inputs the estimate is normal around s* with
 *
 *     SE = sqrt(sum_i u_i^2 N / (N - 1)) / (M J),    u_i = sum over input i of psi(x),
 *     psi(x) = -2 c (x - s c),
 *     J = 2 E[c^2] - 2 s sum_k (k + 1/2)^2 f((k + 1/2) s),    k = qmin .. qmax - 1,
 *
 * N inputs, M elements in all, f the density of X at the rounding thresholds (the sandwich formula
 * of M-estimation: Huber 1967; the sum over thresholds is what the jumps of psi add). An
 * approximation, and only for a scale that is near its minimum: where J is not positive, at 8 bits
 * below 100,000 elements, and at fewer bits below 400 for each code, there is none. */
#ifndef OXP_CALIBRATION_SCALE_ERROR_H
#define OXP_CALIBRATION_SCALE_ERROR_H

#include "kernels/quantise.h"
#include "kernels/statistics.h"

/* J. The density at a threshold comes from the mass within a quarter and a half step of it. */
double oxp_scale_curvature(const oxp_histogram *h, oxp_scale s, int max_code);

/* u_i of one input: sum of psi over its n elements, in double. Values that set no range (NaN,
 * masks) are left out. */
double oxp_scale_score(const float *x, size_t n, oxp_scale s, int max_code);

/* The standard error from the scores of `inputs` inputs with `elements` elements in all; NAN where
 * the formula does not hold. */
double oxp_scale_standard_error(const double *scores, size_t inputs, double elements,
                                double curvature, int max_code);

#endif
