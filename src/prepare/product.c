/* product.c - exporters write x·h/6 in every order of operands and nodes; all of them are one
 * product. */
#include "prepare/product.h"

bool oxp_scalar_fits(const oxp_pass *p, size_t scope, uint32_t id, int rank)
{
    return rank == 0 || oxp_pass_rank(p, scope, id) >= rank;
}

bool oxp_scalar_operand(const oxp_pass *p, size_t scope, const oxp_graph_node *node, double *number,
                        uint32_t *other)
{
    int rank;
    if (node->input_count != 2 || node->inputs[0] == OXP_NO_VALUE ||
        node->inputs[1] == OXP_NO_VALUE)
        return false;
    for (size_t i = 0; i < 2; i++)
        if (oxp_pass_scalar(p, scope, node, 1 - i, number, &rank)) {
            *other = node->inputs[i];
            return oxp_scalar_fits(p, scope, *other, rank);
        }
    return false;
}

const oxp_graph_node *oxp_private_producer(const oxp_pass *p, size_t scope, uint32_t id,
                                           const char *type)
{
    const oxp_graph_node *node = oxp_pass_producer(p, scope, id);
    return oxp_pass_is(node, type) && node->outputs[0] == id && oxp_pass_only_reader(p, scope, id)
               ? node
               : NULL;
}

static bool take(oxp_product *out, const oxp_pass *p, size_t scope, uint32_t id)
{
    const oxp_graph_node *inner = oxp_private_producer(p, scope, id, "Mul");
    if (!inner)
        inner = oxp_private_producer(p, scope, id, "Div");
    double number;
    uint32_t other;
    if (inner && oxp_pass_is(inner, "Div") && !oxp_scalar_operand(p, scope, inner, &number, &other))
        inner = NULL;
    if (inner) {
        if (out->node_count == OXP_PRODUCT_NODES)
            return false;
        out->nodes[out->node_count++] = inner;
        return true;
    }
    if (out->factor_count == OXP_PRODUCT_FACTORS)
        return false;
    out->factors[out->factor_count++] = id;
    return true;
}

bool oxp_product_read(oxp_product *out, const oxp_pass *p, size_t scope, const oxp_graph_node *root)
{
    if ((!oxp_pass_is(root, "Mul") && !oxp_pass_is(root, "Div")) ||
        oxp_model_opset(p->model, "") < 7 || root->outputs[0] == OXP_NO_VALUE)
        return false;
    *out = (oxp_product){.nodes = {root}, .node_count = 1, .constant = 1};
    for (size_t i = 0; i < out->node_count; i++) {
        const oxp_graph_node *node = out->nodes[i];
        bool division = oxp_pass_is(node, "Div");
        double number;
        uint32_t other;
        if (oxp_scalar_operand(p, scope, node, &number, &other)) {
            if (division && other != node->inputs[0])
                return false;
            out->constant = division ? out->constant / number : out->constant * number;
            out->divisions += division;
            if (!take(out, p, scope, other))
                return false;
        } else if (division || node->input_count != 2 || node->inputs[0] == OXP_NO_VALUE ||
                   node->inputs[1] == OXP_NO_VALUE || !take(out, p, scope, node->inputs[0]) ||
                   !take(out, p, scope, node->inputs[1])) {
            return false;
        }
    }
    return out->factor_count == OXP_PRODUCT_FACTORS;
}
