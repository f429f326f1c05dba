/* frontier.c - a sort and a sweep, then a monotone chain. */
#include "planner/frontier.h"

#include <math.h>
#include <stdlib.h>

#define NO_POINT ((size_t)-1)

static int in_order(const void *a, const void *b)
{
    const oxp_frontier_point *x = a, *y = b;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? -1 : 1;
    if (x->loss < y->loss || x->loss > y->loss)
        return x->loss < y->loss ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

/* Whether b lies above the line from a to c, by more than the rounding of the product. */
static bool is_above(const oxp_frontier_point *a, const oxp_frontier_point *b,
                     const oxp_frontier_point *c)
{
    double left = (double)(b->bytes - a->bytes) * (c->loss - a->loss),
           right = (double)(c->bytes - a->bytes) * (b->loss - a->loss);
    return right - left > 1e-12 * (fabs(left) + fabs(right));
}

static void mark_hull(oxp_frontier_point *p, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t last = i > 0 ? i - 1 : NO_POINT;
        while (last != NO_POINT && p[last].previous != NO_POINT &&
               is_above(&p[p[last].previous], &p[last], &p[i]))
            last = p[last].previous;
        p[i].previous = last;
        p[i].on_hull = false;
    }
    for (size_t i = count > 0 ? count - 1 : NO_POINT; i != NO_POINT; i = p[i].previous)
        p[i].on_hull = true;
}

size_t oxp_frontier_make(oxp_frontier_point *points, size_t count)
{
    size_t kept = 0;
    qsort(points, count, sizeof *points, in_order);
    for (size_t i = 0; i < count; i++)
        if (kept == 0 || points[i].loss < points[kept - 1].loss)
            points[kept++] = points[i];
    mark_hull(points, kept);
    return kept;
}
