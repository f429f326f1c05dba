/* scatter_elements.h - what GatherElements and ScatterElements share: one index per element along
 * an axis. */
#ifndef OXP_OPERATORS_SCATTER_ELEMENTS_H
#define OXP_OPERATORS_SCATTER_ELEMENTS_H

#include "operators/movement.h"

/* Input 1 must be integer indices of the rank of input 0, no larger than it in any dimension but
 * `axis`. */
oxp_status oxp_elements_check(oxp_node *n, int axis);
/* For each index the offset in input 0 of the element that it names, in scratch; E-INDEX. */
oxp_status oxp_elements_offsets(oxp_node *n, int axis, size_t **offsets);

#endif
