/* The cheapest cut against all cuts of small random graphs. */
#include "planner/min_cut.h"

#include <criterion/criterion.h>

#include "util/random.h"

enum { INNER = 6, VERTICES = OXP_CUT_FIRST + INNER };

typedef struct edge {
    uint32_t from, to;
    int64_t cost;
} edge;

static int64_t cost_of(const edge *edges, size_t count, const bool *side)
{
    int64_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += side[edges[i].from] && !side[edges[i].to] ? edges[i].cost : 0;
    return sum;
}

/* Of all 2^INNER cuts: the least cost, and with it the fewest vertices on the source's side. */
static int64_t least_of_all(const edge *edges, size_t count, size_t *fewest)
{
    int64_t least = INT64_MAX;
    for (unsigned mask = 0; mask < 1u << INNER; mask++) {
        bool side[VERTICES] = {[OXP_CUT_SOURCE] = true};
        size_t size = 0;
        for (unsigned i = 0; i < INNER; i++)
            size += side[OXP_CUT_FIRST + i] = mask >> i & 1;
        int64_t cost = cost_of(edges, count, side);
        if (cost < least || (cost == least && size < *fewest)) {
            least = cost;
            *fewest = size;
        }
    }
    return least;
}

Test(min_cut, agrees_with_trying_all)
{
    oxp_ctx ctx;
    oxp_ctx_init(&ctx);
    oxp_random r = oxp_random_make(1, 2, 3);
    for (int trial = 0; trial < 300; trial++) {
        edge edges[24];
        oxp_cut cut;
        bool side[VERTICES];
        size_t fewest = VERTICES, size = 0;
        cr_assert_eq(oxp_cut_open(&cut, &ctx, VERTICES), OXP_OK);
        for (size_t i = 0; i < 24; i++) {
            uint32_t from = (uint32_t)oxp_random_below(&r, VERTICES);
            uint32_t to = (uint32_t)oxp_random_below(&r, VERTICES);
            if (to == OXP_CUT_SOURCE || from == OXP_CUT_SINK || from == to)
                to = from = OXP_CUT_FIRST;
            edges[i] = (edge){from, to, from == to ? 0 : (int64_t)oxp_random_below(&r, 9)};
            cr_assert_eq(oxp_cut_add(&cut, from, to, edges[i].cost), OXP_OK);
        }
        oxp_cut_solve(&cut, side);
        for (size_t v = OXP_CUT_FIRST; v < VERTICES; v++)
            size += side[v];
        cr_expect(side[OXP_CUT_SOURCE] && !side[OXP_CUT_SINK]);
        cr_expect_eq(cost_of(edges, 24, side), least_of_all(edges, 24, &fewest), "trial %d", trial);
        cr_expect_eq(size, fewest, "trial %d: of equal cuts the one with the fewest", trial);
        oxp_cut_close(&cut);
    }
    cr_expect_eq(ctx.budget->used, 0);
}
