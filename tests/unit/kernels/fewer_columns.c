/* A layer on fewer of its columns: least squares is better than zeros, its gradient vanishes, it is
 * the layer itself where all columns stay and where they do not know of each other. */
#include "kernels/fewer_columns.h"

#include "values.h"

typedef struct problem {
    oxp_ctx ctx;
    oxp_fewer_columns f;
    float *w, *h, *out;
    uint32_t *kept;
} problem;

/* Every third column goes; H of columns that share a few causes. */
static void make_problem(problem *p, oxp_random *r, size_t rows, size_t columns, bool all)
{
    size_t causes = columns / 3 + 1;
    float *mix = random_floats(r, causes * columns);
    oxp_ctx_init(&p->ctx);
    p->w = random_floats(r, rows * columns);
    p->h = make_block(columns * columns, sizeof *p->h);
    p->out = make_block(rows * columns, sizeof *p->out);
    p->kept = make_block(columns, sizeof *p->kept);
    for (size_t i = 0; i < columns; i++)
        for (size_t j = 0; j < columns; j++) {
            double sum = i == j ? 0.05 : 0;
            for (size_t c = 0; c < causes; c++)
                sum += (double)mix[c * columns + i] * (double)mix[c * columns + j];
            p->h[i * columns + j] = (float)sum;
        }
    p->f = (oxp_fewer_columns){p->w, rows, columns, p->h, p->kept, 0, 0.01f};
    for (uint32_t i = 0; i < columns; i++)
        if (all || i % 3 != 1)
            p->kept[p->f.kept_count++] = i;
    free(mix);
}

static void free_problem(problem *p)
{
    cr_expect_eq(p->ctx.budget->used, 0);
    free(p->w);
    free(p->h);
    free(p->out);
    free(p->kept);
}

static double error_of(problem *p)
{
    double error;
    cr_assert_eq(oxp_fewer_columns_error(&error, &p->ctx, &p->f, p->out), OXP_OK);
    return error;
}

static double error_of_zeros(problem *p)
{
    memcpy(p->out, p->w, p->f.rows * p->f.columns * sizeof *p->out);
    for (size_t i = 0; i < p->f.rows * p->f.columns; i++)
        if (i % p->f.columns % 3 == 1)
            p->out[i] = 0;
    return error_of(p);
}

Test(fewer_columns, least_squares_is_better_than_zeros)
{
    oxp_random r = oxp_random_make(1, 2, 3);
    const size_t columns[] = {2, 9, 64, 65, 200};
    for (size_t t = 0; t < 5; t++) {
        problem p;
        make_problem(&p, &r, 13, columns[t], false);
        double zeros = error_of_zeros(&p);
        cr_assert_eq(oxp_fewer_columns_fit(p.out, &p.ctx, &p.f), OXP_OK);
        cr_expect_lt(error_of(&p), (columns[t] > 8 ? 0.4 : 1.01) * zeros, "%zu columns: %g of %g",
                     columns[t], error_of(&p), zeros);
        for (size_t i = 0; i < 13 * columns[t]; i++)
            cr_assert(i % columns[t] % 3 != 1 || p.out[i] == 0);
        free_problem(&p);
    }
}

/* ((W' - W) H_r)_S = 0 */
Test(fewer_columns, the_gradient_vanishes)
{
    oxp_random r = oxp_random_make(4, 5, 6);
    problem p;
    make_problem(&p, &r, 5, 70, false);
    double trace = 0, size = 0;
    for (size_t i = 0; i < 70; i++)
        trace += (double)p.h[i * 71] / 70;
    cr_assert_eq(oxp_fewer_columns_fit(p.out, &p.ctx, &p.f), OXP_OK);
    for (size_t row = 0; row < 5; row++)
        for (size_t k = 0; k < p.f.kept_count; k++) {
            size_t c = p.kept[k];
            double g = 0.01 * trace * (double)(p.out[row * 70 + c] - p.w[row * 70 + c]);
            for (size_t i = 0; i < 70; i++)
                g += (double)(p.out[row * 70 + i] - p.w[row * 70 + i]) * (double)p.h[i * 70 + c];
            size = fmax(size, fabs(g));
        }
    cr_expect_lt(size, 1e-3 * trace, "%g", size);
    free_problem(&p);
}

Test(fewer_columns, with_all_columns_and_without_correlation_nothing_moves)
{
    oxp_random r = oxp_random_make(7, 8, 9);
    for (int all = 0; all <= 1; all++) {
        problem p;
        make_problem(&p, &r, 6, 40, all);
        for (size_t i = 0; i < 1600 && !all; i++)
            p.h[i] = i % 41 == 0 ? 2 : 0;
        cr_assert_eq(oxp_fewer_columns_fit(p.out, &p.ctx, &p.f), OXP_OK);
        for (size_t i = 0; i < 240; i++)
            if (all || i % 40 % 3 != 1)
                cr_assert_float_eq(p.out[i], p.w[i], 1e-4, "%g and %g", (double)p.out[i],
                                   (double)p.w[i]);
        free_problem(&p);
    }
}

Test(fewer_columns, without_moments_the_rest_stays)
{
    oxp_random r = oxp_random_make(10, 11, 12);
    problem p;
    make_problem(&p, &r, 4, 12, false);
    memset(p.h, 0, 144 * sizeof *p.h);
    cr_assert_eq(oxp_fewer_columns_fit(p.out, &p.ctx, &p.f), OXP_OK);
    for (size_t i = 0; i < 48; i++)
        cr_expect_eq(p.out[i], i % 12 % 3 == 1 ? 0 : p.w[i]);
    free_problem(&p);
}
