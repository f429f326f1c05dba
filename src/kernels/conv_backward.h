/* conv_backward.h - the gradient of a convolution by its weights:
 *
 *   dw[g*M + m, c, k] += sum over n, o of dy[n, g*M + m, o] * x[n, g*C + c, o*stride + k*dilation -
 *   begin]
 *
 * with C and M the channels of a group. That of a transposed convolution is the same sum with dy in
 * the place of x and x in that of dy. By its input a convolution's gradient is the transposed
 * convolution of dy with the same weights (oxp_deconv_run), and the other way round. */
#ifndef OXP_KERNELS_CONV_BACKWARD_H
#define OXP_KERNELS_CONV_BACKWARD_H

#include "kernels/conv.h"

oxp_status oxp_conv_backward_weights(oxp_ctx *ctx, const oxp_conv_shape *shape, const float *src,
                                     const float *ddst, float *dweights);
void oxp_conv_backward_weights_reference(const oxp_conv_shape *shape, const float *src,
                                         const float *ddst, float *dweights);

/* The shape of the transpose: channels change places, the window stays. */
oxp_conv_shape oxp_conv_transposed(const oxp_conv_shape *shape);

#endif
