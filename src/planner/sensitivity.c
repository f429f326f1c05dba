/* sensitivity.c - one pass of gradients over the samples, all candidates of all weights. */
#include "planner/sensitivity_pass.h"

#include <math.h>
#include <string.h>

#include "planner/stats.h"

#define BOOTSTRAP_DRAWS 1000

/* ---- gradients ---- */

static oxp_status on_gradient(void *user, oxp_ctx *ctx, int worker, size_t slot, size_t target,
                              double weight, const oxp_tensor *g)
{
    (void)ctx;
    (void)worker;
    const oxp_sensitivity_pass *p = user;
    size_t site = p->site_of[target];
    double *at = &p->changes[(slot * p->s->count + site) * OXP_CANDIDATES];
    for (size_t k = 0; k < OXP_CANDIDATES; k++) {
        double a = oxp_candidate_change(p, site, k, g->data);
        at[k] += weight * a * a;
    }
    return OXP_OK;
}

static uint64_t key_of(void *user, size_t index)
{
    const oxp_sensitivity_pass *p = user;
    return oxp_samples_key(&p->s->c->samples, index);
}

static const int64_t *labels_of(void *user, size_t index, size_t *count)
{
    const oxp_sensitivity_pass *p = user;
    const oxp_samples *samples = &p->s->c->samples;
    if (!samples->dataset)
        return NULL;
    *count = oxp_dataset_rows(samples->dataset, index);
    return oxp_dataset_labels(samples->dataset, index);
}

static oxp_status list_targets(oxp_sensitivity_pass *p, oxp_fisher_target *targets, size_t *count)
{
    oxp_sensitivity *s = p->s;
    for (size_t i = 0; i < s->count; i++) {
        const oxp_site *site = &s->c->sites[i];
        oxp_fisher_target t = {site->graph, site->value->id};
        bool reaches;
        OXP_TRY(oxp_fisher_reaches(&reaches, &s->rows[i].stops, &s->arena, s->c->graph, &t));
        if (!reaches)
            continue;
        p->site_of[*count] = i;
        targets[(*count)++] = t;
    }
    return OXP_OK;
}

static oxp_interval interval_of(const double *values, size_t n, uint64_t seed, void *work)
{
    return oxp_bootstrap_mean(values, n, BOOTSTRAP_DRAWS, 0.95, seed, work);
}

/* Means over inputs, and their intervals. */
static oxp_status summarise(oxp_sensitivity_pass *p, const oxp_fisher *f, size_t targets)
{
    oxp_sensitivity *s = p->s;
    uint64_t seed = s->c->ctx->seed;
    double *values = oxp_arena_alloc(&s->arena, s->inputs + 1, sizeof *values);
    void *work = oxp_arena_alloc(&s->arena, oxp_bootstrap_bytes(s->inputs, BOOTSTRAP_DRAWS), 1);
    if (!values || !work)
        return OXP_ELIMIT;
    for (size_t t = 0; t < targets; t++) {
        oxp_sensitivity_row *row = &s->rows[p->site_of[t]];
        for (size_t i = 0; i < s->inputs; i++)
            values[i] = f->squares[i * f->targets + t];
        row->fisher_trace = oxp_mean(values, s->inputs);
        row->interval = interval_of(values, s->inputs, seed, work);
        for (size_t k = 0; k < OXP_CANDIDATES && s->has_losses; k++) {
            for (size_t i = 0; i < s->inputs; i++)
                values[i] = 0.5 * p->changes[(i * s->count + p->site_of[t]) * OXP_CANDIDATES + k];
            row->candidates[k].predicted_loss = oxp_mean(values, s->inputs);
            row->candidates[k].interval = interval_of(values, s->inputs, seed, work);
        }
    }
    return OXP_OK;
}

/* One weight behind a NaN is a row without numbers; all of them are no answer. */
static oxp_status check_traces(const oxp_sensitivity_pass *p, size_t targets)
{
    const oxp_sensitivity *s = p->s;
    char quoted[OXP_QUOTED_MAX];
    for (size_t t = 0; t < targets; t++)
        if (isfinite(s->rows[p->site_of[t]].fisher_trace))
            return OXP_OK;
    return oxp_fail(s->c->ctx, OXP_EDATA, "E-CALIB-NONFINITE",
                    "the gradients of all %zu weights are NaN or infinite, of %s first: nothing "
                    "can be said of them",
                    targets, oxp_quote(quoted, s->rows[p->site_of[0]].site->value->name));
}

static oxp_status rank_halves(oxp_sensitivity *s, const oxp_fisher *f, size_t targets)
{
    double *halves = oxp_arena_alloc(&s->arena, 2 * targets + 1, sizeof *halves);
    s->rank_stability = NAN;
    if (!halves)
        return OXP_ELIMIT;
    if (s->inputs < 4 || targets < 2)
        return OXP_OK;
    for (size_t t = 0; t < targets; t++)
        for (size_t i = 0; i < s->inputs; i++)
            halves[(i % 2) * targets + t] += f->squares[i * f->targets + t];
    s->rank_stability = oxp_kendall(halves, halves + targets, targets);
    return OXP_OK;
}

static oxp_status set_budgets(oxp_sensitivity *s, double loss)
{
    double *d = oxp_arena_alloc(&s->arena, 4 * s->count + 1, sizeof *d);
    if (!d)
        return OXP_ELIMIT;
    double *t = d + s->count, *w = t + s->count, *budget = w + s->count;
    for (size_t i = 0; i < s->count; i++) {
        d[i] = (double)s->rows[i].site->value->constant.count;
        t[i] = s->rows[i].fisher_trace;
        w[i] = s->rows[i].norm;
    }
    oxp_budgets(budget, d, t, w, s->count, loss);
    for (size_t i = 0; i < s->count; i++)
        s->rows[i].budget = budget[i];
    return OXP_OK;
}

/* ---- outputs ---- */

static oxp_status choose_kinds(oxp_sensitivity *s, const oxp_sensitivity_options *o)
{
    static const char *const words[] = {"categorical", "bernoulli", "gaussian", "embedding"};
    const oxp_graph *g = s->c->graph;
    oxp_output_kind *kinds = oxp_arena_alloc(&s->arena, g->output_count + 1, sizeof *kinds);
    int word = -1;
    if (!kinds)
        return OXP_ELIMIT;
    for (int i = 0; o->output_kind && i < 4; i++)
        word = strcmp(o->output_kind, words[i]) == 0 ? i : word;
    for (size_t i = 0; i < g->output_count; i++) {
        kinds[i] = oxp_output_kind_of(g, g->outputs[i]);
        if (word == 0 && !oxp_is_categorical(kinds[i]))
            kinds[i] = OXP_KIND_LOGITS;
        else if (word == 1)
            kinds[i] = OXP_KIND_BERNOULLI;
        else if (word >= 2)
            kinds[i] = word == 2 ? OXP_KIND_GAUSSIAN : OXP_KIND_EMBEDDING;
    }
    s->kinds = kinds;
    return OXP_OK;
}

static oxp_status choose_outputs(oxp_sensitivity *s, const oxp_sensitivity_options *o)
{
    const oxp_graph *g = s->c->graph;
    char quoted[OXP_QUOTED_MAX];
    if (!o->outputs)
        return OXP_OK;
    bool *counts = oxp_arena_alloc(&s->arena, g->output_count + 1, sizeof *counts);
    if (!counts)
        return OXP_ELIMIT;
    for (const char *const *name = o->outputs; *name; name++) {
        size_t i = 0;
        while (i < g->output_count && strcmp(g->values[g->outputs[i]].name, *name) != 0)
            i++;
        if (i == g->output_count)
            return oxp_fail(s->c->ctx, OXP_EUSAGE, "E-SELECT", "the model has no output %s",
                            oxp_quote(quoted, *name));
        counts[i] = true;
    }
    s->counts = counts;
    return OXP_OK;
}

static oxp_status choose_estimator(oxp_sensitivity *s, const oxp_sensitivity_options *o)
{
    char quoted[OXP_QUOTED_MAX];
    s->estimator = OXP_ESTIMATOR_FACTOR;
    s->without_gradients = o->estimator && strcmp(o->estimator, "forward") == 0;
    if (s->without_gradients)
        return OXP_OK;
    for (int e = 0; o->estimator; e++) {
        if (e == OXP_ESTIMATOR_COUNT)
            return oxp_fail(s->c->ctx, OXP_EUSAGE, "E-USAGE",
                            "--estimator %s: factor, sampled, exact, forward or empirical",
                            oxp_quote(quoted, o->estimator));
        s->estimator = (oxp_estimator)e;
        if (strcmp(o->estimator, oxp_estimator_name(s->estimator)) == 0)
            break;
    }
    return OXP_OK;
}

oxp_status oxp_sensitivity_settle(oxp_sensitivity *s, const oxp_sensitivity_options *options)
{
    OXP_TRY(choose_estimator(s, options));
    OXP_TRY(choose_kinds(s, options));
    return choose_outputs(s, options);
}

/* ---- statistics that an artefact holds ---- */

static oxp_status check_stats(oxp_sensitivity *s, const oxp_sensitivity_options *o)
{
    oxp_stats_options wanted = {
        .estimator = o->estimator, .output_kind = o->output_kind, .outputs = o->outputs};
    if (!s->c->stats)
        return OXP_OK;
    const char *text = oxp_stats_gradient_options(&s->arena, &wanted, s->c->ctx->seed);
    if (!text)
        return OXP_ELIMIT;
    OXP_TRY(oxp_artefact_same_options(&s->c->stats->artefact, o->stats, text));
    if (s->c->has_samples || (!o->measure && !s->without_gradients))
        return OXP_OK;
    return oxp_fail(s->c->ctx, OXP_EDATA, "E-STATS-NEEDS-DATA",
                    "losses are measured by running samples: --measure needs --data D beside "
                    "--stats");
}

/* Squares of gradients as the artefact has them. */
static oxp_status take_squares(oxp_sensitivity_pass *p, oxp_fisher *f, size_t targets)
{
    oxp_sensitivity *s = p->s;
    const oxp_artefact *a = &s->c->stats->artefact;
    double scale = oxp_artefact_scale(a);
    *f = (oxp_fisher){.targets = targets, .inputs = s->inputs};
    f->squares = oxp_arena_alloc(&s->arena, s->inputs * targets + 1, sizeof *f->squares);
    if (!f->squares)
        return OXP_ELIMIT;
    for (size_t t = 0; t < targets; t++) {
        const oxp_site *site = s->rows[p->site_of[t]].site;
        const double *of_target;
        OXP_TRY(oxp_stats_squares(&of_target, s->c, site));
        for (size_t i = 0; i < s->inputs; i++)
            f->squares[i * targets + t] = scale * of_target[i * a->fisher.target_count];
    }
    return OXP_OK;
}

/* ---- the whole ---- */

static double norm_of(const float *w, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += (double)w[i] * (double)w[i];
    return sqrt(sum);
}

static oxp_status read_weights(oxp_sensitivity_pass *p)
{
    oxp_sensitivity *s = p->s;
    p->weights = oxp_arena_alloc(&s->arena, s->count + 1, sizeof *p->weights);
    p->owned = oxp_arena_alloc(&s->arena, s->count + 1, sizeof *p->owned);
    if (!p->weights || !p->owned)
        return OXP_ELIMIT;
    for (size_t i = 0; i < s->count; i++) {
        const oxp_site *site = &s->c->sites[i];
        OXP_TRY(oxp_site_numbers(&p->weights[i], &p->owned[i], s->c->ctx, site));
        s->rows[i] =
            (oxp_sensitivity_row){.site = site,
                                  .norm = norm_of(p->weights[i], site->value->constant.count),
                                  .fisher_trace = NAN,
                                  .interval = {NAN, NAN}};
    }
    return OXP_OK;
}

static oxp_status gradients(oxp_sensitivity_pass *p)
{
    oxp_sensitivity *s = p->s;
    size_t targets = 0, cells = s->inputs * s->count * OXP_CANDIDATES;
    oxp_fisher_target *list = oxp_arena_alloc(&s->arena, s->count + 1, sizeof *list);
    p->site_of = oxp_arena_alloc(&s->arena, s->count + 1, sizeof *p->site_of);
    p->changes = oxp_arena_alloc(&s->arena, cells + 1, sizeof *p->changes);
    if (!list || !p->site_of || !p->changes)
        return OXP_ELIMIT;
    OXP_TRY(list_targets(p, list, &targets));
    oxp_fisher f;
    oxp_fisher_options options = {.estimator = s->estimator,
                                  .kinds = s->kinds,
                                  .counts = s->counts,
                                  .key = key_of,
                                  .labels = labels_of,
                                  .gradient = on_gradient,
                                  .user = p};
    if (targets && s->has_losses)
        OXP_TRY(oxp_fisher_run(&f, &s->arena, s->c->graph, &s->c->samples.source,
                               s->c->stats ? s->c->fit : NULL, s->inputs, list, targets, &options));
    if (targets && s->c->stats)
        OXP_TRY(take_squares(p, &f, targets));
    if (targets)
        OXP_TRY(summarise(p, &f, targets));
    if (targets && s->inputs)
        OXP_TRY(check_traces(p, targets));
    return targets ? rank_halves(s, &f, targets) : OXP_OK;
}

static oxp_status weigh(oxp_sensitivity_pass *p, const oxp_sensitivity_options *o)
{
    oxp_sensitivity *s = p->s;
    OXP_TRY(read_weights(p));
    OXP_TRY(oxp_candidate_scales(p));
    for (size_t i = 0; i < s->count; i++)
        oxp_candidate_describe(p, i);
    OXP_TRY(s->without_gradients ? oxp_measure_traces(p) : gradients(p));
    if (s->has_losses)
        OXP_TRY(oxp_measure_candidates(p, o->measure || s->without_gradients));
    return set_budgets(s, o->loss);
}

static oxp_status run(oxp_sensitivity *s, const char *model, const oxp_sensitivity_options *o,
                      const oxp_compress_options *compress)
{
    oxp_sensitivity_pass p = {.s = s};
    OXP_TRY(oxp_compression_prepare(s->c, s->arena.ctx, model, compress));
    s->count = s->c->site_count;
    s->inputs = s->c->stats ? s->c->stats->artefact.used : s->c->samples.source.count;
    s->has_losses = s->c->has_samples;
    s->rank_stability = NAN;
    s->rows = oxp_arena_alloc(&s->arena, s->count + 1, sizeof *s->rows);
    if (!s->rows)
        return OXP_ELIMIT;
    OXP_TRY(oxp_sensitivity_settle(s, o));
    OXP_TRY(check_stats(s, o));
    oxp_status status = weigh(&p, o);
    for (size_t i = 0; p.owned && i < s->count; i++)
        oxp_free(p.owned[i]);
    return status;
}

oxp_status oxp_sensitivity_run(oxp_sensitivity *out, oxp_ctx *ctx, const char *model,
                               const char *data, const oxp_sensitivity_options *options)
{
    *out = (oxp_sensitivity){0};
    oxp_arena_init(&out->arena, ctx);
    OXP_TRY(oxp_alloc(&out->c, ctx, 1, sizeof *out->c, "model"));
    oxp_compress_options *compress =
        oxp_arena_alloc(&out->arena, 1, sizeof *compress); /* the model's settings point to it */
    if (!compress)
        return OXP_ELIMIT;
    *compress = (oxp_compress_options)OXP_COMPRESS_OPTIONS_INIT;
    compress->input = options->input;
    compress->precision = "w8";
    compress->data = data;
    compress->labels = options->labels;
    compress->stats = options->stats;
    return run(out, model, options, compress);
}

void oxp_sensitivity_free(oxp_sensitivity *s)
{
    if (s->c && s->c->ctx)
        oxp_compression_free(s->c);
    oxp_free(s->c);
    oxp_arena_free(&s->arena);
}
