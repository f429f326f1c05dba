/* stages.c - the stages of a pipeline: their order, each but the last as an edit of the model, and
 * the fits of the last one. */
#include <math.h>
#include <string.h>

#include "planner/compress_steps.h"
#include "techniques/bias_correction.h"

#define FIT_SAMPLES 64
#define FIT_SAMPLES_LARGE 32 /* of a large model: they cost a run for each group */

static const oxp_pipeline_stage *stage_at(const oxp_compression *c, size_t place)
{
    return &c->pipeline.stages[c->order[place]];
}

/* ---- samples ---- */

static oxp_status fit_options(oxp_fit_options *out, oxp_compression *c, const oxp_graph *graph,
                              const oxp_site *sites, size_t count)
{
    size_t most = oxp_compression_macs(c) > OXP_LARGE_MACS ? FIT_SAMPLES_LARGE : FIT_SAMPLES;
    size_t *which = oxp_arena_alloc(&c->arena, most, sizeof *which);
    if (!which)
        return OXP_ELIMIT;
    *out = (oxp_fit_options){.graph = graph,
                             .sites = sites,
                             .site_count = count,
                             .source = c->has_samples ? &c->samples.source : NULL,
                             .which = which,
                             .samples = oxp_compression_spread(c, which, most),
                             .also = c->pipeline.count ? oxp_composition_also : NULL,
                             .also_user = &c->composition,
                             .centre = c->corrects};
    return OXP_OK;
}

static void take_shift(oxp_codes *codes, const oxp_site *s, const oxp_choice *choice,
                       const oxp_compression *c)
{
    const oxp_fitted *f = choice->fitted;
    if (f && f->shift && c->corrects && oxp_bias_takes_shift(s, c->makes_biases))
        codes->stored_shift = f->shift;
}

/* ---- one stage ---- */

typedef struct stage {
    oxp_arena arena;
    const oxp_pipeline_stage *what;
    oxp_graph *graph;
    oxp_site *sites;
    size_t count;
    oxp_choice *choices;
    oxp_codes *codes; /* none, but for what goes into biases */
} stage;

static oxp_status select_sites(stage *s, oxp_compression *c, bool is_first)
{
    const oxp_compress_options *o = c->options;
    size_t n = s->count + 1, chosen = 0;
    bool *selected = oxp_arena_alloc(&s->arena, n, sizeof *selected);
    if (!selected)
        return OXP_ELIMIT;
    oxp_selection selection = {o->nodes, o->exclude_nodes, o->op_types, o->exclude_op_types, NULL};
    OXP_TRY(oxp_select(&selection, s->graph, s->sites, s->count, selected, NULL, NULL, NULL));
    for (size_t i = 0; i < s->count; i++) {
        const char *why = NULL;
        s->choices[i] = (oxp_choice){.limit = 127, .is_intermediate = true};
        s->codes[i] = (oxp_codes){.output_before = NAN, .output_after = NAN};
        if (!selected[i] || !s->what->technique->applies(&s->sites[i], &why))
            continue;
        s->choices[i].technique = s->what->technique;
        s->choices[i].params = s->what->params;
        chosen++;
    }
    if (chosen == 0 && is_first)
        oxp_log(c->ctx, OXP_LOG_WARNING, "%s: no weight takes it", s->what->technique->name);
    return OXP_OK;
}

static oxp_status find_sites(stage *s, oxp_compression *c, bool is_first)
{
    OXP_TRY(oxp_graph_build(&s->graph, &s->arena, c->raised));
    OXP_TRY(oxp_sites_find(&s->sites, &s->count, &s->arena, s->graph));
    s->choices = oxp_arena_alloc(&s->arena, s->count + 1, sizeof *s->choices);
    s->codes = oxp_arena_alloc(&s->arena, s->count + 1, sizeof *s->codes);
    return s->choices && s->codes ? select_sites(s, c, is_first) : OXP_ELIMIT;
}

static oxp_status fit_and_apply(oxp_model **out, stage *s, oxp_compression *c)
{
    static const oxp_ranges no_ranges;
    oxp_fit_options o;
    oxp_fits fits;
    OXP_TRY(fit_options(&o, c, s->graph, s->sites, s->count));
    OXP_TRY(oxp_techniques_fit(&fits, s->choices, &o));
    for (size_t i = 0; i < s->count; i++)
        take_shift(&s->codes[i], &s->sites[i], &s->choices[i], c);
    oxp_status status = oxp_edit_apply(out, c->raised, s->choices, s->codes, s->codes, &no_ranges);
    oxp_fits_free(&fits);
    return status;
}

static oxp_status rewrite(oxp_model **out, stage *s, oxp_compression *c)
{
    oxp_fit_options o;
    OXP_TRY(fit_options(&o, c, s->graph, s->sites, s->count));
    oxp_rewrite r = {.ctx = c->ctx,
                     .model = c->raised,
                     .graph = s->graph,
                     .sites = s->sites,
                     .site_count = s->count,
                     .choices = s->choices,
                     .source = o.source,
                     .which = o.which,
                     .samples = o.samples};
    return s->what->technique->rewrite(out, &r);
}

static oxp_status run_stage(oxp_compression *c, size_t place)
{
    stage s = {.what = stage_at(c, place)};
    oxp_model *next = NULL;
    oxp_arena_init(&s.arena, c->ctx);
    oxp_status status = find_sites(&s, c, place == 0);
    if (status == OXP_OK)
        status = s.what->technique->rewrite ? rewrite(&next, &s, c) : fit_and_apply(&next, &s, c);
    oxp_arena_free(&s.arena);
    OXP_TRY(status);
    c->earlier[c->earlier_count++] = c->raised;
    c->raised = next;
    if (s.what->technique->rewrite)
        OXP_TRY(oxp_composition_rewritten(&c->composition, next));
    return oxp_composition_end_stage(&c->composition, s.what);
}

/* ---- their order ---- */

static bool takes_all(const oxp_compression *c, const oxp_site *s)
{
    const char *why = NULL;
    for (size_t i = 0; i < c->pipeline.count; i++) {
        const oxp_technique *t = c->pipeline.stages[i].technique;
        if (t->fit && !t->applies(s, &why))
            return false;
    }
    return true;
}

static oxp_status measure_orders(oxp_compression *c)
{
    oxp_fit_options o;
    oxp_composition *m = &c->composition;
    bool *wanted = oxp_arena_alloc(&c->arena, m->count + 1, sizeof *wanted);
    if (!wanted)
        return OXP_ELIMIT;
    for (size_t i = 0; i < m->count; i++)
        wanted[i] = takes_all(c, &m->sites[i]);
    OXP_TRY(fit_options(&o, c, m->graph, m->sites, m->count));
    OXP_TRY(oxp_composition_orders(m, &c->pipeline, wanted, &o));
    const size_t *used = c->order_mode == OXP_ORDER_RULE ? m->rule : m->best;
    memcpy(c->order, used, c->pipeline.count * sizeof *used);
    const char *text = oxp_pipeline_text(&c->arena, &c->pipeline, c->order);
    if (!text)
        return OXP_ELIMIT;
    oxp_log(c->ctx, OXP_LOG_VERBOSE, "order: %s", text);
    return OXP_OK;
}

static size_t movable(const oxp_compression *c)
{
    size_t count = 0;
    for (size_t i = 0; i < c->pipeline.count; i++) {
        const oxp_technique *t = c->pipeline.stages[i].technique;
        count += t->fit && t->stage < OXP_STAGE_QUANTISE;
    }
    return count;
}

oxp_status oxp_compression_stages(oxp_compression *c)
{
    size_t n = c->pipeline.count;
    if (n == 0)
        return OXP_OK;
    for (size_t i = 0; i < n; i++)
        c->order[i] = i;
    OXP_TRY(oxp_composition_begin(&c->composition, c->raised));
    if (c->order_mode != OXP_ORDER_GIVEN && movable(c) > 1)
        OXP_TRY(measure_orders(c));
    const oxp_technique *last = stage_at(c, n - 1)->technique;
    for (size_t i = 0; i < n - (last->rewrite ? 0 : 1); i++)
        OXP_TRY(run_stage(c, i));
    if (!last->rewrite) {
        c->placement.technique = last;
        c->placement.params = stage_at(c, n - 1)->params;
    }
    oxp_compression_trim();
    return OXP_OK;
}

/* ---- the last one ---- */

oxp_status oxp_compression_fit(oxp_compression *c)
{
    bool any = false;
    for (size_t i = 0; i < c->site_count; i++)
        any |= c->choices[i].technique && c->choices[i].technique->fit;
    if (!any)
        return OXP_OK;
    oxp_fit_options o;
    OXP_TRY(fit_options(&o, c, c->graph, c->sites, c->site_count));
    if (!c->rounds) /* --rounding nearest: nothing of the samples goes into codes */
        o.source = NULL;
    OXP_TRY(oxp_techniques_fit(&c->fits, c->choices, &o));
    for (size_t i = 0; i < c->site_count; i++) {
        const oxp_fitted *f = c->choices[i].fitted;
        oxp_codes *codes = &c->codes[i];
        if (!f)
            continue;
        codes->signal = f->signal;
        codes->noise = f->noise;
        codes->output_before = codes->output_after = NAN;
        take_shift(codes, &c->sites[i], &c->choices[i], c);
    }
    return OXP_OK;
}

oxp_status oxp_compression_compose(oxp_compression *c)
{
    oxp_fit_options o;
    if (c->pipeline.count == 0)
        return OXP_OK;
    if (c->composition.stages < c->pipeline.count) { /* the last one stands in the choices */
        for (size_t i = 0; i < c->site_count; i++) {
            bool narrow = c->choices[i].limit == 64 && c->narrow_codes[i].codes;
            OXP_TRY(oxp_composition_note(&c->composition, &c->sites[i], &c->choices[i],
                                         narrow ? &c->narrow_codes[i] : &c->codes[i]));
        }
        OXP_TRY(oxp_composition_end_stage(&c->composition, stage_at(c, c->pipeline.count - 1)));
    }
    OXP_TRY(fit_options(&o, c, c->graph, c->sites, c->site_count));
    return oxp_composition_measure(&c->composition, &o);
}
