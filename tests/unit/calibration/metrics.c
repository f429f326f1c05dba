/* Metrics: SQNR and KL on known numbers; intervals against exact binomial facts and their promised
 * coverage. */
#include "calibration/metrics.h"

#include <criterion/criterion.h>
#include <math.h>

#include "util/random.h"

static oxp_tensor tensor(float *data, int64_t rows, int64_t columns)
{
    return (oxp_tensor){.dtype = OXP_FLOAT,
                        .rank = 2,
                        .dims = {rows, columns},
                        .count = (size_t)(rows * columns),
                        .data = data};
}

Test(metrics, sqnr_of_a_tenth_is_twenty_decibels)
{
    float a[4] = {1, -1, 1, -1}, b[4] = {1.1f, -1.1f, 0.9f, -0.9f};
    oxp_tensor ta = tensor(a, 1, 4), tb = tensor(b, 1, 4);
    oxp_difference d;
    oxp_difference_of(&d, OXP_KIND_GAUSSIAN, &ta, &tb, NULL, 0);
    cr_expect_lt(fabs(oxp_sqnr_db(&d) - 20.0), 1e-4);
    oxp_difference_of(&d, OXP_KIND_GAUSSIAN, &ta, &ta, NULL, 0);
    cr_expect_eq(oxp_sqnr_db(&d), 200.0);
    cr_expect_lt(fabs(oxp_cosine(&d) - 1.0), 1e-12);
}

Test(metrics, kl_of_logits_and_of_probabilities_agree)
{
    float la[3] = {1, 2, 3}, lb[3] = {1.5f, 2, 2.5f}, pa[3], pb[3];
    double za = 0, zb = 0, expected = 0;
    for (int i = 0; i < 3; i++) {
        za += exp((double)la[i]);
        zb += exp((double)lb[i]);
    }
    for (int i = 0; i < 3; i++) {
        pa[i] = (float)(exp((double)la[i]) / za);
        pb[i] = (float)(exp((double)lb[i]) / zb);
        expected +=
            exp((double)la[i]) / za * log(exp((double)la[i]) / za / (exp((double)lb[i]) / zb));
    }
    oxp_difference d;
    oxp_tensor a = tensor(la, 1, 3), b = tensor(lb, 1, 3);
    oxp_difference_of(&d, OXP_KIND_LOGITS, &a, &b, NULL, 0);
    cr_expect_lt(fabs(d.kl - expected), 1e-7);
    a.data = pa;
    b.data = pb;
    oxp_difference_of(&d, OXP_KIND_PROBABILITIES, &a, &b, NULL, 0);
    cr_expect_lt(fabs(d.kl - expected), 1e-6);
}

Test(metrics, labels_count_who_is_right)
{
    float a[6] = {1, 0, 0, 1, 1, 0}, b[6] = {1, 0, 1, 0, 0, 1};
    const int64_t labels[3] = {0, 1, 1};
    oxp_tensor ta = tensor(a, 3, 2), tb = tensor(b, 3, 2);
    oxp_difference d;
    oxp_difference_of(&d, OXP_KIND_LOGITS, &ta, &tb, labels, 3);
    cr_expect_eq(d.rows, 3);
    cr_expect_eq(d.agree, 1);
    cr_expect_eq(d.correct_a, 2);
    cr_expect_eq(d.correct_b, 2);
    cr_expect_eq(d.only_a, 1);
    cr_expect_eq(d.only_b, 1);
}

Test(metrics, a_mask_that_both_hold_is_no_difference)
{
    float a[2] = {-INFINITY, 1}, b[2] = {-INFINITY, 1}, c[2] = {0, 1};
    oxp_tensor ta = tensor(a, 1, 2), tb = tensor(b, 1, 2), tc = tensor(c, 1, 2);
    oxp_difference d;
    oxp_difference_of(&d, OXP_KIND_GAUSSIAN, &ta, &tb, NULL, 0);
    cr_expect_eq(d.nonfinite, 0);
    oxp_difference_of(&d, OXP_KIND_GAUSSIAN, &ta, &tc, NULL, 0);
    cr_expect_eq(d.nonfinite, 1);
    cr_expect_eq(oxp_sqnr_db(&d), -200.0);
}

Test(metrics, clopper_pearson_at_the_ends)
{
    oxp_interval i = oxp_interval_proportion(0, 10, 0.95);
    cr_expect_eq(i.low, 0);
    cr_expect_lt(fabs(i.high - (1 - pow(0.025, 0.1))), 1e-9); /* (1 - p)^10 = 0.025 */
    i = oxp_interval_proportion(10, 10, 0.95);
    cr_expect_eq(i.high, 1);
    cr_expect_lt(fabs(i.low - pow(0.025, 0.1)), 1e-9);
}

Test(metrics, intervals_cover_as_often_as_they_promise)
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
