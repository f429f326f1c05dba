/* broadcast.h - walks up to three inputs in step with an output under NumPy's broadcasting.
 *
 * Neighbouring dimensions that all inputs cross alike are merged, so that the last one is a run:
 * over it every input either advances by one element or stands still. Strides count elements; 0
 * repeats. */
#ifndef OXP_OPERATORS_BROADCAST_H
#define OXP_OPERATORS_BROADCAST_H

#include "operators/operator.h"

#define OXP_BROADCAST_MAX 3

typedef struct oxp_broadcast {
    int rank, inputs; /* rank >= 1 */
    size_t dims[OXP_MAX_RANK];
    size_t strides[OXP_BROADCAST_MAX][OXP_MAX_RANK];
} oxp_broadcast;

typedef struct oxp_broadcast_cursor {
    size_t index[OXP_MAX_RANK];
    size_t offset[OXP_BROADCAST_MAX]; /* of the run's first element in each input */
} oxp_broadcast_cursor;

/* Each in[i] must be broadcastable to dims. */
void oxp_broadcast_plan(oxp_broadcast *plan, int rank, const int64_t *dims, int inputs,
                        const oxp_tensor *const *in);

static inline size_t oxp_broadcast_run(const oxp_broadcast *plan)
{
    return plan->dims[plan->rank - 1];
}

static inline bool oxp_broadcast_advances(const oxp_broadcast *plan, int input)
{
    return plan->strides[input][plan->rank - 1] != 0;
}

/* Runs of the output; 0 when it is empty. */
size_t oxp_broadcast_runs(const oxp_broadcast *plan);

/* Moves to the next run; after the last one, back to the first. Starts from an all-zero cursor. */
void oxp_broadcast_next(const oxp_broadcast *plan, oxp_broadcast_cursor *cursor);

/* The shape of several inputs broadcast together (E-BROADCAST); NULL inputs are skipped. */
oxp_status oxp_broadcast_shape(oxp_node *n, const oxp_tensor *const *in, int inputs, int *rank,
                               int64_t dims[OXP_MAX_RANK]);

/* Requires that t is broadcastable to dims without changing it (unidirectional); E-BROADCAST. */
oxp_status oxp_broadcast_fits(oxp_node *n, const oxp_tensor *t, int rank, const int64_t *dims,
                              const char *what);

/* Copies t, repeated to dims; to has room for them. */
void oxp_broadcast_copy(void *to, const oxp_tensor *t, int rank, const int64_t *dims);

#endif
