/* packed.c - weights stored in 2 to 7 bits and computed in float.
 *
 * Codes with a scale per block of input channels (or per output channel where no block divides
 * them) are those of least error in the layer's output where samples showed what it reads
 * (kernels/block_rounding.h), else of least error in the weight. They stand as planes of 4, 2 and 1
 * bits packed in bytes, scales in half precision:
 *
 *   bytes (uint8) -> Cast -> Div(2^(k p)) -> Floor, less 2^p times the same with k + 1: p bits of
 * a code
 *   planes added -> Sub(2^(bits - 1)) -> Reshape(blocks) -> Mul(scales) -> Reshape(weight)
 *
 * or, asymmetric, Reshape(blocks) -> Sub(zero points, a byte each) -> Mul(scales).
 *
 * An expression of constants with operators that every version has: ONNX Runtime folds it when it
 * loads the model, and computes at the speed of float. All steps are exact in float but the last
 * product. Tables stay in 8 bits: they are not folded. */
#include "techniques/packed.h"

#include <string.h>

#include "kernels/block_rounding.h"
#include "techniques/damped.h"
#include "techniques/expression.h"
#include "techniques/fit.h"
#include "util/half.h"

#define LEAST_ELEMENTS 2048 /* below, the nodes are larger than what 8 bits would lose */

#define OWN_BITS 4
#define OWN_BLOCK 32
#define LEAST_BLOCK 16

enum { BITS, BLOCK, ZERO_POINT, METHOD };
enum { AUTO, RTN, MSE, GPTQ };

static const oxp_param params[] = {
    {"bits", OXP_PARAM_COUNT, 2, 7, NULL, OWN_BITS, "of a code"},
    {"block", OXP_PARAM_COUNT, LEAST_BLOCK, 1 << 20, "channel", OWN_BLOCK,
     "weights of a row that share a scale, at most"},
    {"zero_point", OXP_PARAM_WORD, 0, 0, "none|block", 0,
     "none: codes lie evenly around zero; block: each block says where zero is"},
    {"method", OXP_PARAM_WORD, 0, 0, "auto|rtn|mse|gptq", AUTO,
     "nearest codes, scales by what is read, or codes for the layer's output; auto: the last with "
     "samples"},
    {NULL, OXP_PARAM_COUNT, 0, 0, NULL, 0, NULL},
};

static int word_of(const oxp_choice *c, int parameter)
{
    return oxp_params_given(&c->params, parameter) ? (int)c->params.values[parameter] : 0;
}

/* A choice that a plan or --bits made has `limit` and `block` in place of the parameters. */
int oxp_packed_bits(const oxp_choice *c)
{
    int bits = 1;
    if (oxp_params_given(&c->params, BITS))
        return (int)c->params.values[BITS];
    if (c->limit <= 0 || c->limit >= 64)
        return OWN_BITS;
    for (int limit = c->limit; limit > 0; limit /= 2)
        bits++;
    return bits;
}

static size_t most_of_block(const oxp_choice *c)
{
    if (oxp_params_given(&c->params, BLOCK))
        return c->params.values[BLOCK] > 0 ? (size_t)c->params.values[BLOCK] : SIZE_MAX;
    return c->block ? c->block : OWN_BLOCK;
}

/* The largest divisor of n that is at most `most`. */
static size_t divisor(size_t n, size_t most)
{
    size_t best = 1;
    for (size_t d = 1; d <= n / d; d++)
        if (n % d == 0) {
            best = d <= most && d > best ? d : best;
            best = n / d <= most && n / d > best ? n / d : best;
        }
    return best;
}

/* The weight's layout with a scale per block of the reduction, where a divisor of it is a block of
 * at least 16 elements; else one per channel. */
static oxp_weight_layout block_layout(const oxp_site *s, const oxp_choice *c)
{
    oxp_weight_layout l = s->layout;
    size_t most = most_of_block(c);
    if (l.outer == 1) { /* the reduction lies inside a channel */
        size_t block = divisor(l.inner, most);
        if (block >= LEAST_BLOCK)
            return (oxp_weight_layout){l.blocks, 1, l.channels * (l.inner / block), block};
        return l;
    }
    size_t rows = most / l.inner > 0 ? divisor(l.outer, most / l.inner) : 1;
    if (rows * l.inner >= LEAST_BLOCK)
        return (oxp_weight_layout){l.blocks * (l.outer / rows), rows, l.channels, l.inner};
    return l;
}

size_t oxp_packed_block(const oxp_site *s, const oxp_choice *c)
{
    oxp_weight_layout l = block_layout(s, c);
    return l.outer * l.inner;
}

/* ---- the fit ---- */

/* Added to the diagonal of H, as a share of its mean: what the samples never showed must not look
 * free. On MiniLM and PP-OCR rec 0.01 to 0.1 differ by 0.3 dB on other samples. */
#define RIDGE 0.03
#define DAMPING 1e-4f /* of the factor alone, for what rounding leaves of a pivot */

static oxp_status take_form(oxp_packed **out, oxp_arena *arena, const oxp_site *s,
                            const oxp_choice *c)
{
    size_t rows = oxp_site_rows(s), columns = oxp_site_columns(s);
    oxp_packed *p = *out = oxp_arena_alloc(arena, 1, sizeof *p);
    if (!p)
        return OXP_ELIMIT;
    *p = (oxp_packed){.grid = {.bits = oxp_packed_bits(c),
                               .block = oxp_packed_block(s, c),
                               .symmetric = word_of(c, ZERO_POINT) == 0,
                               .half_scales = true},
                      .rows = rows,
                      .columns = columns};
    size_t scales = rows * oxp_block_grid_blocks(&p->grid, columns);
    p->codes.codes = oxp_arena_alloc(arena, rows * columns, 1);
    p->codes.scales = oxp_arena_alloc(arena, scales, sizeof *p->codes.scales);
    p->codes.zeros = oxp_arena_alloc(arena, scales, 1);
    return p->codes.codes && p->codes.scales && p->codes.zeros ? OXP_OK : OXP_ELIMIT;
}

/* Blocks of H of a group, with the ridge, and their factors. */
static oxp_status take_blocks(oxp_round_block **out, oxp_arena *arena, const oxp_moments *m,
                              size_t group)
{
    size_t count = oxp_moments_blocks(m);
    oxp_round_block *blocks = *out = oxp_arena_alloc(arena, count, sizeof *blocks);
    for (size_t k = 0; blocks && k < count; k++) {
        size_t n = oxp_moments_width(m, k);
        float *h = oxp_arena_alloc(arena, n * n, sizeof *h);
        float *factor = oxp_arena_alloc(arena, n * n, sizeof *factor);
        uint32_t *order = oxp_arena_alloc(arena, n, sizeof *order);
        if (!h || !factor || !order)
            return OXP_ELIMIT;
        memcpy(h, oxp_moments_block(m, group, k), n * n * sizeof *h);
        oxp_add_ridge(h, n, RIDGE);
        blocks[k] = (oxp_round_block){
            .first = k * m->block, .count = n, .h = h, .factor = factor, .order = order};
        oxp_round_factor(&blocks[k], DAMPING);
    }
    return blocks ? OXP_OK : OXP_ELIMIT;
}

static oxp_status fit_group(oxp_packed *p, oxp_arena *arena, const oxp_fit_input *in, size_t group,
                            bool gptq)
{
    const oxp_moments *m = in->moments;
    size_t rows = p->rows / m->groups, scales = oxp_block_grid_blocks(&p->grid, p->columns);
    oxp_block_codes c = {p->codes.codes + group * rows * p->columns,
                         p->codes.scales + group * rows * scales,
                         p->codes.zeros + group * rows * scales};
    const float *w = in->w + group * rows * p->columns;
    oxp_round_error error = {0, 0};
    oxp_round_block *blocks;
    float *diagonal = oxp_arena_alloc(arena, p->columns, sizeof *diagonal);
    if (!diagonal)
        return OXP_ELIMIT;
    OXP_TRY(take_blocks(&blocks, arena, m, group));
    for (size_t k = 0; k < oxp_moments_blocks(m); k++)
        for (size_t i = 0; i < blocks[k].count; i++)
            diagonal[blocks[k].first + i] = blocks[k].h[i * blocks[k].count + i];
    oxp_block_search(&p->grid, w, rows, p->columns, diagonal, &c);
    if (!gptq)
        return OXP_OK;
    return oxp_block_round(in->ctx, &p->grid, blocks, oxp_moments_blocks(m), w, rows, p->columns,
                           &c, &error);
}

static oxp_status fit_groups(oxp_packed *p, const oxp_fit_input *in, bool gptq)
{
    oxp_status status = OXP_OK;
    for (size_t g = 0; g < in->moments->groups && status == OXP_OK; g++) {
        oxp_arena arena;
        oxp_arena_init(&arena, in->ctx);
        status = fit_group(p, &arena, in, g, gptq);
        oxp_arena_free(&arena);
    }
    return status;
}

/* Whether a matrix that a stage before has pruned: its zeros are to stay. */
static bool has_zeros(const oxp_fit_input *in)
{
    size_t zeros = 0, count = in->rows * in->columns;
    for (size_t i = 0; i < count; i++)
        zeros += in->w[i] == 0;
    return zeros > count / 8;
}

static oxp_status fit(oxp_fitted *out, oxp_arena *arena, const oxp_fit_input *in)
{
    oxp_packed *p;
    int method = word_of(in->choice, METHOD);
    OXP_TRY(take_form(&p, arena, in->site, in->choice));
    p->grid.keep_zeros = has_zeros(in);
    if (!in->moments || method == RTN)
        oxp_block_search(&p->grid, in->w, p->rows, p->columns, NULL, &p->codes);
    else
        OXP_TRY(fit_groups(p, in, method != MSE));
    out->form = p;
    out->weight = oxp_arena_alloc(arena, p->rows * p->columns, sizeof *out->weight);
    if (!out->weight)
        return OXP_ELIMIT;
    oxp_block_values(&p->grid, &p->codes, p->rows, p->columns, out->weight);
    return OXP_OK;
}

/* The same scales and zero points, nearest codes. */
static oxp_status project(float *out, const oxp_fit_input *in, const oxp_fitted *f)
{
    oxp_packed p = *(const oxp_packed *)f->form;
    uint8_t *codes;
    OXP_TRY(oxp_alloc_raw(&codes, in->ctx, p.rows * p.columns, 1, "codes of a weight"));
    p.codes.codes = codes;
    oxp_block_nearest(&p.grid, in->w, p.rows, p.columns, &p.codes);
    oxp_block_values(&p.grid, &p.codes, p.rows, p.columns, out);
    oxp_free(codes);
    return OXP_OK;
}

static bool applies(const oxp_site *s, const char **why_not)
{
    if (s->is_table) {
        *why_not = "a table is not folded at load: fewer than 8 bits would be taken apart in "
                   "every run";
        return false;
    }
    if (oxp_site_is_half(s)) {
        *why_not = "the weight is in half precision";
        return false;
    }
    if (s->value->constant.count > LEAST_ELEMENTS)
        return true;
    *why_not = "too small: the nodes that take its codes apart would be larger than what is saved";
    return false;
}

/* ---- what is written ---- */

typedef struct written { /* in the order of the weight's own elements */
    oxp_weight_layout layout;
    int bits;
    int8_t *codes;
    uint16_t *halves; /* scales in half precision */
    uint8_t *zeros;   /* NULL: all in the middle */
} written;

static size_t scale_place(const oxp_weight_layout *own, size_t row, size_t block, size_t blocks)
{
    if (own->outer == 1)
        return row * blocks + block;
    return (row / own->channels * blocks + block) * own->channels + row % own->channels;
}

static oxp_status arrange(written *out, oxp_arena *arena, const oxp_site *s, const oxp_packed *p,
                          const oxp_choice *c)
{
    size_t blocks = oxp_block_grid_blocks(&p->grid, p->columns), scales = p->rows * blocks;
    const oxp_weight_layout *l = &s->layout;
    *out = (written){.layout = block_layout(s, c), .bits = p->grid.bits};
    out->codes = oxp_arena_alloc(arena, p->rows * p->columns, 1);
    out->halves = oxp_arena_alloc(arena, scales, sizeof *out->halves);
    out->zeros = p->grid.symmetric ? NULL : oxp_arena_alloc(arena, scales, 1);
    if (!out->codes || !out->halves || (!p->grid.symmetric && !out->zeros))
        return OXP_ELIMIT;
    for (size_t r = 0; r < p->rows; r++) {
        for (size_t b = 0; b < blocks; b++) {
            size_t to = scale_place(l, r, b, blocks);
            out->halves[to] = oxp_float_to_half(p->codes.scales[r * blocks + b]);
            if (out->zeros)
                out->zeros[to] = p->codes.zeros[r * blocks + b];
        }
        size_t first = r / l->channels * l->outer * l->channels + r % l->channels;
        for (size_t o = 0; o < l->outer; o++)
            memcpy(out->codes + (first + o * l->channels) * l->inner,
                   p->codes.codes + r * p->columns + o * l->inner, l->inner);
    }
    return OXP_OK;
}

/* ---- the whole expression ---- */

/* [blocks, outer, channels, inner], and where the scales broadcast. */
static void block_shape(const oxp_weight_layout *l, int64_t codes[4], int64_t scales[4])
{
    codes[0] = scales[0] = (int64_t)l->blocks;
    codes[1] = (int64_t)l->outer;
    codes[2] = scales[2] = (int64_t)l->channels;
    codes[3] = (int64_t)l->inner;
    scales[1] = scales[3] = 1;
}

static oxp_status add_planes(oxp_expression *x, const written *c, size_t codes, const char **sum)
{
    oxp_bit_plane planes[OXP_BIT_PLANES_MAX];
    int count = oxp_bit_planes(planes, c->bits);
    for (int p = 0; p < count; p++) {
        const char *plane = NULL;
        OXP_TRY(oxp_expression_plane(x, "q", c->codes, codes, planes[p], &plane));
        OXP_TRY(oxp_expression_add_part(x, plane, planes[p].shift, sum));
    }
    return OXP_OK;
}

/* Codes less their zero points, in the shape of blocks. */
static oxp_status centre(oxp_expression *x, const written *c, size_t codes, const char **out)
{
    int64_t codes_shape[4], scales_shape[4];
    const char *sum = NULL, *zero, *real = NULL, *centred = NULL;
    block_shape(&c->layout, codes_shape, scales_shape);
    OXP_TRY(add_planes(x, c, codes, &sum));
    if (!c->zeros) {
        OXP_TRY(oxp_expression_number(x, (float)(1 << (c->bits - 1)), &zero));
        OXP_TRY(oxp_expression_add(x, "Sub", sum, zero, &centred));
        return oxp_expression_reshape(x, centred, 4, codes_shape, out);
    }
    OXP_TRY(oxp_edit_constant(&zero, x->e, x->graph, "z", OXP_UINT8, 4, scales_shape, c->zeros));
    OXP_TRY(oxp_expression_reshape(x, sum, 4, codes_shape, &centred));
    OXP_TRY(oxp_expression_cast(x, zero, OXP_FLOAT, &real));
    return oxp_expression_add(x, "Sub", centred, real, out);
}

static oxp_status store(oxp_edit *e, const oxp_site *s)
{
    const oxp_choice *choice = &e->choices[s->index];
    const oxp_tensor *t = &s->value->constant;
    int64_t codes_shape[4], scales_shape[4];
    const char *scales, *codes = NULL, *real = NULL, *product = NULL, *name = s->value->name;
    oxp_expression x = {.e = e, .graph = s->graph};
    written c;
    OXP_TRY(arrange(&c, &e->arena, s, choice->fitted->form, choice));
    block_shape(&c.layout, codes_shape, scales_shape);
    OXP_TRY(oxp_edit_constant(&scales, e, s->graph, "s", OXP_FLOAT16, 4, scales_shape, c.halves));
    OXP_TRY(oxp_edit_take_place(&x.at, e, s));
    OXP_TRY(centre(&x, &c, t->count, &codes));
    OXP_TRY(oxp_expression_cast(&x, scales, OXP_FLOAT, &real));
    OXP_TRY(oxp_expression_add(&x, "Mul", codes, real, &product));
    return oxp_expression_reshape(&x, product, t->rank, t->dims, &name);
}

static oxp_status apply(oxp_edit *e)
{
    for (size_t i = 0; i < e->site_count; i++)
        if (e->choices[i].technique == &oxp_technique_w4)
            OXP_TRY(
                (e->choices[i].is_intermediate ? oxp_edit_fitted_plain : store)(e, &e->sites[i]));
    return OXP_OK;
}

static size_t bytes(const oxp_site *s, const oxp_choice *c)
{
    oxp_bit_plane planes[OXP_BIT_PLANES_MAX];
    int count = oxp_bit_planes(planes, oxp_packed_bits(c));
    size_t each = word_of(c, ZERO_POINT) ? 3 : 2; /* bytes of a block's scale and zero point */
    size_t sum = each * (s->value->constant.count / oxp_packed_block(s, c));
    for (int p = 0; p < count; p++)
        sum += oxp_bit_plane_bytes(planes[p], s->value->constant.count);
    return sum;
}

const oxp_technique oxp_technique_w4 = {
    .name = "w4",
    .summary = "weights stored in 2 to 7 bits (4), a scale per block, folded at load: float speed",
    .params = params,
    .stage = OXP_STAGE_ENCODE,
    .level = OXP_LEVEL_BYTE,
    .opset = 10,
    .applies = applies,
    .fit = fit,
    .project = project,
    .apply = apply,
    .bytes = bytes,
};
