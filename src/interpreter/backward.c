/* backward.c - going back through a run.
 *
 * A node's accumulators are made when its first reader is met, the node's own gradients and
 * records go when it is done. Bodies of If, Loop and Scan are run again, one iteration at a time,
 * so one iteration's records are held at once. */
#include "interpreter/tape.h"

#include <string.h>

/* ---- gradients ---- */

/* The session and the value behind a name: outer scopes resolved. */
static uint32_t resolve(oxp_session **s, uint32_t id)
{
    const oxp_value *v = &(*s)->graph->values[id];
    if (v->kind != OXP_VALUE_OUTER)
        return id;
    while ((*s)->graph != v->outer_graph)
        *s = (*s)->parent;
    return v->outer_value;
}

static bool varies(const oxp_session *s, uint32_t id)
{
    return s->tape && s->tape->reach.varies[s->graph->id][id];
}

/* The accumulator of a value of that shape, or *out NULL when no gradient is wanted for it. node:
 * for messages. */
static oxp_status accumulator(oxp_session *s, uint32_t id, const oxp_tensor *shape,
                              const oxp_graph_node *node, oxp_tensor **out)
{
    *out = NULL;
    id = resolve(&s, id);
    if (!varies(s, id) || !oxp_dtype_is_float(shape->dtype))
        return OXP_OK;
    oxp_tensor *g = &s->tape->gradients[id];
    if (!g->data) {
        OXP_TRY(oxp_tensor_shape(g, s->ctx, OXP_FLOAT, shape->rank, shape->dims, "gradient"));
        OXP_TRY(oxp_session_memory(s, g, node));
        memset(g->data, 0, oxp_tensor_bytes(g));
    }
    *out = g;
    return OXP_OK;
}

static oxp_status add_gradient(oxp_session *s, uint32_t id, const oxp_tensor *gradient)
{
    oxp_tensor *to;
    if (s->graph->node_count == 0)
        return OXP_OK;
    OXP_TRY(accumulator(s, id, gradient, &s->graph->nodes[s->graph->node_count - 1], &to));
    if (!to)
        return OXP_OK;
    if (to->count != gradient->count || gradient->dtype != OXP_FLOAT) {
        char quoted[OXP_QUOTED_MAX], a[OXP_SHAPE_TEXT_MAX], b[OXP_SHAPE_TEXT_MAX];
        return oxp_fail(
            s->ctx, OXP_EFORMAT, "E-SHAPE", "gradient of %s has shape %s %s, expected FLOAT %s",
            oxp_quote(quoted, s->graph->values[id].name), oxp_dtype_name(gradient->dtype),
            oxp_shape_text(a, gradient->rank, gradient->dims),
            oxp_shape_text(b, to->rank, to->dims));
    }
    float *sum = to->data;
    const float *part = gradient->data;
    for (size_t i = 0; i < to->count; i++)
        sum[i] += part[i];
    return OXP_OK;
}

static oxp_status complete(oxp_session *s, uint32_t id)
{
    const oxp_gradients *g = s->root->options.gradients;
    oxp_tensor *gradient = &s->tape->gradients[id];
    if (!gradient->data)
        return OXP_OK;
    oxp_status status = OXP_OK;
    if (g->complete && s->tape->reach.wanted[s->graph->id][id])
        status = g->complete(g->user, s->graph, id, gradient);
    oxp_session_drop(s, gradient);
    return status;
}

/* ---- one node ---- */

/* False when nothing comes back to the node. */
static bool gather_dout(oxp_session *s, oxp_cell *c)
{
    bool any = false;
    for (int i = 0; i < c->node.out_count; i++) {
        uint32_t id = c->node.def->outputs[i];
        const oxp_tensor *g = id == OXP_NO_VALUE ? NULL : &s->tape->gradients[id];
        c->record->dout[i] = g && g->data ? g : NULL;
        any = any || c->record->dout[i];
    }
    return any;
}

static oxp_status call_backward(oxp_session *s, oxp_cell *c)
{
    oxp_node *n = &c->node;
    oxp_record *r = c->record;
    const oxp_gradients *g = s->root->options.gradients;
    for (int i = 0; i < n->in_count; i++) {
        n->in[i] = n->def->inputs[i] == OXP_NO_VALUE ? NULL : &r->in[i];
        r->din[i] = NULL;
        if (n->in[i])
            OXP_TRY(accumulator(s, n->def->inputs[i], n->in[i], n->def, &r->din[i]));
    }
    if (!n->op->backward) {
        char where[OXP_NODE_TEXT_MAX];
        return oxp_fail(s->ctx, OXP_EUNSUPPORTED, "E-GRADIENT",
                        "%s: this operator has no gradient, and one is wanted through it",
                        oxp_graph_node_text(where, n->def));
    }
    memcpy(n->out, r->out, (size_t)n->out_count * sizeof *n->out);
    n->dout = r->dout;
    n->din = r->din;
    oxp_arena_mark mark = oxp_arena_mark_now(&s->scratch);
    oxp_status status = n->op->backward(n);
    if (status == OXP_OK && g->node)
        status = g->node(g->user, n);
    oxp_arena_release(&s->scratch, mark);
    memset(n->out, 0, (size_t)n->out_count * sizeof *n->out);
    n->dout = NULL;
    n->din = NULL;
    return status;
}

/* Bodies find captured values in the session's tensors, as in the run. */
static oxp_status backward_cell(oxp_session *s, oxp_cell *c)
{
    oxp_record *r = c->record;
    oxp_status status = OXP_OK;
    if (gather_dout(s, c)) {
        for (size_t i = 0; i < r->capture_count; i++)
            oxp_tensor_share(&s->tensors[r->captures[i]], &r->captured[i]);
        status = call_backward(s, c);
        for (size_t i = 0; i < r->capture_count; i++)
            oxp_session_drop(s, &s->tensors[r->captures[i]]);
    }
    oxp_record_clear(s, c);
    for (int i = 0; i < c->node.out_count; i++)
        if (c->node.def->outputs[i] != OXP_NO_VALUE)
            oxp_session_drop(s, &s->tape->gradients[c->node.def->outputs[i]]);
    return status;
}

/* Values of the main graph whose first reader in the order of the run is this node. */
static oxp_status complete_inputs(oxp_session *s, oxp_cell *c)
{
    const oxp_graph_node *def = c->node.def;
    for (size_t i = 0; i < def->input_count; i++) {
        uint32_t id = def->inputs[i];
        if (id != OXP_NO_VALUE && s->graph->values[id].kind != OXP_VALUE_NODE &&
            s->tape->first_use[id] == def->index)
            OXP_TRY(complete(s, id));
    }
    return OXP_OK;
}

/* ---- a graph ---- */

static oxp_status seed(oxp_session *s, const oxp_tensor *const *dout)
{
    for (size_t i = 0; i < s->graph->output_count; i++)
        if (dout[i])
            OXP_TRY(add_gradient(s, s->graph->outputs[i], dout[i]));
    return OXP_OK;
}

static oxp_status backward_nodes(oxp_session *s, size_t first, size_t end)
{
    const oxp_budget *b = s->ctx->budget;
    for (size_t i = end; i-- > first;) {
        oxp_cell *c = &s->cells[i];
        if (!c->record || !c->record->kept)
            continue;
        OXP_TRY(oxp_progress(s->ctx, NULL, 0, 0));
        if (b->used > b->limit / 4 * 3)
            oxp_session_clear_cache(s);
        OXP_TRY(backward_cell(s, c));
        if (!s->parent)
            OXP_TRY(complete_inputs(s, c));
    }
    return OXP_OK;
}

static oxp_status backward(oxp_session *s, const oxp_tensor *const *dout)
{
    OXP_TRY(seed(s, dout));
    return backward_nodes(s, 0, s->graph->node_count);
}

static oxp_status backward_segments(oxp_session *s, const oxp_tensor *const *dout)
{
    oxp_tape *t = s->tape;
    OXP_TRY(seed(s, dout));
    for (size_t k = t->segments; k-- > 0;) {
        if (k + 1 < t->segments)
            OXP_TRY(oxp_tape_run_segment(s, k));
        OXP_TRY(backward_nodes(s, t->starts[k], t->starts[k + 1]));
        oxp_checkpoint_clear(s, &t->checkpoints[k]);
    }
    return OXP_OK;
}

/* Constants inside bodies collect over all their runs. */
static oxp_status complete_bodies(oxp_session *s)
{
    for (size_t i = 0; i < s->graph->node_count; i++)
        for (size_t k = 0; s->cells[i].record && k < s->cells[i].node.def->subgraph_count; k++)
            OXP_TRY(complete_bodies(s->cells[i].bodies[k]));
    for (size_t v = 0; v < s->graph->value_count; v++)
        OXP_TRY(complete(s, (uint32_t)v));
    return OXP_OK;
}

static void clear_tree(oxp_session *s)
{
    for (size_t i = 0; i < s->graph->node_count; i++)
        for (size_t k = 0; s->cells[i].record && k < s->cells[i].node.def->subgraph_count; k++)
            clear_tree(s->cells[i].bodies[k]);
    oxp_tape_forget(s, true);
}

oxp_status oxp_session_backward(oxp_session *s, const oxp_tensor *const *dout)
{
    oxp_status status;
    if (!s->tape || !s->tape->ran)
        return oxp_fail(s->ctx, OXP_EUSAGE, "E-GRADIENT", "%s",
                        s->tape ? "nothing was run since the last backward pass"
                                : "the session was made without gradients");
    s->recording = false;
    s->tape->ran = false;
    s->going_back = true;
    status = s->tape->segments > 1 ? backward_segments(s, dout) : backward(s, dout);
    if (status == OXP_OK)
        status = complete_bodies(s);
    s->going_back = false;
    clear_tree(s);
    return status;
}

/* ---- bodies ---- */

static oxp_status run_recorded(oxp_session *body, const oxp_tensor *const *inputs)
{
    size_t count = body->graph->output_count;
    oxp_tensor *out;
    OXP_TRY(oxp_alloc(&out, body->ctx, count + 1, sizeof *out, "body outputs"));
    body->recording = true;
    oxp_status status = oxp_session_run_graph(body, inputs, out);
    body->recording = false;
    for (size_t i = 0; i < count; i++)
        oxp_tensor_release(&out[i]);
    oxp_free(out);
    return status;
}

oxp_status oxp_tape_backward_subgraph(struct oxp_host *host, oxp_node *n, size_t which,
                                      const oxp_tensor *const *inputs, size_t input_count,
                                      const oxp_tensor *const *dout, size_t output_count,
                                      oxp_tensor *din)
{
    oxp_cell *c = (oxp_cell *)((char *)host - offsetof(oxp_cell, host));
    oxp_session *body = c->bodies[which];
    const oxp_graph *g = body->graph;
    if (g->input_count != input_count || g->output_count != output_count)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SUBGRAPH",
                             "body has %zu inputs and %zu outputs, expected %zu and %zu",
                             g->input_count, g->output_count, input_count, output_count);
    oxp_status status = run_recorded(body, inputs);
    if (status == OXP_OK)
        status = backward(body, dout);
    for (size_t i = 0; status == OXP_OK && i < input_count; i++)
        if (body->tape->gradients[g->inputs[i]].data)
            oxp_tensor_share(&din[i], &body->tape->gradients[g->inputs[i]]);
    oxp_tape_clear(body);
    return status;
}
