/* equalize.c - whether factors moved between layers help, which only the quantised model can tell.
 *
 * The model with them and the model without are quantised as the job will do it, on a few samples
 * of the calibration, and the least SQNR of an output on others of these decides. A form that costs
 * integer layers is no gain, nor is one that misses the bound of the outputs all the same: there
 * the guard takes back what the factors were chosen for. */
#include <string.h>

#include "planner/compress_steps.h"
#include "planner/plan.h"
#include "planner/settings.h"

#define SAMPLES 8         /* that factors are found on, and trials calibrated with */
#define MEASURED 8        /* others, that trials are measured on */
#define TRIED 2           /* of the samples, on which scales are tried */
#define LEAST_GAIN_DB 0.5 /* less may be the luck of rounding */

/* What the expected noise must fall by for trials to be made: clipped scales do without factors
 * most of what these do. Of 14 models that were expected to gain 0.5 to 3 dB two gained more than
 * half a decibel, both small ones, and most lost; of three that were expected to gain more, one
 * gained 4 dB. Trials of a large model take as long as the rest of the job, with both models in
 * memory. */
#define LEAST_EXPECTED_DB 0.5
#define LEAST_EXPECTED_LARGE_DB 3.0

/* ---- samples ---- */

typedef struct few_samples {
    size_t count;
    size_t *which;    /* [count], spread over those of the calibration */
    size_t *measured; /* [measured_count], of the rest; the same where there is none */
    size_t measured_count;
    oxp_fed_samples fed; /* those of `which` */
} few_samples;

/* Of the calibration samples every (n/SAMPLES)-th, then the first of the others. */
static oxp_status list_samples(few_samples *few, oxp_compression *c)
{
    size_t n = c->fit_count, half = n - n / 2, taken = 0;
    few->count = half < SAMPLES ? half : SAMPLES;
    few->which = oxp_arena_alloc(&c->arena, SAMPLES + 1, sizeof *few->which);
    few->measured = oxp_arena_alloc(&c->arena, MEASURED + 1, sizeof *few->measured);
    if (!few->which || !few->measured)
        return OXP_ELIMIT;
    for (size_t i = 0; i < n; i++) {
        if (taken < few->count && i == taken * n / few->count)
            few->which[taken++] = c->fit[i];
        else if (few->measured_count < MEASURED)
            few->measured[few->measured_count++] = c->fit[i];
    }
    if (few->measured_count == 0) {
        few->measured = few->which;
        few->measured_count = few->count;
    }
    return OXP_OK;
}

/* ---- measuring ---- */

typedef struct measured {
    double sqnr_db;
    size_t integers; /* sites computed in integers */
} measured;

static size_t count_integers(const oxp_compression *trial)
{
    size_t count = 0;
    for (size_t i = 0; i < trial->site_count; i++)
        count += oxp_choice_level(&trial->choices[i]) == OXP_LEVEL_INTEGER;
    return count;
}

static oxp_status measure_trial(measured *out, oxp_compression *trial, const oxp_reference *r)
{
    oxp_model *model;
    oxp_difference *d = oxp_arena_alloc(&trial->arena, r->output_count + 1, sizeof *d);
    if (!d)
        return OXP_ELIMIT;
    OXP_TRY(oxp_compression_choose(trial));
    OXP_TRY(oxp_edit_apply(&model, trial->raised, trial->choices, trial->codes, trial->narrow_codes,
                           &trial->ranges));
    oxp_status status = oxp_evaluate(d, r, model, SIZE_MAX, "equalize");
    if (status == OXP_OK)
        *out = (measured){oxp_least_sqnr(r, d), count_integers(trial)};
    oxp_model_free(model);
    return status;
}

/* The job itself with `model` in place of its own, quietly: it says nothing twice. */
static oxp_status measure(measured *out, const oxp_compression *c, oxp_model *model,
                          const few_samples *few, const oxp_reference *r)
{
    oxp_compression trial = *c;
    oxp_ctx quiet;
    oxp_ctx_child(&quiet, c->ctx);
    quiet.log = NULL;
    trial.ctx = &quiet;
    trial.raised = model;
    trial.stats = NULL;                    /* it is of other samples and factors */
    trial.rounds = trial.corrects = false; /* what they gain they gain with factors and without */
    trial.calibration.second_pass = TRIED;
    trial.fit = few->which;
    trial.fit_count = few->count;
    oxp_arena_init(&trial.arena, &quiet);
    oxp_status status = measure_trial(out, &trial, r);
    oxp_fits_free(&trial.fits);
    oxp_arena_free(&trial.arena);
    oxp_compression_trim();
    return status == OXP_OK || c->ctx->status != OXP_OK ? status : oxp_ctx_join(c->ctx, &quiet);
}

static const char *judge(const oxp_compression *c, const measured *plain, const measured *equal)
{
    if (equal->integers < plain->integers)
        return "fewer layers would be computed in integers";
    if (equal->sqnr_db < plain->sqnr_db + LEAST_GAIN_DB)
        return "the quantised model gains too little by it";
    if (oxp_compression_has_integers(c) && equal->sqnr_db < c->options->min_sqnr_db)
        return "the quantised model misses the bound with it too";
    return NULL;
}

static oxp_status measure_both(oxp_compression *c, oxp_model *model, const few_samples *few)
{
    measured plain, equal;
    oxp_reference r;
    oxp_equalization *e = &c->equalization;
    OXP_TRY(oxp_reference_make(&r, c->ctx, c->source_graph, &c->samples.source, few->measured,
                               few->measured_count));
    oxp_compression_trim();
    oxp_status status = measure(&plain, c, c->raised, few, &r);
    if (status == OXP_OK)
        status = measure(&equal, c, model, few, &r);
    oxp_reference_free(&r);
    OXP_TRY(status);
    e->plain_db = plain.sqnr_db;
    e->equalized_db = equal.sqnr_db;
    e->samples = few->measured_count;
    e->is_measured = true;
    e->why_not = judge(c, &plain, &equal);
    e->is_used = !e->why_not;
    return OXP_OK;
}

/* ---- the step ---- */

static void report(const oxp_compression *c)
{
    const oxp_equalization *e = &c->equalization;
    size_t groups = e->result.group_count - e->result.undone;
    if (!e->is_measured)
        oxp_log(c->ctx, OXP_LOG_VERBOSE, "equalize: expected gain %.2f dB: %s",
                e->result.expected_db, e->is_used ? "as asked for, not measured" : e->why_not);
    else
        oxp_log(c->ctx, OXP_LOG_VERBOSE,
                "equalize: %zu groups of channels, quantised %.2f dB with them and %.2f dB without "
                "on %zu calibration samples: %s",
                groups, e->equalized_db, e->plain_db, e->samples, e->is_used ? "used" : e->why_not);
}

static oxp_status decide(oxp_compression *c, oxp_model *model, const few_samples *few)
{
    oxp_equalization *e = &c->equalization;
    if (e->result.group_count == e->result.undone) {
        e->why_not = e->result.why_unchecked[0]  ? e->result.why_unchecked
                     : e->result.promises_little ? "the quantised model is expected to gain too "
                                                   "little by it"
                                                 : "no channels would gain";
        return OXP_OK;
    }
    if (oxp_settings_equalize(c) == OXP_EQUALIZE_ON) {
        e->is_used = true;
        return OXP_OK;
    }
    return measure_both(c, model, few);
}

static oxp_status equalise(oxp_compression *c, const few_samples *few)
{
    oxp_equalization *e = &c->equalization;
    oxp_model *model;
    oxp_equalize_options options = {.samples = few->fed.samples,
                                    .sample_count = few->count,
                                    .activations = oxp_compression_has_integers(c) ? 1 : 0};
    if (oxp_settings_equalize(c) == OXP_EQUALIZE_AUTO) {
        options.least_gain_db = LEAST_EXPECTED_DB;
        options.least_gain_large_db = LEAST_EXPECTED_LARGE_DB;
        options.large_macs = OXP_LARGE_MACS;
    }
    OXP_TRY(oxp_equalize(&model, &e->result, c->raised, &options));
    oxp_compression_trim();
    e->is_tried = true;
    oxp_status status = decide(c, model, few);
    report(c);
    if (status == OXP_OK && e->is_used) {
        c->plain = c->raised;
        c->raised = model;
    } else {
        oxp_model_free(model);
    }
    return status;
}

oxp_status oxp_compression_equalize(oxp_compression *c)
{
    few_samples few = {0};
    bool codes = c->placement.precision == OXP_PRECISION_W8 || oxp_compression_has_integers(c);
    if (oxp_plan_is_wanted(c->options) && oxp_settings_equalize(c) == OXP_EQUALIZE_AUTO)
        return OXP_OK; /* what helps 8 bits is not what helps a mixture */
    if (!codes || !c->has_samples || oxp_settings_equalize(c) == OXP_EQUALIZE_OFF)
        return OXP_OK;
    OXP_TRY(list_samples(&few, c));
    oxp_status status = oxp_fed_samples_read(&few.fed, c, few.which, few.count);
    if (status == OXP_OK)
        status = equalise(c, &few);
    oxp_fed_samples_free(&few.fed);
    return status;
}
