/* samples.c - onnxpress samples: is this calibration set large enough?
 *
 * The tensors are those that the asked precision quantises with scales from calibration; the
 * compression is made in memory as `compress` makes it, and its loss and agreement are measured on
 * the samples that it held out. */
#include "report/samples.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "planner/loss.h"
#include "report/jobs.h"

#define BOOTSTRAP_DRAWS 2000

/* ---- samples in all and samples that set ranges ---- */

size_t oxp_samples_used(size_t samples)
{
    return samples - oxp_samples_aside(samples);
}

size_t oxp_samples_in_all(size_t used)
{
    if (used > SIZE_MAX / 2)
        return SIZE_MAX;
    size_t samples = used;
    while (oxp_samples_used(samples) < used)
        samples++;
    return samples;
}

/* ---- loss and agreement, input by input ---- */

/* The share of a call's rows, over categorical outputs, whose most likely class is the same; NAN
 * without such rows. */
static double agreement_of(const oxp_reference *r, const oxp_difference *input)
{
    size_t rows = 0, agree = 0;
    for (size_t i = 0; i < r->output_count; i++)
        if (oxp_is_categorical(r->kinds[i])) {
            rows += input[i].rows;
            agree += input[i].agree;
        }
    return rows ? (double)agree / (double)rows : NAN;
}

static size_t bootstrap_needed(const oxp_held_out *h, size_t n, double tolerance)
{
    double half = fmax(h->high - h->value, h->value - h->low);
    double needed = ceil((double)n * (half / tolerance) * (half / tolerance));
    return needed < 2 ? 2 : needed < 0x1p53 ? (size_t)needed : SIZE_MAX;
}

static oxp_status measure_loss(oxp_samples_job *job, const double *losses, size_t n)
{
    oxp_held_out *h = &job->loss;
    void *work = oxp_arena_alloc(&job->arena, oxp_bootstrap_bytes(n, BOOTSTRAP_DRAWS), 1);
    if (!work)
        return OXP_ELIMIT;
    oxp_interval i = oxp_bootstrap_mean(losses, n, BOOTSTRAP_DRAWS, job->options->confidence,
                                        job->c->ctx->seed, work);
    *h = (oxp_held_out){.value = oxp_mean(losses, n),
                        .low = i.low,
                        .high = i.high,
                        .method = OXP_INTERVAL_BOOTSTRAP};
    h->measured = isfinite(h->value) && isfinite(i.low) && isfinite(i.high);
    if (h->measured)
        h->needed = bootstrap_needed(h, n, job->options->tolerance);
    return OXP_OK;
}

/* Inputs that agree or do not: exact binomial. Inputs with several rows: a mean inside [0, 1]. */
static void measure_agreement(oxp_samples_job *job, const double *shares, size_t n)
{
    oxp_held_out *h = &job->agreement;
    double value = oxp_mean(shares, n), variance = 0, delta = 1 - job->options->confidence;
    bool whole = true;
    if (!isfinite(value))
        return;
    for (size_t i = 0; i < n; i++) {
        whole = whole && (shares[i] == 0 || shares[i] == 1);
        variance += (shares[i] - value) * (shares[i] - value) / (double)(n > 1 ? n - 1 : 1);
    }
    *h = (oxp_held_out){.measured = true, .value = value};
    if (whole) {
        size_t agree = (size_t)nearbyint(value * (double)n);
        oxp_interval i = oxp_interval_proportion(agree, n, 1 - delta);
        h->low = i.low;
        h->high = i.high;
        h->method = OXP_INTERVAL_CLOPPER_PEARSON;
        h->needed = oxp_proportion_needed(value, job->options->tolerance, 1 - delta);
        return;
    }
    oxp_half_width w = oxp_bounded_half_width(1, variance, n, delta);
    h->low = fmax(0, value - w.value);
    h->high = fmin(1, value + w.value);
    h->method = w.method;
    h->needed = oxp_bounded_needed(1, variance, job->options->tolerance, delta);
}

static oxp_status measure_held_out(oxp_samples_job *job)
{
    const oxp_reference *r = &job->c->reference;
    if (job->c->in_sample || r->count == 0 || !job->c->result)
        return OXP_OK;
    size_t cells = r->count * r->output_count;
    oxp_difference *slots = oxp_arena_alloc(&job->arena, cells + 1, sizeof *slots);
    double *power = oxp_arena_alloc(&job->arena, r->output_count + 1, sizeof *power);
    double *losses = oxp_arena_alloc(&job->arena, r->count, sizeof *losses);
    double *shares = oxp_arena_alloc(&job->arena, r->count, sizeof *shares);
    if (!slots || !power || !losses || !shares)
        return OXP_ELIMIT;
    OXP_TRY(oxp_evaluate_inputs(slots, r, job->c->result, SIZE_MAX, "loss"));
    oxp_output_powers(power, r);
    for (size_t s = 0; s < r->count; s++) {
        losses[s] = oxp_input_loss(r, &slots[s * r->output_count], power);
        shares[s] = agreement_of(r, &slots[s * r->output_count]);
    }
    measure_agreement(job, shares, r->count);
    return measure_loss(job, losses, r->count);
}

/* ---- the question ---- */

static oxp_status check_options(oxp_ctx *ctx, const oxp_samples_options *o)
{
    if (!(o->tolerance > 0) || !(o->tolerance < 1))
        return oxp_fail(ctx, OXP_EUSAGE, "E-USAGE",
                        "--tolerance needs a number between 0 and 1, found %g", o->tolerance);
    if (!(o->confidence > 0) || !(o->confidence < 1))
        return oxp_fail(ctx, OXP_EUSAGE, "E-USAGE",
                        "--confidence needs a number between 0 and 1, found %g", o->confidence);
    return OXP_OK;
}

static oxp_status compress_in_memory(oxp_samples_job *job, oxp_ctx *ctx, const char *model,
                                     const char *data)
{
    oxp_compress_options o = OXP_COMPRESS_OPTIONS_INIT;
    o.input = job->options->input;
    o.precision = job->options->precision ? job->options->precision : "w8a8";
    o.calibration_method = job->options->calibration_method;
    o.data = data;
    o.labels = job->options->labels;
    o.dry_run = true;
    o.keep = true;
    oxp_status status = oxp_compression_run(job->c, ctx, model, NULL, &o);
    if (status == OXP_EBOUND) /* that the result is poor is another question */
        oxp_ctx_clear(ctx);
    return status == OXP_EBOUND ? OXP_OK : status;
}

static bool decides(const oxp_samples_job *job, const oxp_held_out *h)
{
    return job->options->require_loss && h->measured;
}

static void judge(oxp_samples_job *job)
{
    job->needed = oxp_samples_in_all(job->counts.needed);
    job->enough = job->counts.short_count == 0;
    const oxp_held_out *held[2] = {&job->loss, &job->agreement};
    for (size_t i = 0; i < 2; i++) {
        if (!decides(job, held[i]))
            continue;
        /* at most 64 are held out, a quarter of what is given */
        size_t in_all = held[i]->needed > 64 ? SIZE_MAX : 4 * held[i]->needed;
        job->enough = job->enough && held[i]->needed <= job->asked - job->used;
        job->needed = in_all > job->needed ? in_all : job->needed;
    }
}

static oxp_status ask(oxp_samples_job *job, oxp_ctx *ctx, const char *model, const char *data)
{
    OXP_TRY(compress_in_memory(job, ctx, model, data));
    oxp_compression *c = job->c;
    job->asked = job->options->samples ? job->options->samples : c->samples.source.count;
    job->used = oxp_samples_used(job->asked);
    if (c->ranges.count)
        OXP_TRY(oxp_input_statistics_collect(&job->statistics, &job->arena, c->graph,
                                             &c->samples.source, c->fit, c->fit_count, &c->ranges));
    OXP_TRY(oxp_sample_counts_make(&job->counts, &job->arena, c->graph, &c->ranges,
                                   &job->statistics, job->options->tolerance,
                                   job->options->confidence, job->used));
    OXP_TRY(measure_held_out(job));
    judge(job);
    return OXP_OK;
}

/* ---- what was found ---- */

const char *oxp_samples_tensor(const oxp_samples_job *job, const oxp_sample_row *row)
{
    const oxp_range *r = &job->c->ranges.items[row->tensor];
    for (size_t i = 0; i < job->c->watch_count; i++) {
        const oxp_watch *w = &job->c->watches[i];
        if (w->graph->id == r->graph_id && w->value == r->value)
            return w->graph->values[w->value].name;
    }
    return "?";
}

const char *oxp_samples_method(char out[OXP_METHOD_TEXT_MAX], const oxp_sample_row *row)
{
    snprintf(out, OXP_METHOD_TEXT_MAX, "%s%s", oxp_interval_method_name(row->method),
             oxp_interval_is_guaranteed(row->method) ? "" : " (approximate)");
    return out;
}

static void count_text(char out[32], size_t n)
{
    if (n == SIZE_MAX)
        snprintf(out, 32, "no number");
    else
        snprintf(out, 32, "%zu", n);
}

#define VERDICT_MAX 400

static void verdict_text(char out[VERDICT_MAX], const oxp_samples_job *job)
{
    const oxp_samples_options *o = job->options;
    size_t rows = job->counts.count, shorts = job->counts.short_count;
    char needed[32];
    count_text(needed, job->needed);
    if (rows == 0)
        snprintf(out, VERDICT_MAX,
                 "%zu samples are enough: this precision sets no scale from samples", job->asked);
    else if (job->enough)
        snprintf(out, VERDICT_MAX,
                 "%zu samples are enough for all %zu statements (tolerance %g, confidence %g over "
                 "all of them)",
                 job->asked, rows, o->tolerance, o->confidence);
    else if (shorts)
        snprintf(out, VERDICT_MAX,
                 "%zu samples are not enough: they are for %zu of %zu statements (tolerance %g, "
                 "confidence %g over all of them), %zu need up to %s",
                 job->asked, rows - shorts, rows, o->tolerance, o->confidence, shorts, needed);
    else
        snprintf(out, VERDICT_MAX,
                 "%zu samples are enough for all %zu statements, not for the required loss: that "
                 "takes %s",
                 job->asked, rows, needed);
}

static void held_json(json_t *root, const char *key, const oxp_held_out *h)
{
    if (!h->measured)
        return;
    json_t *o = oxp_json_object(root, key);
    oxp_json_real(o, "value", h->value);
    oxp_json_real(o, "low", h->low);
    oxp_json_real(o, "high", h->high);
    oxp_json_string(o, "method", oxp_interval_method_name(h->method));
    oxp_json_boolean(o, "approximate", !oxp_interval_is_guaranteed(h->method));
    if (h->needed != SIZE_MAX)
        oxp_json_integer(o, "needed", (long long)h->needed);
}

static void fill_json(json_t *root, const oxp_samples_job *job, const char *model, const char *data)
{
    const oxp_compression *c = job->c;
    oxp_json_file(root, "model", model, oxp_model_bytes(c->source), oxp_model_hash(c->source));
    if (data)
        oxp_json_string(root, "data", data);
    oxp_json_boolean(root, "random", data == NULL);
    oxp_json_string(root, "precision", job->options->precision ? job->options->precision : "w8a8");
    oxp_json_integer(root, "samples", (long long)job->asked);
    oxp_json_integer(root, "seen", (long long)c->samples.source.count);
    oxp_json_integer(root, "used", (long long)job->used);
    oxp_json_integer(root, "held_out", (long long)(job->asked - job->used));
    oxp_json_boolean(root, "enough", job->enough);
    if (job->needed != SIZE_MAX)
        oxp_json_integer(root, "needed", (long long)job->needed);
    oxp_json_real(root, "tolerance", job->options->tolerance);
    oxp_json_real(root, "confidence", job->options->confidence);
    json_t *tensors = oxp_json_array(root, "tensors");
    for (size_t i = 0; i < job->counts.count; i++) {
        const oxp_sample_row *row = &job->counts.rows[i];
        json_t *o = oxp_json_append(tensors);
        oxp_json_string(o, "name", oxp_samples_tensor(job, row));
        oxp_json_string(o, "statistic", oxp_sample_statistic_name(row->statistic));
        oxp_json_string(o, "method", oxp_interval_method_name(row->method));
        oxp_json_boolean(o, "approximate", !oxp_interval_is_guaranteed(row->method));
        oxp_json_real(o, "half_width", row->half_width);
        if (row->needed != SIZE_MAX)
            oxp_json_integer(o, "needed", (long long)oxp_samples_in_all(row->needed));
        oxp_json_boolean(o, "enough", row->enough);
    }
    held_json(root, "loss", &job->loss);
    held_json(root, "top1_agreement", &job->agreement);
}

static oxp_status held_line(oxp_report *r, const char *label, const oxp_held_out *h, size_t n)
{
    if (!h->measured)
        return OXP_OK;
    char needed[32];
    count_text(needed, h->needed);
    return oxp_report_line(r,
                           "%s %.4g, interval %.4g to %.4g (%s%s, %zu held-out samples; %s needed)",
                           label, h->value, h->low, h->high, oxp_interval_method_name(h->method),
                           oxp_interval_is_guaranteed(h->method) ? "" : ", approximate", n, needed);
}

static oxp_status fill_text(oxp_report *r, const oxp_samples_job *job, const char *verdict)
{
    OXP_TRY(oxp_report_line(r, "%s", verdict));
    if (job->c->samples.source.count > job->used)
        OXP_TRY(oxp_report_line(r, "of %zu samples %zu set ranges, %zu are held out to measure",
                                job->asked, job->used, job->asked - job->used));
    OXP_TRY(held_line(r, "loss", &job->loss, job->c->held_count));
    OXP_TRY(held_line(r, "top-1 agreement", &job->agreement, job->c->held_count));
    if (job->counts.count)
        OXP_TRY(oxp_report_line(r, "\n%-8s %10s %8s  %-29s %s", "", "half-width", "needed",
                                "method", "tensor"));
    for (size_t i = 0; i < job->counts.count; i++) {
        const oxp_sample_row *row = &job->counts.rows[i];
        char quoted[OXP_QUOTED_MAX], needed[32], method[OXP_METHOD_TEXT_MAX];
        count_text(needed, oxp_samples_in_all(row->needed));
        OXP_TRY(oxp_report_line(r, "%-8s %10.4g %8s%c %-29s %s",
                                oxp_sample_statistic_name(row->statistic), row->half_width, needed,
                                row->enough ? ' ' : '*', oxp_samples_method(method, row),
                                oxp_quote(quoted, oxp_samples_tensor(job, row))));
    }
    return OXP_OK;
}

static oxp_status report(oxp_report *r, oxp_samples_job *job, const char *model, const char *data)
{
    char verdict[VERDICT_MAX];
    verdict_text(verdict, job);
    fill_json(r->json, job, model, data);
    OXP_TRY(fill_text(r, job, verdict));
    OXP_TRY(oxp_protect_inputs(r, job->c->source, &job->c->samples));
    if (job->options->report)
        OXP_TRY(oxp_samples_page(job, r, verdict, job->options->report));
    if (job->enough)
        return OXP_OK;
    char needed[32];
    count_text(needed, job->needed);
    return oxp_fail(r->ctx, OXP_EBOUND, "E-BOUND", "%zu samples are not enough: %s needed",
                    job->asked, needed);
}

oxp_status oxp_samples_file(oxp_report **out, oxp_ctx *ctx, const char *model, const char *data,
                            const oxp_samples_options *options)
{
    oxp_samples_job job = {.options = options};
    oxp_report *r;
    OXP_TRY(check_options(ctx, options));
    OXP_TRY(oxp_report_new(&r, ctx));
    oxp_arena_init(&job.arena, ctx);
    oxp_status status = oxp_alloc(&job.c, ctx, 1, sizeof *job.c, "compression");
    if (status == OXP_OK) {
        status = ask(&job, ctx, model, data);
        if (status == OXP_OK)
            status = report(r, &job, model, data);
        oxp_compression_free(job.c);
        oxp_free(job.c);
    }
    oxp_arena_free(&job.arena);
    if (status == OXP_OK || status == OXP_EBOUND)
        *out = r;
    else
        oxp_report_free(r);
    return status;
}
