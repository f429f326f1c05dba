/* Changes by rounding, against the codes that are written. */
#include "kernels/perturbation.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "util/half.h"
#include "util/random.h"

static void expect_same(oxp_weight_layout l, int limit)
{
    size_t n = l.blocks * l.outer * l.channels * l.inner, scales_count = l.blocks * l.channels;
    float *w = malloc(n * sizeof *w), *g = malloc(n * sizeof *g), *q = malloc(n * sizeof *q),
          *scales = malloc(scales_count * sizeof *scales);
    int8_t *codes = malloc(n);
    double change = 0, size = 0, magnitude = 0;
    oxp_random r = oxp_random_make(1, n, (uint64_t)limit);
    cr_assert(w && g && q && scales && codes);
    for (size_t i = 0; i < n; i++) {
        w[i] = (float)oxp_random_normal(&r);
        g[i] = (float)oxp_random_normal(&r);
    }
    oxp_quantise_weight(codes, scales, w, l, limit);
    oxp_quantise_weight_with(codes, scales, w, l, limit);
    oxp_dequantise_weight(q, codes, scales, l);
    for (size_t i = 0; i < n; i++) {
        double d = (double)q[i] - (double)w[i];
        change += (double)g[i] * d;
        magnitude += fabs((double)g[i] * d);
        size += d * d;
    }
    cr_expect_leq(fabs(oxp_rounding_change(g, w, scales, l, limit) - change), 1e-6 * magnitude);
    cr_expect_leq(fabs(oxp_rounding_change(NULL, w, scales, l, limit) - size), 1e-6 * size);
    free(w);
    free(g);
    free(q);
    free(scales);
    free(codes);
}

Test(perturbation, agrees_with_the_codes_that_are_written)
{
    static const oxp_weight_layout layouts[] = {{1, 1, 7, 27}, {1, 33, 5, 1}, {1, 4, 3, 9},
                                                {2, 3, 5, 8},  {1, 1, 1, 1},  {1, 1, 2, 100}};
    static const int limits[] = {127, 31, 7, 3, 1};
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++)
        for (size_t k = 0; k < sizeof limits / sizeof *limits; k++)
            expect_same(layouts[i], limits[k]);
}

Test(perturbation, half_precision)
{
    static const float w[] = {0.1f, -3.14159f, 65504.0f, 1e6f, 1e-9f}, g[] = {1, 2, 3, 4, 5};
    double change = 0;
    for (size_t i = 0; i < 5; i++) {
        float clamped = w[i] > 65504.0f ? 65504.0f : w[i];
        change +=
            (double)g[i] * ((double)oxp_half_to_float(oxp_float_to_half(clamped)) - (double)w[i]);
    }
    cr_expect_lt(fabs(oxp_half_change(g, w, 5) - change), 1e-9 * fabs(change));
}
