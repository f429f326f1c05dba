/* window.h - the attributes of convolutions and pools, checked, as a kernel's window.
 *
 * With d = dilation * (kernel - 1) + 1 the extent of the kernel along an axis:
 *   NOTSET   out = floor or ceil((in + begin + end - d) / stride) + 1; a last window that would
 *            begin behind the input and its padding in front is left out
 *   VALID    the same without padding
 *   SAME_*   out = ceil(in / stride), padding = max((out - 1) * stride + d - in, 0), the odd one
 *            behind (UPPER) or in front (LOWER)
 * Transposed, out = stride * (in - 1) + output_padding + d - begin - end. With output_shape it is
 * that, with SAME_* it is stride * in but not more than there is without padding; then the padding
 * follows, the odd one in front unless SAME_UPPER. */
#ifndef OXP_OPERATORS_WINDOW_H
#define OXP_OPERATORS_WINDOW_H

#include "kernels/window.h"
#include "operators/operator.h"

#define OXP_MAX_SPATIAL 3

/* The number of spatial axes of x [N, C, ...]: 1 to 3 (E-SHAPE below, E-OP-RANK above). */
oxp_status oxp_window_rank(oxp_node *n, const oxp_tensor *x, int *spatial);

/* Attribute kernel_shape: `spatial` positive values; required unless `kernel` (the weights' axes)
 * is given, with which it must agree. */
oxp_status oxp_window_kernel(oxp_node *n, int spatial, const int64_t *kernel,
                             int64_t out[OXP_MAX_SPATIAL]);

/* auto_pad, pads, strides and, if the operator has them here, dilations and ceil_mode. */
typedef struct oxp_window_options {
    bool dilations, ceil_mode;
} oxp_window_options;

/* in: spatial axes of the input. */
oxp_status oxp_window_read(oxp_node *n, int spatial, const int64_t *in, const int64_t *kernel,
                           oxp_window_options options, oxp_window *w);

/* ConvTranspose: in are the axes of x; w->out becomes them and w->in the axes of y. */
oxp_status oxp_window_read_transposed(oxp_node *n, int spatial, const int64_t *in,
                                      const int64_t *kernel, oxp_window *w);

/* The last `spatial` of three axes as dims. */
void oxp_window_dims(const size_t axes[3], int spatial, int64_t *dims);

#endif
