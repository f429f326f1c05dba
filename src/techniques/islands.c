/* islands.c - which values are quantised, and whose scale they have. */
#include "techniques/islands.h"

#include <math.h>
#include <string.h>

#include "calibration/given.h"

typedef struct mapper {
    oxp_arena *arena;
    const oxp_graph *const *graphs;
    size_t graph_count;
    uint8_t **kind;    /* oxp_quantised_kind by graph and value */
    uint8_t **wanted;  /* some integer node, directly or through joiners, reads the value */
    uint8_t **integer; /* by graph and node: its site was chosen */
    uint32_t **root;   /* pass-through chains inside one graph */
} mapper;

static bool is_type(const oxp_graph_node *n, const char *type)
{
    return n->domain[0] == '\0' && strcmp(n->type, type) == 0;
}

static bool moves_codes(const oxp_graph_node *n)
{
    static const char *const types[] = {"MaxPool", "Transpose", "Reshape",
                                        "Flatten", "Squeeze",   "Unsqueeze"};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (is_type(n, types[i]))
            return n->output_count == 1;
    return false;
}

bool oxp_joins_integers(const oxp_graph_node *n)
{
    return moves_codes(n) || is_type(n, "Add") || is_type(n, "LeakyRelu");
}

size_t oxp_joiner_inputs(const oxp_graph_node *n)
{
    return is_type(n, "Add") ? 2 : 1;
}

uint32_t oxp_joiner_output(const oxp_graph_node *n)
{
    return moves_codes(n) ? n->outputs[0] : oxp_fused_output(n);
}

/* ---- what the quantiser does ---- */

static bool number_at(double *out, const oxp_graph_node *n, size_t i)
{
    const oxp_value *v = oxp_graph_node_constant(n, i);
    if (!v || v->constant.dtype != OXP_FLOAT || v->constant.count != 1)
        return false;
    *out = (double)((const float *)v->constant.data)[0];
    return true;
}

static bool read_clip(oxp_clamp *c, const oxp_graph_node *n)
{
    const oxp_attribute *low = oxp_graph_node_attribute(n, "min"),
                        *high = oxp_graph_node_attribute(n, "max");
    if (low)
        c->low = (double)low->f;
    if (high)
        c->high = (double)high->f;
    return (n->input_count < 2 || n->inputs[1] == OXP_NO_VALUE || number_at(&c->low, n, 1)) &&
           (n->input_count < 3 || n->inputs[2] == OXP_NO_VALUE || number_at(&c->high, n, 2));
}

bool oxp_clamp_read(oxp_clamp *out, const oxp_graph_node *n)
{
    oxp_clamp c = {.low = -HUGE_VAL, .high = HUGE_VAL};
    bool max = is_type(n, "Max"), min = is_type(n, "Min");
    if (is_type(n, "Clip")) {
        if (!read_clip(&c, n))
            return false;
    } else if ((max || min) && n->input_count == 2) {
        double *bound = max ? &c.low : &c.high;
        if (!number_at(bound, n, 0) && !number_at(bound, n, 1))
            return false;
        c.input = oxp_graph_node_constant(n, 0) ? 1 : 0;
    } else {
        return false;
    }
    *out = c;
    return c.low <= 0 && c.high >= 0;
}

/* The node that alone reads a value, or NULL. */
static const oxp_graph_node *only_reader(const oxp_value *v)
{
    if (v->is_output || v->use_count != 1 || v->uses[0].input == UINT32_MAX ||
        v->uses[0].node->outputs[0] == OXP_NO_VALUE)
        return NULL;
    return v->uses[0].node;
}

uint32_t oxp_relu_output(const oxp_graph_node *node)
{
    const oxp_value *v = &node->graph->values[node->outputs[0]];
    const oxp_graph_node *next = only_reader(v);
    return next && is_type(next, "Relu") ? next->outputs[0] : v->id;
}

uint32_t oxp_fused_output(const oxp_graph_node *node)
{
    uint32_t id = oxp_relu_output(node);
    oxp_clamp c;
    for (;;) {
        const oxp_value *v = &node->graph->values[id];
        const oxp_graph_node *next = only_reader(v);
        if (!next || !oxp_clamp_read(&c, next) || v->uses[0].input != c.input)
            return id;
        id = next->outputs[0];
    }
}

static oxp_status tables(mapper *m)
{
    m->kind = oxp_arena_alloc(m->arena, m->graph_count, sizeof *m->kind);
    m->wanted = oxp_arena_alloc(m->arena, m->graph_count, sizeof *m->wanted);
    m->integer = oxp_arena_alloc(m->arena, m->graph_count, sizeof *m->integer);
    m->root = oxp_arena_alloc(m->arena, m->graph_count, sizeof *m->root);
    if (!m->kind || !m->wanted || !m->integer || !m->root)
        return OXP_ELIMIT;
    for (size_t g = 0; g < m->graph_count; g++) {
        size_t values = m->graphs[g]->value_count + 1;
        m->kind[g] = oxp_arena_alloc(m->arena, values, 1);
        m->wanted[g] = oxp_arena_alloc(m->arena, values, 1);
        m->integer[g] = oxp_arena_alloc(m->arena, m->graphs[g]->node_count + 1, 1);
        m->root[g] = oxp_arena_alloc(m->arena, values, sizeof **m->root);
        if (!m->kind[g] || !m->wanted[g] || !m->integer[g] || !m->root[g])
            return OXP_ELIMIT;
        for (uint32_t v = 0; v < values; v++)
            m->root[g][v] = v;
    }
    return OXP_OK;
}

/* A Conv needs a quantised output to be fused; Gemm and MatMul have integer forms with a float
 * output. */
static bool needs_quantised_output(const oxp_graph_node *n)
{
    return is_type(n, "Conv");
}

static void mark_integer_nodes(mapper *m, const oxp_site *sites, size_t count, const bool *chosen)
{
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; chosen[i] && k < sites[i].consumer_count; k++) {
            const oxp_graph_node *n = sites[i].consumers[k].node;
            size_t g = n->graph->id;
            m->integer[g][n->index] = 1;
            m->wanted[g][n->inputs[0]] = 1;
            uint32_t result = oxp_fused_output(n);
            if (needs_quantised_output(n) && !oxp_is_quantised(n->graph, result))
                m->kind[g][result] = OXP_IN_PLACE;
        }
}

static bool is_wanted_joiner(const mapper *m, const oxp_graph_node *n)
{
    return oxp_joins_integers(n) && n->outputs[0] != OXP_NO_VALUE &&
           m->wanted[n->graph->id][oxp_joiner_output(n)];
}

/* Backwards: what an integer node reads through joiners is wanted in codes. */
static void spread_wanted(mapper *m, size_t g)
{
    const oxp_graph *graph = m->graphs[g];
    for (size_t i = graph->node_count; i-- > 0;) {
        const oxp_graph_node *n = &graph->nodes[i];
        if (!is_wanted_joiner(m, n))
            continue;
        for (size_t k = 0; k < oxp_joiner_inputs(n); k++)
            if (n->inputs[k] != OXP_NO_VALUE)
                m->wanted[g][n->inputs[k]] = 1;
    }
}

/* Forwards: a joiner all of whose inputs are quantised in place, and whose result is wanted, is an
 * integer node too. */
static void join(mapper *m, size_t g)
{
    const oxp_graph *graph = m->graphs[g];
    for (size_t i = 0; i < graph->node_count; i++) {
        const oxp_graph_node *n = &graph->nodes[i];
        if (!is_wanted_joiner(m, n))
            continue;
        bool all = true;
        for (size_t k = 0; k < oxp_joiner_inputs(n); k++)
            all = all && n->inputs[k] != OXP_NO_VALUE && m->kind[g][n->inputs[k]] == OXP_IN_PLACE;
        if (!all)
            continue;
        uint32_t out = oxp_joiner_output(n);
        m->kind[g][out] = OXP_IN_PLACE;
        if (moves_codes(n))
            m->root[g][out] = m->root[g][n->inputs[0]];
    }
}

static void add_branches(mapper *m, size_t g)
{
    const oxp_graph *graph = m->graphs[g];
    for (size_t i = 0; i < graph->node_count; i++) {
        uint32_t in = m->integer[g][i] ? graph->nodes[i].inputs[0] : OXP_NO_VALUE;
        if (in != OXP_NO_VALUE && m->kind[g][in] == OXP_NOT_QUANTISED)
            m->kind[g][in] = oxp_is_dequantised(graph, in) ? OXP_GIVEN : OXP_BRANCH;
    }
}

static oxp_status collect(oxp_islands *out, mapper *m)
{
    size_t count = 0;
    for (size_t g = 0; g < m->graph_count; g++)
        for (size_t v = 0; v < m->graphs[g]->value_count; v++)
            count += m->kind[g][v] != OXP_NOT_QUANTISED;
    oxp_islands r = {.graphs = m->graphs, .graph_count = m->graph_count};
    r.values = oxp_arena_alloc(m->arena, count + 1, sizeof *r.values);
    r.index = oxp_arena_alloc(m->arena, m->graph_count, sizeof *r.index);
    if (!r.values || !r.index)
        return OXP_ELIMIT;
    for (size_t g = 0; g < m->graph_count; g++) {
        r.index[g] = oxp_arena_alloc(m->arena, m->graphs[g]->value_count + 1, sizeof **r.index);
        if (!r.index[g])
            return OXP_ELIMIT;
        for (uint32_t v = 0; v < m->graphs[g]->value_count; v++) {
            if (m->kind[g][v] == OXP_NOT_QUANTISED)
                continue;
            const oxp_value *root = &m->graphs[g]->values[m->root[g][v]];
            bool outer = root->kind == OXP_VALUE_OUTER;
            r.values[r.count] =
                (oxp_quantised){.graph_id = g,
                                .value = v,
                                .kind = (oxp_quantised_kind)m->kind[g][v],
                                .scale_graph = outer ? root->outer_graph->id : g,
                                .scale_value = outer ? root->outer_value : root->id};
            r.index[g][v] = ++r.count;
        }
    }
    *out = r;
    return OXP_OK;
}

oxp_status oxp_islands_find(oxp_islands *out, oxp_arena *arena, const oxp_graph *graph,
                            const oxp_site *sites, size_t count, const bool *chosen)
{
    mapper m = {.arena = arena};
    OXP_TRY(oxp_graph_all(&m.graphs, &m.graph_count, arena, graph));
    OXP_TRY(tables(&m));
    mark_integer_nodes(&m, sites, count, chosen);
    for (size_t g = 0; g < m.graph_count; g++) {
        spread_wanted(&m, g);
        join(&m, g);
        add_branches(&m, g);
    }
    return collect(out, &m);
}

const oxp_quantised *oxp_islands_at(const oxp_islands *islands, const oxp_graph *graph,
                                    uint32_t value)
{
    size_t at = islands->index[graph->id][value];
    return at ? &islands->values[at - 1] : NULL;
}
