/* bias_correction.h - the mean of what quantisation changes in a layer's output, taken off its
 * bias: db = W E[x] - W^ E[x^], by output channel; x^ is the input as the layer gets it. */
#ifndef OXP_TECHNIQUES_BIAS_CORRECTION_H
#define OXP_TECHNIQUES_BIAS_CORRECTION_H

#include "techniques/technique.h"

/* Where a consumer of a site has its bias: the node that reads it, at which input, and its value
 * (NULL: none, and the input is free). False: it has no place for one. */
typedef struct oxp_bias {
    const oxp_graph_node *node;
    size_t input;
    const oxp_value *value;
} oxp_bias;

bool oxp_bias_find(oxp_bias *out, const oxp_site *s, const oxp_consumer *c);

/* Whether every consumer has a place: Conv and Gemm of their own, a MatMul in the Add behind it. A
 * bias that is not there yet is made only where it is small beside the codes, or at any cost. */
bool oxp_bias_takes_shift(const oxp_site *s, bool at_any_cost);

/* Adds the shifts of the chosen forms to the biases of the edited model. *changed: the graph is
 * stale. */
oxp_status oxp_bias_correct(oxp_edit *e, bool *changed);

#endif
