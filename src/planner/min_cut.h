/* min_cut.h - the cheapest way to split vertices between a source and a sink.
 *
 * E. A. Dinic, "Algorithm for solution of a problem of maximum flow in networks with power
 * estimation", 1970: blocking flows over levels. Of several cheapest cuts, the one with the fewest
 * vertices on the source's side. */
#ifndef OXP_PLANNER_MIN_CUT_H
#define OXP_PLANNER_MIN_CUT_H

#include "util/memory.h"

#define OXP_CUT_SOURCE 0
#define OXP_CUT_SINK 1
#define OXP_CUT_FIRST 2               /* the caller's vertices begin here */
#define OXP_CUT_NEVER (INT64_MAX / 4) /* as a cost: these two are never parted so */

typedef struct oxp_cut_edge {
    uint32_t to;
    int64_t left; /* of its capacity */
    size_t next;  /* of the same vertex, or SIZE_MAX; the reverse of edge i is i ^ 1 */
} oxp_cut_edge;

typedef struct oxp_cut {
    oxp_ctx *ctx;
    oxp_cut_edge *edges;
    size_t edge_count, edge_capacity;
    size_t *first; /* by vertex */
    size_t vertex_count;
    uint32_t *level, *queue, *path; /* scratch */
    size_t *at;
} oxp_cut;

oxp_status oxp_cut_open(oxp_cut *out, oxp_ctx *ctx, size_t vertex_count);
void oxp_cut_close(oxp_cut *cut);
/* `cost` is paid when `from` is on the source's side and `to` on the sink's. */
oxp_status oxp_cut_add(oxp_cut *cut, uint32_t from, uint32_t to, int64_t cost);
/* source_side[vertex_count] */
void oxp_cut_solve(oxp_cut *cut, bool *source_side);

#endif
