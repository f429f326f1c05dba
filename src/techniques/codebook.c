/* codebook.c - weights stored as indices of short vectors, computed in float.
 *
 * W [rows, columns], cut into vectors of `dim` columns, is s_r sum_b C_b[i_b] with words C_b
 * [size, dim] for the layer's output (kernels/codebook.h). It stands as indices of ceil(log2 size)
 * bits, words and scales in half precision:
 *
 *   indices -> Gather(words) -> (Add of the second book) -> Reshape [rows, columns] -> Mul(scales)
 *
 * An expression of constants: ONNX Runtime folds it when it loads the model, and computes at the
 * speed of float. dim 4 and size 256 are 2 bits a weight. A book that would be large beside its
 * indices has fewer words. Tables are not folded, and keep their 8 bits. */

#include "kernels/codebook.h"
#include "techniques/damped.h"
#include "techniques/expression.h"
#include "techniques/fit.h"
#include "util/half.h"

#define LEAST_ELEMENTS 4096 /* below, book and nodes are larger than what 8 bits would lose */
#define LEAST_SIZE 16
#define BOOK_SHARE 4 /* the book has at most a fourth of the bytes of its indices */
#define SEED 20

/* Added to the diagonal of H, as a share of its mean: what a few samples never showed must not look
 * free. */
#define RIDGE 0.03

extern const oxp_technique oxp_technique_codebook;

enum { DIM, SIZE, BOOKS };

static const oxp_param params[] = {
    {"dim", OXP_PARAM_COUNT, 1, OXP_CODEBOOK_DIM_MAX, NULL, 4, "weights of a vector"},
    {"size", OXP_PARAM_COUNT, LEAST_SIZE, OXP_CODEBOOK_SIZE_MAX, NULL, 256,
     "vectors of a book, at most; fewer for a small weight"},
    {"books", OXP_PARAM_COUNT, 1, OXP_CODEBOOK_BOOKS_MAX, NULL, 1, "books whose vectors are added"},
    {NULL, OXP_PARAM_COUNT, 0, 0, NULL, 0, NULL},
};

static int bits_of(size_t size)
{
    int bits = 1;
    while (bits < 16 && (size_t)1 << bits < size)
        bits++;
    return bits;
}

/* What the parameters ask of a weight. */
static oxp_codebook book_of(const oxp_site *s, const oxp_choice *c)
{
    oxp_codebook b = {.rows = oxp_site_rows(s),
                      .columns = oxp_site_columns(s),
                      .dim = (size_t)c->params.values[DIM],
                      .size = (size_t)c->params.values[SIZE],
                      .books = (size_t)c->params.values[BOOKS]};
    size_t vectors = b.rows * oxp_codebook_vectors(&b);
    while (b.size > LEAST_SIZE &&
           BOOK_SHARE * 2 * b.size * b.dim > oxp_indices_bytes(vectors, bits_of(b.size)))
        b.size = b.size / 2 > LEAST_SIZE ? b.size / 2 : LEAST_SIZE;
    return b;
}

static bool applies(const oxp_site *s, const char **why_not)
{
    if (s->is_table) {
        *why_not = "a table is not folded at load: its words would be looked up in every run";
        return false;
    }
    if (oxp_site_is_half(s)) {
        *why_not = "the weight is in half precision";
        return false;
    }
    if (s->value->constant.count >= LEAST_ELEMENTS)
        return true;
    *why_not = "too small: a book of vectors would be larger than what is saved";
    return false;
}

static size_t bytes(const oxp_site *s, const oxp_choice *c)
{
    oxp_codebook b = book_of(s, c);
    size_t vectors = b.rows * oxp_codebook_vectors(&b);
    return b.books * (oxp_indices_bytes(vectors, bits_of(b.size)) + 2 * b.size * b.dim) +
           2 * b.rows;
}

/* ---- the fit ---- */

static oxp_status take_blocks(oxp_codebook_problem *p, oxp_arena *arena, const oxp_moments *m)
{
    oxp_moment_block *blocks;
    OXP_TRY(oxp_damped_blocks(&blocks, arena, m, RIDGE));
    p->groups = m->groups;
    p->blocks = blocks;
    p->block_count = oxp_moments_blocks(m);
    return OXP_OK;
}

static oxp_status fit(oxp_fitted *out, oxp_arena *arena, const oxp_fit_input *in)
{
    oxp_codebook *b = oxp_arena_alloc(arena, 1, sizeof *b);
    float *weight = oxp_arena_alloc(arena, in->rows * in->columns, sizeof *weight);
    double error;
    if (!b || !weight)
        return OXP_ELIMIT;
    *b = book_of(in->site, in->choice);
    oxp_codebook_problem p = {
        .w = in->w, .rows = in->rows, .columns = in->columns, .groups = 1, .seed = SEED};
    oxp_arena scratch;
    oxp_arena_init(&scratch, in->ctx);
    oxp_status status = in->moments ? take_blocks(&p, &scratch, in->moments) : OXP_OK;
    if (status == OXP_OK)
        status = oxp_codebook_fit(b, &error, arena, &p);
    oxp_arena_free(&scratch);
    OXP_TRY(status);
    oxp_codebook_decode(weight, b);
    out->form = b;
    out->weight = weight;
    return OXP_OK;
}

/* ---- the expression ---- */

static oxp_status halves(oxp_expression *x, const float *values, int rank, const int64_t *dims,
                         const char **out)
{
    size_t count = 1;
    for (int i = 0; i < rank; i++)
        count *= (size_t)dims[i];
    const char *data;
    uint16_t *half = oxp_arena_alloc(&x->e->arena, count, sizeof *half);
    if (!half)
        return OXP_ELIMIT;
    for (size_t i = 0; i < count; i++)
        half[i] = oxp_float_to_half(values[i]);
    OXP_TRY(oxp_edit_constant(&data, x->e, x->graph, "c", OXP_FLOAT16, rank, dims, half));
    return oxp_expression_cast(x, data, OXP_FLOAT, out);
}

/* The words of one book: [rows * vectors, dim]. */
static oxp_status look_up(oxp_expression *x, const oxp_codebook *b, size_t book, const char **out)
{
    size_t vectors = b->rows * oxp_codebook_vectors(b);
    int64_t dims[2] = {(int64_t)b->size, (int64_t)b->dim};
    const char *words = NULL, *indices = NULL;
    OXP_TRY(halves(x, b->words + book * b->size * b->dim, 2, dims, &words));
    OXP_TRY(oxp_expression_indices(x, b->indices + book * vectors, vectors, bits_of(b->size),
                                   &indices));
    return oxp_expression_add(x, "Gather", words, indices, out);
}

/* [rows, columns] without scales. */
static oxp_status unscaled(oxp_expression *x, const oxp_codebook *b, const char **out)
{
    const char *sum = NULL, *second = NULL, *both = NULL, *wide = NULL;
    int64_t filled = (int64_t)(oxp_codebook_vectors(b) * b->dim);
    OXP_TRY(look_up(x, b, 0, &sum));
    if (b->books == 2) {
        OXP_TRY(look_up(x, b, 1, &second));
        OXP_TRY(oxp_expression_add(x, "Add", sum, second, &both));
        sum = both;
    }
    OXP_TRY(oxp_expression_reshape(x, sum, 2, (int64_t[]){(int64_t)b->rows, filled}, &wide));
    *out = wide;
    if (filled == (int64_t)b->columns)
        return OXP_OK;
    *out = NULL;
    return oxp_expression_first(x, wide, 1, (int64_t)b->columns, out);
}

/* A matrix back into the weight's own shape and order. */
static oxp_status in_place(oxp_expression *x, const oxp_site *s, const char *matrix)
{
    const oxp_tensor *t = &s->value->constant;
    const oxp_weight_layout *l = &s->layout;
    const char *name = s->value->name, *parts = NULL, *turned = NULL;
    const int64_t order[4] = {0, 2, 1, 3}, dims[4] = {(int64_t)l->blocks, (int64_t)l->channels,
                                                      (int64_t)l->outer, (int64_t)l->inner};
    if (l->outer == 1)
        return oxp_expression_reshape(x, matrix, t->rank, t->dims, &name);
    if (l->blocks == 1 && l->inner == 1 && t->rank == 2)
        return oxp_expression_transpose(x, matrix, 2, (int64_t[]){1, 0}, &name);
    OXP_TRY(oxp_expression_reshape(x, matrix, 4, dims, &parts));
    OXP_TRY(oxp_expression_transpose(x, parts, 4, order, &turned));
    return oxp_expression_reshape(x, turned, t->rank, t->dims, &name);
}

static oxp_status store(oxp_edit *e, const oxp_site *s)
{
    const oxp_codebook *b = e->choices[s->index].fitted->form;
    const char *scales = NULL, *matrix = NULL, *product = NULL;
    oxp_expression x = {.e = e, .graph = s->graph};
    OXP_TRY(oxp_edit_take_place(&x.at, e, s));
    OXP_TRY(unscaled(&x, b, &matrix));
    OXP_TRY(halves(&x, b->scales, 2, (int64_t[]){(int64_t)b->rows, 1}, &scales));
    OXP_TRY(oxp_expression_add(&x, "Mul", matrix, scales, &product));
    return in_place(&x, s, product);
}

static oxp_status apply(oxp_edit *e)
{
    for (size_t i = 0; i < e->site_count; i++)
        if (e->choices[i].technique == &oxp_technique_codebook)
            OXP_TRY(
                (e->choices[i].is_intermediate ? oxp_edit_fitted_plain : store)(e, &e->sites[i]));
    return OXP_OK;
}

const oxp_technique oxp_technique_codebook = {
    .name = "codebook",
    .summary = "weights as vectors of a small book: 1 to 4 bits, folded at load: float speed",
    .params = params,
    .stage = OXP_STAGE_ENCODE,
    .level = OXP_LEVEL_BYTE,
    .opset = 10, /* Slice by inputs */
    .applies = applies,
    .fit = fit,
    .apply = apply,
    .bytes = bytes,
};
