/* moment_block.h - second moments of what a layer reads, H = X X^T / n, as a chain of diagonal
 * blocks; what lies outside them is taken as zero. The squared error of an output whose weights are
 * off by e is e^T H e. */
#ifndef OXP_KERNELS_MOMENT_BLOCK_H
#define OXP_KERNELS_MOMENT_BLOCK_H

#include <stddef.h>

typedef struct oxp_moment_block {
    size_t first, count; /* columns; whole channels */
    const float *h;      /* [count, count], symmetric */
} oxp_moment_block;

#endif
