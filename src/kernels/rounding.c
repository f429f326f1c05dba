/* rounding.c - see rounding.h. Rows go through in groups, whose products with H are taken at once;
 * fewer at a time take their planes, so that what a row of the factor is added to stays near. */
#include "kernels/rounding.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/factor.h"
#include "kernels/gemm.h"
#include "kernels/vector.h"

#define GROUP 64 /* rows at a time */
#define NEAR 16  /* of them, for the nearest plane */
#define ROUNDS 8 /* of descent and refit, at most */

typedef struct group { /* of at most GROUP rows, with the memory that they need */
    const oxp_round_block *blocks;
    size_t block_count, columns, rows;
    const float *w;
    int limit;
    float *e, *he, *best_he, *hv; /* [GROUP, columns] */
    float *targets;               /* [NEAR, columns] */
    int8_t *codes, *best;
    double *gradient;    /* [columns] */
    float chosen[GROUP]; /* scales of `best` */
    double least[GROUP]; /* e^T H e of `best` */
} group;

/* ---- the factor ---- */

typedef struct place {
    float size;
    uint32_t column;
} place;

static int smallest_first(const void *a, const void *b)
{
    const place *x = a, *y = b;
    if (x->size != y->size)
        return x->size < y->size ? -1 : 1;
    return x->column < y->column ? -1 : x->column > y->column;
}

/* Sorts in the factor's own memory, which holds a place per column: [count, count] floats, and
 * for one column there is nothing to sort. */
static void set_order(oxp_round_block *b)
{
    size_t n = b->count;
    for (size_t i = 0; i < n; i++)
        b->order[i] = (uint32_t)i;
    if (n < 2)
        return;
    place *places = (place *)(void *)b->factor;
    for (size_t i = 0; i < n; i++)
        places[i] = (place){b->h[i * n + i], (uint32_t)i};
    qsort(places, n, sizeof *places, smallest_first);
    for (size_t i = 0; i < n; i++)
        b->order[i] = places[i].column;
}

static void copy_ordered(oxp_round_block *b, float added)
{
    size_t n = b->count;
    for (size_t i = 0; i < n; i++) {
        const float *row = &b->h[(size_t)b->order[i] * n];
        for (size_t j = 0; j <= i; j++)
            b->factor[i * n + j] = row[b->order[j]];
        b->factor[i * n + i] += added;
    }
}

void oxp_round_factor(oxp_round_block *b, float damping)
{
    size_t n = b->count;
    double trace = 0;
    for (size_t i = 0; i < n; i++)
        trace += (double)b->h[i * n + i];
    float mean = (float)(trace / (double)n);
    if (!(mean > 0) || !isfinite(mean)) {
        b->factor = NULL;
        return;
    }
    set_order(b);
    bool done = false;
    for (float d = damping; !done && d < 1e6f; d *= 10) {
        copy_ordered(b, d * mean);
        done = oxp_cholesky(b->factor, n);
    }
    if (!done) {
        b->factor = NULL;
        return;
    }
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++)
            b->factor[i * n + j] /= b->factor[j * n + j];
}

/* ---- the nearest plane ---- */

/* A quotient that is NaN counts as the least code: its sum is NaN, and nobody takes it. */
static float code_of(float w, float scale, float limit)
{
    float q = nearbyintf(w / scale);
    return q > limit ? limit : q >= -limit ? q : -limit;
}

OXP_VECTORISED static void add_multiple(float *restrict to, const float *restrict row, float factor,
                                        size_t n)
{
    for (size_t j = 0; j < n; j++)
        to[j] += factor * row[j];
}

/* Of `rows` rows from `first` on. targets: v in the factor's order, on which what later columns
 * left is piled up. */
static void nearest_plane(const oxp_round_block *b, group *g, const float *scales, size_t first,
                          size_t rows)
{
    size_t n = b->count;
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < n; i++)
            g->targets[r * n + i] = g->w[(first + r) * g->columns + b->first + b->order[i]];
    for (size_t i = n; i-- > 0;)
        for (size_t r = 0; r < rows; r++) {
            size_t at = (first + r) * g->columns + b->first + b->order[i];
            float scale = scales[first + r];
            float q = code_of(g->targets[r * n + i], scale, (float)g->limit);
            g->codes[at] = (int8_t)q;
            add_multiple(&g->targets[r * n], &b->factor[i * n], g->w[at] - q * scale, i);
        }
}

static void nearest_planes(const oxp_round_block *b, group *g, const float *scales)
{
    for (size_t r = 0; r < g->rows; r += NEAR)
        nearest_plane(b, g, scales, r, g->rows - r < NEAR ? g->rows - r : NEAR);
}

static void nearest_codes(const oxp_round_block *b, group *g, const float *scales)
{
    for (size_t r = 0; r < g->rows; r++)
        for (size_t i = b->first; i < b->first + b->count; i++) {
            size_t at = r * g->columns + i;
            g->codes[at] = (int8_t)code_of(g->w[at], scales[r], (float)g->limit);
        }
}

/* ---- errors ---- */

/* out[rows, columns] = x[rows, columns] H. */
static void times_h(const oxp_round_block *blocks, size_t block_count, const float *x, size_t rows,
                    size_t columns, float *out)
{
    for (size_t k = 0; k < block_count; k++) {
        const oxp_round_block *b = &blocks[k];
        oxp_gemm_shape s = {.m = rows,
                            .n = b->count,
                            .k = b->count,
                            .lda = columns,
                            .ldb = b->count,
                            .ldc = columns};
        oxp_gemm(&s, 1, x + b->first, b->h, 0, out + b->first);
    }
}

static double inner(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

double oxp_round_objective(const oxp_round_block *blocks, size_t block_count, const float *v,
                           const int8_t *codes, float scale)
{
    double sum = 0;
    for (size_t k = 0; k < block_count; k++) {
        const float *h = blocks[k].h, *x = v + blocks[k].first;
        const int8_t *q = codes + blocks[k].first;
        for (size_t n = blocks[k].count, i = 0; i < n; i++) {
            double row = 0;
            for (size_t j = 0; j < n; j++)
                row += (double)h[i * n + j] * ((double)x[j] - (double)((float)q[j] * scale));
            sum += row * ((double)x[i] - (double)((float)q[i] * scale));
        }
    }
    return sum;
}

/* ---- descent ---- */

OXP_VECTORISED static void add_to_gradient(double *restrict to, const float *restrict row,
                                           double factor, size_t n)
{
    for (size_t j = 0; j < n; j++)
        to[j] += factor * (double)row[j];
}

/* Moves code i of a block to its best value where that lowers the sum by more than `least`; returns
 * by how much. gradient = H e. */
static double move_code(const oxp_round_block *b, size_t i, float limit, float scale, int8_t *codes,
                        double *gradient, double least)
{
    size_t at = b->first + i;
    double h = (double)b->h[i * b->count + i];
    if (!(h > 0) || fabs(gradient[at]) < 0.49 * h * (double)scale) /* the old one is the nearest */
        return 0;
    float old = (float)codes[at];
    float best = code_of((float)((double)(scale * old) + gradient[at] / h), scale, limit);
    double step = (double)(best * scale) - (double)(old * scale);
    double change = step * (h * step - 2 * gradient[at]);
    if (!(change < -least))
        return 0;
    codes[at] = (int8_t)best;
    add_to_gradient(gradient + b->first, &b->h[i * b->count], -step, b->count);
    return -change;
}

#define SWEEPS 100 /* each lowers the sum; few are needed */

double oxp_round_descend(const oxp_round_block *blocks, size_t block_count, int limit, float scale,
                         double least, int8_t *codes, double *gradient)
{
    double gained = 0, gain = 1;
    for (int sweep = 0; sweep < SWEEPS && gain > 0; sweep++) {
        gain = 0;
        for (size_t k = 0; k < block_count; k++)
            for (size_t i = 0; i < blocks[k].count; i++)
                gain += move_code(&blocks[k], i, (float)limit, scale, codes, gradient, least);
        gained += gain;
    }
    return gained;
}

/* The scale of least sum for these codes: s + q^T H e / q^T H q, with H q = (H v - H e) / s. */
static float refit(const float *hv, const int8_t *codes, size_t columns, float scale,
                   double *gradient)
{
    double qg = 0, qhq = 0, s = (double)scale;
    for (size_t j = 0; j < columns; j++) {
        qg += (double)codes[j] * gradient[j];
        qhq += (double)codes[j] * ((double)hv[j] - gradient[j]) / s;
    }
    float fitted = qhq > 0 ? (float)(s + qg / qhq) : scale;
    if (!(fitted > 0.5f * scale) || !(fitted < 2 * scale))
        return scale;
    double moved = (double)fitted - s;
    for (size_t j = 0; j < columns; j++)
        gradient[j] -= moved * ((double)hv[j] - gradient[j]) / s;
    return fitted;
}

/* ---- rows ---- */

static void errors(float *e, const float *w, const int8_t *codes, float scale, size_t n)
{
    for (size_t i = 0; i < n; i++)
        e[i] = w[i] - (float)codes[i] * scale;
}

/* H e into `he`, and the sums of the rows. */
static void measure(group *g, const int8_t *codes, const float *scales, float *he, double *sums)
{
    for (size_t r = 0; r < g->rows; r++)
        errors(&g->e[r * g->columns], &g->w[r * g->columns], &codes[r * g->columns], scales[r],
               g->columns);
    times_h(g->blocks, g->block_count, g->e, g->rows, g->columns, he);
    for (size_t r = 0; r < g->rows; r++)
        sums[r] = inner(&g->e[r * g->columns], &he[r * g->columns], g->columns);
}

/* The nearest planes with the scales of the first solution, where they are better than it. */
static void take_planes(group *g, const float *scales)
{
    double sums[GROUP];
    size_t n = g->columns;
    for (size_t k = 0; k < g->block_count; k++) {
        const oxp_round_block *b = &g->blocks[k];
        if (b->factor)
            nearest_planes(b, g, scales);
        else
            nearest_codes(b, g, scales);
    }
    measure(g, g->codes, scales, g->he, sums);
    for (size_t r = 0; r < g->rows; r++)
        if (sums[r] < g->least[r]) {
            g->least[r] = sums[r];
            memcpy(&g->best[r * n], &g->codes[r * n], n);
            memcpy(&g->best_he[r * n], &g->he[r * n], n * sizeof *g->he);
        }
}

/* Descent and refit in turn from the best of a row; returns its sum, from the H e that they kept.
 * */
static double polish_row(group *g, size_t r)
{
    size_t n = g->columns;
    const float *w = &g->w[r * n], *hv = &g->hv[r * n];
    float *e = &g->e[r * n];
    int8_t *codes = &g->best[r * n];
    double least = 1e-12 * fmax(inner(w, hv, n), 0), sum = 0;
    for (size_t i = 0; i < n; i++)
        g->gradient[i] = (double)g->best_he[r * n + i];
    for (int round = 0; round < ROUNDS; round++) {
        double gained = oxp_round_descend(g->blocks, g->block_count, g->limit, g->chosen[r], least,
                                          codes, g->gradient);
        float fitted = refit(hv, codes, n, g->chosen[r], g->gradient);
        bool still = fitted == g->chosen[r] || (round > 0 && !(gained > 0));
        g->chosen[r] = fitted;
        if (still)
            break;
    }
    errors(e, w, codes, g->chosen[r], n);
    for (size_t i = 0; i < n; i++)
        sum += (double)e[i] * g->gradient[i];
    return sum;
}

static void round_group(group *g, int8_t *codes, float *scales, oxp_round_error *error)
{
    double first[GROUP];
    size_t n = g->columns;
    measure(g, codes, scales, g->best_he, first);
    for (size_t r = 0; r < g->rows; r++) {
        g->least[r] = first[r];
        g->chosen[r] = scales[r];
    }
    memcpy(g->best, codes, g->rows * n);
    take_planes(g, scales);
    times_h(g->blocks, g->block_count, g->w, g->rows, n, g->hv);
    for (size_t r = 0; r < g->rows; r++) {
        double last = polish_row(g, r);
        bool better = last < first[r];
        if (better) {
            memcpy(&codes[r * n], &g->best[r * n], n);
            scales[r] = g->chosen[r];
        }
        error->before += first[r];
        error->after += better ? last : first[r];
    }
}

oxp_status oxp_round_rows(oxp_ctx *ctx, const oxp_round_block *blocks, size_t block_count,
                          const float *w, size_t rows, size_t columns, int limit, int8_t *codes,
                          float *scales, oxp_round_error *error)
{
    group g = {.blocks = blocks, .block_count = block_count, .columns = columns, .limit = limit};
    oxp_arena arena;
    oxp_arena_init(&arena, ctx);
    size_t count = (rows < GROUP ? rows : GROUP) * columns;
    g.e = oxp_arena_alloc(&arena, count, sizeof *g.e);
    g.he = oxp_arena_alloc(&arena, count, sizeof *g.he);
    g.best_he = oxp_arena_alloc(&arena, count, sizeof *g.best_he);
    g.hv = oxp_arena_alloc(&arena, count, sizeof *g.hv);
    g.targets = oxp_arena_alloc(&arena, NEAR * columns, sizeof *g.targets);
    g.codes = oxp_arena_alloc(&arena, count, 1);
    g.best = oxp_arena_alloc(&arena, count, 1);
    g.gradient = oxp_arena_alloc(&arena, columns, sizeof *g.gradient);
    bool enough = g.e && g.he && g.best_he && g.hv && g.targets && g.codes && g.best && g.gradient;
    for (size_t r = 0; enough && r < rows; r += GROUP) {
        g.rows = rows - r < GROUP ? rows - r : GROUP;
        g.w = w + r * columns;
        round_group(&g, codes + r * columns, scales + r, error);
    }
    oxp_arena_free(&arena);
    return enough ? OXP_OK : OXP_ELIMIT;
}
