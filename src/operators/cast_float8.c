/* cast_float8.c - codes of the small float formats. A code is sign, exponent, mantissa; its
 * magnitude, read as an integer, orders the values, so that rounding is done on that integer. */
#include "operators/cast_float8.h"

#include <math.h>

typedef struct minifloat {
    int mantissa_bits, bias;
    unsigned sign;     /* its bit */
    unsigned largest;  /* magnitude code of the largest finite value */
    unsigned infinity; /* magnitude code, 0: none */
    unsigned nan; /* code, 0: none; with sign 0x80 itself in the formats without negative zero */
} minifloat;

static const minifloat *format_of(oxp_dtype dtype)
{
    static const minifloat e4m3fn = {3, 7, 0x80, 0x7e, 0, 0x7f};
    static const minifloat e4m3fnuz = {3, 8, 0x80, 0x7f, 0, 0x80};
    static const minifloat e5m2 = {2, 15, 0x80, 0x7b, 0x7c, 0x7f};
    static const minifloat e5m2fnuz = {2, 16, 0x80, 0x7f, 0, 0x80};
    static const minifloat e2m1 = {1, 1, 0x8, 0x7, 0, 0};
    switch (dtype) {
    case OXP_FLOAT8E4M3FN:
        return &e4m3fn;
    case OXP_FLOAT8E4M3FNUZ:
        return &e4m3fnuz;
    case OXP_FLOAT8E5M2:
        return &e5m2;
    case OXP_FLOAT8E5M2FNUZ:
        return &e5m2fnuz;
    case OXP_FLOAT4E2M1:
        return &e2m1;
    default:
        return NULL;
    }
}

bool oxp_dtype_is_float8(oxp_dtype dtype)
{
    return dtype != OXP_FLOAT4E2M1 && format_of(dtype) != NULL;
}

bool oxp_dtype_is_minifloat(oxp_dtype dtype)
{
    return dtype == OXP_FLOAT8E8M0 || format_of(dtype) != NULL;
}

float oxp_float8_load(oxp_dtype dtype, unsigned code)
{
    const minifloat *f = format_of(dtype);
    bool negative = (code & f->sign) != 0;
    unsigned magnitude = code & (f->sign - 1);
    if (f->nan == f->sign ? code == f->nan : magnitude > f->largest)
        return f->infinity && magnitude == f->infinity ? (negative ? -INFINITY : INFINITY) : NAN;
    unsigned exponent = magnitude >> f->mantissa_bits;
    unsigned mantissa = magnitude & ((1u << f->mantissa_bits) - 1);
    if (exponent > 0)
        mantissa |= 1u << f->mantissa_bits;
    int scale = (exponent > 0 ? (int)exponent : 1) - f->bias - f->mantissa_bits;
    float value = ldexpf((float)mantissa, scale);
    return negative ? -value : value;
}

static unsigned nan_code(const minifloat *f, bool negative)
{
    if (f->nan == 0)
        return f->sign;
    return f->nan | (negative ? f->sign : 0);
}

/* Magnitude code of a finite value, rounded; larger than `largest` when out of range. */
static unsigned round_magnitude(const minifloat *f, float magnitude)
{
    int exponent;
    frexpf(magnitude, &exponent);
    exponent -= 1;
    if (magnitude == 0.0f || exponent < 1 - f->bias)
        exponent = 1 - f->bias;
    if (exponent > 16)
        return f->largest + 1;
    float steps = nearbyintf(ldexpf(magnitude, f->mantissa_bits - exponent));
    return ((unsigned)(exponent + f->bias - 1) << f->mantissa_bits) + (unsigned)steps;
}

unsigned oxp_float8_store(oxp_dtype dtype, float value, bool saturate)
{
    const minifloat *f = format_of(dtype);
    bool negative = signbit(value) != 0;
    if (isnan(value))
        return nan_code(f, negative);
    unsigned magnitude = isinf(value) ? f->largest + 1 : round_magnitude(f, fabsf(value));
    if (magnitude > f->largest) {
        if (!saturate && f->nan != 0 && f->infinity == 0)
            return nan_code(f, negative);
        magnitude = saturate || f->infinity == 0 ? f->largest : f->infinity;
    }
    if (magnitude == 0 && f->nan == f->sign)
        return 0;
    return magnitude | (negative ? f->sign : 0);
}

float oxp_e8m0_load(unsigned code)
{
    return code == 0xff ? NAN : ldexpf(1.0f, (int)code - 127);
}

unsigned oxp_e8m0_store(float value, bool saturate, oxp_e8m0_rounding rounding)
{
    if (isnan(value))
        return 0xff;
    if (isinf(value))
        return saturate ? 0xfe : 0xff;
    int exponent;
    float fraction = 2.0f * frexpf(fabsf(value), &exponent); /* [1, 2) */
    if (rounding == OXP_E8M0_UP)
        exponent += fraction > 1.0f;
    if (rounding == OXP_E8M0_NEAREST)
        exponent += fraction >= 1.5f;
    int code = exponent - 1 + 127;
    if (value == 0.0f || code < 0)
        return saturate ? 0 : 0xff;
    if (code > 0xfe)
        return saturate ? 0xfe : 0xff;
    return (unsigned)code;
}
