/* cast.c - Cast and CastLike: between BOOL, all integers from 2 bits up, and all floats down to
 * FLOAT4E2M1.
 *
 * Elements go through blocks of double (from a float) or int64 (from an integer); every float
 * result is rounded once, to nearest even. Integer to integer keeps the low bits. Float to integer
 * cuts towards zero; what the standard leaves open is defined: NaN gives 0, out of range saturates,
 * but types of 2 and 4 bits keep the low bits, as in the standard's own cases. Strings and complex
 * numbers are not converted. */
#include "operators/cast_float.h"
#include "operators/cast_float8.h"
#include "operators/cast_integer.h"
#include "operators/gradient.h"
#include "operators/movement.h"
#include "operators/vector_math.h"

typedef struct cast_state {
    oxp_dtype to;
    bool saturate;
    oxp_e8m0_rounding rounding;
} cast_state;

static bool from_integer(oxp_dtype dtype)
{
    return dtype == OXP_BOOL || oxp_dtype_is_integer(dtype);
}

static bool castable(oxp_dtype dtype)
{
    return from_integer(dtype) || oxp_dtype_is_float(dtype) || oxp_dtype_is_minifloat(dtype);
}

static oxp_status prepare_to(oxp_node *n, oxp_dtype to)
{
    static const char *const modes[] = {"up", "down", "nearest", NULL};
    const oxp_tensor *x = n->in[0];
    cast_state *state = oxp_node_state(n, sizeof *state);
    if (!state)
        return n->ctx->status;
    int mode = 0;
    OXP_TRY(oxp_move_choice(n, "round_mode", "up", modes, &mode));
    state->to = to;
    state->saturate = oxp_attr_int(n, "saturate", 1) != 0;
    state->rounding = (oxp_e8m0_rounding)mode;
    if (!castable(x->dtype))
        return oxp_node_bad_dtype(n, 0);
    if (!castable(to)) {
        return oxp_node_fail(n, OXP_EUNSUPPORTED, "E-OP-DTYPE", "casting %s to %s is not supported",
                             oxp_dtype_name(x->dtype), oxp_dtype_name(to));
    }
    if (to == x->dtype)
        return oxp_output_alias(n, 0, 0, x->rank, x->dims);
    return oxp_output(n, 0, to, x->rank, x->dims);
}

static oxp_status prepare_cast(oxp_node *n)
{
    int64_t to = oxp_attr_int(n, "to", 0);
    if (to <= OXP_UNDEFINED || to >= OXP_DTYPE_COUNT) {
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE",
                             "to is %lld, expected a data type from 1 to %d", (long long)to,
                             OXP_DTYPE_COUNT - 1);
    }
    return prepare_to(n, (oxp_dtype)to);
}

static oxp_status prepare_cast_like(oxp_node *n)
{
    return prepare_to(n, n->in[1]->dtype);
}

/* ---- reading a block ---- */

#define WIDEN(function, T, R)                                         \
    OXP_WIDE static void function(const T *from, R *to, size_t count) \
    {                                                                 \
        for (size_t i = 0; i < count; i++)                            \
            to[i] = (R)from[i];                                       \
    }
WIDEN(widen_float, float, double)
WIDEN(widen_u8, uint8_t, int64_t)
WIDEN(widen_i32, int32_t, int64_t)
WIDEN(widen_i64, int64_t, int64_t)

static void load_integers(const oxp_tensor *x, size_t start, int64_t *to, size_t count)
{
    if (x->dtype == OXP_INT64 || x->dtype == OXP_UINT64) {
        widen_i64((const int64_t *)x->data + start, to, count);
    } else if (x->dtype == OXP_INT32) {
        widen_i32((const int32_t *)x->data + start, to, count);
    } else if (x->dtype == OXP_UINT8) {
        widen_u8((const uint8_t *)x->data + start, to, count);
    } else {
        for (size_t i = 0; i < count; i++)
            to[i] = oxp_tensor_int(x, start + i);
    }
}

static unsigned code_at(const oxp_tensor *x, size_t i)
{
    const uint8_t *data = x->data;
    if (x->dtype == OXP_FLOAT4E2M1)
        return (unsigned)data[i / 2] >> (i % 2 * 4) & 0xfu;
    return data[i];
}

static void load_floats(const oxp_tensor *x, size_t start, double *to, size_t count)
{
    float block[OXP_BLOCK];
    if (x->dtype == OXP_DOUBLE) {
        memcpy(to, (const double *)x->data + start, count * sizeof *to);
    } else if (x->dtype == OXP_FLOAT) {
        widen_float((const float *)x->data + start, to, count);
    } else if (oxp_dtype_is_half(x->dtype)) {
        oxp_floats_load(block, (const uint16_t *)x->data + start, x->dtype, count);
        widen_float(block, to, count);
    } else {
        for (size_t i = 0; i < count; i++) {
            unsigned code = code_at(x, start + i);
            to[i] = (double)(x->dtype == OXP_FLOAT8E8M0 ? oxp_e8m0_load(code)
                                                        : oxp_float8_load(x->dtype, code));
        }
    }
}

/* ---- writing a block ---- */

static void store_bits(oxp_tensor *y, size_t i, unsigned value)
{
    unsigned bits = oxp_dtype_bits(y->dtype), shift = (unsigned)(i % (8 / bits)) * bits;
    uint8_t *byte = (uint8_t *)y->data + i / (8 / bits);
    unsigned mask = (1u << bits) - 1;
    unsigned kept = shift == 0 ? 0 : *byte & ~(mask << shift);
    *byte = (uint8_t)(kept | (value & mask) << shift);
}

static void store_integers(oxp_tensor *y, size_t start, const int64_t *from, size_t count)
{
    if (y->dtype == OXP_BOOL) {
        for (size_t i = 0; i < count; i++)
            ((uint8_t *)y->data)[start + i] = from[i] != 0;
    } else if (oxp_dtype_bits(y->dtype) < 8) {
        for (size_t i = 0; i < count; i++)
            store_bits(y, start + i, (unsigned)from[i]);
    } else {
        for (size_t i = 0; i < count; i++)
            oxp_integer_store(y->data, y->dtype, start + i, from[i]);
    }
}

/* Rounds to the odd float when inexact: a second rounding, to fewer bits, is then the right one. */
static float round_to_odd(double v)
{
    float f = (float)v;
    if (v != v || (double)f == v)
        return f;
    uint32_t bits = oxp_to_bits(f);
    if (fabs((double)f) > fabs(v))
        bits -= 1;
    return oxp_from_bits(bits | 1u);
}

static void store_small_floats(const cast_state *state, oxp_tensor *y, size_t start,
                               const float *from, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        unsigned code = y->dtype == OXP_FLOAT8E8M0
                            ? oxp_e8m0_store(from[i], state->saturate, state->rounding)
                            : oxp_float8_store(y->dtype, from[i], state->saturate);
        if (y->dtype == OXP_FLOAT4E2M1)
            store_bits(y, start + i, code);
        else
            ((uint8_t *)y->data)[start + i] = (uint8_t)code;
    }
}

static void store_floats(const cast_state *state, oxp_tensor *y, size_t start, const double *from,
                         size_t count)
{
    float block[OXP_BLOCK];
    if (y->dtype == OXP_DOUBLE) {
        memcpy((double *)y->data + start, from, count * sizeof *from);
        return;
    }
    if (y->dtype == OXP_FLOAT) {
        for (size_t i = 0; i < count; i++)
            ((float *)y->data)[start + i] = (float)from[i];
        return;
    }
    for (size_t i = 0; i < count; i++)
        block[i] = round_to_odd(from[i]);
    if (oxp_dtype_is_half(y->dtype))
        oxp_floats_store((uint16_t *)y->data + start, y->dtype, block, count);
    else
        store_small_floats(state, y, start, block, count);
}

/* ---- the four ways ---- */

/* Cut towards zero and limited to what `bits` bits hold. UINT64 comes out as its bits. */
static void cut(double *v, int64_t *to, size_t count, unsigned bits, bool is_unsigned)
{
    double high = ldexp(1.0, (int)bits - (is_unsigned ? 0 : 1)), low = is_unsigned ? 0.0 : -high;
    int64_t most =
        is_unsigned ? (int64_t)(UINT64_MAX >> (64 - bits)) : (int64_t)(UINT64_MAX >> (65 - bits));
    int64_t least = is_unsigned ? 0 : -most - 1;
    for (size_t i = 0; i < count; i++) {
        if (v[i] != v[i])
            to[i] = 0;
        else if (v[i] >= high)
            to[i] = most;
        else if (v[i] <= low)
            to[i] = least;
        else
            to[i] = v[i] >= 0x1p63 ? (int64_t)(uint64_t)v[i] : (int64_t)v[i];
    }
}

static void float_block(const cast_state *state, const oxp_tensor *x, oxp_tensor *y, size_t start,
                        size_t count)
{
    double values[OXP_BLOCK];
    int64_t integers[OXP_BLOCK];
    load_floats(x, start, values, count);
    if (y->dtype == OXP_BOOL) {
        for (size_t i = 0; i < count; i++)
            ((uint8_t *)y->data)[start + i] = values[i] != 0.0;
    } else if (oxp_dtype_is_integer(y->dtype)) {
        unsigned bits = oxp_dtype_bits(y->dtype);
        cut(values, integers, count, bits < 8 ? 64 : bits, oxp_integer_is_unsigned(y->dtype));
        store_integers(y, start, integers, count);
    } else {
        store_floats(state, y, start, values, count);
    }
}

/* FLOAT directly, so that 64-bit integers are rounded once; doubles hold all that fewer bits can
 * tell apart. */
static void integer_block(const cast_state *state, const oxp_tensor *x, oxp_tensor *y, size_t start,
                          size_t count)
{
    int64_t integers[OXP_BLOCK];
    double values[OXP_BLOCK];
    bool wraps = x->dtype == OXP_UINT64;
    load_integers(x, start, integers, count);
    if (from_integer(y->dtype)) {
        store_integers(y, start, integers, count);
    } else if (y->dtype == OXP_FLOAT) {
        float *to = (float *)y->data + start;
        for (size_t i = 0; i < count; i++)
            to[i] = wraps ? (float)(uint64_t)integers[i] : (float)integers[i];
    } else {
        for (size_t i = 0; i < count; i++)
            values[i] = wraps ? (double)(uint64_t)integers[i] : (double)integers[i];
        store_floats(state, y, start, values, count);
    }
}

static oxp_status forward(oxp_node *n)
{
    const cast_state *state = n->state;
    const oxp_tensor *x = n->in[0];
    oxp_tensor *y = &n->out[0];
    if (x->dtype == y->dtype)
        return OXP_OK;
    if (x->dtype == OXP_FLOAT && oxp_dtype_is_half(y->dtype)) {
        oxp_floats_store(y->data, y->dtype, x->data, x->count);
        return OXP_OK;
    }
    if (y->dtype == OXP_FLOAT && oxp_dtype_is_half(x->dtype)) {
        oxp_floats_load(y->data, x->data, x->dtype, x->count);
        return OXP_OK;
    }
    for (size_t i = 0; i < x->count; i += OXP_BLOCK) {
        size_t count = x->count - i < OXP_BLOCK ? x->count - i : OXP_BLOCK;
        if (from_integer(x->dtype))
            integer_block(state, x, y, i, count);
        else
            float_block(state, x, y, i, count);
    }
    return OXP_OK;
}

const oxp_operator oxp_op_cast_6 = {
    .domain = "",
    .type = "Cast",
    .since = 6,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .prepare = prepare_cast,
    .forward = forward,
    .backward = oxp_backward_same,
    .examples =
        (const char *const[]){"X[2,3]; to=1", "X[2,3]; to=10", "X[2,3]:f16; to=1", "X[2,3]; to=16",
                              "X[4]={-2.7,-0.5,1.9,300.0}; to=3", "X[3]={-1.0,0.0,0.5}; to=9",
                              "X[3]:i64={-1,255,256}; to=2", "X[3]:i64; to=1", "X[3]:bool; to=7",
                              "X[3]:f64; to=10", "X[5]; to=17", "X[5]; to=19", "X[5]:i32; to=22",
                              "X[3]:u64; to=11", NULL},
};

const oxp_operator oxp_op_cast_like_15 = {
    .domain = "",
    .type = "CastLike",
    .since = 15,
    .min_in = 2,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .prepare = prepare_cast_like,
    .forward = forward,
    .backward = oxp_backward_same,
    .examples = (const char *const[]){"X[2,3] T[1]:f16", "X[2,3] T[1]:i32", "X[3]:i64 T[]",
                                      "X[3] T[]", NULL},
};
