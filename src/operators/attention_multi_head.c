/* attention_multi_head.c - com.microsoft MultiHeadAttention: attention over Q [B, S, H * D], K [B,
 * T, H * D] and V [B, T, H * Dv] (or K and V as [B, H, T, D]), with the bias of their projection.
 * https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
 *
 * The fourth output are the scores that the softmax takes: scaled, masked and biased. Masks and
 * arithmetic as in attention_microsoft.c. Not here: packed QKV and KV, shared cache buffers,
 * beams. */
#include <string.h>

#include "operators/gradient.h"
#include "operators/attention_masks.h"

enum { QUERY, KEY, VALUE, BIAS, MASK, SCORE_BIAS, PAST_KEY, PAST_VALUE, PAST_LENGTH, BEAMS };

typedef struct multi_state {
    oxp_attention a;
    bool planar; /* K and V are [B, H, T, D] */
    int64_t past, fresh;
    float filter;
} multi_state;

static oxp_status read_keys(oxp_node *n, multi_state *s)
{
    oxp_attention *a = &s->a;
    const oxp_tensor *q = n->in[QUERY], *k = n->in[KEY], *v = n->in[VALUE];
    s->planar = k->rank == 4;
    if ((k->rank != 3 && k->rank != 4) || k->dims[0] != a->batch)
        return oxp_attention_fail_shape(n, KEY, "[B,T,hidden] or [B,heads,T,size]");
    if (v->rank != k->rank || v->dims[0] != a->batch)
        return oxp_attention_fail_shape(n, VALUE, "the form of the key");
    if (s->planar) {
        if (k->dims[1] != a->heads || k->dims[3] != a->size || v->dims[1] != a->heads ||
            v->dims[2] != k->dims[2])
            return oxp_attention_fail_shape(
                n, KEY, "heads of the size of the query's, and values for them");
        s->fresh = k->dims[2];
        a->value_size = v->dims[3];
        return OXP_OK;
    }
    if (k->dims[2] != q->dims[2] || v->dims[1] != k->dims[1] || v->dims[2] % a->heads != 0)
        return oxp_attention_fail_shape(n, KEY, "the query's hidden size, and values for its rows");
    s->fresh = k->dims[1];
    a->value_size = v->dims[2] / a->heads;
    return OXP_OK;
}

static oxp_status check_cache(oxp_node *n, int i, const multi_state *s, int64_t size)
{
    const oxp_tensor *t = n->in[i];
    OXP_TRY(oxp_node_want(n, i, n->in[QUERY]->dtype));
    if (t->rank == 4 && t->dims[0] == s->a.batch && t->dims[1] == s->a.heads &&
        t->dims[2] == s->past && t->dims[3] == size)
        return OXP_OK;
    return oxp_attention_fail_shape(n, i, "[B,heads,past,size], the same past for keys and values");
}

static oxp_status read_cache(oxp_node *n, multi_state *s)
{
    oxp_attention *a = &s->a;
    bool key = oxp_attention_given(n, PAST_KEY), value = oxp_attention_given(n, PAST_VALUE);
    if (key != value)
        return oxp_node_fail(n, OXP_EFORMAT, "E-ARITY",
                             "past_key and past_value must be given together");
    if (key) {
        s->past = n->in[PAST_KEY]->rank == 4 ? n->in[PAST_KEY]->dims[2] : 0;
        OXP_TRY(check_cache(n, PAST_KEY, s, a->size));
        OXP_TRY(check_cache(n, PAST_VALUE, s, a->value_size));
    }
    a->keys = s->past + s->fresh;
    a->offset = s->past;
    return OXP_OK;
}

static oxp_status read_inputs(oxp_node *n, multi_state *s)
{
    oxp_attention *a = &s->a;
    const oxp_tensor *q = n->in[QUERY];
    if (!oxp_attention_given(n, KEY) || !oxp_attention_given(n, VALUE) || q->rank != 3)
        return oxp_node_fail(n, OXP_EUNSUPPORTED, "E-OP-SHAPE",
                             "packed queries, keys and values are not supported");
    OXP_TRY(oxp_attention_refuse(n, PAST_LENGTH, "past_sequence_length"));
    OXP_TRY(oxp_attention_refuse(n, BEAMS, "cache_indirection"));
    for (int i = QUERY; i <= BIAS; i++) {
        if (!oxp_attention_given(n, i))
            continue;
        OXP_TRY(oxp_attention_check_float(n, i));
        OXP_TRY(oxp_node_want(n, i, q->dtype));
    }
    a->heads = a->kv_heads = oxp_attr_int(n, "num_heads", 0);
    if (a->heads < 1 || q->dims[2] % a->heads != 0 || q->dims[2] == 0)
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE",
                             "num_heads %lld for a hidden size of %lld", (long long)a->heads,
                             (long long)q->dims[2]);
    a->batch = q->dims[0];
    a->queries = q->dims[1];
    a->size = q->dims[2] / a->heads;
    OXP_TRY(read_keys(n, s));
    int64_t columns = a->heads * (2 * a->size + a->value_size);
    if (oxp_attention_given(n, BIAS) && n->in[BIAS]->count != (size_t)columns)
        return oxp_attention_fail_shape(n, BIAS, "the hidden sizes of query, key and value");
    return read_cache(n, s);
}

static oxp_status multi_head_prepare(oxp_node *n)
{
    multi_state *s = oxp_node_state(n, sizeof *s);
    if (!s)
        return n->ctx->status;
    *s = (multi_state){.past = 0};
    oxp_attention *a = &s->a;
    OXP_TRY(read_inputs(n, s));
    oxp_attention_read_common(n, a, &s->filter);
    OXP_TRY(oxp_attention_check_mask(n, MASK, a, false));
    OXP_TRY(oxp_attention_check_bias(n, SCORE_BIAS, a));
    a->tap = OXP_TAP_BIASED;
    oxp_dtype dtype = n->in[QUERY]->dtype;
    int64_t y[3] = {a->batch, a->queries, a->heads * a->value_size},
            scores[4] = {a->batch, a->heads, a->queries, a->keys};
    int64_t key[4] = {a->batch, a->heads, a->keys, a->size},
            value[4] = {a->batch, a->heads, a->keys, a->value_size};
    OXP_TRY(oxp_output(n, 0, dtype, 3, y));
    OXP_TRY(oxp_output(n, 1, dtype, 4, key));
    OXP_TRY(oxp_output(n, 2, dtype, 4, value));
    return oxp_output(n, 3, dtype, 4, scores);
}

/* An input with its part of the bias: its own memory, or a copy. */
static oxp_status biased(oxp_node *n, int input, size_t columns, size_t from, const float **out)
{
    const float *bias;
    OXP_TRY(oxp_move_floats(n, input, out));
    if (!oxp_attention_given(n, BIAS))
        return OXP_OK;
    size_t count = n->in[input]->count;
    OXP_TRY(oxp_move_floats(n, BIAS, &bias));
    float *sum = oxp_node_scratch(n, count, sizeof *sum);
    if (!sum)
        return n->ctx->status;
    for (size_t i = 0; i < count; i++)
        sum[i] = (*out)[i] + bias[from + i % columns];
    *out = sum;
    return OXP_OK;
}

static oxp_heads view(const multi_state *s, const float *data, int64_t size)
{
    return s->planar ? oxp_heads_planar(data, s->a.heads, s->fresh, size)
                     : oxp_heads_packed(data, s->a.heads, s->fresh, size);
}

static oxp_status set_operands(oxp_node *n, const multi_state *s, oxp_attention *a)
{
    const float *q, *k, *v;
    size_t columns = (size_t)(a->heads * a->size), v_columns = (size_t)(a->heads * a->value_size);
    OXP_TRY(biased(n, QUERY, columns, 0, &q));
    if (s->planar) { /* projected elsewhere, bias included */
        OXP_TRY(oxp_move_floats(n, KEY, &k));
        OXP_TRY(oxp_move_floats(n, VALUE, &v));
    } else {
        OXP_TRY(biased(n, KEY, columns, columns, &k));
        OXP_TRY(biased(n, VALUE, v_columns, 2 * columns, &v));
    }
    a->q = oxp_heads_packed(q, a->heads, a->queries, a->size);
    a->k = view(s, k, a->size);
    a->v = view(s, v, a->value_size);
    return OXP_OK;
}

/* Joins the cache where there is one, and gives the present outputs. */
static oxp_status add_cache(oxp_node *n, const multi_state *s, oxp_attention *a, int past,
                            int output, int64_t size, oxp_heads *whole)
{
    const float *old = NULL;
    bool present = output < n->out_count && n->out[output].data;
    if (s->past > 0)
        OXP_TRY(oxp_move_floats(n, past, &old));
    if (s->past > 0 || present)
        OXP_TRY(oxp_attention_cache(n, a, s->past, size, old, whole));
    if (present)
        oxp_attention_store_part(&n->out[output], 0, whole->data, n->out[output].count);
    return OXP_OK;
}

/* All but where y is. */
static oxp_status set_all(oxp_node *n, const multi_state *s, oxp_attention *a)
{
    OXP_TRY(set_operands(n, s, a));
    OXP_TRY(add_cache(n, s, a, PAST_KEY, 1, a->size, &a->k));
    OXP_TRY(add_cache(n, s, a, PAST_VALUE, 2, a->value_size, &a->v));
    return oxp_attention_finish(n, MASK, SCORE_BIAS, s->filter, a);
}

static oxp_status multi_head_forward(oxp_node *n)
{
    const multi_state *s = n->state;
    oxp_attention a = s->a;
    OXP_TRY(set_all(n, s, &a));
    bool tapped = n->out_count > 3 && n->out[3].data;
    if (tapped)
        OXP_TRY(oxp_move_float_output(n, 3, &a.tapped));
    OXP_TRY(oxp_move_float_output(n, 0, &a.y));
    OXP_TRY(oxp_attention_run(n, &a));
    oxp_move_store(n, 0, a.y);
    if (tapped)
        oxp_move_store(n, 3, a.tapped);
    return OXP_OK;
}

/* The rows of one operand go to its input and, added up, to its part of the bias. */
static void give_rows(oxp_node *n, int input, const oxp_heads *steps, int64_t bias_at,
                      const oxp_head_rows *rows)
{
    const oxp_heads summed = {.head = rows->size};
    if (oxp_din(n, input))
        oxp_attention_add_rows(oxp_din(n, input), steps, rows);
    if (bias_at >= 0 && oxp_din(n, BIAS))
        oxp_attention_add_rows(oxp_din(n, BIAS) + bias_at, &summed, rows);
}

/* Keys (or values): the present output's gradient is one of the whole, the past gets its part. */
static void give_cache(oxp_node *n, const multi_state *s, int input, int past, int output,
                       int64_t size, int64_t bias_at, float *whole)
{
    const oxp_attention *a = &s->a;
    oxp_head_rows rows = {whole, a->batch, a->heads, a->keys, s->past, s->fresh, size};
    oxp_heads fresh = view(s, NULL, size), old = oxp_heads_planar(NULL, a->heads, s->past, size);
    if (oxp_dout(n, output))
        oxp_gradient_add(whole, oxp_dout(n, output), n->out[output].count, 1);
    give_rows(n, input, &fresh, s->planar ? -1 : bias_at, &rows);
    rows.first = 0;
    rows.rows = s->past;
    if (oxp_din(n, past))
        oxp_attention_add_rows(oxp_din(n, past), &old, &rows);
}

static oxp_status multi_head_backward(oxp_node *n)
{
    const multi_state *s = n->state;
    oxp_attention a = s->a;
    oxp_attention_gradients g = {
        .dy = oxp_dout(n, 0), .dtapped = oxp_dout(n, 3), .dbias = {NULL, oxp_din(n, SCORE_BIAS)}};
    OXP_TRY(set_all(n, s, &a));
    OXP_TRY(oxp_attention_gradients_make(n, &a, &g));
    OXP_TRY(oxp_attention_backward(n, &a, &g));
    oxp_head_rows q = {g.dq, a.batch, a.heads, a.queries, 0, a.queries, a.size};
    oxp_heads steps = oxp_heads_packed(NULL, a.heads, a.queries, a.size);
    int64_t columns = a.heads * a.size;
    give_rows(n, QUERY, &steps, 0, &q);
    give_cache(n, s, KEY, PAST_KEY, 1, a.size, columns, g.dk);
    give_cache(n, s, VALUE, PAST_VALUE, 2, a.value_size, 2 * columns, g.dv);
    return OXP_OK;
}

static void multi_head_cost(const oxp_node *n, oxp_cost *cost)
{
    const oxp_attention *a = &((const multi_state *)n->state)->a;
    cost->macs =
        oxp_attention_macs(a->batch, a->heads, a->queries, a->keys, a->size, a->value_size);
    oxp_attention_add_bytes(n, cost);
}

static const char *const multi_head_examples[] = {
    "Q[2,3,8] K[2,4,8] V[2,4,6] B[22]; num_heads=2 outputs=4",
    "Q[2,3,8] K[2,3,8] V[2,3,8] _ M[2]:i32={3,2} _ P[2,2,2,4] R[2,2,2,4]; num_heads=2 "
    "unidirectional=1 outputs=3",
    "Q[2,3,8] K[2,2,4,4] V[2,2,4,4] _ M[2,4]:i32={1,1,0,1,1,1,1,0} S[1,2,3,4]; num_heads=2",
    NULL,
};

const oxp_operator oxp_op_multi_head_attention_microsoft = {
    .domain = "com.microsoft",
    .type = "MultiHeadAttention",
    .since = 1,
    .min_in = 1,
    .max_in = 10,
    .min_out = 1,
    .max_out = 4,
    .optional = 0x3fe,
    .prepare = multi_head_prepare,
    .forward = multi_head_forward,
    .backward = multi_head_backward,
    .saves = 0xff,
    .cost = multi_head_cost,
    .examples = multi_head_examples,
};
