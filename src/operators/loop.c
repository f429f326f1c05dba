/* loop.c - Loop: (i, condition, variables) -> (condition, variables, scan outputs), run while the
 * condition holds and i is below the trip count. https://onnx.ai/onnx/operators/onnx__Loop.html
 *
 * Both may be missing; every step counts against the limit of node executions. Without a condition
 * input the body's condition still ends the loop, as in ONNX Runtime (the standard ignores it
 * then). Scan outputs are stacked along a new axis 0. */
#include "operators/gradient.h"
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

/* The inputs of step i beside the variables. */
static oxp_status start_step(oxp_node *n, size_t body, loop_run *r, int64_t i)
{
    OXP_TRY(oxp_body_scalar(n, body, 0, OXP_INT64, i, &r->iteration));
    return oxp_body_scalar(n, body, 1, OXP_BOOL, true, &r->values[0]);
}

/* One step; *condition is what the body says. `history` NULL: going forward, scan outputs are
 * collected. */
static oxp_status step(oxp_node *n, size_t body, loop_run *r, int64_t i, bool *condition,
                       oxp_history *history)
{
    if (history)
        OXP_TRY(oxp_history_add(n, history, r->values + 1));
    OXP_TRY(start_step(n, body, r, i));
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
        if (!history && is_wanted(n, r->variables + k))
            OXP_TRY(oxp_collect(n, &r->collectors[k], t));
        oxp_tensor_release(t);
    }
    return OXP_OK;
}

static oxp_status run_steps(oxp_node *n, size_t body, loop_run *r, oxp_history *history)
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
        OXP_TRY(step(n, body, r, i, &condition, history));
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
        status = run_steps(n, s->body, &r, NULL);
    if (status == OXP_OK)
        status = give_outputs(n, s->body, &r);
    run_end(&r);
    return status;
}

/* ---- backward ---- */

/* Gradients of the variables, as going back has them; without data: zero. */
typedef struct loop_back {
    size_t body;
    loop_run *run;
    oxp_history history;
    oxp_tensor *dvariables;
    oxp_tensor *din;         /* of the body's inputs */
    oxp_tensor *slices;      /* of the scan outputs' gradients: borrowed */
    const oxp_tensor **dout; /* of the body's outputs */
} loop_back;

static oxp_status back_start(oxp_node *n, loop_back *b)
{
    const loop_run *r = b->run;
    size_t outputs = 1 + r->variables + r->scans;
    b->history.variables = r->variables;
    b->dvariables = oxp_node_scratch(n, r->variables, sizeof *b->dvariables);
    b->din = oxp_node_scratch(n, r->variables + 2, sizeof *b->din);
    b->slices = oxp_node_scratch(n, r->scans, sizeof *b->slices);
    b->dout = oxp_node_scratch(n, outputs, sizeof *b->dout);
    if (!b->dvariables || !b->din || !b->slices || !b->dout)
        return n->ctx->status;
    for (size_t k = 0; k < r->variables && k < (size_t)n->out_count; k++)
        if (n->dout[k])
            oxp_tensor_share(&b->dvariables[k], n->dout[k]);
    return OXP_OK;
}

/* Entry i of a scan output's gradient [steps, ...]. */
static const oxp_tensor *scan_slice(const oxp_node *n, loop_back *b, size_t k, size_t i)
{
    size_t output = b->run->variables + k;
    if (output >= (size_t)n->out_count || !n->dout[output])
        return NULL;
    const oxp_tensor *all = n->dout[output];
    oxp_tensor *t = &b->slices[k];
    *t = *all;
    t->storage = NULL;
    t->rank--;
    for (int d = 0; d < t->rank; d++)
        t->dims[d] = all->dims[d + 1];
    t->count = all->count / (size_t)all->dims[0];
    t->data = (float *)all->data + i * t->count;
    return t;
}

static oxp_status back_step(oxp_node *n, loop_back *b, size_t i)
{
    loop_run *r = b->run;
    size_t variables = r->variables;
    OXP_TRY(start_step(n, b->body, r, (int64_t)i));
    for (size_t k = 0; k < variables; k++) {
        r->inputs[2 + k] = &b->history.values[i * variables + k];
        b->dout[1 + k] = b->dvariables[k].data ? &b->dvariables[k] : NULL;
    }
    for (size_t k = 0; k < r->scans; k++)
        b->dout[1 + variables + k] = scan_slice(n, b, k, i);
    OXP_TRY(oxp_node_backward_subgraph(n, b->body, r->inputs, variables + 2, b->dout,
                                       1 + variables + r->scans, b->din));
    oxp_tensor_release(&r->iteration);
    oxp_tensor_release(&r->values[0]);
    for (size_t k = 0; k < variables; k++) {
        oxp_tensor_release(&b->dvariables[k]);
        b->dvariables[k] = b->din[2 + k];
        b->din[2 + k] = (oxp_tensor){.rank = 0};
    }
    return OXP_OK;
}

static oxp_status run_back(oxp_node *n, loop_back *b)
{
    OXP_TRY(back_start(n, b));
    OXP_TRY(run_steps(n, b->body, b->run, &b->history));
    for (size_t i = b->history.steps; i-- > 0;)
        OXP_TRY(back_step(n, b, i));
    for (size_t k = 0; k < b->run->variables; k++)
        if (b->dvariables[k].data && oxp_din(n, (int)k + 2))
            oxp_gradient_add(oxp_din(n, (int)k + 2), b->dvariables[k].data, b->dvariables[k].count,
                             1);
    return OXP_OK;
}

/* Forward again for the variables that each step began with, then the steps from the last on. */
static oxp_status loop_backward(oxp_node *n)
{
    const loop_state *s = n->state;
    loop_run r = {.variables = 0};
    loop_back b = {.body = s->body, .run = &r};
    oxp_status status = run_start(n, s->body, &r);
    if (status == OXP_OK)
        status = run_back(n, &b);
    oxp_history_free(&b.history);
    for (size_t k = 0; b.dvariables && k < r.variables; k++)
        oxp_tensor_release(&b.dvariables[k]);
    for (size_t k = 0; b.din && k < r.variables + 2; k++)
        oxp_tensor_release(&b.din[k]);
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
    .backward = loop_backward,
    .saves = 0xffff,
};
