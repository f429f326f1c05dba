/* vector_math.h - what hot loops over floats are made of: attributes that let the compiler
 * vectorise them, and branch-free exp, log, tanh, sigmoid, erf and half conversions that it can
 * vectorise, within 3 ulp of libm over all floats.
 *
 * The clones of a loop differ in width alone: no contraction, no reassociation, so every machine
 * gives the same bits. The polynomials are minimax fits on the reduced ranges stated beside
 * them. */
#ifndef OXP_OPERATORS_VECTOR_MATH_H
#define OXP_OPERATORS_VECTOR_MATH_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* OXP_WIDE: vectorise this function. OXP_HOT: also once per instruction set. OXP_LANES: the loop
 * that follows carries nothing from one round to the next, also when the output is one of the
 * inputs. */
#if defined(__SANITIZE_ADDRESS__) || defined(__clang__)
#define OXP_WIDE
#define OXP_HOT
#define OXP_LANES
#else
#define OXP_WIDE __attribute__((optimize("O3", "no-math-errno", "no-trapping-math")))
#if defined(__x86_64__)
#define OXP_HOT OXP_WIDE __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define OXP_HOT OXP_WIDE
#endif
#define OXP_LANES _Pragma("GCC ivdep")
#endif
#define OXP_INLINE static inline __attribute__((always_inline))

OXP_INLINE float oxp_from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

OXP_INLINE uint32_t oxp_to_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* e^r - 1 for |r| <= ln2/2 (and, a little worse, up to 0.36). */
OXP_INLINE float oxp_expm1_small(float r)
{
    float q = 0.00138145988f;
    q = q * r + 0.00836871658f;
    q = q * r + 0.041668389f;
    q = q * r + 0.166665211f;
    q = q * r + 0.49999994f;
    return (q * r) * r + r;
}

/* e^x = 2^n e^r with |r| <= ln2/2; 2^n in two factors, so that denormal results are right. */
OXP_INLINE float oxp_expf(float x)
{
    float limited = x < -104.0f ? -104.0f : x;
    limited = limited > 89.0f ? 89.0f : limited;
    float shifted =
        limited * 1.44269502f + 12582912.0f; /* 1.5 * 2^23: the integer ends up in the low bits */
    float n = shifted - 12582912.0f;
    float r = (limited - n * 0x1.62e4p-1f) - n * 0x1.7f7d1cp-20f;
    float p = oxp_expm1_small(r) + 1.0f;
    int32_t k = (int32_t)oxp_to_bits(shifted) - 0x4b400000;
    int32_t half = k >> 1;
    float low = oxp_from_bits((uint32_t)(half + 127) << 23);
    float high = oxp_from_bits((uint32_t)(k - half + 127) << 23);
    return p * low * high;
}

OXP_INLINE float oxp_expm1f(float x)
{
    return fabsf(x) < 0.35f ? oxp_expm1_small(x) : oxp_expf(x) - 1.0f;
}

/* log x = k ln2 + log m with m in [sqrt(1/2), sqrt(2)). */
OXP_INLINE float oxp_logf(float x)
{
    bool tiny = x < 0x1p-126f;
    float scaled = tiny ? x * 0x1p24f : x;
    uint32_t bits = oxp_to_bits(scaled) - 0x3f3504f3u;
    float k = (float)((int32_t)bits >> 23) - (tiny ? 24.0f : 0.0f);
    float f = oxp_from_bits((bits & 0x7fffffu) + 0x3f3504f3u) - 1.0f;
    float q = -0.0763449296f;
    q = q * f + 0.12761575f;
    q = q * f + -0.131601825f;
    q = q * f + 0.142017588f;
    q = q * f + -0.166233569f;
    q = q * f + 0.200012267f;
    q = q * f + -0.250008196f;
    q = q * f + 0.333333313f;
    float f2 = f * f;
    float y = (f2 * f) * q + k * 0x1.7f7d1cp-20f - 0.5f * f2 + f;
    y += k * 0x1.62e4p-1f;
    y = x < INFINITY ? y : x; /* infinity and NaN */
    y = x > 0.0f ? y : (x == 0.0f ? -INFINITY : x - x == 0.0f || x < 0.0f ? NAN : x);
    return y;
}

/* log(1 + u) for u in [0, 1]. */
OXP_INLINE float oxp_log1p_unit(float u)
{
    float q = -0.00324402121f;
    q = q * u + 0.0198514443f;
    q = q * u + -0.0569594987f;
    q = q * u + 0.106036514f;
    q = q * u + -0.153055906f;
    q = q * u + 0.196759388f;
    q = q * u + -0.249541342f;
    q = q * u + 0.333299637f;
    q = q * u + -0.499999017f;
    return q * u * u + u;
}

/* x + x^3 P(x^2) below 0.625, else 1 - 2 / (e^2x + 1). */
OXP_INLINE float oxp_tanhf(float x)
{
    float a = fabsf(x);
    float z = x * x;
    float q = -0.0057049864f;
    q = q * z + 0.0206390861f;
    q = q * z + -0.0537397154f;
    q = q * z + 0.133314416f;
    q = q * z + -0.333332807f;
    float small = q * z * x + x;
    float large = copysignf(1.0f - 2.0f / (oxp_expf(2.0f * a) + 1.0f), x);
    return a < 0.625f ? small : large;
}

OXP_INLINE float oxp_sigmoidf(float x)
{
    float e = oxp_expf(-fabsf(x));
    return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

/* log(1 + e^x) without overflow. */
OXP_INLINE float oxp_softplusf(float x)
{
    return oxp_log1p_unit(oxp_expf(-fabsf(x))) + (x < 0.0f ? 0.0f : x);
}

/* erf(x) = x P(x^2) for |x| < 1. */
OXP_INLINE float oxp_erf_small(float x)
{
    float z = x * x;
    float q = 7.85386073e-05f;
    q = q * z + -0.000801019371f;
    q = q * z + 0.00518832775f;
    q = q * z + -0.0268538129f;
    q = q * z + 0.112835854f;
    q = q * z + -0.37612626f;
    q = q * z + 1.12837911f;
    return q * x;
}

/* erfc(a) = e^(-a^2) P(1 / (1 + a/2)) for a >= 1. */
OXP_INLINE float oxp_erfc_tail(float a)
{
    float t = 1.0f / (1.0f + 0.5f * a);
    float q = 0.0852618292f;
    q = q * t + -0.199537143f;
    q = q * t + 0.045562081f;
    q = q * t + 0.089226231f;
    q = q * t + 0.165728524f;
    q = q * t + 0.250693411f;
    q = q * t + 0.281397521f;
    q = q * t + 0.282159239f;
    q = q * t + -2.42738292e-06f;
    return q * oxp_expf(-(a * a));
}

OXP_INLINE float oxp_erff(float x)
{
    float a = fabsf(x);
    return a < 1.0f ? oxp_erf_small(x) : copysignf(1.0f - oxp_erfc_tail(a), x);
}

/* 1 + erf(x) with its relative precision kept for negative x. */
OXP_INLINE float oxp_erf_plus_onef(float x)
{
    float a = fabsf(x);
    float tail = oxp_erfc_tail(a);
    return a < 1.0f ? 1.0f + oxp_erf_small(x) : (x < 0.0f ? tail : 2.0f - tail);
}

/* Infinity and NaN of a half have exponent 31, which becomes 255; denormals are made by a
 * subtraction. */
OXP_INLINE float oxp_half_load(uint16_t half)
{
    uint32_t magnitude = (uint32_t)(half & 0x7fffu) << 13;
    float normal = oxp_from_bits(magnitude + 0x38000000u);
    float special = oxp_from_bits(magnitude + 0x70000000u);
    float denormal = oxp_from_bits(magnitude + 0x38800000u) - 0x1p-14f;
    float value = magnitude >= 0x0f800000u ? special : magnitude < 0x00800000u ? denormal : normal;
    return oxp_from_bits(oxp_to_bits(value) | (uint32_t)(half & 0x8000u) << 16);
}

/* Nearest even; overflow gives infinity, NaN a quiet NaN. */
OXP_INLINE uint16_t oxp_half_store(float value)
{
    uint32_t bits = oxp_to_bits(value);
    uint32_t sign = bits >> 16 & 0x8000u;
    uint32_t magnitude = bits & 0x7fffffffu;
    uint32_t normal = (magnitude + 0xfffu + (magnitude >> 13 & 1u) - 0x38000000u) >> 13;
    uint32_t denormal = oxp_to_bits(oxp_from_bits(magnitude) + 0.5f) - 0x3f000000u;
    uint32_t half = magnitude < 0x38800000u ? denormal : normal;
    half = magnitude >= 0x477ff000u ? 0x7c00u : half;
    half = magnitude > 0x7f800000u ? 0x7e00u | (magnitude >> 13 & 0x1ffu) : half;
    return (uint16_t)(half | sign);
}

OXP_INLINE float oxp_bfloat_load(uint16_t bits)
{
    return oxp_from_bits((uint32_t)bits << 16);
}

OXP_INLINE uint16_t oxp_bfloat_store(float value)
{
    uint32_t bits = oxp_to_bits(value);
    uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
    return (uint16_t)((bits & 0x7fffffffu) > 0x7f800000u ? (bits >> 16 | 0x40u) : rounded);
}

#endif
