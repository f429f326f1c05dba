/* deploy.c - onnxpress deploy: what a model costs where it runs, before and after. */
#include "report/deploy.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "util/number.h"

/* ---- words with units ---- */

/* A positive number and the unit behind it; the longest unit that fits wins. */
typedef struct unit {
    const char *name;
    double factor;
} unit;

static const unit bandwidths[] = {
    {"B/s", 1},       {"kB/s", 1e3},   {"MB/s", 1e6},       {"GB/s", 1e9},
    {"bit/s", 0.125}, {"kbit/s", 125}, {"Mbit/s", 0.125e6}, {"Gbit/s", 0.125e9},
};
static const unit times[] = {{"s", 1}, {"ms", 1e-3}, {"us", 1e-6}};

static bool read_unit(double *out, const char *text, size_t length, const unit *units, size_t count)
{
    double value;
    const char *end = oxp_read_decimal(text, &value);
    size_t used = end ? (size_t)(end - text) : 0;
    if (!end || used >= length || value <= 0)
        return false;
    for (size_t i = 0; i < count; i++)
        if (strlen(units[i].name) == length - used &&
            strncmp(end, units[i].name, length - used) == 0) {
            *out = value * units[i].factor;
            return true;
        }
    return false;
}

static oxp_status read_words(oxp_deploy_job *job, oxp_ctx *ctx)
{
    const oxp_deploy_options *o = job->options;
    char quoted[OXP_QUOTED_MAX];
    job->disk = job->machine.disk_bandwidth;
    if (o->disk && !read_unit(&job->disk, o->disk, strlen(o->disk), bandwidths, 8))
        return oxp_fail(ctx, OXP_EUSAGE, "E-USAGE",
                        "--disk needs a bandwidth such as 500MB/s, found %s",
                        oxp_quote(quoted, o->disk));
    if (!o->network)
        return OXP_OK;
    size_t length = strcspn(o->network, ":");
    const char *trip = o->network + length;
    if (!read_unit(&job->network, o->network, length, bandwidths, 8) ||
        (*trip && !read_unit(&job->round_trip, trip + 1, strlen(trip + 1), times, 3)))
        return oxp_fail(ctx, OXP_EUSAGE, "E-USAGE",
                        "--network needs a bandwidth such as 100Mbit/s, or 100Mbit/s:20ms with a "
                        "round trip, found %s",
                        oxp_quote(quoted, o->network));
    return OXP_OK;
}

/* ---- one model ---- */

static oxp_status run_sample(oxp_report *r, oxp_deployed *d, const oxp_deploy_options *o)
{
    oxp_samples samples;
    oxp_ctx *ctx = r->ctx;
    oxp_input_options input = o->input;
    input.random_samples = o->data ? 0 : 1;
    OXP_TRY(oxp_samples_open(&samples, ctx, d->loaded.graph, o->data, NULL, &input));
    const char *before = oxp_subject(ctx, d->path);
    oxp_status status = oxp_protect_inputs(r, d->loaded.model, &samples);
    if (status == OXP_OK)
        status = oxp_runtime_make(&d->runtime, &d->loaded.arena, d->loaded.graph, &samples.source);
    oxp_subject(ctx, before);
    oxp_samples_close(&samples);
    return status;
}

static oxp_status find_cache(oxp_deployed *d, const oxp_deploy_job *job, oxp_ctx *ctx)
{
    const oxp_deploy_options *o = job->options;
    oxp_kv_shape shape;
    d->cache_bytes = d->longest_sequence = -1;
    if (o->kv) {
        OXP_TRY(oxp_kv_parse(&shape, ctx, o->kv));
        d->cache_per_token = oxp_kv_bytes_per_token(&shape);
        d->cache_layers = (size_t)shape.layers;
    } else {
        d->cache_per_token = oxp_kv_find(d->loaded.graph, &d->cache_layers);
    }
    d->has_cache = d->cache_per_token > 0;
    if (!d->has_cache && o->sequence)
        return oxp_fail(ctx, OXP_EUSAGE, "E-USAGE",
                        "%s has no inputs of past keys and values: --sequence needs --kv", d->path);
    if (!d->has_cache)
        return OXP_OK;
    double kappa = o->kv_shared ? 1 : 2;
    double room = job->memory_bytes - oxp_resident_bytes(&d->runtime) -
                  job->batch * oxp_sample_bytes(&d->runtime);
    d->longest_sequence = oxp_kv_longest(room, job->batch, kappa, d->cache_per_token, 0, 0, 1);
    if (o->sequence)
        d->cache_bytes = kappa * d->cache_per_token * (double)o->sequence * job->batch;
    return OXP_OK;
}

static oxp_status deploy_one(oxp_report *r, oxp_deployed *d, const oxp_deploy_job *job,
                             const char *path)
{
    oxp_ctx *ctx = r->ctx;
    const oxp_deploy_options *o = job->options;
    d->path = path;
    OXP_TRY(oxp_loaded_open(&d->loaded, ctx, path, &o->input));
    OXP_TRY(run_sample(r, d, o));
    OXP_TRY(find_cache(d, job, ctx));
    OXP_TRY(oxp_latency_make(&d->latency, &d->loaded.arena, &d->runtime, &job->machine,
                             job->threads, job->batch));
    double cache = d->cache_bytes > 0 ? d->cache_bytes / job->batch : 0;
    oxp_batch_make(&d->batch, &d->runtime, &job->machine, job->threads, job->memory_bytes,
                   o->slo_ms / 1e3, cache);
    d->file_bytes = (double)oxp_model_bytes(d->loaded.model);
    d->load_seconds = job->disk > 0 ? d->file_bytes / job->disk : -1;
    d->network_seconds = job->network > 0 ? d->file_bytes / job->network + job->round_trip : -1;
    return OXP_OK;
}

/* ---- JSON ---- */

static const char *bound_name(const oxp_deploy_job *job, const oxp_node_time *t)
{
    return t->bound == OXP_BOUND_COMPUTE  ? "compute"
           : t->bound == OXP_BOUND_MEMORY ? job->machine.levels[t->level].name
                                          : "dispatch";
}

static void machine_json(json_t *root, const oxp_deploy_job *job)
{
    const oxp_machine *m = &job->machine;
    json_t *o = oxp_json_object(root, "machine"), *rates = oxp_json_object(o, "rates");
    oxp_json_string(o, "name", m->name);
    oxp_json_string(o, "source", m->source);
    oxp_json_integer(o, "cores", m->cores);
    oxp_json_integer(o, "threads", job->threads);
    oxp_json_real(o, "memory_bytes", job->memory_bytes);
    for (int w = 0; w < OXP_WORK_COUNT; w++) {
        json_t *rate = oxp_json_object(rates, oxp_work_name((oxp_work)w));
        oxp_json_real(rate, "peak_gflops", m->rates[w].peak / 1e9);
        oxp_json_real(rate, "typical_gflops", m->rates[w].typical / 1e9);
    }
    json_t *levels = oxp_json_array(o, "levels");
    for (int i = 0; i < m->level_count; i++) {
        json_t *level = oxp_json_append(levels);
        oxp_json_string(level, "name", m->levels[i].name);
        oxp_json_real(level, "bytes", m->levels[i].bytes);
        oxp_json_real(level, "gb_per_s", m->levels[i].bandwidth / 1e9);
        oxp_json_real(level, "gb_per_s_all", m->levels[i].bandwidth_of_all / 1e9);
    }
    json_t *dispatch = oxp_json_object(o, "dispatch_us");
    oxp_json_real(dispatch, "low", m->dispatch_low * 1e6);
    oxp_json_real(dispatch, "high", m->dispatch_high * 1e6);
    if (job->disk > 0)
        oxp_json_real(o, "disk_gb_per_s", job->disk / 1e9);
}

static void nodes_json(json_t *o, const oxp_deploy_job *job, const oxp_deployed *d)
{
    json_t *nodes = oxp_json_array(o, "nodes");
    for (size_t i = 0; i < d->runtime.count; i++) {
        const oxp_runtime_node *n = &d->runtime.nodes[i];
        const oxp_node_time *t = &d->latency.nodes[i];
        char label[OXP_NODE_TEXT_MAX];
        json_t *node = oxp_json_append(nodes);
        oxp_json_string(node, "name", oxp_graph_node_label(label, n->node));
        oxp_json_string(node, "op", n->node->type);
        oxp_json_string(node, "work", oxp_work_name(n->work));
        oxp_json_boolean(node, "in_integers", n->in_integers);
        oxp_json_real(node, "macs", n->macs);
        oxp_json_real(node, "flops", n->operations);
        oxp_json_real(node, "bytes", t->bytes);
        if (t->bytes > 0)
            oxp_json_real(node, "intensity", t->intensity);
        oxp_json_string(node, "bound_by", bound_name(job, t));
        oxp_json_real(node, "seconds_low", t->low);
        oxp_json_real(node, "seconds_high", t->high);
    }
}

static void latency_json(json_t *o, const oxp_deployed *d)
{
    json_t *l = oxp_json_object(o, "latency");
    double apart = fmax(d->load_seconds, 0) + fmax(d->network_seconds, 0);
    if (d->load_seconds >= 0)
        oxp_json_real(l, "load", d->load_seconds);
    oxp_json_real(l, "compute", d->latency.compute);
    oxp_json_real(l, "memory", d->latency.memory);
    oxp_json_real(l, "dispatch", d->latency.dispatch);
    if (d->network_seconds >= 0)
        oxp_json_real(l, "network", d->network_seconds);
    oxp_json_real(l, "low", d->latency.low);
    oxp_json_real(l, "high", d->latency.high);
    oxp_json_real(l, "total_low", d->latency.low + apart);
    oxp_json_real(l, "total_high", d->latency.high + apart);
}

static void batch_json(json_t *o, const oxp_deployed *d)
{
    json_t *b = oxp_json_object(o, "batch"), *curve;
    oxp_json_real(b, "activation_bytes_per_sample", d->batch.activation_bytes_per_sample);
    oxp_json_real(b, "resident_bytes", d->batch.resident_bytes);
    oxp_json_integer(b, "largest", (long long)d->batch.largest);
    oxp_json_integer(b, "best", (long long)d->batch.best);
    oxp_json_integer(b, "knee", (long long)d->batch.knee);
    curve = oxp_json_array(b, "curve");
    for (size_t i = 0; i < d->batch.points; i++) {
        json_t *point = oxp_json_append(curve);
        oxp_json_integer(point, "batch", (long long)d->batch.curve[i].batch);
        oxp_json_real(point, "throughput", d->batch.curve[i].throughput);
        oxp_json_real(point, "latency", d->batch.curve[i].latency);
        oxp_json_real(point, "latency_low", d->batch.curve[i].latency_low);
    }
}

static void model_json(json_t *o, const oxp_deploy_job *job, const oxp_deployed *d)
{
    oxp_json_file(o, "model", d->path, (size_t)d->file_bytes, oxp_model_hash(d->loaded.model));
    oxp_json_real(o, "macs", d->runtime.macs);
    oxp_json_real(o, "flops", d->runtime.operations);
    oxp_json_real(o, "weight_bytes", d->runtime.weight_bytes);
    oxp_json_real(o, "batch_seen", d->runtime.batch);
    nodes_json(o, job, d);
    latency_json(o, d);
    batch_json(o, d);
    if (!d->has_cache)
        return;
    json_t *kv = oxp_json_object(o, "kv_cache");
    oxp_json_real(kv, "bytes_per_token", d->cache_per_token);
    oxp_json_integer(kv, "layers", (long long)d->cache_layers);
    if (d->cache_bytes >= 0)
        oxp_json_real(kv, "bytes", d->cache_bytes);
    oxp_json_integer(kv, "longest_sequence", (long long)d->longest_sequence);
}

/* ---- text ---- */

static oxp_status model_text(oxp_report *r, const oxp_deploy_job *job, const oxp_deployed *d)
{
    char a[32], b[32], c[32];
    const oxp_latency *l = &d->latency;
    OXP_TRY(oxp_report_line(r, "\n%s: %s, %.4g MACs in one call, %zu nodes run", d->path,
                            oxp_bytes_text(a, d->file_bytes), d->runtime.macs, d->runtime.count));
    OXP_TRY(oxp_report_line(
        r, "latency    %.4g to %.4g ms (compute %.4g, memory %.4g, dispatch %.4g)", l->low * 1e3,
        l->high * 1e3, l->compute * 1e3, l->memory * 1e3, l->dispatch * 1e3));
    if (d->load_seconds >= 0)
        OXP_TRY(oxp_report_line(r, "load       %.4g ms from disk, once", d->load_seconds * 1e3));
    if (d->network_seconds >= 0)
        OXP_TRY(oxp_report_line(r, "network    %.4g ms, once", d->network_seconds * 1e3));
    OXP_TRY(oxp_report_line(r, "memory     %s resident, %s of activations a sample, of %s",
                            oxp_bytes_text(a, d->batch.resident_bytes),
                            oxp_bytes_text(b, d->batch.activation_bytes_per_sample),
                            oxp_bytes_text(c, job->memory_bytes)));
    OXP_TRY(oxp_report_line(r, "batch      largest %.0f, best %.0f%s", d->batch.largest,
                            d->batch.best,
                            job->options->slo_ms > 0 ? " within the asked latency"
                                                     : " (95 % of the limit of throughput)"));
    if (!d->has_cache)
        return OXP_OK;
    OXP_TRY(oxp_report_line(r,
                            "kv cache   %.0f bytes a token over %zu layers, longest sequence %.0f",
                            d->cache_per_token, d->cache_layers, d->longest_sequence));
    return d->cache_bytes < 0 ? OXP_OK
                              : oxp_report_line(r, "           %s at %zu tokens, batch %.0f",
                                                oxp_bytes_text(a, d->cache_bytes),
                                                job->options->sequence, job->batch);
}

static oxp_status nodes_text(oxp_report *r, const oxp_deploy_job *job, const oxp_deployed *d)
{
    OXP_TRY(oxp_report_line(r, "\n%10s %10s %8s %-9s %10s %10s  %s", "flops", "bytes", "flops/B",
                            "bound by", "low us", "high us", "node"));
    for (size_t i = 0; i < d->runtime.count; i++) {
        const oxp_runtime_node *n = &d->runtime.nodes[i];
        const oxp_node_time *t = &d->latency.nodes[i];
        char label[OXP_NODE_TEXT_MAX], quoted[OXP_QUOTED_MAX];
        if (n->operations <= 0 && t->bytes <= 0)
            continue;
        OXP_TRY(oxp_report_line(r, "%10.4g %10.4g %8.3g %-9s %10.4g %10.4g  %s %s%s", n->operations,
                                t->bytes, t->intensity, bound_name(job, t), t->low * 1e6,
                                t->high * 1e6, n->node->type,
                                oxp_quote(quoted, oxp_graph_node_label(label, n->node)),
                                n->in_integers ? " (integers)" : ""));
    }
    return OXP_OK;
}

static oxp_status compare_text(oxp_report *r, const oxp_deploy_job *job)
{
    const oxp_deployed *a = &job->models[0], *b = &job->models[1];
    return oxp_report_line(r,
                           "\nagainst    %.3g times the bytes, latency %.3g (fast end) to %.3g "
                           "(slow end) times the first's",
                           b->file_bytes / a->file_bytes, b->latency.low / a->latency.low,
                           b->latency.high / a->latency.high);
}

static oxp_status report(oxp_report *r, const oxp_deploy_job *job)
{
    OXP_TRY(oxp_report_line(r, "machine    %s, %d of %d cores, batch %.0f", job->machine.name,
                            job->threads, job->machine.cores, job->batch));
    OXP_TRY(oxp_report_line(r, "           %s", job->machine.source));
    machine_json(r->json, job);
    model_json(r->json, job, &job->models[0]);
    for (size_t i = 0; i < job->count; i++) {
        OXP_TRY(model_text(r, job, &job->models[i]));
    }
    if (job->count > 1) {
        model_json(oxp_json_object(r->json, "against"), job, &job->models[1]);
        OXP_TRY(compare_text(r, job));
    }
    for (size_t i = 0; i < job->count; i++)
        OXP_TRY(nodes_text(r, job, &job->models[i]));
    return job->options->report ? oxp_deploy_page(job, r, job->options->report) : OXP_OK;
}

/* ---- the job ---- */

static oxp_status choose_machine(oxp_deploy_job *job, oxp_ctx *ctx)
{
    const oxp_deploy_options *o = job->options;
    OXP_TRY(o->machine ? oxp_machine_load(&job->machine, ctx, o->machine)
                       : oxp_machine_measure(&job->machine, ctx));
    job->threads = o->threads ? (int)(o->threads < 4096 ? o->threads : 4096) : 1;
    if (job->threads > job->machine.cores)
        return oxp_fail(ctx, OXP_EUSAGE, "E-USAGE", "--threads %d: %s has %d cores", job->threads,
                        job->machine.name, job->machine.cores);
    job->memory_bytes = o->memory_bytes ? (double)o->memory_bytes
                                        : job->machine.levels[job->machine.level_count - 1].bytes;
    job->batch = o->batch ? (double)o->batch : 1;
    return read_words(job, ctx);
}

static oxp_status run_job(oxp_report *r, oxp_deploy_job *job, oxp_ctx *ctx, const char *model)
{
    OXP_TRY(choose_machine(job, ctx));
    if (job->machine.has_file)
        OXP_TRY(oxp_report_protect(r, &job->machine.file, 1));
    job->count = job->options->against ? 2 : 1;
    OXP_TRY(deploy_one(r, &job->models[0], job, model));
    if (job->count > 1)
        OXP_TRY(deploy_one(r, &job->models[1], job, job->options->against));
    return report(r, job);
}

oxp_status oxp_deploy_file(oxp_report **out, oxp_ctx *ctx, const char *model,
                           const oxp_deploy_options *options)
{
    oxp_deploy_job job = {.options = options};
    oxp_report *r;
    OXP_TRY(oxp_report_new(&r, ctx));
    oxp_status status = run_job(r, &job, ctx, model);
    for (size_t i = 0; i < 2; i++)
        oxp_loaded_close(&job.models[i].loaded);
    if (status == OXP_OK)
        *out = r;
    else
        oxp_report_free(r);
    return status;
}
