/* Scales against known optima: the least mean squared error of 256 levels on N(0,1) is 8.83e-5
 * (40.5 dB), found by quadrature; percentile against a sorted array; entropy must not take the
 * smallest clip of a Gaussian. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "calibration/ranges.h"
#include "util/random.h"

enum { N = 200000 };
static float x[N], q[N];
static oxp_histogram h;

static void gaussian(double offset)
{
    oxp_random r = oxp_random_make(11, 22, 33);
    for (size_t i = 0; i < N; i++)
        x[i] = (float)(oxp_random_normal(&r) + offset);
    oxp_histogram_init(&h);
    oxp_histogram_add(&h, x, N);
}

static double mean_squared_error(oxp_scale s)
{
    double sum = 0;
    oxp_fake_quantise_u8(q, x, N, s, 255);
    for (size_t i = 0; i < N; i++)
        sum += ((double)x[i] - (double)q[i]) * ((double)x[i] - (double)q[i]);
    return sum / N;
}

/* Brute force over both ends; the draw's own optimum lies within its tail's noise of the
 * distribution's. */
Test(scales, mse_reaches_the_optimum_on_a_gaussian)
{
    gaussian(0);
    double found = mean_squared_error(oxp_scale_by(OXP_METHOD_MSE, &h, 0)), best = INFINITY;
    for (float low = -4.6f; low < -3.2f; low += 0.1f)
        for (float high = 3.2f; high < 4.6f; high += 0.1f)
            best = fmin(best, mean_squared_error(oxp_scale_for_range(low, high, 255)));
    cr_expect_leq(found, 1.003 * best, "%g against %g", found, best);
    cr_expect_lt(fabs(found / 8.831e-5 - 1), 0.08, "%g", found);
}

Test(scales, mse_is_never_worse_than_minmax)
{
    for (double offset = -3; offset <= 3; offset += 1) {
        gaussian(offset);
        double mse = mean_squared_error(oxp_scale_by(OXP_METHOD_MSE, &h, 0));
        double minmax = mean_squared_error(oxp_scale_by(OXP_METHOD_MINMAX, &h, 0));
        cr_expect_leq(mse, minmax * 1.001, "offset %g: %g against %g", offset, mse, minmax);
    }
}

Test(scales, percentile_cuts_half_on_each_side)
{
    gaussian(0);
    oxp_scale s = oxp_scale_by(OXP_METHOD_PERCENTILE, &h, 99.0);
    float low = (float)-s.zero_point * s.scale, high = (float)(255 - s.zero_point) * s.scale;
    cr_expect_lt(fabsf(high - 2.576f), 0.05f, "%g", (double)high); /* 99.5 % point */
    cr_expect_lt(fabsf(low + 2.576f), 0.05f, "%g", (double)low);
}

Test(scales, percentile_cuts_one_side_of_a_positive_tensor)
{
    gaussian(0);
    for (size_t i = 0; i < N; i++)
        x[i] = fabsf(x[i]);
    oxp_histogram_init(&h);
    oxp_histogram_add(&h, x, N);
    oxp_scale s = oxp_scale_by(OXP_METHOD_PERCENTILE, &h, 99.0);
    cr_expect_eq(s.zero_point, 0);
    cr_expect_lt(fabsf(255 * s.scale - 2.576f), 0.05f);
}

Test(scales, entropy_keeps_most_of_a_gaussian)
{
    gaussian(0);
    oxp_scale s = oxp_scale_by(OXP_METHOD_ENTROPY, &h, 0);
    float clip = (float)(255 - s.zero_point) * s.scale;
    cr_expect_gt(clip, 2.5f, "clip %g", (double)clip); /* the smallest candidate lies near 0.3 */
    cr_expect_lt(clip, 5.5f, "clip %g", (double)clip);
}

Test(scales, an_empty_or_constant_histogram_gives_a_usable_scale)
{
    oxp_histogram_init(&h);
    const float zeros[4] = {0};
    for (int pass = 0; pass < 2; pass++) {
        for (int m = 0; m < OXP_METHOD_COUNT; m++) {
            oxp_scale s = oxp_scale_by((oxp_method)m, &h, 99.999);
            cr_expect(isnormal(s.scale) && s.scale > 0, "method %d", m);
        }
        oxp_histogram_add(&h, zeros, 4);
    }
}
