/* scatter_reduction.c - add, mul, max and min of scattered updates, for every type with arithmetic.
 *
 * Integers wrap. FLOAT16 and BFLOAT16 are computed in float and rounded after each update. Where
 * one side is NaN, max and min give NaN. */
#include "operators/scatter_reduction.h"

#include <string.h>

#include "operators/gradient.h"

#include "util/half.h"

oxp_status oxp_reduction_read(oxp_node *n, oxp_reduction *reduction)
{
    static const char *const names[] = {"none", "add", "mul", "max", "min", NULL};
    int choice;
    OXP_TRY(oxp_move_choice(n, "reduction", "none", names, &choice));
    *reduction = (oxp_reduction)choice;
    oxp_dtype dtype = n->in[0]->dtype;
    if (choice != OXP_REDUCE_NONE && !oxp_dtype_is_integer(dtype) && !oxp_dtype_is_float(dtype))
        return oxp_node_bad_dtype(n, 0);
    return OXP_OK;
}

/* `wide` is unsigned and at least int for integers, so that nothing overflows. */
#define DEFINE_REDUCE(name, type, wide)                                               \
    static type name(oxp_reduction r, type a, type b)                                 \
    {                                                                                 \
        switch (r) {                                                                  \
        case OXP_REDUCE_ADD:                                                          \
            return (type)((wide)a + (wide)b);                                         \
        case OXP_REDUCE_MUL:                                                          \
            return (type)((wide)a * (wide)b);                                         \
        case OXP_REDUCE_MAX:                                                          \
            return a != a || a > b ? a : b;                                           \
        case OXP_REDUCE_MIN:                                                          \
            return a != a || a < b ? a : b;                                           \
        default:                                                                      \
            return b;                                                                 \
        }                                                                             \
    }                                                                                 \
    static void name##_all(oxp_reduction r, type *to, const type *from, size_t count) \
    {                                                                                 \
        for (size_t i = 0; i < count; i++)                                            \
            to[i] = name(r, to[i], from[i]);                                          \
    }

DEFINE_REDUCE(reduce_f32, float, float)
DEFINE_REDUCE(reduce_f64, double, double)
DEFINE_REDUCE(reduce_i8, int8_t, uint32_t)
DEFINE_REDUCE(reduce_i16, int16_t, uint32_t)
DEFINE_REDUCE(reduce_i32, int32_t, uint32_t)
DEFINE_REDUCE(reduce_i64, int64_t, uint64_t)
DEFINE_REDUCE(reduce_u8, uint8_t, uint32_t)
DEFINE_REDUCE(reduce_u16, uint16_t, uint32_t)
DEFINE_REDUCE(reduce_u32, uint32_t, uint32_t)
DEFINE_REDUCE(reduce_u64, uint64_t, uint64_t)

static void reduce_half(oxp_reduction r, uint16_t *to, const uint16_t *from, size_t count)
{
    for (size_t i = 0; i < count; i++)
        to[i] =
            oxp_float_to_half(reduce_f32(r, oxp_half_to_float(to[i]), oxp_half_to_float(from[i])));
}

static void reduce_bfloat16(oxp_reduction r, uint16_t *to, const uint16_t *from, size_t count)
{
    for (size_t i = 0; i < count; i++)
        to[i] = oxp_float_to_bfloat16(
            reduce_f32(r, oxp_bfloat16_to_float(to[i]), oxp_bfloat16_to_float(from[i])));
}

void oxp_reduction_apply(oxp_reduction r, oxp_dtype dtype, size_t element, void *to,
                         const void *from, size_t count)
{
    if (r == OXP_REDUCE_NONE) {
        memcpy(to, from, count * element);
        return;
    }
    switch (dtype) {
    case OXP_FLOAT:
        reduce_f32_all(r, to, from, count);
        break;
    case OXP_DOUBLE:
        reduce_f64_all(r, to, from, count);
        break;
    case OXP_FLOAT16:
        reduce_half(r, to, from, count);
        break;
    case OXP_BFLOAT16:
        reduce_bfloat16(r, to, from, count);
        break;
    case OXP_INT8:
        reduce_i8_all(r, to, from, count);
        break;
    case OXP_INT16:
        reduce_i16_all(r, to, from, count);
        break;
    case OXP_INT32:
        reduce_i32_all(r, to, from, count);
        break;
    case OXP_INT64:
        reduce_i64_all(r, to, from, count);
        break;
    case OXP_UINT8:
        reduce_u8_all(r, to, from, count);
        break;
    case OXP_UINT16:
        reduce_u16_all(r, to, from, count);
        break;
    case OXP_UINT32:
        reduce_u32_all(r, to, from, count);
        break;
    default: /* oxp_reduction_read() let nothing else pass */
        reduce_u64_all(r, to, from, count);
    }
}

/* v' = reduction(v, u): the update's gradient, and what is left for v. */
static void step_back(oxp_reduction reduction, float v, float u, float *du, float *dv)
{
    switch (reduction) {
    case OXP_REDUCE_ADD:
        *du = *dv;
        break;
    case OXP_REDUCE_MUL:
        *du = *dv * v;
        *dv *= u;
        break;
    default: {
        bool taken = reduction == OXP_REDUCE_NONE || (reduction == OXP_REDUCE_MAX ? u > v : u < v);
        *du = taken ? *dv : 0;
        *dv = taken ? 0 : *dv;
    }
    }
}

static float combine(oxp_reduction reduction, float v, float u)
{
    switch (reduction) {
    case OXP_REDUCE_ADD:
        return v + u;
    case OXP_REDUCE_MUL:
        return v * u;
    case OXP_REDUCE_MAX:
        return u > v ? u : v;
    case OXP_REDUCE_MIN:
        return u < v ? u : v;
    default:
        return u;
    }
}

oxp_status oxp_reduction_backward(oxp_node *n, oxp_reduction reduction, const size_t *offsets,
                                  size_t slices, size_t slice)
{
    const float *x, *u, *dy = oxp_dout(n, 0);
    float *dx = oxp_din(n, 0), *du = oxp_din(n, 2);
    size_t count = n->in[0]->count, updates = slices * slice;
    OXP_TRY(oxp_move_floats(n, 0, &x));
    OXP_TRY(oxp_move_floats(n, 2, &u));
    float *value = oxp_node_scratch(n, count, sizeof *value);
    float *left = oxp_node_scratch(n, count, sizeof *left);
    float *found = oxp_node_scratch(n, updates, sizeof *found);
    if (!value || !left || !found)
        return n->ctx->status;
    if (!dy || count == 0)
        return OXP_OK;
    memcpy(value, x, count * sizeof *value);
    memcpy(left, dy, count * sizeof *left);
    for (size_t i = 0; i < updates; i++) {
        size_t at = offsets[i / slice] + i % slice;
        found[i] = value[at];
        value[at] = combine(reduction, value[at], u[i]);
    }
    for (size_t i = updates; i-- > 0;) {
        float part;
        step_back(reduction, found[i], u[i], &part, &left[offsets[i / slice] + i % slice]);
        if (du)
            du[i] += part;
    }
    if (dx)
        oxp_gradient_add(dx, left, count, 1);
    return OXP_OK;
}
