/* causal_conv.c - CausalConvWithState: a convolution of every channel of X[B, C, L] by itself that
 * sees the present and the past alone, W[C, 1, K]:
 *
 *     Y[b, c, t] = f(bias[c] + sum_k W[c, k] P[b, c, t + k])      P = past [B, C, K - 1] and X
 *
 * f is nothing or SiLU. The present state is the end of P; without a past it is zero. Backward runs
 * the channel again for what stands inside f, z: with dz = f'(z) dy,
 *
 *     dP[t + k] += W[k] dz[t]      dW[k] += P[t + k] dz[t]      dbias += dz[t]
 *
 * and the present's gradient is added to the end of dP.
 * https://onnx.ai/onnx/operators/onnx__CausalConvWithState.html */
#include <math.h>
#include <string.h>

#include "operators/gradient.h"
#include "operators/movement.h"
#include "operators/real.h"

typedef struct causal_state {
    size_t batch, channels, length, kernel;
    bool silu;
} causal_state;

static oxp_status refuse(oxp_node *n, const char *what, int i, const char *expected)
{
    char found[OXP_SHAPE_TEXT_MAX];
    return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "%s has shape %s, expected %s", what,
                         oxp_shape_text(found, n->in[i]->rank, n->in[i]->dims), expected);
}

static oxp_status check_shapes(oxp_node *n)
{
    const oxp_tensor *x = n->in[0], *w = n->in[1];
    if (x->rank != 3)
        return refuse(n, "the input", 0, "[B, C, L]");
    if (w->rank != 3 || w->dims[0] != x->dims[1] || w->dims[1] != 1 || w->dims[2] < 1)
        return refuse(n, "the weight", 1, "[C, 1, K]");
    if (oxp_node_has(n, 2) && (n->in[2]->rank != 1 || n->in[2]->dims[0] != x->dims[1]))
        return refuse(n, "the bias", 2, "[C]");
    if (oxp_node_has(n, 3)) {
        const oxp_tensor *past = n->in[3];
        if (past->rank != 3 || past->dims[0] != x->dims[0] || past->dims[1] != x->dims[1] ||
            past->dims[2] != w->dims[2] - 1)
            return refuse(n, "the past state", 3, "[B, C, K - 1]");
    }
    return OXP_OK;
}

static oxp_status prepare(oxp_node *n)
{
    static const char *const activations[] = {"none", "silu", "swish", NULL};
    const oxp_tensor *x = n->in[0];
    causal_state *s = oxp_node_state(n, sizeof *s);
    int activation;
    if (!s)
        return n->ctx->status;
    OXP_TRY(oxp_real_types(n, 1 << 1 | 1 << 2 | 1 << 3));
    OXP_TRY(oxp_move_choice(n, "activation", "none", activations, &activation));
    OXP_TRY(check_shapes(n));
    s->silu = activation > 0;
    s->batch = (size_t)x->dims[0];
    s->channels = (size_t)x->dims[1];
    s->length = (size_t)x->dims[2];
    s->kernel = (size_t)n->in[1]->dims[2];
    int64_t state_dims[3] = {x->dims[0], x->dims[1], n->in[1]->dims[2] - 1};
    OXP_TRY(oxp_output(n, 0, x->dtype, 3, x->dims));
    return oxp_output(n, 1, x->dtype, 3, state_dims);
}

/* line: the channel with its past in front. */
static void run_channel(const causal_state *s, const float *line, const float *w, float bias,
                        float *y)
{
    for (size_t t = 0; t < s->length; t++) {
        double sum = (double)bias;
        for (size_t k = 0; k < s->kernel; k++)
            sum += (double)w[k] * (double)line[t + k];
        y[t] = (float)(s->silu ? sum / (1.0 + exp(-sum)) : sum);
    }
}

static float *output_or_scratch(oxp_node *n, int i, size_t count)
{
    return oxp_node_makes(n, i) ? oxp_real_out(n, i) : oxp_node_scratch(n, count, sizeof(float));
}

static oxp_status forward(oxp_node *n)
{
    const causal_state *s = n->state;
    size_t channels = s->batch * s->channels, kept = s->kernel - 1;
    const float *bias, *past, *x = oxp_real_in(n, 0), *w = oxp_real_in(n, 1);
    float *y = output_or_scratch(n, 0, channels * s->length);
    float *present = output_or_scratch(n, 1, channels * kept);
    float *line = oxp_node_scratch(n, kept + s->length, sizeof *line);
    OXP_TRY(oxp_real_in_optional(n, 2, &bias));
    OXP_TRY(oxp_real_in_optional(n, 3, &past));
    if (!x || !w || !y || !present || !line)
        return n->ctx->status;
    memset(line, 0, kept * sizeof *line);
    for (size_t i = 0; i < channels; i++) {
        size_t c = i % s->channels;
        if (past)
            memcpy(line, past + i * kept, kept * sizeof *line);
        memcpy(line + kept, x + i * s->length, s->length * sizeof *line);
        run_channel(s, line, w + c * s->kernel, bias ? bias[c] : 0.0f, y + i * s->length);
        memcpy(present + i * kept, line + s->length, kept * sizeof *line);
    }
    if (oxp_node_makes(n, 0))
        oxp_real_done(n, 0, y);
    if (oxp_node_makes(n, 1))
        oxp_real_done(n, 1, present);
    return OXP_OK;
}

/* ---- backward ---- */

/* d silu(z) / dz = s + z s (1 - s), s = 1 / (1 + e^-z) */
static double slope(const causal_state *s, double z)
{
    double sigmoid = 1.0 / (1.0 + exp(-z));
    return s->silu ? sigmoid + z * sigmoid * (1.0 - sigmoid) : 1.0;
}

/* One channel: dline [K - 1 + L] and dw [K] are added to; returns dbias. dy NULL: zero. */
static double back_channel(const causal_state *s, const float *line, const float *w, float bias,
                           const float *dy, double *dline, double *dw)
{
    double dbias = 0;
    for (size_t t = 0; dy && t < s->length; t++) {
        double z = (double)bias;
        for (size_t k = 0; k < s->kernel; k++)
            z += (double)w[k] * (double)line[t + k];
        double dz = slope(s, z) * (double)dy[t];
        dbias += dz;
        for (size_t k = 0; k < s->kernel; k++) {
            dline[t + k] += (double)w[k] * dz;
            dw[k] += (double)line[t + k] * dz;
        }
    }
    return dbias;
}

static void add_doubles(float *to, const double *from, size_t count)
{
    for (size_t i = 0; to && i < count; i++)
        to[i] += (float)from[i];
}

static float *row(float *values, size_t i, size_t width)
{
    return values ? values + i * width : NULL;
}

static oxp_status backward(oxp_node *n)
{
    const causal_state *s = n->state;
    size_t kept = s->kernel - 1, length = s->length;
    const float *bias, *past, *x = oxp_real_in(n, 0), *w = oxp_real_in(n, 1);
    const float *dy = oxp_dout(n, 0), *dpresent = oxp_dout(n, 1);
    float *line = oxp_node_scratch(n, kept + length, sizeof *line), *dbias = oxp_din(n, 2);
    double *dline = oxp_node_scratch(n, kept + length, sizeof *dline);
    double *dw = oxp_node_scratch(n, s->kernel, sizeof *dw);
    OXP_TRY(oxp_real_in_optional(n, 2, &bias));
    OXP_TRY(oxp_real_in_optional(n, 3, &past));
    if (!x || !w || !line || !dline || !dw)
        return n->ctx->status;
    memset(line, 0, kept * sizeof *line);
    for (size_t i = 0; i < s->batch * s->channels; i++) {
        size_t c = i % s->channels;
        memset(dline, 0, (kept + length) * sizeof *dline);
        memset(dw, 0, s->kernel * sizeof *dw);
        if (past)
            memcpy(line, past + i * kept, kept * sizeof *line);
        memcpy(line + kept, x + i * length, length * sizeof *line);
        double sum = back_channel(s, line, w + c * s->kernel, bias ? bias[c] : 0.0f,
                                  dy ? dy + i * length : NULL, dline, dw);
        for (size_t k = 0; dpresent && k < kept; k++)
            dline[length + k] += (double)dpresent[i * kept + k];
        add_doubles(row(oxp_din(n, 0), i, length), dline + kept, length);
        add_doubles(row(oxp_din(n, 1), c, s->kernel), dw, s->kernel);
        add_doubles(row(oxp_din(n, 3), i, kept), dline, kept);
        if (dbias)
            dbias[c] += (float)sum;
    }
    return OXP_OK;
}

static void cost(const oxp_node *n, oxp_cost *c)
{
    const causal_state *s = n->state;
    oxp_cost_of(n, (double)n->in[0]->count * (double)s->kernel, c);
}

const oxp_operator oxp_op_causal_conv_with_state_27 = {
    .domain = "",
    .type = "CausalConvWithState",
    .since = 27,
    .min_in = 2,
    .max_in = 4,
    .min_out = 1,
    .max_out = 2,
    .prepare = prepare,
    .forward = forward,
    .backward = backward,
    .saves = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 3,
    .cost = cost,
    .examples = (const char *const[]){"X[2,3,5] W[3,1,4]; outputs=2",
                                      "X[1,2,1] W[2,1,3] B[2] P[1,2,2]; activation='silu' "
                                      "outputs=2",
                                      "X[1,2,3]:f16 W[2,1,1]:f16", NULL},
};
