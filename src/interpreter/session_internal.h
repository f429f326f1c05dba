/* session_internal.h - a session from the inside: shared by session.c, which runs a graph, and
 * tape.c and backward.c, which go back through what was run. */
#ifndef OXP_INTERPRETER_SESSION_INTERNAL_H
#define OXP_INTERPRETER_SESSION_INTERNAL_H

#include "interpreter/interpreter.h"
#include "operators/host.h"

#define OXP_CACHE_SLOTS 512 /* going back frees as many tensors as a run has kept */

/* What a node does with a channels-last tensor (layout.c). */
typedef enum oxp_layout_role {
    OXP_LAYOUT_PLAIN, /* reads and makes ONNX's order */
    OXP_LAYOUT_STARTS,
    OXP_LAYOUT_FOLLOWS,
    OXP_LAYOUT_ELEMENTWISE
} oxp_layout_role;

typedef struct oxp_cell { /* a node of this session */
    oxp_node node;
    struct oxp_host host;
    oxp_session *owner;
    oxp_session **bodies;
    oxp_tensor *shapes; /* outputs as prepare declared them */
    oxp_tensor *seen;   /* inputs of the last prepare: type and shape only */
    bool prepared;
    /* what one run left for the backward pass (backward.c); NULL without gradients */
    struct oxp_record *record;
    oxp_layout_role role;
    bool gives_last;   /* its output may lie channels-last, and somebody wants it so */
    bool moved;        /* this run: inputs are shown with their channels behind */
    oxp_tensor *views; /* what is shown then */
    bool prepared_in_last, prepared_out_last;
} oxp_cell;

struct oxp_session {
    oxp_ctx *ctx;
    const oxp_graph *graph;
    oxp_session *parent, *root;
    oxp_session_options options;
    oxp_arena lifetime, scratch;
    oxp_cell *cells;
    oxp_tensor *tensors;                 /* by value id */
    uint32_t *remaining;                 /* uses left in this run */
    oxp_storage *cache[OXP_CACHE_SLOTS]; /* root only */
    size_t cached;
    bool *lies_last;       /* by value id: channels-last in this run */
    uint64_t steps;        /* root only */
    struct oxp_tape *tape; /* NULL without gradients */
    bool recording;        /* this run will be gone back through */
    bool going_back;       /* root only: bodies are run again, unobserved */
};

/* Memory for a shaped tensor, from the cache when it has some; not cleared. */
oxp_status oxp_session_memory(oxp_session *s, oxp_tensor *t, const oxp_graph_node *node);
/* Releases a tensor; its storage may go to the cache. */
void oxp_session_drop(oxp_session *s, oxp_tensor *t);
/* Runs a session or body once; outputs are shared into `outputs`. */
oxp_status oxp_session_run_graph(oxp_session *s, const oxp_tensor *const *inputs,
                                 oxp_tensor *outputs);

/* ---- layout.c ---- */

/* After all cells were made. */
oxp_status oxp_layout_plan(oxp_session *s);
/* Puts the inputs of a node into an order that it takes, and says which. */
oxp_status oxp_layout_inputs(oxp_session *s, oxp_cell *c);
/* Gives the outputs ONNX's shapes again and notes how they lie. */
void oxp_layout_outputs(oxp_session *s, oxp_cell *c);

/* Runs nodes first..end-1 on the tensors and uses that are set. */
oxp_status oxp_session_run_nodes(oxp_session *s, size_t first, size_t end);
/* Gives the cached memory back. */
void oxp_session_clear_cache(oxp_session *s);

/* ---- tape.c, backward.c ---- */

/* Finds what a gradient can pass through; after all cells were made. */
oxp_status oxp_tape_create(oxp_session *s);
/* Before a run with gradients, and before each of its nodes: at the first one of a segment the
 * values that it begins with are kept, and of the last segment alone what backward reads. */
void oxp_tape_start(oxp_session *s);
oxp_status oxp_tape_enter(oxp_session *s, size_t node);
/* After it: whether memory was or will be short and the run is to be made anew, first to measure,
 * then in segments. */
bool oxp_tape_wants_another_run(oxp_session *s, oxp_status status, int attempt);
/* Keeps what the node's backward reads: before its outputs get memory, and after forward. */
void oxp_tape_inputs(oxp_session *s, oxp_cell *c);
void oxp_tape_outputs(oxp_session *s, oxp_cell *c);
/* Forgets the last run; constants of a body keep the gradients of its other runs. */
void oxp_tape_clear(oxp_session *s);
void oxp_tape_free(oxp_session *s);
oxp_status oxp_tape_backward_subgraph(struct oxp_host *host, oxp_node *n, size_t which,
                                      const oxp_tensor *const *inputs, size_t input_count,
                                      const oxp_tensor *const *dout, size_t output_count,
                                      oxp_tensor *din);

#endif
