/* Two factors for the least error of the output: the sum of the eigenvalues left out is the error
 * measured on raw inputs, whatever the shape, singular H included; plain truncation loses more. */
#include "kernels/low_rank.h"

#include "layer.h"

typedef struct fixture {
    oxp_ctx ctx;
    oxp_arena arena;
    test_layer layer;
    oxp_moment_block blocks[2];
    oxp_low_rank d;
    float *left, *right, *product;
} fixture;

static void start(fixture *f, size_t rows, size_t columns, size_t samples)
{
    oxp_random r = oxp_random_make(rows, columns, samples);
    oxp_ctx_init(&f->ctx);
    oxp_arena_init(&f->arena, &f->ctx);
    f->layer = make_test_layer(&r, rows, columns, samples, columns / 3 + 1, 0.5);
    f->blocks[0] = (oxp_moment_block){0, columns, f->layer.h};
    f->d = (oxp_low_rank){
        .w = f->layer.w, .rows = rows, .columns = columns, .blocks = f->blocks, .block_count = 1};
    size_t most = rows > columns ? rows : columns;
    f->left = make_block(rows * most, sizeof(float));
    f->right = make_block(columns * most, sizeof(float));
    f->product = make_block(rows * columns, sizeof(float));
}

static void stop(fixture *f)
{
    oxp_arena_free(&f->arena);
    cr_expect_eq(f->ctx.budget->used, 0);
    free_test_layer(&f->layer);
    free(f->left);
    free(f->right);
    free(f->product);
}

static void multiply(fixture *f, size_t rank)
{
    size_t columns = f->d.columns;
    cr_assert_eq(oxp_low_rank_factors(f->left, f->right, &f->ctx, &f->d, rank), OXP_OK);
    for (size_t r = 0; r < f->d.rows; r++)
        for (size_t j = 0; j < columns; j++) {
            double sum = 0;
            for (size_t k = 0; k < rank; k++)
                sum += (double)f->left[r * rank + k] * (double)f->right[k * columns + j];
            f->product[r * columns + j] = (float)sum;
        }
}

static const size_t shapes[][3] = {
    /* rows, columns, samples: the last two leave H singular, but for what float rounds off */
    {20, 50, 200}, {50, 20, 200}, {31, 31, 200}, {1, 9, 40}, {9, 1, 40}, {40, 60, 25}, {60, 40, 25},
};

Test(low_rank, the_eigenvalues_left_out_are_the_error)
{
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        fixture f;
        start(&f, shapes[s][0], shapes[s][1], shapes[s][2]);
        cr_assert_eq(oxp_low_rank_decompose(&f.d, &f.arena), OXP_OK);
        double all = oxp_low_rank_error(&f.d, 0);
        for (size_t rank = 1; rank <= f.d.size; rank += 1 + f.d.size / 7) {
            multiply(&f, rank);
            double measured = raw_error(&f.layer, f.product), told = oxp_low_rank_error(&f.d, rank);
            cr_expect_lt(fabs(measured - told), 1e-4 * told + 2e-9 * all,
                         "%zu x %zu of rank %zu: %.8g, measured %.8g of %g", f.d.rows, f.d.columns,
                         rank, told, measured, all);
        }
        stop(&f);
    }
}

Test(low_rank, full_rank_returns_the_weight)
{
    for (size_t s = 0; s < 3; s++) {
        fixture f;
        start(&f, shapes[s][0], shapes[s][1], shapes[s][2]);
        cr_assert_eq(oxp_low_rank_decompose(&f.d, &f.arena), OXP_OK);
        multiply(&f, f.d.size);
        size_t n = f.d.rows * f.d.columns;
        cr_expect_lt(difference(f.product, f.d.w, n), 1e-5, "%g", difference(f.product, f.d.w, n));
        stop(&f);
    }
}

/* With H = I it is the truncated SVD of the weight itself, which does not know the inputs. */
Test(low_rank, plain_truncation_loses_more)
{
    for (size_t s = 0; s < 2; s++) {
        fixture f;
        start(&f, shapes[s][0], shapes[s][1], shapes[s][2]);
        cr_assert_eq(oxp_low_rank_decompose(&f.d, &f.arena), OXP_OK);
        multiply(&f, 7);
        double least = raw_error(&f.layer, f.product);
        for (size_t n = f.d.columns, i = 0; i < n * n; i++)
            f.layer.h[i] = i % (n + 1) == 0;
        cr_assert_eq(oxp_low_rank_decompose(&f.d, &f.arena), OXP_OK);
        multiply(&f, 7);
        double plain = raw_error(&f.layer, f.product);
        cr_expect_gt(plain, 2 * least, "%g and %g", plain, least);
        stop(&f);
    }
}

/* Two blocks count as the matrix that has zeros outside them. */
Test(low_rank, blocks_count_as_one_matrix)
{
    enum { N = 30, CUT = 12 };
    fixture f;
    float parts[CUT * CUT + (N - CUT) * (N - CUT)], *second = parts + CUT * CUT;
    start(&f, 14, N, 100);
    for (size_t i = 0; i < N * N; i++) {
        size_t a = i / N, b = i % N;
        if ((a < CUT) != (b < CUT))
            f.layer.h[i] = 0;
        else if (a < CUT)
            parts[a * CUT + b] = f.layer.h[i];
        else
            second[(a - CUT) * (N - CUT) + b - CUT] = f.layer.h[i];
    }
    cr_assert_eq(oxp_low_rank_decompose(&f.d, &f.arena), OXP_OK);
    const double *whole = f.d.values;
    f.blocks[0] = (oxp_moment_block){0, CUT, parts};
    f.blocks[1] = (oxp_moment_block){CUT, N - CUT, second};
    f.d.block_count = 2;
    cr_assert_eq(oxp_low_rank_decompose(&f.d, &f.arena), OXP_OK);
    for (size_t i = 0; i < f.d.size; i++)
        cr_expect_lt(fabs(whole[i] - f.d.values[i]), 1e-12 * whole[0]);
    stop(&f);
}

Test(low_rank, the_rank_for_a_share_is_the_least_that_keeps_it)
{
    fixture f;
    start(&f, 25, 40, 200);
    cr_assert_eq(oxp_low_rank_decompose(&f.d, &f.arena), OXP_OK);
    double all = oxp_low_rank_error(&f.d, 0);
    for (double share = 0.05; share < 1; share += 0.1) {
        size_t rank = oxp_low_rank_for_energy(&f.d, share);
        cr_expect_geq(all - oxp_low_rank_error(&f.d, rank), share * all - 1e-9 * all);
        cr_expect(rank == 1 || all - oxp_low_rank_error(&f.d, rank - 1) < share * all);
    }
    cr_expect_eq(oxp_low_rank_for_energy(&f.d, 0), 1);
    cr_expect_eq(oxp_low_rank_for_energy(&f.d, 1), 25);
    stop(&f);
}
