/* calibrate.c - onnxpress calibrate: what the samples show of a model, into an artefact that other
 * commands read (docs/oxc.md).
 *
 * Whether it may be written is known before the work; it goes on from a checkpoint where it is
 * asked to; the file appears whole or not at all, and then the checkpoint goes. */
#include "report/calibrate.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "report/jobs.h"

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- words ---- */

static int word_at(const char *value, const char *const *words)
{
    for (int i = 0; words[i]; i++)
        if (strcmp(words[i], value) == 0)
            return i;
    return -1;
}

static oxp_status check_options(oxp_calibration *k, oxp_ctx *ctx)
{
    static const char *const moments[] = {"none", "diagonal", "full", NULL};
    static const char *const estimators[] = {"factor", "sampled", "exact", "none", NULL};
    const oxp_calibrate_options *o = k->options;
    char quoted[OXP_QUOTED_MAX];
    int kept = word_at(o->moments ? o->moments : "full", moments);
    if (kept < 0)
        return oxp_fail(ctx, OXP_EUSAGE, "E-USAGE", "--moments %s: full, diagonal or none",
                        oxp_quote(quoted, o->moments));
    if (o->estimator && word_at(o->estimator, estimators) < 0)
        return oxp_fail(ctx, OXP_EUSAGE, "E-USAGE",
                        "--estimator %s: factor, sampled, exact or none",
                        oxp_quote(quoted, o->estimator));
    if (!(o->holdout >= 0) || !(o->holdout < 1))
        return oxp_fail(ctx, OXP_EUSAGE, "E-USAGE",
                        "--holdout needs a share from 0 to below 1, found %g", o->holdout);
    if (!(o->checkpoint_seconds >= 0))
        return oxp_fail(ctx, OXP_EUSAGE, "E-USAGE", "--checkpoint needs seconds, found %g",
                        o->checkpoint_seconds);
    k->artefact.moments = (oxp_moments_kept)kept;
    return OXP_OK;
}

/* ---- files ---- */

static bool is_there(const char *path)
{
    struct stat about;
    return lstat(path, &about) == 0;
}

/* What is there already is an interrupted calibration or somebody's artefact. */
static oxp_status check_files(const oxp_calibration *k, oxp_ctx *ctx)
{
    char quoted[OXP_QUOTED_MAX];
    if (!k->options->force && !k->options->resume && is_there(k->part))
        return oxp_fail(ctx, OXP_EEXISTS, "E-EXISTS",
                        "%s holds an interrupted calibration: --resume goes on with it, --force "
                        "begins anew",
                        oxp_quote(quoted, k->part));
    if (k->options->resume && is_there(k->output))
        return OXP_OK;
    oxp_output_options options = {.force = k->options->force};
    oxp_output_file *file;
    OXP_TRY(oxp_output_open(&file, ctx, k->output, &options)); /* could it be written? */
    oxp_output_discard(file);
    return OXP_OK;
}

/* No output may replace a file of the model or of the data. */
static oxp_status output_options(oxp_output_options *out, oxp_calibration *k)
{
    const oxp_compression *c = k->c;
    size_t models, data = 0;
    const oxp_file_id *of_model = oxp_model_files(c->source, &models), *of_data = NULL;
    if (c->samples.dataset)
        of_data = oxp_dataset_files(c->samples.dataset, &data);
    oxp_file_id *inputs = oxp_arena_alloc(&k->settled.arena, models + data + 1, sizeof *inputs);
    if (!inputs)
        return OXP_ELIMIT;
    memcpy(inputs, of_model, models * sizeof *inputs);
    if (data)
        memcpy(inputs + models, of_data, data * sizeof *inputs);
    *out = (oxp_output_options){
        .force = k->options->force, .inputs = inputs, .input_count = models + data};
    return OXP_OK;
}

static int open_directory(const char *path)
{
    char directory[4096];
    const char *slash = strrchr(path, '/');
    size_t length = slash ? (size_t)(slash - path) + 1 : 0;
    if (length >= sizeof directory)
        return -1;
    memcpy(directory, path, length);
    directory[length] = '\0';
    return open(length ? directory : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* ---- going on ---- */

static const oxp_artefact_parts everything = {.histograms = true, .moments = true, .fisher = true};

/* An artefact that is complete and of this work stays as it is; all of it is read. */
static oxp_status check_complete(oxp_calibration *k)
{
    oxp_artefact found;
    struct stat about;
    oxp_status status =
        oxp_artefact_read(&found, k->c->ctx, k->output, OXP_OXC_ARTEFACT, &everything, NULL);
    if (status == OXP_OK)
        status = oxp_artefact_same_work(&k->artefact, &found, k->output);
    if (status == OXP_OK && stat(k->output, &about) == 0)
        k->bytes = (size_t)about.st_size;
    oxp_artefact_free(&found);
    k->was_complete = status == OXP_OK;
    return status;
}

static oxp_status go_on(oxp_calibration *k, int directory)
{
    oxp_artefact found;
    if (directory >= 0)
        oxp_scratch_open(k->c->ctx, directory);
    oxp_status status =
        oxp_artefact_read(&found, k->c->ctx, k->part, OXP_OXC_CHECKPOINT, &everything, NULL);
    oxp_scratch_close(k->c->ctx);
    if (status == OXP_OK)
        status = oxp_artefact_same_work(&k->artefact, &found, k->part);
    if (status != OXP_OK) {
        oxp_artefact_free(&found);
        return status;
    }
    oxp_artefact_free(&k->artefact);
    k->artefact = found;
    k->resumed = true;
    return OXP_OK;
}

/* ---- the work ---- */

static uint64_t key_of(void *user, size_t index)
{
    return oxp_samples_key(user, index);
}

static oxp_status collect(oxp_calibration *k, const oxp_output_options *output, int directory)
{
    oxp_checkpoint checkpoint;
    oxp_checkpoint_start(&checkpoint, &k->artefact, k->part, k->options->checkpoint_seconds,
                         output);
    k->collect = (oxp_collect){.artefact = &k->artefact,
                               .graph = k->c->graph,
                               .source = &k->c->samples.source,
                               .which = k->which,
                               .watches = k->watches,
                               .nodes = k->nodes,
                               .positions = OXP_STATS_POSITIONS,
                               .targets = k->targets,
                               .fisher = {.estimator = k->settled.estimator,
                                          .kinds = k->settled.kinds,
                                          .counts = k->settled.counts,
                                          .key = key_of,
                                          .user = &k->c->samples},
                               .wants_pause = oxp_checkpoint_is_due,
                               .pause = oxp_checkpoint_write,
                               .user = &checkpoint,
                               .directory = directory};
    oxp_status status = oxp_collect_run(&k->collect);
    k->checkpoints = checkpoint.count;
    return status;
}

static oxp_status check_source(const oxp_calibration *k)
{
    if (oxp_model_is_unchanged(k->c->source))
        return OXP_OK;
    return oxp_fail(k->c->ctx, OXP_EFORMAT, "E-CHANGED",
                    "the model's files changed during the run");
}

static oxp_status make(oxp_calibration *k, int directory)
{
    oxp_output_options options;
    oxp_output_file *file;
    OXP_TRY(output_options(&options, k));
    OXP_TRY(oxp_output_open(&file, k->c->ctx, k->output, &options));
    oxp_status status = OXP_OK;
    if (k->options->resume && is_there(k->part))
        status = go_on(k, directory);
    if (status == OXP_OK)
        status = collect(k, &options, directory);
    if (status == OXP_OK)
        status = oxp_artefact_write(file, &k->artefact, OXP_OXC_ARTEFACT, &k->bytes, &k->hash);
    if (status == OXP_OK)
        status = check_source(k);
    if (status != OXP_OK) {
        oxp_output_discard(file);
        return status;
    }
    OXP_TRY(oxp_output_publish(file));
    unlink(k->part); /* what it held is in the artefact */
    return OXP_OK;
}

static oxp_status prepare(oxp_calibration *k, oxp_ctx *ctx, const char *model, const char *data)
{
    const oxp_calibrate_options *o = k->options;
    oxp_compress_options *compress = oxp_arena_alloc(&k->settled.arena, 1, sizeof *compress);
    if (!compress)
        return OXP_ELIMIT;
    *compress = (oxp_compress_options)OXP_COMPRESS_OPTIONS_INIT;
    compress->input = o->input;
    compress->precision = "w8";
    compress->data = data;
    compress->labels = o->labels;
    compress->cpu = o->cpu;
    OXP_TRY(oxp_alloc(&k->c, ctx, 1, sizeof *k->c, "model"));
    k->settled.c = k->c;
    OXP_TRY(oxp_compression_prepare(k->c, ctx, model, compress));
    ctx->subject = NULL; /* from here on errors are about artefacts, which they name */
    oxp_sensitivity_options gradients = OXP_SENSITIVITY_OPTIONS_INIT;
    gradients.estimator = o->estimator && strcmp(o->estimator, "none") == 0 ? NULL : o->estimator;
    gradients.output_kind = o->output_kind;
    gradients.outputs = o->outputs;
    return oxp_sensitivity_settle(&k->settled, &gradients);
}

static oxp_status work(oxp_calibration *k, oxp_ctx *ctx, const char *model, const char *data)
{
    OXP_TRY(check_options(k, ctx));
    k->part = oxp_arena_printf(&k->settled.arena, "%s.part", k->output);
    if (!k->part)
        return OXP_ELIMIT;
    OXP_TRY(check_files(k, ctx));
    OXP_TRY(prepare(k, ctx, model, data));
    OXP_TRY(oxp_calibration_tables(k));
    if (k->options->resume && is_there(k->output))
        return check_complete(k);
    int directory = open_directory(k->output);
    oxp_status status = make(k, directory);
    if (directory >= 0)
        close(directory);
    return status;
}

/* ---- report ---- */

static void fill_json(json_t *root, const oxp_calibration *k, const char *model, const char *data,
                      double seconds)
{
    const oxp_artefact *a = &k->artefact;
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    oxp_json_file(root, "model", model, oxp_model_bytes(k->c->source),
                  oxp_model_hash(k->c->source));
    if (k->was_complete)
        oxp_json_string(root, "output", k->output);
    else
        oxp_json_file(root, "output", k->output, k->bytes, k->hash);
    if (data)
        oxp_json_string(root, "data", data);
    oxp_json_boolean(root, "random", data == NULL);
    oxp_json_integer(root, "samples", (long long)a->used);
    oxp_json_integer(root, "held_out", (long long)(a->sample_count - a->used));
    oxp_json_integer(root, "tensors", (long long)a->tensor_count);
    oxp_json_integer(root, "layer_inputs", (long long)a->layer_count);
    oxp_json_integer(root, "weights", (long long)a->fisher.target_count);
    oxp_json_integer(root, "bytes", (long long)k->bytes);
    oxp_json_integer(root, "passes", (long long)k->collect.passes);
    oxp_json_boolean(root, "resumed", k->resumed);
    oxp_json_boolean(root, "was_complete", k->was_complete);
    oxp_json_integer(root, "checkpoints", (long long)k->checkpoints);
    oxp_json_real(root, "seconds", seconds);
    oxp_json_integer(root, "peak_rss_bytes", (long long)usage.ru_maxrss * 1024);
}

static oxp_status fill_text(oxp_report *r, const oxp_calibration *k)
{
    const oxp_artefact *a = &k->artefact;
    char bytes[32], quoted[OXP_QUOTED_MAX];
    oxp_bytes_text(bytes, (double)k->bytes);
    if (k->was_complete)
        return oxp_report_line(r, "%s is complete and of this work: left as it is",
                               oxp_quote(quoted, k->output));
    OXP_TRY(oxp_report_line(r, "%zu samples used, %zu set aside for measuring", a->used,
                            a->sample_count - a->used));
    OXP_TRY(oxp_report_line(r, "%zu values, %zu layer inputs (moments %s), %zu weights (%s)",
                            a->tensor_count, a->layer_count,
                            k->options->moments ? k->options->moments : "full",
                            a->fisher.target_count, a->fisher.estimator));
    return oxp_report_line(r, "%s: %s in %zu pass%s over the samples%s",
                           oxp_quote(quoted, k->output), bytes, k->collect.passes,
                           k->collect.passes == 1 ? "" : "es",
                           k->resumed ? ", from a checkpoint on" : "");
}

static oxp_status report(oxp_report *r, oxp_calibration *k, const char *model, const char *data,
                         double start)
{
    fill_json(r->json, k, model, data, now() - start);
    OXP_TRY(oxp_protect_inputs(r, k->c->source, &k->c->samples));
    return fill_text(r, k);
}

oxp_status oxp_calibrate_file(oxp_report **out, oxp_ctx *ctx, const char *model, const char *data,
                              const char *output, const oxp_calibrate_options *options)
{
    double start = now();
    oxp_calibration k = {.options = options, .output = output};
    oxp_report *r;
    OXP_TRY(oxp_report_new(&r, ctx));
    oxp_artefact_init(&k.artefact, ctx);
    oxp_arena_init(&k.settled.arena, ctx);
    oxp_status status = work(&k, ctx, model, data);
    if (status == OXP_OK)
        status = report(r, &k, model, data, start);
    oxp_artefact_free(&k.artefact);
    oxp_sensitivity_free(&k.settled);
    if (status == OXP_OK)
        *out = r;
    else
        oxp_report_free(r);
    return status;
}
