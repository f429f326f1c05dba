/* composed.c - what the stages of a pipeline did together: their order, and per weight the error
 * that was measured beside the bounds on it. */
#include <math.h>
#include <stdio.h>

#include "report/composed.h"

static void add_order(json_t *o, const char *key, const oxp_compression *c, const size_t *order)
{
    json_t *array = oxp_json_array(o, key);
    for (size_t i = 0; i < c->pipeline.count; i++)
        json_array_append_new(array, json_string(c->pipeline.stages[order[i]].technique->name));
}

void oxp_report_composition(json_t *root, const oxp_compression *c)
{
    static const size_t given[OXP_PIPELINE_MAX] = {0, 1, 2, 3, 4};
    const oxp_composition *m = &c->composition;
    if (c->pipeline.count == 0)
        return;
    json_t *o = oxp_json_object(root, "composition");
    oxp_json_string(o, "pipeline", c->options->pipeline);
    add_order(o, "given", c, given);
    add_order(o, "used", c, c->order);
    if (!m->is_measured)
        return;
    add_order(o, "rule", c, m->rule);
    add_order(o, "best", c, m->best);
    oxp_json_real(o, "rule_error", m->rule_error);
    oxp_json_real(o, "best_error", m->best_error);
    if (m->best_error > 0)
        oxp_json_real(o, "regret", m->rule_error / m->best_error - 1);
    else if (m->rule_error <= 0)
        oxp_json_real(o, "regret", 0);
}

static void add_errors(json_t *weight, const char *key, const oxp_chain_error *e)
{
    if (isnan(e->actual))
        return;
    json_t *o = oxp_json_object(weight, key);
    oxp_json_real(o, "actual", e->actual);
    oxp_json_real(o, "telescoped", e->telescoped);
    oxp_json_real(o, "pairwise", e->pairwise);
    oxp_json_real(o, "a_priori", e->a_priori);
}

/* The weight of the prepared model that a site is or is a factor of. */
static const oxp_composed_weight *composed(const oxp_compression *c, const oxp_site *s)
{
    int part;
    return c->pipeline.count ? oxp_composition_find(&c->composition, s->value->name, &part) : NULL;
}

bool oxp_report_composed_errors(json_t *weight, const oxp_compression *c, const oxp_site *s)
{
    const oxp_composed_weight *w = composed(c, s);
    if (!w)
        return false;
    add_errors(weight, "error", &w->error);
    add_errors(weight, "error_h", &w->error_h);
    return true;
}

void oxp_report_params(json_t *object, const oxp_choice *choice)
{
    const oxp_param *table = choice->technique->params;
    for (size_t i = 0; table && table[i].name; i++) {
        char text[64];
        double value = choice->params.values[i];
        oxp_params_value_text(text, sizeof text, &table[i], value);
        if (table[i].type == OXP_PARAM_WORD || table[i].type == OXP_PARAM_PAIR || value < 0)
            oxp_json_string(object, table[i].name, text);
        else if (table[i].type == OXP_PARAM_COUNT)
            oxp_json_integer(object, table[i].name, (long long)value);
        else
            oxp_json_real(object, table[i].name, value);
    }
}

oxp_status oxp_report_composition_text(oxp_report *r, const oxp_compression *c)
{
    const oxp_composition *m = &c->composition;
    double worst = -1;
    const oxp_composed_weight *at = NULL;
    for (size_t i = 0; i < m->count && c->pipeline.count > 1; i++)
        if (m->weights[i].error.actual > worst) {
            at = &m->weights[i];
            worst = at->error.actual;
        }
    if (m->is_measured && m->best_error > 0)
        OXP_TRY(oxp_report_line(r,
                                "  order: all were measured; the rule loses %.1f %% more than "
                                "the best",
                                100 * (m->rule_error / m->best_error - 1)));
    if (!at)
        return OXP_OK;
    char quoted[OXP_QUOTED_MAX], pairwise[48] = "";
    if (!isnan(at->error.pairwise))
        snprintf(pairwise, sizeof pairwise, " and %.3g (pairwise)", at->error.pairwise);
    return oxp_report_line(
        r,
        "  errors of the stages together: at most %.3g of a weight (%s), bounded by %.3g "
        "(telescoped)%s",
        at->error.actual, oxp_quote(quoted, at->site->value->name), at->error.telescoped, pairwise);
}
