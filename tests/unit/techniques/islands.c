/* Where quantised values stand: in place behind integer layers, as a branch in front of them; a
 * residual Add joins, MaxPool shares its input's scale. */
#include "techniques/islands.h"

#include <criterion/criterion.h>
#include <string.h>

#include "support/small_models.h"

typedef struct fixture {
    oxp_ctx ctx;
    oxp_arena arena;
    oxp_model *model;
    oxp_graph *graph;
    oxp_site *sites;
    size_t count;
    oxp_islands islands;
} fixture;

static void start(fixture *f, const char *name, const bool *chosen)
{
    memset(f, 0, sizeof *f);
    oxp_ctx_init(&f->ctx);
    oxp_arena_init(&f->arena, &f->ctx);
    for (size_t i = 0; i < small_model_count; i++)
        if (strcmp(small_models[i].name, name) == 0)
            cr_assert_eq(small_models[i].build(&f->model, &f->ctx), OXP_OK);
    cr_assert_eq(oxp_graph_build(&f->graph, &f->arena, f->model), OXP_OK);
    cr_assert_eq(oxp_sites_find(&f->sites, &f->count, &f->arena, f->graph), OXP_OK);
    cr_assert_eq(oxp_islands_find(&f->islands, &f->arena, f->graph, f->sites, f->count, chosen),
                 OXP_OK);
}

static const oxp_quantised *at(const fixture *f, const char *value)
{
    return oxp_islands_at(&f->islands, f->graph, oxp_graph_find_value(f->graph, value));
}

static void stop(fixture *f)
{
    oxp_arena_free(&f->arena);
    oxp_model_free(f->model);
}

static void expect_kind(const fixture *f, const char *value, oxp_quantised_kind kind)
{
    const oxp_quantised *q = at(f, value);
    cr_expect_eq(q ? q->kind : OXP_NOT_QUANTISED, kind, "value %s", value);
}

/* x -> w -> p -> Relu q -> v -> r; s = q + r; t = MaxPool(s); t -> u -> y */
Test(islands, a_residual_trunk_joins)
{
    fixture f;
    start(&f, "convolutions", (bool[]){true, true, true});
    expect_kind(&f, "x", OXP_BRANCH);
    expect_kind(&f, "p", OXP_NOT_QUANTISED); /* inside the fused Conv and Relu */
    expect_kind(&f, "q", OXP_IN_PLACE);
    expect_kind(&f, "r", OXP_IN_PLACE);
    expect_kind(&f, "s", OXP_IN_PLACE);
    expect_kind(&f, "t", OXP_IN_PLACE);
    expect_kind(&f, "y", OXP_IN_PLACE);
    cr_expect_eq(at(&f, "t")->scale_value, at(&f, "s")->value, "MaxPool shares the scale");
    cr_expect_eq(at(&f, "s")->scale_value, at(&f, "s")->value, "Add has its own");
    stop(&f);
}

Test(islands, what_no_integer_layer_reads_does_not_join)
{
    fixture f;
    start(&f, "convolutions", (bool[]){true, true, false});
    expect_kind(&f, "q", OXP_IN_PLACE);
    expect_kind(&f, "r", OXP_IN_PLACE);
    expect_kind(&f, "s", OXP_NOT_QUANTISED);
    expect_kind(&f, "t", OXP_NOT_QUANTISED);
    stop(&f);
}

Test(islands, a_float_maker_gives_a_branch)
{
    fixture f;
    start(&f, "convolutions", (bool[]){false, false, true});
    expect_kind(&f, "t", OXP_BRANCH);
    expect_kind(&f, "s", OXP_NOT_QUANTISED);
    expect_kind(&f, "x", OXP_NOT_QUANTISED);
    stop(&f);
}

Test(islands, products_keep_a_float_result)
{
    fixture f;
    start(&f, "products", (bool[]){true, true});
    expect_kind(&f, "x", OXP_BRANCH);
    expect_kind(&f, "p", OXP_NOT_QUANTISED);
    expect_kind(&f, "r", OXP_BRANCH);
    expect_kind(&f, "y", OXP_NOT_QUANTISED);
    stop(&f);
}
