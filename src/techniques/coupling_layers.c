/* coupling_layers.c - layers: they begin channels and read those before them, see coupling.h. */
#include <string.h>

#include "techniques/coupling_rules.h"

static bool is_type(const oxp_graph_node *n, const char *type)
{
    return strcmp(n->type, type) == 0 && n->domain[0] == '\0';
}

static bool read_convolution(oxp_coupled_layer *l, const oxp_tensor *w, bool transposed)
{
    size_t first = (size_t)w->dims[0], second = (size_t)w->dims[1];
    l->out_axis = transposed ? 1 : 0;
    l->in_axis = transposed ? 0 : 1;
    l->outputs = transposed ? second * l->groups : first;
    l->inputs = transposed ? first / l->groups : second;
    l->is_depthwise = l->groups > 1 && l->inputs == 1;
    if (transposed && l->is_depthwise) /* [C, 1, …]: a row for input and output alike */
        l->out_axis = 0;
    return l->groups >= 1 && l->outputs % l->groups == 0 &&
           (!transposed || l->groups == 1 || (l->is_depthwise && second == 1));
}

/* Weights with axes for inputs and outputs; false: its channels cannot be followed. */
static bool read_layer(oxp_coupled_layer *l, const oxp_coupling *c, const oxp_graph_node *n)
{
    *l = (oxp_coupled_layer){.node = n, .weight = oxp_coupling_own(n, 1), .groups = 1};
    if (!l->weight || l->weight->constant.dtype != OXP_FLOAT || !oxp_coupling_has_input(n, 0) ||
        n->graph->values[n->inputs[0]].kind == OXP_VALUE_CONSTANT ||
        (c->may_change && !c->may_change[l->weight->id]))
        return false;
    const oxp_tensor *w = &l->weight->constant;
    if (is_type(n, "Conv") || is_type(n, "ConvTranspose")) {
        l->groups = (size_t)oxp_graph_node_int(n, "group", 1);
        return w->rank >= 3 && read_convolution(l, w, is_type(n, "ConvTranspose"));
    }
    bool transposed = is_type(n, "Gemm") && oxp_graph_node_int(n, "transB", 0);
    if (w->rank != 2 || (is_type(n, "Gemm") && oxp_graph_node_int(n, "transA", 0)))
        return false;
    l->in_axis = transposed ? 1 : 0;
    l->out_axis = 1 - l->in_axis;
    l->inputs = (size_t)w->dims[l->in_axis];
    l->outputs = (size_t)w->dims[l->out_axis];
    return true;
}

/* A bias that can follow, or none. */
static bool read_bias(oxp_coupled_layer *l, int *axis)
{
    if (!oxp_coupling_has_input(l->node, 2))
        return true;
    l->bias = oxp_coupling_own(l->node, 2);
    if (!l->bias || l->bias->constant.dtype != OXP_FLOAT)
        return false;
    const oxp_tensor *b = &l->bias->constant;
    *axis = b->rank - 1;
    if (b->count == 1 && l->outputs > 1 && is_type(l->node, "Gemm"))
        l->bias = NULL; /* one number for all */
    return !l->bias ||
           (b->rank >= 1 && b->count == l->outputs && b->dims[b->rank - 1] == (int64_t)l->outputs);
}

/* in[inputs of one group] and out[outputs]; channels of other groups are united with these. */
static oxp_status couple(oxp_coupling *c, oxp_coupled_layer *l, const uint32_t *all_in)
{
    oxp_variables *v = &c->variables;
    size_t per_group = l->outputs / l->groups;
    for (size_t g = 0; g < l->groups && l->groups > 1; g++) {
        for (size_t i = 0; i < l->inputs && !l->is_depthwise; i++)
            oxp_variables_unite(v, all_in[i], all_in[g * l->inputs + i]);
        for (size_t j = 0; j < per_group; j++)
            oxp_variables_unite(v, l->is_depthwise ? all_in[g] : l->out[j],
                                l->out[g * per_group + j]);
    }
    if (l->is_depthwise)
        return oxp_coupling_add_count(
            c, (oxp_count){
                   .node = l->node, .attribute = "group", .variables = all_in, .count = l->groups});
    return oxp_coupling_add_cut(c, (oxp_cut){l->weight, l->in_axis, l->in});
}

static oxp_status add_layer(oxp_coupling *c, oxp_coupled_layer *l, int bias_axis)
{
    const oxp_tensor *y = &c->seen[l->node->outputs[0]], *w = &l->weight->constant;
    OXP_TRY(oxp_coupling_add_cut(c, (oxp_cut){l->weight, l->out_axis, l->out}));
    if (l->bias)
        OXP_TRY(oxp_coupling_add_cut(c, (oxp_cut){l->bias, bias_axis, l->out}));
    double taps = (double)w->count / ((double)w->dims[0] * (double)w->dims[1]);
    double positions = (double)y->count / (double)l->outputs;
    if (is_type(l->node, "ConvTranspose"))
        positions = (double)c->seen[l->node->inputs[0]].count / (double)(l->inputs * l->groups);
    l->macs = taps * positions / (l->is_depthwise ? 1 : (double)l->groups);
    if (!l->is_depthwise && l->groups > 1) /* in[] stands for the inputs of all groups */
        l->macs *= (double)l->groups;
    OXP_TRY(oxp_grow(&c->layers, &c->layer_capacity, c->arena->ctx, c->layer_count + 1,
                     sizeof *c->layers));
    c->layers[c->layer_count++] = *l;
    return OXP_OK;
}

static const uint32_t *no_variables(oxp_coupling *c, size_t count)
{
    uint32_t *v = oxp_arena_alloc(c->arena, count + 1, sizeof *v);
    for (size_t i = 0; v && i < count; i++)
        v[i] = OXP_NO_VARIABLE;
    return v;
}

/* Variables of the layer's inputs, all groups; NONE where x has no channels there. */
static const uint32_t *inputs_of(oxp_coupling *c, const oxp_coupled_layer *l, int axis)
{
    const oxp_channels *x = oxp_coupling_in(c, l->node, 0);
    size_t total = l->inputs * l->groups;
    if (x->count && axis >= 0 && axis < x->rank && oxp_coupling_single(x) &&
        oxp_coupling_axis(x) == axis && x->dims[axis] == (int64_t)total)
        return oxp_coupling_along(c, x, axis);
    oxp_channels_pin(&c->variables, x);
    return no_variables(c, total);
}

/* ---- depthwise layers whose numbers are made by ConstantOfShape ---- */

/* The node that makes input i, one number in a constant shape of `channels` rows, for n alone. */
static const oxp_graph_node *maker_of(const oxp_graph_node *n, size_t i, int64_t channels)
{
    const int64_t *shape;
    size_t count;
    bool is_attribute;
    if (!oxp_coupling_has_input(n, i))
        return NULL;
    const oxp_value *v = &n->graph->values[n->inputs[i]];
    if (v->kind != OXP_VALUE_NODE || !v->producer || v->use_count != 1 || v->is_output ||
        !is_type(v->producer, "ConstantOfShape"))
        return NULL;
    return oxp_coupling_integers(&shape, &count, &is_attribute, v->producer, 0, NULL) && count &&
                   shape[0] == channels
               ? v->producer
               : NULL;
}

static bool is_uniform(const oxp_coupling *c, const oxp_graph_node *n)
{
    const oxp_channels *x = oxp_coupling_in(c, n, 0);
    int64_t group = oxp_graph_node_int(n, "group", 1);
    return is_type(n, "Conv") && x->count && oxp_coupling_single(x) && oxp_coupling_axis(x) == 1 &&
           x->dims[1] == group && c->seen[n->outputs[0]].dims[1] == group &&
           maker_of(n, 1, group) &&
           (!oxp_coupling_has_input(n, 2) || maker_of(n, 2, group) || oxp_coupling_own(n, 2));
}

static oxp_status uniform(oxp_coupling *c, const oxp_graph_node *n)
{
    oxp_channels y = *oxp_coupling_in(c, n, 0);
    const oxp_tensor *made = &c->seen[n->outputs[0]];
    oxp_count count = {.node = n, .attribute = "group", .count = (size_t)y.dims[1]};
    count.variables = oxp_coupling_along(c, &y, 1);
    if (!count.variables)
        return OXP_ELIMIT;
    OXP_TRY(oxp_coupling_add_count(c, count));
    for (size_t i = 1; i < n->input_count; i++) {
        const oxp_graph_node *maker = maker_of(n, i, y.dims[1]);
        count = (oxp_count){
            .node = maker, .is_list = true, .variables = count.variables, .count = count.count};
        if (maker)
            OXP_TRY(oxp_coupling_add_count(c, count));
        else if (oxp_coupling_has_input(n, i))
            OXP_TRY(oxp_coupling_add_cut(c, (oxp_cut){oxp_coupling_own(n, i), 0, count.variables}));
    }
    memcpy(y.dims, made->dims, sizeof y.dims);
    return oxp_coupling_hand_on(c, n, &y);
}

oxp_status oxp_coupling_layer(oxp_coupling *c, const oxp_graph_node *n)
{
    oxp_coupled_layer l;
    int bias_axis = 0;
    const oxp_tensor *y = &c->seen[n->outputs[0]], *x = &c->seen[n->inputs[0]];
    if (is_uniform(c, n))
        return uniform(c, n);
    if (!read_layer(&l, c, n) || !read_bias(&l, &bias_axis))
        return oxp_coupling_block(c, n);
    bool spatial = is_type(n, "Conv") || is_type(n, "ConvTranspose");
    int in_axis = spatial ? 1 : x->rank - 1, out_axis = spatial ? 1 : y->rank - 1;
    if (out_axis < 0 || out_axis >= y->rank || y->dims[out_axis] != (int64_t)l.outputs ||
        y->count == 0)
        return oxp_coupling_block(c, n);
    const uint32_t *all_in = inputs_of(c, &l, in_axis);
    OXP_TRY(oxp_coupling_begin(c, n, out_axis));
    l.in = all_in;
    l.out = oxp_coupling_along(c, &c->channels[n->outputs[0]], out_axis);
    if (!l.in || !l.out)
        return OXP_ELIMIT;
    if (l.groups > 1 && all_in[0] == OXP_NO_VARIABLE) { /* the groups must stay what they are */
        oxp_channels_pin(&c->variables, &c->channels[n->outputs[0]]);
        return OXP_OK;
    }
    OXP_TRY(couple(c, &l, all_in));
    return add_layer(c, &l, bias_axis);
}
