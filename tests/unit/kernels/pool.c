/* Pools against their plain forms, and what they make of NaN, ties and padding. */
#include "kernels/pool.h"

#include "unit/kernels/values.h"

static oxp_ctx ctx;

static void setup(void)
{
    oxp_ctx_init(&ctx);
}

static void teardown(void)
{
    cr_expect_eq(atomic_load(&ctx.own_budget.used), 0, "a block was not given back");
}

TestSuite(pool, .init = setup, .fini = teardown);

Test(pool, rows_give_the_plain_results)
{
    oxp_random r = oxp_random_make(1, 0, 0);
    for (int i = 0; i < 200; i++) {
        oxp_window w = random_window(&r, 1 + i % 3, 20, false);
        size_t planes = random_size(&r, 1, 4), outputs = planes * oxp_volume(w.out);
        float *src = random_floats(&r, planes * oxp_volume(w.in));
        float *found = make_block(outputs, sizeof *found),
              *expected = make_block(outputs, sizeof *expected);
        if (i % 4 == 0)
            src[0] = NAN;
        cr_assert_eq(oxp_pool_max(&ctx, &w, planes, src, found), OXP_OK);
        oxp_pool_max_reference(&w, planes, src, expected);
        for (size_t k = 0; k < outputs; k++)
            cr_expect(found[k] == expected[k] || (isnan(found[k]) && isnan(expected[k])),
                      "maximum %zu of case %d", k, i);
        src[0] = 1;
        cr_assert_eq(oxp_pool_average(&ctx, &w, planes, i % 2, src, found), OXP_OK);
        oxp_pool_average_reference(&w, planes, i % 2, src, expected);
        cr_expect(difference(found, expected, outputs) < 1e-6, "average of case %d", i);
        free(src);
        free(found);
        free(expected);
    }
}

Test(pool, types_agree)
{
    oxp_random r = oxp_random_make(2, 0, 0);
    for (int i = 0; i < 60; i++) {
        oxp_window w = random_window(&r, 1 + i % 3, 8, false);
        size_t inputs = 2 * oxp_volume(w.in), outputs = 2 * oxp_volume(w.out);
        uint8_t *codes = random_bytes(&r, inputs), *u8 = make_block(outputs, 1);
        int8_t *i8 = make_block(outputs, 1);
        float *x = make_block(inputs, sizeof *x), *signed_x = make_block(inputs, sizeof *x);
        float *y = make_block(outputs, sizeof *y), *signed_y = make_block(outputs, sizeof *y);
        for (size_t k = 0; k < inputs; k++) {
            x[k] = (float)codes[k];
            signed_x[k] = (float)(int8_t)codes[k];
        }
        oxp_pool_max_u8(&w, 2, codes, u8);
        oxp_pool_max_i8(&w, 2, (const int8_t *)codes, i8);
        cr_assert_eq(oxp_pool_max(&ctx, &w, 2, x, y), OXP_OK);
        cr_assert_eq(oxp_pool_max(&ctx, &w, 2, signed_x, signed_y), OXP_OK);
        for (size_t k = 0; k < outputs; k++) {
            bool empty = y[k] == -INFINITY; /* taps on either side of the input, none in it */
            cr_expect_eq((float)u8[k], empty ? 0 : y[k]);
            cr_expect_eq((float)i8[k], empty ? -128 : signed_y[k]);
        }
        free(codes);
        free(u8);
        free(i8);
        free(x);
        free(signed_x);
        free(y);
        free(signed_y);
    }
}

Test(pool, an_index_leads_to_the_maximum)
{
    oxp_random r = oxp_random_make(3, 0, 0);
    for (int i = 0; i < 60; i++) {
        oxp_window w = random_window(&r, 1 + i % 3, 8, false);
        size_t in = oxp_volume(w.in), outputs = 3 * oxp_volume(w.out);
        float *src = random_floats(&r, 3 * in), *best = make_block(outputs, sizeof *best);
        int64_t *rows = make_block(outputs, sizeof *rows),
                *columns = make_block(outputs, sizeof *columns);
        oxp_pool_max_reference(&w, 3, src, best);
        oxp_pool_max_indices(&w, 3, src, false, rows);
        oxp_pool_max_indices(&w, 3, src, true, columns);
        for (size_t k = 0; k < outputs; k++) {
            if (best[k] == -INFINITY) {
                cr_expect(rows[k] == -1 && columns[k] == -1);
                continue;
            }
            cr_assert(rows[k] >= 0 && (size_t)rows[k] < 3 * in);
            cr_expect_eq(src[rows[k]], best[k]);
            size_t at = (size_t)rows[k] % in, i0 = at / w.in[2] / w.in[1],
                   i1 = at / w.in[2] % w.in[1], i2 = at % w.in[2];
            cr_expect_eq((size_t)columns[k] % in, (i2 * w.in[1] + i1) * w.in[0] + i0);
        }
        free(src);
        free(best);
        free(rows);
        free(columns);
    }
}

/* A row 1 2 3 under a window of 2 with stride 2 and one place of padding on either side. */
static const oxp_window three = {{1, 1, 3}, {1, 1, 2}, {1, 1, 2}, {1, 1, 2},
                                 {1, 1, 1}, {0, 0, 1}, {0, 0, 1}};

Test(pool, padding_counts_when_asked)
{
    const float x[3] = {1, 2, 3};
    float y[2];
    cr_assert_eq(oxp_pool_average(&ctx, &three, 1, false, x, y), OXP_OK);
    cr_expect_eq(y[0], 1);
    cr_expect_eq(y[1], 2.5f);
    cr_assert_eq(oxp_pool_average(&ctx, &three, 1, true, x, y), OXP_OK);
    cr_expect_eq(y[0], 0.5f);
}

Test(pool, a_last_window_behind_the_padding_counts_what_is_there)
{
    oxp_window w = three; /* rounded up: a third output whose window starts at place 3 of 0..3 */
    w.out[2] = 3;
    w.begin[2] = w.end[2] = 0;
    w.in[2] = 5;
    const float x[5] = {1, 2, 3, 4, 5};
    float y[3];
    cr_assert_eq(oxp_pool_average(&ctx, &w, 1, true, x, y), OXP_OK);
    cr_expect_eq(y[2], 5);
}

Test(pool, the_first_of_equal_maxima_is_named)
{
    const float x[3] = {2, 7, 7};
    const oxp_window w = {{1, 1, 3}, {1, 1, 1}, {1, 1, 3}, {1, 1, 1}, {1, 1, 1}, {0}, {0}};
    int64_t index;
    oxp_pool_max_indices(&w, 1, x, false, &index);
    cr_expect_eq(index, 1);
}

Test(pool, whole_planes)
{
    oxp_random r = oxp_random_make(4, 0, 0);
    for (size_t count = 1; count < 70; count++) {
        float *x = random_floats(&r, 2 * count), average[2], largest[2], norm[2];
        oxp_pool_global_average(2, count, x, average);
        oxp_pool_global_max(2, count, x, largest);
        oxp_pool_global_lp(2, count, 2, x, norm);
        for (size_t p = 0; p < 2; p++) {
            double sum = 0, squares = 0;
            float best = -INFINITY;
            for (size_t i = 0; i < count; i++) {
                sum += (double)x[p * count + i];
                squares += (double)x[p * count + i] * (double)x[p * count + i];
                best = fmaxf(best, x[p * count + i]);
            }
            cr_expect(fabs((double)average[p] - sum / (double)count) < 1e-6);
            cr_expect(fabs((double)norm[p] - sqrt(squares)) < 1e-6 * (1 + sqrt(squares)));
            cr_expect_eq(largest[p], best);
        }
        free(x);
    }
}

Test(pool, power_sums)
{
    const float x[4] = {-1, 2, -3, 4};
    const oxp_window w = {{1, 1, 4}, {1, 1, 2}, {1, 1, 2}, {1, 1, 2}, {1, 1, 1}, {0}, {0}};
    float y[2];
    oxp_pool_lp(&w, 1, 1, x, y);
    cr_expect_eq(y[0], 3);
    oxp_pool_lp(&w, 1, 2, x, y);
    cr_expect_eq(y[1], 5);
    oxp_pool_lp(&w, 1, 3, x, y);
    cr_expect(fabs((double)y[1] - cbrt(27 + 64)) < 1e-6);
}
