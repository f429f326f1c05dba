/* Codes with a scale per block: the grid and its search, then codes for the least error of a
 * layer's output. Error feedback is held against its definition, which inverts H and takes a
 * column out of the inverse after each code. */
#include "kernels/block_rounding.h"

#include "kernels/block_scales.h"
#include "layer.h"

typedef struct layer { /* H = X X^T / n of inputs whose channels share a few causes */
    size_t rows, columns, samples;
    float *w, *x, *h; /* [rows, columns], [samples, columns], [columns, columns] */
    oxp_block_grid grid;
    oxp_block_codes c;
    oxp_round_block block;
} layer;

static void fill_inputs(oxp_random *r, layer *l)
{
    size_t causes = l->columns / 4 + 1;
    float *mix = random_floats(r, causes * l->columns), *cause = make_block(causes, sizeof *cause);
    for (size_t s = 0; s < l->samples; s++) {
        for (size_t c = 0; c < causes; c++)
            cause[c] = (float)oxp_random_normal(r);
        for (size_t j = 0; j < l->columns; j++) {
            double sum = 0.3 * oxp_random_normal(r);
            for (size_t c = 0; c < causes; c++)
                sum += (double)cause[c] * (double)mix[c * l->columns + j];
            l->x[s * l->columns + j] = (float)sum;
        }
    }
    free(mix);
    free(cause);
}

static test_layer inputs_of(const layer *l)
{
    return (test_layer){l->rows, l->columns, l->samples, l->w, l->x, l->h};
}

static layer make_layer(oxp_random *r, size_t rows, size_t columns, oxp_block_grid grid)
{
    layer l = {.rows = rows, .columns = columns, .samples = 4 * columns + 8, .grid = grid};
    size_t scales = rows * oxp_block_grid_blocks(&grid, columns);
    l.w = make_block(rows * columns, sizeof *l.w);
    for (size_t i = 0; i < rows * columns; i++)
        l.w[i] = (float)oxp_random_normal(r);
    l.x = make_block(l.samples * columns, sizeof *l.x);
    l.h = make_block(columns * columns, sizeof *l.h);
    l.c.codes = make_block(rows * columns, 1);
    l.c.scales = make_block(scales, sizeof *l.c.scales);
    l.c.zeros = make_block(scales, 1);
    l.block = (oxp_round_block){.first = 0, .count = columns, .h = l.h};
    l.block.factor = make_block(columns * columns, sizeof *l.block.factor);
    l.block.order = make_block(columns, sizeof *l.block.order);
    fill_inputs(r, &l);
    test_layer inputs = inputs_of(&l);
    fill_moments(&inputs);
    oxp_round_factor(&l.block, 1e-4f);
    oxp_block_search(&l.grid, l.w, rows, columns, NULL, &l.c);
    return l;
}

static void free_layer(layer *l)
{
    void *blocks[] = {
        l->w, l->x, l->h, l->c.codes, l->c.scales, l->c.zeros, l->block.factor, l->block.order};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        free(blocks[i]);
}

static oxp_block_codes row_of(const layer *l, size_t r)
{
    size_t scales = oxp_block_grid_blocks(&l->grid, l->columns);
    return (oxp_block_codes){l->c.codes + r * l->columns, l->c.scales + r * scales,
                             l->c.zeros + r * scales};
}

static double objective(const layer *l)
{
    double sum = 0;
    for (size_t r = 0; r < l->rows; r++) {
        oxp_block_codes row = row_of(l, r);
        sum += oxp_block_objective(&l->grid, &l->block, 1, l->w + r * l->columns, &row);
    }
    return sum;
}

/* Mean over the samples of |(w - v) x|^2. */
static double read_error(const layer *l)
{
    test_layer inputs = inputs_of(l);
    float *v = make_block(l->rows * l->columns, sizeof *v);
    oxp_block_values(&l->grid, &l->c, l->rows, l->columns, v);
    double error = raw_error(&inputs, v);
    free(v);
    return error;
}

static double squared_error(const layer *l)
{
    double total = 0;
    for (size_t r = 0; r < l->rows; r++) {
        oxp_block_codes row = row_of(l, r);
        for (size_t k = 0; k < l->columns; k++) {
            double e = (double)oxp_block_rest(&l->grid, l->w + r * l->columns, &row, k);
            total += e * e;
        }
    }
    return total;
}

static void expect_in_range(const layer *l)
{
    for (size_t i = 0; i < l->rows * l->columns; i++)
        cr_assert_lt(l->c.codes[i], 1 << l->grid.bits);
}

static oxp_round_error round_layer(layer *l)
{
    oxp_ctx ctx;
    oxp_round_error error = {0, 0};
    oxp_ctx_init(&ctx);
    cr_assert_eq(
        oxp_block_round(&ctx, &l->grid, &l->block, 1, l->w, l->rows, l->columns, &l->c, &error),
        OXP_OK);
    cr_expect_eq(ctx.budget->used, 0);
    return error;
}

static void feed_back(layer *l)
{
    oxp_ctx ctx;
    oxp_ctx_init(&ctx);
    cr_assert_eq(oxp_block_feedback(&ctx, &l->grid, &l->block, 1, l->w, l->rows, l->columns, &l->c),
                 OXP_OK);
}

/* ---- the grid ---- */

/* What the largest weight of each block alone decides: the scale that ONNX Runtime's own quantiser
 * takes. */
static void largest_on_the_first_code(layer *l)
{
    size_t blocks = oxp_block_grid_blocks(&l->grid, l->columns);
    for (size_t r = 0; r < l->rows; r++)
        for (size_t b = 0; b < blocks; b++) {
            float most = 0;
            for (size_t k = b * l->grid.block; k < l->columns && k < (b + 1) * l->grid.block; k++)
                if (fabsf(l->w[r * l->columns + k]) > fabsf(most))
                    most = l->w[r * l->columns + k];
            l->c.scales[r * blocks + b] = -most / (float)(1 << (l->grid.bits - 1));
        }
    oxp_block_nearest(&l->grid, l->w, l->rows, l->columns, &l->c);
}

Test(block_grid, a_searched_scale_is_better_than_that_of_the_largest_weight)
{
    oxp_random r = oxp_random_make(1, 2, 3);
    for (int bits = 2; bits <= 8; bits++) {
        layer l = make_layer(&r, 8, 64, (oxp_block_grid){bits, 32, true, false, false});
        double searched = squared_error(&l);
        expect_in_range(&l);
        largest_on_the_first_code(&l);
        double plain = squared_error(&l);
        cr_expect_lt(searched, (bits < 4 ? 0.9 : 0.97) * plain, "%d bits: %g and %g", bits,
                     searched, plain);
        free_layer(&l);
    }
}

Test(block_grid, the_largest_weight_of_either_sign_can_stand_on_the_code_of_which_there_is_more)
{
    const oxp_block_grid g = {4, 4, true, true, false};
    const float w[8] = {-8, 3, 2, 1, 8, -3, -2, -1};
    uint8_t codes[8], zeros[2];
    float scales[2], v[8];
    oxp_block_codes c = {codes, scales, zeros};
    oxp_block_search(&g, w, 1, 8, NULL, &c);
    oxp_block_values(&g, &c, 1, 8, v);
    for (size_t i = 0; i < 8; i++)
        cr_expect_eq(v[i], w[i]);
    cr_expect(codes[0] == 0 && codes[4] == 0 && scales[0] == 1 && scales[1] == -1);
}

Test(block_grid, a_zero_point_holds_weights_of_one_sign)
{
    oxp_random r = oxp_random_make(4, 5, 6);
    double errors[2];
    for (int symmetric = 0; symmetric < 2; symmetric++) {
        layer l = make_layer(&r, 4, 32, (oxp_block_grid){4, 16, symmetric, true, false});
        for (size_t i = 0; i < l.rows * l.columns; i++)
            l.w[i] = fabsf(l.w[i]);
        oxp_block_search(&l.grid, l.w, l.rows, l.columns, NULL, &l.c);
        errors[symmetric] = squared_error(&l);
        free_layer(&l);
    }
    cr_expect_lt(errors[0], 0.5 * errors[1], "%g and %g", errors[0], errors[1]);
}

Test(block_grid, scales_are_half_precision_and_normal_where_asked)
{
    const oxp_block_grid g = {4, 16, true, true, false};
    const float scales[] = {0.1f, -3.3e-4f, 1e-9f, -1e9f, 0.0f};
    for (size_t i = 0; i < 5; i++) {
        float s = oxp_block_scale(&g, scales[i]);
        cr_expect_eq(oxp_block_scale(&g, s), s);
        cr_expect(fabsf(s) >= 6.1e-5f && fabsf(s) <= 65504.0f && (scales[i] < 0) == (s < 0));
    }
    cr_expect_float_eq(oxp_block_scale(&g, 0.1f), 0.1f, 5e-5f);
}

Test(block_grid, a_block_of_zeros_and_one_that_no_input_reaches)
{
    const oxp_block_grid g = {3, 2, true, true, false};
    const float w[4] = {0, 0, 1, -2}, h[4] = {1, 1, 0, 0};
    uint8_t codes[4], zeros[2];
    float scales[2], v[4];
    oxp_block_codes c = {codes, scales, zeros};
    oxp_block_search(&g, w, 1, 4, h, &c);
    oxp_block_values(&g, &c, 1, 4, v);
    cr_expect(v[0] == 0 && v[1] == 0 && scales[0] == 1);
    cr_expect(fabsf(v[2] - 1) < 0.3f && fabsf(v[3] + 2) < 0.3f, "%g %g", (double)v[2],
              (double)v[3]);
}

/* ---- error feedback ---- */

/* Inverse of a symmetric positive matrix by Gauss and Jordan. */
static double *inverse(const double *a, size_t n)
{
    double *m = make_block(2 * n * n, sizeof *m), *out = make_block(n * n, sizeof *out);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            m[i * 2 * n + j] = a[i * n + j];
            m[i * 2 * n + n + j] = i == j;
        }
    for (size_t p = 0; p < n; p++) {
        double pivot = m[p * 2 * n + p];
        for (size_t j = 0; j < 2 * n; j++)
            m[p * 2 * n + j] /= pivot;
        for (size_t i = 0; i < n; i++) {
            double by = m[i * 2 * n + p];
            for (size_t j = 0; i != p && j < 2 * n; j++)
                m[i * 2 * n + j] -= by * m[p * 2 * n + j];
        }
    }
    for (size_t i = 0; i < n; i++)
        memcpy(out + i * n, m + i * 2 * n + n, n * sizeof *out);
    free(m);
    return out;
}

/* OBQ in a given order: each error goes to the columns that are left, by the inverse of what H has
 * of them. */
static void obq(const layer *l, size_t r, uint8_t *codes)
{
    size_t n = l->columns;
    double damp = 0, *h = make_block(n * n, sizeof *h), *w = make_block(n, sizeof *w);
    oxp_block_codes row = row_of(l, r);
    for (size_t i = 0; i < n; i++) {
        damp += 1e-4 * (double)l->h[i * n + i] / (double)n;
        w[i] = (double)l->w[r * n + i];
    }
    for (size_t i = 0; i < n * n; i++)
        h[i] = (double)l->h[i] + (i % (n + 1) == 0 ? damp : 0);
    double *u = inverse(h, n);
    for (size_t k = n; k-- > 0;) {
        size_t i = l->block.order[k], b = i / l->grid.block;
        float zero = (float)row.zeros[b];
        codes[i] = (uint8_t)oxp_block_code((float)w[i], row.scales[b], zero,
                                           (float)((1 << l->grid.bits) - 1));
        double e = (w[i] - (double)(((float)codes[i] - zero) * row.scales[b])) / u[i * n + i];
        for (size_t j = 0; j < n; j++)
            w[j] -= e * u[i * n + j];
        double pivot = u[i * n + i], *column = make_block(n, sizeof *column);
        for (size_t j = 0; j < n; j++)
            column[j] = u[j * n + i];
        for (size_t j = 0; j < n * n; j++)
            u[j] -= column[j / n] * column[j % n] / pivot;
        for (size_t j = 0; j < n; j++)
            u[j * n + i] = u[i * n + j] = 0;
        free(column);
    }
    free(u);
    free(h);
    free(w);
}

Test(block_rounding, feedback_is_obq_with_down_dates_of_the_inverse)
{
    oxp_random r = oxp_random_make(7, 8, 9);
    const oxp_block_grid grids[] = {{4, 16, true, false, false}, {2, 7, false, true, false}};
    size_t compared = 0, same = 0;
    for (size_t k = 0; k < 2; k++) {
        layer l = make_layer(&r, 19, 45, grids[k]);
        uint8_t *expected = make_block(l.rows * l.columns, 1);
        for (size_t row = 0; row < l.rows; row++)
            obq(&l, row, expected + row * l.columns);
        feed_back(&l);
        for (size_t i = 0; i < l.rows * l.columns; i++, compared++)
            same += expected[i] == l.c.codes[i];
        free(expected);
        free_layer(&l);
    }
    cr_expect_geq(same, compared - 2, "%zu of %zu", same, compared);
}

/* ---- rounding ---- */

Test(block_rounding, the_sum_from_h_is_that_on_raw_inputs)
{
    oxp_random r = oxp_random_make(10, 11, 12);
    layer l = make_layer(&r, 7, 40, (oxp_block_grid){3, 16, true, true, false});
    double from_h = objective(&l), raw = read_error(&l);
    cr_expect_lt(fabs(from_h - raw), 1e-5 * raw, "%.9g and %.9g", from_h, raw);
    free_layer(&l);
}

Test(block_rounding, the_output_error_falls_in_every_grid)
{
    oxp_random r = oxp_random_make(13, 14, 15);
    const size_t columns[] = {1, 9, 40, 130}, blocks[] = {16, 32, 1000};
    double gain = 0, of_feedback = 0;
    int count = 0;
    for (size_t k = 0; k < 4; k++)
        for (int bits = 2; bits <= 8; bits += 2)
            for (size_t b = 0; b < 3; b++) {
                oxp_block_grid grid = {bits, blocks[b], bits != 4, bits < 8, false};
                layer l = make_layer(&r, 37, columns[k], grid);
                double before = read_error(&l);
                oxp_round_error error = round_layer(&l);
                double after = read_error(&l);
                cr_expect_lt(fabs(error.before - before), 1e-3 * before + 1e-9);
                cr_expect_lt(fabs(error.after - after), 1e-3 * before + 1e-9);
                cr_expect_leq(error.after, error.before);
                expect_in_range(&l);
                oxp_block_search(&l.grid, l.w, l.rows, l.columns, NULL, &l.c);
                feed_back(&l);
                if (columns[k] > 9) {
                    gain += 10 * log10(before / after);
                    of_feedback += 10 * log10(before / read_error(&l));
                    count++;
                }
                free_layer(&l);
            }
    cr_expect_gt(gain / count, 7.7, "mean gain %.2f dB", gain / count);
    cr_expect_gt(of_feedback / count, 5.0, "of feedback alone %.2f dB", of_feedback / count);
}

/* With H = I the error of each code is its own. */
Test(block_rounding, without_correlation_the_nearest_codes)
{
    oxp_random r = oxp_random_make(16, 17, 18);
    layer l = make_layer(&r, 20, 33, (oxp_block_grid){4, 16, true, true, false});
    for (size_t i = 0; i < 33 * 33; i++)
        l.h[i] = i % 34 == 0 ? 1.0f : 0.0f;
    oxp_round_factor(&l.block, 0.01f);
    round_layer(&l);
    uint8_t *codes = make_block(l.rows * l.columns, 1);
    memcpy(codes, l.c.codes, l.rows * l.columns);
    oxp_block_nearest(&l.grid, l.w, l.rows, l.columns, &l.c);
    cr_expect_eq(memcmp(codes, l.c.codes, l.rows * l.columns), 0);
    free(codes);
    free_layer(&l);
}

/* Two blocks of H, a scale across their border, against one H with nothing off the blocks. */
Test(block_rounding, a_scale_may_lie_across_two_blocks_of_h)
{
    oxp_random r = oxp_random_make(19, 20, 21);
    layer l = make_layer(&r, 18, 60, (oxp_block_grid){3, 16, true, true, false});
    float *parts[2] = {make_block(24 * 24, 4), make_block(36 * 36, 4)};
    for (size_t i = 0; i < 60; i++)
        for (size_t j = 0; j < 60; j++) {
            if (i < 24 && j < 24)
                parts[0][i * 24 + j] = l.h[i * 60 + j];
            else if (i >= 24 && j >= 24)
                parts[1][(i - 24) * 36 + j - 24] = l.h[i * 60 + j];
            else
                l.h[i * 60 + j] = 0;
        }
    oxp_round_block two[2] = {{.first = 0, .count = 24, .h = parts[0]},
                              {.first = 24, .count = 36, .h = parts[1]}};
    for (int k = 0; k < 2; k++) {
        two[k].factor = make_block(two[k].count * two[k].count, sizeof(float));
        two[k].order = make_block(two[k].count, sizeof(uint32_t));
        oxp_round_factor(&two[k], 1e-4f);
    }
    double before = objective(&l);
    oxp_ctx ctx;
    oxp_ctx_init(&ctx);
    oxp_round_error error = {0, 0};
    cr_assert_eq(oxp_block_round(&ctx, &l.grid, two, 2, l.w, l.rows, l.columns, &l.c, &error),
                 OXP_OK);
    cr_expect_float_eq(error.before, before, 1e-4 * before);
    cr_expect_float_eq(error.after, objective(&l), 1e-4 * before);
    cr_expect_lt(error.after, 0.5 * before, "%g of %g", error.after, before);
    for (int k = 0; k < 2; k++) {
        free(two[k].factor);
        free(two[k].order);
        free(parts[k]);
    }
    free_layer(&l);
}

Test(block_rounding, columns_and_rows_of_nothing)
{
    oxp_random r = oxp_random_make(22, 23, 24);
    layer l = make_layer(&r, 6, 40, (oxp_block_grid){4, 16, true, true, false});
    for (size_t i = 0; i < 40; i++) {
        l.h[3 * 40 + i] = l.h[i * 40 + 3] = 0; /* a column that was never seen */
        l.w[2 * 40 + i] = 0;
    }
    oxp_round_factor(&l.block, 0.01f);
    oxp_block_search(&l.grid, l.w, l.rows, l.columns, NULL, &l.c);
    round_layer(&l);
    float *v = make_block(l.rows * l.columns, sizeof *v);
    oxp_block_values(&l.grid, &l.c, l.rows, l.columns, v);
    for (size_t i = 0; i < 40; i++)
        cr_expect_eq(v[2 * 40 + i], 0);
    for (size_t i = 0; i < 6; i++) { /* near, or clipped on the last code */
        float scale = fabsf(l.c.scales[i * 3]), rest = fabsf(l.w[i * 40 + 3] - v[i * 40 + 3]);
        bool last = l.c.codes[i * 40 + 3] == 0 || l.c.codes[i * 40 + 3] == 15;
        cr_expect(rest <= 0.51f * scale || last);
    }
    free(v);
    for (size_t i = 0; i < 40 * 40; i++)
        l.h[i] = 0;
    float *factor = l.block.factor;
    oxp_round_factor(&l.block, 0.01f);
    cr_expect_null(l.block.factor);
    l.block.factor = factor; /* for free_layer() */
    free_layer(&l);
}

Test(block_rounding, weights_of_zero_stay_where_asked)
{
    oxp_random r = oxp_random_make(25, 26, 27);
    layer l = make_layer(&r, 17, 48, (oxp_block_grid){4, 16, true, true, true});
    for (size_t i = 0; i < l.rows * l.columns; i++)
        if (oxp_random_below(&r, 2))
            l.w[i] = 0;
    for (int asymmetric = 0; asymmetric < 2; asymmetric++) {
        l.grid.symmetric = !asymmetric;
        oxp_block_search(&l.grid, l.w, l.rows, l.columns, NULL, &l.c);
        oxp_round_error error = round_layer(&l);
        cr_expect_lt(error.after, 0.7 * error.before);
        for (size_t i = 0; i < l.rows * l.columns; i++)
            if (l.w[i] == 0)
                cr_assert_eq(l.c.codes[i], l.c.zeros[i / 48 * 3 + i % 48 / 16]);
    }
    free_layer(&l);
}

/* 0 / 0 and infinity are no codes; the first solution stays. */
Test(block_rounding, what_is_no_number_changes_no_code)
{
    oxp_random r = oxp_random_make(28, 29, 30);
    layer l = make_layer(&r, 2, 20, (oxp_block_grid){4, 16, true, false, false});
    l.w[5] = 3e38f;
    l.w[7] = -3e38f;
    oxp_block_search(&l.grid, l.w, l.rows, l.columns, NULL, &l.c);
    round_layer(&l);
    expect_in_range(&l);
    for (size_t i = 0; i < 4; i++)
        cr_expect(isfinite(l.c.scales[i]) && l.c.scales[i] != 0);
    free_layer(&l);
}

/* ---- descent and scales ---- */

static void fill_gradient(const layer *l, size_t r, double *gradient)
{
    oxp_block_codes row = row_of(l, r);
    for (size_t i = 0; i < l->columns; i++) {
        gradient[i] = 0;
        for (size_t j = 0; j < l->columns; j++)
            gradient[i] += (double)l->h[i * l->columns + j] *
                           (double)oxp_block_rest(&l->grid, l->w + r * l->columns, &row, j);
    }
}

Test(block_rounding, descent_falls_by_what_it_says)
{
    oxp_random r = oxp_random_make(31, 32, 33);
    layer l = make_layer(&r, 12, 50, (oxp_block_grid){3, 16, false, true, false});
    double *gradient = make_block(50, sizeof *gradient);
    for (size_t row = 0; row < l.rows; row++) {
        oxp_block_codes c = row_of(&l, row);
        const float *w = l.w + row * 50;
        double before = oxp_block_objective(&l.grid, &l.block, 1, w, &c);
        fill_gradient(&l, row, gradient);
        double gained = oxp_block_descend(&l.grid, &l.block, 1, w, &c, 0, gradient);
        double after = oxp_block_objective(&l.grid, &l.block, 1, w, &c);
        cr_expect_gt(gained, 0);
        cr_expect_float_eq(before - gained, after, 1e-5 * before);
    }
    expect_in_range(&l);
    free(gradient);
    free_layer(&l);
}

/* Exact halves: both codes are equally good, and the descent must not go round in circles. */
Test(block_rounding, descent_ends_on_exact_ties)
{
    const oxp_block_grid g = {4, 2, true, false, false};
    const float h[4] = {1, 0.5f, 0.5f, 1}, w[2] = {0.5f, 1.5f};
    uint8_t codes[2] = {8, 10}, zero = 8;
    float scale = 1;
    oxp_block_codes c = {codes, &scale, &zero};
    oxp_round_block b = {.first = 0, .count = 2, .h = h};
    double e[2] = {0.5, -0.5}, gradient[2] = {e[0] + 0.5 * e[1], 0.5 * e[0] + e[1]};
    double before = oxp_block_objective(&g, &b, 1, w, &c);
    double gained = oxp_block_descend(&g, &b, 1, w, &c, 0, gradient);
    cr_expect_float_eq(before - gained, oxp_block_objective(&g, &b, 1, w, &c), 1e-12);
    cr_expect_geq(gained, 0);
    cr_expect_eq(oxp_block_descend(&g, &b, 1, w, &c, 0, gradient), 0);
}

/* At the least sum the gradient has nothing along any scale: q_b . H e = 0. */
Test(block_rounding, fitted_scales_leave_no_slope)
{
    oxp_random r = oxp_random_make(34, 35, 36);
    layer l = make_layer(&r, 5, 70, (oxp_block_grid){4, 16, true, false, false});
    float *he = make_block(l.rows * l.columns, sizeof *he);
    double *gradient = make_block(l.columns, sizeof *gradient);
    for (size_t row = 0; row < l.rows; row++) {
        fill_gradient(&l, row, gradient);
        for (size_t i = 0; i < l.columns; i++)
            he[row * l.columns + i] = (float)gradient[i];
    }
    oxp_ctx ctx;
    oxp_arena arena;
    oxp_block_scales f;
    oxp_ctx_init(&ctx);
    oxp_arena_init(&arena, &ctx);
    cr_assert(oxp_block_scales_init(&f, &arena, &l.grid, &l.block, 1, l.columns, l.rows));
    double before = objective(&l);
    oxp_block_scales_fit(&f, l.rows, &l.c, he);
    cr_expect_lt(objective(&l), before);
    for (size_t row = 0; row < l.rows; row++) {
        oxp_block_codes c = row_of(&l, row);
        fill_gradient(&l, row, gradient);
        for (size_t b = 0; b < 5; b++) {
            double slope = 0, size = 0;
            for (size_t k = b * 16; k < 70 && k < (b + 1) * 16; k++) {
                double q = (double)c.codes[k] - (double)c.zeros[b];
                slope += q * gradient[k];
                size += fabs(q * gradient[k]);
            }
            cr_expect_lt(fabs(slope), 1e-3 * size + 1e-6, "row %zu, scale %zu: %g of %g", row, b,
                         slope, size);
        }
    }
    oxp_arena_free(&arena);
    free(he);
    free(gradient);
    free_layer(&l);
}
