/* scan.c - Scan: (states, slices of the scan inputs) -> (states, scan output slices), once for
 * every entry along the scan axes. https://onnx.ai/onnx/operators/onnx__Scan.html
 *
 * Opset 9: each scan input and output has its axis and direction. Opset 8: the scan axis is 1
 * behind a batch axis 0 of states and scan inputs, every batch entry is scanned by itself over
 * sequence_lens of them; the rest of a scan output is 0. */
#include "operators/gradient.h"
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

/* ---- backward ---- */

/* One scan, for going back: all of opset 9, a batch entry of opset 8. Tensors without data are
 * gradients that are zero or not wanted. */
typedef struct scan_back {
    oxp_node *n;
    const scan_state *s;
    size_t states, scans, outs;
    int64_t steps;
    const oxp_tensor **sequences; /* scan inputs */
    int *axes, *out_axes;
    oxp_history history;
    oxp_tensor *values, *slices; /* of the step: states, scan input slices */
    oxp_tensor *outputs;         /* of the body, going forward */
    oxp_tensor *dstates;         /* as going back has them */
    oxp_tensor *dslices, *din;   /* of the body's outputs, of its inputs */
    const oxp_tensor **inputs, **dout;
    const oxp_tensor **dsequences_out; /* gradients of the scan outputs */
    oxp_tensor **dsequences;           /* accumulators of the scan inputs */
} scan_back;

static oxp_status back_start(scan_back *b, int first)
{
    oxp_node *n = b->n;
    b->scans = (size_t)b->s->scans;
    b->states = (size_t)(n->in_count - first) - b->scans;
    b->outs = (size_t)n->out_count - b->states;
    b->history.variables = b->states;
    size_t in = b->states + b->scans, out = b->states + b->outs;
    b->sequences = oxp_node_scratch(n, b->scans, sizeof *b->sequences);
    b->axes = oxp_node_scratch(n, b->scans, sizeof *b->axes);
    b->out_axes = oxp_node_scratch(n, b->outs, sizeof *b->out_axes);
    b->values = oxp_node_scratch(n, b->states, sizeof *b->values);
    b->slices = oxp_node_scratch(n, b->scans, sizeof *b->slices);
    b->outputs = oxp_node_scratch(n, out, sizeof *b->outputs);
    b->dstates = oxp_node_scratch(n, b->states, sizeof *b->dstates);
    b->dslices = oxp_node_scratch(n, b->outs, sizeof *b->dslices);
    b->din = oxp_node_scratch(n, in, sizeof *b->din);
    b->inputs = oxp_node_scratch(n, in, sizeof *b->inputs);
    b->dout = oxp_node_scratch(n, out, sizeof *b->dout);
    b->dsequences_out = oxp_node_scratch(n, b->outs, sizeof *b->dsequences_out);
    b->dsequences = oxp_node_scratch(n, b->scans, sizeof *b->dsequences);
    return b->sequences && b->axes && b->out_axes && b->values && b->slices && b->outputs &&
                   b->dstates && b->dslices && b->din && b->inputs && b->dout &&
                   b->dsequences_out && b->dsequences
               ? OXP_OK
               : n->ctx->status;
}

static void back_end(scan_back *b)
{
    oxp_history_free(&b->history);
    release_all(b->values, b->states);
    release_all(b->slices, b->scans);
    release_all(b->outputs, b->states + b->outs);
    release_all(b->dstates, b->states);
    release_all(b->dslices, b->outs);
    release_all(b->din, b->states + b->scans);
}

static int64_t place_of(const int64_t *directions, size_t i, int64_t step, int64_t steps)
{
    return directions && directions[i] != 0 ? steps - 1 - step : step;
}

static oxp_status take_slices(scan_back *b, int64_t step)
{
    release_all(b->slices, b->scans);
    for (size_t i = 0; i < b->scans; i++) {
        OXP_TRY(oxp_body_slice(b->n, b->sequences[i], b->axes[i],
                               place_of(b->s->in_directions, i, step, b->steps), &b->slices[i]));
        b->inputs[b->states + i] = &b->slices[i];
    }
    return OXP_OK;
}

/* The states that every step began with; values holds the first ones. */
static oxp_status run_again(scan_back *b)
{
    for (int64_t step = 0; step < b->steps; step++) {
        OXP_TRY(oxp_history_add(b->n, &b->history, b->values));
        OXP_TRY(take_slices(b, step));
        for (size_t i = 0; i < b->states; i++)
            b->inputs[i] = &b->values[i];
        OXP_TRY(oxp_node_run_subgraph(b->n, b->s->body, b->inputs, b->states + b->scans, b->outputs,
                                      b->states + b->outs));
        for (size_t i = 0; i < b->states; i++) {
            oxp_tensor_release(&b->values[i]);
            b->values[i] = b->outputs[i];
            b->outputs[i] = (oxp_tensor){.rank = 0};
        }
        release_all(b->outputs, b->states + b->outs);
    }
    return OXP_OK;
}

static oxp_status back_step(scan_back *b, int64_t step)
{
    OXP_TRY(take_slices(b, step));
    for (size_t i = 0; i < b->states; i++) {
        b->inputs[i] = &b->history.values[(size_t)step * b->states + i];
        b->dout[i] = b->dstates[i].data ? &b->dstates[i] : NULL;
    }
    for (size_t i = 0; i < b->outs; i++) {
        b->dout[b->states + i] = NULL;
        if (!b->dsequences_out[i])
            continue;
        OXP_TRY(oxp_body_slice(b->n, b->dsequences_out[i], b->out_axes[i],
                               place_of(b->s->out_directions, i, step, b->steps), &b->dslices[i]));
        b->dout[b->states + i] = &b->dslices[i];
    }
    OXP_TRY(oxp_node_backward_subgraph(b->n, b->s->body, b->inputs, b->states + b->scans, b->dout,
                                       b->states + b->outs, b->din));
    release_all(b->dslices, b->outs);
    for (size_t i = 0; i < b->states; i++) {
        oxp_tensor_release(&b->dstates[i]);
        b->dstates[i] = b->din[i];
        b->din[i] = (oxp_tensor){.rank = 0};
    }
    for (size_t i = 0; i < b->scans; i++) {
        const oxp_tensor *part = &b->din[b->states + i];
        if (part->data && b->dsequences[i])
            oxp_body_add_slice(b->dsequences[i], b->axes[i],
                               place_of(b->s->in_directions, i, step, b->steps), part);
    }
    release_all(b->din, b->states + b->scans);
    return OXP_OK;
}

static oxp_status back_all(scan_back *b)
{
    OXP_TRY(run_again(b));
    for (int64_t step = b->steps; step-- > 0;)
        OXP_TRY(back_step(b, step));
    return OXP_OK;
}

static oxp_status scan_9_back(scan_back *b)
{
    oxp_node *n = b->n;
    scan_run shape = {.n = n, .s = b->s, .states = b->states, .scans = b->scans};
    OXP_TRY(scan_length(&shape, b->axes, &b->steps));
    for (size_t i = 0; i < b->states; i++) {
        oxp_tensor_share(&b->values[i], n->in[i]);
        if (n->dout[i])
            oxp_tensor_share(&b->dstates[i], n->dout[i]);
    }
    for (size_t i = 0; i < b->scans; i++) {
        b->sequences[i] = n->in[b->states + i];
        b->dsequences[i] = n->din[b->states + i];
    }
    for (size_t i = 0; i < b->outs; i++) {
        const oxp_tensor *d = n->dout[b->states + i];
        b->dsequences_out[i] = d;
        if (d)
            OXP_TRY(oxp_node_axis(n, b->s->out_axes ? b->s->out_axes[i] : 0, d->rank, false,
                                  &b->out_axes[i]));
    }
    OXP_TRY(back_all(b));
    for (size_t i = 0; i < b->states; i++)
        if (b->dstates[i].data && oxp_din(n, (int)i))
            oxp_gradient_add(oxp_din(n, (int)i), b->dstates[i].data, b->dstates[i].count, 1);
    return OXP_OK;
}

static oxp_status scan_9_backward(oxp_node *n)
{
    scan_back b = {.n = n, .s = n->state};
    oxp_status status = back_start(&b, 0);
    if (status == OXP_OK)
        status = scan_9_back(&b);
    back_end(&b);
    return status;
}

/* Entry `index` of a batch axis 0, as a view. */
static oxp_tensor entry_view(const oxp_tensor *t, int64_t index)
{
    oxp_tensor view = *t;
    view.storage = NULL;
    view.rank--;
    for (int d = 0; d < view.rank; d++)
        view.dims[d] = t->dims[d + 1];
    view.count = t->dims[0] ? t->count / (size_t)t->dims[0] : 0;
    view.data = (char *)t->data + (size_t)index * oxp_tensor_bytes(&view);
    return view;
}

/* Views of one batch entry: of the scan inputs, of their accumulators and of the outputs'
 * gradients. */
typedef struct entry_views {
    oxp_tensor *in, *din, *dout;
} entry_views;

static oxp_status scan_8_entry(scan_back *b, const entry_views *v, int64_t index, int64_t steps)
{
    oxp_node *n = b->n;
    b->steps = steps;
    for (size_t i = 0; i < b->states; i++) {
        OXP_TRY(oxp_body_slice(n, n->in[1 + i], 0, index, &b->values[i]));
        if (n->dout[i])
            OXP_TRY(oxp_body_slice(n, n->dout[i], 0, index, &b->dstates[i]));
    }
    for (size_t i = 0; i < b->scans; i++) {
        size_t at = 1 + b->states + i;
        v->in[i] = entry_view(n->in[at], index);
        b->sequences[i] = &v->in[i];
        if (n->din[at])
            v->din[i] = entry_view(n->din[at], index);
        b->dsequences[i] = n->din[at] ? &v->din[i] : NULL;
    }
    for (size_t i = 0; i < b->outs; i++) {
        const oxp_tensor *d = n->dout[b->states + i];
        if (d)
            v->dout[i] = entry_view(d, index);
        b->dsequences_out[i] = d ? &v->dout[i] : NULL;
    }
    OXP_TRY(back_all(b));
    oxp_history_free(&b->history);
    b->history.variables = b->states;
    release_all(b->values, b->states);
    for (size_t i = 0; i < b->states; i++)
        if (b->dstates[i].data && n->din[1 + i])
            oxp_body_add_slice(n->din[1 + i], 0, index, &b->dstates[i]);
    release_all(b->dstates, b->states);
    return OXP_OK;
}

static oxp_status scan_8_back(scan_back *b)
{
    oxp_node *n = b->n;
    const oxp_tensor *first = n->in[1 + b->states];
    entry_views v = {.in = oxp_node_scratch(n, b->scans, sizeof *v.in),
                     .din = oxp_node_scratch(n, b->scans, sizeof *v.din),
                     .dout = oxp_node_scratch(n, b->outs, sizeof *v.dout)};
    if (!v.in || !v.din || !v.dout)
        return n->ctx->status;
    for (int64_t i = 0; i < first->dims[0]; i++)
        OXP_TRY(scan_8_entry(b, &v, i,
                             n->in[0] ? oxp_tensor_int(n->in[0], (size_t)i) : first->dims[1]));
    return OXP_OK;
}

static oxp_status scan_8_backward(oxp_node *n)
{
    scan_back b = {.n = n, .s = n->state};
    oxp_status status = back_start(&b, 1);
    if (status == OXP_OK)
        status = scan_8_back(&b);
    back_end(&b);
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
    .backward = scan_8_backward,
    .saves = 0xffff,
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
    .backward = scan_9_backward,
    .saves = 0xffff,
};
