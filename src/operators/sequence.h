/* sequence.h - what the operators on sequences share. Sequences are described in util/tensor.h. */
#ifndef OXP_OPERATORS_SEQUENCE_H
#define OXP_OPERATORS_SEQUENCE_H

#include "operators/movement.h"
#include "operators/real.h"

/* Declares nothing: what comes out is known by running. */
oxp_status oxp_sequence_prepare(oxp_node *n);
/* Input `input` must be a sequence; E-OP-DTYPE. */
oxp_status oxp_sequence_want(oxp_node *n, int input);
/* Makes output 0 and releases the caller's share. */
oxp_status oxp_sequence_give(oxp_node *n, oxp_tensor *sequence);

#endif
