/* unary_math.c - Y = f(X), elementwise: rounding, signs, exponentials, trigonometric and hyperbolic
 * functions, Erf.
 *
 * Round takes halves to the even neighbour. Abs, Neg and Sign also run on integers; the absolute
 * value of a type's least value is that value, as two's complement has it. */
#include "operators/unary.h"

OXP_UNARY_F32(abs_f32, fabsf(v))
OXP_UNARY_F64(abs_f64, fabs(v))
OXP_UNARY_F32(neg_f32, -v)
OXP_UNARY_F64(neg_f64, -v)
OXP_UNARY_F32(sign_f32, v > 0.0f ? 1.0f : v < 0.0f ? -1.0f : v)
OXP_UNARY_F64(sign_f64, v > 0.0 ? 1.0 : v < 0.0 ? -1.0 : v)
OXP_UNARY_F32(floor_f32, floorf(v))
OXP_UNARY_F64(floor_f64, floor(v))
OXP_UNARY_F32(ceil_f32, ceilf(v))
OXP_UNARY_F64(ceil_f64, ceil(v))
OXP_UNARY_F32(round_f32, nearbyintf(v))
OXP_UNARY_F64(round_f64, nearbyint(v))
OXP_UNARY_F32(sqrt_f32, sqrtf(v))
OXP_UNARY_F64(sqrt_f64, sqrt(v))
OXP_UNARY_F32(reciprocal_f32, 1.0f / v)
OXP_UNARY_F64(reciprocal_f64, 1.0 / v)
OXP_UNARY_F32(exp_f32, oxp_expf(v))
OXP_UNARY_F64(exp_f64, exp(v))
OXP_UNARY_F32(log_f32, oxp_logf(v))
OXP_UNARY_F64(log_f64, log(v))
OXP_UNARY_F32(erf_f32, oxp_erff(v))
OXP_UNARY_F64(erf_f64, erf(v))
OXP_UNARY_F32(sin_f32, sinf(v))
OXP_UNARY_F64(sin_f64, sin(v))
OXP_UNARY_F32(cos_f32, cosf(v))
OXP_UNARY_F64(cos_f64, cos(v))
OXP_UNARY_F32(tan_f32, tanf(v))
OXP_UNARY_F64(tan_f64, tan(v))
OXP_UNARY_F32(asin_f32, asinf(v))
OXP_UNARY_F64(asin_f64, asin(v))
OXP_UNARY_F32(acos_f32, acosf(v))
OXP_UNARY_F64(acos_f64, acos(v))
OXP_UNARY_F32(atan_f32, atanf(v))
OXP_UNARY_F64(atan_f64, atan(v))
OXP_UNARY_F32(sinh_f32, sinhf(v))
OXP_UNARY_F64(sinh_f64, sinh(v))
OXP_UNARY_F32(cosh_f32, coshf(v))
OXP_UNARY_F64(cosh_f64, cosh(v))
OXP_UNARY_F32(asinh_f32, asinhf(v))
OXP_UNARY_F64(asinh_f64, asinh(v))
OXP_UNARY_F32(acosh_f32, acoshf(v))
OXP_UNARY_F64(acosh_f64, acosh(v))
OXP_UNARY_F32(atanh_f32, atanhf(v))
OXP_UNARY_F64(atanh_f64, atanh(v))

OXP_UNARY_DF(abs_df, v > 0.0f ? 1.0f : v < 0.0f ? -1.0f : 0.0f)
OXP_UNARY_DF(neg_df, -1.0f)
OXP_UNARY_DF(sqrt_df, 0.5f / sqrtf(v))
OXP_UNARY_DF(reciprocal_df, -1.0f / (v * v))
OXP_UNARY_DF(exp_df, oxp_expf(v))
OXP_UNARY_DF(log_df, 1.0f / v)
OXP_UNARY_DF(erf_df, 1.12837917f * oxp_expf(-v * v))
OXP_UNARY_DF(sin_df, cosf(v))
OXP_UNARY_DF(cos_df, -sinf(v))
OXP_UNARY_DF(tan_df, 1.0f / (cosf(v) * cosf(v)))
OXP_UNARY_DF(asin_df, 1.0f / sqrtf((1.0f - v) * (1.0f + v)))
OXP_UNARY_DF(acos_df, -1.0f / sqrtf((1.0f - v) * (1.0f + v)))
OXP_UNARY_DF(atan_df, 1.0f / (1.0f + v * v))
OXP_UNARY_DF(sinh_df, coshf(v))
OXP_UNARY_DF(cosh_df, sinhf(v))
OXP_UNARY_DF(asinh_df, 1.0f / sqrtf(1.0f + v * v))
OXP_UNARY_DF(acosh_df, 1.0f / sqrtf((v - 1.0f) * (v + 1.0f)))
OXP_UNARY_DF(atanh_df, 1.0f / ((1.0f - v) * (1.0f + v)))

static int64_t negative(int64_t x)
{
    return (int64_t)(0 - (uint64_t)x);
}

static int64_t abs_integer(int64_t x, bool is_unsigned, const float *p)
{
    (void)p;
    return is_unsigned || x >= 0 ? x : negative(x);
}

static int64_t neg_integer(int64_t x, bool is_unsigned, const float *p)
{
    (void)is_unsigned;
    (void)p;
    return negative(x);
}

static int64_t sign_integer(int64_t x, bool is_unsigned, const float *p)
{
    (void)p;
    return is_unsigned ? x != 0 : (x > 0) - (x < 0);
}

static const oxp_unary functions[] = {
    {.type = "Abs", .f32 = abs_f32, .f64 = abs_f64, .df = abs_df, .integer = abs_integer},
    {.type = "Neg", .f32 = neg_f32, .f64 = neg_f64, .df = neg_df, .integer = neg_integer},
    {.type = "Sign", .f32 = sign_f32, .f64 = sign_f64, .integer = sign_integer},
    {.type = "Floor", .f32 = floor_f32, .f64 = floor_f64},
    {.type = "Ceil", .f32 = ceil_f32, .f64 = ceil_f64},
    {.type = "Round", .f32 = round_f32, .f64 = round_f64},
    {.type = "Sqrt", .f32 = sqrt_f32, .f64 = sqrt_f64, .df = sqrt_df},
    {.type = "Reciprocal", .f32 = reciprocal_f32, .f64 = reciprocal_f64, .df = reciprocal_df},
    {.type = "Exp", .f32 = exp_f32, .f64 = exp_f64, .df = exp_df},
    {.type = "Log", .f32 = log_f32, .f64 = log_f64, .df = log_df},
    {.type = "Erf", .f32 = erf_f32, .f64 = erf_f64, .df = erf_df},
    {.type = "Sin", .f32 = sin_f32, .f64 = sin_f64, .df = sin_df},
    {.type = "Cos", .f32 = cos_f32, .f64 = cos_f64, .df = cos_df},
    {.type = "Tan", .f32 = tan_f32, .f64 = tan_f64, .df = tan_df},
    {.type = "Asin", .f32 = asin_f32, .f64 = asin_f64, .df = asin_df},
    {.type = "Acos", .f32 = acos_f32, .f64 = acos_f64, .df = acos_df},
    {.type = "Atan", .f32 = atan_f32, .f64 = atan_f64, .df = atan_df},
    {.type = "Sinh", .f32 = sinh_f32, .f64 = sinh_f64, .df = sinh_df},
    {.type = "Cosh", .f32 = cosh_f32, .f64 = cosh_f64, .df = cosh_df},
    {.type = "Asinh", .f32 = asinh_f32, .f64 = asinh_f64, .df = asinh_df},
    {.type = "Acosh", .f32 = acosh_f32, .f64 = acosh_f64, .df = acosh_df},
    {.type = "Atanh", .f32 = atanh_f32, .f64 = atanh_f64, .df = atanh_df},
};

static oxp_status prepare(oxp_node *n)
{
    return oxp_unary_prepare(n, functions, sizeof functions / sizeof *functions);
}

#define UNARY(name, type, since, ...) \
    OXP_UNARY_OPERATOR(oxp_op_##name, "", type, since, prepare, __VA_ARGS__)

UNARY(abs_6, "Abs", 6, "X[2,3]", "X[4]:i8={-128,-1,0,127}", "X[3]:u8", "X[2,2]:f16", "X[3]:f64")
UNARY(neg_6, "Neg", 6, "X[2,3]", "X[3]:i32={-2147483648,5,0}", "X[4]:bf16")
UNARY(sign_9, "Sign", 9, "X[5]={-2.0,-0.0,0.0,0.5,3.0}", "X[3]:i64={-7,0,9}", "X[3]:u64")
UNARY(floor_6, "Floor", 6, "X[5]={-1.5,-0.5,0.0,0.5,1.5}", "X[2,3]:f64")
UNARY(ceil_6, "Ceil", 6, "X[5]={-1.5,-0.5,0.0,0.5,1.5}", "X[2,3]:f64")
UNARY(round_11, "Round", 11, "X[6]={-2.5,-1.5,-0.5,0.5,1.5,2.5}", "X[2]:f16={0.5,1.5}")
UNARY(sqrt_6, "Sqrt", 6, "X[4]={0.0,0.25,2.0,100.0}", "X[2]:f64={2.0,3.0}")
UNARY(reciprocal_6, "Reciprocal", 6, "X[4]={-4.0,0.5,2.0,10.0}", "X[2]:f64={2.0,3.0}")
UNARY(exp_6, "Exp", 6, "X[3,5]", "X[4]={-100.0,-1.0,1.0,80.0}", "X[3]:f16", "X[3]:f64")
UNARY(log_6, "Log", 6, "X[4]={0.001,0.5,2.0,100.0}", "X[2]:f64={0.5,3.0}")
UNARY(erf_9, "Erf", 9, "X[3,5]", "X[4]={-3.0,-0.9,1.1,3.5}", "X[3]:f64")
UNARY(sin_7, "Sin", 7, "X[3,5]", "X[2]={100.0,-30.0}", "X[3]:f64")
UNARY(cos_7, "Cos", 7, "X[3,5]", "X[3]:f64")
UNARY(tan_7, "Tan", 7, "X[3,5]", "X[3]:f64")
UNARY(asin_7, "Asin", 7, "X[3,5]", "X[3]:f64")
UNARY(acos_7, "Acos", 7, "X[3,5]", "X[3]:f64")
UNARY(atan_7, "Atan", 7, "X[3,5]", "X[3]:f64")
UNARY(sinh_9, "Sinh", 9, "X[3,5]", "X[3]:f64")
UNARY(cosh_9, "Cosh", 9, "X[3,5]", "X[3]:f64")
UNARY(asinh_9, "Asinh", 9, "X[3,5]", "X[3]:f64")
UNARY(acosh_9, "Acosh", 9, "X[3]={1.0,1.5,10.0}", "X[2]:f64={1.5,2.0}")
UNARY(atanh_9, "Atanh", 9, "X[3]={-0.5,0.0,0.9}", "X[2]:f64={0.5,-0.25}")
