/* A Clip, Max or Min behind an integer layer is done by its quantiser: the node goes, the values
 * stay; Add with a Relu behind it is an integer node. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "onnx/save.h"
#include "planner/compress.h"
#include "support/nodes.h"
#include "techniques/islands.h"
#include "util/random.h"

static oxp_ctx ctx;
static oxp_model *model;
static oxp_graph_proto *g;

static void ok(oxp_status status)
{
    cr_assert_eq(status, OXP_OK, "%s %s", ctx.code, ctx.message);
}

static void node(const char *type, size_t count, const char *const *inputs, const char *output)
{
    ok(append_node(model, type, count, inputs, output, NULL));
}

static void weight(const char *name, int64_t outputs, int64_t inputs)
{
    float w[64];
    oxp_random r = oxp_random_make(5, (uint64_t)name[0], 0);
    for (size_t i = 0; i < 64; i++)
        w[i] = (float)oxp_random_uniform(&r) - 0.5f;
    ok(oxp_edit_add_initializer(model, g, name, OXP_FLOAT, 4, (int64_t[]){outputs, inputs, 1, 1},
                                w));
}

static void number(const char *name, float value)
{
    ok(oxp_edit_add_initializer(model, g, name, OXP_FLOAT, 0, NULL, &value));
}

/* x [1, 8, 6, 6] -> Conv a -> LeakyRelu l; what follows is called "m"; m -> Conv y. */
static void begin(void)
{
    oxp_value_info x = {
        .name = "x", .dtype = OXP_FLOAT, .is_tensor = true, .rank = 4, .dims = {1, 8, 6, 6}};
    oxp_ctx_init(&ctx);
    ok(oxp_model_new(&model, &ctx, 13));
    g = oxp_model_graph(model);
    ok(oxp_edit_add_input(model, g, &x));
    weight("w", 8, 8);
    weight("v", 8, 8);
    node("Conv", 2, (const char *[]){"x", "w"}, "a");
    node("LeakyRelu", 1, (const char *[]){"a"}, "l");
}

static void end(void)
{
    oxp_value_info y = {.name = "y", .dtype = OXP_FLOAT, .is_tensor = true, .rank = -1};
    node("Conv", 2, (const char *[]){"m", "v"}, "y");
    ok(oxp_edit_add_output(model, g, &y));
}

static size_t count_type(oxp_model *m, const char *type)
{
    size_t found = 0;
    oxp_graph_proto *p = oxp_model_graph(m);
    for (size_t i = 0; i < oxp_graph_proto_node_count(p); i++)
        found += strcmp(oxp_node_proto_type(oxp_graph_proto_node(p, i)), type) == 0;
    return found;
}

/* Compresses the model with integers everywhere; how often `type` is left, and the SQNR. */
static size_t compress(const char *type, double *sqnr_db)
{
    char path[] = "/tmp/oxp-clamps-XXXXXX";
    oxp_output_file *file;
    oxp_compression job;
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    close(fd);
    ok(oxp_output_open(&file, &ctx, path, &(oxp_output_options){.force = true}));
    ok(oxp_model_write(file, model));
    ok(oxp_output_publish(file));
    oxp_compress_options options = OXP_COMPRESS_OPTIONS_INIT;
    options.precision = "w8a8";
    options.quant_format = "qdq";
    options.input.random_samples = 8;
    options.min_sqnr_db = 0;
    options.dry_run = true;
    ok(oxp_compression_run(&job, &ctx, path, NULL, &options));
    size_t left = count_type(job.result, type);
    *sqnr_db = job.sqnr_db;
    oxp_compression_free(&job);
    unlink(path);
    oxp_model_free(model);
    return left;
}

Test(clamps, a_bound_is_done_by_the_quantiser)
{
    static const struct {
        const char *type, *inputs[3];
        size_t count;
    } forms[] = {{"Max", {"l", "low"}, 2},
                 {"Max", {"low", "l"}, 2},
                 {"Min", {"l", "high"}, 2},
                 {"Clip", {"l", "low", "high"}, 3}};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        double sqnr;
        begin();
        number("low", -0.002f);
        number("high", 0.3f);
        node(forms[i].type, forms[i].count, forms[i].inputs, "m");
        end();
        cr_expect_eq(compress(forms[i].type, &sqnr), 0, "%s is left", forms[i].type);
        cr_expect_gt(sqnr, 25, "%s: %.1f dB", forms[i].type, sqnr);
    }
}

/* Zero has a code always: a bound above it is none that codes can do. */
Test(clamps, a_bound_above_zero_stays)
{
    double sqnr;
    begin();
    number("low", 0.05f);
    node("Max", 2, (const char *[]){"l", "low"}, "m");
    end();
    cr_expect_eq(compress("Max", &sqnr), 1);
    cr_expect_gt(sqnr, 25, "%.1f dB", sqnr);
}

Test(clamps, a_value_that_something_else_reads_keeps_its_clamp)
{
    double sqnr;
    begin();
    number("low", -0.002f);
    node("Max", 2, (const char *[]){"l", "low"}, "m");
    node("Softmax", 1, (const char *[]){"l"}, "z");
    oxp_value_info z = {.name = "z", .dtype = OXP_FLOAT, .is_tensor = true, .rank = -1};
    ok(oxp_edit_add_output(model, g, &z));
    end();
    cr_expect_eq(compress("Max", &sqnr), 1);
}

/* p = Relu(Conv(x)); q = Conv(p); r = Relu(p + q) is read by a Conv: all of it is integers. */
Test(clamps, an_add_joins_through_its_relu)
{
    oxp_arena arena;
    oxp_graph *graph;
    oxp_site *sites;
    size_t count;
    oxp_islands islands;
    begin();
    weight("u", 8, 8);
    node("Conv", 2, (const char *[]){"a", "u"}, "q");
    node("Add", 2, (const char *[]){"a", "q"}, "s");
    node("Relu", 1, (const char *[]){"s"}, "m");
    end();
    oxp_arena_init(&arena, &ctx);
    ok(oxp_graph_build(&graph, &arena, model));
    ok(oxp_sites_find(&sites, &count, &arena, graph));
    cr_assert_eq(count, 3);
    ok(oxp_islands_find(&islands, &arena, graph, sites, count, (bool[]){true, true, true}));
    const oxp_quantised *m = oxp_islands_at(&islands, graph, oxp_graph_find_value(graph, "m"));
    cr_assert(m);
    cr_expect_eq(m->kind, OXP_IN_PLACE);
    oxp_arena_free(&arena);
    oxp_model_free(model);
}
