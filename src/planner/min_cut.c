/* min_cut.c - Dinic's maximum flow, without recursion. */
#include "planner/min_cut.h"

#include <string.h>

#define UNSEEN UINT32_MAX
#define NO_EDGE SIZE_MAX

oxp_status oxp_cut_open(oxp_cut *out, oxp_ctx *ctx, size_t vertex_count)
{
    oxp_cut c = {.ctx = ctx, .vertex_count = vertex_count};
    oxp_status status = oxp_alloc(&c.first, ctx, vertex_count, sizeof *c.first, "cut");
    if (status == OXP_OK)
        status = oxp_alloc(&c.at, ctx, vertex_count, sizeof *c.at, "cut");
    if (status == OXP_OK)
        status = oxp_alloc(&c.level, ctx, vertex_count, sizeof *c.level, "cut");
    if (status == OXP_OK)
        status = oxp_alloc(&c.queue, ctx, vertex_count, sizeof *c.queue, "cut");
    if (status == OXP_OK)
        status = oxp_alloc(&c.path, ctx, vertex_count, sizeof *c.path, "cut");
    for (size_t v = 0; status == OXP_OK && v < vertex_count; v++)
        c.first[v] = NO_EDGE;
    if (status != OXP_OK)
        oxp_cut_close(&c);
    else
        *out = c;
    return status;
}

void oxp_cut_close(oxp_cut *c)
{
    oxp_free(c->edges);
    oxp_free(c->first);
    oxp_free(c->at);
    oxp_free(c->level);
    oxp_free(c->queue);
    oxp_free(c->path);
    *c = (oxp_cut){0};
}

static void append(oxp_cut *c, uint32_t from, uint32_t to, int64_t capacity)
{
    c->edges[c->edge_count] = (oxp_cut_edge){to, capacity, c->first[from]};
    c->first[from] = c->edge_count++;
}

oxp_status oxp_cut_add(oxp_cut *c, uint32_t from, uint32_t to, int64_t cost)
{
    if (cost <= 0)
        return OXP_OK;
    OXP_TRY(oxp_grow(&c->edges, &c->edge_capacity, c->ctx, c->edge_count + 2, sizeof *c->edges));
    append(c, from, to, cost);
    append(c, to, from, 0);
    return OXP_OK;
}

/* Distances from the source over edges with capacity left; whether the sink is reached. */
static bool find_levels(oxp_cut *c)
{
    size_t head = 0, tail = 0;
    for (size_t v = 0; v < c->vertex_count; v++)
        c->level[v] = UNSEEN;
    c->level[OXP_CUT_SOURCE] = 0;
    c->queue[tail++] = OXP_CUT_SOURCE;
    while (head < tail) {
        uint32_t v = c->queue[head++];
        for (size_t e = c->first[v]; e != NO_EDGE; e = c->edges[e].next)
            if (c->edges[e].left > 0 && c->level[c->edges[e].to] == UNSEEN) {
                c->level[c->edges[e].to] = c->level[v] + 1;
                c->queue[tail++] = c->edges[e].to;
            }
    }
    return c->level[OXP_CUT_SINK] != UNSEEN;
}

/* Moves at[v] to the next edge one level on; false when there is none. */
static bool advance(oxp_cut *c, uint32_t v)
{
    for (; c->at[v] != NO_EDGE; c->at[v] = c->edges[c->at[v]].next) {
        const oxp_cut_edge *e = &c->edges[c->at[v]];
        if (e->left > 0 && c->level[e->to] == c->level[v] + 1)
            return true;
    }
    return false;
}

static void push_along_path(oxp_cut *c, size_t length)
{
    int64_t least = OXP_CUT_NEVER;
    for (size_t i = 0; i < length; i++) {
        int64_t left = c->edges[c->at[c->path[i]]].left;
        least = left < least ? left : least;
    }
    for (size_t i = 0; i < length; i++) {
        oxp_cut_edge *e = &c->edges[c->at[c->path[i]]];
        oxp_cut_edge *back = &c->edges[c->at[c->path[i]] ^ 1];
        e->left -= least;
        back->left += least;
    }
}

/* Paths one by one until the levels carry no more. */
static void block_levels(oxp_cut *c)
{
    size_t length = 0;
    uint32_t v = OXP_CUT_SOURCE;
    memcpy(c->at, c->first, c->vertex_count * sizeof *c->at);
    for (;;) {
        if (v == OXP_CUT_SINK) {
            push_along_path(c, length);
            length = 0;
            v = OXP_CUT_SOURCE;
        } else if (advance(c, v)) {
            c->path[length++] = v;
            v = c->edges[c->at[v]].to;
        } else if (length == 0) {
            return;
        } else {
            v = c->path[--length];
            c->at[v] = c->edges[c->at[v]].next;
        }
    }
}

void oxp_cut_solve(oxp_cut *c, bool *source_side)
{
    while (find_levels(c))
        block_levels(c);
    for (size_t v = 0; v < c->vertex_count; v++)
        source_side[v] = c->level[v] != UNSEEN;
}
