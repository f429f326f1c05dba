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

#endif
