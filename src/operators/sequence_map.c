/* sequence_map.c - SequenceMap: the body run for each tensor of the first sequence, beside it the
 * tensor at the same place of every other sequence, and the tensors as they are; each output is the
 * sequence of what the body gives. https://onnx.ai/onnx/operators/onnx__SequenceMap.html */
#include "operators/control_flow.h"
#include "operators/sequence.h"

typedef struct map_state {
    size_t body;
} map_state;

/* One run: what the body sees and gives, and the sequences in the making. */
typedef struct map_run {
    size_t inputs, outputs;
    const oxp_tensor **fed;
    oxp_tensor *given, *sequences;
} map_run;

static oxp_status map_prepare(oxp_node *n)
{
    map_state *s = oxp_node_state(n, sizeof *s);
    if (!s)
        return n->ctx->status;
    OXP_TRY(oxp_body_find(n, "body", &s->body));
    const oxp_graph *body = n->def->subgraphs[s->body];
    if (body->input_count != (size_t)n->in_count || body->output_count < (size_t)n->out_count)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SUBGRAPH",
                             "%d inputs and %d outputs do not fit a body with %zu and %zu",
                             n->in_count, n->out_count, body->input_count, body->output_count);
    return oxp_sequence_prepare(n);
}

static oxp_status map_start(oxp_node *n, map_run *r, size_t length)
{
    const map_state *s = n->state;
    r->inputs = (size_t)n->in_count;
    r->outputs = n->def->subgraphs[s->body]->output_count;
    r->fed = oxp_node_scratch(n, r->inputs, sizeof *r->fed);
    r->given = oxp_node_scratch(n, r->outputs, sizeof *r->given);
    r->sequences = oxp_node_scratch(n, r->outputs, sizeof *r->sequences);
    if (!r->fed || !r->given || !r->sequences)
        return n->ctx->status;
    for (size_t k = 0; k < r->outputs; k++)
        OXP_TRY(oxp_sequence_new(&r->sequences[k], n->ctx, length));
    return OXP_OK;
}

static oxp_status choose_inputs(oxp_node *n, map_run *r, size_t place, size_t length)
{
    for (int k = 0; k < n->in_count; k++) {
        const oxp_tensor *t = n->in[k];
        if (!t)
            return oxp_node_fail(n, OXP_EFORMAT, "E-ARITY", "input %d is omitted", k);
        bool listed = oxp_is_sequence(t);
        if (listed && t->count != length)
            return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                                 "input %d has %zu tensors, the first has %zu", k, t->count,
                                 length);
        r->fed[k] = listed ? &oxp_sequence_items(t)[place] : t;
    }
    return OXP_OK;
}

static oxp_status map_step(oxp_node *n, map_run *r, size_t place, size_t length)
{
    const map_state *s = n->state;
    OXP_TRY(choose_inputs(n, r, place, length));
    OXP_TRY(oxp_node_run_subgraph(n, s->body, r->fed, r->inputs, r->given, r->outputs));
    for (size_t k = 0; k < r->outputs; k++) {
        if (oxp_is_sequence(&r->given[k]))
            return oxp_node_fail(n, OXP_EUNSUPPORTED, "E-OP-DTYPE",
                                 "a sequence in a sequence is not supported");
        oxp_sequence_items(&r->sequences[k])[place] = r->given[k];
        r->given[k] = (oxp_tensor){.rank = 0};
    }
    return OXP_OK;
}

static void map_end(map_run *r)
{
    for (size_t k = 0; r->given && k < r->outputs; k++)
        oxp_tensor_release(&r->given[k]);
    for (size_t k = 0; r->sequences && k < r->outputs; k++)
        oxp_tensor_release(&r->sequences[k]);
}

static oxp_status map_forward(oxp_node *n)
{
    map_run r = {.inputs = 0};
    OXP_TRY(oxp_sequence_want(n, 0));
    size_t length = n->in[0]->count;
    oxp_status status = map_start(n, &r, length);
    for (size_t place = 0; place < length && status == OXP_OK; place++)
        status = map_step(n, &r, place, length);
    for (int k = 0; k < n->out_count && status == OXP_OK; k++)
        oxp_output_adopt(n, k, &r.sequences[k]);
    map_end(&r);
    return status;
}

const oxp_operator oxp_op_sequence_map_17 = {
    .domain = "",
    .type = "SequenceMap",
    .since = 17,
    .min_in = 1,
    .max_in = -1,
    .min_out = 1,
    .max_out = -1,
    .prepare = map_prepare,
    .forward = map_forward,
};
