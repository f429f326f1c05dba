/* binary_arithmetic.c - C = A op B, elementwise with broadcasting: Add, Sub, Mul, Div, Mod, PRelu.
 *
 * Integers wrap as two's complement does. Integer Div cuts towards zero; a zero divisor gives 0,
 * for Div and Mod alike, and the least value over -1 is that value again. Mod with fmod=0 takes
 * the sign of B (floor), with fmod=1 that of A (cut). PRelu is x < 0 ? slope x : x, its slope
 * repeats to X and X never to the slope. */
#include "operators/binary.h"

OXP_BINARY_LOOP(OXP_HOT, add_f32, float, float, a + b)
OXP_BINARY_LOOP(OXP_WIDE, add_f64, double, double, a + b)
OXP_BINARY_LOOP(OXP_WIDE, add_8, uint8_t, uint8_t, a + b)
OXP_BINARY_LOOP(OXP_WIDE, add_16, uint16_t, uint16_t, a + b)
OXP_BINARY_LOOP(OXP_WIDE, add_32, uint32_t, uint32_t, a + b)
OXP_BINARY_LOOP(OXP_WIDE, add_64, uint64_t, uint64_t, a + b)

OXP_BINARY_LOOP(OXP_HOT, sub_f32, float, float, a - b)
OXP_BINARY_LOOP(OXP_WIDE, sub_f64, double, double, a - b)
OXP_BINARY_LOOP(OXP_WIDE, sub_8, uint8_t, uint8_t, a - b)
OXP_BINARY_LOOP(OXP_WIDE, sub_16, uint16_t, uint16_t, a - b)
OXP_BINARY_LOOP(OXP_WIDE, sub_32, uint32_t, uint32_t, a - b)
OXP_BINARY_LOOP(OXP_WIDE, sub_64, uint64_t, uint64_t, a - b)

OXP_BINARY_LOOP(OXP_HOT, mul_f32, float, float, a *b)
OXP_BINARY_LOOP(OXP_WIDE, mul_f64, double, double, a *b)
OXP_BINARY_LOOP(OXP_WIDE, mul_8, uint8_t, uint8_t, 1u * a * b)
OXP_BINARY_LOOP(OXP_WIDE, mul_16, uint16_t, uint16_t, 1u * a * b)
OXP_BINARY_LOOP(OXP_WIDE, mul_32, uint32_t, uint32_t, a *b)
OXP_BINARY_LOOP(OXP_WIDE, mul_64, uint64_t, uint64_t, a *b)

OXP_BINARY_LOOP(OXP_HOT, div_f32, float, float, a / b)
OXP_BINARY_LOOP(OXP_WIDE, div_f64, double, double, a / b)

OXP_BINARY_LOOP(OXP_HOT, prelu_f32, float, float, a < 0.0f ? a * b : a)
OXP_BINARY_LOOP(OXP_WIDE, prelu_f64, double, double, a < 0.0 ? a * b : a)
OXP_BINARY_LOOP(OXP_WIDE, prelu_i32, int32_t, uint32_t,
                a < 0 ? (uint32_t)a * (uint32_t)b : (uint32_t)a)
OXP_BINARY_LOOP(OXP_WIDE, prelu_i64, int64_t, uint64_t,
                a < 0 ? (uint64_t)a * (uint64_t)b : (uint64_t)a)
OXP_BINARY_LOOP(OXP_WIDE, prelu_u32, uint32_t, uint32_t, ((void)b, a))
OXP_BINARY_LOOP(OXP_WIDE, prelu_u64, uint64_t, uint64_t, ((void)b, a))

/* Quotients and remainders of the signed type T with unsigned twin U. */
#define SIGNED_DIVISION(bits, T, U)                                \
    static T quotient_i##bits(T a, T b)                            \
    {                                                              \
        if (b == 0)                                                \
            return 0;                                              \
        if (b == -1)                                               \
            return (T)(U)(0u - (U)a);                              \
        return (T)(a / b);                                         \
    }                                                              \
    static T remainder_i##bits(T a, T b)                           \
    {                                                              \
        if (b == 0 || b == -1)                                     \
            return 0;                                              \
        return (T)(a % b);                                         \
    }                                                              \
    static T floor_remainder_i##bits(T a, T b)                     \
    {                                                              \
        T r = remainder_i##bits(a, b);                             \
        if (r != 0 && (r < 0) != (b < 0))                          \
            return (T)(r + b);                                     \
        return r;                                                  \
    }                                                              \
    OXP_BINARY_LOOP(, div_i##bits, T, T, quotient_i##bits(a, b))   \
    OXP_BINARY_LOOP(, fmod_i##bits, T, T, remainder_i##bits(a, b)) \
    OXP_BINARY_LOOP(, mod_i##bits, T, T, floor_remainder_i##bits(a, b))

#define UNSIGNED_DIVISION(bits, T)                           \
    OXP_BINARY_LOOP(, div_u##bits, T, T, b == 0 ? 0 : a / b) \
    OXP_BINARY_LOOP(, mod_u##bits, T, T, b == 0 ? 0 : a % b)

SIGNED_DIVISION(8, int8_t, uint8_t)
SIGNED_DIVISION(16, int16_t, uint16_t)
SIGNED_DIVISION(32, int32_t, uint32_t)
SIGNED_DIVISION(64, int64_t, uint64_t)
UNSIGNED_DIVISION(8, uint8_t)
UNSIGNED_DIVISION(16, uint16_t)
UNSIGNED_DIVISION(32, uint32_t)
UNSIGNED_DIVISION(64, uint64_t)

/* A zero remainder has the sign of b; an infinite b of the other sign gives b. */
static double floor_remainder(double a, double b)
{
    double r = fmod(a, b);
    if (r == 0.0)
        return copysign(0.0, b);
    return signbit(r) != signbit(b) ? r + b : r;
}

OXP_BINARY_LOOP(, fmod_f32, float, float, fmodf(a, b))
OXP_BINARY_LOOP(, fmod_f64, double, double, fmod(a, b))
OXP_BINARY_LOOP(, mod_f32, float, float, floor_remainder((double)a, (double)b))
OXP_BINARY_LOOP(, mod_f64, double, double, floor_remainder(a, b))

/* Loops that do not ask for the sign. */
#define BY_WIDTH(name)                                                              \
    {                                                                               \
        [OXP_FLOAT] = name##_f32, [OXP_DOUBLE] = name##_f64, [OXP_INT8] = name##_8, \
        [OXP_UINT8] = name##_8, [OXP_INT16] = name##_16, [OXP_UINT16] = name##_16,  \
        [OXP_INT32] = name##_32, [OXP_UINT32] = name##_32, [OXP_INT64] = name##_64, \
        [OXP_UINT64] = name##_64                                                    \
    }
#define BY_TYPE(name, unsigned_name)                                                 \
    {                                                                                \
        [OXP_FLOAT] = name##_f32, [OXP_DOUBLE] = name##_f64, [OXP_INT8] = name##_i8, \
        [OXP_UINT8] = unsigned_name##_u8, [OXP_INT16] = name##_i16,                  \
        [OXP_UINT16] = unsigned_name##_u16, [OXP_INT32] = name##_i32,                \
        [OXP_UINT32] = unsigned_name##_u32, [OXP_INT64] = name##_i64,                \
        [OXP_UINT64] = unsigned_name##_u64                                           \
    }

OXP_BINARY_DF(add_df, 1.0f, 1.0f)
OXP_BINARY_DF(sub_df, 1.0f, -1.0f)
OXP_BINARY_DF(mul_df, b, a)
OXP_BINARY_DF(div_df, 1.0f / b, -a / (b * b))
OXP_BINARY_DF(mod_df, 1.0f, -floorf(a / b))
OXP_BINARY_DF(fmod_df, 1.0f, -truncf(a / b))
OXP_BINARY_DF(prelu_df, a < 0.0f ? b : 1.0f, a < 0.0f ? a : 0.0f)

static const oxp_binary functions[] = {
    {.type = "Add", .loops = BY_WIDTH(add), .df = add_df},
    {.type = "Sub", .loops = BY_WIDTH(sub), .df = sub_df},
    {.type = "Mul", .loops = BY_WIDTH(mul), .df = mul_df},
    {.type = "Div", .loops = BY_TYPE(div, div), .df = div_df},
};

static const oxp_binary floor_mod = {.type = "Mod", .loops = BY_TYPE(mod, mod), .df = mod_df};
static const oxp_binary cut_mod = {.type = "Mod", .loops = BY_TYPE(fmod, mod), .df = fmod_df};
static const oxp_binary prelu = {.type = "PRelu",
                                 .loops = {[OXP_FLOAT] = prelu_f32,
                                           [OXP_DOUBLE] = prelu_f64,
                                           [OXP_INT32] = prelu_i32,
                                           [OXP_INT64] = prelu_i64,
                                           [OXP_UINT32] = prelu_u32,
                                           [OXP_UINT64] = prelu_u64},
                                 .df = prelu_df};

static oxp_status prepare(oxp_node *n)
{
    return oxp_binary_prepare(n, functions, sizeof functions / sizeof *functions);
}

static oxp_status prepare_mod(oxp_node *n)
{
    int64_t cut = oxp_attr_int(n, "fmod", 0);
    if (cut != 0 && cut != 1) {
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE", "fmod is %lld, expected 0 or 1",
                             (long long)cut);
    }
    return oxp_binary_prepare_row(n, cut ? &cut_mod : &floor_mod);
}

static oxp_status prepare_prelu(oxp_node *n)
{
    const oxp_tensor *x = n->in[0];
    OXP_TRY(oxp_broadcast_fits(n, n->in[1], x->rank, x->dims, "slope"));
    return oxp_binary_prepare_row(n, &prelu);
}

#define BINARY(name, type, since, ...) \
    OXP_BINARY_OPERATOR(oxp_op_##name, type, since, prepare, __VA_ARGS__)

#define LEGACY "A[2,3,4,5] B[3,4]; broadcast=1 axis=1", "A[2,3] B[2,3]", "A[2,3] B[3]; broadcast=1"
BINARY(add_1, "Add", 1, LEGACY)
BINARY(sub_1, "Sub", 1, LEGACY)
BINARY(mul_1, "Mul", 1, LEGACY)
BINARY(div_1, "Div", 1, LEGACY)
BINARY(add_7, "Add", 7, "A[2,3,4] B[2,3,4]", "A[2,3,4] B[]", "A[2,3,4] B[3,1]", "A[3,1] B[1,4]",
       "A[4]:i8={127,-128,1,0} B[4]:i8={1,-1,2,0}", "A[2,3]:f16 B[3]:f16", "A[3]:i64 B[]:i64")
BINARY(sub_7, "Sub", 7, "A[2,3,4] B[2,3,4]", "A[] B[2,3]", "A[2,3,4] B[1,3,1]",
       "A[2]:u8={0,5} B[2]:u8={1,3}", "A[2,3]:bf16 B[3]:bf16", "A[3]:f64 B[3]:f64")
BINARY(mul_7, "Mul", 7, "A[2,3,4] B[2,3,4]", "A[2,3,4,5] B[3,1,1]", "A[2,3,4,5] B[5]",
       "A[2]:u16={65535,3} B[2]:u16={65535,3}", "A[2,3]:f16 B[]:f16", "A[3]:i32 B[3]:i32")
BINARY(div_7, "Div", 7, "A[2,3] B[2,3]={1.0,2.0,4.0,-1.0,0.5,3.0}", "A[2,3] B[]={3.0}",
       "A[4]:i32={7,-7,-2147483648,5} B[4]:i32={2,2,-1,0}", "A[3]:u8={200,7,1} B[3]:u8={3,0,2}",
       "A[2]:f64 B[2]:f64={3.0,0.25}")
OXP_BINARY_OPERATOR(oxp_op_mod_10, "Mod", 10, prepare_mod,
                    "A[4]:i32={-4,7,5,4} B[4]:i32={2,-3,8,0}",
                    "A[4]:i8={-128,7,5,-8} B[4]:i8={-1,3,8,5}; fmod=1",
                    "A[3]={-4.3,7.2,5.0} B[3]={2.1,-3.4,8.0}; fmod=1", "A[2,3]:u64 B[]:u64={2}")
OXP_BINARY_OPERATOR(oxp_op_prelu_7, "PRelu", 7, prepare_prelu, "X[2,3,4] slope[2,3,4]",
                    "X[2,3,4] slope[3,1]", "X[2,3] slope[1]", "X[3]:i32={-2,0,2} slope[]:i32={3}")

/* Before opset 7 a slope of rank 1 is one value, or one per channel (axis 1). */
static oxp_status prepare_prelu_legacy(oxp_node *n)
{
    oxp_tensor slope = *n->in[1];
    const oxp_tensor *given = n->in[1], *x = n->in[0];
    if (slope.rank == 1 && slope.count > 1) {
        for (; slope.rank + 1 < x->rank; slope.rank++)
            slope.dims[slope.rank] = 1;
    }
    n->in[1] = &slope;
    oxp_status status = prepare_prelu(n);
    n->in[1] = given;
    return status;
}

OXP_BINARY_OPERATOR(oxp_op_prelu_1, "PRelu", 1, prepare_prelu_legacy, "X[2,3,4,4] slope[3]",
                    "X[2,3] slope[1]")
