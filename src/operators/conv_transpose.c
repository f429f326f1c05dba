/* conv_transpose.c - ConvTranspose: y[N, M, out] from x[N, C, in] and w[C, M/group, kernel] +
 * b[M]: every input value adds its filter, scaled, to a patch of the output. One to three spatial
 * axes.
 *
 * https://onnx.ai/onnx/operators/onnx__ConvTranspose.html. Computes in FLOAT. */
#include "operators/conv.h"

#include "operators/real.h"
#include "operators/window.h"

typedef struct deconv_state {
    oxp_conv_shape shape;
} deconv_state;

static oxp_status check_shapes(oxp_node *n, int64_t group)
{
    const oxp_tensor *x = n->in[0], *w = n->in[1], *b = oxp_node_has(n, 2) ? n->in[2] : NULL;
    if (w->rank != x->rank)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                             "input 1 has rank %d, expected %d as input 0", w->rank, x->rank);
    if (w->dims[0] != x->dims[1])
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                             "input 1 has %lld input channels, expected %lld",
                             (long long)w->dims[0], (long long)x->dims[1]);
    if (group < 1 || x->dims[1] % group != 0)
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE",
                             "group %lld does not divide %lld input channels", (long long)group,
                             (long long)x->dims[1]);
    int64_t channels;
    if (__builtin_mul_overflow(w->dims[1], group, &channels))
        return oxp_node_fail(n, OXP_ELIMIT, "E-SHAPE-OVERFLOW",
                             "%lld groups of %lld channels overflow", (long long)group,
                             (long long)w->dims[1]);
    if (b && (b->rank != 1 || b->dims[0] != channels)) {
        char text[OXP_SHAPE_TEXT_MAX];
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "input 2 has shape %s, expected [%lld]",
                             oxp_shape_text(text, b->rank, b->dims), (long long)channels);
    }
    return OXP_OK;
}

static oxp_status prepare(oxp_node *n)
{
    const oxp_tensor *x = n->in[0], *w = n->in[1];
    deconv_state *state = oxp_node_state(n, sizeof *state);
    int64_t kernel[OXP_MAX_SPATIAL], group = oxp_attr_int(n, "group", 1);
    int spatial;
    if (!state)
        return OXP_ELIMIT;
    OXP_TRY(oxp_real_types(n, 1u << 1 | 1u << 2));
    OXP_TRY(oxp_window_rank(n, x, &spatial));
    OXP_TRY(check_shapes(n, group));
    OXP_TRY(oxp_window_kernel(n, spatial, w->dims + 2, kernel));
    state->shape = (oxp_conv_shape){.batch = (size_t)x->dims[0],
                                    .groups = (size_t)group,
                                    .in_channels = (size_t)x->dims[1],
                                    .out_channels = (size_t)(w->dims[1] * group)};
    OXP_TRY(oxp_window_read_transposed(n, spatial, x->dims + 2, kernel, &state->shape.window));
    int64_t dims[OXP_MAX_SPATIAL + 2] = {x->dims[0], w->dims[1] * group};
    oxp_window_dims(state->shape.window.in, spatial, dims + 2);
    return oxp_output(n, 0, x->dtype, spatial + 2, dims);
}

static oxp_status forward(oxp_node *n)
{
    if (!oxp_node_makes(n, 0))
        return OXP_OK;
    const deconv_state *state = n->state;
    const float *bias, *x = oxp_real_in(n, 0), *w = oxp_real_in(n, 1);
    float *y = oxp_real_out(n, 0);
    if (!x || !w || !y)
        return OXP_ELIMIT;
    OXP_TRY(oxp_real_in_optional(n, 2, &bias));
    OXP_TRY(oxp_deconv_run(n->ctx, &state->shape, x, w, bias, y));
    oxp_real_done(n, 0, y);
    return OXP_OK;
}

static oxp_status backward(oxp_node *n)
{
    const deconv_state *state = n->state;
    return oxp_conv_backward(n, &state->shape, true);
}

static void cost(const oxp_node *n, oxp_cost *cost)
{
    const oxp_tensor *w = n->in[1];
    oxp_cost_of(n,
                w->dims[0] ? (double)n->in[0]->count * (double)(w->count / (size_t)w->dims[0]) : 0,
                cost);
}

/* Axis 1 counts the output channels of one group; with groups a channel there is one of each
 * group. */
static bool weight(const oxp_graph_node *def, int input, int rank, int *channel_axis)
{
    (void)def;
    *channel_axis = 1;
    return input == 1 && rank >= 3;
}

static const char *const examples[] = {
    "X[1,2,4,4] W[2,3,3,3]",
    "X[2,4,3,5] W[4,2,2,3] B[4]; group=2 strides=2,3",
    "X[1,2,4,3] W[2,3,3,3] B[3]; strides=2,2 pads=1,0,1,1 output_padding=1,1",
    "X[1,2,4,4] W[2,1,3,3]; group=2 dilations=2,2",
    "X[1,2,5,3] W[2,3,4,3]; strides=2,3 auto_pad='SAME_UPPER'",
    "X[1,2,5] W[2,3,4]; auto_pad='SAME_LOWER'",
    "X[1,2,3,3] W[2,2,3,3]; strides=3,2 output_shape=10,8",
    "X[1,2,2,3,2] W[2,2,2,2,3] B[2]; strides=2,1,2",
    "X[1,2,4,4]:f64 W[2,3,3,3]:f64",
    NULL};

const oxp_operator oxp_op_conv_transpose_1 = {.domain = "",
                                              .type = "ConvTranspose",
                                              .since = 1,
                                              .min_in = 2,
                                              .max_in = 3,
                                              .min_out = 1,
                                              .max_out = 1,
                                              .prepare = prepare,
                                              .forward = forward,
                                              .backward = backward,
                                              .saves = 3,
                                              .cost = cost,
                                              .weight = weight,
                                              .examples = examples};
