/* conv.c - Conv: y[N, M, out] = x[N, C, in] * w[M, C/group, kernel] + b[M], over one to three
 * spatial axes.
 *
 * https://onnx.ai/onnx/operators/onnx__Conv.html. Computes in FLOAT; other float types are
 * converted around it. */
#include "operators/conv.h"

#include <string.h>

#include "kernels/conv_backward.h"
#include "operators/host.h"
#include "operators/gradient.h"
#include "operators/real.h"
#include "operators/window.h"

typedef struct conv_state {
    oxp_conv *conv;
    oxp_conv_shape shape; /* of `conv` */
    oxp_conv_layout layout;
    bool packed; /* constant weights are in the handle */
} conv_state;

static oxp_status check_shapes(oxp_node *n, int w_input, int b_input, int64_t group)
{
    const oxp_tensor *x = n->in[0], *w = n->in[w_input],
                     *b = oxp_node_has(n, b_input) ? n->in[b_input] : NULL;
    if (w->rank != x->rank)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                             "input %d has rank %d, expected %d as input 0", w_input, w->rank,
                             x->rank);
    if (group < 1 || x->dims[1] % group != 0 || w->dims[0] % group != 0)
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE",
                             "group %lld does not divide %lld input and %lld output channels",
                             (long long)group, (long long)x->dims[1], (long long)w->dims[0]);
    if (w->dims[1] != x->dims[1] / group)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                             "input %d has %lld channels per group, expected %lld", w_input,
                             (long long)w->dims[1], (long long)(x->dims[1] / group));
    if (b && (b->rank != 1 || b->dims[0] != w->dims[0])) {
        char text[OXP_SHAPE_TEXT_MAX];
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "input %d has shape %s, expected [%lld]",
                             b_input, oxp_shape_text(text, b->rank, b->dims),
                             (long long)w->dims[0]);
    }
    return OXP_OK;
}

oxp_status oxp_conv_read(oxp_node *n, int w_input, int b_input, oxp_conv_shape *shape, int *spatial)
{
    const oxp_tensor *x = n->in[0], *w = n->in[w_input];
    int64_t kernel[OXP_MAX_SPATIAL], group = oxp_attr_int(n, "group", 1);
    OXP_TRY(oxp_window_rank(n, x, spatial));
    OXP_TRY(check_shapes(n, w_input, b_input, group));
    *shape = (oxp_conv_shape){.batch = (size_t)x->dims[0],
                              .groups = (size_t)group,
                              .in_channels = (size_t)x->dims[1],
                              .out_channels = (size_t)w->dims[0]};
    OXP_TRY(oxp_window_kernel(n, *spatial, w->dims + 2, kernel));
    return oxp_window_read(n, *spatial, x->dims + 2, kernel,
                           (oxp_window_options){.dilations = true}, &shape->window);
}

oxp_status oxp_conv_output(oxp_node *n, const oxp_conv_shape *shape, int spatial, oxp_dtype dtype)
{
    int64_t dims[OXP_MAX_SPATIAL + 2] = {(int64_t)shape->batch, (int64_t)shape->out_channels};
    oxp_window_dims(shape->window.out, spatial, dims + 2);
    return oxp_output(n, 0, dtype, spatial + 2, dims);
}

void oxp_conv_cost(const oxp_node *n, int w_input, oxp_cost *cost)
{
    const oxp_tensor *w = n->in[w_input];
    oxp_cost_of(n,
                w->dims[0] ? (double)n->out[0].count * (double)(w->count / (size_t)w->dims[0]) : 0,
                cost);
}

/* Keeps the handle while the shape stays. */
static oxp_status keep_handle(oxp_node *n, const oxp_conv_shape *shape)
{
    conv_state *state = oxp_node_state(n, sizeof *state);
    oxp_conv_layout layout = {n->in_last, n->out_last};
    if (!state)
        return OXP_ELIMIT;
    if (state->conv && memcmp(&state->shape, shape, sizeof *shape) == 0 &&
        state->layout.src_last == layout.src_last && state->layout.dst_last == layout.dst_last)
        return OXP_OK;
    oxp_conv_free(state->conv);
    *state = (conv_state){.shape = *shape, .layout = layout};
    return oxp_conv_create_in(&state->conv, n->ctx, shape, layout);
}

static oxp_status prepare(oxp_node *n)
{
    oxp_conv_shape shape;
    int spatial;
    OXP_TRY(oxp_real_types(n, 1u << 1 | 1u << 2));
    OXP_TRY(oxp_conv_read(n, 1, 2, &shape, &spatial));
    OXP_TRY(oxp_conv_output(n, &shape, spatial, n->in[0]->dtype));
    return keep_handle(n, &shape);
}

typedef struct packing {
    const oxp_conv *conv;
    const float *weights;
} packing;

static oxp_status fill(void *user, oxp_ctx *ctx, void *block)
{
    const packing *p = user;
    return oxp_conv_pack_into(p->conv, ctx, p->weights, block);
}

/* Constant weights are packed once, for all sessions where they share what is packed. */
static oxp_status pack(oxp_node *n, conv_state *state)
{
    const float *weights = oxp_real_in(n, 1);
    if (!weights)
        return OXP_ELIMIT;
    size_t bytes = oxp_conv_packed_bytes(state->conv);
    bool lasts = oxp_node_is_constant(n, 1) && n->in[1]->dtype == OXP_FLOAT;
    if (!lasts || !bytes || !n->host->shared) {
        state->packed = lasts;
        return oxp_conv_pack(state->conv, n->ctx, weights);
    }
    packing p = {state->conv, weights};
    const void *block;
    OXP_TRY(oxp_shared_get(&block, n->host->shared, n->ctx, weights, &state->shape,
                           sizeof state->shape, bytes, fill, &p));
    oxp_conv_use_packed(state->conv, weights, block);
    state->packed = true;
    return OXP_OK;
}

static oxp_status forward(oxp_node *n)
{
    if (!oxp_node_makes(n, 0))
        return OXP_OK;
    conv_state *state = n->state;
    const float *bias, *x = oxp_real_in(n, 0);
    float *y = oxp_real_out(n, 0);
    if (!x || !y)
        return OXP_ELIMIT;
    OXP_TRY(oxp_real_in_optional(n, 2, &bias));
    if (!state->packed)
        OXP_TRY(pack(n, state));
    OXP_TRY(oxp_conv_run(state->conv, n->ctx, x, bias, y));
    if (!state->packed)
        oxp_conv_unpack(state->conv);
    oxp_real_done(n, 0, y);
    return OXP_OK;
}

static void backward_bias(const oxp_conv_shape *s, size_t positions, const float *dy, float *db)
{
    for (size_t m = 0; m < s->out_channels; m++) {
        double sum = 0;
        for (size_t b = 0; b < s->batch; b++)
            for (size_t i = 0; i < positions; i++)
                sum += (double)dy[(b * s->out_channels + m) * positions + i];
        db[m] += (float)sum;
    }
}

/* The gradient by the data of one is the other, run on dy. */
static oxp_status backward_data(oxp_node *n, const oxp_conv_shape *shape, bool transposed,
                                const float *dy, const float *w, float *dx)
{
    size_t count = n->in[0]->count;
    oxp_conv_shape other = oxp_conv_transposed(shape);
    float *part = oxp_node_scratch(n, count, sizeof *part);
    oxp_conv *conv = NULL;
    if (!part)
        return OXP_ELIMIT;
    oxp_status status = OXP_OK;
    if (!transposed) {
        status = oxp_deconv_run(n->ctx, &other, dy, w, NULL, part);
    } else {
        status = oxp_conv_create(&conv, n->ctx, &other);
        if (status == OXP_OK)
            status = oxp_conv_pack(conv, n->ctx, w);
        if (status == OXP_OK)
            status = oxp_conv_run(conv, n->ctx, dy, NULL, part);
        oxp_conv_free(conv);
    }
    if (status == OXP_OK)
        oxp_gradient_add(dx, part, count, 1);
    return status;
}

oxp_status oxp_conv_backward(oxp_node *n, const oxp_conv_shape *shape, bool transposed)
{
    const float *dy = oxp_dout(n, 0), *x = oxp_real_in(n, 0), *w = oxp_real_in(n, 1);
    if (!x || !w)
        return OXP_ELIMIT;
    if (!dy)
        return OXP_OK;
    oxp_conv_shape other = oxp_conv_transposed(shape);
    if (oxp_din(n, 1))
        OXP_TRY(oxp_conv_backward_weights(n->ctx, transposed ? &other : shape, transposed ? dy : x,
                                          transposed ? x : dy, oxp_din(n, 1)));
    if (oxp_din(n, 2))
        backward_bias(shape, oxp_volume(transposed ? shape->window.in : shape->window.out), dy,
                      oxp_din(n, 2));
    return oxp_din(n, 0) ? backward_data(n, shape, transposed, dy, w, oxp_din(n, 0)) : OXP_OK;
}

static oxp_status backward(oxp_node *n)
{
    const conv_state *state = n->state;
    return oxp_conv_backward(n, &state->shape, false);
}

static void release(oxp_node *n)
{
    conv_state *state = n->state;
    oxp_conv_free(state->conv);
    state->conv = NULL;
}

static void cost(const oxp_node *n, oxp_cost *cost)
{
    oxp_conv_cost(n, 1, cost);
}

static bool weight(const oxp_graph_node *def, int input, int rank, int *channel_axis)
{
    (void)def;
    *channel_axis = 0;
    return input == 1 && rank >= 3;
}

static const char *const examples[] = {
    "X[1,3,5,5] W[4,3,3,3]; pads=1,1,1,1",
    "X[2,4,7,6] W[6,2,3,2] B[6]; group=2 strides=2,1",
    "X[1,3,9,8] W[6,1,3,3] B[6]; group=3 pads=2,0,1,1 dilations=2,1",
    "X[1,8,6,6] W[8,1,3,3]; group=8 strides=2,2 pads=1,1,1,1",
    "X[2,5,4,3] W[7,5,1,1] B[7]",
    "X[1,2,11] W[3,2,4] B[3]; auto_pad='SAME_UPPER'",
    "X[1,2,10,9] W[3,2,3,4]; strides=3,2 auto_pad='SAME_LOWER'",
    "X[1,2,4,5,6] W[3,2,2,3,2] B[3]; auto_pad='VALID' strides=1,2,1",
    "X[1,2,3,4,4] W[2,1,3,3,3]; group=2 pads=1,1,1,1,1,1",
    "X[1,3,5,5]:f64 W[4,3,3,3]:f64 B[4]:f64; kernel_shape=3,3",
    "X[1,3,5,5]:f16 W[4,3,3,3]:f16 B[4]:f16",
    NULL};

const oxp_operator oxp_op_conv_1 = {.domain = "",
                                    .type = "Conv",
                                    .since = 1,
                                    .min_in = 2,
                                    .max_in = 3,
                                    .min_out = 1,
                                    .max_out = 1,
                                    .prepare = prepare,
                                    .forward = forward,
                                    .backward = backward,
                                    .saves = 3,
                                    .release = release,
                                    .cost = cost,
                                    .weight = weight,
                                    .channels_last = true,
                                    .examples = examples};
