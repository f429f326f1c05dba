/* guard.c - measures, ranks, takes back. */
#include "planner/guard.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COST_SAMPLES 4 /* samples on which one site alone is measured */

/* Aimed above the bound, because other samples differ: by a decibel, or by more where the noise of
 * few samples decides. */
#define LEAST_MARGIN_DB 1.0
#define MOST_MARGIN_DB 6.0
#define NORMAL_95 1.645

double oxp_guard_margin_db(const oxp_difference *slots, size_t inputs, size_t stride)
{
    double signal = 0, noise = 0, squares = 0, n = (double)inputs;
    for (size_t i = 0; i < inputs; i++) {
        signal += slots[i * stride].signal;
        noise += slots[i * stride].noise;
    }
    if (!(noise > 0))
        return 0; /* exact */
    if (inputs < 2 || !(signal > 0))
        return LEAST_MARGIN_DB;
    for (size_t i = 0; i < inputs; i++) {
        double e = slots[i * stride].noise - noise / signal * slots[i * stride].signal;
        squares += e * e;
    }
    double error = sqrt(squares * n / (n - 1)) / noise; /* as a share of the ratio */
    return fmin(MOST_MARGIN_DB, fmax(LEAST_MARGIN_DB, 10 * log10(1 + NORMAL_95 * error)));
}

/* The least SQNR of a float output, less its margin: what is held against the bound. */
static double safe_sqnr(const oxp_reference *r, const oxp_difference *slots, size_t inputs,
                        const oxp_difference *sums)
{
    double least = 200;
    for (size_t o = 0; o < r->output_count; o++)
        if (oxp_dtype_is_float(r->outputs[o].dtype) || sums[o].nonfinite)
            least = fmin(least, oxp_sqnr_db(&sums[o]) -
                                    oxp_guard_margin_db(&slots[o], inputs, r->output_count));
    return least;
}

/* *safe: see above; *share: noise over signal, summed over outputs. */
static oxp_status measure(const oxp_guard *g, const oxp_choice *choices, size_t samples,
                          const char *stage, double *safe, double *share)
{
    const oxp_reference *r = g->reference;
    size_t inputs = samples < r->count ? samples : r->count;
    oxp_model *model = NULL;
    oxp_difference *slots;
    OXP_TRY(oxp_alloc(&slots, g->ctx, (inputs + 1) * r->output_count + 1, sizeof *slots,
                      "differences"));
    oxp_status status =
        oxp_edit_apply(&model, g->prepared, choices, g->codes, g->narrow_codes, g->ranges);
    if (status == OXP_OK)
        status = oxp_evaluate_inputs(slots, r, model, samples, stage);
    if (status == OXP_OK) {
        oxp_difference *sums = slots + inputs * r->output_count;
        for (size_t i = 0; i < inputs * r->output_count; i++)
            oxp_difference_add(&sums[i % r->output_count], &slots[i]);
        *safe = safe_sqnr(r, slots, inputs, sums);
        *share = oxp_noise_share(r, sums);
    }
    oxp_model_free(model);
    oxp_free(slots);
    return status;
}

typedef struct ranked {
    double cost; /* for what it is worth */
    size_t site;
} ranked;

static int costliest_first(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->cost != y->cost)
        return x->cost > y->cost ? -1 : 1;
    return x->site < y->site ? -1 : x->site > y->site;
}

/* What is lost when the site goes up a level: its share of the multiply-accumulates, or of the
 * weights. */
static double worth(const oxp_guard *g, size_t site, oxp_level level)
{
    double macs = 0, weights = 0;
    for (size_t i = 0; i < g->site_count; i++) {
        macs += g->work ? g->work[i].macs : 0;
        weights += (double)g->sites[i].value->constant.count;
    }
    if (level == OXP_LEVEL_INTEGER && g->work && g->work[site].macs > 0)
        return g->work[site].macs / macs;
    return (double)g->sites[site].value->constant.count / weights;
}

/* All sites that are not float, each measured alone, those first that cost most for their worth. */
static oxp_status rank_sites(const oxp_guard *g, const oxp_choice *choices, double *cost,
                             ranked *list, size_t *count)
{
    oxp_choice *alone;
    OXP_TRY(oxp_alloc(&alone, g->ctx, g->site_count + 1, sizeof *alone, "choices"));
    oxp_status status = OXP_OK;
    *count = 0;
    for (size_t i = 0; i < g->site_count && status == OXP_OK; i++) {
        oxp_level level = oxp_choice_level(&choices[i]);
        double sqnr;
        if (level == OXP_LEVEL_FLOAT)
            continue;
        memset(alone, 0, g->site_count * sizeof *alone);
        alone[i] = choices[i];
        status = measure(g, alone, COST_SAMPLES, "guard", &sqnr, &cost[i]);
        list[(*count)++] = (ranked){cost[i] / worth(g, i, level), i};
    }
    oxp_free(alone);
    if (status == OXP_OK)
        qsort(list, *count, sizeof *list, costliest_first);
    return status;
}

/* The next form towards float that the site can take. */
static void take_back_one(const oxp_site *s, oxp_choice *c)
{
    static const char *const reasons[] = {"integers cost too much accuracy",
                                          "8 bits cost too much accuracy",
                                          "half precision costs too much accuracy"};
    const char *why_not = NULL;
    oxp_level level = oxp_choice_level(c);
    *c = (oxp_choice){.reason = reasons[level], .limit = 127};
    if (level < OXP_LEVEL_BYTE && oxp_technique_w8.applies(s, &why_not))
        c->technique = &oxp_technique_w8;
    else if (level < OXP_LEVEL_HALF && oxp_technique_fp16.applies(s, &why_not))
        c->technique = &oxp_technique_fp16;
}

static oxp_status take_back(const oxp_guard *g, oxp_choice *choices, const ranked *list,
                            size_t count)
{
    for (size_t i = 0; i < count; i++)
        take_back_one(&g->sites[list[i].site], &choices[list[i].site]);
    return oxp_settle_choices(g->graph, g->sites, g->site_count, choices, g->regions);
}

#define GIVE_BACK_TRIALS 12

/* The site taken back last may have done what those before it were taken back for: they are tried
 * again one by one, cheapest for its worth first. `trial` is scratch. */
static oxp_status give_back(const oxp_guard *g, oxp_choice *choices, const oxp_choice *before,
                            oxp_choice *trial, const ranked *list, size_t taken, double *sqnr)
{
    double bound = g->min_sqnr_db, reached, share;
    size_t trials = 0;
    for (size_t i = taken - 1; *sqnr >= bound && i-- > 0 && trials < GIVE_BACK_TRIALS; trials++) {
        size_t site = list[i].site;
        memcpy(trial, choices, g->site_count * sizeof *trial);
        trial[site] = before[site];
        OXP_TRY(oxp_settle_choices(g->graph, g->sites, g->site_count, trial, g->regions));
        if (oxp_choice_level(&trial[site]) == oxp_choice_level(&choices[site]))
            continue; /* it would not pay alone */
        OXP_TRY(measure(g, trial, SIZE_MAX, "guard", &reached, &share));
        if (reached < bound)
            continue;
        memcpy(choices, trial, g->site_count * sizeof *trial);
        *sqnr = reached;
    }
    return OXP_OK;
}

/* The fewest of the ranked sites whose return meets the bound, by bisection; all of them when even
 * that does not. */
static oxp_status shrink(const oxp_guard *g, oxp_choice *choices, const ranked *list, size_t count,
                         double *sqnr)
{
    oxp_choice *trial, *before;
    OXP_TRY(oxp_alloc(&trial, g->ctx, g->site_count + 1, sizeof *trial, "choices"));
    size_t low = 0, high = count; /* `low` fails */
    double share, reached = *sqnr, high_sqnr = NAN;
    oxp_status status = oxp_alloc(&before, g->ctx, g->site_count + 1, sizeof *before, "choices");
    if (status != OXP_OK) {
        oxp_free(trial);
        return status;
    }
    memcpy(before, choices, g->site_count * sizeof *before);
    while (status == OXP_OK && high - low > 1) {
        size_t middle = low + (high - low) / 2;
        memcpy(trial, choices, g->site_count * sizeof *trial);
        status = take_back(g, trial, list, middle);
        if (status == OXP_OK)
            status = measure(g, trial, SIZE_MAX, "guard", &reached, &share);
        if (status == OXP_OK && reached >= g->min_sqnr_db) {
            high = middle;
            high_sqnr = reached;
        } else {
            low = middle;
        }
    }
    if (status == OXP_OK)
        status = take_back(g, choices, list, high);
    if (status == OXP_OK) {
        status =
            isnan(high_sqnr) ? measure(g, choices, SIZE_MAX, "guard", &high_sqnr, &share) : OXP_OK;
        *sqnr = high_sqnr;
    }
    if (status == OXP_OK)
        status = give_back(g, choices, before, trial, list, high, sqnr);
    oxp_free(trial);
    oxp_free(before);
    return status;
}

oxp_status oxp_guard_run(const oxp_guard *g, oxp_choice *choices, double *cost, double *sqnr_db)
{
    double share;
    for (size_t i = 0; i < g->site_count; i++)
        cost[i] = NAN;
    OXP_TRY(measure(g, choices, SIZE_MAX, "guard", sqnr_db, &share));
    if (*sqnr_db >= g->min_sqnr_db)
        return OXP_OK;
    ranked *list;
    OXP_TRY(oxp_alloc(&list, g->ctx, g->site_count + 1, sizeof *list, "ranking"));
    oxp_status status = OXP_OK;
    for (int round = 0; round < OXP_LEVEL_FLOAT && status == OXP_OK; round++) {
        size_t count = 0;
        if (*sqnr_db >= g->min_sqnr_db)
            break;
        status = rank_sites(g, choices, cost, list, &count);
        if (status == OXP_OK && count)
            status = shrink(g, choices, list, count, sqnr_db);
    }
    oxp_free(list);
    return status;
}
