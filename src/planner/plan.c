/* plan.c - the choice within a budget, checked against the file that it makes.
 *
 * What a form costs in the file is known as a mean over weights; names and shared numbers differ by
 * a few bytes. So every choice is applied and packed, the difference goes into what is fixed, and
 * the choice is made again, until the file fits and nothing better does. */
#include "planner/plan.h"

#include <math.h>
#include <string.h>

#include "planner/compress_steps.h"
#include "planner/loss.h"
#include "util/map.h"

#define ROUNDS 10

/* ---- choices ---- */

void oxp_plan_set(oxp_compression *c, size_t site, const oxp_choice *choice)
{
    const char *reason = c->choices[site].reason;
    c->choices[site] = *choice;
    if (!choice->technique)
        c->choices[site].reason = reason ? reason : "the plan leaves it float";
    if (!choice->technique || !choice->technique->fit)
        return;
    /* what 8 bits would need off the bias is not what these need */
    oxp_codes *codes = &c->codes[site];
    codes->stored_shift = codes->integer_shift = NULL;
    codes->is_rounded = false;
    codes->output_before = codes->output_after = NAN;
}

typedef struct search {
    oxp_compression *c;
    oxp_plan *p;
    oxp_arena arena;
    oxp_codes *codes;           /* of 8 bits, as they were made */
    oxp_knapsack_group *groups; /* by site */
    oxp_knapsack now;
    oxp_fits fits;  /* of the choices that were last applied, kept from round to round */
    size_t *fitted; /* by site: the option that they are of, SIZE_MAX: none */
    oxp_choice *fitted_choices; /* what a round has to fit */
    oxp_choice *kept;           /* with what was fitted */
    oxp_codes *fitted_codes;
    size_t *best; /* chosen options; best_loss INFINITY: none yet */
    double best_loss;
    size_t best_bytes;
} search;

static oxp_status make_groups(search *s)
{
    size_t n = s->c->site_count;
    s->groups = oxp_arena_alloc(&s->arena, n + 1, sizeof *s->groups);
    s->best = oxp_arena_alloc(&s->arena, n + 1, sizeof *s->best);
    s->codes = oxp_arena_alloc(&s->arena, n + 1, sizeof *s->codes);
    s->fitted = oxp_arena_alloc(&s->arena, n + 1, sizeof *s->fitted);
    s->fitted_choices = oxp_arena_alloc(&s->arena, n + 1, sizeof *s->fitted_choices);
    s->kept = oxp_arena_alloc(&s->arena, n + 1, sizeof *s->kept);
    s->fitted_codes = oxp_arena_alloc(&s->arena, n + 1, sizeof *s->fitted_codes);
    if (!s->groups || !s->best || !s->codes || !s->fitted || !s->fitted_choices || !s->kept ||
        !s->fitted_codes)
        return OXP_ELIMIT;
    memcpy(s->codes, s->c->codes, n * sizeof *s->codes);
    OXP_TRY(oxp_alloc(&s->fits.arenas, s->c->ctx, n + 1, sizeof *s->fits.arenas, "fits"));
    for (s->fits.count = 0; s->fits.count < n; s->fits.count++) {
        oxp_arena_init(&s->fits.arenas[s->fits.count], s->c->ctx);
        s->fitted[s->fits.count] = SIZE_MAX;
    }
    for (size_t i = 0; i < n; i++) {
        const oxp_plan_row *row = &s->p->rows[i];
        oxp_knapsack_option *options = oxp_arena_alloc(&s->arena, row->count, sizeof *options);
        if (!options)
            return OXP_ELIMIT;
        for (size_t k = 0; k < row->count; k++)
            options[k] = (oxp_knapsack_option){row->options[k].bytes, row->options[k].loss};
        s->groups[i] = (oxp_knapsack_group){options, row->count};
    }
    return OXP_OK;
}

/* Takes over what was fitted for the choices that changed. */
static void take_fits(search *s, const size_t *chosen)
{
    oxp_compression *c = s->c;
    for (size_t i = 0; i < c->site_count; i++) {
        if (!s->fitted_choices[i].technique)
            continue; /* nothing was to be fitted here, or nothing new */
        s->fitted[i] = chosen[i];
        s->fitted_codes[i] = c->codes[i];
        oxp_arena_free(&s->fits.arenas[i]);
        s->fits.arenas[i] = c->fits.arenas[i];
        oxp_arena_init(&c->fits.arenas[i], c->ctx);
    }
}

/* Fits the choices that need it and were not fitted in the round before. */
static oxp_status fit_options(search *s, const size_t *chosen)
{
    oxp_compression *c = s->c;
    oxp_choice *own = c->choices, *todo = s->fitted_choices;
    bool any = false;
    for (size_t i = 0; i < c->site_count; i++) {
        bool fits = own[i].technique && own[i].technique->fit;
        bool is_new = fits && s->fitted[i] != chosen[i];
        todo[i] = is_new ? own[i] : (oxp_choice){.limit = 127};
        any |= is_new;
    }
    if (any) {
        c->choices = todo;
        oxp_status status = oxp_compression_fit(c);
        c->choices = own;
        if (status == OXP_OK && c->fits.count == c->site_count)
            take_fits(s, chosen);
        oxp_fits_free(&c->fits);
        c->fits = (oxp_fits){0};
        OXP_TRY(status);
    }
    for (size_t i = 0; i < c->site_count; i++) {
        if (todo[i].technique)
            s->kept[i] = todo[i];
        if (own[i].technique && own[i].technique->fit) {
            own[i].fitted = s->kept[i].fitted;
            c->codes[i] = s->fitted_codes[i];
        }
    }
    return OXP_OK;
}

/* Applies the options and packs the result: its bytes. The result stays in c->result. */
static oxp_status write_options(size_t *bytes, search *s, const size_t *chosen)
{
    oxp_compression *c = s->c;
    memcpy(c->codes, s->codes, c->site_count * sizeof *s->codes);
    for (size_t i = 0; i < c->site_count; i++) {
        s->p->rows[i].chosen = chosen[i];
        oxp_plan_set(c, i, &s->p->rows[i].options[chosen[i]].choice);
    }
    OXP_TRY(fit_options(s, chosen));
    oxp_model_free(c->result);
    c->result = NULL;
    s->p->rounds++;
    OXP_TRY(oxp_progress(c->ctx, "plan", s->p->rounds, ROUNDS + 2));
    OXP_TRY(oxp_compression_apply(c));
    return oxp_compression_packed_bytes(bytes, c);
}

static double estimate(const search *s, const size_t *chosen)
{
    double sum = s->p->fixed;
    for (size_t i = 0; i < s->c->site_count; i++)
        sum += (double)s->p->rows[i].options[chosen[i]].bytes;
    return sum;
}

static bool is_same(const search *s, const size_t *a, const size_t *b)
{
    return memcmp(a, b, s->c->site_count * sizeof *a) == 0;
}

static void keep_best(search *s, size_t bytes)
{
    if (bytes > s->p->asked || s->now.loss >= s->best_loss)
        return;
    memcpy(s->best, s->now.chosen, s->c->site_count * sizeof *s->best);
    s->best_loss = s->now.loss;
    s->best_bytes = bytes;
    s->p->lambda = s->now.lambda;
    s->p->dual_bound = s->now.dual_bound;
    s->p->gap = s->now.gap;
}

/* One round at a budget: *bytes of the file it makes. */
static oxp_status solve(search *s, double budget, size_t *bytes)
{
    size_t whole = budget > 0 ? (size_t)budget : 0;
    OXP_TRY(oxp_knapsack_solve(&s->now, &s->arena, s->groups, s->c->site_count, whole,
                               OXP_KNAPSACK_STEPS));
    if (!s->now.is_feasible) { /* by the estimate; the file decides */
        s->now.loss = 0;
        for (size_t i = 0; i < s->c->site_count; i++)
            s->now.loss += s->groups[i].options[s->now.chosen[i]].loss;
    }
    OXP_TRY(write_options(bytes, s, s->now.chosen));
    s->p->fixed += (double)*bytes - estimate(s, s->now.chosen);
    keep_best(s, *bytes);
    return OXP_OK;
}

static oxp_status search_rounds(search *s)
{
    double asked = (double)s->p->asked, margin = 0;
    size_t *before = oxp_arena_alloc(&s->arena, s->c->site_count + 1, sizeof *before);
    if (!before)
        return OXP_ELIMIT;
    for (int round = 0; round < ROUNDS; round++) {
        size_t bytes;
        OXP_TRY(solve(s, asked - s->p->fixed - margin, &bytes));
        bool same = round > 0 && is_same(s, before, s->now.chosen);
        if (same && (bytes <= s->p->asked || !s->now.is_feasible))
            break;
        if (bytes > s->p->asked && round >= ROUNDS / 2)
            margin += (double)(bytes - s->p->asked); /* it went to and fro */
        memcpy(before, s->now.chosen, s->c->site_count * sizeof *before);
    }
    return OXP_OK;
}

/* Where no round fitted: the smallest plan, which fits or says what can be reached. */
static oxp_status take_least(search *s)
{
    size_t bytes;
    if (isfinite(s->best_loss))
        return OXP_OK;
    OXP_TRY(solve(s, 0, &bytes));
    memcpy(s->best, s->now.chosen, s->c->site_count * sizeof *s->best);
    s->best_bytes = bytes;
    s->best_loss = s->now.loss;
    s->p->lambda = s->p->dual_bound = s->p->gap = NAN; /* of no budget */
    return OXP_OK;
}

/* ---- what is said of it ---- */

static oxp_status make_frontier(search *s)
{
    oxp_plan *p = s->p;
    OXP_TRY(oxp_knapsack_frontier(&p->frontier, &p->frontier_count, &s->c->arena, s->groups,
                                  s->c->site_count, OXP_KNAPSACK_STEPS));
    for (size_t i = 0; i < p->frontier_count; i++)
        p->frontier[i].bytes += (size_t)fmax(0, p->fixed);
    return OXP_OK;
}

static oxp_status count_macs(search *s)
{
    const oxp_graph *const *graphs;
    size_t count;
    oxp_compression *c = s->c;
    OXP_TRY(oxp_graph_all(&graphs, &count, &s->arena, c->graph));
    for (size_t g = 0; c->region_costs.work && g < count; g++)
        for (size_t n = 0; n < graphs[g]->node_count; n++)
            s->p->macs += c->region_costs.work[g][n].macs;
    return OXP_OK;
}

static oxp_status choose(search *s)
{
    OXP_TRY(oxp_plan_target(s->p, s->c));
    OXP_TRY(oxp_plan_weigh(s->p, s->c));
    OXP_TRY(make_groups(s));
    OXP_TRY(search_rounds(s));
    OXP_TRY(take_least(s));
    if (!is_same(s, s->best, s->now.chosen))
        OXP_TRY(write_options(&s->best_bytes, s, s->best));
    s->p->bytes = s->best_bytes;
    s->p->additive = s->best_loss;
    s->p->predicted = oxp_plan_predicted(s->p, s->c);
    OXP_TRY(count_macs(s));
    return make_frontier(s);
}

oxp_status oxp_plan_run(oxp_compression *c)
{
    if (!oxp_plan_is_wanted(c->options))
        return OXP_OK;
    c->plan = oxp_arena_alloc(&c->arena, 1, sizeof *c->plan);
    if (!c->plan)
        return OXP_ELIMIT;
    if (c->options->plan)
        return oxp_plan_read(c);
    search s = {.c = c, .p = c->plan, .best_loss = INFINITY};
    oxp_arena_init(&s.arena, c->ctx);
    oxp_status status = choose(&s);
    c->fits = s.fits; /* the choices point into them */
    oxp_arena_free(&s.arena);
    return status;
}

const char *oxp_plan_mark(oxp_compression *c)
{
    char *text = oxp_arena_strdup(&c->arena, ""), hex[17];
    uint64_t hash = 0;
    for (size_t i = 0; text && i < c->site_count; i++) {
        const char *form = oxp_plan_choice_text(&c->arena, &c->choices[i]);
        text = form ? oxp_arena_printf(&c->arena, "%016llx %s=%s", (unsigned long long)hash,
                                       c->sites[i].value->name, form)
                    : NULL;
        hash = text ? oxp_hash(text, strlen(text)) : 0;
    }
    oxp_hash_hex(hex, hash);
    return text ? oxp_arena_printf(&c->arena, "plan %s", hex) : NULL;
}

/* ---- measured ---- */

static oxp_status measure_inputs(oxp_plan *p, oxp_compression *c, oxp_model *written,
                                 double *losses, oxp_difference *slots)
{
    const oxp_reference *r = &c->reference;
    double *powers = oxp_arena_alloc(&c->arena, r->output_count + 1, sizeof *powers);
    void *work = oxp_arena_alloc(&c->arena, oxp_bootstrap_bytes(r->count, 1000), 1);
    if (!powers || !work)
        return OXP_ELIMIT;
    oxp_output_powers(powers, r);
    OXP_TRY(oxp_evaluate_inputs(slots, r, written, SIZE_MAX, "verify"));
    for (size_t i = 0; i < r->count; i++)
        losses[i] = oxp_input_loss(r, &slots[i * r->output_count], powers);
    p->is_measured = true;
    p->measured = oxp_mean(losses, r->count);
    p->interval = oxp_bootstrap_mean(losses, r->count, 1000, 0.95, c->ctx->seed, work);
    return OXP_OK;
}

oxp_status oxp_plan_measure(oxp_compression *c, oxp_model *written)
{
    const oxp_reference *r = &c->reference;
    oxp_difference *slots;
    double *losses = oxp_arena_alloc(&c->arena, r->count + 1, sizeof *losses);
    if (!losses)
        return OXP_ELIMIT;
    if (r->count == 0)
        return OXP_OK;
    OXP_TRY(oxp_alloc(&slots, c->ctx, r->count * r->output_count + 1, sizeof *slots, "losses"));
    oxp_status status = measure_inputs(c->plan, c, written, losses, slots);
    oxp_free(slots);
    return status;
}

oxp_status oxp_plan_verdict(const oxp_compression *c)
{
    const oxp_plan *p = c->plan;
    double source = (double)oxp_model_bytes(c->source);
    if (!p->kind || c->output_bytes <= p->asked)
        return OXP_OK;
    return oxp_fail(c->ctx, OXP_EBOUND, "E-TARGET",
                    "the target of %zu bytes cannot be met: the smallest plan has %zu bytes, "
                    "%.1f %% of the model (ratio %.2f); %s",
                    p->asked, c->output_bytes, 100 * (double)c->output_bytes / source,
                    source / (double)c->output_bytes,
                    c->options->keep ? "written because of --keep" : "nothing written");
}
