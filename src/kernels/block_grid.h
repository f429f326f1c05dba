/* block_grid.h - weights as codes of 2 to 8 bits with a scale per block of columns:
 *
 *   v[r, c] = (code[r, c] - zero[r, b]) * scale[r, b],   b = c / block,   code in [0, 2^bits)
 *
 * of a matrix [rows, columns] whose rows are the outputs of a layer. Symmetric: zero is
 * 2^(bits - 1) and the scale may be negative, so that the largest weight of a block can stand on
 * the code of which there is one more. Asymmetric: zero is any code.
 *
 * The search here looks at each block alone, under weights h[c] of its columns (the diagonal of the
 * second moments of what the layer reads, or one): for codes q the best scale is
 * sum h w (q - z) / sum h (q - z)^2, so a grid of scales gives codes, codes a scale, and that again
 * codes, as long as sum h (w - v)^2 falls. */
#ifndef OXP_KERNELS_BLOCK_GRID_H
#define OXP_KERNELS_BLOCK_GRID_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct oxp_block_grid {
    int bits;     /* 2 to 8 */
    size_t block; /* columns that share a scale; the last of a row may hold fewer */
    bool symmetric;
    bool half_scales; /* scales are normal numbers of half precision */
    bool keep_zeros;  /* a weight of exactly zero stays it */
} oxp_block_grid;

typedef struct oxp_block_codes {
    uint8_t *codes; /* [rows, columns] */
    float *scales;  /* [rows, blocks], never zero */
    uint8_t *zeros; /* [rows, blocks] */
} oxp_block_codes;

static inline size_t oxp_block_grid_blocks(const oxp_block_grid *g, size_t columns)
{
    return (columns + g->block - 1) / g->block;
}

static inline int oxp_block_grid_most(const oxp_block_grid *g)
{
    return (1 << g->bits) - 1;
}

/* The nearest code; of a quotient that is NaN, zero's own. */
static inline float oxp_block_code(float w, float scale, float zero, float most)
{
    float q = nearbyintf(w / scale) + zero;
    return q > most ? most : q >= 0 ? q : q < 0 ? 0 : zero;
}

/* The scale next to `scale` that can be stored: normal, and where `half_scales` asks, in half
 * precision. */
float oxp_block_scale(const oxp_block_grid *g, float scale);

/* Scales, zeros and nearest codes of w[rows, columns]; h[columns] or NULL. A block of zeros has
 * scale 1. */
void oxp_block_search(const oxp_block_grid *g, const float *w, size_t rows, size_t columns,
                      const float *h, const oxp_block_codes *out);

/* Nearest codes for the scales and zeros that stand in `c`. */
void oxp_block_nearest(const oxp_block_grid *g, const float *w, size_t rows, size_t columns,
                       const oxp_block_codes *c);

/* out[rows, columns] = v, in float32 as the written forms compute it. */
void oxp_block_values(const oxp_block_grid *g, const oxp_block_codes *c, size_t rows,
                      size_t columns, float *out);

#endif
