/* changes.c - packed once, read for every gradient. */
#include "kernels/changes.h"

#include <math.h>

#define MOST 32767.0
#define LANES 16 /* partial sums: their order is fixed, whatever the processor */

double oxp_changes_pack(int16_t *codes, double *squares, const float *before, const float *after,
                        size_t n)
{
    double most = 0, sum = 0;
    for (size_t i = 0; i < n; i++) {
        double change = (double)after[i] - (double)before[i];
        if (!isfinite(change))
            return NAN;
        most = fabs(change) > most ? fabs(change) : most;
        sum += change * change;
    }
    double step = most / MOST;
    for (size_t i = 0; i < n; i++)
        codes[i] =
            (int16_t)(step > 0 ? nearbyint(((double)after[i] - (double)before[i]) / step) : 0);
    *squares = sum;
    return step;
}

__attribute__((target_clones("avx512f", "avx2", "default"))) static double
dot(double *restrict squares, const float *restrict g, const int16_t *restrict codes, size_t n)
{
    double sums[LANES] = {0}, parts[LANES] = {0}, sum = 0;
    size_t whole = n - n % LANES;
    for (size_t i = 0; i < whole; i += LANES)
        for (size_t k = 0; k < LANES; k++) {
            double product = (double)g[i + k] * (double)codes[i + k];
            sums[k] += product;
            parts[k] += product * product;
        }
    for (size_t i = whole; i < n; i++) {
        double product = (double)g[i] * (double)codes[i];
        sums[i - whole] += product;
        parts[i - whole] += product * product;
    }
    *squares = 0;
    for (size_t k = 0; k < LANES; k++) {
        sum += sums[k];
        *squares += parts[k];
    }
    return sum;
}

double oxp_changes_dot(double *squares, const float *g, const int16_t *codes, size_t n)
{
    return dot(squares, g, codes, n);
}
