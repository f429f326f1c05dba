/* group_normalization.c - GroupNormalization: per sample and group of channels, y = (x - mean) /
 * sqrt(variance + epsilon) * scale + bias. X[N, C, ...]. At opset 18 scale and bias are per
 * group, from 21 on per channel. */
#include "operators/gradient.h"
#include "operators/normalization_rows.h"
#include "operators/real.h"
#include "operators/vector_math.h"

typedef struct group_state {
    size_t groups, channels; /* channels of one group */
    size_t batch, area;      /* elements of one channel */
    bool per_channel;
    double epsilon;
} group_state;

static oxp_status check_parameter(oxp_node *n, int i, int64_t wanted)
{
    const oxp_tensor *t = n->in[i];
    if (t->rank == 1 && t->dims[0] == wanted)
        return OXP_OK;
    char found[OXP_SHAPE_TEXT_MAX];
    return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "%s has shape %s, expected [%lld]",
                         i == 1 ? "scale" : "bias", oxp_shape_text(found, t->rank, t->dims),
                         (long long)wanted);
}

static oxp_status prepare(oxp_node *n)
{
    const oxp_tensor *x = n->in[0];
    group_state *state = oxp_node_state(n, sizeof *state);
    if (!state)
        return n->ctx->status;
    OXP_TRY(oxp_real_types(n, 1u << 1 | 1u << 2));
    oxp_attr_ignore(n, "stash_type");
    int64_t groups = oxp_attr_int(n, "num_groups", 0), channels = x->rank >= 2 ? x->dims[1] : 0;
    if (x->rank < 2)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "X has rank %d, expected at least 2",
                             x->rank);
    if (groups <= 0 || channels % groups != 0) {
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE",
                             "num_groups is %lld, expected a divisor of %lld channels",
                             (long long)groups, (long long)channels);
    }
    state->epsilon = (double)oxp_attr_float(n, "epsilon", 1e-5f);
    state->per_channel = n->op->since >= 21;
    state->groups = (size_t)groups;
    state->channels = (size_t)(channels / groups);
    state->batch = (size_t)x->dims[0];
    state->area = 1;
    for (int d = 2; d < x->rank; d++)
        state->area *= (size_t)x->dims[d];
    OXP_TRY(check_parameter(n, 1, state->per_channel ? channels : groups));
    OXP_TRY(check_parameter(n, 2, state->per_channel ? channels : groups));
    OXP_TRY(oxp_output(n, 0, x->dtype, x->rank, x->dims));
    oxp_output_overwrites(n, 0, 0);
    return OXP_OK;
}

static oxp_status forward(oxp_node *n)
{
    const group_state *s = n->state;
    const float *x = oxp_real_in(n, 0), *scale = oxp_real_in(n, 1), *bias = oxp_real_in(n, 2);
    float *y = oxp_real_out(n, 0);
    if (!x || !scale || !bias || !y)
        return n->ctx->status;
    size_t length = s->channels * s->area, at = 0;
    size_t rows = n->in[0]->count > 0 ? s->batch * s->groups : 0;
    for (size_t row = 0; row < rows; row++) {
        size_t group = row % s->groups;
        double mean, variance;
        oxp_row_moments(x + row * length, length, &mean, &variance);
        double factor = 1.0 / sqrt(variance + s->epsilon);
        for (size_t c = 0; c < s->channels; c++, at += s->area) {
            size_t k = s->per_channel ? group * s->channels + c : group;
            oxp_row_affine_one(x + at, y + at, s->area, mean, factor, scale[k], bias[k]);
        }
    }
    oxp_real_done(n, 0, y);
    return OXP_OK;
}

static oxp_status backward(oxp_node *n)
{
    const group_state *s = n->state;
    const float *x = oxp_real_in(n, 0), *scale = oxp_real_in(n, 1), *dy = oxp_dout(n, 0);
    float *dx = oxp_din(n, 0), *dscale = oxp_din(n, 1), *dbias = oxp_din(n, 2);
    size_t length = s->channels * s->area;
    float *g = oxp_node_scratch(n, length, sizeof *g);
    if (!x || !scale || !g)
        return n->ctx->status;
    size_t rows = dy && n->in[0]->count > 0 ? s->batch * s->groups : 0;
    for (size_t row = 0; row < rows; row++, x += length, dy += length) {
        size_t group = row % s->groups;
        double mean, variance;
        oxp_row_moments(x, length, &mean, &variance);
        double factor = 1.0 / sqrt(variance + s->epsilon);
        for (size_t c = 0; c < s->channels; c++) {
            size_t k = s->per_channel ? group * s->channels + c : group;
            double sum = 0, product = 0;
            for (size_t i = c * s->area; i < (c + 1) * s->area; i++) {
                g[i] = dy[i] * scale[k];
                sum += (double)dy[i];
                product += (double)dy[i] * ((double)x[i] - mean) * factor;
            }
            if (dscale)
                dscale[k] += (float)product;
            if (dbias)
                dbias[k] += (float)sum;
        }
        oxp_row_gradient r = {.mean = mean, .inverse = factor, .centred = true};
        if (dx)
            oxp_row_backward(&r, x, g, dx + row * length, length);
    }
    return OXP_OK;
}

#define GROUP(symbol, since_, ...)                            \
    const oxp_operator symbol = {                             \
        .domain = "",                                         \
        .type = "GroupNormalization",                         \
        .since = since_,                                      \
        .min_in = 3,                                          \
        .max_in = 3,                                          \
        .min_out = 1,                                         \
        .max_out = 1,                                         \
        .prepare = prepare,                                   \
        .forward = forward,                                   \
        .backward = backward,                                 \
        .saves = 3,                                           \
        .examples = (const char *const[]){__VA_ARGS__, NULL}, \
    };
GROUP(oxp_op_group_normalization_18, 18, "X[2,4,3,3] S[2] B[2]; num_groups=2",
      "X[2,4] S[1] B[1]; num_groups=1")
GROUP(oxp_op_group_normalization_21, 21, "X[2,4,3,3] S[4] B[4]; num_groups=2",
      "X[2,4,5] S[4] B[4]; num_groups=4 epsilon=0.01",
      "X[1,2,3]:f16 S[2]:f16 B[2]:f16; num_groups=1")
