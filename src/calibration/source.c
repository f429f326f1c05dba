/* source.c - datasets and random samples behind one interface. */
#include "calibration/source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/map.h"
#include "util/random.h"

/* ---- random samples ---- */

/* A whole number above 0, or 0. */
static int64_t size_after(const char *text)
{
    char *end = NULL;
    long long size = *text >= '0' && *text <= '9' ? strtoll(text, &end, 10) : 0;
    return end && !*end ? size : 0;
}

/* Every --dim is NAME=N and names a dimension of an input. */
static oxp_status check_dims(oxp_ctx *ctx, const oxp_graph *g, const char *const *dims)
{
    for (; dims && *dims; dims++) {
        char quoted[OXP_QUOTED_MAX];
        const char *equals = strrchr(*dims, '=');
        if (!equals || equals == *dims || size_after(equals + 1) < 1)
            return oxp_fail(ctx, OXP_EUSAGE, "E-USAGE",
                            "--dim %s: expected NAME=N, N a whole number from 1 on",
                            oxp_quote(quoted, *dims));
        bool found = false;
        for (size_t i = 0; i < g->input_count; i++) {
            const oxp_value_info *info = &g->values[g->inputs[i]].declared;
            for (int k = 0; k < info->rank; k++)
                found |= info->params[k] && strlen(info->params[k]) == (size_t)(equals - *dims) &&
                         strncmp(info->params[k], *dims, (size_t)(equals - *dims)) == 0;
        }
        if (!found)
            return oxp_fail(ctx, OXP_EUSAGE, "E-SELECT",
                            "--dim %s: no input has a dimension of that name",
                            oxp_quote(quoted, *dims));
    }
    return OXP_OK;
}

/* The sizes behind the last colon of "NAME:1x3x224x224"; their count, or 0. */
static int sizes_after(const char *text, int64_t dims[OXP_MAX_RANK])
{
    int rank = 0;
    for (;; text++) {
        char *end = NULL;
        long long size = *text >= '0' && *text <= '9' ? strtoll(text, &end, 10) : 0;
        if (size < 1 || rank == OXP_MAX_RANK)
            return 0;
        dims[rank++] = size;
        text = end;
        if (*text == '\0')
            return rank;
        if (*text != 'x')
            return 0;
    }
}

static bool is_input(const char *shape, const char *name)
{
    const char *colon = strrchr(shape, ':');
    return colon && strlen(name) == (size_t)(colon - shape) &&
           memcmp(name, shape, strlen(name)) == 0;
}

/* Whether the sizes are of the rank that the input declares, and equal where it declares them. */
static bool agrees(const oxp_value_info *info, int rank, const int64_t *dims)
{
    bool same = info->rank < 0 || info->rank == rank;
    for (int k = 0; same && k < info->rank; k++)
        same = info->dims[k] < 0 || info->dims[k] == dims[k];
    return same;
}

/* Every --shape is NAME:AxBx… and names an input that can have it. */
static oxp_status check_shapes(oxp_ctx *ctx, const oxp_graph *g, const char *const *shapes)
{
    for (; shapes && *shapes; shapes++) {
        char quoted[OXP_QUOTED_MAX];
        int64_t dims[OXP_MAX_RANK];
        const char *colon = strrchr(*shapes, ':');
        int rank = colon ? sizes_after(colon + 1, dims) : 0;
        if (rank == 0 || colon == *shapes)
            return oxp_fail(ctx, OXP_EUSAGE, "E-USAGE",
                            "--shape %s: expected NAME:AxBxC, whole numbers from 1 on",
                            oxp_quote(quoted, *shapes));
        const oxp_value_info *info = NULL;
        for (size_t i = 0; i < g->input_count; i++)
            if (is_input(*shapes, g->values[g->inputs[i]].name))
                info = &g->values[g->inputs[i]].declared;
        if (!info)
            return oxp_fail(ctx, OXP_EUSAGE, "E-SELECT", "--shape %s: no input has that name",
                            oxp_quote(quoted, *shapes));
        if (!agrees(info, rank, dims))
            return oxp_fail(ctx, OXP_EUSAGE, "E-USAGE",
                            "--shape %s: the input declares another rank or size",
                            oxp_quote(quoted, *shapes));
    }
    return OXP_OK;
}

static oxp_status dimension(const oxp_samples *s, oxp_ctx *ctx, const oxp_value_info *info,
                            int axis, int64_t *out)
{
    *out = info->dims[axis];
    const char *param = info->params[axis];
    for (const char *const *d = s->dims; *out < 0 && param && d && *d; d++) {
        size_t length = strlen(param);
        if (strncmp(*d, param, length) == 0 && (*d)[length] == '=')
            *out = size_after(*d + length + 1);
    }
    if (*out < 0 && axis == 0)
        *out = 1;
    if (*out > 0)
        return OXP_OK;
    char name[OXP_QUOTED_MAX], quoted[OXP_QUOTED_MAX];
    return oxp_fail(ctx, OXP_EUSAGE, "E-DIM",
                    "input %s: dimension %d (%s) has no size; give it with --dim %s=N",
                    oxp_quote(name, info->name), axis, oxp_quote(quoted, param ? param : "?"),
                    param ? param : "?");
}

/* Floats uniform in [-1, 1), integers 0 or 1, drawn by (seed, sample, input). */
static oxp_status fill_random(oxp_tensor *t, oxp_ctx *ctx, oxp_random r, const char *name)
{
    OXP_TRY(oxp_tensor_alloc(t, ctx, name));
    memset(t->data, 0, oxp_tensor_bytes(t));
    for (size_t i = 0; i < t->count; i++) {
        if (t->dtype == OXP_FLOAT)
            ((float *)t->data)[i] = (float)(2 * oxp_random_uniform(&r) - 1);
        else if (t->dtype == OXP_DOUBLE)
            ((double *)t->data)[i] = 2 * oxp_random_uniform(&r) - 1;
        else if (oxp_dtype_is_integer(t->dtype) && oxp_dtype_bits(t->dtype) >= 8)
            ((uint8_t *)t->data)[i * (oxp_dtype_bits(t->dtype) / 8)] =
                (uint8_t)oxp_random_below(&r, 2);
    }
    return OXP_OK;
}

/* The rank that --shape gives an input, or 0. */
static int given_shape(const oxp_samples *s, const char *name, int64_t dims[OXP_MAX_RANK])
{
    for (const char *const *shape = s->shapes; shape && *shape; shape++)
        if (is_input(*shape, name))
            return sizes_after(strrchr(*shape, ':') + 1, dims);
    return 0;
}

static oxp_status get_random(void *user, oxp_ctx *ctx, size_t index, oxp_tensor *inputs)
{
    const oxp_samples *s = user;
    for (size_t i = 0; i < s->graph->input_count; i++) {
        const oxp_value_info *info = &s->graph->values[s->graph->inputs[i]].declared;
        int64_t dims[OXP_MAX_RANK];
        int rank = info->rank, given = given_shape(s, info->name, dims);
        if (given)
            rank = given;
        else if (rank < 0)
            return oxp_fail(ctx, OXP_EUSAGE, "E-DIM",
                            "input \"%.100s\" declares no shape: random samples cannot be made",
                            info->name);
        for (int k = 0; k < rank && !given; k++)
            OXP_TRY(dimension(s, ctx, info, k, &dims[k]));
        OXP_TRY(oxp_tensor_shape(&inputs[i], ctx, info->dtype, rank, dims, info->name));
        OXP_TRY(fill_random(&inputs[i], ctx, oxp_random_make(s->seed, index, i), info->name));
    }
    return OXP_OK;
}

/* ---- datasets ---- */

static oxp_status get_sample(void *user, oxp_ctx *ctx, size_t index, oxp_tensor *inputs)
{
    const oxp_samples *s = user;
    return oxp_dataset_sample(s->dataset, ctx, index, inputs);
}

static oxp_status parse_axes(oxp_batch_axis *out, size_t *count, oxp_arena *arena,
                             const char *const *list)
{
    for (*count = 0; list && *list; list++) {
        const char *equals = strrchr(*list, '=');
        char quoted[OXP_QUOTED_MAX], *end = NULL;
        long axis = equals ? strtol(equals + 1, &end, 10) : -1;
        if (!equals || equals == *list || !end || *end || end == equals + 1 || axis < 0 ||
            axis >= OXP_MAX_RANK)
            return oxp_fail(arena->ctx, OXP_EUSAGE, "E-USAGE", "--batch-axis %s: expected NAME=K",
                            oxp_quote(quoted, *list));
        char *name = oxp_arena_printf(arena, "%.*s", (int)(equals - *list), *list);
        if (!name)
            return OXP_ELIMIT;
        out[(*count)++] = (oxp_batch_axis){name, (int)axis};
    }
    return OXP_OK;
}

static oxp_status open_dataset(oxp_samples *s, oxp_arena *arena, const char *path,
                               const char *labels, const oxp_input_options *o)
{
    const oxp_graph *g = s->graph;
    size_t axes = 0;
    for (const char *const *a = o->batch_axes; a && *a; a++)
        axes++;
    oxp_value_info *inputs = oxp_arena_alloc(arena, g->input_count + 1, sizeof *inputs);
    oxp_value_info *outputs = oxp_arena_alloc(arena, g->output_count + 1, sizeof *outputs);
    oxp_batch_axis *batch_axes = oxp_arena_alloc(arena, axes + 1, sizeof *batch_axes);
    if (!inputs || !outputs || !batch_axes)
        return OXP_ELIMIT;
    OXP_TRY(parse_axes(batch_axes, &axes, arena, o->batch_axes));
    for (size_t i = 0; i < g->input_count; i++)
        inputs[i] = g->values[g->inputs[i]].declared;
    for (size_t i = 0; i < g->output_count; i++) {
        oxp_graph_proto_output(g->proto, i, &outputs[i]);
    }
    oxp_dataset_schema schema = {.inputs = inputs,
                                 .input_count = g->input_count,
                                 .outputs = outputs,
                                 .output_count = g->output_count};
    oxp_dataset_options options = {
        .labels = labels, .batch_axes = batch_axes, .batch_axis_count = axes};
    if (o->nonfinite && strcmp(o->nonfinite, "skip") == 0)
        options.nonfinite = OXP_DATA_NONFINITE_SKIP;
    else if (o->nonfinite && strcmp(o->nonfinite, "keep") == 0)
        options.nonfinite = OXP_DATA_NONFINITE_KEEP;
    return oxp_dataset_open(&s->dataset, arena->ctx, path, &schema, &options);
}

oxp_status oxp_samples_open(oxp_samples *out, oxp_ctx *ctx, const oxp_graph *graph,
                            const char *path, const char *labels, const oxp_input_options *options)
{
    *out = (oxp_samples){
        .graph = graph, .dims = options->dims, .shapes = options->shapes, .seed = ctx->seed};
    OXP_TRY(check_dims(ctx, graph, options->dims));
    OXP_TRY(check_shapes(ctx, graph, options->shapes));
    if (!path) {
        out->source = (oxp_source){options->random_samples, out, get_random};
        return OXP_OK;
    }
    oxp_arena arena;
    oxp_arena_init(&arena, ctx);
    oxp_status status = open_dataset(out, &arena, path, labels, options);
    oxp_arena_free(&arena);
    if (status == OXP_OK)
        out->source = (oxp_source){oxp_dataset_count(out->dataset), out, get_sample};
    return status;
}

void oxp_samples_close(oxp_samples *s)
{
    oxp_dataset_free(s->dataset);
    s->dataset = NULL;
}

uint64_t oxp_samples_hash(const oxp_samples *s)
{
    return s->dataset ? oxp_dataset_hash(s->dataset) : 0;
}

/* ---- split ---- */

typedef struct keyed {
    uint64_t hash;
    size_t index;
} keyed;

static int by_hash(const void *a, const void *b)
{
    const keyed *x = a, *y = b;
    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

size_t oxp_samples_aside(size_t n)
{
    size_t quarter = n / 4;
    return n < 2 ? 0 : quarter < 1 ? 1 : quarter > 64 ? 64 : quarter;
}

uint64_t oxp_samples_key(const oxp_samples *s, size_t index)
{
    return s->dataset ? oxp_dataset_sample_hash(s->dataset, index) : index;
}

oxp_status oxp_samples_mark_aside(const oxp_samples *s, oxp_arena *arena, size_t aside,
                                  bool *is_held)
{
    size_t n = s->source.count;
    keyed *keys = oxp_arena_alloc(arena, n + 1, sizeof *keys);
    if (!keys)
        return OXP_ELIMIT;
    for (size_t i = 0; i < n; i++)
        keys[i] = (keyed){oxp_samples_key(s, i), i};
    qsort(keys, n, sizeof *keys, by_hash);
    for (size_t i = 0; i < aside; i++)
        is_held[keys[i].index] = true;
    return OXP_OK;
}

oxp_status oxp_samples_split(const oxp_samples *s, oxp_arena *arena, size_t **fit,
                             size_t *fit_count, size_t **held, size_t *held_count, bool *in_sample)
{
    size_t n = s->source.count, aside = oxp_samples_aside(n);
    bool *is_held = oxp_arena_alloc(arena, n + 1, sizeof *is_held);
    *fit = oxp_arena_alloc(arena, n + 1, sizeof **fit);
    *held = oxp_arena_alloc(arena, n + 1, sizeof **held);
    if (!is_held || !*fit || !*held)
        return OXP_ELIMIT;
    OXP_TRY(oxp_samples_mark_aside(s, arena, aside, is_held));
    *fit_count = *held_count = 0;
    *in_sample = aside == 0;
    for (size_t i = 0; i < n; i++) {
        if (!is_held[i])
            (*fit)[(*fit_count)++] = i;
        if (is_held[i] || *in_sample)
            (*held)[(*held_count)++] = i;
    }
    return OXP_OK;
}
