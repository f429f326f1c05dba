/* Intervals: exact facts, and the coverage that each kind promises, by simulation. */
#include "calibration/intervals.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "util/random.h"

#define DRAWS 1000

Test(intervals, clopper_pearson_at_the_ends)
{
    oxp_interval i = oxp_interval_proportion(0, 10, 0.95);
    cr_expect_eq(i.low, 0);
    cr_expect_lt(fabs(i.high - (1 - pow(0.025, 0.1))), 1e-9); /* (1 - p)^10 = 0.025 */
    i = oxp_interval_proportion(10, 10, 0.95);
    cr_expect_eq(i.high, 1);
    cr_expect_lt(fabs(i.low - pow(0.025, 0.1)), 1e-9);
}

Test(intervals, shares_cover_as_often_as_they_promise)
{
    const double chances[] = {0.02, 0.3, 0.9};
    oxp_random r = oxp_random_make(8, 8, 8);
    for (size_t k = 0; k < 3; k++) {
        int covered = 0, paired = 0;
        for (int draw = 0; draw < 1000; draw++) {
            size_t hits = 0, only_a = 0, only_b = 0;
            for (int i = 0; i < 60; i++) {
                hits += oxp_random_uniform(&r) < chances[k];
                double u = oxp_random_uniform(&r);
                only_a += u < 0.05;
                only_b += u > 0.98;
            }
            oxp_interval p = oxp_interval_proportion(hits, 60, 0.95),
                         d = oxp_interval_paired(only_a, only_b, 60, 0.95);
            covered += p.low <= chances[k] && chances[k] <= p.high;
            paired += d.low <= -0.03 && -0.03 <= d.high; /* 0.02 - 0.05 */
        }
        cr_expect_geq(covered, 950, "%d of 1000 at %g", covered, chances[k]);
        cr_expect_geq(paired, 950, "%d of 1000", paired);
    }
}

Test(intervals, half_widths_of_known_cases)
{
    /* range 1, delta 0.05: sqrt(ln 40 / 256) = 0.1200; sd 0.1 at 128 and 1024 inputs */
    cr_expect_lt(fabs(oxp_hoeffding_half_width(1, 128, 0.05) - 0.1200), 1e-4);
    cr_expect_lt(fabs(oxp_bernstein_half_width(1, 0.01, 128, 0.05) - 0.1067), 1e-4);
    cr_expect_lt(fabs(oxp_bernstein_half_width(1, 0.01, 1024, 0.05) - 0.0192), 1e-4);
    oxp_half_width h = oxp_bounded_half_width(1, 0.01, 32, 0.05);
    cr_expect_eq(h.method, OXP_INTERVAL_HOEFFDING);
    h = oxp_bounded_half_width(1, 0.01, 1024, 0.05);
    cr_expect_eq(h.method, OXP_INTERVAL_BERNSTEIN);
    cr_expect_lt(fabs(h.value - 0.0215), 1e-4);
}

Test(intervals, needed_is_the_least_that_is_enough)
{
    for (double sd = 0.01; sd < 0.5; sd *= 2) {
        size_t n = oxp_bounded_needed(1, sd * sd, 0.02, 0.05);
        cr_expect_leq(oxp_bounded_half_width(1, sd * sd, n, 0.05).value, 0.02);
        cr_expect_gt(oxp_bounded_half_width(1, sd * sd, n - 1, 0.05).value, 0.02);
    }
    cr_expect_eq(oxp_bounded_needed(1, 0.01, 0, 0.05), SIZE_MAX);
    size_t n = oxp_proportion_needed(1.0, 0.05, 0.95); /* 0.025^(1/n) >= 0.95: 72 */
    cr_expect_eq(n, 72, "%zu", n);
}

Test(intervals, extremes_of_known_cases)
{
    cr_expect_eq(oxp_extreme_needed(0.05, 0.05), 59);
    cr_expect_eq(oxp_extreme_needed(0.01, 0.05), 299);
    cr_expect_eq(oxp_extreme_needed(1e-4, 0.05), 29956);
    cr_expect_leq(oxp_beyond_extreme(59, 0.05), 0.05);
    cr_expect_gt(oxp_beyond_extreme(58, 0.05), 0.05);
    oxp_ranks none = oxp_quantile_ranks(10, 0.99, 0.05);
    cr_expect_eq(none.upper, 0); /* no order statistic of ten lies beyond it */
    oxp_ranks middle = oxp_quantile_ranks(100, 0.5, 0.05);
    cr_expect_eq(middle.lower, 40);
    cr_expect_eq(middle.upper, 61);
}

Test(intervals, normal_quantiles)
{
    cr_expect_lt(fabs(oxp_normal_quantile(0.975) - 1.959963984540054), 1e-9);
    cr_expect_lt(fabs(oxp_normal_quantile(1e-10) + 6.361340902404056), 1e-9);
    cr_expect_lt(fabs(oxp_normal_quantile(0.5)), 1e-9);
}

/* ---- coverage ---- */

static double uniform_power(oxp_random *r) /* Beta(1/2, 1): mean 1/3, mass near 0 */
{
    double u = oxp_random_uniform(r);
    return u * u;
}

static double spike(oxp_random *r) /* mostly 0, rarely 1: the hard case for a guessed variance */
{
    return oxp_random_uniform(r) < 0.02 ? 1 : 0;
}

typedef struct moments {
    double mean, variance;
} moments;

static moments moments_of(const double *x, size_t n)
{
    moments m = {0, 0};
    for (size_t i = 0; i < n; i++)
        m.mean += x[i] / (double)n;
    for (size_t i = 0; i < n; i++)
        m.variance += (x[i] - m.mean) * (x[i] - m.mean) / (double)(n - 1);
    return m;
}

static int covered_means(double (*draw)(oxp_random *), double mean, double range, size_t n)
{
    int covered = 0;
    double x[256];
    oxp_random r = oxp_random_make(5, n, 1);
    for (int d = 0; d < DRAWS; d++) {
        for (size_t i = 0; i < n; i++)
            x[i] = draw(&r);
        moments m = moments_of(x, n);
        covered += fabs(m.mean - mean) <= oxp_bounded_half_width(range, m.variance, n, 0.05).value;
    }
    return covered;
}

Test(intervals, bounded_means_cover)
{
    cr_expect_geq(covered_means(uniform_power, 1.0 / 3, 1, 32), 950);
    cr_expect_geq(covered_means(uniform_power, 1.0 / 3, 1, 200), 950);
    cr_expect_geq(covered_means(spike, 0.02, 1, 64), 950);
    /* a range that is guessed from what was seen covers less than it says */
    cr_expect_lt(covered_means(spike, 0.02, 0.05, 64), 950);
}

Test(intervals, order_statistics_cover_heavy_tails)
{
    oxp_random r = oxp_random_make(6, 1, 1);
    int quantile = 0, beyond = 0;
    for (int d = 0; d < DRAWS; d++) {
        double x[200], most = 0;
        for (size_t i = 0; i < 200; i++) /* Pareto with infinite variance */
            x[i] = pow(1 - oxp_random_uniform(&r), -0.8);
        for (size_t i = 0; i < 59; i++)
            most = fmax(most, x[i]);
        beyond += pow(most, -1.25) <= 0.05; /* P(X > most) */
        oxp_ranks ranks = oxp_quantile_ranks(200, 0.9, 0.05);
        size_t below = 0; /* of the true quantile */
        for (size_t i = 0; i < 200; i++)
            below += x[i] < pow(0.1, -0.8);
        quantile += below >= ranks.lower && below < ranks.upper;
    }
    cr_expect_geq(quantile, 950, "%d", quantile);
    cr_expect_geq(beyond, 940, "%d", beyond); /* exactly 0.9515 expected: three sigma below */
}

/* 40 inputs of 25 tokens each, the tokens of one input nearly equal. */
static void dependent(double *tokens, double *inputs, oxp_random *r)
{
    for (size_t i = 0; i < 40; i++) {
        double centre = oxp_random_uniform(r);
        inputs[i] = 0;
        for (size_t t = 0; t < 25; t++) {
            double x = 0.8 * centre + 0.2 * oxp_random_uniform(r);
            tokens[25 * i + t] = x;
            inputs[i] += x / 25;
        }
    }
}

Test(intervals, dependent_tokens_are_no_inputs)
{
    oxp_random r = oxp_random_make(7, 1, 1);
    int by_token = 0, by_input = 0, by_bootstrap = 0;
    void *work = malloc(oxp_bootstrap_bytes(40, 1000));
    cr_assert(work);
    for (int d = 0; d < 300; d++) {
        double tokens[1000], inputs[40];
        dependent(tokens, inputs, &r);
        double token_mean = moments_of(tokens, 1000).mean;
        moments m = moments_of(inputs, 40);
        by_token += fabs(token_mean - 0.5) <= oxp_hoeffding_half_width(1, 1000, 0.05);
        by_input += fabs(m.mean - 0.5) <= oxp_bounded_half_width(1, m.variance, 40, 0.05).value;
        oxp_interval b = oxp_bootstrap_mean(inputs, 40, 1000, 0.95, (uint64_t)d, work);
        by_bootstrap += b.low <= 0.5 && 0.5 <= b.high;
    }
    cr_expect_lt(by_token, 270, "%d of 300", by_token);
    cr_expect_geq(by_input, 285, "%d of 300", by_input);
    cr_expect_geq(by_bootstrap, 270, "%d of 300", by_bootstrap);
    free(work);
}

Test(intervals, approximate_ones_cover_light_tails)
{
    oxp_random r = oxp_random_make(9, 1, 1);
    int bootstrap = 0, wilson = 0;
    void *work = malloc(oxp_bootstrap_bytes(50, 1000));
    cr_assert(work);
    for (int d = 0; d < 400; d++) {
        double x[50];
        size_t hits = 0;
        for (size_t i = 0; i < 50; i++) {
            x[i] = oxp_random_normal(&r);
            hits += oxp_random_uniform(&r) < 0.3;
        }
        oxp_interval b = oxp_bootstrap_mean(x, 50, 1000, 0.95, (uint64_t)d, work);
        bootstrap += b.low <= 0 && 0 <= b.high;
        oxp_interval w = oxp_interval_wilson(hits, 50, 0.95);
        wilson += w.low <= 0.3 && 0.3 <= w.high;
    }
    cr_expect_geq(bootstrap, 360, "%d of 400", bootstrap);
    cr_expect_geq(wilson, 360, "%d of 400", wilson);
    free(work);
}

Test(intervals, guaranteed_and_approximate_are_told_apart)
{
    cr_expect(oxp_interval_is_guaranteed(OXP_INTERVAL_HOEFFDING));
    cr_expect(oxp_interval_is_guaranteed(OXP_INTERVAL_ORDER_STATISTICS));
    cr_expect_not(oxp_interval_is_guaranteed(OXP_INTERVAL_WILSON));
    cr_expect_not(oxp_interval_is_guaranteed(OXP_INTERVAL_BOOTSTRAP));
    cr_expect_not(oxp_interval_is_guaranteed(OXP_INTERVAL_SANDWICH));
}
