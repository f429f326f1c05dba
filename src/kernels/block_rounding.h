/* block_rounding.h - codes with a scale per block of columns (block_grid.h) that keep a layer's
 * output: for each row w of a weight the codes q, and the scales s of its blocks, of least e^T H e,
 * e = w - B s, B = [q - zero masked to each block]; H = X X^T / n of what the layer reads.
 *
 * From the scales that a search of single blocks found, each row takes the common factor on them
 * that is best through error feedback (the nearest plane, rounding.h), then in turn the scales by
 * joint least squares, (B^T H B) s = B^T H w, rounded as they are stored and taken where that
 * lowers the sum, and coordinate descent on single codes, until neither gains. Blocks, factors and
 * orders of H are those of rounding.h; membership of a block is by column whatever the order in
 * which columns are rounded (GPTQ's "static groups"). */
#ifndef OXP_KERNELS_BLOCK_ROUNDING_H
#define OXP_KERNELS_BLOCK_ROUNDING_H

#include "kernels/block_grid.h"
#include "kernels/rounding.h"

/* w[rows, columns]; `c` holds a first solution, which is kept in rows where nothing better is
 * found. Adds to *error. */
oxp_status oxp_block_round(oxp_ctx *ctx, const oxp_block_grid *g, const oxp_round_block *blocks,
                           size_t block_count, const float *w, size_t rows, size_t columns,
                           const oxp_block_codes *c, oxp_round_error *error);

/* Error feedback alone: codes for the scales and zeros that stand in `c`. */
oxp_status oxp_block_feedback(oxp_ctx *ctx, const oxp_block_grid *g, const oxp_round_block *blocks,
                              size_t block_count, const float *w, size_t rows, size_t columns,
                              const oxp_block_codes *c);

/* Descent alone, on one row. gradient[columns] = H e on entry and on return; flips that gain no
 * more than `least` are left. Returns by how much the sum fell. */
double oxp_block_descend(const oxp_block_grid *g, const oxp_round_block *blocks, size_t block_count,
                         const float *w, const oxp_block_codes *row, double least,
                         double *gradient);

/* e^T H e of one row. */
double oxp_block_objective(const oxp_block_grid *g, const oxp_round_block *blocks,
                           size_t block_count, const float *w, const oxp_block_codes *row);

#endif
