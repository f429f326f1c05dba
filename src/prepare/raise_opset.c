/* raise_opset.c - raising the opset with what running the model shows: ranks and types of all
 * values. */
#include "onnx/upgrade.h"
#include "prepare/prepare.h"
#include "prepare/runs.h"

typedef struct knowledge {
    const oxp_seen *seen;
    const oxp_graph *const *graphs; /* of the clone, as it was before the conversion */
    size_t count;
} knowledge;

/* NULL for a graph that the conversion made. */
static const oxp_graph *find_graph(const knowledge *k, const oxp_graph_proto *proto)
{
    for (size_t i = 0; i < k->count; i++)
        if (k->graphs[i]->proto == proto)
            return k->graphs[i];
    return NULL;
}

/* A name may be at home in a graph around the one that reads it. */
static int rank_of(void *user, const oxp_graph_proto *proto, const char *value)
{
    const knowledge *k = user;
    for (const oxp_graph *g = find_graph(k, proto); g; g = g->parent) {
        int rank = oxp_seen_rank(k->seen, g->id, value);
        if (rank >= 0)
            return rank;
    }
    return -1;
}

static oxp_dtype dtype_of(void *user, const oxp_graph_proto *proto, const char *value)
{
    const knowledge *k = user;
    for (const oxp_graph *g = find_graph(k, proto); g; g = g->parent) {
        oxp_dtype dtype = oxp_seen_dtype(k->seen, g->id, value);
        if (dtype != OXP_UNDEFINED)
            return dtype;
    }
    return OXP_UNDEFINED;
}

static oxp_status convert(oxp_model *clone, int64_t target, const oxp_seen *seen)
{
    oxp_ctx *ctx = oxp_model_ctx(clone);
    oxp_arena arena;
    oxp_arena_init(&arena, ctx);
    oxp_graph *graph;
    knowledge k = {.seen = seen};
    oxp_status status;
    OXP_TRY_GOTO(oxp_graph_build(&graph, &arena, clone), done);
    OXP_TRY_GOTO(oxp_graph_all(&k.graphs, &k.count, &arena, graph), done);
    status = oxp_model_upgrade(clone, target, &(oxp_upgrade_options){rank_of, dtype_of, &k});
done:
    oxp_arena_free(&arena);
    return status;
}

static oxp_status check(double *difference, oxp_runs *runs, oxp_model *clone, int64_t target)
{
    bool same = true;
    *difference = -1;
    if (!runs->ran)
        return OXP_OK;
    OXP_TRY(oxp_runs_compare(difference, &same, runs, clone));
    if (same)
        return OXP_OK;
    return oxp_fail(runs->ctx, OXP_EUNSUPPORTED, "E-UPGRADE",
                    "raised to opset %lld the model gives other outputs: relative difference %.3g, "
                    "allowed %.0e",
                    (long long)target, *difference, OXP_PREPARE_TOLERANCE);
}

oxp_status oxp_prepare_raise_opset(oxp_model **out, double *difference, oxp_model *model,
                                   int64_t target, const oxp_tensor *const *const *samples,
                                   size_t sample_count)
{
    oxp_ctx *ctx = oxp_model_ctx(model);
    double measured = -1;
    if (oxp_model_opset(model, "") >= target) {
        *difference = measured;
        return oxp_model_clone(out, model);
    }
    oxp_runs runs;
    oxp_model *clone = NULL;
    OXP_TRY(oxp_runs_open(&runs, ctx, model, samples, sample_count));
    oxp_status status;
    OXP_TRY_GOTO(oxp_model_clone(&clone, model), done);
    OXP_TRY_GOTO(convert(clone, target, &runs.seen), done);
    OXP_TRY_GOTO(check(&measured, &runs, clone, target), done);
    *out = clone;
    *difference = measured;
    clone = NULL;
done:
    oxp_model_free(clone);
    oxp_runs_close(&runs);
    return status;
}
