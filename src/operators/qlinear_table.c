/* qlinear_table.c - com.microsoft QLinearSigmoid and QLinearLeakyRelu: y =
 * quantise(f(dequantise(x))), by a table of all 256 codes.
 *
 * Inputs X, X_scale, X_zero_point, Y_scale, Y_zero_point; zero points may be omitted (0). */
#include <math.h>

#include "kernels/requantise.h"
#include "operators/quantized_inputs.h"
#include "operators/real.h"

typedef struct table_state {
    float alpha; /* LeakyRelu */
} table_state;

static oxp_status prepare(oxp_node *n)
{
    const oxp_tensor *x = n->in[0];
    OXP_TRY(oxp_codes_want(n, 0));
    OXP_TRY(oxp_quantized_want(n, 1, 2, x->dtype, 1));
    OXP_TRY(oxp_quantized_want(n, 3, 4, x->dtype, 1));
    OXP_TRY(oxp_output(n, 0, x->dtype, x->rank, x->dims));
    oxp_output_overwrites(n, 0, 0);
    return OXP_OK;
}

static oxp_status prepare_leaky_relu(oxp_node *n)
{
    table_state *state = oxp_node_state(n, sizeof *state);
    if (!state)
        return OXP_ELIMIT;
    state->alpha = oxp_attr_float(n, "alpha", 0.01f);
    return prepare(n);
}

static oxp_status look_up(oxp_node *n, float (*function)(float x, float alpha), float alpha)
{
    uint8_t codes[256], table[256];
    float values[256];
    const uint8_t *x = n->in[0]->data;
    uint8_t *y = n->out[0].data;
    bool is_signed = oxp_is_signed(n->in[0]->dtype);
    if (!oxp_node_makes(n, 0))
        return OXP_OK;
    OXP_TRY(oxp_quantized_check(n, 1));
    OXP_TRY(oxp_quantized_check(n, 3));
    for (int i = 0; i < 256; i++)
        codes[i] = (uint8_t)i;
    oxp_from_codes(values, codes, is_signed, 256, oxp_quantized_scale(n, 1),
                   oxp_quantized_zero(n, 2));
    for (int i = 0; i < 256; i++)
        values[i] = function(values[i], alpha);
    oxp_to_codes(table, is_signed, values, 256, oxp_quantized_scale(n, 3),
                 oxp_quantized_zero(n, 4));
    for (size_t i = 0; i < n->out[0].count; i++)
        y[i] = table[x[i]];
    return OXP_OK;
}

static float sigmoid(float x, float alpha)
{
    (void)alpha;
    return 1 / (1 + expf(-x));
}

static float leaky_relu(float x, float alpha)
{
    return x < 0 ? alpha * x : x;
}

static oxp_status forward_sigmoid(oxp_node *n)
{
    return look_up(n, sigmoid, 0);
}

static oxp_status forward_leaky_relu(oxp_node *n)
{
    const table_state *state = n->state;
    return look_up(n, leaky_relu, state->alpha);
}

static const char *const sigmoid_examples[] = {
    "X[3,4]:u8={0,10,50,100,120,127,128,129,140,180,220,255} S[]={0.05} Z[]:u8={128} "
    "T[]={0.00390625} Y[]:u8={0}",
    "X[4]:i8={-128,-3,0,127} S[]={0.1} Z[]:i8={-5} T[]={0.00390625} Y[]:i8={-128}", NULL};

static const char *const leaky_relu_examples[] = {
    "X[3,4]:u8={0,10,50,100,120,127,128,129,140,180,220,255} S[]={0.05} Z[]:u8={128} T[]={0.04} "
    "Y[]:u8={20}; alpha=0.1",
    "X[4]:i8={-128,-3,0,127} S[]={0.1} Z[]:i8={-5} T[]={0.1} Y[]:i8={9}", NULL};

#define TABLE(type_, min_in_, prepare_, forward_, examples_)                                       \
    {                                                                                              \
        .domain = "com.microsoft", .type = type_, .since = 1, .min_in = min_in_, .max_in = 5,      \
        .min_out = 1, .max_out = 1, .optional = 1u << 2, .prepare = prepare_, .forward = forward_, \
        .examples = examples_                                                                      \
    }

const oxp_operator oxp_op_qlinear_sigmoid_1 =
    TABLE("QLinearSigmoid", 4, prepare, forward_sigmoid, sigmoid_examples);
const oxp_operator oxp_op_qlinear_leaky_relu_1 =
    TABLE("QLinearLeakyRelu", 4, prepare_leaky_relu, forward_leaky_relu, leaky_relu_examples);
