/* The gradient of convolution weights: the tiled products against the plain sum, over the shapes
 * that take different ways (pointwise, grouped, depthwise, several tiles), and that they add. */
#include "kernels/conv_backward.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static void fill(float *x, size_t n, uint32_t seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        x[i] = (float)(seed >> 8) / (float)(1 << 23) - 1;
    }
}

static size_t out_of(size_t in, size_t kernel, size_t stride, size_t dilation, size_t pad)
{
    return (in + 2 * pad - dilation * (kernel - 1) - 1) / stride + 1;
}

typedef struct geometry {
    size_t batch, groups, in, out, size, kernel, stride, dilation, pad;
} geometry;

static oxp_conv_shape shape_of(const geometry *g)
{
    oxp_conv_shape s = {
        .batch = g->batch, .groups = g->groups, .in_channels = g->in, .out_channels = g->out};
    for (int i = 0; i < 3; i++) {
        bool used = i > 0;
        s.window.in[i] = used ? g->size : 1;
        s.window.kernel[i] = used ? g->kernel : 1;
        s.window.stride[i] = used ? g->stride : 1;
        s.window.dilation[i] = used ? g->dilation : 1;
        s.window.begin[i] = s.window.end[i] = used ? g->pad : 0;
        s.window.out[i] = used ? out_of(g->size, g->kernel, g->stride, g->dilation, g->pad) : 1;
    }
    return s;
}

static void compare(const geometry *g)
{
    oxp_ctx ctx;
    oxp_ctx_init(&ctx);
    oxp_conv_shape s = shape_of(g);
    size_t in = s.batch * s.in_channels * oxp_volume(s.window.in),
           out = s.batch * s.out_channels * oxp_volume(s.window.out),
           weights = s.out_channels * s.in_channels / s.groups * oxp_volume(s.window.kernel);
    float *memory = malloc((in + out + 2 * weights) * sizeof *memory);
    cr_assert_not_null(memory);
    float *x = memory, *dy = x + in, *fast = dy + out, *plain = fast + weights;
    fill(memory, in + out, 3);
    for (size_t i = 0; i < weights; i++) /* what is there stays */
        fast[i] = plain[i] = (float)(i % 5);
    cr_assert_eq(oxp_conv_backward_weights(&ctx, &s, x, dy, fast), OXP_OK);
    oxp_conv_backward_weights_reference(&s, x, dy, plain);
    double terms = (double)(s.batch * oxp_volume(s.window.out));
    for (size_t i = 0; i < weights; i++)
        cr_assert_float_eq(fast[i], plain[i], 1e-6 * terms + 1e-5,
                           "kernel %zu, groups %zu: weight %zu is %g, expected %g", g->kernel,
                           g->groups, i, (double)fast[i], (double)plain[i]);
    free(memory);
    cr_expect_eq(ctx.budget->used, 0);
}

Test(conv_backward, products_give_what_the_sum_gives)
{
    static const geometry cases[] = {
        {2, 1, 3, 5, 9, 3, 1, 1, 1},  {1, 1, 8, 4, 7, 1, 1, 1, 0},  {2, 2, 4, 6, 8, 3, 2, 1, 1},
        {1, 6, 6, 6, 11, 5, 1, 1, 2}, {1, 3, 3, 6, 10, 3, 1, 2, 2}, {1, 1, 64, 3, 33, 3, 1, 1, 1},
        {1, 1, 2, 3, 5, 1, 2, 1, 0},  {1, 1, 1, 1, 3, 3, 1, 1, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        compare(&cases[i]);
}
