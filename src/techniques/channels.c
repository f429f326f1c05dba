/* channels.c - whole channels taken away: smaller dense tensors, which every runtime computes
 * faster.
 *
 * Channels that are coupled go together (coupling.h), those first that cost the model's answers
 * least for what they save; the layers that read the others are solved again for the least change
 * of what they compute, biases included. The result is a model like any other. Channels of outputs,
 * and those that meet what is not known here, stay. Published accuracies at large ratios include
 * training afterwards, which this does not do. */
#include "techniques/channels.h"

#include <string.h>

enum { MACS, RATIO, MULTIPLE, REPAIR };

static const oxp_param params[] = {
    {"macs", OXP_PARAM_REAL, 0.01, 1, NULL, 0.7, "share of the multiplications that is kept"},
    {"ratio", OXP_PARAM_REAL, 0, 1, NULL, 0,
     "share of the channels that every layer keeps, in place of macs; 0: by macs"},
    {"multiple_of", OXP_PARAM_COUNT, 1, 64, NULL, 8, "channels that stay, in multiples of"},
    {"repair", OXP_PARAM_WORD, 0, 0, "off|on", 1,
     "layers that lose inputs are solved again on the samples"},
    {NULL, OXP_PARAM_COUNT, 0, 0, NULL, 0, NULL},
};

static bool applies(const oxp_site *s, const char **why_not)
{
    static const char *const types[] = {"Conv", "ConvTranspose", "Gemm", "MatMul", NULL};
    const char *type = s->consumer_count == 1 ? s->consumers[0].node->type : "";
    *why_not = "the graph is a body of another";
    if (s->graph->id != 0)
        return false;
    *why_not = "the weight is in half precision";
    if (oxp_site_is_half(s))
        return false;
    *why_not = "several nodes read the weight";
    if (s->consumer_count != 1 || s->other_uses)
        return false;
    for (size_t i = 0; types[i]; i++)
        if (strcmp(type, types[i]) == 0)
            return true;
    *why_not = "only layers with rows and columns lose channels";
    return false;
}

/* What is left is known when the coupled layers are. */
static size_t bytes(const oxp_site *s, const oxp_choice *c)
{
    double share = c->params.values[RATIO] > 0 ? c->params.values[RATIO] : c->params.values[MACS];
    return (size_t)(4 * share * (double)s->value->constant.count);
}

/* ---- the job ---- */

static oxp_status may_change(bool **out, oxp_channels_job *j)
{
    bool *may = oxp_arena_alloc(j->arena, j->r->graph->value_count + 1, sizeof *may);
    if (!may)
        return OXP_ELIMIT;
    for (size_t i = 0; i < j->r->site_count; i++)
        if (j->r->choices[i].technique == &oxp_technique_channels && j->r->sites[i].graph->id == 0)
            may[j->r->sites[i].value->id] = true;
    *out = may;
    return OXP_OK;
}

/* The parameters are those of the technique, hence of every choice that names it. */
static const oxp_params *params_of(const oxp_rewrite *r)
{
    for (size_t i = 0; i < r->site_count; i++)
        if (r->choices[i].technique == &oxp_technique_channels)
            return &r->choices[i].params;
    return NULL;
}

static oxp_status find(oxp_channels_job *j)
{
    oxp_tensor *seen;
    bool *may;
    const oxp_rewrite *r = j->r;
    OXP_TRY(may_change(&may, j));
    OXP_TRY(oxp_coupling_look(&seen, j->arena, r->graph, r->samples ? r->source : NULL, r->which));
    return oxp_coupling_find(&j->coupling, j->arena, r->graph, seen, may);
}

static oxp_status prune(oxp_model **out, oxp_channels_job *j, const oxp_params *p)
{
    oxp_coupling *c = &j->coupling;
    OXP_TRY(oxp_coupling_removable(&j->removable, c));
    j->scores = oxp_arena_alloc(j->arena, c->variables.count + 1, sizeof *j->scores);
    j->gone = oxp_arena_alloc(j->arena, c->variables.count + 1, sizeof *j->gone);
    j->numbers = oxp_arena_alloc(j->arena, j->r->graph->value_count + 1, sizeof *j->numbers);
    if (!j->scores || !j->gone || !j->numbers)
        return OXP_ELIMIT;
    const oxp_channels_wanted wanted = {p->values[MACS], p->values[RATIO],
                                        (size_t)p->values[MULTIPLE]};
    OXP_TRY(oxp_channels_score(j));
    OXP_TRY(oxp_channels_choose(j, &wanted));
    oxp_log(j->r->ctx, OXP_LOG_INFO,
            "channels: %zu of %zu channels that can go are taken away, %.1f %% of the "
            "multiplications are left",
            j->channels - j->left, j->channels,
            j->macs_before > 0 ? 100 * j->macs_after / j->macs_before : 100);
    if (!(p->values[RATIO] > 0) && j->macs_after > 1.02 * wanted.macs * j->macs_before)
        oxp_log(j->r->ctx, OXP_LOG_WARNING,
                "channels: no more channels can go: %.1f %% of the multiplications are left, "
                "%.1f %% were asked for",
                100 * j->macs_after / j->macs_before, 100 * wanted.macs);
    if (p->values[REPAIR] > 0 && j->left < j->channels)
        OXP_TRY(oxp_channels_repair(j));
    return oxp_coupling_cut(out, c, j->gone, j->numbers);
}

static oxp_status rewrite(oxp_model **out, const oxp_rewrite *r)
{
    oxp_arena arena;
    oxp_channels_job j = {.r = r, .arena = &arena};
    const oxp_params *p = params_of(r);
    if (!p)
        return oxp_model_clone(out, r->model);
    oxp_arena_init(&arena, r->ctx);
    oxp_status status = find(&j);
    if (status == OXP_OK) {
        status = prune(out, &j, p);
        oxp_coupling_free(&j.coupling);
    }
    oxp_arena_free(&arena);
    return status;
}

const oxp_technique oxp_technique_channels = {
    .name = "channels",
    .summary = "whole channels taken away, the rest solved again: smaller and faster everywhere",
    .params = params,
    .stage = OXP_STAGE_STRUCTURE,
    .level = OXP_LEVEL_FLOAT,
    .applies = applies,
    .rewrite = rewrite,
    .bytes = bytes,
};
