/* Channels by what they cost: the wanted share of the multiplications, whole multiples, the layers
 * that were named alone; solving again helps; the same bytes at any thread count. */
#include "techniques/channels.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "calibration/source.h"
#include "onnx/save.h"
#include "planner/evaluate.h"
#include "support/nodes.h"
#include "util/random.h"

#define SAMPLES 24

typedef struct fixture {
    oxp_ctx ctx;
    oxp_arena arena;
    oxp_model *model;
    oxp_graph *graph;
    oxp_samples samples;
    oxp_site *sites;
    size_t count;
    oxp_choice *choices;
} fixture;

static const char *floats(fixture *f, const char *name, int rank, const int64_t *dims)
{
    size_t count = 1, inner = 1;
    for (int i = 0; i < rank; i++)
        count *= (size_t)dims[i];
    for (int i = 1; i < rank; i++)
        inner *= (size_t)dims[i];
    float *x = oxp_arena_alloc(&f->arena, count, sizeof *x);
    oxp_random r = oxp_random_make(9, count, (uint64_t)name[0]);
    for (size_t i = 0; i < count; i++)
        x[i] = (float)(oxp_random_normal(&r) * sqrt(2 / (double)inner));
    cr_assert_eq(oxp_edit_add_initializer(f->model, oxp_model_graph(f->model), name, OXP_FLOAT,
                                          rank, dims, x),
                 OXP_OK);
    return name;
}

static void conv(fixture *f, const char *x, const char *w, int64_t in, int64_t out, const char *y)
{
    const char *b = oxp_arena_printf(&f->arena, "%s_b", w);
    oxp_node_proto *n;
    floats(f, w, 4, (int64_t[]){out, in, 3, 3});
    floats(f, b, 1, &out);
    cr_assert_eq(append_node(f->model, "Conv", 3, (const char *[]){x, w, b}, y, &n), OXP_OK);
    cr_assert_eq(oxp_edit_set_ints(f->model, n, "pads", 4, (int64_t[]){1, 1, 1, 1}), OXP_OK);
}

static void relu(fixture *f, const char *x, const char *y)
{
    cr_assert_eq(append_node(f->model, "Relu", 1, &x, y, NULL), OXP_OK);
}

/* x -> 32 -> 48 -> 32 (+ the first 32) -> 4 */
static void start(fixture *f)
{
    const char *sum[2] = {"c", "ar"};
    memset(f, 0, sizeof *f);
    oxp_ctx_init(&f->ctx);
    oxp_arena_init(&f->arena, &f->ctx);
    cr_assert_eq(oxp_model_new(&f->model, &f->ctx, 13), OXP_OK);
    oxp_value_info x = {
        .name = "x", .dtype = OXP_FLOAT, .is_tensor = true, .rank = 4, .dims = {1, 3, 8, 8}};
    oxp_value_info y = {
        .name = "y", .dtype = OXP_FLOAT, .is_tensor = true, .rank = 4, .dims = {1, 4, 8, 8}};
    cr_assert_eq(oxp_edit_add_input(f->model, oxp_model_graph(f->model), &x), OXP_OK);
    cr_assert_eq(oxp_edit_add_output(f->model, oxp_model_graph(f->model), &y), OXP_OK);
    conv(f, "x", "wa", 3, 32, "a");
    relu(f, "a", "ar");
    conv(f, "ar", "wb", 32, 48, "b");
    relu(f, "b", "br");
    conv(f, "br", "wc", 48, 32, "c");
    cr_assert_eq(append_node(f->model, "Add", 2, sum, "s", NULL), OXP_OK);
    relu(f, "s", "sr");
    conv(f, "sr", "wd", 32, 4, "y");
    cr_assert_eq(oxp_graph_build(&f->graph, &f->arena, f->model), OXP_OK, "%s", f->ctx.message);
    oxp_input_options options = OXP_INPUT_OPTIONS_INIT;
    options.random_samples = SAMPLES;
    cr_assert_eq(oxp_samples_open(&f->samples, &f->ctx, f->graph, NULL, NULL, &options), OXP_OK);
    cr_assert_eq(oxp_sites_find(&f->sites, &f->count, &f->arena, f->graph), OXP_OK);
    cr_assert_eq(f->count, 4);
    f->choices = oxp_arena_alloc(&f->arena, f->count, sizeof *f->choices);
}

static void stop(fixture *f)
{
    oxp_samples_close(&f->samples);
    oxp_arena_free(&f->arena);
    oxp_model_free(f->model);
    cr_expect_eq(f->ctx.budget->used, 0);
}

static void choose(fixture *f, const char *params)
{
    for (size_t i = 0; i < f->count; i++) {
        const char *why;
        f->choices[i] = (oxp_choice){.technique = &oxp_technique_channels};
        cr_assert(oxp_technique_channels.applies(&f->sites[i], &why));
        cr_assert_eq(oxp_params_parse(&f->choices[i].params, &f->ctx, "channels",
                                      oxp_technique_channels.params, params, strlen(params)),
                     OXP_OK);
    }
}

static oxp_model *rewritten(fixture *f, size_t samples)
{
    oxp_model *out;
    oxp_rewrite r = {.ctx = &f->ctx,
                     .model = f->model,
                     .graph = f->graph,
                     .sites = f->sites,
                     .site_count = f->count,
                     .choices = f->choices,
                     .source = samples ? &f->samples.source : NULL,
                     .samples = samples};
    cr_assert_eq(oxp_technique_channels.rewrite(&out, &r), OXP_OK, "%s", f->ctx.message);
    return out;
}

/* rows and columns of a weight of the model */
static void size_of(fixture *f, oxp_model *m, const char *name, int64_t *rows, int64_t *columns)
{
    oxp_graph *graph;
    cr_assert_eq(oxp_graph_build(&graph, &f->arena, m), OXP_OK, "%s", f->ctx.message);
    const oxp_tensor *t = &graph->values[oxp_graph_find_value(graph, name)].constant;
    *rows = t->dims[0];
    *columns = t->dims[1];
}

static double db_of(fixture *f, oxp_model *m)
{
    oxp_reference reference;
    oxp_difference d[4];
    cr_assert_eq(
        oxp_reference_make(&reference, &f->ctx, f->graph, &f->samples.source, NULL, SAMPLES),
        OXP_OK);
    cr_assert_eq(oxp_evaluate(d, &reference, m, SAMPLES, NULL), OXP_OK, "%s", f->ctx.message);
    double db = oxp_least_sqnr(&reference, d);
    oxp_reference_free(&reference);
    return db;
}

/* Multiplications of a position, from the weights. */
static int64_t macs_of(fixture *f, oxp_model *m)
{
    int64_t sum = 0;
    for (const char *const *w = (const char *const[]){"wa", "wb", "wc", "wd", NULL}; *w; w++) {
        int64_t rows, columns;
        size_of(f, m, *w, &rows, &columns);
        sum += 9 * rows * columns;
    }
    return sum;
}

Test(channels, the_wanted_share_of_multiplications_in_whole_multiples)
{
    fixture f;
    start(&f);
    int64_t before = macs_of(&f, f.model);
    for (int with = 0; with <= 1; with++) {
        choose(&f, "macs=0.6,multiple_of=8");
        oxp_model *m = rewritten(&f, with ? SAMPLES : 0);
        int64_t a, b, c, d, in;
        size_of(&f, m, "wa", &a, &in);
        cr_expect_eq(in, 3);
        size_of(&f, m, "wb", &b, &in);
        cr_expect_eq(in, a);
        size_of(&f, m, "wc", &c, &in);
        cr_expect_eq(in, b);
        cr_expect_eq(c, a);
        size_of(&f, m, "wd", &d, &in);
        cr_expect_eq(in, a);
        cr_expect_eq(d, 4);
        cr_expect(a % 8 == 0 && b % 8 == 0 && a >= 8 && b >= 8, "%d and %d", (int)a, (int)b);
        double share = (double)macs_of(&f, m) / (double)before;
        cr_expect(share <= 0.6 && share > 0.42, "share %g", share);
        oxp_model_free(m);
    }
    stop(&f);
}

Test(channels, a_ratio_is_the_same_everywhere)
{
    fixture f;
    int64_t rows, columns;
    start(&f);
    choose(&f, "ratio=0.5");
    oxp_model *m = rewritten(&f, SAMPLES);
    size_of(&f, m, "wb", &rows, &columns);
    cr_expect_eq(rows, 24);
    cr_expect_eq(columns, 16);
    oxp_model_free(m);
    stop(&f);
}

Test(channels, all_of_it_is_the_identity)
{
    fixture f;
    start(&f);
    choose(&f, "macs=1");
    oxp_model *m = rewritten(&f, SAMPLES);
    cr_expect_eq(macs_of(&f, m), macs_of(&f, f.model));
    cr_expect_gt(db_of(&f, m), 150);
    oxp_model_free(m);
    stop(&f);
}

Test(channels, layers_that_were_not_named_stay)
{
    fixture f;
    int64_t rows, columns;
    start(&f);
    choose(&f, "ratio=0.5");
    f.choices[1].technique = NULL; /* wb makes the 48, reads the 32 */
    oxp_model *m = rewritten(&f, SAMPLES);
    size_of(&f, m, "wb", &rows, &columns);
    cr_expect(rows == 48 && columns == 32, "[%d, %d]", (int)rows, (int)columns);
    cr_expect_eq(macs_of(&f, m), macs_of(&f, f.model));
    oxp_model_free(m);
    stop(&f);
}

/* Channels that copy others cost nothing when the layers behind are solved again. */
Test(channels, solving_again_helps)
{
    fixture f;
    start(&f);
    choose(&f, "macs=0.6,repair=off");
    oxp_model *off = rewritten(&f, SAMPLES);
    choose(&f, "macs=0.6,repair=on");
    oxp_model *on = rewritten(&f, SAMPLES);
    double without = db_of(&f, off), with = db_of(&f, on);
    cr_expect_eq(macs_of(&f, on), macs_of(&f, off));
    cr_expect_gt(with, without + 2, "%.2f dB and %.2f dB", with, without);
    oxp_model_free(off);
    oxp_model_free(on);
    stop(&f);
}

Test(channels, gradients_find_what_counts_little)
{
    fixture f;
    start(&f);
    choose(&f, "macs=0.6,repair=off");
    oxp_model *by_weights = rewritten(&f, 0), *by_gradients = rewritten(&f, SAMPLES);
    double weights = db_of(&f, by_weights), gradients = db_of(&f, by_gradients);
    cr_expect_gt(gradients, weights, "%.2f dB and %.2f dB", gradients, weights);
    oxp_model_free(by_weights);
    oxp_model_free(by_gradients);
    stop(&f);
}

Test(channels, the_same_bytes_at_any_thread_count)
{
    fixture f;
    uint8_t *bytes[2];
    size_t sizes[2];
    start(&f);
    choose(&f, "macs=0.6");
    for (int k = 0; k < 2; k++) {
        f.ctx.threads = k ? 3 : 1;
        oxp_model *m = rewritten(&f, SAMPLES);
        cr_assert_eq(oxp_model_pack(&bytes[k], &sizes[k], m), OXP_OK);
        oxp_model_free(m);
    }
    cr_expect(sizes[0] == sizes[1] && memcmp(bytes[0], bytes[1], sizes[0]) == 0);
    oxp_free(bytes[0]);
    oxp_free(bytes[1]);
    stop(&f);
}
