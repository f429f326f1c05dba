/* low_rank.h - the product of two thin matrices that keeps a layer's output best.
 *
 * W [rows, columns], H the second moments of what the layer reads (moment_block.h). Of all W' of
 * rank r the one of least tr((W - W') H (W - W')^T) is W' = U U^T W, U the eigenvectors of the r
 * largest eigenvalues of W H W^T, the moments of the output; the error is the sum of the other
 * eigenvalues. It is the truncated SVD of W S with H = S S^T (SVD-LLM, Wang et al., 2024,
 * arXiv:2403.07378), without S and its inverse, so that H may be singular.
 *
 * Where W has more rows than columns, W^T W = R^T R stands for it: R H R^T has the same eigenvalues
 * and is [columns, columns]. */
#ifndef OXP_KERNELS_LOW_RANK_H
#define OXP_KERNELS_LOW_RANK_H

#include "kernels/moment_block.h"
#include "util/memory.h"

typedef struct oxp_low_rank {
    const float *w; /* [rows, columns] */
    size_t rows, columns;
    const oxp_moment_block *blocks; /* of all columns, in order */
    size_t block_count;

    size_t size;     /* the smaller of rows and columns */
    double *values;  /* [size]: eigenvalues, falling; none below zero */
    double *vectors; /* [size, size]: a row each */
    double *root;    /* [size, columns]: W itself, or R */
} oxp_low_rank;

/* Takes w, rows, columns and blocks; fills the rest, in the arena. */
oxp_status oxp_low_rank_decompose(oxp_low_rank *d, oxp_arena *arena);

/* The least rank (at least 1) that keeps this share of the sum of the eigenvalues. */
size_t oxp_low_rank_for_energy(const oxp_low_rank *d, double share);

/* The error that rank r leaves: tr((W - W') H (W - W')^T). */
double oxp_low_rank_error(const oxp_low_rank *d, size_t rank);

/* W' = left right, left[rows, rank], right[rank, columns]; their columns and rows of one size, in
 * pairs. Eigenvalues of zero give zeros. */
oxp_status oxp_low_rank_factors(float *left, float *right, oxp_ctx *ctx, const oxp_low_rank *d,
                                size_t rank);

#endif
