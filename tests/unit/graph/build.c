/* Building a graph: names, single assignment, order, uses. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "graph/graph.h"
#include "onnx/edit.h"

typedef struct fixture {
    oxp_ctx ctx;
    oxp_arena arena;
    oxp_model *model;
    oxp_graph *graph;
} fixture;

static void start(fixture *f)
{
    oxp_ctx_init(&f->ctx);
    oxp_arena_init(&f->arena, &f->ctx);
    cr_assert_eq(oxp_model_new(&f->model, &f->ctx, 13), OXP_OK);
}

static void stop(fixture *f)
{
    oxp_arena_free(&f->arena);
    oxp_model_free(f->model);
}

static void io(fixture *f, const char *name, bool output)
{
    oxp_value_info info = {
        .name = name, .dtype = OXP_FLOAT, .is_tensor = true, .rank = 1, .dims = {4}};
    oxp_graph_proto *g = oxp_model_graph(f->model);
    cr_assert_eq((output ? oxp_edit_add_output : oxp_edit_add_input)(f->model, g, &info), OXP_OK);
}

static void add(fixture *f, const char *a, const char *b, const char *out)
{
    const char *inputs[2] = {a, b};
    oxp_new_node n = {.type = "Add",
                      .domain = "",
                      .name = out,
                      .input_count = 2,
                      .output_count = 1,
                      .inputs = inputs,
                      .outputs = &out};
    oxp_graph_proto *g = oxp_model_graph(f->model);
    cr_assert_eq(oxp_edit_insert_node(NULL, f->model, g, oxp_graph_proto_node_count(g), &n),
                 OXP_OK);
}

static void expect_failure(fixture *f, const char *code, const char *part)
{
    cr_expect_eq(oxp_graph_build(&f->graph, &f->arena, f->model), OXP_EFORMAT);
    cr_expect_str_eq(f->ctx.code, code, "%s: %s", f->ctx.code, f->ctx.message);
    cr_expect(strstr(f->ctx.message, part) != NULL, "%s", f->ctx.message);
    stop(f);
}

Test(graph, values_know_their_maker_and_their_uses)
{
    fixture f;
    const float w[4] = {1, 2, 3, 4};
    start(&f);
    io(&f, "x", false);
    io(&f, "z", true);
    cr_assert_eq(oxp_edit_add_initializer(f.model, oxp_model_graph(f.model), "w", OXP_FLOAT, 1,
                                          (int64_t[]){4}, w),
                 OXP_OK);
    add(&f, "x", "w", "y");
    add(&f, "y", "y", "z");
    cr_assert_eq(oxp_graph_build(&f.graph, &f.arena, f.model), OXP_OK, "%s", f.ctx.message);
    const oxp_value *x = &f.graph->values[oxp_graph_find_value(f.graph, "x")],
                    *y = &f.graph->values[oxp_graph_find_value(f.graph, "y")];
    const oxp_value *c = &f.graph->values[oxp_graph_find_value(f.graph, "w")];
    cr_expect_eq(x->kind, OXP_VALUE_INPUT);
    cr_expect_eq(y->kind, OXP_VALUE_NODE);
    cr_expect_eq(y->producer, &f.graph->nodes[0]);
    cr_expect_eq(y->use_count, 2);
    cr_expect_eq(c->kind, OXP_VALUE_CONSTANT);
    cr_expect_eq(((const float *)c->constant.data)[2], 3.0f);
    cr_expect_eq(oxp_graph_node_constant(&f.graph->nodes[0], 1), c);
    cr_expect(f.graph->values[f.graph->outputs[0]].is_output);
    stop(&f);
}

Test(graph, a_second_maker_is_refused)
{
    fixture f;
    start(&f);
    io(&f, "x", false);
    io(&f, "y", true);
    add(&f, "x", "x", "y");
    add(&f, "x", "x", "y");
    expect_failure(&f, "E-SSA", "\"y\"");
}

Test(graph, a_name_nobody_defines_is_refused)
{
    fixture f;
    start(&f);
    io(&f, "x", false);
    io(&f, "y", true);
    add(&f, "x", "ghost", "y");
    expect_failure(&f, "E-UNDEF", "\"ghost\"");
}

Test(graph, a_later_maker_is_an_order_error_and_not_a_cycle)
{
    fixture f;
    start(&f);
    io(&f, "x", false);
    io(&f, "z", true);
    add(&f, "x", "y", "z");
    add(&f, "x", "x", "y");
    expect_failure(&f, "E-TOPO", "\"y\"");
}

Test(graph, cycles_of_one_and_of_many_nodes_are_named)
{
    fixture f;
    start(&f);
    io(&f, "x", false);
    io(&f, "y", true);
    add(&f, "x", "y", "y");
    expect_failure(&f, "E-CYCLE", "node 0 (\"Add\") <- node 0");
    start(&f);
    io(&f, "x", false);
    io(&f, "a", true);
    add(&f, "x", "c", "a");
    add(&f, "x", "a", "b");
    add(&f, "x", "b", "c");
    expect_failure(&f, "E-CYCLE",
                   "node 0 (\"Add\") <- node 2 (\"Add\") <- node 1 (\"Add\") <- node 0");
}

Test(graph, a_cycle_behind_a_second_input_is_found)
{
    fixture f;
    start(&f);
    io(&f, "x", false);
    io(&f, "a", true);
    add(&f, "late", "c", "a"); /* "late" is only out of order, "c" is in the cycle */
    add(&f, "x", "x", "late");
    add(&f, "x", "d", "c");
    add(&f, "x", "c", "d");
    expect_failure(&f, "E-CYCLE", "node 2 (\"Add\") <- node 3 (\"Add\") <- node 2");
}

Test(graph, an_output_nobody_makes_is_refused)
{
    fixture f;
    start(&f);
    io(&f, "x", false);
    io(&f, "nothing", true);
    add(&f, "x", "x", "y");
    expect_failure(&f, "E-UNDEF-OUT", "\"nothing\"");
}

Test(graph, two_inputs_of_one_name_are_refused)
{
    fixture f;
    start(&f);
    io(&f, "x", false);
    io(&f, "x", false);
    io(&f, "y", true);
    add(&f, "x", "x", "y");
    expect_failure(&f, "E-DUP-IO", "\"x\"");
}

Test(graph, a_long_chain_takes_linear_time)
{
    fixture f;
    char names[2][16] = {"x", ""};
    start(&f);
    io(&f, "x", false);
    for (int i = 0; i < 20000; i++) {
        snprintf(names[(i + 1) % 2], 16, "v%d", i);
        add(&f, names[i % 2], names[i % 2], names[(i + 1) % 2]);
    }
    io(&f, "v19999", true);
    cr_assert_eq(oxp_graph_build(&f.graph, &f.arena, f.model), OXP_OK, "%s", f.ctx.message);
    cr_expect_eq(f.graph->node_count, 20000);
    stop(&f);
}
