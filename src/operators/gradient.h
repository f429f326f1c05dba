/* gradient.h - what the backward functions share. Gradients are FLOAT tensors of their value's
 * shape; a missing one of an output is zero, a missing one of an input is not wanted. */
#ifndef OXP_OPERATORS_GRADIENT_H
#define OXP_OPERATORS_GRADIENT_H

#include "operators/broadcast.h"

/* The gradient of output i; NULL: zero. */
static inline const float *oxp_dout(const oxp_node *n, int i)
{
    return i < n->out_count && n->dout[i] ? n->dout[i]->data : NULL;
}

/* The accumulator of input i; NULL: not wanted. */
static inline float *oxp_din(const oxp_node *n, int i)
{
    return i < n->in_count && n->din[i] ? n->din[i]->data : NULL;
}

/* dx[i] += scale dy[i] */
void oxp_gradient_add(float *dx, const float *dy, size_t count, float scale);

/* Output 0 is input 0 in another shape (or of another float type): din 0 += dout 0. */
oxp_status oxp_backward_same(oxp_node *n);

/* The adjoint of NumPy's broadcasting: dx[x's dims] += scale * the sum of dy over the axes along
 * which x is repeated to dims. Sums are taken in double. */
oxp_status oxp_gradient_reduce(oxp_node *n, float *dx, const oxp_tensor *x, const float *dy,
                               int rank, const int64_t *dims, float scale);

/* For operators whose float outputs are elements of the inputs in `moved` (bit i: input i; bit 15
 * also all behind it), or constants: runs forward on the elements' numbers, which tells where each
 * element of an output came from. Of the other inputs, floats that are not saved are fed zeros. */
oxp_status oxp_backward_moved(oxp_node *n, uint32_t moved);
/* Input 0 alone moves. */
oxp_status oxp_backward_moved_first(oxp_node *n);
/* All inputs move. */
oxp_status oxp_backward_moved_all(oxp_node *n);
/* What oxp_backward_moved_first() reads. */
#define OXP_SAVES_ALL_BUT_FIRST 0xfffeu

#endif
