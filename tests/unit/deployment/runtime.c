/* What ONNX Runtime is taken to execute: folding, fusion, bytes in the form that is read. */
#include "deployment/runtime.h"

#include <criterion/criterion.h>
#include <string.h>

#include "onnx/edit.h"
#include "support/nodes.h"

typedef struct fixture {
    oxp_ctx ctx;
    oxp_arena arena;
    oxp_model *model;
    oxp_runtime runtime;
} fixture;

enum { N = 4, K = 8, M = 16 };

static oxp_status get(void *user, oxp_ctx *ctx, size_t index, oxp_tensor *inputs)
{
    (void)user;
    (void)index;
    OXP_TRY(oxp_tensor_shape(inputs, ctx, OXP_FLOAT, 2, (int64_t[]){N, K}, "x"));
    OXP_TRY(oxp_tensor_alloc(inputs, ctx, "x"));
    memset(inputs->data, 0, oxp_tensor_bytes(inputs));
    return OXP_OK;
}

static void io(fixture *f, const char *name, int64_t columns, bool output)
{
    oxp_value_info info = {
        .name = name, .dtype = OXP_FLOAT, .is_tensor = true, .rank = 2, .dims = {N, columns}};
    oxp_graph_proto *g = oxp_model_graph(f->model);
    cr_assert_eq((output ? oxp_edit_add_output : oxp_edit_add_input)(f->model, g, &info), OXP_OK);
}

static void constant(fixture *f, const char *name, oxp_dtype dtype, int rank, const int64_t *dims,
                     const void *data)
{
    cr_assert_eq(oxp_edit_add_initializer(f->model, oxp_model_graph(f->model), name, dtype, rank,
                                          dims, data),
                 OXP_OK);
}

static void node(fixture *f, const char *type, size_t count, const char *const *inputs,
                 const char *out)
{
    cr_assert_eq(append_node(f->model, type, count, inputs, out, NULL), OXP_OK);
}

static void start(fixture *f)
{
    memset(f, 0, sizeof *f);
    oxp_ctx_init(&f->ctx);
    oxp_arena_init(&f->arena, &f->ctx);
    cr_assert_eq(oxp_model_new(&f->model, &f->ctx, 13), OXP_OK);
    io(f, "x", K, false);
    io(f, "y", M, true);
}

static void look(fixture *f)
{
    oxp_graph *graph;
    oxp_source source = {1, NULL, get};
    cr_assert_eq(oxp_graph_build(&graph, &f->arena, f->model), OXP_OK, "%s", f->ctx.message);
    cr_assert_eq(oxp_runtime_make(&f->runtime, &f->arena, graph, &source), OXP_OK, "%s",
                 f->ctx.message);
}

static void stop(fixture *f)
{
    oxp_arena_free(&f->arena);
    oxp_model_free(f->model);
}

Test(runtime, stored_weights_are_float_when_running)
{
    static const int8_t codes[K * M] = {1};
    static const float scale[1] = {0.5f};
    fixture f;
    start(&f);
    constant(&f, "q", OXP_INT8, 2, (int64_t[]){K, M}, codes);
    constant(&f, "s", OXP_FLOAT, 1, (int64_t[]){1}, scale);
    node(&f, "Cast", 1, (const char *[]){"q"}, "c");
    cr_assert_eq(oxp_edit_set_int(f.model, oxp_graph_proto_node(oxp_model_graph(f.model), 0), "to",
                                  OXP_FLOAT),
                 OXP_OK);
    node(&f, "Mul", 2, (const char *[]){"c", "s"}, "w");
    node(&f, "MatMul", 2, (const char *[]){"x", "w"}, "h");
    node(&f, "Relu", 1, (const char *[]){"h"}, "y");
    look(&f);
    cr_assert_eq(f.runtime.count, 2); /* the product and the Relu, which no MatMul takes along */
    const oxp_runtime_node *n = &f.runtime.nodes[0];
    cr_expect_str_eq(n->node->type, "MatMul");
    cr_expect_eq(n->macs, N * K * M);
    cr_expect_eq(n->operations, 2 * N * K * M);
    cr_expect_eq(n->weight_bytes, 4 * K * M);
    cr_expect_eq(n->read_bytes, 4 * N * K);
    cr_expect_eq(n->write_bytes, 4 * N * M);
    cr_expect_eq(f.runtime.weight_bytes, 4 * K * M);
    cr_expect_not(n->in_integers);
    cr_expect_eq(f.runtime.batch, N);
    stop(&f);
}

Test(runtime, codes_in_and_codes_out_is_one_integer_node)
{
    static const int8_t codes[K * M] = {1}, zero8[1] = {0};
    static const uint8_t zero[1] = {0};
    static const float scale[1] = {0.5f};
    fixture f;
    start(&f);
    constant(&f, "q", OXP_INT8, 2, (int64_t[]){K, M}, codes);
    constant(&f, "s", OXP_FLOAT, 0, NULL, scale);
    constant(&f, "z", OXP_UINT8, 0, NULL, zero);
    constant(&f, "z8", OXP_INT8, 0, NULL, zero8);
    node(&f, "QuantizeLinear", 3, (const char *[]){"x", "s", "z"}, "xq");
    node(&f, "DequantizeLinear", 3, (const char *[]){"xq", "s", "z"}, "xd");
    node(&f, "DequantizeLinear", 3, (const char *[]){"q", "s", "z8"}, "w");
    node(&f, "MatMul", 2, (const char *[]){"xd", "w"}, "h");
    node(&f, "QuantizeLinear", 3, (const char *[]){"h", "s", "z"}, "hq");
    node(&f, "DequantizeLinear", 3, (const char *[]){"hq", "s", "z"}, "y");
    look(&f);
    cr_assert_eq(f.runtime.count, 3); /* quantise, product, dequantise */
    const oxp_runtime_node *n = &f.runtime.nodes[1];
    cr_expect_str_eq(n->node->type, "MatMul");
    cr_expect(n->in_integers);
    cr_expect_eq(n->work, OXP_WORK_DENSE_INT8);
    cr_expect_eq(n->weight_bytes, K * M);
    cr_expect_eq(n->read_bytes, N * K);
    cr_expect_eq(n->write_bytes, N * M);
    stop(&f);
}

Test(runtime, a_dequantiser_on_a_weight_runs_every_time)
{
    static const int8_t codes[K * M] = {1}, zero8[1] = {0};
    static const float scale[1] = {0.5f};
    fixture f;
    start(&f);
    constant(&f, "q", OXP_INT8, 2, (int64_t[]){K, M}, codes);
    constant(&f, "s", OXP_FLOAT, 0, NULL, scale);
    constant(&f, "z8", OXP_INT8, 0, NULL, zero8);
    node(&f, "DequantizeLinear", 3, (const char *[]){"q", "s", "z8"}, "w");
    node(&f, "MatMul", 2, (const char *[]){"x", "w"}, "y");
    look(&f);
    cr_assert_eq(f.runtime.count, 2);
    cr_expect_str_eq(f.runtime.nodes[0].node->type, "DequantizeLinear");
    cr_expect_eq(f.runtime.nodes[0].weight_bytes, K * M + 4 + 1);
    cr_expect_not(f.runtime.nodes[1].in_integers);
    stop(&f);
}

Test(runtime, the_most_that_is_alive)
{
    static const float w[K * M] = {1};
    fixture f;
    start(&f);
    constant(&f, "w", OXP_FLOAT, 2, (int64_t[]){K, M}, w);
    node(&f, "MatMul", 2, (const char *[]){"x", "w"}, "a");
    node(&f, "Relu", 1, (const char *[]){"a"}, "b");
    node(&f, "Neg", 1, (const char *[]){"b"}, "c");
    node(&f, "Mul", 2, (const char *[]){"c", "a"}, "y"); /* a lives until here */
    look(&f);
    cr_expect_eq(f.runtime.activation_bytes, 3 * 4 * N * M);
    stop(&f);
}
