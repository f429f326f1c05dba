/* held.c - see held.h. */
#include "prepare/held.h"

#include "util/parallel.h"

typedef struct lane { /* a worker's own */
    oxp_ctx ctx;
    oxp_session *session;
    oxp_tensor *outputs;
    struct run *run;
    size_t slot;
} lane;

typedef struct run {
    const oxp_graph *graph;
    const oxp_tensor *const *const *samples;
    const oxp_held_hooks *hooks;
    oxp_shared *shared; /* what the sessions packed */
    lane *lanes;
    int workers;
} run;

static oxp_status on_value(void *user, const oxp_graph *graph, uint32_t value, const oxp_tensor *t)
{
    lane *l = user;
    const oxp_held_hooks *h = l->run->hooks;
    return h->value(h->user, &l->ctx, l->slot, graph, value, t);
}

static oxp_status open_lane(run *r, lane *l)
{
    oxp_session_options options = {
        .observer = r->hooks->value ? on_value : NULL, .user = l, .shared = r->shared};
    OXP_TRY(
        oxp_alloc(&l->outputs, &l->ctx, r->graph->output_count + 1, sizeof *l->outputs, "outputs"));
    return oxp_session_create(&l->session, &l->ctx, r->graph, &options);
}

static oxp_status run_sample(run *r, lane *l)
{
    OXP_TRY(l->session ? OXP_OK : open_lane(r, l));
    oxp_status status = oxp_session_run(l->session, r->samples[l->slot], l->outputs);
    if (status == OXP_OK && r->hooks->outputs)
        status = r->hooks->outputs(r->hooks->user, &l->ctx, l->slot, l->outputs);
    for (size_t k = 0; k < r->graph->output_count; k++)
        oxp_tensor_release(&l->outputs[k]);
    return status;
}

static oxp_status body(void *user, oxp_ctx *ctx, size_t index, int worker)
{
    run *r = user;
    lane *l = &r->lanes[worker];
    l->slot = index;
    l->ctx.log = ctx->log; /* one thread at a time calls them */
    l->ctx.progress = ctx->progress;
    l->ctx.user = ctx->user;
    return run_sample(r, l) == OXP_OK ? OXP_OK : oxp_ctx_join(ctx, &l->ctx);
}

static oxp_status run_all(run *r, oxp_ctx *ctx, size_t count)
{
    OXP_TRY(oxp_alloc(&r->lanes, ctx, (size_t)r->workers, sizeof *r->lanes, "worker threads"));
    for (int i = 0; i < r->workers; i++) {
        oxp_ctx_child(&r->lanes[i].ctx, ctx);
        r->lanes[i].run = r;
    }
    oxp_status status = oxp_parallel_for(ctx, count, body, r);
    if (count == 0 && open_lane(r, &r->lanes[0]) != OXP_OK) /* says why it could not run */
        status = oxp_ctx_join(ctx, &r->lanes[0].ctx);
    for (int i = 0; i < r->workers; i++) {
        oxp_session_free(r->lanes[i].session);
        oxp_free(r->lanes[i].outputs);
    }
    oxp_free(r->lanes);
    return status;
}

oxp_status oxp_held_run(oxp_ctx *ctx, const oxp_graph *graph,
                        const oxp_tensor *const *const *samples, size_t count,
                        const oxp_held_hooks *hooks)
{
    run r = {.graph = graph, .samples = samples, .hooks = hooks, .workers = ctx->threads};
    OXP_TRY(oxp_shared_create(&r.shared, ctx));
    oxp_status status = run_all(&r, ctx, count);
    oxp_shared_free(r.shared);
    return status;
}
