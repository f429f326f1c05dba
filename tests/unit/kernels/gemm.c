/* Matrix products against their plain forms. */
#include "kernels/gemm.h"

#include "kernels/integer.h"
#include "unit/kernels/values.h"

void omp_set_num_threads(int threads);

static oxp_gemm_shape random_shape(oxp_random *r)
{
    static const size_t sizes[] = {1, 2, 3, 7, 16, 17, 33, 64, 100, 130};
    bool trans_a = oxp_random_below(r, 2), trans_b = oxp_random_below(r, 2);
    oxp_gemm_shape s =
        oxp_gemm_plain(trans_a, trans_b, sizes[oxp_random_below(r, 10)],
                       sizes[oxp_random_below(r, 10)], sizes[oxp_random_below(r, 10)]);
    s.lda += oxp_random_below(r, 3);
    s.ldb += oxp_random_below(r, 3);
    s.ldc += oxp_random_below(r, 3);
    return s;
}

static size_t rows_of(bool transposed, size_t rows, size_t columns)
{
    return transposed ? columns : rows;
}

Test(gemm, random_shapes_give_the_plain_result)
{
    oxp_random r = oxp_random_make(1, 0, 0);
    for (int i = 0; i < 300; i++) {
        oxp_gemm_shape s = random_shape(&r);
        float alpha = i % 3 ? 1 : 0.5f, beta = (float)(i % 4) / 2;
        float *a = random_floats(&r, rows_of(s.trans_a, s.m, s.k) * s.lda);
        float *b = random_floats(&r, rows_of(s.trans_b, s.k, s.n) * s.ldb);
        float *c = random_floats(&r, s.m * s.ldc),
              *expected = make_block(s.m * s.ldc, sizeof *expected);
        memcpy(expected, c, s.m * s.ldc * sizeof *c);
        oxp_gemm(&s, alpha, a, b, beta, c);
        oxp_gemm_reference(&s, alpha, a, b, beta, expected);
        double d = difference(c, expected, s.m * s.ldc); /* what lies between the rows must stay */
        cr_expect(d < 2e-6, "%g off for [%zu,%zu]x[%zu,%zu], transposed %d %d", d, s.m, s.k, s.k,
                  s.n, s.trans_a, s.trans_b);
        free(a);
        free(b);
        free(c);
        free(expected);
    }
}

Test(gemm, bits_do_not_depend_on_the_number_of_threads)
{
    static const size_t shapes[][3] = {
        {128, 384, 384}, {1, 1000, 512}, {3, 5, 4000}, {64, 3136, 64}, {200, 7, 999}};
    oxp_random r = oxp_random_make(2, 0, 0);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        oxp_gemm_shape s = oxp_gemm_plain(false, false, shapes[i][0], shapes[i][1], shapes[i][2]);
        float *a = random_floats(&r, s.m * s.k), *b = random_floats(&r, s.k * s.n);
        float *one = make_block(s.m * s.n, sizeof *one),
              *many = make_block(s.m * s.n, sizeof *many);
        omp_set_num_threads(1);
        oxp_gemm(&s, 1, a, b, 0, one);
        for (int threads = 2; threads < 9; threads += 3) {
            omp_set_num_threads(threads);
            oxp_gemm(&s, 1, a, b, 0, many);
            cr_expect(memcmp(one, many, s.m * s.n * sizeof *one) == 0,
                      "shape %zu differs with %d threads", i, threads);
        }
        free(a);
        free(b);
        free(one);
        free(many);
    }
    omp_set_num_threads(1);
}

Test(gemm, beta_0_does_not_read_the_destination)
{
    float a[6] = {1, 2, 3, 4, 5, 6}, b[3] = {1, 1, 1}, c[2] = {NAN, INFINITY};
    oxp_gemm_shape s = oxp_gemm_plain(false, false, 2, 1, 3);
    oxp_gemm(&s, 1, a, b, 0, c);
    cr_expect_eq(c[0], 6);
    cr_expect_eq(c[1], 15);
}

Test(gemm, an_empty_sum_is_0)
{
    float c[2] = {3, 4};
    oxp_gemm_shape s = oxp_gemm_plain(false, false, 1, 2, 0);
    oxp_gemm(&s, 1, NULL, NULL, 0.5f, c);
    cr_expect_eq(c[0], 1.5f);
    oxp_gemm(&s, 1, NULL, NULL, 0, c);
    cr_expect_eq(c[1], 0);
}

Test(gemm, double_gives_more_than_float)
{
    oxp_random r = oxp_random_make(3, 0, 0);
    for (int transposed = 0; transposed < 4; transposed++) {
        oxp_gemm_shape s = oxp_gemm_plain(transposed & 1, transposed & 2, 5, 6, 40);
        double a[200], b[240], c[30];
        for (size_t i = 0; i < 200; i++)
            a[i] = oxp_random_normal(&r);
        for (size_t i = 0; i < 240; i++)
            b[i] = oxp_random_normal(&r);
        oxp_gemm_double(&s, 1, a, b, 0, c);
        for (size_t i = 0; i < 30; i++) {
            long double sum = 0;
            for (size_t k = 0; k < 40; k++)
                sum += (long double)a[s.trans_a ? k * 5 + i / 6 : i / 6 * 40 + k] *
                       (long double)b[s.trans_b ? i % 6 * 40 + k : k * 6 + i % 6];
            cr_expect(fabsl(sum - (long double)c[i]) < 1e-12L);
        }
    }
}

Test(gemm, integers_wrap)
{
    uint32_t a[2] = {0xffffffffu, 3}, b[2] = {0x80000001u, 5}, c;
    uint64_t wide_a[1] = {UINT64_MAX}, wide_b[1] = {3}, wide_c;
    oxp_gemm_shape s = oxp_gemm_plain(false, false, 1, 1, 2),
                   one = oxp_gemm_plain(false, false, 1, 1, 1);
    oxp_gemm_wrap32(&s, a, b, &c);
    cr_expect_eq(c, 0x7fffffffu + 15);
    oxp_gemm_wrap64(&one, wide_a, wide_b, &wide_c);
    cr_expect_eq(wide_c, UINT64_MAX - 2);
}
