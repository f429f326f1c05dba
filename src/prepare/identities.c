/* identities.c - nodes that hand on their input: Identity, Dropout outside training, and
 * products with one.
 *
 * Readers read the input directly. Where the node makes a graph output, the node before it takes
 * over the output's name. What stands between a graph input (or a constant, or an outer value)
 * and a graph output stays. */
#include <string.h>

#include "prepare/pass.h"

/* Dropout does nothing when it is not training and nobody asks for its mask. */
static bool is_idle_dropout(const oxp_pass *p, size_t scope, const oxp_graph_node *node)
{
    if (!oxp_pass_is(node, "Dropout") ||
        (node->output_count > 1 && node->outputs[1] != OXP_NO_VALUE))
        return false;
    int64_t opset = oxp_model_opset(p->model, "");
    if (opset < 7)
        return oxp_graph_node_int(node, "is_test", 0) != 0;
    if (opset < 12 || node->input_count < 3 || node->inputs[2] == OXP_NO_VALUE)
        return true;
    const oxp_value *training = oxp_pass_constant(p, scope, node, 2);
    return training && training->constant.dtype == OXP_BOOL && training->constant.count == 1 &&
           oxp_tensor_int(&training->constant, 0) == 0;
}

/* x*1, 1*x, x/1 keep every bit. The input that is handed on goes to *from; the shape must not
 * grow. */
static bool is_product_with_one(const oxp_pass *p, size_t scope, const oxp_graph_node *node,
                                size_t *from)
{
    bool product = oxp_pass_is(node, "Mul");
    if ((!product && !oxp_pass_is(node, "Div")) || oxp_model_opset(p->model, "") < 7 ||
        node->input_count != 2)
        return false;
    for (size_t i = product ? 0 : 1; i < 2; i++) {
        double number;
        int rank;
        if (node->inputs[1 - i] == OXP_NO_VALUE ||
            !oxp_pass_scalar(p, scope, node, i, &number, &rank) || number != 1)
            continue;
        if (rank > 0 && oxp_pass_rank(p, scope, node->inputs[1 - i]) < rank)
            continue;
        *from = 1 - i;
        return true;
    }
    return false;
}

static bool hands_on(const oxp_pass *p, size_t scope, const oxp_graph_node *node, size_t *from)
{
    *from = 0;
    if (node->input_count < 1 || node->inputs[0] == OXP_NO_VALUE ||
        node->outputs[0] == OXP_NO_VALUE)
        return false;
    return oxp_pass_is(node, "Identity") || is_idle_dropout(p, scope, node) ||
           is_product_with_one(p, scope, node, from);
}

/* The value that really stands at the input, when identities before it have gone already in this
 * view. */
static const char *current_input(const oxp_graph_node *node, size_t from)
{
    return oxp_node_proto_input(node->proto, from);
}

static oxp_status forget_inputs(oxp_pass *p, size_t scope, const oxp_graph_node *node, size_t from)
{
    for (size_t i = 0; i < node->input_count; i++)
        if (i != from)
            OXP_TRY(oxp_pass_forget(p, scope, node->inputs[i]));
    return OXP_OK;
}

static oxp_status note(oxp_pass *p, const oxp_graph_node *node)
{
    char label[OXP_NODE_TEXT_MAX];
    return oxp_pass_changed(p, node->graph->values[node->outputs[0]].name, "%s removed",
                            oxp_graph_node_text(label, node));
}

/* Readers of `v` read `name`; the whole graph is searched only when bodies read it too. */
static oxp_status redirect(oxp_pass *p, const oxp_graph *g, const oxp_value *v, const char *name)
{
    for (size_t i = 0; i < v->use_count; i++) {
        if (v->uses[i].input == UINT32_MAX)
            return oxp_edit_replace_uses(p->model, g->proto, v->name, name);
        OXP_TRY(oxp_edit_set_input(p->model, v->uses[i].node->proto, v->uses[i].input, name));
    }
    return OXP_OK;
}

static oxp_status bypass(oxp_pass *p, size_t scope, const oxp_graph_node *node, size_t from)
{
    const oxp_graph *g = p->scopes[scope].graph;
    const oxp_value *out = &g->values[node->outputs[0]];
    const char *input = current_input(node, from);
    if (!oxp_pass_admit(p, out->name))
        return OXP_OK;
    OXP_TRY(note(p, node));
    OXP_TRY(redirect(p, g, out, input));
    OXP_TRY(oxp_edit_remove_node(p->model, g->proto, node->proto));
    OXP_TRY(oxp_edit_remove_value_info(p->model, g->proto, out->name));
    oxp_pass_touch(p, scope, node);
    p->edits++;
    return forget_inputs(p, scope, node, from);
}

/* The producer of the input is renamed to the output. Both it and the input's other readers
 * count as touched: their names in this view are stale. */
static oxp_status take_over(oxp_pass *p, size_t scope, const oxp_graph_node *node, size_t from)
{
    const oxp_graph *g = p->scopes[scope].graph;
    const oxp_value *out = &g->values[node->outputs[0]], *in = &g->values[node->inputs[from]];
    const oxp_graph_node *producer = oxp_pass_producer(p, scope, in->id);
    if (!producer || in->is_output || p->scopes[scope].handed_on[in->id] ||
        strcmp(current_input(node, from), in->name) != 0 || !oxp_pass_admit(p, out->name))
        return OXP_OK;
    OXP_TRY(note(p, node));
    OXP_TRY(oxp_edit_remove_node(p->model, g->proto, node->proto));
    OXP_TRY(redirect(p, g, in, out->name));
    OXP_TRY(oxp_edit_set_output(p->model, producer->proto, in->producer_output, out->name));
    OXP_TRY(oxp_edit_remove_value_info(p->model, g->proto, in->name));
    oxp_pass_touch(p, scope, node);
    oxp_pass_touch(p, scope, producer);
    for (size_t i = 0; i < in->use_count; i++)
        oxp_pass_touch(p, scope, in->uses[i].node);
    p->edits++;
    return forget_inputs(p, scope, node, from);
}

oxp_status oxp_step_identities(oxp_pass *p)
{
    for (size_t s = 0; s < p->scope_count; s++) {
        const oxp_graph *g = p->scopes[s].graph;
        for (size_t n = 0; n < g->node_count; n++) {
            const oxp_graph_node *node = &g->nodes[n];
            size_t from;
            if (oxp_pass_touched(p, s, node) || !hands_on(p, s, node, &from))
                continue;
            const oxp_value *out = &g->values[node->outputs[0]];
            if (out->is_output)
                OXP_TRY(take_over(p, s, node, from));
            else if (!p->scopes[s].handed_on[out->id] && oxp_pass_reads(p, s, out->id) > 0)
                OXP_TRY(bypass(p, s, node, from));
        }
    }
    return OXP_OK;
}
