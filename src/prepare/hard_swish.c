/* hard_swish.c - HardSwish spelled out: x·Clip(x + 3, 0, 6)/6 becomes x·HardSigmoid(x), α = 1/6,
 * β = 1/2.
 *
 * Two nodes instead of four, in any opset; the factor 1/6 may be a Div or a Mul and stand
 * anywhere in the product. https://onnx.ai/onnx/operators/onnx__HardSwish.html */
#include <math.h>

#include "prepare/activations.h"

static bool near(double a, double b)
{
    return fabs(a - b) <= 1e-6 * fabs(b);
}

/* One bound of a Clip: an attribute before opset 11, an input from then on. */
static bool bound_is(const oxp_pass *p, size_t scope, const oxp_graph_node *clip, size_t input,
                     const char *attribute, double expected)
{
    double number;
    int rank;
    if (oxp_model_opset(p->model, "") >= 11)
        return oxp_pass_scalar(p, scope, clip, input, &number, &rank) && number == expected;
    const oxp_attribute *a = oxp_graph_node_attribute(clip, attribute);
    return a && a->type == OXP_ATTR_FLOAT && (double)a->f == expected;
}

/* The nodes of Clip(x + 3, 0, 6) behind a factor; false when it is something else. */
static bool read_gate(const oxp_graph_node **clip, const oxp_graph_node **add, const oxp_pass *p,
                      size_t scope, uint32_t factor, uint32_t x)
{
    double three;
    uint32_t other;
    *clip = oxp_private_producer(p, scope, factor, "Clip");
    if (!*clip || (*clip)->inputs[0] == OXP_NO_VALUE || !bound_is(p, scope, *clip, 1, "min", 0) ||
        !bound_is(p, scope, *clip, 2, "max", 6))
        return false;
    *add = oxp_private_producer(p, scope, (*clip)->inputs[0], "Add");
    return *add && oxp_scalar_operand(p, scope, *add, &three, &other) && three == 3 && other == x;
}

static oxp_status rewrite(oxp_pass *p, size_t scope, const oxp_product *product, uint32_t x,
                          const oxp_graph_node *clip, const oxp_graph_node *add)
{
    const oxp_graph *g = p->scopes[scope].graph;
    const oxp_graph_node *root = product->nodes[0];
    const char *gate, *inputs[1];
    size_t home;
    inputs[0] = oxp_pass_root(p, scope, x, &home)->name;
    oxp_node_proto *node;
    OXP_TRY(oxp_insert_before(&node, &gate, p, scope, root, "HardSigmoid", 1, inputs));
    OXP_TRY(oxp_edit_set_float(p->model, node, "alpha", 1.0f / 6.0f));
    OXP_TRY(oxp_edit_set_float(p->model, node, "beta", 0.5f));
    OXP_TRY(oxp_edit_set_type(p->model, root->proto, "Mul", ""));
    OXP_TRY(oxp_pass_read(p, scope, root, 0, x));
    OXP_TRY(oxp_pass_read_constant(p, scope, root, 1, gate));
    OXP_TRY(oxp_product_remove_inner(p, scope, product));
    OXP_TRY(oxp_pass_remove_node(p, scope, clip));
    OXP_TRY(oxp_pass_remove_node(p, scope, add));
    OXP_TRY(oxp_edit_remove_value_info(p->model, g->proto, g->values[clip->outputs[0]].name));
    return oxp_edit_remove_value_info(p->model, g->proto, g->values[add->outputs[0]].name);
}

oxp_status oxp_recognise_hard_swish(oxp_pass *p, size_t scope, const oxp_product *product)
{
    if (!near(product->constant, 1.0 / 6.0))
        return OXP_OK;
    for (size_t i = 0; i < 2; i++) {
        const oxp_graph_node *clip, *add;
        uint32_t x = product->factors[1 - i];
        if (!read_gate(&clip, &add, p, scope, product->factors[i], x))
            continue;
        const char *made = p->scopes[scope].graph->values[product->nodes[0]->outputs[0]].name;
        if (oxp_pass_rank(p, scope, product->nodes[0]->outputs[0]) < 0)
            return oxp_pass_left(p, made, "HardSwish: no sample comes by");
        if (!oxp_pass_admit(p, made))
            return OXP_OK;
        OXP_TRY(oxp_pass_changed(p, made, "HardSwish as x*HardSigmoid(x)"));
        return rewrite(p, scope, product, x, clip, add);
    }
    return OXP_OK;
}
