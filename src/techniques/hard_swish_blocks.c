/* hard_swish_blocks.c - the depthwise Conv that takes HardSwish in. */
#include "techniques/hard_swish_blocks.h"

#include <string.h>

static bool is_type(const oxp_graph_node *n, const char *type)
{
    return n->domain[0] == '\0' && strcmp(n->type, type) == 0;
}

static bool float_convs_read(const oxp_islands *islands, const oxp_value *y)
{
    for (size_t u = 0; u < y->use_count; u++)
        if (y->uses[u].input != 0 || !is_type(y->uses[u].node, "Conv"))
            return false;
    const oxp_graph *g = y->producer->graph;
    return y->use_count > 0 && !y->is_output && !oxp_islands_at(islands, g, y->id);
}

/* The Mul of x and HardSigmoid(x), or NULL. */
static const oxp_graph_node *gate_of(const oxp_value *x)
{
    if (x->is_output || x->use_count != 2 || x->uses[0].input == UINT32_MAX ||
        x->uses[1].input == UINT32_MAX)
        return NULL;
    bool first = is_type(x->uses[0].node, "HardSigmoid");
    const oxp_graph_node *sigmoid = x->uses[!first].node, *mul = x->uses[first].node;
    if (!is_type(sigmoid, "HardSigmoid") || !is_type(mul, "Mul") || mul->input_count != 2)
        return NULL;
    uint32_t s = sigmoid->outputs[0];
    bool both = (mul->inputs[0] == x->id && mul->inputs[1] == s) ||
                (mul->inputs[1] == x->id && mul->inputs[0] == s);
    return both && sigmoid->graph->values[s].use_count == 1 ? mul : NULL;
}

size_t oxp_hard_swish_channels(const oxp_islands *islands, const oxp_value *v)
{
    const oxp_graph_node *maker = v->producer, *mul = gate_of(v);
    if (!mul || !is_type(maker, "Conv") ||
        !float_convs_read(islands, &mul->graph->values[mul->outputs[0]]))
        return 0;
    const oxp_value *w = oxp_graph_node_constant(maker, 1);
    return w && w->constant.rank == 4 ? (size_t)w->constant.dims[0] : 0;
}

oxp_status oxp_hard_swish_conv(oxp_edit *e, const oxp_graph *g, size_t at, size_t channels,
                               const char *input, const char *output)
{
    int64_t dims[4] = {(int64_t)channels, 1, 1, 1}, four[1] = {4}, one[1] = {1}, kernel[2] = {1, 1};
    const char *shape, *ones = NULL, *key = oxp_arena_printf(&e->arena, "shape/%zu", channels);
    const float value = 1;
    oxp_node_proto *node;
    if (!key)
        return OXP_ELIMIT;
    OXP_TRY(oxp_edit_shared(&shape, e, g, key, OXP_INT64, 1, four, dims));
    OXP_TRY(oxp_edit_node(&node, e, g, at, "ConstantOfShape", 1, &shape, &ones));
    OXP_TRY(oxp_edit_set_tensor_attribute(e->model, node, "value", OXP_FLOAT, 1, one, &value));
    const char *inputs[2] = {input, ones};
    OXP_TRY(oxp_edit_node(&node, e, g, at + 1, "Conv", 2, inputs, &output));
    OXP_TRY(oxp_edit_set_ints(e->model, node, "kernel_shape", 2, kernel));
    return oxp_edit_set_int(e->model, node, "group", (int64_t)channels);
}
