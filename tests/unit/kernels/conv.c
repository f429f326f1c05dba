/* The convolution against its plain form, over a table of shapes that takes every method and over
 * random ones. */
#include "kernels/conv.h"

#include "unit/kernels/values.h"

void omp_set_num_threads(int threads);

static oxp_ctx ctx;

static void setup(void)
{
    oxp_ctx_init(&ctx);
}

static void teardown(void)
{
    cr_expect_eq(atomic_load(&ctx.own_budget.used), 0, "a block was not given back");
}

TestSuite(conv, .init = setup, .fini = teardown);

typedef struct operands {
    float *src, *weights, *bias, *found, *expected;
    size_t outputs;
} operands;

static operands make_operands(const oxp_conv_shape *s, oxp_random *r, bool transposed)
{
    const size_t *from = transposed ? s->window.out : s->window.in;
    const size_t *to = transposed ? s->window.in : s->window.out;
    size_t pairs = transposed ? s->in_channels * (s->out_channels / s->groups)
                              : s->out_channels * (s->in_channels / s->groups);
    operands o = {.outputs = s->batch * s->out_channels * oxp_volume(to)};
    o.src = random_floats(r, s->batch * s->in_channels * oxp_volume(from));
    o.weights = random_floats(r, pairs * oxp_volume(s->window.kernel));
    o.bias = random_floats(r, s->out_channels);
    o.found = make_block(o.outputs, sizeof *o.found);
    o.expected = make_block(o.outputs, sizeof *o.expected);
    return o;
}

static void free_operands(operands *o)
{
    free(o->src);
    free(o->weights);
    free(o->bias);
    free(o->found);
    free(o->expected);
}

static void expect_same(const oxp_conv_shape *s, const operands *o, const char *method)
{
    double d = difference(o->found, o->expected, o->outputs);
    const oxp_window *w = &s->window;
    cr_expect(d < 5e-6,
              "%s: %g off for %zu images, %zu groups, %zu to %zu channels, in %zux%zux%zu, kernel "
              "%zux%zux%zu, stride %zu %zu %zu",
              method, d, s->batch, s->groups, s->in_channels, s->out_channels, w->in[0], w->in[1],
              w->in[2], w->kernel[0], w->kernel[1], w->kernel[2], w->stride[0], w->stride[1],
              w->stride[2]);
}

/* With and without bias; returns the method. */
static const char *check(const oxp_conv_shape *s, oxp_random *r)
{
    operands o = make_operands(s, r, false);
    oxp_conv *conv;
    cr_assert_eq(oxp_conv_create(&conv, &ctx, s), OXP_OK, "%s", ctx.message);
    const char *method = oxp_conv_method(conv);
    cr_assert_eq(oxp_conv_pack(conv, &ctx, o.weights), OXP_OK, "%s", ctx.message);
    for (int biased = 0; biased < 2; biased++) {
        const float *bias = biased ? o.bias : NULL;
        cr_assert_eq(oxp_conv_run(conv, &ctx, o.src, bias, o.found), OXP_OK, "%s", ctx.message);
        oxp_conv_reference(s, o.src, o.weights, bias, o.expected);
        expect_same(s, &o, method);
    }
    oxp_conv_free(conv);
    free_operands(&o);
    return method;
}

#define PLANE(h, w, oh, ow, kh, kw, s, d, p)                                             \
    {                                                                                    \
        {1, h, w}, {1, oh, ow}, {1, kh, kw}, {1, s, s}, {1, d, d}, {0, p, p}, {0, p, p}, \
    }

typedef struct row {
    oxp_conv_shape shape;
    const char *methods; /* one of these */
} row;

static const row table[] = {
    {{1, 1, 8, 16, PLANE(14, 14, 14, 14, 3, 3, 1, 1, 1)}, "blocked columns"},
    {{2, 1, 3, 16, PLANE(31, 29, 16, 15, 7, 7, 2, 1, 3)}, "blocked columns"},
    {{1, 1, 30, 50, PLANE(9, 11, 5, 6, 3, 3, 2, 1, 1)}, "blocked columns"},
    {{1, 1, 16, 16, PLANE(20, 20, 20, 20, 3, 3, 1, 2, 2)}, "blocked columns"},
    {{1, 5, 15, 25, PLANE(10, 10, 10, 10, 3, 3, 1, 1, 1)}, "blocked columns"},
    {{1, 1, 1, 8, PLANE(28, 28, 28, 28, 5, 5, 1, 1, 2)}, "blocked columns"},
    {{1, 1, 64, 128, PLANE(7, 7, 7, 7, 1, 1, 1, 1, 0)}, "blocked pointwise"},
    {{1, 1, 8, 8, PLANE(6, 6, 12, 12, 1, 1, 1, 1, 3)}, "columns"}, /* padding beyond the kernel */
    {{2, 1, 24, 17, PLANE(28, 30, 28, 30, 1, 1, 1, 1, 0)}, "pointwise"},
    {{1, 2, 24, 18, PLANE(13, 13, 13, 13, 1, 1, 1, 1, 0)}, "pointwise"},
    {{1, 1, 33, 7, PLANE(1, 1, 1, 1, 1, 1, 1, 1, 0)}, "pointwise"},
    {{2, 3, 99, 21, PLANE(1, 1, 1, 1, 1, 1, 1, 1, 0)}, "pointwise"},
    {{2, 1, 300, 20, PLANE(13, 12, 13, 12, 1, 1, 1, 1, 0)}, "pointwise"}, /* sums in pieces */
    {{2, 1, 240, 20, PLANE(8, 9, 8, 9, 1, 1, 1, 1, 0)}, "blocked pointwise"},
    {{2, 1, 264, 10, PLANE(9, 8, 5, 4, 3, 3, 2, 1, 1)}, "blocked columns"},
    {{1, 12, 12, 12, PLANE(28, 28, 28, 28, 3, 3, 1, 1, 1)}, "depthwise"},
    {{2, 12, 12, 24, PLANE(27, 26, 14, 13, 3, 3, 2, 1, 1)}, "depthwise"},
    {{1, 12, 12, 12, PLANE(7, 7, 7, 7, 7, 7, 1, 1, 3)}, "depthwise"},
    {{1, 3, 3, 3, PLANE(40, 131, 10, 33, 3, 3, 4, 2, 2)}, "depthwise"},
    {{1, 1, 0, 4, PLANE(5, 5, 3, 3, 3, 3, 1, 1, 0)}, "columns"},
};

Test(conv, every_method_gives_the_plain_result)
{
    oxp_random r = oxp_random_make(1, 0, 0);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const char *method = check(&table[i].shape, &r);
        bool expected = strstr(table[i].methods, method) || strcmp(method, "reference") == 0;
        cr_expect(expected, "row %zu is %s, expected %s", i, method, table[i].methods);
    }
}

/* The root mean square of what a convolution of 480 positive channels is off, against its plain
 * form's size. */
static double error_of_long_sums(oxp_conv_layout layout, size_t side, oxp_random *r)
{
    oxp_conv_shape s = {1, 1, 480, 64, PLANE(side, side, side, side, 1, 1, 1, 1, 0)};
    operands o = make_operands(&s, r, false);
    oxp_conv *conv;
    double off = 0, size = 0;
    for (size_t i = 0; i < 480 * side * side; i++)
        o.src[i] = 0.5f + 0.5f * o.src[i];
    for (size_t i = 0; i < 64 * 480; i++)
        o.weights[i] = 0.5f + 0.5f * o.weights[i];
    cr_assert_eq(oxp_conv_create_in(&conv, &ctx, &s, layout), OXP_OK, "%s", ctx.message);
    cr_assert_eq(oxp_conv_pack(conv, &ctx, o.weights), OXP_OK, "%s", ctx.message);
    cr_assert_eq(oxp_conv_run(conv, &ctx, o.src, o.bias, o.found), OXP_OK, "%s", ctx.message);
    float *src = make_block(480 * side * side, sizeof *src); /* as ONNX has it */
    for (size_t c = 0; c < 480; c++)
        for (size_t i = 0; i < side * side; i++)
            src[c * side * side + i] = o.src[layout.src_last ? i * 480 + c : c * side * side + i];
    oxp_conv_reference(&s, src, o.weights, o.bias, o.expected);
    for (size_t m = 0; m < 64; m++)
        for (size_t i = 0; i < side * side; i++) {
            double found = (double)o.found[layout.dst_last ? i * 64 + m : m * side * side + i];
            double expected = (double)o.expected[m * side * side + i];
            off += (found - expected) * (found - expected);
            size += expected * expected;
        }
    oxp_conv_free(conv);
    free_operands(&o);
    free(src);
    return sqrt(off / size);
}

/* Added up in one go they are further off. */
Test(conv, long_sums_are_added_up_in_pieces)
{
    oxp_random r = oxp_random_make(7, 0, 0);
    static const oxp_conv_layout first = {false, false}, last = {true, true};
    cr_expect_lt(error_of_long_sums(first, 12, &r), 1.5e-7);
    cr_expect_lt(error_of_long_sums(last, 12, &r), 1.5e-7);
    cr_expect_lt(error_of_long_sums(first, 1, &r), 1e-9); /* doubles: the same rounding */
    cr_expect_lt(error_of_long_sums(last, 1, &r), 1e-9);
}

Test(conv, random_shapes_give_the_plain_result)
{
    oxp_random r = oxp_random_make(2, 0, 0);
    for (int i = 0; i < 150; i++) {
        bool depthwise = i % 3 == 0;
        size_t groups = depthwise ? random_size(&r, 2, 9) : random_size(&r, 1, 3);
        size_t channels = depthwise ? 1 : random_size(&r, 1, 9),
               per_group = random_size(&r, 1, depthwise ? 4 : 9);
        oxp_conv_shape s = {.batch = random_size(&r, 1, 2),
                            .groups = groups,
                            .in_channels = groups * channels,
                            .out_channels = groups * per_group,
                            .window = random_window(&r, 1 + i % 3, 12, i % 5 == 0)};
        check(&s, &r);
    }
}

Test(conv, bits_do_not_depend_on_the_number_of_threads)
{
    oxp_random r = oxp_random_make(3, 0, 0);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const oxp_conv_shape *s = &table[i].shape;
        operands o = make_operands(s, &r, false);
        for (int threads = 1; threads < 8; threads += 3) {
            oxp_conv *conv;
            omp_set_num_threads(threads);
            cr_assert_eq(oxp_conv_create(&conv, &ctx, s), OXP_OK);
            cr_assert_eq(oxp_conv_pack(conv, &ctx, o.weights), OXP_OK);
            cr_assert_eq(
                oxp_conv_run(conv, &ctx, o.src, o.bias, threads == 1 ? o.expected : o.found),
                OXP_OK);
            oxp_conv_free(conv);
            bool same =
                threads == 1 || memcmp(o.found, o.expected, o.outputs * sizeof *o.found) == 0;
            cr_expect(same, "row %zu differs between 1 and %d threads", i, threads);
        }
        free_operands(&o);
    }
    omp_set_num_threads(1);
}

Test(conv, packing_again_takes_the_new_weights)
{
    oxp_random r = oxp_random_make(4, 0, 0);
    for (size_t i = 0; i < 12; i++) {
        const oxp_conv_shape *s = &table[i].shape;
        operands first = make_operands(s, &r, false), second = make_operands(s, &r, false);
        oxp_conv *conv;
        cr_assert_eq(oxp_conv_create(&conv, &ctx, s), OXP_OK);
        cr_assert_eq(oxp_conv_pack(conv, &ctx, first.weights), OXP_OK);
        cr_assert_eq(oxp_conv_run(conv, &ctx, second.src, NULL, second.found), OXP_OK);
        cr_assert_eq(oxp_conv_pack(conv, &ctx, second.weights), OXP_OK);
        cr_assert_eq(oxp_conv_run(conv, &ctx, second.src, NULL, second.found), OXP_OK);
        oxp_conv_reference(s, second.src, second.weights, NULL, second.expected);
        expect_same(s, &second, oxp_conv_method(conv));
        oxp_conv_free(conv);
        free_operands(&first);
        free_operands(&second);
    }
}

Test(conv, a_batch_of_none_writes_nothing)
{
    oxp_conv_shape s = table[0].shape;
    s.batch = 0;
    float weights[16 * 8 * 9] = {0};
    oxp_conv *conv;
    cr_assert_eq(oxp_conv_create(&conv, &ctx, &s), OXP_OK);
    cr_assert_eq(oxp_conv_pack(conv, &ctx, weights), OXP_OK);
    cr_expect_eq(oxp_conv_run(conv, &ctx, NULL, NULL, NULL), OXP_OK);
    oxp_conv_free(conv);
}

/* ---- transpose ---- */

Test(conv, the_transpose_gives_the_plain_result)
{
    oxp_random r = oxp_random_make(5, 0, 0);
    for (int i = 0; i < 120; i++) {
        size_t groups = random_size(&r, 1, 3);
        oxp_conv_shape s = {.batch = random_size(&r, 1, 2),
                            .groups = groups,
                            .in_channels = groups * random_size(&r, 1, 6),
                            .out_channels = groups * random_size(&r, 1, 6),
                            .window = random_window(&r, 1 + i % 3, 9, false)};
        operands o = make_operands(&s, &r, true);
        const float *bias = i % 2 ? o.bias : NULL;
        cr_assert_eq(oxp_deconv_run(&ctx, &s, o.src, o.weights, bias, o.found), OXP_OK, "%s",
                     ctx.message);
        cr_assert_eq(oxp_deconv_reference(&ctx, &s, o.src, o.weights, bias, o.expected), OXP_OK);
        expect_same(&s, &o, "transpose");
        free_operands(&o);
    }
}

static double dot(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

/* <conv x, y> = <x, conv^T y>: neither side knows how the other is computed. */
Test(conv, the_transpose_is_the_adjoint)
{
    oxp_random r = oxp_random_make(6, 0, 0);
    for (int i = 0; i < 40; i++) {
        oxp_conv_shape s = {.batch = 1, .groups = 1, .in_channels = 3, .out_channels = 4};
        s.window = random_window(&r, 1 + i % 3, 8, false);
        oxp_conv_shape back = s;
        back.in_channels = s.out_channels;
        back.out_channels = s.in_channels;
        operands x = make_operands(&s, &r, false), y = make_operands(&back, &r, true);
        oxp_conv_reference(&s, x.src, x.weights, NULL, x.found);
        cr_assert_eq(oxp_deconv_run(&ctx, &back, y.src, x.weights, NULL, y.found), OXP_OK);
        double there = dot(x.found, y.src, x.outputs), back_again = dot(x.src, y.found, y.outputs);
        cr_expect(fabs(there - back_again) < 1e-4 * (1 + fabs(there)), "%g and %g", there,
                  back_again);
        free_operands(&x);
        free_operands(&y);
    }
}
