/* Placement: pair sums against brute force; what pays and what does not. */
#include "planner/placement.h"

#include <criterion/criterion.h>
#include <string.h>

#include "support/small_models.h"
#include "util/random.h"

typedef struct fixture {
    oxp_ctx ctx;
    oxp_arena arena;
    oxp_model *model;
    oxp_graph *graph;
    oxp_site *sites;
    size_t count;
} fixture;

static void start(fixture *f, const char *name)
{
    oxp_ctx_init(&f->ctx);
    oxp_arena_init(&f->arena, &f->ctx);
    for (size_t i = 0; i < small_model_count; i++)
        if (strcmp(small_models[i].name, name) == 0)
            cr_assert_eq(small_models[i].build(&f->model, &f->ctx), OXP_OK);
    cr_assert_eq(oxp_graph_build(&f->graph, &f->arena, f->model), OXP_OK);
    cr_assert_eq(oxp_sites_find(&f->sites, &f->count, &f->arena, f->graph), OXP_OK);
}

static void stop(fixture *f)
{
    oxp_arena_free(&f->arena);
    oxp_model_free(f->model);
}

static bool pair_saturates(int a, int b)
{
    int up = (a > 0 ? a : 0) + (b > 0 ? b : 0), down = (a < 0 ? a : 0) + (b < 0 ? b : 0);
    return 255 * up > 32767 || 255 * down < -32768;
}

/* [K, N]: pairs along K in each column. */
static bool product_saturates(const int8_t *codes, size_t K, size_t N)
{
    bool any = false;
    for (size_t n = 0; n < N; n++)
        for (size_t k = 0; k + 1 < K; k += 2)
            any |= pair_saturates(codes[k * N + n], codes[(k + 1) * N + n]);
    return any;
}

/* [O, I, P]: position by position, channels innermost. */
static bool conv_saturates(const int8_t *codes, size_t O, size_t I, size_t P)
{
    bool any = false;
    for (size_t o = 0; o < O; o++)
        for (size_t at = 0; at + 1 < I * P; at += 2) {
            size_t p = at / I, i = at % I, p2 = (at + 1) / I, i2 = (at + 1) % I;
            any |= pair_saturates(codes[(o * I + i) * P + p], codes[(o * I + i2) * P + p2]);
        }
    return any;
}

Test(placement, pair_sums_agree_with_brute_force)
{
    fixture f;
    oxp_random r = oxp_random_make(6, 6, 6);
    int yes = 0;
    start(&f, "products");
    const oxp_site *product = &f.sites[0]; /* w [64,48] */
    cr_assert_eq(product->layout.outer, 64);
    for (int trial = 0; trial < 400; trial++) {
        int8_t codes[64 * 48];
        int size = 60 + trial % 12; /* around 64, where it starts */
        for (size_t i = 0; i < sizeof codes; i++)
            codes[i] = (int8_t)((int)oxp_random_below(&r, (size_t)(2 * size + 1)) - size);
        bool expected = product_saturates(codes, 64, 48);
        cr_assert_eq(oxp_pair_sums_saturate(product, codes, 255), expected, "trial %d", trial);
        yes += expected;
    }
    cr_expect(yes > 20 && yes < 380, "%d: the trials must hold both answers", yes);
    stop(&f);
    start(&f, "convolutions");
    const oxp_site *conv = &f.sites[0]; /* w [16,3,3,3] */
    for (int trial = 0; trial < 400; trial++) {
        int8_t codes[16 * 27];
        int size = 60 + trial % 40;
        for (size_t i = 0; i < sizeof codes; i++)
            codes[i] = (int8_t)((int)oxp_random_below(&r, (size_t)(2 * size + 1)) - size);
        cr_assert_eq(oxp_pair_sums_saturate(conv, codes, 255), conv_saturates(codes, 16, 3, 9),
                     "trial %d", trial);
    }
    stop(&f);
}

Test(placement, seven_bits_never_saturate)
{
    fixture f;
    int8_t codes[64 * 48];
    start(&f, "products");
    memset(codes, 64, sizeof codes);
    cr_expect_not(oxp_pair_sums_saturate(&f.sites[0], codes, 255));
    memset(codes, 65, sizeof codes);
    cr_expect(oxp_pair_sums_saturate(&f.sites[0], codes, 255));
    memset(codes, -64, sizeof codes);
    cr_expect_not(oxp_pair_sums_saturate(&f.sites[0], codes, 255));
    stop(&f);
}

static void place(fixture *f, oxp_choice *choices, const oxp_placement_options *options)
{
    bool selected[8], forced[8] = {false};
    const oxp_technique *none[8] = {NULL};
    for (size_t i = 0; i < 8; i++)
        selected[i] = true;
    cr_assert_leq(f->count, 8);
    oxp_place(choices, f->sites, f->count, selected, forced, none, NULL, options);
}

Test(placement, every_weight_that_is_not_in_integers_has_a_reason)
{
    for (size_t m = 0; m < small_model_count; m++) {
        fixture f;
        oxp_choice choices[8];
        start(&f, small_models[m].name);
        place(&f, choices, &(oxp_placement_options){.precision = OXP_PRECISION_W8A8});
        for (size_t i = 0; i < f.count; i++)
            cr_expect(oxp_choice_level(&choices[i]) == OXP_LEVEL_INTEGER || choices[i].reason,
                      "%s site %zu", small_models[m].name, i);
        stop(&f);
    }
}

Test(placement, convolutions_wait_for_their_regions)
{
    fixture f;
    oxp_choice choices[8];
    start(&f, "convolutions");
    /* without samples nothing is known of sizes */
    place(&f, choices, &(oxp_placement_options){.precision = OXP_PRECISION_W8A8});
    for (size_t i = 0; i < f.count; i++)
        cr_expect_neq(oxp_choice_level(&choices[i]), OXP_LEVEL_INTEGER);
    place(&f, choices,
          &(oxp_placement_options){.precision = OXP_PRECISION_W8A8, .by_regions = true});
    for (size_t i = 0; i < f.count; i++)
        cr_expect_eq(oxp_choice_level(&choices[i]), OXP_LEVEL_INTEGER);
    place(&f, choices,
          &(oxp_placement_options){.precision = OXP_PRECISION_W8A8, .everywhere = true});
    for (size_t i = 0; i < f.count; i++)
        cr_expect_eq(oxp_choice_level(&choices[i]), OXP_LEVEL_INTEGER);
    place(&f, choices,
          &(oxp_placement_options){
              .precision = OXP_PRECISION_W8A8, .stored_only = true, .everywhere = true});
    for (size_t i = 0; i < f.count; i++)
        cr_expect_neq(oxp_choice_level(&choices[i]), OXP_LEVEL_INTEGER);
    stop(&f);
}
