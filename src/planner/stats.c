/* stats.c - see stats.h. */
#include "planner/stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define XXH_STATIC_LINKING_ONLY /* the state's size */
#include <xxhash.h>

#include "util/map.h"

/* ---- what was run ---- */

static void hash_text(XXH3_state_t *state, const char *text)
{
    XXH3_64bits_update(state, text ? text : "", text ? strlen(text) + 1 : 1);
}

static void hash_number(XXH3_state_t *state, uint64_t number)
{
    XXH3_64bits_update(state, &number, sizeof number);
}

static void hash_name(XXH3_state_t *state, const oxp_graph *g, uint32_t value)
{
    hash_text(state, value == OXP_NO_VALUE ? "" : g->values[value].name);
}

static void hash_attribute(XXH3_state_t *state, const oxp_attribute *a)
{
    hash_text(state, a->name);
    hash_number(state, (uint64_t)a->type);
    hash_number(state, a->type == OXP_ATTR_INT ? (uint64_t)a->i : 0);
    if (a->type == OXP_ATTR_FLOAT)
        XXH3_64bits_update(state, &a->f, sizeof a->f);
    if (a->type == OXP_ATTR_STRING)
        hash_text(state, a->s);
    if (a->type == OXP_ATTR_INTS && a->count)
        XXH3_64bits_update(state, a->ints, a->count * sizeof *a->ints);
    if (a->type == OXP_ATTR_FLOATS && a->count)
        XXH3_64bits_update(state, a->floats, a->count * sizeof *a->floats);
}

static void hash_node(XXH3_state_t *state, const oxp_graph_node *n)
{
    hash_text(state, n->domain);
    hash_text(state, n->type);
    for (size_t i = 0; i < n->input_count; i++)
        hash_name(state, n->graph, n->inputs[i]);
    for (size_t i = 0; i < n->output_count; i++)
        hash_name(state, n->graph, n->outputs[i]);
    for (size_t i = 0; i < n->attribute_count; i++)
        hash_attribute(state, &n->attributes[i]);
}

static void hash_graph(XXH3_state_t *state, const oxp_graph *g)
{
    hash_number(state, g->node_count);
    for (size_t i = 0; i < g->node_count; i++)
        hash_node(state, &g->nodes[i]);
    for (size_t i = 0; i < g->value_count; i++) {
        const oxp_value *v = &g->values[i];
        if (v->kind != OXP_VALUE_CONSTANT || !v->constant.data)
            continue;
        hash_text(state, v->name);
        XXH3_64bits_update(state, v->constant.data, oxp_tensor_bytes(&v->constant));
    }
}

oxp_status oxp_prepared_hash(uint64_t *out, oxp_ctx *ctx, oxp_model *model)
{
    XXH3_state_t state;
    oxp_arena arena;
    oxp_graph *graph;
    const oxp_graph *const *graphs;
    size_t count = 0;
    oxp_arena_init(&arena, ctx);
    oxp_status status = oxp_graph_build(&graph, &arena, model);
    if (status == OXP_OK)
        status = oxp_graph_all(&graphs, &count, &arena, graph);
    XXH3_64bits_reset(&state);
    for (size_t g = 0; status == OXP_OK && g < count; g++)
        hash_graph(&state, graphs[g]);
    *out = XXH3_64bits_digest(&state);
    oxp_arena_free(&arena);
    return status;
}

/* ---- options ---- */

static const char *or_else(const char *value, const char *otherwise)
{
    return value ? value : otherwise;
}

const char *oxp_stats_options_text(oxp_arena *arena, const oxp_stats_options *o, uint64_t seed)
{
    const char *outputs = "";
    char quoted[OXP_QUOTED_MAX];
    for (const char *const *name = o->outputs; name && *name && outputs; name++)
        outputs = oxp_arena_printf(arena, "%s%s", outputs, oxp_quote(quoted, *name));
    if (!outputs)
        return NULL;
    return oxp_arena_printf(arena,
                            "cpu=%s\nnonfinite=%s\nseed=%llu\nholdout=%.17g\nmoments=%s\n"
                            "positions=%zu\nestimator=%s\noutput-kind=%s\noutputs=%s\n",
                            or_else(o->cpu, "vnni"), or_else(o->nonfinite, "refuse"),
                            (unsigned long long)seed, o->holdout, or_else(o->moments, "full"),
                            o->positions, or_else(o->estimator, "factor"),
                            or_else(o->output_kind, "auto"), outputs);
}

const char *oxp_stats_gradient_options(oxp_arena *arena, const oxp_stats_options *o, uint64_t seed)
{
    const char *all = oxp_stats_options_text(arena, o, seed);
    const char *gradients = all ? strstr(all, "\nestimator=") : NULL;
    return gradients ? oxp_arena_printf(arena, "seed=%llu%s", (unsigned long long)seed, gradients)
                     : NULL;
}

uint64_t oxp_stats_data_hash(const oxp_samples *s, const char *const *dims)
{
    XXH3_state_t state;
    if (s->dataset)
        return oxp_samples_hash(s);
    XXH3_64bits_reset(&state);
    hash_text(&state, "random");
    hash_number(&state, s->source.count);
    hash_number(&state, s->seed);
    for (; dims && *dims; dims++)
        hash_text(&state, *dims);
    for (const char *const *shape = s->shapes; shape && *shape; shape++)
        hash_text(&state, *shape);
    return XXH3_64bits_digest(&state);
}

/* ---- is it of this model and this data? ---- */

static oxp_status check_model(oxp_compression *c, const oxp_stats *s)
{
    const oxp_artefact_identity *id = &s->artefact.identity;
    char x[17], y[17], quoted[OXP_QUOTED_MAX];
    if (id->model_hash != oxp_model_hash(c->source) ||
        id->model_bytes != oxp_model_bytes(c->source)) {
        oxp_hash_hex(x, oxp_model_hash(c->source));
        oxp_hash_hex(y, id->model_hash);
        return oxp_fail(c->ctx, OXP_EDATA, "E-STATS-MODEL",
                        "%s is of another model: xxh3 %s, this one has %s",
                        oxp_quote(quoted, s->path), y, x);
    }
    char *text = oxp_arena_printf(&c->arena, "cpu=%s\n", or_else(c->options->cpu, "vnni"));
    return text ? oxp_artefact_same_options(&s->artefact, s->path, text) : OXP_ELIMIT;
}

typedef struct keyed {
    uint64_t key;
    size_t index;
} keyed;

static int by_key(const void *a, const void *b)
{
    const keyed *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

/* How many of the artefact's samples the data has. */
static size_t common(const keyed *a, size_t n, const keyed *b, size_t m)
{
    size_t count = 0;
    for (size_t i = 0, k = 0; i < n && k < m;) {
        if (a[i].key == b[k].key) {
            count++;
            i++;
            k++;
        } else if (a[i].key < b[k].key) {
            i++;
        } else {
            k++;
        }
    }
    return count;
}

/* The call of the data for every sample of the artefact: the same samples, in whatever order. */
static oxp_status match_samples(oxp_compression *c, const oxp_artefact *a, size_t *call_of)
{
    size_t n = a->sample_count, m = c->samples.source.count;
    keyed *x = oxp_arena_alloc(&c->arena, n + 1, sizeof *x);
    keyed *y = oxp_arena_alloc(&c->arena, m + 1, sizeof *y);
    if (!x || !y)
        return OXP_ELIMIT;
    for (size_t i = 0; i < n; i++)
        x[i] = (keyed){a->hashes[i], i};
    for (size_t i = 0; i < m; i++)
        y[i] = (keyed){oxp_samples_key(&c->samples, i), i};
    qsort(x, n, sizeof *x, by_key);
    qsort(y, m, sizeof *y, by_key);
    size_t shared = common(x, n, y, m);
    if (n != m || shared != n)
        return oxp_fail(c->ctx, OXP_EDATA, "E-STATS-DATA",
                        "%s is of other data: it has %zu samples, these are %zu, %zu are in both",
                        c->stats->path, n, m, shared);
    for (size_t i = 0; i < n; i++)
        call_of[x[i].index] = y[i].index;
    return OXP_OK;
}

static oxp_status check_random(const oxp_compression *c, const oxp_artefact *a)
{
    uint64_t hash = oxp_stats_data_hash(&c->samples, c->options->input.dims);
    if (c->samples.dataset || (a->identity.data_count == 1 && a->identity.data_hashes[0] == hash))
        return OXP_OK;
    return oxp_fail(c->ctx, OXP_EDATA, "E-STATS-DATA",
                    "%s is of other data than these random "
                    "samples",
                    c->stats->path);
}

static oxp_status take_split(oxp_compression *c, const oxp_artefact *a, const size_t *call_of)
{
    size_t n = a->sample_count, fit = 0, held = 0;
    size_t *lists = oxp_arena_alloc(&c->arena, 2 * n + 1, sizeof *lists);
    if (!lists)
        return OXP_ELIMIT;
    for (size_t i = 0; i < n; i++) {
        if (a->is_held[i])
            lists[n + held++] = call_of[i];
        else
            lists[fit++] = call_of[i];
    }
    c->fit = lists;
    c->fit_count = fit;
    c->in_sample = held == 0; /* then `held` stays as it is: of what the artefact has seen */
    if (held) {
        c->held = lists + n;
        c->held_count = held;
    }
    return OXP_OK;
}

oxp_status oxp_stats_open(oxp_compression *c, const oxp_artefact_parts *parts)
{
    oxp_stats *s;
    OXP_TRY(oxp_alloc(&s, c->ctx, 1, sizeof *s, "statistics"));
    c->stats = s;
    s->path = c->options->stats;
    const char *subject = c->ctx->subject;
    c->ctx->subject = NULL;
    OXP_TRY(oxp_artefact_read(&s->artefact, c->ctx, s->path, OXP_OXC_ARTEFACT, parts, &s->id));
    OXP_TRY(check_model(c, s));
    if (c->has_samples) {
        const oxp_artefact *a = &s->artefact;
        size_t *call_of = oxp_arena_alloc(&c->arena, a->sample_count + 1, sizeof *call_of);
        if (!call_of)
            return OXP_ELIMIT;
        OXP_TRY(check_random(c, a));
        OXP_TRY(match_samples(c, a, call_of));
        OXP_TRY(take_split(c, a, call_of));
    }
    c->ctx->subject = subject;
    return OXP_OK;
}

oxp_status oxp_stats_check_prepared(const oxp_compression *c)
{
    uint64_t hash;
    if (!c->stats)
        return OXP_OK;
    OXP_TRY(oxp_prepared_hash(&hash, c->ctx, c->prepared));
    if (hash == c->stats->artefact.identity.prepared_hash)
        return OXP_OK;
    return oxp_fail(
        c->ctx, OXP_EDATA, "E-STATS-MODEL",
        "%s is of this model prepared in another way, by another version of the program",
        c->stats->path);
}

void oxp_stats_close(oxp_compression *c)
{
    if (!c->stats)
        return;
    oxp_artefact_free(&c->stats->artefact);
    oxp_free(c->stats);
    c->stats = NULL;
}

/* ---- gradients ---- */

oxp_status oxp_stats_squares(const double **out, const oxp_compression *c, const oxp_site *site)
{
    const oxp_artefact_fisher *f = &c->stats->artefact.fisher;
    char quoted[OXP_QUOTED_MAX];
    for (size_t t = 0; t < f->target_count; t++)
        if (f->targets[t].graph_id == site->graph->id &&
            f->targets[t].elements == site->value->constant.count &&
            strcmp(f->targets[t].name, site->value->name) == 0) {
            *out = f->squares + t;
            return OXP_OK;
        }
    return oxp_fail(c->ctx, OXP_EDATA, "E-STATS-MODEL", "%s knows no gradient of weight %s",
                    c->stats->path, oxp_quote(quoted, site->value->name));
}

/* ---- ranges ---- */

static const oxp_artefact_tensor *find_tensor(const oxp_artefact *a, const oxp_watch *w)
{
    const char *name = w->graph->values[w->value].name;
    for (size_t i = 0; i < a->tensor_count; i++)
        if (a->tensors[i].graph_id == w->graph->id && strcmp(a->tensors[i].name, name) == 0)
            return &a->tensors[i];
    return NULL;
}

/* The first samples that held the smallest and the largest element; NaN: a sample had none. */
static void find_extremes(oxp_seen_range *out, const oxp_artefact_tensor *t, size_t samples)
{
    float low = INFINITY, high = -INFINITY;
    for (size_t i = 0; i < samples; i++) {
        if (t->low[i] < low) {
            low = t->low[i];
            out->low = i;
        }
        if (t->high[i] > high) {
            high = t->high[i];
            out->high = i;
        }
        out->dynamic_error += t->is_dynamic ? t->dynamic_errors[i] : 0;
    }
}

oxp_status oxp_stats_seen(const oxp_seen_range **out, oxp_compression *c, const oxp_judge *judges,
                          size_t judge_count)
{
    *out = NULL;
    if (!c->stats || c->equalization.is_used || c->earlier_count)
        return OXP_OK;
    const oxp_artefact *a = &c->stats->artefact;
    oxp_seen_range *seen = oxp_arena_alloc(&c->arena, c->watch_count + 1, sizeof *seen);
    bool *dynamic = oxp_arena_alloc(&c->arena, c->watch_count + 1, sizeof *dynamic);
    if (!seen || !dynamic)
        return OXP_ELIMIT;
    for (size_t i = 0; i < judge_count; i++)
        dynamic[judges[i].range] |= judges[i].dynamic;
    for (size_t i = 0; i < c->watch_count; i++) {
        const oxp_artefact_tensor *t = find_tensor(a, &c->watches[i]);
        if (!t || (dynamic[i] && c->calibration.automatic && !t->is_dynamic))
            return OXP_OK;
        seen[i].values = oxp_arena_alloc(&c->arena, 1, sizeof *seen[i].values);
        if (!seen[i].values)
            return OXP_ELIMIT;
        OXP_TRY(oxp_artefact_histogram(seen[i].values, a, (size_t)(t - a->tensors)));
        find_extremes(&seen[i], t, a->used);
    }
    *out = seen;
    c->stats->gave_ranges = true;
    return OXP_OK;
}
