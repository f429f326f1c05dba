/* tfidf_vectorizer.c - TfIdfVectorizer: how often each n-gram of the pool stands in X[C] or in the
 * rows of X[N, C]; Y[..., 1 + the largest of ngram_indexes], gram i at ngram_indexes[i].
 *
 * The tokens of a gram stand 1 to max_skip_count + 1 places apart; single tokens are counted once.
 * TF gives the count, IDF the weight of what occurs, TFIDF their product; weights go by output
 * column, as ONNX Runtime has it. Pools of strings are refused.
 * https://onnx.ai/onnx/operators/onnx__TfIdfVectorizer.html */
#include <string.h>

#include "operators/movement.h"
#include "operators/real.h"

enum { MODE_TF, MODE_IDF, MODE_TFIDF };

typedef struct gram {
    size_t first, length, column; /* where it begins in the pool; its output */
} gram;

typedef struct grams { /* sorted by `order`: shorter ones first, then by tokens */
    const int64_t *pool;
    size_t count;
    gram *items;
    size_t *order, *spare;
} grams;

typedef struct tfidf_state {
    int mode;
    int64_t shortest, longest, skips;
    size_t rows, tokens, columns;
} tfidf_state;

/* ---- the attributes ---- */

static oxp_status required(oxp_node *n, const char *name, const int64_t **values, size_t *count)
{
    oxp_attr_ints(n, name, values, count);
    if (*count > 0)
        return OXP_OK;
    return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE", "attribute %s is missing or empty", name);
}

static oxp_status refuse_counts(oxp_node *n, size_t length)
{
    return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE",
                         "ngram_counts does not cut pool_int64s into grams of %zu tokens", length);
}

/* Calls for each gram of the pool: takes those of the lengths that are counted. */
static oxp_status read_grams(oxp_node *n, grams *g)
{
    const tfidf_state *s = n->state;
    const int64_t *starts, *columns;
    size_t start_count, column_count, pool_count, number = 0;
    OXP_TRY(required(n, "pool_int64s", &g->pool, &pool_count));
    OXP_TRY(required(n, "ngram_counts", &starts, &start_count));
    OXP_TRY(required(n, "ngram_indexes", &columns, &column_count));
    g->items = oxp_node_scratch(n, column_count, sizeof *g->items);
    g->order = oxp_node_scratch(n, column_count, sizeof *g->order);
    g->spare = oxp_node_scratch(n, column_count, sizeof *g->spare);
    if (!g->items || !g->order || !g->spare)
        return n->ctx->status;
    for (size_t length = 1; length <= start_count; length++) {
        int64_t at = starts[length - 1];
        int64_t end = length < start_count ? starts[length] : (int64_t)pool_count;
        if (at < 0 || end < at || end > (int64_t)pool_count || (end - at) % (int64_t)length != 0)
            return refuse_counts(n, length);
        for (; at < end; at += (int64_t)length, number++) {
            if (number == column_count)
                return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE",
                                     "ngram_indexes has %zu entries, the pool more grams", number);
            if ((int64_t)length < s->shortest || (int64_t)length > s->longest)
                continue;
            g->order[g->count] = g->count;
            g->items[g->count++] = (gram){(size_t)at, length, (size_t)columns[number]};
        }
    }
    return OXP_OK;
}

static oxp_status count_columns(oxp_node *n, tfidf_state *s)
{
    const int64_t *columns;
    size_t count;
    OXP_TRY(required(n, "ngram_indexes", &columns, &count));
    s->columns = 0;
    for (size_t i = 0; i < count; i++) {
        if (columns[i] < 0 || columns[i] > INT32_MAX)
            return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE", "ngram_indexes[%zu] is %lld", i,
                                 (long long)columns[i]);
        if ((size_t)columns[i] >= s->columns)
            s->columns = (size_t)columns[i] + 1;
    }
    return OXP_OK;
}

static oxp_status read_lengths(oxp_node *n, tfidf_state *s)
{
    static const char *const modes[] = {"TF", "IDF", "TFIDF", NULL};
    OXP_TRY(oxp_move_choice(n, "mode", "", modes, &s->mode));
    s->shortest = oxp_attr_int(n, "min_gram_length", 0);
    s->longest = oxp_attr_int(n, "max_gram_length", 0);
    s->skips = oxp_attr_int(n, "max_skip_count", 0);
    if (s->shortest < 1 || s->longest < s->shortest || s->skips < 0)
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE",
                             "grams of %lld to %lld tokens with up to %lld skipped",
                             (long long)s->shortest, (long long)s->longest, (long long)s->skips);
    if (oxp_attr_present(n, "pool_strings"))
        return oxp_node_fail(n, OXP_EUNSUPPORTED, "E-OP-DTYPE",
                             "a pool of type STRING is not supported");
    return OXP_OK;
}

static oxp_status prepare(oxp_node *n)
{
    const oxp_tensor *x = n->in[0];
    tfidf_state *s = oxp_node_state(n, sizeof *s);
    const float *weights;
    size_t weight_count;
    if (!s)
        return n->ctx->status;
    if (x->dtype != OXP_INT32 && x->dtype != OXP_INT64)
        return oxp_node_bad_dtype(n, 0);
    if (x->rank > 2)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "X has rank %d, expected at most 2",
                             x->rank);
    OXP_TRY(read_lengths(n, s));
    OXP_TRY(count_columns(n, s));
    oxp_attr_floats(n, "weights", &weights, &weight_count);
    if (weight_count > 0 && weight_count < s->columns)
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE", "%zu weights for %zu outputs",
                             weight_count, s->columns);
    s->rows = x->rank == 2 ? (size_t)x->dims[0] : 1;
    s->tokens = x->rank == 0 ? 1 : (size_t)x->dims[x->rank - 1];
    grams checked = {0};
    OXP_TRY(read_grams(n, &checked));
    int64_t dims[2] = {(int64_t)s->rows, (int64_t)s->columns};
    return oxp_output(n, 0, OXP_FLOAT, x->rank == 2 ? 2 : 1, dims + (x->rank == 2 ? 0 : 1));
}

/* ---- counting ---- */

static bool comes_before(const void *user, size_t a, size_t b)
{
    const grams *g = user;
    const gram *x = &g->items[a], *y = &g->items[b];
    if (x->length != y->length)
        return x->length < y->length;
    for (size_t i = 0; i < x->length; i++)
        if (g->pool[x->first + i] != g->pool[y->first + i])
            return g->pool[x->first + i] < g->pool[y->first + i];
    return false;
}

/* How the tokens at `at`, `step` apart, stand to a gram of the pool: below 0, 0, above 0. */
static int compare(const grams *g, const gram *item, const oxp_tensor *x, size_t at, size_t step,
                   size_t length)
{
    if (length != item->length)
        return length < item->length ? -1 : 1;
    for (size_t i = 0; i < length; i++) {
        int64_t token = oxp_tensor_int(x, at + i * step), known = g->pool[item->first + i];
        if (token != known)
            return token < known ? -1 : 1;
    }
    return 0;
}

static const gram *find(const grams *g, const oxp_tensor *x, size_t at, size_t step, size_t length)
{
    size_t low = 0, high = g->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const gram *item = &g->items[g->order[middle]];
        int order = compare(g, item, x, at, step, length);
        if (order == 0)
            return item;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

static void count_row(const tfidf_state *s, const grams *g, const oxp_tensor *x, size_t first,
                      float *counts)
{
    for (size_t step = 1; step <= (size_t)s->skips + 1 && (step == 1 || step < s->tokens); step++)
        for (size_t at = 0; at < s->tokens; at++)
            for (size_t length = (size_t)s->shortest; length <= (size_t)s->longest; length++) {
                if ((length - 1) > (s->tokens - 1 - at) / step)
                    break;
                const gram *found =
                    length == 1 && step > 1 ? NULL : find(g, x, first + at, step, length);
                if (found)
                    counts[found->column] += 1.0f;
            }
}

static oxp_status forward(oxp_node *n)
{
    const tfidf_state *s = n->state;
    const float *weights;
    size_t weight_count;
    grams g = {0};
    float *y = n->out[0].data;
    OXP_TRY(read_grams(n, &g));
    oxp_move_sort(g.order, g.spare, g.count, comes_before, &g);
    oxp_attr_floats(n, "weights", &weights, &weight_count);
    memset(y, 0, oxp_tensor_bytes(&n->out[0]));
    for (size_t row = 0; row < s->rows; row++, y += s->columns) {
        count_row(s, &g, n->in[0], row * s->tokens, y);
        for (size_t i = 0; i < s->columns && s->mode != MODE_TF; i++) {
            float count = s->mode == MODE_IDF && y[i] > 1.0f ? 1.0f : y[i];
            y[i] = weight_count > 0 ? count * weights[i] : count;
        }
    }
    return OXP_OK;
}

const oxp_operator oxp_op_tfidf_vectorizer_9 = {
    .domain = "",
    .type = "TfIdfVectorizer",
    .since = 9,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .prepare = prepare,
    .forward = forward,
    .backward = oxp_backward_zero,
    .examples =
        (const char *const[]){
            "X[6]:i64={1,2,3,2,3,1}; mode='TF' min_gram_length=1 max_gram_length=2 "
            "max_skip_count=0 ngram_counts=0,2 ngram_indexes=0,1,2 pool_int64s=1,3,2,3",
            "X[2,4]:i32={1,2,3,2,3,1,1,1}; mode='TFIDF' min_gram_length=2 max_gram_length=2 "
            "max_skip_count=2 ngram_counts=0,0 ngram_indexes=1,0 pool_int64s=2,3,1,1",
            NULL},
};
