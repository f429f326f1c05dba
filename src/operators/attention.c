/* attention.c - scaled dot product attention (Vaswani et al., "Attention is all you need", arXiv
 * 1706.03762):
 *
 *   S = scale * Q K^T   [queries, keys]   for each head of each batch entry
 *   P = softmax over the keys of (softcap * tanh(S / softcap) + bias)
 *   Y = P V             [queries, value_size]
 *
 * Grouped queries (arXiv 2305.13245): kv_heads may be fewer than heads. The scores of one head are
 * held at a time. */
#include "operators/attention.h"

#include <math.h>
#include <string.h>

#include "kernels/gemm.h"
#include "operators/vector_math.h"

oxp_heads oxp_heads_planar(const float *data, int64_t heads, int64_t rows, int64_t size)
{
    return (oxp_heads){
        .data = data, .batch = heads * rows * size, .head = rows * size, .row = size};
}

oxp_heads oxp_heads_packed(const float *data, int64_t heads, int64_t rows, int64_t size)
{
    return (oxp_heads){
        .data = data, .batch = rows * heads * size, .head = size, .row = heads * size};
}

double oxp_attention_macs(int64_t batch, int64_t heads, int64_t queries, int64_t keys, int64_t size,
                          int64_t value_size)
{
    return (double)batch * (double)heads * (double)queries * (double)keys *
           (double)(size + value_size);
}

void oxp_attention_join(void *to, size_t element, const int64_t dims[4], const void *past_data,
                        int64_t past, const void *new_data, const oxp_heads *from)
{
    int64_t heads = dims[1], rows = dims[2], size = dims[3];
    oxp_copy old = {.element = element}, fresh = {.element = element};
    oxp_copy_add(&old, dims[0] * heads, rows * size, past * size);
    oxp_copy_add(&old, past * size, 1, 1);
    if (past > 0)
        oxp_copy_run(&old, to, past_data);
    oxp_copy_add(&fresh, dims[0], heads * rows * size, from->batch);
    oxp_copy_add(&fresh, heads, rows * size, from->head);
    oxp_copy_add(&fresh, rows - past, size, from->row);
    oxp_copy_add(&fresh, size, 1, 1);
    oxp_copy_run(&fresh, (char *)to + (size_t)(past * size) * element, new_data);
}

oxp_status oxp_attention_bias_shape(oxp_node *n, const oxp_tensor *mask, const oxp_attention *a,
                                    oxp_attention_bias *bias)
{
    int64_t want[4] = {a->batch, a->heads, a->queries, a->keys}, have[4] = {1, 1, 1, 1}, strides[4];
    bool fits = mask->rank >= 1 && mask->rank <= 4;
    for (int i = 0; fits && i < mask->rank; i++)
        have[4 - mask->rank + i] = mask->dims[i];
    for (int i = 0; fits && i < 3; i++)
        fits = have[i] == 1 || have[i] == want[i];
    if (!fits || have[3] > want[3]) {
        char x[OXP_SHAPE_TEXT_MAX], y[OXP_SHAPE_TEXT_MAX];
        return oxp_node_fail(n, OXP_EFORMAT, "E-BROADCAST",
                             "a mask of shape %s does not broadcast to %s",
                             oxp_shape_text(x, mask->rank, mask->dims), oxp_shape_text(y, 4, want));
    }
    oxp_move_strides(4, have, strides);
    bias->batch = have[0] == 1 ? 0 : strides[0];
    bias->head = have[1] == 1 ? 0 : strides[1];
    bias->row = have[2] == 1 ? 0 : strides[2];
    bias->keys = have[3];
    return OXP_OK;
}

static OXP_HOT void cap(float *scores, int64_t count, float softcap)
{
    OXP_LANES
    for (int64_t i = 0; i < count; i++)
        scores[i] = softcap * oxp_tanhf(scores[i] / softcap);
}

/* The keys that query i of batch entry b may see: [*first, *end). */
static void window(const oxp_attention *a, int64_t b, int64_t query, int64_t *first, int64_t *end)
{
    int64_t place = query + (a->valid_offset ? a->valid[b] - a->queries : a->offset);
    *first = a->left >= 0 && place - a->left > 0 ? place - a->left : 0;
    *end = a->valid && a->valid[b] < a->keys ? a->valid[b] : a->keys;
    if (a->right >= 0 && place + a->right + 1 < *end)
        *end = place + a->right + 1;
    if (a->causal && place + 1 < *end)
        *end = place + 1;
}

static OXP_HOT void add(float *row, const float *bias, int64_t count)
{
    OXP_LANES
    for (int64_t i = 0; i < count; i++)
        row[i] += bias[i];
}

static void hide(float *row, int64_t from, int64_t to)
{
    for (int64_t i = from; i < to; i++)
        row[i] = -INFINITY;
}

/* Masks the scores of one query and adds its biases; false when every key is masked. */
static bool apply_mask(const oxp_attention *a, int64_t b, int64_t h, int64_t query, float *row)
{
    int64_t first, end;
    const float *from[2] = {NULL, NULL};
    window(a, b, query, &first, &end);
    for (int i = 0; i < 2; i++) {
        const oxp_attention_bias *bias = &a->bias[i];
        if (!bias->data)
            continue;
        from[i] = bias->data + b * bias->batch + h * bias->head + query * bias->row;
        end = bias->keys < end ? bias->keys : end;
    }
    bool sees = false;
    for (int64_t k = first; k < end && !sees; k++)
        sees = !(from[0] && from[0][k] == -INFINITY) && !(from[1] && from[1][k] == -INFINITY);
    for (int i = 0; i < 2; i++) {
        if (from[i] && first < end)
            add(row + first, from[i] + first, end - first);
    }
    hide(row, 0, first < a->keys ? first : a->keys);
    hide(row, end > 0 ? end : 0, a->keys);
    return sees;
}

#define PARTS 16 /* partial results of a row, joined in order: the same on every machine */

static OXP_HOT float largest(const float *row, int64_t count)
{
    float part[PARTS], top = -INFINITY;
    int64_t i = 0;
    for (int k = 0; k < PARTS; k++)
        part[k] = -INFINITY;
    for (; i + PARTS <= count; i += PARTS) {
        for (int k = 0; k < PARTS; k++)
            part[k] = row[i + k] > part[k] ? row[i + k] : part[k];
    }
    for (; i < count; i++)
        top = row[i] > top ? row[i] : top;
    for (int k = 0; k < PARTS; k++)
        top = part[k] > top ? part[k] : top;
    return top;
}

static OXP_HOT double sum(const float *row, int64_t count)
{
    double part[PARTS] = {0}, total = 0;
    int64_t i = 0;
    for (; i + PARTS <= count; i += PARTS) {
        for (int k = 0; k < PARTS; k++)
            part[k] += (double)row[i + k];
    }
    for (; i < count; i++)
        total += (double)row[i];
    for (int k = 0; k < PARTS; k++)
        total += part[k];
    return total;
}

static OXP_HOT void exponentiate(float *row, int64_t count, float top)
{
    OXP_LANES
    for (int64_t i = 0; i < count; i++)
        row[i] = oxp_expf(row[i] - top);
}

static OXP_HOT void scale(float *row, int64_t count, float factor)
{
    OXP_LANES
    for (int64_t i = 0; i < count; i++)
        row[i] *= factor;
}

/* In place; a NaN makes the row NaN. */
static void softmax(float *row, int64_t count)
{
    float top = largest(row, count);
    exponentiate(row, count, top == -INFINITY ? 0.0f : top);
    double total = sum(row, count);
    scale(row, count, total == 0 ? 0.0f : (float)(1.0 / total));
}

static void tap(const oxp_attention *a, oxp_attention_tap at, int64_t b, int64_t h,
                const float *scores)
{
    int64_t count = a->queries * a->keys;
    if (a->tapped && a->tap == at)
        memcpy(a->tapped + (b * a->heads + h) * count, scores, (size_t)count * sizeof *scores);
}

static void run_head(const oxp_attention *a, int64_t b, int64_t h, float *scores, bool *sees)
{
    int64_t shared = h / (a->heads / a->kv_heads);
    oxp_gemm_shape product = {.trans_b = true,
                              .m = (size_t)a->queries,
                              .n = (size_t)a->keys,
                              .k = (size_t)a->size,
                              .lda = (size_t)a->q.row,
                              .ldb = (size_t)a->k.row,
                              .ldc = (size_t)a->keys};
    oxp_gemm(&product, a->scale, a->q.data + b * a->q.batch + h * a->q.head,
             a->k.data + b * a->k.batch + shared * a->k.head, 0, scores);
    tap(a, OXP_TAP_PRODUCT, b, h, scores);
    if (a->softcap != 0.0f)
        cap(scores, a->queries * a->keys, a->softcap);
    tap(a, OXP_TAP_CAPPED, b, h, scores);
    for (int64_t i = 0; i < a->queries; i++)
        sees[i] = apply_mask(a, b, h, i, scores + i * a->keys);
    tap(a, OXP_TAP_BIASED, b, h, scores);
    for (int64_t i = 0; i < a->queries; i++) {
        if (sees[i])
            softmax(scores + i * a->keys, a->keys);
        else
            memset(scores + i * a->keys, 0, (size_t)a->keys * sizeof *scores);
    }
    tap(a, OXP_TAP_SOFTMAX, b, h, scores);
    oxp_gemm_shape blend = {.m = (size_t)a->queries,
                            .n = (size_t)a->value_size,
                            .k = (size_t)a->keys,
                            .lda = (size_t)a->keys,
                            .ldb = (size_t)a->v.row,
                            .ldc = (size_t)a->y_row};
    oxp_gemm(&blend, 1, scores, a->v.data + b * a->v.batch + shared * a->v.head, 0,
             a->y + b * a->y_batch + h * a->y_head);
}

/* Without a key there is nothing to see. */
static void clear_head(const oxp_attention *a, int64_t b, int64_t h)
{
    for (int64_t i = 0; i < a->queries; i++)
        memset(a->y + b * a->y_batch + h * a->y_head + i * a->y_row, 0,
               (size_t)a->value_size * sizeof *a->y);
}

oxp_status oxp_attention_run(oxp_node *n, const oxp_attention *a)
{
    size_t count;
    if (a->batch == 0 || a->heads == 0 || a->queries == 0 || a->value_size == 0)
        return OXP_OK;
    if (!oxp_mul_ok((size_t)a->queries, (size_t)a->keys, &count))
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE-OVERFLOW",
                             "%lld queries times %lld keys overflows", (long long)a->queries,
                             (long long)a->keys);
    float *scores = oxp_node_scratch(n, count, sizeof *scores);
    bool *sees = oxp_node_scratch(n, (size_t)a->queries, sizeof *sees);
    if (!scores || !sees)
        return n->ctx->status;
    for (int64_t b = 0; b < a->batch; b++) {
        for (int64_t h = 0; h < a->heads; h++) {
            if (a->keys > 0)
                run_head(a, b, h, scores, sees);
            else
                clear_head(a, b, h);
        }
    }
    return OXP_OK;
}
