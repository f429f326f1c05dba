/* eigen.h - eigenvalues and eigenvectors of a symmetric matrix, in double: A = V^T diag(values) V.
 *
 * Householder's reduction to a tridiagonal matrix, then QL with implicit shifts (Bowdler, Martin,
 * Reinsch and Wilkinson, 1968). About 9 n^3 operations on one thread; two further n x n of memory
 * at most. The bits depend on the matrix alone. */
#ifndef OXP_KERNELS_EIGEN_H
#define OXP_KERNELS_EIGEN_H

#include "util/memory.h"

/* a[n, n]: symmetric, its lower triangle is read; then row k is the eigenvector of values[k], of
 * length 1. values[n] fall. What is not finite: OXP_EINTERNAL, E-EIGEN. */
oxp_status oxp_eigen(double *a, double *values, oxp_ctx *ctx, size_t n);

#endif
