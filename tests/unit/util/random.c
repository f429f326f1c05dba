/* Random numbers: the generator itself, independence of order, ranges, moments. */
#include "util/random.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdbool.h>

Test(random, draws_depend_on_key_and_index_alone)
{
    oxp_random a = oxp_random_make(1, 2, 3), b = oxp_random_make(1, 2, 3);
    uint64_t tenth = 0;
    for (int i = 0; i < 10; i++)
        tenth = oxp_random_bits(&a);
    b.counter = 9;
    cr_expect_eq(oxp_random_bits(&b), tenth);

    /* SplitMix64 from state 0 begins with this published value. */
    oxp_random zero = {0};
    cr_expect_eq(oxp_random_bits(&zero), UINT64_C(0xe220a8397b1dcdaf));
    cr_expect_eq(oxp_random_bits(&zero), UINT64_C(0x6e789e6aa1b965f4));
}

Test(random, every_part_of_the_key_counts)
{
    uint64_t base = oxp_random_make(1, 2, 3).key;
    cr_expect_neq(base, oxp_random_make(2, 2, 3).key);
    cr_expect_neq(base, oxp_random_make(1, 3, 3).key);
    cr_expect_neq(base, oxp_random_make(1, 2, 4).key);
    cr_expect_neq(base, oxp_random_make(2, 1, 3).key);
    cr_expect_neq(base, oxp_random_make(1, 3, 2).key);
    cr_expect_neq(oxp_random_make(0, 0, 1).key, oxp_random_make(0, 1, 0).key);
    cr_expect_neq(oxp_random_make(0, 5, 5).key, oxp_random_make(0, 6, 6).key);
}

Test(random, below_is_even)
{
    oxp_random r = oxp_random_make(7, 0, 0);
    size_t counts[6] = {0};
    enum { N = 60000 };
    for (int i = 0; i < N; i++) {
        size_t draw = oxp_random_below(&r, 6);
        cr_assert_lt(draw, 6);
        counts[draw]++;
    }
    double chi_squared = 0;
    for (int i = 0; i < 6; i++) {
        double off = (double)counts[i] - N / 6.0;
        chi_squared += off * off / (N / 6.0);
    }
    cr_expect_lt(chi_squared, 20.5, "5 degrees of freedom, p = 0.001: %g", chi_squared);
    cr_expect_eq(oxp_random_below(&r, 1), 0);
    size_t large = (size_t)3 << 62; /* a quarter of the draws must be thrown away */
    for (int i = 0; i < 1000; i++)
        cr_assert_lt(oxp_random_below(&r, large), large);
}

Test(random, moments)
{
    enum { N = 200000 };
    oxp_random r = oxp_random_make(0, 0, 0);
    double uniform = 0, mean = 0, square = 0, fourth = 0, sign = 0;
    for (int i = 0; i < N; i++) {
        double u = oxp_random_uniform(&r);
        cr_assert(u >= 0 && u < 1);
        uniform += u / N;
        double z = oxp_random_normal(&r);
        cr_assert(isfinite(z));
        mean += z / N;
        square += z * z / N;
        fourth += z * z * z * z / N;
        float s = oxp_random_sign(&r);
        cr_assert(s == 1.0f || s == -1.0f);
        sign += (double)s / N;
    }
    double root = sqrt((double)N); /* bounds: five standard errors */
    cr_expect_lt(fabs(uniform - 0.5), 5 * sqrt(1.0 / 12) / root);
    cr_expect_lt(fabs(mean), 5 / root);
    cr_expect_lt(fabs(square - 1), 5 * sqrt(2) / root);
    cr_expect_lt(fabs(fourth - 3), 5 * sqrt(96) / root);
    cr_expect_lt(fabs(sign), 5 / root);
}
