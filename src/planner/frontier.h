/* frontier.h - plans that no other plan beats in bytes and in loss.
 *
 * A point is dominated when another is at most as large in both and smaller in one. Models in
 * between two points do not exist: the lower convex hull, over bytes and never over ratios, only
 * says which points some price per byte would choose. */
#ifndef OXP_PLANNER_FRONTIER_H
#define OXP_PLANNER_FRONTIER_H

#include <stdbool.h>
#include <stddef.h>

typedef struct oxp_frontier_point {
    size_t bytes;
    double loss;
    size_t index;    /* the caller's: of exact duplicates the least stays */
    bool on_hull;    /* of the lower convex hull; points on its edges are on it */
    size_t previous; /* used while the hull is made */
} oxp_frontier_point;

/* Leaves the non-dominated points in front, bytes rising and loss falling strictly, with on_hull
 * set; returns how many. O(n log n). */
size_t oxp_frontier_make(oxp_frontier_point *points, size_t count);

#endif
