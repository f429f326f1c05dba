/* scan.c - Scan: (states, slices of the scan inputs) -> (states, scan output slices), once for
 * every entry along the scan axes. https://onnx.ai/onnx/operators/onnx__Scan.html
 *
 * Opset 9: each scan input and output has its axis and direction. Opset 8: the scan axis is 1
 * behind a batch axis 0 of states and scan inputs, every batch entry is scanned by itself over
 * sequence_lens of them; the rest of a scan output is 0. */
#include "operators/control_flow.h"

typedef struct scan_state {
    size_t body;
    int64_t scans; /* scan inputs: the last of the inputs */
    const int64_t *in_axes, *in_directions, *out_axes, *out_directions; /* NULL: all 0 */
} scan_state;

/* The node as its body sees it. */
typedef struct scan_run {
    oxp_node *n;
    const scan_state *s;
    size_t states, scans, outs; /* outs: scan outputs */
    const oxp_tensor **inputs;
    oxp_tensor *values;        /* states */
    oxp_tensor *slices;        /* of the scan inputs */
    oxp_tensor *outputs;       /* states, then scan output slices */
    oxp_tensor *sequences;     /* opset 8: scan inputs of one batch entry */
    oxp_collector *collectors; /* one per output; opset 9 leaves those of the states unused */
} scan_run;

static oxp_status read_list(oxp_node *n, const char *name, size_t expected, const int64_t **values)
{
    size_t count;
    oxp_attr_ints(n, name, values, &count);
    if (*values && count != expected)
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE",
                             "attribute %s has %zu entries, expected %zu", name, count, expected);
    return OXP_OK;
}

/* `first` inputs stand before the states. */
static oxp_status read_body(oxp_node *n, int first, scan_state *s, size_t *outs)
{
    OXP_TRY(oxp_body_find(n, "body", &s->body));
    const oxp_graph *body = n->def->subgraphs[s->body];
    s->scans = oxp_attr_int(n, "num_scan_inputs", 0);
    int64_t states = n->in_count - first - s->scans;
    if (s->scans < 1 || states < 0)
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE", "num_scan_inputs is %lld of %d inputs",
                             (long long)s->scans, n->in_count - first);
    if (body->input_count != (size_t)(n->in_count - first) ||
        body->output_count != (size_t)n->out_count || body->output_count < (size_t)states)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SUBGRAPH",
                             "%d inputs and %d outputs do not fit a body with %zu and %zu",
                             n->in_count - first, n->out_count, body->input_count,
                             body->output_count);
    *outs = body->output_count - (size_t)states;
    for (int i = first; i < n->in_count; i++) {
        if (!n->in[i])
            return oxp_node_fail(n, OXP_EFORMAT, "E-ARITY", "input %d is omitted", i);
    }
    for (int i = 0; i < n->out_count; i++)
        OXP_TRY(oxp_output_later(n, i));
    return OXP_OK;
}

static oxp_status scan_9_prepare(oxp_node *n)
{
    size_t outs;
    scan_state *s = oxp_node_state(n, sizeof *s);
    if (!s)
        return n->ctx->status;
    OXP_TRY(read_body(n, 0, s, &outs));
    OXP_TRY(read_list(n, "scan_input_axes", (size_t)s->scans, &s->in_axes));
    OXP_TRY(read_list(n, "scan_input_directions", (size_t)s->scans, &s->in_directions));
    OXP_TRY(read_list(n, "scan_output_axes", outs, &s->out_axes));
    return read_list(n, "scan_output_directions", outs, &s->out_directions);
}

static oxp_status scan_8_prepare(oxp_node *n)
{
    size_t outs;
    scan_state *s = oxp_node_state(n, sizeof *s);
    if (!s)
        return n->ctx->status;
    OXP_TRY(read_body(n, 1, s, &outs));
    return read_list(n, "directions", (size_t)s->scans, &s->in_directions);
}

static oxp_status run_start(scan_run *r, int first)
{
    oxp_node *n = r->n;
    r->scans = (size_t)r->s->scans;
    r->states = (size_t)(n->in_count - first) - r->scans;
    r->outs = (size_t)n->out_count - r->states;
    r->inputs = oxp_node_scratch(n, r->states + r->scans, sizeof *r->inputs);
    r->values = oxp_node_scratch(n, r->states, sizeof *r->values);
    r->slices = oxp_node_scratch(n, r->scans, sizeof *r->slices);
    r->outputs = oxp_node_scratch(n, r->states + r->outs, sizeof *r->outputs);
    r->sequences = oxp_node_scratch(n, r->scans, sizeof *r->sequences);
    r->collectors = oxp_node_scratch(n, r->states + r->outs, sizeof *r->collectors);
    if (!r->inputs || !r->values || !r->slices || !r->outputs || !r->sequences || !r->collectors)
        return n->ctx->status;
    for (size_t i = 0; i < r->states; i++)
        r->inputs[i] = &r->values[i];
    for (size_t i = 0; i < r->scans; i++)
        r->inputs[r->states + i] = &r->slices[i];
    return OXP_OK;
}

static void release_all(oxp_tensor *t, size_t count)
{
    for (size_t i = 0; t && i < count; i++)
        oxp_tensor_release(&t[i]);
}

static void run_end(scan_run *r)
{
    release_all(r->values, r->states);
    release_all(r->slices, r->scans);
    release_all(r->outputs, r->states + r->outs);
    release_all(r->sequences, r->scans);
    for (size_t i = 0; r->collectors && i < r->states + r->outs; i++)
        oxp_collector_free(&r->collectors[i]);
}

/* The body on the slices that are set; its scan outputs are collected, its states replace the
 * values. */
static oxp_status run_body(scan_run *r)
{
    OXP_TRY(oxp_node_run_subgraph(r->n, r->s->body, r->inputs, r->states + r->scans, r->outputs,
                                  r->states + r->outs));
    release_all(r->slices, r->scans);
    for (size_t i = 0; i < r->states; i++) {
        oxp_tensor_release(&r->values[i]);
        r->values[i] = r->outputs[i];
        r->outputs[i] = (oxp_tensor){.rank = 0};
    }
    for (size_t i = r->states; i < r->states + r->outs; i++) {
        OXP_TRY(oxp_collect(r->n, &r->collectors[i], &r->outputs[i]));
        oxp_tensor_release(&r->outputs[i]);
    }
    return OXP_OK;
}

static oxp_status scan_length(scan_run *r, int *axes, int64_t *length)
{
    oxp_node *n = r->n;
    for (size_t i = 0; i < r->scans; i++) {
        const oxp_tensor *t = n->in[r->states + i];
        OXP_TRY(oxp_node_axis(n, r->s->in_axes ? r->s->in_axes[i] : 0, t->rank, false, &axes[i]));
        if (i == 0)
            *length = t->dims[axes[i]];
        else if (t->dims[axes[i]] != *length)
            return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                                 "scan input %zu has %lld entries along its axis, input 0 %lld", i,
                                 (long long)t->dims[axes[i]], (long long)*length);
    }
    return OXP_OK;
}

static oxp_status scan_9_steps(scan_run *r)
{
    oxp_node *n = r->n;
    int64_t length = 0;
    int *axes = oxp_node_scratch(n, r->scans, sizeof *axes);
    if (!axes)
        return n->ctx->status;
    OXP_TRY(scan_length(r, axes, &length));
    for (size_t i = 0; i < r->states; i++)
        oxp_tensor_share(&r->values[i], n->in[i]);
    for (int64_t step = 0; step < length; step++) {
        for (size_t i = 0; i < r->scans; i++) {
            bool backward = r->s->in_directions && r->s->in_directions[i] != 0;
            OXP_TRY(oxp_body_slice(n, n->in[r->states + i], axes[i],
                                   backward ? length - 1 - step : step, &r->slices[i]));
        }
        OXP_TRY(run_body(r));
    }
    for (size_t i = 0; i < r->states; i++)
        oxp_output_adopt(n, (int)i, &r->values[i]);
    for (size_t i = 0; i < r->outs; i++) {
        size_t at = r->states + i;
        bool reverse = r->s->out_directions && r->s->out_directions[i] != 0;
        OXP_TRY(oxp_collector_finish(n, &r->collectors[at], (int)at, r->s->body, at,
                                     r->s->out_axes ? r->s->out_axes[i] : 0, reverse));
    }
    return OXP_OK;
}

static oxp_status scan_9_forward(oxp_node *n)
{
    scan_run r = {.n = n, .s = n->state};
    oxp_status status = run_start(&r, 0);
    if (status == OXP_OK)
        status = scan_9_steps(&r);
    run_end(&r);
    return status;
}

/* ---- opset 8 ---- */

static oxp_status batch_shape(scan_run *r, int64_t *batches, int64_t *length)
{
    oxp_node *n = r->n;
    const oxp_tensor *first = n->in[1 + r->states];
    for (int i = 1; i < n->in_count; i++) {
        const oxp_tensor *t = n->in[i];
        bool scan = (size_t)i > r->states;
        if (t->rank < (scan ? 2 : 1) || t->dims[0] != first->dims[0] ||
            (scan && t->dims[1] != first->dims[1]))
            return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                                 "input %d does not have the batch and sequence of input %zu", i,
                                 1 + r->states);
    }
    *batches = first->dims[0];
    *length = first->dims[1];
    const oxp_tensor *lengths = n->in[0];
    if (lengths && (lengths->dtype != OXP_INT64 || lengths->count != (size_t)*batches))
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                             "sequence_lens has %zu values of type %s, expected %lld of INT64",
                             lengths->count, oxp_dtype_name(lengths->dtype), (long long)*batches);
    return OXP_OK;
}

/* Scans batch entry b, whose sequence has `steps` of `length` entries. */
static oxp_status scan_entry(scan_run *r, int64_t b, int64_t steps, int64_t length)
{
    oxp_node *n = r->n;
    for (size_t i = 0; i < r->states; i++)
        OXP_TRY(oxp_body_slice(n, n->in[1 + i], 0, b, &r->values[i]));
    for (size_t i = 0; i < r->scans; i++)
        OXP_TRY(oxp_body_slice(n, n->in[1 + r->states + i], 0, b, &r->sequences[i]));
    for (int64_t step = 0; step < steps; step++) {
        for (size_t i = 0; i < r->scans; i++) {
            bool backward = r->s->in_directions && r->s->in_directions[i] != 0;
            OXP_TRY(oxp_body_slice(n, &r->sequences[i], 0, backward ? steps - 1 - step : step,
                                   &r->slices[i]));
        }
        OXP_TRY(run_body(r));
    }
    for (size_t i = 0; i < r->states; i++) {
        OXP_TRY(oxp_collect(n, &r->collectors[i], &r->values[i]));
        oxp_tensor_release(&r->values[i]);
    }
    for (size_t i = r->states; i < r->states + r->outs; i++)
        OXP_TRY(oxp_collect_zeros(n, &r->collectors[i], length - steps));
    release_all(r->sequences, r->scans);
    return OXP_OK;
}

static oxp_status scan_8_steps(scan_run *r)
{
    oxp_node *n = r->n;
    int64_t batches = 0, length = 0;
    OXP_TRY(batch_shape(r, &batches, &length));
    for (int64_t b = 0; b < batches; b++) {
        int64_t steps = n->in[0] ? oxp_tensor_int(n->in[0], (size_t)b) : length;
        if (steps < 1 || steps > length)
            return oxp_node_fail(n, OXP_EFORMAT, "E-INDEX",
                                 "sequence length %lld of entry %lld, expected 1 to %lld",
                                 (long long)steps, (long long)b, (long long)length);
        OXP_TRY(scan_entry(r, b, steps, length));
    }
    for (size_t i = 0; i < r->states; i++)
        OXP_TRY(oxp_collector_finish(n, &r->collectors[i], (int)i, r->s->body, i, 0, false));
    for (size_t i = r->states; i < r->states + r->outs; i++)
        OXP_TRY(oxp_collector_finish_batched(n, &r->collectors[i], (int)i, batches));
    return OXP_OK;
}

static oxp_status scan_8_forward(oxp_node *n)
{
    scan_run r = {.n = n, .s = n->state};
    oxp_status status = run_start(&r, 1);
    if (status == OXP_OK)
        status = scan_8_steps(&r);
    run_end(&r);
    return status;
}

const oxp_operator oxp_op_scan_8 = {
    .domain = "",
    .type = "Scan",
    .since = 8,
    .min_in = 2,
    .max_in = -1,
    .min_out = 1,
    .max_out = -1,
    .optional = 1 << 0,
    .prepare = scan_8_prepare,
    .forward = scan_8_forward,
};

const oxp_operator oxp_op_scan_9 = {
    .domain = "",
    .type = "Scan",
    .since = 9,
    .min_in = 1,
    .max_in = -1,
    .min_out = 1,
    .max_out = -1,
    .prepare = scan_9_prepare,
    .forward = scan_9_forward,
};
