/* layer_normalization.c - over all dimensions from `axis` on (default the last):
 *   LayerNormalization           Y = (X - mean) / sqrt(variance + epsilon) * Scale + B
 *   RMSNormalization             Y = X / sqrt(mean of X^2 + epsilon) * Scale
 *   SimplifiedLayerNormalization the same under its older name in ONNX Runtime, with 1/sqrt(...) as
 *                                a second output
 *
 * Scale and B repeat to X. Moments are taken in double, the rest in float, rounded once to the
 * output's type; stash_type decides the type of the statistics alone. */
#include "operators/gradient.h"
#include "operators/broadcast.h"
#include "operators/normalization_rows.h"
#include "operators/real.h"
#include "operators/vector_math.h"

typedef struct layer_state {
    size_t rows, length;
    double epsilon;
} layer_state;

/* Axis, epsilon and the shapes of scale and bias; the shape of the statistics goes to `dims`. */
static oxp_status prepare_common(oxp_node *n, int64_t dims[OXP_MAX_RANK], oxp_dtype *stash)
{
    const oxp_tensor *x = n->in[0];
    layer_state *state = oxp_node_state(n, sizeof *state);
    if (!state)
        return n->ctx->status;
    int axis = 0;
    OXP_TRY(oxp_node_axis(n, oxp_attr_int(n, "axis", -1), x->rank, false, &axis));
    int64_t type = oxp_attr_int(n, "stash_type", OXP_FLOAT);
    state->epsilon = (double)oxp_attr_float(n, "epsilon", 1e-5f);
    state->rows = state->length = 1;
    for (int d = 0; d < x->rank; d++) {
        *(d < axis ? &state->rows : &state->length) *= (size_t)x->dims[d];
        dims[d] = d < axis ? x->dims[d] : 1;
    }
    if (type < 0 || type >= OXP_DTYPE_COUNT || !oxp_dtype_is_float((oxp_dtype)type)) {
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE",
                             "stash_type is %lld, expected a float type", (long long)type);
    }
    *stash = (oxp_dtype)type;
    for (int i = 0; i < n->in_count; i++)
        if (n->in[i] && !oxp_dtype_is_float(n->in[i]->dtype))
            return oxp_node_bad_dtype(n, i);
    OXP_TRY(oxp_broadcast_fits(n, n->in[1], x->rank, x->dims, "scale"));
    return oxp_node_has(n, 2) ? oxp_broadcast_fits(n, n->in[2], x->rank, x->dims, "bias") : OXP_OK;
}

static oxp_status prepare_layer(oxp_node *n)
{
    const oxp_tensor *x = n->in[0];
    int64_t dims[OXP_MAX_RANK];
    oxp_dtype stash;
    OXP_TRY(prepare_common(n, dims, &stash));
    OXP_TRY(oxp_output(n, 0, x->dtype, x->rank, x->dims));
    OXP_TRY(oxp_output(n, 1, stash, x->rank, dims));
    OXP_TRY(oxp_output(n, 2, stash, x->rank, dims));
    oxp_output_overwrites(n, 0, 0);
    return OXP_OK;
}

static oxp_status prepare_rms(oxp_node *n)
{
    const oxp_tensor *x = n->in[0];
    int64_t dims[OXP_MAX_RANK];
    oxp_dtype stash;
    OXP_TRY(prepare_common(n, dims, &stash));
    OXP_TRY(oxp_output(n, 0, n->in[1]->dtype, x->rank, x->dims));
    return oxp_output(n, 1, stash, x->rank, dims);
}

/* Where to write a statistic, or NULL when nobody asks for it. */
static oxp_status statistic(oxp_node *n, int i, float **values)
{
    *values = NULL;
    if (!oxp_node_makes(n, i))
        return OXP_OK;
    *values = oxp_real_out(n, i);
    return *values ? OXP_OK : n->ctx->status;
}

typedef struct layer_data {
    size_t count;
    const float *x, *scale, *bias;
    size_t scale_step, bias_step;
    float *y;
} layer_data;

static oxp_status take_data(oxp_node *n, layer_data *data)
{
    const oxp_tensor *x = n->in[0];
    const layer_state *state = n->state;
    data->count = x->count;
    data->x = oxp_real_in(n, 0);
    data->y = oxp_real_out(n, 0);
    if (!data->x || !data->y)
        return n->ctx->status;
    OXP_TRY(
        oxp_row_parameter(n, 1, x->rank, x->dims, state->length, &data->scale, &data->scale_step));
    return oxp_row_parameter(n, 2, x->rank, x->dims, state->length, &data->bias, &data->bias_step);
}

static oxp_status forward_layer(oxp_node *n)
{
    const layer_state *state = n->state;
    layer_data d;
    float *means, *inverses;
    OXP_TRY(take_data(n, &d));
    OXP_TRY(statistic(n, 1, &means));
    OXP_TRY(statistic(n, 2, &inverses));
    size_t rows = d.count > 0 || means || inverses ? state->rows : 0;
    for (size_t r = 0; r < rows; r++) {
        double mean, variance;
        oxp_row_moments(d.x + r * state->length, state->length, &mean, &variance);
        double inverse = 1.0 / sqrt(variance + state->epsilon);
        oxp_row_affine(d.x + r * state->length, d.y + r * state->length, state->length, mean,
                       inverse, d.scale + r * d.scale_step,
                       d.bias ? d.bias + r * d.bias_step : NULL);
        if (means)
            means[r] = (float)mean;
        if (inverses)
            inverses[r] = (float)inverse;
    }
    oxp_real_done(n, 0, d.y);
    if (means)
        oxp_real_done(n, 1, means);
    if (inverses)
        oxp_real_done(n, 2, inverses);
    return OXP_OK;
}

static oxp_status forward_rms(oxp_node *n)
{
    const layer_state *state = n->state;
    layer_data d;
    float *inverses;
    OXP_TRY(take_data(n, &d));
    OXP_TRY(statistic(n, 1, &inverses));
    size_t rows = d.count > 0 || inverses ? state->rows : 0;
    for (size_t r = 0; r < rows; r++) {
        const float *x = d.x + r * state->length;
        double inverse = 1.0 / sqrt(oxp_row_mean_square(x, state->length) + state->epsilon);
        oxp_row_affine(x, d.y + r * state->length, state->length, 0.0, inverse,
                       d.scale + r * d.scale_step, NULL);
        if (inverses)
            inverses[r] = (float)inverse;
    }
    oxp_real_done(n, 0, d.y);
    if (inverses)
        oxp_real_done(n, 1, inverses);
    return OXP_OK;
}

/* dy u and dy, over the rows, are the gradients of scale and bias before they are brought to
 * their shapes. `parts` gets dy u. */
static oxp_status backward_rows(oxp_node *n, bool centred, const layer_data *d, const float *dy,
                                const float *dmeans, const float *dinverses)
{
    const layer_state *state = n->state;
    size_t length = state->length;
    float *dx = oxp_din(n, 0), *g = oxp_node_scratch(n, length, sizeof *g);
    float *parts = oxp_node_scratch(n, d->count, sizeof *parts);
    if (!g || !parts)
        return n->ctx->status;
    for (size_t r = 0; d->count > 0 && r < state->rows; r++) {
        const float *x = d->x + r * length, *scale = d->scale + r * d->scale_step;
        double mean = 0, variance;
        if (centred)
            oxp_row_moments(x, length, &mean, &variance);
        else
            variance = oxp_row_mean_square(x, length);
        double inverse = 1.0 / sqrt(variance + state->epsilon);
        oxp_row_normalized(x, parts + r * length, length, mean, inverse);
        for (size_t i = 0; i < length; i++) {
            float d_out = dy ? dy[r * length + i] : 0;
            g[i] = d_out * scale[i];
            parts[r * length + i] *= d_out;
        }
        oxp_row_gradient row = {
            mean, inverse, centred, dmeans ? (double)dmeans[r] : 0,
            dinverses ? -0.5 * inverse * inverse * inverse * (double)dinverses[r] : 0};
        if (dx)
            oxp_row_backward(&row, x, g, dx + r * length, length);
    }
    const oxp_tensor *x = n->in[0];
    if (oxp_din(n, 1))
        OXP_TRY(oxp_gradient_reduce(n, oxp_din(n, 1), n->in[1], parts, x->rank, x->dims, 1));
    if (dy && oxp_din(n, 2))
        OXP_TRY(oxp_gradient_reduce(n, oxp_din(n, 2), n->in[2], dy, x->rank, x->dims, 1));
    return OXP_OK;
}

static oxp_status take_inputs(oxp_node *n, layer_data *d)
{
    const layer_state *state = n->state;
    const oxp_tensor *x = n->in[0];
    *d = (layer_data){.count = x->count, .x = oxp_real_in(n, 0)};
    if (!d->x)
        return n->ctx->status;
    return oxp_row_parameter(n, 1, x->rank, x->dims, state->length, &d->scale, &d->scale_step);
}

static oxp_status backward_layer(oxp_node *n)
{
    layer_data d;
    OXP_TRY(take_inputs(n, &d));
    return backward_rows(n, true, &d, oxp_dout(n, 0), oxp_dout(n, 1), oxp_dout(n, 2));
}

static oxp_status backward_rms(oxp_node *n)
{
    layer_data d;
    OXP_TRY(take_inputs(n, &d));
    return backward_rows(n, false, &d, oxp_dout(n, 0), NULL, oxp_dout(n, 1));
}

const oxp_operator oxp_op_layer_normalization_17 = {
    .domain = "",
    .type = "LayerNormalization",
    .since = 17,
    .min_in = 2,
    .max_in = 3,
    .min_out = 1,
    .max_out = 3,
    .optional = 1u << 2,
    .prepare = prepare_layer,
    .forward = forward_layer,
    .backward = backward_layer,
    .saves = 3,
    .examples = (const char *const[]){"X[2,3,4] S[4] B[4]", "X[2,3,4] S[3,4]; axis=1",
                                      "X[2,3,4] S[] B[2,1,4]", "X[2,3,37] S[37] B[37]; epsilon=0.1",
                                      "X[2,4]:f16 S[4]:f16 B[4]:f16", NULL},
};

#define RMS(symbol, type_, since_, outputs)                                                        \
    const oxp_operator symbol = {                                                                  \
        .domain = "",                                                                              \
        .type = type_,                                                                             \
        .since = since_,                                                                           \
        .min_in = 2,                                                                               \
        .max_in = 2,                                                                               \
        .min_out = 1,                                                                              \
        .max_out = outputs,                                                                        \
        .prepare = prepare_rms,                                                                    \
        .forward = forward_rms,                                                                    \
        .backward = backward_rms,                                                                  \
        .saves = 3,                                                                                \
        .examples = (const char *const[]){"X[2,3,4] S[4]", "X[2,3,4] S[3,4]; axis=1",              \
                                          "X[2,3,4] S[1]; axis=-2 epsilon=0.1", "X[2,4]:f16 S[4]", \
                                          "X[2,37]:bf16 S[37]:bf16", NULL},                        \
    };
RMS(oxp_op_rms_normalization_23, "RMSNormalization", 23, 1)
RMS(oxp_op_simplified_layer_normalization_1, "SimplifiedLayerNormalization", 1, 2)
