/* edit.h - changes to a model's protobuf: nodes, initializers, opsets, metadata.
 *
 * New parts live in the model's arena. After edits a graph built from the model is stale and is
 * built again. Wrong use (a node that is not there, a type without elements) is OXP_EINTERNAL
 * E-EDIT. */
#ifndef OXP_ONNX_EDIT_H
#define OXP_ONNX_EDIT_H

#include "onnx/model.h"

/* A name that no value, node or initializer of the model (subgraphs included) has: `base`, or
 * base_1, base_2, … */
oxp_status oxp_edit_unique_name(const char **out, oxp_model *model, const char *base);

/* Adds an initializer that holds a copy of `data` (C order, packed below 8 bits) as raw_data.
 * The IR version rises to 4, from which on an initializer is no input, and to what the element
 * type needs; it never falls. */
oxp_status oxp_edit_add_initializer(oxp_model *model, oxp_graph_proto *g, const char *name,
                                    oxp_dtype dtype, int rank, const int64_t *dims,
                                    const void *data);
/* Adds a sparse initializer: `values` at the ascending `places` of the flattened tensor, zero
 * elsewhere. The IR version rises to 6, which knows it. */
typedef struct oxp_sparse_list {
    oxp_dtype dtype;
    size_t count;
    const int64_t *places; /* [count] */
    const void *values;    /* [count] */
} oxp_sparse_list;
oxp_status oxp_edit_add_sparse_initializer(oxp_model *model, oxp_graph_proto *g, const char *name,
                                           const oxp_sparse_list *list, int rank,
                                           const int64_t *dims);
/* Replaces the data (and type, and shape) of a TensorProto: initializer or Constant attribute. */
oxp_status oxp_edit_set_tensor(oxp_model *model, oxp_tensor_proto *t, oxp_dtype dtype, int rank,
                               const int64_t *dims, const void *data);
oxp_status oxp_edit_remove_initializer(oxp_model *model, oxp_graph_proto *g,
                                       const char *name); /* also from the inputs */

typedef struct oxp_new_node {
    const char *type, *domain, *name; /* domain "" = ai.onnx */
    size_t input_count, output_count;
    const char *const *inputs, *const *outputs; /* copied */
} oxp_new_node;

/* Inserts a node before position `at` (count = append). *out may be NULL. */
oxp_status oxp_edit_insert_node(oxp_node_proto **out, oxp_model *model, oxp_graph_proto *g,
                                size_t at, const oxp_new_node *node);
oxp_status oxp_edit_remove_node(oxp_model *model, oxp_graph_proto *g, const oxp_node_proto *node);
size_t oxp_edit_position(const oxp_graph_proto *g,
                         const oxp_node_proto *node); /* SIZE_MAX when absent */

oxp_status oxp_edit_set_type(oxp_model *model, oxp_node_proto *n, const char *type,
                             const char *domain);
oxp_status oxp_edit_set_input(oxp_model *model, oxp_node_proto *n, size_t i,
                              const char *name); /* i may be one past or more: "" fills */
oxp_status oxp_edit_set_output(oxp_model *model, oxp_node_proto *n, size_t i, const char *name);
oxp_status oxp_edit_set_int(oxp_model *model, oxp_node_proto *n, const char *attribute,
                            int64_t value);
oxp_status oxp_edit_set_ints(oxp_model *model, oxp_node_proto *n, const char *attribute,
                             size_t count, const int64_t *values);
oxp_status oxp_edit_set_floats(oxp_model *model, oxp_node_proto *n, const char *attribute,
                               size_t count, const float *values);
oxp_status oxp_edit_set_float(oxp_model *model, oxp_node_proto *n, const char *attribute,
                              float value);
oxp_status oxp_edit_set_string(oxp_model *model, oxp_node_proto *n, const char *attribute,
                               const char *value);
oxp_status oxp_edit_set_tensor_attribute(oxp_model *model, oxp_node_proto *n, const char *attribute,
                                         oxp_dtype dtype, int rank, const int64_t *dims,
                                         const void *data);
/* An attribute that is not there is no error, nor is a value_info below. */
oxp_status oxp_edit_remove_attribute(oxp_model *model, oxp_node_proto *n, const char *attribute);

/* Renames a value everywhere in g and its subgraphs where it is read (consumers only, not the
 * outputs of g). A subgraph with its own value `from` is left alone; one that reads `from` and
 * has its own `to` is refused (E-EDIT). */
oxp_status oxp_edit_replace_uses(oxp_model *model, oxp_graph_proto *g, const char *from,
                                 const char *to);

/* Adds a tensor input or output (rank -1: no shape; dims -1 with params NULL: unknown). */
oxp_status oxp_edit_add_input(oxp_model *model, oxp_graph_proto *g, const oxp_value_info *info);
oxp_status oxp_edit_add_output(oxp_model *model, oxp_graph_proto *g, const oxp_value_info *info);
oxp_status oxp_edit_remove_value_info(oxp_model *model, oxp_graph_proto *g, const char *name);

/* Adds or changes the import. For ai.onnx the IR version rises with it where it has to. */
oxp_status oxp_edit_set_opset(oxp_model *model, const char *domain, int64_t version);
/* The IR version that was published with an opset of ai.onnx. */
int64_t oxp_ir_for_opset(int64_t opset);
/* Below IR 4 every initializer is a graph input too, and constant; from 4 on such an input may
 * be overridden. So a step over that border takes the initializers out of the main graph's
 * inputs: they stay constant. */
oxp_status oxp_edit_set_ir_version(oxp_model *model, int64_t version);
oxp_status oxp_edit_set_metadata(oxp_model *model, const char *key, const char *value);

#endif
