/* linear_attention.c - LinearAttention: attention as a recurrence over a state S[Dk, Dv] for each
 * of the key heads. With a = e^decay (1 without), for each step t:
 *
 *     S = a S      u = v - S^T k (delta rules) or v      S += beta k u^T      o = scale S^T q
 *
 * Q[B, T, Hq Dk], K[B, T, Hk Dk], V[B, T, Hk Dv]; decay[B, T, Hk or Hk Dk], beta[B, T, Hk or 1];
 * query head h reads the state of key head h / (Hq / Hk). The state is kept in double; chunk_size
 * has no effect on the result.
 * https://onnx.ai/onnx/operators/onnx__LinearAttention.html */
#include <math.h>
#include <string.h>

#include "operators/movement.h"
#include "operators/real.h"

enum { QUERY, KEY, VALUE, PAST, DECAY, BETA };
enum { RULE_LINEAR, RULE_GATED, RULE_DELTA, RULE_GATED_DELTA };

typedef struct linear_state {
    bool gated, delta;
    size_t batch, steps, query_heads, heads, dk, dv;
    size_t decay_width, beta_width; /* last axes */
    double scale;
} linear_state;

/* ---- shapes ---- */

/* Input i must be [B, T, one of the widths]; *width is its last axis. */
static oxp_status check_input(oxp_node *n, int i, size_t first, size_t second, size_t *width)
{
    const linear_state *s = n->state;
    const oxp_tensor *t = n->in[i];
    bool good = t->rank == 3 && t->dims[0] == (int64_t)s->batch && t->dims[1] == (int64_t)s->steps;
    *width = good ? (size_t)t->dims[2] : 0;
    if (good && (*width == first || *width == second))
        return OXP_OK;
    char found[OXP_SHAPE_TEXT_MAX];
    return oxp_node_fail(
        n, OXP_EFORMAT, "E-SHAPE", "input %d has shape %s, expected [%zu,%zu,%zu or %zu]", i,
        oxp_shape_text(found, t->rank, t->dims), s->batch, s->steps, first, second);
}

static oxp_status read_heads(oxp_node *n, linear_state *s)
{
    const oxp_tensor *q = n->in[QUERY], *v = n->in[VALUE];
    int64_t query_heads = oxp_attr_int(n, "q_num_heads", 0);
    int64_t heads = oxp_attr_int(n, "kv_num_heads", 0);
    bool good = q->rank == 3 && v->rank == 3 && heads > 0 && query_heads > 0 &&
                query_heads % heads == 0 && q->dims[2] % query_heads == 0 &&
                v->dims[2] % heads == 0;
    if (!good) {
        char a[OXP_SHAPE_TEXT_MAX], b[OXP_SHAPE_TEXT_MAX];
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                             "queries %s and values %s do not divide into %lld and %lld heads",
                             oxp_shape_text(a, q->rank, q->dims),
                             oxp_shape_text(b, v->rank, v->dims), (long long)query_heads,
                             (long long)heads);
    }
    s->batch = (size_t)q->dims[0];
    s->steps = (size_t)q->dims[1];
    s->query_heads = (size_t)query_heads;
    s->heads = (size_t)heads;
    s->dk = (size_t)(q->dims[2] / query_heads);
    s->dv = (size_t)(v->dims[2] / heads);
    return OXP_OK;
}

static oxp_status read_rule(oxp_node *n, linear_state *s)
{
    static const char *const rules[] = {"linear", "gated", "delta", "gated_delta", NULL};
    int rule;
    OXP_TRY(oxp_move_choice(n, "update_rule", "gated_delta", rules, &rule));
    s->gated = rule == RULE_GATED || rule == RULE_GATED_DELTA;
    s->delta = rule == RULE_DELTA || rule == RULE_GATED_DELTA;
    if (oxp_node_has(n, DECAY) == s->gated && oxp_node_has(n, BETA) == s->delta)
        return OXP_OK;
    return oxp_node_fail(n, OXP_EFORMAT, "E-ARITY",
                         "update_rule %s is to have %s decay and %s beta", rules[rule],
                         s->gated ? "a" : "no", s->delta ? "a" : "no");
}

static oxp_status check_past(oxp_node *n, const int64_t dims[4])
{
    const oxp_tensor *past = n->in[PAST];
    if (!oxp_dtype_is_float(past->dtype))
        return oxp_node_bad_dtype(n, PAST);
    if (past->rank == 4 && memcmp(past->dims, dims, 4 * sizeof *dims) == 0)
        return OXP_OK;
    char found[OXP_SHAPE_TEXT_MAX], expected[OXP_SHAPE_TEXT_MAX];
    return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "past_state has shape %s, expected %s",
                         oxp_shape_text(found, past->rank, past->dims),
                         oxp_shape_text(expected, 4, dims));
}

static oxp_status prepare(oxp_node *n)
{
    linear_state *s = oxp_node_state(n, sizeof *s);
    size_t width;
    if (!s)
        return n->ctx->status;
    OXP_TRY(oxp_real_types(n, 1 << KEY | 1 << VALUE | 1 << DECAY | 1 << BETA));
    oxp_attr_ignore(n, "chunk_size");
    OXP_TRY(read_heads(n, s));
    OXP_TRY(read_rule(n, s));
    s->scale = (double)oxp_attr_float(n, "scale", 0.0f);
    if (s->scale == 0.0)
        s->scale = 1.0 / sqrt((double)s->dk);
    OXP_TRY(check_input(n, KEY, s->heads * s->dk, s->heads * s->dk, &width));
    OXP_TRY(check_input(n, VALUE, s->heads * s->dv, s->heads * s->dv, &width));
    if (s->gated)
        OXP_TRY(check_input(n, DECAY, s->heads, s->heads * s->dk, &s->decay_width));
    if (s->delta)
        OXP_TRY(check_input(n, BETA, s->heads, 1, &s->beta_width));
    int64_t state_dims[4] = {(int64_t)s->batch, (int64_t)s->heads, (int64_t)s->dk, (int64_t)s->dv};
    int64_t dims[3] = {(int64_t)s->batch, (int64_t)s->steps, (int64_t)(s->query_heads * s->dv)};
    bool has_past = oxp_node_has(n, PAST);
    if (has_past)
        OXP_TRY(check_past(n, state_dims));
    OXP_TRY(oxp_output(n, 0, n->in[QUERY]->dtype, 3, dims));
    return oxp_output(n, 1, n->in[has_past ? PAST : QUERY]->dtype, 4, state_dims);
}

/* ---- one head ---- */

typedef struct head_inputs {
    const float *k, *v, *decay, *beta; /* of one step and head; NULL where there is none */
    size_t decay_step;                 /* 0: one decay for all keys */
} head_inputs;

/* update: dv values of room. */
static void advance(const linear_state *s, double *state, const head_inputs *x, double *update)
{
    for (size_t d = 0; x->decay && d < s->dk; d++) {
        double factor = exp((double)x->decay[d * x->decay_step]);
        for (size_t m = 0; m < s->dv; m++)
            state[d * s->dv + m] *= factor;
    }
    for (size_t m = 0; m < s->dv; m++) {
        double retrieved = 0.0;
        for (size_t d = 0; s->delta && d < s->dk; d++)
            retrieved += state[d * s->dv + m] * (double)x->k[d];
        update[m] = ((double)x->v[m] - retrieved) * (x->beta ? (double)*x->beta : 1.0);
    }
    for (size_t d = 0; d < s->dk; d++)
        for (size_t m = 0; m < s->dv; m++)
            state[d * s->dv + m] += (double)x->k[d] * update[m];
}

static void read_out(const linear_state *s, const double *state, const float *q, float *y)
{
    for (size_t m = 0; m < s->dv; m++) {
        double sum = 0.0;
        for (size_t d = 0; d < s->dk; d++)
            sum += (double)q[d] * state[d * s->dv + m];
        y[m] = (float)(s->scale * sum);
    }
}

typedef struct operands {
    const float *q, *k, *v, *decay, *beta;
    double *state, *update;
    float *y;
} operands;

static void run_head(const linear_state *s, const operands *o, size_t b, size_t h)
{
    size_t group = s->query_heads / s->heads;
    for (size_t t = b * s->steps; t < (b + 1) * s->steps; t++) {
        bool by_key = s->decay_width == s->heads * s->dk && s->dk > 1;
        size_t decay = t * s->decay_width + h * (by_key ? s->dk : 1);
        size_t beta = t * s->beta_width + (s->beta_width == 1 ? 0 : h);
        head_inputs x = {.k = o->k + (t * s->heads + h) * s->dk,
                         .v = o->v + (t * s->heads + h) * s->dv,
                         .decay = s->gated ? o->decay + decay : NULL,
                         .beta = s->delta ? o->beta + beta : NULL,
                         .decay_step = by_key};
        advance(s, o->state, &x, o->update);
        for (size_t g = h * group; g < (h + 1) * group; g++)
            read_out(s, o->state, o->q + (t * s->query_heads + g) * s->dk,
                     o->y + (t * s->query_heads + g) * s->dv);
    }
}

/* ---- forward ---- */

static void load_state(oxp_node *n, size_t first, size_t count, double *state)
{
    for (size_t i = 0; i < count; i++)
        state[i] = oxp_node_has(n, PAST) ? oxp_tensor_real(n->in[PAST], first + i) : 0.0;
}

static void store_state(oxp_node *n, size_t first, size_t count, const double *state)
{
    oxp_tensor *present = &n->out[1];
    for (size_t i = 0; oxp_node_makes(n, 1) && i < count; i++)
        oxp_move_write_real(present->dtype, state[i],
                            (uint8_t *)present->data +
                                (first + i) * (oxp_dtype_bits(present->dtype) / 8));
}

static oxp_status forward(oxp_node *n)
{
    const linear_state *s = n->state;
    size_t size = s->dk * s->dv;
    operands o = {.q = oxp_real_in(n, QUERY),
                  .k = oxp_real_in(n, KEY),
                  .v = oxp_real_in(n, VALUE),
                  .state = oxp_node_scratch(n, size, sizeof(double)),
                  .update = oxp_node_scratch(n, s->dv, sizeof(double)),
                  .y = oxp_node_makes(n, 0) ? oxp_real_out(n, 0)
                                            : oxp_node_scratch(n, n->out[0].count, sizeof(float))};
    OXP_TRY(oxp_real_in_optional(n, DECAY, &o.decay));
    OXP_TRY(oxp_real_in_optional(n, BETA, &o.beta));
    if (!o.q || !o.k || !o.v || !o.state || !o.update || !o.y)
        return n->ctx->status;
    for (size_t b = 0; b < s->batch; b++)
        for (size_t h = 0; h < s->heads; h++) {
            size_t first = (b * s->heads + h) * size;
            load_state(n, first, size, o.state);
            run_head(s, &o, b, h);
            store_state(n, first, size, o.state);
        }
    if (oxp_node_makes(n, 0))
        oxp_real_done(n, 0, o.y);
    return OXP_OK;
}

static void cost(const oxp_node *n, oxp_cost *c)
{
    const linear_state *s = n->state;
    double heads = (double)(2 * s->heads + s->query_heads);
    oxp_cost_of(n, (double)(s->batch * s->steps) * heads * (double)(s->dk * s->dv), c);
}

const oxp_operator oxp_op_linear_attention_27 = {
    .domain = "",
    .type = "LinearAttention",
    .since = 27,
    .min_in = 3,
    .max_in = 6,
    .min_out = 1,
    .max_out = 2,
    .prepare = prepare,
    .forward = forward,
    .cost = cost,
    .examples =
        (const char *const[]){
            "Q[1,2,8] K[1,2,4] V[1,2,6] _ D[1,2,4] B[1,2,1]; q_num_heads=4 kv_num_heads=2 "
            "outputs=2",
            "Q[2,3,4] K[2,3,4] V[2,3,4] P[2,2,2,2]; q_num_heads=2 kv_num_heads=2 "
            "update_rule='linear' scale=0.5 outputs=2",
            "Q[1,2,4]:f16 K[1,2,4]:f16 V[1,2,2]:f16 _ D[1,2,2]:f16; q_num_heads=2 kv_num_heads=2 "
            "update_rule='gated'",
            NULL},
};
