/* scatter_reduction.h - what a scattered update does to the element that stands there. */
#ifndef OXP_OPERATORS_SCATTER_REDUCTION_H
#define OXP_OPERATORS_SCATTER_REDUCTION_H

#include "operators/movement.h"

typedef enum oxp_reduction {
    OXP_REDUCE_NONE,
    OXP_REDUCE_ADD,
    OXP_REDUCE_MUL,
    OXP_REDUCE_MAX,
    OXP_REDUCE_MIN
} oxp_reduction;

/* Reads attribute `reduction` and checks that input 0's type can be reduced. */
oxp_status oxp_reduction_read(oxp_node *n, oxp_reduction *reduction);
/* to[i] = reduction(to[i], from[i]) for `count` elements of `element` bytes. */
void oxp_reduction_apply(oxp_reduction reduction, oxp_dtype dtype, size_t element, void *to,
                         const void *from, size_t count);

/* The backward of a scatter of `slices` runs of `slice` elements to `offsets` (in elements): the
 * updates are gone through again, then back, since each changes what it finds. */
oxp_status oxp_reduction_backward(oxp_node *n, oxp_reduction reduction, const size_t *offsets,
                                  size_t slices, size_t slice);

#endif
