/* Layers beside what the model quantises itself: its pairs are taken as they are, with their scale;
 * what cannot be taken is left alone with a reason. */
#include "calibration/given.h"

#include <criterion/criterion.h>
#include <string.h>

#include "techniques/islands.h"
#include "techniques/technique.h"

enum { C = 4, SIDE = 5 };

typedef struct fixture {
    oxp_ctx ctx;
    oxp_arena arena;
    oxp_model *model;
    oxp_graph *graph;
    oxp_site *sites;
    size_t count;
} fixture;

static void put(oxp_model *m, const char *type, const char *a, const char *b, const char *c,
                const char *output)
{
    const char *inputs[3] = {a, b, c};
    oxp_graph_proto *g = oxp_model_graph(m);
    oxp_new_node n = {.type = type,
                      .domain = "",
                      .name = output,
                      .input_count = c   ? 3
                                     : b ? 2
                                         : 1,
                      .output_count = 1,
                      .inputs = inputs,
                      .outputs = &output};
    cr_assert_eq(oxp_edit_insert_node(NULL, m, g, oxp_graph_proto_node_count(g), &n), OXP_OK);
}

static void constant(oxp_model *m, const char *name, oxp_dtype dtype, int rank, int64_t dim,
                     const void *data)
{
    cr_assert_eq(oxp_edit_add_initializer(m, oxp_model_graph(m), name, dtype, rank, &dim, data),
                 OXP_OK);
}

static void add_io(oxp_model *m, const char *name, bool output)
{
    oxp_value_info info = {
        .name = name, .dtype = OXP_FLOAT, .is_tensor = true, .rank = 4, .dims = {1, C, SIDE, SIDE}};
    oxp_graph_proto *g = oxp_model_graph(m);
    cr_assert_eq((output ? oxp_edit_add_output : oxp_edit_add_input)(m, g, &info), OXP_OK);
}

/* x -> Q -> DQ "in" -> Conv "c" -> Relu "r" -> Q -> DQ -> y. `codes`: UINT8, INT8 or UINT16;
 * `scales`: 1, or C of them. */
static void start(fixture *f, oxp_dtype codes, int64_t scales)
{
    float scale[C] = {0.02f, 0.02f, 0.02f, 0.02f}, w[C * C];
    uint8_t zeros[2 * C] = {0};
    for (size_t i = 0; i < C * C; i++)
        w[i] = 0.3f - 0.04f * (float)i;
    memset(f, 0, sizeof *f);
    oxp_ctx_init(&f->ctx);
    oxp_arena_init(&f->arena, &f->ctx);
    cr_assert_eq(oxp_model_new(&f->model, &f->ctx, 13), OXP_OK);
    oxp_model *m = f->model;
    add_io(m, "x", false);
    add_io(m, "y", true);
    constant(m, "s", OXP_FLOAT, scales > 1 ? 1 : 0, scales, scale);
    constant(m, "z", codes, scales > 1 ? 1 : 0, scales, zeros);
    cr_assert_eq(oxp_edit_add_initializer(m, oxp_model_graph(m), "w", OXP_FLOAT, 4,
                                          (int64_t[]){C, C, 1, 1}, w),
                 OXP_OK);
    put(m, "QuantizeLinear", "x", "s", "z", "xq");
    put(m, "DequantizeLinear", "xq", "s", "z", "in");
    put(m, "Conv", "in", "w", NULL, "c");
    put(m, "Relu", "c", NULL, NULL, "r");
    put(m, "QuantizeLinear", "r", "s", "z", "rq");
    put(m, "DequantizeLinear", "rq", "s", "z", "y");
    cr_assert_eq(oxp_graph_build(&f->graph, &f->arena, m), OXP_OK, "%s", f->ctx.message);
    cr_assert_eq(oxp_sites_find(&f->sites, &f->count, &f->arena, f->graph), OXP_OK);
    cr_assert_eq(f->count, 1);
}

static void stop(fixture *f)
{
    oxp_arena_free(&f->arena);
    oxp_model_free(f->model);
}

static uint32_t id(const fixture *f, const char *name)
{
    return oxp_graph_find_value(f->graph, name);
}

Test(given, a_pair_with_one_scale_is_taken)
{
    fixture f;
    oxp_given given;
    start(&f, OXP_UINT8, 1);
    cr_expect(oxp_given_input(&given, f.graph, id(&f, "in")));
    cr_expect_eq(given.dtype, OXP_UINT8);
    cr_expect_float_eq(given.scale.scale, 0.02f, 1e-9);
    cr_expect_eq(given.scale.zero_point, 0);
    cr_expect(oxp_given_output(&given, f.graph, id(&f, "r")));
    cr_expect_not(oxp_given_output(&given, f.graph, id(&f, "c")), "a Relu reads it");
    cr_expect_not(oxp_is_dequantised(f.graph, id(&f, "x")));
    stop(&f);
}

Test(given, s8_codes_are_the_same_grid_in_u8)
{
    fixture f;
    oxp_given given;
    start(&f, OXP_INT8, 1);
    cr_expect(oxp_given_input(&given, f.graph, id(&f, "in")));
    cr_expect_eq(given.dtype, OXP_INT8);
    cr_expect_eq(given.scale.zero_point, 128);
    stop(&f);
}

Test(given, scales_per_channel_and_wide_codes_are_not)
{
    fixture f;
    oxp_given given;
    start(&f, OXP_UINT8, C);
    cr_expect_not(oxp_given_input(&given, f.graph, id(&f, "in")));
    cr_expect(oxp_is_dequantised(f.graph, id(&f, "in")));
    stop(&f);
    start(&f, OXP_UINT16, 1);
    cr_expect_not(oxp_given_input(&given, f.graph, id(&f, "in")));
    stop(&f);
}

Test(given, w8a8_takes_u8_and_leaves_the_rest_with_a_reason)
{
    static const struct {
        oxp_dtype codes;
        int64_t scales;
        bool taken;
    } cases[] = {
        {OXP_UINT8, 1, true}, {OXP_UINT8, C, false}, {OXP_INT8, 1, false}, {OXP_UINT16, 1, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fixture f;
        const char *why = NULL;
        start(&f, cases[i].codes, cases[i].scales);
        cr_expect_eq(oxp_technique_w8a8.applies(&f.sites[0], &why), cases[i].taken, "case %zu", i);
        cr_expect(cases[i].taken || (why && *why), "case %zu gives no reason", i);
        stop(&f);
    }
}

static size_t count_nodes(const oxp_graph *g, const char *type)
{
    size_t found = 0;
    for (size_t n = 0; n < g->node_count; n++)
        found += strcmp(g->nodes[n].type, type) == 0;
    return found;
}

/* The layer's weight gets its codes; no pair comes to those of the model. */
Test(given, nothing_is_quantised_twice)
{
    fixture f;
    start(&f, OXP_UINT8, 1);
    bool chosen[1] = {true};
    oxp_islands islands;
    cr_assert_eq(oxp_islands_find(&islands, &f.arena, f.graph, f.sites, 1, chosen), OXP_OK);
    const oxp_quantised *q = oxp_islands_at(&islands, f.graph, id(&f, "in"));
    cr_assert_not_null(q);
    cr_expect_eq(q->kind, OXP_GIVEN);
    cr_expect_null(oxp_islands_at(&islands, f.graph, id(&f, "r")));
    oxp_ranges ranges = {.count = 1, .graph_count = 1};
    oxp_given given;
    cr_assert(oxp_given_input(&given, f.graph, id(&f, "in")));
    ranges.items = oxp_arena_alloc(&f.arena, 1, sizeof *ranges.items);
    ranges.index = oxp_arena_alloc(&f.arena, 1, sizeof *ranges.index);
    ranges.index[0] = oxp_arena_alloc(&f.arena, f.graph->value_count, sizeof **ranges.index);
    ranges.items[0] = (oxp_range){.value = id(&f, "in"), .fixed = true, .scale = given.scale};
    ranges.index[0][id(&f, "in")] = 1;
    oxp_codes codes[1];
    oxp_choice choice = {.technique = &oxp_technique_w8a8, .limit = 127};
    oxp_model *out;
    oxp_graph *made;
    memset(codes, 0, sizeof codes);
    cr_assert_eq(oxp_codes_make(codes, &f.arena, f.sites, 1, 127), OXP_OK);
    cr_assert_eq(oxp_edit_apply(&out, f.model, &choice, codes, NULL, &ranges), OXP_OK, "%s",
                 f.ctx.message);
    cr_assert_eq(oxp_graph_build(&made, &f.arena, out), OXP_OK, "%s", f.ctx.message);
    cr_expect_eq(count_nodes(made, "QuantizeLinear"), 2);
    cr_expect_eq(count_nodes(made, "DequantizeLinear"), 3, "two of the model, one of the weight");
    oxp_model_free(out);
    stop(&f);
}

/* x -> DynamicQuantizeLinear, whose codes nobody reads yet; x -> MatMul with a float weight. */
Test(given, a_dynamic_quantiser_of_the_model_serves_the_product)
{
    fixture f;
    float w[SIDE * SIDE];
    const char *x = "x", *outputs[3] = {"codes", "scale", "zero"};
    for (size_t i = 0; i < SIDE * SIDE; i++)
        w[i] = 0.3f - 0.02f * (float)i;
    memset(&f, 0, sizeof f);
    oxp_ctx_init(&f.ctx);
    oxp_arena_init(&f.arena, &f.ctx);
    cr_assert_eq(oxp_model_new(&f.model, &f.ctx, 13), OXP_OK);
    add_io(f.model, "x", false);
    add_io(f.model, "y", true);
    oxp_graph_proto *g = oxp_model_graph(f.model);
    cr_assert_eq(
        oxp_edit_add_initializer(f.model, g, "w", OXP_FLOAT, 2, (int64_t[]){SIDE, SIDE}, w),
        OXP_OK);
    oxp_new_node quantiser = {.type = "DynamicQuantizeLinear",
                              .domain = "",
                              .name = "q",
                              .input_count = 1,
                              .output_count = 3,
                              .inputs = &x,
                              .outputs = outputs};
    cr_assert_eq(oxp_edit_insert_node(NULL, f.model, g, 0, &quantiser), OXP_OK);
    put(f.model, "MatMul", "x", "w", NULL, "y");
    cr_assert_eq(oxp_graph_build(&f.graph, &f.arena, f.model), OXP_OK, "%s", f.ctx.message);
    cr_assert_eq(oxp_sites_find(&f.sites, &f.count, &f.arena, f.graph), OXP_OK);
    cr_assert_eq(f.count, 1);
    oxp_codes codes[1];
    oxp_choice choice = {.technique = &oxp_technique_dynamic, .limit = 127};
    oxp_model *out;
    oxp_graph *made;
    memset(codes, 0, sizeof codes);
    cr_assert_eq(oxp_codes_make(codes, &f.arena, f.sites, 1, 127), OXP_OK);
    cr_assert_eq(oxp_edit_apply(&out, f.model, &choice, codes, NULL, NULL), OXP_OK, "%s",
                 f.ctx.message);
    cr_assert_eq(oxp_graph_build(&made, &f.arena, out), OXP_OK, "%s", f.ctx.message);
    cr_expect_eq(count_nodes(made, "DynamicQuantizeLinear"), 1);
    cr_expect_eq(count_nodes(made, "MatMulInteger"), 1);
    oxp_model_free(out);
    stop(&f);
}
