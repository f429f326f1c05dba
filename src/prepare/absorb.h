/* absorb.h - an operator takes the affine chain behind or before it into its weights. */
#ifndef OXP_PREPARE_ABSORB_H
#define OXP_PREPARE_ABSORB_H

#include "prepare/linear.h"

/* The operator makes the chain's last value itself; behind a MatMul stays one Add. */
oxp_status oxp_absorb_behind(oxp_pass *p, const oxp_linear *l, oxp_chain_end end);
/* The same for numbers per channel behind the Transpose that alone reads a convolution: it makes
 * the chain's last value. */
oxp_status oxp_absorb_behind_transpose(oxp_pass *p, const oxp_linear *l);
/* A Conv reads the chain's first value. Padded ones take factors only: with one factor for all
 * channels, what is added moves before it. */
oxp_status oxp_absorb_before(oxp_pass *p, const oxp_linear *l, oxp_chain_end end);

#endif
