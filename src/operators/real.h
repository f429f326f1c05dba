/* real.h - float tensors of any width for operators that compute in FLOAT: FLOAT16, BFLOAT16 and
 * DOUBLE are converted into the call's scratch on the way in and back on the way out. */
#ifndef OXP_OPERATORS_REAL_H
#define OXP_OPERATORS_REAL_H

#include "operators/operator.h"

/* Input 0 must have a float type and every other given input of `mask` (bit i: input i) the same;
 * E-OP-DTYPE. */
oxp_status oxp_real_types(oxp_node *n, uint32_t mask);

/* The values of input i, which is given; NULL out of memory. */
const float *oxp_real_in(oxp_node *n, int i);
/* Of an input that may be omitted: *values is NULL then. */
oxp_status oxp_real_in_optional(oxp_node *n, int i, const float **values);
/* The values of output i as a backward finds it saved; NULL out of memory. */
const float *oxp_real_saved(oxp_node *n, int i);
/* Where to write output i: its own memory when it is FLOAT; NULL out of memory. */
float *oxp_real_out(oxp_node *n, int i);
/* Converts what oxp_real_out() gave into the output. */
void oxp_real_done(oxp_node *n, int i, const float *values);

bool oxp_node_has(const oxp_node *n, int i);         /* input i is given */
bool oxp_node_makes(const oxp_node *n, int i);       /* output i has memory to fill */
bool oxp_node_is_constant(const oxp_node *n, int i); /* the same tensor in every run */

/* Bytes of the inputs and outputs, and these MACs. */
void oxp_cost_of(const oxp_node *n, double macs, oxp_cost *cost);

#endif
