/* quantise.c - affine and symmetric 8-bit quantisation. */
#include "kernels/quantise.h"

#include <float.h>
#include <math.h>

#include "kernels/statistics.h"
#include "kernels/vector.h"

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
OXP_VECTORISED static void fake_quantise(float *out, const float *x, size_t n, oxp_scale s,
                                         int max_code)
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

double oxp_quantisation_error(const float *x, size_t n, oxp_scale s, int max_code)
{
    enum { PIECE = 4096 };
    float rounded[PIECE];
    double sum = 0;
    for (size_t at = 0; at < n; at += PIECE) {
        size_t piece = n - at < PIECE ? n - at : PIECE;
        fake_quantise(rounded, x + at, piece, s, max_code);
        sum += oxp_squared_distance(x + at, rounded, piece);
    }
    return sum;
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

#define SCALE_STEPS 16

/* Shares of the largest size that are tried; at 8 bits the best clip lies close below 1. */
static float scale_step(float most, int step, int limit)
{
    return safe_scale(most * (1.0f - 0.015f * (float)step) / (float)limit);
}

#define SCALES 24 /* SCALE_STEPS and the largest size itself, as whole vectors */

/* errors[k] = sum of (w - code * scales[k])^2, added in the order of the elements. */
OXP_VECTORISED static void scale_errors(double *restrict errors, const float *restrict w,
                                        size_t outer, size_t outer_stride, size_t inner,
                                        const float *restrict scales, float limit)
{
    double sums[SCALES] = {0};
    for (size_t o = 0; o < outer; o++)
        for (size_t i = 0; i < inner; i++) {
            float x = w[o * outer_stride + i];
            for (int k = 0; k < SCALES; k++) {
                double e = (double)x - (double)(code_of(x, scales[k], limit) * scales[k]);
                sums[k] += e * e;
            }
        }
    for (int k = 0; k < SCALES; k++)
        errors[k] = sums[k];
}

static float best_scale(const float *w, size_t outer, size_t outer_stride, size_t inner, int limit)
{
    float most = largest(w, outer, outer_stride, inner), scales[SCALES];
    double errors[SCALES];
    if (!(most > 0))
        return 1.0f;
    for (int step = 0; step < SCALES; step++)
        scales[step] = step <= SCALE_STEPS ? scale_step(most, step, limit) : 1.0f;
    scale_errors(errors, w, outer, outer_stride, inner, scales, (float)limit);
    int best = 0;
    for (int step = 1; step <= SCALE_STEPS; step++)
        if (errors[step] < errors[best])
            best = step;
    return scales[best];
}

#define COLUMNS 64 /* that are searched together where channels lie side by side */

/* errors[c] = sum over rows of (w - code * scale)^2, added in the order of the rows. */
OXP_VECTORISED static void column_errors(double *errors, const float *w, size_t rows, size_t stride,
                                         size_t columns, const float *scales, float limit)
{
    for (size_t c = 0; c < columns; c++)
        errors[c] = 0;
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < columns; c++) {
            float x = w[r * stride + c];
            double e = (double)x - (double)(code_of(x, scales[c], limit) * scales[c]);
            errors[c] += e * e;
        }
}

/* best_scale() for channels that are columns: the same numbers, read row by row. */
static void best_column_scales(float *best, const float *w, size_t rows, size_t stride,
                               size_t columns, int limit)
{
    float most[COLUMNS], trial[COLUMNS];
    double least[COLUMNS], errors[COLUMNS];
    for (size_t c = 0; c < columns; c++) {
        most[c] = largest(w + c, rows, stride, 1);
        best[c] = most[c] > 0 ? safe_scale(most[c] / (float)limit) : 1.0f;
    }
    column_errors(least, w, rows, stride, columns, best, (float)limit);
    for (int step = 1; step <= SCALE_STEPS; step++) {
        for (size_t c = 0; c < columns; c++)
            trial[c] = most[c] > 0 ? scale_step(most[c], step, limit) : 1.0f;
        column_errors(errors, w, rows, stride, columns, trial, (float)limit);
        for (size_t c = 0; c < columns; c++)
            if (errors[c] < least[c]) {
                least[c] = errors[c];
                best[c] = trial[c];
            }
    }
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
    for (size_t b = 0; b < l.blocks; b++) {
        const float *block = w + b * l.outer * l.channels * l.inner;
        for (size_t c = 0; l.inner == 1 && c < l.channels; c += COLUMNS) {
            size_t columns = l.channels - c < COLUMNS ? l.channels - c : COLUMNS;
            best_column_scales(&scales[b * l.channels + c], block + c, l.outer, l.channels, columns,
                               limit);
        }
        for (size_t c = 0; l.inner != 1 && c < l.channels; c++)
            scales[b * l.channels + c] =
                best_scale(block + c * l.inner, l.outer, l.channels * l.inner, l.inner, limit);
    }
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
