/* regions.c - the cut's vertices and what parts them. */
#include "planner/regions.h"

#include <math.h>
#include <string.h>

#include "planner/min_cut.h"
#include "techniques/islands.h"

#define PICOSECONDS 1e6 /* in a microsecond: costs are whole numbers */

/* A vertex for every node, and two for every value. */
typedef struct builder {
    const oxp_regions *r;
    const oxp_graph *const *graphs;
    size_t graph_count;
    uint32_t *first_node, *first_value; /* by graph: vertices */
    uint32_t **makers; /* by graph and value: the node that makes it in integers, or UINT32_MAX */
    oxp_cut cut;
} builder;

static bool is_type(const oxp_graph_node *n, const char *type)
{
    return n->domain[0] == '\0' && strcmp(n->type, type) == 0;
}

static int64_t picoseconds(double us)
{
    return us > 0 ? (int64_t)ceil(us * PICOSECONDS) : 0;
}

static uint32_t vertex_of(const builder *b, const oxp_graph_node *n)
{
    return b->first_node[n->graph->id] + (uint32_t)n->index;
}

static const oxp_node_work *work_of(const builder *b, const oxp_graph_node *n)
{
    return &b->r->work[n->graph->id][n->index];
}

static oxp_status part(builder *b, uint32_t integer, uint32_t real, double us)
{
    return oxp_cut_add(&b->cut, integer, real, picoseconds(us));
}

static oxp_status never_part(builder *b, uint32_t integer, uint32_t real)
{
    return oxp_cut_add(&b->cut, integer, real, OXP_CUT_NEVER);
}

/* ---- nodes ---- */

/* Activations that fuse into a float Conv stand alone behind an integer one; x * f(x) takes one
 * node more, and a second DequantizeLinear. */
static double lost_fusion(const builder *b, const oxp_graph_node *conv)
{
    static const char *const types[] = {"HardSigmoid", "HardSwish", "Sigmoid", NULL};
    const oxp_cost_table *t = b->r->table;
    const oxp_value *v = &conv->graph->values[oxp_fused_output(conv)];
    double elements = work_of(b, conv)->out, us = 0;
    for (size_t u = 0; u < v->use_count; u++)
        for (size_t k = 0; types[k] && v->uses[u].input != UINT32_MAX; k++)
            if (is_type(v->uses[u].node, types[k]))
                us += (v->use_count > 1 ? 3 : 1) *
                      (t->node_us + 1e-3 * elements * t->float_activation);
    return us;
}

static oxp_conv_shape shape_of(const builder *b, const oxp_site *s, const oxp_graph_node *n)
{
    const oxp_tensor *w = &s->value->constant;
    const oxp_node_work *work = work_of(b, n);
    int64_t group = oxp_graph_node_int(n, "group", 1);
    size_t groups = group > 0 ? (size_t)group : 1, outputs = (size_t)w->dims[0],
           inputs = (size_t)w->dims[1];
    return (oxp_conv_shape){.positions = work->out / (double)outputs,
                            .read = work->in,
                            .inputs = inputs * groups,
                            .outputs = outputs,
                            .groups = groups,
                            .taps = w->count / outputs / inputs};
}

static oxp_status add_conv(builder *b, const oxp_site *s, const oxp_graph_node *n)
{
    const oxp_cost_table *t = b->r->table;
    uint32_t v = vertex_of(b, n);
    if (work_of(b, n)->out <= 0) /* never ran: nothing is gained */
        return never_part(b, v, OXP_CUT_SINK);
    oxp_conv_shape shape = shape_of(b, s, n);
    OXP_TRY(part(b, OXP_CUT_SOURCE, v, oxp_cost_float_conv(t, &shape)));
    return part(b, v, OXP_CUT_SINK,
                oxp_cost_integer_conv(t, &shape) * t->caution + lost_fusion(b, n));
}

/* A chosen site's consumers: a Conv may be either, tied ones the same; a product is what it is. */
static oxp_status add_site(builder *b, const oxp_site *s, bool fixed)
{
    for (size_t k = 0; k < s->consumer_count; k++) {
        const oxp_graph_node *n = s->consumers[k].node;
        uint32_t v = vertex_of(b, n), before = vertex_of(b, s->consumers[k ? k - 1 : 0].node);
        if (fixed || !is_type(n, "Conv"))
            OXP_TRY(never_part(b, OXP_CUT_SOURCE, v));
        else
            OXP_TRY(add_conv(b, s, n));
        if (k) {
            OXP_TRY(never_part(b, v, before));
            OXP_TRY(never_part(b, before, v));
        }
    }
    return OXP_OK;
}

static oxp_status add_joiner(builder *b, const oxp_graph_node *n)
{
    const oxp_cost_table *t = b->r->table;
    uint32_t v = vertex_of(b, n);
    double elements = work_of(b, n)->out, unfused = 0;
    if (is_type(n, "Add")) {
        OXP_TRY(part(b, OXP_CUT_SOURCE, v, 1e-3 * elements * t->float_add));
        OXP_TRY(part(b, v, OXP_CUT_SINK, t->node_us + 1e-3 * elements * t->integer_add));
    } else if (is_type(n, "LeakyRelu")) { /* a float one costs only behind an integer Conv */
        unfused = t->node_us + 1e-3 * elements * t->float_activation;
        OXP_TRY(part(b, v, OXP_CUT_SINK, t->node_us + 1e-3 * elements * t->integer_activation));
    }
    for (size_t i = 0; i < oxp_joiner_inputs(n); i++) {
        uint32_t maker =
            n->inputs[i] == OXP_NO_VALUE ? UINT32_MAX : b->makers[n->graph->id][n->inputs[i]];
        OXP_TRY(never_part(b, v, maker == UINT32_MAX ? OXP_CUT_SINK : maker));
        if (maker != UINT32_MAX)
            OXP_TRY(part(b, maker, v, unfused));
    }
    return OXP_OK;
}

/* ---- values ---- */

static double elements_of(const builder *b, const oxp_value *v)
{
    if (v->kind == OXP_VALUE_NODE && v->producer_output == 0)
        return work_of(b, v->producer)->out;
    for (size_t u = 0; u < v->use_count; u++)
        if (v->uses[u].input == 0)
            return work_of(b, v->uses[u].node)->in;
    return 0;
}

/* Two vertices: `wanted`, an integer node reads it; `real`, no float node reads it. */
static oxp_status add_value(builder *b, const oxp_graph *g, const oxp_value *v)
{
    const oxp_cost_table *t = b->r->table;
    uint32_t wanted = b->first_value[g->id] + 2 * v->id, real = wanted + 1;
    uint32_t maker = b->makers[g->id][v->id];
    double elements = elements_of(b, v);
    if (maker == UINT32_MAX)
        maker = OXP_CUT_SINK;
    else
        OXP_TRY(part(b, maker, real, oxp_cost_dequantise(t, elements)));
    OXP_TRY(part(b, wanted, maker, oxp_cost_quantise(t, elements)));
    if (v->is_output)
        OXP_TRY(never_part(b, real, OXP_CUT_SINK));
    for (size_t u = 0; u < v->use_count; u++) {
        const oxp_graph_node *n = v->uses[u].node;
        uint32_t reader = n->graph == g ? vertex_of(b, n) : OXP_CUT_SINK;
        if (v->uses[u].input == UINT32_MAX)
            reader = OXP_CUT_SINK; /* a body */
        OXP_TRY(never_part(b, real, reader));
        if (reader != OXP_CUT_SINK && v->uses[u].input == 0)
            OXP_TRY(never_part(b, reader, wanted));
    }
    return OXP_OK;
}

/* ---- all of it ---- */

static oxp_status number_vertices(builder *b, oxp_arena *arena, size_t *count)
{
    b->first_node = oxp_arena_alloc(arena, b->graph_count, sizeof *b->first_node);
    b->first_value = oxp_arena_alloc(arena, b->graph_count, sizeof *b->first_value);
    b->makers = oxp_arena_alloc(arena, b->graph_count, sizeof *b->makers);
    if (!b->first_node || !b->first_value || !b->makers)
        return OXP_ELIMIT;
    size_t next = OXP_CUT_FIRST;
    for (size_t g = 0; g < b->graph_count; g++) {
        size_t values = b->graphs[g]->value_count;
        b->first_node[g] = (uint32_t)next;
        b->first_value[g] = (uint32_t)(next + b->graphs[g]->node_count);
        next += b->graphs[g]->node_count + 2 * values;
        b->makers[g] = oxp_arena_alloc(arena, values + 1, sizeof **b->makers);
        if (!b->makers[g])
            return OXP_ELIMIT;
        memset(b->makers[g], 0xff, (values + 1) * sizeof **b->makers);
    }
    *count = next;
    return OXP_OK;
}

/* What can be in integers: the nodes of chosen sites, and joiners. The rest is float. */
static oxp_status add_nodes(builder *b, const oxp_site *sites, size_t count,
                            const oxp_choice *choices, uint8_t *known)
{
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0;
             choices[i].technique == &oxp_technique_w8a8 && k < sites[i].consumer_count; k++) {
            const oxp_graph_node *n = sites[i].consumers[k].node;
            known[vertex_of(b, n)] = 1;
            if (is_type(n, "Conv"))
                b->makers[n->graph->id][oxp_fused_output(n)] = vertex_of(b, n);
        }
    for (size_t g = 0; g < b->graph_count; g++)
        for (size_t k = 0; k < b->graphs[g]->node_count; k++) {
            const oxp_graph_node *n = &b->graphs[g]->nodes[k];
            if (!oxp_joins_integers(n) || n->outputs[0] == OXP_NO_VALUE)
                continue;
            known[vertex_of(b, n)] = 2;
            b->makers[g][oxp_joiner_output(n)] = vertex_of(b, n);
        }
    for (size_t i = 0; i < count; i++)
        if (choices[i].technique == &oxp_technique_w8a8)
            OXP_TRY(add_site(b, &sites[i], b->r->fixed && b->r->fixed[i]));
    for (size_t g = 0; g < b->graph_count; g++)
        for (size_t k = 0; k < b->graphs[g]->node_count; k++) {
            const oxp_graph_node *n = &b->graphs[g]->nodes[k];
            uint8_t kind = known[vertex_of(b, n)];
            if (kind == 2)
                OXP_TRY(add_joiner(b, n));
            else if (kind == 0)
                OXP_TRY(never_part(b, vertex_of(b, n), OXP_CUT_SINK));
        }
    return OXP_OK;
}

static oxp_status build_and_solve(builder *b, oxp_arena *arena, const oxp_site *sites, size_t count,
                                  const oxp_choice *choices, size_t vertices, bool *side)
{
    uint8_t *known = oxp_arena_alloc(arena, vertices, 1);
    if (!known)
        return OXP_ELIMIT;
    OXP_TRY(add_nodes(b, sites, count, choices, known));
    for (size_t g = 0; g < b->graph_count; g++)
        for (size_t v = 0; v < b->graphs[g]->value_count; v++)
            if (b->graphs[g]->values[v].kind == OXP_VALUE_NODE ||
                b->graphs[g]->values[v].kind == OXP_VALUE_INPUT)
                OXP_TRY(add_value(b, b->graphs[g], &b->graphs[g]->values[v]));
    oxp_cut_solve(&b->cut, side);
    return OXP_OK;
}

oxp_status oxp_regions_cut(bool *integer, const oxp_regions *r, const oxp_graph *graph,
                           const oxp_site *sites, size_t count, const oxp_choice *choices)
{
    oxp_arena arena;
    oxp_arena_init(&arena, graph->ctx);
    builder b = {.r = r};
    size_t vertices = 0;
    oxp_status status = oxp_graph_all(&b.graphs, &b.graph_count, &arena, graph);
    if (status == OXP_OK)
        status = number_vertices(&b, &arena, &vertices);
    if (status == OXP_OK)
        status = oxp_cut_open(&b.cut, graph->ctx, vertices);
    bool *side = status == OXP_OK ? oxp_arena_alloc(&arena, vertices, sizeof *side) : NULL;
    if (status == OXP_OK)
        status =
            side ? build_and_solve(&b, &arena, sites, count, choices, vertices, side) : OXP_ELIMIT;
    for (size_t i = 0; status == OXP_OK && i < count; i++)
        integer[i] = choices[i].technique == &oxp_technique_w8a8 &&
                     side[vertex_of(&b, sites[i].consumers[0].node)];
    oxp_cut_close(&b.cut);
    oxp_arena_free(&arena);
    return status;
}
