/* equalize_sizes.c - see equalize_sizes.h. Every sample adds to sizes of its own; these are merged
 * in the samples' order. */
#include "prepare/equalize_sizes.h"

#include <math.h>

#include "kernels/vector.h"
#include "prepare/held.h"

typedef struct measuring {
    oxp_equalize_walk *walk;
    size_t values;
    oxp_channel_sizes *slots; /* [sample * values + value] */
    bool *differs;            /* likewise: another number of channels there */
} measuring;

/* ---- one tensor ---- */

/* n elements of one channel. */
OXP_VECTORISED static void add_run(oxp_channel_sizes *z, size_t c, const float *restrict x,
                                   size_t n)
{
    float high[OXP_LANES] = {0}, low[OXP_LANES] = {0};
    double squares[OXP_LANES] = {0};
    size_t i = 0;
    for (; i + OXP_LANES <= n; i += OXP_LANES)
        for (size_t k = 0; k < OXP_LANES; k++) {
            float v = x[i + k];
            high[k] = v > high[k] ? v : high[k];
            low[k] = -v > low[k] ? -v : low[k];
            squares[k] += (double)v * (double)v;
        }
    for (; i < n; i++) {
        high[0] = x[i] > high[0] ? x[i] : high[0];
        low[0] = -x[i] > low[0] ? -x[i] : low[0];
        squares[0] += (double)x[i] * (double)x[i];
    }
    for (size_t k = 0; k < OXP_LANES; k++) {
        z->high[c] = fmaxf(z->high[c], high[k]);
        z->low[c] = fmaxf(z->low[c], low[k]);
        z->squares[c] += squares[k];
    }
    z->elements[c] += (double)n;
}

/* One element for each of n channels that follow one another. */
OXP_VECTORISED static void add_row(float *restrict high, float *restrict low,
                                   double *restrict squares, double *restrict elements,
                                   const float *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        high[i] = x[i] > high[i] ? x[i] : high[i];
        low[i] = -x[i] > low[i] ? -x[i] : low[i];
        squares[i] += (double)x[i] * (double)x[i];
        elements[i] += 1;
    }
}

/* Elements along the last axes that only one channel tells of, or none. */
static size_t run_of(const oxp_channels *c, const oxp_tensor *t, int *inner)
{
    size_t run = 1;
    *inner = t->rank;
    while (*inner > 0 && c->parts[*inner - 1].extent == 1)
        run *= (size_t)t->dims[--*inner];
    return run;
}

static bool is_row(const oxp_channels *c, const oxp_tensor *t)
{
    const oxp_channel_part *p = &c->parts[t->rank - 1];
    return p->divide == 1 && p->stride == 1 && p->extent == (size_t)t->dims[t->rank - 1];
}

static oxp_status add_sizes(oxp_channel_sizes *z, const oxp_channels *c, const oxp_tensor *t,
                            oxp_arena *arena)
{
    size_t *tables[OXP_MAX_RANK], at[OXP_MAX_RANK] = {0};
    int inner;
    size_t run = run_of(c, t, &inner);
    bool rows = inner == t->rank && inner > 0 && is_row(c, t);
    if (rows)
        run = (size_t)t->dims[--inner];
    OXP_TRY(oxp_channels_tables(tables, c, t->rank, t->dims, arena));
    const float *x = t->data;
    for (size_t i = 0; i < t->count; i += run) {
        size_t k = c->offset;
        for (int axis = 0; axis < inner; axis++)
            k += tables[axis][at[axis]];
        if (rows)
            add_row(z->high + k, z->low + k, z->squares + k, z->elements + k, x + i, run);
        else
            add_run(z, k, x + i, run);
        for (int axis = inner - 1; axis >= 0 && ++at[axis] == (size_t)t->dims[axis]; axis--)
            at[axis] = 0;
    }
    return OXP_OK;
}

/* Channels whose number depends on the sample are none. */
static bool same_channels(const oxp_channels *c, const oxp_tensor *t)
{
    bool same = t->rank == c->rank;
    for (int k = 0; k < t->rank && same; k++)
        same = c->parts[k].extent == 1 || c->dims[k] == t->dims[k];
    return same;
}

static oxp_status on_value(void *user, oxp_ctx *ctx, size_t slot, const oxp_graph *graph,
                           uint32_t value, const oxp_tensor *t)
{
    measuring *m = user;
    oxp_channel_sizes *z = &m->slots[slot * m->values + value];
    if (graph->id != 0 || !z->channels || t->dtype != OXP_FLOAT || t->count == 0)
        return OXP_OK;
    const oxp_channels *c = &m->walk->channels[value];
    if (!same_channels(c, t)) {
        m->differs[slot * m->values + value] = true;
        return OXP_OK;
    }
    oxp_arena scratch;
    oxp_arena_init(&scratch, ctx);
    oxp_status status = add_sizes(z, c, t, &scratch);
    oxp_arena_free(&scratch);
    return status;
}

/* ---- all of them ---- */

static oxp_status open_sizes(oxp_channel_sizes *z, oxp_arena *arena, size_t n)
{
    if (z->channels || n == 0)
        return OXP_OK;
    z->channels = n;
    z->high = oxp_arena_alloc(arena, n, sizeof *z->high);
    z->low = oxp_arena_alloc(arena, n, sizeof *z->low);
    z->squares = oxp_arena_alloc(arena, n, sizeof *z->squares);
    z->elements = oxp_arena_alloc(arena, n, sizeof *z->elements);
    return z->high && z->low && z->squares && z->elements ? OXP_OK : arena->ctx->status;
}

/* What layers read and make. */
static oxp_status open_all(oxp_channel_sizes *by_value, const oxp_equalize_walk *w,
                           oxp_arena *arena)
{
    for (size_t i = 0; i < w->layer_count; i++) {
        uint32_t read = w->layers[i].read, made = w->layers[i].made;
        OXP_TRY(open_sizes(&by_value[read], arena, w->channels[read].count));
        OXP_TRY(open_sizes(&by_value[made], arena, w->channels[made].count));
    }
    return OXP_OK;
}

static void merge(oxp_channel_sizes *into, const oxp_channel_sizes *z)
{
    for (size_t c = 0; c < into->channels; c++) {
        into->high[c] = fmaxf(into->high[c], z->high[c]);
        into->low[c] = fmaxf(into->low[c], z->low[c]);
        into->squares[c] += z->squares[c];
        into->elements[c] += z->elements[c];
    }
}

static oxp_status measure(measuring *m, oxp_channel_sizes *out, oxp_arena *arena, oxp_ctx *ctx,
                          const oxp_graph *graph, const oxp_tensor *const *const *samples,
                          size_t count)
{
    m->slots = oxp_arena_alloc(arena, count * m->values + 1, sizeof *m->slots);
    m->differs = oxp_arena_alloc(arena, count * m->values + 1, sizeof *m->differs);
    if (!m->slots || !m->differs)
        return arena->ctx->status;
    for (size_t s = 0; s < count; s++)
        OXP_TRY(open_all(&m->slots[s * m->values], m->walk, arena));
    oxp_held_hooks hooks = {.user = m, .value = on_value};
    OXP_TRY(oxp_held_run(ctx, graph, samples, count, &hooks));
    for (size_t i = 0; i < count * m->values; i++) {
        merge(&out[i % m->values], &m->slots[i]);
        if (m->differs[i])
            oxp_channels_pin(&m->walk->variables, &m->walk->channels[i % m->values]);
    }
    return OXP_OK;
}

oxp_status oxp_channel_sizes_measure(oxp_channel_sizes **out, oxp_equalize_walk *w, oxp_ctx *ctx,
                                     const oxp_graph *graph,
                                     const oxp_tensor *const *const *samples, size_t count)
{
    measuring m = {.walk = w, .values = graph->value_count};
    oxp_channel_sizes *sizes = oxp_arena_alloc(w->arena, m.values + 1, sizeof *sizes);
    if (!sizes)
        return w->arena->ctx->status;
    OXP_TRY(open_all(sizes, w, w->arena));
    oxp_arena arena;
    oxp_arena_init(&arena, w->arena->ctx);
    oxp_status status = measure(&m, sizes, &arena, ctx, graph, samples, count);
    oxp_arena_free(&arena);
    *out = sizes;
    return status;
}
