/* run.c - onnxpress run: the interpreter over the samples, against expected outputs, into a
 * .npz. */
#include <math.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "calibration/metrics.h"
#include "calibration/npz.h"
#include "operators/cast_float8.h"
#include "report/jobs.h"

/* Of one output in one sample against what the data expects. */
typedef struct miss {
    double max_abs, max_rel, signal, noise;
    double worst; /* largest |a - b| / (atol + rtol |b|) */
    bool compared, wrong_shape;
    oxp_dtype dtype;
    int rank;
    int64_t dims[OXP_MAX_RANK];
} miss;

typedef struct run_job {
    const oxp_run_options *options;
    const oxp_graph *graph;
    oxp_samples samples;
    size_t outputs;
    miss *misses;     /* [slot * outputs + output] */
    oxp_tensor *kept; /* the same, with --save */
} run_job;

static double element_ratio(const run_job *job, double a, double b)
{
    if (a == b || (isnan(a) && isnan(b)))
        return 0;
    double limit = job->options->atol + job->options->rtol * fabs(b);
    double ratio = fabs(a - b) / limit;
    return isfinite(ratio) ? ratio : INFINITY;
}

/* Small float formats and the like: the same bytes, or NaN in both where a format has several. */
static bool same_codes(const oxp_tensor *a, const oxp_tensor *b)
{
    if (!oxp_dtype_is_float8(a->dtype))
        return memcmp(a->data, b->data, oxp_tensor_bytes(a)) == 0;
    const uint8_t *x = a->data, *y = b->data;
    for (size_t i = 0; i < a->count; i++)
        if (x[i] != y[i] &&
            !(isnan(oxp_float8_load(a->dtype, x[i])) && isnan(oxp_float8_load(a->dtype, y[i]))))
            return false;
    return true;
}

static void compare(const run_job *job, miss *m, const oxp_tensor *a, const oxp_tensor *b)
{
    m->compared = true;
    m->wrong_shape = a->dtype != b->dtype || a->rank != b->rank ||
                     memcmp(a->dims, b->dims, (size_t)a->rank * sizeof *a->dims) != 0;
    bool number =
        oxp_dtype_is_float(a->dtype) || oxp_dtype_is_integer(a->dtype) || a->dtype == OXP_BOOL;
    if (!m->wrong_shape && !number && !same_codes(a, b))
        m->worst = INFINITY;
    for (size_t i = 0; !m->wrong_shape && number && i < a->count; i++) {
        bool real = oxp_dtype_is_float(a->dtype);
        double x = real ? oxp_tensor_real(a, i) : (double)oxp_tensor_int(a, i);
        double y = real ? oxp_tensor_real(b, i) : (double)oxp_tensor_int(b, i);
        double e = x == y ? 0 : fabs(x - y);
        m->worst = fmax(m->worst, element_ratio(job, x, y));
        if (!isfinite(e))
            continue;
        m->max_abs = fmax(m->max_abs, e);
        m->max_rel = y != 0 ? fmax(m->max_rel, e / fabs(y)) : m->max_rel;
        m->signal += y * y;
        m->noise += e * e;
    }
}

static oxp_status against_expected(run_job *job, oxp_ctx *ctx, size_t slot,
                                   const oxp_tensor *outputs)
{
    if (!job->samples.dataset)
        return OXP_OK;
    oxp_tensor *expected;
    OXP_TRY(oxp_alloc(&expected, ctx, job->outputs + 1, sizeof *expected, "expected outputs"));
    oxp_status status = oxp_dataset_expected(job->samples.dataset, ctx, slot, expected);
    for (size_t i = 0; i < job->outputs; i++) {
        if (status == OXP_OK && expected[i].data)
            compare(job, &job->misses[slot * job->outputs + i], &outputs[i], &expected[i]);
        oxp_tensor_release(&expected[i]);
    }
    oxp_free(expected);
    return status;
}

static oxp_status on_sample(void *user, oxp_ctx *ctx, int worker, size_t slot,
                            const oxp_tensor *inputs, const oxp_tensor *outputs)
{
    (void)worker;
    (void)inputs;
    run_job *job = user;
    for (size_t i = 0; i < job->outputs; i++) {
        miss *m = &job->misses[slot * job->outputs + i];
        m->dtype = outputs[i].dtype;
        m->rank = outputs[i].rank;
        memcpy(m->dims, outputs[i].dims, sizeof m->dims);
        if (job->kept)
            OXP_TRY(oxp_tensor_copy(&job->kept[slot * job->outputs + i], ctx, &outputs[i]));
    }
    return against_expected(job, ctx, slot, outputs);
}

/* ---- saving ---- */

static oxp_status write_arrays(run_job *job, oxp_ctx *ctx, oxp_output_file *file,
                               oxp_tensor *joined, oxp_npz_array *arrays)
{
    size_t n = job->samples.source.count;
    oxp_tensor *calls;
    OXP_TRY(oxp_alloc(&calls, ctx, n + 1, sizeof *calls, "outputs"));
    oxp_status status = OXP_OK;
    for (size_t i = 0; i < job->outputs && status == OXP_OK; i++) {
        for (size_t s = 0; s < n; s++)
            calls[s] = job->kept[s * job->outputs + i];
        const char *name = job->graph->values[job->graph->outputs[i]].name;
        int axis = job->samples.dataset ? oxp_dataset_output_axis(job->samples.dataset, i) : -1;
        status = oxp_dataset_join(&joined[i], ctx, calls, n, axis, name);
        arrays[i] = (oxp_npz_array){name, &joined[i]};
    }
    oxp_free(calls);
    return status == OXP_OK ? oxp_npz_write(file, ctx, arrays, job->outputs) : status;
}

static oxp_status save(run_job *job, oxp_ctx *ctx, oxp_output_file *file)
{
    oxp_tensor *joined = NULL;
    oxp_npz_array *arrays = NULL;
    oxp_status status = oxp_alloc(&joined, ctx, job->outputs + 1, sizeof *joined, "outputs");
    if (status == OXP_OK)
        status = oxp_alloc(&arrays, ctx, job->outputs + 1, sizeof *arrays, "outputs");
    if (status == OXP_OK)
        status = write_arrays(job, ctx, file, joined, arrays);
    for (size_t i = 0; joined && i < job->outputs; i++)
        oxp_tensor_release(&joined[i]);
    oxp_free(joined);
    oxp_free(arrays);
    return status;
}

/* ---- report ---- */

static void gather(const run_job *job, size_t output, miss *sum)
{
    *sum = job->misses[output];
    for (size_t s = 1; s < job->samples.source.count; s++) {
        const miss *m = &job->misses[s * job->outputs + output];
        sum->compared |= m->compared;
        sum->wrong_shape |= m->wrong_shape;
        sum->worst = fmax(sum->worst, m->worst);
        sum->max_abs = fmax(sum->max_abs, m->max_abs);
        sum->max_rel = fmax(sum->max_rel, m->max_rel);
        sum->signal += m->signal;
        sum->noise += m->noise;
    }
}

static oxp_status report_output(oxp_report *r, json_t *array, const char *name, const miss *m)
{
    char shape[OXP_SHAPE_TEXT_MAX], quoted[OXP_QUOTED_MAX];
    json_t *o = oxp_json_append(array);
    oxp_json_string(o, "name", name);
    oxp_json_string(o, "dtype", oxp_dtype_name(m->dtype));
    oxp_json_shape(o, "shape", m->rank, m->dims, NULL);
    oxp_quote(quoted, name);
    oxp_shape_text(shape, m->rank, m->dims);
    if (!m->compared)
        return oxp_report_line(r, "output %s %s %s", quoted, oxp_dtype_name(m->dtype), shape);
    if (m->wrong_shape)
        return oxp_report_line(r, "output %s %s %s: expected another type or shape", quoted,
                               oxp_dtype_name(m->dtype), shape);
    oxp_json_real(o, "max_abs_error", m->max_abs);
    oxp_json_real(o, "max_rel_error", m->max_rel);
    oxp_difference d = {.signal = m->signal, .noise = m->noise};
    oxp_json_real(o, "sqnr_db", oxp_sqnr_db(&d));
    return oxp_report_line(r, "output %s %s %s: largest error %.3g absolute, %.3g relative%s",
                           quoted, oxp_dtype_name(m->dtype), shape, m->max_abs, m->max_rel,
                           m->worst > 1 ? "  MISSED" : "");
}

static oxp_status report(oxp_report *r, const run_job *job, const char *path, double seconds)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    oxp_json_string(r->json, "model", path);
    oxp_json_integer(r->json, "samples", (long long)job->samples.source.count);
    json_t *array = oxp_json_array(r->json, "outputs");
    bool missed = false;
    for (size_t i = 0; i < job->outputs; i++) {
        miss m;
        gather(job, i, &m);
        OXP_TRY(report_output(r, array, job->graph->values[job->graph->outputs[i]].name, &m));
        missed |= m.wrong_shape || m.worst > 1;
    }
    oxp_json_real(r->json, "seconds", seconds);
    oxp_json_integer(r->json, "peak_rss_bytes", (long long)usage.ru_maxrss * 1024);
    OXP_TRY(oxp_report_line(r, "%zu sample%s in %.3g s", job->samples.source.count,
                            job->samples.source.count == 1 ? "" : "s", seconds));
    if (missed)
        return oxp_fail(r->ctx, OXP_EBOUND, "E-BOUND",
                        "%s: an output differs from what the data expects by more than "
                        "atol %g + rtol %g",
                        path, job->options->atol, job->options->rtol);
    return OXP_OK;
}

static oxp_status run_samples(run_job *job, oxp_ctx *ctx)
{
    size_t cells = job->samples.source.count * job->outputs + 1;
    OXP_TRY(oxp_alloc(&job->misses, ctx, cells, sizeof *job->misses, "results"));
    if (job->options->save)
        OXP_TRY(oxp_alloc(&job->kept, ctx, cells, sizeof *job->kept, "outputs"));
    oxp_run_hooks hooks = {.user = job, .sample = on_sample};
    return oxp_run_samples(ctx, job->graph, &job->samples.source, NULL, job->samples.source.count,
                           &hooks, "run");
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static oxp_status job_run(oxp_report *r, run_job *job, oxp_loaded *l, const char *model,
                          const char *data)
{
    oxp_ctx *ctx = r->ctx;
    const oxp_run_options *o = job->options;
    OXP_TRY(oxp_loaded_open(l, ctx, model, &o->input));
    job->graph = l->graph;
    job->outputs = l->graph->output_count;
    OXP_TRY(oxp_samples_open(&job->samples, ctx, l->graph, data, NULL, &o->input));
    OXP_TRY(oxp_protect_inputs(r, l->model, &job->samples));
    oxp_output_file *file = NULL;
    oxp_output_options out = {
        .force = o->force, .inputs = r->inputs, .input_count = r->input_count};
    if (o->save)
        OXP_TRY(oxp_output_open(&file, ctx, o->save, &out));
    double start = now();
    const char *before = oxp_subject(ctx, model);
    oxp_status status = run_samples(job, ctx);
    oxp_subject(ctx, before);
    if (status == OXP_OK && file)
        status = save(job, ctx, file);
    if (status == OXP_OK)
        status = report(r, job, model, now() - start);
    if (file && (status == OXP_OK || status == OXP_EBOUND)) {
        oxp_status published = oxp_output_publish(file);
        return published == OXP_OK ? status : published;
    }
    oxp_output_discard(file);
    return status;
}

oxp_status oxp_run_file(oxp_report **out, oxp_ctx *ctx, const char *model, const char *data,
                        const oxp_run_options *options)
{
    run_job job = {.options = options};
    oxp_loaded loaded = {0};
    oxp_report *r;
    OXP_TRY(oxp_report_new(&r, ctx));
    oxp_status status = job_run(r, &job, &loaded, model, data);
    size_t cells = job.samples.source.count * job.outputs;
    for (size_t i = 0; job.kept && i < cells; i++)
        oxp_tensor_release(&job.kept[i]);
    oxp_free(job.kept);
    oxp_free(job.misses);
    oxp_samples_close(&job.samples);
    oxp_loaded_close(&loaded);
    if (status == OXP_OK || status == OXP_EBOUND)
        *out = r;
    else
        oxp_report_free(r);
    return status;
}
