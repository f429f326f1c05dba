/* backward.h - which values a gradient can reach: shared by the sessions' tape (backward.c) and
 * the list of what is not differentiable (reach.c). */
#ifndef OXP_INTERPRETER_BACKWARD_H
#define OXP_INTERPRETER_BACKWARD_H

#include "interpreter/interpreter.h"

/* What depends on a wanted value, by graph id and value id: a row per graph. */
typedef struct oxp_reach {
    const oxp_graph *const *graphs;
    size_t graph_count;
    bool **varies;
    bool **wanted;
    bool **active; /* by node index: an input or a captured value varies, and the Jacobian is not
                      zero for good */
} oxp_reach;

oxp_status oxp_reach_find(oxp_reach *reach, oxp_arena *arena, const oxp_graph *graph,
                          const oxp_gradients *gradients);

#endif
