/* The guard: reaches a bound that some form can reach, changes nothing when the bound holds, names
 * what it took back. */
#include "planner/guard.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "calibration/source.h"
#include "support/small_models.h"

typedef struct fixture {
    oxp_ctx ctx;
    oxp_arena arena;
    oxp_model *model;
    oxp_graph *graph;
    oxp_samples samples;
    oxp_reference reference;
    oxp_site *sites;
    size_t count;
    oxp_codes *codes;
    oxp_ranges ranges;
    oxp_choice choices[8];
    double cost[8], sqnr;
} fixture;

/* Both products of the network dynamic where they can be, else stored. */
static void start(fixture *f)
{
    oxp_input_options options = OXP_INPUT_OPTIONS_INIT;
    const char *why;
    memset(f, 0, sizeof *f);
    options.random_samples = 8;
    oxp_ctx_init(&f->ctx);
    oxp_arena_init(&f->arena, &f->ctx);
    cr_assert_eq(small_models[0].build(&f->model, &f->ctx), OXP_OK);
    cr_assert_eq(oxp_graph_build(&f->graph, &f->arena, f->model), OXP_OK);
    cr_assert_eq(oxp_samples_open(&f->samples, &f->ctx, f->graph, NULL, NULL, &options), OXP_OK);
    cr_assert_eq(oxp_reference_make(&f->reference, &f->ctx, f->graph, &f->samples.source, NULL, 8),
                 OXP_OK);
    cr_assert_eq(oxp_sites_find(&f->sites, &f->count, &f->arena, f->graph), OXP_OK);
    f->codes = oxp_arena_alloc(&f->arena, f->count, sizeof *f->codes);
    cr_assert_eq(oxp_codes_make(f->codes, &f->arena, f->sites, f->count, 127), OXP_OK);
    for (size_t i = 0; i < f->count; i++) {
        bool product = oxp_technique_dynamic.applies(&f->sites[i], &why);
        f->choices[i] = (oxp_choice){
            .technique = product ? &oxp_technique_dynamic : &oxp_technique_w8, .limit = 127};
    }
}

static void stop(fixture *f)
{
    oxp_reference_free(&f->reference);
    oxp_samples_close(&f->samples);
    oxp_arena_free(&f->arena);
    oxp_model_free(f->model);
    cr_expect_eq(f->ctx.budget->used, 0);
}

static void run(fixture *f, double bound)
{
    oxp_guard g = {.ctx = &f->ctx,
                   .prepared = f->model,
                   .graph = f->graph,
                   .sites = f->sites,
                   .site_count = f->count,
                   .codes = f->codes,
                   .ranges = &f->ranges,
                   .reference = &f->reference,
                   .min_sqnr_db = bound};
    cr_assert_eq(oxp_guard_run(&g, f->choices, f->cost, &f->sqnr), OXP_OK, "%s", f->ctx.message);
}

Test(guard, a_bound_that_holds_changes_nothing)
{
    fixture f;
    start(&f);
    oxp_choice before[8];
    memcpy(before, f.choices, sizeof before);
    run(&f, 20);
    cr_expect_gt(f.sqnr, 21);
    for (size_t i = 0; i < f.count; i++) {
        cr_expect_eq(before[i].technique, f.choices[i].technique);
        cr_expect(isnan(f.cost[i]), "nothing had to be measured alone");
    }
    stop(&f);
}

Test(guard, half_precision_meets_what_8_bits_miss)
{
    fixture f;
    start(&f);
    run(&f, 55);
    cr_expect_geq(f.sqnr, 55);
    size_t half = 0;
    for (size_t i = 0; i < f.count; i++) {
        half += f.choices[i].technique == &oxp_technique_fp16;
        cr_expect(f.choices[i].reason && strstr(f.choices[i].reason, "too much"), "site %zu", i);
        cr_expect(isfinite(f.cost[i]) && f.cost[i] > 0, "site %zu", i);
    }
    cr_expect_gt(half, 0);
    stop(&f);
}

Test(guard, float_is_the_last_step)
{
    fixture f;
    start(&f);
    run(&f, 150);
    for (size_t i = 0; i < f.count; i++)
        cr_expect_eq(oxp_choice_level(&f.choices[i]), OXP_LEVEL_FLOAT);
    cr_expect_eq(f.sqnr, 200);
    stop(&f);
}

Test(guard, the_margin_follows_the_spread_over_inputs)
{
    oxp_difference even[16], one[16], none[16] = {{0}};
    for (size_t i = 0; i < 16; i++) {
        even[i] = (oxp_difference){.signal = 100, .noise = 1};
        one[i] = (oxp_difference){.signal = 100, .noise = i == 3 ? 4 : 0.8};
    }
    cr_expect_eq(oxp_guard_margin_db(even, 16, 1), 1);
    /* ratio 0.01; residuals 3 once and 0.2 fifteen times: SE = sqrt(9.6 * 16 / 15) / 16 = 0.2 */
    double expected = 10 * log10(1 + 1.645 * sqrt(9.6 * 16 / 15) / 16);
    cr_expect_lt(fabs(oxp_guard_margin_db(one, 16, 1) - expected), 1e-9);
    cr_expect_eq(oxp_guard_margin_db(none, 16, 1), 0);
    for (size_t i = 0; i < 16; i++)
        one[i].noise = i == 3 ? 1 : 0;
    cr_expect_eq(oxp_guard_margin_db(one, 2, 1), 0); /* the first two are exact */
    cr_expect_lt(oxp_guard_margin_db(one, 16, 1), 6.0001);
    one[0].noise = 1e6;
    cr_expect_gt(oxp_guard_margin_db(one, 16, 1), 4);
    /* every second input belongs to another output */
    cr_expect_eq(oxp_guard_margin_db(even, 8, 2), 1);
}
