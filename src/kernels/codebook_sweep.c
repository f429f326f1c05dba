/* codebook_sweep.c - choosing the words of vectors, see codebook.h.
 *
 * All rows of a group choose the word of the same columns at once: the cost of word c is
 * c^T Q c / 2 - linear . c, Q the same for all rows. With two books one is chosen while the other
 * stays, in turn. */
#include <math.h>
#include <string.h>

#include "kernels/codebook_internal.h"
#include "kernels/gemm.h"

#define DIM OXP_CODEBOOK_DIM_MAX
#define TURNS 3 /* of the two books */

typedef struct choice { /* one vector, of the rows of one group */
    oxp_word_fit *f;
    size_t v, column, width;
    size_t group, first, rows;
    double q[DIM * DIM]; /* [dim, dim] */
} choice;

static choice choice_at(oxp_word_fit *f, size_t group, size_t v)
{
    size_t rows = f->b->rows / f->p->groups;
    return (choice){.f = f,
                    .v = v,
                    .column = v * f->b->dim,
                    .width = oxp_word_width(f->b, v),
                    .group = group,
                    .first = group * rows,
                    .rows = rows};
}

static const oxp_moment_block *blocks_of(const choice *c)
{
    return c->f->p->blocks ? &c->f->p->blocks[c->group * c->f->p->block_count] : NULL;
}

/* Where column `column` + d stands in a block, or SIZE_MAX. */
static size_t place_in(const oxp_moment_block *b, size_t column)
{
    return column >= b->first && column < b->first + b->count ? column - b->first : SIZE_MAX;
}

/* The square piece of H, or of its factors, that the vector's columns meet; zero between blocks. */
static void cut_out(double out[DIM * DIM], const choice *c, float *const *factors)
{
    const oxp_moment_block *blocks = blocks_of(c);
    size_t dim = c->f->b->dim;
    memset(out, 0, DIM * DIM * sizeof *out);
    for (size_t k = 0; k < c->f->p->block_count; k++) {
        const float *m = factors ? factors[k] : blocks[k].h;
        for (size_t i = 0; i < c->width; i++)
            for (size_t j = 0; j < c->width; j++) {
                size_t a = place_in(&blocks[k], c->column + i);
                size_t b = place_in(&blocks[k], c->column + j);
                if (a != SIZE_MAX && b != SIZE_MAX)
                    out[i * dim + j] = (double)m[a * blocks[k].count + b];
            }
    }
}

static void cut_out_h(double out[DIM * DIM], const choice *c)
{
    size_t dim = c->f->b->dim;
    if (c->f->p->blocks) {
        cut_out(out, c, NULL);
        return;
    }
    memset(out, 0, DIM * DIM * sizeof *out);
    for (size_t i = 0; i < c->width; i++)
        out[i * dim + i] = 1;
}

/* ---- the choice ---- */

static void fill_quads(choice *c)
{
    const oxp_codebook *b = c->f->b;
    for (size_t k = 0; k < b->books * b->size; k++) {
        const float *word = &b->words[k * b->dim];
        double sum = 0;
        for (size_t i = 0; i < b->dim; i++)
            for (size_t j = 0; j < b->dim; j++)
                sum += (double)word[i] * c->q[i * b->dim + j] * (double)word[j];
        c->f->quad[k] = (float)(sum / 2);
    }
}

/* to = from - Q word, row by row, the words those of book `other`. */
static void take_off(const choice *c, size_t other, float *to)
{
    const oxp_codebook *b = c->f->b;
    for (size_t r = 0; r < c->rows; r++) {
        size_t index = c->f->index[other * b->rows + r];
        const float *word = &b->words[(other * b->size + index) * b->dim];
        for (size_t i = 0; i < b->dim; i++) {
            double sum = (double)c->f->linear[r * b->dim + i];
            for (size_t j = 0; j < b->dim; j++)
                sum -= c->q[i * b->dim + j] * (double)word[j];
            to[r * b->dim + i] = (float)sum;
        }
    }
}

static oxp_status choose_in(const choice *c, size_t book, const float *linear)
{
    const oxp_codebook *b = c->f->b;
    return oxp_words_choose(&c->f->index[book * b->rows], c->f->ctx,
                            &b->words[book * b->size * b->dim], b->size, b->dim, linear, c->rows,
                            &c->f->quad[book * b->size]);
}

/* f->index of all rows from f->linear. `known`: index holds a choice to begin with. */
static oxp_status choose(choice *c, bool known)
{
    oxp_word_fit *f = c->f;
    float *rest = f->linear + f->b->rows * f->b->dim;
    fill_quads(c);
    if (f->b->books == 1)
        return choose_in(c, 0, f->linear);
    if (!known)
        OXP_TRY(choose_in(c, 0, f->linear));
    for (int turn = 0; turn < TURNS; turn++) {
        if (known || turn > 0) {
            take_off(c, 1, rest);
            OXP_TRY(choose_in(c, 0, rest));
        }
        take_off(c, 0, rest);
        OXP_TRY(choose_in(c, 1, rest));
    }
    return OXP_OK;
}

static void chosen_sum(float out[DIM], const choice *c, size_t r)
{
    const oxp_codebook *b = c->f->b;
    memset(out, 0, DIM * sizeof *out);
    for (size_t k = 0; k < b->books; k++) {
        const float *word = &b->words[(k * b->size + c->f->index[k * b->rows + r]) * b->dim];
        for (size_t d = 0; d < b->dim; d++)
            out[d] += word[d];
    }
}

static uint16_t *index_at(const choice *c, size_t book, size_t r)
{
    const oxp_codebook *b = c->f->b;
    return &b->indices[(book * b->rows + c->first + r) * c->f->vectors + c->v];
}

static void keep(const choice *c, size_t r)
{
    for (size_t k = 0; k < c->f->b->books; k++)
        *index_at(c, k, r) = (uint16_t)c->f->index[k * c->f->b->rows + r];
}

/* ---- every vector by itself ---- */

static oxp_status nearest_of(choice *c)
{
    oxp_word_fit *f = c->f;
    size_t dim = f->b->dim;
    double q[DIM * DIM];
    cut_out_h(q, c);
    memset(c->q, 0, sizeof c->q);
    for (size_t i = 0; i < dim; i++)
        c->q[i * dim + i] = q[i * dim + i];
    for (size_t r = 0; r < c->rows; r++) {
        float scale = f->b->scales[c->first + r];
        const float *w = &f->p->w[(c->first + r) * f->b->columns + c->column];
        for (size_t i = 0; i < dim; i++)
            f->linear[r * dim + i] =
                scale > 0 && i < c->width ? (float)q[i * dim + i] * (w[i] / scale) : 0;
    }
    OXP_TRY(choose(c, false));
    for (size_t r = 0; r < c->rows; r++)
        keep(c, r);
    return OXP_OK;
}

oxp_status oxp_word_nearest(oxp_word_fit *f)
{
    for (size_t g = 0; g < f->p->groups; g++)
        for (size_t v = 0; v < f->vectors; v++) {
            choice c = choice_at(f, g, v);
            OXP_TRY(nearest_of(&c));
        }
    return OXP_OK;
}

/* ---- errors handed on ---- */

/* Q = L D L^T of the vector's own columns, lower[i, j] = L_ij below the diagonal, d_j on it. */
static void piece_of_factor(choice *c, double lower[DIM * DIM])
{
    size_t dim = c->f->b->dim;
    cut_out(lower, c, &c->f->factors[c->group * c->f->p->block_count]);
    memset(c->q, 0, sizeof c->q);
    for (size_t i = 0; i < c->width; i++)
        for (size_t k = 0; k < c->width; k++)
            for (size_t j = 0; j <= i && j <= k; j++) {
                double a = i == j ? 1 : lower[i * dim + j], b = k == j ? 1 : lower[k * dim + j];
                c->q[i * dim + k] += a * lower[j * dim + j] * b;
            }
}

/* linear_i = sum_j L_ij d_j (target_j + sum over k > j of L_kj w_k) / s */
static void want(const choice *c, const double lower[DIM * DIM], size_t r, const float *target)
{
    size_t dim = c->f->b->dim;
    float scale = c->f->b->scales[c->first + r], *linear = &c->f->linear[r * dim];
    const float *w = &c->f->p->w[(c->first + r) * c->f->b->columns + c->column];
    double sums[DIM] = {0};
    for (size_t j = 0; j < c->width; j++) {
        double aim = (double)target[j];
        for (size_t k = j + 1; k < c->width; k++)
            aim += lower[k * dim + j] * (double)w[k];
        aim *= lower[j * dim + j];
        for (size_t i = j; i < c->width; i++)
            sums[i] += (i == j ? 1 : lower[i * dim + j]) * aim;
    }
    for (size_t i = 0; i < dim; i++)
        linear[i] = scale > 0 ? (float)(sums[i] / (double)scale) : 0;
}

/* targets left of the vector += L^T e of its columns, block by block. */
static void hand_on(const choice *c, float *targets, const float *e)
{
    const oxp_moment_block *blocks = blocks_of(c);
    size_t columns = c->f->b->columns;
    for (size_t k = 0; k < c->f->p->block_count; k++) {
        const oxp_moment_block *b = &blocks[k];
        size_t from = c->column > b->first ? c->column : b->first;
        size_t end = c->column + c->width, last = b->first + b->count;
        end = end < last ? end : last;
        if (from >= end || c->column <= b->first)
            continue;
        oxp_gemm_shape s = {.m = c->rows,
                            .n = c->column - b->first,
                            .k = end - from,
                            .lda = columns,
                            .ldb = b->count,
                            .ldc = columns};
        const float *factor = c->f->factors[c->group * c->f->p->block_count + k];
        oxp_gemm(&s, 1, e + c->first * columns + from, factor + (from - b->first) * b->count, 1,
                 targets + c->first * columns + b->first);
    }
}

static oxp_status sweep_vector(choice *c, float *targets)
{
    oxp_word_fit *f = c->f;
    size_t columns = f->b->columns;
    double lower[DIM * DIM];
    piece_of_factor(c, lower);
    for (size_t r = 0; r < c->rows; r++)
        want(c, lower, r, &targets[(c->first + r) * columns + c->column]);
    OXP_TRY(choose(c, false));
    for (size_t r = 0; r < c->rows; r++) {
        float sum[DIM];
        size_t at = (c->first + r) * columns + c->column;
        chosen_sum(sum, c, r);
        keep(c, r);
        for (size_t i = 0; i < c->width; i++)
            f->e[at + i] = f->p->w[at + i] - f->b->scales[c->first + r] * sum[i];
    }
    hand_on(c, targets, f->e);
    return OXP_OK;
}

oxp_status oxp_word_sweep(oxp_word_fit *f)
{
    memcpy(f->x, f->p->w, f->b->rows * f->b->columns * sizeof *f->x);
    for (size_t g = 0; g < f->p->groups; g++)
        for (size_t v = f->vectors; v-- > 0;) {
            choice c = choice_at(f, g, v);
            OXP_TRY(sweep_vector(&c, f->x));
        }
    return OXP_OK;
}

/* ---- descent ---- */

/* e and he follow the change of a vector in all rows: step[rows, dim]. */
static void follow(const choice *c, const float *step)
{
    oxp_word_fit *f = c->f;
    const oxp_moment_block *blocks = blocks_of(c);
    size_t columns = f->b->columns, dim = f->b->dim;
    for (size_t r = 0; r < c->rows; r++)
        for (size_t i = 0; i < c->width; i++) {
            size_t at = (c->first + r) * columns + c->column + i;
            f->e[at] += step[r * dim + i];
            if (!blocks)
                f->he[at] += step[r * dim + i];
        }
    for (size_t k = 0; blocks && k < f->p->block_count; k++) {
        const oxp_moment_block *b = &blocks[k];
        size_t from = c->column > b->first ? c->column : b->first;
        size_t end = c->column + c->width, last = b->first + b->count;
        end = end < last ? end : last;
        if (from >= end)
            continue;
        oxp_gemm_shape s = {.m = c->rows,
                            .n = b->count,
                            .k = end - from,
                            .lda = dim,
                            .ldb = b->count,
                            .ldc = columns};
        oxp_gemm(&s, 1, step + (from - c->column), b->h + (from - b->first) * b->count, 1,
                 f->he + c->first * columns + b->first);
    }
}

static double score(const choice *c, const float *linear, const float *word)
{
    double sum = 0;
    size_t dim = c->f->b->dim;
    for (size_t i = 0; i < dim; i++) {
        double half = 0;
        for (size_t j = 0; j < dim; j++)
            half += c->q[i * dim + j] * (double)word[j];
        sum += ((double)linear[i] - half / 2) * (double)word[i];
    }
    return sum;
}

/* step[dim] of a row whose new words are better by more than rounding; returns the gain. */
static double take_better(choice *c, size_t r, float *step)
{
    oxp_word_fit *f = c->f;
    size_t dim = f->b->dim;
    float old[DIM] = {0}, new[DIM], scale = f->b->scales[c->first + r];
    const float *linear = &f->linear[r * dim];
    oxp_word_sum(old, f->b, c->first + r, c->v);
    chosen_sum(new, c, r);
    memset(step, 0, dim * sizeof *step);
    double before = score(c, linear, old), after = score(c, linear, new);
    if (!(after - before > 1e-6 * fabs(before)))
        return 0;
    keep(c, r);
    for (size_t i = 0; i < c->width; i++)
        step[i] = scale * (old[i] - new[i]);
    return 2 * (double)scale * (double)scale * (after - before);
}

static oxp_status descend_vector(choice *c, double *gain)
{
    oxp_word_fit *f = c->f;
    size_t dim = f->b->dim;
    cut_out_h(c->q, c);
    for (size_t r = 0; r < c->rows; r++) {
        float old[DIM] = {0}, scale = f->b->scales[c->first + r];
        const float *he = &f->he[(c->first + r) * f->b->columns + c->column];
        oxp_word_sum(old, f->b, c->first + r, c->v);
        for (size_t k = 0; k < f->b->books; k++)
            f->index[k * f->b->rows + r] = *index_at(c, k, r);
        for (size_t i = 0; i < dim; i++) {
            double sum = scale > 0 && i < c->width ? (double)(he[i] / scale) : 0;
            for (size_t j = 0; j < dim; j++)
                sum += c->q[i * dim + j] * (double)old[j];
            f->linear[r * dim + i] = (float)sum;
        }
    }
    OXP_TRY(choose(c, true));
    float *step = f->linear + f->b->rows * dim;
    for (size_t r = 0; r < c->rows; r++)
        *gain += take_better(c, r, &step[r * dim]);
    follow(c, step);
    return OXP_OK;
}

oxp_status oxp_word_descend(oxp_word_fit *f, double *gain)
{
    *gain = 0;
    for (size_t g = 0; g < f->p->groups; g++)
        for (size_t v = 0; v < f->vectors; v++) {
            choice c = choice_at(f, g, v);
            OXP_TRY(descend_vector(&c, gain));
        }
    return OXP_OK;
}
