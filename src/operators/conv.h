/* conv.h - the shape rules that Conv shares with its integer forms. */
#ifndef OXP_OPERATORS_CONV_H
#define OXP_OPERATORS_CONV_H

#include "kernels/conv.h"
#include "operators/operator.h"

/* Attributes and the shapes of x (input 0), weights (input w) and bias (input b, which may be
 * omitted), checked. */
oxp_status oxp_conv_read(oxp_node *n, int w, int b, oxp_conv_shape *shape, int *spatial);

/* Declares output 0 as that shape tells. */
oxp_status oxp_conv_output(oxp_node *n, const oxp_conv_shape *shape, int spatial, oxp_dtype dtype);

/* din += of a convolution (transposed false) or its transpose with data, weights and bias as inputs
 * 0, 1 and 2. */
oxp_status oxp_conv_backward(oxp_node *n, const oxp_conv_shape *shape, bool transposed);

/* weights: input w. */
void oxp_conv_cost(const oxp_node *n, int w, oxp_cost *cost);

#endif
