/* conv_integer.c - ConvInteger and QLinearConv: S = convolution of (x - zx) with (w - zw[m]),
 * exact in 32 bits, padding worth zx.
 *
 *   ConvInteger   S
 *   QLinearConv   saturate(round((S + b[m]) * sx * sw[m] / sy) + zy), as ONNX Runtime computes it
 * https://onnx.ai/onnx/operators/onnx__QLinearConv.html. */
#include "kernels/integer.h"

#include "kernels/requantise.h"
#include "operators/conv.h"
#include "operators/quantized_inputs.h"
#include "operators/real.h"

typedef struct conv_state {
    oxp_conv_shape shape;
} conv_state;

static oxp_status prepare_shape(oxp_node *n, int w, int b, oxp_dtype dtype)
{
    conv_state *state = oxp_node_state(n, sizeof *state);
    int spatial;
    if (!state)
        return OXP_ELIMIT;
    OXP_TRY(oxp_codes_want(n, 0));
    OXP_TRY(oxp_codes_want(n, w));
    OXP_TRY(oxp_conv_read(n, w, b, &state->shape, &spatial));
    return oxp_conv_output(n, &state->shape, spatial, dtype);
}

/* A zero point alone: of `count` elements or one, and of the type of the codes. */
static oxp_status want_zero(oxp_node *n, int i, int codes, size_t count)
{
    if (!oxp_node_has(n, i))
        return OXP_OK;
    OXP_TRY(oxp_node_want(n, i, n->in[codes]->dtype));
    if (n->in[i]->count == 1 || n->in[i]->count == count)
        return OXP_OK;
    return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "input %d has %zu elements, expected 1 or %zu",
                         i, n->in[i]->count, count);
}

static oxp_status prepare_integer(oxp_node *n)
{
    OXP_TRY(prepare_shape(n, 1, -1, OXP_INT32));
    const conv_state *state = n->state;
    OXP_TRY(want_zero(n, 2, 0, 1));
    return want_zero(n, 3, 1, state->shape.out_channels);
}

static oxp_status prepare_qlinear(oxp_node *n)
{
    OXP_TRY(oxp_codes_want(n, 7));
    OXP_TRY(prepare_shape(n, 3, 8, n->in[7]->dtype));
    const conv_state *state = n->state;
    OXP_TRY(oxp_quantized_want(n, 1, 2, n->in[0]->dtype, 1));
    OXP_TRY(oxp_quantized_want(n, 4, 5, n->in[3]->dtype, state->shape.out_channels));
    OXP_TRY(oxp_quantized_want(n, 6, 7, n->in[7]->dtype, 1));
    return oxp_node_has(n, 8) ? oxp_node_want(n, 8, OXP_INT32) : OXP_OK;
}

/* Inputs: w the weights, x_zero and w_zero the zero points. */
static oxp_status convolve(oxp_node *n, int w, int x_zero, int w_zero, int32_t *out)
{
    const conv_state *state = n->state;
    oxp_codes x = {.data = n->in[0]->data, .is_signed = oxp_is_signed(n->in[0]->dtype)};
    oxp_codes filters = {.data = n->in[w]->data, .is_signed = oxp_is_signed(n->in[w]->dtype)};
    OXP_TRY(oxp_quantized_zeros(n, x_zero, 1, &x.zero_points));
    OXP_TRY(oxp_quantized_zeros(n, w_zero, state->shape.out_channels, &filters.zero_points));
    return oxp_integer_conv(n->ctx, &state->shape, x, filters, out);
}

static oxp_status forward_integer(oxp_node *n)
{
    return oxp_node_makes(n, 0) ? convolve(n, 1, 2, 3, n->out[0].data) : OXP_OK;
}

/* One plane: the sums of channel m. */
static void finish_plane(oxp_node *n, size_t m, float w_scale, int32_t *sums, size_t at,
                         size_t count)
{
    float factor = oxp_quantized_scale(n, 1) * w_scale / oxp_quantized_scale(n, 6);
    if (oxp_node_has(n, 8)) {
        uint32_t bias = (uint32_t)((const int32_t *)n->in[8]->data)[m];
        for (size_t i = 0; i < count; i++)
            sums[i] = (int32_t)((uint32_t)sums[i] + bias);
    }
    oxp_requantise((uint8_t *)n->out[0].data + at, oxp_is_signed(n->out[0].dtype), sums, count,
                   (oxp_factors){&factor, false}, oxp_quantized_zero(n, 7));
}

static oxp_status forward_qlinear(oxp_node *n)
{
    const conv_state *state = n->state;
    size_t channels = state->shape.out_channels, plane = oxp_volume(state->shape.window.out);
    if (!oxp_node_makes(n, 0))
        return OXP_OK;
    for (int i = 1; i < 7; i++)
        if (i == 1 || i == 4 || i == 6)
            OXP_TRY(oxp_quantized_check(n, i));
    const float *w_scales = oxp_quantized_scales(n, 4, channels);
    int32_t *sums = oxp_node_scratch(n, n->out[0].count, sizeof *sums);
    if (!w_scales || !sums)
        return OXP_ELIMIT;
    OXP_TRY(convolve(n, 3, 2, 5, sums));
    for (size_t i = 0; plane && i < n->out[0].count / plane; i++)
        finish_plane(n, i % channels, w_scales[i % channels], sums + i * plane, i * plane, plane);
    return OXP_OK;
}

static void cost_integer(const oxp_node *n, oxp_cost *cost)
{
    oxp_conv_cost(n, 1, cost);
}

static void cost_qlinear(const oxp_node *n, oxp_cost *cost)
{
    oxp_conv_cost(n, 3, cost);
}

static const char *const integer_examples[] = {
    "X[1,2,5,5]:u8 W[3,2,3,3]:u8 Z[]:u8={1} Y[]:u8={2}; pads=1,1,1,1",
    "X[2,4,5,4]:u8 W[4,2,2,3]:i8 Z[]:u8={3} Y[4]:i8={0,1,-1,2}; group=2 strides=2,1",
    "X[1,3,6]:u8 W[3,1,3]:u8; group=3 auto_pad='SAME_UPPER'", NULL};

static const char *const qlinear_examples[] = {
    "X[1,2,5,5]:u8 S[]={0.5} Z[]:u8={1} W[3,2,3,3]:i8 T[3]={0.25,0.5,1.0} Y[3]:i8={0,0,0} "
    "U[]={0.75} V[]:u8={3} B[3]:i32={-5,0,5}; pads=1,1,1,1",
    "X[2,4,5,4]:u8 S[]={0.5} Z[]:u8={1} W[4,2,2,3]:u8 T[]={0.25} Y[]:u8={2} U[]={0.75} V[]:u8={3}; "
    "group=2 strides=2,1",
    "X[1,4,6,6]:i8 S[]={0.5} Z[]:i8={-1} W[4,1,3,3]:i8 T[]={0.25} Y[]:i8={0} U[]={0.75} "
    "V[]:i8={3}; group=4 dilations=2,1",
    NULL};

const oxp_operator oxp_op_conv_integer_10 = {.domain = "",
                                             .type = "ConvInteger",
                                             .since = 10,
                                             .min_in = 2,
                                             .max_in = 4,
                                             .min_out = 1,
                                             .max_out = 1,
                                             .prepare = prepare_integer,
                                             .forward = forward_integer,
                                             .cost = cost_integer,
                                             .examples = integer_examples};

const oxp_operator oxp_op_qlinear_conv_10 = {.domain = "",
                                             .type = "QLinearConv",
                                             .since = 10,
                                             .min_in = 8,
                                             .max_in = 9,
                                             .min_out = 1,
                                             .max_out = 1,
                                             .prepare = prepare_qlinear,
                                             .forward = forward_qlinear,
                                             .cost = cost_qlinear,
                                             .examples = qlinear_examples};
