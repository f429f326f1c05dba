/* integer.h - exact integer products of 8-bit codes, and wrapping products of 32- and 64-bit
 * integers.
 *
 *   matmul   out[m, n] = sum over k of (a[m, k] - za[m]) * (b[k, n] - zb[n])
 *   conv     out[n, m, o] = sum over c, k of
 *            (x[n, c, o*stride + k*dilation - begin] - zx) * (w[m, c, k] - zw[m]), padding being zx
 *
 * in 32 bits that wrap. The sums are float products in disguise: as long as the sizes of all terms
 * of a sum together stay within 2^24 every partial sum is an integer that a float holds exactly,
 * in whatever order; so the depth is cut into pieces for which that is certain (at least 258
 * terms) and the pieces are added as integers. That is exact on every processor, which the
 * saturating 8-bit instructions of older ones are not, at the speed of the float product. */
#ifndef OXP_KERNELS_INTEGER_H
#define OXP_KERNELS_INTEGER_H

#include "kernels/conv.h"
#include "kernels/gemm.h"

/* 8-bit codes, and the values that stand for zero: one per row of A, column of B or output channel
 * of W, within the type; NULL: all zero. */
typedef struct oxp_codes {
    const void *data;
    bool is_signed;
    const int32_t *zero_points;
} oxp_codes;

oxp_status oxp_integer_matmul(oxp_ctx *ctx, const oxp_gemm_shape *s, oxp_codes a, oxp_codes b,
                              int32_t *out);
void oxp_integer_matmul_reference(const oxp_gemm_shape *s, oxp_codes a, oxp_codes b, int32_t *out);

/* x.zero_points: one value. */
oxp_status oxp_integer_conv(oxp_ctx *ctx, const oxp_conv_shape *s, oxp_codes x, oxp_codes w,
                            int32_t *out);
void oxp_integer_conv_reference(const oxp_conv_shape *s, oxp_codes x, oxp_codes w, int32_t *out);

void oxp_gemm_wrap32(const oxp_gemm_shape *s, const uint32_t *a, const uint32_t *b, uint32_t *c);
void oxp_gemm_wrap64(const oxp_gemm_shape *s, const uint64_t *a, const uint64_t *b, uint64_t *c);

#endif
