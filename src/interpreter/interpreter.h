/* interpreter.h - runs a graph: one session per thread.
 *
 * Shapes come from running. A value's memory is returned to the session at its last use. Sessions
 * share the graph and its constants; each has its own prepared operators. */
#ifndef OXP_INTERPRETER_INTERPRETER_H
#define OXP_INTERPRETER_INTERPRETER_H

#include "operators/operator.h"
#include "util/shared.h"

typedef struct oxp_session oxp_session;

/* Sees every tensor that a node of the main graph or of a subgraph made, right after it was
 * made. */
typedef oxp_status (*oxp_observer)(void *user, const oxp_graph *graph, uint32_t value,
                                   const oxp_tensor *t);
/* Sees a node with its inputs and outputs, right after forward. */
typedef oxp_status (*oxp_node_observer)(void *user, oxp_node *n);

/* What oxp_session_backward() is asked for. Gradients are FLOAT tensors of their value's shape.
 *
 * A run keeps as much for it as the operators say they read. When that does not fit the budget the
 * graph is run and gone back through in segments, and a run may be begun anew: observers then see
 * its first nodes again. */
typedef struct oxp_gradients {
    /* Which constants and inputs get a gradient; NULL: every constant of a float type. */
    bool (*wanted)(void *user, const oxp_graph *graph, const oxp_value *value);
    /* Sees a node right after its backward: `in` holds at least what the operator `saves`, `dout`
     * the gradients of its outputs, `din` those of its inputs, NULL where none is wanted. A din
     * that several nodes add to holds the sum so far. */
    oxp_node_observer node;
    /* Sees the gradient of a wanted value when nothing will be added to it any more; it is
     * forgotten afterwards. A wanted value that no output depends on is not seen. */
    oxp_observer complete;
    void *user;
} oxp_gradients;

typedef struct oxp_session_options {
    oxp_observer observer;
    oxp_node_observer node_observer;
    void *user;
    /* Convolutions may leave tensors channels-last for one another. Values keep their shape, but
     * observers then see elements in any order; a node observer that reads a convolution or pool
     * looks at in_last and out_last. Not with gradients. */
    bool any_layout;
    oxp_shared *shared;             /* of all sessions of the graph; NULL: none */
    const oxp_gradients *gradients; /* NULL: none; lives as long as the session */
} oxp_session_options;

/* Finds an operator for every node (E-OP, exit 4, with the node's name). */
oxp_status oxp_session_create(oxp_session **out, oxp_ctx *ctx, const oxp_graph *graph,
                              const oxp_session_options *options);
/* inputs: one per graph input. outputs: all-zero tensors, one per graph output; the caller releases
 * them. */
oxp_status oxp_session_run(oxp_session *session, const oxp_tensor *const *inputs,
                           oxp_tensor *outputs);
/* Goes back through the last run, whose inputs must still be there; once per run. dout: one per
 * graph output, FLOAT of its shape or NULL for zero. E-GRADIENT (exit 4) names a node on the way
 * that has no backward. */
oxp_status oxp_session_backward(oxp_session *session, const oxp_tensor *const *dout);
void oxp_session_free(oxp_session *session); /* takes NULL */

/* Whether every node of the graph (subgraphs included) has an operator; when not, the first one
 * that lacks it. */
bool oxp_graph_runs(const oxp_graph *graph, const oxp_graph_node **first_missing);

/* The nodes without a backward on a way from a wanted value to an output of the graph (bodies
 * included), in the graph's order: none when it is differentiable. Types are not known here, so
 * this errs towards naming one. */
oxp_status oxp_graph_differentiable(const oxp_graph *graph, const oxp_gradients *gradients,
                                    oxp_arena *arena, const oxp_graph_node *const **nodes,
                                    size_t *count);

#endif
