/* block_rounding.c - see block_rounding.h. Rows go through in small groups, so that what is read of
 * H and its factor serves all of them; error feedback runs over tiles of columns, each of which is
 * taken off the columns before it in one matrix product. */
#include "kernels/block_rounding.h"

#include <string.h>

#include "kernels/block_scales.h"
#include "kernels/gemm.h"
#include "kernels/vector.h"

#define GROUP 16 /* rows at a time */
#define TILE 32  /* columns of feedback at a time */
#define ROUNDS 10

/* Common factors on the scales of a row that feedback is tried with; the first is 1. */
static const float factors[] = {1, 0.79f, 0.85f, 0.9f, 0.95f, 1.05f, 1.1f, 1.16f};
#define FACTORS (sizeof factors / sizeof *factors)

typedef struct planes { /* feedback of `count` rows of codes, some of the same row of w */
    const oxp_block_grid *grid;
    const oxp_round_block *block;
    size_t count, columns, scale_count; /* of a row */
    const float **w;                    /* [count] */
    oxp_block_codes to;
    double *sums;           /* [count]: e^T H_damped e is added */
    float *targets, *error; /* [count, block->count], [count, TILE] */
} planes;

/* ---- error feedback ---- */

OXP_VECTORISED static void add_multiple(float *restrict to, const float *restrict row, float factor,
                                        size_t n)
{
    for (size_t j = 0; j < n; j++)
        to[j] += factor * row[j];
}

/* Column i of the factor's order in every row of codes. */
static void round_column(planes *p, size_t i, size_t tile)
{
    const oxp_round_block *b = p->block;
    const float *factor = &b->factor[i * b->count];
    size_t column = b->first + b->order[i], at_scale = column / p->grid->block;
    float most = (float)oxp_block_grid_most(p->grid);
    double weight = (double)factor[i] * (double)factor[i];
    for (size_t r = 0; r < p->count; r++) {
        float *targets = &p->targets[r * b->count], target = targets[i], w = p->w[r][column];
        float scale = p->to.scales[r * p->scale_count + at_scale];
        float zero = (float)p->to.zeros[r * p->scale_count + at_scale];
        bool keep = p->grid->keep_zeros && w == 0;
        float code = keep ? zero : oxp_block_code(target, scale, zero, most);
        float value = (code - zero) * scale;
        double left = (double)target - (double)value;
        p->to.codes[r * p->columns + column] = (uint8_t)code;
        p->sums[r] += weight * left * left;
        p->error[r * TILE + i - tile] = w - value;
        add_multiple(targets + tile, factor + tile, w - value, i - tile);
    }
}

/* targets: w in the factor's order, on which what later columns left is piled up. */
static void feed_back(planes *p)
{
    const oxp_round_block *b = p->block;
    size_t n = b->count;
    for (size_t r = 0; r < p->count; r++)
        for (size_t i = 0; i < n; i++)
            p->targets[r * n + i] = p->w[r][b->first + b->order[i]];
    for (size_t end = n; end > 0;) {
        size_t first = end > TILE ? end - TILE : 0;
        for (size_t i = end; i-- > first;)
            round_column(p, i, first);
        oxp_gemm_shape s = {
            .m = p->count, .n = first, .k = end - first, .lda = TILE, .ldb = n, .ldc = n};
        if (first)
            oxp_gemm(&s, 1, p->error, &b->factor[first * n], 1, p->targets);
        end = first;
    }
}

/* Columns that no sample showed. */
static void nearest_codes(planes *p)
{
    float most = (float)oxp_block_grid_most(p->grid);
    for (size_t r = 0; r < p->count; r++)
        for (size_t i = p->block->first; i < p->block->first + p->block->count; i++) {
            size_t s = r * p->scale_count + i / p->grid->block;
            p->to.codes[r * p->columns + i] =
                (uint8_t)oxp_block_code(p->w[r][i], p->to.scales[s], (float)p->to.zeros[s], most);
        }
}

static void feed_back_all(planes *p, const oxp_round_block *blocks, size_t block_count)
{
    for (size_t r = 0; r < p->count; r++)
        p->sums[r] = 0;
    for (size_t k = 0; k < block_count; k++) {
        p->block = &blocks[k];
        if (p->block->factor)
            feed_back(p);
        else
            nearest_codes(p);
    }
}

/* ---- sums ---- */

double oxp_block_objective(const oxp_block_grid *g, const oxp_round_block *blocks,
                           size_t block_count, const float *w, const oxp_block_codes *row)
{
    double sum = 0;
    for (size_t k = 0; k < block_count; k++) {
        const oxp_round_block *b = &blocks[k];
        for (size_t i = 0; i < b->count; i++) {
            double of_row = 0;
            for (size_t j = 0; j < b->count; j++)
                of_row += (double)b->h[i * b->count + j] *
                          (double)oxp_block_rest(g, w, row, b->first + j);
            sum += of_row * (double)oxp_block_rest(g, w, row, b->first + i);
        }
    }
    return sum;
}

static double inner(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

/* ---- descent ---- */

OXP_VECTORISED static void add_to_gradient(double *restrict to, const float *restrict row,
                                           double factor, size_t n)
{
    for (size_t j = 0; j < n; j++)
        to[j] += factor * (double)row[j];
}

typedef struct descent {
    const oxp_block_grid *grid;
    const float *w;
    const oxp_block_codes *row;
    double least, *gradient;
} descent;

/* Moves code i of a block of H to its best value, others given. */
static double move_code(const descent *d, const oxp_round_block *b, size_t i)
{
    size_t at = b->first + i, at_scale = at / d->grid->block;
    double h = (double)b->h[i * b->count + i];
    float scale = d->row->scales[at_scale], zero = (float)d->row->zeros[at_scale];
    float most = (float)oxp_block_grid_most(d->grid);
    if (!(h > 0)) { /* never seen: scales may have changed since */
        d->row->codes[at] = (uint8_t)oxp_block_code(d->w[at], scale, zero, most);
        return 0;
    }
    if (fabs(d->gradient[at]) < 0.49 * h * fabs((double)scale)) /* the old one is the nearest */
        return 0;
    if (d->grid->keep_zeros && d->w[at] == 0)
        return 0;
    float old = (float)d->row->codes[at], value = (old - zero) * scale;
    float best = oxp_block_code((float)((double)value + d->gradient[at] / h), scale, zero, most);
    double step = (double)((best - zero) * scale) - (double)value;
    double change = step * (h * step - 2 * d->gradient[at]);
    if (!(change < -d->least))
        return 0;
    d->row->codes[at] = (uint8_t)best;
    add_to_gradient(d->gradient + b->first, &b->h[i * b->count], -step, b->count);
    return -change;
}

#define SWEEPS 100 /* each lowers the sum; few are needed */

double oxp_block_descend(const oxp_block_grid *g, const oxp_round_block *blocks, size_t block_count,
                         const float *w, const oxp_block_codes *row, double least, double *gradient)
{
    descent d = {.grid = g, .w = w, .row = row, .least = least, .gradient = gradient};
    double gained = 0, gain = 1;
    for (int sweep = 0; sweep < SWEEPS && gain > 0; sweep++) {
        gain = 0;
        for (size_t k = 0; k < block_count; k++)
            for (size_t i = 0; i < blocks[k].count; i++)
                gain += move_code(&d, &blocks[k], i);
        gained += gain;
    }
    return gained;
}

/* ---- groups of rows ---- */

typedef struct group {
    const oxp_block_grid *grid;
    const oxp_round_block *blocks;
    size_t block_count, columns, scale_count, rows;
    const float *w;
    oxp_block_codes best, trial; /* [GROUP], [GROUP * FACTORS] */
    double least[GROUP];         /* e^T H e of `best` */
    float *e, *he;               /* [GROUP, columns], of `best` once it was measured */
    double *gradient;            /* [columns] */
    planes planes;
    oxp_block_scales fit;
} group;

static oxp_block_codes row_of(const group *g, const oxp_block_codes *c, size_t r)
{
    return (oxp_block_codes){.codes = c->codes + r * g->columns,
                             .scales = c->scales + r * g->scale_count,
                             .zeros = c->zeros + r * g->scale_count};
}

static void copy_row(const group *g, const oxp_block_codes *to, size_t to_row,
                     const oxp_block_codes *from, size_t from_row)
{
    oxp_block_codes t = row_of(g, to, to_row), f = row_of(g, from, from_row);
    memcpy(t.codes, f.codes, g->columns);
    memcpy(t.scales, f.scales, g->scale_count * sizeof *t.scales);
    memcpy(t.zeros, f.zeros, g->scale_count);
}

/* e, H e and the sums of the rows of `c`. */
static void measure(group *g, const oxp_block_codes *c, double *sums)
{
    oxp_block_values(g->grid, c, g->rows, g->columns, g->e);
    for (size_t i = 0; i < g->rows * g->columns; i++)
        g->e[i] = g->w[i] - g->e[i];
    for (size_t k = 0; k < g->block_count; k++) {
        const oxp_round_block *b = &g->blocks[k];
        oxp_gemm_shape s = {.m = g->rows,
                            .n = b->count,
                            .k = b->count,
                            .lda = g->columns,
                            .ldb = b->count,
                            .ldc = g->columns};
        oxp_gemm(&s, 1, g->e + b->first, b->h, 0, g->he + b->first);
    }
    for (size_t r = 0; r < g->rows; r++)
        sums[r] = inner(&g->e[r * g->columns], &g->he[r * g->columns], g->columns);
}

/* Rows of `trial` that are better than `best` take its place; returns how many. */
static size_t take_better(group *g)
{
    size_t taken = 0;
    double sums[GROUP];
    measure(g, &g->trial, sums);
    for (size_t r = 0; r < g->rows; r++)
        if (sums[r] < g->least[r] * (1 - 1e-6)) {
            g->least[r] = sums[r];
            copy_row(g, &g->best, r, &g->trial, r);
            taken++;
        }
    return taken;
}

/* Feedback with the first `count` factors on the scales of `best`; the best of each row is taken
 * where it is better than what stands there. */
static size_t try_factors(group *g, size_t count)
{
    planes *p = &g->planes;
    p->count = g->rows * count;
    for (size_t f = 0; f < count; f++)
        for (size_t r = 0; r < g->rows; r++) {
            size_t at = f * g->rows + r;
            p->w[at] = g->w + r * g->columns;
            oxp_block_codes to = row_of(g, &g->trial, at), from = row_of(g, &g->best, r);
            memcpy(to.zeros, from.zeros, g->scale_count);
            for (size_t k = 0; k < g->scale_count; k++)
                to.scales[k] = oxp_block_scale(g->grid, factors[f] * from.scales[k]);
        }
    feed_back_all(p, g->blocks, g->block_count);
    for (size_t r = 0; r < g->rows; r++) {
        size_t best = r;
        for (size_t f = 1; f < count; f++)
            if (p->sums[f * g->rows + r] < p->sums[best])
                best = f * g->rows + r;
        if (best != r)
            copy_row(g, &g->trial, r, &g->trial, best);
    }
    return take_better(g);
}

/* Least squares for the scales of `best`; `he` is of it. */
static size_t refit(group *g)
{
    for (size_t r = 0; r < g->rows; r++)
        copy_row(g, &g->trial, r, &g->best, r);
    oxp_block_scales_fit(&g->fit, g->rows, &g->trial, g->he);
    return take_better(g);
}

static void descend(group *g)
{
    measure(g, &g->best, g->least);
    for (size_t r = 0; r < g->rows; r++) {
        oxp_block_codes row = row_of(g, &g->best, r);
        const float *w = g->w + r * g->columns;
        for (size_t i = 0; i < g->columns; i++)
            g->gradient[i] = (double)g->he[r * g->columns + i];
        oxp_block_descend(g->grid, g->blocks, g->block_count, w, &row, 1e-7 * g->least[r],
                          g->gradient);
    }
    measure(g, &g->best, g->least);
}

/* The first solution is `from`; rows that are better go back into it. */
static void round_group(group *g, const oxp_block_codes *from, oxp_round_error *error)
{
    double first[GROUP];
    measure(g, from, first);
    for (size_t r = 0; r < g->rows; r++) {
        g->least[r] = first[r];
        copy_row(g, &g->best, r, from, r);
    }
    try_factors(g, FACTORS);
    for (int round = 0; round < ROUNDS; round++) {
        descend(g);
        if (refit(g) == 0)
            break;
    }
    descend(g);
    for (size_t r = 0; r < g->rows; r++) {
        bool better = g->least[r] < first[r];
        if (better)
            copy_row(g, from, r, &g->best, r);
        error->before += first[r];
        error->after += better ? g->least[r] : first[r];
    }
}

/* ---- memory ---- */

static bool take_codes(oxp_block_codes *c, oxp_arena *arena, size_t rows, size_t columns,
                       size_t scales)
{
    c->codes = oxp_arena_alloc(arena, rows * columns, 1);
    c->scales = oxp_arena_alloc(arena, rows * scales, sizeof *c->scales);
    c->zeros = oxp_arena_alloc(arena, rows * scales, 1);
    return c->codes && c->scales && c->zeros;
}

static bool take_planes(planes *p, oxp_arena *arena, size_t rows, const oxp_round_block *blocks,
                        size_t block_count)
{
    size_t widest = 0;
    for (size_t k = 0; k < block_count; k++)
        widest = blocks[k].count > widest ? blocks[k].count : widest;
    p->w = oxp_arena_alloc(arena, rows, sizeof *p->w);
    p->sums = oxp_arena_alloc(arena, rows, sizeof *p->sums);
    p->targets = oxp_arena_alloc(arena, rows * widest, sizeof *p->targets);
    p->error = oxp_arena_alloc(arena, rows * TILE, sizeof *p->error);
    return p->w && p->sums && p->targets && p->error;
}

static bool take_group(group *g, oxp_arena *arena)
{
    size_t trials = GROUP * FACTORS;
    g->e = oxp_arena_alloc(arena, GROUP * g->columns, sizeof *g->e);
    g->he = oxp_arena_alloc(arena, GROUP * g->columns, sizeof *g->he);
    g->gradient = oxp_arena_alloc(arena, g->columns, sizeof *g->gradient);
    g->planes = (planes){.grid = g->grid, .columns = g->columns, .scale_count = g->scale_count};
    if (!g->e || !g->he || !g->gradient ||
        !take_codes(&g->best, arena, GROUP, g->columns, g->scale_count) ||
        !take_codes(&g->trial, arena, trials, g->columns, g->scale_count) ||
        !take_planes(&g->planes, arena, trials, g->blocks, g->block_count))
        return false;
    g->planes.to = g->trial;
    return oxp_block_scales_init(&g->fit, arena, g->grid, g->blocks, g->block_count, g->columns,
                                 GROUP);
}

oxp_status oxp_block_round(oxp_ctx *ctx, const oxp_block_grid *grid, const oxp_round_block *blocks,
                           size_t block_count, const float *w, size_t rows, size_t columns,
                           const oxp_block_codes *c, oxp_round_error *error)
{
    group g = {.grid = grid,
               .blocks = blocks,
               .block_count = block_count,
               .columns = columns,
               .scale_count = oxp_block_grid_blocks(grid, columns)};
    oxp_arena arena;
    oxp_arena_init(&arena, ctx);
    bool enough = take_group(&g, &arena);
    for (size_t r = 0; enough && r < rows; r += GROUP) {
        oxp_block_codes from = row_of(&g, c, r);
        g.rows = rows - r < GROUP ? rows - r : GROUP;
        g.w = w + r * columns;
        round_group(&g, &from, error);
    }
    oxp_arena_free(&arena);
    return enough ? OXP_OK : OXP_ELIMIT;
}

oxp_status oxp_block_feedback(oxp_ctx *ctx, const oxp_block_grid *grid,
                              const oxp_round_block *blocks, size_t block_count, const float *w,
                              size_t rows, size_t columns, const oxp_block_codes *c)
{
    planes p = {
        .grid = grid, .columns = columns, .scale_count = oxp_block_grid_blocks(grid, columns)};
    oxp_arena arena;
    oxp_arena_init(&arena, ctx);
    bool enough = take_planes(&p, &arena, GROUP, blocks, block_count);
    for (size_t r = 0; enough && r < rows; r += GROUP) {
        p.count = rows - r < GROUP ? rows - r : GROUP;
        for (size_t i = 0; i < p.count; i++)
            p.w[i] = w + (r + i) * columns;
        p.to = (oxp_block_codes){c->codes + r * columns, c->scales + r * p.scale_count,
                                 c->zeros + r * p.scale_count};
        feed_back_all(&p, blocks, block_count);
    }
    oxp_arena_free(&arena);
    return enough ? OXP_OK : OXP_ELIMIT;
}
