/* instance_normalization.c - InstanceNormalization: y = scale[c] * (x - mean) / sqrt(var +
 * epsilon) + bias[c], mean and (population) variance of each plane of x[N, C, ...].
 *
 * https://onnx.ai/onnx/operators/onnx__InstanceNormalization.html. Computes in FLOAT, sums in
 * double. */
#include <math.h>

#include "kernels/channels.h"
#include "operators/normalization_rows.h"
#include "operators/gradient.h"
#include "operators/real.h"

typedef struct norm_state {
    size_t planes, channels, inner;
    float epsilon;
} norm_state;

static oxp_status prepare(oxp_node *n)
{
    const oxp_tensor *x = n->in[0];
    norm_state *state = oxp_node_state(n, sizeof *state);
    if (!state)
        return OXP_ELIMIT;
    OXP_TRY(oxp_real_types(n, 1u << 1 | 1u << 2));
    if (x->rank < 3)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "input 0 has rank %d, expected at least 3",
                             x->rank);
    for (int i = 1; i < 3; i++)
        if (n->in[i]->rank != 1 || n->in[i]->dims[0] != x->dims[1]) {
            char text[OXP_SHAPE_TEXT_MAX];
            return oxp_node_fail(
                n, OXP_EFORMAT, "E-SHAPE", "input %d has shape %s, expected [%lld]", i,
                oxp_shape_text(text, n->in[i]->rank, n->in[i]->dims), (long long)x->dims[1]);
        }
    state->epsilon = oxp_attr_float(n, "epsilon", 1e-5f);
    state->channels = (size_t)x->dims[1];
    state->planes = x->count ? (size_t)(x->dims[0] * x->dims[1]) : 0;
    state->inner = state->planes ? x->count / state->planes : 0;
    OXP_TRY(oxp_output(n, 0, x->dtype, x->rank, x->dims));
    oxp_output_overwrites(n, 0, 0);
    return OXP_OK;
}

static oxp_status forward(oxp_node *n)
{
    if (!oxp_node_makes(n, 0))
        return OXP_OK;
    const norm_state *state = n->state;
    const float *x = oxp_real_in(n, 0), *scale = oxp_real_in(n, 1), *bias = oxp_real_in(n, 2);
    float *y = oxp_real_out(n, 0);
    if (!x || !scale || !bias || !y)
        return OXP_ELIMIT;
    for (size_t i = 0; i < state->planes; i++) {
        const float *plane = x + i * state->inner;
        float mean, var, c_scale = scale[i % state->channels], c_bias = bias[i % state->channels];
        oxp_channel_statistics(plane, 1, 1, state->inner, &mean, &var);
        float factor = (float)((double)c_scale / sqrt((double)var + (double)state->epsilon));
        float offset = (float)((double)c_bias - (double)mean * (double)factor);
        oxp_channel_affine(plane, 1, 1, state->inner, &factor, &offset, y + i * state->inner);
    }
    oxp_real_done(n, 0, y);
    return OXP_OK;
}

static oxp_status backward(oxp_node *n)
{
    const norm_state *s = n->state;
    const float *x = oxp_real_in(n, 0), *scale = oxp_real_in(n, 1), *dy = oxp_dout(n, 0);
    float *dx = oxp_din(n, 0), *dscale = oxp_din(n, 1), *dbias = oxp_din(n, 2);
    float *g = oxp_node_scratch(n, s->inner, sizeof *g);
    if (!x || !scale || !g)
        return n->ctx->status;
    for (size_t p = 0; dy && p < s->planes; p++, x += s->inner, dy += s->inner) {
        size_t c = p % s->channels;
        double mean, variance, sum = 0, product = 0;
        oxp_row_moments(x, s->inner, &mean, &variance);
        oxp_row_gradient row = {
            .mean = mean, .inverse = 1.0 / sqrt(variance + (double)s->epsilon), .centred = true};
        for (size_t i = 0; i < s->inner; i++) {
            g[i] = dy[i] * scale[c];
            sum += (double)dy[i];
            product += (double)dy[i] * ((double)x[i] - mean) * row.inverse;
        }
        if (dscale)
            dscale[c] += (float)product;
        if (dbias)
            dbias[c] += (float)sum;
        if (dx)
            oxp_row_backward(&row, x, g, dx + p * s->inner, s->inner);
    }
    return OXP_OK;
}

static const char *const examples[] = {"X[2,3,4,5] S[3] B[3]", "X[1,2,17] S[2] B[2]; epsilon=0.01",
                                       "X[1,2,2,3,4] S[2] B[2]", NULL};

#define INSTANCE_NORMALIZATION(since_)                                                            \
    {                                                                                             \
        .domain = "", .type = "InstanceNormalization", .since = since_, .min_in = 3, .max_in = 3, \
        .min_out = 1, .max_out = 1, .prepare = prepare, .forward = forward, .backward = backward, \
        .saves = 3, .examples = examples                                                          \
    }

const oxp_operator oxp_op_instance_normalization_6 = INSTANCE_NORMALIZATION(6);
