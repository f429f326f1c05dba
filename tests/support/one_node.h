/* one_node.h - a model of one node, made from an operator's example text (the grammar is in
 * operators/operator.h). */
#ifndef OXP_TESTS_SUPPORT_ONE_NODE_H
#define OXP_TESTS_SUPPORT_ONE_NODE_H

#include "interpreter/interpreter.h"

#define ONE_NODE_MAX_INPUTS 16

typedef struct one_node {
    oxp_ctx *ctx;
    oxp_model *model;
    oxp_arena arena;
    oxp_graph *graph;
    oxp_tensor inputs[ONE_NODE_MAX_INPUTS]; /* of the graph: omitted ones are not among them */
    size_t input_count;
    size_t output_count;
} one_node;

/* False with a message in `why` when the text does not parse or the model does not build. */
bool one_node_make(one_node *out, oxp_ctx *ctx, const oxp_operator *op, const char *example,
                   char why[512]);
void one_node_free(one_node *n);

/* Runs it in a fresh session; outputs must be all-zero. */
oxp_status one_node_run(const one_node *n, oxp_tensor *outputs);

#endif
