/* operator.h - the contract of an operator.
 *
 * To add one: a file (or a row in its family's table) that defines `const oxp_operator oxp_op_…`,
 * and a row in operators.def.
 *
 * How a node is run: `prepare` reads every attribute it knows (an attribute that no getter asked
 * for is an error: E-ATTR), checks input types and shapes, declares each output with
 * oxp_output() or oxp_output_alias(). Then the interpreter gives the outputs memory and calls
 * `forward`. While types, shapes and the values named in `values` stay the same, prepare is not
 * called again. An operator whose output shape depends on data names that input in `values` and
 * reads it in prepare. */
#ifndef OXP_OPERATORS_OPERATOR_H
#define OXP_OPERATORS_OPERATOR_H

#include "graph/graph.h"

typedef struct oxp_node oxp_node;

typedef struct oxp_cost {
    double macs; /* multiply-accumulates; an elementwise operation counts none */
    double bytes_read, bytes_written;
} oxp_cost;

typedef struct oxp_operator {
    const char *domain, *type; /* "", "Conv" */
    int since; /* first opset with these semantics; the highest since <= the model's wins */
    int min_in, max_in; /* inputs; E-ARITY outside. max_in -1: any number */
    int min_out, max_out;
    /* bit i: input i below min_in.. may be "" although it stands inside the list */
    uint32_t optional;
    oxp_status (*prepare)(oxp_node *n);
    /* fails only on what data decides; NULL when every output is an alias */
    oxp_status (*forward)(oxp_node *n);
    /* Adds J^T dy into din; NULL = not differentiable, oxp_backward_zero: J is zero wherever it
     * exists. Gradients are FLOAT tensors of their value's shape, whatever float type it has.
     * Inputs and outputs that `saves` does not name have a shape and no data. */
    oxp_status (*backward)(oxp_node *n);
    /* frees what oxp_node_state() memory points to (kernel handles); may be NULL */
    void (*release)(oxp_node *n);
    uint32_t values; /* bit i: the value of input i decides shapes */
    /* what backward reads: bit i input i (bit 15: all from 15 on), bit 16+i output i */
    uint32_t saves;
    void (*cost)(const oxp_node *n, oxp_cost *cost); /* NULL: bytes only, no MACs */
    /* True when input `input` of rank `rank` may be compressed; then *channel_axis is its
     * output-channel axis. NULL: none. */
    bool (*weight)(const oxp_graph_node *def, int input, int rank, int *channel_axis);
    /* Input 0 and output 0 may be channels-last: n->in_last and n->out_last say so. */
    bool channels_last;
    const char *const *examples; /* NULL-terminated, see below; NULL for operators with subgraphs */
} oxp_operator;

/* Examples are documentation and test cases at once: "X[1,3,5,5] W[4,3,3,3]; pads=1,1,1,1 group=1".
 * Inputs: NAME[dims], optional :dtype (f32 default; f16 bf16 f64 i8 u8 i16 u16 i32 u32 i64 u64
 * bool), optional ={v,v,…}; "_" is an omitted input; without values, floats are drawn from [-1,1)
 * and integers from 0..3.
 * Attributes: ints "axis=1", int lists "pads=1,1", floats with a point "alpha=0.5", strings
 * 'mode=\'linear\''; "outputs=3" asks for that many outputs. */

struct oxp_node {
    oxp_ctx *ctx;
    const oxp_operator *op;
    const oxp_graph_node *def;
    int opset; /* of the operator's domain */
    int in_count, out_count;
    const oxp_tensor **in; /* NULL: omitted */
    /* shaped by prepare; out[i].data NULL when nobody wants output i (forward then skips it) */
    oxp_tensor *out;
    bool *wanted; /* output i has a name */
    /* bit i: input i is the same tensor in every run (weights can be packed once) */
    uint64_t constant;
    void *state; /* oxp_node_state() */
    size_t state_bytes;
    int *alias; /* output i shares the memory of input alias[i], or -1 */
    /* output i may be written over input overwrite[i] when that input dies here, or -1 */
    int *overwrite;
    /* Input 0, output 0 lie as [N, spatial, C] although their dims are [N, C, spatial]. Set before
     * prepare; false unless the operator has channels_last. */
    bool in_last, out_last;
    uint64_t attributes_read;
    oxp_arena *scratch;            /* released after every call */
    const oxp_tensor *const *dout; /* backward: gradients of outputs, NULL = zero */
    oxp_tensor *const *din;        /* backward: accumulators, NULL = not wanted */
    struct oxp_host *host;         /* runs subgraphs for control flow */
};

/* ---- attributes (each marks the attribute as known) ---- */
int64_t oxp_attr_int(oxp_node *n, const char *name, int64_t otherwise);
float oxp_attr_float(oxp_node *n, const char *name, float otherwise);
const char *oxp_attr_string(oxp_node *n, const char *name,
                            const char *otherwise); /* NULL allowed */
/* *values NULL and *count 0 when absent. */
void oxp_attr_ints(oxp_node *n, const char *name, const int64_t **values, size_t *count);
void oxp_attr_floats(oxp_node *n, const char *name, const float **values, size_t *count);
bool oxp_attr_present(oxp_node *n, const char *name);
/* A tensor attribute decoded into the node's lifetime arena; *out->data NULL and rank -1 when
 * absent. */
oxp_status oxp_attr_tensor(oxp_node *n, const char *name, oxp_tensor *out);
/* Marks an attribute as known and without effect on inference (training-only ones and the like). */
void oxp_attr_ignore(oxp_node *n, const char *name);
/* A wrong type for the attribute: the getters record E-ATTR-TYPE in the context; prepare's caller
 * returns it. */

/* ---- shapes ---- */
oxp_status oxp_output(oxp_node *n, int i, oxp_dtype dtype, int rank, const int64_t *dims);
/* Output i is input j's memory under a new shape of as many elements of the same type. */
oxp_status oxp_output_alias(oxp_node *n, int i, int j, int rank, const int64_t *dims);
/* Output i may take the memory of input j (same byte size) when that is not needed afterwards. Call
 * after oxp_output(). */
void oxp_output_overwrites(oxp_node *n, int i, int j);

/* State that lives as long as the node in its session; zero at first, kept between prepares. NULL
 * out of memory. */
void *oxp_node_state(oxp_node *n, size_t bytes);
/* Memory that lives until the call of prepare or forward returns. */
void *oxp_node_scratch(oxp_node *n, size_t count, size_t size);

/* Normalises an axis in [-rank, rank-1] (inclusive_end allows rank); E-AXIS. */
oxp_status oxp_node_axis(oxp_node *n, int64_t axis, int rank, bool inclusive_end, int *out);

/* Fails with the node's text put in front: "node 17 \"Conv_3\" (Conv): …". */
oxp_status oxp_node_fail(oxp_node *n, oxp_status status, const char *code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* E-OP-DTYPE (4: a type that ONNX allows and we do not run). */
oxp_status oxp_node_bad_dtype(oxp_node *n, int input);
/* Requires an input's type: E-OP-DTYPE naming both. */
oxp_status oxp_node_want(oxp_node *n, int input, oxp_dtype dtype);

/* NumPy broadcasting of two shapes; E-BROADCAST. */
oxp_status oxp_node_broadcast(oxp_node *n, const oxp_tensor *a, const oxp_tensor *b, int *rank,
                              int64_t dims[OXP_MAX_RANK]);

/* ---- subgraphs (If, Loop, Scan) ---- */
/* Runs subgraph `which` of the node; inputs and outputs as many as the subgraph has; outputs are
 * shared into out[] (all-zero tensors on entry; the caller releases them). */
oxp_status oxp_node_run_subgraph(oxp_node *n, size_t which, const oxp_tensor *const *inputs,
                                 size_t input_count, oxp_tensor *out, size_t output_count);
/* Runs the subgraph again and goes back through it: dout[i] is the gradient of its output i or
 * NULL for zero; din[i] (all-zero tensors on entry; the caller releases them) gets that of its
 * input i and stays without data where there is none. Gradients of what the body reads from
 * outside and of its own constants are added where they belong. */
oxp_status oxp_node_backward_subgraph(oxp_node *n, size_t which, const oxp_tensor *const *inputs,
                                      size_t input_count, const oxp_tensor *const *dout,
                                      size_t output_count, oxp_tensor *din);
/* Gives output i a tensor made elsewhere (shape and memory shared): for operators that learn shapes
 * by running. Their prepare declares nothing for it (oxp_output_later). */
oxp_status oxp_output_later(oxp_node *n, int i);
void oxp_output_adopt(oxp_node *n, int i, const oxp_tensor *t);

/* The backward of operators whose outputs are integers or constant piece by piece. */
oxp_status oxp_backward_zero(oxp_node *n);

/* ---- the table ---- */
size_t oxp_operator_count(void);
const oxp_operator *oxp_operator_at(size_t i);
/* The row for (domain, type) at this opset; NULL when there is none. *known is set when some other
 * opset has one. */
const oxp_operator *oxp_operator_find(const char *domain, const char *type, int64_t opset,
                                      bool *known);

#endif
