/* expression.c - see expression.h. */
#include "techniques/expression.h"

oxp_status oxp_expression_add(oxp_expression *x, const char *type, const char *a, const char *b,
                              const char **out)
{
    const char *inputs[2] = {a, b};
    oxp_node_proto *node;
    return oxp_edit_node(&node, x->e, x->graph, x->at++, type, b ? 2 : 1, inputs, out);
}

oxp_status oxp_expression_cast(oxp_expression *x, const char *from, oxp_dtype to, const char **out)
{
    oxp_node_proto *node;
    OXP_TRY(oxp_edit_node(&node, x->e, x->graph, x->at++, "Cast", 1, &from, out));
    return oxp_edit_set_int(x->e->model, node, "to", (int64_t)to);
}

oxp_status oxp_expression_number(oxp_expression *x, float value, const char **out)
{
    const char *key = oxp_arena_printf(&x->e->arena, "number/%g", (double)value);
    return key ? oxp_edit_shared(out, x->e, x->graph, key, OXP_FLOAT, 0, NULL, &value) : OXP_ELIMIT;
}

/* An INT64 vector, shared by all that hold the same. */
static oxp_status integers(oxp_expression *x, int rank, const int64_t *values, const char **out)
{
    int64_t count = rank;
    const char *key = "integers";
    for (int i = 0; key && i < rank; i++)
        key = oxp_arena_printf(&x->e->arena, "%s/%lld", key, (long long)values[i]);
    return key ? oxp_edit_shared(out, x->e, x->graph, key, OXP_INT64, 1, &count, values)
               : OXP_ELIMIT;
}

oxp_status oxp_expression_reshape(oxp_expression *x, const char *from, int rank,
                                  const int64_t *dims, const char **out)
{
    const char *shape;
    OXP_TRY(integers(x, rank, dims, &shape));
    return oxp_expression_add(x, "Reshape", from, shape, out);
}

oxp_status oxp_expression_transpose(oxp_expression *x, const char *from, int rank,
                                    const int64_t *order, const char **out)
{
    oxp_node_proto *node;
    OXP_TRY(oxp_edit_node(&node, x->e, x->graph, x->at++, "Transpose", 1, &from, out));
    return oxp_edit_set_ints(x->e->model, node, "perm", (size_t)rank, order);
}

oxp_status oxp_expression_first(oxp_expression *x, const char *from, int64_t axis, int64_t count,
                                const char **out)
{
    const int64_t zero = 0;
    const char *starts, *ends;
    OXP_TRY(integers(x, 1, &zero, &starts));
    OXP_TRY(integers(x, 1, &count, &ends));
    const char *inputs[4] = {from, starts, ends, NULL};
    oxp_node_proto *node;
    if (axis < 0)
        return oxp_edit_node(&node, x->e, x->graph, x->at++, "Slice", 3, inputs, out);
    OXP_TRY(integers(x, 1, &axis, &inputs[3]));
    return oxp_edit_node(&node, x->e, x->graph, x->at++, "Slice", 4, inputs, out);
}

/* ---- whole numbers in few bits ---- */

/* A byte of its own below the planes, where there are more than 8 bits. */
static bool has_byte(int bits)
{
    return bits > 8 && bits < 16;
}

static int index_planes(oxp_bit_plane *planes, int bits)
{
    int rest = has_byte(bits) ? bits - 8 : bits;
    if (bits == 8 || bits == 16)
        return 0;
    planes[0] = (oxp_bit_plane){0, 1};
    return rest == 1 ? 1 : oxp_bit_planes(planes, rest);
}

size_t oxp_indices_bytes(size_t count, int bits)
{
    oxp_bit_plane planes[OXP_BIT_PLANES_MAX];
    int planes_count = index_planes(planes, bits);
    size_t bytes = bits == 16 ? 2 * count : bits == 8 || has_byte(bits) ? count : 0;
    for (int p = 0; p < planes_count; p++)
        bytes += oxp_bit_plane_bytes(planes[p], count);
    return bytes;
}

/* 2^(width (k + first)) for the 8 / width numbers of a byte. */
static oxp_status divisors(oxp_expression *x, int width, int first, const char **out)
{
    float values[8];
    int64_t count = 8 / width;
    for (int64_t k = 0; k < count; k++)
        values[k] = (float)(1u << (width * ((int)k + first)));
    const char *key = oxp_arena_printf(&x->e->arena, "divisors/%d/%d", width, first);
    return key ? oxp_edit_shared(out, x->e, x->graph, key, OXP_FLOAT, 1, &count, values)
               : OXP_ELIMIT;
}

/* floor(byte / 2^(w k)) - 2^w floor(byte / 2^(w (k + 1))), as FLOAT [count] */
static oxp_status take_apart(oxp_expression *x, const char *bytes, int width, int64_t count,
                             bool is_full, const char **out)
{
    const int64_t flat = -1;
    const char *real = NULL, *low, *high, *base, *a = NULL, *b = NULL, *whole = NULL, *above = NULL,
               *rest = NULL, *codes = NULL, *all = NULL;
    OXP_TRY(divisors(x, width, 0, &low));
    OXP_TRY(divisors(x, width, 1, &high));
    OXP_TRY(oxp_expression_number(x, (float)(1 << width), &base));
    OXP_TRY(oxp_expression_cast(x, bytes, OXP_FLOAT, &real));
    OXP_TRY(oxp_expression_add(x, "Div", real, low, &a));
    OXP_TRY(oxp_expression_add(x, "Floor", a, NULL, &whole));
    OXP_TRY(oxp_expression_add(x, "Div", real, high, &b));
    OXP_TRY(oxp_expression_add(x, "Floor", b, NULL, &above));
    OXP_TRY(oxp_expression_add(x, "Mul", above, base, &rest));
    OXP_TRY(oxp_expression_add(x, "Sub", whole, rest, &codes));
    OXP_TRY(oxp_expression_reshape(x, codes, 1, &flat, &all));
    *out = all;
    if (is_full)
        return OXP_OK;
    *out = NULL;
    return oxp_expression_first(x, all, -1, count, out);
}

oxp_status oxp_expression_plane(oxp_expression *x, const char *base, const int8_t *codes,
                                size_t count, oxp_bit_plane plane, const char **out)
{
    size_t bytes = oxp_bit_plane_bytes(plane, count);
    int64_t dims[2] = {(int64_t)bytes, 1};
    const char *data;
    uint8_t *packed = oxp_arena_alloc(&x->e->arena, bytes, 1);
    if (!packed)
        return OXP_ELIMIT;
    oxp_bit_plane_pack(packed, codes, count, 0, plane);
    OXP_TRY(oxp_edit_constant(&data, x->e, x->graph, base, OXP_UINT8, 2, dims, packed));
    return take_apart(x, data, plane.width, (int64_t)count,
                      bytes * (8 / (size_t)plane.width) == count, out);
}

static oxp_status as_they_are(oxp_expression *x, const uint16_t *values, size_t count, bool pairs,
                              const char **out)
{
    int64_t dims[1] = {(int64_t)count};
    if (pairs)
        return oxp_edit_constant(out, x->e, x->graph, "i", OXP_UINT16, 1, dims, values);
    uint8_t *bytes = oxp_arena_alloc(&x->e->arena, count, 1);
    if (!bytes)
        return OXP_ELIMIT;
    for (size_t i = 0; i < count; i++)
        bytes[i] = (uint8_t)(values[i] & 255);
    return oxp_edit_constant(out, x->e, x->graph, "i", OXP_UINT8, 1, dims, bytes);
}

oxp_status oxp_expression_add_part(oxp_expression *x, const char *part, int shift, const char **sum)
{
    const char *scaled = part, *base, *before = *sum;
    if (shift) {
        scaled = NULL;
        OXP_TRY(oxp_expression_number(x, (float)(1 << shift), &base));
        OXP_TRY(oxp_expression_add(x, "Mul", part, base, &scaled));
    }
    *sum = scaled;
    if (!before)
        return OXP_OK;
    *sum = NULL;
    return oxp_expression_add(x, "Add", before, scaled, sum);
}

oxp_status oxp_expression_indices(oxp_expression *x, const uint16_t *values, size_t count, int bits,
                                  const char **out)
{
    oxp_bit_plane planes[OXP_BIT_PLANES_MAX];
    int planes_count = index_planes(planes, bits), below = has_byte(bits) ? 8 : 0;
    const char *data, *sum = NULL;
    if (planes_count == 0) {
        OXP_TRY(as_they_are(x, values, count, bits == 16, &data));
        return oxp_expression_cast(x, data, OXP_INT32, out);
    }
    if (below) {
        OXP_TRY(as_they_are(x, values, count, false, &data));
        OXP_TRY(oxp_expression_cast(x, data, OXP_FLOAT, &sum));
    }
    int8_t *codes = oxp_arena_alloc(&x->e->arena, count, 1);
    if (!codes)
        return OXP_ELIMIT;
    for (size_t i = 0; i < count; i++)
        codes[i] = (int8_t)(values[i] >> below);
    for (int p = 0; p < planes_count; p++) {
        const char *part = NULL;
        OXP_TRY(oxp_expression_plane(x, "i", codes, count, planes[p], &part));
        OXP_TRY(oxp_expression_add_part(x, part, below + planes[p].shift, &sum));
    }
    return oxp_expression_cast(x, sum, OXP_INT32, out);
}
