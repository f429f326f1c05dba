/* perturbation.c - sums over runs of one scale. */
#include "kernels/perturbation.h"

#include <math.h>

#include "util/half.h"

#define HALF_MAX 65504.0f

/* Eight partial sums: their order is fixed, whatever the processor. */
#define LANES 8

__attribute__((target_clones("avx512f", "avx2", "default"))) static double
run_change(const float *restrict g, const float *restrict w, size_t n, float scale, float limit)
{
    double sums[LANES] = {0};
    size_t whole = n - n % LANES;
    for (size_t i = 0; i < whole; i += LANES)
        for (size_t k = 0; k < LANES; k++) {
            float code = nearbyintf(w[i + k] / scale);
            code = code > limit ? limit : code < -limit ? -limit : code;
            double change = (double)(code * scale) - (double)w[i + k];
            sums[k] += change * (g ? (double)g[i + k] : change);
        }
    for (size_t i = whole; i < n; i++) {
        float code = nearbyintf(w[i] / scale);
        code = code > limit ? limit : code < -limit ? -limit : code;
        double change = (double)(code * scale) - (double)w[i];
        sums[i - whole] += change * (g ? (double)g[i] : change);
    }
    double sum = 0;
    for (size_t k = 0; k < LANES; k++)
        sum += sums[k];
    return sum;
}

/* Scales side by side: the last axis is the channel's. */
static double columns_change(const float *g, const float *w, const float *scales, size_t rows,
                             size_t columns, float limit)
{
    double sum = 0;
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < columns; c++) {
            size_t i = r * columns + c;
            float code = nearbyintf(w[i] / scales[c]);
            code = code > limit ? limit : code < -limit ? -limit : code;
            double change = (double)(code * scales[c]) - (double)w[i];
            sum += change * (g ? (double)g[i] : change);
        }
    return sum;
}

double oxp_rounding_change(const float *g, const float *w, const float *scales, oxp_weight_layout l,
                           int limit)
{
    double sum = 0;
    size_t block = l.outer * l.channels * l.inner;
    for (size_t b = 0; b < l.blocks; b++) {
        const float *s = scales + b * l.channels, *x = w + b * block, *y = g ? g + b * block : NULL;
        if (l.inner == 1) {
            sum += columns_change(y, x, s, l.outer, l.channels, (float)limit);
            continue;
        }
        for (size_t o = 0; o < l.outer; o++)
            for (size_t c = 0; c < l.channels; c++) {
                size_t at = (o * l.channels + c) * l.inner;
                sum += run_change(y ? y + at : NULL, x + at, l.inner, s[c], (float)limit);
            }
    }
    return sum;
}

static float rounded_to_half(float w)
{
    return oxp_half_to_float(oxp_float_to_half(fminf(fmaxf(w, -HALF_MAX), HALF_MAX)));
}

double oxp_half_change(const float *g, const float *w, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double change = (double)rounded_to_half(w[i]) - (double)w[i];
        sum += change * (g ? (double)g[i] : change);
    }
    return sum;
}

void oxp_half_round(float *out, const float *w, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = rounded_to_half(w[i]);
}
