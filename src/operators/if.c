/* if.c - If: runs one of two bodies; its outputs are the node's.
 * https://onnx.ai/onnx/operators/onnx__If.html
 *
 * The branches may give other shapes, so nothing is declared before the run. */
#include "operators/control_flow.h"

typedef struct if_state {
    size_t then_branch, else_branch;
} if_state;

static oxp_status if_prepare(oxp_node *n)
{
    if_state *s = oxp_node_state(n, sizeof *s);
    if (!s)
        return n->ctx->status;
    OXP_TRY(oxp_body_find(n, "then_branch", &s->then_branch));
    OXP_TRY(oxp_body_find(n, "else_branch", &s->else_branch));
    for (int i = 0; i < n->out_count; i++)
        OXP_TRY(oxp_output_later(n, i));
    return OXP_OK;
}

static oxp_status if_forward(oxp_node *n)
{
    const if_state *s = n->state;
    bool condition;
    OXP_TRY(oxp_body_condition(n, n->in[0], "the condition", &condition));
    size_t count = (size_t)n->out_count;
    oxp_tensor *out = oxp_node_scratch(n, count, sizeof *out);
    if (!out)
        return n->ctx->status;
    oxp_status status =
        oxp_node_run_subgraph(n, condition ? s->then_branch : s->else_branch, NULL, 0, out, count);
    for (size_t i = 0; i < count; i++) {
        if (status == OXP_OK)
            oxp_output_adopt(n, (int)i, &out[i]);
        oxp_tensor_release(&out[i]);
    }
    return status;
}

/* Through the branch that was taken: what it reads from outside gets its gradients there. */
static oxp_status if_backward(oxp_node *n)
{
    const if_state *s = n->state;
    bool condition;
    OXP_TRY(oxp_body_condition(n, n->in[0], "the condition", &condition));
    return oxp_node_backward_subgraph(n, condition ? s->then_branch : s->else_branch, NULL, 0,
                                      n->dout, (size_t)n->out_count, NULL);
}

const oxp_operator oxp_op_if_1 = {
    .domain = "",
    .type = "If",
    .since = 1,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = -1,
    .prepare = if_prepare,
    .forward = if_forward,
    .backward = if_backward,
    .saves = 1,
};
