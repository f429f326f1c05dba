/* dnnl_wrap.h - the one file that computes with oneDNN: versions 2.6 and 3.x behind the same few
 * calls.
 *
 * Everything is created and executed with one OpenMP thread, whatever the caller has set: oneDNN
 * chooses blockings and splits sums by the number of threads, and our results must not. With
 * KERNELS=reference none of it exists. */
#ifndef OXP_KERNELS_DNNL_WRAP_H
#define OXP_KERNELS_DNNL_WRAP_H

#include "kernels/conv.h"
#include "kernels/gemm.h"

#ifndef OXP_KERNELS_REFERENCE

/* False when oneDNN did not compute it (C may then be anything if beta is 0, and is untouched
 * otherwise). */
bool oxp_dnnl_gemm(const oxp_gemm_shape *s, float alpha, const float *a, const float *b, float beta,
                   float *c);

/* A convolution whose source and destination are channels-last ([batch, spatial, channels]);
 * weights as in ONNX. */
typedef struct oxp_dnnl_conv oxp_dnnl_conv;

/* *out NULL (and OXP_OK) when oneDNN has no implementation that beats columns and gemm. */
oxp_status oxp_dnnl_conv_create(oxp_dnnl_conv **out, oxp_ctx *ctx, const oxp_conv_shape *shape);
/* Reorders the weights into oneDNN's layout, oxp_dnnl_conv_packed_bytes() of it. */
oxp_status oxp_dnnl_conv_pack(const oxp_dnnl_conv *conv, oxp_ctx *ctx, const float *weights,
                              void *packed);
size_t oxp_dnnl_conv_packed_bytes(const oxp_dnnl_conv *conv);
/* Bytes of work memory that a run needs. */
size_t oxp_dnnl_conv_scratch(const oxp_dnnl_conv *conv);
/* bias: out_channels floats, never NULL. */
oxp_status oxp_dnnl_conv_run(const oxp_dnnl_conv *conv, oxp_ctx *ctx, const void *packed,
                             const float *src, const float *bias, float *dst, void *scratch);
void oxp_dnnl_conv_free(oxp_dnnl_conv *conv); /* takes NULL */

#endif
#endif
