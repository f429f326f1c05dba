/* input_statistics.c - one pass, a row of cells per input. */
#include "calibration/input_statistics.h"

#include <math.h>

#include "calibration/scale_error.h"

typedef struct pass {
    const oxp_ranges *ranges;
    oxp_input_statistics *statistics;
} pass;

/* A tensor inside a Loop body comes by many times: its elements add up. */
static void add(pass *p, size_t slot, size_t tensor, const oxp_tensor *t)
{
    oxp_input_statistic *s = &p->statistics->cells[slot * p->statistics->tensors + tensor];
    const float *x = t->data;
    if (t->dtype != OXP_FLOAT)
        return;
    for (size_t i = 0; i < t->count; i++) {
        if (!(fabsf(x[i]) < OXP_HUGE_VALUE))
            continue;
        s->min = s->elements == 0 || x[i] < s->min ? x[i] : s->min;
        s->max = s->elements == 0 || x[i] > s->max ? x[i] : s->max;
        s->sum += (double)x[i];
        s->elements++;
    }
    s->score += oxp_scale_score(x, t->count, p->ranges->items[tensor].scale, 255);
}

static oxp_status on_value(void *user, oxp_ctx *ctx, int worker, size_t slot,
                           const oxp_graph *graph, uint32_t value, const oxp_tensor *t)
{
    (void)ctx;
    (void)worker;
    pass *p = user;
    size_t at = p->ranges->index[graph->id][value];
    if (at)
        add(p, slot, at - 1, t);
    return OXP_OK;
}

/* Graph inputs are made by no node: they are seen with the whole sample. */
static oxp_status on_sample(void *user, oxp_ctx *ctx, int worker, size_t slot,
                            const oxp_tensor *inputs, const oxp_tensor *outputs)
{
    (void)ctx;
    (void)worker;
    (void)outputs;
    pass *p = user;
    for (size_t i = 0; i < p->ranges->count; i++)
        if (p->ranges->items[i].input >= 0)
            add(p, slot, i, &inputs[p->ranges->items[i].input]);
    return OXP_OK;
}

oxp_status oxp_input_statistics_collect(oxp_input_statistics *out, oxp_arena *arena,
                                        const oxp_graph *graph, const oxp_source *source,
                                        const size_t *which, size_t count, const oxp_ranges *ranges)
{
    oxp_input_statistics s = {.inputs = count, .tensors = ranges->count};
    size_t cells;
    if (__builtin_mul_overflow(count, ranges->count, &cells))
        return OXP_ELIMIT;
    s.cells = oxp_arena_alloc(arena, cells + 1, sizeof *s.cells);
    if (!s.cells)
        return OXP_ELIMIT;
    pass p = {ranges, &s};
    oxp_run_hooks hooks = {.user = &p, .value = on_value, .sample = on_sample};
    OXP_TRY(oxp_run_samples(arena->ctx, graph, source, which, count, &hooks, "samples"));
    *out = s;
    return OXP_OK;
}
