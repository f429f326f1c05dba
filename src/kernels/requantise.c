/* requantise.c - see requantise.h. */
#include "kernels/requantise.h"

#include <math.h>

#include "kernels/vector.h"

#define CHUNK 256

/* Clamped before it is rounded, so that the conversion is always in range; a NaN becomes the
 * lowest code. */
static inline int32_t to_code(float x, float low, float high, int32_t zero_point)
{
    x = x > low ? x : low;
    x = x < high ? x : high;
    return (int32_t)nearbyintf(x) + zero_point;
}

OXP_VECTORISED static void round_codes(int32_t *restrict codes, const float *restrict x, size_t n,
                                       float low, float high, int32_t zero_point)
{
    for (size_t i = 0; i < n; i++)
        codes[i] = to_code(x[i], low, high, zero_point);
}

/* Up to CHUNK values, clamped by range. */
static void store_codes(void *codes, bool is_signed, size_t first, const float *x, size_t n,
                        int32_t zero_point)
{
    int32_t lowest = is_signed ? -128 : 0, whole[CHUNK] = {0};
    round_codes(whole, x, n, (float)(lowest - zero_point), (float)(lowest + 255 - zero_point),
                zero_point);
    for (size_t i = 0; i < n && is_signed; i++)
        ((int8_t *)codes)[first + i] = (int8_t)whole[i];
    for (size_t i = 0; i < n && !is_signed; i++)
        ((uint8_t *)codes)[first + i] = (uint8_t)whole[i];
}

OXP_VECTORISED static void scale_one(float *restrict out, const int32_t *restrict sums, size_t n,
                                     float factor)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (float)sums[i] * factor;
}

OXP_VECTORISED static void scale_each(float *restrict out, const int32_t *restrict sums, size_t n,
                                      const float *restrict factors)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (float)sums[i] * factors[i];
}

void oxp_scale_sums(float *out, const int32_t *sums, size_t n, oxp_factors factors,
                    const float *bias)
{
    if (factors.each)
        scale_each(out, sums, n, factors.values);
    else
        scale_one(out, sums, n, factors.values[0]);
    for (size_t i = 0; i < n && bias; i++)
        out[i] += bias[i];
}

void oxp_requantise(void *codes, bool is_signed, const int32_t *sums, size_t n, oxp_factors factors,
                    int32_t zero_point)
{
    float scaled[CHUNK];
    for (size_t first = 0; first < n; first += CHUNK) {
        size_t count = n - first < CHUNK ? n - first : CHUNK;
        oxp_factors here = {factors.values + (factors.each ? first : 0), factors.each};
        oxp_scale_sums(scaled, sums + first, count, here, NULL);
        store_codes(codes, is_signed, first, scaled, count, zero_point);
    }
}

OXP_VECTORISED static void divide(float *restrict out, const float *restrict x, size_t n,
                                  float scale)
{
    for (size_t i = 0; i < n; i++)
        out[i] = x[i] / scale;
}

void oxp_to_codes(void *codes, bool is_signed, const float *x, size_t n, float scale,
                  int32_t zero_point)
{
    float divided[CHUNK];
    for (size_t first = 0; first < n; first += CHUNK) {
        size_t count = n - first < CHUNK ? n - first : CHUNK;
        divide(divided, x + first, count, scale);
        store_codes(codes, is_signed, first, divided, count, zero_point);
    }
}

OXP_VECTORISED static void from_u8(float *restrict x, const uint8_t *restrict codes, size_t n,
                                   float scale, int32_t zero_point)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (float)((int32_t)codes[i] - zero_point) * scale;
}

OXP_VECTORISED static void from_i8(float *restrict x, const int8_t *restrict codes, size_t n,
                                   float scale, int32_t zero_point)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (float)((int32_t)codes[i] - zero_point) * scale;
}

void oxp_from_codes(float *x, const void *codes, bool is_signed, size_t n, float scale,
                    int32_t zero_point)
{
    if (is_signed)
        from_i8(x, codes, n, scale, zero_point);
    else
        from_u8(x, codes, n, scale, zero_point);
}

void oxp_dynamic_scale(const float *x, size_t n, float *scale, int32_t *zero_point)
{
    float low = 0, high = 0;
    for (size_t i = 0; i < n; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    *scale = high == low ? 1 : (high - low) / 255;
    float zero = -low / *scale;
    zero = zero > 0 ? zero : 0;
    *zero_point = (int32_t)nearbyintf(zero < 255 ? zero : 255);
}
