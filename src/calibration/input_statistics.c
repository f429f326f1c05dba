/* input_statistics.c - one pass, a row of cells per input. */
#include "calibration/input_statistics.h"

#include <math.h>

#include "calibration/scale_error.h"
#include "util/map.h"
#include "util/random.h"

typedef struct pass {
    const oxp_ranges *ranges;
    oxp_input_statistics *statistics;
} pass;

/* One element of the input is a draw from all values; which one, its content decides. */
static bool draw_outside(const oxp_tensor *t, oxp_scale s, uint64_t seed, size_t tensor)
{
    oxp_random r = oxp_random_make(seed, oxp_hash(t->data, oxp_tensor_bytes(t)), tensor);
    double x = (double)((const float *)t->data)[oxp_random_below(&r, t->count)];
    double step = (double)s.scale;
    return x < -((double)s.zero_point + 0.5) * step || x > (255.5 - (double)s.zero_point) * step;
}

/* A tensor inside a Loop body comes by many times: its elements add up. */
static void add(pass *p, uint64_t seed, size_t slot, size_t tensor, const oxp_tensor *t)
{
    oxp_input_statistic *s = &p->statistics->cells[slot * p->statistics->tensors + tensor];
    const float *x = t->data;
    if (t->dtype != OXP_FLOAT || t->count == 0)
        return;
    if (s->elements == 0)
        s->outside = draw_outside(t, p->ranges->items[tensor].scale, seed, tensor);
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
    (void)worker;
    pass *p = user;
    size_t at = p->ranges->index[graph->id][value];
    if (at)
        add(p, ctx->seed, slot, at - 1, t);
    return OXP_OK;
}

/* Graph inputs are made by no node: they are seen with the whole sample. */
static oxp_status on_sample(void *user, oxp_ctx *ctx, int worker, size_t slot,
                            const oxp_tensor *inputs, const oxp_tensor *outputs)
{
    (void)worker;
    (void)outputs;
    pass *p = user;
    for (size_t i = 0; i < p->ranges->count; i++)
        if (p->ranges->items[i].input >= 0)
            add(p, ctx->seed, slot, i, &inputs[p->ranges->items[i].input]);
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
