/* The frontier against its definition, the hull against all pairs of points. */
#include "planner/frontier.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "util/random.h"

#define POINTS 60

static bool dominates(const oxp_frontier_point *a, const oxp_frontier_point *b)
{
    return a->bytes <= b->bytes && a->loss <= b->loss && (a->bytes < b->bytes || a->loss < b->loss);
}

static bool is_same(const oxp_frontier_point *a, const oxp_frontier_point *b)
{
    return a->bytes == b->bytes && !(a->loss < b->loss) && !(a->loss > b->loss);
}

/* By the definition: no other dominates it, no equal one comes earlier. */
static bool belongs(const oxp_frontier_point *all, size_t count, size_t i)
{
    for (size_t k = 0; k < count; k++)
        if (dominates(&all[k], &all[i]) || (k < i && is_same(&all[k], &all[i])))
            return false;
    return true;
}

/* On the lower hull: no segment between two others passes below the point. */
static bool is_on_hull(const oxp_frontier_point *p, size_t count, size_t i)
{
    for (size_t a = 0; a < i; a++)
        for (size_t b = i + 1; b < count; b++) {
            double share = (double)(p[i].bytes - p[a].bytes) / (double)(p[b].bytes - p[a].bytes);
            double line = p[a].loss + share * (p[b].loss - p[a].loss);
            if (p[i].loss > line + 1e-9)
                return false;
        }
    return true;
}

/* Few values, so that duplicates, ties and collinear points come up. */
static void draw(oxp_frontier_point *p, size_t count, uint64_t seed)
{
    oxp_random r = oxp_random_make(seed, 1, 2);
    for (size_t i = 0; i < count; i++)
        p[i] = (oxp_frontier_point){.bytes = oxp_random_below(&r, 20),
                                    .loss = (double)oxp_random_below(&r, 20) / 4,
                                    .index = i};
}

Test(frontier, the_sweep_equals_the_definition)
{
    for (uint64_t seed = 0; seed < 300; seed++) {
        oxp_frontier_point all[POINTS], kept[POINTS];
        size_t n = 1 + (size_t)seed % POINTS, expected = 0;
        draw(all, n, seed);
        memcpy(kept, all, sizeof all);
        size_t count = oxp_frontier_make(kept, n);
        for (size_t i = 0; i < n; i++)
            if (belongs(all, n, i)) {
                bool found = false;
                for (size_t k = 0; k < count; k++)
                    found |= kept[k].index == i;
                cr_expect(found, "seed %d: point %zu is missing", (int)seed, i);
                expected++;
            }
        cr_expect_eq(count, expected);
        for (size_t k = 0; k < count; k++)
            cr_expect_eq(kept[k].on_hull, is_on_hull(kept, count, k), "seed %d, point %zu",
                         (int)seed, k);
    }
}

Test(frontier, exact_duplicates_merge_into_the_first)
{
    oxp_frontier_point p[] = {
        {.bytes = 5, .loss = 1, .index = 0},
        {.bytes = 3, .loss = 2, .index = 1},
        {.bytes = 5, .loss = 1, .index = 2},
        {.bytes = 3, .loss = 2, .index = 3},
    };
    cr_expect_eq(oxp_frontier_make(p, 4), 2);
    cr_expect_eq(p[0].index, 1);
    cr_expect_eq(p[1].index, 0);
}

Test(frontier, collinear_points_are_on_the_hull_and_concave_corners_are_not)
{
    oxp_frontier_point p[] = {
        {.bytes = 0, .loss = 9},  {.bytes = 10, .loss = 5},
        {.bytes = 20, .loss = 1}, {.bytes = 25, .loss = 0.9}, /* above the line from 20 to 30 */
        {.bytes = 30, .loss = 0},
    };
    static const bool on_hull[] = {true, true, true, false, true};
    cr_expect_eq(oxp_frontier_make(p, 5), 5);
    for (size_t i = 0; i < 5; i++)
        cr_expect_eq(p[i].on_hull, on_hull[i], "point %zu", i);
}

/* Sizes of real files and losses far below 1: the product of differences must not round a corner
 * away. */
Test(frontier, large_bytes_and_small_losses)
{
    oxp_frontier_point p[] = {{.bytes = 69000000000, .loss = 1e-9},
                              {.bytes = 70000000000, .loss = 0.5e-9},
                              {.bytes = 71000000000, .loss = 0},
                              {.bytes = 70000000001, .loss = 0.49e-9}};
    cr_expect_eq(oxp_frontier_make(p, 4), 4);
    cr_expect(p[0].on_hull && !p[1].on_hull && p[2].on_hull && p[3].on_hull);
}

Test(frontier, a_dominated_point_changes_nothing)
{
    oxp_frontier_point all[POINTS], plain[POINTS], more[POINTS + 1];
    draw(all, POINTS, 77);
    memcpy(plain, all, sizeof all);
    size_t count = oxp_frontier_make(plain, POINTS);
    for (size_t at = 0; at <= POINTS; at++) {
        memcpy(more, all, at * sizeof *all);
        more[at] = (oxp_frontier_point){.bytes = plain[0].bytes + 1, .loss = plain[0].loss + 1};
        memcpy(more + at + 1, all + at, (POINTS - at) * sizeof *all);
        cr_assert_eq(oxp_frontier_make(more, POINTS + 1), count);
        for (size_t k = 0; k < count; k++)
            cr_expect(is_same(&more[k], &plain[k]) && more[k].on_hull == plain[k].on_hull);
    }
}

Test(frontier, of_nothing_is_nothing)
{
    oxp_frontier_point p;
    cr_expect_eq(oxp_frontier_make(&p, 0), 0);
}
