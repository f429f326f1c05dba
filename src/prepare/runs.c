/* runs.c - running a model before and after: reference outputs, ranks of values, differences. */
#include "prepare/runs.h"

#include <math.h>
#include <string.h>

#include "prepare/held.h"
#include "prepare/prepare.h"

#define RANDOM_STEPS \
    1000000u /* node executions of a run on random inputs, which may loop for ever */

/* ---- what values look like ---- */

typedef struct look { /* of one value in one sample, or in all */
    int rank;         /* -1: differs between runs */
    oxp_dtype dtype;
    bool seen;
} look;

typedef struct watcher {
    oxp_runs *runs;
    const oxp_graph *const *graphs;
    size_t count, values; /* of all graphs */
    size_t *first;        /* by graph: its values among all */
    look *looks;          /* [slot * values + value] */
} watcher;

static void note_look(look *l, int rank, oxp_dtype dtype)
{
    if (!l->seen)
        *l = (look){rank, dtype, true};
    if (l->rank != rank)
        l->rank = -1;
    if (l->dtype != dtype)
        l->dtype = OXP_UNDEFINED;
}

static oxp_status observe(void *user, oxp_ctx *ctx, size_t slot, const oxp_graph *graph,
                          uint32_t value, const oxp_tensor *t)
{
    (void)ctx;
    watcher *w = user;
    note_look(&w->looks[slot * w->values + w->first[graph->id] + value], t->rank, t->dtype);
    return OXP_OK;
}

static oxp_status watcher_make(watcher *w, oxp_runs *r, const oxp_graph *graph)
{
    w->runs = r;
    OXP_TRY(oxp_graph_all(&w->graphs, &w->count, &r->arena, graph));
    w->first = oxp_arena_alloc(&r->arena, w->count, sizeof *w->first);
    if (!w->first)
        return r->ctx->status;
    for (size_t i = 0; i < w->count; i++) {
        w->first[i] = w->values;
        w->values += w->graphs[i]->value_count;
    }
    OXP_TRY(oxp_alloc(&w->looks, r->ctx, w->values * r->sample_count + 1, sizeof *w->looks,
                      "looks of values"));
    for (size_t s = 0; s < r->sample_count; s++)
        for (size_t i = 0; i < graph->input_count; i++)
            note_look(&w->looks[s * w->values + w->first[0] + graph->inputs[i]],
                      r->samples[s][i]->rank, r->samples[s][i]->dtype);
    return OXP_OK;
}

/* Rank and type share a number: rank + 1 in the low byte, the type above. */
static oxp_status keep_look(oxp_map *map, const char *name, const look *l)
{
    return oxp_map_put(map, name, (size_t)(l->rank + 1) | (size_t)l->dtype << 8);
}

static oxp_status open_seen(oxp_seen *seen, oxp_arena *arena, size_t graphs)
{
    seen->graphs = oxp_arena_alloc(arena, graphs, sizeof *seen->graphs);
    if (!seen->graphs)
        return arena->ctx->status;
    for (; seen->graph_count < graphs; seen->graph_count++)
        oxp_map_init(&seen->graphs[seen->graph_count], arena->ctx);
    return OXP_OK;
}

static oxp_status keep_looks(const watcher *w)
{
    oxp_runs *r = w->runs;
    OXP_TRY(open_seen(&r->seen, &r->arena, w->count));
    for (size_t i = 0; i < w->count; i++)
        for (size_t v = 0; v < w->graphs[i]->value_count; v++) {
            look all = {0};
            for (size_t s = 0; s < r->sample_count; s++) {
                const look *l = &w->looks[s * w->values + w->first[i] + v];
                if (l->seen)
                    note_look(&all, l->rank, l->dtype);
            }
            if (all.seen)
                OXP_TRY(keep_look(&r->seen.graphs[i], w->graphs[i]->values[v].name, &all));
        }
    return OXP_OK;
}

oxp_status oxp_seen_make(oxp_seen *out, oxp_arena *arena, const oxp_graph *graph,
                         const oxp_tensor *shapes)
{
    OXP_TRY(open_seen(out, arena, 1));
    for (size_t v = 0; v < graph->value_count; v++)
        if (shapes[v].dtype != OXP_UNDEFINED)
            OXP_TRY(keep_look(&out->graphs[0], graph->values[v].name,
                              &(look){shapes[v].rank, shapes[v].dtype, true}));
    return OXP_OK;
}

void oxp_seen_free(oxp_seen *seen)
{
    for (size_t i = 0; i < seen->graph_count; i++)
        oxp_map_free(&seen->graphs[i]);
    *seen = (oxp_seen){0};
}

static size_t look_up(const oxp_seen *seen, size_t graph, const char *value)
{
    if (graph >= seen->graph_count)
        return 0;
    size_t found = oxp_map_get(&seen->graphs[graph], value);
    return found == OXP_MAP_NONE ? 0 : found;
}

int oxp_seen_rank(const oxp_seen *seen, size_t graph, const char *value)
{
    return (int)(look_up(seen, graph, value) & 0xff) - 1;
}

oxp_dtype oxp_seen_dtype(const oxp_seen *seen, size_t graph, const char *value)
{
    return (oxp_dtype)(look_up(seen, graph, value) >> 8);
}

/* ---- the reference ---- */

/* Memory that belongs to a graph or a session does not last. */
static oxp_status keep_output(oxp_runs *r, oxp_tensor *to, oxp_tensor *from)
{
    if (from->storage) {
        *to = *from;
        *from = (oxp_tensor){0};
        return OXP_OK;
    }
    return oxp_tensor_copy(to, r->ctx, from);
}

static oxp_status keep_outputs(void *user, oxp_ctx *ctx, size_t slot, oxp_tensor *outputs)
{
    (void)ctx;
    oxp_runs *r = ((watcher *)user)->runs;
    for (size_t k = 0; k < r->output_count; k++)
        OXP_TRY(keep_output(r, &r->reference[slot * r->output_count + k], &outputs[k]));
    return OXP_OK;
}

static void release_reference(oxp_runs *r)
{
    for (size_t i = 0; r->reference && i < r->sample_count * r->output_count; i++)
        oxp_tensor_release(&r->reference[i]);
    r->reference = NULL;
}

/* Runs all samples under `ctx`, whose error says why when it does not work. */
static oxp_status try_run(oxp_runs *r, oxp_ctx *ctx, const oxp_graph *graph)
{
    watcher w = {0};
    oxp_status status;
    r->output_count = graph->output_count;
    r->reference =
        oxp_arena_alloc(&r->arena, r->sample_count * r->output_count + 1, sizeof *r->reference);
    if (!r->reference)
        return r->ctx->status;
    OXP_TRY_GOTO(watcher_make(&w, r, graph), done);
    oxp_held_hooks hooks = {.user = &w, .value = observe, .outputs = keep_outputs};
    OXP_TRY_GOTO(oxp_held_run(ctx, graph, r->samples, r->sample_count, &hooks), done);
    OXP_TRY_GOTO(keep_looks(&w), done);
    r->ran = true;
done:
    oxp_free(w.looks);
    if (status != OXP_OK)
        release_reference(r);
    return status;
}

/* ---- opening ---- */

/* What a run says about the model; the rest ends the call: cancelled, out of time, a bug of
 * ours. */
static bool is_about_the_model(const oxp_ctx *ctx, bool random)
{
    if (ctx->status == OXP_EUNSUPPORTED)
        return true;
    if (!random || strcmp(ctx->code, "E-LIMIT-TIME") == 0)
        return false;
    return ctx->status == OXP_EFORMAT || ctx->status == OXP_ELIMIT || ctx->status == OXP_EDATA;
}

static oxp_status settle(oxp_runs *r, const oxp_ctx *own)
{
    if (r->ctx->status != OXP_OK)
        return r->ctx->status;
    if (!is_about_the_model(own, r->random))
        return oxp_ctx_join(r->ctx, own);
    if (!r->why_not[0])
        r->why_not = oxp_arena_strdup(&r->arena, own->message);
    return r->why_not ? OXP_OK : r->ctx->status;
}

static oxp_status run_given(oxp_runs *r, const oxp_graph *graph)
{
    oxp_ctx own;
    oxp_ctx_child(&own, r->ctx);
    return try_run(r, &own, graph) == OXP_OK ? OXP_OK : settle(r, &own);
}

static oxp_status run_random(oxp_runs *r, const oxp_graph *graph)
{
    static const int64_t sizes[] = {32, 64, 16, 8, 4, 2, 1, 3, 128, 224, 256, 512, 1024, 1536};
    const oxp_tensor *const **sample = oxp_arena_alloc(&r->arena, 1, sizeof *sample);
    if (!sample)
        return r->ctx->status;
    r->random = true;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes && !r->ran; i++) {
        OXP_TRY(oxp_random_inputs(sample, &r->arena, graph, sizes[i]));
        if (!*sample)
            continue;
        oxp_ctx own;
        oxp_ctx_child(&own, r->ctx);
        own.step_limit = own.step_limit < RANDOM_STEPS ? own.step_limit : RANDOM_STEPS;
        r->samples = sample;
        r->sample_count = 1;
        if (try_run(r, &own, graph) != OXP_OK)
            OXP_TRY(settle(r, &own));
    }
    if (!r->ran && !r->why_not[0])
        r->why_not = "no inputs can be drawn for the declared shapes";
    return OXP_OK;
}

oxp_status oxp_runs_open(oxp_runs *out, oxp_ctx *ctx, oxp_model *model,
                         const oxp_tensor *const *const *samples, size_t sample_count)
{
    *out = (oxp_runs){.ctx = ctx, .samples = samples, .sample_count = sample_count, .why_not = ""};
    oxp_arena_init(&out->arena, ctx);
    oxp_arena graph_arena;
    oxp_arena_init(&graph_arena, ctx);
    oxp_graph *graph;
    const oxp_graph_node *missing;
    oxp_status status;
    OXP_TRY_GOTO(oxp_graph_build(&graph, &graph_arena, model), done);
    if (sample_count > 0 || !oxp_graph_runs(graph, &missing))
        status = run_given(out, graph);
    else
        status = run_random(out, graph);
    out->why_not = out->ran ? "" : out->why_not;
done:
    oxp_arena_free(&graph_arena);
    if (status != OXP_OK)
        oxp_runs_close(out);
    return status;
}

void oxp_runs_close(oxp_runs *r)
{
    release_reference(r);
    oxp_seen_free(&r->seen);
    if (r->ctx)
        oxp_arena_free(&r->arena);
    *r = (oxp_runs){0};
}

/* ---- comparing ---- */

static double tolerance(oxp_dtype dtype)
{
    return dtype == OXP_FLOAT16 ? 0x1p-10 : dtype == OXP_BFLOAT16 ? 0x1p-7 : OXP_PREPARE_TOLERANCE;
}

/* max|a − b| / max|a|; equal infinities and NaN beside NaN differ by nothing. */
static double relative_difference(const oxp_tensor *a, const oxp_tensor *b)
{
    double largest = 0, difference = 0;
    for (size_t i = 0; i < a->count; i++) {
        double x = oxp_tensor_real(a, i), y = oxp_tensor_real(b, i);
        if (isfinite(x) && fabs(x) > largest)
            largest = fabs(x);
        if (x == y || (isnan(x) && isnan(y)))
            continue;
        if (!isfinite(x) || !isfinite(y))
            return INFINITY;
        if (fabs(x - y) > difference)
            difference = fabs(x - y);
    }
    return difference == 0 ? 0 : difference / largest;
}

static bool same_shape(const oxp_tensor *a, const oxp_tensor *b)
{
    return a->dtype == b->dtype && a->rank == b->rank &&
           (a->rank == 0 || memcmp(a->dims, b->dims, (size_t)a->rank * sizeof *a->dims) == 0);
}

typedef struct verdict { /* on a sample, or on all */
    double difference;
    bool ran, same;
} verdict;

typedef struct comparison {
    oxp_runs *runs;
    size_t first, count; /* samples that are run */
    verdict *slots;      /* [count] */
} comparison;

static void compare_output(verdict *v, const oxp_tensor *a, const oxp_tensor *b)
{
    double d = 0;
    if (!same_shape(a, b))
        d = INFINITY;
    else if (oxp_dtype_is_float(a->dtype))
        d = relative_difference(a, b);
    v->difference = d > v->difference ? d : v->difference;
    v->same = v->same && d <= tolerance(a->dtype);
}

static oxp_status compare_outputs(void *user, oxp_ctx *ctx, size_t slot, oxp_tensor *outputs)
{
    (void)ctx;
    comparison *c = user;
    const oxp_runs *r = c->runs;
    verdict *v = &c->slots[slot];
    v->ran = v->same = true;
    for (size_t k = 0; k < r->output_count; k++)
        compare_output(v, &r->reference[(c->first + slot) * r->output_count + k], &outputs[k]);
    return OXP_OK;
}

/* The sample that differs most, and by how much; one that does not run differs most of all, and is
 * the first without a verdict. */
static verdict worst_of(const comparison *c, size_t *worst)
{
    verdict all = {.ran = true, .same = true};
    *worst = c->first;
    for (size_t i = 0; i < c->count && all.ran; i++) {
        const verdict *v = &c->slots[i];
        if (!v->ran || v->difference > all.difference) {
            all.difference = v->ran ? v->difference : INFINITY;
            *worst = c->first + i;
        }
        all.ran = v->ran;
        all.same = all.same && v->same;
    }
    return all;
}

static oxp_status compare_graph(comparison *c, oxp_ctx *own, oxp_model *model)
{
    oxp_arena arena;
    oxp_arena_init(&arena, c->runs->ctx);
    oxp_graph *graph;
    oxp_held_hooks hooks = {.user = c, .outputs = compare_outputs};
    oxp_status status = oxp_graph_build(&graph, &arena, model);
    if (status == OXP_OK)
        status = oxp_held_run(own, graph, c->runs->samples + c->first, c->count, &hooks);
    oxp_arena_free(&arena);
    return status;
}

/* What an error says about the model is a verdict; the rest ends the call. */
static oxp_status compare(verdict *out, size_t *worst, oxp_runs *r, size_t first, size_t count,
                          oxp_model *model)
{
    comparison c = {.runs = r, .first = first, .count = count};
    oxp_ctx own;
    oxp_ctx_child(&own, r->ctx);
    OXP_TRY(oxp_alloc(&c.slots, r->ctx, count + 1, sizeof *c.slots, "differences"));
    oxp_status status = compare_graph(&c, &own, model);
    *out = worst_of(&c, worst);
    oxp_free(c.slots);
    if (status == OXP_OK || r->ctx->status != OXP_OK)
        return status;
    if (own.status == OXP_ELIMIT || own.status == OXP_ECANCELLED || own.status == OXP_EINTERNAL)
        return oxp_ctx_join(r->ctx, &own);
    *out = (verdict){.difference = INFINITY};
    return OXP_OK;
}

oxp_status oxp_runs_compare(double *difference, bool *same, oxp_runs *r, oxp_model *model)
{
    verdict v;
    size_t worst;
    OXP_TRY(compare(&v, &worst, r, 0, r->sample_count, model));
    *difference = v.difference;
    *same = v.same;
    r->worst = worst;
    return OXP_OK;
}

oxp_status oxp_runs_probe(bool *same, oxp_runs *r, oxp_model *model)
{
    verdict v;
    size_t worst;
    OXP_TRY(compare(&v, &worst, r, r->worst, 1, model));
    *same = v.same;
    return OXP_OK;
}
