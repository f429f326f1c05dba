/* control_flow.h - what If, Loop and Scan share: their bodies, slices fed to them, and what is
 * collected from step to step.
 *
 * Tensors that a body sees own their memory: a body may hand an input on, and that must outlive the
 * step. */
#ifndef OXP_OPERATORS_CONTROL_FLOW_H
#define OXP_OPERATORS_CONTROL_FLOW_H

#include "operators/movement.h"

/* The number of the subgraph in attribute `name` (marks it as known); E-ATTR-VALUE when it is
 * missing. */
oxp_status oxp_body_find(oxp_node *n, const char *name, size_t *which);

/* t[..., index, ...] along `axis`, without that dimension. */
oxp_status oxp_body_slice(oxp_node *n, const oxp_tensor *t, int axis, int64_t index,
                          oxp_tensor *out);

/* One BOOL or INT64 in a tensor of rank 0, or of rank 1 where the body declares its input `input`
 * so. */
oxp_status oxp_body_scalar(oxp_node *n, size_t which, size_t input, oxp_dtype dtype, int64_t value,
                           oxp_tensor *out);
/* The one BOOL of a tensor; `what` names it in the error. */
oxp_status oxp_body_condition(oxp_node *n, const oxp_tensor *t, const char *what, bool *value);

/* to[..., index, ...] += part, both FLOAT. */
void oxp_body_add_slice(oxp_tensor *to, int axis, int64_t index, const oxp_tensor *part);

/* The variables of every step as it began: what going back runs the body on again. */
typedef struct oxp_history {
    oxp_tensor *values; /* [steps][variables] */
    size_t capacity, variables, steps;
} oxp_history;

/* Shares `values`, one per variable. */
oxp_status oxp_history_add(oxp_node *n, oxp_history *h, const oxp_tensor *values);
void oxp_history_free(oxp_history *h);

/* Tensors of one shape and type, one behind the other. */
typedef struct oxp_collector {
    oxp_tensor shape; /* of one entry */
    uint8_t *bytes;
    size_t capacity, used;
    int64_t steps;
} oxp_collector;

/* Appends a tensor; E-SHAPE when it differs from those before. */
oxp_status oxp_collect(oxp_node *n, oxp_collector *c, const oxp_tensor *t);
/* Appends `count` entries of zeros after at least one tensor. */
oxp_status oxp_collect_zeros(oxp_node *n, oxp_collector *c, int64_t count);
/* Makes output i: the entries along a new axis (negative: from the back), last first when
 * `reverse`. When nothing was collected the entry's shape is what the body declares for its output
 * `body_output`, unknown dimensions 0. */
oxp_status oxp_collector_finish(oxp_node *n, oxp_collector *c, int i, size_t which,
                                size_t body_output, int64_t axis, bool reverse);
/* Makes output i of shape [outer, steps / outer, ...]. */
oxp_status oxp_collector_finish_batched(oxp_node *n, oxp_collector *c, int i, int64_t outer);
void oxp_collector_free(oxp_collector *c);

#endif
