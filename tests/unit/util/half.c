/* Half floats: every 16-bit value against ldexp(), and rounding against a search among neighbours.
*/
#include "util/half.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

/* What the bits mean, by the definition: mantissa bits m, exponent bits e. */
static double meaning(uint32_t bits, int e, int m)
{
    int exponent = (int)(bits >> m & ((1u << e) - 1));
    double mantissa = (double)(bits & ((1u << m) - 1));
    int bias = (1 << (e - 1)) - 1;
    double value;
    if (exponent == (1 << e) - 1)
        value = mantissa == 0 ? (double)INFINITY : (double)NAN;
    else if (exponent == 0)
        value = ldexp(mantissa, 1 - bias - m);
    else
        value = ldexp(ldexp(1, m) + mantissa, exponent - bias - m);
    return bits >> (e + m) ? -value : value;
}

static bool same(double a, double b)
{
    return (isnan(a) && isnan(b)) || (a == b && !signbit(a) == !signbit(b));
}

Test(half, every_value_is_read_exactly)
{
    for (uint32_t bits = 0; bits < 65536; bits++) {
        cr_assert(same((double)oxp_half_to_float((uint16_t)bits), meaning(bits, 5, 10)), "%04x",
                  bits);
        cr_assert(same((double)oxp_bfloat16_to_float((uint16_t)bits), meaning(bits, 8, 7)), "%04x",
                  bits);
    }
}

Test(half, every_value_comes_back)
{
    for (uint32_t bits = 0; bits < 65536; bits++) {
        uint16_t half = oxp_float_to_half(oxp_half_to_float((uint16_t)bits));
        uint16_t bfloat = oxp_float_to_bfloat16(oxp_bfloat16_to_float((uint16_t)bits));
        bool half_nan = isnan(meaning(bits, 5, 10)), bfloat_nan = isnan(meaning(bits, 8, 7));
        cr_assert_eq(half, half_nan ? bits | 0x200 : bits, "%04x gives %04x", bits, half);
        cr_assert_eq(bfloat, bfloat_nan ? bits | 0x40 : bits, "%04x gives %04x", bits, bfloat);
    }
}

/* Between each two neighbours: a quarter, the middle (to even), three quarters, and the floats next
 * to the middle. */
static void check_rounding(uint16_t (*convert)(float), int e, int m)
{
    uint32_t infinity = ((1u << e) - 1) << m;
    for (uint32_t low = 0; low < infinity; low++) {
        double a = meaning(low, e, m);
        double b = low + 1 < infinity ? meaning(low + 1, e, m) : ldexp(1, 1 << (e - 1));
        float middle = (float)((a + b) / 2);
        uint32_t even = low & 1 ? low + 1 : low;
        cr_assert_eq((double)middle, (a + b) / 2);
        cr_assert_eq(convert(middle), even, "tie above %04x", low);
        cr_assert_eq(convert(-middle), even | 0x8000, "tie above -%04x", low);
        cr_assert_eq(convert(nextafterf(middle, 0)), low, "below the tie above %04x", low);
        cr_assert_eq(convert(nextafterf(middle, INFINITY)), low + 1, "above the tie above %04x",
                     low);
        cr_assert_eq(convert((float)(a + (b - a) / 4)), low);
        cr_assert_eq(convert((float)(a + (b - a) * 3 / 4)), low + 1);
    }
}

Test(half, rounding_is_to_nearest_even)
{
    check_rounding(oxp_float_to_half, 5, 10);
    check_rounding(oxp_float_to_bfloat16, 8, 7);
}

Test(half, specials)
{
    cr_expect_eq(oxp_float_to_half(65519.996f), 0x7bff);
    cr_expect_eq(oxp_float_to_half(65520.0f), 0x7c00);
    cr_expect_eq(oxp_float_to_half(3e38f), 0x7c00);
    cr_expect_eq(oxp_float_to_half(-INFINITY), 0xfc00);
    cr_expect_eq(oxp_float_to_half(0x1p-25f), 0);
    cr_expect_eq(oxp_float_to_half(-0.0f), 0x8000);
    cr_expect_eq(oxp_float_to_half(1e-45f), 0);
    cr_expect_eq(oxp_float_to_bfloat16(3.4028235e38f), 0x7f80);
    float nan;
    uint32_t quiet_low_payload = 0x7fc00001, signalling_low_payload = 0xff800001;
    memcpy(&nan, &quiet_low_payload, sizeof nan);
    cr_expect(isnan(oxp_half_to_float(oxp_float_to_half(nan))));
    memcpy(&nan, &signalling_low_payload, sizeof nan);
    cr_expect(isnan(oxp_half_to_float(oxp_float_to_half(nan))));
    cr_expect(isnan(oxp_bfloat16_to_float(oxp_float_to_bfloat16(nan))));
}
