/* activations.c - looks for activations that exporters spell out in elementary nodes. Subgraphs
 * included. */
#include "prepare/activations.h"

oxp_status oxp_product_remove_inner(oxp_pass *p, size_t scope, const oxp_product *product)
{
    const oxp_graph *g = p->scopes[scope].graph;
    for (size_t i = 1; i < product->node_count; i++) {
        const oxp_graph_node *node = product->nodes[i];
        OXP_TRY(oxp_pass_remove_node(p, scope, node));
        OXP_TRY(oxp_edit_remove_value_info(p->model, g->proto, g->values[node->outputs[0]].name));
    }
    return OXP_OK;
}

oxp_status oxp_insert_before(oxp_node_proto **out, const char **output, oxp_pass *p, size_t scope,
                             const oxp_graph_node *root, const char *type, size_t input_count,
                             const char *const *inputs)
{
    const oxp_graph *g = p->scopes[scope].graph;
    const char *made = g->values[root->outputs[0]].name;
    const char *base = oxp_arena_printf(&p->arena, "%s_%s", made, type);
    if (!base)
        return p->ctx->status;
    OXP_TRY(oxp_edit_unique_name(output, p->model, base));
    oxp_new_node node = {.type = type,
                         .domain = "",
                         .name = *output,
                         .input_count = input_count,
                         .output_count = 1,
                         .inputs = inputs,
                         .outputs = output};
    return oxp_edit_insert_node(out, p->model, g->proto, oxp_edit_position(g->proto, root->proto),
                                &node);
}

static oxp_status look_at(oxp_pass *p, size_t scope, const oxp_graph_node *node)
{
    oxp_product product;
    if (oxp_product_read(&product, p, scope, node)) {
        OXP_TRY(oxp_recognise_hard_swish(p, scope, &product));
        if (!oxp_pass_touched(p, scope, node))
            OXP_TRY(oxp_recognise_gelu(p, scope, &product));
    }
    if (!oxp_pass_touched(p, scope, node) && oxp_pass_is(node, "Div"))
        OXP_TRY(oxp_recognise_layer_normalization(p, scope, node));
    return OXP_OK;
}

oxp_status oxp_step_activations(oxp_pass *p)
{
    for (size_t s = 0; s < p->scope_count; s++) {
        const oxp_graph *g = p->scopes[s].graph;
        for (size_t n = 0; n < g->node_count; n++)
            if (!oxp_pass_touched(p, s, &g->nodes[n]))
                OXP_TRY(look_at(p, s, &g->nodes[n]));
    }
    return OXP_OK;
}
