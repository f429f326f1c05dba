/* runtime.c - observing one run, then deciding what is folded, fused and moved. */
#include "deployment/runtime.h"

#include <string.h>

#include "operators/operator.h"

/* ---- what was seen ---- */

typedef struct seen_node { /* sums over the runs of one inference */
    double runs, macs, out_elements;
    double *in, *out; /* bytes by input and output */
} seen_node;

typedef struct model {
    const oxp_graph *const *graphs;
    size_t graph_count;
    seen_node **seen; /* by graph and node */
    bool **folded;    /* by graph and value: a constant when the model runs */
    bool **absorbed;  /* by graph and node: part of another node, or folded */
    bool **integer;   /* by graph and node: runs in integers */
    double batch;     /* leading dimension of the first input */
} model;

static oxp_status on_node(void *user, int worker, size_t slot, oxp_node *n)
{
    (void)worker;
    (void)slot;
    model *m = user;
    seen_node *s = &m->seen[n->def->graph->id][n->def->index];
    oxp_cost cost = {0};
    if (n->op->cost)
        n->op->cost(n, &cost);
    s->runs++;
    s->macs += cost.macs;
    for (int i = 0; i < n->in_count; i++)
        s->in[i] += n->in[i] ? (double)oxp_tensor_bytes(n->in[i]) : 0;
    for (int i = 0; i < n->out_count; i++) {
        s->out[i] += (double)oxp_tensor_bytes(&n->out[i]);
        s->out_elements += (double)n->out[i].count;
    }
    return OXP_OK;
}

static oxp_status make_tables(model *m, oxp_arena *arena, const oxp_graph *graph)
{
    OXP_TRY(oxp_graph_all(&m->graphs, &m->graph_count, arena, graph));
    m->seen = oxp_arena_alloc(arena, m->graph_count, sizeof *m->seen);
    m->folded = oxp_arena_alloc(arena, m->graph_count, sizeof *m->folded);
    m->absorbed = oxp_arena_alloc(arena, m->graph_count, sizeof *m->absorbed);
    m->integer = oxp_arena_alloc(arena, m->graph_count, sizeof *m->integer);
    if (!m->seen || !m->folded || !m->absorbed || !m->integer)
        return OXP_ELIMIT;
    for (size_t g = 0; g < m->graph_count; g++) {
        const oxp_graph *at = m->graphs[g];
        m->seen[g] = oxp_arena_alloc(arena, at->node_count + 1, sizeof **m->seen);
        m->folded[g] = oxp_arena_alloc(arena, at->value_count + 1, sizeof **m->folded);
        m->absorbed[g] = oxp_arena_alloc(arena, at->node_count + 1, sizeof **m->absorbed);
        m->integer[g] = oxp_arena_alloc(arena, at->node_count + 1, sizeof **m->integer);
        if (!m->seen[g] || !m->folded[g] || !m->absorbed[g] || !m->integer[g])
            return OXP_ELIMIT;
        for (size_t n = 0; n < at->node_count; n++) {
            seen_node *s = &m->seen[g][n];
            s->in = oxp_arena_alloc(arena, at->nodes[n].input_count + 1, sizeof *s->in);
            s->out = oxp_arena_alloc(arena, at->nodes[n].output_count + 1, sizeof *s->out);
            if (!s->in || !s->out)
                return OXP_ELIMIT;
        }
    }
    return OXP_OK;
}

/* ---- words ---- */

static bool is_one_of(const oxp_graph_node *n, const char *const *types)
{
    for (; n && *types; types++)
        if (strcmp(n->type, *types) == 0)
            return true;
    return false;
}

static bool is_type(const oxp_graph_node *n, const char *type)
{
    return n && strcmp(n->type, type) == 0;
}

static const char *const views[] = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity",
                                    "Dropout", "Shape",   "Size",    "Constant",  NULL};
static const char *const with_integer_form[] = {"Conv",        "MatMul",    "Gemm",
                                                "Add",         "Mul",       "Concat",
                                                "AveragePool", "MaxPool",   "GlobalAveragePool",
                                                "LeakyRelu",   "Sigmoid",   "Softmax",
                                                "Transpose",   "Reshape",   "Flatten",
                                                "Squeeze",     "Unsqueeze", "Slice",
                                                "Gather",      "Resize",    NULL};
static const char *const products[] = {"Conv", "MatMul", "Gemm", NULL};
static const char *const fused_activations[] = {"Relu",        "Clip",      "Sigmoid", "Tanh",
                                                "HardSigmoid", "LeakyRelu", NULL};
static const char *const functions[] = {"Exp",
                                        "Log",
                                        "Erf",
                                        "Tanh",
                                        "Sigmoid",
                                        "Softmax",
                                        "LogSoftmax",
                                        "Gelu",
                                        "FastGelu",
                                        "Pow",
                                        "Sqrt",
                                        "Div",
                                        "Reciprocal",
                                        "HardSwish",
                                        "Softplus",
                                        "Mish",
                                        "Elu",
                                        "Selu",
                                        "Celu",
                                        "Sin",
                                        "Cos",
                                        "LayerNormalization",
                                        "InstanceNormalization",
                                        "GroupNormalization",
                                        "SkipLayerNormalization",
                                        "RMSNormalization",
                                        NULL};
static const char *const random_types[] = {"RandomNormal",
                                           "RandomUniform",
                                           "RandomNormalLike",
                                           "RandomUniformLike",
                                           "Bernoulli",
                                           "Multinomial",
                                           NULL};

/* ---- folding ---- */

static bool is_folded_value(const model *m, const oxp_graph *g, uint32_t value)
{
    const oxp_value *v = &g->values[value];
    if (v->kind == OXP_VALUE_OUTER)
        return m->folded[v->outer_graph->id][v->outer_value];
    return v->kind == OXP_VALUE_CONSTANT || m->folded[g->id][value];
}

static bool can_fold(const model *m, const oxp_graph_node *n)
{
    if (n->subgraph_count || is_type(n, "DequantizeLinear") || is_one_of(n, random_types))
        return false;
    for (size_t i = 0; i < n->input_count; i++)
        if (n->inputs[i] != OXP_NO_VALUE && !is_folded_value(m, n->graph, n->inputs[i]))
            return false;
    return true;
}

static void fold(model *m)
{
    for (size_t g = 0; g < m->graph_count; g++)
        for (size_t v = 0; v < m->graphs[g]->value_count; v++)
            m->folded[g][v] = m->graphs[g]->values[v].kind == OXP_VALUE_CONSTANT;
    for (size_t g = 0; g < m->graph_count; g++) /* enclosing graphs come first */
        for (size_t k = 0; k < m->graphs[g]->node_count; k++) {
            const oxp_graph_node *n = &m->graphs[g]->nodes[k];
            if (!can_fold(m, n))
                continue;
            m->absorbed[g][k] = true;
            for (size_t o = 0; o < n->output_count; o++)
                if (n->outputs[o] != OXP_NO_VALUE)
                    m->folded[g][n->outputs[o]] = true;
        }
}

/* ---- fusion ---- */

/* The node that alone reads output 0, or NULL. */
static const oxp_graph_node *only_reader(const oxp_graph_node *n)
{
    if (n->output_count == 0 || n->outputs[0] == OXP_NO_VALUE)
        return NULL;
    const oxp_value *v = &n->graph->values[n->outputs[0]];
    return v->use_count == 1 && !v->is_output && v->uses[0].input != UINT32_MAX ? v->uses[0].node
                                                                                : NULL;
}

static const oxp_graph_node *maker(const oxp_graph_node *n, size_t input)
{
    if (input >= n->input_count || n->inputs[input] == OXP_NO_VALUE)
        return NULL;
    const oxp_value *v = &n->graph->values[n->inputs[input]];
    return v->kind == OXP_VALUE_NODE ? v->producer : NULL;
}

static void absorb(model *m, const oxp_graph_node *n)
{
    m->absorbed[n->graph->id][n->index] = true;
}

static bool reads_codes(const oxp_graph_node *n)
{
    size_t data = is_one_of(n, products)                                           ? 2
                  : is_type(n, "Add") || is_type(n, "Mul") || is_type(n, "Concat") ? n->input_count
                                                                                   : 1;
    for (size_t i = 0; i < data; i++)
        if (!is_type(maker(n, i), "DequantizeLinear"))
            return false;
    return data > 0;
}

/* Integers in and, for all but products without a convolution, integers out. */
static void fuse_integers(model *m, const oxp_graph_node *n)
{
    if (!is_one_of(n, with_integer_form) || !reads_codes(n))
        return;
    const oxp_graph_node *behind = only_reader(n), *activation = NULL;
    if (is_type(behind, "Relu") || is_type(behind, "Clip")) {
        activation = behind;
        behind = only_reader(behind);
    }
    bool quantised = is_type(behind, "QuantizeLinear");
    if (!quantised && (!is_one_of(n, products) || is_type(n, "Conv")))
        return;
    m->integer[n->graph->id][n->index] = true;
    if (!quantised)
        return;
    if (activation)
        absorb(m, activation);
    absorb(m, behind);
}

/* A DequantizeLinear whose readers all run in integers is gone. */
static void absorb_dequantisers(model *m, const oxp_graph *g)
{
    for (size_t k = 0; k < g->node_count; k++) {
        const oxp_graph_node *n = &g->nodes[k];
        if (!is_type(n, "DequantizeLinear") || n->output_count == 0)
            continue;
        const oxp_value *v = &g->values[n->outputs[0]];
        bool gone = !v->is_output && v->use_count > 0;
        for (size_t u = 0; u < v->use_count; u++)
            gone =
                gone && v->uses[u].input != UINT32_MAX && m->integer[g->id][v->uses[u].node->index];
        if (gone)
            absorb(m, n);
    }
}

static void fuse_dynamic(model *m, const oxp_graph_node *n)
{
    const oxp_graph_node *cast = only_reader(n);
    m->integer[n->graph->id][n->index] = true;
    if (is_type(maker(n, 0), "DynamicQuantizeLinear"))
        absorb(m, maker(n, 0));
    if (!is_type(cast, "Cast"))
        return;
    absorb(m, cast);
    const oxp_graph_node *scale = only_reader(cast);
    if (!is_type(scale, "Mul"))
        return;
    absorb(m, scale);
    for (size_t i = 0; i < scale->input_count; i++) /* the product of both scales */
        if (is_type(maker(scale, i), "Mul"))
            absorb(m, maker(scale, i));
    const oxp_graph_node *bias = only_reader(scale);
    if (is_type(bias, "Add"))
        absorb(m, bias);
}

/* Whether all that an Add reads is there once `n` has run: of two products that meet in it, the
 * second takes it along. */
static bool is_last_term(const oxp_graph_node *add, const oxp_graph_node *n)
{
    for (size_t i = 0; i < add->input_count; i++) {
        const oxp_graph_node *from = maker(add, i);
        if (from && from->index > n->index && from->index < add->index &&
            (is_one_of(from, products) || is_type(from, "BatchNormalization")) &&
            only_reader(n) != from)
            return false;
    }
    return true;
}

static void fuse_float(model *m, const oxp_graph_node *n)
{
    const oxp_graph_node *behind = only_reader(n);
    bool conv = is_type(n, "Conv");
    if ((conv || is_type(n, "ConvTranspose")) && is_type(behind, "BatchNormalization")) {
        absorb(m, behind);
        behind = only_reader(behind);
    }
    if ((conv || is_type(n, "MatMul")) && is_type(behind, "Add") &&
        !m->absorbed[behind->graph->id][behind->index] && is_last_term(behind, n)) {
        absorb(m, behind);
        behind = only_reader(behind);
    }
    if ((conv || is_type(n, "Gemm")) && is_one_of(behind, fused_activations))
        absorb(m, behind);
}

static void fuse(model *m)
{
    for (size_t g = 0; g < m->graph_count; g++) {
        for (size_t k = 0; k < m->graphs[g]->node_count; k++)
            fuse_integers(m, &m->graphs[g]->nodes[k]);
        absorb_dequantisers(m, m->graphs[g]);
        for (size_t k = 0; k < m->graphs[g]->node_count; k++) {
            const oxp_graph_node *n = &m->graphs[g]->nodes[k];
            if (is_type(n, "MatMulInteger"))
                fuse_dynamic(m, n);
            else if (is_one_of(n, products) && !m->integer[g][k] && !m->absorbed[g][k])
                fuse_float(m, n);
        }
    }
}

/* ---- work and bytes ---- */

static bool is_depthwise(const oxp_graph_node *n)
{
    int64_t group = oxp_graph_node_int(n, "group", 1);
    const oxp_graph_node *from = maker(n, 1);
    const oxp_value *w = is_type(from, "DequantizeLinear") ? oxp_graph_node_constant(from, 0)
                                                           : oxp_graph_node_constant(n, 1);
    if (!is_type(n, "Conv") || group <= 1)
        return false;
    return !w || (w->constant.rank > 1 && w->constant.dims[1] == 1);
}

static oxp_work work_of(const model *m, const oxp_graph_node *n, double macs)
{
    bool integer = m->integer[n->graph->id][n->index];
    if (is_depthwise(n))
        return integer ? OXP_WORK_DEPTHWISE_INT8 : OXP_WORK_DEPTHWISE;
    if (macs > 0)
        return integer ? OXP_WORK_DENSE_INT8 : OXP_WORK_DENSE;
    return is_one_of(n, functions) ? OXP_WORK_FUNCTION : OXP_WORK_SIMPLE;
}

/* What an integer node reads of a dequantised input are its codes. */
static double input_bytes(const model *m, const oxp_graph_node *n, size_t i, bool *constant)
{
    const seen_node *s = &m->seen[n->graph->id][n->index];
    const oxp_graph_node *dequantised = maker(n, i);
    *constant = is_folded_value(m, n->graph, n->inputs[i]);
    if (!m->integer[n->graph->id][n->index] || !is_type(dequantised, "DequantizeLinear"))
        return s->in[i];
    *constant = is_folded_value(m, n->graph, dequantised->inputs[0]);
    return m->seen[n->graph->id][dequantised->index].in[0];
}

/* The last node of what was fused with n writes. */
static double output_bytes(const model *m, const oxp_graph_node *n)
{
    const seen_node *s = &m->seen[n->graph->id][n->index];
    double bytes = 0;
    for (size_t o = 0; o < n->output_count; o++)
        bytes += s->out[o];
    for (const oxp_graph_node *next = only_reader(n);
         next && m->absorbed[n->graph->id][next->index] && !is_type(next, "DequantizeLinear");
         next = only_reader(next))
        bytes = m->seen[n->graph->id][next->index].out[0];
    return bytes;
}

static void fill(oxp_runtime_node *out, const model *m, const oxp_graph_node *n)
{
    const seen_node *s = &m->seen[n->graph->id][n->index];
    *out = (oxp_runtime_node){.node = n,
                              .runs = s->runs,
                              .macs = s->macs,
                              .in_integers = m->integer[n->graph->id][n->index],
                              .work = work_of(m, n, s->macs)};
    out->operations = s->macs > 0 ? 2 * s->macs : s->out_elements;
    if (is_one_of(n, views)) {
        out->operations = 0;
        return;
    }
    bool gather = is_type(n, "Gather"), constant;
    for (size_t i = 0; i < n->input_count; i++) {
        if (n->inputs[i] == OXP_NO_VALUE)
            continue;
        double bytes = input_bytes(m, n, i, &constant);
        if (gather && i == 0) /* reads what it gives */
            bytes = bytes < s->out[0] ? bytes : s->out[0];
        *(constant ? &out->weight_bytes : &out->read_bytes) += bytes;
    }
    out->write_bytes = output_bytes(m, n);
}

/* ---- resident weights and the peak of activations ---- */

/* Every constant that a running node reads, once, as large as it is when running. */
static double resident_bytes(const model *m, oxp_arena *arena)
{
    double bytes = 0;
    for (size_t g = 0; g < m->graph_count; g++) {
        bool *counted = oxp_arena_alloc(arena, m->graphs[g]->value_count + 1, 1);
        for (size_t k = 0; counted && k < m->graphs[g]->node_count; k++) {
            const oxp_graph_node *n = &m->graphs[g]->nodes[k];
            const seen_node *s = &m->seen[g][k];
            bool code_reader = is_type(n, "DequantizeLinear");
            if ((m->absorbed[g][k] && !code_reader) || s->runs == 0)
                continue;
            for (size_t i = 0; i < n->input_count; i++)
                if (n->inputs[i] != OXP_NO_VALUE && !counted[n->inputs[i]] &&
                    is_folded_value(m, n->graph, n->inputs[i])) {
                    counted[n->inputs[i]] = true;
                    bytes += s->in[i] / s->runs;
                }
        }
    }
    return bytes;
}

/* What a fused node continues: of several inputs the one that was made last. */
static uint32_t continued(const oxp_graph *g, const oxp_graph_node *n)
{
    uint32_t best = n->inputs[0];
    for (size_t i = 1; i < n->input_count; i++) {
        uint32_t v = n->inputs[i];
        const oxp_graph_node *made = v == OXP_NO_VALUE ? NULL : g->values[v].producer;
        const oxp_graph_node *before = g->values[best].producer;
        if (made && (!before || made->index > before->index))
            best = v;
    }
    return best;
}

/* The value whose memory a value has: views share, what is fused away has none of its own. */
static uint32_t owner(const model *m, const oxp_graph *g, uint32_t value)
{
    const oxp_graph_node *n = g->values[value].producer;
    while (n && g->values[value].kind == OXP_VALUE_NODE &&
           (is_one_of(n, views) || m->absorbed[g->id][n->index]) && n->input_count &&
           n->inputs[0] != OXP_NO_VALUE) {
        value = is_type(n, "Add") ? continued(g, n) : n->inputs[0];
        n = g->values[value].producer;
    }
    return value;
}

static const char *const in_place[] = {"Relu",    "Clip", "Add",  "Sub",       "Mul",
                                       "Div",     "Elu",  "Tanh", "LeakyRelu", "HardSigmoid",
                                       "Sigmoid", "Gelu", "Erf",  NULL};

/* The node whose inputs decide whether the result of `n` takes an input's memory: itself, or the
 * Add that was fused into it, whose other term is what a convolution adds to. */
static const oxp_graph_node *writes_over(const model *m, const oxp_graph_node *n)
{
    if (is_one_of(n, in_place))
        return n;
    for (const oxp_graph_node *next = only_reader(n);
         next && m->absorbed[n->graph->id][next->index]; next = only_reader(next))
        if (is_type(next, "Add"))
            return next;
    return NULL;
}

/* Gives back the memory of an input that nothing reads afterwards and that the result replaces. */
static double reused(const model *m, const oxp_graph_node *n, double bytes, const size_t *last,
                     double *size)
{
    const oxp_graph_node *at = writes_over(m, n);
    for (size_t i = 0; at && i < at->input_count; i++) {
        if (at->inputs[i] == OXP_NO_VALUE)
            continue;
        uint32_t v = owner(m, n->graph, at->inputs[i]);
        if (size[v] > 0 && size[v] >= bytes && size[v] <= bytes && last[v] <= at->index &&
            n->graph->values[v].producer != n) {
            size[v] = 0;
            return bytes;
        }
    }
    return 0;
}

static double most_alive(const model *m, oxp_arena *arena, const oxp_graph *g)
{
    size_t *last = oxp_arena_alloc(arena, g->value_count + 1, sizeof *last);
    double *size = oxp_arena_alloc(arena, g->value_count + 1, sizeof *size), alive = 0, most = 0;
    if (!last || !size)
        return 0;
    for (size_t k = 0; k < g->node_count; k++)
        for (size_t i = 0; i < g->nodes[k].input_count; i++)
            if (g->nodes[k].inputs[i] != OXP_NO_VALUE)
                last[owner(m, g, g->nodes[k].inputs[i])] = k;
    for (size_t o = 0; o < g->output_count; o++)
        last[owner(m, g, g->outputs[o])] = g->node_count;
    for (size_t k = 0; k < g->node_count; k++) {
        const oxp_graph_node *n = &g->nodes[k];
        if (!m->absorbed[g->id][k] && !is_one_of(n, views))
            for (size_t o = 0; o < n->output_count; o++)
                if (n->outputs[o] != OXP_NO_VALUE) {
                    size[n->outputs[o]] =
                        n->output_count == 1 ? output_bytes(m, n) : m->seen[g->id][k].out[o];
                    if (n->output_count == 1)
                        alive -= reused(m, n, size[n->outputs[o]], last, size);
                    alive += size[n->outputs[o]];
                }
        most = alive > most ? alive : most;
        for (size_t v = 0; v < g->value_count; v++)
            if (size[v] > 0 && last[v] <= k) {
                alive -= size[v];
                size[v] = 0;
            }
    }
    return most;
}

/* ---- the whole ---- */

static oxp_status on_sample(void *user, oxp_ctx *ctx, int worker, size_t slot,
                            const oxp_tensor *inputs, const oxp_tensor *outputs)
{
    (void)ctx;
    (void)worker;
    (void)slot;
    (void)outputs;
    model *m = user;
    if (m->graphs[0]->input_count && inputs[0].rank > 0 && inputs[0].dims[0] > 0)
        m->batch = (double)inputs[0].dims[0];
    return OXP_OK;
}

static size_t count_running(const model *m)
{
    size_t count = 0;
    for (size_t g = 0; g < m->graph_count; g++)
        for (size_t k = 0; k < m->graphs[g]->node_count; k++)
            count += !m->absorbed[g][k] && m->seen[g][k].runs > 0;
    return count;
}

oxp_status oxp_runtime_make(oxp_runtime *out, oxp_arena *arena, const oxp_graph *graph,
                            const oxp_source *source)
{
    model m = {.batch = 1};
    oxp_runtime r = {0};
    size_t one = 0;
    OXP_TRY(make_tables(&m, arena, graph));
    oxp_run_hooks hooks = {.user = &m, .node = on_node, .sample = on_sample};
    OXP_TRY(oxp_run_samples(arena->ctx, graph, source, &one, 1, &hooks, NULL));
    fold(&m);
    fuse(&m);
    r.nodes = oxp_arena_alloc(arena, count_running(&m) + 1, sizeof *r.nodes);
    if (!r.nodes)
        return OXP_ELIMIT;
    for (size_t g = 0; g < m.graph_count; g++)
        for (size_t k = 0; k < m.graphs[g]->node_count; k++) {
            if (m.absorbed[g][k] || m.seen[g][k].runs == 0)
                continue;
            oxp_runtime_node *n = &r.nodes[r.count++];
            fill(n, &m, &m.graphs[g]->nodes[k]);
            r.macs += n->macs;
            r.operations += n->operations;
        }
    r.weight_bytes = resident_bytes(&m, arena);
    r.activation_bytes = most_alive(&m, arena, graph);
    r.batch = m.batch;
    *out = r;
    return OXP_OK;
}
