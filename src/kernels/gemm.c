/* gemm.c - the float product over oneDNN, its plain reference and the double product. */
#include "kernels/gemm.h"

#include "kernels/dnnl_wrap.h"
#include "kernels/vector.h"

oxp_gemm_shape oxp_gemm_plain(bool trans_a, bool trans_b, size_t m, size_t n, size_t k)
{
    return (oxp_gemm_shape){.trans_a = trans_a,
                            .trans_b = trans_b,
                            .m = m,
                            .n = n,
                            .k = k,
                            .lda = trans_a ? m : k,
                            .ldb = trans_b ? k : n,
                            .ldc = n};
}

void oxp_gemm_reference(const oxp_gemm_shape *s, float alpha, const float *a, const float *b,
                        float beta, float *c)
{
    size_t a_row = s->trans_a ? 1 : s->lda, a_column = s->trans_a ? s->lda : 1;
    size_t b_row = s->trans_b ? 1 : s->ldb, b_column = s->trans_b ? s->ldb : 1;
    for (size_t i = 0; i < s->m; i++)
        for (size_t j = 0; j < s->n; j++) {
            double sum = 0;
            for (size_t p = 0; p < s->k; p++)
                sum += (double)a[i * a_row + p * a_column] * (double)b[p * b_row + j * b_column];
            float *out = &c[i * s->ldc + j];
            *out = (float)((double)alpha * sum + (beta == 0 ? 0 : (double)beta * (double)*out));
        }
}

static void scale_rows(const oxp_gemm_shape *s, float beta, float *c)
{
    for (size_t i = 0; i < s->m; i++)
        for (size_t j = 0; j < s->n; j++)
            c[i * s->ldc + j] = beta == 0 ? 0 : beta * c[i * s->ldc + j];
}

void oxp_gemm(const oxp_gemm_shape *s, float alpha, const float *a, const float *b, float beta,
              float *c)
{
    if (s->m == 0 || s->n == 0)
        return;
    if (s->k == 0) {
        scale_rows(s, beta, c);
        return;
    }
#ifndef OXP_KERNELS_REFERENCE
    if (oxp_dnnl_gemm(s, alpha, a, b, beta, c))
        return;
#endif
    oxp_gemm_reference(s, alpha, a, b, beta, c);
}

/* y += f * x */
OXP_VECTORISED static void add_scaled(double *restrict y, const double *restrict x, double f,
                                      size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] += f * x[i];
}

static double dot_column(const double *a, size_t a_step, const double *b, size_t k)
{
    double sum = 0;
    for (size_t p = 0; p < k; p++)
        sum += a[p * a_step] * b[p];
    return sum;
}

void oxp_gemm_double(const oxp_gemm_shape *s, double alpha, const double *a, const double *b,
                     double beta, double *c)
{
    size_t a_row = s->trans_a ? 1 : s->lda, a_column = s->trans_a ? s->lda : 1;
    for (size_t i = 0; i < s->m; i++) {
        double *row = c + i * s->ldc;
        for (size_t j = 0; j < s->n; j++)
            row[j] = beta == 0 ? 0 : beta * row[j];
        for (size_t p = 0; p < s->k && !s->trans_b; p++)
            add_scaled(row, b + p * s->ldb, alpha * a[i * a_row + p * a_column], s->n);
        for (size_t j = 0; j < s->n && s->trans_b; j++)
            row[j] += alpha * dot_column(a + i * a_row, a_column, b + j * s->ldb, s->k);
    }
}
