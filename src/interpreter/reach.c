/* reach.c - which values depend on a wanted one, and which nodes without a backward stand between
 * it and an output.
 *
 * A value varies when it is wanted, or made by a node that takes one that varies and whose
 * Jacobian is not zero for good. The inputs of a body vary when anything about its node does:
 * what goes round in a loop is not followed closer. Ids of graphs are those of oxp_graph_all(). */
#include "interpreter/backward.h"

static bool is_wanted(const oxp_gradients *g, const oxp_graph *graph, const oxp_value *v)
{
    if (v->kind != OXP_VALUE_CONSTANT && v->kind != OXP_VALUE_INPUT)
        return false;
    if (v->kind == OXP_VALUE_CONSTANT && !oxp_dtype_is_float(v->constant.dtype))
        return false;
    if (g->wanted)
        return g->wanted(g->user, graph, v);
    return v->kind == OXP_VALUE_CONSTANT;
}

static const oxp_operator *operator_of(const oxp_graph_node *node)
{
    bool known;
    return oxp_operator_find(node->domain, node->type,
                             oxp_model_opset(node->graph->model, node->domain), &known);
}

static bool value_varies(const oxp_reach *r, const oxp_graph *g, uint32_t id)
{
    const oxp_value *v = &g->values[id];
    if (v->kind == OXP_VALUE_OUTER)
        return r->varies[v->outer_graph->id][v->outer_value];
    return r->varies[g->id][id];
}

/* Whether something outside or a constant inside makes the body vary, however deep. */
static bool bodies_vary(const oxp_reach *r, const oxp_graph_node *node)
{
    for (size_t k = 0; k < r->graph_count; k++) {
        const oxp_graph *g = r->graphs[k], *up = g;
        while (up->parent && up->parent_node != node)
            up = up->parent;
        if (!up->parent)
            continue;
        for (size_t v = 0; v < g->value_count; v++)
            if (value_varies(r, g, (uint32_t)v))
                return true;
    }
    return false;
}

static void visit_node(oxp_reach *r, const oxp_graph *g, const oxp_graph_node *node)
{
    const oxp_operator *op = operator_of(node);
    bool active = false;
    for (size_t i = 0; i < node->input_count && !active; i++)
        active = node->inputs[i] != OXP_NO_VALUE && value_varies(r, g, node->inputs[i]);
    if (!active && node->subgraph_count)
        active = bodies_vary(r, node);
    if (!active || (op && op->backward == oxp_backward_zero))
        return;
    r->active[g->id][node->index] = true;
    for (size_t i = 0; i < node->output_count; i++)
        if (node->outputs[i] != OXP_NO_VALUE && g->values[node->outputs[i]].kind == OXP_VALUE_NODE)
            r->varies[g->id][node->outputs[i]] = true;
}

static void visit_graph(oxp_reach *r, const oxp_graph *g)
{
    if (g->parent && r->active[g->parent->id][g->parent_node->index])
        for (size_t i = 0; i < g->input_count; i++)
            r->varies[g->id][g->inputs[i]] = true;
    for (size_t i = 0; i < g->node_count; i++)
        visit_node(r, g, &g->nodes[i]);
}

static oxp_status make_rows(oxp_reach *r, oxp_arena *arena, const oxp_gradients *gradients)
{
    r->varies = oxp_arena_alloc(arena, r->graph_count, sizeof *r->varies);
    r->wanted = oxp_arena_alloc(arena, r->graph_count, sizeof *r->wanted);
    r->active = oxp_arena_alloc(arena, r->graph_count, sizeof *r->active);
    if (!r->varies || !r->wanted || !r->active)
        return OXP_ELIMIT;
    for (size_t k = 0; k < r->graph_count; k++) {
        const oxp_graph *g = r->graphs[k];
        r->varies[k] = oxp_arena_alloc(arena, g->value_count + 1, sizeof(bool));
        r->wanted[k] = oxp_arena_alloc(arena, g->value_count + 1, sizeof(bool));
        r->active[k] = oxp_arena_alloc(arena, g->node_count + 1, sizeof(bool));
        if (!r->varies[k] || !r->wanted[k] || !r->active[k])
            return OXP_ELIMIT;
        for (size_t v = 0; v < g->value_count; v++)
            if (!(g->values[v].kind == OXP_VALUE_INPUT && g->parent))
                r->wanted[k][v] = r->varies[k][v] = is_wanted(gradients, g, &g->values[v]);
    }
    return OXP_OK;
}

oxp_status oxp_reach_find(oxp_reach *reach, oxp_arena *arena, const oxp_graph *graph,
                          const oxp_gradients *gradients)
{
    oxp_reach r = {0};
    OXP_TRY(oxp_graph_all(&r.graphs, &r.graph_count, arena, graph));
    OXP_TRY(make_rows(&r, arena, gradients));
    for (size_t k = 0; k < r.graph_count; k++) /* an enclosing graph stands before its bodies */
        visit_graph(&r, r.graphs[k]);
    *reach = r;
    return OXP_OK;
}

/* ---- what is in the way ---- */

/* Marks what an output of the main graph depends on; inside a body every output counts. */
static void mark_needed(const oxp_reach *r, bool **needed)
{
    for (size_t k = 0; k < r->graph_count; k++)
        for (size_t i = 0; i < r->graphs[k]->output_count; i++) {
            const oxp_value *v = &r->graphs[k]->values[r->graphs[k]->outputs[i]];
            needed[k][v->id] = true;
            if (v->kind == OXP_VALUE_OUTER)
                needed[v->outer_graph->id][v->outer_value] = true;
        }
    for (size_t k = r->graph_count; k-- > 0;) {
        const oxp_graph *g = r->graphs[k];
        for (size_t i = g->node_count; i-- > 0;) {
            const oxp_graph_node *node = &g->nodes[i];
            bool leads = false;
            for (size_t o = 0; o < node->output_count; o++)
                leads = leads || (node->outputs[o] != OXP_NO_VALUE && needed[k][node->outputs[o]]);
            for (size_t j = 0; leads && r->active[k][i] && j < node->input_count; j++) {
                if (node->inputs[j] == OXP_NO_VALUE)
                    continue;
                const oxp_value *v = &g->values[node->inputs[j]];
                needed[k][v->id] = true;
                if (v->kind == OXP_VALUE_OUTER)
                    needed[v->outer_graph->id][v->outer_value] = true;
            }
        }
    }
}

static bool leads_out(const oxp_graph_node *node, bool *const *needed)
{
    for (size_t o = 0; o < node->output_count; o++)
        if (node->outputs[o] != OXP_NO_VALUE && needed[node->graph->id][node->outputs[o]])
            return true;
    return false;
}

oxp_status oxp_graph_differentiable(const oxp_graph *graph, const oxp_gradients *gradients,
                                    oxp_arena *arena, const oxp_graph_node *const **nodes,
                                    size_t *count)
{
    oxp_reach r;
    size_t total = 0, found = 0;
    OXP_TRY(oxp_reach_find(&r, arena, graph, gradients));
    bool **needed = oxp_arena_alloc(arena, r.graph_count, sizeof *needed);
    if (!needed)
        return OXP_ELIMIT;
    for (size_t k = 0; k < r.graph_count; total += r.graphs[k]->node_count, k++)
        if (!(needed[k] = oxp_arena_alloc(arena, r.graphs[k]->value_count + 1, sizeof(bool))))
            return OXP_ELIMIT;
    const oxp_graph_node **list = oxp_arena_alloc(arena, total + 1, sizeof *list);
    if (!list)
        return OXP_ELIMIT;
    mark_needed(&r, needed);
    for (size_t k = 0; k < r.graph_count; k++)
        for (size_t i = 0; i < r.graphs[k]->node_count; i++) {
            const oxp_graph_node *node = &r.graphs[k]->nodes[i];
            const oxp_operator *op = operator_of(node);
            if (r.active[k][i] && !(op && op->backward) && leads_out(node, needed))
                list[found++] = node;
        }
    *nodes = list;
    *count = found;
    return OXP_OK;
}
