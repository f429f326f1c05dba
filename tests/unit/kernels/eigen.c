/* Eigenvectors: A v = value v, orthonormal, values falling and summing to the trace; also where
 * eigenvalues coincide, vanish or differ by many orders. */
#include "kernels/eigen.h"

#include "values.h"

static void check(const double *matrix, size_t n)
{
    oxp_ctx ctx;
    double *v = make_block(n * n, sizeof *v), *values = make_block(n, sizeof *values);
    double trace = 0, sum = 0, size = 0;
    oxp_ctx_init(&ctx);
    for (size_t i = 0; i < n * n; i++) {
        v[i] = i / n >= i % n ? matrix[i] : NAN; /* the lower triangle alone is read */
        size = fmax(size, fabs(matrix[i]));
    }
    cr_assert_eq(oxp_eigen(v, values, &ctx, n), OXP_OK, "%s", ctx.message);
    cr_expect_eq(ctx.budget->used, 0);
    size = size > 0 ? size * (double)n : 1;
    for (size_t k = 0; k < n; k++) {
        trace += matrix[k * n + k];
        sum += values[k];
        cr_assert(k == 0 || values[k] <= values[k - 1]);
        for (size_t i = 0; i < n; i++) {
            double product = 0, inner = 0;
            for (size_t j = 0; j < n; j++) {
                product += matrix[i * n + j] * v[k * n + j];
                inner += v[i * n + j] * v[k * n + j];
            }
            cr_assert_lt(fabs(product - values[k] * v[k * n + i]), 1e-13 * size, "n %zu", n);
            cr_assert_lt(fabs(inner - (i == k)), 1e-12, "n %zu", n);
        }
    }
    cr_expect_lt(fabs(trace - sum), 1e-12 * size);
    free(v);
    free(values);
}

/* The sum over k of scale(k) x_k x_k^T, of random x_k. */
static double *make_matrix(oxp_random *r, size_t n, size_t rank, double fall)
{
    double *a = make_block(n * n, sizeof *a), *x = make_block(n, sizeof *x), scale = 1;
    memset(a, 0, n * n * sizeof *a);
    for (size_t k = 0; k < rank; k++, scale *= fall) {
        for (size_t i = 0; i < n; i++)
            x[i] = oxp_random_normal(r);
        for (size_t i = 0; i < n * n; i++)
            a[i] += scale * x[i / n] * x[i % n];
    }
    free(x);
    return a;
}

Test(eigen, vectors_and_values_fit_the_matrix)
{
    oxp_random r = oxp_random_make(11, 12, 13);
    const size_t sizes[] = {1, 2, 3, 17, 64, 97};
    const double falls[] = {1, -1, 0.5, 1e-3};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++)
        for (size_t f = 0; f < 4; f++) {
            double *a = make_matrix(&r, sizes[k], sizes[k], falls[f]);
            check(a, sizes[k]);
            free(a);
            a = make_matrix(&r, sizes[k], sizes[k] / 3, falls[f]); /* the rest are zero */
            check(a, sizes[k]);
            free(a);
        }
}

Test(eigen, eigenvalues_that_coincide)
{
    enum { N = 40 };
    double a[N * N] = {0};
    check(a, N);
    for (size_t i = 0; i < N; i++)
        a[i * N + i] = i % 2 ? 3 : -2;
    check(a, N);
    for (size_t i = 0; i < N * N; i++)
        a[i] = 1 + (i % (N + 1) == 0); /* N + 1, and 1 for all others */
    check(a, N);
}

Test(eigen, what_is_not_finite_is_an_error)
{
    oxp_ctx ctx;
    double a[9] = {1, 2, 3, 2, NAN, 1, 3, 1, 2}, values[3];
    oxp_ctx_init(&ctx);
    cr_expect_eq(oxp_eigen(a, values, &ctx, 3), OXP_EINTERNAL);
    cr_expect_str_eq(ctx.code, "E-EIGEN");
}
