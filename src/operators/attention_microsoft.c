/* attention_microsoft.c - com.microsoft Attention: self attention with its projection, Q, K, V =
 * X W + b, with a key mask, a bias of the scores and a key and value cache.
 * https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
 *
 * Masked keys get mask_filter_value; key masks are [B] (lengths), [2B] (ends, then starts), [B, T]
 * or [B, S, T]. All arithmetic is in float. FLOAT and FLOAT16.
 * Not here: shared cache buffers, rotation, masks of 4 dimensions. */
#include <string.h>

#include "kernels/gemm.h"
#include "operators/gradient.h"
#include "operators/attention_masks.h"

typedef struct self_state {
    oxp_attention a;
    int64_t past, hidden_in, hidden, v_hidden; /* Q and K have `hidden` columns, V v_hidden */
    float filter;
} self_state;

/* ---- Attention ---- */

enum { X, WEIGHTS, BIAS, MASK, PAST, SCORE_BIAS, PAST_LENGTH };

static oxp_status read_hidden(oxp_node *n, self_state *s, int64_t heads)
{
    const int64_t *sizes;
    size_t count;
    const oxp_tensor *x = n->in[X], *w = n->in[WEIGHTS];
    if (x->rank != 3)
        return oxp_attention_fail_shape(n, X, "[B,S,D]");
    if (w->rank != 2 || w->dims[0] != x->dims[2])
        return oxp_attention_fail_shape(n, WEIGHTS, "as many rows as the input has columns");
    oxp_attr_ints(n, "qkv_hidden_sizes", &sizes, &count);
    s->hidden = sizes && count == 3 ? sizes[0] : w->dims[1] / 3;
    s->v_hidden = sizes && count == 3 ? sizes[2] : w->dims[1] / 3;
    bool fits = heads > 0 && s->hidden > 0 && s->v_hidden > 0 && s->hidden <= w->dims[1] &&
                s->v_hidden <= w->dims[1] && 2 * s->hidden + s->v_hidden == w->dims[1] &&
                s->hidden % heads == 0 && s->v_hidden % heads == 0 &&
                (!sizes || (count == 3 && sizes[1] == sizes[0]));
    if (!fits)
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE",
                             "%lld heads and hidden sizes %lld, %lld do not fit %lld columns",
                             (long long)heads, (long long)s->hidden, (long long)s->v_hidden,
                             (long long)w->dims[1]);
    s->hidden_in = x->dims[2];
    return OXP_OK;
}

static oxp_status read_past(oxp_node *n, self_state *s)
{
    oxp_attention *a = &s->a;
    s->past = 0;
    if (oxp_attention_given(n, PAST)) {
        const oxp_tensor *p = n->in[PAST];
        OXP_TRY(oxp_node_want(n, PAST, n->in[X]->dtype));
        if (p->rank != 5 || p->dims[0] != 2 || p->dims[1] != a->batch || p->dims[2] != a->heads ||
            p->dims[4] != a->size || a->size != a->value_size)
            return oxp_attention_fail_shape(n, PAST, "[2,B,heads,past,size]");
        s->past = p->dims[3];
    }
    a->keys = s->past + a->queries;
    a->offset = s->past;
    return OXP_OK;
}

static oxp_status attention_prepare(oxp_node *n)
{
    self_state *s = oxp_node_state(n, sizeof *s);
    if (!s)
        return n->ctx->status;
    *s = (self_state){.past = 0};
    oxp_attention *a = &s->a;
    a->heads = a->kv_heads = oxp_attr_int(n, "num_heads", 0);
    if (oxp_attr_int(n, "do_rotary", 0) != 0 ||
        oxp_attr_int(n, "past_present_share_buffer", 0) != 0)
        return oxp_node_fail(n, OXP_EUNSUPPORTED, "E-ATTR",
                             "do_rotary and past_present_share_buffer are not supported");
    oxp_attr_ignore(n, "rotary_embedding_dim");
    OXP_TRY(oxp_attention_refuse(n, PAST_LENGTH, "past_sequence_length"));
    for (int i = X; i <= BIAS; i++) {
        if (oxp_attention_given(n, i))
            OXP_TRY(oxp_attention_check_float(n, i));
    }
    OXP_TRY(read_hidden(n, s, a->heads));
    if (oxp_attention_given(n, BIAS) && n->in[BIAS]->count != (size_t)n->in[WEIGHTS]->dims[1])
        return oxp_attention_fail_shape(n, BIAS, "as many entries as the weights have columns");
    a->batch = n->in[X]->dims[0];
    a->queries = n->in[X]->dims[1];
    a->size = s->hidden / a->heads;
    a->value_size = s->v_hidden / a->heads;
    OXP_TRY(read_past(n, s));
    oxp_attention_read_common(n, a, &s->filter);
    OXP_TRY(oxp_attention_check_mask(n, MASK, a, true));
    OXP_TRY(oxp_attention_check_bias(n, SCORE_BIAS, a));
    if (n->out_count > 1 && n->wanted[1] && a->size != a->value_size)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                             "a present output needs values of the size of keys");
    int64_t y[3] = {a->batch, a->queries, s->v_hidden},
            present[5] = {2, a->batch, a->heads, a->keys, a->size};
    OXP_TRY(oxp_output(n, 0, n->in[X]->dtype, 3, y));
    return oxp_output(n, 1, n->in[X]->dtype, 5, present);
}

/* X W + b: [B * S, hidden + hidden + v_hidden]. */
static oxp_status project(oxp_node *n, const self_state *s, float **out)
{
    const float *x, *w, *bias = NULL;
    size_t rows = (size_t)(s->a.batch * s->a.queries), columns = (size_t)n->in[WEIGHTS]->dims[1],
           count;
    OXP_TRY(oxp_move_floats(n, X, &x));
    OXP_TRY(oxp_move_floats(n, WEIGHTS, &w));
    if (oxp_attention_given(n, BIAS))
        OXP_TRY(oxp_move_floats(n, BIAS, &bias));
    if (!oxp_mul_ok(rows, columns, &count))
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE-OVERFLOW", "the projection overflows");
    float *y = oxp_node_scratch(n, count, sizeof *y);
    if (!y)
        return n->ctx->status;
    for (size_t r = 0; bias && r < rows; r++)
        memcpy(y + r * columns, bias, columns * sizeof *y);
    oxp_gemm_shape shape = oxp_gemm_plain(false, false, rows, columns, (size_t)s->hidden_in);
    if (rows > 0)
        oxp_gemm(&shape, 1, x, w, bias ? 1 : 0, y);
    *out = y;
    return OXP_OK;
}

/* A part of the projection, as heads; data may be NULL for the steps alone. */
static oxp_heads part_of(const self_state *s, const float *data, int64_t size)
{
    int64_t row = 2 * s->hidden + s->v_hidden;
    return (oxp_heads){.data = data, .batch = s->a.queries * row, .head = size, .row = row};
}

/* All but where y is; `present`: the joined keys and values are wanted also without a past. */
static oxp_status set_operands(oxp_node *n, const self_state *s, oxp_attention *a, bool present)
{
    float *projected = NULL;
    const float *past = NULL;
    OXP_TRY(project(n, s, &projected));
    a->q = part_of(s, projected, a->size);
    a->k = part_of(s, projected + s->hidden, a->size);
    a->v = part_of(s, projected + 2 * s->hidden, a->value_size);
    if (s->past > 0)
        OXP_TRY(oxp_move_floats(n, PAST, &past));
    if (s->past > 0 || present) {
        size_t half = (size_t)(a->batch * a->heads * s->past * a->size);
        OXP_TRY(oxp_attention_cache(n, a, s->past, a->size, past, &a->k));
        OXP_TRY(
            oxp_attention_cache(n, a, s->past, a->value_size, past ? past + half : NULL, &a->v));
    }
    return oxp_attention_finish(n, MASK, SCORE_BIAS, s->filter, a);
}

static oxp_status attention_forward(oxp_node *n)
{
    const self_state *s = n->state;
    oxp_attention a = s->a;
    size_t cache = (size_t)(a.batch * a.heads * a.keys * a.size);
    if (n->out[0].count == 0)
        return OXP_OK;
    bool present = n->out_count > 1 && n->out[1].data;
    OXP_TRY(set_operands(n, s, &a, present));
    if (present) {
        oxp_attention_store_part(&n->out[1], 0, a.k.data, cache);
        oxp_attention_store_part(&n->out[1], cache, a.v.data, cache);
    }
    OXP_TRY(oxp_move_float_output(n, 0, &a.y));
    OXP_TRY(oxp_attention_run(n, &a));
    oxp_move_store(n, 0, a.y);
    return OXP_OK;
}

/* dx, dW and the bias from the gradient of the projection [B * S, columns]. */
static oxp_status back_projection(oxp_node *n, const self_state *s, const float *d)
{
    const float *x, *w;
    size_t rows = (size_t)(s->a.batch * s->a.queries), columns = (size_t)n->in[WEIGHTS]->dims[1];
    OXP_TRY(oxp_move_floats(n, X, &x));
    OXP_TRY(oxp_move_floats(n, WEIGHTS, &w));
    oxp_gemm_shape by_x = oxp_gemm_plain(false, true, rows, (size_t)s->hidden_in, columns);
    oxp_gemm_shape by_w = oxp_gemm_plain(true, false, (size_t)s->hidden_in, columns, rows);
    if (oxp_din(n, X))
        oxp_gemm(&by_x, 1, d, w, 1, oxp_din(n, X));
    if (oxp_din(n, WEIGHTS))
        oxp_gemm(&by_w, 1, x, d, 1, oxp_din(n, WEIGHTS));
    for (size_t r = 0; oxp_din(n, BIAS) && r < rows; r++)
        oxp_gradient_add(oxp_din(n, BIAS), d + r * columns, columns, 1);
    return OXP_OK;
}

/* Keys (or values) of the whole: the fresh rows to the projection, the rest to the past; `half` is
 * 0 or 1 in the past and present tensors. */
static void give_cache(oxp_node *n, const self_state *s, int64_t size, int64_t half, float *whole,
                       float *projected)
{
    const oxp_attention *a = &s->a;
    size_t count = (size_t)(a->batch * a->heads * a->keys * size);
    oxp_head_rows rows = {whole, a->batch, a->heads, a->keys, s->past, a->queries, size};
    oxp_heads fresh = part_of(s, NULL, size), old = oxp_heads_planar(NULL, a->heads, s->past, size);
    if (oxp_dout(n, 1))
        oxp_gradient_add(whole, oxp_dout(n, 1) + (size_t)half * count, count, 1);
    oxp_attention_add_rows(projected, &fresh, &rows);
    rows.first = 0;
    rows.rows = s->past;
    if (oxp_din(n, PAST))
        oxp_attention_add_rows(oxp_din(n, PAST) + half * a->batch * a->heads * s->past * size, &old,
                               &rows);
}

static oxp_status attention_backward(oxp_node *n)
{
    const self_state *s = n->state;
    oxp_attention a = s->a;
    oxp_attention_gradients g = {.dy = oxp_dout(n, 0), .dbias = {NULL, oxp_din(n, SCORE_BIAS)}};
    size_t count = (size_t)(a.batch * a.queries * (2 * s->hidden + s->v_hidden));
    float *d = oxp_node_scratch(n, count, sizeof *d);
    if (!d)
        return n->ctx->status;
    if (n->out[0].count == 0)
        return OXP_OK;
    OXP_TRY(set_operands(n, s, &a, false));
    OXP_TRY(oxp_attention_gradients_make(n, &a, &g));
    OXP_TRY(oxp_attention_backward(n, &a, &g));
    oxp_head_rows q = {g.dq, a.batch, a.heads, a.queries, 0, a.queries, a.size};
    oxp_heads steps = part_of(s, NULL, a.size);
    oxp_attention_add_rows(d, &steps, &q);
    give_cache(n, s, a.size, 0, g.dk, d + s->hidden);
    give_cache(n, s, a.value_size, 1, g.dv, d + 2 * s->hidden);
    return back_projection(n, s, d);
}

static void attention_cost(const oxp_node *n, oxp_cost *cost)
{
    const self_state *s = n->state;
    const oxp_attention *a = &s->a;
    double rows = (double)a->batch * (double)a->queries;
    cost->macs =
        oxp_attention_macs(a->batch, a->heads, a->queries, a->keys, a->size, a->value_size) +
        rows * (double)s->hidden_in * (double)n->in[WEIGHTS]->dims[1];
    oxp_attention_add_bytes(n, cost);
}

static bool attention_weight(const oxp_graph_node *def, int input, int rank, int *channel_axis)
{
    (void)def;
    *channel_axis = 1;
    return input == WEIGHTS && rank == 2;
}

static const char *const attention_examples[] = {
    "X[2,3,8] W[8,24] B[24] M[2]:i32={3,2}; num_heads=2",
    "X[2,3,8] W[8,24] B[24] M[2,5]:i32={1,1,1,1,1,0,1,1,1,1} P[2,2,2,2,4]; num_heads=2 "
    "unidirectional=1 outputs=2",
    "X[2,3,8] W[8,20] B[20] _ _ S[1,2,3,3]; num_heads=2 qkv_hidden_sizes=8,8,4",
    "X[2,3,8] W[8,24] _ M[4]:i32={3,3,0,1}; num_heads=4 scale=0.25",
    NULL,
};

const oxp_operator oxp_op_attention_microsoft = {
    .domain = "com.microsoft",
    .type = "Attention",
    .since = 1,
    .min_in = 2,
    .max_in = 7,
    .min_out = 1,
    .max_out = 2,
    .optional = 1 << BIAS | 1 << MASK | 1 << PAST | 1 << SCORE_BIAS | 1 << PAST_LENGTH,
    .prepare = attention_prepare,
    .forward = attention_forward,
    .backward = attention_backward,
    .saves = 0x7f,
    .cost = attention_cost,
    .weight = attention_weight,
    .examples = attention_examples,
};
