/* islands.h - where quantised activations stand around the nodes that are computed in integers.
 *
 * A value is quantised IN_PLACE when an integer node makes it (all its readers see the quantised
 * value: ONNX Runtime fuses only with one Q and no second reader), as a BRANCH when a float node
 * makes it and an integer node reads it (float readers keep the float value). Operators between
 * integer nodes join: Add and LeakyRelu have integer forms, MaxPool, Transpose, Reshape, Flatten,
 * Squeeze and Unsqueeze move codes and share the scale of their input. What the model quantises
 * itself is GIVEN (given.h): an integer node reads it as it is, and where a QuantizeLinear of the
 * model alone reads a result, that is the pair which the fusion needs. */
#ifndef OXP_TECHNIQUES_ISLANDS_H
#define OXP_TECHNIQUES_ISLANDS_H

#include "techniques/site.h"

typedef enum oxp_quantised_kind {
    OXP_NOT_QUANTISED,
    OXP_BRANCH,
    OXP_IN_PLACE,
    OXP_GIVEN
} oxp_quantised_kind;

typedef struct oxp_quantised {
    size_t graph_id;
    uint32_t value; /* in that graph; may be OUTER for a BRANCH */
    oxp_quantised_kind kind;
    /* the value whose scale it has: itself, or the root of its pass-through chain */
    size_t scale_graph;
    uint32_t scale_value; /* never OUTER */
} oxp_quantised;

typedef struct oxp_islands {
    oxp_quantised *values; /* by graph id, then by value id */
    size_t count;
    size_t **index; /* by graph and value: position + 1 */
    const oxp_graph *const *graphs;
    size_t graph_count;
} oxp_islands;

/* The value that carries a node's integer result to its readers: behind a Relu that ONNX Runtime
 * fuses, and behind clamps. */
uint32_t oxp_fused_output(const oxp_graph_node *node);
/* Behind the Relu alone. */
uint32_t oxp_relu_output(const oxp_graph_node *node);

/* y = min(max(x, low), high) with low <= 0 <= high: x is input `input`. */
typedef struct oxp_clamp {
    size_t input;
    double low, high;
} oxp_clamp;

bool oxp_clamp_read(oxp_clamp *out, const oxp_graph_node *node);

/* Add, LeakyRelu, and what moves codes; the inputs 0..count-1 that must be quantised; the value
 * that carries the result. */
bool oxp_joins_integers(const oxp_graph_node *node);
size_t oxp_joiner_inputs(const oxp_graph_node *node);
uint32_t oxp_joiner_output(const oxp_graph_node *node);

/* `chosen[i]`: site i is computed in integers, all its consumers with it. */
oxp_status oxp_islands_find(oxp_islands *out, oxp_arena *arena, const oxp_graph *graph,
                            const oxp_site *sites, size_t count, const bool *chosen);

const oxp_quantised *oxp_islands_at(const oxp_islands *islands, const oxp_graph *graph,
                                    uint32_t value);

#endif
