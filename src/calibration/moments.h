/* moments.h - second moments of what layers read: H = X X^T / n and the mean of X, where the
 * columns of X are what a layer multiplies its weight with: rows of a matrix, or patches under a
 * window (Conv), padding included. K = columns of one group; each group of a Conv has an H of its
 * own.
 *
 * At most `wanted` positions of each sample are taken, evenly spread and moved by a hash of what
 * the node reads, so that neither the order of the samples nor the number of threads matters.
 * Beyond a block of columns H is not computed: it is a chain of diagonal blocks. Codes
 * that samples showed are held until all have run, floats until the samples before are added. */
#ifndef OXP_CALIBRATION_MOMENTS_H
#define OXP_CALIBRATION_MOMENTS_H

#include "calibration/runner.h"
#include "kernels/quantise.h"

typedef struct oxp_moments {
    const oxp_graph_node *const *nodes; /* whose input 0 is read; all add to one H */
    size_t node_count;
    const oxp_scale *scale; /* X is rounded to these codes before H is taken; NULL: as it is */
    size_t groups, columns; /* of one group */
    size_t block;           /* columns of a diagonal block; the last of a group may have fewer */
    size_t wanted;          /* positions of a sample, at most */
    bool centred;           /* H of X - mean: for a layer whose bias takes the mean */

    float *h;          /* the blocks of all groups, [size, size] each; from the caller */
    double *mean;      /* [groups * columns], of X as it is; from the caller */
    double *code_mean; /* the same of X as it was rounded */
    size_t rows;       /* columns of X that were seen */
} oxp_moments;

static inline size_t oxp_moments_blocks(const oxp_moments *m) /* of a group */
{
    return (m->columns + m->block - 1) / m->block;
}

/* Columns of block b of a group. */
static inline size_t oxp_moments_width(const oxp_moments *m, size_t b)
{
    return b + 1 < oxp_moments_blocks(m) ? m->block : m->columns - b * m->block;
}

size_t oxp_moments_floats(const oxp_moments *m); /* of `h` */
float *oxp_moments_block(const oxp_moments *m, size_t group, size_t b);

/* What a node reads as groups x columns, from its constant weight at input 1: Conv, MatMul,
 * FusedMatMul and Gemm (operand A not transposed), LSTM, GRU and RNN. False: its input is not seen
 * as rows. *unit: columns that belong together, the taps of a channel. */
bool oxp_moments_shape(const oxp_graph_node *node, size_t *groups, size_t *columns, size_t *unit);

/* Adds the rows of X that a node shows, [.., groups * columns], behind *count earlier ones of the
 * sample: at most wanted - *count, none where one is not finite. `out`: where they go. */
oxp_status oxp_moments_rows(oxp_node *node, const oxp_moments *m, float *out, size_t *count);

/* Rows that samples showed, held until they are summed: one run serves more layers than there is
 * memory for h of. Moments with a scale need h, mean and code_mean from oxp_moments_sum() on,
 * others before. */
typedef struct oxp_moments_held oxp_moments_held;
oxp_status oxp_moments_hold(oxp_moments_held **out, oxp_moments *moments, size_t count,
                            oxp_ctx *ctx, const oxp_graph *graph, const oxp_source *source,
                            const size_t *which, size_t samples);
/* Fills h, mean, code_mean and rows of moments first..end-1 and lets their rows go; once each. */
oxp_status oxp_moments_sum(oxp_moments_held *held, size_t first, size_t end);
void oxp_moments_release(oxp_moments_held *held); /* takes NULL */

/* All of it: runs the samples and fills h, mean, code_mean and rows of all `count` moments. */
oxp_status oxp_moments_collect(oxp_moments *moments, size_t count, oxp_ctx *ctx,
                               const oxp_graph *graph, const oxp_source *source,
                               const size_t *which, size_t samples);

#endif
