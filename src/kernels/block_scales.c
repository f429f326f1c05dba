/* block_scales.c - see block_scales.h. */
#include "kernels/block_scales.h"

#include <string.h>

#include "kernels/gemm.h"

/* The first scale that is coupled to scale b: that of the first column of the block of H in which b
 * begins. */
static size_t first_coupled(const oxp_block_scales *f, size_t b)
{
    for (size_t k = 0; k < f->block_count; k++)
        if (b * f->grid->block < f->blocks[k].first + f->blocks[k].count)
            return f->blocks[k].first / f->grid->block;
    return b;
}

bool oxp_block_scales_init(oxp_block_scales *f, oxp_arena *arena, const oxp_block_grid *grid,
                           const oxp_round_block *blocks, size_t block_count, size_t columns,
                           size_t rows)
{
    size_t widest = 0;
    *f = (oxp_block_scales){.grid = grid,
                            .blocks = blocks,
                            .block_count = block_count,
                            .columns = columns,
                            .scale_count = oxp_block_grid_blocks(grid, columns),
                            .rows = rows};
    for (size_t k = 0; k < block_count; k++)
        widest = blocks[k].count > widest ? blocks[k].count : widest;
    for (size_t b = 0; b < f->scale_count; b++) {
        size_t width = b - first_coupled(f, b) + 1;
        f->band = width > f->band ? width : f->band;
    }
    f->codes = oxp_arena_alloc(arena, rows * columns, sizeof *f->codes);
    f->product = oxp_arena_alloc(arena, rows * widest, sizeof *f->product);
    f->matrix = oxp_arena_alloc(arena, rows * f->scale_count * f->band, sizeof *f->matrix);
    f->right = oxp_arena_alloc(arena, f->scale_count, sizeof *f->right);
    return f->codes && f->product && f->matrix && f->right;
}

/* Entry (a, b) of the band of a row's matrix, b <= a. */
static inline double *entry(const oxp_block_scales *f, double *matrix, size_t a, size_t b)
{
    return &matrix[a * f->band + (a - b)];
}

static double inner(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

/* Adds q_a^T H q_b for all a >= b, over the columns of one block of H. */
static void add_coupling(oxp_block_scales *f, size_t rows, const oxp_round_block *h, size_t b)
{
    size_t block = f->grid->block, end = h->first + h->count;
    size_t from = b * block > h->first ? b * block : h->first;
    size_t to = (b + 1) * block < end ? (b + 1) * block : end;
    oxp_gemm_shape s = {.m = rows,
                        .n = end - from,
                        .k = to - from,
                        .lda = f->columns,
                        .ldb = h->count,
                        .ldc = end - from};
    oxp_gemm(&s, 1, f->codes + from, h->h + (from - h->first) * h->count + (from - h->first), 0,
             f->product);
    for (size_t a = b; a * block < end; a++) {
        size_t first = a * block > from ? a * block : from;
        size_t last = (a + 1) * block < end ? (a + 1) * block : end;
        for (size_t r = 0; r < rows; r++)
            *entry(f, f->matrix + r * f->scale_count * f->band, a, b) +=
                inner(f->codes + r * f->columns + first,
                      f->product + r * (end - from) + (first - from), last - first);
    }
}

static void fill_matrices(oxp_block_scales *f, size_t rows, const oxp_block_codes *c)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < f->columns; i++)
            f->codes[r * f->columns + i] = (float)c->codes[r * f->columns + i] -
                                           (float)c->zeros[r * f->scale_count + i / f->grid->block];
    memset(f->matrix, 0, rows * f->scale_count * f->band * sizeof *f->matrix);
    for (size_t k = 0; k < f->block_count; k++) {
        const oxp_round_block *h = &f->blocks[k];
        for (size_t b = h->first / f->grid->block; b * f->grid->block < h->first + h->count; b++)
            add_coupling(f, rows, h, b);
    }
}

/* The factor of the band in place, row by row; a scale that the ones before it make superfluous
 * (or whose codes are all zero) gets a pivot of infinity: it does not move. */
static void factor_band(const oxp_block_scales *f, double *m)
{
    for (size_t a = 0; a < f->scale_count; a++) {
        size_t first = a + 1 > f->band ? a + 1 - f->band : 0;
        double size = *entry(f, m, a, a), pivot = size;
        for (size_t b = first; b < a; b++) {
            size_t from = b + 1 > f->band ? b + 1 - f->band : 0;
            double sum = *entry(f, m, a, b);
            for (size_t k = from > first ? from : first; k < b; k++)
                sum -= *entry(f, m, a, k) * *entry(f, m, b, k);
            sum /= *entry(f, m, b, b);
            *entry(f, m, a, b) = sum;
            pivot -= sum * sum;
        }
        *entry(f, m, a, a) = pivot > 1e-9 * size ? sqrt(pivot) : INFINITY;
    }
}

static void solve_band(const oxp_block_scales *f, double *m, double *x)
{
    for (size_t a = 0; a < f->scale_count; a++) {
        for (size_t b = a + 1 > f->band ? a + 1 - f->band : 0; b < a; b++)
            x[a] -= *entry(f, m, a, b) * x[b];
        x[a] /= *entry(f, m, a, a);
    }
    for (size_t a = f->scale_count; a-- > 0;) {
        x[a] /= *entry(f, m, a, a);
        for (size_t b = a + 1 > f->band ? a + 1 - f->band : 0; b < a; b++)
            x[b] -= *entry(f, m, a, b) * x[a];
    }
}

static float moved(const oxp_block_grid *g, float scale, double by)
{
    double ratio = ((double)scale + by) / (double)scale;
    return ratio > 0.5 && ratio < 2 ? oxp_block_scale(g, (float)((double)scale + by)) : scale;
}

void oxp_block_scales_fit(oxp_block_scales *f, size_t rows, const oxp_block_codes *c,
                          const float *he)
{
    fill_matrices(f, rows, c);
    for (size_t r = 0; r < rows; r++) {
        double *m = f->matrix + r * f->scale_count * f->band;
        float *scales = c->scales + r * f->scale_count;
        for (size_t b = 0; b < f->scale_count; b++) {
            size_t first = b * f->grid->block, left = f->columns - first,
                   at = r * f->columns + first;
            f->right[b] =
                inner(f->codes + at, he + at, left < f->grid->block ? left : f->grid->block);
        }
        factor_band(f, m);
        solve_band(f, m, f->right);
        for (size_t b = 0; b < f->scale_count; b++)
            scales[b] = moved(f->grid, scales[b], f->right[b]);
    }
}
