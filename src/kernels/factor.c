/* factor.c - see factor.h. */
#include "kernels/factor.h"

#include <math.h>

#include "kernels/gemm.h"

#define COLUMNS 32

/* a[from.., from..from+width) -= a[from.., 0..from) * a[from..from+width, 0..from)^T */
static void take_off_left(float *a, size_t n, size_t from, size_t width)
{
    oxp_gemm_shape s = {
        .trans_b = true, .m = n - from, .n = width, .k = from, .lda = n, .ldb = n, .ldc = n};
    if (from)
        oxp_gemm(&s, -1, a + from * n, a + from * n, 1, a + from * n + from);
}

/* Row i of C within the block of columns: forward substitution with the rows above it. */
static void solve_row(const double *block, double *row, size_t width)
{
    for (size_t j = 0; j < width; j++) {
        double sum = row[j];
        for (size_t k = 0; k < j; k++)
            sum -= row[k] * block[j * COLUMNS + k];
        row[j] = sum / block[j * COLUMNS + j];
    }
}

static bool factor_block(double *block, size_t width)
{
    for (size_t i = 0; i < width; i++) {
        double *row = &block[i * COLUMNS], sum = row[i];
        solve_row(block, row, i);
        for (size_t k = 0; k < i; k++)
            sum -= row[k] * row[k];
        if (!(sum > 0))
            return false;
        row[i] = sqrt(sum);
    }
    return true;
}

static bool factor_columns(float *a, size_t n, size_t from, size_t width)
{
    double block[COLUMNS * COLUMNS] = {0}, row[COLUMNS];
    for (size_t i = 0; i < width; i++)
        for (size_t j = 0; j <= i; j++)
            block[i * COLUMNS + j] = (double)a[(from + i) * n + from + j];
    if (!factor_block(block, width))
        return false;
    for (size_t i = 0; i < width; i++)
        for (size_t j = 0; j <= i; j++)
            a[(from + i) * n + from + j] = (float)block[i * COLUMNS + j];
    for (size_t i = from + width; i < n; i++) {
        float *out = &a[i * n + from];
        for (size_t j = 0; j < width; j++)
            row[j] = (double)out[j];
        solve_row(block, row, width);
        for (size_t j = 0; j < width; j++)
            out[j] = (float)row[j];
    }
    return true;
}

bool oxp_cholesky(float *a, size_t n)
{
    for (size_t from = 0; from < n; from += COLUMNS) {
        size_t width = n - from < COLUMNS ? n - from : COLUMNS;
        take_off_left(a, n, from, width);
        if (!factor_columns(a, n, from, width))
            return false;
    }
    return true;
}
