/* changes.h - changes of a weight, kept in 16 bits to be multiplied with many gradients:
 * change ~ step * code, step the largest size over 32767. */
#ifndef OXP_KERNELS_CHANGES_H
#define OXP_KERNELS_CHANGES_H

#include <stddef.h>
#include <stdint.h>

/* Codes of after - before; returns the step, 0 where nothing changes (codes 0 then), NAN where a
 * change is not finite. *squares: sum of the squared changes. */
double oxp_changes_pack(int16_t *codes, double *squares, const float *before, const float *after,
                        size_t n);

/* sum g * code in double, in a fixed order; *squares: sum (g * code)^2. */
double oxp_changes_dot(double *squares, const float *g, const int16_t *codes, size_t n);

#endif
