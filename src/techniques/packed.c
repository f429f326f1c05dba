/* packed.c - weights stored in 2 to 7 bits and computed in float.
 *
 * Codes, symmetric, with a scale per block of input channels (or per output channel where no block
 * divides them), stand as planes of 4, 2 and 1 bits packed in bytes, scales in half precision:
 *
 *   bytes (uint8) -> Cast -> Div(2^(k p)) -> Floor, less 2^p times the same with k + 1: p bits of
 * a code
 *   planes added -> Sub(2^(bits - 1)) -> Reshape(blocks) -> Mul(scales) -> Reshape(weight)
 *
 * An expression of constants with operators that every version has: ONNX Runtime folds it when it
 * loads the model, and computes at the speed of float. All steps are exact in float but the last
 * product. Tables stay in 8 bits: they are not folded. */
#include <math.h>

#include "kernels/bit_planes.h"
#include "kernels/perturbation.h"
#include "techniques/technique.h"
#include "util/half.h"

#define LEAST_ELEMENTS 2048 /* below, the nodes are larger than what 8 bits would lose */

#define OWN_LIMIT 7 /* 4 bits */
#define OWN_BLOCK 32
#define LEAST_BLOCK 16

static int limit_of(const oxp_choice *c)
{
    return c->limit < 64 ? c->limit : OWN_LIMIT;
}

int oxp_packed_bits(const oxp_choice *c)
{
    int bits = 1;
    for (int limit = limit_of(c); limit > 0; limit /= 2)
        bits++;
    return bits;
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
    size_t most = c->block ? c->block : OWN_BLOCK;
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

/* ---- codes ---- */

typedef struct packed_codes {
    oxp_weight_layout layout;
    int8_t *codes;
    uint16_t *halves; /* scales in half precision */
} packed_codes;

#define LEAST_HALF 6.103515625e-5f /* the smallest normal one */
#define MOST_HALF 65504.0f

/* Scales of least squared error, rounded to half precision before the codes are chosen. */
static oxp_status make_codes(packed_codes *out, oxp_arena *arena, const oxp_site *s,
                             const oxp_choice *c)
{
    const float *w = s->value->constant.data;
    oxp_weight_layout l = out->layout = block_layout(s, c);
    size_t count = l.blocks * l.channels;
    float *scales = oxp_arena_alloc(arena, count, sizeof *scales);
    out->codes = oxp_arena_alloc(arena, s->value->constant.count, 1);
    out->halves = oxp_arena_alloc(arena, count, sizeof *out->halves);
    if (!scales || !out->codes || !out->halves)
        return OXP_ELIMIT;
    oxp_quantise_weight(out->codes, scales, w, l, limit_of(c));
    for (size_t i = 0; i < count; i++) {
        out->halves[i] = oxp_float_to_half(fminf(fmaxf(scales[i], LEAST_HALF), MOST_HALF));
        scales[i] = oxp_half_to_float(out->halves[i]);
    }
    oxp_quantise_weight_with(out->codes, scales, w, l, limit_of(c));
    return OXP_OK;
}

oxp_status oxp_packed_measure(oxp_codes *out, oxp_ctx *ctx, const oxp_site *s, const oxp_choice *c)
{
    oxp_arena arena;
    packed_codes p;
    oxp_arena_init(&arena, ctx);
    oxp_status status = make_codes(&p, &arena, s, c);
    float *real = NULL;
    if (status == OXP_OK)
        real = oxp_arena_alloc(&arena, p.layout.blocks * p.layout.channels, sizeof *real);
    if (status == OXP_OK && !real)
        status = OXP_ELIMIT;
    if (status == OXP_OK) {
        for (size_t i = 0; i < p.layout.blocks * p.layout.channels; i++)
            real[i] = oxp_half_to_float(p.halves[i]);
        const float *w = s->value->constant.data;
        out->noise = oxp_rounding_change(NULL, w, real, p.layout, limit_of(c));
        out->signal = 0;
        for (size_t i = 0; i < s->value->constant.count; i++)
            out->signal += (double)w[i] * (double)w[i];
    }
    oxp_arena_free(&arena);
    return status;
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

/* ---- pieces of the expression ---- */

typedef struct writer {
    oxp_edit *e;
    const oxp_site *s;
    size_t at; /* where the next node goes */
} writer;

static oxp_status add(writer *w, const char *type, const char *a, const char *b, const char **out)
{
    const char *inputs[2] = {a, b};
    oxp_node_proto *node;
    return oxp_edit_node(&node, w->e, w->s->graph, w->at++, type, b ? 2 : 1, inputs, out);
}

static oxp_status cast(writer *w, const char *from, const char **out)
{
    oxp_node_proto *node;
    OXP_TRY(oxp_edit_node(&node, w->e, w->s->graph, w->at++, "Cast", 1, &from, out));
    return oxp_edit_set_int(w->e->model, node, "to", OXP_FLOAT);
}

static oxp_status number(writer *w, float value, const char **out)
{
    const char *key = oxp_arena_printf(&w->e->arena, "number/%g", (double)value);
    return key ? oxp_edit_shared(out, w->e, w->s->graph, key, OXP_FLOAT, 0, NULL, &value)
               : OXP_ELIMIT;
}

/* 2^(width (k + first)) for the 8 / width codes of a byte. */
static oxp_status divisors(writer *w, int width, int first, const char **out)
{
    float values[8];
    int64_t count = 8 / width;
    for (int64_t k = 0; k < count; k++)
        values[k] = (float)(1u << (width * ((int)k + first)));
    const char *key = oxp_arena_printf(&w->e->arena, "divisors/%d/%d", width, first);
    return key ? oxp_edit_shared(out, w->e, w->s->graph, key, OXP_FLOAT, 1, &count, values)
               : OXP_ELIMIT;
}

static oxp_status reshape(writer *w, const char *from, int rank, const int64_t *dims,
                          const char **out)
{
    const char *shape;
    int64_t count = rank;
    char *key = oxp_arena_printf(&w->e->arena, "shape");
    for (int i = 0; key && i < rank; i++)
        key = oxp_arena_printf(&w->e->arena, "%s/%lld", key, (long long)dims[i]);
    if (!key)
        return OXP_ELIMIT;
    OXP_TRY(oxp_edit_shared(&shape, w->e, w->s->graph, key, OXP_INT64, 1, &count, dims));
    return add(w, "Reshape", from, shape, out);
}

/* Without the codes that only fill the last byte. */
static oxp_status cut(writer *w, const char *from, int64_t count, const char **out)
{
    int64_t one = 1, zero = 0;
    const char *starts, *ends, *key = oxp_arena_printf(&w->e->arena, "end/%lld", (long long)count);
    if (!key)
        return OXP_ELIMIT;
    OXP_TRY(oxp_edit_shared(&starts, w->e, w->s->graph, "start/0", OXP_INT64, 1, &one, &zero));
    OXP_TRY(oxp_edit_shared(&ends, w->e, w->s->graph, key, OXP_INT64, 1, &one, &count));
    const char *inputs[3] = {from, starts, ends};
    oxp_node_proto *node;
    return oxp_edit_node(&node, w->e, w->s->graph, w->at++, "Slice", 3, inputs, out);
}

/* One plane as codes of its own, [count]. */
static oxp_status unpack(writer *w, const packed_codes *c, int offset, oxp_bit_plane p,
                         const char **out)
{
    oxp_edit *e = w->e;
    size_t count = w->s->value->constant.count, bytes = oxp_bit_plane_bytes(p, count);
    int64_t dims[2] = {(int64_t)bytes, 1}, flat = -1;
    uint8_t *packed = oxp_arena_alloc(&e->arena, bytes, 1);
    const char *data, *real = NULL, *low, *high, *base, *whole = NULL, *above = NULL, *a = NULL,
                      *b = NULL, *rest = NULL, *codes = NULL;
    if (!packed)
        return OXP_ELIMIT;
    oxp_bit_plane_pack(packed, c->codes, count, offset, p);
    OXP_TRY(oxp_edit_constant(&data, e, w->s->graph, "q", OXP_UINT8, 2, dims, packed));
    OXP_TRY(divisors(w, p.width, 0, &low));
    OXP_TRY(divisors(w, p.width, 1, &high));
    OXP_TRY(number(w, (float)(1 << p.width), &base));
    OXP_TRY(cast(w, data, &real));
    OXP_TRY(add(w, "Div", real, low, &a));
    OXP_TRY(add(w, "Floor", a, NULL, &whole));
    OXP_TRY(add(w, "Div", real, high, &b));
    OXP_TRY(add(w, "Floor", b, NULL, &above));
    OXP_TRY(add(w, "Mul", above, base, &rest));
    OXP_TRY(add(w, "Sub", whole, rest, &codes));
    OXP_TRY(reshape(w, codes, 1, &flat, out));
    if (bytes * (8 / (size_t)p.width) == count)
        return OXP_OK;
    const char *all = *out;
    *out = NULL;
    return cut(w, all, (int64_t)count, out);
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

static oxp_status add_planes(writer *w, const packed_codes *c, int bits, const char **sum)
{
    oxp_bit_plane planes[OXP_BIT_PLANES_MAX];
    int count = oxp_bit_planes(planes, bits);
    for (int p = 0; p < count; p++) {
        const char *plane = NULL, *weight, *scaled = NULL, *before = *sum;
        OXP_TRY(unpack(w, c, 1 << (bits - 1), planes[p], &plane));
        if (p == 0) {
            *sum = plane;
            continue;
        }
        OXP_TRY(number(w, (float)(1 << planes[p].shift), &weight));
        OXP_TRY(add(w, "Mul", plane, weight, &scaled));
        *sum = NULL;
        OXP_TRY(add(w, "Add", before, scaled, sum));
    }
    return OXP_OK;
}

static oxp_status store(oxp_edit *e, const oxp_site *s)
{
    const oxp_choice *choice = &e->choices[s->index];
    const oxp_tensor *t = &s->value->constant;
    int bits = oxp_packed_bits(choice);
    int64_t codes_shape[4], scales_shape[4];
    const char *scales, *sum = NULL, *zero, *centred = NULL, *blocks = NULL, *real = NULL,
                        *product = NULL, *name = s->value->name;
    writer w = {.e = e, .s = s};
    packed_codes c;
    OXP_TRY(make_codes(&c, &e->arena, s, choice));
    block_shape(&c.layout, codes_shape, scales_shape);
    OXP_TRY(oxp_edit_constant(&scales, e, s->graph, "s", OXP_FLOAT16, 4, scales_shape, c.halves));
    OXP_TRY(oxp_edit_take_place(&w.at, e, s));
    OXP_TRY(add_planes(&w, &c, bits, &sum));
    OXP_TRY(number(&w, (float)(1 << (bits - 1)), &zero));
    OXP_TRY(add(&w, "Sub", sum, zero, &centred));
    OXP_TRY(reshape(&w, centred, 4, codes_shape, &blocks));
    OXP_TRY(cast(&w, scales, &real));
    OXP_TRY(add(&w, "Mul", blocks, real, &product));
    return reshape(&w, product, t->rank, t->dims, &name);
}

static oxp_status apply(oxp_edit *e)
{
    for (size_t i = 0; i < e->site_count; i++)
        if (e->choices[i].technique == &oxp_technique_w4)
            OXP_TRY(store(e, &e->sites[i]));
    return OXP_OK;
}

static size_t bytes(const oxp_site *s, const oxp_choice *c)
{
    oxp_bit_plane planes[OXP_BIT_PLANES_MAX];
    int count = oxp_bit_planes(planes, oxp_packed_bits(c));
    size_t sum = 2 * (s->value->constant.count / oxp_packed_block(s, c));
    for (int p = 0; p < count; p++)
        sum += oxp_bit_plane_bytes(planes[p], s->value->constant.count);
    return sum;
}

const oxp_technique oxp_technique_w4 = {
    .name = "w4",
    .summary = "weights stored in 2 to 7 bits (4), a scale per block, folded at load: float speed",
    .stage = OXP_STAGE_ENCODE,
    .level = OXP_LEVEL_BYTE,
    .opset = 10,
    .applies = applies,
    .apply = apply,
    .bytes = bytes,
};
