/* block_scales.h - the scales of least e^T H e for given codes: with e = w - B s and the gradient
 * H e at hand, s moves by d of (B^T H B) d = B^T H e, all blocks of a row at once. Blocks of scales
 * whose columns share no block of H are not coupled, so the matrix is a band. */
#ifndef OXP_KERNELS_BLOCK_SCALES_H
#define OXP_KERNELS_BLOCK_SCALES_H

#include "kernels/block_grid.h"
#include "kernels/rounding.h"

typedef struct oxp_block_scales {
    const oxp_block_grid *grid;
    const oxp_round_block *blocks;
    size_t block_count, columns, scale_count, rows; /* rows at most */
    size_t band;                                    /* scales a and b are coupled: |a - b| < band */
    float *codes, *product;                         /* [rows, columns], [rows, widest block] */
    double *matrix, *right;                         /* [rows, scale_count, band], [scale_count] */
} oxp_block_scales;

/* False: no memory. */
bool oxp_block_scales_init(oxp_block_scales *f, oxp_arena *arena, const oxp_block_grid *grid,
                           const oxp_round_block *blocks, size_t block_count, size_t columns,
                           size_t rows);

/* Changes the scales in `c`; he[rows, columns] = H e. A scale whose codes are all zero, or that
 * would change its sign or more than double or halve, stays. */
void oxp_block_scales_fit(oxp_block_scales *f, size_t rows, const oxp_block_codes *c,
                          const float *he);

/* w - v of one element of a row. */
static inline float oxp_block_rest(const oxp_block_grid *g, const float *w,
                                   const oxp_block_codes *row, size_t column)
{
    size_t b = column / g->block;
    return w[column] - ((float)row->codes[column] - (float)row->zeros[b]) * row->scales[b];
}

#endif
