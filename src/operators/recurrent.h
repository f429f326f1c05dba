/* recurrent.h - what the recurrent operators share: attributes and shapes, checked, as a kernel's
 * shape. */
#ifndef OXP_OPERATORS_RECURRENT_H
#define OXP_OPERATORS_RECURRENT_H

#include "kernels/rnn.h"
#include "operators/operator.h"

typedef struct oxp_recurrent {
    oxp_rnn_shape shape[2]; /* of each direction */
    size_t directions;
} oxp_recurrent;

/* hidden_size (the recurrence weights have `hidden` columns), direction, activations with alpha
 * and beta, clip, and layout if the operator has it; `kind` and the input's sizes are set by the
 * caller in shape[0] before. Strides are set. */
oxp_status oxp_recurrent_read(oxp_node *n, oxp_recurrent *r, bool has_layout);

/* Declares Y, Y_h and, for LSTM, Y_c. */
oxp_status oxp_recurrent_outputs(oxp_node *n, const oxp_recurrent *r, oxp_dtype dtype);

/* Input i, if given, must have this shape. */
oxp_status oxp_recurrent_want_shape(oxp_node *n, int i, int rank, const int64_t *dims);
/* initial_h or initial_c at input i, if given: [D, B, H], or [B, D, H] for layout 1. */
oxp_status oxp_recurrent_want_state(oxp_node *n, int i, const oxp_recurrent *r);

/* sequence_lens at input i; *lengths NULL when omitted. E-INDEX for a length outside 0..T. */
oxp_status oxp_recurrent_lengths(oxp_node *n, int i, const oxp_recurrent *r,
                                 const int32_t **lengths);

/* Where direction d begins in Y and in every state. */
size_t oxp_recurrent_at(const oxp_recurrent *r, size_t d);

double oxp_recurrent_macs(const oxp_recurrent *r);

#endif
