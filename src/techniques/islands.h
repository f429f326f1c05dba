/* islands.h - where quantised activations stand around the nodes that are computed in integers.
 *
 * A value is quantised IN_PLACE when an integer node makes it (all its readers see the quantised
 * value: ONNX Runtime fuses only with one Q and no second reader), as a BRANCH when a float node
 * makes it and an integer node reads it (float readers keep the float value). Operators between
 * integer nodes join: Add and LeakyRelu have integer forms, MaxPool, Transpose, Reshape, Flatten,
 * Squeeze and Unsqueeze move codes and share the scale of their input. */
#ifndef OXP_TECHNIQUES_ISLANDS_H
#define OXP_TECHNIQUES_ISLANDS_H

#include "techniques/site.h"

typedef enum oxp_quantised_kind { OXP_NOT_QUANTISED, OXP_BRANCH, OXP_IN_PLACE } oxp_quantised_kind;

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

/* The value that carries a Conv's result to its readers: behind a Relu that ONNX Runtime
 * fuses. */
uint32_t oxp_fused_output(const oxp_graph_node *node);

/* `chosen[i]`: site i is computed in integers, all its consumers with it. */
oxp_status oxp_islands_find(oxp_islands *out, oxp_arena *arena, const oxp_graph *graph,
                            const oxp_site *sites, size_t count, const bool *chosen);

const oxp_quantised *oxp_islands_at(const oxp_islands *islands, const oxp_graph *graph,
                                    uint32_t value);

#endif
