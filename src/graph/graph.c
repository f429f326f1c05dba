/* graph.c - small questions to a built graph. */
#include "graph/graph.h"

#include <stdio.h>
#include <string.h>

#define PATH_MAX_DEPTH 40

const char *oxp_graph_node_label(char out[OXP_NODE_TEXT_MAX], const oxp_graph_node *node)
{
    if (node->name[0])
        snprintf(out, OXP_NODE_TEXT_MAX, "%s", node->name);
    else
        snprintf(out, OXP_NODE_TEXT_MAX, "#%zu", node->index);
    return out;
}

static int append_node(char *out, int room, const oxp_graph_node *node)
{
    char name[OXP_QUOTED_MAX], type[OXP_QUOTED_MAX];
    oxp_quote(type, node->type);
    size_t length = strlen(type);
    type[length ? length - 1 : 0] = '\0'; /* the type stands in brackets, not in quotes */
    return snprintf(out, (size_t)room, "node %zu %s (%s)", node->index, oxp_quote(name, node->name),
                    type + (length > 0));
}

const char *oxp_graph_node_text(char out[OXP_NODE_TEXT_MAX], const oxp_graph_node *node)
{
    const oxp_graph_node *path[PATH_MAX_DEPTH];
    int depth = 0, used = 0;
    for (const oxp_graph_node *n = node; n && depth < PATH_MAX_DEPTH; n = n->graph->parent_node)
        path[depth++] = n;
    out[0] = '\0';
    while (depth-- > 0 && used < OXP_NODE_TEXT_MAX - 1) {
        int wrote = append_node(out + used, OXP_NODE_TEXT_MAX - used, path[depth]);
        used += wrote > 0 ? wrote : 0;
        if (depth > 0 && used < OXP_NODE_TEXT_MAX - 4)
            used += snprintf(out + used, (size_t)(OXP_NODE_TEXT_MAX - used), " > ");
    }
    return out;
}

uint32_t oxp_graph_find_value(const oxp_graph *graph, const char *name)
{
    for (size_t i = 0; i < graph->value_count; i++)
        if (strcmp(graph->values[i].name, name) == 0)
            return (uint32_t)i;
    return OXP_NO_VALUE;
}

const oxp_attribute *oxp_graph_node_attribute(const oxp_graph_node *node, const char *name)
{
    for (size_t i = 0; i < node->attribute_count; i++)
        if (strcmp(node->attributes[i].name, name) == 0)
            return &node->attributes[i];
    return NULL;
}

int64_t oxp_graph_node_int(const oxp_graph_node *node, const char *name, int64_t otherwise)
{
    const oxp_attribute *a = oxp_graph_node_attribute(node, name);
    return a && a->type == OXP_ATTR_INT ? a->i : otherwise;
}

const oxp_value *oxp_graph_node_constant(const oxp_graph_node *node, size_t i)
{
    if (i >= node->input_count || node->inputs[i] == OXP_NO_VALUE)
        return NULL;
    const oxp_value *v = &node->graph->values[node->inputs[i]];
    if (v->kind == OXP_VALUE_OUTER)
        v = &v->outer_graph->values[v->outer_value];
    return v->kind == OXP_VALUE_CONSTANT ? v : NULL;
}

oxp_status oxp_graph_all(const oxp_graph *const **out, size_t *count, oxp_arena *arena,
                         const oxp_graph *graph)
{
    const oxp_graph **list = NULL;
    size_t capacity = 0, found = 1;
    OXP_TRY(oxp_grow(&list, &capacity, graph->ctx, 1, sizeof *list));
    list[0] = graph;
    oxp_status status = OXP_OK;
    for (size_t g = 0; g < found && status == OXP_OK; g++)
        for (size_t n = 0; n < list[g]->node_count && status == OXP_OK; n++)
            for (size_t k = 0; k < list[g]->nodes[n].subgraph_count && status == OXP_OK; k++) {
                status = oxp_grow(&list, &capacity, graph->ctx, found + 1, sizeof *list);
                if (status == OXP_OK)
                    list[found++] = list[g]->nodes[n].subgraphs[k];
            }
    const oxp_graph **sorted =
        status == OXP_OK ? oxp_arena_alloc(arena, found, sizeof *sorted) : NULL;
    for (size_t g = 0; sorted && g < found; g++)
        sorted[list[g]->id] = list[g];
    oxp_free(list);
    if (!sorted)
        return status == OXP_OK ? OXP_ELIMIT : status;
    *out = sorted;
    *count = found;
    return OXP_OK;
}
