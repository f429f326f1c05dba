/* Histograms: the same from any order, grouping and merging; quantiles against a sorted array. */
#include "kernels/statistics.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "util/random.h"

enum { N = 20000 };
static float values[N];
static oxp_histogram a, b, c;

static void draw(void)
{
    oxp_random r = oxp_random_make(1, 2, 3);
    for (size_t i = 0; i < N; i++)
        values[i] = (float)(oxp_random_normal(&r) * exp(3 * oxp_random_normal(&r)));
}

static bool same(const oxp_histogram *x, const oxp_histogram *y)
{
    return x->exponent == y->exponent && x->count == y->count && x->min == y->min &&
           x->max == y->max && x->huge == y->huge &&
           memcmp(x->positive, y->positive, sizeof x->positive) == 0 &&
           memcmp(x->negative, y->negative, sizeof x->negative) == 0;
}

Test(histogram, does_not_depend_on_order_or_grouping)
{
    draw();
    oxp_histogram_init(&a);
    oxp_histogram_add(&a, values, N);
    oxp_histogram_init(&b);
    for (size_t i = N; i-- > 0;)
        oxp_histogram_add(&b, &values[i], 1);
    cr_expect(same(&a, &b));
    oxp_histogram_init(&b);
    oxp_histogram_init(&c);
    oxp_histogram_add(&b, values, 7000);
    oxp_histogram_add(&c, values + 7000, N - 7000);
    oxp_histogram_merge(&c, &b);
    cr_expect(same(&a, &c));
}

Test(histogram, holds_every_value_in_a_bin_of_its_width)
{
    draw();
    oxp_histogram_init(&a);
    oxp_histogram_add(&a, values, N);
    uint64_t sum = 0;
    for (size_t k = 0; k < OXP_HISTOGRAM_BINS; k++)
        sum += a.positive[k] + a.negative[k];
    cr_expect_eq(sum, N);
    float most = fmaxf(fabsf(a.min), fabsf(a.max));
    cr_expect_lt(most, ldexpf((float)OXP_HISTOGRAM_BINS, a.exponent));
    cr_expect_geq(most, ldexpf((float)OXP_HISTOGRAM_BINS, a.exponent - 1));
}

Test(histogram, masks_infinities_and_nan_set_no_range)
{
    const float odd[] = {1.0f, -INFINITY, -3.4e38f, NAN, 2.0f, INFINITY};
    oxp_histogram_init(&a);
    oxp_histogram_add(&a, odd, 6);
    cr_expect_eq(a.count, 2);
    cr_expect_eq(a.huge, 3);
    cr_expect_eq(a.nan, 1);
    cr_expect_eq(a.min, 1.0f);
    cr_expect_eq(a.max, 2.0f);
}

Test(histogram, a_wide_merge_lands_in_the_first_bin)
{
    const float small[] = {1e-30f, -2e-30f}, large[] = {5.0f};
    oxp_histogram_init(&a);
    oxp_histogram_init(&b);
    oxp_histogram_add(&a, small, 2);
    oxp_histogram_add(&b, large, 1);
    oxp_histogram_merge(&b, &a);
    cr_expect_eq(b.positive[0], 1);
    cr_expect_eq(b.negative[0], 1);
    cr_expect_eq(b.count, 3);
    oxp_histogram_add(&a, large, 1);
    cr_expect(same(&a, &b));
}

static int ascending(const void *x, const void *y)
{
    float p = *(const float *)x, q = *(const float *)y;
    return p < q ? -1 : p > q;
}

Test(histogram, quantiles_agree_with_a_sorted_array_to_one_bin)
{
    draw();
    oxp_histogram_init(&a);
    oxp_histogram_add(&a, values, N);
    qsort(values, N, sizeof *values, ascending);
    float width = ldexpf(1.0f, a.exponent);
    const double shares[] = {0.001, 0.01, 0.5, 0.9, 0.99, 0.9999};
    for (size_t i = 0; i < 6; i++) {
        float sorted = values[(size_t)ceil(shares[i] * N) - 1];
        cr_expect_leq(fabsf(oxp_histogram_quantile(&a, shares[i], true) - sorted), 2 * width,
                      "share %g", shares[i]);
    }
}

/* Long runs are counted in turns, and neighbours that are equal are the usual case. */
Test(histogram, long_runs_count_like_single_values)
{
    enum { LONG = 300000 };
    float *x = malloc(LONG * sizeof *x);
    oxp_random r = oxp_random_make(4, 5, 6);
    cr_assert_not_null(x);
    for (size_t i = 0; i < LONG; i++)
        x[i] = i % 3 == 0 ? (float)oxp_random_normal(&r) : 0.0f;
    oxp_histogram_init(&a);
    oxp_histogram_add(&a, x, LONG);
    oxp_histogram_init(&b);
    for (size_t i = 0; i < LONG; i++)
        oxp_histogram_add(&b, &x[i], 1);
    cr_expect(same(&a, &b));
    free(x);
}

Test(distance, leaves_out_masks_and_what_is_not_finite)
{
    float x[40], y[40];
    for (int i = 0; i < 40; i++) {
        x[i] = (float)i;
        y[i] = (float)i + 0.5f;
    }
    cr_expect_float_eq(oxp_squared_distance(x, y, 40), 10, 1e-12);
    x[3] = -3.4e38f;
    x[17] = NAN;
    y[39] = INFINITY;
    cr_expect_float_eq(oxp_squared_distance(x, y, 40), 9.25, 1e-12);
    float low, high;
    oxp_extremes(x, 40, &low, &high);
    cr_expect_eq(low, -3.4e38f);
    cr_expect_eq(high, 39);
}
