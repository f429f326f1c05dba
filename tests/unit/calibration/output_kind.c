/* What an output means is read from the node that makes it: class scores behind a product of rank
 * 2, probabilities behind Softmax, anything else is compared as numbers. */
#include <criterion/criterion.h>

#include "calibration/metrics.h"
#include "onnx/edit.h"

static void add(oxp_model *m, const char *type, const char *a, const char *b, const char *out)
{
    const char *inputs[2] = {a, b};
    oxp_graph_proto *g = oxp_model_graph(m);
    oxp_new_node n = {.type = type,
                      .domain = "",
                      .name = "",
                      .input_count = b ? 2 : 1,
                      .output_count = 1,
                      .inputs = inputs,
                      .outputs = &out};
    cr_assert_eq(oxp_edit_insert_node(NULL, m, g, oxp_graph_proto_node_count(g), &n), OXP_OK);
}

/* x[4,4] -> MatMul(w) -> `second` -> `third` (NULL: Identity) -> y. */
static oxp_output_kind kind_behind(const char *second, const char *third)
{
    oxp_ctx ctx;
    oxp_arena arena;
    oxp_model *m;
    oxp_graph *graph;
    oxp_value_info info = {
        .name = "x", .dtype = OXP_FLOAT, .is_tensor = true, .rank = 2, .dims = {4, 4}};
    const float w[16] = {1};
    oxp_ctx_init(&ctx);
    oxp_arena_init(&arena, &ctx);
    cr_assert_eq(oxp_model_new(&m, &ctx, 13), OXP_OK);
    oxp_graph_proto *g = oxp_model_graph(m);
    cr_assert_eq(oxp_edit_add_input(m, g, &info), OXP_OK);
    cr_assert_eq(oxp_edit_add_initializer(m, g, "w", OXP_FLOAT, 2, (int64_t[]){4, 4}, w), OXP_OK);
    info.name = "y";
    cr_assert_eq(oxp_edit_add_output(m, g, &info), OXP_OK);
    add(m, third ? "MatMul" : "Gemm", "x", "w", "p");
    add(m, second, "p", NULL, "q");
    add(m, third ? third : "Identity", "q", NULL, "y");
    cr_assert_eq(oxp_graph_build(&graph, &arena, m), OXP_OK, "%s", ctx.message);
    oxp_output_kind kind = oxp_output_kind_of(graph, graph->outputs[0]);
    oxp_arena_free(&arena);
    oxp_model_free(m);
    return kind;
}

Test(output_kind, is_read_from_the_maker)
{
    cr_expect_eq(kind_behind("Identity", NULL), OXP_KIND_LOGITS);
    cr_expect_eq(kind_behind("Identity", "Identity"), OXP_KIND_LOGITS);
    cr_expect_eq(kind_behind("Relu", NULL), OXP_KIND_GAUSSIAN);
    cr_expect_eq(kind_behind("Relu", "Softmax"), OXP_KIND_PROBABILITIES);
    cr_expect_eq(kind_behind("Softmax", "Identity"), OXP_KIND_PROBABILITIES);
    cr_expect_eq(kind_behind("Relu", "LogSoftmax"), OXP_KIND_LOG_PROBABILITIES);
    cr_expect_eq(kind_behind("Relu", "Sigmoid"), OXP_KIND_BERNOULLI);
    cr_expect_eq(kind_behind("Relu", "Tanh"), OXP_KIND_GAUSSIAN);
}
