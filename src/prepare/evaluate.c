/* evaluate.c - one node run on constants: a graph of that node alone, given to the interpreter.
 *
 * The run has a memory budget of its own, so that a node which makes much out of little
 * (ConstantOfShape, Expand, Tile) fails before it does. */
#include <string.h>

#include "interpreter/interpreter.h"
#include "prepare/pass.h"

/* The node with inputs 0..n-1 as constants and its named outputs behind them. */
static oxp_status isolate(oxp_graph **out, oxp_pass *p, const oxp_graph_node *node,
                          const oxp_tensor *const *inputs)
{
    size_t values = node->input_count + node->output_count;
    oxp_graph *g = oxp_arena_alloc(&p->arena, 1, sizeof *g);
    oxp_graph_node *n = oxp_arena_alloc(&p->arena, 1, sizeof *n);
    oxp_value *v = oxp_arena_alloc(&p->arena, values + 1, sizeof *v);
    uint32_t *ids = oxp_arena_alloc(&p->arena, values + node->output_count + 1, sizeof *ids);
    if (!g || !n || !v || !ids)
        return p->ctx->status;
    *n = *node;
    n->graph = g;
    n->inputs = ids;
    n->outputs = ids + node->input_count;
    *g = (oxp_graph){.ctx = p->ctx,
                     .model = p->model,
                     .proto = node->graph->proto,
                     .name = node->graph->name,
                     .nodes = n,
                     .node_count = 1,
                     .values = v,
                     .value_count = values,
                     .outputs = ids + values};
    for (size_t i = 0; i < values; i++)
        v[i] = (oxp_value){.name = "", .id = (uint32_t)i, .kind = OXP_VALUE_CONSTANT};
    for (size_t i = 0; i < node->input_count; i++) {
        n->inputs[i] = inputs[i] ? (uint32_t)i : OXP_NO_VALUE;
        if (inputs[i])
            v[i].constant = *inputs[i];
    }
    for (size_t i = 0; i < node->output_count; i++) {
        uint32_t id = (uint32_t)(node->input_count + i);
        n->outputs[i] = node->outputs[i] == OXP_NO_VALUE ? OXP_NO_VALUE : id;
        v[id].kind = OXP_VALUE_NODE;
        v[id].producer = n;
        v[id].is_output = n->outputs[i] != OXP_NO_VALUE;
        if (v[id].is_output)
            g->outputs[g->output_count++] = id;
    }
    *out = g;
    return OXP_OK;
}

static oxp_status keep(oxp_tensor *out, oxp_pass *p, const oxp_tensor *t)
{
    *out = *t;
    out->storage = NULL;
    if (!t->storage)
        return OXP_OK; /* the memory of an input */
    out->data = oxp_arena_alloc(&p->arena, 1, oxp_tensor_bytes(t));
    if (!out->data)
        return p->ctx->status;
    memcpy(out->data, t->data, oxp_tensor_bytes(t));
    return OXP_OK;
}

static oxp_status run_alone(oxp_ctx *ctx, const oxp_graph *g, oxp_tensor *results)
{
    oxp_session *session;
    OXP_TRY(oxp_session_create(&session, ctx, g, NULL));
    oxp_status status = oxp_session_run(session, NULL, results);
    oxp_session_free(session);
    return status;
}

oxp_status oxp_pass_evaluate(oxp_tensor *out, bool *ran, oxp_pass *p, const oxp_graph_node *node,
                             const oxp_tensor *const *inputs, size_t bytes)
{
    oxp_graph *g = NULL;
    OXP_TRY(isolate(&g, p, node, inputs));
    oxp_tensor *results = oxp_arena_alloc(&p->arena, g->output_count + 1, sizeof *results);
    if (!results)
        return p->ctx->status;
    oxp_ctx own;
    oxp_ctx_child(&own, p->ctx);
    own.own_budget = (oxp_budget){.limit = bytes};
    own.budget = &own.own_budget;
    own.log = NULL;
    oxp_status status = run_alone(&own, g, results);
    *ran = status == OXP_OK;
    if (status == OXP_ECANCELLED || strcmp(own.code, "E-LIMIT-TIME") == 0)
        return oxp_ctx_join(p->ctx, &own);
    status = OXP_OK;
    for (size_t k = 0; *ran && k < g->output_count; k++)
        *ran = !oxp_is_sequence(&results[k]); /* no initializer can hold one */
    for (size_t i = 0, k = 0; *ran && i < node->output_count; i++) {
        out[i] = (oxp_tensor){0};
        if (node->outputs[i] != OXP_NO_VALUE && status == OXP_OK)
            status = keep(&out[i], p, &results[k++]);
    }
    for (size_t k = 0; k < g->output_count; k++)
        oxp_tensor_release(&results[k]);
    return status;
}
