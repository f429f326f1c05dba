/* pass.h - one application of one step to one model: a view of its graphs, and edits that keep
 * the view's counts.
 *
 * A step looks at the view and edits the protobuf. Nodes that an edit concerned are marked as
 * touched and are left alone until the view is made again, which happens until a step finds
 * nothing more to do. */
#ifndef OXP_PREPARE_PASS_H
#define OXP_PREPARE_PASS_H

#include "graph/graph.h"
#include "onnx/edit.h"
#include "prepare/prepare.h"
#include "prepare/runs.h"
#include "util/map.h"

typedef struct oxp_fold_scope {
    const oxp_graph *graph;
    uint32_t *reads; /* by value id: inputs of nodes and outputs of bodies, in subgraphs too */
    bool *handed_on; /* by value id: an output of a body names it */
    bool *touched;   /* by node index */
} oxp_fold_scope;

/* Which places a step may change: the first `limit` of them without those that were refused
 * before. */
typedef struct oxp_admission {
    size_t limit, admitted;
    const char *last; /* the place admitted last, as the edited model names it */
    const char **refused;
    size_t refused_count, refused_capacity;
} oxp_admission;

typedef struct oxp_pass {
    oxp_ctx *ctx;
    oxp_model *model;
    const oxp_seen *seen; /* what running the given model showed */
    oxp_prepare_result *result;
    size_t block_channels;     /* of the channel step */
    size_t step;               /* index into result->steps */
    oxp_admission *admissions; /* of all steps: what an earlier one was refused stays refused */
    oxp_map changed;           /* values that this step has changed the making of */
    size_t edits;
    oxp_arena arena;
    oxp_fold_scope *scopes; /* by the graphs' ids: the main graph first, outer before inner */
    size_t scope_count;
} oxp_pass;

typedef oxp_status (*oxp_step_function)(oxp_pass *p);

/* ---- the view ---- */
oxp_status oxp_pass_open(oxp_pass *p);
void oxp_pass_close(oxp_pass *p);

/* The value itself behind a name, in the graph that defines it. */
oxp_value *oxp_pass_root(const oxp_pass *p, size_t scope, uint32_t id, size_t *root_scope);
/* The constant behind input i, when it holds numbers, lies densely in the model and cannot be
 * overridden. */
const oxp_value *oxp_pass_constant(const oxp_pass *p, size_t scope, const oxp_graph_node *node,
                                   size_t i);
/* The same for one float number; its tensor's rank goes to *rank. */
bool oxp_pass_scalar(const oxp_pass *p, size_t scope, const oxp_graph_node *node, size_t i,
                     double *number, int *rank);
size_t oxp_pass_reads(const oxp_pass *p, size_t scope, uint32_t id);
/* The node that alone reads a value (once, directly); NULL when there are others or it is an
 * output. */
const oxp_graph_node *oxp_pass_only_reader(const oxp_pass *p, size_t scope, uint32_t id);
/* The node of this graph that makes a value; NULL for inputs, constants, outer values and
 * touched nodes. */
const oxp_graph_node *oxp_pass_producer(const oxp_pass *p, size_t scope, uint32_t id);
/* -1: no sample computed it, or not always with one rank. */
int oxp_pass_rank(const oxp_pass *p, size_t scope, uint32_t id);
bool oxp_pass_is(const oxp_graph_node *node, const char *type); /* of domain ai.onnx */
bool oxp_pass_touched(const oxp_pass *p, size_t scope, const oxp_graph_node *node);
void oxp_pass_touch(oxp_pass *p, size_t scope, const oxp_graph_node *node);

/* ---- permission and notes ---- */
/* Asks for the place that makes `value`; asked once per change, right before it. */
bool oxp_pass_admit(oxp_pass *p, const char *value);
oxp_status oxp_pass_changed(oxp_pass *p, const char *value, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
oxp_status oxp_pass_left(oxp_pass *p, const char *value, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
oxp_status oxp_prepare_note(oxp_prepare_result *result, size_t step, oxp_prepare_kind kind,
                            const char *value, const char *text);

/* ---- edits ---- */
/* One reader less; a constant that nobody reads any more is removed from the model. */
oxp_status oxp_pass_forget(oxp_pass *p, size_t scope, uint32_t id);
oxp_status oxp_pass_remove_node(oxp_pass *p, size_t scope, const oxp_graph_node *node);
/* Makes `node` read `id` (of its scope, or of one around it) at input i, instead of what it read
 * there. */
oxp_status oxp_pass_read(oxp_pass *p, size_t scope, const oxp_graph_node *node, size_t i,
                         uint32_t id);
/* A new initializer under a name that is still free. */
oxp_status oxp_pass_new_constant(const char **name, oxp_pass *p, size_t scope, const char *base,
                                 oxp_dtype dtype, int rank, const int64_t *dims, const void *data);
/* Makes `node` read that initializer at input i. */
oxp_status oxp_pass_read_constant(oxp_pass *p, size_t scope, const oxp_graph_node *node, size_t i,
                                  const char *name);
/* New numbers for a constant that has a TensorProto. */
oxp_status oxp_pass_set_constant(oxp_pass *p, const oxp_value *value, int rank, const int64_t *dims,
                                 const float *data);
oxp_status oxp_pass_note_tensor(oxp_pass *p, const char *name);

/* ---- running one node (evaluate.c) ---- */
/* Runs a node on constants with the interpreter's operator. *ran is false when that has none,
 * does not take these types, or needs more than `bytes` of memory. out: output_count tensors in
 * the pass's arena or in `inputs`. */
oxp_status oxp_pass_evaluate(oxp_tensor *out, bool *ran, oxp_pass *p, const oxp_graph_node *node,
                             const oxp_tensor *const *inputs, size_t bytes);

/* ---- the steps ---- */
oxp_status oxp_step_constants(oxp_pass *p);
oxp_status oxp_step_identities(oxp_pass *p);
oxp_status oxp_step_batch_normalization(oxp_pass *p);
oxp_status oxp_step_activations(oxp_pass *p);
oxp_status oxp_step_scalars(oxp_pass *p);
oxp_status oxp_step_padding(oxp_pass *p);
oxp_status oxp_step_channels(oxp_pass *p);

#endif
