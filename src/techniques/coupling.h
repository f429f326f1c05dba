/* coupling.h - which channels of a model can only be taken away together, and what goes with them.
 *
 * A channel is a variable (prepare/equalize_channels.h). Residual sums, products, depthwise
 * convolutions and the places of a Concat unite variables; what reads or makes channels in a way
 * that is not known here pins them. To take a variable away is to cut its indices out of the axes
 * of constants that it owns (rows of the layers that make it, columns of those that read it,
 * numbers of normalisations and element-wise constants), and to count again where a shape, a split
 * or a group says how many there are. The outputs are then those of the model whose readers have
 * zeros in the columns that were cut.
 *
 * One walk over the main graph, with the shapes that one run showed. */
#ifndef OXP_TECHNIQUES_COUPLING_H
#define OXP_TECHNIQUES_COUPLING_H

#include "calibration/runner.h"
#include "prepare/equalize_channels.h"

/* An axis of a constant whose index i belongs to variables[i], OXP_NO_VARIABLE where none. */
typedef struct oxp_cut {
    const oxp_value *constant;
    int axis;
    const uint32_t *variables;
} oxp_cut;

/* A whole number of a node that says how many indices there are, of variables[0..count-1]. */
typedef struct oxp_count {
    const oxp_graph_node *node;
    const char *attribute; /* NULL: entry of the INT64 constant at `input` */
    bool is_list;          /* the attribute has several numbers */
    size_t input, entry;
    const uint32_t *variables;
    size_t count;
} oxp_count;

/* A Conv, ConvTranspose, Gemm or MatMul with constant weights of its own. */
typedef struct oxp_coupled_layer {
    const oxp_graph_node *node;
    const oxp_value *weight, *bias; /* bias NULL: none, or no constant of its own */
    const uint32_t *in, *out;       /* [inputs], [outputs], as the weight's axes have them */
    size_t inputs, outputs;         /* inputs: of one group */
    int in_axis, out_axis;          /* of the weight */
    size_t groups;
    bool is_depthwise; /* each input has outputs of its own: in_axis tells no channels apart */
    double macs;       /* of one input and one output channel, of the sample that was seen */
} oxp_coupled_layer;

typedef struct oxp_coupling {
    oxp_arena *arena;
    const oxp_graph *graph;
    const oxp_tensor *seen; /* by value id: type and shape */
    const bool *may_change; /* by value id: weights that may be cut; NULL: all */
    oxp_variables variables;
    oxp_channels *channels; /* by value id */
    oxp_cut *cuts;
    size_t cut_count, cut_capacity;
    oxp_count *counts;
    size_t count_count, count_capacity;
    oxp_coupled_layer *layers;
    size_t layer_count, layer_capacity;
} oxp_coupling;

/* Types and shapes of all values of the main graph, from one sample; source NULL: from zeros of the
 * declared shape, symbolic sizes taken as 1. */
oxp_status oxp_coupling_look(oxp_tensor **seen, oxp_arena *arena, const oxp_graph *graph,
                             const oxp_source *source, const size_t *which);

oxp_status oxp_coupling_find(oxp_coupling *out, oxp_arena *arena, const oxp_graph *graph,
                             const oxp_tensor *seen, const bool *may_change);
void oxp_coupling_free(oxp_coupling *c);

/* Whether a variable can be taken away: made and read by layers, and not pinned. [variables.count],
 * by root; in the arena. */
oxp_status oxp_coupling_removable(bool **out, oxp_coupling *c);

/* A clone of the graph's model without the variables whose root is in `gone`. numbers: by value id,
 * in place of a FLOAT constant's own before it is cut, or NULL; NULL: none. */
oxp_status oxp_coupling_cut(oxp_model **out, oxp_coupling *c, const bool *gone,
                            const float *const *numbers);

/* The same in shape as the original, with zeros in the columns that read them: for tests. */
oxp_status oxp_coupling_mask(oxp_model **out, oxp_coupling *c, const bool *gone);

#endif
