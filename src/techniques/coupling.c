/* coupling.c - the walk, see coupling.h. */
#include "techniques/coupling.h"

#include <string.h>

#include "prepare/runs.h"
#include "techniques/coupling_rules.h"

/* ---- what one run shows ---- */

static void keep_look(oxp_tensor *to, const oxp_tensor *t)
{
    *to = *t;
    to->data = NULL;
    to->storage = NULL;
}

static oxp_status observe(void *user, const oxp_graph *graph, uint32_t value, const oxp_tensor *t)
{
    if (graph->id == 0)
        keep_look(&((oxp_tensor *)user)[value], t);
    return OXP_OK;
}

static oxp_status on_value(void *user, oxp_ctx *ctx, int worker, size_t slot,
                           const oxp_graph *graph, uint32_t value, const oxp_tensor *t)
{
    (void)ctx;
    (void)worker;
    (void)slot;
    return observe(user, graph, value, t);
}

static oxp_status look_without_samples(oxp_tensor *seen, oxp_arena *arena, const oxp_graph *graph)
{
    const oxp_tensor *const *inputs;
    oxp_session *session;
    oxp_session_options options = {.observer = observe, .user = seen};
    OXP_TRY(oxp_random_inputs(&inputs, arena, graph, 1));
    if (!inputs)
        return oxp_fail(arena->ctx, OXP_EDATA, "E-CALIB-EMPTY",
                        "without samples the shapes of the model's inputs do not tell how its "
                        "channels lie");
    oxp_tensor *outputs = oxp_arena_alloc(arena, graph->output_count + 1, sizeof *outputs);
    if (!outputs)
        return OXP_ELIMIT;
    for (size_t i = 0; i < graph->input_count; i++)
        keep_look(&seen[graph->inputs[i]], inputs[i]);
    OXP_TRY(oxp_session_create(&session, arena->ctx, graph, &options));
    oxp_status status = oxp_session_run(session, inputs, outputs);
    for (size_t k = 0; k < graph->output_count; k++)
        oxp_tensor_release(&outputs[k]);
    oxp_session_free(session);
    return status;
}

typedef struct watcher {
    oxp_tensor *seen;
    const oxp_graph *graph;
} watcher;

static oxp_status on_seen(void *user, oxp_ctx *ctx, int worker, size_t slot, const oxp_graph *graph,
                          uint32_t value, const oxp_tensor *t)
{
    return on_value(((watcher *)user)->seen, ctx, worker, slot, graph, value, t);
}

static oxp_status on_sample(void *user, oxp_ctx *ctx, int worker, size_t slot,
                            const oxp_tensor *inputs, const oxp_tensor *outputs)
{
    (void)ctx;
    (void)worker;
    (void)slot;
    (void)outputs;
    watcher *w = user;
    for (size_t i = 0; i < w->graph->input_count; i++)
        keep_look(&w->seen[w->graph->inputs[i]], &inputs[i]);
    return OXP_OK;
}

oxp_status oxp_coupling_look(oxp_tensor **out, oxp_arena *arena, const oxp_graph *graph,
                             const oxp_source *source, const size_t *which)
{
    oxp_tensor *seen = oxp_arena_alloc(arena, graph->value_count + 1, sizeof *seen);
    if (!seen)
        return OXP_ELIMIT;
    watcher w = {seen, graph};
    oxp_run_hooks hooks = {.user = &w, .value = on_seen, .sample = on_sample};
    const size_t zero = 0;
    OXP_TRY(source ? oxp_run_samples(arena->ctx, graph, source, which ? which : &zero, 1, &hooks,
                                     "shapes")
                   : look_without_samples(seen, arena, graph));
    *out = seen;
    return OXP_OK;
}

/* ---- what rules share ---- */

bool oxp_coupling_has_input(const oxp_graph_node *n, size_t i)
{
    return i < n->input_count && n->inputs[i] != OXP_NO_VALUE;
}

const oxp_channels *oxp_coupling_in(const oxp_coupling *c, const oxp_graph_node *n, size_t i)
{
    static const oxp_channels none;
    return oxp_coupling_has_input(n, i) ? &c->channels[n->inputs[i]] : &none;
}

const oxp_tensor *oxp_coupling_seen_in(const oxp_coupling *c, const oxp_graph_node *n, size_t i)
{
    const oxp_value *v = &n->graph->values[n->inputs[i]];
    return v->kind == OXP_VALUE_CONSTANT ? &v->constant : &c->seen[v->id];
}

const oxp_value *oxp_coupling_own(const oxp_graph_node *n, size_t i)
{
    if (!oxp_coupling_has_input(n, i))
        return NULL;
    const oxp_value *v = &n->graph->values[n->inputs[i]];
    return v->kind == OXP_VALUE_CONSTANT && v->proto && v->use_count == 1 && !v->is_output &&
                   !v->is_overridable
               ? v
               : NULL;
}

bool oxp_coupling_integers(const int64_t **values, size_t *count, bool *is_attribute,
                           const oxp_graph_node *n, size_t input, const char *attribute)
{
    const oxp_attribute *a = attribute ? oxp_graph_node_attribute(n, attribute) : NULL;
    *is_attribute = a != NULL;
    if (a) {
        *values = a->ints;
        *count = a->count;
        return a->type == OXP_ATTR_INTS;
    }
    if (!oxp_coupling_has_input(n, input))
        return false;
    const oxp_value *v = &n->graph->values[n->inputs[input]];
    if (v->kind != OXP_VALUE_CONSTANT || v->is_overridable || v->constant.dtype != OXP_INT64)
        return false;
    *values = v->constant.data;
    *count = v->constant.count;
    return true;
}

oxp_status oxp_coupling_block(oxp_coupling *c, const oxp_graph_node *n)
{
    for (size_t i = 0; i < n->input_count; i++)
        oxp_channels_pin(&c->variables, oxp_coupling_in(c, n, i));
    return OXP_OK;
}

oxp_status oxp_coupling_hand_on(oxp_coupling *c, const oxp_graph_node *n, const oxp_channels *x)
{
    c->channels[n->outputs[0]] = *x;
    return OXP_OK;
}

oxp_status oxp_coupling_begin(oxp_coupling *c, const oxp_graph_node *n, int axis)
{
    const oxp_tensor *y = &c->seen[n->outputs[0]];
    oxp_channels made = oxp_channels_along(axis, y->rank, y->dims);
    OXP_TRY(oxp_variables_add(&made.first, &c->variables, made.count));
    return oxp_coupling_hand_on(c, n, &made);
}

void oxp_coupling_unite(oxp_coupling *c, const oxp_channels *a, const oxp_channels *b)
{
    size_t digits[OXP_MAX_RANK] = {0};
    if (a->count == 0 || b->count == 0)
        return;
    for (int k = 0; k >= 0;) {
        size_t channel = 0;
        for (int i = 0; i < a->rank; i++)
            channel += digits[i] * a->parts[i].stride;
        oxp_variables_unite(&c->variables, a->first + (uint32_t)(a->offset + channel),
                            b->first + (uint32_t)(b->offset + channel));
        for (k = a->rank - 1; k >= 0 && ++digits[k] >= a->parts[k].extent; k--)
            digits[k] = 0;
    }
}

int oxp_coupling_axis(const oxp_channels *x)
{
    int axis = -1;
    for (int k = 0; k < x->rank && x->count; k++)
        if (x->parts[k].extent > 1 && (axis < 0 || x->parts[k].stride > x->parts[axis].stride))
            axis = k;
    return axis;
}

bool oxp_coupling_single(const oxp_channels *x)
{
    int many = 0;
    for (int k = 0; k < x->rank; k++)
        many += x->parts[k].extent > 1;
    return many == 1;
}

const uint32_t *oxp_coupling_along(oxp_coupling *c, const oxp_channels *x, int axis)
{
    const oxp_channel_part *p = &x->parts[axis];
    uint32_t *out = oxp_arena_alloc(c->arena, (size_t)x->dims[axis] + 1, sizeof *out);
    for (size_t i = 0; out && i < (size_t)x->dims[axis]; i++)
        out[i] = x->first + (uint32_t)(x->offset + i / p->divide % p->extent * p->stride);
    return out;
}

oxp_status oxp_coupling_add_cut(oxp_coupling *c, oxp_cut cut)
{
    OXP_TRY(oxp_grow(&c->cuts, &c->cut_capacity, c->arena->ctx, c->cut_count + 1, sizeof *c->cuts));
    c->cuts[c->cut_count++] = cut;
    return OXP_OK;
}

oxp_status oxp_coupling_add_count(oxp_coupling *c, oxp_count count)
{
    OXP_TRY(oxp_grow(&c->counts, &c->count_capacity, c->arena->ctx, c->count_count + 1,
                     sizeof *c->counts));
    c->counts[c->count_count++] = count;
    return OXP_OK;
}

/* ---- element by element ---- */

/* The channels of the operand that is as wide as the output, in the output's shape. */
static bool widest(oxp_channels *out, const oxp_coupling *c, const oxp_graph_node *n)
{
    const oxp_tensor *y = &c->seen[n->outputs[0]];
    for (size_t i = 0; i < n->input_count; i++) {
        const oxp_channels *x = oxp_coupling_in(c, n, i);
        if (x->count && oxp_channels_resize(out, x, y->rank, y->dims))
            return true;
    }
    return false;
}

/* Size of an operand along an axis of the output. */
static int64_t size_along(const oxp_tensor *t, int axis, int rank)
{
    int k = axis - (rank - t->rank);
    return k < 0 || k >= t->rank ? 1 : t->dims[k];
}

/* Whether an operand has one number for all channels. */
static bool is_shared(const oxp_tensor *t, const oxp_channels *x)
{
    for (int k = 0; k < x->rank; k++)
        if (x->parts[k].extent > 1 && size_along(t, k, x->rank) != 1)
            return false;
    return true;
}

static bool can_follow(const oxp_coupling *c, const oxp_graph_node *n, size_t i,
                       const oxp_channels *x)
{
    if (!oxp_coupling_has_input(n, i))
        return true;
    const oxp_channels *own = oxp_coupling_in(c, n, i);
    if (own->count)
        return oxp_channels_alike(own, x);
    const oxp_tensor *t = oxp_coupling_seen_in(c, n, i);
    return is_shared(t, x) || (oxp_coupling_own(n, i) && t->rank <= x->rank);
}

/* A constant with numbers per channel is cut along the axis of the channels. */
static oxp_status cut_operand(oxp_coupling *c, const oxp_graph_node *n, size_t i,
                              const oxp_channels *x)
{
    const oxp_tensor *t = oxp_coupling_seen_in(c, n, i);
    int axis = oxp_coupling_axis(x);
    if (size_along(t, axis, x->rank) == 1)
        return OXP_OK;
    const uint32_t *along = oxp_coupling_along(c, x, axis);
    if (!along)
        return OXP_ELIMIT;
    return oxp_coupling_add_cut(
        c, (oxp_cut){oxp_coupling_own(n, i), axis - (x->rank - t->rank), along});
}

static oxp_status element_wise(oxp_coupling *c, const oxp_graph_node *n)
{
    oxp_channels x;
    bool follow = widest(&x, c, n);
    for (size_t i = 0; follow && i < n->input_count; i++)
        follow = can_follow(c, n, i, &x);
    if (!follow)
        return oxp_coupling_block(c, n);
    for (size_t i = 0; i < n->input_count; i++) {
        if (oxp_coupling_in(c, n, i)->count)
            oxp_coupling_unite(c, &x, oxp_coupling_in(c, n, i));
        else if (oxp_coupling_has_input(n, i))
            OXP_TRY(cut_operand(c, n, i, &x));
    }
    return oxp_coupling_hand_on(c, n, &x);
}

/* ---- normalisations ---- */

/* Numbers per channel along axis 1; the statistics are those of each channel alone. */
static oxp_status normalization(oxp_coupling *c, const oxp_graph_node *n)
{
    const oxp_channels *x = oxp_coupling_in(c, n, 0);
    if (x->count == 0)
        return OXP_OK;
    bool follow = oxp_coupling_axis(x) == 1 && oxp_coupling_single(x);
    for (size_t i = 1; i < n->input_count && follow; i++)
        follow = oxp_coupling_own(n, i) && oxp_coupling_own(n, i)->constant.rank == 1 &&
                 oxp_coupling_own(n, i)->constant.dims[0] == x->dims[1];
    if (!follow)
        return oxp_coupling_block(c, n);
    const uint32_t *along = oxp_coupling_along(c, x, 1);
    if (!along)
        return OXP_ELIMIT;
    for (size_t i = 1; i < n->input_count; i++)
        OXP_TRY(oxp_coupling_add_cut(c, (oxp_cut){oxp_coupling_own(n, i), 0, along}));
    return oxp_coupling_hand_on(c, n, x);
}

/* ---- the walk ---- */

static const oxp_coupling_row rules[] = {
    {"Conv", oxp_coupling_layer},
    {"ConvTranspose", oxp_coupling_layer},
    {"Gemm", oxp_coupling_layer},
    {"MatMul", oxp_coupling_layer},
    {"Add", element_wise},
    {"Sub", element_wise},
    {"Mul", element_wise},
    {"Div", element_wise},
    {"Sum", element_wise},
    {"Mean", element_wise},
    {"Max", element_wise},
    {"Min", element_wise},
    {"Pow", element_wise},
    {"PRelu", element_wise},
    {"BatchNormalization", normalization},
    {"InstanceNormalization", normalization},
};

static oxp_coupling_rule *rule_of(const oxp_coupling *c, const oxp_graph_node *n)
{
    if (n->domain[0] != '\0' || n->output_count == 0 || n->outputs[0] == OXP_NO_VALUE ||
        c->seen[n->outputs[0]].dtype == OXP_UNDEFINED || n->subgraph_count)
        return oxp_coupling_block;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (strcmp(n->type, rules[i].type) == 0)
            return rules[i].rule;
    oxp_coupling_rule *moves = oxp_coupling_move(n);
    return moves ? moves : oxp_coupling_block;
}

/* What leaves the graph, is captured by a body, or is a second result of a node, stays whole. */
static void pin_what_is_seen(oxp_coupling *c, const oxp_graph_node *n)
{
    for (size_t i = 0; i < n->output_count; i++) {
        if (n->outputs[i] == OXP_NO_VALUE)
            continue;
        const oxp_value *v = &c->graph->values[n->outputs[i]];
        bool seen = v->is_output;
        for (size_t u = 0; u < v->use_count; u++)
            seen = seen || v->uses[u].input == UINT32_MAX;
        if (i > 0 && c->channels[v->id].count == 0 && (v->use_count || v->is_output))
            oxp_coupling_block(c, n);
        if (seen)
            oxp_channels_pin(&c->variables, &c->channels[v->id]);
    }
}

oxp_status oxp_coupling_find(oxp_coupling *out, oxp_arena *arena, const oxp_graph *graph,
                             const oxp_tensor *seen, const bool *may_change)
{
    *out = (oxp_coupling){.arena = arena, .graph = graph, .seen = seen, .may_change = may_change};
    out->variables.ctx = arena->ctx;
    out->channels = oxp_arena_alloc(arena, graph->value_count + 1, sizeof *out->channels);
    oxp_status status = out->channels ? OXP_OK : OXP_ELIMIT;
    for (size_t i = 0; i < graph->node_count && status == OXP_OK; i++) {
        const oxp_graph_node *n = &graph->nodes[i];
        status = rule_of(out, n)(out, n);
        if (status == OXP_OK)
            pin_what_is_seen(out, n);
    }
    if (status != OXP_OK)
        oxp_coupling_free(out);
    return status;
}

void oxp_coupling_free(oxp_coupling *c)
{
    oxp_variables_free(&c->variables);
    oxp_free(c->cuts);
    oxp_free(c->counts);
    oxp_free(c->layers);
    c->cuts = NULL;
    c->counts = NULL;
    c->layers = NULL;
}

oxp_status oxp_coupling_removable(bool **out, oxp_coupling *c)
{
    size_t count = c->variables.count + 1;
    bool *made = oxp_arena_alloc(c->arena, count, sizeof *made);
    bool *read = oxp_arena_alloc(c->arena, count, sizeof *read);
    if (!made || !read)
        return OXP_ELIMIT;
    for (size_t k = 0; k < c->layer_count; k++) {
        const oxp_coupled_layer *l = &c->layers[k];
        if (l->is_depthwise)
            continue;
        for (size_t j = 0; j < l->outputs; j++)
            made[oxp_variables_root(&c->variables, l->out[j])] = true;
        for (size_t i = 0; i < l->inputs; i++)
            if (l->in[i] != OXP_NO_VARIABLE)
                read[oxp_variables_root(&c->variables, l->in[i])] = true;
    }
    for (size_t v = 0; v < c->variables.count; v++)
        made[v] = made[v] && read[v] && !c->variables.pinned[v] && c->variables.parent[v] == v;
    *out = made;
    return OXP_OK;
}
