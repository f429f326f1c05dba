/* observed.c - runs one random sample under a context of its own, whose errors end here. */
#include "report/observed.h"

#include <string.h>

#define RANDOM_STEPS 1000000u /* a random sample may loop for ever */

static oxp_status on_node(void *user, int worker, size_t slot, oxp_node *n)
{
    (void)worker;
    (void)slot;
    oxp_observed *seen = user;
    oxp_observed_node *node = &seen->nodes[n->def->graph->id][n->def->index];
    *node = (oxp_observed_node){.ran = true, .macs = -1};
    for (int i = 0; i < n->in_count; i++)
        node->bytes += n->in[i] ? (double)oxp_tensor_bytes(n->in[i]) : 0;
    for (int i = 0; i < n->out_count; i++)
        node->bytes += (double)oxp_tensor_bytes(&n->out[i]);
    if (n->op->cost) {
        oxp_cost cost = {0};
        n->op->cost(n, &cost);
        node->macs = cost.macs;
    }
    node->rank = n->out_count ? n->out[0].rank : 0;
    memcpy(node->dims, n->out[0].dims, sizeof node->dims);
    return OXP_OK;
}

static oxp_status make_table(oxp_observed *out, oxp_loaded *l)
{
    const oxp_graph *const *graphs;
    size_t count;
    OXP_TRY(oxp_graph_all(&graphs, &count, &l->arena, l->graph));
    oxp_observed_node **nodes = oxp_arena_alloc(&l->arena, count, sizeof *nodes);
    for (size_t g = 0; nodes && g < count; g++) {
        nodes[g] = oxp_arena_alloc(&l->arena, graphs[g]->node_count + 1, sizeof **nodes);
        if (!nodes[g])
            return OXP_ELIMIT;
    }
    out->nodes = nodes;
    return nodes ? OXP_OK : OXP_ELIMIT;
}

static oxp_status run_once(oxp_observed *seen, oxp_ctx *ctx, oxp_loaded *l,
                           oxp_input_options *options)
{
    oxp_samples samples;
    options->random_samples = 1;
    OXP_TRY(oxp_samples_open(&samples, ctx, l->graph, NULL, NULL, options));
    oxp_run_hooks hooks = {.user = seen, .node = on_node};
    oxp_status status = oxp_run_samples(ctx, l->graph, &samples.source, NULL, 1, &hooks, NULL);
    oxp_samples_close(&samples);
    return status;
}

oxp_status oxp_observe(oxp_observed *out, oxp_loaded *l, const oxp_input_options *options)
{
    oxp_ctx *parent = oxp_model_ctx(l->model), ctx;
    oxp_input_options random = *options;
    *out = (oxp_observed){.why_not = ""};
    OXP_TRY(make_table(out, l));
    oxp_ctx_child(&ctx, parent);
    ctx.step_limit = RANDOM_STEPS;
    if (run_once(out, &ctx, l, &random) == OXP_OK)
        return OXP_OK;
    if (ctx.status == OXP_EUSAGE && strcmp(ctx.code, "E-DIM") != 0)
        return oxp_ctx_join(parent, &ctx);
    out->nodes = NULL;
    out->why_not = oxp_arena_strdup(&l->arena, ctx.message);
    return out->why_not ? OXP_OK : OXP_ELIMIT;
}
