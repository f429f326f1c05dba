/* qlinear_softmax.c - com.microsoft QLinearSoftmax: y = quantise(softmax(dequantise(x))).
 *
 * Attribute opset says which Softmax is meant: below 13 over all axes from `axis` on together,
 * from 13 on over `axis` alone. Inputs X, X_scale, x_zero_point, y_scale, y_zero_point; x's zero
 * point cancels and may be omitted. Only differences to the largest code of a row enter: e^(sx (x
 * - max)), a table of 256; sums in double. */
#include <math.h>

#include "kernels/requantise.h"
#include "operators/quantized_inputs.h"
#include "operators/real.h"

typedef struct softmax_state {
    size_t rows, length,
        step; /* row r, element k is at r / step * step * length + r % step + k * step */
} softmax_state;

static oxp_status prepare(oxp_node *n)
{
    const oxp_tensor *x = n->in[0];
    softmax_state *state = oxp_node_state(n, sizeof *state);
    int axis;
    if (!state)
        return OXP_ELIMIT;
    OXP_TRY(oxp_codes_want(n, 0));
    OXP_TRY(oxp_quantized_want(n, 1, 2, x->dtype, 1));
    OXP_TRY(oxp_quantized_want(n, 3, 4, x->dtype, 1));
    int64_t opset = oxp_attr_int(n, "opset", 0);
    if (opset < 1)
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE",
                             "attribute \"opset\" is %lld, expected at least 1", (long long)opset);
    OXP_TRY(oxp_node_axis(n, oxp_attr_int(n, "axis", opset < 13 ? 1 : -1), x->rank, false, &axis));
    state->length = state->step = 1;
    for (int d = axis; d < x->rank; d++)
        if (opset < 13 || d == axis)
            state->length *= (size_t)x->dims[d];
        else
            state->step *= (size_t)x->dims[d];
    state->rows = x->count ? x->count / state->length : 0;
    return oxp_output(n, 0, x->dtype, x->rank, x->dims);
}

/* Codes shifted to 0..255 keep their differences. */
static size_t rank_of(uint8_t code, bool is_signed)
{
    return is_signed ? (size_t)code ^ 128 : code;
}

static void run_row(const softmax_state *state, const uint8_t *x, bool is_signed,
                    const float exponentials[256], float *values)
{
    size_t largest = 0;
    double sum = 0;
    for (size_t k = 0; k < state->length; k++) {
        size_t code = rank_of(x[k * state->step], is_signed);
        largest = code > largest ? code : largest;
    }
    for (size_t k = 0; k < state->length; k++) {
        values[k] = exponentials[255 - (largest - rank_of(x[k * state->step], is_signed))];
        sum += (double)values[k];
    }
    for (size_t k = 0; k < state->length; k++)
        values[k] = (float)((double)values[k] / sum);
}

static oxp_status forward(oxp_node *n)
{
    const softmax_state *state = n->state;
    float exponentials[256];
    if (!oxp_node_makes(n, 0))
        return OXP_OK;
    OXP_TRY(oxp_quantized_check(n, 1));
    OXP_TRY(oxp_quantized_check(n, 3));
    bool is_signed = oxp_is_signed(n->in[0]->dtype);
    float *values = oxp_node_scratch(n, state->length, sizeof *values);
    uint8_t *codes = oxp_node_scratch(n, state->length, 1);
    if (!values || !codes)
        return OXP_ELIMIT;
    for (int i = 0; i < 256; i++)
        exponentials[i] = (float)exp((double)oxp_quantized_scale(n, 1) * (i - 255));
    for (size_t r = 0; r < state->rows; r++) {
        size_t at = r / state->step * state->step * state->length + r % state->step;
        run_row(state, (const uint8_t *)n->in[0]->data + at, is_signed, exponentials, values);
        oxp_to_codes(codes, is_signed, values, state->length, oxp_quantized_scale(n, 3),
                     oxp_quantized_zero(n, 4));
        for (size_t k = 0; k < state->length; k++)
            ((uint8_t *)n->out[0].data)[at + k * state->step] = codes[k];
    }
    return OXP_OK;
}

static const char *const examples[] = {
    "X[3,5]:u8 S[]={0.5} Z[]:u8={1} T[]={0.00390625} Y[]:u8={0}; opset=13",
    "X[2,3,4]:i8 S[]={0.5} Z[]:i8={1} T[]={0.00390625} Y[]:i8={-128}; opset=13 axis=1",
    "X[2,3,4]:u8 S[]={0.5} Z[]:u8={1} T[]={0.00390625} Y[]:u8={0}; opset=11 axis=1", NULL};

const oxp_operator oxp_op_qlinear_softmax_1 = {.domain = "com.microsoft",
                                               .type = "QLinearSoftmax",
                                               .since = 1,
                                               .min_in = 5,
                                               .max_in = 5,
                                               .min_out = 1,
                                               .max_out = 1,
                                               .optional = 1u << 2,
                                               .prepare = prepare,
                                               .forward = forward,
                                               .examples = examples};
