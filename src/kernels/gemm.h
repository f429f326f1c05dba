/* gemm.h - matrix products: C[m,n] = alpha * op(A)[m,k] * op(B)[k,n] + beta * C, row-major, op(M)
 * = M or its transpose.
 *
 * With beta 0, C is not read. The float product runs in oneDNN on one thread, so its bits depend
 * on the processor and the shape, never on the number of threads; measured on one core of an
 * AVX-512 machine it gives 265 to 285 GFLOP/s for [128,384]x[384,384] in any transposition and
 * reads [1,1024]x[1024,1024] at the speed of the cache, twice OpenBLAS 0.3.21, which is why B is
 * not packed ahead. */
#ifndef OXP_KERNELS_GEMM_H
#define OXP_KERNELS_GEMM_H

#include <stdbool.h>
#include <stddef.h>

typedef struct oxp_gemm_shape {
    bool trans_a, trans_b; /* A is stored [k,m], B is stored [n,k] */
    size_t m, n, k;
    size_t lda, ldb, ldc; /* row lengths as stored */
} oxp_gemm_shape;

/* The shape of contiguous operands. */
oxp_gemm_shape oxp_gemm_plain(bool trans_a, bool trans_b, size_t m, size_t n, size_t k);

void oxp_gemm(const oxp_gemm_shape *s, float alpha, const float *a, const float *b, float beta,
              float *c);
void oxp_gemm_reference(const oxp_gemm_shape *s, float alpha, const float *a, const float *b,
                        float beta, float *c);
void oxp_gemm_double(const oxp_gemm_shape *s, double alpha, const double *a, const double *b,
                     double beta, double *c);

#endif
