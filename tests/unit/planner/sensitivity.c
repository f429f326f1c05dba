/* Kendall's tau and the budgets: what the formulas promise. */
#include "planner/sensitivity.h"

#include <criterion/criterion.h>
#include <math.h>

#include "util/random.h"

Test(sensitivity, kendall_of_known_orders)
{
    const double a[] = {1, 2, 3, 4}, b[] = {10, 20, 30, 40}, c[] = {4, 3, 2, 1}, d[] = {1, 3, 2, 4};
    cr_expect_eq(oxp_kendall(a, b, 4), 1);
    cr_expect_eq(oxp_kendall(a, c, 4), -1);
    cr_expect_lt(fabs(oxp_kendall(a, d, 4) - 4.0 / 6), 1e-12); /* one of six pairs is turned */
}

static double spent(const double *e, const double *d, const double *t, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += 0.5 * e[i] * e[i] * t[i] / d[i];
    return sum;
}

Test(sensitivity, budgets_spend_the_loss_in_shares_of_size)
{
    const double d[] = {100, 400, 500}, t[] = {3, 50, 0.2}, w[] = {1e9, 1e9, 1e9};
    double e[3];
    oxp_budgets(e, d, t, w, 3, 0.02);
    cr_expect_lt(fabs(spent(e, d, t, 3) - 0.02), 1e-12);
    for (size_t i = 0; i < 3; i++) {
        double slope = e[i] * t[i] / d[i]; /* S_l(e) e = 2 L d / D */
        cr_expect_lt(fabs(slope * e[i] - 2 * 0.02 * d[i] / 1000), 1e-12);
    }
}

/* No other sizes of changes with the same loss save more bits: sum d log(1 / e) is least. */
Test(sensitivity, budgets_are_the_optimum)
{
    const double d[] = {100, 400, 500}, t[] = {3, 50, 0.2}, w[] = {1e9, 1e9, 1e9};
    double e[3], best = 0;
    oxp_budgets(e, d, t, w, 3, 0.02);
    for (size_t i = 0; i < 3; i++)
        best += d[i] * log(e[i]);
    oxp_random r = oxp_random_make(4, 4, 4);
    for (int trial = 0; trial < 1000; trial++) {
        double other[3], saved = 0;
        for (size_t i = 0; i < 3; i++)
            other[i] = e[i] * exp(0.3 * oxp_random_normal(&r));
        double scale = sqrt(0.02 / spent(other, d, t, 3));
        for (size_t i = 0; i < 3; i++)
            saved += d[i] * log(scale * other[i]);
        cr_expect_leq(saved, best + 1e-9);
    }
}

Test(sensitivity, budgets_stop_at_the_weight_itself)
{
    const double d[] = {100, 400, 500}, t[] = {3, 50, 0}, w[] = {0.01, 1e9, 7};
    double e[3];
    oxp_budgets(e, d, t, w, 3, 0.02);
    cr_expect_eq(e[0], 0.01); /* capped: what it leaves goes to the other */
    cr_expect_eq(e[2], 7);    /* nothing depends on it */
    cr_expect_lt(fabs(spent(e, d, t, 2) - 0.02), 1e-12);
}
