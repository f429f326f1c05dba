/* prune_resolve.c - the least squares of prune.h: for each row and block a Cholesky factor of H on
 * what stays, in float, and solutions of the residual in double until float is exact. */
#include <math.h>

#include "kernels/factor.h"
#include "kernels/prune.h"
#include "kernels/rows.h"

#define REFINEMENTS 3 /* solutions with the float factor, each of what the one before left */

typedef struct solver { /* of one block of H */
    const oxp_moment_block *block;
    uint32_t *support; /* [count] */
    size_t size;       /* of the support */
    float *factor;     /* [size, size] */
    double *error;     /* [count]: w - out */
    double *gradient;  /* [size] */
    double *solution;  /* [count] */
} solver;

/* Rounding may leave a pivot that is not positive: then what is added to the diagonal makes the
 * refinements slower, not the result another. */
static bool factor_support(solver *s)
{
    size_t n = s->block->count, m = s->size;
    const float *h = s->block->h;
    float largest = 0;
    for (size_t i = 0; i < m; i++)
        largest = fmaxf(largest, h[s->support[i] * n + s->support[i]]);
    for (float added = 0; added<1; added = added> 0 ? 10 * added : 1e-6f) {
        for (size_t i = 0; i < m; i++) {
            const float *row = &h[s->support[i] * n];
            for (size_t j = 0; j <= i; j++)
                s->factor[i * m + j] = row[s->support[j]];
            s->factor[i * m + i] += added * largest;
        }
        if (oxp_cholesky(s->factor, m))
            return true;
    }
    return false;
}

/* gradient -> factor^-T factor^-1 gradient, in place. */
static void solve(const solver *s)
{
    double *x = s->gradient;
    size_t m = s->size;
    for (size_t i = 0; i < m; i++)
        x[i] = (x[i] - oxp_row_dot_float(&s->factor[i * m], x, i)) / (double)s->factor[i * m + i];
    for (size_t i = m; i-- > 0;) {
        x[i] /= (double)s->factor[i * m + i];
        oxp_row_add_float(x, &s->factor[i * m], -x[i], i);
    }
}

/* One row, columns of the block: w, kept and out begin there. */
static bool resolve_row(solver *s, const float *w, const uint8_t *kept, float *out)
{
    size_t n = s->block->count;
    s->size = 0;
    for (size_t j = 0; j < n; j++) {
        s->solution[j] = kept[j] ? (double)w[j] : 0;
        if (kept[j])
            s->support[s->size++] = (uint32_t)j;
    }
    if (s->size > 0 && s->size < n) {
        if (!factor_support(s))
            return false;
        for (int round = 0; round < REFINEMENTS; round++) {
            for (size_t j = 0; j < n; j++)
                s->error[j] = (double)w[j] - s->solution[j];
            for (size_t i = 0; i < s->size; i++)
                s->gradient[i] = oxp_row_dot_float(&s->block->h[s->support[i] * n], s->error, n);
            solve(s);
            for (size_t i = 0; i < s->size; i++)
                s->solution[s->support[i]] += s->gradient[i];
        }
    }
    for (size_t j = 0; j < n; j++)
        out[j] = (float)s->solution[j];
    return true;
}

static oxp_status resolve_block(solver *s, oxp_arena *arena, const oxp_prune_layer *l,
                                const uint8_t *kept, float *out)
{
    size_t n = s->block->count;
    s->support = oxp_arena_alloc(arena, n, sizeof *s->support);
    s->factor = oxp_arena_alloc(arena, n * n, sizeof *s->factor);
    s->error = oxp_arena_alloc(arena, 3 * n, sizeof *s->error);
    if (!s->support || !s->factor || !s->error)
        return OXP_ELIMIT;
    s->gradient = s->error + n;
    s->solution = s->gradient + n;
    for (size_t r = 0; r < l->rows; r++) {
        size_t at = r * l->columns + s->block->first;
        if (!resolve_row(s, l->w + at, kept + at, out + at))
            return oxp_fail(arena->ctx, OXP_EINTERNAL, "E-FACTOR",
                            "second moments of columns %zu to %zu are not positive definite",
                            s->block->first, s->block->first + n);
    }
    return OXP_OK;
}

oxp_status oxp_prune_resolve(float *out, oxp_ctx *ctx, const oxp_prune_layer *l,
                             const uint8_t *kept)
{
    for (size_t k = 0; k < l->block_count; k++) {
        oxp_arena arena;
        oxp_arena_init(&arena, ctx);
        solver s = {.block = &l->blocks[k]};
        oxp_status status = resolve_block(&s, &arena, l, kept, out);
        oxp_arena_free(&arena);
        OXP_TRY(status);
    }
    return OXP_OK;
}

double oxp_prune_error(const oxp_prune_layer *l, size_t row, const float *out)
{
    double sum = 0;
    const float *w = l->w + row * l->columns;
    for (size_t k = 0; k < l->block_count; k++) {
        const oxp_moment_block *b = &l->blocks[k];
        for (size_t i = 0; i < b->count; i++) {
            const float *h = &b->h[i * b->count];
            double product = 0;
            for (size_t j = 0; j < b->count; j++)
                product += (double)h[j] * ((double)w[b->first + j] - (double)out[b->first + j]);
            sum += product * ((double)w[b->first + i] - (double)out[b->first + i]);
        }
    }
    return sum;
}
