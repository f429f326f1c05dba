/* compare.c - onnxpress compare: two models on the same samples. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "calibration/drop.h"
#include "calibration/intervals.h"
#include "calibration/metrics.h"
#include "report/jobs.h"

#define CONFIDENCE 0.95

typedef struct compare_job {
    oxp_loaded a, b;
    oxp_samples samples;
    oxp_output_kind *kinds;
    size_t outputs;
    size_t *in_b;           /* output i of A is output in_b[i] of B */
    oxp_session **sessions; /* of B, by worker, made on first use */
    oxp_ctx *contexts;
    oxp_difference *slots; /* [slot * outputs + output] */
} compare_job;

/* ---- the same inputs and outputs ---- */

static oxp_status match_outputs(compare_job *job, oxp_ctx *ctx)
{
    const oxp_graph *a = job->a.graph, *b = job->b.graph;
    char quoted[OXP_QUOTED_MAX];
    if (a->input_count != b->input_count)
        return oxp_fail(ctx, OXP_EUSAGE, "E-COMPARE", "the models take %zu and %zu inputs",
                        a->input_count, b->input_count);
    for (size_t i = 0; i < a->input_count; i++)
        if (strcmp(a->values[a->inputs[i]].name, b->values[b->inputs[i]].name) != 0)
            return oxp_fail(ctx, OXP_EUSAGE, "E-COMPARE", "input %zu of the second model is not %s",
                            i, oxp_quote(quoted, a->values[a->inputs[i]].name));
    for (size_t i = 0; i < a->output_count; i++) {
        size_t k = 0;
        while (k < b->output_count &&
               strcmp(a->values[a->outputs[i]].name, b->values[b->outputs[k]].name) != 0)
            k++;
        if (k == b->output_count)
            return oxp_fail(ctx, OXP_EUSAGE, "E-COMPARE", "the second model has no output %s",
                            oxp_quote(quoted, a->values[a->outputs[i]].name));
        job->in_b[i] = k;
        job->kinds[i] = oxp_output_kind_of(a, a->outputs[i]);
    }
    return OXP_OK;
}

/* ---- one sample through B, against A's outputs ---- */

static oxp_status run_b(compare_job *job, oxp_ctx *ctx, int worker, const oxp_tensor *inputs,
                        oxp_tensor *outputs)
{
    oxp_session **session = &job->sessions[worker];
    if (!*session) {
        oxp_ctx_child(&job->contexts[worker], ctx);
        oxp_status made = oxp_session_create(session, &job->contexts[worker], job->b.graph, NULL);
        if (made != OXP_OK)
            return oxp_ctx_join(ctx, &job->contexts[worker]);
    }
    const oxp_tensor **fed;
    size_t count = job->b.graph->input_count;
    OXP_TRY(oxp_alloc(&fed, ctx, count + 1, sizeof *fed, "inputs"));
    for (size_t i = 0; i < count; i++)
        fed[i] = &inputs[i];
    oxp_status status = oxp_session_run(*session, fed, outputs);
    oxp_free(fed);
    return status == OXP_OK ? OXP_OK : oxp_ctx_join(ctx, &job->contexts[worker]);
}

static void compare_output(compare_job *job, size_t slot, size_t i, const oxp_tensor *a,
                           const oxp_tensor *b)
{
    oxp_difference *d = &job->slots[slot * job->outputs + i];
    const int64_t *labels =
        job->samples.dataset ? oxp_dataset_labels(job->samples.dataset, slot) : NULL;
    size_t rows = labels ? oxp_dataset_rows(job->samples.dataset, slot) : 0;
    bool same = a->dtype == b->dtype && a->count == b->count;
    if (same && oxp_dtype_is_float(a->dtype)) {
        oxp_difference_of(d, job->kinds[i], a, b, labels, rows);
        return;
    }
    *d = (oxp_difference){.elements = a->count, .numbers = a->count};
    d->nonfinite = !same || (a->data && memcmp(a->data, b->data, oxp_tensor_bytes(a)) != 0);
}

static oxp_status on_sample(void *user, oxp_ctx *ctx, int worker, size_t slot,
                            const oxp_tensor *inputs, const oxp_tensor *outputs)
{
    compare_job *job = user;
    oxp_tensor *others;
    OXP_TRY(oxp_alloc(&others, ctx, job->b.graph->output_count + 1, sizeof *others, "outputs"));
    oxp_status status = run_b(job, ctx, worker, inputs, others);
    for (size_t i = 0; status == OXP_OK && i < job->outputs; i++)
        compare_output(job, slot, i, &outputs[i], &others[job->in_b[i]]);
    for (size_t i = 0; i < job->b.graph->output_count; i++)
        oxp_tensor_release(&others[i]);
    oxp_free(others);
    return status;
}

/* ---- report ---- */

/* Two outputs that hold no number at all would agree in every measure. */
static oxp_status check_numbers(oxp_ctx *ctx, const oxp_difference *d, const char *name)
{
    char quoted[OXP_QUOTED_MAX];
    if (d->numbers > 0 || d->elements == 0)
        return OXP_OK;
    return oxp_fail(ctx, OXP_EDATA, "E-CALIB-NONFINITE",
                    "output %s of the first model is NaN or infinite in all of its %zu elements: "
                    "nothing can be compared",
                    oxp_quote(quoted, name), d->elements);
}

static oxp_status report_output(oxp_report *r, json_t *array, const char *name,
                                oxp_output_kind kind, const oxp_difference *d, bool real)
{
    char quoted[OXP_QUOTED_MAX], extra[128] = "";
    json_t *o = oxp_json_append(array);
    oxp_json_string(o, "name", name);
    if (!real) {
        oxp_json_boolean(o, "identical", d->nonfinite == 0);
        return oxp_report_line(r, "output %s: %s", oxp_quote(quoted, name),
                               d->nonfinite ? "DIFFERS" : "identical");
    }
    oxp_json_real(o, "sqnr_db", oxp_sqnr_db(d));
    oxp_json_real(o, "cosine", oxp_cosine(d));
    oxp_json_real(o, "max_abs_error", d->max_abs);
    if (oxp_is_categorical(kind) && d->rows) {
        double kl = d->kl / (double)d->rows, agreement = (double)d->agree / (double)d->rows;
        oxp_json_real(o, "kl", kl);
        oxp_json_real(o, "top1_agreement", agreement);
        snprintf(extra, sizeof extra, ", KL %.4g nats, top-1 agreement %.2f %%", kl,
                 100 * agreement);
    }
    return oxp_report_line(r, "output %s: SQNR %.2f dB, cosine %.6f, largest difference %.4g%s",
                           oxp_quote(quoted, name), oxp_sqnr_db(d), oxp_cosine(d), d->max_abs,
                           extra);
}

static oxp_status report_accuracy(oxp_report *r, const oxp_difference *d)
{
    if (!d->labelled)
        return OXP_OK;
    double n = (double)d->labelled, a = (double)d->correct_a / n, b = (double)d->correct_b / n;
    oxp_interval ia = oxp_interval_proportion(d->correct_a, d->labelled, CONFIDENCE);
    oxp_interval ib = oxp_interval_proportion(d->correct_b, d->labelled, CONFIDENCE);
    oxp_interval paired = oxp_interval_paired(d->only_a, d->only_b, d->labelled, CONFIDENCE);
    json_t *o = oxp_json_object(r->json, "accuracy");
    oxp_json_real(o, "a", a);
    oxp_json_real(o, "a_low", ia.low);
    oxp_json_real(o, "a_high", ia.high);
    oxp_json_real(o, "b", b);
    oxp_json_real(o, "b_low", ib.low);
    oxp_json_real(o, "b_high", ib.high);
    oxp_json_real(o, "difference", b - a);
    oxp_json_real(o, "low", paired.low);
    oxp_json_real(o, "high", paired.high);
    oxp_json_real(o, "confidence", CONFIDENCE);
    oxp_json_string(o, "method",
                    "Clopper-Pearson; paired: exact binomial limits on discordant rows");
    return oxp_report_line(r,
                           "accuracy %.2f %% [%.2f, %.2f] -> %.2f %% [%.2f, %.2f], difference "
                           "%+.2f points [%+.2f, %+.2f] "
                           "at %.0f %% (Clopper-Pearson), on %zu labelled samples",
                           100 * a, 100 * ia.low, 100 * ia.high, 100 * b, 100 * ib.low,
                           100 * ib.high, 100 * (b - a), 100 * paired.low, 100 * paired.high,
                           100 * CONFIDENCE, d->labelled);
}

static oxp_status report(oxp_report *r, compare_job *job, const char *a, const char *b)
{
    oxp_json_string(r->json, "a", a);
    oxp_json_string(r->json, "b", b);
    oxp_json_integer(r->json, "samples", (long long)job->samples.source.count);
    json_t *array = oxp_json_array(r->json, "outputs");
    double worst = 200;
    oxp_difference accuracy = {0};
    for (size_t i = 0; i < job->outputs; i++) {
        oxp_difference d = {0};
        for (size_t s = 0; s < job->samples.source.count; s++)
            oxp_difference_add(&d, &job->slots[s * job->outputs + i]);
        const oxp_graph *g = job->a.graph;
        const char *name = g->values[g->outputs[i]].name;
        bool real = d.signal > 0 || d.noise > 0 || d.other > 0;
        OXP_TRY(check_numbers(r->ctx, &d, name));
        OXP_TRY(report_output(r, array, name, job->kinds[i], &d, real));
        worst = real ? fmin(worst, oxp_sqnr_db(&d)) : worst;
        if (d.labelled && !accuracy.labelled)
            accuracy = d;
    }
    OXP_TRY(report_accuracy(r, &accuracy));
    const char *name;
    double db = 0;
    OXP_TRY(oxp_first_drop(&name, &db, r->ctx, job->a.graph, job->b.graph, &job->samples.source, 0,
                           worst + OXP_DROP_MARGIN_DB));
    if (!name)
        return OXP_OK;
    char quoted[OXP_QUOTED_MAX];
    json_t *o = oxp_json_object(r->json, "first_drop");
    oxp_json_string(o, "tensor", name);
    oxp_json_real(o, "sqnr_db", db);
    return oxp_report_line(r, "first drop at tensor %s: %.2f dB", oxp_quote(quoted, name), db);
}

static oxp_status job_compare(oxp_report *r, compare_job *job, const char *a, const char *b,
                              const char *data, const oxp_compare_options *o)
{
    oxp_ctx *ctx = r->ctx;
    OXP_TRY(oxp_loaded_open(&job->a, ctx, a, &o->input));
    OXP_TRY(oxp_loaded_open(&job->b, ctx, b, &o->input));
    job->outputs = job->a.graph->output_count;
    job->kinds = oxp_arena_alloc(&job->a.arena, job->outputs + 1, sizeof *job->kinds);
    job->in_b = oxp_arena_alloc(&job->a.arena, job->outputs + 1, sizeof *job->in_b);
    job->sessions = oxp_arena_alloc(&job->a.arena, (size_t)ctx->threads, sizeof *job->sessions);
    job->contexts = oxp_arena_alloc(&job->a.arena, (size_t)ctx->threads, sizeof *job->contexts);
    if (!job->kinds || !job->in_b || !job->sessions || !job->contexts)
        return OXP_ELIMIT;
    OXP_TRY(match_outputs(job, ctx));
    OXP_TRY(oxp_samples_open(&job->samples, ctx, job->a.graph, data, o->labels, &o->input));
    OXP_TRY(oxp_protect_inputs(r, job->a.model, &job->samples));
    OXP_TRY(oxp_protect_inputs(r, job->b.model, &job->samples));
    OXP_TRY(oxp_alloc(&job->slots, ctx, job->samples.source.count * job->outputs + 1,
                      sizeof *job->slots, "differences"));
    oxp_run_hooks hooks = {.user = job, .sample = on_sample};
    OXP_TRY(oxp_run_samples(ctx, job->a.graph, &job->samples.source, NULL,
                            job->samples.source.count, &hooks, "compare"));
    return report(r, job, a, b);
}

oxp_status oxp_compare_files(oxp_report **out, oxp_ctx *ctx, const char *a, const char *b,
                             const char *data, const oxp_compare_options *options)
{
    compare_job job = {0};
    oxp_report *r;
    OXP_TRY(oxp_report_new(&r, ctx));
    oxp_status status = job_compare(r, &job, a, b, data, options);
    for (int i = 0; job.sessions && i < ctx->threads; i++)
        oxp_session_free(job.sessions[i]);
    oxp_free(job.slots);
    oxp_samples_close(&job.samples);
    oxp_loaded_close(&job.b);
    oxp_loaded_close(&job.a);
    if (status == OXP_OK)
        *out = r;
    else
        oxp_report_free(r);
    return status;
}
