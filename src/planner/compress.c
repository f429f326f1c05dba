/* compress.c - the main job, from top to bottom: load, prepare, place, calibrate, guard, write,
 * verify.
 *
 * What the report says of the outputs is measured on the bytes that were written, read back through
 * the strict loader, on samples that calibration did not see (with a single sample there is no
 * other, and the report says so). */
#include "planner/compress.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "calibration/drop.h"
#include "kernels/libraries.h"
#include "onnx/save.h"
#include "planner/settings.h"
#include "techniques/islands.h"
#include "util/map.h"

#define PREPARE_SAMPLES 4

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
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

/* ---- prepare ---- */

/* The opset that the forms of a precision need: per-channel QuantizeLinear 13, MatMulInteger 11. */
static int64_t needed_opset(const oxp_compression *c)
{
    static const int64_t needed[] = {[OXP_PRECISION_NONE] = 0,
                                     [OXP_PRECISION_FP16] = 0,
                                     [OXP_PRECISION_W8] = 0,
                                     [OXP_PRECISION_DYNAMIC] = 11,
                                     [OXP_PRECISION_W8A8] = 13};
    return needed[c->placement.precision];
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

static oxp_status prepare_with(oxp_compression *c, oxp_tensor *tensors, size_t count)
{
    size_t inputs = c->source_graph->input_count;
    const oxp_tensor **fed = oxp_arena_alloc(&c->arena, count * inputs + 1, sizeof *fed);
    const oxp_tensor *const **samples = oxp_arena_alloc(&c->arena, count + 1, sizeof *samples);
    if (!fed || !samples)
        return OXP_ELIMIT;
    for (size_t s = 0; s < count; s++) {
        oxp_tensor *sample = &tensors[s * inputs];
        OXP_TRY(c->samples.source.get(c->samples.source.user, c->ctx, c->fit[s], sample));
        for (size_t i = 0; i < inputs; i++)
            fed[s * inputs + i] = &sample[i];
        samples[s] = &fed[s * inputs];
    }
    oxp_prepare_options options = {.fold_constants = true,
                                   .fold_batch_normalization = true,
                                   .recognise_activations = true,
                                   .fold_scalars = true,
                                   .samples = samples,
                                   .sample_count = count};
    OXP_TRY(oxp_prepare(&c->prepared, &c->prepare, c->source, &options));
    c->was_prepared = true;
    return raise_opset(c, samples, count);
}

static oxp_status prepare(oxp_compression *c)
{
    size_t count = !c->has_samples                  ? 0
                   : c->fit_count < PREPARE_SAMPLES ? c->fit_count
                                                    : PREPARE_SAMPLES;
    size_t tensors = count * c->source_graph->input_count;
    oxp_tensor *t;
    OXP_TRY(oxp_alloc(&t, c->ctx, tensors + 1, sizeof *t, "samples"));
    oxp_status status = prepare_with(c, t, count);
    for (size_t i = 0; i < tensors; i++)
        oxp_tensor_release(&t[i]);
    oxp_free(t);
    return status;
}

/* ---- place ---- */

static oxp_status find_sites(oxp_compression *c)
{
    OXP_TRY(oxp_graph_build(&c->graph, &c->arena, c->raised));
    OXP_TRY(oxp_sites_find(&c->sites, &c->site_count, &c->arena, c->graph));
    size_t n = c->site_count + 1;
    c->choices = oxp_arena_alloc(&c->arena, n, sizeof *c->choices);
    c->codes = oxp_arena_alloc(&c->arena, n, sizeof *c->codes);
    c->narrow_codes = oxp_arena_alloc(&c->arena, n, sizeof *c->narrow_codes);
    c->cost = oxp_arena_alloc(&c->arena, n, sizeof *c->cost);
    if (!c->choices || !c->codes || !c->narrow_codes || !c->cost)
        return OXP_ELIMIT;
    for (size_t i = 0; i < n; i++)
        c->cost[i] = NAN;
    return oxp_codes_make(c->codes, &c->arena, c->sites, c->site_count, 127);
}

/* ---- what the sites have to do, from one sample ---- */

typedef struct work_pass {
    oxp_site_work **by_node; /* by graph and node; NULL entries are no consumers */
} work_pass;

static oxp_status on_node(void *user, int worker, size_t slot, oxp_node *n)
{
    (void)worker;
    (void)slot;
    work_pass *p = user;
    oxp_site_work *w = &p->by_node[n->def->graph->id][n->def->index];
    oxp_cost cost = {0};
    if (!n->op->cost || !n->op->weight)
        return OXP_OK;
    n->op->cost(n, &cost);
    w->macs = cost.macs;
    w->elements = (double)n->in[0]->count + (double)n->out[0].count;
    return OXP_OK;
}

static oxp_status measure_work(oxp_compression *c)
{
    const oxp_graph *const *graphs;
    size_t count, one = 1;
    work_pass p;
    if (!c->has_samples)
        return OXP_OK;
    OXP_TRY(oxp_graph_all(&graphs, &count, &c->arena, c->graph));
    p.by_node = oxp_arena_alloc(&c->arena, count, sizeof *p.by_node);
    oxp_site_work *work = oxp_arena_alloc(&c->arena, c->site_count + 1, sizeof *work);
    if (!p.by_node || !work)
        return OXP_ELIMIT;
    for (size_t g = 0; g < count; g++) {
        p.by_node[g] = oxp_arena_alloc(&c->arena, graphs[g]->node_count + 1, sizeof **p.by_node);
        if (!p.by_node[g])
            return OXP_ELIMIT;
    }
    oxp_run_hooks hooks = {.user = &p, .node = on_node};
    OXP_TRY(oxp_run_samples(c->ctx, c->graph, &c->samples.source, c->fit, one, &hooks, NULL));
    for (size_t i = 0; i < c->site_count; i++)
        for (size_t k = 0; k < c->sites[i].consumer_count; k++) {
            const oxp_graph_node *n = c->sites[i].consumers[k].node;
            const oxp_site_work *w = &p.by_node[n->graph->id][n->index];
            if (w->macs > 0 && (work[i].macs <= 0 || w->macs < work[i].macs))
                work[i] = *w;
        }
    c->placement.work = work;
    return OXP_OK;
}

/* Without the opset that integer forms need, everything is stored. */
static void respect_opset(oxp_compression *c)
{
    for (size_t i = 0; i < c->site_count; i++) {
        oxp_choice *choice = &c->choices[i];
        int64_t needed = choice->technique == &oxp_technique_w8a8      ? 13
                         : choice->technique == &oxp_technique_dynamic ? 11
                                                                       : 0;
        if (c->opset_after >= needed)
            continue;
        const char *why = NULL;
        choice->technique = oxp_technique_w8.applies(&c->sites[i], &why) ? &oxp_technique_w8 : NULL;
        choice->reason = "the opset could not be raised to what the form needs";
    }
}

static oxp_status place(oxp_compression *c)
{
    const oxp_compress_options *o = c->options;
    size_t n = c->site_count + 1;
    bool *selected = oxp_arena_alloc(&c->arena, n, sizeof *selected);
    bool *is_forced = c->is_forced = oxp_arena_alloc(&c->arena, n, sizeof *is_forced);
    const oxp_technique **forced = oxp_arena_alloc(&c->arena, n, sizeof *forced);
    if (!selected || !is_forced || !forced)
        return OXP_ELIMIT;
    oxp_selection selection = {o->nodes, o->exclude_nodes, o->op_types, o->exclude_op_types,
                               o->layers};
    OXP_TRY(oxp_select(&selection, c->graph, c->sites, c->site_count, selected, is_forced, forced));
    oxp_place(c->choices, c->sites, c->site_count, selected, is_forced, forced, &c->placement);
    for (size_t i = 0; i < c->site_count; i++)
        if (c->choices[i].technique && c->choices[i].technique->needs_data && !c->has_samples)
            return oxp_fail(c->ctx, OXP_EUSAGE, "E-USAGE", "technique %s needs samples (--data D)",
                            c->choices[i].technique->name);
    respect_opset(c);
    return OXP_OK;
}

/* ---- calibrate ---- */

static void watch(oxp_compression *c, const oxp_graph *graph, uint32_t value)
{
    const oxp_value *v = &graph->values[value];
    if (v->kind == OXP_VALUE_OUTER) {
        graph = v->outer_graph;
        value = v->outer_value;
    }
    for (size_t k = 0; k < c->watch_count; k++)
        if (c->watches[k].graph == graph && c->watches[k].value == value)
            return;
    c->watches[c->watch_count++] = (oxp_watch){graph, value};
}

/* The values whose scale is needed, and those that share another's: when sites go back, they may
 * need their own. */
static void list_watches(oxp_compression *c, const oxp_islands *islands)
{
    for (size_t i = 0; i < islands->count; i++) {
        const oxp_quantised *q = &islands->values[i];
        watch(c, islands->graphs[q->scale_graph], q->scale_value);
        watch(c, islands->graphs[q->graph_id], q->value);
    }
}

static size_t watch_of(const oxp_compression *c, const oxp_quantised *q)
{
    for (size_t k = 0; k < c->watch_count; k++)
        if (c->watches[k].graph->id == q->scale_graph && c->watches[k].value == q->scale_value)
            return k;
    return SIZE_MAX;
}

static size_t list_judges(const oxp_compression *c, const oxp_islands *islands, const bool *chosen,
                          oxp_judge *judges)
{
    size_t count = 0;
    for (size_t i = 0; i < c->site_count; i++)
        for (size_t k = 0; chosen[i] && k < c->sites[i].consumer_count; k++) {
            const oxp_graph_node *n = c->sites[i].consumers[k].node;
            const oxp_quantised *q = oxp_islands_at(islands, n->graph, n->inputs[0]);
            if (q)
                judges[count++] = (oxp_judge){n, watch_of(c, q)};
        }
    return count;
}

static oxp_status calibrate(oxp_compression *c)
{
    bool *chosen = oxp_arena_alloc(&c->arena, c->site_count + 1, sizeof *chosen);
    size_t consumers = 0, any = 0;
    if (!chosen)
        return OXP_ELIMIT;
    for (size_t i = 0; i < c->site_count; i++) {
        any += chosen[i] = c->choices[i].technique == &oxp_technique_w8a8;
        consumers += c->sites[i].consumer_count;
    }
    if (!any)
        return OXP_OK;
    oxp_islands islands;
    OXP_TRY(oxp_islands_find(&islands, &c->arena, c->graph, c->sites, c->site_count, chosen));
    c->watches = oxp_arena_alloc(&c->arena, 2 * islands.count + 1, sizeof *c->watches);
    oxp_judge *judges = oxp_arena_alloc(&c->arena, consumers + 1, sizeof *judges);
    if (!c->watches || !judges)
        return OXP_ELIMIT;
    list_watches(c, &islands);
    size_t judge_count = list_judges(c, &islands, chosen, judges);
    return oxp_calibrate(&c->ranges, &c->arena, c->graph, &c->samples.source, c->fit, c->fit_count,
                         c->watches, c->watch_count, judges, judge_count, &c->calibration);
}

/* What the samples never ran has no range: a branch never taken. */
static bool was_seen(const oxp_compression *c, const oxp_graph *graph, uint32_t value)
{
    const oxp_range *r = oxp_ranges_find(&c->ranges, graph, value);
    return r && r->seen->count > 0;
}

static void leave_unseen(oxp_compression *c)
{
    for (size_t i = 0; i < c->site_count; i++) {
        oxp_choice *choice = &c->choices[i];
        const oxp_site *s = &c->sites[i];
        bool seen = true;
        for (size_t k = 0; k < s->consumer_count; k++)
            seen =
                seen && was_seen(c, s->consumers[k].node->graph, s->consumers[k].node->inputs[0]);
        if (seen || choice->technique != &oxp_technique_w8a8)
            continue;
        const char *why = NULL;
        choice->technique = oxp_technique_w8.applies(s, &why) ? &oxp_technique_w8 : NULL;
        choice->reason = "no sample ran this branch";
        c->unseen++;
    }
    if (c->unseen)
        oxp_log(c->ctx, OXP_LOG_WARNING,
                "%zu weights stand in branches that no sample ran: they are stored, not computed "
                "in integers",
                c->unseen);
}

/* A product whose input loses more with a fixed scale than with one of its own in every run becomes
 * dynamic: the two forms are equally fast. */
static void prefer_dynamic(oxp_compression *c)
{
    for (size_t i = 0; i < c->site_count; i++) {
        const oxp_site *s = &c->sites[i];
        const char *why = NULL;
        double fixed = 0, dynamic = 0;
        if (c->choices[i].technique != &oxp_technique_w8a8 || c->is_forced[i] ||
            !oxp_technique_dynamic.applies(s, &why))
            continue;
        for (size_t k = 0; k < s->consumer_count; k++) {
            const oxp_graph_node *n = s->consumers[k].node;
            const oxp_range *r = oxp_ranges_find(&c->ranges, n->graph, n->inputs[0]);
            if (r && r->judged) {
                fixed += r->output_error[r->method];
                dynamic += r->dynamic_error;
            }
        }
        if (fixed >= dynamic)
            c->choices[i].technique = &oxp_technique_dynamic;
    }
}

/* --reduce-range: on CPUs without VNNI, sites whose 16-bit pair sums can saturate get 7-bit
 * weights. */
static oxp_status narrow(oxp_compression *c)
{
    const char *how = c->options->reduce_range ? c->options->reduce_range : "auto";
    bool on = strcmp(how, "on") == 0, automatic = strcmp(how, "auto") == 0;
    bool can_saturate = c->options->cpu && strcmp(c->options->cpu, "avx2") == 0;
    for (size_t i = 0; i < c->site_count; i++) {
        oxp_choice *choice = &c->choices[i];
        if (choice->technique != &oxp_technique_w8a8 && choice->technique != &oxp_technique_dynamic)
            continue;
        if (!on && !(automatic && can_saturate &&
                     oxp_pair_sums_saturate(&c->sites[i], c->codes[i].codes, 255)))
            continue;
        OXP_TRY(oxp_codes_make(&c->narrow_codes[i], &c->arena, &c->sites[i], 1, 64));
        choice->limit = 64;
        c->narrowed++;
    }
    return OXP_OK;
}

/* ---- guard ---- */

/* The bound is a promise of the precisions that quantise activations. */
static bool has_integer_precision(const oxp_compression *c)
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
    if (c->options->min_sqnr_db <= 0 || !has_integer_precision(c))
        return OXP_OK;
    oxp_guard g = {.ctx = c->ctx,
                   .prepared = c->raised,
                   .graph = c->graph,
                   .sites = c->sites,
                   .site_count = c->site_count,
                   .codes = c->codes,
                   .narrow_codes = c->narrow_codes,
                   .ranges = &c->ranges,
                   .reference = &c->reference,
                   .min_sqnr_db = c->options->min_sqnr_db,
                   .work = c->placement.work};
    return oxp_guard_run(&g, c->choices, c->cost, &c->sqnr_db);
}

/* ---- write and verify ---- */

static oxp_status add_metadata(oxp_compression *c)
{
    char hex[17];
    if (c->options->no_metadata)
        return OXP_OK;
    OXP_TRY(oxp_edit_set_metadata(c->result, "onnxpress.version", oxp_version()));
    OXP_TRY(oxp_edit_set_metadata(c->result, "onnxpress.plan", c->options->precision));
    if (c->has_samples) /* what is made without data is the same everywhere */
        OXP_TRY(oxp_edit_set_metadata(c->result, "onnxpress.isa", oxp_kernels_instruction_set()));
    oxp_hash_hex(hex, oxp_model_hash(c->source));
    OXP_TRY(oxp_edit_set_metadata(c->result, "onnxpress.source", hex));
    if (!c->has_samples)
        return OXP_OK;
    oxp_hash_hex(hex, oxp_samples_hash(&c->samples));
    return oxp_edit_set_metadata(c->result, "onnxpress.data", c->samples.dataset ? hex : "random");
}

static oxp_status apply(oxp_compression *c)
{
    if (c->placement.precision == OXP_PRECISION_NONE)
        return OXP_OK; /* the source itself is written */
    OXP_TRY(
        oxp_edit_apply(&c->result, c->raised, c->choices, c->codes, c->narrow_codes, &c->ranges));
    return add_metadata(c);
}

#define POOR_SQNR_DB 10.0
#define POOR_AGREEMENT 0.95

bool oxp_compression_is_poor(const oxp_compression *c)
{
    if (!c->differences)
        return false;
    bool poor = c->sqnr_db < POOR_SQNR_DB;
    for (size_t i = 0; i < c->reference.output_count; i++) {
        const oxp_difference *d = &c->differences[i];
        poor |= d->rows && oxp_interval_proportion(d->agree, d->rows, 0.95).high < POOR_AGREEMENT;
    }
    return poor;
}

static oxp_status find_drop(oxp_compression *c, oxp_model *written)
{
    oxp_graph *graph;
    OXP_TRY(oxp_graph_build(&graph, &c->arena, written));
    const char *name;
    OXP_TRY(oxp_first_drop(&name, &c->dropped_db, c->ctx, c->source_graph, graph,
                           &c->samples.source, c->held[0], c->sqnr_db + OXP_DROP_MARGIN_DB));
    c->dropped = name ? oxp_arena_strdup(&c->arena, name) : NULL;
    return OXP_OK;
}

/* The written bytes, loaded like anybody's file, against the reference outputs. */
static oxp_status measure_written(oxp_compression *c, const uint8_t *bytes, size_t size)
{
    c->output_bytes = size;
    c->output_hash = oxp_hash(bytes, size);
    if (!c->has_samples)
        return OXP_OK;
    oxp_model *written;
    oxp_load_options options = {.keep_nonfinite = true};
    OXP_TRY(oxp_model_load_memory(&written, c->ctx, bytes, size, NULL, &options));
    c->differences =
        oxp_arena_alloc(&c->arena, c->reference.output_count + 1, sizeof *c->differences);
    oxp_status status =
        c->differences ? oxp_evaluate(c->differences, &c->reference, written, SIZE_MAX, "verify")
                       : OXP_ELIMIT;
    if (status == OXP_OK)
        c->sqnr_db = oxp_least_sqnr(&c->reference, c->differences);
    if (status == OXP_OK && oxp_compression_is_poor(c))
        status = find_drop(c, written);
    oxp_model_free(written);
    return status;
}

static oxp_status check_bound(oxp_compression *c)
{
    if (!c->has_samples || c->options->min_sqnr_db <= 0 || c->sqnr_db >= c->options->min_sqnr_db ||
        !has_integer_precision(c))
        return OXP_OK;
    return oxp_fail(
        c->ctx, OXP_EBOUND, "E-BOUND", "output SQNR %.2f dB is below the bound of %g dB: %s",
        c->sqnr_db, c->options->min_sqnr_db,
        c->options->keep ? "written because of --keep" : "nothing written (--keep would)");
}

static oxp_status write_file(oxp_compression *c, oxp_output_file *file)
{
    OXP_TRY(oxp_model_write(file, c->result ? c->result : c->source));
    uint8_t *bytes;
    size_t size;
    OXP_TRY(oxp_output_read_back(&bytes, &size, file));
    oxp_status status = measure_written(c, bytes, size);
    oxp_free(bytes);
    return status == OXP_OK ? check_bound(c) : status;
}

static oxp_status measure_dry(oxp_compression *c)
{
    uint8_t *bytes;
    size_t size;
    OXP_TRY(oxp_model_pack(&bytes, &size, c->result ? c->result : c->source));
    oxp_status status = measure_written(c, bytes, size);
    oxp_free(bytes);
    return status == OXP_OK ? check_bound(c) : status;
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
    oxp_file_id *inputs = oxp_arena_alloc(&c->arena, models + data + 1, sizeof *inputs);
    if (!inputs)
        return OXP_ELIMIT;
    memcpy(inputs, model_files, models * sizeof *inputs);
    if (data)
        memcpy(inputs + models, data_files, data * sizeof *inputs);
    oxp_output_options options = {
        .force = c->options->force, .inputs = inputs, .input_count = models + data};
    return oxp_output_open(file, c->ctx, c->output_path, &options);
}

static oxp_status search(oxp_compression *c)
{
    double start = now();
    OXP_TRY(prepare(c));
    OXP_TRY(find_sites(c));
    OXP_TRY(measure_work(c));
    OXP_TRY(place(c));
    OXP_TRY(calibrate(c));
    leave_unseen(c);
    prefer_dynamic(c);
    OXP_TRY(oxp_settle_choices(c->graph, c->sites, c->site_count, c->choices));
    OXP_TRY(narrow(c));
    c->seconds_calibrate = now() - start;
    start = now();
    OXP_TRY(guard(c));
    c->seconds_search = now() - start;
    return OXP_OK;
}

static oxp_status finish_output(oxp_compression *c, oxp_output_file *file, oxp_status status)
{
    if (file && (status == OXP_OK || (status == OXP_EBOUND && c->options->keep))) {
        oxp_status published = oxp_output_publish(file);
        return published == OXP_OK ? status : published;
    }
    oxp_output_discard(file);
    return status;
}

oxp_status oxp_compression_run(oxp_compression *c, oxp_ctx *ctx, const char *model,
                               const char *output, const oxp_compress_options *options)
{
    double start = now();
    *c = (oxp_compression){
        .ctx = ctx, .options = options, .model_path = model, .output_path = output, .sqnr_db = NAN};
    oxp_arena_init(&c->arena, ctx);
    OXP_TRY(oxp_settings_resolve(c));
    oxp_settings_log(c);
    OXP_TRY(load(c));
    OXP_TRY(open_samples(c));
    oxp_output_file *file;
    OXP_TRY(open_output(c, &file));
    c->seconds_load = now() - start;
    oxp_status status = c->placement.precision == OXP_PRECISION_NONE ? OXP_OK : search(c);
    double applied = now();
    if (status == OXP_OK)
        status = apply(c);
    c->seconds_apply = now() - applied;
    applied = now();
    if (status == OXP_OK)
        status = file ? write_file(c, file) : measure_dry(c);
    status = finish_output(c, file, status);
    c->seconds_verify = now() - applied;
    c->seconds_total = now() - start;
    return status;
}

void oxp_compression_free(oxp_compression *c)
{
    oxp_reference_free(&c->reference);
    oxp_model_free(c->result);
    oxp_model_free(c->raised);
    if (c->was_prepared)
        oxp_prepare_release(&c->prepare);
    oxp_model_free(c->prepared);
    oxp_samples_close(&c->samples);
    oxp_model_free(c->source);
    oxp_arena_free(&c->arena);
    c->ctx->subject = NULL;
}
