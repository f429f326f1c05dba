/* choose.c - the main job's choices: what the sites have to do, where integers pay, which scales
 * the activations get, and what that takes back. */
#include "planner/compress_steps.h"
#include "planner/stats.h"

#include <math.h>
#include <string.h>

#include "techniques/codes.h"
#include "techniques/islands.h"

/* ---- place ---- */

static oxp_status find_sites(oxp_compression *c)
{
    OXP_TRY(oxp_graph_build(&c->graph, &c->arena, c->raised));
    OXP_TRY(oxp_sites_find(&c->sites, &c->site_count, &c->arena, c->graph));
    size_t n = c->site_count + 1;
    c->choices = oxp_arena_alloc(&c->arena, n, sizeof *c->choices);
    c->codes = oxp_arena_alloc(&c->arena, n, sizeof *c->codes);
    c->narrow_codes = oxp_arena_alloc(&c->arena, n, sizeof *c->narrow_codes);
    c->cost = oxp_arena_alloc(&c->arena, n, sizeof *c->cost);
    if (!c->choices || !c->codes || !c->narrow_codes || !c->cost)
        return OXP_ELIMIT;
    for (size_t i = 0; i < n; i++)
        c->cost[i] = NAN;
    return oxp_codes_make(c->codes, &c->arena, c->sites, c->site_count, 127);
}

/* ---- what the sites have to do, from one sample ---- */

typedef struct work_pass {
    oxp_node_work **by_node; /* by graph and node */
} work_pass;

static oxp_status on_node(void *user, int worker, size_t slot, oxp_node *n)
{
    (void)worker;
    (void)slot;
    work_pass *p = user;
    oxp_node_work *w = &p->by_node[n->def->graph->id][n->def->index];
    oxp_cost cost = {0};
    if (n->def->input_count && n->in[0])
        w->in = (double)n->in[0]->count;
    w->out = (double)n->out[0].count;
    if (n->op->cost && n->op->weight) {
        n->op->cost(n, &cost);
        w->macs = cost.macs;
    }
    return OXP_OK;
}

/* A site's work is that of its smallest consumer that ran. */
static oxp_status work_of_sites(oxp_compression *c, const work_pass *p)
{
    oxp_site_work *work = oxp_arena_alloc(&c->arena, c->site_count + 1, sizeof *work);
    if (!work)
        return OXP_ELIMIT;
    for (size_t i = 0; i < c->site_count; i++)
        for (size_t k = 0; k < c->sites[i].consumer_count; k++) {
            const oxp_graph_node *n = c->sites[i].consumers[k].node;
            const oxp_node_work *w = &p->by_node[n->graph->id][n->index];
            if (w->macs > 0 && (work[i].macs <= 0 || w->macs < work[i].macs))
                work[i] = (oxp_site_work){w->macs, w->in + w->out};
        }
    c->placement.work = work;
    return OXP_OK;
}

static oxp_status measure_work(oxp_compression *c)
{
    const oxp_graph *const *graphs;
    size_t count, one = 1;
    work_pass p;
    if (!c->has_samples)
        return OXP_OK;
    OXP_TRY(oxp_graph_all(&graphs, &count, &c->arena, c->graph));
    p.by_node = oxp_arena_alloc(&c->arena, count, sizeof *p.by_node);
    if (!p.by_node)
        return OXP_ELIMIT;
    for (size_t g = 0; g < count; g++) {
        p.by_node[g] = oxp_arena_alloc(&c->arena, graphs[g]->node_count + 1, sizeof **p.by_node);
        if (!p.by_node[g])
            return OXP_ELIMIT;
    }
    oxp_run_hooks hooks = {.user = &p, .node = on_node};
    OXP_TRY(oxp_run_samples(c->ctx, c->graph, &c->samples.source, c->fit, one, &hooks, NULL));
    c->region_costs = (oxp_regions){.table = oxp_cost_table_find(c->options->cpu),
                                    .work = (const oxp_node_work *const *)p.by_node};
    c->regions = c->placement.everywhere ? NULL : &c->region_costs;
    c->placement.by_regions = true;
    return work_of_sites(c, &p);
}

/* Without the opset that integer forms need, everything is stored. */
static void respect_opset(oxp_compression *c)
{
    for (size_t i = 0; i < c->site_count; i++) {
        oxp_choice *choice = &c->choices[i];
        if (!choice->technique || c->opset_after >= choice->technique->opset)
            continue;
        const char *why = NULL;
        choice->technique = oxp_technique_w8.applies(&c->sites[i], &why) ? &oxp_technique_w8 : NULL;
        choice->reason = "the opset could not be raised to what the form needs";
    }
}

static oxp_status place(oxp_compression *c)
{
    const oxp_compress_options *o = c->options;
    size_t n = c->site_count + 1;
    bool *selected = oxp_arena_alloc(&c->arena, n, sizeof *selected);
    bool *is_forced = c->is_forced = oxp_arena_alloc(&c->arena, n, sizeof *is_forced);
    const oxp_technique **forced = oxp_arena_alloc(&c->arena, n, sizeof *forced);
    oxp_params *params = oxp_arena_alloc(&c->arena, n, sizeof *params);
    if (!selected || !is_forced || !forced || !params)
        return OXP_ELIMIT;
    oxp_selection selection = {o->nodes, o->exclude_nodes, o->op_types, o->exclude_op_types,
                               o->layers};
    OXP_TRY(oxp_select(&selection, c->graph, c->sites, c->site_count, selected, is_forced, forced,
                       params));
    oxp_place(c->choices, c->sites, c->site_count, selected, is_forced, forced, params,
              &c->placement);
    for (size_t i = 0; i < c->site_count; i++)
        c->choices[i].packs_zeros = c->earlier_count > 0;
    for (size_t i = 0; i < c->site_count; i++)
        if (c->choices[i].technique && c->choices[i].technique->needs_data && !c->has_samples)
            return oxp_fail(c->ctx, OXP_EUSAGE, "E-USAGE", "technique %s needs samples (--data D)",
                            c->choices[i].technique->name);
    respect_opset(c);
    c->region_costs.fixed = is_forced;
    return oxp_settle_choices(c->graph, c->sites, c->site_count, c->choices, c->regions);
}

/* ---- calibrate ---- */

static void watch(oxp_compression *c, const oxp_graph *graph, uint32_t value)
{
    const oxp_value *v = &graph->values[value];
    if (v->kind == OXP_VALUE_OUTER) {
        graph = v->outer_graph;
        value = v->outer_value;
    }
    for (size_t k = 0; k < c->watch_count; k++)
        if (c->watches[k].graph == graph && c->watches[k].value == value)
            return;
    c->watches[c->watch_count++] = (oxp_watch){graph, value};
}

/* The values whose scale is needed, and those that share another's: when sites go back, they may
 * need their own. */
static void list_watches(oxp_compression *c, const oxp_islands *islands)
{
    for (size_t i = 0; i < islands->count; i++) {
        const oxp_quantised *q = &islands->values[i];
        watch(c, islands->graphs[q->scale_graph], q->scale_value);
        watch(c, islands->graphs[q->graph_id], q->value);
    }
}

static size_t watch_of(const oxp_compression *c, const oxp_quantised *q)
{
    for (size_t k = 0; k < c->watch_count; k++)
        if (c->watches[k].graph->id == q->scale_graph && c->watches[k].value == q->scale_value)
            return k;
    return SIZE_MAX;
}

static size_t list_judges(const oxp_compression *c, const oxp_islands *islands, const bool *chosen,
                          oxp_judge *judges)
{
    size_t count = 0;
    for (size_t i = 0; i < c->site_count; i++)
        for (size_t k = 0; chosen[i] && k < c->sites[i].consumer_count; k++) {
            const oxp_graph_node *n = c->sites[i].consumers[k].node;
            const oxp_quantised *q = oxp_islands_at(islands, n->graph, n->inputs[0]);
            const char *why = NULL;
            if (q)
                judges[count++] = (oxp_judge){n, watch_of(c, q),
                                              oxp_technique_dynamic.applies(&c->sites[i], &why)};
        }
    return count;
}

static oxp_status calibrate(oxp_compression *c)
{
    bool *chosen = oxp_arena_alloc(&c->arena, c->site_count + 1, sizeof *chosen);
    size_t consumers = 0, any = 0;
    if (!chosen)
        return OXP_ELIMIT;
    for (size_t i = 0; i < c->site_count; i++) {
        any += chosen[i] = c->choices[i].technique == &oxp_technique_w8a8;
        consumers += c->sites[i].consumer_count;
    }
    if (!any)
        return OXP_OK;
    oxp_islands islands;
    OXP_TRY(oxp_islands_find(&islands, &c->arena, c->graph, c->sites, c->site_count, chosen));
    c->watches = oxp_arena_alloc(&c->arena, 2 * islands.count + 1, sizeof *c->watches);
    oxp_judge *judges = oxp_arena_alloc(&c->arena, consumers + 1, sizeof *judges);
    if (!c->watches || !judges)
        return OXP_ELIMIT;
    list_watches(c, &islands);
    size_t judge_count = list_judges(c, &islands, chosen, judges);
    oxp_calibration_options options = c->calibration;
    OXP_TRY(oxp_stats_seen(&options.seen, c, judges, judge_count));
    return oxp_calibrate(&c->ranges, &c->arena, c->graph, &c->samples.source, c->fit, c->fit_count,
                         c->watches, c->watch_count, judges, judge_count, &options);
}

/* What the samples never ran has no range: a branch never taken. */
static bool was_seen(const oxp_compression *c, const oxp_graph *graph, uint32_t value)
{
    const oxp_range *r = oxp_ranges_find(&c->ranges, graph, value);
    return r && r->seen->count > 0;
}

static void leave_unseen(oxp_compression *c)
{
    for (size_t i = 0; i < c->site_count; i++) {
        oxp_choice *choice = &c->choices[i];
        const oxp_site *s = &c->sites[i];
        bool seen = true;
        for (size_t k = 0; k < s->consumer_count; k++)
            seen =
                seen && was_seen(c, s->consumers[k].node->graph, s->consumers[k].node->inputs[0]);
        if (seen || choice->technique != &oxp_technique_w8a8)
            continue;
        const char *why = NULL;
        choice->technique = oxp_technique_w8.applies(s, &why) ? &oxp_technique_w8 : NULL;
        choice->reason = "no sample ran this branch";
        c->unseen++;
    }
    if (c->unseen)
        oxp_log(c->ctx, OXP_LOG_WARNING,
                "%zu weights stand in branches that no sample ran: they are stored, not computed "
                "in integers",
                c->unseen);
}

/* A product whose input was seen to lose more with a fixed scale than with one of its own in every
 * run becomes dynamic: the two forms are equally fast. Seen, that is with `auto`: a method that the
 * user names gives fixed scales. */
static void prefer_dynamic(oxp_compression *c)
{
    for (size_t i = 0; i < c->site_count; i++) {
        const oxp_site *s = &c->sites[i];
        const char *why = NULL;
        double fixed = 0, dynamic = 0;
        bool judged = false;
        if (c->choices[i].technique != &oxp_technique_w8a8 || c->is_forced[i] ||
            !oxp_technique_dynamic.applies(s, &why))
            continue;
        for (size_t k = 0; k < s->consumer_count; k++) {
            const oxp_graph_node *n = s->consumers[k].node;
            const oxp_range *r = oxp_ranges_find(&c->ranges, n->graph, n->inputs[0]);
            if (r && r->judged) {
                fixed += r->output_error[r->method];
                dynamic += r->dynamic_error;
                judged = true;
            }
        }
        if (judged && fixed >= dynamic)
            c->choices[i].technique = &oxp_technique_dynamic;
    }
}

/* --reduce-range: on CPUs without VNNI, sites whose 16-bit pair sums can saturate get 7-bit
 * weights. */
static oxp_status narrow(oxp_compression *c)
{
    const char *how = c->options->reduce_range ? c->options->reduce_range : "auto";
    bool on = strcmp(how, "on") == 0, automatic = strcmp(how, "auto") == 0;
    bool can_saturate = c->options->cpu && strcmp(c->options->cpu, "avx2") == 0;
    for (size_t i = 0; i < c->site_count; i++) {
        oxp_choice *choice = &c->choices[i];
        if (choice->technique != &oxp_technique_w8a8 && choice->technique != &oxp_technique_dynamic)
            continue;
        if (!on && !(automatic && can_saturate &&
                     oxp_pair_sums_saturate(&c->sites[i], c->codes[i].codes, 255)))
            continue;
        OXP_TRY(oxp_codes_make(&c->narrow_codes[i], &c->arena, &c->sites[i], 1, 64));
        choice->limit = 64;
        c->narrowed++;
    }
    return OXP_OK;
}

/* ---- better codes ---- */

#define REFINE_SAMPLES 16 /* twice as many gain nothing on other samples; large models take half */

double oxp_compression_macs(const oxp_compression *c)
{
    double macs = 0;
    for (size_t i = 0; c->placement.work && i < c->site_count; i++)
        macs += c->placement.work[i].macs;
    return macs;
}

size_t oxp_compression_spread(const oxp_compression *c, size_t *which, size_t most)
{
    size_t count = c->fit_count < most ? c->fit_count : most;
    for (size_t i = 0; i < count; i++)
        which[i] = c->fit[i * c->fit_count / count];
    return count;
}

/* The scale that each site's input has as an integer node reads it, NULL elsewhere. */
static oxp_status input_scales(oxp_compression *c, const oxp_scale **scales)
{
    bool *chosen = oxp_arena_alloc(&c->arena, c->site_count + 1, sizeof *chosen);
    oxp_islands islands;
    if (!chosen)
        return OXP_ELIMIT;
    for (size_t i = 0; i < c->site_count; i++)
        chosen[i] = c->choices[i].technique == &oxp_technique_w8a8;
    OXP_TRY(oxp_islands_find(&islands, &c->arena, c->graph, c->sites, c->site_count, chosen));
    for (size_t i = 0; i < c->site_count; i++) {
        const oxp_graph_node *n = c->sites[i].consumers[0].node;
        const oxp_quantised *q =
            chosen[i] ? oxp_islands_at(&islands, n->graph, n->inputs[0]) : NULL;
        const oxp_range *r =
            q ? oxp_ranges_find(&c->ranges, islands.graphs[q->scale_graph], q->scale_value) : NULL;
        scales[i] = r ? &r->scale : NULL;
    }
    return OXP_OK;
}

/* Codes and biases by what the layers read in the samples. */
static oxp_status refine(oxp_compression *c, oxp_codes *codes, int limit)
{
    size_t n = c->site_count + 1;
    if (!c->has_samples || (!c->rounds && !c->corrects))
        return OXP_OK;
    bool *wanted = oxp_arena_alloc(&c->arena, n, sizeof *wanted);
    const oxp_scale **scales = oxp_arena_alloc(&c->arena, n, sizeof *scales);
    size_t *which = oxp_arena_alloc(&c->arena, REFINE_SAMPLES, sizeof *which);
    if (!wanted || !scales || !which)
        return OXP_ELIMIT;
    size_t most = oxp_compression_macs(c) > OXP_LARGE_MACS ? REFINE_SAMPLES / 2 : REFINE_SAMPLES;
    OXP_TRY(input_scales(c, scales));
    for (size_t i = 0; i < c->site_count; i++)
        wanted[i] = oxp_choice_level(&c->choices[i]) <= OXP_LEVEL_BYTE &&
                    c->choices[i].technique != &oxp_technique_w4 &&
                    (limit == 127 || c->choices[i].limit == limit);
    oxp_refinement r = {.graph = c->graph,
                        .sites = c->sites,
                        .site_count = c->site_count,
                        .wanted = wanted,
                        .scales = scales,
                        .source = &c->samples.source,
                        .which = which,
                        .samples = oxp_compression_spread(c, which, most),
                        .limit = limit,
                        .round = c->rounds,
                        .correct = c->corrects,
                        .make_biases = c->makes_biases};
    return oxp_codes_refine(codes, &c->arena, &r);
}

/* ---- all of it ---- */

oxp_status oxp_compression_choose(oxp_compression *c)
{
    OXP_TRY(find_sites(c));
    OXP_TRY(measure_work(c));
    OXP_TRY(place(c));
    OXP_TRY(calibrate(c));
    oxp_compression_trim();
    leave_unseen(c);
    prefer_dynamic(c);
    OXP_TRY(oxp_settle_choices(c->graph, c->sites, c->site_count, c->choices, c->regions));
    OXP_TRY(refine(c, c->codes, 127));
    OXP_TRY(oxp_compression_fit(c));
    OXP_TRY(narrow(c));
    return c->narrowed ? refine(c, c->narrow_codes, 64) : OXP_OK;
}
