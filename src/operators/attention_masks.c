/* attention_masks.c - key masks, biases and caches of the com.microsoft attention operators. */
#include "operators/attention_masks.h"

#include <math.h>

bool oxp_attention_given(const oxp_node *n, int i)
{
    return i < n->in_count && n->in[i] != NULL;
}

oxp_status oxp_attention_check_float(oxp_node *n, int i)
{
    oxp_dtype dtype = n->in[i]->dtype;
    return dtype == OXP_FLOAT || dtype == OXP_FLOAT16 ? OXP_OK : oxp_node_bad_dtype(n, i);
}

oxp_status oxp_attention_fail_shape(oxp_node *n, int i, const char *expected)
{
    char text[OXP_SHAPE_TEXT_MAX];
    return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "input %d has shape %s, expected %s", i,
                         oxp_shape_text(text, n->in[i]->rank, n->in[i]->dims), expected);
}

oxp_status oxp_attention_refuse(oxp_node *n, int i, const char *name)
{
    if (!oxp_attention_given(n, i))
        return OXP_OK;
    return oxp_node_fail(n, OXP_EUNSUPPORTED, "E-OP-SHAPE", "input %d (%s) is not supported", i,
                         name);
}

void oxp_attention_read_common(oxp_node *n, oxp_attention *a, float *filter)
{
    float scale = oxp_attr_float(n, "scale", 0);
    a->scale = scale != 0.0f ? scale : (float)(1.0 / sqrt((double)a->size));
    a->causal = oxp_attr_int(n, "unidirectional", 0) != 0;
    a->left = a->right = -1;
    *filter = oxp_attr_float(n, "mask_filter_value", -10000.0f);
}

/* ---- masks ---- */

oxp_status oxp_attention_check_mask(oxp_node *n, int i, const oxp_attention *a, bool starts)
{
    if (!oxp_attention_given(n, i))
        return OXP_OK;
    const oxp_tensor *m = n->in[i];
    OXP_TRY(oxp_node_want(n, i, OXP_INT32));
    bool lengths =
        m->rank == 1 && (m->dims[0] == a->batch || (starts && m->dims[0] == 2 * a->batch));
    bool keys = m->rank == 2 && m->dims[0] == a->batch && m->dims[1] == a->keys;
    bool full =
        m->rank == 3 && m->dims[0] == a->batch && m->dims[1] == a->queries && m->dims[2] == a->keys;
    return lengths || keys || full
               ? OXP_OK
               : oxp_attention_fail_shape(n, i, "key lengths, [B,T] or [B,S,T]");
}

/* The mask as a bias of `filter` or 0: [B, 1, T], or [B, S, T]. */
oxp_status oxp_attention_make_mask(oxp_node *n, int i, const oxp_attention *a, float filter,
                                   oxp_attention_bias *bias)
{
    if (!oxp_attention_given(n, i))
        return OXP_OK;
    const oxp_tensor *m = n->in[i];
    const int32_t *values = m->data;
    int64_t rows = m->rank == 3 ? a->queries : 1;
    float *to = oxp_node_scratch(n, (size_t)(a->batch * rows * a->keys), sizeof *to);
    if (!to)
        return n->ctx->status;
    *bias = (oxp_attention_bias){
        .data = to, .batch = rows * a->keys, .row = rows > 1 ? a->keys : 0, .keys = a->keys};
    if (m->rank > 1) {
        for (size_t k = 0; k < m->count; k++)
            to[k] = values[k] == 0 ? filter : 0.0f;
        return OXP_OK;
    }
    for (int64_t b = 0; b < a->batch; b++) {
        int64_t end = values[b],
                start = m->dims[0] == 2 * a->batch && a->batch > 0 ? values[a->batch + b] : 0;
        for (int64_t k = 0; k < a->keys; k++)
            to[b * a->keys + k] = k < start || k >= end ? filter : 0.0f;
    }
    return OXP_OK;
}

oxp_status oxp_attention_check_bias(oxp_node *n, int i, oxp_attention *a)
{
    if (!oxp_attention_given(n, i))
        return OXP_OK;
    OXP_TRY(oxp_attention_check_float(n, i));
    OXP_TRY(oxp_attention_bias_shape(n, n->in[i], a, &a->bias[1]));
    return a->bias[1].keys == a->keys ? OXP_OK
                                      : oxp_attention_fail_shape(n, i, "as many keys as there are");
}

oxp_status oxp_attention_finish(oxp_node *n, int mask, int scores, float filter, oxp_attention *a)
{
    OXP_TRY(oxp_attention_make_mask(n, mask, a, filter, &a->bias[0]));
    if (oxp_attention_given(n, scores))
        OXP_TRY(oxp_move_floats(n, scores, &a->bias[1].data));
    oxp_heads y = oxp_heads_packed(NULL, a->heads, a->queries, a->value_size);
    a->y_batch = y.batch;
    a->y_head = y.head;
    a->y_row = y.row;
    return OXP_OK;
}

/* Keys and values with what was cached; *whole becomes the view of the joined memory. */
oxp_status oxp_attention_cache(oxp_node *n, const oxp_attention *a, int64_t past, int64_t size,
                               const float *old, oxp_heads *whole)
{
    int64_t dims[4] = {a->batch, a->kv_heads, a->keys, size};
    float *joined =
        oxp_node_scratch(n, (size_t)(a->batch * a->kv_heads * a->keys * size), sizeof *joined);
    if (!joined)
        return n->ctx->status;
    oxp_attention_join(joined, sizeof *joined, dims, old, past, whole->data, whole);
    *whole = oxp_heads_planar(joined, a->kv_heads, a->keys, size);
    return OXP_OK;
}

/* Writes floats as an output's type. */
void oxp_attention_store_part(oxp_tensor *t, size_t at, const float *values, size_t count)
{
    size_t element = oxp_dtype_bits(t->dtype) / 8;
    for (size_t i = 0; i < count; i++)
        oxp_move_write_real(t->dtype, (double)values[i], (char *)t->data + (at + i) * element);
}

void oxp_attention_add_bytes(const oxp_node *n, oxp_cost *cost)
{
    cost->bytes_read = cost->bytes_written = 0;
    for (int i = 0; i < n->in_count; i++)
        cost->bytes_read += n->in[i] ? (double)oxp_tensor_bytes(n->in[i]) : 0;
    for (int i = 0; i < n->out_count; i++)
        cost->bytes_written += n->wanted[i] ? (double)oxp_tensor_bytes(&n->out[i]) : 0;
}
