/* runs.c - running a model before and after: reference outputs, ranks of values, differences. */
#include "prepare/runs.h"

#include <math.h>
#include <string.h>

#include "interpreter/interpreter.h"
#include "prepare/prepare.h"

#define RANDOM_STEPS \
    1000000u /* node executions of a run on random inputs, which may loop for ever */

/* ---- what values look like ---- */

typedef struct look { /* of one value; count 0: not seen */
    int rank;         /* -1: differs between runs */
    oxp_dtype dtype;
    bool seen;
} look;

typedef struct watcher {
    const oxp_graph *const *graphs;
    size_t count;
    look **looks; /* [graph][value] */
} watcher;

static void note_look(look *l, const oxp_tensor *t)
{
    if (!l->seen)
        *l = (look){t->rank, t->dtype, true};
    if (l->rank != t->rank)
        l->rank = -1;
    if (l->dtype != t->dtype)
        l->dtype = OXP_UNDEFINED;
}

static oxp_status observe(void *user, const oxp_graph *graph, uint32_t value, const oxp_tensor *t)
{
    watcher *w = user;
    note_look(&w->looks[graph->id][value], t);
    return OXP_OK;
}

static oxp_status watcher_make(watcher *w, oxp_runs *r, const oxp_graph *graph)
{
    OXP_TRY(oxp_graph_all(&w->graphs, &w->count, &r->arena, graph));
    w->looks = oxp_arena_alloc(&r->arena, w->count, sizeof *w->looks);
    if (!w->looks)
        return r->ctx->status;
    for (size_t i = 0; i < w->count; i++) {
        w->looks[i] = oxp_arena_alloc(&r->arena, w->graphs[i]->value_count + 1, sizeof **w->looks);
        if (!w->looks[i])
            return r->ctx->status;
    }
    return OXP_OK;
}

/* Rank and type share a number: rank + 1 in the low byte, the type above. */
static oxp_status keep_looks(oxp_runs *r, const watcher *w)
{
    r->seen.graphs = oxp_arena_alloc(&r->arena, w->count, sizeof *r->seen.graphs);
    if (!r->seen.graphs)
        return r->ctx->status;
    for (; r->seen.graph_count < w->count; r->seen.graph_count++)
        oxp_map_init(&r->seen.graphs[r->seen.graph_count], r->ctx);
    for (size_t i = 0; i < w->count; i++)
        for (size_t v = 0; v < w->graphs[i]->value_count; v++) {
            const look *l = &w->looks[i][v];
            const char *name = w->graphs[i]->values[v].name;
            if (l->seen)
                OXP_TRY(oxp_map_put(&r->seen.graphs[i], name,
                                    (size_t)(l->rank + 1) | (size_t)l->dtype << 8));
        }
    return OXP_OK;
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

static oxp_status run_reference(oxp_runs *r, oxp_session *session, const oxp_graph *graph,
                                watcher *w)
{
    oxp_tensor *outputs = oxp_arena_alloc(&r->arena, graph->output_count + 1, sizeof *outputs);
    if (!outputs)
        return r->ctx->status;
    for (size_t s = 0; s < r->sample_count; s++) {
        for (size_t i = 0; i < graph->input_count; i++)
            note_look(&w->looks[0][graph->inputs[i]], r->samples[s][i]);
        OXP_TRY(oxp_session_run(session, r->samples[s], outputs));
        for (size_t k = 0; k < graph->output_count; k++) {
            oxp_status status =
                keep_output(r, &r->reference[s * graph->output_count + k], &outputs[k]);
            oxp_tensor_release(&outputs[k]);
            OXP_TRY(status);
        }
    }
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
    oxp_session *session = NULL;
    oxp_status status;
    r->output_count = graph->output_count;
    r->reference =
        oxp_arena_alloc(&r->arena, r->sample_count * r->output_count + 1, sizeof *r->reference);
    if (!r->reference)
        return r->ctx->status;
    OXP_TRY_GOTO(watcher_make(&w, r, graph), done);
    oxp_session_options options = {.observer = observe, .user = &w};
    OXP_TRY_GOTO(oxp_session_create(&session, ctx, graph, &options), done);
    OXP_TRY_GOTO(run_reference(r, session, graph, &w), done);
    OXP_TRY_GOTO(keep_looks(r, &w), done);
    r->ran = true;
done:
    oxp_session_free(session);
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
    for (size_t i = 0; i < r->seen.graph_count; i++)
        oxp_map_free(&r->seen.graphs[i]);
    r->seen = (oxp_seen){0};
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

typedef struct verdict {
    double difference;
    bool same;
    size_t first, count; /* samples that are run */
    size_t worst;
} verdict;

static void compare_output(verdict *v, size_t sample, const oxp_tensor *a, const oxp_tensor *b)
{
    double d = 0;
    if (!same_shape(a, b))
        d = INFINITY;
    else if (oxp_dtype_is_float(a->dtype))
        d = relative_difference(a, b);
    if (d > v->difference) {
        v->difference = d;
        v->worst = sample;
    }
    v->same = v->same && d <= tolerance(a->dtype);
}

/* A sample that does not run differs most of all. */
static oxp_status compare_samples(verdict *v, oxp_runs *r, oxp_session *session,
                                  oxp_tensor *outputs)
{
    for (size_t s = v->first; s < v->first + v->count; s++) {
        oxp_status status = oxp_session_run(session, r->samples[s], outputs);
        if (status != OXP_OK) {
            v->worst = s;
            return status;
        }
        for (size_t k = 0; k < r->output_count; k++) {
            compare_output(v, s, &r->reference[s * r->output_count + k], &outputs[k]);
            oxp_tensor_release(&outputs[k]);
        }
    }
    return OXP_OK;
}

static oxp_status compare_graph(verdict *v, oxp_runs *r, oxp_ctx *own, const oxp_graph *graph)
{
    oxp_session *session = NULL;
    oxp_tensor *outputs;
    OXP_TRY(oxp_alloc(&outputs, r->ctx, r->output_count + 1, sizeof *outputs, "outputs"));
    oxp_status status = oxp_session_create(&session, own, graph, NULL);
    if (status == OXP_OK)
        status = compare_samples(v, r, session, outputs);
    oxp_session_free(session);
    oxp_free(outputs);
    return status;
}

static oxp_status compare(verdict *v, oxp_runs *r, oxp_model *model)
{
    oxp_arena arena;
    oxp_arena_init(&arena, r->ctx);
    oxp_ctx own;
    oxp_ctx_child(&own, r->ctx);
    oxp_graph *graph;
    oxp_status status = oxp_graph_build(&graph, &arena, model);
    if (status == OXP_OK)
        status = compare_graph(v, r, &own, graph);
    oxp_arena_free(&arena);
    if (status == OXP_OK || r->ctx->status != OXP_OK)
        return status;
    if (own.status == OXP_ELIMIT || own.status == OXP_ECANCELLED || own.status == OXP_EINTERNAL)
        return oxp_ctx_join(r->ctx, &own);
    v->difference = INFINITY;
    v->same = false;
    return OXP_OK;
}

oxp_status oxp_runs_compare(double *difference, bool *same, oxp_runs *r, oxp_model *model)
{
    verdict v = {.same = true, .count = r->sample_count};
    OXP_TRY(compare(&v, r, model));
    *difference = v.difference;
    *same = v.same;
    r->worst = v.worst;
    return OXP_OK;
}

oxp_status oxp_runs_probe(bool *same, oxp_runs *r, oxp_model *model)
{
    verdict v = {.same = true, .first = r->worst, .count = 1};
    OXP_TRY(compare(&v, r, model));
    *same = v.same;
    return OXP_OK;
}
