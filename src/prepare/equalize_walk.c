/* equalize_walk.c - one walk over the main graph in the order of computation.
 *
 * Layers and constants begin new channels; what commutes with a positive factor per channel hands
 * its channels on; Add, Max and Concat unite them; in a product of two tensors one hands its
 * channels on and the other, the gate, is pinned. Everything else pins what it reads. */
#include "prepare/equalize_rules.h"

#include <math.h>
#include <string.h>

typedef oxp_equalize_walk walk;

static bool is_linear(const oxp_graph_node *n)
{
    return oxp_pass_is(n, "Conv") || oxp_pass_is(n, "ConvTranspose") || oxp_pass_is(n, "Gemm") ||
           oxp_pass_is(n, "MatMul");
}

/* ---- helpers ---- */

const oxp_channels *oxp_walk_channels_in(const walk *w, const oxp_graph_node *n, size_t i)
{
    static const oxp_channels none;
    if (i >= n->input_count || n->inputs[i] == OXP_NO_VALUE)
        return &none;
    return &w->channels[n->inputs[i]];
}

const oxp_tensor *oxp_walk_seen_in(const walk *w, const oxp_graph_node *n, size_t i)
{
    const oxp_value *v = &n->graph->values[n->inputs[i]];
    return v->kind == OXP_VALUE_CONSTANT ? &v->constant : &w->seen[v->id];
}

const oxp_tensor *oxp_walk_seen_out(const walk *w, const oxp_graph_node *n)
{
    return &w->seen[n->outputs[0]];
}

oxp_status oxp_walk_block(walk *w, const oxp_graph_node *n)
{
    for (size_t i = 0; i < n->input_count; i++)
        oxp_channels_pin(&w->variables, oxp_walk_channels_in(w, n, i));
    return OXP_OK;
}

oxp_status oxp_walk_hand_on(walk *w, const oxp_graph_node *n, const oxp_channels *c)
{
    w->channels[n->outputs[0]] = *c;
    return OXP_OK;
}

oxp_status oxp_walk_begin_channels(walk *w, const oxp_graph_node *n, oxp_channels c)
{
    OXP_TRY(oxp_variables_add(&c.first, &w->variables, c.count));
    return oxp_walk_hand_on(w, n, &c);
}

/* A FLOAT constant of the main graph. */
const oxp_value *oxp_walk_constant_in(const walk *w, const oxp_graph_node *n, size_t i)
{
    const oxp_value *v = oxp_pass_constant(w->pass, 0, n, i);
    return v && v->constant.dtype == OXP_FLOAT && v->constant.count ? v : NULL;
}

/* ---- layers ---- */

static bool read_matmul(oxp_linear *l, const walk *w, const oxp_graph_node *n)
{
    const oxp_value *b = oxp_walk_constant_in(w, n, 1);
    if (!b || !b->proto || b->constant.rank != 2 || oxp_walk_seen_in(w, n, 0)->rank < 2)
        return false;
    *l = (oxp_linear){.node = n, .kind = OXP_LINEAR_MATMUL, .weight = b};
    l->first = l->inputs = (size_t)b->constant.dims[0];
    l->second = l->outputs = (size_t)b->constant.dims[1];
    l->rest = l->groups = 1;
    l->rank = oxp_walk_seen_out(w, n)->rank;
    return true;
}

static bool read_layer(oxp_linear *l, const walk *w, const oxp_graph_node *n)
{
    bool read = oxp_pass_is(n, "MatMul")
                    ? read_matmul(l, w, n)
                    : oxp_linear_read(l, w->pass, 0, n) && oxp_graph_node_int(n, "transA", 0) == 0;
    return read && oxp_linear_owns_weight(w->pass, l) && !l->weight->is_output &&
           n->graph->values[n->inputs[1]].kind == OXP_VALUE_CONSTANT &&
           oxp_walk_seen_out(w, n)->dtype == OXP_FLOAT;
}

uint32_t *oxp_walk_no_variables(walk *w, size_t count)
{
    uint32_t *v = oxp_arena_alloc(w->arena, count + 1, sizeof *v);
    for (size_t i = 0; v && i < count; i++)
        v[i] = OXP_NO_VARIABLE;
    return v;
}

/* Products of two tensors: attention's weights times its values, whose channels pass. */
static oxp_status product(walk *w, const oxp_graph_node *n)
{
    const oxp_channels *b = oxp_walk_channels_in(w, n, 1);
    oxp_channels c;
    const oxp_tensor *y = oxp_walk_seen_out(w, n);
    oxp_channels_pin(&w->variables, oxp_walk_channels_in(w, n, 0));
    if (b->count == 0)
        return OXP_OK;
    if (b->rank < 2 || y->rank < b->rank || b->parts[b->rank - 2].extent > 1)
        return oxp_walk_block(w, n);
    int64_t dims[OXP_MAX_RANK];
    memcpy(dims, y->dims, sizeof dims);
    if (!oxp_channels_resize(&c, b, y->rank, dims))
        return oxp_walk_block(w, n);
    return oxp_walk_hand_on(w, n, &c);
}

static oxp_status layer(walk *w, const oxp_graph_node *n)
{
    oxp_equalize_layer l = {.read = n->inputs[0], .made = n->outputs[0]};
    if (!read_layer(&l.linear, w, n))
        return oxp_pass_is(n, "MatMul") ? product(w, n) : oxp_walk_block(w, n);
    const oxp_tensor *y = oxp_walk_seen_out(w, n);
    const oxp_channels *x = oxp_walk_channels_in(w, n, 0);
    bool convolution = l.linear.kind <= OXP_LINEAR_CONV_TRANSPOSE;
    uint32_t *in = oxp_walk_no_variables(w, l.linear.inputs),
             *out = oxp_walk_no_variables(w, l.linear.outputs);
    if (!in || !out)
        return w->pass->ctx->status;
    int axis = convolution ? 1 : x->rank - 1;
    if (x->count && (axis < 0 || x->rank < 2 || x->dims[axis] != (int64_t)l.linear.inputs ||
                     !oxp_channels_on_axis(in, x, axis)))
        oxp_channels_pin(&w->variables, x);
    axis = convolution ? 1 : y->rank - 1;
    if (y->dims[axis] == (int64_t)l.linear.outputs) {
        OXP_TRY(oxp_walk_begin_channels(w, n, oxp_channels_along(axis, y->rank, y->dims)));
        oxp_channels_on_axis(out, &w->channels[n->outputs[0]], axis);
    }
    l.in = in;
    l.out = out;
    OXP_TRY(oxp_grow(&w->layers, &w->layer_capacity, w->pass->ctx, w->layer_count + 1,
                     sizeof *w->layers));
    w->layers[w->layer_count++] = l;
    return OXP_OK;
}

/* ---- constants beside the data ---- */

/* The variable of every element of a constant, aligned at the last axis of `c`. */
static uint32_t *element_variables(walk *w, const oxp_tensor *t, const oxp_channels *c)
{
    uint32_t *v = oxp_arena_alloc(w->arena, t->count + 1, sizeof *v);
    for (size_t e = 0; v && e < t->count; e++) {
        size_t rest = e, channel = c->offset;
        for (int i = t->rank - 1; i >= 0; i--) {
            const oxp_channel_part *p = &c->parts[i + c->rank - t->rank];
            channel += rest % (size_t)t->dims[i] / p->divide % p->extent * p->stride;
            rest /= (size_t)t->dims[i];
        }
        v[e] = c->first + (uint32_t)channel;
    }
    return v;
}

static oxp_status add_constant(walk *w, const oxp_equalize_constant *k)
{
    OXP_TRY(oxp_grow(&w->constants, &w->constant_capacity, w->pass->ctx, w->constant_count + 1,
                     sizeof *w->constants));
    w->constants[w->constant_count++] = *k;
    return OXP_OK;
}

/* How a constant lies against channels: on none of their axes, on all of them. */
typedef enum cover { COVERS_NONE, COVERS_ALL, COVERS_SOME } cover;

static cover covers(const oxp_channels *c, const oxp_tensor *t)
{
    bool all = true, none = true;
    if (t->rank > c->rank)
        return COVERS_SOME;
    for (int i = 0; i < c->rank; i++) {
        int k = i - (c->rank - t->rank);
        if (c->parts[i].extent == 1)
            continue;
        all = all && k >= 0 && t->dims[k] == c->dims[i];
        none = none && (k < 0 || t->dims[k] == 1);
    }
    return all ? COVERS_ALL : none ? COVERS_NONE : COVERS_SOME;
}

/* Node input `i` takes times / over. NULL: no such factor. */
static oxp_status absorb(walk *w, const oxp_graph_node *n, size_t i, const oxp_channels *times,
                         const oxp_channels *over)
{
    const oxp_value *v = oxp_walk_constant_in(w, n, i);
    oxp_equalize_constant k = {.node = n, .input = i, .constant = &v->constant};
    k.times = times ? element_variables(w, k.constant, times) : NULL;
    k.over = over ? element_variables(w, k.constant, over) : NULL;
    if ((times && !k.times) || (over && !k.over))
        return w->pass->ctx->status;
    return add_constant(w, &k);
}

/* ---- sums ---- */

bool oxp_walk_all_zero(const walk *w, const oxp_graph_node *n, size_t i)
{
    const oxp_value *v = oxp_walk_constant_in(w, n, i);
    if (!v)
        return w->zero[n->inputs[i]];
    const float *x = v->constant.data;
    for (size_t k = 0; k < v->constant.count; k++)
        if (x[k] != 0)
            return false;
    return true;
}

void oxp_walk_unite(walk *w, const oxp_channels *a, const oxp_channels *b)
{
    for (size_t i = 0; i < a->count && i < b->count; i++)
        oxp_variables_unite(&w->variables, a->first + (uint32_t)i, b->first + (uint32_t)i);
}

/* A constant with a number per channel can take the factors, and zero is zero. A number that all
 * channels share stays one: it pins them. */
static bool can_follow(const walk *w, const oxp_graph_node *n, size_t i, const oxp_channels *c)
{
    const oxp_channels *own = oxp_walk_channels_in(w, n, i);
    if (own->count)
        return own->count == c->count && own->offset == c->offset && oxp_channels_alike(own, c);
    if (oxp_walk_all_zero(w, n, i))
        return true;
    const oxp_value *v = oxp_walk_constant_in(w, n, i);
    return v && covers(c, &v->constant) == COVERS_ALL;
}

/* The whole tensor among the operands: its channels in the shape of the output. */
static bool widest(oxp_channels *out, const walk *w, const oxp_graph_node *n)
{
    const oxp_tensor *y = oxp_walk_seen_out(w, n);
    for (size_t i = 0; i < n->input_count; i++) {
        const oxp_channels *c = oxp_walk_channels_in(w, n, i);
        if (c->count && oxp_channels_resize(out, c, y->rank, y->dims))
            return true;
    }
    return false;
}

/* Add, Sub, Sum, Max, Min: of a factor times every operand, that factor times the result. */
static oxp_status join(walk *w, const oxp_graph_node *n)
{
    oxp_channels c;
    bool follow = widest(&c, w, n);
    for (size_t i = 0; follow && i < n->input_count; i++)
        follow = can_follow(w, n, i, &c);
    if (!follow)
        return oxp_walk_block(w, n);
    for (size_t i = 0; i < n->input_count; i++) {
        if (oxp_walk_channels_in(w, n, i)->count)
            oxp_walk_unite(w, &c, oxp_walk_channels_in(w, n, i));
        else if (!oxp_walk_all_zero(w, n, i))
            OXP_TRY(absorb(w, n, i, NULL, &c));
    }
    return oxp_walk_hand_on(w, n, &c);
}

/* ---- products with a constant, with a gate ---- */

/* The axis along which a constant has numbers of its own, when it is one, in the output's rank. */
static int vector_axis(const oxp_tensor *t, const oxp_tensor *y)
{
    int axis = -1, many = 0;
    for (int k = 0; k < t->rank; k++)
        if (t->dims[k] != 1) {
            many++;
            axis = k + y->rank - t->rank;
        }
    return many == 1 && t->rank <= y->rank && t->dims[axis - (y->rank - t->rank)] == y->dims[axis]
               ? axis
               : -1;
}

static oxp_status times_constant(walk *w, const oxp_graph_node *n, size_t k)
{
    const oxp_tensor *t = &oxp_walk_constant_in(w, n, k)->constant, *y = oxp_walk_seen_out(w, n);
    const oxp_channels *x = oxp_walk_channels_in(w, n, 1 - k);
    oxp_channels c;
    if (x->count) {
        cover how = covers(x, t);
        if (how == COVERS_SOME || !oxp_channels_resize(&c, x, y->rank, y->dims))
            return oxp_walk_block(w, n);
        if (how == COVERS_NONE)
            return oxp_walk_hand_on(w, n, &c);
        oxp_channels from = c;
        c.first = 0;
        OXP_TRY(oxp_walk_begin_channels(w, n, c));
        return absorb(w, n, k, &from, &w->channels[n->outputs[0]]);
    }
    int axis = vector_axis(t, y);
    if (axis < 0 || y->dtype != OXP_FLOAT)
        return OXP_OK;
    OXP_TRY(oxp_walk_begin_channels(w, n, oxp_channels_along(axis, y->rank, y->dims)));
    return absorb(w, n, k, NULL, &w->channels[n->outputs[0]]);
}

/* x * gate, x / gate: the gate keeps its size. The gate of a product is what has fewer elements, or
 * was made without channels. */
static oxp_status gated(walk *w, const oxp_graph_node *n, size_t x)
{
    const oxp_tensor *y = oxp_walk_seen_out(w, n);
    oxp_channels c;
    oxp_channels_pin(&w->variables, oxp_walk_channels_in(w, n, 1 - x));
    if (oxp_walk_channels_in(w, n, x)->count == 0)
        return OXP_OK;
    if (!oxp_channels_resize(&c, oxp_walk_channels_in(w, n, x), y->rank, y->dims))
        return oxp_walk_block(w, n);
    return oxp_walk_hand_on(w, n, &c);
}

static oxp_status multiply(walk *w, const oxp_graph_node *n)
{
    for (size_t k = 0; k < 2; k++)
        if (oxp_walk_constant_in(w, n, k))
            return times_constant(w, n, k);
    size_t a = oxp_walk_seen_in(w, n, 0)->count, b = oxp_walk_seen_in(w, n, 1)->count;
    bool second = a != b ? b > a : oxp_walk_channels_in(w, n, 0)->count == 0;
    return gated(w, n, second);
}

static oxp_status divide(walk *w, const oxp_graph_node *n)
{
    return gated(w, n, 0);
}

static oxp_status layer_normalization(walk *w, const oxp_graph_node *n)
{
    const oxp_tensor *y = oxp_walk_seen_out(w, n);
    int64_t axis = oxp_graph_node_int(n, "axis", -1);
    const oxp_value *scale = oxp_walk_constant_in(w, n, 1), *bias = oxp_walk_constant_in(w, n, 2);
    bool has_bias = n->input_count > 2 && n->inputs[2] != OXP_NO_VALUE;
    OXP_TRY(oxp_walk_block(w, n));
    if ((axis != -1 && axis != y->rank - 1) || !scale || (has_bias && !bias) || y->rank < 1 ||
        y->dtype != OXP_FLOAT || scale->constant.count != (size_t)y->dims[y->rank - 1] ||
        (bias && bias->constant.count != scale->constant.count))
        return OXP_OK;
    OXP_TRY(oxp_walk_begin_channels(w, n, oxp_channels_along(y->rank - 1, y->rank, y->dims)));
    OXP_TRY(absorb(w, n, 1, NULL, &w->channels[n->outputs[0]]));
    return bias ? absorb(w, n, 2, NULL, &w->channels[n->outputs[0]]) : OXP_OK;
}

/* Scale and bias along axis 1; what they are applied to is pinned. */
static oxp_status normalization(walk *w, const oxp_graph_node *n)
{
    const oxp_tensor *y = oxp_walk_seen_out(w, n);
    OXP_TRY(oxp_walk_block(w, n));
    for (size_t i = 1; i < 3; i++)
        if (!oxp_walk_constant_in(w, n, i) || y->rank < 2 || y->dtype != OXP_FLOAT ||
            oxp_walk_constant_in(w, n, i)->constant.count != (size_t)y->dims[1])
            return OXP_OK;
    OXP_TRY(oxp_walk_begin_channels(w, n, oxp_channels_along(1, y->rank, y->dims)));
    oxp_channels *c = &w->channels[n->outputs[0]], flat = oxp_channels_along(0, 1, &y->dims[1]);
    flat.first = c->first;
    OXP_TRY(absorb(w, n, 1, NULL, &flat));
    return absorb(w, n, 2, NULL, &flat);
}

/* ---- the walk ---- */

static const oxp_walk_row rules[] = {
    {"Add", join},
    {"Sub", join},
    {"Sum", join},
    {"Max", join},
    {"Min", join},
    {"Mul", multiply},
    {"Div", divide},
    {"LayerNormalization", layer_normalization},
    {"BatchNormalization", normalization},
    {"InstanceNormalization", normalization},
};

static oxp_walk_rule *rule_of(const walk *w, const oxp_graph_node *n)
{
    if (n->outputs[0] == OXP_NO_VALUE || oxp_walk_seen_out(w, n)->dtype == OXP_UNDEFINED)
        return oxp_walk_block;
    if (is_linear(n))
        return layer;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (oxp_pass_is(n, rules[i].type))
            return rules[i].rule;
    oxp_walk_rule *moves = oxp_walk_move(n);
    return moves ? moves : oxp_walk_block;
}

/* A second output that somebody reads (the mask of a Dropout, positions of a pool) has no
 * channels, so that its readers see nothing to change; the statistics of a normalisation are of
 * its pinned input. */
static oxp_status pin_ends(walk *w, const oxp_graph *g)
{
    for (size_t v = 0; v < g->value_count; v++) {
        bool leaves = g->values[v].is_output;
        for (size_t u = 0; u < g->values[v].use_count; u++)
            leaves = leaves || g->values[v].uses[u].input == UINT32_MAX;
        if (leaves)
            oxp_channels_pin(&w->variables, &w->channels[v]);
    }
    return OXP_OK;
}

oxp_status oxp_equalize_walk_graph(oxp_equalize_walk *w, oxp_pass *pass, oxp_arena *arena,
                                   const oxp_tensor *seen)
{
    const oxp_graph *g = pass->scopes[0].graph;
    *w = (walk){.pass = pass, .arena = arena, .seen = seen, .variables = {.ctx = pass->ctx}};
    w->channels = oxp_arena_alloc(arena, g->value_count + 1, sizeof *w->channels);
    w->zero = oxp_arena_alloc(arena, g->value_count + 1, sizeof *w->zero);
    if (!w->channels || !w->zero)
        return pass->ctx->status;
    for (size_t i = 0; i < g->node_count; i++)
        if (g->nodes[i].output_count > 0)
            OXP_TRY(rule_of(w, &g->nodes[i])(w, &g->nodes[i]));
    return pin_ends(w, g);
}

void oxp_equalize_walk_free(oxp_equalize_walk *w)
{
    oxp_variables_free(&w->variables);
    oxp_free(w->layers);
    oxp_free(w->constants);
    *w = (walk){0};
}
