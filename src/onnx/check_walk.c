/* check_walk.c - the iterative walk over graphs and nodes, and the text of where it stands. */
#include "onnx/check_walk.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define SHOWN_OUTER 1 /* levels named in a deep place: so many outer ones, */
#define SHOWN_INNER 2 /* so many inner ones */

static void push(oxp_walk *w, const Onnx__GraphProto *graph, const char *attribute_name)
{
    assert(w->depth < OXP_WALK_DEPTH);
    w->frames[w->depth++] = (oxp_walk_frame){.graph = graph,
                                             .nodes = graph->node,
                                             .node_count = graph->n_node,
                                             .attribute_name = attribute_name};
}

void oxp_walk_begin(oxp_walk *walk, const Onnx__GraphProto *graph)
{
    memset(walk, 0, sizeof *walk);
    push(walk, graph, NULL);
}

void oxp_walk_begin_function(oxp_walk *walk, const Onnx__FunctionProto *function)
{
    memset(walk, 0, sizeof *walk);
    walk->function = function;
    walk->started = true;
    walk->frames[walk->depth++] =
        (oxp_walk_frame){.nodes = function->node, .node_count = function->n_node};
}

/* The next graph among attributes, from (*attribute, *subgraph) on, which move behind it. */
static const Onnx__GraphProto *next_graph(Onnx__AttributeProto **attributes, size_t count,
                                          size_t *attribute, size_t *subgraph, const char **name)
{
    for (; *attribute < count; ++*attribute, *subgraph = 0) {
        const Onnx__AttributeProto *a = attributes[*attribute];
        size_t index = (*subgraph)++;
        *name = a->name == NULL ? "" : a->name;
        if (a->g != NULL) {
            if (index == 0)
                return a->g;
            index--;
        }
        if (index < a->n_graphs)
            return a->graphs[index];
    }
    return NULL;
}

static bool enter_subgraph(oxp_walk *w)
{
    oxp_walk_frame *f = &w->frames[w->depth - 1];
    const Onnx__NodeProto *n = f->nodes[f->node];
    const char *name;
    const Onnx__GraphProto *g =
        next_graph(n->attribute, n->n_attribute, &f->attribute, &f->subgraph, &name);
    if (g != NULL)
        push(w, g, name);
    return g != NULL;
}

static bool enter_default(oxp_walk *w)
{
    if (w->function == NULL)
        return false;
    const char *name;
    const Onnx__GraphProto *g =
        next_graph(w->function->attribute_proto, w->function->n_attribute_proto, &w->attribute,
                   &w->subgraph, &name);
    if (g != NULL)
        push(w, g, name);
    return g != NULL;
}

oxp_walk_event oxp_walk_next(oxp_walk *walk)
{
    if (!walk->started) {
        walk->started = true;
        return OXP_WALK_GRAPH;
    }
    while (walk->depth > 0) {
        oxp_walk_frame *f = &walk->frames[walk->depth - 1];
        if (f->node_open) {
            if (enter_subgraph(walk))
                return OXP_WALK_GRAPH;
            f->node_open = false;
            f->node++;
        }
        if (f->node < f->node_count) {
            f->node_open = true;
            f->attribute = f->subgraph = 0;
            return OXP_WALK_NODE;
        }
        walk->depth--;
    }
    return enter_default(walk) ? OXP_WALK_GRAPH : OXP_WALK_END;
}

const Onnx__GraphProto *oxp_walk_graph(const oxp_walk *walk)
{
    return walk->depth == 0 ? NULL : walk->frames[walk->depth - 1].graph;
}

const Onnx__NodeProto *oxp_walk_node(const oxp_walk *walk)
{
    const oxp_walk_frame *f = &walk->frames[walk->depth - 1];
    return f->nodes[f->node];
}

/* ---- text ---- */

typedef struct text {
    char *out;
    size_t used;
    bool full;
} text;

/* Appends whole pieces; the first that does not fit becomes an ellipsis, and nothing follows it. */
static void append(text *t, const char *piece)
{
    size_t bytes = strlen(piece);
    if (!t->full && t->used + bytes + sizeof " \xe2\x80\xa6" > OXP_WALK_TEXT_MAX) {
        t->full = true;
        piece = " \xe2\x80\xa6";
        bytes = strlen(piece);
    } else if (t->full)
        return;
    memcpy(t->out + t->used, piece, bytes + 1);
    t->used += bytes;
}

static void append_name(text *t, const char *name)
{
    char quoted[OXP_QUOTED_MAX];
    append(t, oxp_quote(quoted, name));
}

static void append_root(text *t, const oxp_walk *w)
{
    if (w->function == NULL) {
        append(t, "graph ");
        append_name(t, w->frames[0].graph->name);
        return;
    }
    append(t, "function ");
    append_name(t, w->function->domain);
    append(t, " ");
    append_name(t, w->function->name);
}

static void append_node(text *t, const oxp_walk_frame *f)
{
    char number[40], quoted[OXP_QUOTED_MAX];
    const Onnx__NodeProto *n = f->nodes[f->node];
    snprintf(number, sizeof number, " > node %zu ", f->node);
    append(t, number);
    append_name(t, n->name);
    append(t, " (");
    /* Names of operators are shown bare: the quotes that stand around every other name are cut off.
     * */
    oxp_quote(quoted, n->op_type);
    quoted[strlen(quoted) - 1] = '\0';
    append(t, quoted + 1);
    append(t, ")");
}

const char *oxp_walk_text(char out[OXP_WALK_TEXT_MAX], const oxp_walk *walk)
{
    text t = {.out = out};
    out[0] = '\0';
    append_root(&t, walk);
    for (size_t i = 0; i < walk->depth; i++) {
        if (i == SHOWN_OUTER && walk->depth > SHOWN_OUTER + SHOWN_INNER) {
            append(&t, " > \xe2\x80\xa6");
            i = walk->depth - SHOWN_INNER;
        }
        const oxp_walk_frame *f = &walk->frames[i];
        if (f->attribute_name != NULL) {
            char quoted[OXP_QUOTED_MAX];
            oxp_quote(quoted, f->attribute_name);
            quoted[strlen(quoted) - 1] = '\0';
            append(&t, " > ");
            append(&t, quoted + 1);
        }
        if (f->node_open)
            append_node(&t, f);
    }
    return out;
}
