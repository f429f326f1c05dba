/* quantise.c - affine and symmetric 8-bit quantisation. */
#include "kernels/quantise.h"

#include <float.h>
#include <math.h>

static float safe_scale(float scale)
{
    if (!(scale > 0) || scale < FLT_MIN)
        return scale > 0 ? FLT_MIN : 1.0f;
    return scale > FLT_MAX / 1024 ? FLT_MAX / 1024 : scale;
}

oxp_scale oxp_scale_for_range(float low, float high, int max_code)
{
    low = fminf(low, 0.0f);
    high = fmaxf(high, 0.0f);
    double span = (double)high - (double)low;
    oxp_scale s;
    s.scale = safe_scale((float)(span / max_code));
    double zero = nearbyint(-(double)low / (double)s.scale);
    s.zero_point = zero < 0 ? 0 : zero > max_code ? max_code : (int)zero;
    return s;
}

/* static, because the resolver of a cloned function would be exported whatever its visibility */
__attribute__((target_clones("default", "avx2", "avx512f"))) static void
fake_quantise(float *out, const float *x, size_t n, oxp_scale s, int max_code)
{
    float low = (float)-s.zero_point, high = (float)(max_code - s.zero_point);
    for (size_t i = 0; i < n; i++) {
        float q = nearbyintf(x[i] / s.scale);
        q = q < low ? low : q;
        q = q > high ? high : q;
        out[i] = q * s.scale;
    }
}

void oxp_fake_quantise_u8(float *out, const float *x, size_t n, oxp_scale s, int max_code)
{
    fake_quantise(out, x, n, s, max_code);
}

static float largest(const float *w, size_t outer, size_t outer_stride, size_t inner)
{
    float most = 0;
    for (size_t o = 0; o < outer; o++)
        for (size_t i = 0; i < inner; i++)
            most = fmaxf(most, fabsf(w[o * outer_stride + i]));
    return most;
}

static float code_of(float w, float scale, float limit)
{
    float q = nearbyintf(w / scale);
    return q < -limit ? -limit : q > limit ? limit : q;
}

static double squared_error(const float *w, size_t outer, size_t outer_stride, size_t inner,
                            float scale, float limit)
{
    double sum = 0;
    for (size_t o = 0; o < outer; o++)
        for (size_t i = 0; i < inner; i++) {
            float x = w[o * outer_stride + i];
            double e = (double)x - (double)(code_of(x, scale, limit) * scale);
            sum += e * e;
        }
    return sum;
}

/* Shares of the largest size that are tried; at 8 bits the best clip lies close below 1. */
static float best_scale(const float *w, size_t outer, size_t outer_stride, size_t inner, int limit)
{
    float most = largest(w, outer, outer_stride, inner);
    if (!(most > 0))
        return 1.0f;
    float best = safe_scale(most / (float)limit);
    double least = squared_error(w, outer, outer_stride, inner, best, (float)limit);
    for (int step = 1; step <= 16; step++) {
        float scale = safe_scale(most * (1.0f - 0.015f * (float)step) / (float)limit);
        double error = squared_error(w, outer, outer_stride, inner, scale, (float)limit);
        if (error < least) {
            least = error;
            best = scale;
        }
    }
    return best;
}

void oxp_quantise_weight_with(int8_t *codes, const float *scales, const float *w,
                              oxp_weight_layout l, int limit)
{
    for (size_t b = 0; b < l.blocks; b++)
        for (size_t o = 0; o < l.outer; o++)
            for (size_t c = 0; c < l.channels; c++) {
                float scale = scales[b * l.channels + c];
                size_t at = ((b * l.outer + o) * l.channels + c) * l.inner;
                for (size_t i = 0; i < l.inner; i++)
                    codes[at + i] = (int8_t)code_of(w[at + i], scale, (float)limit);
            }
}

void oxp_quantise_weight(int8_t *codes, float *scales, const float *w, oxp_weight_layout l,
                         int limit)
{
    for (size_t b = 0; b < l.blocks; b++)
        for (size_t c = 0; c < l.channels; c++)
            scales[b * l.channels + c] = best_scale(w + (b * l.outer * l.channels + c) * l.inner,
                                                    l.outer, l.channels * l.inner, l.inner, limit);
    oxp_quantise_weight_with(codes, scales, w, l, limit);
}

void oxp_dequantise_weight(float *w, const int8_t *codes, const float *scales, oxp_weight_layout l)
{
    for (size_t b = 0; b < l.blocks; b++)
        for (size_t o = 0; o < l.outer; o++)
            for (size_t c = 0; c < l.channels; c++) {
                float scale = scales[b * l.channels + c];
                size_t at = ((b * l.outer + o) * l.channels + c) * l.inner;
                for (size_t i = 0; i < l.inner; i++)
                    w[at + i] = (float)codes[at + i] * scale;
            }
}
