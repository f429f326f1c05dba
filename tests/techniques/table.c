/* table.c - every row of the technique table on every small model: what it makes loads from its own
 * bytes and runs, is the same twice, is close to the float model, leaves every initializer that it
 * was not asked to change bit-identical, and is the identity when nothing is chosen. A new row is
 * tested without a new test. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "calibration/source.h"
#include "onnx/save.h"
#include "planner/evaluate.h"
#include "support/small_models.h"
#include "techniques/fit.h"
#include "techniques/islands.h"
#include "techniques/technique.h"

#define SAMPLES 6

typedef struct bench {
    oxp_ctx ctx;
    oxp_arena arena;
    oxp_model *model;
    oxp_graph *graph;
    oxp_samples samples;
    oxp_site *sites;
    size_t count;
    oxp_choice *choices;
    oxp_codes *codes;
    oxp_ranges ranges;
} bench;

static void open_bench(bench *b, const small_model *m)
{
    memset(b, 0, sizeof *b);
    oxp_ctx_init(&b->ctx);
    oxp_arena_init(&b->arena, &b->ctx);
    cr_assert_eq(m->build(&b->model, &b->ctx), OXP_OK, "%s: %s", m->name, b->ctx.message);
    cr_assert_eq(oxp_graph_build(&b->graph, &b->arena, b->model), OXP_OK, "%s: %s", m->name,
                 b->ctx.message);
    oxp_input_options options = OXP_INPUT_OPTIONS_INIT;
    options.random_samples = SAMPLES;
    cr_assert_eq(oxp_samples_open(&b->samples, &b->ctx, b->graph, NULL, NULL, &options), OXP_OK);
    cr_assert_eq(oxp_sites_find(&b->sites, &b->count, &b->arena, b->graph), OXP_OK);
    cr_assert_gt(b->count, 0, "%s has no site", m->name);
    b->choices = oxp_arena_alloc(&b->arena, b->count, sizeof *b->choices);
    b->codes = oxp_arena_alloc(&b->arena, b->count, sizeof *b->codes);
    cr_assert_eq(oxp_codes_make(b->codes, &b->arena, b->sites, b->count, 127), OXP_OK);
}

static void close_bench(bench *b)
{
    oxp_samples_close(&b->samples);
    oxp_arena_free(&b->arena);
    oxp_model_free(b->model);
    cr_expect_eq(b->ctx.budget->used, 0, "%zu bytes are still allocated",
                 (size_t)b->ctx.budget->used);
}

/* Every value that any integer node could need. */
static void calibrate(bench *b)
{
    bool *chosen = oxp_arena_alloc(&b->arena, b->count, sizeof *chosen);
    for (size_t i = 0; i < b->count; i++)
        chosen[i] = b->choices[i].technique != NULL && b->choices[i].technique->needs_data;
    oxp_islands islands;
    cr_assert_eq(oxp_islands_find(&islands, &b->arena, b->graph, b->sites, b->count, chosen),
                 OXP_OK);
    oxp_watch *watches = oxp_arena_alloc(&b->arena, islands.count + 1, sizeof *watches);
    size_t watch_count = 0;
    for (size_t i = 0; i < islands.count; i++) {
        const oxp_quantised *q = &islands.values[i];
        if (q->scale_graph == q->graph_id && q->scale_value == q->value)
            watches[watch_count++] = (oxp_watch){islands.graphs[q->graph_id], q->value};
    }
    oxp_calibration_options options = {.method = OXP_METHOD_MINMAX};
    cr_assert_eq(oxp_calibrate(&b->ranges, &b->arena, b->graph, &b->samples.source, NULL, SAMPLES,
                               watches, watch_count, NULL, 0, &options),
                 OXP_OK, "%s", b->ctx.message);
}

static size_t choose(bench *b, const oxp_technique *t)
{
    size_t chosen = 0;
    for (size_t i = 0; i < b->count; i++) {
        const char *why = NULL;
        bool applies = t->applies(&b->sites[i], &why);
        cr_expect(applies || (why && *why), "%s gives no reason", t->name);
        b->choices[i] = (oxp_choice){.technique = applies ? t : NULL, .limit = 127};
        oxp_params_default(&b->choices[i].params, t->params);
        chosen += applies;
    }
    return chosen;
}

static oxp_status rewrite(oxp_model **out, bench *b, const oxp_technique *t)
{
    const oxp_rewrite r = {.ctx = &b->ctx,
                           .model = b->model,
                           .graph = b->graph,
                           .sites = b->sites,
                           .site_count = b->count,
                           .choices = b->choices,
                           .source = &b->samples.source,
                           .samples = SAMPLES};
    return t->rewrite(out, &r);
}

static void pack(bench *b, const oxp_technique *t, uint8_t **bytes, size_t *size)
{
    oxp_model *out;
    oxp_fits fits;
    const oxp_fit_options options = {.graph = b->graph,
                                     .sites = b->sites,
                                     .site_count = b->count,
                                     .source = &b->samples.source,
                                     .samples = SAMPLES};
    cr_assert_eq(oxp_techniques_fit(&fits, b->choices, &options), OXP_OK, "%s", b->ctx.message);
    cr_assert_eq(t && t->rewrite
                     ? rewrite(&out, b, t)
                     : oxp_edit_apply(&out, b->model, b->choices, b->codes, NULL, &b->ranges),
                 OXP_OK, "%s", b->ctx.message);
    oxp_fits_free(&fits);
    cr_assert_eq(oxp_model_pack(bytes, size, out), OXP_OK, "%s", b->ctx.message);
    oxp_model_free(out);
}

/* Not close on random weights with what it does when it is not told how much; a rewrite may find
 * nothing to do. */
static bool is_strong(const oxp_technique *t)
{
    return t->rewrite || t->stage == OXP_STAGE_PRUNE || t->stage == OXP_STAGE_FACTOR ||
           strcmp(t->name, "codebook") == 0;
}

static void check_close(bench *b, const oxp_technique *t, const char *title, const uint8_t *bytes,
                        size_t size)
{
    oxp_reference reference;
    oxp_difference d[4];
    oxp_model *written;
    oxp_load_options options = {0};
    cr_assert_eq(oxp_model_load_memory(&written, &b->ctx, bytes, size, NULL, &options), OXP_OK,
                 "%s: %s", title, b->ctx.message);
    cr_assert_eq(
        oxp_reference_make(&reference, &b->ctx, b->graph, &b->samples.source, NULL, SAMPLES),
        OXP_OK);
    cr_assert_eq(oxp_evaluate(d, &reference, written, SAMPLES, NULL), OXP_OK, "%s: %s", title,
                 b->ctx.message);
    double db = oxp_least_sqnr(&reference, d), least = strncmp(title, "w4", 2) == 0 ? 12 : 25;
    if (is_strong(t))
        least = 0;
    cr_expect(db > least && (db < 80 || t->rewrite), "%s: %.2f dB", title, db);
    oxp_reference_free(&reference);
    oxp_model_free(written);
}

/* Names of initializers that are in both models must hold the same bytes. */
static void check_untouched(bench *b, const char *title, const uint8_t *bytes, size_t size)
{
    oxp_model *written;
    oxp_arena arena;
    oxp_load_options options = {0};
    cr_assert_eq(oxp_model_load_memory(&written, &b->ctx, bytes, size, NULL, &options), OXP_OK);
    oxp_arena_init(&arena, &b->ctx);
    const oxp_graph_proto *p = oxp_model_graph(b->model), *q = oxp_model_graph(written);
    for (size_t i = 0; i < oxp_graph_proto_initializer_count(p); i++)
        for (size_t k = 0; k < oxp_graph_proto_initializer_count(q); k++) {
            const char *name = oxp_tensor_proto_name(oxp_graph_proto_initializer(p, i));
            oxp_tensor x, y;
            if (strcmp(name, oxp_tensor_proto_name(oxp_graph_proto_initializer(q, k))) != 0)
                continue;
            cr_assert_eq(oxp_tensor_decode(&x, &arena, b->model, oxp_graph_proto_initializer(p, i)),
                         OXP_OK);
            cr_assert_eq(oxp_tensor_decode(&y, &arena, written, oxp_graph_proto_initializer(q, k)),
                         OXP_OK);
            cr_expect(x.dtype == y.dtype && x.count == y.count &&
                          memcmp(x.data, y.data, oxp_tensor_bytes(&x)) == 0,
                      "%s: initializer %s changed", title, name);
        }
    oxp_arena_free(&arena);
    oxp_model_free(written);
}

Test(technique_table, every_row_on_every_small_model)
{
    size_t pairs = 0;
    for (size_t t = 0; t < oxp_technique_count(); t++)
        for (size_t m = 0; m < small_model_count; m++) {
            bench b;
            char title[80];
            uint8_t *first, *second;
            size_t size, again;
            open_bench(&b, &small_models[m]);
            snprintf(title, sizeof title, "%s on %s", oxp_technique_at(t)->name,
                     small_models[m].name);
            if (choose(&b, oxp_technique_at(t))) {
                calibrate(&b);
                pack(&b, oxp_technique_at(t), &first, &size);
                pack(&b, oxp_technique_at(t), &second, &again);
                cr_expect(size == again && memcmp(first, second, size) == 0,
                          "%s: not the same twice", title);
                check_close(&b, oxp_technique_at(t), title, first, size);
                if (!oxp_technique_at(t)->rewrite)
                    check_untouched(&b, title, first, size);
                oxp_free(first);
                oxp_free(second);
                pairs++;
            }
            close_bench(&b);
        }
    cr_expect_geq(pairs, 10);
}

Test(technique_table, nothing_chosen_is_the_identity)
{
    for (size_t m = 0; m < small_model_count; m++) {
        bench b;
        uint8_t *before, *after;
        size_t before_size, after_size;
        open_bench(&b, &small_models[m]);
        pack(&b, NULL, &after, &after_size);
        cr_assert_eq(oxp_model_pack(&before, &before_size, b.model), OXP_OK);
        cr_expect(before_size == after_size && memcmp(before, after, before_size) == 0, "%s",
                  small_models[m].name);
        oxp_free(before);
        oxp_free(after);
        close_bench(&b);
    }
}

Test(technique_table, the_same_bytes_at_any_thread_count)
{
    for (size_t m = 0; m < small_model_count; m++) {
        uint8_t *bytes[3];
        size_t sizes[3];
        for (int k = 0; k < 3; k++) {
            bench b;
            open_bench(&b, &small_models[m]);
            b.ctx.threads = k + 1;
            choose(&b, &oxp_technique_w8a8);
            calibrate(&b);
            pack(&b, &oxp_technique_w8a8, &bytes[k], &sizes[k]);
            uint8_t *kept = malloc(sizes[k]);
            memcpy(kept, bytes[k], sizes[k]);
            oxp_free(bytes[k]);
            bytes[k] = kept;
            close_bench(&b);
        }
        for (int k = 1; k < 3; k++)
            cr_expect(sizes[0] == sizes[k] && memcmp(bytes[0], bytes[k], sizes[0]) == 0,
                      "%s at %d threads", small_models[m].name, k + 1);
        for (int k = 0; k < 3; k++)
            free(bytes[k]);
    }
}
