/* loop.c - Loop: (i, condition, variables) -> (condition, variables, scan outputs), run while the
 * condition holds and i is below the trip count. https://onnx.ai/onnx/operators/onnx__Loop.html
 *
 * Both may be missing; every step counts against the limit of node executions. Without a condition
 * input the body's condition still ends the loop, as in ONNX Runtime (the standard ignores it
 * then). Scan outputs are stacked along a new axis 0. */
#include "operators/control_flow.h"

typedef struct loop_state {
    size_t body;
} loop_state;

/* Body inputs and outputs of one run; values[0] is the condition, the variables follow. */
typedef struct loop_run {
    size_t variables, scans;
    const oxp_tensor **inputs; /* iteration, condition, variables */
    oxp_tensor iteration;
    oxp_tensor *values;
    oxp_tensor *outputs;
    oxp_collector *collectors;
} loop_run;

static oxp_status loop_prepare(oxp_node *n)
{
    loop_state *s = oxp_node_state(n, sizeof *s);
    if (!s)
        return n->ctx->status;
    OXP_TRY(oxp_body_find(n, "body", &s->body));
    const oxp_graph *body = n->def->subgraphs[s->body];
    size_t variables = n->in_count > 2 ? (size_t)n->in_count - 2 : 0;
    if (body->input_count != variables + 2 || body->output_count < variables + 1 ||
        (size_t)n->out_count > body->output_count - 1)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SUBGRAPH",
                             "%d inputs and %d outputs do not fit a body with %zu and %zu",
                             n->in_count, n->out_count, body->input_count, body->output_count);
    for (int i = 2; i < n->in_count; i++) {
        if (!n->in[i])
            return oxp_node_fail(n, OXP_EFORMAT, "E-ARITY", "loop variable %d is omitted", i - 2);
    }
    for (int i = 0; i < n->out_count; i++)
        OXP_TRY(oxp_output_later(n, i));
    return OXP_OK;
}

static oxp_status run_start(oxp_node *n, size_t body, loop_run *r)
{
    const oxp_graph *graph = n->def->subgraphs[body];
    r->variables = graph->input_count - 2;
    r->scans = graph->output_count - 1 - r->variables;
    r->inputs = oxp_node_scratch(n, graph->input_count, sizeof *r->inputs);
    r->values = oxp_node_scratch(n, r->variables + 1, sizeof *r->values);
    r->outputs = oxp_node_scratch(n, graph->output_count, sizeof *r->outputs);
    r->collectors = oxp_node_scratch(n, r->scans, sizeof *r->collectors);
    if (!r->inputs || !r->values || !r->outputs || !r->collectors)
        return n->ctx->status;
    r->inputs[0] = &r->iteration;
    for (size_t i = 0; i <= r->variables; i++)
        r->inputs[i + 1] = &r->values[i];
    for (size_t i = 0; i < r->variables; i++)
        oxp_tensor_share(&r->values[i + 1], n->in[i + 2]);
    return OXP_OK;
}

static void run_end(loop_run *r)
{
    oxp_tensor_release(&r->iteration);
    for (size_t i = 0; r->values && i <= r->variables; i++)
        oxp_tensor_release(&r->values[i]);
    for (size_t i = 0; r->outputs && i < 1 + r->variables + r->scans; i++)
        oxp_tensor_release(&r->outputs[i]);
    for (size_t i = 0; r->collectors && i < r->scans; i++)
        oxp_collector_free(&r->collectors[i]);
}

static bool is_wanted(const oxp_node *n, size_t output)
{
    return output < (size_t)n->out_count && n->wanted[output];
}

/* One step; *condition is what the body says. */
static oxp_status step(oxp_node *n, size_t body, loop_run *r, int64_t i, bool *condition)
{
    OXP_TRY(oxp_body_scalar(n, body, 0, OXP_INT64, i, &r->iteration));
    OXP_TRY(oxp_body_scalar(n, body, 1, OXP_BOOL, *condition, &r->values[0]));
    OXP_TRY(oxp_node_run_subgraph(n, body, r->inputs, r->variables + 2, r->outputs,
                                  1 + r->variables + r->scans));
    OXP_TRY(oxp_body_condition(n, &r->outputs[0], "the body's condition", condition));
    oxp_tensor_release(&r->iteration);
    for (size_t k = 0; k <= r->variables; k++) {
        oxp_tensor_release(&r->values[k]);
        r->values[k] = r->outputs[k];
        r->outputs[k] = (oxp_tensor){.rank = 0};
    }
    oxp_tensor_release(&r->values[0]);
    for (size_t k = 0; k < r->scans; k++) {
        oxp_tensor *t = &r->outputs[1 + r->variables + k];
        if (is_wanted(n, r->variables + k))
            OXP_TRY(oxp_collect(n, &r->collectors[k], t));
        oxp_tensor_release(t);
    }
    return OXP_OK;
}

static oxp_status run_steps(oxp_node *n, size_t body, loop_run *r)
{
    int64_t trips = INT64_MAX;
    bool condition = true;
    if (n->in_count > 0 && n->in[0])
        OXP_TRY(oxp_move_scalar(n, 0, &trips));
    if (n->in_count > 1 && n->in[1])
        OXP_TRY(oxp_body_condition(n, n->in[1], "input 1", &condition));
    for (int64_t i = 0; i < trips && condition; i++) {
        if ((uint64_t)i >= n->ctx->step_limit)
            return oxp_node_fail(n, OXP_ELIMIT, "E-LIMIT-STEPS", "more than %llu steps",
                                 (unsigned long long)n->ctx->step_limit);
        OXP_TRY(step(n, body, r, i, &condition));
    }
    return OXP_OK;
}

static oxp_status give_outputs(oxp_node *n, size_t body, loop_run *r)
{
    for (size_t i = 0; i < (size_t)n->out_count; i++) {
        if (i < r->variables)
            oxp_output_adopt(n, (int)i, &r->values[i + 1]);
        else if (is_wanted(n, i))
            OXP_TRY(oxp_collector_finish(n, &r->collectors[i - r->variables], (int)i, body, i + 1,
                                         0, false));
    }
    return OXP_OK;
}

static oxp_status loop_forward(oxp_node *n)
{
    const loop_state *s = n->state;
    loop_run r = {.variables = 0};
    oxp_status status = run_start(n, s->body, &r);
    if (status == OXP_OK)
        status = run_steps(n, s->body, &r);
    if (status == OXP_OK)
        status = give_outputs(n, s->body, &r);
    run_end(&r);
    return status;
}

const oxp_operator oxp_op_loop_1 = {
    .domain = "",
    .type = "Loop",
    .since = 1,
    .min_in = 2,
    .max_in = -1,
    .min_out = 1,
    .max_out = -1,
    .optional = 1 << 0 | 1 << 1,
    .prepare = loop_prepare,
    .forward = loop_forward,
};
