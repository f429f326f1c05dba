/* The knapsack against all plans of small instances: what is promised of loss, bounds and gap. */
#include "planner/knapsack.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "util/random.h"

#define GROUPS 5
#define OPTIONS 6

typedef struct instance {
    oxp_knapsack_option options[GROUPS][OPTIONS];
    oxp_knapsack_group groups[GROUPS];
    size_t count, budget;
} instance;

static oxp_ctx ctx;
static oxp_arena arena;

static void start(void)
{
    oxp_ctx_init(&ctx);
    oxp_arena_init(&arena, &ctx);
}

static void stop(void)
{
    oxp_arena_free(&arena);
    cr_expect_eq(ctx.budget->used, 0);
}

TestSuite(knapsack, .init = start, .fini = stop);

static void draw(instance *in, uint64_t seed, size_t largest)
{
    oxp_random r = oxp_random_make(seed, 3, 3);
    size_t least = 0, most = 0;
    in->count = 2 + oxp_random_below(&r, GROUPS - 1);
    for (size_t g = 0; g < in->count; g++) {
        in->groups[g] = (oxp_knapsack_group){in->options[g], 1 + oxp_random_below(&r, OPTIONS)};
        size_t low = SIZE_MAX, high = 0;
        for (size_t c = 0; c < in->groups[g].count; c++) {
            size_t bytes = 1 + oxp_random_below(&r, largest);
            in->options[g][c] = (oxp_knapsack_option){bytes, oxp_random_uniform(&r)};
            low = bytes < low ? bytes : low;
            high = bytes > high ? bytes : high;
        }
        least += low;
        most += high;
    }
    in->budget = least + oxp_random_below(&r, most - least + 1);
}

typedef struct best {
    size_t bytes;
    double loss;
} best;

/* Every plan, like the digits of a number. */
static best brute_force(const instance *in, size_t budget)
{
    size_t at[GROUPS] = {0};
    best out = {0, INFINITY};
    for (bool more = true; more;) {
        best plan = {0, 0};
        for (size_t g = 0; g < in->count; g++) {
            plan.bytes += in->options[g][at[g]].bytes;
            plan.loss += in->options[g][at[g]].loss;
        }
        if (plan.bytes <= budget && plan.loss < out.loss)
            out = plan;
        size_t g = 0;
        while (g < in->count && ++at[g] == in->groups[g].count)
            at[g++] = 0;
        more = g < in->count;
    }
    return out;
}

static void check_plan(const instance *in, const oxp_knapsack *k)
{
    best plan = {0, 0};
    for (size_t g = 0; g < in->count; g++) {
        plan.bytes += in->options[g][k->chosen[g]].bytes;
        plan.loss += in->options[g][k->chosen[g]].loss;
    }
    cr_expect_eq(plan.bytes, k->bytes);
    cr_expect_lt(fabs(plan.loss - k->loss), 1e-12);
    cr_expect_leq(plan.bytes, in->budget);
}

/* Fine and coarse units: the gap is the price of the coarse ones, and covers it. */
Test(knapsack, every_promise_holds_against_all_plans)
{
    size_t exact = 0;
    for (uint64_t seed = 0; seed < 200; seed++) {
        instance in;
        oxp_knapsack k;
        draw(&in, seed, 4000);
        best optimum = brute_force(&in, in.budget);
        size_t steps = seed % 2 ? 100000 : 50;
        cr_assert_eq(oxp_knapsack_solve(&k, &arena, in.groups, in.count, in.budget, steps), OXP_OK);
        cr_assert(k.is_feasible);
        check_plan(&in, &k);
        cr_expect_leq(optimum.loss, k.loss + 1e-12, "seed %d", (int)seed);
        cr_expect_leq(k.lower, optimum.loss + 1e-12, "seed %d", (int)seed);
        cr_expect_leq(k.dual_bound, optimum.loss + 1e-12, "seed %d", (int)seed);
        cr_expect_leq(k.loss * (1 - k.gap), optimum.loss + 1e-12, "seed %d", (int)seed);
        if (steps > 4000 * GROUPS)
            cr_expect_lt(k.loss - optimum.loss, 1e-12, "seed %d", (int)seed);
        exact += k.loss <= optimum.loss + 1e-12;
    }
    cr_expect_geq(exact, 150); /* coarse units find most of them as well */
}

Test(knapsack, a_budget_of_the_exact_minimum_is_met)
{
    for (uint64_t seed = 0; seed < 60; seed++) {
        instance in;
        oxp_knapsack k;
        draw(&in, seed, 1000003);
        size_t least = 0;
        for (size_t g = 0; g < in.count; g++) {
            size_t low = SIZE_MAX;
            for (size_t c = 0; c < in.groups[g].count; c++)
                low = in.options[g][c].bytes < low ? in.options[g][c].bytes : low;
            least += low;
        }
        in.budget = least;
        cr_assert_eq(oxp_knapsack_solve(&k, &arena, in.groups, in.count, least, 500), OXP_OK);
        cr_expect(k.is_feasible);
        cr_expect_eq(k.bytes, least);
        check_plan(&in, &k);
    }
}

/* The best plan of 12 bytes is on no hull of sums: prices reach (10, 6) or (20, 0) alone. */
Test(knapsack, an_unsupported_optimum_is_found)
{
    const oxp_knapsack_option a[] = {{0, 6}, {2, 5.5}, {10, 0}}, b[] = {{10, 0}};
    const oxp_knapsack_group groups[] = {{a, 3}, {b, 1}};
    oxp_knapsack k;
    cr_assert_eq(oxp_knapsack_solve(&k, &arena, groups, 2, 12, 1000), OXP_OK);
    cr_expect_eq(k.chosen[0], 1);
    cr_expect_eq(k.loss, 5.5);
    cr_expect_lt(fabs(k.dual_bound - 4.8), 1e-12); /* 6 - 0.6 a byte */
    cr_expect_lt(fabs(k.lambda - 0.6), 1e-12);
    cr_expect_eq(k.gap, 0); /* the table is exact here, the bound alone would leave 13 % */
}

Test(knapsack, what_does_not_fit_says_the_least)
{
    const oxp_knapsack_option a[] = {{7, 1}, {5, 2}}, b[] = {{4, 1}, {9, 0}};
    const oxp_knapsack_group groups[] = {{a, 2}, {b, 2}};
    oxp_knapsack k;
    cr_assert_eq(oxp_knapsack_solve(&k, &arena, groups, 2, 8, 1000), OXP_OK);
    cr_expect(!k.is_feasible);
    cr_expect_eq(k.least_bytes, 9);
    cr_expect_eq(k.chosen[0], 1);
    cr_expect_eq(k.chosen[1], 0);
}

Test(knapsack, a_slack_budget_has_no_price)
{
    const oxp_knapsack_option a[] = {{7, 1}, {5, 2}}, b[] = {{4, 1}, {9, 0.25}};
    const oxp_knapsack_group groups[] = {{a, 2}, {b, 2}};
    oxp_knapsack k;
    cr_assert_eq(oxp_knapsack_solve(&k, &arena, groups, 2, 1000, 1000), OXP_OK);
    cr_expect_eq(k.bytes, 16);
    cr_expect_eq(k.loss, 1.25);
    cr_expect_eq(k.dual_bound, 1.25);
    cr_expect_eq(k.lambda, 0);
    cr_expect_eq(k.gap, 0);
}

/* The smallest price that gives the bound: exactly at a corner it is that of the next segment. */
Test(knapsack, the_price_at_a_corner_is_the_smaller_one)
{
    const oxp_knapsack_option a[] = {{0, 10}, {10, 4}, {20, 2}};
    const oxp_knapsack_group groups[] = {{a, 3}};
    oxp_knapsack k;
    cr_assert_eq(oxp_knapsack_solve(&k, &arena, groups, 1, 10, 1000), OXP_OK);
    cr_expect_lt(fabs(k.lambda - 0.2), 1e-12);
    cr_expect_eq(k.dual_bound, 4);
}

Test(knapsack, options_without_a_loss_are_not_taken)
{
    const oxp_knapsack_option a[] = {{1, INFINITY}, {2, NAN}, {5, 2}, {9, 1}};
    const oxp_knapsack_group groups[] = {{a, 4}}, none[] = {{a, 2}};
    oxp_knapsack k;
    cr_assert_eq(oxp_knapsack_solve(&k, &arena, groups, 1, 8, 1000), OXP_OK);
    cr_expect_eq(k.least_bytes, 5);
    cr_expect_eq(k.chosen[0], 2);
    cr_expect_eq(oxp_knapsack_solve(&k, &arena, none, 1, 8, 1000), OXP_EINTERNAL);
}

/* Every budget's best plan is a point or lies under one. */
Test(knapsack, the_frontier_is_the_table_of_all_budgets)
{
    for (uint64_t seed = 0; seed < 40; seed++) {
        instance in;
        oxp_frontier_point *points;
        size_t count;
        draw(&in, seed, 300);
        cr_assert_eq(oxp_knapsack_frontier(&points, &count, &arena, in.groups, in.count, 100000),
                     OXP_OK);
        for (size_t i = 0; i < count; i++) {
            best optimum = brute_force(&in, points[i].bytes);
            cr_expect_eq(optimum.bytes, points[i].bytes);
            cr_expect_lt(fabs(optimum.loss - points[i].loss), 1e-12);
            if (i + 1 < count) { /* nothing better in between */
                best before = brute_force(&in, points[i + 1].bytes - 1);
                cr_expect_lt(fabs(before.loss - points[i].loss), 1e-12);
            }
        }
        best all = brute_force(&in, SIZE_MAX);
        cr_expect_lt(fabs(points[count - 1].loss - all.loss), 1e-12);
    }
}
