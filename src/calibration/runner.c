/* runner.c - sessions for worker threads, samples handed out in order. */
#include "calibration/runner.h"

#include <string.h>

#include "util/parallel.h"

typedef struct lane { /* a worker's own */
    oxp_ctx ctx;
    oxp_session *session;
    oxp_runner *runner;
    int worker;
    size_t slot;
} lane;

struct oxp_runner {
    oxp_ctx *ctx;
    const oxp_graph *graph;
    oxp_run_hooks hooks;
    lane *lanes;
    int workers;
    oxp_shared *shared; /* what the sessions packed */
    /* of the run that is under way */
    const oxp_source *source;
    const size_t *which;
    size_t count;
    const char *stage;
    _Atomic size_t done;
};

static oxp_status on_value(void *user, const oxp_graph *graph, uint32_t value, const oxp_tensor *t)
{
    lane *l = user;
    return l->runner->hooks.value(l->runner->hooks.user, &l->ctx, l->worker, l->slot, graph, value,
                                  t);
}

static oxp_status on_node(void *user, oxp_node *n)
{
    lane *l = user;
    return l->runner->hooks.node(l->runner->hooks.user, l->worker, l->slot, n);
}

static oxp_status open_session(oxp_runner *r, lane *l)
{
    oxp_session_options options = {.observer = r->hooks.value ? on_value : NULL,
                                   .node_observer = r->hooks.node ? on_node : NULL,
                                   .user = l,
                                   .any_layout =
                                       r->hooks.any_layout || (!r->hooks.value && !r->hooks.node),
                                   .shared = r->shared};
    return oxp_session_create(&l->session, &l->ctx, r->graph, &options);
}

static oxp_status run_one(oxp_runner *r, lane *l, oxp_tensor *inputs, oxp_tensor *outputs)
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
    if (status == OXP_OK && r->hooks.sample)
        status = r->hooks.sample(r->hooks.user, &l->ctx, l->worker, l->slot, inputs, outputs);
    return status;
}

static oxp_status body(void *user, oxp_ctx *ctx, size_t index, int worker)
{
    oxp_runner *r = user;
    lane *l = &r->lanes[worker];
    l->slot = index;
    l->ctx.log = ctx->log; /* one thread at a time calls them */
    l->ctx.progress = ctx->progress;
    l->ctx.user = ctx->user;
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

oxp_status oxp_runner_create(oxp_runner **out, oxp_ctx *ctx, const oxp_graph *graph,
                             const oxp_run_hooks *hooks)
{
    oxp_runner *r;
    OXP_TRY(oxp_alloc(&r, ctx, 1, sizeof *r, "runner"));
    r->ctx = ctx;
    r->graph = graph;
    r->hooks = *hooks;
    oxp_status status = oxp_shared_create(&r->shared, ctx);
    if (status == OXP_OK)
        status =
            oxp_alloc(&r->lanes, ctx, (size_t)ctx->threads, sizeof *r->lanes, "worker threads");
    if (status != OXP_OK) {
        oxp_runner_free(r);
        return status;
    }
    r->workers = ctx->threads;
    for (int i = 0; i < r->workers; i++) {
        oxp_ctx_child(&r->lanes[i].ctx, ctx);
        r->lanes[i].runner = r;
        r->lanes[i].worker = i;
    }
    *out = r;
    return OXP_OK;
}

oxp_status oxp_runner_run(oxp_runner *r, const oxp_source *source, const size_t *which,
                          size_t count, const char *stage)
{
    r->source = source;
    r->which = which;
    r->count = count;
    r->stage = stage;
    r->done = 0;
    return oxp_parallel_for(r->ctx, count, body, r);
}

void oxp_runner_free(oxp_runner *r)
{
    if (!r)
        return;
    for (int i = 0; i < r->workers; i++)
        oxp_session_free(r->lanes[i].session);
    oxp_shared_free(r->shared);
    oxp_free(r->lanes);
    oxp_free(r);
}

oxp_status oxp_run_samples(oxp_ctx *ctx, const oxp_graph *graph, const oxp_source *source,
                           const size_t *which, size_t count, const oxp_run_hooks *hooks,
                           const char *stage)
{
    oxp_runner *r;
    OXP_TRY(oxp_runner_create(&r, ctx, graph, hooks));
    oxp_status status = oxp_runner_run(r, source, which, count, stage);
    oxp_runner_free(r);
    return status;
}
