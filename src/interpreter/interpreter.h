/* interpreter.h - runs a graph: one session per thread.
 *
 * Shapes come from running. A value's memory is returned to the session at its last use. Sessions
 * share the graph and its constants; each has its own prepared operators. */
#ifndef OXP_INTERPRETER_INTERPRETER_H
#define OXP_INTERPRETER_INTERPRETER_H

#include "operators/operator.h"

typedef struct oxp_session oxp_session;

/* Sees every tensor that a node of the main graph or of a subgraph made, right after it was
 * made. */
typedef oxp_status (*oxp_observer)(void *user, const oxp_graph *graph, uint32_t value,
                                   const oxp_tensor *t);
/* Sees a node with its inputs and outputs, right after forward. */
typedef oxp_status (*oxp_node_observer)(void *user, oxp_node *n);

typedef struct oxp_session_options {
    oxp_observer observer;
    oxp_node_observer node_observer;
    void *user;
} oxp_session_options;

/* Finds an operator for every node (E-OP, exit 4, with the node's name). */
oxp_status oxp_session_create(oxp_session **out, oxp_ctx *ctx, const oxp_graph *graph,
                              const oxp_session_options *options);
/* inputs: one per graph input. outputs: all-zero tensors, one per graph output; the caller releases
 * them. */
oxp_status oxp_session_run(oxp_session *session, const oxp_tensor *const *inputs,
                           oxp_tensor *outputs);
void oxp_session_free(oxp_session *session); /* takes NULL */

/* Whether every node of the graph (subgraphs included) has an operator; when not, the first one
 * that lacks it. */
bool oxp_graph_runs(const oxp_graph *graph, const oxp_graph_node **first_missing);

#endif
