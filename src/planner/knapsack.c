/* knapsack.c - the table over budgets, and the bound from the groups' hulls. */
#include "planner/knapsack.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- groups without what is dominated ---- */

typedef struct reduced { /* points of a group, bytes rising; index: the option */
    oxp_frontier_point *points;
    size_t count;
} reduced;

typedef struct problem {
    oxp_arena *arena;
    reduced *groups;
    size_t count, least, most; /* bytes of the smallest plan and of the best one */
} problem;

static oxp_status reduce(problem *p, const oxp_knapsack_group *groups)
{
    p->groups = oxp_arena_alloc(p->arena, p->count + 1, sizeof *p->groups);
    if (!p->groups)
        return OXP_ELIMIT;
    for (size_t g = 0; g < p->count; g++) {
        reduced *r = &p->groups[g];
        r->points = oxp_arena_alloc(p->arena, groups[g].count + 1, sizeof *r->points);
        if (!r->points)
            return OXP_ELIMIT;
        for (size_t c = 0; c < groups[g].count; c++)
            if (isfinite(groups[g].options[c].loss))
                r->points[r->count++] = (oxp_frontier_point){.bytes = groups[g].options[c].bytes,
                                                             .loss = groups[g].options[c].loss,
                                                             .index = c};
        if (r->count == 0)
            return oxp_fail(p->arena->ctx, OXP_EINTERNAL, "E-INTERNAL",
                            "group %zu of %zu has no option of a finite loss", g, p->count);
        r->count = oxp_frontier_make(r->points, r->count);
        p->least += r->points[0].bytes;
        p->most += r->points[r->count - 1].bytes;
    }
    return OXP_OK;
}

/* ---- the bound ---- */

typedef struct segment { /* between neighbours on a group's hull */
    double bytes, saved;
} segment;

static int by_slope(const void *a, const void *b)
{
    const segment *x = a, *y = b;
    double p = x->saved / x->bytes, q = y->saved / y->bytes;
    return (p < q) - (p > q);
}

static oxp_status list_segments(segment **out, size_t *count, double *loss, const problem *p)
{
    size_t most = 0;
    for (size_t g = 0; g < p->count; g++)
        most += p->groups[g].count;
    segment *s = *out = oxp_arena_alloc(p->arena, most + 1, sizeof *s);
    if (!s)
        return OXP_ELIMIT;
    for (size_t g = 0; g < p->count; g++) {
        const oxp_frontier_point *from = &p->groups[g].points[0];
        *loss += from->loss;
        for (size_t k = 1; k < p->groups[g].count; k++) {
            const oxp_frontier_point *to = &p->groups[g].points[k];
            if (!to->on_hull)
                continue;
            s[(*count)++] = (segment){(double)(to->bytes - from->bytes), from->loss - to->loss};
            from = to;
        }
    }
    qsort(s, *count, sizeof *s, by_slope);
    return OXP_OK;
}

static oxp_status bound(oxp_knapsack *out, const problem *p, size_t budget)
{
    segment *s;
    size_t count = 0, k = 0;
    double loss = 0, rest = (double)(budget - p->least);
    OXP_TRY(list_segments(&s, &count, &loss, p));
    for (; k < count && s[k].bytes <= rest; k++) {
        loss -= s[k].saved;
        rest -= s[k].bytes;
    }
    out->lambda = k < count ? s[k].saved / s[k].bytes : 0;
    out->dual_bound = loss - out->lambda * rest;
    return OXP_OK;
}

/* ---- the table ---- */

typedef struct table {
    size_t unit, cells;
    double *loss, *next;        /* by cell: of the best plan of at most so many units */
    size_t *bytes, *next_bytes; /* above the least, exact */
    uint16_t *taken;            /* [group * cells + cell], or NULL */
} table;

static oxp_status make_table(table *t, const problem *p, size_t rest, size_t steps, bool traced)
{
    size_t span = p->most - p->least;
    rest = rest < span ? rest : span;
    t->unit = rest / steps > 1 ? rest / steps : 1;
    t->cells = rest / t->unit + 1;
    t->loss = oxp_arena_alloc(p->arena, t->cells, sizeof *t->loss);
    t->next = oxp_arena_alloc(p->arena, t->cells, sizeof *t->next);
    t->bytes = oxp_arena_alloc(p->arena, t->cells, sizeof *t->bytes);
    t->next_bytes = oxp_arena_alloc(p->arena, t->cells, sizeof *t->next_bytes);
    t->taken = NULL;
    if (traced)
        t->taken = oxp_arena_alloc(p->arena, p->count * t->cells + 1, sizeof *t->taken);
    return t->loss && t->next && t->bytes && t->next_bytes && (t->taken || !traced) ? OXP_OK
                                                                                    : OXP_ELIMIT;
}

static size_t units_of(const table *t, const reduced *r, size_t point, bool up)
{
    size_t bytes = r->points[point].bytes - r->points[0].bytes;
    return up ? bytes / t->unit + (bytes % t->unit != 0) : bytes / t->unit;
}

/* Adds one option of the group to the plans of all cells. */
static void try_point(table *t, const reduced *r, size_t point, bool up, uint16_t *taken)
{
    size_t units = units_of(t, r, point, up), bytes = r->points[point].bytes - r->points[0].bytes;
    for (size_t j = units; j < t->cells; j++) {
        double loss = t->loss[j - units] + r->points[point].loss;
        size_t total = t->bytes[j - units] + bytes;
        if (loss < t->next[j] || (loss <= t->next[j] && total < t->next_bytes[j])) {
            t->next[j] = loss;
            t->next_bytes[j] = total;
            if (taken)
                taken[j] = (uint16_t)point;
        }
    }
}

static void fill(table *t, const problem *p, bool up)
{
    for (size_t g = 0; g < p->count; g++) {
        uint16_t *taken = t->taken ? t->taken + g * t->cells : NULL;
        for (size_t j = 0; j < t->cells; j++)
            t->next[j] = INFINITY;
        for (size_t k = 0; k < p->groups[g].count; k++)
            try_point(t, &p->groups[g], k, up, taken);
        double *loss = t->loss;
        t->loss = t->next;
        t->next = loss;
        size_t *bytes = t->bytes;
        t->bytes = t->next_bytes;
        t->next_bytes = bytes;
    }
}

static void trace(oxp_knapsack *out, const table *t, const problem *p)
{
    size_t cell = t->cells - 1;
    for (size_t g = p->count; g-- > 0;) {
        size_t point = t->taken[g * t->cells + cell];
        const oxp_frontier_point *at = &p->groups[g].points[point];
        cell -= units_of(t, &p->groups[g], point, true);
        out->chosen[g] = at->index;
        out->bytes += at->bytes;
    }
    for (size_t g = 0; g < p->count; g++) /* in the order of the groups, not of the walk back */
        for (size_t k = 0; k < p->groups[g].count; k++)
            if (p->groups[g].points[k].index == out->chosen[g])
                out->loss += p->groups[g].points[k].loss;
}

/* ---- the calls ---- */

static oxp_status solve(oxp_knapsack *out, const problem *p, size_t budget, size_t steps)
{
    table up, down;
    out->loss = 0;
    OXP_TRY(make_table(&up, p, budget - p->least, steps, true));
    fill(&up, p, true);
    trace(out, &up, p);
    OXP_TRY(bound(out, p, budget));
    out->lower = out->loss;
    if (up.unit > 1) {
        OXP_TRY(make_table(&down, p, budget - p->least, steps, false));
        fill(&down, p, false);
        out->lower = down.loss[down.cells - 1];
    }
    double best = fmax(out->lower, out->dual_bound);
    out->gap = out->loss > 0 ? fmax(0, (out->loss - best) / out->loss) : 0;
    return OXP_OK;
}

static oxp_status make_problem(problem *p, oxp_arena *arena, const oxp_knapsack_group *groups,
                               size_t count)
{
    *p = (problem){.arena = arena, .count = count};
    return reduce(p, groups);
}

oxp_status oxp_knapsack_solve(oxp_knapsack *out, oxp_arena *arena, const oxp_knapsack_group *groups,
                              size_t count, size_t budget, size_t steps)
{
    oxp_arena work;
    problem p;
    oxp_knapsack k = {.chosen = oxp_arena_alloc(arena, count + 1, sizeof *k.chosen),
                      .loss = NAN,
                      .lower = NAN,
                      .dual_bound = NAN,
                      .lambda = NAN,
                      .gap = NAN};
    if (!k.chosen)
        return OXP_ELIMIT;
    oxp_arena_init(&work, arena->ctx);
    oxp_status status = make_problem(&p, &work, groups, count);
    if (status == OXP_OK) {
        k.least_bytes = p.least;
        k.is_feasible = p.least <= budget;
        for (size_t g = 0; g < count; g++)
            k.chosen[g] = p.groups[g].points[0].index;
        if (k.is_feasible)
            status = solve(&k, &p, budget, steps);
    }
    oxp_arena_free(&work);
    if (status == OXP_OK)
        *out = k;
    return status;
}

oxp_status oxp_knapsack_frontier(oxp_frontier_point **out, size_t *out_count, oxp_arena *arena,
                                 const oxp_knapsack_group *groups, size_t count, size_t steps)
{
    oxp_arena work;
    problem p;
    table t = {0};
    oxp_arena_init(&work, arena->ctx);
    oxp_status status = make_problem(&p, &work, groups, count);
    if (status == OXP_OK)
        status = make_table(&t, &p, p.most - p.least, steps, false);
    oxp_frontier_point *points = NULL;
    if (status == OXP_OK) {
        fill(&t, &p, true);
        points = oxp_arena_alloc(arena, t.cells, sizeof *points);
        status = points ? OXP_OK : OXP_ELIMIT;
    }
    for (size_t j = 0; status == OXP_OK && j < t.cells; j++)
        points[j] =
            (oxp_frontier_point){.bytes = p.least + t.bytes[j], .loss = t.loss[j], .index = j};
    if (status == OXP_OK) {
        *out = points;
        *out_count = oxp_frontier_make(points, t.cells);
    }
    oxp_arena_free(&work);
    return status;
}
