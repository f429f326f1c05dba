/* conv_position.h - a 1x1 convolution of one position per image: y[m] = b[m] + sum over c of
 * w[m, c] * x[c], which is what the gates of squeeze-and-excitation blocks are made of.
 *
 * The sums are doubles in OXP_LANES lanes that are folded in a fixed order: a gate scales a whole
 * plane, so that its rounding errors, unlike those of the plane's own elements, do not average out
 * later. Reading the weights takes longer than adding. */
#ifndef OXP_KERNELS_CONV_POSITION_H
#define OXP_KERNELS_CONV_POSITION_H

#include "kernels/conv.h"

/* Either layout; bias may be NULL. */
void oxp_conv_position(const oxp_conv_shape *shape, const float *src, const float *weights,
                       const float *bias, float *dst);

#endif
