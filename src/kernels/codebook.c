/* codebook.c - see codebook.h. */
#include "kernels/codebook.h"

#include <math.h>
#include <string.h>

#include "kernels/codebook_internal.h"
#include "kernels/factor.h"
#include "kernels/gemm.h"
#include "util/half.h"

#define MEANS_STEPS 20
#define MEANS_GAIN 1e-3                /* as a share, below which k-means ends */
#define MOST_VECTORS ((size_t)1 << 16) /* that k-means sees, at least 16 to a word */
#define VECTORS_PER_WORD ((size_t)16)
#define ROUNDS 4         /* of words, scales and descent */
#define ROUND_GAIN 2e-3  /* as a share, below which the rounds end */
#define GRADIENT_STEPS 8 /* of the words' least squares */
#define DAMPING 1e-4f    /* of the factor, for what rounding leaves of a pivot */
#define MOST_HALF 65504.0f

float oxp_word_half(float x)
{
    return oxp_half_to_float(oxp_float_to_half(fminf(fmaxf(x, -MOST_HALF), MOST_HALF)));
}

/* ---- decoding ---- */

void oxp_word_sum(float *out, const oxp_codebook *b, size_t row, size_t v)
{
    for (size_t k = 0; k < b->books; k++) {
        size_t index = b->indices[(k * b->rows + row) * oxp_codebook_vectors(b) + v];
        const float *word = &b->words[(k * b->size + index) * b->dim];
        for (size_t d = 0; d < b->dim; d++)
            out[d] += word[d];
    }
}

/* Rows of words as they are, times `scales` where given. */
static void decode(float *w, const oxp_codebook *b, const float *scales)
{
    for (size_t r = 0; r < b->rows; r++)
        for (size_t v = 0; v < oxp_codebook_vectors(b); v++) {
            float sum[OXP_CODEBOOK_DIM_MAX] = {0};
            oxp_word_sum(sum, b, r, v);
            for (size_t d = 0; d < oxp_word_width(b, v); d++)
                w[r * b->columns + v * b->dim + d] = scales ? sum[d] * scales[r] : sum[d];
        }
}

void oxp_codebook_decode(float *w, const oxp_codebook *b)
{
    decode(w, b, b->scales);
}

/* ---- sums ---- */

void oxp_word_times_h(float *out, const float *x, const oxp_codebook_problem *p)
{
    size_t rows = p->rows / p->groups;
    if (!p->blocks) {
        memcpy(out, x, p->rows * p->columns * sizeof *out);
        return;
    }
    for (size_t g = 0; g < p->groups; g++)
        for (size_t k = 0; k < p->block_count; k++) {
            const oxp_moment_block *b = &p->blocks[g * p->block_count + k];
            size_t at = g * rows * p->columns + b->first;
            oxp_gemm_shape s = {.m = rows,
                                .n = b->count,
                                .k = b->count,
                                .lda = p->columns,
                                .ldb = b->count,
                                .ldc = p->columns};
            oxp_gemm(&s, 1, x + at, b->h, 0, out + at);
        }
}

static double inner(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

void oxp_word_residual(oxp_word_fit *f)
{
    decode(f->e, f->b, f->b->scales);
    for (size_t i = 0; i < f->b->rows * f->b->columns; i++)
        f->e[i] = f->p->w[i] - f->e[i];
    oxp_word_times_h(f->he, f->e, f->p);
}

double oxp_word_error(const oxp_word_fit *f)
{
    double total = 0;
    size_t n = f->b->columns;
    for (size_t r = 0; r < f->b->rows; r++)
        total += f->row_error[r] = inner(&f->e[r * n], &f->he[r * n], n);
    return total;
}

/* ---- a start: k-means ---- */

/* w_j / s and s^2 H_jj of evenly spread vectors; what words of earlier books hold is taken off. */
typedef struct training {
    float *vectors, *weights;
    size_t count;
} training;

static float diagonal(const oxp_codebook_problem *p, size_t group, size_t column)
{
    const oxp_moment_block *b = p->blocks ? &p->blocks[group * p->block_count] : NULL;
    for (size_t k = 0; b && k < p->block_count; k++)
        if (column < b[k].first + b[k].count)
            return b[k].h[(column - b[k].first) * (b[k].count + 1)];
    return 1;
}

static void add_training(training *t, const oxp_word_fit *f, size_t row, size_t v, size_t book)
{
    const oxp_codebook *b = f->b;
    float scale = b->scales[row], held[OXP_CODEBOOK_DIM_MAX] = {0};
    oxp_codebook before = *b;
    before.books = book;
    oxp_word_sum(held, &before, row, v);
    for (size_t d = 0; d < oxp_word_width(b, v); d++) {
        size_t column = v * b->dim + d, at = t->count * b->dim + d;
        t->vectors[at] = f->p->w[row * b->columns + column] / scale - held[d];
        t->weights[at] = scale * scale * diagonal(f->p, row / (b->rows / f->p->groups), column);
    }
    t->count++;
}

/* Weights of mean one: sums in float stay in range. */
static void level_weights(training *t, size_t dim)
{
    double total = 0;
    for (size_t i = 0; i < t->count * dim; i++)
        total += (double)t->weights[i];
    float factor = total > 0 ? (float)((double)(t->count * dim) / total) : 1;
    for (size_t i = 0; i < t->count * dim; i++)
        t->weights[i] *= factor;
}

static oxp_status make_training(training *t, const oxp_word_fit *f, oxp_arena *arena, size_t book)
{
    const oxp_codebook *b = f->b;
    size_t all = b->rows * f->vectors, most = VECTORS_PER_WORD * b->size;
    most = most < MOST_VECTORS ? MOST_VECTORS : most;
    size_t step = (all + most - 1) / most;
    *t = (training){.vectors = oxp_arena_alloc(arena, (all / step + 1) * b->dim, sizeof(float)),
                    .weights = oxp_arena_alloc(arena, (all / step + 1) * b->dim, sizeof(float))};
    if (!t->vectors || !t->weights)
        return OXP_ELIMIT;
    for (size_t i = 0; i < all; i += step)
        if (b->scales[i / f->vectors] > 0)
            add_training(t, f, i / f->vectors, i % f->vectors, book);
    level_weights(t, b->dim);
    return OXP_OK;
}

static oxp_status make_words(oxp_word_fit *f, oxp_arena *arena, size_t book)
{
    oxp_codebook *b = f->b;
    training t;
    double before = INFINITY, distortion = 0;
    float *words = b->words + book * b->size * b->dim;
    OXP_TRY(make_training(&t, f, arena, book));
    if (t.count == 0) /* nothing but zeros */
        return OXP_OK;
    oxp_means m = {t.vectors, t.weights, t.count, b->dim, words, b->size, NULL};
    m.index = oxp_arena_alloc(arena, t.count, sizeof *m.index);
    if (!m.index)
        return OXP_ELIMIT;
    OXP_TRY(oxp_means_seed(&m, f->ctx, f->p->seed + book));
    for (int i = 0; i < MEANS_STEPS && !(before - distortion <= MEANS_GAIN * before); i++) {
        before = i > 0 ? distortion : INFINITY;
        OXP_TRY(oxp_means_step(&m, f->ctx, &distortion));
    }
    for (size_t i = 0; i < m.size * b->dim; i++)
        words[i] = oxp_word_half(words[i]);
    return OXP_OK;
}

static void set_scales(oxp_codebook *b, const float *w)
{
    for (size_t r = 0; r < b->rows; r++) {
        const float *row = &w[r * b->columns];
        b->scales[r] = oxp_word_half((float)sqrt(inner(row, row, b->columns) / (double)b->columns));
    }
}

static oxp_status start(oxp_word_fit *f)
{
    size_t books = f->b->books;
    set_scales(f->b, f->p->w);
    for (size_t k = 0; k < books; k++) {
        oxp_arena_mark mark = oxp_arena_mark_now(f->arena);
        oxp_status status = make_words(f, f->arena, k);
        oxp_arena_release(f->arena, mark);
        f->b->books = k + 1; /* the next book is trained on what these leave */
        if (status == OXP_OK)
            status = oxp_word_nearest(f);
        f->b->books = books;
        OXP_TRY(status);
    }
    return OXP_OK;
}

/* ---- the factor ---- */

static bool factor_block(float *out, const oxp_moment_block *b, float added)
{
    size_t n = b->count;
    memcpy(out, b->h, n * n * sizeof *out);
    for (size_t i = 0; i < n; i++)
        out[i * n + i] += added;
    if (!oxp_cholesky(out, n))
        return false;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++)
            out[i * n + j] /= out[j * n + j];
    for (size_t i = 0; i < n; i++)
        out[i * n + i] *= out[i * n + i];
    return true;
}

/* L and D of every block; *done is false where one has none. */
static oxp_status make_factors(oxp_word_fit *f, bool *done)
{
    size_t count = f->p->groups * f->p->block_count;
    *done = true;
    f->factors = oxp_arena_alloc(f->arena, count + 1, sizeof *f->factors);
    for (size_t k = 0; f->factors && k < count && *done; k++) {
        const oxp_moment_block *b = &f->p->blocks[k];
        double trace = 0;
        for (size_t i = 0; i < b->count; i++)
            trace += (double)b->h[i * (b->count + 1)];
        float mean = (float)(trace / (double)b->count);
        f->factors[k] = oxp_arena_alloc(f->arena, b->count * b->count, sizeof(float));
        if (!f->factors[k])
            return OXP_ELIMIT;
        *done = false;
        for (float d = DAMPING; !*done && d < 1e3f && mean > 0; d *= 10)
            *done = factor_block(f->factors[k], b, d * mean);
    }
    return f->factors ? OXP_OK : OXP_ELIMIT;
}

/* ---- better words ---- */

/* to[books, size, dim] += A^T z: what each word is asked for, z [rows, columns]. */
static void gather(double *to, const oxp_codebook *b, const float *z)
{
    size_t vectors = oxp_codebook_vectors(b);
    memset(to, 0, b->books * b->size * b->dim * sizeof *to);
    for (size_t k = 0; k < b->books; k++)
        for (size_t r = 0; r < b->rows; r++)
            for (size_t v = 0; v < vectors; v++) {
                size_t index = b->indices[(k * b->rows + r) * vectors + v];
                double *word = &to[(k * b->size + index) * b->dim];
                for (size_t d = 0; d < oxp_word_width(b, v); d++)
                    word[d] += (double)(b->scales[r] * z[r * b->columns + v * b->dim + d]);
            }
}

/* diagonal of A^T H A */
static void gather_diagonal(double *to, oxp_word_fit *f)
{
    const oxp_codebook *b = f->b;
    for (size_t r = 0; r < b->rows; r++)
        for (size_t c = 0; c < b->columns; c++)
            f->x[r * b->columns + c] =
                b->scales[r] * diagonal(f->p, r / (b->rows / f->p->groups), c);
    gather(to, b, f->x);
}

typedef struct gradients { /* [books, size, dim] each */
    double *left, *step, *image, *diagonal, *sum;
    float *old, *words;
    size_t n;
} gradients;

static double product(const double *a, const double *b, const double *over, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += over && !(over[i] > 0) ? 0 : a[i] * b[i] / (over ? over[i] : 1);
    return sum;
}

/* One step of conjugate gradients; false when there is nothing left to gain. */
static bool step_words(gradients *g, oxp_word_fit *f, double *size)
{
    oxp_codebook moved = *f->b;
    moved.words = g->words;
    for (size_t i = 0; i < g->n; i++)
        g->words[i] = (float)g->step[i];
    decode(f->x, &moved, f->b->scales);
    oxp_word_times_h(f->hx, f->x, f->p);
    gather(g->image, f->b, f->hx);
    double curve = product(g->step, g->image, NULL, g->n);
    if (!(curve > 0))
        return false;
    double length = *size / curve;
    for (size_t i = 0; i < g->n; i++) {
        g->sum[i] += length * g->step[i];
        g->left[i] -= length * g->image[i];
    }
    double next = product(g->left, g->left, g->diagonal, g->n), turn = next / *size;
    for (size_t i = 0; i < g->n; i++)
        g->step[i] = turn * g->step[i] + (g->diagonal[i] > 0 ? g->left[i] / g->diagonal[i] : 0);
    *size = next;
    return next > 0;
}

static bool make_gradients(gradients *g, oxp_word_fit *f)
{
    size_t n = g->n = f->b->books * f->b->size * f->b->dim;
    g->left = oxp_arena_alloc(f->arena, n, sizeof *g->left);
    g->step = oxp_arena_alloc(f->arena, n, sizeof *g->step);
    g->image = oxp_arena_alloc(f->arena, n, sizeof *g->image);
    g->diagonal = oxp_arena_alloc(f->arena, n, sizeof *g->diagonal);
    g->sum = oxp_arena_alloc(f->arena, n, sizeof *g->sum);
    g->old = oxp_arena_alloc(f->arena, n, sizeof *g->old);
    g->words = oxp_arena_alloc(f->arena, n, sizeof *g->words);
    return g->left && g->step && g->image && g->diagonal && g->sum && g->old && g->words;
}

/* The words of least sum for the indices and scales as they are, in half precision; the old ones
 * where those are better. */
static void refit_words(gradients *g, oxp_word_fit *f, double *error)
{
    memcpy(g->old, f->b->words, g->n * sizeof *g->old);
    memset(g->sum, 0, g->n * sizeof *g->sum);
    gather_diagonal(g->diagonal, f);
    gather(g->left, f->b, f->he);
    for (size_t i = 0; i < g->n; i++)
        g->step[i] = g->diagonal[i] > 0 ? g->left[i] / g->diagonal[i] : 0;
    double size = product(g->left, g->left, g->diagonal, g->n);
    for (int i = 0; i < GRADIENT_STEPS && size > 0; i++)
        if (!step_words(g, f, &size))
            break;
    for (size_t i = 0; i < g->n; i++)
        f->b->words[i] = oxp_word_half((float)((double)g->old[i] + g->sum[i]));
    oxp_word_residual(f);
    double now = oxp_word_error(f);
    if (now < *error) {
        *error = now;
        return;
    }
    memcpy(f->b->words, g->old, g->n * sizeof *g->old);
    oxp_word_residual(f);
    *error = oxp_word_error(f);
}

/* s + q^T H e / q^T H q, row by row. */
static void refit_scales(oxp_word_fit *f, double *error)
{
    size_t n = f->b->columns;
    decode(f->x, f->b, NULL);
    oxp_word_times_h(f->hx, f->x, f->p);
    for (size_t r = 0; r < f->b->rows; r++) {
        float *e = &f->e[r * n], *he = &f->he[r * n], *s = &f->b->scales[r];
        const float *q = &f->x[r * n], *hq = &f->hx[r * n];
        double curve = inner(q, hq, n), slope = inner(q, he, n);
        if (!(curve > 0) || !(*s > 0))
            continue;
        float scale = oxp_word_half((float)((double)*s + slope / curve));
        double moved = (double)(scale - *s), change = moved * (moved * curve - 2 * slope);
        if (!(scale > 0) || !(change < 0))
            continue;
        for (size_t i = 0; i < n; i++) {
            e[i] -= (scale - *s) * q[i];
            he[i] -= (scale - *s) * hq[i];
        }
        *s = scale;
    }
    *error = oxp_word_error(f);
}

static oxp_status refine(oxp_word_fit *f, double *error)
{
    gradients g;
    if (!make_gradients(&g, f))
        return OXP_ELIMIT;
    for (int i = 0; i<ROUNDS && * error> 0; i++) {
        double before = *error, gain;
        refit_words(&g, f, error);
        refit_scales(f, error);
        OXP_TRY(oxp_word_descend(f, &gain));
        oxp_word_residual(f);
        *error = oxp_word_error(f);
        if (before - *error < ROUND_GAIN * before)
            break;
    }
    return OXP_OK;
}

/* ---- the whole ---- */

static bool make_fit(oxp_word_fit *f)
{
    oxp_codebook *b = f->b;
    size_t cells = b->rows * b->columns;
    b->words = oxp_arena_alloc(f->arena, b->books * b->size * b->dim, sizeof *b->words);
    b->indices = oxp_arena_alloc(f->arena, b->books * b->rows * f->vectors, sizeof *b->indices);
    b->scales = oxp_arena_alloc(f->arena, b->rows, sizeof *b->scales);
    return b->words && b->indices && b->scales && cells > 0;
}

static bool make_scratch(oxp_word_fit *f, oxp_arena *scratch)
{
    const oxp_codebook *b = f->b;
    size_t cells = b->rows * b->columns;
    f->arena = scratch;
    f->e = oxp_arena_alloc(scratch, cells, sizeof *f->e);
    f->he = oxp_arena_alloc(scratch, cells, sizeof *f->he);
    f->x = oxp_arena_alloc(scratch, cells, sizeof *f->x);
    f->hx = oxp_arena_alloc(scratch, cells, sizeof *f->hx);
    f->linear = oxp_arena_alloc(scratch, 2 * b->rows * b->dim, sizeof *f->linear);
    f->quad = oxp_arena_alloc(scratch, b->books * b->size, sizeof *f->quad);
    f->index = oxp_arena_alloc(scratch, b->books * b->rows, sizeof *f->index);
    f->row_error = oxp_arena_alloc(scratch, b->rows, sizeof *f->row_error);
    return f->e && f->he && f->x && f->hx && f->linear && f->quad && f->index && f->row_error;
}

/* The sweep's indices in the rows where it is better than the first ones. */
static oxp_status take_sweep(oxp_word_fit *f, double *error)
{
    const oxp_codebook *b = f->b;
    size_t count = b->books * b->rows * f->vectors;
    uint16_t *first = oxp_arena_alloc(f->arena, count, sizeof *first);
    double *errors = oxp_arena_alloc(f->arena, b->rows, sizeof *errors);
    if (!first || !errors)
        return OXP_ELIMIT;
    memcpy(first, b->indices, count * sizeof *first);
    memcpy(errors, f->row_error, b->rows * sizeof *errors);
    OXP_TRY(oxp_word_sweep(f));
    oxp_word_residual(f);
    oxp_word_error(f);
    for (size_t k = 0; k < b->books; k++)
        for (size_t r = 0; r < b->rows; r++)
            if (!(f->row_error[r] < errors[r]))
                memcpy(&b->indices[(k * b->rows + r) * f->vectors],
                       &first[(k * b->rows + r) * f->vectors], f->vectors * sizeof *first);
    oxp_word_residual(f);
    *error = oxp_word_error(f);
    return OXP_OK;
}

static oxp_status fit(oxp_word_fit *f, double *error)
{
    bool factored = false;
    OXP_TRY(start(f));
    oxp_word_residual(f);
    *error = oxp_word_error(f);
    if (f->p->effort == OXP_CODEBOOK_NEAREST)
        return OXP_OK;
    if (f->p->blocks)
        OXP_TRY(make_factors(f, &factored));
    if (factored)
        OXP_TRY(take_sweep(f, error));
    return f->p->effort == OXP_CODEBOOK_SWEPT ? OXP_OK : refine(f, error);
}

oxp_status oxp_codebook_fit(oxp_codebook *out, double *error, oxp_arena *arena,
                            const oxp_codebook_problem *p)
{
    out->rows = p->rows;
    out->columns = p->columns;
    size_t vectors = oxp_codebook_vectors(out);
    if (out->size > p->rows * vectors)
        out->size = p->rows * vectors;
    oxp_word_fit f = {.p = p, .b = out, .ctx = arena->ctx, .arena = arena, .vectors = vectors};
    if (!make_fit(&f))
        return OXP_ELIMIT;
    oxp_arena scratch;
    oxp_arena_init(&scratch, arena->ctx);
    oxp_status status = make_scratch(&f, &scratch) ? fit(&f, error) : OXP_ELIMIT;
    oxp_arena_free(&scratch);
    return status;
}

oxp_status oxp_codebook_error(double *error, oxp_ctx *ctx, const oxp_codebook *b,
                              const oxp_codebook_problem *p)
{
    oxp_codebook copy = *b;
    oxp_arena scratch;
    oxp_word_fit f = {.p = p, .b = &copy, .ctx = ctx, .vectors = oxp_codebook_vectors(b)};
    oxp_arena_init(&scratch, ctx);
    bool enough = make_scratch(&f, &scratch);
    if (enough) {
        oxp_word_residual(&f);
        *error = oxp_word_error(&f);
    }
    oxp_arena_free(&scratch);
    return enough ? OXP_OK : OXP_ELIMIT;
}
