/* rounding.h - codes that keep a layer's output: for each row v of a weight the codes q in
 * [-limit, limit] and the scale s of least e^T H e, e = v - s q, where H = X X^T / n holds the
 * second moments of what the layer reads.
 *
 * H = L D L^T with L unit lower triangular (of a damped H) gives e^T H e = sum_j d_j (e_j +
 * sum_{i>j} L_ij e_i)^2, so codes are taken from the last column to the first, each absorbing what
 * the earlier ones left: the nearest plane method, which is GPTQ (Frantar et al., 2022,
 * arXiv:2210.17323) in the opposite order without its inverse. Then coordinate descent on single
 * codes and the closed form s = q^T H v / q^T H q in turn, until neither gains.
 *
 * H may be a chain of diagonal blocks, what lies outside them taken as zero. Columns that were
 * never seen (H_jj = 0) get the nearest code. */
#ifndef OXP_KERNELS_ROUNDING_H
#define OXP_KERNELS_ROUNDING_H

#include <stddef.h>
#include <stdint.h>

#include "util/memory.h"

typedef struct oxp_round_block {
    size_t first, count; /* columns */
    const float *h;      /* [count, count], symmetric */
    float *factor;       /* [count, count]: L of the damped, reordered h; NULL: nearest codes */
    uint32_t *order;     /* [count]: column that stands at each place of `factor` */
} oxp_round_block;

/* Fills `factor` and `order` (memory of the caller): columns by ascending H_jj, damping `damping`
 * times the mean of the diagonal, ten times more until the factorisation succeeds. */
void oxp_round_factor(oxp_round_block *b, float damping);

typedef struct oxp_round_error {
    double before, after; /* sums of e^T H e over the rows */
} oxp_round_error;

/* w[rows, columns] row-major. codes[rows, columns] and scales[rows] hold a first solution, which is
 * kept in rows where nothing better is found. Other scales to start from gain nothing at 8 bits. */
oxp_status oxp_round_rows(oxp_ctx *ctx, const oxp_round_block *blocks, size_t block_count,
                          const float *w, size_t rows, size_t columns, int limit, int8_t *codes,
                          float *scales, oxp_round_error *error);

/* Sweeps over the codes of a row, each moved to its best value given the others where that lowers
 * e^T H e by more than `least` (which is >= 0), until none does. gradient[columns] = H e on entry
 * and on return. Returns by how much the sum fell. */
double oxp_round_descend(const oxp_round_block *blocks, size_t block_count, int limit, float scale,
                         double least, int8_t *codes, double *gradient);

/* (v - s q)^T H (v - s q). */
double oxp_round_objective(const oxp_round_block *blocks, size_t block_count, const float *v,
                           const int8_t *codes, float scale);

#endif
