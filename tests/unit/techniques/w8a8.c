/* Biases of integer layers: int32 codes of scale x_scale * w_scale; one that would overflow raises
 * its channel's weight scale, and that channel's alone. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "techniques/technique.h"

enum { K = 16, N = 4 };

static void add_io(oxp_model *m, const char *name, int64_t columns, bool output)
{
    oxp_value_info info = {
        .name = name, .dtype = OXP_FLOAT, .is_tensor = true, .rank = 2, .dims = {1, columns}};
    oxp_graph_proto *g = oxp_model_graph(m);
    cr_assert_eq((output ? oxp_edit_add_output : oxp_edit_add_input)(m, g, &info), OXP_OK);
}

static oxp_model *gemm(oxp_ctx *ctx, const float *bias)
{
    oxp_model *m;
    float w[K * N];
    const char *inputs[3] = {"x", "w", "b"}, *output = "y";
    for (size_t i = 0; i < K * N; i++)
        w[i] = 0.5f - (float)i / (K * N);
    cr_assert_eq(oxp_model_new(&m, ctx, 13), OXP_OK);
    add_io(m, "x", K, false);
    add_io(m, "y", N, true);
    oxp_graph_proto *g = oxp_model_graph(m);
    cr_assert_eq(oxp_edit_add_initializer(m, g, "w", OXP_FLOAT, 2, (int64_t[]){K, N}, w), OXP_OK);
    cr_assert_eq(oxp_edit_add_initializer(m, g, "b", OXP_FLOAT, 1, (int64_t[]){N}, bias), OXP_OK);
    oxp_new_node n = {.type = "Gemm",
                      .domain = "",
                      .name = "n",
                      .input_count = 3,
                      .output_count = 1,
                      .inputs = inputs,
                      .outputs = &output};
    cr_assert_eq(oxp_edit_insert_node(NULL, m, g, 0, &n), OXP_OK);
    return m;
}

/* The ranges that calibration would give: x in [-1, 1]. */
static oxp_ranges ranges_of_x(oxp_arena *arena, const oxp_graph *graph)
{
    oxp_ranges r = {.count = 1, .graph_count = 1};
    uint32_t x = oxp_graph_find_value(graph, "x");
    r.items = oxp_arena_alloc(arena, 1, sizeof *r.items);
    r.index = oxp_arena_alloc(arena, 1, sizeof *r.index);
    r.index[0] = oxp_arena_alloc(arena, graph->value_count, sizeof **r.index);
    r.items[0] = (oxp_range){.value = x, .scale = oxp_scale_for_range(-1, 1, 255)};
    r.index[0][x] = 1;
    return r;
}

/* The first INT32 vector of N numbers with anything in it: the bias. */
static const int32_t *bias_codes(const oxp_graph *graph)
{
    for (size_t v = 0; v < graph->value_count; v++) {
        const oxp_tensor *t = &graph->values[v].constant;
        if (graph->values[v].kind != OXP_VALUE_CONSTANT || t->dtype != OXP_INT32 || t->count != N)
            continue;
        const int32_t *codes = t->data;
        for (size_t i = 0; i < N; i++)
            if (codes[i])
                return codes;
    }
    return NULL;
}

static void check(const float *bias, bool overflows)
{
    oxp_ctx ctx;
    oxp_arena arena;
    oxp_graph *graph, *made;
    oxp_site *sites;
    size_t count;
    oxp_model *out;
    oxp_ctx_init(&ctx);
    oxp_arena_init(&arena, &ctx);
    oxp_model *m = gemm(&ctx, bias);
    cr_assert_eq(oxp_graph_build(&graph, &arena, m), OXP_OK);
    cr_assert_eq(oxp_sites_find(&sites, &count, &arena, graph), OXP_OK);
    oxp_codes codes[1];
    oxp_choice choice = {.technique = &oxp_technique_w8a8, .limit = 127};
    cr_assert_eq(oxp_codes_make(codes, &arena, sites, 1, 127), OXP_OK);
    oxp_ranges ranges = ranges_of_x(&arena, graph);
    cr_assert_eq(oxp_edit_apply(&out, m, &choice, codes, NULL, &ranges), OXP_OK, "%s", ctx.message);
    cr_assert_eq(oxp_graph_build(&made, &arena, out), OXP_OK);
    const int32_t *found = bias_codes(made);
    cr_assert(found != NULL);
    double x_scale = (double)ranges.items[0].scale.scale;
    for (size_t c = 0; c < N; c++) {
        double plain = (double)bias[c] / (x_scale * (double)codes[0].scales[c]);
        bool raised = fabs(plain) > 1073741824.0;
        cr_expect(labs((long)found[c]) <= 1073741825, "channel %zu: %d", c, found[c]);
        if (!raised)
            cr_expect_lt(fabs((double)found[c] - plain), 1 + 1e-6 * fabs(plain), "channel %zu", c);
        else
            cr_expect_gt(labs((long)found[c]), 1073000000, "channel %zu uses its room", c);
        cr_expect(overflows || !raised);
    }
    oxp_model_free(out);
    oxp_arena_free(&arena);
    oxp_model_free(m);
    cr_expect_eq(ctx.budget->used, 0);
}

Test(w8a8, a_bias_is_coded_in_the_scale_of_the_accumulator)
{
    check((float[]){0.25f, -3.0f, 0.0f, 100.0f}, false);
}

Test(w8a8, a_bias_beyond_int32_raises_its_channels_scale)
{
    check((float[]){0.25f, -3e6f, 0.0f, 1e9f}, true);
}
