/* ranges.c - the calibration passes. */
#include "calibration/ranges.h"

#include <math.h>
#include <string.h>

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

typedef struct pass {
    oxp_ranges *ranges;
    int workers;
    oxp_histogram **seen; /* [worker * count + item] */
} pass;

static oxp_status add_values(pass *p, oxp_ctx *ctx, int worker, size_t item, const oxp_tensor *t)
{
    oxp_histogram **h = &p->seen[(size_t)worker * p->ranges->count + item];
    if (!*h) {
        OXP_TRY(oxp_alloc(h, ctx, 1, sizeof **h, "histogram"));
        oxp_histogram_init(*h);
    }
    if (t->dtype == OXP_FLOAT)
        oxp_histogram_add(*h, t->data, t->count);
    return OXP_OK;
}

static oxp_status on_value(void *user, oxp_ctx *ctx, int worker, size_t slot,
                           const oxp_graph *graph, uint32_t value, const oxp_tensor *t)
{
    (void)slot;
    pass *p = user;
    size_t at = p->ranges->index[graph->id][value];
    return at ? add_values(p, ctx, worker, at - 1, t) : OXP_OK;
}

/* Graph inputs are made by no node: they are seen with the whole sample. */
static oxp_status on_sample(void *user, oxp_ctx *ctx, int worker, size_t slot,
                            const oxp_tensor *inputs, const oxp_tensor *outputs)
{
    (void)slot;
    (void)outputs;
    pass *p = user;
    for (size_t i = 0; i < p->ranges->count; i++)
        if (p->ranges->items[i].input >= 0)
            OXP_TRY(add_values(p, ctx, worker, i, &inputs[p->ranges->items[i].input]));
    return OXP_OK;
}

static oxp_status merge(pass *p, oxp_arena *arena)
{
    for (size_t i = 0; i < p->ranges->count; i++) {
        oxp_range *r = &p->ranges->items[i];
        r->seen = oxp_arena_alloc(arena, 1, sizeof *r->seen);
        if (!r->seen)
            return OXP_ELIMIT;
        oxp_histogram_init(r->seen);
        for (int w = 0; w < p->workers; w++) {
            oxp_histogram **h = &p->seen[(size_t)w * p->ranges->count + i];
            if (*h)
                oxp_histogram_merge(r->seen, *h);
            oxp_free(*h);
            *h = NULL;
        }
    }
    return OXP_OK;
}

static oxp_status histograms(oxp_ranges *ranges, oxp_arena *arena, const oxp_graph *graph,
                             const oxp_source *source, const size_t *which, size_t count)
{
    pass p = {.ranges = ranges, .workers = arena->ctx->threads};
    size_t slots = (size_t)p.workers * ranges->count;
    OXP_TRY(oxp_alloc(&p.seen, arena->ctx, slots + 1, sizeof *p.seen, "histograms"));
    oxp_run_hooks hooks = {.user = &p, .value = on_value, .sample = on_sample};
    oxp_status status =
        oxp_run_samples(arena->ctx, graph, source, which, count, &hooks, "calibrate");
    if (status == OXP_OK)
        status = merge(&p, arena);
    for (size_t i = 0; i < slots; i++)
        oxp_free(p.seen[i]);
    oxp_free(p.seen);
    return status;
}

/* ---- pass two: what each method costs the layers that read the value ---- */

#define TRIALS (OXP_METHOD_COUNT + 1)

typedef struct trial {
    oxp_ranges *ranges;
    const oxp_graph *graph;
    size_t **judge_of; /* by graph and node: range + 1 */
    oxp_scale *scales; /* [item * methods + method] */
    /* [(slot * count + item) * TRIALS + method]; the last one is the dynamic scale */
    double *errors;
} trial;

static double squared_distance(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double e = (double)a[i] - (double)b[i];
        sum += isfinite(e) ? e * e : 0;
    }
    return sum;
}

static bool same_scale(oxp_scale a, oxp_scale b)
{
    return a.scale == b.scale && a.zero_point == b.zero_point;
}

/* Runs the node once more with input 0 quantised, into scratch, and adds what that changes. */
static oxp_status try_scale(oxp_node *n, oxp_scale s, double *error)
{
    const oxp_tensor *in = n->in[0];
    oxp_tensor out = n->out[0], quantised = *in;
    quantised.data = oxp_arena_alloc(n->scratch, in->count, sizeof(float));
    n->out[0].data = oxp_arena_alloc(n->scratch, out.count, sizeof(float));
    oxp_status status = quantised.data && n->out[0].data ? OXP_OK : OXP_ELIMIT;
    if (status == OXP_OK) {
        oxp_fake_quantise_u8(quantised.data, in->data, in->count, s, 255);
        n->in[0] = &quantised;
        status = n->op->forward(n);
        n->in[0] = in;
    }
    if (status == OXP_OK)
        *error += squared_distance(out.data, n->out[0].data, out.count);
    n->out[0].data = out.data;
    return status;
}

/* The scale that DynamicQuantizeLinear takes from this very tensor. */
static oxp_scale dynamic_scale(const oxp_tensor *t)
{
    const float *x = t->data;
    float low = 0, high = 0;
    for (size_t i = 0; i < t->count; i++) {
        low = fminf(low, x[i]);
        high = fmaxf(high, x[i]);
    }
    return oxp_scale_for_range(low, high, 255);
}

static oxp_status try_dynamic(oxp_node *n, double *error)
{
    oxp_arena_mark mark = oxp_arena_mark_now(n->scratch);
    oxp_status status = try_scale(n, dynamic_scale(n->in[0]), error);
    oxp_arena_release(n->scratch, mark);
    return status;
}

static oxp_status on_node(void *user, int worker, size_t slot, oxp_node *n)
{
    (void)worker;
    trial *t = user;
    size_t at = t->judge_of[n->def->graph->id][n->def->index];
    if (at == 0 || n->in[0]->dtype != OXP_FLOAT || n->out[0].dtype != OXP_FLOAT)
        return OXP_OK;
    size_t item = at - 1;
    const oxp_scale *scales = &t->scales[item * OXP_METHOD_COUNT];
    double *errors = &t->errors[(slot * t->ranges->count + item) * TRIALS];
    for (int m = 0; m < OXP_METHOD_COUNT; m++) {
        double error = 0;
        int twin = 0;
        while (twin < m && !same_scale(scales[twin], scales[m]))
            twin++;
        if (twin < m) /* two methods of one opinion: errors[twin] already holds this node's part */
            continue;
        oxp_arena_mark mark = oxp_arena_mark_now(n->scratch);
        OXP_TRY(try_scale(n, scales[m], &error));
        oxp_arena_release(n->scratch, mark);
        errors[m] += error;
    }
    return try_dynamic(n, &errors[OXP_METHOD_COUNT]);
}

static void choose(oxp_ranges *ranges, const trial *t, size_t slots)
{
    for (size_t i = 0; i < ranges->count; i++) {
        oxp_range *r = &ranges->items[i];
        const oxp_scale *scales = &t->scales[i * OXP_METHOD_COUNT];
        bool judged = false;
        for (int m = 0; m < OXP_METHOD_COUNT; m++) {
            int twin = 0;
            while (twin < m && !same_scale(scales[twin], scales[m]))
                twin++;
            for (size_t s = 0; s < slots; s++)
                r->output_error[m] += t->errors[(s * ranges->count + i) * TRIALS + (size_t)twin];
            judged |= r->output_error[m] > 0;
        }
        for (size_t s = 0; s < slots; s++)
            r->dynamic_error += t->errors[(s * ranges->count + i) * TRIALS + OXP_METHOD_COUNT];
        r->judged = judged;
        if (r->fixed)
            continue;
        r->method =
            OXP_METHOD_MSE; /* nothing reads it in integers: the tensor's own error decides */
        for (int m = 0; judged && m < OXP_METHOD_COUNT; m++)
            if (r->output_error[m] < r->output_error[r->method])
                r->method = (oxp_method)m;
        r->scale = scales[r->method];
    }
}

static oxp_status second_pass(oxp_ranges *ranges, oxp_arena *arena, const oxp_graph *graph,
                              const oxp_source *source, const size_t *which, size_t count, trial *t)
{
    OXP_TRY(oxp_alloc(&t->errors, arena->ctx, count * ranges->count + 1, TRIALS * sizeof *t->errors,
                      "errors"));
    oxp_run_hooks hooks = {.user = t, .node = on_node};
    oxp_status status = oxp_run_samples(arena->ctx, graph, source, which, count, &hooks, "scales");
    if (status == OXP_OK)
        choose(ranges, t, count);
    oxp_free(t->errors);
    return status;
}

static oxp_status judge_table(trial *t, oxp_arena *arena, const oxp_graph *graph,
                              const oxp_judge *judges, size_t judge_count)
{
    const oxp_graph *const *graphs;
    size_t graph_count;
    OXP_TRY(oxp_graph_all(&graphs, &graph_count, arena, graph));
    t->judge_of = oxp_arena_alloc(arena, graph_count, sizeof *t->judge_of);
    for (size_t g = 0; t->judge_of && g < graph_count; g++) {
        t->judge_of[g] = oxp_arena_alloc(arena, graphs[g]->node_count + 1, sizeof **t->judge_of);
        if (!t->judge_of[g])
            return OXP_ELIMIT;
    }
    if (!t->judge_of)
        return OXP_ELIMIT;
    for (size_t i = 0; i < judge_count; i++)
        t->judge_of[judges[i].node->graph->id][judges[i].node->index] = judges[i].range + 1;
    return OXP_OK;
}

/* ---- the whole ---- */

static int input_position(const oxp_graph *graph, uint32_t value)
{
    for (size_t i = 0; !graph->parent && i < graph->input_count; i++)
        if (graph->inputs[i] == value)
            return (int)i;
    return -1;
}

static bool made_by(const oxp_watch *w, const char *type)
{
    const oxp_graph_node *n = w->graph->values[w->value].producer;
    return n && strcmp(n->type, type) == 0;
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
                                  .input = input_position(w->graph, w->value),
                                  .fixed = made_by(w, "Softmax")};
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
    OXP_TRY(histograms(&r, arena, graph, source, which, count));
    OXP_TRY(check_seen(&r, watches, arena->ctx));
    trial t = {.ranges = &r, .graph = graph};
    t.scales = oxp_arena_alloc(arena, watch_count * OXP_METHOD_COUNT, sizeof *t.scales);
    if (!t.scales)
        return OXP_ELIMIT;
    for (size_t i = 0; i < watch_count; i++) {
        for (int m = 0; m < OXP_METHOD_COUNT; m++)
            if (options->automatic || m == (int)options->method)
                t.scales[i * OXP_METHOD_COUNT + (size_t)m] =
                    oxp_scale_by((oxp_method)m, r.items[i].seen, options->percentile);
        r.items[i].method = options->method;
        r.items[i].scale = t.scales[i * OXP_METHOD_COUNT + options->method];
        if (!r.items[i].fixed)
            continue;
        r.items[i].scale = (oxp_scale){1.0f / 256.0f, 0};
        for (int m = 0; m < OXP_METHOD_COUNT; m++) /* what is judged is what is taken */
            t.scales[i * OXP_METHOD_COUNT + (size_t)m] = r.items[i].scale;
    }
    if (options->automatic) {
        OXP_TRY(judge_table(&t, arena, graph, judges, judge_count));
        size_t second = count < options->second_pass ? count : options->second_pass;
        OXP_TRY(second_pass(&r, arena, graph, source, which, second, &t));
    }
    *out = r;
    return OXP_OK;
}
