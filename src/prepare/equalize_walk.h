/* equalize_walk.h - what of a model a factor per channel can be moved through, and into. */
#ifndef OXP_PREPARE_EQUALIZE_WALK_H
#define OXP_PREPARE_EQUALIZE_WALK_H

#include "prepare/equalize_channels.h"
#include "prepare/linear.h"

/* A Conv, ConvTranspose, Gemm or MatMul whose weights take factors of its inputs and outputs. */
typedef struct oxp_equalize_layer {
    oxp_linear linear;
    const uint32_t *in, *out; /* [inputs], [outputs]: variables, OXP_NO_VARIABLE where none */
    uint32_t read, made;      /* values */
} oxp_equalize_layer;

/* A constant beside the data: c' = c * factor(times) / factor(over), element by element. */
typedef struct oxp_equalize_constant {
    const oxp_graph_node *node;
    size_t input;
    const oxp_tensor *constant;
    const uint32_t *times, *over; /* by element, or NULL */
} oxp_equalize_constant;

typedef struct oxp_equalize_walk {
    oxp_pass *pass;
    oxp_arena *arena;
    const oxp_tensor *seen; /* by value id: type and shape that one run showed; rank 0 dtype 0 */
    oxp_variables variables;
    oxp_channels *channels; /* by value id */
    bool *zero;             /* by value id: all elements are zero */
    oxp_equalize_layer *layers;
    size_t layer_count, layer_capacity;
    oxp_equalize_constant *constants;
    size_t constant_count, constant_capacity;
} oxp_equalize_walk;

/* Walks the main graph of the pass. The caller frees with oxp_equalize_walk_free(). */
oxp_status oxp_equalize_walk_graph(oxp_equalize_walk *w, oxp_pass *pass, oxp_arena *arena,
                                   const oxp_tensor *seen);
void oxp_equalize_walk_free(oxp_equalize_walk *w);

#endif
