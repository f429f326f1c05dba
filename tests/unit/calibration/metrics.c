/* Metrics: SQNR and KL on known numbers. */
#include "calibration/metrics.h"

#include <criterion/criterion.h>
#include <math.h>

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

Test(metrics, finite_elements_of_the_first_are_counted)
{
    float a[4] = {NAN, 1, INFINITY, 2}, b[4] = {NAN, NAN, 1, 2};
    oxp_tensor ta = tensor(a, 1, 4), tb = tensor(b, 1, 4);
    oxp_difference d, sum = {0};
    oxp_difference_of(&d, OXP_KIND_GAUSSIAN, &ta, &tb, NULL, 0);
    cr_expect_eq(d.numbers, 2);
    oxp_difference_add(&sum, &d);
    oxp_difference_add(&sum, &d);
    cr_expect_eq(sum.numbers, 4);
    cr_expect_eq(sum.elements, 8);
}

/* 1 - cos of rows: of a turn by t, 1 - cos t, whatever the lengths; tiny turns keep their digits.
 * */
Test(metrics, one_minus_cos_of_embeddings)
{
    for (double turn = 1; turn > 1e-3; turn /= 10) {
        float a[4] = {3, 0, 0, 1}, b[4] = {(float)(2 * cos(turn)), (float)(2 * sin(turn)), 0, 5};
        oxp_tensor ta = tensor(a, 2, 2), tb = tensor(b, 2, 2);
        oxp_difference d;
        oxp_difference_of(&d, OXP_KIND_EMBEDDING, &ta, &tb, NULL, 0);
        cr_expect_eq(d.rows, 2);
        cr_expect_lt(fabs(d.kl / (1 - cos(turn)) - 1), 1e-4, "%g of %g", d.kl, 1 - cos(turn));
    }
}
