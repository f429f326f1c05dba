/* attention_onnx.c - Attention of opset 23 to 25: Q, K, V as [B, H, S, D] or [B, S, H * D], a bool
 * or float mask, a key and value cache inside (past) or outside (nonpad_kv_seqlen, opset 24),
 * windows (opset 25), softcap, grouped heads. https://onnx.ai/onnx/operators/onnx__Attention.html
 *
 * All arithmetic is in float, whatever softmax_precision asks. FLOAT, FLOAT16 and BFLOAT16. */
#include <math.h>

#include "operators/gradient.h"
#include "operators/attention_masks.h"

enum { Q, K, V, MASK, PAST_KEY, PAST_VALUE, VALID };

typedef struct attention_state {
    bool packed; /* 3-D inputs */
    oxp_attention a;
    int64_t past, fresh; /* keys of the cache and of the input */
} attention_state;

static bool given(const oxp_node *n, int i)
{
    return i < n->in_count && n->in[i] != NULL;
}

static oxp_status fail_shapes(oxp_node *n)
{
    char q[OXP_SHAPE_TEXT_MAX], k[OXP_SHAPE_TEXT_MAX], v[OXP_SHAPE_TEXT_MAX];
    return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "Q %s, K %s, V %s do not fit together",
                         oxp_shape_text(q, n->in[Q]->rank, n->in[Q]->dims),
                         oxp_shape_text(k, n->in[K]->rank, n->in[K]->dims),
                         oxp_shape_text(v, n->in[V]->rank, n->in[V]->dims));
}

static oxp_status read_packed(oxp_node *n, attention_state *s)
{
    const int64_t *q = n->in[Q]->dims, *k = n->in[K]->dims, *v = n->in[V]->dims;
    oxp_attention *a = &s->a;
    a->heads = oxp_attr_int(n, "q_num_heads", 0);
    a->kv_heads = oxp_attr_int(n, "kv_num_heads", 0);
    if (a->heads < 1 || a->kv_heads < 1 || q[2] % a->heads != 0 || k[2] % a->kv_heads != 0 ||
        v[2] % a->kv_heads != 0)
        return oxp_node_fail(
            n, OXP_EFORMAT, "E-ATTR-VALUE",
            "q_num_heads %lld and kv_num_heads %lld for hidden sizes %lld, %lld, %lld",
            (long long)a->heads, (long long)a->kv_heads, (long long)q[2], (long long)k[2],
            (long long)v[2]);
    a->batch = q[0];
    a->queries = q[1];
    s->fresh = k[1];
    a->size = q[2] / a->heads;
    a->value_size = v[2] / a->kv_heads;
    if (k[0] != q[0] || v[0] != q[0] || v[1] != k[1] || k[2] / a->kv_heads != a->size)
        return fail_shapes(n);
    return OXP_OK;
}

static oxp_status read_planar(oxp_node *n, attention_state *s)
{
    const int64_t *q = n->in[Q]->dims, *k = n->in[K]->dims, *v = n->in[V]->dims;
    oxp_attention *a = &s->a;
    a->batch = q[0];
    a->heads = q[1];
    a->queries = q[2];
    a->size = q[3];
    a->kv_heads = k[1];
    s->fresh = k[2];
    a->value_size = v[3];
    oxp_attr_ignore(n, "q_num_heads");
    oxp_attr_ignore(n, "kv_num_heads");
    if (k[0] != q[0] || v[0] != q[0] || v[1] != k[1] || v[2] != k[2] || k[3] != q[3] ||
        a->kv_heads < 1)
        return fail_shapes(n);
    return OXP_OK;
}

static oxp_status read_shapes(oxp_node *n, attention_state *s)
{
    int rank = n->in[Q]->rank;
    for (int i = Q; i <= V; i++) {
        oxp_dtype dtype = n->in[i]->dtype;
        if (dtype != OXP_FLOAT && dtype != OXP_FLOAT16 && dtype != OXP_BFLOAT16)
            return oxp_node_bad_dtype(n, i);
        if (n->in[i]->rank != rank || rank < 3 || rank > 4)
            return fail_shapes(n);
    }
    s->packed = rank == 3;
    OXP_TRY(s->packed ? read_packed(n, s) : read_planar(n, s));
    if (s->a.size < 1)
        return fail_shapes(n);
    if (s->a.heads % s->a.kv_heads != 0)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                             "%lld query heads cannot share %lld key heads", (long long)s->a.heads,
                             (long long)s->a.kv_heads);
    return OXP_OK;
}

static oxp_status check_cache(oxp_node *n, int i, const int64_t want[4])
{
    const oxp_tensor *t = n->in[i];
    OXP_TRY(oxp_node_want(n, i, n->in[i == PAST_KEY ? K : V]->dtype));
    bool fits = t->rank == 4;
    for (int d = 0; fits && d < 4; d++)
        fits = t->dims[d] == want[d];
    if (fits)
        return OXP_OK;
    char x[OXP_SHAPE_TEXT_MAX], y[OXP_SHAPE_TEXT_MAX];
    return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "input %d has shape %s, expected %s", i,
                         oxp_shape_text(x, t->rank, t->dims), oxp_shape_text(y, 4, want));
}

static oxp_status read_cache(oxp_node *n, attention_state *s)
{
    oxp_attention *a = &s->a;
    s->past = 0;
    if (given(n, PAST_KEY) != given(n, PAST_VALUE))
        return oxp_node_fail(n, OXP_EFORMAT, "E-ARITY",
                             "past_key and past_value must be given together");
    if (given(n, PAST_KEY)) {
        s->past = n->in[PAST_KEY]->rank == 4 ? n->in[PAST_KEY]->dims[2] : 0;
        OXP_TRY(check_cache(n, PAST_KEY, (int64_t[4]){a->batch, a->kv_heads, s->past, a->size}));
        OXP_TRY(check_cache(n, PAST_VALUE,
                            (int64_t[4]){a->batch, a->kv_heads, s->past, a->value_size}));
    }
    a->keys = s->past + s->fresh;
    a->offset = s->past;
    if (!given(n, VALID))
        return OXP_OK;
    OXP_TRY(oxp_node_want(n, VALID, OXP_INT64));
    if (given(n, PAST_KEY) || n->in[VALID]->count != (size_t)a->batch)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                             "nonpad_kv_seqlen has %zu entries for a batch of %lld%s",
                             n->in[VALID]->count, (long long)a->batch,
                             given(n, PAST_KEY) ? " and excludes a past" : "");
    return OXP_OK;
}

static oxp_status read_attributes(oxp_node *n, oxp_attention *a)
{
    float scale = oxp_attr_float(n, "scale", 0);
    int64_t mode = oxp_attr_int(n, "qk_matmul_output_mode", 0);
    a->scale = oxp_attr_present(n, "scale") ? scale : (float)(1.0 / sqrt((double)a->size));
    a->softcap = oxp_attr_float(n, "softcap", 0);
    a->causal = oxp_attr_int(n, "is_causal", 0) != 0;
    a->left = oxp_attr_int(n, "left_window_size", -1);
    a->right = oxp_attr_int(n, "right_window_size", -1);
    oxp_attr_ignore(n, "softmax_precision");
    if (mode < 0 || mode > 3 || a->left < -1 || a->right < -1 || a->left > INT64_MAX / 4 ||
        a->right > INT64_MAX / 4)
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE",
                             "qk_matmul_output_mode %lld, windows %lld and %lld", (long long)mode,
                             (long long)a->left, (long long)a->right);
    a->tap = (oxp_attention_tap)mode;
    return OXP_OK;
}

static oxp_status read_mask(oxp_node *n, oxp_attention *a)
{
    a->bias[0] = a->bias[1] = (oxp_attention_bias){.data = NULL};
    if (!given(n, MASK))
        return OXP_OK;
    oxp_dtype dtype = n->in[MASK]->dtype;
    if (dtype != OXP_BOOL && dtype != OXP_FLOAT && dtype != OXP_FLOAT16 && dtype != OXP_BFLOAT16)
        return oxp_node_bad_dtype(n, MASK);
    return oxp_attention_bias_shape(n, n->in[MASK], a, &a->bias[0]);
}

static oxp_status attention_prepare(oxp_node *n)
{
    attention_state *s = oxp_node_state(n, sizeof *s);
    if (!s)
        return n->ctx->status;
    oxp_attention *a = &s->a;
    *a = (oxp_attention){.left = -1, .right = -1};
    OXP_TRY(read_shapes(n, s));
    OXP_TRY(read_cache(n, s));
    OXP_TRY(read_attributes(n, a));
    OXP_TRY(read_mask(n, a));
    int64_t key[4] = {a->batch, a->kv_heads, a->keys, a->size},
            value[4] = {a->batch, a->kv_heads, a->keys, a->value_size};
    int64_t product[4] = {a->batch, a->heads, a->queries, a->keys};
    if (s->packed)
        OXP_TRY(oxp_output(n, 0, n->in[Q]->dtype, 3,
                           (int64_t[3]){a->batch, a->queries, a->heads * a->value_size}));
    else
        OXP_TRY(oxp_output(n, 0, n->in[Q]->dtype, 4,
                           (int64_t[4]){a->batch, a->heads, a->queries, a->value_size}));
    OXP_TRY(oxp_output(n, 1, n->in[K]->dtype, 4, key));
    OXP_TRY(oxp_output(n, 2, n->in[V]->dtype, 4, value));
    return oxp_output(n, 3, n->in[Q]->dtype, 4, product);
}

static oxp_heads view(const attention_state *s, const float *data, int64_t heads, int64_t rows,
                      int64_t size)
{
    return s->packed ? oxp_heads_packed(data, heads, rows, size)
                     : oxp_heads_planar(data, heads, rows, size);
}

/* The whole keys (or values): the input's where there is no past, else joined; and the present
 * output. */
static oxp_status gather_cache(oxp_node *n, const attention_state *s, int input, int past,
                               int output, int64_t size, oxp_heads *out)
{
    const oxp_attention *a = &s->a;
    const float *fresh, *old = NULL;
    int64_t dims[4] = {a->batch, a->kv_heads, a->keys, size};
    OXP_TRY(oxp_move_floats(n, input, &fresh));
    *out = view(s, fresh, a->kv_heads, s->fresh, size);
    if (output < n->out_count && n->out[output].data && n->out[output].count > 0) {
        size_t element;
        OXP_TRY(oxp_move_element(n, input, &element));
        oxp_attention_join(n->out[output].data, element, dims,
                           s->past > 0 ? n->in[past]->data : NULL, s->past, n->in[input]->data,
                           out);
    }
    if (s->past == 0)
        return OXP_OK;
    OXP_TRY(oxp_move_floats(n, past, &old));
    size_t count = (size_t)(a->batch * a->kv_heads * a->keys) * (size_t)size;
    float *joined = oxp_node_scratch(n, count, sizeof *joined);
    if (!joined)
        return n->ctx->status;
    oxp_attention_join(joined, sizeof *joined, dims, old, s->past, fresh, out);
    *out = oxp_heads_planar(joined, a->kv_heads, a->keys, size);
    return OXP_OK;
}

/* The mask as floats: false is minus infinity. */
static oxp_status mask_floats(oxp_node *n, const float **out)
{
    const oxp_tensor *mask = n->in[MASK];
    if (mask->dtype != OXP_BOOL)
        return oxp_move_floats(n, MASK, out);
    float *values = oxp_node_scratch(n, mask->count, sizeof *values);
    if (!values)
        return n->ctx->status;
    const uint8_t *keep = mask->data;
    for (size_t i = 0; i < mask->count; i++)
        values[i] = keep[i] ? 0.0f : -INFINITY;
    *out = values;
    return OXP_OK;
}

static oxp_status read_valid(oxp_node *n, oxp_attention *a)
{
    const int64_t *valid = n->in[VALID]->data;
    for (int64_t b = 0; b < a->batch; b++) {
        if (valid[b] < 0 || valid[b] > a->keys)
            return oxp_node_fail(n, OXP_EFORMAT, "E-INDEX",
                                 "nonpad_kv_seqlen[%lld] is %lld, expected 0 to %lld", (long long)b,
                                 (long long)valid[b], (long long)a->keys);
    }
    a->valid = valid;
    a->valid_offset = true;
    return OXP_OK;
}

/* All but where y is. */
static oxp_status set_operands(oxp_node *n, const attention_state *s, oxp_attention *a)
{
    const float *q;
    OXP_TRY(oxp_move_floats(n, Q, &q));
    a->q = view(s, q, a->heads, a->queries, a->size);
    OXP_TRY(gather_cache(n, s, K, PAST_KEY, 1, a->size, &a->k));
    OXP_TRY(gather_cache(n, s, V, PAST_VALUE, 2, a->value_size, &a->v));
    if (given(n, MASK))
        OXP_TRY(mask_floats(n, &a->bias[0].data));
    if (given(n, VALID))
        OXP_TRY(read_valid(n, a));
    oxp_heads y = view(s, NULL, a->heads, a->queries, a->value_size);
    a->y_batch = y.batch;
    a->y_head = y.head;
    a->y_row = y.row;
    return OXP_OK;
}

static oxp_status attention_forward(oxp_node *n)
{
    const attention_state *s = n->state;
    oxp_attention a = s->a;
    OXP_TRY(set_operands(n, s, &a));
    OXP_TRY(oxp_move_float_output(n, 0, &a.y));
    bool tapped = n->out_count > 3 && n->out[3].data;
    if (tapped)
        OXP_TRY(oxp_move_float_output(n, 3, &a.tapped));
    OXP_TRY(oxp_attention_run(n, &a));
    oxp_move_store(n, 0, a.y);
    if (tapped)
        oxp_move_store(n, 3, a.tapped);
    return OXP_OK;
}

/* The gradient of the whole keys (or values), that of the present output with it, goes to the
 * input and to the past. */
static void give_back(oxp_node *n, const attention_state *s, int input, int past, int output,
                      int64_t size, float *whole)
{
    const oxp_attention *a = &s->a;
    int64_t count = a->batch * a->kv_heads * a->keys * size;
    oxp_head_rows rows = {whole, a->batch, a->kv_heads, a->keys, s->past, s->fresh, size};
    oxp_heads fresh = view(s, NULL, a->kv_heads, s->fresh, size),
              old = oxp_heads_planar(NULL, a->kv_heads, s->past, size);
    if (oxp_dout(n, output))
        oxp_gradient_add(whole, oxp_dout(n, output), (size_t)count, 1);
    if (oxp_din(n, input))
        oxp_attention_add_rows(oxp_din(n, input), &fresh, &rows);
    rows.first = 0;
    rows.rows = s->past;
    if (oxp_din(n, past))
        oxp_attention_add_rows(oxp_din(n, past), &old, &rows);
}

static oxp_status attention_backward(oxp_node *n)
{
    const attention_state *s = n->state;
    oxp_attention a = s->a;
    oxp_attention_gradients g = {
        .dy = oxp_dout(n, 0), .dtapped = oxp_dout(n, 3), .dbias = {oxp_din(n, MASK)}};
    OXP_TRY(set_operands(n, s, &a));
    OXP_TRY(oxp_attention_gradients_make(n, &a, &g));
    OXP_TRY(oxp_attention_backward(n, &a, &g));
    oxp_head_rows q = {g.dq, a.batch, a.heads, a.queries, 0, a.queries, a.size};
    oxp_heads steps = view(s, NULL, a.heads, a.queries, a.size);
    if (oxp_din(n, Q))
        oxp_attention_add_rows(oxp_din(n, Q), &steps, &q);
    give_back(n, s, K, PAST_KEY, 1, a.size, g.dk);
    give_back(n, s, V, PAST_VALUE, 2, a.value_size, g.dv);
    return OXP_OK;
}

static void attention_cost(const oxp_node *n, oxp_cost *cost)
{
    const oxp_attention *a = &((const attention_state *)n->state)->a;
    cost->macs =
        oxp_attention_macs(a->batch, a->heads, a->queries, a->keys, a->size, a->value_size);
    oxp_attention_add_bytes(n, cost);
}

static const char *const attention_examples[] = {
    "Q[2,3,4,8] K[2,3,6,8] V[2,3,6,8]",
    "Q[2,4,24] K[2,6,24] V[2,6,30]; q_num_heads=3 kv_num_heads=3 is_causal=1 outputs=3",
    "Q[2,6,4,8] K[2,3,6,8] V[2,3,6,8] M[4,6]; softcap=2.0 scale=0.3 qk_matmul_output_mode=1 "
    "outputs=4",
    "Q[1,2,2,4] K[1,2,2,4] V[1,2,2,4] M[2,5]:bool={1,0,1,1,1,1,1,1,0,1} P[1,2,3,4] R[1,2,3,4]; "
    "is_causal=1 qk_matmul_output_mode=3 outputs=4",
    NULL,
};

const oxp_operator oxp_op_attention_23 = {
    .domain = "",
    .type = "Attention",
    .since = 23,
    .min_in = 3,
    .max_in = 6,
    .min_out = 1,
    .max_out = 4,
    .optional = 1 << MASK | 1 << PAST_KEY | 1 << PAST_VALUE,
    .prepare = attention_prepare,
    .forward = attention_forward,
    .backward = attention_backward,
    .saves = 0x7f,
    .cost = attention_cost,
    .examples = attention_examples,
};

static const char *const attention_24_examples[] = {
    "Q[2,2,2,4] K[2,2,6,4] V[2,2,6,4] _ _ _ L[2]:i64={3,6}; is_causal=1",
    "Q[1,2,5,4] K[1,2,5,4] V[1,2,5,4]; left_window_size=2 right_window_size=1",
    "Q[1,2,3,4]:f16 K[1,2,3,4]:f16 V[1,2,3,4]:f16",
    NULL,
};

const oxp_operator oxp_op_attention_24 = {
    .domain = "",
    .type = "Attention",
    .since = 24,
    .min_in = 3,
    .max_in = 7,
    .min_out = 1,
    .max_out = 4,
    .optional = 1 << MASK | 1 << PAST_KEY | 1 << PAST_VALUE | 1 << VALID,
    .prepare = attention_prepare,
    .forward = attention_forward,
    .backward = attention_backward,
    .saves = 0x7f,
    .cost = attention_cost,
    .examples = attention_24_examples,
};
