/* compress.c - the main job, from top to bottom: load, prepare, place, calibrate, guard, write,
 * verify.
 *
 * What the report says of the outputs is measured on the bytes that were written, read back through
 * the strict loader, on samples that calibration did not see (with a single sample there is no
 * other, and the report says so). The choices stand in choose.c, the end of the job in write.c. */
#include "planner/compress.h"

#include <math.h>
#include <string.h>
#include <time.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "onnx/inline.h"
#include "planner/compress_steps.h"
#include "planner/plan.h"
#include "planner/settings.h"
#include "planner/stats.h"

#define PREPARE_SAMPLES 4

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void oxp_compression_trim(void)
{
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

/* ---- load ---- */

static oxp_status load(oxp_compression *c)
{
    const oxp_input_options *in = &c->options->input;
    oxp_load_options options = {.allow_symlinks = in->allow_symlinks,
                                .allow_hardlinks = in->allow_hardlinks,
                                .keep_nonfinite =
                                    in->nonfinite && strcmp(in->nonfinite, "keep") == 0};
    OXP_TRY(oxp_model_load(&c->source, c->ctx, c->model_path, &options));
    c->ctx->subject = c->model_path;
    if (oxp_model_has_unchecked_parts(c->source))
        oxp_log(c->ctx, OXP_LOG_WARNING, "%s holds training_info: it is kept as it is",
                c->model_path);
    oxp_compression_open_scratch(c);
    if (c->placement.precision != OXP_PRECISION_NONE) /* a copy stays as it is */
        OXP_TRY(oxp_model_inline_functions(c->source));
    return oxp_graph_build(&c->source_graph, &c->arena, c->source);
}

static oxp_status open_samples(oxp_compression *c)
{
    if (!c->options->data && !c->options->input.random_samples)
        return OXP_OK;
    if (c->placement.precision == OXP_PRECISION_NONE)
        return OXP_OK;
    OXP_TRY(oxp_samples_open(&c->samples, c->ctx, c->source_graph, c->options->data,
                             c->options->labels, &c->options->input));
    c->has_samples = true;
    return oxp_samples_split(&c->samples, &c->arena, &c->fit, &c->fit_count, &c->held,
                             &c->held_count, &c->in_sample);
}

/* A planned or stored form reads gradients, one in integers ranges. */
static oxp_status open_stats(oxp_compression *c)
{
    bool integers = c->placement.precision == OXP_PRECISION_W8A8;
    oxp_artefact_parts parts = {.histograms = integers, .fisher = !integers};
    return c->options->stats ? oxp_stats_open(c, &parts) : OXP_OK;
}

/* ---- prepare ---- */

/* The opset that the forms of a precision, of a plan or of a pipeline's stages need. */
static int64_t needed_opset(const oxp_compression *c)
{
    static const oxp_technique *const forms[] = {[OXP_PRECISION_FP16] = &oxp_technique_fp16,
                                                 [OXP_PRECISION_W8] = &oxp_technique_w8,
                                                 [OXP_PRECISION_DYNAMIC] = &oxp_technique_dynamic,
                                                 [OXP_PRECISION_W8A8] = &oxp_technique_w8a8,
                                                 [OXP_PRECISION_W4] = &oxp_technique_w4,
                                                 [OXP_PRECISION_TECHNIQUE] = NULL};
    const oxp_technique *form = forms[c->placement.precision];
    int64_t opset = form ? form->opset : 0;
    if (oxp_plan_is_wanted(c->options))
        opset = oxp_technique_w4.opset; /* of all that a plan may choose */
    for (size_t i = 0; i < c->pipeline.count; i++) {
        const oxp_technique *t = c->pipeline.stages[i].technique;
        opset = t->opset > opset ? t->opset : opset;
    }
    return opset;
}

/* A model that cannot be raised stays where it is, and the forms that need more are not used. */
static oxp_status raise_opset(oxp_compression *c, const oxp_tensor *const *const *samples,
                              size_t count)
{
    double difference;
    c->opset_before = oxp_model_opset(c->prepared, "");
    oxp_status status = oxp_prepare_raise_opset(&c->raised, &difference, c->prepared,
                                                needed_opset(c), samples, count);
    if (status == OXP_EUNSUPPORTED) {
        c->opset_reason = oxp_arena_strdup(&c->arena, c->ctx->message);
        oxp_ctx_clear(c->ctx);
        oxp_log(c->ctx, OXP_LOG_WARNING, "the opset stays at %lld: %s", (long long)c->opset_before,
                c->opset_reason);
        status = oxp_model_clone(&c->raised, c->prepared);
    }
    if (status == OXP_OK)
        c->opset_after = oxp_model_opset(c->raised, "");
    return status;
}

/* In which ONNX Runtime computes float convolutions: with AVX-512 16, with AVX2 8. */
static size_t block_channels(const char *cpu)
{
    if (cpu && strcmp(cpu, "arm") == 0)
        return 0;
    return cpu && strcmp(cpu, "avx2") == 0 ? 8 : 16;
}

oxp_status oxp_fed_samples_read(oxp_fed_samples *out, oxp_compression *c, const size_t *which,
                                size_t count)
{
    size_t inputs = c->source_graph->input_count, n = count * inputs;
    *out = (oxp_fed_samples){.count = count, .tensor_count = n};
    const oxp_tensor **fed = oxp_arena_alloc(&c->arena, n + 1, sizeof *fed);
    out->samples = oxp_arena_alloc(&c->arena, count + 1, sizeof *out->samples);
    if (!fed || !out->samples)
        return OXP_ELIMIT;
    OXP_TRY(oxp_alloc(&out->tensors, c->ctx, n + 1, sizeof *out->tensors, "samples"));
    for (size_t s = 0; s < count; s++) {
        oxp_tensor *sample = &out->tensors[s * inputs];
        OXP_TRY(c->samples.source.get(c->samples.source.user, c->ctx, which[s], sample));
        for (size_t i = 0; i < inputs; i++)
            fed[s * inputs + i] = &sample[i];
        out->samples[s] = &fed[s * inputs];
    }
    return OXP_OK;
}

void oxp_fed_samples_free(oxp_fed_samples *f)
{
    for (size_t i = 0; f->tensors && i < f->tensor_count; i++)
        oxp_tensor_release(&f->tensors[i]);
    oxp_free(f->tensors);
}

static oxp_status prepare_with(oxp_compression *c, const oxp_fed_samples *fed)
{
    oxp_prepare_options options = {.fold_constants = true,
                                   .fold_batch_normalization = true,
                                   .recognise_activations = true,
                                   .fold_scalars = true,
                                   .fold_padding = true,
                                   .block_channels = block_channels(c->options->cpu),
                                   .samples = fed->samples,
                                   .sample_count = fed->count};
    OXP_TRY(oxp_prepare(&c->prepared, &c->prepare, c->source, &options));
    c->was_prepared = true;
    OXP_TRY(oxp_stats_check_prepared(c));
    return raise_opset(c, fed->samples, fed->count);
}

static oxp_status prepare(oxp_compression *c)
{
    size_t count = !c->has_samples                  ? 0
                   : c->fit_count < PREPARE_SAMPLES ? c->fit_count
                                                    : PREPARE_SAMPLES;
    oxp_fed_samples fed;
    oxp_status status = oxp_fed_samples_read(&fed, c, c->fit, count);
    if (status == OXP_OK)
        status = prepare_with(c, &fed);
    oxp_fed_samples_free(&fed);
    return status;
}

/* ---- guard ---- */

bool oxp_compression_has_integers(const oxp_compression *c)
{
    return c->placement.precision == OXP_PRECISION_W8A8 ||
           c->placement.precision == OXP_PRECISION_DYNAMIC;
}

static oxp_status guard(oxp_compression *c)
{
    if (!c->has_samples)
        return OXP_OK;
    OXP_TRY(oxp_reference_make(&c->reference, c->ctx, c->source_graph, &c->samples.source, c->held,
                               c->held_count));
    for (size_t i = 0; c->samples.dataset && i < c->held_count; i++) {
        const int64_t *labels = oxp_dataset_labels(c->samples.dataset, c->held[i]);
        if (labels)
            OXP_TRY(oxp_reference_label(&c->reference, i, labels,
                                        oxp_dataset_rows(c->samples.dataset, c->held[i])));
    }
    if (c->options->min_sqnr_db <= 0 || !oxp_compression_has_integers(c))
        return OXP_OK;
    /* what earlier stages lost, leaving layers float cannot bring back: then the bound is for what
     * quantisation adds to it */
    oxp_reference staged = {0}, *against = &c->reference;
    if (c->earlier_count) {
        OXP_TRY(oxp_reference_make(&staged, c->ctx, c->graph, &c->samples.source, c->held,
                                   c->held_count));
        against = &staged;
    }
    oxp_guard g = {.ctx = c->ctx,
                   .prepared = c->raised,
                   .graph = c->graph,
                   .sites = c->sites,
                   .site_count = c->site_count,
                   .codes = c->codes,
                   .narrow_codes = c->narrow_codes,
                   .ranges = &c->ranges,
                   .reference = against,
                   .min_sqnr_db = c->options->min_sqnr_db,
                   .work = c->placement.work,
                   .regions = c->regions};
    oxp_status status = oxp_guard_run(&g, c->choices, c->cost, &c->sqnr_db);
    oxp_reference_free(&staged);
    return status;
}

/* ---- the job ---- */

static oxp_status open_output(oxp_compression *c, oxp_output_file **file)
{
    *file = NULL;
    if (c->options->dry_run)
        return OXP_OK;
    size_t models, data = 0;
    const oxp_file_id *model_files = oxp_model_files(c->source, &models), *data_files = NULL;
    if (c->samples.dataset)
        data_files = oxp_dataset_files(c->samples.dataset, &data);
    oxp_file_id *inputs = oxp_arena_alloc(&c->arena, models + data + 2, sizeof *inputs);
    if (!inputs)
        return OXP_ELIMIT;
    memcpy(inputs, model_files, models * sizeof *inputs);
    if (data)
        memcpy(inputs + models, data_files, data * sizeof *inputs);
    size_t count = models + data;
    if (c->stats)
        inputs[count++] = c->stats->id;
    c->output_options =
        (oxp_output_options){.force = c->options->force, .inputs = inputs, .input_count = count};
    OXP_TRY(oxp_output_open(file, c->ctx, c->output_path, &c->output_options));
    oxp_status status = c->options->external_data ? oxp_compression_open_data(c) : OXP_OK;
    if (status != OXP_OK)
        oxp_output_discard(*file);
    return status;
}

static oxp_status search(oxp_compression *c)
{
    double start = now();
    OXP_TRY(prepare(c));
    oxp_compression_trim();
    OXP_TRY(oxp_compression_equalize(c));
    OXP_TRY(oxp_compression_stages(c));
    OXP_TRY(oxp_compression_choose(c));
    oxp_compression_trim();
    c->seconds_calibrate = now() - start;
    start = now();
    OXP_TRY(oxp_plan_run(c));
    OXP_TRY(guard(c));
    OXP_TRY(oxp_compression_compose(c));
    c->seconds_search = now() - start;
    return OXP_OK;
}

static oxp_status finish_output(oxp_compression *c, oxp_output_file *file, oxp_status status)
{
    if (file && (status == OXP_OK || (status == OXP_EBOUND && c->options->keep))) {
        oxp_status published = oxp_compression_publish(c, file);
        return published == OXP_OK ? status : published;
    }
    oxp_output_discard(file);
    return status;
}

static void begin(oxp_compression *c, oxp_ctx *ctx, const char *model, const char *output,
                  const oxp_compress_options *options)
{
    *c = (oxp_compression){
        .ctx = ctx, .options = options, .model_path = model, .output_path = output, .sqnr_db = NAN};
    oxp_arena_init(&c->arena, ctx);
}

oxp_status oxp_compression_prepare(oxp_compression *c, oxp_ctx *ctx, const char *model,
                                   const oxp_compress_options *options)
{
    begin(c, ctx, model, NULL, options);
    OXP_TRY(oxp_settings_resolve(c));
    OXP_TRY(load(c));
    OXP_TRY(open_samples(c));
    OXP_TRY(open_stats(c));
    OXP_TRY(prepare(c));
    OXP_TRY(oxp_graph_build(&c->graph, &c->arena, c->raised));
    return oxp_sites_find(&c->sites, &c->site_count, &c->arena, c->graph);
}

oxp_status oxp_compression_run(oxp_compression *c, oxp_ctx *ctx, const char *model,
                               const char *output, const oxp_compress_options *options)
{
    double start = now();
    begin(c, ctx, model, output, options);
    OXP_TRY(oxp_settings_resolve(c));
    oxp_settings_log(c);
    OXP_TRY(load(c));
    OXP_TRY(open_samples(c));
    OXP_TRY(open_stats(c));
    oxp_output_file *file;
    OXP_TRY(open_output(c, &file));
    c->seconds_load = now() - start;
    oxp_status status = c->placement.precision == OXP_PRECISION_NONE ? OXP_OK : search(c);
    double applied = now();
    if (status == OXP_OK)
        status = oxp_compression_apply(c);
    c->seconds_apply = now() - applied;
    applied = now();
    if (status == OXP_OK)
        status = oxp_compression_write(c, file);
    status = finish_output(c, file, status);
    c->seconds_verify = now() - applied;
    c->seconds_total = now() - start;
    return status;
}

void oxp_compression_free(oxp_compression *c)
{
    oxp_reference_free(&c->reference);
    oxp_model_free(c->result);
    oxp_fits_free(&c->fits);
    oxp_composition_free(&c->composition);
    oxp_model_free(c->raised);
    while (c->earlier_count)
        oxp_model_free(c->earlier[--c->earlier_count]);
    oxp_model_free(c->plain);
    oxp_equalize_release(&c->equalization.result);
    if (c->was_prepared)
        oxp_prepare_release(&c->prepare);
    oxp_model_free(c->prepared);
    oxp_stats_close(c);
    oxp_samples_close(&c->samples);
    oxp_model_free(c->source);
    oxp_arena_free(&c->arena);
    oxp_output_discard(c->data_output);
    oxp_scratch_close(c->ctx);
    c->ctx->subject = NULL;
}
