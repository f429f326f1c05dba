/* model.h - a loaded ONNX model, as everything above src/onnx/ sees it.
 *
 * The protobuf stays the truth for writing. The *_proto types are opaque outside this folder; the
 * functions below read them, edit.h changes them. A model loaded and not edited is written back
 * byte-identical. */
#ifndef OXP_ONNX_MODEL_H
#define OXP_ONNX_MODEL_H

#include "util/file.h"
#include "util/tensor.h"

typedef struct oxp_model oxp_model;
typedef struct Onnx__GraphProto oxp_graph_proto;
typedef struct Onnx__NodeProto oxp_node_proto;
typedef struct Onnx__TensorProto oxp_tensor_proto;

typedef struct oxp_load_options {
    bool allow_symlinks, allow_hardlinks; /* of external data files */
    bool keep_nonfinite; /* NaN and Inf in float weights are accepted (else E-NONFINITE) */
} oxp_load_options;

/* Reads, walks, unpacks and checks a model file; nothing is allocated from a claim. Names the file
 * in errors. */
oxp_status oxp_model_load(oxp_model **out, oxp_ctx *ctx, const char *path,
                          const oxp_load_options *options);
/* The same from memory (copied); external data is refused unless `directory` (a path) is given. */
oxp_status oxp_model_load_memory(oxp_model **out, oxp_ctx *ctx, const void *data, size_t bytes,
                                 const char *directory, const oxp_load_options *options);
/* An empty model (IR 8, one opset) to build with edit.h: for tests and for graphs of our own. */
oxp_status oxp_model_new(oxp_model **out, oxp_ctx *ctx, int64_t opset);
/* A deep copy that shares the data of unchanged tensors and strings with `model`, which must
 * outlive it. */
oxp_status oxp_model_clone(oxp_model **out, oxp_model *model);
void oxp_model_free(oxp_model *model); /* takes NULL */

oxp_ctx *oxp_model_ctx(const oxp_model *model);
const char *oxp_model_path(const oxp_model *model);  /* "" when from memory */
size_t oxp_model_file_bytes(const oxp_model *model); /* of the model file itself */
/* model file plus external data that it refers to */
size_t oxp_model_bytes(const oxp_model *model);
/* XXH3-64 of the file, then of its external data in tensor order */
uint64_t oxp_model_hash(const oxp_model *model);
int64_t oxp_model_ir_version(const oxp_model *model);
int64_t oxp_model_opset(const oxp_model *model,
                        const char *domain); /* "" and "ai.onnx" are one; 0 = not imported */
size_t oxp_model_opset_count(const oxp_model *model);
void oxp_model_opset_at(const oxp_model *model, size_t i, const char **domain, int64_t *version);
oxp_graph_proto *oxp_model_graph(const oxp_model *model);
bool oxp_model_is_function(const oxp_model *model, const char *domain,
                           const char *type); /* a model-local function */
/* training_info present: preserved, warned about */
bool oxp_model_has_unchecked_parts(const oxp_model *model);
/* Whether large files, which are not copied, are as they were when the model was loaded. */
bool oxp_model_is_unchanged(const oxp_model *model);
/* Files that belong to the input (model and external data), for the writer's refusals. */
const oxp_file_id *oxp_model_files(const oxp_model *model, size_t *count);

/* A weight of a large model was read and is not needed for a while: what a file stands behind
 * leaves the memory (oxp_pages_release). Nothing for models that are not large. */
void oxp_model_forget(const oxp_model *model, const oxp_tensor *weight);

/* ---- reading a graph ---- */
typedef struct oxp_value_info {
    const char *name;
    oxp_dtype dtype;                  /* OXP_UNDEFINED when not stated or not a tensor */
    bool is_tensor;                   /* false: sequence, optional, map, sparse */
    int rank;                         /* -1 unknown */
    int64_t dims[OXP_MAX_RANK];       /* -1 symbolic or unknown */
    const char *params[OXP_MAX_RANK]; /* symbolic name, or NULL */
} oxp_value_info;

const char *oxp_graph_proto_name(const oxp_graph_proto *g);
size_t oxp_graph_proto_node_count(const oxp_graph_proto *g);
oxp_node_proto *oxp_graph_proto_node(const oxp_graph_proto *g, size_t i);
size_t oxp_graph_proto_input_count(const oxp_graph_proto *g);
void oxp_graph_proto_input(const oxp_graph_proto *g, size_t i, oxp_value_info *out);
size_t oxp_graph_proto_output_count(const oxp_graph_proto *g);
void oxp_graph_proto_output(const oxp_graph_proto *g, size_t i, oxp_value_info *out);
size_t oxp_graph_proto_value_info_count(const oxp_graph_proto *g);
void oxp_graph_proto_value_info(const oxp_graph_proto *g, size_t i, oxp_value_info *out);
size_t oxp_graph_proto_initializer_count(const oxp_graph_proto *g);
oxp_tensor_proto *oxp_graph_proto_initializer(const oxp_graph_proto *g, size_t i);
size_t oxp_graph_proto_sparse_count(const oxp_graph_proto *g);
const char *oxp_graph_proto_sparse_name(const oxp_graph_proto *g, size_t i);
/* The dense tensor of sparse initializer i, made in `arena` under the budget. */
oxp_status oxp_graph_proto_sparse(oxp_tensor *out, oxp_arena *arena, const oxp_model *model,
                                  const oxp_graph_proto *g, size_t i);

const char *oxp_node_proto_name(const oxp_node_proto *n);
const char *oxp_node_proto_type(const oxp_node_proto *n);
const char *oxp_node_proto_domain(const oxp_node_proto *n); /* "" for ai.onnx */
size_t oxp_node_proto_input_count(const oxp_node_proto *n);
const char *oxp_node_proto_input(const oxp_node_proto *n, size_t i); /* "" omitted */
size_t oxp_node_proto_output_count(const oxp_node_proto *n);
const char *oxp_node_proto_output(const oxp_node_proto *n, size_t i);
size_t oxp_node_proto_attribute_count(const oxp_node_proto *n);

/* The values are those of AttributeProto.AttributeType. */
typedef enum oxp_attribute_type {
    OXP_ATTR_FLOAT = 1,
    OXP_ATTR_INT = 2,
    OXP_ATTR_STRING = 3,
    OXP_ATTR_TENSOR = 4,
    OXP_ATTR_GRAPH = 5,
    OXP_ATTR_FLOATS = 6,
    OXP_ATTR_INTS = 7,
    OXP_ATTR_STRINGS = 8,
    OXP_ATTR_TENSORS = 9,
    OXP_ATTR_GRAPHS = 10,
    OXP_ATTR_SPARSE = 11,
    OXP_ATTR_OTHER = 99
} oxp_attribute_type;

typedef struct oxp_attribute {
    const char *name;
    oxp_attribute_type type;
    int64_t i;
    float f;
    const char *
        /* NUL-terminated copy; a string attribute holding NUL is not representable and loads as
         * OXP_ATTR_OTHER */
        s;
    oxp_tensor_proto *t;
    oxp_graph_proto *g;
    size_t count; /* of ints, floats, strings, graphs */
    const int64_t *ints;
    const float *floats;
    const char *const *strings;
    oxp_graph_proto *const *graphs;
} oxp_attribute;

void oxp_node_proto_attribute(const oxp_node_proto *n, size_t i, oxp_attribute *out);

/* Version of the protobuf library, for --version. */
const char *oxp_model_library(void);

/* ---- tensors ---- */
const char *oxp_tensor_proto_name(const oxp_tensor_proto *t);
oxp_dtype oxp_tensor_proto_dtype(const oxp_tensor_proto *t);
/* Decodes raw, typed or external data. Borrows raw little-endian data where it is aligned for its
 * element type, else copies into `arena`. STRING gives a shaped tensor without data. */
oxp_status oxp_tensor_decode(oxp_tensor *out, oxp_arena *arena, const oxp_model *model,
                             const oxp_tensor_proto *t);

#endif
