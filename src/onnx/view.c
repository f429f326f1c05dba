/* view.c - a model as the layers above see it: numbers, names and pointers, no protobuf. Strings
 * that the file does not have read as "". */
#include <string.h>

#include "onnx/check.h"
#include "onnx/unpack.h"

#define LARGE_MODEL_BYTES ((size_t)256 << 20) /* smaller ones stay in memory whole */
#define FORGOTTEN_BYTES ((size_t)256 << 10)

static const char *text_or_empty(const char *text)
{
    return text == NULL ? "" : text;
}

/* ---- model ---- */

oxp_ctx *oxp_model_ctx(const oxp_model *model)
{
    return model->ctx;
}

const char *oxp_model_path(const oxp_model *model)
{
    return model->path;
}

size_t oxp_model_file_bytes(const oxp_model *model)
{
    return model->file_bytes;
}

/* A clone's external files are those of the loaded model. */
static const oxp_model *loaded_model(const oxp_model *model)
{
    while (model->base != NULL)
        model = model->base;
    return model;
}

size_t oxp_model_bytes(const oxp_model *model)
{
    const oxp_model *loaded = loaded_model(model);
    size_t bytes = model->file_bytes;
    for (size_t i = 0; i < loaded->external_count; i++)
        bytes += loaded->externals[i].bytes;
    return bytes;
}

void oxp_model_forget(const oxp_model *model, const oxp_tensor *weight)
{
    size_t bytes = oxp_tensor_bytes(weight);
    if (bytes >= FORGOTTEN_BYTES && oxp_model_bytes(model) >= LARGE_MODEL_BYTES)
        oxp_pages_release(model->ctx, weight->data, bytes);
}

uint64_t oxp_model_hash(const oxp_model *model)
{
    return model->hash;
}

int64_t oxp_model_ir_version(const oxp_model *model)
{
    return model->proto->ir_version;
}

/* Before IR 3 a model had opset 1 of ai.onnx without saying so. */
static bool has_implied_opset(const oxp_model *model)
{
    return model->proto->n_opset_import == 0;
}

int64_t oxp_model_opset(const oxp_model *model, const char *domain)
{
    const Onnx__ModelProto *m = model->proto;
    for (size_t i = 0; i < m->n_opset_import; i++)
        if (strcmp(oxp_domain(m->opset_import[i]->domain), oxp_domain(domain)) == 0)
            return m->opset_import[i]->version;
    return has_implied_opset(model) && oxp_domain(domain)[0] == '\0' ? 1 : 0;
}

size_t oxp_model_opset_count(const oxp_model *model)
{
    return has_implied_opset(model) ? 1 : model->proto->n_opset_import;
}

void oxp_model_opset_at(const oxp_model *model, size_t i, const char **domain, int64_t *version)
{
    bool implied = has_implied_opset(model);
    *domain = implied ? "" : oxp_domain(model->proto->opset_import[i]->domain);
    *version = implied ? 1 : model->proto->opset_import[i]->version;
}

oxp_graph_proto *oxp_model_graph(const oxp_model *model)
{
    return model->proto->graph;
}

bool oxp_model_is_function(const oxp_model *model, const char *domain, const char *type)
{
    const oxp_model *loaded = loaded_model(model);
    if (loaded->functions == NULL)
        return false;
    size_t low = 0, high = loaded->proto->n_functions;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const Onnx__FunctionProto *f = loaded->functions[middle];
        int order = strcmp(oxp_domain(f->domain), oxp_domain(domain));
        if (order == 0)
            order = strcmp(text_or_empty(f->name), type);
        if (order == 0)
            return true; /* with whatever overload */
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

bool oxp_model_has_unchecked_parts(const oxp_model *model)
{
    return model->proto->n_training_info > 0;
}

const oxp_file_id *oxp_model_files(const oxp_model *model, size_t *count)
{
    *count = model->file_count;
    return model->files;
}

/* ---- graphs ---- */

/* A rank above OXP_MAX_RANK cannot be run, so it reads as unknown. */
static void read_shape(const Onnx__TensorShapeProto *shape, oxp_value_info *out)
{
    if (shape == NULL || shape->n_dim > OXP_MAX_RANK)
        return;
    out->rank = (int)shape->n_dim;
    for (size_t i = 0; i < shape->n_dim; i++) {
        const Onnx__TensorShapeProto__Dimension *d = shape->dim[i];
        out->dims[i] = -1;
        if (d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE &&
            d->dim_value >= 0)
            out->dims[i] = d->dim_value;
        if (d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM &&
            d->dim_param[0] != '\0')
            out->params[i] = d->dim_param;
    }
}

static void read_value_info(const Onnx__ValueInfoProto *v, oxp_value_info *out)
{
    *out = (oxp_value_info){.name = text_or_empty(v->name), .rank = -1};
    if (v->type == NULL) {
        out->is_tensor = true; /* nothing says otherwise */
        return;
    }
    if (v->type->value_case == ONNX__TYPE_PROTO__VALUE__NOT_SET)
        out->is_tensor = true;
    if (v->type->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE)
        return;
    const Onnx__TypeProto__Tensor *tensor = v->type->tensor_type;
    out->is_tensor = true;
    out->dtype = (oxp_dtype)tensor->elem_type;
    read_shape(tensor->shape, out);
}

const char *oxp_graph_proto_name(const oxp_graph_proto *g)
{
    return text_or_empty(g->name);
}

size_t oxp_graph_proto_node_count(const oxp_graph_proto *g)
{
    return g->n_node;
}

oxp_node_proto *oxp_graph_proto_node(const oxp_graph_proto *g, size_t i)
{
    return g->node[i];
}

size_t oxp_graph_proto_input_count(const oxp_graph_proto *g)
{
    return g->n_input;
}

void oxp_graph_proto_input(const oxp_graph_proto *g, size_t i, oxp_value_info *out)
{
    read_value_info(g->input[i], out);
}

size_t oxp_graph_proto_output_count(const oxp_graph_proto *g)
{
    return g->n_output;
}

void oxp_graph_proto_output(const oxp_graph_proto *g, size_t i, oxp_value_info *out)
{
    read_value_info(g->output[i], out);
}

size_t oxp_graph_proto_value_info_count(const oxp_graph_proto *g)
{
    return g->n_value_info;
}

void oxp_graph_proto_value_info(const oxp_graph_proto *g, size_t i, oxp_value_info *out)
{
    read_value_info(g->value_info[i], out);
}

size_t oxp_graph_proto_initializer_count(const oxp_graph_proto *g)
{
    return g->n_initializer;
}

oxp_tensor_proto *oxp_graph_proto_initializer(const oxp_graph_proto *g, size_t i)
{
    return g->initializer[i];
}

size_t oxp_graph_proto_sparse_count(const oxp_graph_proto *g)
{
    return g->n_sparse_initializer;
}

const char *oxp_graph_proto_sparse_name(const oxp_graph_proto *g, size_t i)
{
    return text_or_empty(g->sparse_initializer[i]->values->name);
}

/* ---- nodes ---- */

const char *oxp_node_proto_name(const oxp_node_proto *n)
{
    return text_or_empty(n->name);
}

const char *oxp_node_proto_type(const oxp_node_proto *n)
{
    return text_or_empty(n->op_type);
}

const char *oxp_node_proto_domain(const oxp_node_proto *n)
{
    return oxp_domain(n->domain);
}

size_t oxp_node_proto_input_count(const oxp_node_proto *n)
{
    return n->n_input;
}

const char *oxp_node_proto_input(const oxp_node_proto *n, size_t i)
{
    return n->input[i];
}

size_t oxp_node_proto_output_count(const oxp_node_proto *n)
{
    return n->n_output;
}

const char *oxp_node_proto_output(const oxp_node_proto *n, size_t i)
{
    return n->output[i];
}

size_t oxp_node_proto_attribute_count(const oxp_node_proto *n)
{
    return n->n_attribute;
}

/* ---- attributes ---- */

/* The type of an attribute of IR 1, which has only its value. */
static int type_of_value(const Onnx__AttributeProto *a)
{
    return a->has_f           ? OXP_ATTR_FLOAT
           : a->has_i         ? OXP_ATTR_INT
           : a->has_s         ? OXP_ATTR_STRING
           : a->t != NULL     ? OXP_ATTR_TENSOR
           : a->g != NULL     ? OXP_ATTR_GRAPH
           : a->n_floats > 0  ? OXP_ATTR_FLOATS
           : a->n_ints > 0    ? OXP_ATTR_INTS
           : a->n_strings > 0 ? OXP_ATTR_STRINGS
           : a->n_tensors > 0 ? OXP_ATTR_TENSORS
           : a->n_graphs > 0  ? OXP_ATTR_GRAPHS
                              : OXP_ATTR_OTHER;
}

static bool holds_nul(const ProtobufCBinaryData *text)
{
    return text->len > 0 && memchr(text->data, '\0', text->len) != NULL;
}

static void read_strings(const Onnx__AttributeProto *a, oxp_attribute *out)
{
    out->count = a->n_strings;
    out->strings = oxp_attribute_texts(a);
    for (size_t i = 0; i < a->n_strings; i++)
        if (holds_nul(&a->strings[i]))
            out->type = OXP_ATTR_OTHER;
}

static void read_string(const Onnx__AttributeProto *a, oxp_attribute *out)
{
    out->s = a->s.len == 0 ? "" : (const char *)a->s.data;
    if (holds_nul(&a->s))
        out->type = OXP_ATTR_OTHER;
}

void oxp_node_proto_attribute(const oxp_node_proto *n, size_t i, oxp_attribute *out)
{
    const Onnx__AttributeProto *a = n->attribute[i];
    int type = a->has_type && a->type != 0 ? (int)a->type : type_of_value(a);
    if (type > OXP_ATTR_SPARSE || (a->ref_attr_name != NULL && a->ref_attr_name[0] != '\0'))
        type = OXP_ATTR_OTHER;
    *out = (oxp_attribute){.name = text_or_empty(a->name),
                           .type = (oxp_attribute_type)type,
                           .i = a->i,
                           .f = a->f,
                           .t = a->t,
                           .g = a->g};
    switch (out->type) {
    case OXP_ATTR_STRING:
        read_string(a, out);
        break;
    case OXP_ATTR_FLOATS:
        out->count = a->n_floats;
        out->floats = a->floats;
        break;
    case OXP_ATTR_INTS:
        out->count = a->n_ints;
        out->ints = a->ints;
        break;
    case OXP_ATTR_STRINGS:
        read_strings(a, out);
        break;
    case OXP_ATTR_GRAPHS:
        out->count = a->n_graphs;
        out->graphs = a->graphs;
        break;
    default:
        break;
    }
}

/* ---- tensors ---- */

const char *oxp_tensor_proto_name(const oxp_tensor_proto *t)
{
    return text_or_empty(t->name);
}

oxp_dtype oxp_tensor_proto_dtype(const oxp_tensor_proto *t)
{
    return (oxp_dtype)t->data_type;
}

const char *oxp_model_library(void)
{
    return protobuf_c_version();
}
