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
#include "operators/gradient.h"
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

/* The probabilities of one head; `capped`, if given, gets the scores before masks and biases. */
static void make_scores(const oxp_attention *a, int64_t b, int64_t h, float *scores, bool *sees,
                        float *capped)
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
    if (capped)
        memcpy(capped, scores, (size_t)(a->queries * a->keys) * sizeof *scores);
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
}

static void run_head(const oxp_attention *a, int64_t b, int64_t h, float *scores, bool *sees)
{
    int64_t shared = h / (a->heads / a->kv_heads);
    make_scores(a, b, h, scores, sees, NULL);
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

/* ---- backward ---- */

/* One head: probabilities, scores before masks, and the gradient on its way back. */
typedef struct head_back {
    float *scores, *capped, *d;
    bool *sees;
} head_back;

static void add_tap(const oxp_attention *a, const oxp_attention_gradients *g, oxp_attention_tap at,
                    int64_t b, int64_t h, float *d)
{
    int64_t count = a->queries * a->keys;
    if (!g->dtapped || a->tap != at)
        return;
    const float *from = g->dtapped + (b * a->heads + h) * count;
    for (int64_t i = 0; i < count; i++)
        d[i] += from[i];
}

/* d becomes the gradient of what the softmax was taken of: p (d - sum of d p). A masked score has
 * p = 0 and gets nothing. */
static void back_softmax(const oxp_attention *a, const head_back *head)
{
    for (int64_t q = 0; q < a->queries; q++) {
        const float *p = head->scores + q * a->keys;
        float *d = head->d + q * a->keys;
        double total = 0;
        for (int64_t k = 0; k < a->keys; k++)
            total += (double)d[k] * (double)p[k];
        for (int64_t k = 0; k < a->keys; k++)
            d[k] = (float)((double)p[k] * ((double)d[k] - total));
    }
}

static void back_biases(const oxp_attention *a, const oxp_attention_gradients *g, int64_t b,
                        int64_t h, const float *d)
{
    for (int i = 0; i < 2; i++) {
        const oxp_attention_bias *bias = &a->bias[i];
        if (!bias->data || !g->dbias[i])
            continue;
        for (int64_t q = 0; q < a->queries; q++)
            for (int64_t k = 0; k < a->keys && k < bias->keys; k++)
                g->dbias[i][b * bias->batch + h * bias->head + q * bias->row + k] +=
                    d[q * a->keys + k];
    }
}

/* dq += scale d k and dk += scale d^T q. */
static void back_product(const oxp_attention *a, const oxp_attention_gradients *g, int64_t b,
                         int64_t h, const float *d)
{
    int64_t shared = h / (a->heads / a->kv_heads);
    size_t queries = (size_t)a->queries, keys = (size_t)a->keys, size = (size_t)a->size;
    oxp_gemm_shape by_q = oxp_gemm_plain(false, false, queries, size, keys);
    oxp_gemm_shape by_k = oxp_gemm_plain(true, false, keys, size, queries);
    by_q.ldb = (size_t)a->k.row;
    by_k.ldb = (size_t)a->q.row;
    oxp_gemm(&by_q, a->scale, d, a->k.data + b * a->k.batch + shared * a->k.head, 1,
             g->dq + (b * a->heads + h) * a->queries * a->size);
    oxp_gemm(&by_k, a->scale, d, a->q.data + b * a->q.batch + h * a->q.head, 1,
             g->dk + (b * a->kv_heads + shared) * a->keys * a->size);
}

static void back_head(const oxp_attention *a, const oxp_attention_gradients *g, int64_t b,
                      int64_t h, const head_back *head)
{
    int64_t shared = h / (a->heads / a->kv_heads), count = a->queries * a->keys;
    size_t queries = (size_t)a->queries, keys = (size_t)a->keys, size = (size_t)a->value_size;
    make_scores(a, b, h, head->scores, head->sees, head->capped);
    memset(head->d, 0, (size_t)count * sizeof *head->d);
    if (g->dy) {
        const float *dy = g->dy + b * a->y_batch + h * a->y_head;
        oxp_gemm_shape by_p = oxp_gemm_plain(false, true, queries, keys, size);
        oxp_gemm_shape by_v = oxp_gemm_plain(true, false, keys, size, queries);
        by_p.lda = by_v.ldb = (size_t)a->y_row;
        by_p.ldb = (size_t)a->v.row;
        oxp_gemm(&by_p, 1, dy, a->v.data + b * a->v.batch + shared * a->v.head, 0, head->d);
        oxp_gemm(&by_v, 1, head->scores, dy, 1,
                 g->dv + (b * a->kv_heads + shared) * a->keys * a->value_size);
    }
    add_tap(a, g, OXP_TAP_SOFTMAX, b, h, head->d);
    back_softmax(a, head);
    add_tap(a, g, OXP_TAP_BIASED, b, h, head->d);
    back_biases(a, g, b, h, head->d);
    add_tap(a, g, OXP_TAP_CAPPED, b, h, head->d);
    for (int64_t i = 0; a->softcap != 0.0f && i < count; i++) {
        float t = head->capped[i] / a->softcap;
        head->d[i] *= (1 - t) * (1 + t);
    }
    add_tap(a, g, OXP_TAP_PRODUCT, b, h, head->d);
    back_product(a, g, b, h, head->d);
}

oxp_status oxp_attention_gradients_make(oxp_node *n, const oxp_attention *a,
                                        oxp_attention_gradients *g)
{
    g->dq =
        oxp_node_scratch(n, (size_t)(a->batch * a->heads * a->queries * a->size), sizeof(float));
    g->dk =
        oxp_node_scratch(n, (size_t)(a->batch * a->kv_heads * a->keys * a->size), sizeof(float));
    g->dv = oxp_node_scratch(n, (size_t)(a->batch * a->kv_heads * a->keys * a->value_size),
                             sizeof(float));
    return g->dq && g->dk && g->dv ? OXP_OK : n->ctx->status;
}

oxp_status oxp_attention_backward(oxp_node *n, const oxp_attention *a,
                                  const oxp_attention_gradients *g)
{
    oxp_attention quiet = *a;
    quiet.tapped = NULL;
    size_t count = (size_t)(a->queries * a->keys);
    head_back head = {.scores = oxp_node_scratch(n, count, sizeof(float)),
                      .capped = oxp_node_scratch(n, count, sizeof(float)),
                      .d = oxp_node_scratch(n, count, sizeof(float)),
                      .sees = oxp_node_scratch(n, (size_t)a->queries, sizeof(bool))};
    if (!head.scores || !head.capped || !head.d || !head.sees)
        return n->ctx->status;
    for (int64_t b = 0; count > 0 && b < a->batch; b++)
        for (int64_t h = 0; h < a->heads; h++)
            back_head(&quiet, g, b, h, &head);
    return OXP_OK;
}

void oxp_attention_add_rows(float *to, const oxp_heads *steps, const oxp_head_rows *r)
{
    for (int64_t b = 0; b < r->batch; b++)
        for (int64_t h = 0; h < r->heads; h++)
            for (int64_t i = 0; i < r->rows; i++)
                oxp_gradient_add(to + b * steps->batch + h * steps->head + i * steps->row,
                                 r->from +
                                     ((b * r->heads + h) * r->all_rows + r->first + i) * r->size,
                                 (size_t)r->size, 1);
}
