/* Quantisers: ties to even, zero exact, scales never degenerate, the searched weight scale never
 * worse than the plain one. */
#include "kernels/quantise.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>

#include "util/random.h"

Test(quantise, zero_is_exact_for_any_range)
{
    oxp_random r = oxp_random_make(3, 1, 4);
    for (int i = 0; i < 1000; i++) {
        float low = (float)(oxp_random_normal(&r) * 10), high = (float)(oxp_random_normal(&r) * 10),
              zero = 0, out = 1;
        oxp_scale s = oxp_scale_for_range(fminf(low, high), fmaxf(low, high), 255);
        oxp_fake_quantise_u8(&out, &zero, 1, s, 255);
        cr_assert_eq(out, 0.0f);
        cr_assert(s.zero_point >= 0 && s.zero_point <= 255);
    }
}

Test(quantise, a_range_of_one_sign_wastes_no_code)
{
    cr_expect_eq(oxp_scale_for_range(1.0f, 6.0f, 255).zero_point, 0);
    cr_expect_eq(oxp_scale_for_range(-6.0f, -1.0f, 255).zero_point, 255);
}

Test(quantise, degenerate_ranges_give_normal_scales)
{
    const float ranges[][2] = {{0, 0}, {0, 1e-45f}, {-1e-45f, 1e-45f}, {0, 3e38f}, {-3e38f, 3e38f}};
    for (size_t i = 0; i < 5; i++) {
        oxp_scale s = oxp_scale_for_range(ranges[i][0], ranges[i][1], 255);
        cr_expect(isnormal(s.scale) && s.scale > 0, "range %zu", i);
    }
}

Test(quantise, ties_round_to_even)
{
    const float x[] = {0.5f, 1.5f, 2.5f, 3.5f, -0.5f, -1.5f};
    const float expected[] = {0, 2, 2, 4, 0, -2};
    float out[6];
    oxp_fake_quantise_u8(out, x, 6, (oxp_scale){1.0f, 128}, 255);
    for (size_t i = 0; i < 6; i++)
        cr_expect_eq(out[i], expected[i], "%g", (double)x[i]);
}

Test(quantise, codes_saturate)
{
    const float x[] = {1e9f, -1e9f};
    float out[2];
    oxp_fake_quantise_u8(out, x, 2, (oxp_scale){1.0f, 100}, 255);
    cr_expect_eq(out[0], 155.0f);
    cr_expect_eq(out[1], -100.0f);
}

static double error_of(const float *w, const int8_t *q, const float *s, oxp_weight_layout l)
{
    float back[4096];
    size_t n = l.blocks * l.outer * l.channels * l.inner;
    double sum = 0;
    oxp_dequantise_weight(back, q, s, l);
    for (size_t i = 0; i < n; i++)
        sum += ((double)w[i] - (double)back[i]) * ((double)w[i] - (double)back[i]);
    return sum;
}

Test(quantise, the_searched_scale_is_never_worse_than_the_largest_size)
{
    const oxp_weight_layout layouts[] = {
        {1, 1, 16, 27}, {1, 40, 16, 1}, {2, 1, 8, 30}, {3, 10, 7, 2}};
    oxp_random r = oxp_random_make(5, 9, 2);
    for (size_t k = 0; k < 4; k++) {
        oxp_weight_layout l = layouts[k];
        float w[4096], scales[256], plain[256];
        int8_t codes[4096], plain_codes[4096];
        size_t n = l.blocks * l.outer * l.channels * l.inner;
        for (size_t i = 0; i < n; i++)
            w[i] = (float)(oxp_random_normal(&r) * exp(oxp_random_normal(&r)));
        for (size_t c = 0; c < l.blocks * l.channels; c++)
            plain[c] = 0;
        for (size_t b = 0; b < l.blocks; b++)
            for (size_t o = 0; o < l.outer; o++)
                for (size_t c = 0; c < l.channels; c++)
                    for (size_t i = 0; i < l.inner; i++) {
                        float size =
                            fabsf(w[((b * l.outer + o) * l.channels + c) * l.inner + i]) / 127;
                        plain[b * l.channels + c] = fmaxf(plain[b * l.channels + c], size);
                    }
        oxp_quantise_weight_with(plain_codes, plain, w, l, 127);
        oxp_quantise_weight(codes, scales, w, l, 127);
        cr_expect_leq(error_of(w, codes, scales, l),
                      error_of(w, plain_codes, plain, l) * (1 + 1e-6), "layout %zu", k);
    }
}

Test(quantise, seven_bits_stay_within_64)
{
    float w[256], scales[4];
    int8_t codes[256];
    oxp_random r = oxp_random_make(1, 1, 1);
    for (size_t i = 0; i < 256; i++)
        w[i] = (float)oxp_random_normal(&r);
    oxp_quantise_weight(codes, scales, w, (oxp_weight_layout){1, 1, 4, 64}, 64);
    for (size_t i = 0; i < 256; i++)
        cr_assert(codes[i] >= -64 && codes[i] <= 64);
}

Test(quantise, dead_channels_get_scale_one)
{
    const float w[8] = {0};
    float scales[2];
    int8_t codes[8];
    oxp_quantise_weight(codes, scales, w, (oxp_weight_layout){1, 1, 2, 4}, 127);
    cr_expect_eq(scales[0], 1.0f);
    cr_expect_eq(scales[1], 1.0f);
    cr_expect_eq(codes[3], 0);
}

/* Columns are searched together, rows one by one: the scales must not tell which way it was. */
Test(quantise, columns_and_rows_give_the_same_scales)
{
    enum { ROWS = 33, CHANNELS = 100 };
    static float columns[ROWS * CHANNELS], rows[ROWS * CHANNELS];
    static float column_scales[CHANNELS], row_scales[CHANNELS];
    static int8_t column_codes[ROWS * CHANNELS], row_codes[ROWS * CHANNELS];
    oxp_random r = oxp_random_make(2, 3, 5);
    for (size_t k = 0; k < ROWS; k++)
        for (size_t c = 0; c < CHANNELS; c++) {
            float x = c == 7 ? 0 : (float)(oxp_random_normal(&r) * exp(oxp_random_normal(&r)));
            columns[k * CHANNELS + c] = rows[c * ROWS + k] = x;
        }
    oxp_quantise_weight(column_codes, column_scales, columns,
                        (oxp_weight_layout){1, ROWS, CHANNELS, 1}, 127);
    oxp_quantise_weight(row_codes, row_scales, rows, (oxp_weight_layout){1, 1, CHANNELS, ROWS},
                        127);
    for (size_t c = 0; c < CHANNELS; c++) {
        cr_expect_eq(column_scales[c], row_scales[c], "channel %zu", c);
        for (size_t k = 0; k < ROWS; k++)
            cr_expect_eq(column_codes[k * CHANNELS + c], row_codes[c * ROWS + k]);
    }
}
