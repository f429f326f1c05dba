/* plan_gradients.c - changes against gradients: a_{s,l,c} = g_s . delta_{l,c}, with what a form
 * takes off the layer's bias. A slot s is one draw for one input. */
#include <math.h>

#include "calibration/fisher.h"
#include "kernels/changes.h"
#include "planner/plan_weigh.h"
#include "techniques/bias_correction.h"

/* ---- gradients ---- */

static uint64_t key_of(void *user, size_t index)
{
    const oxp_plan_weigher *w = user;
    return oxp_samples_key(&w->c->samples, index) ^ (w->draw * UINT64_C(0x9e3779b97f4a7c15));
}

static void add_shifts(const oxp_plan_weigher *w, const oxp_plan_row *row, double *at,
                       const oxp_tensor *g)
{
    const float *x = g->data;
    for (size_t k = 0; k < row->count; k++) {
        const float *shift = w->shifts[row->options[k].column];
        double sum = 0;
        for (size_t c = 0; shift && c < g->count; c++)
            sum += (double)x[c] * (double)shift[c];
        at[row->options[k].column] += sum;
    }
}

static oxp_status on_gradient(void *user, oxp_ctx *ctx, int worker, size_t slot, size_t target,
                              double weight, const oxp_tensor *g)
{
    (void)ctx;
    (void)worker;
    (void)weight; /* one draw: 1 */
    oxp_plan_weigher *w = user;
    oxp_plan *p = w->p;
    const oxp_plan_row *row = &p->rows[w->site_of[target]];
    size_t at = (w->draw * p->inputs + slot) * p->columns;
    if (target >= w->weights) {
        add_shifts(w, row, &p->changes[at], g);
        return OXP_OK;
    }
    for (size_t k = 0; k < row->count; k++) {
        size_t column = row->options[k].column;
        double step = w->steps[column], squares;
        if (step > 0) {
            p->changes[at + column] +=
                step * oxp_changes_dot(&squares, g->data, w->codes[column], g->count);
            w->singles[at + column] = step * step * squares;
        } else if (isnan(step)) {
            p->changes[at + column] = NAN;
        }
    }
    return OXP_OK;
}

/* The biases of a weight that some form shifts; one that others read too is left out. */
static void list_biases(oxp_plan_weigher *w, size_t site, oxp_fisher_target *targets, size_t *count)
{
    const oxp_site *s = &w->c->sites[site];
    bool any = false;
    for (size_t k = 0; k < w->p->rows[site].count; k++)
        any |= w->shifts[w->p->rows[site].options[k].column] != NULL;
    for (size_t k = 0; any && k < s->consumer_count; k++) {
        oxp_bias bias;
        if (!oxp_bias_find(&bias, s, &s->consumers[k]) || !bias.value ||
            bias.value->use_count != 1 || bias.value->kind != OXP_VALUE_CONSTANT ||
            bias.value != &bias.node->graph->values[bias.node->inputs[bias.input]])
            continue;
        w->site_of[*count] = site;
        targets[(*count)++] = (oxp_fisher_target){bias.node->graph, bias.value->id};
    }
}

static oxp_status list_targets(oxp_plan_weigher *w, oxp_fisher_target *targets, size_t *count)
{
    for (size_t i = w->first; i < w->last; i++) {
        const oxp_site *s = &w->c->sites[i];
        oxp_fisher_target t = {s->graph, s->value->id};
        bool reaches;
        OXP_TRY(oxp_fisher_reaches(&reaches, &w->p->rows[i].stops, &w->arena, w->c->graph, &t));
        if (!reaches) {
            w->p->rows[i].source = OXP_PLAN_MEASURED;
            continue;
        }
        w->site_of[*count] = i;
        targets[(*count)++] = t;
    }
    w->weights = *count;
    for (size_t k = 0; k < w->weights; k++)
        list_biases(w, w->site_of[k], targets, count);
    return OXP_OK;
}

oxp_status oxp_plan_gradients(oxp_plan_weigher *w)
{
    oxp_compression *c = w->c;
    size_t count = 0;
    oxp_fisher f;
    size_t most = c->site_count + 1;
    for (size_t i = 0; i < c->site_count; i++)
        most += c->sites[i].consumer_count;
    oxp_fisher_target *targets = oxp_arena_alloc(&w->arena, most, sizeof *targets);
    w->site_of = oxp_arena_alloc(&w->arena, most, sizeof *w->site_of);
    oxp_fisher_options options = {
        .estimator = OXP_ESTIMATOR_FACTOR, .key = key_of, .gradient = on_gradient, .user = w};
    if (!targets || !w->site_of)
        return OXP_ELIMIT;
    OXP_TRY(list_targets(w, targets, &count));
    for (w->draw = 0; count > 0 && w->draw < w->p->slots / w->p->inputs; w->draw++) {
        OXP_TRY(oxp_fisher_run(&f, &w->arena, c->graph, &c->samples.source, w->which, w->p->inputs,
                               targets, count, &options));
        for (size_t t = 0; t < w->weights; t++)
            for (size_t i = 0; i < w->p->inputs; i++)
                w->reached[w->site_of[t]] |= f.squares[i * f.targets + t] != 0;
    }
    return OXP_OK;
}
