/* qlinear_pool.c - com.microsoft QLinearGlobalAveragePool and QLinearAveragePool of 8-bit codes
 * x[N, C, ...].
 *
 *   global   round((sum of codes - count zx) * sx / (sy count)) + zy, exact up to the rounding;
 *            channels_last: x[N, ..., C]
 *   windows  quantise(mean of the dequantised codes); channels_last is not supported
 * Inputs X, X_scale, X_zero_point, Y_scale, Y_zero_point; zero points may be omitted (0). */
#include "kernels/pool.h"

#include "kernels/requantise.h"
#include "operators/quantized_inputs.h"
#include "operators/real.h"
#include "operators/window.h"

typedef struct pool_state {
    oxp_window window;
    size_t planes, images, count; /* count: values of a plane */
    bool count_padding, channels_last;
} pool_state;

static oxp_status check_inputs(oxp_node *n, pool_state **state)
{
    OXP_TRY(oxp_codes_want(n, 0));
    OXP_TRY(oxp_quantized_want(n, 1, 2, n->in[0]->dtype, 1));
    OXP_TRY(oxp_quantized_want(n, 3, 4, n->in[0]->dtype, 1));
    *state = oxp_node_state(n, sizeof **state);
    return *state ? OXP_OK : OXP_ELIMIT;
}

/* ---- whole planes ---- */

static oxp_status prepare_global(oxp_node *n)
{
    const oxp_tensor *x = n->in[0];
    pool_state *state;
    int64_t dims[OXP_MAX_RANK];
    OXP_TRY(check_inputs(n, &state));
    state->channels_last = oxp_attr_int(n, "channels_last", 0) != 0;
    if (x->rank < 3)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "input 0 has rank %d, expected at least 3",
                             x->rank);
    int channel_axis = state->channels_last ? x->rank - 1 : 1;
    for (int i = 0; i < x->rank; i++)
        dims[i] = i == 0 || i == channel_axis ? x->dims[i] : 1;
    OXP_TRY(oxp_output(n, 0, x->dtype, x->rank, dims));
    state->images = (size_t)x->dims[0];
    state->planes = n->out[0].count;
    state->count = state->planes ? x->count / state->planes : 0;
    if (state->planes && state->count == 0)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "input 0 has %zu planes without an element",
                             state->planes);
    return OXP_OK;
}

/* Codes first, first + step, and so on, of a plane. The sum may not fit 32 bits; its difference to
 * the zero point is a float anyway. */
static float plane_sum(const void *codes, bool is_signed, size_t first, size_t step, size_t count,
                       int32_t zero)
{
    int64_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        size_t at = first + i * step;
        sum += is_signed ? (int64_t)((const int8_t *)codes)[at]
                         : (int64_t)((const uint8_t *)codes)[at];
    }
    return (float)(sum - (int64_t)count * zero);
}

static oxp_status forward_global(oxp_node *n)
{
    const pool_state *state = n->state;
    bool is_signed = oxp_is_signed(n->in[0]->dtype);
    if (!oxp_node_makes(n, 0) || state->planes == 0)
        return OXP_OK;
    OXP_TRY(oxp_quantized_check(n, 1));
    OXP_TRY(oxp_quantized_check(n, 3));
    float factor = oxp_quantized_scale(n, 1) / (oxp_quantized_scale(n, 3) * (float)state->count);
    size_t channels = state->planes / state->images;
    for (size_t i = 0; i < state->planes; i++) {
        size_t first = state->channels_last ? i / channels * channels * state->count + i % channels
                                            : i * state->count;
        float sum = plane_sum(n->in[0]->data, is_signed, first, state->channels_last ? channels : 1,
                              state->count, oxp_quantized_zero(n, 2)) *
                    factor;
        oxp_to_codes((uint8_t *)n->out[0].data + i, is_signed, &sum, 1, 1,
                     oxp_quantized_zero(n, 4));
    }
    return OXP_OK;
}

/* ---- windows ---- */

static oxp_status prepare_windows(oxp_node *n)
{
    const oxp_tensor *x = n->in[0];
    pool_state *state;
    int64_t kernel[OXP_MAX_SPATIAL], dims[OXP_MAX_SPATIAL + 2] = {0};
    int spatial;
    OXP_TRY(check_inputs(n, &state));
    if (oxp_attr_int(n, "channels_last", 0) != 0)
        return oxp_node_fail(n, OXP_EUNSUPPORTED, "E-ATTR-VALUE",
                             "attribute \"channels_last\" is not 0");
    OXP_TRY(oxp_window_rank(n, x, &spatial));
    OXP_TRY(oxp_window_kernel(n, spatial, NULL, kernel));
    OXP_TRY(oxp_window_read(n, spatial, x->dims + 2, kernel,
                            (oxp_window_options){.ceil_mode = true}, &state->window));
    state->count_padding = oxp_attr_int(n, "count_include_pad", 0) != 0;
    dims[0] = x->dims[0];
    dims[1] = x->dims[1];
    oxp_window_dims(state->window.out, spatial, dims + 2);
    OXP_TRY(oxp_output(n, 0, x->dtype, spatial + 2, dims));
    size_t positions = oxp_volume(state->window.out);
    state->planes = positions ? n->out[0].count / positions : 0;
    return OXP_OK;
}

static oxp_status forward_windows(oxp_node *n)
{
    const pool_state *state = n->state;
    bool is_signed = oxp_is_signed(n->in[0]->dtype);
    if (!oxp_node_makes(n, 0))
        return OXP_OK;
    OXP_TRY(oxp_quantized_check(n, 1));
    OXP_TRY(oxp_quantized_check(n, 3));
    float *x = oxp_node_scratch(n, n->in[0]->count, sizeof *x),
          *y = oxp_node_scratch(n, n->out[0].count, sizeof *y);
    if (!x || !y)
        return OXP_ELIMIT;
    oxp_from_codes(x, n->in[0]->data, is_signed, n->in[0]->count, oxp_quantized_scale(n, 1),
                   oxp_quantized_zero(n, 2));
    OXP_TRY(oxp_pool_average(n->ctx, &state->window, state->planes, state->count_padding, x, y));
    oxp_to_codes(n->out[0].data, is_signed, y, n->out[0].count, oxp_quantized_scale(n, 3),
                 oxp_quantized_zero(n, 4));
    return OXP_OK;
}

static const char *const global_examples[] = {
    "X[2,3,4,5]:u8 S[]={0.5} Z[]:u8={1} T[]={0.25} Y[]:u8={7}",
    "X[1,4,5,3]:u8 S[]={0.5} Z[]:u8={1} T[]={0.25} Y[]:u8={7}; channels_last=1",
    "X[1,2,5,5]:i8 S[]={0.5} Z[]:i8={-1} T[]={0.3} Y[]:i8={2}", NULL};

static const char *const window_examples[] = {
    "X[1,2,5,6]:u8 S[]={0.5} Z[]:u8={1} T[]={0.25} Y[]:u8={7}; kernel_shape=2,3",
    "X[1,2,7,7]:i8 S[]={0.5} Z[]:i8={1} T[]={0.3} Y[]:i8={-4}; kernel_shape=3,3 strides=2,2 "
    "pads=1,1,1,1 count_include_pad=1",
    NULL};

#define QLINEAR_POOL(type_, prepare_, forward_, examples_)                                         \
    {                                                                                              \
        .domain = "com.microsoft", .type = type_, .since = 1, .min_in = 4, .max_in = 5,            \
        .min_out = 1, .max_out = 1, .optional = 1u << 2, .prepare = prepare_, .forward = forward_, \
        .examples = examples_                                                                      \
    }

const oxp_operator oxp_op_qlinear_global_average_pool_1 =
    QLINEAR_POOL("QLinearGlobalAveragePool", prepare_global, forward_global, global_examples);
const oxp_operator oxp_op_qlinear_average_pool_1 =
    QLINEAR_POOL("QLinearAveragePool", prepare_windows, forward_windows, window_examples);
