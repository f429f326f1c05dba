/* Transposition, columns and work per channel. */
#include "kernels/channels.h"
#include "kernels/columns.h"
#include "kernels/transpose.h"
#include "unit/kernels/values.h"

Test(layout, transposition_moves_every_element)
{
    oxp_random r = oxp_random_make(1, 0, 0);
    for (int i = 0; i < 120; i++) {
        size_t rows = i % 4 == 1 ? 3 : random_size(&r, 1, 40), columns = random_size(&r, 1, 90);
        size_t to_stride = i % 10 == 0 ? 512 : rows + (i % 4 ? 0 : oxp_random_below(&r, 3)),
               from_stride = columns + oxp_random_below(&r, 3);
        float *from = random_floats(&r, (rows - 1) * from_stride + columns);
        float *to = make_block((columns - 1) * to_stride + rows, sizeof *to);
        oxp_transpose(to, to_stride, from, from_stride, rows, columns);
        for (size_t k = 0; k < rows * columns; k++)
            cr_assert_eq(to[k % columns * to_stride + k / columns],
                         from[k / columns * from_stride + k % columns]);
        free(from);
        free(to);
    }
}

/* What the matrix of columns holds by definition. */
static float column_value(const oxp_window *w, const float *src, size_t row, size_t position)
{
    size_t taps = oxp_volume(w->kernel), k = row % taps, at = row / taps;
    size_t o[3] = {position / w->out[2] / w->out[1], position / w->out[2] % w->out[1],
                   position % w->out[2]};
    size_t tap[3] = {k / w->kernel[2] / w->kernel[1], k / w->kernel[2] % w->kernel[1],
                     k % w->kernel[2]};
    for (int d = 0; d < 3; d++) {
        size_t p = o[d] * w->stride[d] + tap[d] * w->dilation[d];
        if (p < w->begin[d] || p - w->begin[d] >= w->in[d])
            return 0;
        at = at * w->in[d] + p - w->begin[d];
    }
    return src[at];
}

Test(layout, columns_hold_the_patches)
{
    oxp_random r = oxp_random_make(2, 0, 0);
    for (int i = 0; i < 100; i++) {
        oxp_window w = random_window(&r, 1 + i % 3, 9, i % 2);
        size_t all_rows = 3 * oxp_volume(w.kernel), positions = oxp_volume(w.out);
        size_t row = oxp_random_below(&r, all_rows), rows = random_size(&r, 1, all_rows - row);
        size_t first = oxp_random_below(&r, positions),
               count = random_size(&r, 1, positions - first);
        float *src = random_floats(&r, 3 * oxp_volume(w.in)),
              *columns = make_block(rows * count, sizeof *columns);
        oxp_columns_take(&w, src, row, rows, first, count, columns);
        for (size_t k = 0; k < rows * count; k++)
            cr_assert_eq(columns[k], column_value(&w, src, row + k / count, first + k % count));
        free(src);
        free(columns);
    }
}

Test(layout, adding_columns_is_the_adjoint_of_taking_them)
{
    oxp_random r = oxp_random_make(3, 0, 0);
    for (int i = 0; i < 60; i++) {
        oxp_window w = random_window(&r, 1 + i % 3, 9, i % 2);
        size_t in = oxp_volume(w.in), out = oxp_volume(w.out), taps = oxp_volume(w.kernel);
        float *x = random_floats(&r, in), *y = random_floats(&r, taps * out);
        float *taken = make_block(taps * out, sizeof *taken), *added = calloc(in, sizeof *added);
        oxp_columns_take(&w, x, 0, taps, 0, out, taken);
        oxp_columns_add(&w, y, added);
        double there = 0, back = 0;
        for (size_t k = 0; k < taps * out; k++)
            there += (double)taken[k] * (double)y[k];
        for (size_t k = 0; k < in; k++)
            back += (double)x[k] * (double)added[k];
        cr_expect(fabs(there - back) < 1e-4 * (1 + fabs(there)));
        free(x);
        free(y);
        free(taken);
        free(added);
    }
}

Test(layout, statistics_and_affine_per_channel)
{
    oxp_random r = oxp_random_make(4, 0, 0);
    float *x = random_floats(&r, 2 * 3 * 37), y[2 * 3 * 37], mean[3], var[3], factor[3], offset[3];
    oxp_channel_statistics(x, 2, 3, 37, mean, var);
    for (size_t c = 0; c < 3; c++) {
        factor[c] = 1 / sqrtf(var[c]);
        offset[c] = -mean[c] * factor[c];
    }
    oxp_channel_affine(x, 2, 3, 37, factor, offset, y);
    oxp_channel_statistics(y, 2, 3, 37, mean, var);
    for (size_t c = 0; c < 3; c++) {
        cr_expect(fabsf(mean[c]) < 1e-6f);
        cr_expect(fabsf(var[c] - 1) < 1e-5f);
    }
    oxp_channel_affine(x, 2, 3, 37, factor, offset, x);
    cr_expect_arr_eq(x, y, sizeof y);
    free(x);
}
