/* graph.h - what the rest thinks in: nodes, values, uses, subgraphs; views into the model, no
 * copies of weights.
 *
 * Nodes stand in the file's order, which is a topological one (checked when built). Values have ids
 * 0..value_count-1; a name that a subgraph reads from outside is a value of kind OUTER there.
 * Shapes are not inferred: they come from running. */
#ifndef OXP_GRAPH_GRAPH_H
#define OXP_GRAPH_GRAPH_H

#include "onnx/model.h"

#define OXP_NO_VALUE UINT32_MAX

typedef struct oxp_graph oxp_graph;
typedef struct oxp_graph_node oxp_graph_node;

typedef enum oxp_value_kind {
    OXP_VALUE_INPUT,    /* fed from outside (not overridable initializers) */
    OXP_VALUE_CONSTANT, /* initializer, or output of a Constant node */
    OXP_VALUE_NODE,     /* output of a node */
    OXP_VALUE_OUTER     /* captured from an enclosing graph */
} oxp_value_kind;

typedef struct oxp_use {
    oxp_graph_node *node;
    uint32_t input; /* UINT32_MAX: captured by a subgraph of the node */
} oxp_use;

typedef struct oxp_value {
    const char *name;
    uint32_t id;
    oxp_value_kind kind;
    bool is_output;           /* of its graph */
    bool is_overridable;      /* CONSTANT that is also a graph input */
    oxp_graph_node *producer; /* NODE, and CONSTANT made by a Constant node */
    uint32_t producer_output;
    oxp_tensor constant;          /* CONSTANT: borrowed data */
    oxp_tensor_proto *proto;      /* CONSTANT held in a TensorProto, else NULL */
    const oxp_graph *outer_graph; /* OUTER */
    uint32_t outer_value;         /* OUTER: id in outer_graph, where it is not OUTER */
    oxp_use *uses;
    size_t use_count;
    oxp_value_info declared; /* from inputs, outputs or value_info; rank -1 when not stated */
} oxp_value;

struct oxp_graph_node {
    const char *name; /* may be "" */
    const char *type, *domain;
    size_t index;     /* position in its graph */
    oxp_graph *graph; /* the graph it stands in */
    oxp_node_proto *proto;
    uint32_t *inputs; /* value ids, OXP_NO_VALUE when omitted */
    uint32_t *outputs;
    size_t input_count, output_count;
    oxp_attribute *attributes;
    size_t attribute_count;
    oxp_graph **subgraphs; /* in the order of the attributes that hold them */
    size_t subgraph_count;
};

struct oxp_graph {
    oxp_ctx *ctx;
    oxp_model *model;
    oxp_graph_proto *proto;
    const char *name;
    oxp_graph *parent; /* NULL for the main graph */
    oxp_graph_node *parent_node;
    oxp_graph_node *nodes;
    size_t node_count;
    oxp_value *values;
    size_t value_count;
    uint32_t *inputs; /* kind INPUT only: what a caller feeds, in order */
    size_t input_count;
    uint32_t *outputs;
    size_t output_count;
    uint32_t *captured; /* ids of this graph's OUTER values */
    size_t captured_count;
    int depth;
    size_t id; /* 0 for the main graph, then in the order in which bodies are met */
};

/* Builds the graph and its subgraphs; checks names, SSA and order (E-SSA, E-UNDEF, E-UNDEF-OUT,
 * E-TOPO, E-CYCLE, E-DUP-IO, E-DUP-INIT, E-SHADOW, E-ATTR-DUP, E-ARITY). The arena owns
 * everything. */
oxp_status oxp_graph_build(oxp_graph **out, oxp_arena *arena, oxp_model *model);

/* "node 17 \"Conv_3\" (Conv)", with the path of enclosing graphs: for messages. Lives in the
 * graph's arena-free buffer `out`. */
#define OXP_NODE_TEXT_MAX 512
const char *oxp_graph_node_text(char out[OXP_NODE_TEXT_MAX], const oxp_graph_node *node);

/* The node's name, or "#INDEX" when it has none. */
const char *oxp_graph_node_label(char out[OXP_NODE_TEXT_MAX], const oxp_graph_node *node);

/* The main graph and all bodies, by id. */
oxp_status oxp_graph_all(const oxp_graph *const **out, size_t *count, oxp_arena *arena,
                         const oxp_graph *graph);

uint32_t oxp_graph_find_value(const oxp_graph *graph,
                              const char *name); /* OXP_NO_VALUE when absent */
const oxp_attribute *oxp_graph_node_attribute(const oxp_graph_node *node, const char *name);
int64_t oxp_graph_node_int(const oxp_graph_node *node, const char *name, int64_t otherwise);
/* The constant behind input i (outer scopes resolved), or NULL. */
const oxp_value *oxp_graph_node_constant(const oxp_graph_node *node, size_t i);

#endif
