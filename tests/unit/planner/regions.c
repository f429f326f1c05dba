/* Where integers pay: large layers do, small ones inside a region of large ones too, a lone one
 * only where it saves more than its borders cost. */
#include "planner/regions.h"

#include <criterion/criterion.h>
#include <string.h>

#include "planner/placement.h"
#include "support/small_models.h"

typedef struct fixture {
    oxp_ctx ctx;
    oxp_arena arena;
    oxp_model *model;
    oxp_graph *graph;
    oxp_site *sites;
    size_t count;
    oxp_node_work *work;
    oxp_choice choices[4];
} fixture;

/* A chain of 1x1 convolutions with a Relu behind each but the last; channels[0] is the input's. */
static void start(fixture *f, const int64_t *channels, size_t layers, int64_t side)
{
    memset(f, 0, sizeof *f);
    oxp_ctx_init(&f->ctx);
    oxp_arena_init(&f->arena, &f->ctx);
    cr_assert_eq(oxp_model_new(&f->model, &f->ctx, 13), OXP_OK);
    oxp_graph_proto *g = oxp_model_graph(f->model);
    oxp_value_info x = {.name = "x",
                        .dtype = OXP_FLOAT,
                        .is_tensor = true,
                        .rank = 4,
                        .dims = {1, channels[0], side, side}},
                   y = {.name = "y", .dtype = OXP_FLOAT, .is_tensor = true, .rank = -1};
    cr_assert_eq(oxp_edit_add_input(f->model, g, &x), OXP_OK);
    cr_assert_eq(oxp_edit_add_output(f->model, g, &y), OXP_OK);
    const char *from = "x";
    for (size_t i = 0; i < layers; i++) {
        int64_t dims[4] = {channels[i + 1], channels[i], 1, 1};
        float *w = oxp_arena_alloc(&f->arena, (size_t)(dims[0] * dims[1]), sizeof *w);
        const char *name = oxp_arena_printf(&f->arena, "w%zu", i),
                   *c = i + 1 == layers ? "y" : oxp_arena_printf(&f->arena, "c%zu", i),
                   *r = oxp_arena_printf(&f->arena, "r%zu", i);
        w[0] = 1;
        cr_assert_eq(oxp_edit_add_initializer(f->model, g, name, OXP_FLOAT, 4, dims, w), OXP_OK);
        const char *inputs[2] = {from, name};
        oxp_new_node conv = {.type = "Conv",
                             .domain = "",
                             .name = "",
                             .input_count = 2,
                             .output_count = 1,
                             .inputs = inputs,
                             .outputs = &c},
                     relu = {.type = "Relu",
                             .domain = "",
                             .name = "",
                             .input_count = 1,
                             .output_count = 1,
                             .inputs = &c,
                             .outputs = &r};
        cr_assert_eq(oxp_edit_insert_node(NULL, f->model, g, oxp_graph_proto_node_count(g), &conv),
                     OXP_OK);
        if (i + 1 < layers)
            cr_assert_eq(
                oxp_edit_insert_node(NULL, f->model, g, oxp_graph_proto_node_count(g), &relu),
                OXP_OK);
        from = r;
    }
    cr_assert_eq(oxp_graph_build(&f->graph, &f->arena, f->model), OXP_OK);
    cr_assert_eq(oxp_sites_find(&f->sites, &f->count, &f->arena, f->graph), OXP_OK);
    cr_assert_eq(f->count, layers);
    f->work = oxp_arena_alloc(&f->arena, f->graph->node_count, sizeof *f->work);
    double area = (double)(side * side);
    for (size_t i = 0; i < layers; i++) {
        f->choices[i] = (oxp_choice){.technique = &oxp_technique_w8a8, .limit = 127};
        double in = (double)channels[i], out = (double)channels[i + 1];
        f->work[2 * i] = (oxp_node_work){in * out * area, in * area, out * area};
        if (i + 1 < layers)
            f->work[2 * i + 1] = (oxp_node_work){0, out * area, out * area};
    }
}

static void expect(fixture *f, const bool *fixed, const bool *expected)
{
    bool integer[4];
    const oxp_node_work *work[1] = {f->work};
    oxp_regions r = {oxp_cost_table_find(NULL), work, fixed};
    cr_assert_eq(oxp_regions_cut(integer, &r, f->graph, f->sites, f->count, f->choices), OXP_OK);
    for (size_t i = 0; i < f->count; i++)
        cr_expect_eq(integer[i], expected[i], "layer %zu", i);
}

static void stop(fixture *f)
{
    oxp_arena_free(&f->arena);
    oxp_model_free(f->model);
    cr_expect_eq(f->ctx.budget->used, 0);
}

Test(regions, large_layers_pay_and_narrow_ones_do_not)
{
    fixture f;
    start(&f, (int64_t[]){128, 128, 128, 128}, 3, 28);
    expect(&f, NULL, (bool[]){true, true, true});
    stop(&f);
    start(&f, (int64_t[]){8, 8, 8, 8}, 3, 28);
    expect(&f, NULL, (bool[]){false, false, false});
    stop(&f);
}

/* Alone, the middle layer would not pay; beside one that does, it does. */
Test(regions, a_small_layer_inside_a_region_is_in_it)
{
    fixture f;
    start(&f, (int64_t[]){256, 256, 16, 16, 256}, 4, 28);
    expect(&f, NULL, (bool[]){true, true, true, false}); /* its result is wide: left before it */
    stop(&f);
    start(&f, (int64_t[]){16, 16}, 1, 28);
    expect(&f, NULL, (bool[]){false});
    stop(&f);
}

Test(regions, what_the_user_said_stays)
{
    fixture f;
    start(&f, (int64_t[]){8, 8}, 1, 28);
    expect(&f, NULL, (bool[]){false});
    expect(&f, (bool[]){true}, (bool[]){true});
    stop(&f);
}

Test(regions, what_never_ran_stays_float)
{
    fixture f;
    start(&f, (int64_t[]){128, 128, 128, 128}, 3, 28);
    memset(f.work, 0, f.graph->node_count * sizeof *f.work);
    expect(&f, NULL, (bool[]){false, false, false});
    stop(&f);
}

Test(regions, a_site_that_is_not_chosen_is_float)
{
    fixture f;
    start(&f, (int64_t[]){128, 128, 128, 128}, 3, 28);
    f.choices[1].technique = &oxp_technique_w8;
    expect(&f, NULL, (bool[]){true, false, true});
    stop(&f);
}

/* What pays less than its borders goes back when choices are settled, with the reason. */
Test(regions, settling_takes_back_what_is_slower)
{
    fixture f;
    start(&f, (int64_t[]){8, 8, 8}, 2, 28);
    const oxp_node_work *work[1] = {f.work};
    oxp_regions r = {oxp_cost_table_find(NULL), work, NULL};
    cr_assert_eq(oxp_settle_choices(f.graph, f.sites, f.count, f.choices, &r), OXP_OK);
    for (size_t i = 0; i < f.count; i++) {
        cr_expect_neq(f.choices[i].technique, &oxp_technique_w8a8);
        cr_expect(f.choices[i].reason && strstr(f.choices[i].reason, "slower"));
    }
    stop(&f);
}
