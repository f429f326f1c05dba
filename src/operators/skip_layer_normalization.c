/* skip_layer_normalization.c - com.microsoft, over the last dimension, with s = input + skip +
 * bias:
 *   SkipLayerNormalization            y = (s - mean) / sqrt(variance + epsilon) * gamma + beta
 *   SkipSimplifiedLayerNormalization  y = s / sqrt(mean of s^2 + epsilon) * gamma
 * Outputs: y, mean, 1/sqrt(...), s; the last three on demand. skip repeats to the input. */
#include "operators/gradient.h"
#include "operators/broadcast.h"
#include "operators/normalization_rows.h"
#include "operators/real.h"
#include "operators/vector_math.h"

typedef struct skip_state {
    bool simplified;
    int beta, bias; /* their inputs; -1: the operator has none */
    size_t rows, length;
    double epsilon;
} skip_state;

static oxp_status check_vector(oxp_node *n, int i, const char *what)
{
    const oxp_tensor *t = oxp_node_has(n, i) ? n->in[i] : NULL;
    const skip_state *state = n->state;
    if (!t || (t->rank == 1 && t->count == state->length))
        return OXP_OK;
    char found[OXP_SHAPE_TEXT_MAX];
    return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "%s has shape %s, expected [%zu]", what,
                         oxp_shape_text(found, t->rank, t->dims), state->length);
}

static oxp_status prepare(oxp_node *n, bool simplified)
{
    const oxp_tensor *x = n->in[0];
    skip_state *state = oxp_node_state(n, sizeof *state);
    if (!state)
        return n->ctx->status;
    OXP_TRY(oxp_real_types(n, 0x1e));
    if (x->rank == 0)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                             "the input is a scalar, expected a last dimension");
    state->simplified = simplified;
    state->beta = simplified ? -1 : 3;
    state->bias = simplified ? 3 : 4;
    state->epsilon = (double)oxp_attr_float(n, "epsilon", 1e-12f);
    state->length = (size_t)x->dims[x->rank - 1];
    state->rows = 1;
    int64_t dims[OXP_MAX_RANK];
    for (int d = 0; d < x->rank; d++) {
        dims[d] = d < x->rank - 1 ? x->dims[d] : 1;
        state->rows *= (size_t)dims[d];
    }
    OXP_TRY(oxp_broadcast_fits(n, n->in[1], x->rank, x->dims, "skip"));
    OXP_TRY(check_vector(n, 2, "gamma"));
    OXP_TRY(check_vector(n, state->bias, "bias"));
    if (!simplified)
        OXP_TRY(check_vector(n, state->beta, "beta"));
    OXP_TRY(oxp_output(n, 0, x->dtype, x->rank, x->dims));
    OXP_TRY(oxp_output(n, 1, OXP_FLOAT, x->rank, dims));
    OXP_TRY(oxp_output(n, 2, OXP_FLOAT, x->rank, dims));
    return oxp_output(n, 3, x->dtype, x->rank, x->dims);
}

static oxp_status prepare_skip(oxp_node *n)
{
    return prepare(n, false);
}

static oxp_status prepare_skip_simplified(oxp_node *n)
{
    return prepare(n, true);
}

OXP_HOT static void add(const float *a, const float *b, float *sum, size_t count)
{
    OXP_LANES
    for (size_t i = 0; i < count; i++)
        sum[i] = a[i] + b[i];
}

/* The sums s of all rows, in output 3 when that is wanted. */
static oxp_status make_sums(oxp_node *n, float **sums)
{
    const skip_state *state = n->state;
    const oxp_tensor *x = n->in[0];
    const float *input = oxp_real_in(n, 0), *skip, *bias = NULL;
    size_t step;
    if (!input)
        return n->ctx->status;
    OXP_TRY(oxp_row_parameter(n, 1, x->rank, x->dims, state->length, &skip, &step));
    if (oxp_node_has(n, state->bias))
        OXP_TRY(oxp_real_in_optional(n, state->bias, &bias));
    *sums =
        oxp_node_makes(n, 3) ? oxp_real_out(n, 3) : oxp_node_scratch(n, x->count, sizeof **sums);
    if (!*sums)
        return n->ctx->status;
    for (size_t r = 0; x->count > 0 && r < state->rows; r++) {
        float *s = *sums + r * state->length;
        add(input + r * state->length, skip + r * step, s, state->length);
        if (bias)
            add(s, bias, s, state->length);
    }
    return OXP_OK;
}

static oxp_status forward(oxp_node *n)
{
    const skip_state *state = n->state;
    float *sums = NULL, *y = oxp_real_out(n, 0);
    const float *gamma = oxp_real_in(n, 2), *beta = NULL;
    float *means = oxp_node_makes(n, 1) ? n->out[1].data : NULL;
    float *inverses = oxp_node_makes(n, 2) ? n->out[2].data : NULL;
    if (!y || !gamma)
        return n->ctx->status;
    OXP_TRY(make_sums(n, &sums));
    if (!state->simplified)
        OXP_TRY(oxp_real_in_optional(n, state->beta, &beta));
    size_t rows = n->in[0]->count > 0 || means || inverses ? state->rows : 0;
    for (size_t r = 0; r < rows; r++) {
        const float *s = sums + r * state->length;
        double mean = 0.0, variance;
        if (state->simplified)
            variance = oxp_row_mean_square(s, state->length);
        else
            oxp_row_moments(s, state->length, &mean, &variance);
        double inverse = 1.0 / sqrt(variance + state->epsilon);
        oxp_row_affine(s, y + r * state->length, state->length, mean, inverse, gamma, beta);
        if (means)
            means[r] = (float)mean;
        if (inverses)
            inverses[r] = (float)inverse;
    }
    oxp_real_done(n, 0, y);
    if (oxp_node_makes(n, 3))
        oxp_real_done(n, 3, sums);
    return OXP_OK;
}

static oxp_status add_reduced(oxp_node *n, int i, const float *part)
{
    const oxp_tensor *x = n->in[0];
    if (!part || !oxp_din(n, i))
        return OXP_OK;
    return oxp_gradient_reduce(n, oxp_din(n, i), n->in[i], part, x->rank, x->dims, 1);
}

/* One row: ds is written, `part` gets dy u. */
static void backward_row(const oxp_node *n, size_t r, const float *s, const float *gamma, float *g,
                         float *ds, float *part)
{
    const skip_state *state = n->state;
    const float *dy = oxp_dout(n, 0), *dmeans = oxp_dout(n, 1), *dinverses = oxp_dout(n, 2);
    double mean = 0.0, variance;
    if (state->simplified)
        variance = oxp_row_mean_square(s, state->length);
    else
        oxp_row_moments(s, state->length, &mean, &variance);
    double inverse = 1.0 / sqrt(variance + state->epsilon);
    oxp_row_normalized(s, part, state->length, mean, inverse);
    for (size_t i = 0; i < state->length; i++) {
        float d_out = dy ? dy[r * state->length + i] : 0;
        g[i] = d_out * gamma[i];
        part[i] *= d_out;
    }
    double dinverse = dinverses ? (double)dinverses[r] : 0;
    oxp_row_gradient row = {mean, inverse, !state->simplified,
                            dmeans && !state->simplified ? (double)dmeans[r] : 0,
                            -0.5 * inverse * inverse * inverse * dinverse};
    oxp_row_backward(&row, s, g, ds, state->length);
}

static oxp_status backward(oxp_node *n)
{
    const skip_state *state = n->state;
    size_t count = n->in[0]->count;
    float *sums = NULL, *g = oxp_node_scratch(n, state->length, sizeof *g);
    float *ds = oxp_node_scratch(n, count, sizeof *ds);
    float *parts = oxp_node_scratch(n, count, sizeof *parts);
    const float *gamma = oxp_real_in(n, 2);
    if (!g || !ds || !parts || !gamma)
        return n->ctx->status;
    OXP_TRY(make_sums(n, &sums));
    for (size_t r = 0; count > 0 && r < state->rows; r++) {
        size_t at = r * state->length;
        backward_row(n, r, sums + at, gamma, g, ds + at, parts + at);
    }
    if (oxp_dout(n, 3))
        oxp_gradient_add(ds, oxp_dout(n, 3), count, 1);
    if (oxp_din(n, 0))
        oxp_gradient_add(oxp_din(n, 0), ds, count, 1);
    OXP_TRY(add_reduced(n, 1, ds));
    OXP_TRY(add_reduced(n, 2, parts));
    OXP_TRY(add_reduced(n, state->bias, ds));
    return state->simplified ? OXP_OK : add_reduced(n, state->beta, oxp_dout(n, 0));
}

const oxp_operator oxp_op_ms_skip_layer_normalization_1 = {
    .domain = "com.microsoft",
    .type = "SkipLayerNormalization",
    .since = 1,
    .min_in = 3,
    .max_in = 5,
    .min_out = 1,
    .max_out = 4,
    .optional = 1u << 3 | 1u << 4,
    .prepare = prepare_skip,
    .forward = forward,
    .backward = backward,
    .saves = 0x17,
    .examples =
        (const char *const[]){"X[2,3,4] skip[2,3,4] gamma[4] beta[4]",
                              "X[2,3,4] skip[3,4] gamma[4] _ bias[4]",
                              "X[2,3,4] skip[1,3,4] gamma[4] beta[4] bias[4]; epsilon=0.001",
                              "X[2,3,4]:f16 skip[2,3,4]:f16 gamma[4]:f16 beta[4]:f16", NULL},
};

const oxp_operator oxp_op_ms_skip_simplified_layer_normalization_1 = {
    .domain = "com.microsoft",
    .type = "SkipSimplifiedLayerNormalization",
    .since = 1,
    .min_in = 3,
    .max_in = 4,
    .min_out = 1,
    .max_out = 4,
    .optional = 1u << 3,
    .prepare = prepare_skip_simplified,
    .forward = forward,
    .backward = backward,
    .saves = 0x0f,
    .examples =
        (const char *const[]){"X[2,3,4] skip[2,3,4] gamma[4]",
                              "X[2,3,4] skip[3,4] gamma[4] bias[4]",
                              "X[2,3,4]:bf16 skip[2,3,4]:bf16 gamma[4]:bf16; epsilon=0.001", NULL},
};
