/* given.c - see given.h. */
#include "calibration/given.h"

#include <string.h>

static bool is_type(const oxp_graph_node *n, const char *type)
{
    return n && n->domain[0] == '\0' && strcmp(n->type, type) == 0;
}

static const oxp_value *home(const oxp_graph *graph, uint32_t value)
{
    const oxp_value *v = &graph->values[value];
    return v->kind == OXP_VALUE_OUTER ? &v->outer_graph->values[v->outer_value] : v;
}

static bool reads(const oxp_graph_node *n, size_t input)
{
    return input < n->input_count && n->inputs[input] != OXP_NO_VALUE;
}

/* Scale and zero point of a QuantizeLinear or DequantizeLinear, when there is one of each and the
 * codes have 8 bits. Without a zero point the codes are u8 by default. */
static bool read_scale(oxp_given *out, const oxp_graph_node *n)
{
    const oxp_value *scale = oxp_graph_node_constant(n, 1);
    const oxp_value *zero = oxp_graph_node_constant(n, 2);
    if (!scale || scale->constant.dtype != OXP_FLOAT || scale->constant.count != 1 ||
        (reads(n, 2) && (!zero || zero->constant.count != 1)) ||
        oxp_graph_node_int(n, "output_dtype", OXP_UNDEFINED) != OXP_UNDEFINED)
        return false;
    out->dtype = zero ? zero->constant.dtype : OXP_UINT8;
    out->scale.scale = *(const float *)scale->constant.data;
    out->scale.zero_point = zero ? (int)oxp_tensor_int(&zero->constant, 0) : 0;
    if (out->dtype == OXP_INT8)
        out->scale.zero_point += 128;
    return (out->dtype == OXP_UINT8 || out->dtype == OXP_INT8) && out->scale.scale > 0;
}

bool oxp_is_dequantised(const oxp_graph *graph, uint32_t value)
{
    const oxp_value *v = home(graph, value);
    return v->kind == OXP_VALUE_NODE && is_type(v->producer, "DequantizeLinear") &&
           reads(v->producer, 0) && !oxp_graph_node_constant(v->producer, 0);
}

bool oxp_given_input(oxp_given *out, const oxp_graph *graph, uint32_t value)
{
    if (!oxp_is_dequantised(graph, value))
        return false;
    const oxp_graph_node *n = home(graph, value)->producer;
    const oxp_graph_node *maker = home(n->graph, n->inputs[0])->producer;
    /* without a zero point the type of the codes is that of who makes them */
    return (reads(n, 2) || (is_type(maker, "QuantizeLinear") && read_scale(out, maker) &&
                            out->dtype == OXP_UINT8)) &&
           read_scale(out, n);
}

bool oxp_is_quantised(const oxp_graph *graph, uint32_t value)
{
    const oxp_value *v = &graph->values[value];
    for (size_t i = 0; i < v->use_count; i++)
        if (v->uses[i].input == 0 && is_type(v->uses[i].node, "QuantizeLinear"))
            return true;
    return false;
}

bool oxp_given_output(oxp_given *out, const oxp_graph *graph, uint32_t value)
{
    const oxp_value *v = &graph->values[value];
    return v->use_count == 1 && !v->is_output && oxp_is_quantised(graph, value) &&
           read_scale(out, v->uses[0].node);
}
