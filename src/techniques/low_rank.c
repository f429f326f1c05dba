/* low_rank.c - a weight as the product of two thin ones, W = L R, L [rows, rank] and R [rank,
 * columns], for the layer's output (kernels/low_rank.h).
 *
 *   x -> MatMul(R) -> MatMul or Gemm(L)     x -> Conv(R) -> Conv 1x1(L)
 *
 * where two layers are faster than one, and else W = MatMul(L, R) in front of the layer: an
 * expression of constants, which ONNX Runtime folds when it loads the model, at float speed.
 * Numbers and multiplications both fall where rank < rows columns / (rows + columns), the rank that
 * breaks even; a weight that would keep more stays as it is. Without data H = I: the truncated
 * singular value decomposition. */
#include <math.h>
#include <string.h>

#include "kernels/gemm.h"
#include "kernels/low_rank.h"
#include "techniques/damped.h"
#include "techniques/expression.h"
#include "techniques/fit.h"

#define LEAST_ELEMENTS 1024 /* below, the nodes are larger than what is saved */
#define RIDGE 0.1           /* a share of the mean of H's diagonal */

/* Two layers were faster than one in ONNX Runtime on one thread: from 64 inputs and outputs on, up
 * to this share of the rank that breaks even (0.7: 1.2 to 1.4 times, 0.85: 1.0 to 1.2, 1: 0.9 to
 * 1.0; of 16 to 32 channels 0.6 to 1.0 at any rank). */
#define LEAST_WIDTH 64
#define SPLIT_SHARE 0.8

#define PLAIN_COLUMNS 64 /* of a block of the identity */

extern const oxp_technique oxp_technique_low_rank;

enum { RANK, ENERGY, FORM };
enum { AUTO, SPLIT, FOLD };

static const oxp_param params[] = {
    {"rank", OXP_PARAM_REAL, 0, 65536, NULL, 0.25, "below 1 a share of the full one, else a count"},
    {"energy", OXP_PARAM_REAL, 0, 1, "none", -1,
     "in place of rank: the least that keeps this share of the output's power"},
    {"form", OXP_PARAM_WORD, 0, 0, "auto|split|fold", AUTO,
     "two layers, or their product folded at load; auto: two where that is faster"},
    {NULL, OXP_PARAM_COUNT, 0, 0, NULL, 0, NULL},
};

typedef struct factors {
    bool is_split;
} factors;

static size_t full_rank(size_t rows, size_t columns)
{
    return rows < columns ? rows : columns;
}

/* Fewer numbers than the weight. */
static bool pays(size_t rank, size_t rows, size_t columns)
{
    return rank * (rows + columns) < rows * columns;
}

static size_t rank_asked(const oxp_choice *c, size_t rows, size_t columns)
{
    double full = (double)full_rank(rows, columns), asked = c->params.values[RANK];
    double rank = asked < 1 ? nearbyint(asked * full) : nearbyint(asked);
    return rank < 1 ? 1 : rank > full ? (size_t)full : (size_t)rank;
}

/* ---- what it applies to ---- */

/* As rows one behind the other, or as columns. */
static bool stands_by_rows(const oxp_site *s)
{
    return s->layout.outer == 1;
}

static bool stands_by_columns(const oxp_site *s)
{
    return s->layout.blocks == 1 && s->layout.inner == 1 && s->value->constant.rank == 2;
}

static bool is_grouped(const oxp_site *s)
{
    for (size_t k = 0; k < s->consumer_count; k++)
        if (oxp_graph_node_int(s->consumers[k].node, "group", 1) != 1)
            return true;
    return false;
}

static bool applies(const oxp_site *s, const char **why_not)
{
    *why_not = s->is_table           ? "a table is not folded at load"
               : s->is_operand       ? "no layer multiplies with it"
               : oxp_site_is_half(s) ? "the weight is in half precision"
               : is_grouped(s)       ? "each group of channels has a weight of its own"
               : !stands_by_rows(s) && !stands_by_columns(s)
                   ? "it is no matrix of outputs by inputs"
               : !pays(1, oxp_site_rows(s), oxp_site_columns(s)) ||
                       s->value->constant.count < LEAST_ELEMENTS
                   ? "too small: two factors and their nodes would be larger"
                   : NULL;
    return *why_not == NULL;
}

static bool is_layer(const oxp_graph_node *node, const char *type)
{
    return node->domain[0] == '\0' && strcmp(node->type, type) == 0;
}

/* Whether every consumer can become two layers. */
static bool can_split(const oxp_site *s)
{
    size_t groups, columns, unit;
    if (s->other_uses || !oxp_site_is_seen(s, &groups, &columns, &unit))
        return false;
    for (size_t k = 0; k < s->consumer_count; k++) {
        const oxp_graph_node *node = s->consumers[k].node;
        if (!is_layer(node, "Conv") &&
            !(s->value->constant.rank == 2 && (is_layer(node, "MatMul") || is_layer(node, "Gemm"))))
            return false;
    }
    return s->consumer_count > 0;
}

static bool wants_split(const oxp_fit_input *in, size_t rank)
{
    int form = (int)in->choice->params.values[FORM];
    double even = (double)in->rows * (double)in->columns / ((double)in->rows + (double)in->columns);
    bool is_faster =
        full_rank(in->rows, in->columns) >= LEAST_WIDTH && (double)rank <= SPLIT_SHARE * even;
    return form != FOLD && (form == SPLIT || is_faster) && can_split(in->site);
}

/* ---- the fit ---- */

static oxp_status plain_blocks(oxp_moment_block **out, size_t *count, oxp_arena *arena,
                               size_t columns)
{
    *count = (columns + PLAIN_COLUMNS - 1) / PLAIN_COLUMNS;
    oxp_moment_block *blocks = oxp_arena_alloc(arena, *count, sizeof *blocks);
    float *whole = oxp_arena_alloc(arena, PLAIN_COLUMNS * PLAIN_COLUMNS, sizeof *whole);
    size_t rest = columns - (*count - 1) * PLAIN_COLUMNS;
    float *last = oxp_arena_alloc(arena, rest * rest, sizeof *last);
    if (!blocks || !whole || !last)
        return OXP_ELIMIT;
    for (size_t i = 0; i < PLAIN_COLUMNS; i++)
        whole[i * (PLAIN_COLUMNS + 1)] = 1;
    for (size_t i = 0; i < rest; i++)
        last[i * (rest + 1)] = 1;
    for (size_t b = 0; b < *count; b++)
        blocks[b] = (oxp_moment_block){b * PLAIN_COLUMNS, PLAIN_COLUMNS, whole};
    blocks[*count - 1].count = rest;
    blocks[*count - 1].h = last;
    *out = blocks;
    return OXP_OK;
}

static oxp_status decompose(oxp_low_rank *d, oxp_arena *arena, const oxp_fit_input *in)
{
    oxp_moment_block *blocks;
    *d = (oxp_low_rank){.w = in->w, .rows = in->rows, .columns = in->columns};
    if (in->moments) {
        d->block_count = oxp_moments_blocks(in->moments);
        OXP_TRY(oxp_damped_blocks(&blocks, arena, in->moments, RIDGE));
    } else {
        OXP_TRY(plain_blocks(&blocks, &d->block_count, arena, in->columns));
    }
    d->blocks = blocks;
    return oxp_low_rank_decompose(d, arena);
}

static void multiply(float *out, const float *left, const float *right, size_t rows, size_t rank,
                     size_t columns)
{
    oxp_gemm_shape shape = oxp_gemm_plain(false, false, rows, columns, rank);
    oxp_gemm(&shape, 1, left, right, 0, out);
}

static oxp_status make_factors(oxp_fitted *out, oxp_arena *arena, const oxp_fit_input *in,
                               const oxp_low_rank *d, size_t rank)
{
    factors *form = oxp_arena_alloc(arena, 1, sizeof *form);
    out->left = oxp_arena_alloc(arena, in->rows * rank, sizeof *out->left);
    out->right = oxp_arena_alloc(arena, rank * in->columns, sizeof *out->right);
    if (!form || !out->left || !out->right)
        return OXP_ELIMIT;
    OXP_TRY(oxp_low_rank_factors(out->left, out->right, in->ctx, d, rank));
    multiply(out->weight, out->left, out->right, in->rows, rank, in->columns);
    form->is_split = wants_split(in, rank);
    out->form = form;
    out->rank = rank;
    return OXP_OK;
}

static oxp_status fit(oxp_fitted *out, oxp_arena *arena, const oxp_fit_input *in)
{
    size_t count = in->rows * in->columns, rank = rank_asked(in->choice, in->rows, in->columns);
    double energy = in->choice->params.values[ENERGY];
    out->weight = oxp_arena_alloc(arena, count, sizeof *out->weight);
    if (!out->weight)
        return OXP_ELIMIT;
    memcpy(out->weight, in->w, count * sizeof *out->weight);
    if (energy < 0 && !pays(rank, in->rows, in->columns))
        return OXP_OK;
    oxp_arena scratch;
    oxp_low_rank d;
    oxp_arena_init(&scratch, in->ctx);
    oxp_status status = decompose(&d, &scratch, in);
    if (status == OXP_OK && energy >= 0)
        rank = oxp_low_rank_for_energy(&d, energy);
    if (status == OXP_OK && pays(rank, in->rows, in->columns))
        status = make_factors(out, arena, in, &d, rank);
    oxp_arena_free(&scratch);
    return status;
}

/* Of all weights of the rank of `f` the nearest. */
static oxp_status project(float *out, const oxp_fit_input *in, const oxp_fitted *f)
{
    memcpy(out, in->w, in->rows * in->columns * sizeof *out);
    if (!f->left)
        return OXP_OK;
    oxp_arena scratch;
    oxp_low_rank d;
    oxp_arena_init(&scratch, in->ctx);
    oxp_status status = decompose(&d, &scratch, in);
    float *left = oxp_arena_alloc(&scratch, in->rows * f->rank, sizeof *left);
    float *right = oxp_arena_alloc(&scratch, f->rank * in->columns, sizeof *right);
    if (status == OXP_OK && (!left || !right))
        status = OXP_ELIMIT;
    if (status == OXP_OK)
        status = oxp_low_rank_factors(left, right, in->ctx, &d, f->rank);
    if (status == OXP_OK)
        multiply(out, left, right, in->rows, f->rank, in->columns);
    oxp_arena_free(&scratch);
    return status;
}

/* ---- two layers ---- */

static void transpose(float *out, const float *matrix, size_t rows, size_t columns)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < columns; c++)
            out[c * rows + r] = matrix[r * columns + c];
}

/* A factor as an initializer "NAME.left" or "NAME.right", transposed where the weight stands by
 * columns. */
static oxp_status add_factor(const char **out, oxp_edit *e, const oxp_site *s, const char *end,
                             const float *matrix, size_t rows, size_t columns, bool turned,
                             int rank, const int64_t *dims)
{
    const char *base = oxp_arena_printf(&e->arena, "%s%s", s->value->name, end);
    float *data = turned ? oxp_arena_alloc(&e->arena, rows * columns, sizeof *data) : NULL;
    if (!base || (turned && !data))
        return OXP_ELIMIT;
    if (turned)
        transpose(data, matrix, rows, columns);
    int64_t plain[2] = {(int64_t)(turned ? columns : rows), (int64_t)(turned ? rows : columns)};
    return oxp_edit_constant(out, e, s->graph, base, OXP_FLOAT, dims ? rank : 2,
                             dims ? dims : plain, turned ? data : matrix);
}

static oxp_status move_attribute(oxp_edit *e, const oxp_graph_node *from, oxp_node_proto *to,
                                 const char *name)
{
    const oxp_attribute *a = oxp_graph_node_attribute(from, name);
    if (!a)
        return OXP_OK;
    OXP_TRY(a->type == OXP_ATTR_STRING ? oxp_edit_set_string(e->model, to, name, a->s)
                                       : oxp_edit_set_ints(e->model, to, name, a->count, a->ints));
    return oxp_edit_remove_attribute(e->model, from->proto, name);
}

/* The window goes with R; what stays is a 1x1 Conv. */
static oxp_status move_window(oxp_edit *e, const oxp_graph_node *from, oxp_node_proto *to)
{
    static const char *const names[] = {"auto_pad", "dilations", "kernel_shape", "pads", "strides"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        OXP_TRY(move_attribute(e, from, to, names[i]));
    return OXP_OK;
}

static oxp_status split_consumer(oxp_edit *e, const oxp_graph_node *node, const char *left,
                                 const char *right)
{
    bool is_conv = is_layer(node, "Conv");
    const oxp_graph *g = node->graph;
    const char *inputs[2] = {g->values[node->inputs[0]].name, right}, *between = NULL;
    oxp_node_proto *first;
    OXP_TRY(oxp_edit_node(&first, e, g, oxp_edit_position(g->proto, node->proto),
                          is_conv ? "Conv" : "MatMul", 2, inputs, &between));
    if (is_conv)
        OXP_TRY(move_window(e, node, first));
    OXP_TRY(oxp_edit_set_input(e->model, node->proto, 0, between));
    return oxp_edit_set_input(e->model, node->proto, 1, left);
}

static oxp_status split(oxp_edit *e, const oxp_site *s, const oxp_fitted *f)
{
    const oxp_tensor *t = &s->value->constant;
    bool is_conv = t->rank > 2 || is_layer(s->consumers[0].node, "Conv");
    int64_t thin[OXP_MAX_RANK], one[OXP_MAX_RANK];
    const char *left, *right;
    for (int i = 0; i < t->rank; i++) {
        thin[i] = t->dims[i];
        one[i] = 1;
    }
    thin[0] = one[1] = (int64_t)f->rank;
    one[0] = t->dims[0];
    size_t rows = oxp_site_rows(s), columns = oxp_site_columns(s);
    OXP_TRY(add_factor(&left, e, s, ".left", f->left, rows, f->rank, stands_by_columns(s), t->rank,
                       is_conv ? one : NULL));
    OXP_TRY(add_factor(&right, e, s, ".right", f->right, f->rank, columns, !is_conv, t->rank,
                       is_conv ? thin : NULL));
    for (size_t k = 0; k < s->consumer_count; k++)
        OXP_TRY(split_consumer(e, s->consumers[k].node, left, right));
    return oxp_edit_drop_constant(e, s->graph, s->value);
}

/* ---- one expression ---- */

static oxp_status fold(oxp_edit *e, const oxp_site *s, const oxp_fitted *f)
{
    const oxp_tensor *t = &s->value->constant;
    const char *left, *right, *product = NULL, *name = s->value->name;
    bool turned = stands_by_columns(s) && !stands_by_rows(s);
    oxp_expression x = {.e = e, .graph = s->graph};
    OXP_TRY(add_factor(&left, e, s, ".left", f->left, oxp_site_rows(s), f->rank, turned, 2, NULL));
    OXP_TRY(add_factor(&right, e, s, ".right", f->right, f->rank, oxp_site_columns(s), turned, 2,
                       NULL));
    OXP_TRY(oxp_edit_take_place(&x.at, e, s));
    if (turned)
        return oxp_expression_add(&x, "MatMul", right, left, &name);
    if (t->rank == 2)
        return oxp_expression_add(&x, "MatMul", left, right, &name);
    OXP_TRY(oxp_expression_add(&x, "MatMul", left, right, &product));
    return oxp_expression_reshape(&x, product, t->rank, t->dims, &name);
}

/* For another stage, which would not see the weight behind an expression. */
static oxp_status store_plain(oxp_edit *e, const oxp_site *s, const oxp_fitted *f)
{
    const oxp_tensor *t = &s->value->constant;
    size_t at;
    float *weight = oxp_arena_alloc(&e->arena, t->count, sizeof *weight);
    if (!weight)
        return OXP_ELIMIT;
    oxp_site_unmatrix(weight, f->weight, s);
    OXP_TRY(oxp_edit_take_place(&at, e, s));
    return oxp_edit_add_initializer(e->model, s->graph->proto, s->value->name, OXP_FLOAT, t->rank,
                                    t->dims, weight);
}

static oxp_status apply(oxp_edit *e)
{
    for (size_t i = 0; i < e->site_count; i++) {
        const oxp_choice *c = &e->choices[i];
        if (c->technique != &oxp_technique_low_rank || !c->fitted->form)
            continue;
        const factors *form = c->fitted->form;
        OXP_TRY((form->is_split       ? split
                 : c->is_intermediate ? store_plain
                                      : fold)(e, &e->sites[i], c->fitted));
    }
    return OXP_OK;
}

static size_t bytes(const oxp_site *s, const oxp_choice *c)
{
    size_t rows = oxp_site_rows(s), columns = oxp_site_columns(s);
    size_t rank = rank_asked(c, rows, columns);
    return 4 * (pays(rank, rows, columns) ? rank * (rows + columns) : rows * columns);
}

const oxp_technique oxp_technique_low_rank = {
    .name = "lowrank",
    .summary = "weights as two thin factors, chosen for the layer's output: two faster layers",
    .params = params,
    .stage = OXP_STAGE_FACTOR,
    .level = OXP_LEVEL_BYTE,
    .applies = applies,
    .fit = fit,
    .project = project,
    .apply = apply,
    .bytes = bytes,
};
