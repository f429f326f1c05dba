/* factor.h - the one door to factorisations of symmetric matrices.
 *
 * A = C C^T with C lower triangular (Cholesky), blocks of columns from the left: each takes the
 * product of what stands left of it off in one matrix product, then factors its diagonal block and
 * solves below it in double. One thread; the bits depend on the processor and the size alone. */
#ifndef OXP_KERNELS_FACTOR_H
#define OXP_KERNELS_FACTOR_H

#include <stdbool.h>
#include <stddef.h>

/* In place on a[n,n], row-major: reads and writes the lower triangle alone. False when a pivot is
 * not positive (A is not positive definite); then what is in `a` is of no use. */
bool oxp_cholesky(float *a, size_t n);

#endif
