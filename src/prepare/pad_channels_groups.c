/* pad_channels_groups.c - which activations have the same channels, and how many.
 *
 * A union-find over the values of one graph. A group is fixed as soon as one of its values is an
 * input or output of the graph, is read by a body, or meets a node that is not known here. */
#include <string.h>

#include "prepare/pad_channels.h"

static bool is_one_of(const oxp_graph_node *n, const char *const *types)
{
    for (; *types; types++)
        if (oxp_pass_is(n, *types))
            return true;
    return false;
}

/* Finite for every finite input: channels of zeros stay harmless. */
static bool is_activation(const oxp_graph_node *n)
{
    static const char *const types[] = {"Relu",     "LeakyRelu", "Clip",        "Sigmoid",
                                        "Tanh",     "HardSwish", "HardSigmoid", "Elu",
                                        "Softplus", "Softsign",  NULL};
    return is_one_of(n, types) && n->output_count == 1;
}

static bool is_pool(const oxp_graph_node *n)
{
    static const char *const types[] = {"MaxPool", "AveragePool", "GlobalAveragePool",
                                        "GlobalMaxPool", NULL};
    return is_one_of(n, types) && n->output_count == 1;
}

static bool is_arithmetic(const oxp_graph_node *n)
{
    static const char *const types[] = {"Add", "Sub", "Mul", "Max", "Min", NULL};
    return is_one_of(n, types) && n->input_count == 2;
}

bool oxp_padded_conv(oxp_linear *out, const oxp_pass *p, size_t scope, const oxp_graph_node *node)
{
    return oxp_linear_read(out, p, scope, node) && out->kind == OXP_LINEAR_CONV && out->rank == 4 &&
           oxp_linear_owns_weight(p, out) &&
           (out->groups == 1 || (out->groups == out->outputs && out->second == 1));
}

/* ---- union-find ---- */

static uint32_t root_of(const uint32_t *parent, uint32_t v)
{
    while (parent[v] != v)
        v = parent[v];
    return v;
}

uint32_t oxp_channel_group(const oxp_channel_groups *groups, uint32_t value)
{
    return root_of(groups->parent, value);
}

static void join(oxp_channel_groups *g, uint32_t a, uint32_t b)
{
    uint32_t x = root_of(g->parent, a), y = root_of(g->parent, b);
    if (x == y)
        return;
    uint32_t kept = x < y ? x : y, gone = x < y ? y : x;
    g->parent[gone] = kept;
    g->fixed[kept] |= g->fixed[gone];
    g->pooled[kept] |= g->pooled[gone];
}

static void fix(oxp_channel_groups *g, uint32_t v)
{
    if (v != OXP_NO_VALUE)
        g->fixed[root_of(g->parent, v)] = true;
}

/* ---- nodes ---- */

static void meet_conv(oxp_channel_groups *g, const oxp_linear *l)
{
    uint32_t in = l->node->inputs[0], out = l->node->outputs[0];
    if (g->channels[in] != l->inputs)
        fix(g, in);
    g->channels[out] = l->outputs;
    g->blocked[out] = true;
    if (oxp_is_depthwise(l))
        join(g, in, out);
}

static void meet_same(oxp_channel_groups *g, const oxp_graph_node *n)
{
    uint32_t in = n->inputs[0], out = n->outputs[0];
    g->channels[out] = g->channels[in];
    join(g, in, out);
    if (is_pool(n))
        g->pooled[root_of(g->parent, out)] = true;
    else
        g->blocked[out] = g->blocked[in];
}

static bool is_scalar(const oxp_pass *p, size_t scope, const oxp_graph_node *n, size_t i)
{
    double number;
    int rank;
    return oxp_pass_scalar(p, scope, n, i, &number, &rank) && rank <= 4;
}

static bool meet_arithmetic(oxp_channel_groups *g, const oxp_pass *p, size_t scope,
                            const oxp_graph_node *n)
{
    uint32_t a = n->inputs[0], b = n->inputs[1], out = n->outputs[0];
    if (is_scalar(p, scope, n, 0))
        a = b;
    if (is_scalar(p, scope, n, 1))
        b = a;
    if (g->channels[a] == 0 || g->channels[a] != g->channels[b])
        return false;
    g->channels[out] = g->channels[a];
    join(g, a, out);
    join(g, b, out);
    /* x * HardSigmoid(x) fuses into the Conv that makes x */
    g->blocked[out] = a != b && g->blocked[a] && g->blocked[b] && oxp_pass_is(n, "Mul");
    return true;
}

/* Clip with constant bounds, and nodes with one input. */
static bool reads_one_activation(const oxp_pass *p, size_t scope, const oxp_graph_node *n)
{
    for (size_t i = 1; i < n->input_count; i++)
        if (n->inputs[i] != OXP_NO_VALUE && !oxp_pass_constant(p, scope, n, i))
            return false;
    return n->input_count > 0 && n->inputs[0] != OXP_NO_VALUE;
}

static void meet(oxp_channel_groups *g, const oxp_pass *p, size_t scope, const oxp_graph_node *n)
{
    oxp_linear l;
    bool makes = n->output_count > 0 && n->outputs[0] != OXP_NO_VALUE;
    if (makes && oxp_padded_conv(&l, p, scope, n)) {
        meet_conv(g, &l);
        return;
    }
    if (makes && (is_activation(n) || is_pool(n)) && reads_one_activation(p, scope, n) &&
        g->channels[n->inputs[0]]) {
        meet_same(g, n);
        return;
    }
    if (makes && is_arithmetic(n) && n->inputs[0] != OXP_NO_VALUE && n->inputs[1] != OXP_NO_VALUE &&
        meet_arithmetic(g, p, scope, n))
        return;
    for (size_t i = 0; i < n->input_count; i++)
        fix(g, n->inputs[i]);
    for (size_t i = 0; i < n->output_count; i++)
        fix(g, n->outputs[i]);
    if (makes && oxp_pass_is(n, "Conv") && oxp_linear_read(&l, p, scope, n) && l.rank == 4) {
        g->channels[n->outputs[0]] = l.outputs; /* a grouped one, or one with shared weights */
        g->blocked[n->outputs[0]] = true;
    }
}

static void fix_boundary(oxp_channel_groups *groups, const oxp_pass *p, size_t scope)
{
    const oxp_graph *g = p->scopes[scope].graph;
    for (uint32_t v = 0; v < g->value_count; v++) {
        bool captured = false;
        for (size_t u = 0; u < g->values[v].use_count; u++)
            captured |= g->values[v].uses[u].input == UINT32_MAX;
        if (g->values[v].kind != OXP_VALUE_NODE || g->values[v].is_output || captured)
            fix(groups, v);
    }
}

oxp_status oxp_channel_groups_find(oxp_channel_groups *out, oxp_pass *p, size_t scope)
{
    const oxp_graph *g = p->scopes[scope].graph;
    size_t count = g->value_count + 1;
    oxp_channel_groups r = {.parent = oxp_arena_alloc(&p->arena, count, sizeof *r.parent),
                            .channels = oxp_arena_alloc(&p->arena, count, sizeof *r.channels),
                            .fixed = oxp_arena_alloc(&p->arena, count, sizeof *r.fixed),
                            .pooled = oxp_arena_alloc(&p->arena, count, sizeof *r.pooled),
                            .blocked = oxp_arena_alloc(&p->arena, count, sizeof *r.blocked),
                            .value_count = g->value_count};
    if (!r.parent || !r.channels || !r.fixed || !r.pooled || !r.blocked)
        return p->ctx->status;
    for (uint32_t v = 0; v < count; v++)
        r.parent[v] = v;
    fix_boundary(&r, p, scope);
    for (size_t n = 0; n < g->node_count; n++)
        meet(&r, p, scope, &g->nodes[n]);
    *out = r;
    return OXP_OK;
}
