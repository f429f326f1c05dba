/* compress.c - what the main job found, as a table and as JSON. */
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "calibration/intervals.h"
#include "planner/compress.h"
#include "planner/stats.h"
#include "report/composed.h"
#include "report/jobs.h"
#include "report/kept.h"
#include "report/plan.h"
#include "techniques/bias_correction.h"

#define TALLIES 32 /* techniques, and float */

typedef struct tally { /* sites by what was done to them */
    size_t count[TALLIES], bytes_before[TALLIES], bytes_after[TALLIES];
} tally;

static size_t bytes_after(const oxp_compression *c, size_t i)
{
    const oxp_technique *t = c->choices[i].technique;
    return t ? t->bytes(&c->sites[i], &c->choices[i])
             : oxp_tensor_bytes(&c->sites[i].value->constant);
}

static double site_sqnr(const oxp_codes *codes)
{
    oxp_difference d = {.signal = codes->signal, .noise = codes->noise};
    return oxp_sqnr_db(&d);
}

static const oxp_codes *codes_of(const oxp_compression *c, size_t i)
{
    return c->choices[i].limit == 64 && c->narrow_codes[i].codes ? &c->narrow_codes[i]
                                                                 : &c->codes[i];
}

/* ---- JSON ---- */

static void add_error(json_t *weight, const oxp_codes *codes)
{
    double relative = codes->signal > 0 ? sqrt(codes->noise / codes->signal) : 0;
    json_t *error = oxp_json_object(weight, "error");
    /* one stage: the telescoped and the pairwise sum are that stage's error */
    oxp_json_real(error, "actual", relative);
    oxp_json_real(error, "telescoped", relative);
    oxp_json_real(error, "pairwise", relative);
}

/* How the codes were found, what that did to the layer's output, and which biases it changed. */
static void add_rounding(json_t *parameters, const oxp_site *s, const oxp_choice *choice,
                         const oxp_codes *codes)
{
    bool corrected = oxp_codes_shift(codes, oxp_choice_level(choice)) != NULL;
    oxp_json_string(parameters, "rounding", codes->is_rounded ? "gptq" : "nearest");
    if (codes->is_rounded && codes->output_after > 0)
        oxp_json_real(parameters, "output_gain_db",
                      10 * log10(codes->output_before / codes->output_after));
    oxp_json_boolean(parameters, "bias_corrected", corrected);
    json_t *biases = corrected ? oxp_json_array(parameters, "biases") : NULL;
    for (size_t k = 0; corrected && k < s->consumer_count; k++) {
        oxp_bias bias;
        bool known = oxp_bias_find(&bias, s, &s->consumers[k]) && bias.value;
        if (known)
            json_array_append_new(biases, json_string(bias.value->name));
    }
}

static void add_weight(json_t *array, const oxp_compression *c, size_t i)
{
    const oxp_site *s = &c->sites[i];
    const oxp_choice *choice = &c->choices[i];
    char label[OXP_NODE_TEXT_MAX];
    json_t *w = oxp_json_append(array);
    oxp_json_string(w, "name", s->value->name);
    oxp_json_string(w, "node", oxp_graph_node_label(label, s->consumers[0].node));
    json_t *nodes = oxp_json_array(w, "nodes");
    for (size_t k = 0; k < s->consumer_count; k++) {
        json_t *text = json_string(oxp_graph_node_label(label, s->consumers[k].node));
        if (text)
            json_array_append_new(nodes, text);
    }
    oxp_json_string(w, "op", s->consumers[0].node->type);
    oxp_json_shape(w, "shape", s->value->constant.rank, s->value->constant.dims, NULL);
    oxp_json_string(w, "technique", choice->technique ? choice->technique->name : "float");
    size_t before = oxp_tensor_bytes(&s->value->constant), after = bytes_after(c, i);
    json_t *parameters = oxp_json_object(w, "parameters");
    if (choice->technique)
        oxp_report_params(parameters, choice);
    /* in 8-bit codes, whose error is known */
    bool coded = oxp_choice_level(choice) <= OXP_LEVEL_BYTE;
    if (coded) {
        bool packed = choice->technique == &oxp_technique_w4;
        oxp_json_integer(parameters, "bits",
                         packed                ? oxp_packed_bits(choice)
                         : choice->limit == 64 ? 7
                                               : 8);
        if (packed)
            oxp_json_integer(parameters, "block", (long long)oxp_packed_block(s, choice));
        oxp_json_integer(parameters, "axis", s->channel_axis);
        add_rounding(parameters, s, choice, codes_of(c, i));
    }
    oxp_json_real(w, "bits_per_weight", 8.0 * (double)after / (double)s->value->constant.count);
    oxp_json_integer(w, "bytes_before", (long long)before);
    oxp_json_integer(w, "bytes_after", (long long)after);
    if (coded) {
        oxp_json_real(w, "sqnr_db", site_sqnr(codes_of(c, i)));
        if (!oxp_report_composed_errors(w, c, s))
            add_error(w, codes_of(c, i));
    }
    oxp_json_real(w, "measured_noise", c->cost[i]);
    oxp_json_string(w, "reason", choice->reason);
    /* output names of the nodes, by which a reader finds them in the written graph */
    json_t *outputs = oxp_json_array(w, "node_outputs");
    for (size_t k = 0; k < s->consumer_count; k++) {
        json_t *text = json_string(oxp_node_proto_output(s->consumers[k].node->proto, 0));
        if (text)
            json_array_append_new(outputs, text);
    }
}

static void add_activations(json_t *root, const oxp_compression *c)
{
    json_t *array = oxp_json_array(root, "activations");
    for (size_t i = 0; i < c->ranges.count; i++) {
        const oxp_range *r = &c->ranges.items[i];
        json_t *a = oxp_json_append(array);
        oxp_json_string(a, "name", c->watches[i].graph->values[c->watches[i].value].name);
        oxp_json_string(a, "method", r->fixed ? "fixed" : oxp_method_name(r->method));
        oxp_json_real(a, "min", (double)r->seen->min);
        oxp_json_real(a, "max", (double)r->seen->max);
        oxp_json_real(a, "scale", (double)r->scale.scale);
        oxp_json_integer(a, "zero_point", r->scale.zero_point);
    }
}

static void add_outputs(json_t *root, const oxp_compression *c)
{
    json_t *array = oxp_json_array(root, "outputs");
    for (size_t i = 0; c->differences && i < c->reference.output_count; i++) {
        const oxp_difference *d = &c->differences[i];
        json_t *o = oxp_json_append(array);
        oxp_json_string(o, "name", c->source_graph->values[c->source_graph->outputs[i]].name);
        if (!c->reference.count || !oxp_dtype_is_float(c->reference.outputs[i].dtype)) {
            oxp_json_boolean(o, "identical", d->nonfinite == 0);
            continue;
        }
        oxp_json_real(o, "sqnr_db", oxp_sqnr_db(d));
        oxp_json_real(o, "cosine", oxp_cosine(d));
        oxp_json_real(o, "max_abs_error", d->max_abs);
        if (oxp_is_categorical(c->reference.kinds[i]) && d->rows) {
            oxp_json_real(o, "kl", d->kl / (double)d->rows);
            oxp_json_real(o, "top1_agreement", (double)d->agree / (double)d->rows);
        }
    }
}

#define CONFIDENCE 0.95

/* Of the first output that the labels fit, on the held-out samples. */
static const oxp_difference *labelled(const oxp_compression *c)
{
    for (size_t i = 0; c->differences && i < c->reference.output_count; i++)
        if (c->differences[i].labelled)
            return &c->differences[i];
    return NULL;
}

static void add_accuracy(json_t *root, const oxp_compression *c)
{
    const oxp_difference *d = labelled(c);
    if (!d)
        return;
    double n = (double)d->labelled;
    oxp_interval paired = oxp_interval_paired(d->only_a, d->only_b, d->labelled, CONFIDENCE);
    json_t *o = oxp_json_object(root, "accuracy");
    oxp_json_real(o, "before", (double)d->correct_a / n);
    oxp_json_real(o, "after", (double)d->correct_b / n);
    oxp_json_real(o, "difference", ((double)d->correct_b - (double)d->correct_a) / n);
    oxp_json_real(o, "low", paired.low);
    oxp_json_real(o, "high", paired.high);
    oxp_json_real(o, "confidence", CONFIDENCE);
    oxp_json_integer(o, "samples", (long long)d->labelled);
}

static bool is_prepared(const oxp_compression *c, const char *name)
{
    for (size_t i = 0; i < c->prepare.tensor_count; i++)
        if (strcmp(c->prepare.tensors[i], name) == 0)
            return true;
    return false;
}

static void add_prepare(json_t *root, const oxp_compression *c)
{
    if (!c->was_prepared)
        return;
    json_t *p = oxp_json_object(root, "preparation"), *steps = oxp_json_array(p, "steps");
    for (size_t i = 0; i < OXP_PREPARE_STEPS; i++) {
        const oxp_prepare_step_result *s = &c->prepare.steps[i];
        json_t *o = oxp_json_append(steps);
        oxp_json_string(o, "name", s->name);
        oxp_json_integer(o, "changed", (long long)s->changed);
        oxp_json_integer(o, "left", (long long)s->left);
        oxp_json_integer(o, "undone", (long long)s->undone);
        if (s->difference >= 0)
            oxp_json_real(o, "difference", s->difference);
    }
    json_t *tensors = oxp_json_array(p, "tensors");
    for (size_t i = 0; i < c->prepare.tensor_count; i++) {
        json_t *text = json_string(c->prepare.tensors[i]);
        if (text)
            json_array_append_new(tensors, text);
    }
    const oxp_equalize_result *e = &c->equalization.result;
    for (size_t i = 0; c->equalization.is_used && i < e->tensor_count; i++)
        if (!is_prepared(c, e->tensors[i]))
            json_array_append_new(tensors, json_string(e->tensors[i]));
    oxp_json_integer(p, "nodes_before", (long long)c->prepare.nodes_before);
    oxp_json_integer(p, "nodes_after", (long long)c->prepare.nodes_after);
    oxp_json_integer(p, "opset_before", c->opset_before);
    oxp_json_integer(p, "opset_after", c->opset_after);
    oxp_json_string(p, "opset_reason", c->opset_reason);
}

static void add_equalization(json_t *root, const oxp_compression *c)
{
    const oxp_equalization *e = &c->equalization;
    if (!e->is_tried)
        return;
    json_t *o = oxp_json_object(root, "equalization");
    oxp_json_boolean(o, "used", e->is_used);
    oxp_json_string(o, "reason", e->why_not);
    oxp_json_integer(o, "undone", (long long)e->result.undone);
    oxp_json_real(o, "difference", e->result.difference);
    if (e->is_measured) {
        oxp_json_real(o, "plain_db", e->plain_db);
        oxp_json_real(o, "equalized_db", e->equalized_db);
        oxp_json_integer(o, "samples", (long long)e->samples);
    }
    json_t *groups = oxp_json_array(o, "groups");
    for (size_t i = 0; i < e->result.group_count; i++) {
        const oxp_equalized_group *g = &e->result.groups[i];
        json_t *entry = oxp_json_append(groups);
        oxp_json_string(entry, "value", g->value);
        oxp_json_integer(entry, "channels", (long long)g->channels);
        oxp_json_integer(entry, "layers", (long long)g->layers);
        oxp_json_real(entry, "least", g->least);
        oxp_json_real(entry, "most", g->most);
        oxp_json_boolean(entry, "undone", g->undone);
    }
}

static void add_seconds(json_t *root, const oxp_compression *c)
{
    json_t *s = oxp_json_object(root, "seconds");
    oxp_json_real(s, "load", c->seconds_load);
    oxp_json_real(s, "calibrate", c->seconds_calibrate);
    oxp_json_real(s, "search", c->seconds_search);
    oxp_json_real(s, "apply", c->seconds_apply);
    oxp_json_real(s, "verify", c->seconds_verify);
    oxp_json_real(s, "total", c->seconds_total);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    oxp_json_integer(root, "peak_rss_bytes", (long long)usage.ru_maxrss * 1024);
}

/* ---- verdict ---- */

static double least_agreement(const oxp_compression *c)
{
    double least = 1;
    for (size_t i = 0; c->differences && i < c->reference.output_count; i++)
        if (c->differences[i].rows)
            least = fmin(least, (double)c->differences[i].agree / (double)c->differences[i].rows);
    return least;
}

static const char *verdict(const oxp_compression *c)
{
    if (!c->differences)
        return "unmeasured";
    return oxp_compression_is_poor(c) ? "poor" : "good";
}

static void fill_json(json_t *root, const oxp_compression *c)
{
    size_t before = oxp_model_bytes(c->source);
    oxp_json_string(root, "onnxpress", oxp_version());
    oxp_json_file(root, "model", c->model_path, before, oxp_model_hash(c->source));
    if (c->output_path)
        oxp_json_file(root, "output", c->output_path, c->output_bytes, c->output_hash);
    oxp_json_real(root, "ratio", (double)before / (double)c->output_bytes);
    oxp_json_string(root, "verdict", verdict(c));
    if (c->has_samples) {
        char hex[17];
        json_t *d = oxp_json_object(root, "data");
        oxp_json_string(d, "path", c->options->data);
        oxp_json_integer(d, "samples", (long long)c->samples.source.count);
        oxp_json_integer(d, "held_out", c->in_sample ? 0 : (long long)c->held_count);
        oxp_json_boolean(d, "in_sample", c->in_sample);
        if (c->stats) {
            json_t *stats = oxp_json_object(d, "stats");
            oxp_json_string(stats, "path", c->stats->path);
            oxp_json_boolean(stats, "gave_ranges", c->stats->gave_ranges);
        }
        json_t *measured = oxp_json_array(d, "measured_on");
        for (size_t i = 0; i < c->held_count; i++)
            json_array_append_new(measured, json_integer((json_int_t)c->held[i]));
        oxp_json_boolean(d, "random", c->samples.dataset == NULL);
        oxp_hash_hex(hex, oxp_samples_hash(&c->samples));
        if (c->samples.dataset)
            oxp_json_string(d, "xxh3", hex);
    }
    add_prepare(root, c);
    add_equalization(root, c);
    oxp_report_composition(root, c);
    json_t *weights = oxp_json_array(root, "weights");
    for (size_t i = 0; i < c->site_count; i++)
        add_weight(weights, c, i);
    add_activations(root, c);
    add_outputs(root, c);
    add_accuracy(root, c);
    if (isfinite(c->sqnr_db) && c->options->min_sqnr_db > 0 && !c->plan) {
        json_t *target = oxp_json_object(root, "target");
        oxp_json_string(target, "kind", "min-sqnr");
        oxp_json_real(target, "asked", c->options->min_sqnr_db);
        oxp_json_real(target, "reached", c->sqnr_db);
    }
    oxp_report_plan(root, c);
    if (c->dropped) {
        json_t *drop = oxp_json_object(root, "first_drop");
        oxp_json_string(drop, "tensor", c->dropped);
        oxp_json_real(drop, "sqnr_db", c->dropped_db);
    }
    add_seconds(root, c);
}

/* ---- text ---- */

static oxp_status text_techniques(oxp_report *r, const oxp_compression *c)
{
    tally t = {0};
    assert(oxp_technique_count() < TALLIES);
    for (size_t i = 0; i < c->site_count; i++) {
        size_t k = oxp_technique_count();
        for (size_t j = 0; j < oxp_technique_count(); j++)
            if (c->choices[i].technique == oxp_technique_at(j))
                k = j;
        t.count[k]++;
        t.bytes_before[k] += oxp_tensor_bytes(&c->sites[i].value->constant);
        t.bytes_after[k] += bytes_after(c, i);
    }
    for (size_t k = 0; k <= oxp_technique_count(); k++) {
        char before[32], after[32];
        if (t.count[k])
            OXP_TRY(oxp_report_line(r, "  %-8s %4zu weights  %10s -> %s",
                                    k < oxp_technique_count() ? oxp_technique_at(k)->name : "float",
                                    t.count[k], oxp_bytes_text(before, (double)t.bytes_before[k]),
                                    oxp_bytes_text(after, (double)t.bytes_after[k])));
    }
    return OXP_OK;
}

static oxp_status text_taken_back(oxp_report *r, const oxp_compression *c)
{
    char quoted[OXP_QUOTED_MAX];
    for (size_t i = 0; i < c->site_count; i++)
        if (isfinite(c->cost[i]) && c->choices[i].reason &&
            strstr(c->choices[i].reason, "too much"))
            OXP_TRY(oxp_report_line(r, "  %s: %s (alone %.1f dB)",
                                    oxp_quote(quoted, c->sites[i].value->name),
                                    c->choices[i].reason, -10 * log10(c->cost[i])));
    return OXP_OK;
}

static void log_weights(const oxp_compression *c)
{
    char quoted[OXP_QUOTED_MAX], shape[OXP_SHAPE_TEXT_MAX], before[32], after[32];
    for (size_t i = 0; i < c->site_count; i++) {
        const oxp_site *s = &c->sites[i];
        char how[64] = "";
        const oxp_codes *codes = codes_of(c, i);
        oxp_level level = oxp_choice_level(&c->choices[i]);
        if (level <= OXP_LEVEL_BYTE)
            snprintf(how, sizeof how, " (%s%s)", codes->is_rounded ? "gptq" : "nearest",
                     oxp_codes_shift(codes, level) ? ", bias corrected" : "");
        oxp_log(c->ctx, OXP_LOG_VERBOSE, "[%3zu/%zu] %s %s %s: %s%s, %s -> %s%s%s", i + 1,
                c->site_count, oxp_quote(quoted, s->value->name), s->consumers[0].node->type,
                oxp_shape_text(shape, s->value->constant.rank, s->value->constant.dims),
                c->choices[i].technique ? c->choices[i].technique->name : "float", how,
                oxp_bytes_text(before, (double)oxp_tensor_bytes(&s->value->constant)),
                oxp_bytes_text(after, (double)bytes_after(c, i)), c->choices[i].reason ? "; " : "",
                c->choices[i].reason ? c->choices[i].reason : "");
    }
}

static oxp_status text_equalization(oxp_report *r, const oxp_compression *c)
{
    const oxp_equalization *e = &c->equalization;
    size_t groups = e->result.group_count - e->result.undone;
    if (!e->is_used)
        return OXP_OK;
    if (!e->is_measured)
        return oxp_report_line(r, "  equalised: %zu groups of channels", groups);
    return oxp_report_line(r,
                           "  equalised: %zu groups of channels, quantised %.2f dB instead of "
                           "%.2f dB on %zu calibration samples",
                           groups, e->equalized_db, e->plain_db, e->samples);
}

static oxp_status fill_text(oxp_report *r, const oxp_compression *c)
{
    char before[32], after[32];
    size_t source = oxp_model_bytes(c->source);
    if (c->was_prepared)
        for (size_t i = 0; i < OXP_PREPARE_STEPS; i++)
            if (c->prepare.steps[i].changed)
                OXP_TRY(oxp_report_line(r, "  prepared: %s, %zu places",
                                        c->prepare.steps[i].summary, c->prepare.steps[i].changed));
    OXP_TRY(text_equalization(r, c));
    OXP_TRY(text_techniques(r, c));
    OXP_TRY(oxp_report_composition_text(r, c));
    OXP_TRY(oxp_report_kept(r, c));
    OXP_TRY(text_taken_back(r, c));
    OXP_TRY(oxp_report_plan_text(r, c));
    log_weights(c);
    const oxp_difference *d = labelled(c);
    if (d)
        OXP_TRY(oxp_report_line(r, "  accuracy %.2f %% -> %.2f %% on %zu labelled held-out samples",
                                100 * (double)d->correct_a / (double)d->labelled,
                                100 * (double)d->correct_b / (double)d->labelled, d->labelled));
    oxp_bytes_text(before, (double)source);
    oxp_bytes_text(after, (double)c->output_bytes);
    double ratio = (double)source / (double)c->output_bytes;
    if (!c->differences)
        return oxp_report_line(r, "%s -> %s (%.2f x smaller), outputs not measured: no samples",
                               before, after, ratio);
    return oxp_report_line(r,
                           "%s -> %s (%.2f x smaller), output SQNR %.2f dB, top-1 agreement %.2f "
                           "%%, on %zu %s samples",
                           before, after, ratio, c->sqnr_db, 100 * least_agreement(c),
                           c->held_count, c->in_sample ? "calibration" : "held-out");
}

static void warn_if_poor(const oxp_compression *c)
{
    char quoted[OXP_QUOTED_MAX] = "", where[OXP_QUOTED_MAX + 80] = "";
    if (!oxp_compression_is_poor(c))
        return;
    if (c->dropped)
        snprintf(where, sizeof where, ", first at tensor %s with %.1f dB",
                 oxp_quote(quoted, c->dropped), c->dropped_db);
    bool integers = c->placement.precision == OXP_PRECISION_W8A8 ||
                    c->placement.precision == OXP_PRECISION_DYNAMIC;
    bool guarded = c->options->min_sqnr_db > 0;
    oxp_log(c->ctx, OXP_LOG_WARNING, "the result is poor (%.2f dB, %.1f %% agreement)%s; %s",
            c->sqnr_db, 100 * least_agreement(c), where,
            !integers ? "leave the layer that falls float: --exclude-nodes"
            : guarded ? "ask for more: --min-sqnr 30, or more samples"
                      : "switch the guard on: --min-sqnr 20, or take --precision w8");
}

oxp_status oxp_compress_file(oxp_report **out, oxp_ctx *ctx, const char *model, const char *output,
                             const oxp_compress_options *options)
{
    oxp_report *r;
    OXP_TRY(oxp_report_new(&r, ctx));
    oxp_compression *c;
    oxp_status status = oxp_alloc(&c, ctx, 1, sizeof *c, "compression");
    if (status != OXP_OK) {
        oxp_report_free(r);
        return status;
    }
    status = oxp_compression_run(c, ctx, model, output, options);
    bool usable = status == OXP_OK || status == OXP_EBOUND;
    if (usable) {
        fill_json(r->json, c);
        oxp_status filled = oxp_protect_inputs(r, c->source, &c->samples);
        if (filled == OXP_OK && c->stats)
            filled = oxp_report_protect(r, &c->stats->id, 1);
        if (filled == OXP_OK)
            filled = fill_text(r, c);
        warn_if_poor(c);
        usable = filled == OXP_OK;
        status = usable ? status : filled;
    }
    oxp_compression_free(c);
    oxp_free(c);
    if (usable)
        *out = r;
    else
        oxp_report_free(r);
    return status;
}
