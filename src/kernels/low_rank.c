/* low_rank.c - see low_rank.h. */
#include "kernels/low_rank.h"

#include <math.h>
#include <string.h>

#include "kernels/eigen.h"
#include "kernels/rows.h"

/* An eigenvalue or pivot below this share of the largest is what rounding left of zero. */
#define NOTHING 1e-13

/* out[columns] = H x */
static void times_h(double *out, const oxp_low_rank *d, const double *x)
{
    memset(out, 0, d->columns * sizeof *out);
    for (size_t k = 0; k < d->block_count; k++) {
        const oxp_moment_block *b = &d->blocks[k];
        for (size_t j = 0; j < b->count; j++)
            oxp_row_add_float(out + b->first, b->h + j * b->count, x[b->first + j], b->count);
    }
}

/* root: upper triangular R, R^T R = W^T W. Where a pivot vanishes so does the rest of its row. */
static void factor_columns(oxp_low_rank *d)
{
    size_t n = d->columns;
    double *g = d->root, largest = 0;
    for (size_t r = 0; r < d->rows; r++)
        for (size_t i = 0; i < n; i++)
            oxp_row_add_float(&g[i * n + i], &d->w[r * n + i], (double)d->w[r * n + i], n - i);
    for (size_t i = 0; i < n; i++)
        largest = fmax(largest, g[i * n + i]);
    for (size_t i = 0; i < n; i++) {
        double *row = &g[i * n], pivot = row[i];
        bool is_nothing = !(pivot > NOTHING * largest);
        double scale = is_nothing ? 0 : 1 / sqrt(pivot);
        for (size_t j = i; j < n; j++)
            row[j] *= scale;
        for (size_t k = i + 1; k < n && !is_nothing; k++)
            oxp_row_add(&g[k * n + k], &row[k], -row[k], n - k);
    }
}

static void fill_root(oxp_low_rank *d)
{
    if (d->rows > d->columns) {
        factor_columns(d);
        return;
    }
    for (size_t i = 0; i < d->rows * d->columns; i++)
        d->root[i] = (double)d->w[i];
}

oxp_status oxp_low_rank_decompose(oxp_low_rank *d, oxp_arena *arena)
{
    size_t n = d->size = d->rows < d->columns ? d->rows : d->columns;
    d->values = oxp_arena_alloc(arena, n, sizeof *d->values);
    d->vectors = oxp_arena_alloc(arena, n * n, sizeof *d->vectors);
    d->root = oxp_arena_alloc(arena, n * d->columns, sizeof *d->root);
    double *product = oxp_arena_alloc(arena, d->columns, sizeof *product);
    if (!d->values || !d->vectors || !d->root || !product)
        return OXP_ELIMIT;
    fill_root(d);
    for (size_t i = 0; i < n; i++) {
        times_h(product, d, &d->root[i * d->columns]);
        for (size_t j = 0; j <= i; j++)
            d->vectors[i * n + j] = oxp_row_dot(product, &d->root[j * d->columns], d->columns);
    }
    OXP_TRY(oxp_eigen(d->vectors, d->values, arena->ctx, n));
    for (size_t i = 0; i < n; i++)
        d->values[i] = d->values[i] > NOTHING * d->values[0] ? d->values[i] : 0;
    return OXP_OK;
}

double oxp_low_rank_error(const oxp_low_rank *d, size_t rank)
{
    double sum = 0;
    for (size_t i = d->size; i-- > rank;) /* the smallest first */
        sum += d->values[i];
    return sum;
}

size_t oxp_low_rank_for_energy(const oxp_low_rank *d, double share)
{
    double all = oxp_low_rank_error(d, 0), left = 0;
    size_t rank = d->size;
    while (rank > 1 && left + d->values[rank - 1] <= (1 - share) * all)
        left += d->values[--rank];
    return rank;
}

/* Column k of left is W H R^T u_k / value_k (U itself where R is W); row k of right u_k^T R. The
 * fourth root of value_k moves from one to the other. */
static void fill_left(float *left, const oxp_low_rank *d, size_t rank, double *x)
{
    double *hx = x + d->columns, *image = hx + d->columns;
    for (size_t r = 0; r < d->rows; r++) {
        for (size_t j = 0; j < d->columns; j++)
            x[j] = (double)d->w[r * d->columns + j];
        times_h(hx, d, x);
        for (size_t i = 0; i < d->size; i++)
            image[i] = oxp_row_dot(&d->root[i * d->columns], hx, d->columns);
        for (size_t k = 0; k < rank; k++) {
            double value = d->values[k];
            double sum = oxp_row_dot(image, &d->vectors[k * d->size], d->size);
            left[r * rank + k] = value > 0 ? (float)(sum / value * sqrt(sqrt(value))) : 0;
        }
    }
}

oxp_status oxp_low_rank_factors(float *left, float *right, oxp_ctx *ctx, const oxp_low_rank *d,
                                size_t rank)
{
    double *x;
    OXP_TRY(oxp_alloc(&x, ctx, 2 * d->columns + d->size, sizeof *x, "rows of a weight"));
    for (size_t k = 0; k < rank; k++) {
        double root = sqrt(sqrt(d->values[k]));
        memset(x, 0, d->columns * sizeof *x);
        for (size_t i = 0; i < d->size; i++)
            oxp_row_add(x, &d->root[i * d->columns], d->vectors[k * d->size + i], d->columns);
        for (size_t j = 0; j < d->columns; j++)
            right[k * d->columns + j] = root > 0 ? (float)(x[j] / root) : 0;
    }
    if (d->rows <= d->columns)
        for (size_t i = 0; i < d->rows * rank; i++) {
            size_t r = i / rank, k = i % rank;
            left[i] = (float)(d->vectors[k * d->size + r] * sqrt(sqrt(d->values[k])));
        }
    else
        fill_left(left, d, rank, x);
    oxp_free(x);
    return OXP_OK;
}
