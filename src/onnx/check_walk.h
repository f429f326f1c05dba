/* check_walk.h - all graphs and nodes below a graph or a function, each once, in the file's order,
 * with the way to the current one for error messages. No recursion: the wire walker has bounded the
 * depth. */
#ifndef OXP_ONNX_CHECK_WALK_H
#define OXP_ONNX_CHECK_WALK_H

#include "onnx.pb-c.h"
#include "util/status.h"

#define OXP_WALK_DEPTH 34 /* a graph below a graph costs 3 of the 100 messages */
#define OXP_WALK_TEXT_MAX 480

typedef enum oxp_walk_event { OXP_WALK_END, OXP_WALK_GRAPH, OXP_WALK_NODE } oxp_walk_event;

typedef struct oxp_walk_frame {
    const Onnx__GraphProto *graph; /* NULL: the body of a function */
    Onnx__NodeProto **nodes;
    size_t node_count;
    size_t node; /* current, when node_open */
    bool node_open;
    size_t attribute, subgraph; /* of the current node: where the next graph is looked for */
    const char
        *attribute_name; /* of the node around it, that holds this graph; NULL for the outermost */
} oxp_walk_frame;

typedef struct oxp_walk {
    oxp_walk_frame frames[OXP_WALK_DEPTH];
    size_t depth;
    const Onnx__FunctionProto *function; /* NULL in the main graph */
    size_t attribute, subgraph;          /* of the function's own attributes */
    bool started;
} oxp_walk;

void oxp_walk_begin(oxp_walk *walk, const Onnx__GraphProto *graph);
/* The body, then the graphs among the default values of its attributes. */
void oxp_walk_begin_function(oxp_walk *walk, const Onnx__FunctionProto *function);

/* A graph is reported before its nodes, a node before the graphs that it holds. */
oxp_walk_event oxp_walk_next(oxp_walk *walk);
const Onnx__GraphProto *oxp_walk_graph(const oxp_walk *walk); /* NULL in a function's own body */
const Onnx__NodeProto *oxp_walk_node(const oxp_walk *walk);

/* `graph "main" > node 17 "If_3" (If) > then_branch > node 2 "" (Conv)` */
const char *oxp_walk_text(char out[OXP_WALK_TEXT_MAX], const oxp_walk *walk);

#endif
