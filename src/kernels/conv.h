/* conv.h - convolution and its transpose over one to three spatial axes, NCHW in and out; a
 * convolution also channels-last ([batch, spatial, channels]) on either side.
 *
 *   conv    y[n, g*M + m, o] = b[g*M + m] + sum over c, k of
 *           w[g*M + m, c, k] * x[n, g*C + c, o*stride + k*dilation - begin]
 *   deconv  y[n, g*M + m, i] = b[g*M + m] + sum over c, and o, k with i = o*stride + k*dilation -
 *           begin, of w[g*C + c, m, k] * x[n, g*C + c, o]
 *
 * with C and M the channels of a group. Four ways, chosen by shape when the handle is made:
 *   pointwise  1x1 with stride 1: one product per image, no copies
 *   depthwise  one input channel per group: own code (depthwise.h)
 *   blocked    oneDNN, channels-last inside the handle
 *   columns    im2col in tiles and products: whatever oneDNN has no fast code for
 * Sums over many channels are cut into pieces (conv_pieces.h), and a pointwise one of one position
 * adds up in double precision (conv_position.h).
 * With channels-last on a side it is oneDNN wherever that has code, else one of the others between
 * changes of layout. On one core of an AVX-512 machine at batch 1, all changes of layout included:
 * 64->64 3x3 at 56x56 265 GFLOP/s blocked (oneDNN in NCHW: 175), 64->256 1x1 at 56x56 250 GFLOP/s
 * pointwise (oneDNN channels-last: 171). Results do not depend on the number of threads. */
#ifndef OXP_KERNELS_CONV_H
#define OXP_KERNELS_CONV_H

#include "kernels/window.h"
#include "util/memory.h"

typedef struct oxp_conv_shape {
    size_t batch, groups, in_channels, out_channels; /* channels of all groups together */
    oxp_window window; /* of the convolution, also for its transpose */
} oxp_conv_shape;

typedef struct oxp_conv oxp_conv;

typedef struct oxp_conv_layout { /* channels-last or channels-first */
    bool src_last, dst_last;
} oxp_conv_layout;

oxp_status oxp_conv_create(oxp_conv **out, oxp_ctx *ctx, const oxp_conv_shape *shape);
oxp_status oxp_conv_create_in(oxp_conv **out, oxp_ctx *ctx, const oxp_conv_shape *shape,
                              oxp_conv_layout layout);
/* Takes the weights [out_channels, in_channels/groups, kernel]; they stay where they are while the
 * handle is used. Once for constant weights, before every run for others. */
oxp_status oxp_conv_pack(oxp_conv *conv, oxp_ctx *ctx, const float *weights);
/* Gives back what oxp_conv_pack() took: for weights that the next run packs anew. */
void oxp_conv_unpack(oxp_conv *conv);
/* The same with what another handle of the same shape and layout packed; it is read only. */
size_t oxp_conv_packed_bytes(const oxp_conv *conv); /* 0: nothing but the weights is needed */
oxp_status oxp_conv_pack_into(const oxp_conv *conv, oxp_ctx *ctx, const float *weights,
                              void *packed);
void oxp_conv_use_packed(oxp_conv *conv, const float *weights, const void *packed);
/* bias may be NULL. */
oxp_status oxp_conv_run(oxp_conv *conv, oxp_ctx *ctx, const float *src, const float *bias,
                        float *dst);
/* "pointwise", "depthwise", "blocked", "columns" or "reference". */
const char *oxp_conv_method(const oxp_conv *conv);
void oxp_conv_free(oxp_conv *conv); /* takes NULL */

void oxp_conv_reference(const oxp_conv_shape *shape, const float *src, const float *weights,
                        const float *bias, float *dst);

/* shape->window is that of the convolution which this transposes: window.out are the axes of src,
 * window.in those of dst; in_channels and out_channels are those of src and dst. Weights
 * [in_channels, out_channels/groups, kernel]. */
oxp_status oxp_deconv_run(oxp_ctx *ctx, const oxp_conv_shape *shape, const float *src,
                          const float *weights, const float *bias, float *dst);
oxp_status oxp_deconv_reference(oxp_ctx *ctx, const oxp_conv_shape *shape, const float *src,
                                const float *weights, const float *bias, float *dst);

#endif
