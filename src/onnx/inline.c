/* inline.c - see inline.h.
 *
 * The loader has made sure that no function reaches itself and how many nodes all calls make. Each
 * graph is rewritten through a stack of nodes: a call that is taken from it puts its body there
 * instead, so bodies within bodies need no recursion. */
#include "onnx/inline.h"

#include <string.h>

#include "onnx/check.h"
#include "onnx/edit.h"
#include "onnx/upgrade_internal.h"

typedef struct node_list {
    Onnx__NodeProto **items;
    size_t count, capacity;
} node_list;

typedef struct inliner {
    oxp_model *model;
    node_list pending; /* the next one last */
    node_list done;
    bool called;
} inliner;

/* One call: what the names of the body mean where it stands now. */
typedef struct call {
    inliner *in;
    const Onnx__NodeProto *node;
    const Onnx__FunctionProto *function;
    oxp_map places; /* name -> index of `names` */
    const char **names;
    size_t count, capacity;
} call;

static const char *text_or_empty(const char *text)
{
    return text == NULL ? "" : text;
}

static oxp_status append(node_list *list, oxp_ctx *ctx, Onnx__NodeProto *n)
{
    OXP_TRY(oxp_grow(&list->items, &list->capacity, ctx, list->count + 1, sizeof(*list->items)));
    list->items[list->count++] = n;
    return OXP_OK;
}

/* ---- which functions are called ---- */

/* The index of the function in model->functions; their count when the node is an operator. */
static size_t find_function(const oxp_model *model, const Onnx__NodeProto *n)
{
    size_t low = 0, high = model->proto->n_functions;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const Onnx__FunctionProto *f = model->functions[middle];
        int order = strcmp(oxp_domain(f->domain), oxp_domain(n->domain));
        if (order == 0)
            order = strcmp(text_or_empty(f->name), text_or_empty(n->op_type));
        if (order == 0)
            order = strcmp(text_or_empty(f->overload), text_or_empty(n->overload));
        if (order == 0)
            return middle;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return model->proto->n_functions;
}

/* The functions that the nodes of `walk` call, each once, behind those that are listed already. */
static void list_callees(const oxp_model *model, oxp_walk *walk, bool *listed, size_t *list,
                         size_t *count)
{
    oxp_walk_event event;
    while ((event = oxp_walk_next(walk)) != OXP_WALK_END) {
        if (event != OXP_WALK_NODE)
            continue;
        size_t callee = find_function(model, oxp_walk_node(walk));
        if (callee == model->proto->n_functions || listed[callee])
            continue;
        listed[callee] = true;
        list[(*count)++] = callee;
    }
}

/* Indices of all functions that the main graph reaches; both arrays have n_functions entries. */
static size_t list_called(const oxp_model *model, bool *listed, size_t *list)
{
    size_t count = 0;
    oxp_walk walk;
    oxp_walk_begin(&walk, model->proto->graph);
    list_callees(model, &walk, listed, list, &count);
    for (size_t i = 0; i < count; i++) {
        oxp_walk_begin_function(&walk, model->functions[list[i]]);
        list_callees(model, &walk, listed, list, &count);
    }
    return count;
}

/* ---- opsets ---- */

static oxp_status merge_import(oxp_model *model, const Onnx__FunctionProto *f,
                               const Onnx__OperatorSetIdProto *import, int64_t *target)
{
    int64_t of_model = oxp_model_opset(model, oxp_domain(import->domain));
    if (oxp_is_default_domain(import->domain)) {
        if (*target < import->version)
            *target = import->version;
        return OXP_OK;
    }
    if (of_model == 0)
        return oxp_edit_set_opset(model, import->domain, import->version);
    if (of_model == import->version)
        return OXP_OK;
    char name[OXP_QUOTED_MAX], domain[OXP_QUOTED_MAX];
    return oxp_fail(model->ctx, OXP_EUNSUPPORTED, "E-OPSET",
                    "function %s needs opset %lld of domain %s, the model has %lld",
                    oxp_quote(name, f->name), (long long)import->version,
                    oxp_quote(domain, import->domain), (long long)of_model);
}

/* The bodies and the graph have to mean the same opset of ai.onnx: the lower ones are raised. */
static oxp_status merge_opsets(oxp_model *model, const size_t *called, size_t count)
{
    int64_t current = oxp_model_opset(model, ""), target = current;
    for (size_t i = 0; i < count; i++) {
        const Onnx__FunctionProto *f = model->functions[called[i]];
        for (size_t k = 0; k < f->n_opset_import; k++)
            OXP_TRY(merge_import(model, f, f->opset_import[k], &target));
    }
    if (target > current)
        OXP_TRY(oxp_model_upgrade(model, target, NULL));
    return oxp_upgrade_functions(model, target);
}

/* ---- names ---- */

static oxp_status bind(call *c, const char *name, const char *meaning)
{
    OXP_TRY(oxp_grow(&c->names, &c->capacity, c->in->model->ctx, c->count + 1, sizeof *c->names));
    c->names[c->count] = meaning;
    return oxp_map_put(&c->places, name, c->count++);
}

/* What a name of the body becomes: what it is bound to, or a fresh name from now on. */
static oxp_status rename(call *c, char **name)
{
    if (text_or_empty(*name)[0] == '\0')
        return OXP_OK;
    size_t place = oxp_map_get(&c->places, *name);
    if (place == OXP_MAP_NONE) {
        const char *fresh;
        OXP_TRY(oxp_edit_unique_name(&fresh, c->in->model, *name));
        place = c->count;
        OXP_TRY(bind(c, *name, fresh));
    }
    *name = oxp_model_strdup(c->in->model, c->names[place]);
    return *name == NULL ? oxp_out_of_memory(c->in->model) : OXP_OK;
}

static oxp_status rename_all(call *c, char **names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        OXP_TRY(rename(c, &names[i]));
    return OXP_OK;
}

static oxp_status rename_infos(call *c, Onnx__ValueInfoProto **infos, size_t count)
{
    for (size_t i = 0; i < count; i++)
        OXP_TRY(rename(c, &infos[i]->name));
    return OXP_OK;
}

/* Nodes are named for messages alone, so that each has a name of its own. */
static oxp_status rename_node(call *c, Onnx__NodeProto *n)
{
    const char *fresh;
    if (text_or_empty(n->name)[0] != '\0') {
        OXP_TRY(oxp_edit_unique_name(&fresh, c->in->model, n->name));
        n->name = oxp_model_strdup(c->in->model, fresh);
        if (n->name == NULL)
            return oxp_out_of_memory(c->in->model);
    }
    OXP_TRY(rename_all(c, n->input, n->n_input));
    return rename_all(c, n->output, n->n_output);
}

static oxp_status rename_graph(call *c, Onnx__GraphProto *g)
{
    OXP_TRY(rename_infos(c, g->input, g->n_input));
    OXP_TRY(rename_infos(c, g->output, g->n_output));
    OXP_TRY(rename_infos(c, g->value_info, g->n_value_info));
    for (size_t i = 0; i < g->n_initializer; i++)
        OXP_TRY(rename(c, &g->initializer[i]->name));
    for (size_t i = 0; i < g->n_sparse_initializer; i++)
        if (g->sparse_initializer[i]->values != NULL)
            OXP_TRY(rename(c, &g->sparse_initializer[i]->values->name));
    for (size_t i = 0; i < g->n_quantization_annotation; i++)
        OXP_TRY(rename(c, &g->quantization_annotation[i]->tensor_name));
    for (size_t i = 0; i < g->n_node; i++)
        OXP_TRY(rename_node(c, g->node[i]));
    return OXP_OK;
}

/* ---- attributes ---- */

static Onnx__AttributeProto *find_attribute(Onnx__AttributeProto *const *list, size_t count,
                                            const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(text_or_empty(list[i]->name), name) == 0)
            return list[i];
    return NULL;
}

/* The call's attribute, else the function's default, else none. */
static oxp_status resolve(Onnx__AttributeProto **out, const call *c, const char *name)
{
    const Onnx__FunctionProto *f = c->function;
    Onnx__AttributeProto *given = find_attribute(c->node->attribute, c->node->n_attribute, name);
    ProtobufCMessage *copy;
    if (given == NULL)
        given = find_attribute(f->attribute_proto, f->n_attribute_proto, name);
    *out = NULL;
    if (given == NULL)
        return OXP_OK;
    OXP_TRY(oxp_message_clone(&copy, &c->in->model->arena, &given->base));
    *out = (Onnx__AttributeProto *)(void *)copy;
    return OXP_OK;
}

static oxp_status resolve_references(const call *c, Onnx__NodeProto *n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n->n_attribute; i++) {
        Onnx__AttributeProto *a = n->attribute[i], *given;
        if (text_or_empty(a->ref_attr_name)[0] == '\0') {
            n->attribute[kept++] = a;
            continue;
        }
        OXP_TRY(resolve(&given, c, a->ref_attr_name));
        if (given == NULL)
            continue;
        given->name = a->name;
        n->attribute[kept++] = given;
    }
    n->n_attribute = kept;
    return OXP_OK;
}

/* ---- bodies ---- */

/* A node of the body and the graphs in it, as they are at the call. The graphs are listed before
 * references are resolved: what the call hands in is named already. */
static oxp_status place_node(call *c, Onnx__NodeProto *n)
{
    oxp_scopes scopes = {0};
    oxp_ctx *ctx = c->in->model->ctx;
    oxp_status status;
    OXP_TRY_GOTO(oxp_scopes_of_node(&scopes, ctx, n, SIZE_MAX), done);
    for (size_t i = 0; i < scopes.count; i++)
        for (size_t k = 0; k < scopes.items[i].g->n_node; k++)
            OXP_TRY_GOTO(oxp_scopes_of_node(&scopes, ctx, scopes.items[i].g->node[k], i), done);
    OXP_TRY_GOTO(rename_node(c, n), done);
    for (size_t i = 0; i < scopes.count; i++)
        OXP_TRY_GOTO(rename_graph(c, scopes.items[i].g), done);
    OXP_TRY_GOTO(resolve_references(c, n), done);
    for (size_t i = 0; i < scopes.count; i++)
        for (size_t k = 0; k < scopes.items[i].g->n_node; k++)
            OXP_TRY_GOTO(resolve_references(c, scopes.items[i].g->node[k]), done);
done:
    oxp_free(scopes.items);
    return status;
}

static oxp_status hand_on(call *c, const char *from, const char *to)
{
    oxp_model *model = c->in->model;
    Onnx__NodeProto *n = oxp_arena_alloc(&model->arena, 1, sizeof *n);
    char **names = oxp_arena_alloc(&model->arena, 2, sizeof *names);
    if (n == NULL || names == NULL)
        return oxp_out_of_memory(model);
    onnx__node_proto__init(n);
    names[0] = oxp_model_strdup(model, from);
    names[1] = oxp_model_strdup(model, to);
    n->op_type = oxp_model_strdup(model, "Identity");
    if (names[0] == NULL || names[1] == NULL || n->op_type == NULL)
        return oxp_out_of_memory(model);
    n->n_input = n->n_output = 1;
    n->input = names;
    n->output = names + 1;
    return append(&c->in->pending, model->ctx, n);
}

static oxp_status check_arguments(const call *c)
{
    const Onnx__FunctionProto *f = c->function;
    char name[OXP_QUOTED_MAX], call_name[OXP_QUOTED_MAX];
    if (c->node->n_input <= f->n_input && c->node->n_output <= f->n_output)
        return OXP_OK;
    return oxp_fail(c->in->model->ctx, OXP_EFORMAT, "E-ARITY",
                    "node %s calls function %s with %zu inputs and %zu outputs, it has %zu and %zu",
                    oxp_quote(call_name, c->node->name), oxp_quote(name, f->name), c->node->n_input,
                    c->node->n_output, f->n_input, f->n_output);
}

/* Inputs that the call leaves out are omitted wherever the body reads them. An output that is an
 * input, or an earlier output, is handed on by an Identity, which has to come last: it is put on
 * the stack first. */
static oxp_status bind_arguments(call *c)
{
    const Onnx__FunctionProto *f = c->function;
    const Onnx__NodeProto *n = c->node;
    OXP_TRY(check_arguments(c));
    for (size_t i = 0; i < f->n_input; i++)
        OXP_TRY(
            bind(c, text_or_empty(f->input[i]), i < n->n_input ? text_or_empty(n->input[i]) : ""));
    for (size_t i = 0; i < n->n_output; i++) {
        const char *actual = text_or_empty(n->output[i]), *formal = text_or_empty(f->output[i]);
        size_t known = oxp_map_get(&c->places, formal);
        if (actual[0] == '\0')
            continue;
        if (known == OXP_MAP_NONE)
            OXP_TRY(bind(c, formal, actual));
        else
            OXP_TRY(hand_on(c, c->names[known], actual));
    }
    return OXP_OK;
}

static oxp_status push_body(call *c)
{
    oxp_model *model = c->in->model;
    OXP_TRY(bind_arguments(c));
    for (size_t i = c->function->n_node; i-- > 0;) {
        ProtobufCMessage *copy;
        OXP_TRY(oxp_message_clone(&copy, &model->arena, &c->function->node[i]->base));
        Onnx__NodeProto *n = (Onnx__NodeProto *)(void *)copy;
        OXP_TRY(place_node(c, n));
        OXP_TRY(append(&c->in->pending, model->ctx, n));
    }
    return OXP_OK;
}

static oxp_status expand(inliner *in, const Onnx__NodeProto *n, const Onnx__FunctionProto *f)
{
    call c = {.in = in, .node = n, .function = f};
    oxp_map_init(&c.places, in->model->ctx);
    oxp_status status = push_body(&c);
    oxp_map_free(&c.places);
    oxp_free(c.names);
    return status;
}

/* ---- graphs ---- */

static oxp_status take_nodes(inliner *in, Onnx__GraphProto *g)
{
    oxp_model *model = in->model;
    g->node = oxp_arena_alloc(&model->arena, in->done.count, sizeof(*g->node));
    if (g->node == NULL)
        return oxp_out_of_memory(model);
    memcpy(g->node, in->done.items, in->done.count * sizeof(*g->node));
    g->n_node = in->done.count;
    model->edited = true;
    return OXP_OK;
}

static oxp_status inline_graph(inliner *in, Onnx__GraphProto *g)
{
    oxp_model *model = in->model;
    in->pending.count = in->done.count = 0;
    in->called = false;
    for (size_t i = g->n_node; i-- > 0;)
        OXP_TRY(append(&in->pending, model->ctx, g->node[i]));
    while (in->pending.count > 0) {
        Onnx__NodeProto *n = in->pending.items[--in->pending.count];
        size_t callee = find_function(model, n);
        if (callee == model->proto->n_functions) {
            OXP_TRY(append(&in->done, model->ctx, n));
            continue;
        }
        in->called = true;
        OXP_TRY(expand(in, n, model->functions[callee]));
    }
    return in->called ? take_nodes(in, g) : OXP_OK;
}

/* Bodies bring graphs of their own: they are found behind the one that is done. */
static oxp_status inline_graphs(inliner *in)
{
    oxp_ctx *ctx = in->model->ctx;
    oxp_scopes scopes = {0};
    oxp_status status = oxp_grow(&scopes.items, &scopes.capacity, ctx, 1, sizeof *scopes.items);
    if (status == OXP_OK)
        scopes.items[scopes.count++] = (oxp_scope){in->model->proto->graph, SIZE_MAX};
    for (size_t i = 0; i < scopes.count && status == OXP_OK; i++) {
        OXP_TRY_GOTO(inline_graph(in, scopes.items[i].g), done);
        for (size_t k = 0; k < scopes.items[i].g->n_node; k++)
            OXP_TRY_GOTO(oxp_scopes_of_node(&scopes, ctx, scopes.items[i].g->node[k], i), done);
    }
done:
    oxp_free(scopes.items);
    return status;
}

/* An argument that a body multiplies is a weight, which the call did not tell. */
static oxp_status check_weights(oxp_model *model)
{
    oxp_check check;
    oxp_check_init(&check, model->ctx, model, OXP_EFORMAT);
    oxp_status status = oxp_check_finite_weights(&check);
    oxp_check_free(&check);
    return status;
}

oxp_status oxp_model_inline_functions(oxp_model *model)
{
    size_t count = model->proto->n_functions, *called;
    bool *listed;
    inliner in = {.model = model};
    if (count == 0)
        return OXP_OK;
    called = oxp_arena_alloc(&model->arena, count, sizeof *called);
    listed = oxp_arena_alloc(&model->arena, count, sizeof *listed);
    if (called == NULL || listed == NULL)
        return oxp_out_of_memory(model);
    size_t called_count = list_called(model, listed, called);
    if (called_count == 0)
        return OXP_OK;
    oxp_status status = merge_opsets(model, called, called_count);
    if (status == OXP_OK)
        status = inline_graphs(&in);
    oxp_free(in.pending.items);
    oxp_free(in.done.items);
    if (status != OXP_OK)
        return status;
    model->proto->n_functions = 0;
    return check_weights(model);
}
