/* matmul.h - the shape rules of MatMul and its relatives: Y[..., M, N] = A[..., M, K] * B[..., K,
 * N], batch axes broadcast, a vector A counts as [1, K] and a vector B as [K, 1], and that axis is
 * dropped again. */
#ifndef OXP_OPERATORS_MATMUL_H
#define OXP_OPERATORS_MATMUL_H

#include "kernels/gemm.h"
#include "operators/operator.h"

typedef struct oxp_matmul_options {
    bool trans_a, trans_b; /* the last two axes are swapped before multiplying (rank 2 and above) */
    bool trans_batch_a,
        trans_batch_b; /* axis 0 is moved behind the batch axes first (rank 3 and above) */
} oxp_matmul_options;

typedef struct oxp_matmul_plan {
    oxp_gemm_shape product; /* of one batch */
    size_t batches;
    int rank; /* of Y */
    int64_t dims[OXP_MAX_RANK];
    int batch_rank;
    size_t batch_dims[OXP_MAX_RANK], a_steps[OXP_MAX_RANK],
        b_steps[OXP_MAX_RANK]; /* elements; 0 where broadcast */
} oxp_matmul_plan;

/* a, b: indices of the inputs. Batches that share one B are joined into more rows where A lies in
 * one piece. */
oxp_status oxp_matmul_read(oxp_node *n, int a, int b, oxp_matmul_options options,
                           oxp_matmul_plan *plan);

/* Where batch i begins in A and B, in elements; in Y it is i * m * n. */
void oxp_matmul_at(const oxp_matmul_plan *plan, size_t i, size_t *a, size_t *b);

/* dA += alpha dY op(B)^T and dB += alpha op(A)^T dY, both as stored; either may be NULL. dA, dB:
 * where this batch begins. */
void oxp_gemm_backward(const oxp_gemm_shape *s, float alpha, const float *a, const float *b,
                       const float *dy, float *da, float *db);

double oxp_matmul_macs(const oxp_matmul_plan *plan);

/* The compressible operand of a product: B by columns, A by rows. */
bool oxp_matmul_weight(int input, int rank, bool trans_a, bool trans_b, int *channel_axis);

#endif
