/* plan_trials.c - what each form changes and how large it is, taken from the form itself.
 *
 * A form is applied to all weights that can take it, one sample is run through the result, and the
 * values that stand in the weights' places are seen: delta_{l,c} is what ONNX Runtime would compute
 * with, however the form is spelled. The packed model shows what its nodes and names cost. */
#include <math.h>
#include <string.h>

#include "kernels/changes.h"
#include "onnx/save.h"
#include "planner/compress_steps.h"
#include "planner/loss.h"
#include "planner/plan_weigh.h"

#define ALONE_SAMPLES 16 /* on which options are measured that no gradient reaches */

/* ---- a form at work ---- */

typedef struct capture {
    oxp_plan_weigher *w;
    size_t **site_of; /* by graph and value of the trial: site + 1 */
} capture;

static oxp_status keep_change(capture *at, size_t site, const float *after)
{
    oxp_plan_weigher *w = at->w;
    oxp_plan_option *o = &w->p->rows[site].options[w->taken[site]];
    const float *before;
    float *owned;
    const oxp_site *s = &w->c->sites[site];
    OXP_TRY(oxp_site_numbers(&before, &owned, w->c->ctx, s));
    double squares = 0;
    w->steps[o->column] =
        oxp_changes_pack(w->codes[o->column], &squares, before, after, s->value->constant.count);
    o->norm = sqrt(squares);
    oxp_free(owned);
    oxp_model_forget(s->graph->model, &s->value->constant);
    return OXP_OK;
}

static oxp_status on_value(void *user, oxp_ctx *ctx, int worker, size_t slot,
                           const oxp_graph *graph, uint32_t value, const oxp_tensor *t)
{
    (void)worker;
    (void)slot;
    capture *at = user;
    size_t site = at->site_of[graph->id][value];
    if (site-- == 0 || t->count != at->w->c->sites[site].value->constant.count)
        return OXP_OK;
    if (t->dtype == OXP_FLOAT)
        return keep_change(at, site, t->data);
    float *real;
    OXP_TRY(oxp_alloc_raw(&real, ctx, t->count + 1, sizeof *real, "weight"));
    for (size_t i = 0; i < t->count; i++)
        real[i] = (float)oxp_tensor_real(t, i);
    oxp_status status = keep_change(at, site, real);
    oxp_free(real);
    return status;
}

static oxp_status index_sites(capture *at, oxp_arena *arena, const oxp_graph *graph)
{
    const oxp_graph *const *graphs;
    size_t count;
    OXP_TRY(oxp_graph_all(&graphs, &count, arena, graph));
    at->site_of = oxp_arena_alloc(arena, count, sizeof *at->site_of);
    for (size_t g = 0; at->site_of && g < count; g++) {
        at->site_of[g] = oxp_arena_alloc(arena, graphs[g]->value_count + 1, sizeof **at->site_of);
        if (!at->site_of[g])
            return OXP_ELIMIT;
    }
    if (!at->site_of)
        return OXP_ELIMIT;
    for (size_t i = at->w->first; i < at->w->last; i++) {
        const oxp_site *s = &at->w->c->sites[i];
        uint32_t value = oxp_graph_find_value(graphs[s->graph->id], s->value->name);
        if (at->w->taken[i] != SIZE_MAX && value != OXP_NO_VALUE &&
            graphs[s->graph->id]->values[value].kind == OXP_VALUE_NODE)
            at->site_of[s->graph->id][value] = i + 1;
    }
    return OXP_OK;
}

/* Runs a sample through the trial and looks at its weights. */
static oxp_status look(oxp_plan_weigher *w, oxp_model *trial)
{
    oxp_arena arena;
    oxp_graph *graph;
    capture at = {.w = w};
    oxp_arena_init(&arena, w->c->ctx);
    oxp_status status = oxp_graph_build(&graph, &arena, trial);
    if (status == OXP_OK)
        status = index_sites(&at, &arena, graph);
    oxp_run_hooks hooks = {.user = &at, .value = on_value};
    if (status == OXP_OK)
        status =
            oxp_run_samples(w->c->ctx, graph, &w->c->samples.source, w->c->fit, 1, &hooks, NULL);
    oxp_arena_free(&arena);
    return status;
}

/* A table in 8 bits is never whole in a run: its codes say what it holds. */
static oxp_status keep_tables(oxp_plan_weigher *w)
{
    capture at = {.w = w};
    for (size_t i = w->first; i < w->last; i++) {
        const oxp_site *s = &w->c->sites[i];
        float *real;
        if (w->taken[i] == SIZE_MAX || !s->is_table || w->choices[i].technique != &oxp_technique_w8)
            continue;
        OXP_TRY(
            oxp_alloc_raw(&real, w->c->ctx, s->value->constant.count + 1, sizeof *real, "weight"));
        oxp_dequantise_weight(real, w->c->codes[i].codes, w->c->codes[i].scales, s->layout);
        oxp_status status = keep_change(&at, i, real);
        oxp_free(real);
        OXP_TRY(status);
    }
    return OXP_OK;
}

/* The group's options of a form, or of what --layer forces; returns how many. */
static size_t take(oxp_plan_weigher *w, size_t form)
{
    size_t count = 0;
    for (size_t i = 0; i < w->c->site_count; i++) {
        w->choices[i] = (oxp_choice){.limit = 127};
        w->taken[i] = SIZE_MAX;
        const oxp_plan_row *row = &w->p->rows[i];
        for (size_t k = 0; i >= w->first && i < w->last && k < row->count; k++)
            if (row->options[k].form == form && row->options[k].choice.technique) {
                w->taken[i] = k;
                w->choices[i] = row->options[k].choice;
                count++;
            }
    }
    return count;
}

static oxp_status weigh_bytes(oxp_plan_weigher *w, size_t form, oxp_model *trial, size_t count)
{
    size_t packed = oxp_model_packed_bytes(trial);
    if (packed == 0)
        return w->c->ctx->status;
    double extra = (double)packed - (double)w->base;
    for (size_t i = w->first; i < w->last; i++)
        if (w->taken[i] != SIZE_MAX)
            extra -= (double)oxp_plan_own_bytes(&w->c->sites[i], &w->choices[i]) -
                     (double)oxp_tensor_bytes(&w->c->sites[i].value->constant);
    size_t at = form == SIZE_MAX ? oxp_plan_form_count : form;
    w->extra[at] += extra;
    w->extra_count[at] += count;
    return OXP_OK;
}

/* What the form takes off the layers' biases is a part of its change. */
static oxp_status keep_shifts(oxp_plan_weigher *w)
{
    for (size_t i = w->first; i < w->last; i++) {
        const float *shift = w->taken[i] == SIZE_MAX
                                 ? NULL
                                 : oxp_codes_shift(&w->trial[i], oxp_choice_level(&w->choices[i]));
        size_t channels = w->c->sites[i].layout.channels;
        if (!shift)
            continue;
        float *copy = oxp_arena_alloc(&w->arena, channels, sizeof *copy);
        if (!copy)
            return OXP_ELIMIT;
        memcpy(copy, shift, channels * sizeof *copy);
        w->shifts[w->p->rows[i].options[w->taken[i]].column] = copy;
    }
    return OXP_OK;
}

/* The forms fitted where their techniques fit, then applied. */
oxp_status oxp_plan_trial(oxp_model **out, oxp_plan_weigher *w)
{
    oxp_compression *c = w->c;
    oxp_choice *choices = c->choices;
    oxp_codes *codes = c->codes;
    memcpy(w->trial, w->bare, c->site_count * sizeof *w->trial);
    for (size_t i = 0; i < c->site_count; i++)
        if (w->choices[i].technique == &oxp_technique_w8)
            w->trial[i] = codes[i];
    c->choices = w->choices;
    c->codes = w->trial;
    oxp_status status = oxp_compression_fit(c);
    c->choices = choices;
    c->codes = codes;
    if (status == OXP_OK)
        status = keep_shifts(w);
    if (status == OXP_OK)
        status = oxp_edit_apply(out, c->raised, w->choices, w->trial, c->narrow_codes, &c->ranges);
    oxp_fits_free(&c->fits);
    c->fits = (oxp_fits){0};
    return status;
}

oxp_status oxp_plan_try_form(oxp_plan_weigher *w, size_t form)
{
    oxp_model *trial;
    size_t count = take(w, form);
    if (count == 0)
        return OXP_OK;
    OXP_TRY(oxp_progress(w->c->ctx, "forms", form, oxp_plan_form_count));
    OXP_TRY(oxp_plan_trial(&trial, w));
    oxp_status status = weigh_bytes(w, form, trial, count);
    if (status == OXP_OK)
        status = look(w, trial);
    oxp_model_free(trial);
    return status == OXP_OK ? keep_tables(w) : status;
}

/* ---- options that no gradient reaches, measured alone ---- */

static oxp_status measure_alone(oxp_plan_weigher *w, const oxp_reference *r, const double *powers,
                                size_t site, oxp_plan_option *o)
{
    oxp_model *trial;
    oxp_difference *slots;
    for (size_t i = 0; i < w->c->site_count; i++)
        w->choices[i] = (oxp_choice){.limit = 127};
    w->choices[site] = o->choice;
    OXP_TRY(oxp_alloc(&slots, w->c->ctx, r->count * r->output_count + 1, sizeof *slots, "losses"));
    for (size_t i = 0; i < w->c->site_count; i++)
        w->taken[i] = SIZE_MAX;
    oxp_status status = oxp_plan_trial(&trial, w);
    if (status == OXP_OK) {
        status = oxp_evaluate_inputs(slots, r, trial, SIZE_MAX, "measure");
        o->loss = 0;
        for (size_t i = 0; status == OXP_OK && i < r->count; i++)
            o->loss += oxp_input_loss(r, &slots[i * r->output_count], powers) / (double)r->count;
        oxp_model_free(trial);
    }
    oxp_free(slots);
    return status;
}

static oxp_status measure_rows(oxp_plan_weigher *w, const oxp_reference *r)
{
    double *powers = oxp_arena_alloc(&w->arena, r->output_count + 1, sizeof *powers);
    if (!powers)
        return OXP_ELIMIT;
    oxp_output_powers(powers, r);
    for (size_t i = 0; i < w->c->site_count; i++)
        for (size_t k = 0; k < w->p->rows[i].count; k++) {
            oxp_plan_option *o = &w->p->rows[i].options[k];
            if (w->p->rows[i].source == OXP_PLAN_MEASURED && o->choice.technique)
                OXP_TRY(measure_alone(w, r, powers, i, o));
        }
    return OXP_OK;
}

oxp_status oxp_plan_measure_alone(oxp_plan_weigher *w)
{
    oxp_reference r;
    bool any = false;
    for (size_t i = 0; i < w->c->site_count; i++)
        any |= w->p->rows[i].source == OXP_PLAN_MEASURED && w->p->rows[i].count > 1;
    if (!any)
        return OXP_OK;
    size_t count = w->p->inputs < ALONE_SAMPLES ? w->p->inputs : ALONE_SAMPLES;
    OXP_TRY(oxp_reference_make(&r, w->c->ctx, w->c->graph, &w->c->samples.source, w->which, count));
    oxp_status status = measure_rows(w, &r);
    oxp_reference_free(&r);
    return status;
}
