/* rnn_backward.h - the gradients of one direction of a recurrent layer (rnn.h), back through
 * time.
 *
 * Each batch entry is run again, keeping the arguments a of its gates, then gone back through. With
 * da the gradient of a and h- the state before the step:
 *   dx = da W   dW += da^T x   db += da   dR += da^T h-   dh- = da R
 * but for the new value of a GRU, whose product with R has the reset gate inside (r h-) or, for
 * linear_before_reset, around it. A clipped argument passes nothing. */
#ifndef OXP_KERNELS_RNN_BACKWARD_H
#define OXP_KERNELS_RNN_BACKWARD_H

#include "kernels/rnn.h"

/* Gradients of the outputs, NULL: zero; accumulators shaped as the data, NULL: not wanted. */
typedef struct oxp_rnn_gradients {
    const float *dy, *dy_h, *dy_c;
    float *dx, *dw, *dr, *dbias, *dpeepholes, *dh0, *dc0;
} oxp_rnn_gradients;

oxp_status oxp_rnn_backward(oxp_ctx *ctx, const oxp_rnn_shape *shape, const oxp_rnn_data *data,
                            const oxp_rnn_gradients *gradients);

/* The slope of oxp_activate(). */
float oxp_activate_slope(oxp_activation a, float x);

#endif
