/* build.c - from the model's protobuf to graphs: resolves names to values, checks single assignment
 * and order.
 *
 * Subgraphs are entered through an explicit stack of frames, each graph once. A node's outputs
 * become visible only after its subgraphs are built, so that a body cannot read what its own node
 * makes. */
#include <stdio.h>
#include <string.h>

#include "graph/graph.h"
#include "util/map.h"

typedef struct capture {
    uint32_t value;
    size_t node;
} capture;

typedef struct frame {
    oxp_graph *graph;
    oxp_map names;    /* visible so far -> value id */
    oxp_map declared; /* value_info and outputs by name -> index into infos */
    /* every node output of the graph -> node index, for telling "later" from "never" */
    oxp_map makers;
    oxp_value *values;
    size_t value_capacity;
    oxp_value_info *infos;
    size_t info_count, info_capacity;
    capture *captures; /* reads of this graph's values by bodies of its nodes */
    size_t capture_count, capture_capacity;
    uint32_t *captured;
    size_t captured_capacity;
    size_t next_node, next_subgraph;
    bool node_open;
} frame;

typedef struct builder {
    oxp_ctx *ctx;
    oxp_model *model;
    oxp_arena *arena;
    frame *frames;
    size_t depth, capacity;
    size_t graph_count;
} builder;

static frame *top(builder *b)
{
    return &b->frames[b->depth - 1];
}

static void frame_free(frame *f)
{
    oxp_map_free(&f->names);
    oxp_map_free(&f->declared);
    oxp_map_free(&f->makers);
    oxp_free(f->values);
    oxp_free(f->infos);
    oxp_free(f->captures);
    oxp_free(f->captured);
}

static const char *graph_text(char out[OXP_NODE_TEXT_MAX], const oxp_graph *g)
{
    char quoted[OXP_QUOTED_MAX];
    if (!g->parent_node) {
        snprintf(out, OXP_NODE_TEXT_MAX, "graph %s", oxp_quote(quoted, g->name));
        return out;
    }
    char node[OXP_NODE_TEXT_MAX];
    snprintf(out, OXP_NODE_TEXT_MAX, "%s > graph %s", oxp_graph_node_text(node, g->parent_node),
             oxp_quote(quoted, g->name));
    return out;
}

static oxp_status fail_name(builder *b, const oxp_graph *g, const char *code, const char *what,
                            const char *name)
{
    char where[OXP_NODE_TEXT_MAX], quoted[OXP_QUOTED_MAX];
    return oxp_fail(b->ctx, OXP_EFORMAT, code, "%s: %s %s", graph_text(where, g), what,
                    oxp_quote(quoted, name));
}

/* ---- values ---- */

static oxp_status add_value(builder *b, frame *f, const char *name, oxp_value_kind kind,
                            uint32_t *id)
{
    oxp_graph *g = f->graph;
    if (g->value_count >= OXP_NO_VALUE - 1)
        return oxp_fail(b->ctx, OXP_ELIMIT, "E-LIMIT-NODES", "more than %u values in one graph",
                        OXP_NO_VALUE - 2);
    OXP_TRY(
        oxp_grow(&f->values, &f->value_capacity, b->ctx, g->value_count + 1, sizeof *f->values));
    oxp_value *v = &f->values[g->value_count];
    memset(v, 0, sizeof *v);
    v->name = name;
    v->id = (uint32_t)g->value_count;
    v->kind = kind;
    size_t info = oxp_map_get(&f->declared, name);
    if (info != OXP_MAP_NONE)
        v->declared = f->infos[info];
    else
        v->declared.rank = -1;
    OXP_TRY(oxp_map_put(&f->names, name, v->id));
    g->value_count++;
    *id = v->id;
    return OXP_OK;
}

/* A new name of this graph: it must be new here and in every enclosing graph. */
static oxp_status define(builder *b, frame *f, const char *name, oxp_value_kind kind,
                         const char *code, uint32_t *id)
{
    if (oxp_map_get(&f->names, name) != OXP_MAP_NONE)
        return fail_name(b, f->graph, code, "a second definition of", name);
    for (size_t i = b->depth - 1; i-- > 0;)
        if (oxp_map_get(&b->frames[i].names, name) != OXP_MAP_NONE)
            return fail_name(b, f->graph, "E-SHADOW",
                             "a name of the enclosing graph is defined again:", name);
    return add_value(b, f, name, kind, id);
}

static oxp_status remember_info(builder *b, frame *f, const oxp_value_info *info)
{
    OXP_TRY(oxp_grow(&f->infos, &f->info_capacity, b->ctx, f->info_count + 1, sizeof *f->infos));
    f->infos[f->info_count] = *info;
    OXP_TRY(oxp_map_put(&f->declared, info->name, f->info_count));
    f->info_count++;
    return OXP_OK;
}

static oxp_status read_infos(builder *b, frame *f)
{
    const oxp_graph_proto *p = f->graph->proto;
    oxp_value_info info;
    for (size_t i = 0; i < oxp_graph_proto_value_info_count(p); i++) {
        oxp_graph_proto_value_info(p, i, &info);
        OXP_TRY(remember_info(b, f, &info));
    }
    for (size_t i = 0; i < oxp_graph_proto_output_count(p); i++) {
        oxp_graph_proto_output(p, i, &info);
        OXP_TRY(remember_info(b, f, &info));
    }
    for (size_t i = 0; i < oxp_graph_proto_input_count(p); i++) {
        oxp_graph_proto_input(p, i, &info);
        OXP_TRY(remember_info(b, f, &info));
    }
    return OXP_OK;
}

static oxp_status check_declared_shape(builder *b, frame *f, const oxp_value *v)
{
    const oxp_value_info *d = &v->declared;
    if (d->rank < 0 || !d->is_tensor)
        return OXP_OK;
    bool same =
        d->rank == v->constant.rank && (d->dtype == OXP_UNDEFINED || d->dtype == v->constant.dtype);
    for (int i = 0; same && i < d->rank; i++)
        same = d->dims[i] < 0 || d->dims[i] == v->constant.dims[i];
    if (same)
        return OXP_OK;
    char where[OXP_NODE_TEXT_MAX], quoted[OXP_QUOTED_MAX], found[OXP_SHAPE_TEXT_MAX],
        said[OXP_SHAPE_TEXT_MAX];
    return oxp_fail(b->ctx, OXP_EFORMAT, "E-SHAPE-MISMATCH",
                    "%s: initializer %s is %s %s, its declaration says %s %s",
                    graph_text(where, f->graph), oxp_quote(quoted, v->name),
                    oxp_dtype_name(v->constant.dtype),
                    oxp_shape_text(found, v->constant.rank, v->constant.dims),
                    oxp_dtype_name(d->dtype), oxp_shape_text(said, d->rank, d->dims));
}

static oxp_status read_initializers(builder *b, frame *f)
{
    const oxp_graph_proto *p = f->graph->proto;
    uint32_t id;
    for (size_t i = 0; i < oxp_graph_proto_initializer_count(p); i++) {
        oxp_tensor_proto *t = oxp_graph_proto_initializer(p, i);
        OXP_TRY(define(b, f, oxp_tensor_proto_name(t), OXP_VALUE_CONSTANT, "E-DUP-INIT", &id));
        OXP_TRY(oxp_tensor_decode(&f->values[id].constant, b->arena, b->model, t));
        f->values[id].proto = t;
        OXP_TRY(check_declared_shape(b, f, &f->values[id]));
    }
    for (size_t i = 0; i < oxp_graph_proto_sparse_count(p); i++) {
        OXP_TRY(
            define(b, f, oxp_graph_proto_sparse_name(p, i), OXP_VALUE_CONSTANT, "E-DUP-INIT", &id));
        OXP_TRY(oxp_graph_proto_sparse(&f->values[id].constant, b->arena, b->model, p, i));
    }
    return OXP_OK;
}

/* After the initializers, so that an input with a default value is told from a fed one. */
static oxp_status read_inputs(builder *b, frame *f)
{
    oxp_graph *g = f->graph;
    size_t count = oxp_graph_proto_input_count(g->proto);
    g->inputs = oxp_arena_alloc(b->arena, count + 1, sizeof *g->inputs);
    if (!g->inputs)
        return OXP_ELIMIT;
    oxp_map seen;
    oxp_map_init(&seen, b->ctx);
    oxp_status status = OXP_OK;
    for (size_t i = 0; i < count && status == OXP_OK; i++) {
        oxp_value_info info;
        oxp_graph_proto_input(g->proto, i, &info);
        if (oxp_map_get(&seen, info.name) != OXP_MAP_NONE) {
            status = fail_name(b, g, "E-DUP-IO", "two inputs with the name", info.name);
            break;
        }
        OXP_TRY_GOTO(oxp_map_put(&seen, info.name, i), done);
        size_t known = oxp_map_get(&f->names, info.name);
        if (known != OXP_MAP_NONE) {
            f->values[known].is_overridable = true;
            continue;
        }
        uint32_t id;
        OXP_TRY_GOTO(define(b, f, info.name, OXP_VALUE_INPUT, "E-DUP-IO", &id), done);
        f->values[id].declared = info;
        g->inputs[g->input_count++] = id;
    }
done:
    oxp_map_free(&seen);
    return status;
}

/* ---- frames ---- */

static oxp_status read_makers(frame *f)
{
    const oxp_graph_proto *p = f->graph->proto;
    for (size_t i = 0; i < f->graph->node_count; i++) {
        const oxp_node_proto *n = oxp_graph_proto_node(p, i);
        for (size_t k = 0; k < oxp_node_proto_output_count(n); k++)
            if (oxp_node_proto_output(n, k)[0])
                OXP_TRY(oxp_map_put(&f->makers, oxp_node_proto_output(n, k), i));
    }
    return OXP_OK;
}

static oxp_status push_graph(builder *b, oxp_graph_proto *proto, oxp_graph *parent,
                             oxp_graph_node *parent_node)
{
    OXP_TRY(oxp_grow(&b->frames, &b->capacity, b->ctx, b->depth + 1, sizeof *b->frames));
    oxp_graph *g = oxp_arena_alloc(b->arena, 1, sizeof *g);
    if (!g)
        return OXP_ELIMIT;
    *g = (oxp_graph){.ctx = b->ctx,
                     .model = b->model,
                     .proto = proto,
                     .name = oxp_graph_proto_name(proto),
                     .parent = parent,
                     .parent_node = parent_node,
                     .node_count = oxp_graph_proto_node_count(proto),
                     .depth = parent ? parent->depth + 1 : 0,
                     .id = b->graph_count++};
    g->nodes = oxp_arena_alloc(b->arena, g->node_count + 1, sizeof *g->nodes);
    if (!g->nodes)
        return OXP_ELIMIT;
    frame *f = &b->frames[b->depth++];
    memset(f, 0, sizeof *f);
    f->graph = g;
    oxp_map_init(&f->names, b->ctx);
    oxp_map_init(&f->declared, b->ctx);
    oxp_map_init(&f->makers, b->ctx);
    OXP_TRY(read_infos(b, f));
    OXP_TRY(read_makers(f));
    OXP_TRY(read_initializers(b, f));
    return read_inputs(b, f);
}

static oxp_status capture_outer(builder *b, frame *f, const char *name, uint32_t *id)
{
    for (size_t i = b->depth - 1; i-- > 0;) {
        frame *outer = &b->frames[i];
        size_t found = oxp_map_get(&outer->names, name);
        if (found == OXP_MAP_NONE)
            continue;
        oxp_value *v = &outer->values[found];
        const oxp_graph *graph = v->kind == OXP_VALUE_OUTER ? v->outer_graph : outer->graph;
        uint32_t value = v->kind == OXP_VALUE_OUTER ? v->outer_value : v->id;
        OXP_TRY(oxp_grow(&outer->captures, &outer->capture_capacity, b->ctx,
                         outer->capture_count + 1, sizeof(capture)));
        outer->captures[outer->capture_count++] = (capture){v->id, outer->next_node};
        OXP_TRY(add_value(b, f, name, OXP_VALUE_OUTER, id));
        f->values[*id].outer_graph = graph;
        f->values[*id].outer_value = value;
        OXP_TRY(oxp_grow(&f->captured, &f->captured_capacity, b->ctx, f->graph->captured_count + 1,
                         sizeof *f->captured));
        f->captured[f->graph->captured_count++] = *id;
        return OXP_OK;
    }
    *id = OXP_NO_VALUE;
    return OXP_OK;
}

static oxp_status read_outputs(builder *b, frame *f)
{
    oxp_graph *g = f->graph;
    size_t count = oxp_graph_proto_output_count(g->proto);
    g->outputs = oxp_arena_alloc(b->arena, count + 1, sizeof *g->outputs);
    if (!g->outputs)
        return OXP_ELIMIT;
    for (size_t i = 0; i < count; i++) {
        oxp_value_info info;
        oxp_graph_proto_output(g->proto, i, &info);
        size_t id = oxp_map_get(&f->names, info.name);
        if (id == OXP_MAP_NONE) {
            uint32_t outer; /* a body may hand on a value of an enclosing graph */
            OXP_TRY(capture_outer(b, f, info.name, &outer));
            if (outer == OXP_NO_VALUE)
                return fail_name(b, g, "E-UNDEF-OUT", "nothing makes the output", info.name);
            id = outer;
        }
        if (f->values[id].is_output)
            for (size_t k = 0; k < i; k++)
                if (g->outputs[k] == id && !g->parent)
                    return fail_name(b, g, "E-DUP-IO", "two outputs with the name", info.name);
        f->values[id].is_output = true;
        g->outputs[g->output_count++] = (uint32_t)id;
    }
    return OXP_OK;
}

static void count_uses(frame *f)
{
    oxp_graph *g = f->graph;
    for (size_t n = 0; n < g->node_count; n++)
        for (size_t i = 0; i < g->nodes[n].input_count; i++)
            if (g->nodes[n].inputs[i] != OXP_NO_VALUE)
                f->values[g->nodes[n].inputs[i]].use_count++;
    for (size_t i = 0; i < f->capture_count; i++)
        f->values[f->captures[i].value].use_count++;
}

static oxp_status fill_uses(builder *b, frame *f)
{
    oxp_graph *g = f->graph;
    count_uses(f);
    for (size_t v = 0; v < g->value_count; v++) {
        g->values[v] = f->values[v];
        g->values[v].uses = oxp_arena_alloc(b->arena, f->values[v].use_count + 1, sizeof(oxp_use));
        if (!g->values[v].uses)
            return OXP_ELIMIT;
        g->values[v].use_count = 0;
    }
    for (size_t n = 0; n < g->node_count; n++)
        for (size_t i = 0; i < g->nodes[n].input_count; i++) {
            uint32_t id = g->nodes[n].inputs[i];
            if (id != OXP_NO_VALUE)
                g->values[id].uses[g->values[id].use_count++] =
                    (oxp_use){&g->nodes[n], (uint32_t)i};
        }
    for (size_t i = 0; i < f->capture_count; i++) {
        oxp_value *v = &g->values[f->captures[i].value];
        v->uses[v->use_count++] = (oxp_use){&g->nodes[f->captures[i].node], UINT32_MAX};
    }
    return OXP_OK;
}

static oxp_status close_graph(builder *b, oxp_graph **out)
{
    frame *f = top(b);
    oxp_graph *g = f->graph;
    OXP_TRY(read_outputs(b, f));
    g->values = oxp_arena_alloc(b->arena, g->value_count + 1, sizeof *g->values);
    g->captured = oxp_arena_alloc(b->arena, g->captured_count + 1, sizeof *g->captured);
    if (!g->values || !g->captured)
        return OXP_ELIMIT;
    if (g->captured_count)
        memcpy(g->captured, f->captured, g->captured_count * sizeof *g->captured);
    OXP_TRY(fill_uses(b, f));
    *out = g;
    frame_free(f);
    b->depth--;
    return OXP_OK;
}

/* ---- nodes ---- */

/* A walk along inputs that are not made yet, to the nodes that make them: depth first, the path in
 * `path`, each node entered once. */
typedef struct order_walk {
    const frame *f;
    size_t *path, *next_input; /* by depth */
    uint8_t *entered;          /* by node: 1 on the path, 2 left */
    size_t depth;
} order_walk;

static void enter(order_walk *w, size_t node)
{
    w->path[w->depth] = node;
    w->next_input[w->depth++] = 0;
    w->entered[node] = 1;
}

/* The node that makes the next input of the path's end that is not made yet, or OXP_MAP_NONE. */
static size_t next_maker(order_walk *w)
{
    size_t *i = &w->next_input[w->depth - 1];
    const oxp_node_proto *n = oxp_graph_proto_node(w->f->graph->proto, w->path[w->depth - 1]);
    while (*i < oxp_node_proto_input_count(n)) {
        const char *input = oxp_node_proto_input(n, (*i)++);
        if (input[0] && oxp_map_get(&w->f->names, input) == OXP_MAP_NONE) {
            size_t maker = oxp_map_get(&w->f->makers, input);
            if (maker != OXP_MAP_NONE)
                return maker;
        }
    }
    return OXP_MAP_NONE;
}

/* Walks until the path comes back to a node on it: returns where the cycle starts in the path, or
 * OXP_MAP_NONE when there is none. */
static size_t find_cycle(order_walk *w, size_t start)
{
    enter(w, start);
    while (w->depth) {
        size_t maker = next_maker(w);
        if (maker == OXP_MAP_NONE) {
            w->entered[w->path[--w->depth]] = 2;
        } else if (w->entered[maker] == 1) {
            size_t from = 0;
            while (w->path[from] != maker)
                from++;
            return from;
        } else if (w->entered[maker] == 0) {
            enter(w, maker);
        }
    }
    return OXP_MAP_NONE;
}

#define CYCLE_NODES 6 /* that are named before an ellipsis */

/* "node 3 (Add) <- node 7 (Mul) <- node 3": what each node waits for. */
static void cycle_text(char out[OXP_NODE_TEXT_MAX], const order_walk *w, size_t from)
{
    char type[OXP_QUOTED_MAX];
    int used = 0;
    for (size_t k = from; k < w->depth && k < from + CYCLE_NODES; k++) {
        const oxp_node_proto *n = oxp_graph_proto_node(w->f->graph->proto, w->path[k]);
        used += snprintf(out + used, (size_t)(OXP_NODE_TEXT_MAX - used), "node %zu (%.40s) <- ",
                         w->path[k], oxp_quote(type, oxp_node_proto_type(n)));
    }
    snprintf(out + used, (size_t)(OXP_NODE_TEXT_MAX - used), "%snode %zu",
             w->depth > from + CYCLE_NODES ? "… <- " : "", w->path[from]);
}

/* Node `start` reads `name`, which no earlier node makes but a later one (or the node itself)
 * does. */
static oxp_status fail_order(builder *b, frame *f, size_t start, const char *name)
{
    char where[OXP_NODE_TEXT_MAX], quoted[OXP_QUOTED_MAX], cycle[OXP_NODE_TEXT_MAX];
    size_t count = f->graph->node_count;
    order_walk w = {.f = f};
    w.path = oxp_arena_alloc(b->arena, count + 1, sizeof *w.path);
    w.next_input = oxp_arena_alloc(b->arena, count + 1, sizeof *w.next_input);
    w.entered = oxp_arena_alloc(b->arena, count + 1, 1);
    if (!w.path || !w.next_input || !w.entered)
        return OXP_ELIMIT;
    graph_text(where, f->graph);
    oxp_quote(quoted, name);
    size_t from = find_cycle(&w, start);
    if (from == OXP_MAP_NONE)
        return oxp_fail(b->ctx, OXP_EFORMAT, "E-TOPO",
                        "%s: node %zu reads %s, which a later node makes: the nodes are not in "
                        "order",
                        where, start, quoted);
    cycle_text(cycle, &w, from);
    return oxp_fail(b->ctx, OXP_EFORMAT, "E-CYCLE", "%s: nodes wait for each other: %s", where,
                    cycle);
}

static oxp_status resolve_input(builder *b, frame *f, oxp_graph_node *node, size_t i)
{
    const char *name = oxp_node_proto_input(node->proto, i);
    node->inputs[i] = OXP_NO_VALUE;
    if (!name[0])
        return OXP_OK;
    size_t known = oxp_map_get(&f->names, name);
    if (known != OXP_MAP_NONE) {
        node->inputs[i] = (uint32_t)known;
        return OXP_OK;
    }
    if (oxp_map_get(&f->makers, name) != OXP_MAP_NONE)
        return fail_order(b, f, node->index, name);
    OXP_TRY(capture_outer(b, f, name, &node->inputs[i]));
    if (node->inputs[i] != OXP_NO_VALUE)
        return OXP_OK;
    char where[OXP_NODE_TEXT_MAX], quoted[OXP_QUOTED_MAX];
    return oxp_fail(b->ctx, OXP_EFORMAT, "E-UNDEF", "%s: input %zu reads %s, which nothing defines",
                    oxp_graph_node_text(where, node), i, oxp_quote(quoted, name));
}

static oxp_status read_attributes(builder *b, oxp_graph_node *node)
{
    node->attribute_count = oxp_node_proto_attribute_count(node->proto);
    node->attributes =
        oxp_arena_alloc(b->arena, node->attribute_count + 1, sizeof *node->attributes);
    if (!node->attributes)
        return OXP_ELIMIT;
    for (size_t i = 0; i < node->attribute_count; i++) {
        oxp_attribute *a = &node->attributes[i];
        oxp_node_proto_attribute(node->proto, i, a);
        if (a->type == OXP_ATTR_GRAPH)
            node->subgraph_count++;
        else if (a->type == OXP_ATTR_GRAPHS)
            node->subgraph_count += a->count;
    }
    node->subgraphs = oxp_arena_alloc(b->arena, node->subgraph_count + 1, sizeof *node->subgraphs);
    return node->subgraphs ? OXP_OK : OXP_ELIMIT;
}

static oxp_graph_proto *subgraph_proto(const oxp_graph_node *node, size_t which)
{
    for (size_t i = 0; i < node->attribute_count; i++) {
        const oxp_attribute *a = &node->attributes[i];
        if (a->type == OXP_ATTR_GRAPH && which-- == 0)
            return a->g;
        if (a->type == OXP_ATTR_GRAPHS) {
            if (which < a->count)
                return a->graphs[which];
            which -= a->count;
        }
    }
    return NULL;
}

static oxp_status open_node(builder *b, frame *f)
{
    oxp_graph_node *node = &f->graph->nodes[f->next_node];
    oxp_node_proto *proto = oxp_graph_proto_node(f->graph->proto, f->next_node);
    *node = (oxp_graph_node){.name = oxp_node_proto_name(proto),
                             .type = oxp_node_proto_type(proto),
                             .domain = oxp_node_proto_domain(proto),
                             .index = f->next_node,
                             .graph = f->graph,
                             .proto = proto,
                             .input_count = oxp_node_proto_input_count(proto),
                             .output_count = oxp_node_proto_output_count(proto)};
    node->inputs = oxp_arena_alloc(b->arena, node->input_count + 1, sizeof *node->inputs);
    node->outputs = oxp_arena_alloc(b->arena, node->output_count + 1, sizeof *node->outputs);
    if (!node->inputs || !node->outputs)
        return OXP_ELIMIT;
    OXP_TRY(read_attributes(b, node));
    for (size_t i = 0; i < node->input_count; i++)
        OXP_TRY(resolve_input(b, f, node, i));
    f->node_open = true;
    f->next_subgraph = 0;
    return OXP_OK;
}

static oxp_status constant_list(builder *b, oxp_tensor *t, oxp_dtype dtype, int rank, size_t count,
                                const void *values, size_t size)
{
    int64_t dims[1] = {(int64_t)count};
    OXP_TRY(oxp_tensor_shape(t, b->ctx, dtype, rank, dims, "Constant"));
    t->data = oxp_arena_alloc(b->arena, count + 1, size);
    if (!t->data)
        return OXP_ELIMIT;
    memcpy(t->data, values, count * size);
    return OXP_OK;
}

static oxp_status read_constant(builder *b, oxp_graph_node *node, oxp_value *v)
{
    for (size_t i = 0; i < node->attribute_count; i++) {
        const oxp_attribute *a = &node->attributes[i];
        if (a->type == OXP_ATTR_TENSOR && strcmp(a->name, "value") == 0) {
            v->proto = a->t;
            return oxp_tensor_decode(&v->constant, b->arena, b->model, a->t);
        }
        if (a->type == OXP_ATTR_FLOAT && strcmp(a->name, "value_float") == 0)
            return constant_list(b, &v->constant, OXP_FLOAT, 0, 1, &a->f, sizeof(float));
        if (a->type == OXP_ATTR_INT && strcmp(a->name, "value_int") == 0)
            return constant_list(b, &v->constant, OXP_INT64, 0, 1, &a->i, sizeof(int64_t));
        if (a->type == OXP_ATTR_FLOATS && strcmp(a->name, "value_floats") == 0)
            return constant_list(b, &v->constant, OXP_FLOAT, 1, a->count, a->floats, sizeof(float));
        if (a->type == OXP_ATTR_INTS && strcmp(a->name, "value_ints") == 0)
            return constant_list(b, &v->constant, OXP_INT64, 1, a->count, a->ints, sizeof(int64_t));
        if (strcmp(a->name, "value_string") == 0 || strcmp(a->name, "value_strings") == 0) {
            int64_t dims[1] = {(int64_t)a->count};
            return oxp_tensor_shape(&v->constant, b->ctx, OXP_STRING, a->type == OXP_ATTR_STRINGS,
                                    dims, "Constant");
        }
        if (a->type == OXP_ATTR_SPARSE) {
            char where[OXP_NODE_TEXT_MAX];
            return oxp_fail(b->ctx, OXP_EUNSUPPORTED, "E-OP", "%s: sparse_value is not supported",
                            oxp_graph_node_text(where, node));
        }
    }
    char where[OXP_NODE_TEXT_MAX];
    return oxp_fail(b->ctx, OXP_EFORMAT, "E-ATTR-TYPE",
                    "%s: a Constant needs one of the value attributes",
                    oxp_graph_node_text(where, node));
}

static oxp_status close_node(builder *b, frame *f)
{
    oxp_graph_node *node = &f->graph->nodes[f->next_node];
    bool constant = strcmp(node->type, "Constant") == 0 && node->domain[0] == '\0';
    if (constant && (node->output_count != 1 || !oxp_node_proto_output(node->proto, 0)[0] ||
                     node->input_count)) {
        char where[OXP_NODE_TEXT_MAX];
        return oxp_fail(b->ctx, OXP_EFORMAT, "E-ARITY",
                        "%s: a Constant has no input and one output, found %zu and %zu",
                        oxp_graph_node_text(where, node), node->input_count, node->output_count);
    }
    for (size_t i = 0; i < node->output_count; i++) {
        const char *name = oxp_node_proto_output(node->proto, i);
        node->outputs[i] = OXP_NO_VALUE;
        if (!name[0])
            continue;
        uint32_t id;
        OXP_TRY(define(b, f, name, constant ? OXP_VALUE_CONSTANT : OXP_VALUE_NODE, "E-SSA", &id));
        node->outputs[i] = id;
        f->values[id].producer = node;
        f->values[id].producer_output = (uint32_t)i;
        if (constant)
            OXP_TRY(read_constant(b, node, &f->values[id]));
    }
    f->node_open = false;
    f->next_node++;
    return OXP_OK;
}

/* One step of the walk; *finished receives the main graph when everything is built. */
static oxp_status step(builder *b, oxp_graph **finished)
{
    frame *f = top(b);
    if (!f->node_open) {
        if (f->next_node < f->graph->node_count)
            return open_node(b, f);
        oxp_graph *done = NULL;
        OXP_TRY(close_graph(b, &done));
        if (b->depth == 0) {
            *finished = done;
            return OXP_OK;
        }
        f = top(b);
        f->graph->nodes[f->next_node].subgraphs[f->next_subgraph++] = done;
        return OXP_OK;
    }
    oxp_graph_node *node = &f->graph->nodes[f->next_node];
    if (f->next_subgraph < node->subgraph_count)
        return push_graph(b, subgraph_proto(node, f->next_subgraph), f->graph, node);
    return close_node(b, f);
}

oxp_status oxp_graph_build(oxp_graph **out, oxp_arena *arena, oxp_model *model)
{
    builder b = {.ctx = oxp_model_ctx(model), .model = model, .arena = arena};
    oxp_graph *finished = NULL;
    oxp_status status = push_graph(&b, oxp_model_graph(model), NULL, NULL);
    while (status == OXP_OK && !finished)
        status = step(&b, &finished);
    while (b.depth)
        frame_free(&b.frames[--b.depth]);
    oxp_free(b.frames);
    if (status == OXP_OK)
        *out = finished;
    return status;
}
