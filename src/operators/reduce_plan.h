/* reduce_plan.h - the walk of a reduction: which elements of the input meet in which element of the
 * output.
 *
 * Neighbouring dimensions that are both reduced or both kept are merged. The walk visits
 * stretches of the input that are contiguous: either they all go to one output, or one to each
 * of as many outputs. Every output is met in ascending order of its inputs, whatever the shape. */
#ifndef OXP_OPERATORS_REDUCE_PLAN_H
#define OXP_OPERATORS_REDUCE_PLAN_H

#include "operators/operator.h"

typedef struct oxp_reduce_plan {
    size_t outputs, per_output; /* elements of the output, inputs behind each */
    size_t stretch;             /* length of the last merged dimension */
    bool stretch_kept;
    int kept_rank, reduced_rank; /* of the other merged dimensions */
    size_t kept_dims[OXP_MAX_RANK], kept_strides[OXP_MAX_RANK];
    size_t reduced_dims[OXP_MAX_RANK], reduced_strides[OXP_MAX_RANK];
} oxp_reduce_plan;

void oxp_reduce_plan_make(oxp_reduce_plan *plan, int rank, const int64_t *dims,
                          const bool *reduced);

/* Elements offset .. offset+count-1 of the input go to output `out`, or with out_moves to out ..
 * out+count-1. */
typedef void (*oxp_reduce_visit)(void *user, size_t offset, size_t count, size_t out,
                                 bool out_moves);
void oxp_reduce_walk(const oxp_reduce_plan *plan, oxp_reduce_visit visit, void *user);

#endif
