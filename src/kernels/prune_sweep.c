/* prune_sweep.c - zeros column by column, of prune.h. */
#include <stdlib.h>

#include "kernels/factor.h"
#include "kernels/gemm.h"
#include "kernels/prune_internal.h"
#include "kernels/vector.h"

#define CHUNK 128 /* columns whose errors move on together */
#define CHUNK_MAX (CHUNK + OXP_PRUNE_GROUP_MAX)
#define PIECE 8 /* columns whose zeros are chosen together */

typedef struct sweep { /* of one block of H */
    const oxp_prune_layer *l;
    const oxp_moment_block *block;
    const oxp_prune_rule *rule;
    oxp_arena *arena;
    uint8_t *kept;   /* [rows, columns] */
    uint32_t *order; /* [count]: the block's column that stands at each place */
    size_t *ends;    /* [count]: place behind the group that a place belongs to */
    size_t *keeps;   /* [count]: how many of that group stay */
    float *factor;   /* [count, count]: L, and the roots of D on its diagonal */
    float *targets;  /* [rows, count]: w_j + sum L_ij e_i of what was visited, in order */
    float *errors;   /* [rows, CHUNK_MAX] */
    float *scores;   /* [rows, PIECE] */
    uint8_t *chosen; /* the same */
} sweep;

typedef struct place {
    float size;
    uint32_t index;
} place;

static int largest_first(const void *a, const void *b)
{
    const place *x = a, *y = b;
    if (x->size != y->size)
        return x->size > y->size ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* Groups stand as they are; single columns with the largest H_jj in front: what is read least goes
 * first, and the others take up what it was. */
static oxp_status set_order(sweep *s)
{
    size_t n = s->block->count, at = 0;
    place *places = oxp_arena_alloc(s->arena, n, sizeof *places);
    if (!places)
        return OXP_ELIMIT;
    oxp_prune_group g;
    oxp_prune_groups left = oxp_prune_groups_of(s->rule, s->l->columns, s->block->first, n);
    while (s->rule->of && oxp_prune_next_group(&left, &g))
        for (size_t i = 0, begin = at; i < g.count; i++, at++) {
            s->order[at] = (uint32_t)(g.columns[i] - s->block->first);
            s->ends[at] = begin + g.count;
            s->keeps[at] = g.keep;
        }
    if (s->rule->of)
        return OXP_OK;
    for (size_t i = 0; i < n; i++)
        places[i] = (place){s->block->h[i * n + i], (uint32_t)i};
    qsort(places, n, sizeof *places, largest_first);
    for (size_t i = 0; i < n; i++) {
        s->order[i] = places[i].index;
        s->ends[i] = i + 1;
    }
    return OXP_OK;
}

static oxp_status factor(sweep *s, oxp_ctx *ctx)
{
    size_t n = s->block->count;
    const float *h = s->block->h;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j <= i; j++)
            s->factor[i * n + j] = h[s->order[i] * n + s->order[j]];
    if (!oxp_cholesky(s->factor, n))
        return oxp_fail(ctx, OXP_EINTERNAL, "E-FACTOR",
                        "second moments of columns %zu to %zu are not positive definite",
                        s->block->first, s->block->first + n);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++)
            s->factor[i * n + j] /= s->factor[j * n + j];
    return OXP_OK;
}

/* The first place of the chunk that ends before `end`: whole groups. */
static size_t chunk_begin(const sweep *s, size_t end)
{
    size_t begin = end > CHUNK ? end - CHUNK : 0;
    while (begin > 0 && s->ends[begin] == s->ends[begin - 1])
        begin--;
    return begin;
}

static float root_of_cost(const sweep *s, size_t r, size_t at)
{
    size_t n = s->block->count;
    return s->targets[r * n + at] * s->factor[at * n + at];
}

static uint8_t *kept_at(const sweep *s, size_t r, size_t at)
{
    return &s->kept[r * s->l->columns + s->block->first + s->order[at]];
}

/* As many zeros as stand in the piece already, where they cost least. */
static void choose_again(const sweep *s, size_t begin, size_t end)
{
    size_t width = end - begin, rows = s->l->rows, zeros = 0;
    for (size_t r = 0; r < rows; r++)
        for (size_t j = begin; j < end; j++) {
            s->scores[r * width + j - begin] = root_of_cost(s, r, j);
            zeros += !*kept_at(s, r, j);
        }
    oxp_prune_drop_smallest(s->chosen, s->scores, rows * width, zeros);
    for (size_t r = 0; r < rows; r++)
        for (size_t j = begin; j < end; j++)
            *kept_at(s, r, j) = s->chosen[r * width + j - begin];
}

/* Of the group that ends with place `last`, in one row. */
static void choose_in_group(const sweep *s, size_t r, size_t last)
{
    oxp_prune_group g = {.keep = s->keeps[last]};
    float scores[OXP_PRUNE_GROUP_MAX];
    uint8_t kept[OXP_PRUNE_GROUP_MAX];
    size_t first = last;
    while (first > 0 && s->ends[first - 1] == last + 1)
        first--;
    for (; g.count <= last - first; g.count++) {
        g.columns[g.count] = g.count;
        scores[g.count] = root_of_cost(s, r, first + g.count);
    }
    oxp_prune_drop_in_group(kept, scores, &g);
    for (size_t i = 0; i < g.count; i++)
        *kept_at(s, r, first + i) = kept[i];
}

OXP_VECTORISED static void add_multiple(float *restrict to, const float *restrict row, float factor,
                                        size_t n)
{
    for (size_t j = 0; j < n; j++)
        to[j] += factor * row[j];
}

/* Places from..end of the chunk begin..begin + width. */
static void visit_row(const sweep *s, size_t r, size_t begin, size_t width, size_t from, size_t end)
{
    size_t n = s->block->count;
    float *target = &s->targets[r * n];
    const float *w = &s->l->w[r * s->l->columns + s->block->first];
    for (size_t j = end; j-- > from;) {
        if (s->rule->of && s->ends[j] == j + 1)
            choose_in_group(s, r, j);
        if (!*kept_at(s, r, j))
            target[j] = 0;
        float e = w[s->order[j]] - target[j];
        s->errors[r * width + j - begin] = e;
        add_multiple(target + begin, &s->factor[j * n + begin], e, j - begin);
    }
}

static void visit_chunk(const sweep *s, size_t begin, size_t end)
{
    size_t width = end - begin, n = s->block->count, rows = s->l->rows;
    for (size_t to = end, from; to > begin; to = from) {
        from = s->rule->of || to - begin < PIECE ? begin : to - PIECE;
        if (!s->rule->of)
            choose_again(s, from, to);
        for (size_t r = 0; r < rows; r++)
            visit_row(s, r, begin, width, from, to);
    }
    oxp_gemm_shape g = {.m = rows, .n = begin, .k = width, .lda = width, .ldb = n, .ldc = n};
    oxp_gemm(&g, 1, s->errors, &s->factor[begin * n], 1, s->targets);
}

static oxp_status allocate(sweep *s)
{
    size_t rows = s->l->rows, n = s->block->count;
    s->order = oxp_arena_alloc(s->arena, n, sizeof *s->order);
    s->ends = oxp_arena_alloc(s->arena, n, sizeof *s->ends);
    s->keeps = oxp_arena_alloc(s->arena, n, sizeof *s->keeps);
    s->factor = oxp_arena_alloc(s->arena, n * n, sizeof *s->factor);
    s->targets = oxp_arena_alloc(s->arena, rows * n, sizeof *s->targets);
    s->errors = oxp_arena_alloc(s->arena, rows * CHUNK_MAX, sizeof *s->errors);
    s->scores = oxp_arena_alloc(s->arena, rows * PIECE, sizeof *s->scores);
    s->chosen = oxp_arena_alloc(s->arena, rows * PIECE, 1);
    return s->order && s->ends && s->keeps && s->factor && s->targets && s->errors && s->scores &&
                   s->chosen
               ? OXP_OK
               : OXP_ELIMIT;
}

static oxp_status sweep_block(sweep *s, float *out, oxp_ctx *ctx)
{
    size_t rows = s->l->rows, columns = s->l->columns, n = s->block->count;
    OXP_TRY(allocate(s));
    OXP_TRY(set_order(s));
    OXP_TRY(factor(s, ctx));
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < n; j++)
            s->targets[r * n + j] = s->l->w[r * columns + s->block->first + s->order[j]];
    for (size_t end = n; end > 0;) {
        size_t begin = chunk_begin(s, end);
        visit_chunk(s, begin, end);
        end = begin;
    }
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < n; j++)
            out[r * columns + s->block->first + s->order[j]] = s->targets[r * n + j];
    return OXP_OK;
}

oxp_status oxp_prune_obs(uint8_t *kept, float *out, oxp_ctx *ctx, const oxp_prune_layer *l,
                         const oxp_prune_rule *rule)
{
    if (!rule->of)
        OXP_TRY(oxp_prune_wanda_overall(kept, ctx, l, rule));
    for (size_t k = 0; k < l->block_count; k++) {
        oxp_arena arena;
        oxp_arena_init(&arena, ctx);
        sweep s = {.l = l, .block = &l->blocks[k], .rule = rule, .arena = &arena, .kept = kept};
        oxp_status status = sweep_block(&s, out, ctx);
        oxp_arena_free(&arena);
        OXP_TRY(status);
    }
    return OXP_OK;
}
