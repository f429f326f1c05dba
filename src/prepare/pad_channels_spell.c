/* pad_channels_spell.c - the same function of the same numbers in nodes that have a blocked form.
 *
 * Concat(x, zeros) that is added to the result of a Conv becomes a 1x1 Conv with W[m, c] = 1 where
 * m = c: a residual that gets wider. y = a x + b between a Conv and Convs that cannot take it
 * (zeros are padded around y) becomes a depthwise 1x1 Conv with weights a and biases b; for one
 * pair of numbers they are spelled ConstantOfShape, which ONNX Runtime runs once, when it loads the
 * model. */
#include "prepare/activations.h"
#include "prepare/pad_channels.h"

/* ---- zeros appended ---- */

static bool is_zero_tensor(const oxp_tensor *t)
{
    for (size_t i = 0; i < t->count; i++)
        if (t->dtype != OXP_FLOAT || ((const float *)t->data)[i] != 0)
            return false;
    return t->rank == 4;
}

#define ZEROS_BYTES_MAX ((size_t)64 << 20)

/* Channels of zeros [N, C, H, W] at input i, constant or made of constants; 0 when it is something
 * else. */
static oxp_status zero_channels(size_t *out, oxp_pass *p, size_t scope, const oxp_graph_node *n,
                                size_t i)
{
    const oxp_value *v = oxp_pass_constant(p, scope, n, i);
    *out = v && is_zero_tensor(&v->constant) ? (size_t)v->constant.dims[1] : 0;
    const oxp_graph_node *maker = v ? NULL : oxp_pass_producer(p, scope, n->inputs[i]);
    if (!oxp_pass_is(maker, "ConstantOfShape"))
        return OXP_OK;
    const oxp_value *shape = oxp_pass_constant(p, scope, maker, 0);
    if (!shape)
        return OXP_OK;
    oxp_tensor made;
    bool ran;
    const oxp_tensor *inputs[1] = {&shape->constant};
    OXP_TRY(oxp_pass_evaluate(&made, &ran, p, maker, inputs, ZEROS_BYTES_MAX));
    if (ran && is_zero_tensor(&made))
        *out = (size_t)made.dims[1];
    return OXP_OK;
}

/* The other side of the Add that alone reads the value is a Conv's result. */
static bool is_added_to_conv(const oxp_pass *p, size_t scope, const oxp_channel_groups *groups,
                             uint32_t value)
{
    const oxp_graph_node *add = oxp_pass_only_reader(p, scope, value);
    if (!oxp_pass_is(add, "Add") || add->inputs[0] == add->inputs[1])
        return false;
    uint32_t other = add->inputs[add->inputs[0] == value];
    return groups->blocked[other];
}

static oxp_status write_widening(oxp_pass *p, size_t scope, const oxp_graph_node *n, size_t from,
                                 size_t to)
{
    const oxp_graph *g = p->scopes[scope].graph;
    const char *made = g->values[n->outputs[0]].name, *name;
    const char *base = oxp_arena_printf(&p->arena, "%s_widening", made);
    int64_t dims[4] = {(int64_t)to, (int64_t)from, 1, 1}, kernel[2] = {1, 1};
    float *w = oxp_arena_alloc(&p->arena, from * to, sizeof *w);
    if (!base || !w)
        return p->ctx->status;
    for (size_t c = 0; c < from; c++)
        w[c * from + c] = 1;
    const oxp_graph_node *maker = oxp_pass_producer(p, scope, n->inputs[1]);
    OXP_TRY(oxp_pass_new_constant(&name, p, scope, base, OXP_FLOAT, 4, dims, w));
    OXP_TRY(oxp_pass_read_constant(p, scope, n, 1, name));
    OXP_TRY(oxp_edit_set_type(p->model, n->proto, "Conv", ""));
    OXP_TRY(oxp_edit_remove_attribute(p->model, n->proto, "axis"));
    OXP_TRY(oxp_edit_set_ints(p->model, n->proto, "kernel_shape", 2, kernel));
    if (maker && oxp_pass_reads(p, scope, maker->outputs[0]) == 0)
        return oxp_pass_remove_node(p, scope, maker);
    return OXP_OK;
}

static oxp_status widen(oxp_pass *p, size_t scope, const oxp_channel_groups *groups,
                        const oxp_graph_node *n)
{
    const oxp_graph *g = p->scopes[scope].graph;
    if (!oxp_pass_is(n, "Concat") || n->input_count != 2 || n->inputs[0] == n->inputs[1] ||
        oxp_graph_node_int(n, "axis", 0) != 1)
        return OXP_OK;
    size_t from = groups->channels[n->inputs[0]], more;
    const char *made = g->values[n->outputs[0]].name;
    if (from == 0 || !is_added_to_conv(p, scope, groups, n->outputs[0]))
        return OXP_OK;
    OXP_TRY(zero_channels(&more, p, scope, n, 1));
    if (more == 0 || !oxp_pass_admit(p, made))
        return OXP_OK;
    OXP_TRY(oxp_pass_changed(p, made, "%zu channels of zeros appended to %zu by a 1x1 Conv", more,
                             from));
    return write_widening(p, scope, n, from, from + more);
}

/* ---- y = a x + b ---- */

static oxp_status insert_constant_of_shape(oxp_pass *p, size_t scope, const oxp_graph_node *before,
                                           const char *shape, const char *output, float value)
{
    const oxp_graph *g = p->scopes[scope].graph;
    oxp_new_node node = {.type = "ConstantOfShape",
                         .domain = "",
                         .name = "",
                         .input_count = 1,
                         .output_count = 1,
                         .inputs = &shape,
                         .outputs = &output};
    oxp_node_proto *made;
    OXP_TRY(oxp_edit_insert_node(&made, p->model, g->proto,
                                 oxp_edit_position(g->proto, before->proto), &node));
    return oxp_edit_set_tensor_attribute(p->model, made, "value", OXP_FLOAT, 1, (int64_t[]){1},
                                         &value);
}

/* One number for all, run when the model is loaded; or one per channel, held. */
static oxp_status spread(const char **name, oxp_pass *p, size_t scope, const oxp_graph_node *before,
                         bool scalar, int rank, const int64_t *dims, const double *numbers)
{
    size_t channels = (size_t)dims[0];
    const char *made = p->scopes[scope].graph->values[before->outputs[0]].name, *shape;
    const char *base = oxp_arena_printf(&p->arena, "%s_%s", made, rank == 1 ? "bias" : "factor");
    float *data = oxp_arena_alloc(&p->arena, channels, sizeof *data);
    if (!base || !data)
        return p->ctx->status;
    for (size_t c = 0; c < channels; c++)
        data[c] = (float)numbers[scalar ? 0 : c];
    if (!scalar)
        return oxp_pass_new_constant(name, p, scope, base, OXP_FLOAT, rank, dims, data);
    OXP_TRY(
        oxp_pass_new_constant(&shape, p, scope, "shape", OXP_INT64, 1, (int64_t[]){rank}, dims));
    OXP_TRY(oxp_edit_unique_name(name, p->model, base));
    return insert_constant_of_shape(p, scope, before, shape, *name, data[0]);
}

static oxp_status write_pointwise(oxp_pass *p, size_t scope, const oxp_chain *chain,
                                  size_t channels)
{
    const oxp_graph *g = p->scopes[scope].graph;
    const oxp_graph_node *last = chain->nodes[chain->count - 1];
    int64_t dims[4] = {(int64_t)channels, 1, 1, 1}, kernel[2] = {1, 1};
    const char *inputs[3] = {g->values[chain->from].name}, *output = g->values[chain->to].name;
    OXP_TRY(spread(&inputs[1], p, scope, last, chain->scalar, 4, dims, chain->scale));
    OXP_TRY(spread(&inputs[2], p, scope, last, chain->scalar, 1, dims, chain->shift));
    oxp_new_node conv = {.type = "Conv",
                         .domain = "",
                         .name = last->name,
                         .input_count = 3,
                         .output_count = 1,
                         .inputs = inputs,
                         .outputs = &output};
    oxp_node_proto *made;
    OXP_TRY(oxp_edit_insert_node(&made, p->model, g->proto,
                                 oxp_edit_position(g->proto, last->proto), &conv));
    OXP_TRY(oxp_edit_set_ints(p->model, made, "kernel_shape", 2, kernel));
    OXP_TRY(oxp_edit_set_int(p->model, made, "group", (int64_t)channels));
    for (size_t i = 0; i < chain->count; i++) {
        uint32_t out = chain->nodes[i]->outputs[0];
        OXP_TRY(oxp_pass_remove_node(p, scope, chain->nodes[i]));
        if (out != chain->to)
            OXP_TRY(oxp_edit_remove_value_info(p->model, g->proto, g->values[out].name));
    }
    return OXP_OK;
}

static bool only_convs_read(const oxp_pass *p, size_t scope, uint32_t id)
{
    const oxp_value *v = &p->scopes[scope].graph->values[id];
    for (size_t u = 0; u < v->use_count; u++)
        if (v->uses[u].input != 0 || !oxp_pass_is(v->uses[u].node, "Conv") ||
            oxp_pass_touched(p, scope, v->uses[u].node))
            return false;
    return v->use_count > 0 && !v->is_output;
}

static oxp_status spell_affine(oxp_pass *p, size_t scope, const oxp_channel_groups *groups,
                               uint32_t id)
{
    const oxp_graph *g = p->scopes[scope].graph;
    oxp_chain chain;
    size_t channels = groups->channels[id];
    const oxp_graph_node *maker = oxp_pass_producer(p, scope, id);
    if (!groups->blocked[id] || !maker || oxp_model_opset(p->model, "") < 9)
        return OXP_OK;
    OXP_TRY(oxp_chain_behind(&chain, p, scope, id, 4, 1, channels, OXP_CHAIN_ARITHMETIC));
    if (chain.count == 0 || chain.normalization || !only_convs_read(p, scope, chain.to) ||
        !oxp_pass_admit(p, g->values[chain.to].name))
        return OXP_OK;
    char text[OXP_CHAIN_TEXT_MAX];
    OXP_TRY(oxp_pass_changed(p, g->values[chain.to].name, "%s as a depthwise 1x1 Conv",
                             oxp_chain_text(text, &chain)));
    return write_pointwise(p, scope, &chain, channels);
}

oxp_status oxp_spell_in_blocks(oxp_pass *p, size_t scope, const oxp_channel_groups *groups)
{
    const oxp_graph *g = p->scopes[scope].graph;
    for (size_t n = 0; n < g->node_count; n++)
        if (!oxp_pass_touched(p, scope, &g->nodes[n]))
            OXP_TRY(widen(p, scope, groups, &g->nodes[n]));
    for (uint32_t v = 0; v < groups->value_count; v++)
        OXP_TRY(spell_affine(p, scope, groups, v));
    return OXP_OK;
}
