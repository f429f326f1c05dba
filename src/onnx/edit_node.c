/* edit_node.c - nodes, their inputs and outputs, their attributes, and who reads a value. */
#include "onnx/edit.h"
#include "onnx/model_internal.h"

#include <string.h>

static bool same_name(const char *a, const char *b)
{
    return a != NULL && strcmp(a, b) == 0;
}

/* ---- nodes ---- */

static oxp_status copy_strings(char ***out, size_t *out_count, oxp_model *model,
                               const char *const *strings, size_t count)
{
    char **copies = oxp_arena_alloc(&model->arena, count, sizeof *copies);
    if (copies == NULL)
        return oxp_out_of_memory(model);
    for (size_t i = 0; i < count; i++) {
        copies[i] = oxp_model_strdup(model, strings[i]);
        if (copies[i] == NULL)
            return oxp_out_of_memory(model);
        OXP_TRY(oxp_model_note_name(model, copies[i]));
    }
    *out = copies;
    *out_count = count;
    return OXP_OK;
}

/* A field with an empty text is left out. */
static oxp_status set_text(char **field, oxp_model *model, const char *text)
{
    *field = NULL;
    if (text == NULL || text[0] == '\0')
        return OXP_OK;
    *field = oxp_model_strdup(model, text);
    return *field == NULL ? oxp_out_of_memory(model) : OXP_OK;
}

static oxp_status make_node(Onnx__NodeProto **out, oxp_model *model, const oxp_new_node *node)
{
    Onnx__NodeProto *n = oxp_arena_alloc(&model->arena, 1, sizeof *n);
    if (n == NULL)
        return oxp_out_of_memory(model);
    onnx__node_proto__init(n);
    OXP_TRY(copy_strings(&n->input, &n->n_input, model, node->inputs, node->input_count));
    OXP_TRY(copy_strings(&n->output, &n->n_output, model, node->outputs, node->output_count));
    OXP_TRY(set_text(&n->op_type, model, node->type));
    OXP_TRY(set_text(&n->domain, model, node->domain));
    OXP_TRY(set_text(&n->name, model, node->name));
    if (n->name != NULL)
        OXP_TRY(oxp_model_note_name(model, n->name));
    *out = n;
    return OXP_OK;
}

oxp_status oxp_edit_insert_node(oxp_node_proto **out, oxp_model *model, oxp_graph_proto *g,
                                size_t at, const oxp_new_node *node)
{
    if (at > g->n_node)
        return oxp_fail(model->ctx, OXP_EINTERNAL, "E-EDIT",
                        "a node is to stand at position %zu of a graph of %zu nodes", at,
                        g->n_node);
    Onnx__NodeProto *n;
    OXP_TRY(make_node(&n, model, node));
    OXP_TRY(oxp_array_insert(model, &g->node, &g->n_node, at, n));
    model->edited = true;
    if (out != NULL)
        *out = n;
    return OXP_OK;
}

size_t oxp_edit_position(const oxp_graph_proto *g, const oxp_node_proto *node)
{
    for (size_t i = 0; i < g->n_node; i++)
        if (g->node[i] == node)
            return i;
    return SIZE_MAX;
}

oxp_status oxp_edit_remove_node(oxp_model *model, oxp_graph_proto *g, const oxp_node_proto *node)
{
    size_t at = oxp_edit_position(g, node);
    if (at == SIZE_MAX)
        return oxp_fail(model->ctx, OXP_EINTERNAL, "E-EDIT",
                        "a node is to be removed from a graph that does not have it");
    oxp_array_remove(&g->node, &g->n_node, at);
    model->edited = true;
    return OXP_OK;
}

oxp_status oxp_edit_set_type(oxp_model *model, oxp_node_proto *n, const char *type,
                             const char *domain)
{
    OXP_TRY(set_text(&n->op_type, model, type));
    OXP_TRY(set_text(&n->domain, model, domain));
    n->overload = NULL;
    model->edited = true;
    return OXP_OK;
}

/* ---- inputs and outputs ---- */

static oxp_status set_argument(oxp_model *model, char ***list, size_t *count, size_t i,
                               const char *name)
{
    char *copy = oxp_model_strdup(model, name);
    char *omitted = oxp_model_strdup(model, "");
    if (copy == NULL || omitted == NULL)
        return oxp_out_of_memory(model);
    while (*count <= i)
        OXP_TRY(oxp_array_insert(model, list, count, *count, omitted));
    (*list)[i] = copy;
    model->edited = true;
    return oxp_model_note_name(model, copy);
}

oxp_status oxp_edit_set_input(oxp_model *model, oxp_node_proto *n, size_t i, const char *name)
{
    return set_argument(model, &n->input, &n->n_input, i, name);
}

oxp_status oxp_edit_set_output(oxp_model *model, oxp_node_proto *n, size_t i, const char *name)
{
    return set_argument(model, &n->output, &n->n_output, i, name);
}

/* ---- attributes ---- */

Onnx__AttributeProto *oxp_node_find_attribute(const Onnx__NodeProto *n, const char *name)
{
    for (size_t i = 0; i < n->n_attribute; i++)
        if (same_name(n->attribute[i]->name, name))
            return n->attribute[i];
    return NULL;
}

/* The attribute of that name, made if need be, without a value. */
static oxp_status empty_attribute(Onnx__AttributeProto **out, oxp_model *model, Onnx__NodeProto *n,
                                  const char *name, Onnx__AttributeProto__AttributeType type)
{
    Onnx__AttributeProto *a = oxp_node_find_attribute(n, name);
    char *kept_name = a == NULL ? oxp_model_strdup(model, name) : a->name;
    char *doc = a == NULL ? NULL : a->doc_string;
    if (kept_name == NULL)
        return oxp_out_of_memory(model);
    if (a == NULL) {
        a = oxp_arena_alloc(&model->arena, 1, sizeof *a);
        if (a == NULL)
            return oxp_out_of_memory(model);
        OXP_TRY(oxp_array_insert(model, &n->attribute, &n->n_attribute, n->n_attribute, a));
    }
    onnx__attribute_proto__init(a);
    a->name = kept_name;
    a->doc_string = doc;
    a->has_type = 1;
    a->type = type;
    model->edited = true;
    *out = a;
    return OXP_OK;
}

oxp_status oxp_edit_set_int(oxp_model *model, oxp_node_proto *n, const char *attribute,
                            int64_t value)
{
    Onnx__AttributeProto *a;
    OXP_TRY(empty_attribute(&a, model, n, attribute, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT));
    a->has_i = 1;
    a->i = value;
    return OXP_OK;
}

oxp_status oxp_edit_set_ints(oxp_model *model, oxp_node_proto *n, const char *attribute,
                             size_t count, const int64_t *values)
{
    int64_t *copy = oxp_arena_alloc(&model->arena, count, sizeof *copy);
    if (copy == NULL)
        return oxp_out_of_memory(model);
    if (count > 0)
        memcpy(copy, values, count * sizeof *copy);
    Onnx__AttributeProto *a;
    OXP_TRY(empty_attribute(&a, model, n, attribute, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS));
    a->ints = copy;
    a->n_ints = count;
    return OXP_OK;
}

oxp_status oxp_edit_set_floats(oxp_model *model, oxp_node_proto *n, const char *attribute,
                               size_t count, const float *values)
{
    float *copy = oxp_arena_alloc(&model->arena, count, sizeof *copy);
    if (copy == NULL)
        return oxp_out_of_memory(model);
    if (count > 0)
        memcpy(copy, values, count * sizeof *copy);
    Onnx__AttributeProto *a;
    OXP_TRY(
        empty_attribute(&a, model, n, attribute, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS));
    a->floats = copy;
    a->n_floats = count;
    return OXP_OK;
}

oxp_status oxp_edit_set_float(oxp_model *model, oxp_node_proto *n, const char *attribute,
                              float value)
{
    Onnx__AttributeProto *a;
    OXP_TRY(empty_attribute(&a, model, n, attribute, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT));
    a->has_f = 1;
    a->f = value;
    return OXP_OK;
}

oxp_status oxp_edit_set_string(oxp_model *model, oxp_node_proto *n, const char *attribute,
                               const char *value)
{
    char *copy = oxp_model_strdup(model, value);
    if (copy == NULL)
        return oxp_out_of_memory(model);
    Onnx__AttributeProto *a;
    OXP_TRY(
        empty_attribute(&a, model, n, attribute, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING));
    a->has_s = 1;
    a->s = (ProtobufCBinaryData){strlen(copy), (uint8_t *)copy};
    return OXP_OK;
}

oxp_status oxp_edit_set_tensor_attribute(oxp_model *model, oxp_node_proto *n, const char *attribute,
                                         oxp_dtype dtype, int rank, const int64_t *dims,
                                         const void *data)
{
    Onnx__TensorProto *t = oxp_arena_alloc(&model->arena, 1, sizeof *t);
    if (t == NULL)
        return oxp_out_of_memory(model);
    onnx__tensor_proto__init(t);
    OXP_TRY(oxp_tensor_fill(model, t, dtype, rank, dims, data));
    Onnx__AttributeProto *a;
    OXP_TRY(
        empty_attribute(&a, model, n, attribute, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR));
    a->t = t;
    return OXP_OK;
}

oxp_status oxp_edit_remove_attribute(oxp_model *model, oxp_node_proto *n, const char *attribute)
{
    for (size_t i = n->n_attribute; i > 0; i--)
        if (same_name(n->attribute[i - 1]->name, attribute)) {
            oxp_array_remove(&n->attribute, &n->n_attribute, i - 1);
            model->edited = true;
        }
    return OXP_OK;
}

/* ---- uses ---- */

static bool has_info(Onnx__ValueInfoProto *const *infos, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (same_name(infos[i]->name, name))
            return true;
    return false;
}

/* Whether the name means something of the graph itself, whatever it means outside. */
static bool defines(const Onnx__GraphProto *g, const char *name)
{
    if (has_info(g->input, g->n_input, name))
        return true;
    for (size_t i = 0; i < g->n_initializer; i++)
        if (same_name(g->initializer[i]->name, name))
            return true;
    for (size_t i = 0; i < g->n_sparse_initializer; i++)
        if (g->sparse_initializer[i]->values != NULL &&
            same_name(g->sparse_initializer[i]->values->name, name))
            return true;
    for (size_t i = 0; i < g->n_node; i++)
        for (size_t j = 0; j < g->node[i]->n_output; j++)
            if (same_name(g->node[i]->output[j], name))
                return true;
    return false;
}

/* `g` and the graphs below in which `name` means what it means in `g`. */
static oxp_status collect_readers(oxp_scopes *scopes, oxp_ctx *ctx, Onnx__GraphProto *g,
                                  const char *name)
{
    OXP_TRY(oxp_grow(&scopes->items, &scopes->capacity, ctx, 1, sizeof *scopes->items));
    scopes->items[scopes->count++] = (oxp_scope){g, SIZE_MAX};
    for (size_t next = 0; next < scopes->count; next++) {
        const Onnx__GraphProto *at = scopes->items[next].g;
        for (size_t i = 0; i < at->n_node; i++) {
            size_t kept = scopes->count;
            OXP_TRY(oxp_scopes_of_node(scopes, ctx, at->node[i], next));
            for (size_t j = kept; j < scopes->count; j++)
                if (!defines(scopes->items[j].g, name))
                    scopes->items[kept++] = scopes->items[j];
            scopes->count = kept;
        }
    }
    return OXP_OK;
}

static size_t rename_inputs(Onnx__GraphProto *g, const char *from, char *to)
{
    size_t found = 0;
    for (size_t i = 0; i < g->n_node; i++)
        for (size_t j = 0; j < g->node[i]->n_input; j++)
            if (same_name(g->node[i]->input[j], from)) {
                found++;
                if (to != NULL)
                    g->node[i]->input[j] = to;
            }
    return found;
}

/* A subgraph may hand out a value from around it: that is a use as well. */
static size_t rename_outputs(Onnx__GraphProto *g, const char *from, char *to)
{
    size_t found = 0;
    for (size_t i = 0; i < g->n_output; i++)
        if (same_name(g->output[i]->name, from)) {
            found++;
            if (to != NULL)
                g->output[i]->name = to;
        }
    return found;
}

/* The new name must not mean something else where it will be read. */
static oxp_status check_capture(const oxp_model *model, const oxp_scopes *scopes, size_t i,
                                const char *from, const char *to)
{
    Onnx__GraphProto *g = scopes->items[i].g;
    if (rename_inputs(g, from, NULL) + rename_outputs(g, from, NULL) == 0)
        return OXP_OK;
    for (; i > 0; i = scopes->items[i].parent) {
        char old_name[OXP_QUOTED_MAX], new_name[OXP_QUOTED_MAX];
        if (defines(scopes->items[i].g, to))
            return oxp_fail(model->ctx, OXP_EINTERNAL, "E-EDIT",
                            "%s cannot become %s in a subgraph that has its own value of that name",
                            oxp_quote(old_name, from), oxp_quote(new_name, to));
    }
    return OXP_OK;
}

oxp_status oxp_edit_replace_uses(oxp_model *model, oxp_graph_proto *g, const char *from,
                                 const char *to)
{
    char *name = oxp_model_strdup(model, to);
    if (name == NULL)
        return oxp_out_of_memory(model);
    oxp_scopes scopes = {0};
    oxp_status status;
    OXP_TRY_GOTO(collect_readers(&scopes, model->ctx, g, from), done);
    for (size_t i = 1; i < scopes.count; i++)
        OXP_TRY_GOTO(check_capture(model, &scopes, i, from, to), done);
    for (size_t i = 0; i < scopes.count; i++) {
        rename_inputs(scopes.items[i].g, from, name);
        if (i > 0)
            rename_outputs(scopes.items[i].g, from, name);
    }
    model->edited = true;
    OXP_TRY_GOTO(oxp_model_note_name(model, name), done);
done:
    oxp_free(scopes.items);
    return status;
}
