/* requantise.h - the two ends of an integer product, as ONNX Runtime computes them: floats to
 * 8-bit codes and 32-bit sums to codes or floats. Rounding is half to even, results are saturated
 * to the type. */
#ifndef OXP_KERNELS_REQUANTISE_H
#define OXP_KERNELS_REQUANTISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One factor for all, or one each. */
typedef struct oxp_factors {
    const float *values;
    bool each;
} oxp_factors;

/* codes[i] = saturate(round(sums[i] * factor) + zero_point) */
void oxp_requantise(void *codes, bool is_signed, const int32_t *sums, size_t n, oxp_factors factors,
                    int32_t zero_point);

/* out[i] = sums[i] * factor + bias[i]; bias may be NULL. */
void oxp_scale_sums(float *out, const int32_t *sums, size_t n, oxp_factors factors,
                    const float *bias);

/* codes[i] = saturate(round(x[i] / scale) + zero_point) */
void oxp_to_codes(void *codes, bool is_signed, const float *x, size_t n, float scale,
                  int32_t zero_point);
/* x[i] = (codes[i] - zero_point) * scale */
void oxp_from_codes(float *x, const void *codes, bool is_signed, size_t n, float scale,
                    int32_t zero_point);

/* Unsigned 8-bit scale and zero point for the range of x widened to hold 0
 * (DynamicQuantizeLinear). */
void oxp_dynamic_scale(const float *x, size_t n, float *scale, int32_t *zero_point);

#endif
