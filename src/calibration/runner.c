/* runner.c - sessions for worker threads, samples handed out in order. */
#include "calibration/runner.h"

#include <string.h>

#include "util/parallel.h"

typedef struct lane { /* a worker's own */
    oxp_ctx ctx;
    oxp_session *session;
    struct run *run;
    int worker;
    size_t slot;
} lane;

typedef struct run {
    oxp_ctx *ctx;
    const oxp_graph *graph;
    const oxp_source *source;
    const size_t *which;
    size_t count;
    const oxp_run_hooks *hooks;
    const char *stage;
    lane *lanes;
    _Atomic size_t done;
} run;

static oxp_status on_value(void *user, const oxp_graph *graph, uint32_t value, const oxp_tensor *t)
{
    lane *l = user;
    return l->run->hooks->value(l->run->hooks->user, &l->ctx, l->worker, l->slot, graph, value, t);
}

static oxp_status on_node(void *user, oxp_node *n)
{
    lane *l = user;
    return l->run->hooks->node(l->run->hooks->user, l->worker, l->slot, n);
}

static oxp_status open_session(run *r, lane *l)
{
    oxp_session_options options = {.observer = r->hooks->value ? on_value : NULL,
                                   .node_observer = r->hooks->node ? on_node : NULL,
                                   .user = l};
    return oxp_session_create(&l->session, &l->ctx, r->graph, &options);
}

static oxp_status run_one(run *r, lane *l, oxp_tensor *inputs, oxp_tensor *outputs)
{
    size_t inputs_count = r->graph->input_count;
    size_t index = r->which ? r->which[l->slot] : l->slot;
    OXP_TRY(r->source->get(r->source->user, &l->ctx, index, inputs));
    const oxp_tensor **fed;
    OXP_TRY(oxp_alloc(&fed, &l->ctx, inputs_count + 1, sizeof *fed, "inputs"));
    for (size_t i = 0; i < inputs_count; i++)
        fed[i] = &inputs[i];
    oxp_status status = oxp_session_run(l->session, fed, outputs);
    oxp_free(fed);
    if (status == OXP_OK && r->hooks->sample)
        status = r->hooks->sample(r->hooks->user, &l->ctx, l->worker, l->slot, inputs, outputs);
    return status;
}

static oxp_status body(void *user, oxp_ctx *ctx, size_t index, int worker)
{
    run *r = user;
    lane *l = &r->lanes[worker];
    l->slot = index;
    oxp_status status = l->session ? OXP_OK : open_session(r, l);
    size_t tensors = r->graph->input_count + r->graph->output_count;
    oxp_tensor *t = NULL;
    if (status == OXP_OK)
        status = oxp_alloc(&t, &l->ctx, tensors + 1, sizeof *t, "inputs and outputs");
    if (status == OXP_OK)
        status = run_one(r, l, t, t + r->graph->input_count);
    for (size_t i = 0; t && i < tensors; i++)
        oxp_tensor_release(&t[i]);
    oxp_free(t);
    if (status == OXP_OK)
        status = oxp_progress(&l->ctx, r->stage, ++r->done, r->count);
    return status == OXP_OK ? OXP_OK : oxp_ctx_join(ctx, &l->ctx);
}

oxp_status oxp_run_samples(oxp_ctx *ctx, const oxp_graph *graph, const oxp_source *source,
                           const size_t *which, size_t count, const oxp_run_hooks *hooks,
                           const char *stage)
{
    run r = {.ctx = ctx,
             .graph = graph,
             .source = source,
             .which = which,
             .count = count,
             .hooks = hooks,
             .stage = stage};
    int workers = ctx->threads;
    OXP_TRY(oxp_alloc(&r.lanes, ctx, (size_t)workers, sizeof *r.lanes, "worker threads"));
    for (int i = 0; i < workers; i++) {
        oxp_ctx_child(&r.lanes[i].ctx, ctx);
        r.lanes[i].run = &r;
        r.lanes[i].worker = i;
    }
    oxp_status status = oxp_parallel_for(ctx, count, body, &r);
    for (int i = 0; i < workers; i++)
        oxp_session_free(r.lanes[i].session);
    oxp_free(r.lanes);
    return status;
}
