/* integer_pieces.h - what the integer product and the integer convolution share. */
#ifndef OXP_KERNELS_INTEGER_PIECES_H
#define OXP_KERNELS_INTEGER_PIECES_H

#include "kernels/integer.h"

/* How many products of these codes a float can sum exactly. */
size_t oxp_exact_depth(const oxp_codes *a, size_t a_zero_points, const oxp_codes *b,
                       size_t b_zero_points);

/* to[i] = code[first + i] - zero */
void oxp_widen_codes(float *to, const oxp_codes *c, size_t first, size_t n, int32_t zero);

/* out[i] += piece[i], which are integers, wrapping. */
void oxp_add_piece(int32_t *out, const float *piece, size_t n);

#endif
