/* A float layer between integer layers would be quantised by ONNX Runtime: the reader behind it
 * goes back. */
#include <criterion/criterion.h>
#include <string.h>

#include "planner/placement.h"
#include "support/small_models.h"

static void settle(const bool integer[3], bool out[3])
{
    oxp_ctx ctx;
    oxp_arena arena;
    oxp_model *model = NULL;
    oxp_graph *graph;
    oxp_site *sites;
    size_t count;
    oxp_choice choices[3];
    oxp_ctx_init(&ctx);
    oxp_arena_init(&arena, &ctx);
    for (size_t i = 0; i < small_model_count; i++)
        if (strcmp(small_models[i].name, "chain") == 0)
            cr_assert_eq(small_models[i].build(&model, &ctx), OXP_OK);
    cr_assert_eq(oxp_graph_build(&graph, &arena, model), OXP_OK);
    cr_assert_eq(oxp_sites_find(&sites, &count, &arena, graph), OXP_OK);
    cr_assert_eq(count, 3);
    for (size_t i = 0; i < 3; i++)
        choices[i] =
            (oxp_choice){.technique = integer[i] ? &oxp_technique_w8a8 : &oxp_technique_w8};
    cr_assert_eq(oxp_settle_choices(graph, sites, count, choices, NULL), OXP_OK);
    for (size_t i = 0; i < 3; i++) {
        out[i] = choices[i].technique == &oxp_technique_w8a8;
        cr_expect(out[i] == integer[i] || choices[i].reason);
    }
    oxp_arena_free(&arena);
    oxp_model_free(model);
}

static void expect(const bool integer[3], const bool expected[3])
{
    bool out[3];
    settle(integer, out);
    for (int i = 0; i < 3; i++)
        cr_expect_eq(out[i], expected[i], "layer %d", i);
}

Test(settle, the_reader_behind_a_float_layer_goes_back)
{
    expect((bool[]){true, false, true}, (bool[]){true, false, false});
}

Test(settle, what_has_no_float_layer_inside_stays)
{
    expect((bool[]){true, true, true}, (bool[]){true, true, true});
    expect((bool[]){false, true, true}, (bool[]){false, true, true});
    expect((bool[]){true, true, false}, (bool[]){true, true, false});
    expect((bool[]){false, false, true}, (bool[]){false, false, true});
}
