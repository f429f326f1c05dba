/* layer_normalization.c - (x − mean)/√(mean of squares + ε) in elementary nodes: ONNX Runtime
 * fuses it as it is, so it is only recorded. */
#include "prepare/activations.h"

/* ReduceMean of (x − mean)² where that is a Pow by two or a product with itself. */
static bool is_variance(const oxp_pass *p, size_t scope, uint32_t id, uint32_t difference)
{
    double two;
    uint32_t base;
    const oxp_graph_node *mean = oxp_pass_producer(p, scope, id);
    if (!oxp_pass_is(mean, "ReduceMean") || mean->inputs[0] == OXP_NO_VALUE)
        return false;
    const oxp_graph_node *square = oxp_pass_producer(p, scope, mean->inputs[0]);
    if (oxp_pass_is(square, "Mul"))
        return square->input_count == 2 && square->inputs[0] == difference &&
               square->inputs[1] == difference;
    return oxp_pass_is(square, "Pow") && oxp_scalar_operand(p, scope, square, &two, &base) &&
           two == 2 && base == difference;
}

static bool is_normalization(const oxp_pass *p, size_t scope, const oxp_graph_node *div)
{
    double epsilon;
    uint32_t variance;
    if (div->input_count != 2 || div->inputs[0] == OXP_NO_VALUE || div->inputs[1] == OXP_NO_VALUE)
        return false;
    const oxp_graph_node *sub = oxp_pass_producer(p, scope, div->inputs[0]);
    const oxp_graph_node *root = oxp_pass_producer(p, scope, div->inputs[1]);
    if (!oxp_pass_is(sub, "Sub") || !oxp_pass_is(root, "Sqrt") || sub->input_count != 2 ||
        sub->inputs[1] == OXP_NO_VALUE || root->inputs[0] == OXP_NO_VALUE)
        return false;
    const oxp_graph_node *add = oxp_pass_producer(p, scope, root->inputs[0]);
    return oxp_pass_is(oxp_pass_producer(p, scope, sub->inputs[1]), "ReduceMean") &&
           oxp_pass_is(add, "Add") && oxp_scalar_operand(p, scope, add, &epsilon, &variance) &&
           is_variance(p, scope, variance, div->inputs[0]);
}

oxp_status oxp_recognise_layer_normalization(oxp_pass *p, size_t scope, const oxp_graph_node *node)
{
    if (node->outputs[0] == OXP_NO_VALUE || !is_normalization(p, scope, node))
        return OXP_OK;
    return oxp_pass_left(p, p->scopes[scope].graph->values[node->outputs[0]].name,
                         "LayerNormalization in elementary nodes: ONNX Runtime fuses it");
}
