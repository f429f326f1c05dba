/* quantize_linear_layout.c - see quantize_linear_layout.h. */
#include "operators/quantize_linear_layout.h"

#include "operators/cast_float8.h"
#include "operators/cast_integer.h"
#include "operators/real.h"

static oxp_status bad_scale(oxp_node *n, const char *expected)
{
    char scale[OXP_SHAPE_TEXT_MAX], x[OXP_SHAPE_TEXT_MAX];
    return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                         "scale has shape %s for an input of %s, expected %s",
                         oxp_shape_text(scale, n->in[1]->rank, n->in[1]->dims),
                         oxp_shape_text(x, n->in[0]->rank, n->in[0]->dims), expected);
}

static oxp_status check_blocks(oxp_node *n, int axis, int64_t block)
{
    const oxp_tensor *x = n->in[0], *scale = n->in[1];
    bool fits = scale->rank == x->rank;
    for (int d = 0; fits && d < x->rank; d++) {
        int64_t wanted = d == axis ? x->dims[d] / block + (x->dims[d] % block != 0) : x->dims[d];
        fits = scale->dims[d] == wanted;
    }
    return fits ? OXP_OK
                : bad_scale(n, "the input's with the axis divided by block_size, rounded up");
}

static oxp_status check_zero_point(oxp_node *n)
{
    const oxp_tensor *scale = n->in[1];
    if (!oxp_node_has(n, 2) || n->in[2]->count == scale->count)
        return OXP_OK;
    return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "zero point has %zu values, scale has %zu",
                         n->in[2]->count, scale->count);
}

oxp_status oxp_quantization_prepare(oxp_node *n, oxp_quantization *q)
{
    const oxp_tensor *x = n->in[0], *scale = n->in[1];
    int64_t value = oxp_attr_int(n, "axis", 1), block = oxp_attr_int(n, "block_size", 0);
    int axis = 0;
    if (block < 0) {
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE",
                             "block_size is %lld, expected 0 or more", (long long)block);
    }
    *q = (oxp_quantization){
        .count = x->count, .outer = 1, .length = 1, .inner = 1, .block = (size_t)block};
    q->per_tensor = block == 0 && scale->rank <= 1 && scale->count == 1;
    OXP_TRY(check_zero_point(n));
    if (q->per_tensor)
        return OXP_OK;
    OXP_TRY(oxp_node_axis(n, value, x->rank, false, &axis));
    for (int d = 0; d < x->rank; d++)
        *(d < axis ? &q->outer : d == axis ? &q->length : &q->inner) *= (size_t)x->dims[d];
    if (block > 0)
        return check_blocks(n, axis, block);
    if (scale->rank == 1 && scale->dims[0] == x->dims[axis])
        return OXP_OK;
    return bad_scale(n, "a scalar or the length of the axis");
}

static void walk_blocks(const oxp_quantization *q, oxp_quantization_visit visit, void *user)
{
    size_t blocks = q->length / q->block + (q->length % q->block != 0);
    for (size_t o = 0; o < q->outer; o++)
        for (size_t b = 0; b < blocks; b++) {
            size_t first = b * q->block, left = q->length - first,
                   size = left < q->block ? left : q->block;
            size_t offset = (o * q->length + first) * q->inner, scale = (o * blocks + b) * q->inner;
            if (q->inner == 1) {
                visit(user, offset, size, scale, false);
                continue;
            }
            for (size_t k = 0; k < size; k++)
                visit(user, offset + k * q->inner, q->inner, scale, true);
        }
}

void oxp_quantization_walk(const oxp_quantization *q, oxp_quantization_visit visit, void *user)
{
    if (q->count == 0)
        return;
    if (q->per_tensor) {
        visit(user, 0, q->count, 0, false);
    } else if (q->block > 0) {
        walk_blocks(q, visit, user);
    } else if (q->inner == 1) {
        for (size_t o = 0; o < q->outer; o++)
            visit(user, o * q->length, q->length, 0, true);
    } else {
        for (size_t line = 0; line < q->outer * q->length; line++)
            visit(user, line * q->inner, q->inner, line % q->length, false);
    }
}

void oxp_codes_unpack(int8_t *to, const oxp_tensor *packed)
{
    unsigned bits = oxp_dtype_bits(packed->dtype), per_byte = 8 / bits, mask = (1u << bits) - 1;
    bool is_signed = packed->dtype == OXP_INT4 || packed->dtype == OXP_INT2;
    unsigned sign = is_signed ? 1u << (bits - 1) : 0;
    const uint8_t *bytes = packed->data;
    for (size_t i = 0; i < packed->count; i++) {
        unsigned code = (unsigned)bytes[i / per_byte] >> (i % per_byte * bits) & mask;
        to[i] = (int8_t)((int)(code ^ sign) - (int)sign);
    }
}

void oxp_codes_pack(oxp_tensor *packed, const int8_t *from)
{
    unsigned bits = oxp_dtype_bits(packed->dtype), per_byte = 8 / bits, mask = (1u << bits) - 1;
    uint8_t *bytes = packed->data;
    for (size_t i = 0; i < packed->count; i += per_byte) {
        unsigned byte = 0;
        for (unsigned k = 0; k < per_byte && i + k < packed->count; k++)
            byte |= ((unsigned)from[i + k] & mask) << (k * bits);
        bytes[i / per_byte] = (uint8_t)byte;
    }
}

static float value_of(const oxp_tensor *t, size_t i)
{
    const uint8_t *codes = t->data;
    if (t->dtype == OXP_FLOAT8E8M0)
        return oxp_e8m0_load(codes[i]);
    if (t->dtype == OXP_FLOAT4E2M1)
        return oxp_float8_load(t->dtype, (unsigned)codes[i / 2] >> (i % 2 * 4) & 0xfu);
    if (oxp_dtype_is_float8(t->dtype))
        return oxp_float8_load(t->dtype, codes[i]);
    return (float)oxp_tensor_real(t, i);
}

oxp_status oxp_quantization_floats(oxp_node *n, int i, const float **values)
{
    const oxp_tensor *t = oxp_node_has(n, i) ? n->in[i] : NULL;
    if (t && t->dtype == OXP_FLOAT) {
        *values = t->data;
        return OXP_OK;
    }
    float *floats = oxp_node_scratch(n, t ? t->count : n->in[1]->count, sizeof *floats);
    if (!floats)
        return n->ctx->status;
    for (size_t k = 0; t && k < t->count; k++)
        floats[k] = value_of(t, k);
    *values = floats;
    return OXP_OK;
}
