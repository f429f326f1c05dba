/* ranges.c - the calibration passes. */
#include "calibration/ranges.h"

#include <string.h>

#include "calibration/given.h"
#include "calibration/race.h"
#include "util/parallel.h"

const oxp_range *oxp_ranges_find(const oxp_ranges *r, const oxp_graph *graph, uint32_t value)
{
    const oxp_value *v = &graph->values[value];
    if (v->kind == OXP_VALUE_OUTER) {
        graph = v->outer_graph;
        value = v->outer_value;
    }
    size_t at = graph->id < r->graph_count ? r->index[graph->id][value] : 0;
    return at ? &r->items[at - 1] : NULL;
}

/* ---- pass one: histograms ---- */

typedef struct sight { /* what a worker saw of an item */
    oxp_histogram *values;
    oxp_extreme extreme; /* the first of its samples that held the smallest and the largest */
} sight;

typedef struct pass {
    oxp_ranges *ranges;
    int workers;
    sight *seen; /* [worker * count + item] */
    const bool *wants_dynamic;
    double *dynamic_errors; /* [slot * count + item], of those that want it */
} pass;

static oxp_status add_values(pass *p, oxp_ctx *ctx, int worker, size_t slot, size_t item,
                             const oxp_tensor *t)
{
    sight *s = &p->seen[(size_t)worker * p->ranges->count + item];
    if (!s->values) {
        OXP_TRY(oxp_alloc(&s->values, ctx, 1, sizeof *s->values, "histogram"));
        oxp_histogram_init(s->values);
    }
    if (t->dtype != OXP_FLOAT)
        return OXP_OK;
    float low = s->values->min, high = s->values->max;
    oxp_histogram_add(s->values, t->data, t->count);
    if (s->values->min < low)
        s->extreme.low = slot;
    if (s->values->max > high)
        s->extreme.high = slot;
    if (p->wants_dynamic[item])
        p->dynamic_errors[slot * p->ranges->count + item] +=
            oxp_quantisation_error(t->data, t->count, oxp_scale_of_run(t), 255);
    return OXP_OK;
}

static oxp_status on_value(void *user, oxp_ctx *ctx, int worker, size_t slot,
                           const oxp_graph *graph, uint32_t value, const oxp_tensor *t)
{
    pass *p = user;
    size_t at = p->ranges->index[graph->id][value];
    return at ? add_values(p, ctx, worker, slot, at - 1, t) : OXP_OK;
}

/* Graph inputs are made by no node: they are seen with the whole sample. */
static oxp_status on_sample(void *user, oxp_ctx *ctx, int worker, size_t slot,
                            const oxp_tensor *inputs, const oxp_tensor *outputs)
{
    (void)outputs;
    pass *p = user;
    for (size_t i = 0; i < p->ranges->count; i++)
        if (p->ranges->items[i].input >= 0)
            OXP_TRY(add_values(p, ctx, worker, slot, i, &inputs[p->ranges->items[i].input]));
    return OXP_OK;
}

/* Of equal extremes that of the earlier sample. */
static void merge_item(const pass *p, size_t item, oxp_histogram *values, oxp_extreme *extreme)
{
    oxp_histogram_init(values);
    *extreme = (oxp_extreme){0};
    for (int w = 0; w < p->workers; w++) {
        const sight *s = &p->seen[(size_t)w * p->ranges->count + item];
        if (!s->values)
            continue;
        const oxp_histogram *h = s->values;
        bool any = values->count > 0;
        if (!any || h->min < values->min ||
            (h->min <= values->min && s->extreme.low < extreme->low))
            extreme->low = s->extreme.low;
        if (!any || h->max > values->max ||
            (h->max >= values->max && s->extreme.high < extreme->high))
            extreme->high = s->extreme.high;
        oxp_histogram_merge(values, h);
    }
}

static oxp_status merge(pass *p, oxp_arena *arena, oxp_extreme *extremes, double *dynamic_errors,
                        size_t samples)
{
    for (size_t i = 0; i < p->ranges->count; i++) {
        oxp_range *r = &p->ranges->items[i];
        r->seen = oxp_arena_alloc(arena, 1, sizeof *r->seen);
        if (!r->seen)
            return OXP_ELIMIT;
        merge_item(p, i, r->seen, &extremes[i]);
        for (int w = 0; w < p->workers; w++) {
            sight *s = &p->seen[(size_t)w * p->ranges->count + i];
            oxp_free(s->values);
            s->values = NULL;
        }
        for (size_t k = 0; k < samples; k++)
            dynamic_errors[i] += p->dynamic_errors[k * p->ranges->count + i];
    }
    return OXP_OK;
}

typedef struct pass_one { /* what it gives pass two */
    bool *wants_dynamic;
    oxp_extreme *extremes;
    double *dynamic_errors;
} pass_one;

static oxp_status start_pass_one(pass_one *one, oxp_arena *arena, size_t items,
                                 const oxp_judge *judges, size_t judge_count)
{
    one->wants_dynamic = oxp_arena_alloc(arena, items, sizeof *one->wants_dynamic);
    one->extremes = oxp_arena_alloc(arena, items, sizeof *one->extremes);
    one->dynamic_errors = oxp_arena_alloc(arena, items, sizeof *one->dynamic_errors);
    if (!one->wants_dynamic || !one->extremes || !one->dynamic_errors)
        return OXP_ELIMIT;
    for (size_t i = 0; i < judge_count; i++)
        one->wants_dynamic[judges[i].range] |= judges[i].dynamic;
    return OXP_OK;
}

static oxp_status histograms(oxp_ranges *ranges, oxp_arena *arena, const oxp_graph *graph,
                             const oxp_source *source, const size_t *which, size_t count,
                             pass_one *one)
{
    pass p = {
        .ranges = ranges, .workers = arena->ctx->threads, .wants_dynamic = one->wants_dynamic};
    size_t sights = (size_t)p.workers * ranges->count;
    OXP_TRY(oxp_alloc(&p.seen, arena->ctx, sights + 1, sizeof *p.seen, "histograms"));
    oxp_status status = oxp_alloc(&p.dynamic_errors, arena->ctx, count * ranges->count + 1,
                                  sizeof *p.dynamic_errors, "errors");
    oxp_run_hooks hooks = {.user = &p, .value = on_value, .sample = on_sample, .any_layout = true};
    if (status == OXP_OK)
        status = oxp_run_samples(arena->ctx, graph, source, which, count, &hooks, "calibrate");
    if (status == OXP_OK)
        status = merge(&p, arena, one->extremes, one->dynamic_errors, count);
    for (size_t i = 0; i < sights; i++)
        oxp_free(p.seen[i].values);
    oxp_free(p.dynamic_errors);
    oxp_free(p.seen);
    return status;
}

static void take_seen(oxp_ranges *r, pass_one *one, const oxp_seen_range *seen)
{
    for (size_t i = 0; i < r->count; i++) {
        r->items[i].seen = seen[i].values;
        one->extremes[i] = (oxp_extreme){seen[i].low, seen[i].high};
        one->dynamic_errors[i] = seen[i].dynamic_error;
    }
}

/* ---- the whole ---- */

static int input_position(const oxp_graph *graph, uint32_t value)
{
    for (size_t i = 0; !graph->parent && i < graph->input_count; i++)
        if (graph->inputs[i] == value)
            return (int)i;
    return -1;
}

/* The scale of a value that has one, whatever was seen. */
static bool is_fixed(oxp_scale *scale, const oxp_watch *w)
{
    oxp_given given;
    const oxp_graph_node *n = w->graph->values[w->value].producer;
    *scale = (oxp_scale){1.0f / 256.0f, 0};
    if (n && strcmp(n->type, "Softmax") == 0)
        return true;
    if (!oxp_given_input(&given, w->graph, w->value))
        return false;
    *scale = given.scale;
    return true;
}

static oxp_status set_up(oxp_ranges *r, oxp_arena *arena, const oxp_graph *graph,
                         const oxp_watch *watches, size_t count)
{
    const oxp_graph *const *graphs;
    OXP_TRY(oxp_graph_all(&graphs, &r->graph_count, arena, graph));
    r->items = oxp_arena_alloc(arena, count + 1, sizeof *r->items);
    r->index = oxp_arena_alloc(arena, r->graph_count, sizeof *r->index);
    if (!r->items || !r->index)
        return OXP_ELIMIT;
    for (size_t g = 0; g < r->graph_count; g++) {
        r->index[g] = oxp_arena_alloc(arena, graphs[g]->value_count + 1, sizeof **r->index);
        if (!r->index[g])
            return OXP_ELIMIT;
    }
    for (size_t i = 0; i < count; i++) {
        const oxp_watch *w = &watches[i];
        r->items[i] = (oxp_range){.graph_id = w->graph->id,
                                  .value = w->value,
                                  .input = input_position(w->graph, w->value)};
        r->items[i].fixed = is_fixed(&r->items[i].fixed_scale, w);
        r->index[w->graph->id][w->value] = i + 1;
    }
    r->count = count;
    return OXP_OK;
}

static oxp_status check_seen(const oxp_ranges *r, const oxp_watch *watches, oxp_ctx *ctx)
{
    for (size_t i = 0; i < r->count; i++) {
        const oxp_histogram *h = r->items[i].seen;
        char quoted[OXP_QUOTED_MAX];
        if (h->count == 0 && h->nan > 0)
            return oxp_fail(ctx, OXP_EDATA, "E-CALIB-NONFINITE",
                            "value %s is NaN in all of its %llu elements",
                            oxp_quote(quoted, watches[i].graph->values[watches[i].value].name),
                            (unsigned long long)h->nan);
    }
    return OXP_OK;
}

/* The scale that each method takes from an item's histogram, and the item's own. */
static void read_scales(oxp_range *r, oxp_scale *scales, const oxp_calibration_options *options)
{
    for (int m = 0; m < OXP_METHOD_COUNT; m++)
        if (options->automatic || m == (int)options->method)
            scales[m] = oxp_scale_by((oxp_method)m, r->seen, options->percentile);
    r->method = options->method;
    r->scale = scales[options->method];
    if (!r->fixed)
        return;
    r->scale = r->fixed_scale;
    for (int m = 0; m < OXP_METHOD_COUNT; m++) /* what is judged is what is taken */
        scales[m] = r->scale;
}

typedef struct reading {
    oxp_range *items;
    oxp_scale *scales; /* [item * OXP_METHOD_COUNT + method] */
    const oxp_calibration_options *options;
} reading;

static oxp_status read_item(void *user, oxp_ctx *ctx, size_t item, int worker)
{
    (void)ctx;
    (void)worker;
    const reading *r = user;
    read_scales(&r->items[item], &r->scales[item * OXP_METHOD_COUNT], r->options);
    return OXP_OK;
}

oxp_status oxp_calibrate(oxp_ranges *out, oxp_arena *arena, const oxp_graph *graph,
                         const oxp_source *source, const size_t *which, size_t count,
                         const oxp_watch *watches, size_t watch_count, const oxp_judge *judges,
                         size_t judge_count, const oxp_calibration_options *options)
{
    oxp_ranges r = {0};
    OXP_TRY(set_up(&r, arena, graph, watches, watch_count));
    *out = r;
    if (watch_count == 0)
        return OXP_OK;
    pass_one one;
    OXP_TRY(start_pass_one(&one, arena, watch_count, judges, judge_count));
    if (options->seen)
        take_seen(&r, &one, options->seen);
    else
        OXP_TRY(histograms(&r, arena, graph, source, which, count, &one));
    OXP_TRY(check_seen(&r, watches, arena->ctx));
    oxp_scale *scales = oxp_arena_alloc(arena, watch_count * OXP_METHOD_COUNT, sizeof *scales);
    if (!scales)
        return OXP_ELIMIT;
    reading all = {.items = r.items, .scales = scales, .options = options};
    OXP_TRY(oxp_parallel_for(arena->ctx, watch_count, read_item, &all));
    if (options->automatic) {
        oxp_race race = {.graph = graph,
                         .judges = judges,
                         .judge_count = judge_count,
                         .scales = scales,
                         .extremes = one.extremes,
                         .dynamic_errors = one.dynamic_errors,
                         .tried = options->second_pass};
        OXP_TRY(oxp_race_run(&r, arena, &race, source, which, count));
    }
    *out = r;
    return OXP_OK;
}
