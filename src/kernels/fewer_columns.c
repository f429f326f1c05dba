/* fewer_columns.c - see fewer_columns.h. Right sides stand as [kept, rows], so that a row of the
 * factor is applied to all rows of the weight at once. */
#include "kernels/fewer_columns.h"

#include <math.h>
#include <string.h>

#include "kernels/factor.h"
#include "kernels/gemm.h"
#include "kernels/vector.h"

#define BLOCK 64 /* rows of the factor whose products with earlier ones are one matrix product */

typedef struct solver {
    const oxp_fewer_columns *f;
    float *factor; /* [kept, kept] */
    float *right;  /* [kept, rows] */
    float *moved;  /* [columns, rows]: H W^T */
    float ridge;   /* absolute */
} solver;

OXP_VECTORISED static void subtract_multiple(float *restrict to, const float *restrict row,
                                             float factor, size_t n)
{
    for (size_t j = 0; j < n; j++)
        to[j] -= factor * row[j];
}

static void divide(float *row, float by, size_t n)
{
    for (size_t j = 0; j < n; j++)
        row[j] /= by;
}

/* right = factor^-1 right */
static void solve_down(const solver *s)
{
    size_t n = s->f->kept_count, rows = s->f->rows;
    for (size_t b = 0; b < n; b += BLOCK) {
        size_t end = b + BLOCK < n ? b + BLOCK : n;
        oxp_gemm_shape shape = {
            .m = end - b, .n = rows, .k = b, .lda = n, .ldb = rows, .ldc = rows};
        if (b)
            oxp_gemm(&shape, -1, s->factor + b * n, s->right, 1, s->right + b * rows);
        for (size_t i = b; i < end; i++) {
            for (size_t j = b; j < i; j++)
                subtract_multiple(s->right + i * rows, s->right + j * rows, s->factor[i * n + j],
                                  rows);
            divide(s->right + i * rows, s->factor[i * n + i], rows);
        }
    }
}

/* right = factor^-T right */
static void solve_up(const solver *s)
{
    size_t n = s->f->kept_count, rows = s->f->rows;
    for (size_t end = n; end > 0;) {
        size_t b = end > BLOCK ? end - BLOCK : 0;
        oxp_gemm_shape shape = {.trans_a = true,
                                .m = end - b,
                                .n = rows,
                                .k = n - end,
                                .lda = n,
                                .ldb = rows,
                                .ldc = rows};
        if (end < n)
            oxp_gemm(&shape, -1, s->factor + end * n + b, s->right + end * rows, 1,
                     s->right + b * rows);
        for (size_t i = end; i-- > b;) {
            for (size_t j = i + 1; j < end; j++)
                subtract_multiple(s->right + i * rows, s->right + j * rows, s->factor[j * n + i],
                                  rows);
            divide(s->right + i * rows, s->factor[i * n + i], rows);
        }
        end = b;
    }
}

/* H W^T, [columns, rows] */
static void move(const solver *s, const float *w)
{
    size_t n = s->f->columns;
    oxp_gemm_shape shape = oxp_gemm_plain(false, true, n, s->f->rows, n);
    oxp_gemm(&shape, 1, s->f->h, w, 0, s->moved);
}

static void set_right(const solver *s)
{
    const oxp_fewer_columns *f = s->f;
    move(s, f->w);
    for (size_t i = 0; i < f->kept_count; i++)
        for (size_t r = 0; r < f->rows; r++)
            s->right[i * f->rows + r] =
                s->moved[f->kept[i] * f->rows + r] + s->ridge * f->w[r * f->columns + f->kept[i]];
}

/* False when H is of no use. */
static bool set_factor(solver *s, float more)
{
    const oxp_fewer_columns *f = s->f;
    double trace = 0;
    for (size_t i = 0; i < f->columns; i++)
        trace += (double)f->h[i * (f->columns + 1)];
    s->ridge = more * f->ridge * (float)(trace / (double)f->columns);
    if (!(trace > 0) || !isfinite(trace))
        return false;
    for (size_t i = 0; i < f->kept_count; i++) {
        const float *row = &f->h[f->kept[i] * f->columns];
        for (size_t j = 0; j <= i; j++)
            s->factor[i * f->kept_count + j] = row[f->kept[j]];
        s->factor[i * f->kept_count + i] += s->ridge;
    }
    return oxp_cholesky(s->factor, f->kept_count);
}

static void write(const solver *s, float *out, bool solved)
{
    const oxp_fewer_columns *f = s->f;
    memset(out, 0, f->rows * f->columns * sizeof *out);
    for (size_t i = 0; i < f->kept_count; i++)
        for (size_t r = 0; r < f->rows; r++)
            out[r * f->columns + f->kept[i]] =
                solved ? s->right[i * f->rows + r] : f->w[r * f->columns + f->kept[i]];
}

oxp_status oxp_fewer_columns_fit(float *out, oxp_ctx *ctx, const oxp_fewer_columns *f)
{
    oxp_arena arena;
    oxp_arena_init(&arena, ctx);
    solver s = {.f = f};
    s.factor = oxp_arena_alloc(&arena, f->kept_count * f->kept_count, sizeof *s.factor);
    s.right = oxp_arena_alloc(&arena, f->kept_count * f->rows, sizeof *s.right);
    s.moved = oxp_arena_alloc(&arena, f->columns * f->rows, sizeof *s.moved);
    bool enough = s.factor && s.right && s.moved, solved = false;
    for (float more = 1; enough && !solved && more < 1e4f; more *= 10)
        solved = set_factor(&s, more);
    if (solved) {
        set_right(&s);
        solve_down(&s);
        solve_up(&s);
    }
    if (enough)
        write(&s, out, solved);
    oxp_arena_free(&arena);
    return enough ? OXP_OK : OXP_ELIMIT;
}

oxp_status oxp_fewer_columns_error(double *error, oxp_ctx *ctx, const oxp_fewer_columns *f,
                                   const float *out)
{
    oxp_arena arena;
    oxp_arena_init(&arena, ctx);
    size_t count = f->rows * f->columns;
    solver s = {.f = f};
    float *e = oxp_arena_alloc(&arena, count, sizeof *e);
    s.moved = oxp_arena_alloc(&arena, count, sizeof *s.moved);
    bool enough = e && s.moved;
    if (enough) {
        for (size_t i = 0; i < count; i++)
            e[i] = f->w[i] - out[i];
        move(&s, e);
        *error = 0;
        for (size_t r = 0; r < f->rows; r++)
            for (size_t c = 0; c < f->columns; c++)
                *error += (double)e[r * f->columns + c] * (double)s.moved[c * f->rows + r];
    }
    oxp_arena_free(&arena);
    return enough ? OXP_OK : OXP_ELIMIT;
}
