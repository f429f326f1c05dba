/* Cholesky against its product; codes for the least error of a layer's output: the sum from H is
 * that on the raw inputs, it never rises, is below that of the nearest codes, and with H = I the
 * nearest codes are all that is left. */
#include "kernels/rounding.h"

#include "kernels/factor.h"
#include "kernels/quantise.h"
#include "values.h"

/* H = X X^T / n of inputs whose channels share a few causes. */
typedef struct layer {
    size_t rows, columns, samples;
    float *w, *x, *h; /* [rows, columns], [samples, columns], [columns, columns] */
    int8_t *codes;
    float *scales;
} layer;

static layer make_layer(oxp_random *r, size_t rows, size_t columns, size_t samples, int limit)
{
    layer l = {.rows = rows, .columns = columns, .samples = samples};
    size_t causes = columns / 4 + 1;
    float *mix = random_floats(r, causes * columns), *cause = make_block(causes, sizeof *cause);
    l.w = random_floats(r, rows * columns);
    l.x = make_block(samples * columns, sizeof *l.x);
    l.h = make_block(columns * columns, sizeof *l.h);
    for (size_t s = 0; s < samples; s++) {
        for (size_t c = 0; c < causes; c++)
            cause[c] = (float)oxp_random_normal(r);
        for (size_t j = 0; j < columns; j++) {
            double sum = 0.3 * oxp_random_normal(r);
            for (size_t c = 0; c < causes; c++)
                sum += (double)cause[c] * (double)mix[c * columns + j];
            l.x[s * columns + j] = (float)sum;
        }
    }
    for (size_t i = 0; i < columns; i++)
        for (size_t j = 0; j < columns; j++) {
            double sum = 0;
            for (size_t s = 0; s < samples; s++)
                sum += (double)l.x[s * columns + i] * (double)l.x[s * columns + j];
            l.h[i * columns + j] = (float)(sum / (double)samples);
        }
    l.codes = make_block(rows * columns, 1);
    l.scales = make_block(rows, sizeof *l.scales);
    oxp_quantise_weight(l.codes, l.scales, l.w, (oxp_weight_layout){1, 1, rows, columns}, limit);
    free(mix);
    free(cause);
    return l;
}

static void free_layer(layer *l)
{
    free(l->w);
    free(l->x);
    free(l->h);
    free(l->codes);
    free(l->scales);
}

/* Mean over the samples of the squared error of the outputs. */
static double raw_error(const layer *l)
{
    double total = 0;
    for (size_t s = 0; s < l->samples; s++)
        for (size_t r = 0; r < l->rows; r++) {
            double y = 0;
            for (size_t k = 0; k < l->columns; k++)
                y += ((double)l->w[r * l->columns + k] -
                      (double)((float)l->codes[r * l->columns + k] * l->scales[r])) *
                     (double)l->x[s * l->columns + k];
            total += y * y;
        }
    return total / (double)l->samples;
}

static double sum_of_objectives(const layer *l, const oxp_round_block *blocks, size_t count)
{
    double total = 0;
    for (size_t r = 0; r < l->rows; r++)
        total += oxp_round_objective(blocks, count, &l->w[r * l->columns],
                                     &l->codes[r * l->columns], l->scales[r]);
    return total;
}

static oxp_round_block make_block_of(const float *h, size_t first, size_t count)
{
    oxp_round_block b = {.first = first, .count = count, .h = h};
    b.factor = make_block(count * count, sizeof *b.factor);
    b.order = make_block(count, sizeof *b.order);
    return b;
}

static oxp_round_error round_layer(layer *l, const oxp_round_block *blocks, size_t count, int limit)
{
    oxp_ctx ctx;
    oxp_round_error error = {0, 0};
    oxp_ctx_init(&ctx);
    cr_assert_eq(oxp_round_rows(&ctx, blocks, count, l->w, l->rows, l->columns, limit, l->codes,
                                l->scales, &error),
                 OXP_OK);
    cr_expect_eq(ctx.budget->used, 0);
    return error;
}

Test(factor, the_product_of_the_factor_is_the_matrix)
{
    oxp_random r = oxp_random_make(1, 2, 3);
    const size_t sizes[] = {1, 2, 31, 32, 33, 100};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        size_t n = sizes[k];
        layer l = make_layer(&r, 1, n, 3 * n + 2, 127);
        float *c = make_block(n * n, sizeof *c);
        memcpy(c, l.h, n * n * sizeof *c);
        cr_assert(oxp_cholesky(c, n), "n %zu", n);
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j <= i; j++) {
                double sum = 0;
                for (size_t p = 0; p <= j; p++)
                    sum += (double)c[i * n + p] * (double)c[j * n + p];
                double size = sqrt((double)l.h[i * n + i] * (double)l.h[j * n + j]);
                cr_assert_lt(fabs(sum - (double)l.h[i * n + j]), 1e-5 * size, "n %zu", n);
            }
        free(c);
        free_layer(&l);
    }
    float indefinite[4] = {1, 2, 2, 1};
    cr_expect_not(oxp_cholesky(indefinite, 2));
}

Test(rounding, the_sum_from_h_is_that_on_raw_inputs)
{
    oxp_random r = oxp_random_make(5, 6, 7);
    layer l = make_layer(&r, 7, 40, 200, 7);
    oxp_round_block b = {.first = 0, .count = 40, .h = l.h};
    double from_h = sum_of_objectives(&l, &b, 1), raw = raw_error(&l);
    cr_expect_lt(fabs(from_h - raw), 1e-5 * raw, "%.9g and %.9g", from_h, raw);
    free_layer(&l);
}

Test(rounding, the_output_error_falls)
{
    oxp_random r = oxp_random_make(8, 9, 10);
    const size_t columns[] = {1, 9, 40, 130};
    double gain = 0;
    for (size_t k = 0; k < 4; k++)
        for (int limit = 7; limit <= 127; limit += 120) {
            layer l = make_layer(&r, 37, columns[k], 4 * columns[k] + 8, limit);
            oxp_round_block b = make_block_of(l.h, 0, columns[k]);
            double nearest = raw_error(&l);
            oxp_round_factor(&b, 0.001f);
            oxp_round_error error = round_layer(&l, &b, 1, limit);
            double after = raw_error(&l);
            cr_expect_lt(fabs(error.before - nearest), 1e-3 * nearest + 1e-9);
            cr_expect_lt(fabs(error.after - after), 1e-3 * nearest + 1e-9);
            cr_expect_leq(error.after, error.before);
            for (size_t i = 0; i < l.rows * l.columns; i++)
                cr_assert(l.codes[i] >= -limit && l.codes[i] <= limit, "code %d", l.codes[i]);
            gain += columns[k] > 1 ? 10 * log10(nearest / after) / 6 : 0;
            free(b.factor);
            free(b.order);
            free_layer(&l);
        }
    /* 8.2; descent alone, from planes that pass their errors on the wrong way, gains 7.1 */
    cr_expect_gt(gain, 7.7, "mean gain %.2f dB", gain);
}

/* With H = I the error of each code is its own: what is left is the nearest code for the scale. */
Test(rounding, without_correlation_the_nearest_codes)
{
    oxp_random r = oxp_random_make(11, 12, 13);
    layer l = make_layer(&r, 20, 33, 4, 127);
    for (size_t i = 0; i < 33 * 33; i++)
        l.h[i] = i % 34 == 0 ? 1.0f : 0.0f;
    oxp_round_block b = make_block_of(l.h, 0, 33);
    oxp_round_factor(&b, 0.01f);
    round_layer(&l, &b, 1, 127);
    int8_t *nearest = make_block(l.rows * l.columns, 1);
    oxp_quantise_weight_with(nearest, l.scales, l.w, (oxp_weight_layout){1, 1, 20, 33}, 127);
    cr_expect_eq(memcmp(nearest, l.codes, l.rows * l.columns), 0);
    free(nearest);
    free(b.factor);
    free(b.order);
    free_layer(&l);
}

Test(rounding, blocks_are_layers_side_by_side)
{
    oxp_random r = oxp_random_make(14, 15, 16);
    layer l = make_layer(&r, 5, 24, 100, 127);
    float *parts = make_block(16 * 16 + 8 * 8, sizeof *parts), *whole = make_block(24 * 24, 4);
    for (size_t i = 0; i < 24; i++)
        for (size_t j = 0; j < 24; j++) {
            bool together = (i < 16) == (j < 16);
            whole[i * 24 + j] = together ? l.h[i * 24 + j] : 0;
            if (together && i < 16)
                parts[i * 16 + j] = l.h[i * 24 + j];
            else if (together)
                parts[256 + (i - 16) * 8 + j - 16] = l.h[i * 24 + j];
        }
    oxp_round_block one = {.first = 0, .count = 24, .h = whole};
    oxp_round_block two[2] = {make_block_of(parts, 0, 16), make_block_of(parts + 256, 16, 8)};
    double before = sum_of_objectives(&l, &one, 1);
    cr_expect_float_eq(before, sum_of_objectives(&l, two, 2), 1e-12 * before);
    oxp_round_factor(&two[0], 0.001f);
    oxp_round_factor(&two[1], 0.001f);
    oxp_round_error error = round_layer(&l, two, 2, 127);
    cr_expect_float_eq(error.after, sum_of_objectives(&l, &one, 1), 1e-4 * before);
    cr_expect_lt(error.after, 0.7 * before);
    for (int k = 0; k < 2; k++) {
        free(two[k].factor);
        free(two[k].order);
    }
    free(parts);
    free(whole);
    free_layer(&l);
}

Test(rounding, columns_that_were_never_seen_get_the_nearest_codes)
{
    oxp_random r = oxp_random_make(17, 18, 19);
    layer l = make_layer(&r, 6, 20, 100, 127);
    for (size_t i = 0; i < 20; i++)
        l.h[3 * 20 + i] = l.h[i * 20 + 3] = 0;
    oxp_round_block b = make_block_of(l.h, 0, 20);
    oxp_round_factor(&b, 0.01f);
    round_layer(&l, &b, 1, 127);
    for (size_t i = 0; i < 6; i++)
        cr_expect_leq(fabsf(l.w[i * 20 + 3] - (float)l.codes[i * 20 + 3] * l.scales[i]),
                      0.51f * l.scales[i]);
    free(b.factor);
    free(b.order);
    free_layer(&l);
}

/* 0 / 0 and infinity are no codes; the first solution stays. */
Test(rounding, what_is_no_number_changes_no_code)
{
    float h[4] = {1, 0.5f, 0.5f, 1}, w[4] = {0, 0, 3e38f, -3e38f}, scales[2] = {0, 1e-3f};
    int8_t codes[4] = {0, 0, 5, -5};
    oxp_round_block b = make_block_of(h, 0, 2);
    oxp_round_factor(&b, 0.01f);
    oxp_ctx ctx;
    oxp_ctx_init(&ctx);
    oxp_round_error error = {0};
    cr_assert_eq(oxp_round_rows(&ctx, &b, 1, w, 2, 2, 127, codes, scales, &error), OXP_OK);
    cr_expect_eq(codes[0], 0);
    cr_expect_eq(codes[1], 0);
    for (size_t i = 2; i < 4; i++)
        cr_expect(codes[i] >= -127 && codes[i] <= 127);
    cr_expect_eq(scales[0], 0.0f);
    free(b.factor);
    free(b.order);
}

/* Exact halves: both codes are equally good, and the descent must not go round in circles. */
Test(rounding, descent_ends_on_exact_ties)
{
    const float h[4] = {1, 0.5f, 0.5f, 1}, v[2] = {0.5f, 1.5f};
    int8_t codes[2] = {0, 2};
    oxp_round_block b = {.first = 0, .count = 2, .h = h};
    double gradient[2];
    for (int i = 0; i < 2; i++)
        gradient[i] = (double)h[2 * i] * (double)(v[0] - (float)codes[0]) +
                      (double)h[2 * i + 1] * (double)(v[1] - (float)codes[1]);
    double before = oxp_round_objective(&b, 1, v, codes, 1);
    double gained = oxp_round_descend(&b, 1, 7, 1, 0, codes, gradient);
    cr_expect_float_eq(before - gained, oxp_round_objective(&b, 1, v, codes, 1), 1e-12);
    cr_expect_geq(gained, 0);
    int8_t kept[2] = {codes[0], codes[1]};
    cr_expect_eq(oxp_round_descend(&b, 1, 7, 1, 0, codes, gradient), 0);
    cr_expect(kept[0] == codes[0] && kept[1] == codes[1]);
}
