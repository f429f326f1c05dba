/* prune.h - which weights of a layer become zero, and what the others are then.
 *
 * W [rows, columns], a row for each output. H = X X^T / n holds the second moments of what the
 * layer reads (moment_block.h), so that the squared error of a row's output is e^T H e, e = w - w'.
 * It has to be positive definite: the caller damps it.
 *
 * What is set to zero: the smallest |w| of the whole weight; the smallest |w_j| sqrt(H_jj) of each
 * row (Wanda, Sun et al., 2023, arXiv:2306.11695); or, column by column, what costs least once the
 * columns not yet visited have taken up what was lost (SparseGPT, Frantar and Alistarh, 2023,
 * arXiv:2301.00774): H = L D L^T gives e^T H e = sum_j d_j (e_j + sum_{i>j} L_ij e_i)^2, so from
 * the last column to the first, ordered by falling H_jj, a weight that stays becomes w_j +
 * sum_{i>j} L_ij e_i, and a zero costs d_j times the square of that.
 *
 * For given zeros the least error of a row is w'_S = H_SS^-1 (H w)_S, with the same H in both
 * places: oxp_prune_resolve(). */
#ifndef OXP_KERNELS_PRUNE_H
#define OXP_KERNELS_PRUNE_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/moment_block.h"
#include "util/memory.h"

#define OXP_PRUNE_GROUP_MAX 64

typedef struct oxp_prune_rule {
    double sparsity; /* share of zeros, 0..1; where `of` is 0 */
    /* at most `keep` of each `of` channels that stand next to each other, at each tap */
    size_t keep, of;
    size_t unit; /* taps of a channel, next to each other: columns are channels * unit */
} oxp_prune_rule;

typedef struct oxp_prune_layer {
    const float *w; /* [rows, columns] */
    size_t rows, columns;
    const oxp_moment_block *blocks; /* of all columns, in order */
    size_t block_count;
} oxp_prune_layer;

/* kept[rows, columns]: 1 where the weight stays. Ties go by place: the first become zero. The exact
 * share becomes zero, rounded to a whole weight. `blocks` is not read. */
oxp_status oxp_prune_magnitude(uint8_t *kept, oxp_ctx *ctx, const oxp_prune_layer *l,
                               const oxp_prune_rule *rule);
/* The same with |w_j| sqrt(H_jj), a share of each row. */
oxp_status oxp_prune_wanda(uint8_t *kept, oxp_ctx *ctx, const oxp_prune_layer *l,
                           const oxp_prune_rule *rule);
/* Also out[rows, columns]: the weights that stay, moved, and zeros. How many zeros a few columns
 * take together follows from |w_j| sqrt(H_jj) over the whole weight, which ones from the sweep. */
oxp_status oxp_prune_obs(uint8_t *kept, float *out, oxp_ctx *ctx, const oxp_prune_layer *l,
                         const oxp_prune_rule *rule);

/* out[rows, columns]: the weights of least error for these zeros; l->w itself where all stay. */
oxp_status oxp_prune_resolve(float *out, oxp_ctx *ctx, const oxp_prune_layer *l,
                             const uint8_t *kept);

/* e^T H e of a row, e = w - out. */
double oxp_prune_error(const oxp_prune_layer *l, size_t row, const float *out);

#endif
