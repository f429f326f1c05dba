/* Codes and biases from what the layers read: the layer's output error falls, its mean vanishes in
 * stored and in integer forms, a missing bias is made where it costs little, and the result is the
 * same at any number of threads. */
#include "techniques/codes.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "calibration/source.h"
#include "onnx/save.h"
#include "support/small_models.h"
#include "techniques/bias_correction.h"

#define SAMPLES 40
#define CHANNELS 64

typedef struct fixture {
    oxp_ctx ctx;
    oxp_arena arena;
    oxp_model *model;
    oxp_graph *graph;
    oxp_samples samples;
    oxp_site *sites;
    size_t count;
    oxp_choice *choices;
    oxp_codes *codes;
    const oxp_scale **scales;
    oxp_ranges ranges;
} fixture;

static void start(fixture *f, const char *model, int threads)
{
    const small_model *m = small_models;
    while (strcmp(m->name, model) != 0)
        m++;
    memset(f, 0, sizeof *f);
    oxp_ctx_init(&f->ctx);
    f->ctx.threads = threads;
    oxp_arena_init(&f->arena, &f->ctx);
    cr_assert_eq(m->build(&f->model, &f->ctx), OXP_OK);
    cr_assert_eq(oxp_graph_build(&f->graph, &f->arena, f->model), OXP_OK);
    oxp_input_options options = OXP_INPUT_OPTIONS_INIT;
    options.random_samples = SAMPLES;
    cr_assert_eq(oxp_samples_open(&f->samples, &f->ctx, f->graph, NULL, NULL, &options), OXP_OK);
    cr_assert_eq(oxp_sites_find(&f->sites, &f->count, &f->arena, f->graph), OXP_OK);
    f->choices = oxp_arena_alloc(&f->arena, f->count, sizeof *f->choices);
    f->codes = oxp_arena_alloc(&f->arena, f->count, sizeof *f->codes);
    f->scales = oxp_arena_alloc(&f->arena, f->count, sizeof *f->scales);
    cr_assert_eq(oxp_codes_make(f->codes, &f->arena, f->sites, f->count, 127), OXP_OK);
    for (size_t i = 0; i < f->count; i++)
        f->choices[i].limit = 127;
}

static void stop(fixture *f)
{
    oxp_samples_close(&f->samples);
    oxp_arena_free(&f->arena);
    oxp_model_free(f->model);
    cr_expect_eq(f->ctx.budget->used, 0);
}

static size_t site_named(const fixture *f, const char *weight)
{
    for (size_t i = 0; i < f->count; i++)
        if (strcmp(f->sites[i].value->name, weight) == 0)
            return i;
    cr_assert_fail("no site %s", weight);
    return 0;
}

static void refine(fixture *f, bool round, bool correct)
{
    size_t which[SAMPLES];
    bool wanted[16];
    for (size_t i = 0; i < SAMPLES; i++)
        which[i] = i;
    for (size_t i = 0; i < f->count; i++)
        wanted[i] = true;
    oxp_refinement r = {.graph = f->graph,
                        .sites = f->sites,
                        .site_count = f->count,
                        .wanted = wanted,
                        .scales = f->scales,
                        .source = &f->samples.source,
                        .which = which,
                        .samples = SAMPLES,
                        .limit = 127,
                        .round = round,
                        .correct = correct};
    cr_assert_eq(oxp_codes_refine(f->codes, &f->arena, &r), OXP_OK, "%s", f->ctx.message);
}

/* ---- a value in two models ---- */

typedef struct seen {
    const char *name;
    float *values; /* of all samples in turn */
    size_t count, channel_step;
} seen;

static oxp_status keep(void *user, oxp_ctx *ctx, int worker, size_t slot, const oxp_graph *graph,
                       uint32_t value, const oxp_tensor *t)
{
    (void)worker;
    seen *s = user;
    if (graph->parent || strcmp(graph->values[value].name, s->name) != 0)
        return OXP_OK;
    if (!s->values) {
        OXP_TRY(oxp_alloc(&s->values, ctx, SAMPLES * t->count, sizeof(float), "values"));
        s->count = t->count;
        s->channel_step = t->rank == 4 ? (size_t)(t->dims[2] * t->dims[3]) : 1;
    }
    memcpy(s->values + slot * s->count, t->data, s->count * sizeof(float));
    return OXP_OK;
}

static seen look(fixture *f, oxp_model *model, const char *name)
{
    seen s = {.name = name};
    oxp_graph *graph;
    oxp_run_hooks hooks = {.user = &s, .value = keep};
    cr_assert_eq(oxp_graph_build(&graph, &f->arena, model), OXP_OK, "%s", f->ctx.message);
    int threads = f->ctx.threads;
    f->ctx.threads = 1; /* `keep` allocates on its first call */
    cr_assert_eq(oxp_run_samples(&f->ctx, graph, &f->samples.source, NULL, SAMPLES, &hooks, NULL),
                 OXP_OK, "%s", f->ctx.message);
    f->ctx.threads = threads;
    cr_assert_not_null(s.values, "no value %s", name);
    return s;
}

typedef struct error {
    double mean; /* largest over channels of |mean error| */
    double square, rms;
} error;

static error error_at(fixture *f, const char *name, size_t channels)
{
    oxp_model *edited;
    cr_assert_eq(oxp_edit_apply(&edited, f->model, f->choices, f->codes, NULL, &f->ranges), OXP_OK,
                 "%s", f->ctx.message);
    seen before = look(f, f->model, name), after = look(f, edited, name);
    cr_assert_eq(before.count, after.count);
    double sums[CHANNELS] = {0}, n = (double)(SAMPLES * before.count);
    error e = {0};
    for (size_t i = 0; i < SAMPLES * before.count; i++) {
        double d = (double)after.values[i] - (double)before.values[i];
        sums[i / before.channel_step % channels] += d * (double)channels / n;
        e.square += d * d / n;
        e.rms += (double)before.values[i] * (double)before.values[i] / n;
    }
    for (size_t c = 0; c < channels; c++)
        e.mean = fmax(e.mean, fabs(sums[c]));
    e.rms = sqrt(e.rms);
    oxp_free(before.values);
    oxp_free(after.values);
    oxp_model_free(edited);
    return e;
}

/* ---- tests ---- */

static void check_stored(const char *model, const char *weight, const char *output, size_t channels)
{
    fixture f;
    start(&f, model, 2);
    size_t i = site_named(&f, weight);
    f.choices[i].technique = &oxp_technique_w8;
    error plain = error_at(&f, output, channels);
    refine(&f, false, true);
    error corrected = error_at(&f, output, channels);
    cr_expect_not(f.codes[i].is_rounded);
    cr_expect_lt(corrected.mean, 2e-6 * corrected.rms, "%s: mean error %g of rms %g", weight,
                 corrected.mean, corrected.rms);
    cr_expect_lt(corrected.mean, 0.01 * plain.mean);
    cr_expect_leq(corrected.square, plain.square, "%s", weight);
    refine(&f, true, true);
    error rounded = error_at(&f, output, channels);
    cr_expect(f.codes[i].is_rounded);
    cr_expect_lt(rounded.square, 0.95 * corrected.square, "%s: %g and %g", weight, rounded.square,
                 corrected.square);
    cr_expect_lt(rounded.mean, 2e-6 * rounded.rms);
    cr_expect_lt(f.codes[i].output_after, f.codes[i].output_before);
    stop(&f);
}

Test(codes, the_output_error_falls_and_its_mean_vanishes)
{
    check_stored("products", "w", "q", 48);
    check_stored("products", "g", "y", 16);
}

/* A Conv's positions are drawn, so the mean is that of a part of them. */
Test(codes, convolutions_with_and_without_a_bias)
{
    fixture f;
    start(&f, "convolutions", 2);
    refine(&f, true, true);
    size_t with = site_named(&f, "w"), without = site_named(&f, "v"), small = site_named(&f, "u");
    cr_expect_not_null(f.codes[with].stored_shift);
    cr_expect_not_null(f.codes[without].stored_shift);
    cr_expect_null(f.codes[small].stored_shift, "its bias would cost a quarter of the codes");
    f.choices[without].technique = &oxp_technique_w8;
    error corrected = error_at(&f, "r", 16);
    f.codes[without].stored_shift = NULL;
    error plain = error_at(&f, "r", 16);
    cr_expect_lt(corrected.square, plain.square);
    cr_expect_lt(corrected.mean, 0.5 * plain.mean);
    stop(&f);
}

Test(codes, integers_shift_by_what_rounding_the_input_does)
{
    fixture f;
    start(&f, "products", 2);
    size_t i = site_named(&f, "g");
    const oxp_graph_node *gemm = f.sites[i].consumers[0].node;
    const oxp_watch watch = {f.graph, gemm->inputs[0]};
    oxp_calibration_options options = {.method = OXP_METHOD_MINMAX};
    cr_assert_eq(oxp_calibrate(&f.ranges, &f.arena, f.graph, &f.samples.source, NULL, SAMPLES,
                               &watch, 1, NULL, 0, &options),
                 OXP_OK);
    oxp_scale *scale = &f.ranges.items[0].scale;
    scale->scale *= 0.5f; /* cut off: a large mean error */
    f.scales[i] = scale;
    f.choices[i].technique = &oxp_technique_w8a8;
    error plain = error_at(&f, "y", 16);
    refine(&f, true, true);
    error corrected = error_at(&f, "y", 16);
    cr_expect_lt(corrected.mean, 0.01 * plain.mean, "%g and %g", corrected.mean, plain.mean);
    cr_expect_lt(corrected.square, plain.square);
    stop(&f);
}

Test(codes, the_same_bytes_at_any_thread_count)
{
    uint8_t *kept = NULL;
    size_t kept_size = 0;
    for (int threads = 1; threads <= 3; threads++) {
        fixture f;
        oxp_model *edited;
        uint8_t *bytes;
        size_t size;
        start(&f, "convolutions", threads);
        refine(&f, true, true);
        for (size_t i = 0; i < f.count; i++)
            f.choices[i].technique = &oxp_technique_w8;
        cr_assert_eq(oxp_edit_apply(&edited, f.model, f.choices, f.codes, NULL, NULL), OXP_OK);
        cr_assert_eq(oxp_model_pack(&bytes, &size, edited), OXP_OK);
        oxp_model_free(edited);
        if (!kept) {
            kept = malloc(size);
            cr_assert_not_null(kept);
            memcpy(kept, bytes, kept_size = size);
        }
        cr_expect(size == kept_size && memcmp(bytes, kept, size) == 0, "%d threads", threads);
        oxp_free(bytes);
        stop(&f);
    }
    free(kept);
}
