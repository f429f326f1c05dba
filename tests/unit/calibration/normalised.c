/* Embeddings are told by the division by their own norm, in the spellings of the exporters. */
#include "calibration/normalised.h"

#include <criterion/criterion.h>

#include "onnx/edit.h"
#include "support/nodes.h"

typedef struct step { /* a node: its inputs, its output */
    const char *type, *a, *b, *out;
} step;

/* x [2, 4] -> p = x w -> the steps -> y; is y normalised? Constants: w, two, small, last, first. */
static bool behind(const step *steps, size_t count)
{
    oxp_ctx ctx;
    oxp_arena arena;
    oxp_model *m;
    oxp_graph *graph;
    const float w[16] = {1}, two = 2, small = 1e-12f;
    const int64_t last = 1, first = 0;
    oxp_value_info info = {
        .name = "x", .dtype = OXP_FLOAT, .is_tensor = true, .rank = 2, .dims = {2, 4}};
    oxp_ctx_init(&ctx);
    oxp_arena_init(&arena, &ctx);
    cr_assert_eq(oxp_model_new(&m, &ctx, 18), OXP_OK);
    oxp_graph_proto *g = oxp_model_graph(m);
    cr_assert_eq(oxp_edit_add_input(m, g, &info), OXP_OK);
    info.name = "y";
    cr_assert_eq(oxp_edit_add_output(m, g, &info), OXP_OK);
    oxp_edit_add_initializer(m, g, "w", OXP_FLOAT, 2, (int64_t[]){4, 4}, w);
    oxp_edit_add_initializer(m, g, "two", OXP_FLOAT, 0, NULL, &two);
    oxp_edit_add_initializer(m, g, "small", OXP_FLOAT, 0, NULL, &small);
    oxp_edit_add_initializer(m, g, "last", OXP_INT64, 1, (int64_t[]){1}, &last);
    oxp_edit_add_initializer(m, g, "first", OXP_INT64, 1, (int64_t[]){1}, &first);
    cr_assert_eq(append_node(m, "MatMul", 2, (const char *[]){"x", "w"}, "p", NULL), OXP_OK);
    for (size_t i = 0; i < count; i++)
        cr_assert_eq(append_node(m, steps[i].type, steps[i].b ? 2 : 1,
                                 (const char *[]){steps[i].a, steps[i].b}, steps[i].out, NULL),
                     OXP_OK);
    cr_assert_eq(oxp_graph_build(&graph, &arena, m), OXP_OK, "%s", ctx.message);
    bool found = oxp_is_normalised(graph, graph->outputs[0]);
    oxp_arena_free(&arena);
    oxp_model_free(m);
    return found;
}

#define BEHIND(...) \
    behind((const step[]){__VA_ARGS__}, sizeof((const step[]){__VA_ARGS__}) / sizeof(step))

Test(normalised, every_spelling_is_found)
{
    cr_expect(BEHIND({"LpNormalization", "p", NULL, "y"}));
    cr_expect(BEHIND({"ReduceL2", "p", "last", "n"}, {"Clip", "n", "small", "c"},
                     {"Div", "p", "c", "y"}));
    cr_expect(BEHIND({"ReduceSumSquare", "p", "last", "s"}, {"Sqrt", "s", NULL, "n"},
                     {"Div", "p", "n", "q"}, {"Identity", "q", NULL, "y"}));
    cr_expect(BEHIND({"Mul", "p", "p", "s"}, {"ReduceSum", "s", "last", "t"},
                     {"Add", "small", "t", "u"}, {"Sqrt", "u", NULL, "n"}, {"Div", "p", "n", "y"}));
    cr_expect(BEHIND({"Pow", "p", "two", "s"}, {"ReduceSum", "s", "last", "t"},
                     {"Max", "t", "small", "u"}, {"Sqrt", "u", NULL, "n"},
                     {"Reciprocal", "n", NULL, "r"}, {"Mul", "p", "r", "y"}));
}

Test(normalised, other_divisions_are_not)
{
    cr_expect_not(BEHIND({"Div", "p", "two", "y"}));
    cr_expect_not(BEHIND({"ReduceL2", "p", "first", "n"}, {"Div", "p", "n", "y"}));
    cr_expect_not(BEHIND({"ReduceL2", "x", "last", "n"}, {"Div", "p", "n", "y"}));
    cr_expect_not(BEHIND({"ReduceSumSquare", "p", "last", "s"}, {"Div", "p", "s", "y"}));
    cr_expect_not(BEHIND({"ReduceL2", "p", "last", "n"}, {"Mul", "p", "n", "y"}));
    cr_expect_not(
        BEHIND({"ReduceSum", "p", "last", "s"}, {"Sqrt", "s", NULL, "n"}, {"Div", "p", "n", "y"}));
}
