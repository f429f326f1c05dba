/* Convolutions and pools over channels-last tensors against the plain forms. */
#include "kernels/conv.h"
#include "kernels/pool.h"
#include "kernels/pool_last.h"

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

TestSuite(channels_last, .init = setup, .fini = teardown);

/* [images, rows, columns] to [images, columns, rows] */
static float *turned(const float *x, size_t images, size_t rows, size_t columns)
{
    float *y = make_block(images * rows * columns, sizeof *y);
    for (size_t i = 0; i < images; i++)
        for (size_t r = 0; r < rows; r++)
            for (size_t c = 0; c < columns; c++)
                y[(i * columns + c) * rows + r] = x[(i * rows + r) * columns + c];
    return y;
}

static void check_conv(const oxp_conv_shape *s, oxp_random *r, oxp_conv_layout layout, int number)
{
    size_t in = oxp_volume(s->window.in), out = oxp_volume(s->window.out);
    size_t outputs = s->batch * s->out_channels * out;
    float *src = random_floats(r, s->batch * s->in_channels * in);
    float *weights = random_floats(r, s->out_channels * (s->in_channels / s->groups) *
                                          oxp_volume(s->window.kernel));
    float *bias = random_floats(r, s->out_channels);
    float *found = make_block(outputs, sizeof *found),
          *expected = make_block(outputs, sizeof *found);
    float *fed = turned(src, s->batch, s->in_channels, in);
    oxp_conv *conv;
    cr_assert_eq(oxp_conv_create_in(&conv, &ctx, s, layout), OXP_OK, "%s", ctx.message);
    cr_assert_eq(oxp_conv_pack(conv, &ctx, weights), OXP_OK);
    cr_assert_eq(oxp_conv_run(conv, &ctx, layout.src_last ? fed : src, bias, found), OXP_OK);
    oxp_conv_reference(s, src, weights, bias, expected);
    float *plain = layout.dst_last ? turned(found, s->batch, out, s->out_channels) : found;
    double off = difference(plain, expected, outputs);
    cr_expect(off < 5e-6, "case %d (%s): %g off", number, oxp_conv_method(conv), off);
    oxp_conv_free(conv);
    if (plain != found)
        free(plain);
    free(src);
    free(weights);
    free(bias);
    free(found);
    free(expected);
    free(fed);
}

Test(channels_last, convolutions)
{
    oxp_random r = oxp_random_make(1, 0, 0);
    for (int i = 0; i < 160; i++) {
        bool depthwise = i % 4 == 0;
        size_t groups = depthwise ? random_size(&r, 2, 40) : i % 5 ? 1 : random_size(&r, 1, 3);
        oxp_conv_shape s = {.batch = random_size(&r, 1, 2), .groups = groups};
        s.in_channels = groups * (depthwise ? 1 : random_size(&r, 1, 40));
        s.out_channels = groups * (depthwise ? random_size(&r, 1, 2) : random_size(&r, 1, 40));
        s.window = random_window(&r, 1 + i % 3, 9, true);
        oxp_conv_layout layout = {i % 8 < 6, i % 8 >= 2};
        check_conv(&s, &r, layout, i);
    }
}

/* More channels than one sum takes. */
Test(channels_last, convolutions_with_long_sums)
{
    static const size_t channels[] = {129, 132, 200, 256, 261, 300, 387};
    oxp_random r = oxp_random_make(4, 0, 0);
    for (int i = 0; i < 28; i++) {
        oxp_conv_shape s = {.batch = random_size(&r, 1, 2), .groups = 1};
        s.in_channels = channels[i % 7];
        s.out_channels = random_size(&r, 1, 40);
        s.window = random_window(&r, i % 3, 6, false);
        check_conv(&s, &r, (oxp_conv_layout){i % 4 < 3, i % 4 >= 1}, i);
    }
}

Test(channels_last, packed_once_for_two_handles)
{
    oxp_random r = oxp_random_make(2, 0, 0);
    oxp_conv_shape s = {
        1,
        1,
        32,
        48,
        {{1, 9, 9}, {1, 9, 9}, {1, 3, 3}, {1, 1, 1}, {1, 1, 1}, {0, 1, 1}, {0, 1, 1}}};
    float *src = random_floats(&r, 32 * 81), *weights = random_floats(&r, (size_t)48 * 32 * 9);
    float first[48 * 81], second[48 * 81];
    oxp_conv *a, *b;
    void *packed;
    cr_assert_eq(oxp_conv_create_in(&a, &ctx, &s, (oxp_conv_layout){true, true}), OXP_OK);
    cr_assert_eq(oxp_conv_create_in(&b, &ctx, &s, (oxp_conv_layout){true, true}), OXP_OK);
    cr_assert_eq(oxp_conv_packed_bytes(a), oxp_conv_packed_bytes(b));
    cr_assert_eq(oxp_alloc_raw(&packed, &ctx, oxp_conv_packed_bytes(a) + 1, 1, "test"), OXP_OK);
    cr_assert_eq(oxp_conv_pack_into(a, &ctx, weights, packed), OXP_OK);
    oxp_conv_use_packed(a, weights, packed);
    oxp_conv_use_packed(b, weights, packed);
    cr_assert_eq(oxp_conv_run(a, &ctx, src, NULL, first), OXP_OK);
    cr_assert_eq(oxp_conv_run(b, &ctx, src, NULL, second), OXP_OK);
    cr_expect_eq(memcmp(first, second, sizeof first), 0);
    oxp_conv_free(a);
    oxp_conv_free(b);
    oxp_free(packed);
    free(src);
    free(weights);
}

Test(channels_last, pools)
{
    oxp_random r = oxp_random_make(3, 0, 0);
    for (int i = 0; i < 120; i++) {
        oxp_window w = random_window(&r, 1 + i % 3, 12, false);
        size_t images = random_size(&r, 1, 2), channels = random_size(&r, 1, 90);
        size_t in = oxp_volume(w.in), out = oxp_volume(w.out), n = images * channels * out;
        float *src = random_floats(&r, images * channels * in);
        float *found = make_block(n, sizeof *found), *expected = make_block(n, sizeof *expected);
        if (i % 4 == 0)
            src[0] = NAN;
        float *last = turned(src, images, channels, in);
        oxp_pool_last_max(&w, images, channels, last, found);
        oxp_pool_max_reference(&w, images * channels, src, expected);
        float *plain = turned(found, images, out, channels);
        for (size_t k = 0; k < n; k++)
            cr_expect(plain[k] == expected[k] || (isnan(plain[k]) && isnan(expected[k])),
                      "maximum %zu of case %d", k, i);
        free(plain);
        src[0] = last[0] = 1;
        oxp_pool_last_average(&w, images, channels, i % 2, last, found);
        oxp_pool_average_reference(&w, images * channels, i % 2, src, expected);
        plain = turned(found, images, out, channels);
        cr_expect(difference(plain, expected, n) < 1e-6, "average of case %d", i);
        free(plain);
        oxp_pool_last_global_average(images, channels, in, last, found);
        oxp_pool_global_average(images * channels, in, src, expected);
        cr_expect(difference(found, expected, images * channels) < 1e-6, "all of case %d", i);
        free(src);
        free(last);
        free(found);
        free(expected);
    }
}
