/* x * HardSigmoid(x) behind an integer Conv gets a depthwise Conv of ones that takes it in, where
 * float Convs read the product and nothing else reads x; the answers stay. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "onnx/save.h"
#include "planner/compress.h"
#include "support/nodes.h"
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

static void output(const char *name)
{
    oxp_value_info info = {.name = name, .dtype = OXP_FLOAT, .is_tensor = true, .rank = -1};
    ok(oxp_edit_add_output(model, g, &info));
}

/* x [1, 8, 6, 6] -> Conv a; m = a * HardSigmoid(a); m -> Conv y. */
static void build(void)
{
    oxp_value_info x = {
        .name = "x", .dtype = OXP_FLOAT, .is_tensor = true, .rank = 4, .dims = {1, 8, 6, 6}};
    float w[64];
    oxp_random r = oxp_random_make(5, 6, 7);
    for (size_t i = 0; i < 64; i++)
        w[i] = (float)oxp_random_uniform(&r) - 0.5f;
    oxp_ctx_init(&ctx);
    ok(oxp_model_new(&model, &ctx, 13));
    g = oxp_model_graph(model);
    ok(oxp_edit_add_input(model, g, &x));
    ok(oxp_edit_add_initializer(model, g, "w", OXP_FLOAT, 4, (int64_t[]){8, 8, 1, 1}, w));
    ok(oxp_edit_add_initializer(model, g, "v", OXP_FLOAT, 4, (int64_t[]){8, 8, 1, 1}, w));
    node("Conv", 2, (const char *[]){"x", "w"}, "a");
    node("HardSigmoid", 1, (const char *[]){"a"}, "h");
    node("Mul", 2, (const char *[]){"a", "h"}, "m");
    node("Conv", 2, (const char *[]){"m", "v"}, "y");
    output("y");
}

/* How many Convs the result has, with the last one as `last` says. */
static size_t convs(const char *last, double *sqnr_db)
{
    char path[] = "/tmp/oxp-swish-XXXXXX";
    oxp_output_file *file;
    oxp_compression job;
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    close(fd);
    ok(oxp_output_open(&file, &ctx, path, &(oxp_output_options){.force = true}));
    ok(oxp_model_write(file, model));
    ok(oxp_output_publish(file));
    oxp_compress_options options = OXP_COMPRESS_OPTIONS_INIT;
    const char *layers[2] = {last, NULL};
    options.precision = "w8a8";
    options.quant_format = "qdq";
    options.cpu = "arm"; /* no other 1x1 Conv comes from keeping blocks */
    options.input.random_samples = 8;
    options.layers = layers;
    options.min_sqnr_db = 0;
    options.dry_run = true;
    ok(oxp_compression_run(&job, &ctx, path, NULL, &options));
    size_t found = 0;
    oxp_graph_proto *p = oxp_model_graph(job.result);
    for (size_t i = 0; i < oxp_graph_proto_node_count(p); i++)
        found += strcmp(oxp_node_proto_type(oxp_graph_proto_node(p, i)), "Conv") == 0;
    *sqnr_db = job.sqnr_db;
    oxp_compression_free(&job);
    unlink(path);
    oxp_model_free(model);
    return found;
}

Test(hard_swish_blocks, a_float_reader_gets_one_from_a_conv)
{
    double sqnr;
    build();
    cr_expect_eq(convs("y=float", &sqnr), 3);
    cr_expect_gt(sqnr, 25, "%.1f dB", sqnr);
}

Test(hard_swish_blocks, an_integer_reader_does_not)
{
    double sqnr;
    build();
    cr_expect_eq(convs("y=w8a8", &sqnr), 2);
}

Test(hard_swish_blocks, nor_where_something_else_reads_x)
{
    double sqnr;
    build();
    output("a");
    cr_expect_eq(convs("y=float", &sqnr), 2);
}
