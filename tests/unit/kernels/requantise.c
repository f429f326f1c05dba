/* The ends of an integer product: rounding, saturation, ranges. */
#include "kernels/requantise.h"

#include "unit/kernels/values.h"

Test(requantise, ties_go_to_even_before_the_zero_point)
{
    const float x[6] = {0.5f, 1.5f, 2.5f, -0.5f, -1.5f, 3.5f};
    const uint8_t expected[6] = {1, 3, 3, 1, 0, 5};
    uint8_t codes[6];
    oxp_to_codes(codes, false, x, 6, 1, 1);
    cr_expect_arr_eq(codes, expected, 6);
}

Test(requantise, values_beyond_the_type_are_saturated)
{
    const float x[6] = {1e30f, -1e30f, INFINITY, -INFINITY, 300, -300};
    uint8_t u8[6];
    int8_t i8[6];
    oxp_to_codes(u8, false, x, 6, 1, 128);
    oxp_to_codes(i8, true, x, 6, 1, -5);
    for (int i = 0; i < 6; i++) {
        cr_expect_eq(u8[i], x[i] > 0 ? 255 : 0);
        cr_expect_eq(i8[i], x[i] > 0 ? 127 : -128);
    }
}

Test(requantise, long_runs_equal_single_values)
{
    oxp_random r = oxp_random_make(1, 0, 0);
    int32_t sums[700];
    float factors[700], bias[700], scaled[700];
    uint8_t one[700], each[700];
    for (size_t i = 0; i < 700; i++) {
        sums[i] = (int32_t)oxp_random_below(&r, 200001) - 100000;
        factors[i] = (float)oxp_random_uniform(&r) / 500;
        bias[i] = (float)oxp_random_normal(&r);
    }
    oxp_requantise(one, false, sums, 700, (oxp_factors){&factors[3], false}, 7);
    oxp_requantise(each, false, sums, 700, (oxp_factors){factors, true}, 7);
    oxp_scale_sums(scaled, sums, 700, (oxp_factors){factors, true}, bias);
    for (size_t i = 0; i < 700; i++) {
        double same = nearbyint((double)((float)sums[i] * factors[3])) + 7;
        double own = nearbyint((double)((float)sums[i] * factors[i])) + 7;
        cr_expect_eq(one[i], (uint8_t)fmin(fmax(same, 0), 255));
        cr_expect_eq(each[i], (uint8_t)fmin(fmax(own, 0), 255));
        cr_expect_eq(scaled[i], (float)sums[i] * factors[i] + bias[i]);
    }
}

Test(requantise, codes_come_back)
{
    uint8_t codes[256], again[256];
    float x[256];
    for (int i = 0; i < 256; i++)
        codes[i] = (uint8_t)i;
    for (int is_signed = 0; is_signed < 2; is_signed++) {
        oxp_from_codes(x, codes, is_signed, 256, 0.037f, is_signed ? -11 : 140);
        oxp_to_codes(again, is_signed, x, 256, 0.037f, is_signed ? -11 : 140);
        cr_expect_arr_eq(codes, again, 256);
    }
}

Test(requantise, a_dynamic_range_holds_zero)
{
    float scale;
    int32_t zero;
    oxp_dynamic_scale((const float[]){1, 2, 5.1f}, 3, &scale, &zero);
    cr_expect_eq(scale, 5.1f / 255);
    cr_expect_eq(zero, 0);
    oxp_dynamic_scale((const float[]){-2, -1}, 2, &scale, &zero);
    cr_expect_eq(zero, 255);
    oxp_dynamic_scale((const float[]){-1, 4}, 2, &scale, &zero);
    cr_expect_eq(zero, 51);
    oxp_dynamic_scale((const float[]){0, 0}, 2, &scale, &zero);
    cr_expect_eq(scale, 1);
    cr_expect_eq(zero, 0);
}
