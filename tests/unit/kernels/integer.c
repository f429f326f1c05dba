/* Integer products against 64-bit sums, at the ends of every type and far beyond what one float
 * sum holds. */
#include "kernels/integer.h"

#include "unit/kernels/values.h"

static oxp_ctx ctx;

static void setup(void)
{
    oxp_ctx_init(&ctx);
}

static void teardown(void)
{
    cr_expect_eq(atomic_load(&ctx.own_budget.used), 0, "a block was not given back");
}

TestSuite(integer, .init = setup, .fini = teardown);

static int64_t code_at(const oxp_codes *c, size_t i)
{
    return c->is_signed ? ((const int8_t *)c->data)[i] : ((const uint8_t *)c->data)[i];
}

/* Codes: random, or (extreme) all at one end with the zero point at the other. */
static oxp_codes make_codes(oxp_random *r, size_t n, size_t zeros, bool extreme)
{
    oxp_codes c = {.is_signed = oxp_random_below(r, 2)};
    int32_t low = c.is_signed ? -128 : 0;
    uint8_t *codes = random_bytes(r, n);
    int32_t *zero_points = make_block(zeros, sizeof *zero_points);
    bool above = oxp_random_below(r, 2);
    for (size_t i = 0; i < n && extreme; i++)
        codes[i] = (uint8_t)(above ? low + 255 : low);
    for (size_t i = 0; i < zeros; i++)
        zero_points[i] =
            extreme ? (above ? low : low + 255) : low + (int32_t)oxp_random_below(r, 256);
    c.data = codes;
    c.zero_points = zero_points;
    return c;
}

static void free_codes(oxp_codes *c)
{
    free((void *)(uintptr_t)c->data);
    free((void *)(uintptr_t)c->zero_points);
}

static void check_matmul(oxp_random *r, size_t m, size_t n, size_t k, bool extreme)
{
    oxp_gemm_shape s = oxp_gemm_plain(oxp_random_below(r, 2), oxp_random_below(r, 2), m, n, k);
    oxp_codes a = make_codes(r, m * k, m, extreme), b = make_codes(r, k * n, n, extreme);
    int32_t *found = make_block(m * n, sizeof *found);
    cr_assert_eq(oxp_integer_matmul(&ctx, &s, a, b, found), OXP_OK, "%s", ctx.message);
    size_t wrong = 0;
    for (size_t i = 0; i < m * n; i++) {
        int64_t sum = 0;
        for (size_t p = 0; p < k; p++) {
            int64_t x =
                code_at(&a, s.trans_a ? p * m + i / n : i / n * k + p) - a.zero_points[i / n];
            sum +=
                x * (code_at(&b, s.trans_b ? i % n * k + p : p * n + i % n) - b.zero_points[i % n]);
        }
        wrong += (int64_t)found[i] != sum;
    }
    cr_expect_eq(wrong, 0, "%zu sums are wrong for [%zu,%zu]x[%zu,%zu]", wrong, m, k, k, n);
    free(found);
    free_codes(&a);
    free_codes(&b);
}

Test(integer, products_are_exact)
{
    static const size_t shapes[][3] = {{1, 7, 5},     {3, 33, 700},  {4, 600, 20},  {5, 600, 20},
                                       {17, 31, 258}, {17, 31, 259}, {9, 513, 515}, {8, 3, 3000},
                                       {6, 1, 1},     {2, 4, 0}};
    oxp_random r = oxp_random_make(1, 0, 0);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int k = 0; k < 6; k++)
            check_matmul(&r, shapes[i][0], shapes[i][1], shapes[i][2], k % 2);
}

Test(integer, a_missing_zero_point_is_0)
{
    const uint8_t a[3] = {255, 255, 1}, b[3] = {255, 2, 3};
    oxp_gemm_shape s = oxp_gemm_plain(false, false, 1, 1, 3);
    int32_t sum;
    cr_assert_eq(oxp_integer_matmul(&ctx, &s, (oxp_codes){.data = a}, (oxp_codes){.data = b}, &sum),
                 OXP_OK);
    cr_expect_eq(sum, 255 * 255 + 510 + 3);
}

static int64_t conv_sum(const oxp_conv_shape *s, const oxp_codes *x, const oxp_codes *w, size_t i)
{
    const oxp_window *g = &s->window;
    size_t channels = s->in_channels / s->groups, taps = oxp_volume(g->kernel),
           out = oxp_volume(g->out);
    size_t n = i / out / s->out_channels, m = i / out % s->out_channels,
           group = m / (s->out_channels / s->groups);
    size_t o[3] = {i % out / g->out[2] / g->out[1], i % out / g->out[2] % g->out[1], i % g->out[2]};
    int64_t sum = 0;
    for (size_t k = 0; k < channels * taps; k++) {
        size_t tap[3] = {k % taps / g->kernel[2] / g->kernel[1],
                         k % taps / g->kernel[2] % g->kernel[1], k % g->kernel[2]};
        size_t at = n * s->in_channels + group * channels + k / taps;
        bool inside = true;
        for (int d = 0; d < 3; d++) {
            size_t p = o[d] * g->stride[d] + tap[d] * g->dilation[d];
            inside = inside && p >= g->begin[d] && p - g->begin[d] < g->in[d];
            at = at * g->in[d] + (inside ? p - g->begin[d] : 0);
        }
        if (inside)
            sum += (code_at(x, at) - x->zero_points[0]) *
                   (code_at(w, m * channels * taps + k) - w->zero_points[m]);
    }
    return sum;
}

static void check_conv(oxp_random *r, const oxp_conv_shape *s, bool extreme)
{
    size_t taps = s->in_channels / s->groups * oxp_volume(s->window.kernel);
    size_t outputs = s->batch * s->out_channels * oxp_volume(s->window.out), wrong = 0;
    oxp_codes x = make_codes(r, s->batch * s->in_channels * oxp_volume(s->window.in), 1, extreme);
    oxp_codes w = make_codes(r, s->out_channels * taps, s->out_channels, extreme);
    int32_t *found = make_block(outputs, sizeof *found);
    cr_assert_eq(oxp_integer_conv(&ctx, s, x, w, found), OXP_OK, "%s", ctx.message);
    for (size_t i = 0; i < outputs; i++)
        wrong += (int64_t)found[i] != conv_sum(s, &x, &w, i);
    cr_expect_eq(wrong, 0, "%zu of %zu sums are wrong", wrong, outputs);
    free(found);
    free_codes(&x);
    free_codes(&w);
}

Test(integer, convolutions_are_exact)
{
    oxp_random r = oxp_random_make(2, 0, 0);
    for (int i = 0; i < 60; i++) {
        bool depthwise = i % 4 == 0;
        size_t groups = depthwise ? random_size(&r, 2, 6) : random_size(&r, 1, 2);
        oxp_conv_shape s = {.batch = random_size(&r, 1, 2),
                            .groups = groups,
                            .window = random_window(&r, 1 + i % 3, 6, i % 5 == 0)};
        s.in_channels = groups * (depthwise ? 1 : random_size(&r, 1, i % 6 == 1 ? 80 : 5));
        s.out_channels = groups * random_size(&r, 1, 4);
        check_conv(&r, &s, i % 3 == 0);
    }
}

Test(integer, the_plain_forms_agree)
{
    oxp_random r = oxp_random_make(3, 0, 0);
    oxp_gemm_shape g = oxp_gemm_plain(false, false, 6, 5, 300);
    oxp_conv_shape c = {.batch = 1,
                        .groups = 1,
                        .in_channels = 40,
                        .out_channels = 3,
                        .window = random_window(&r, 2, 6, false)};
    size_t outputs = 3 * oxp_volume(c.window.out), taps = 40 * oxp_volume(c.window.kernel);
    oxp_codes a = make_codes(&r, 1800, 6, false), b = make_codes(&r, 1500, 5, false);
    oxp_codes x = make_codes(&r, 40 * oxp_volume(c.window.in), 1, false),
              w = make_codes(&r, 3 * taps, 3, false);
    int32_t found[30], expected[30], *found_conv = make_block(outputs, 4),
                                     *expected_conv = make_block(outputs, 4);
    cr_assert_eq(oxp_integer_matmul(&ctx, &g, a, b, found), OXP_OK);
    oxp_integer_matmul_reference(&g, a, b, expected);
    cr_expect_arr_eq(found, expected, sizeof found);
    cr_assert_eq(oxp_integer_conv(&ctx, &c, x, w, found_conv), OXP_OK);
    oxp_integer_conv_reference(&c, x, w, expected_conv);
    cr_expect_arr_eq(found_conv, expected_conv, outputs * 4);
    free(found_conv);
    free(expected_conv);
    free_codes(&a);
    free_codes(&b);
    free_codes(&x);
    free_codes(&w);
}
