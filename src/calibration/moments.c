/* moments.c - see moments.h. */
#include "calibration/moments.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

#include "kernels/gemm.h"
#include "kernels/vector.h"
#include "operators/conv.h"
#include "util/map.h"
#include "util/parallel.h"

size_t oxp_moments_floats(const oxp_moments *m)
{
    size_t last = oxp_moments_width(m, oxp_moments_blocks(m) - 1);
    return m->groups * ((oxp_moments_blocks(m) - 1) * m->block * m->block + last * last);
}

float *oxp_moments_block(const oxp_moments *m, size_t group, size_t b)
{
    return m->h + group * (oxp_moments_floats(m) / m->groups) + b * m->block * m->block;
}

/* ---- which nodes ---- */

static bool is_type(const oxp_graph_node *n, const char *type)
{
    return strcmp(n->type, type) == 0;
}

static bool is_conv(const oxp_graph_node *n)
{
    return is_type(n, "Conv") && n->domain[0] == '\0';
}

static bool is_recurrent(const oxp_graph_node *n)
{
    return is_type(n, "LSTM") || is_type(n, "GRU") || is_type(n, "RNN");
}

bool oxp_moments_shape(const oxp_graph_node *node, size_t *groups, size_t *columns, size_t *unit)
{
    const oxp_value *w = oxp_graph_node_constant(node, 1);
    *groups = *unit = 1;
    if (!w || oxp_graph_node_constant(node, 0) || oxp_graph_node_int(node, "transA", 0))
        return false;
    const oxp_tensor *t = &w->constant;
    if (is_conv(node) && t->rank >= 3 && t->dims[0] && t->dims[1]) {
        int64_t group = oxp_graph_node_int(node, "group", 1);
        *groups = group > 0 ? (size_t)group : 1;
        *columns = t->count / (size_t)t->dims[0];
        *unit = *columns / (size_t)t->dims[1];
        return *columns > 0;
    }
    if (is_recurrent(node) && t->rank == 3)
        *columns = (size_t)t->dims[2];
    else if ((is_type(node, "MatMul") || is_type(node, "FusedMatMul") || is_type(node, "Gemm")) &&
             t->rank == 2)
        *columns = (size_t)t->dims[oxp_graph_node_int(node, "transB", 0) ? 1 : 0];
    else
        return false;
    return *columns > 0;
}

/* ---- rows of a sample ---- */

typedef struct rows { /* of one sample: [count, groups * columns], as one of the two */
    float *x;
    uint8_t *codes; /* of a moment that has a scale */
    double *sums;   /* of X as it is, then of X as rounded */
    size_t count;
} rows;

typedef oxp_moments_held collection;
struct oxp_moments_held {
    oxp_ctx *ctx;
    oxp_arena arena;
    oxp_moments *moments;
    size_t count;
    size_t **moments_of;  /* by graph and node: index + 1 */
    rows *taken;          /* [slot * count + moment] */
    size_t slots, next;   /* next: the first slot whose floats are not in the sums */
    bool *done;           /* by slot */
    pthread_mutex_t lock; /* of what stands before, and of the sums of floats */
};

typedef struct summing { /* of the moments first..end-1 */
    collection *c;
    size_t first, part_count;
    size_t *moment_of, *first_of; /* by block: its moment, and that one's first block */
} summing;

/* Position i of `wanted` among `total`: one in each of as many equal parts. */
static size_t position(size_t i, size_t wanted, size_t total, double phase)
{
    if (wanted == total)
        return i;
    double within = phase + 0.6180339887498949 * (double)i;
    within -= floor(within);
    size_t at = (size_t)(((double)i + within) * (double)total / (double)wanted);
    return at < total ? at : total - 1;
}

/* Where the taps of a patch lie, and what is around them in memory. */
typedef struct patch {
    const oxp_conv_shape *shape;
    size_t channel_step, place_step; /* of the elements of one image */
    size_t taps;
} patch;

/* The patch at position `at` over batch and output axes: all channels, their taps. */
static void take_patch(const patch *p, const float *x, size_t at, float *out)
{
    const oxp_window *w = &p->shape->window;
    size_t places = oxp_volume(w->out), o = at % places, channels = p->shape->in_channels;
    size_t o0 = o / (w->out[1] * w->out[2]), o1 = o / w->out[2] % w->out[1], o2 = o % w->out[2];
    size_t f0, l0, f1, l1, f2, l2;
    oxp_window_taps(w, 0, o0, &f0, &l0);
    oxp_window_taps(w, 1, o1, &f1, &l1);
    oxp_window_taps(w, 2, o2, &f2, &l2);
    memset(out, 0, channels * p->taps * sizeof *out);
    x += at / places * channels * oxp_volume(w->in);
    for (size_t k0 = f0; k0 < l0; k0++)
        for (size_t k1 = f1; k1 < l1; k1++) {
            size_t line = oxp_window_at(w, 0, o0, k0) * w->in[1] + oxp_window_at(w, 1, o1, k1);
            for (size_t k2 = f2; k2 < l2; k2++) {
                const float *from =
                    x + (line * w->in[2] + oxp_window_at(w, 2, o2, k2)) * p->place_step;
                float *to = out + (k0 * w->kernel[1] + k1) * w->kernel[2] + k2;
                for (size_t c = 0; c < channels; c++)
                    to[c * p->taps] = from[c * p->channel_step];
            }
        }
}

/* Adds to `r->count` what it puts into out. */
static oxp_status take_rows(oxp_node *n, const oxp_moments *m, float *out, rows *r)
{
    const oxp_tensor *t = n->in[0];
    const float *x = t->data;
    size_t width = m->groups * m->columns, total = width ? t->count / width : 0;
    oxp_conv_shape shape = {0};
    patch p = {.shape = &shape};
    if (is_conv(n->def)) {
        int spatial;
        OXP_TRY(oxp_conv_read(n, 1, 2, &shape, &spatial));
        total = shape.batch * oxp_volume(shape.window.out);
        p.taps = oxp_volume(shape.window.kernel);
        p.channel_step = n->in_last ? 1 : oxp_volume(shape.window.in);
        p.place_step = n->in_last ? shape.in_channels : 1;
    }
    size_t left = m->wanted - r->count, wanted = total < left ? total : left;
    double phase = (double)(oxp_hash(x, t->count * sizeof *x) >> 11) * 0x1p-53;
    for (size_t i = 0; i < wanted; i++, r->count++, out += width) {
        size_t at = position(i, wanted, total, phase);
        if (is_conv(n->def))
            take_patch(&p, x, at, out);
        else
            memcpy(out, x + at * width, width * sizeof *out);
    }
    return OXP_OK;
}

OXP_VECTORISED static void sum_rows(const float *restrict x, size_t count, size_t width,
                                    double *restrict sums)
{
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < width; j++)
            sums[j] += (double)x[i * width + j];
}

OXP_VECTORISED static bool all_finite(const float *x, size_t n)
{
    float sums[OXP_LANES] = {0}; /* of zeros, unless something is not finite */
    size_t i = 0;
    for (; i + OXP_LANES <= n; i += OXP_LANES)
        for (size_t k = 0; k < OXP_LANES; k++)
            sums[k] += x[i + k] * 0.0f;
    for (; i < n; i++)
        sums[0] += x[i] * 0.0f;
    bool all = true;
    for (size_t k = 0; k < OXP_LANES; k++)
        all = all && sums[k] == 0;
    return all;
}

oxp_status oxp_moments_rows(oxp_node *node, const oxp_moments *m, float *out, size_t *count)
{
    rows r = {.count = *count};
    OXP_TRY(take_rows(node, m, out, &r));
    if (all_finite(out, (r.count - *count) * m->groups * m->columns))
        *count = r.count;
    return OXP_OK;
}

/* Of numbers that are codes already. */
OXP_VECTORISED static void encode(uint8_t *restrict codes, const float *restrict x, size_t n,
                                  oxp_scale s)
{
    for (size_t i = 0; i < n; i++)
        codes[i] = (uint8_t)((int)nearbyintf(x[i] / s.scale) + (int)s.zero_point);
}

OXP_VECTORISED static void decode(float *restrict x, const uint8_t *restrict codes, size_t n,
                                  oxp_scale s)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (float)((int)codes[i] - (int)s.zero_point) * s.scale;
}

static oxp_status open_rows(rows *r, oxp_ctx *ctx, const oxp_moments *m)
{
    size_t width = m->groups * m->columns, count = m->wanted * width;
    if (r->sums)
        return OXP_OK;
    OXP_TRY(oxp_alloc(&r->sums, ctx, 2 * width, sizeof *r->sums, "layer inputs"));
    return m->scale ? oxp_alloc_raw(&r->codes, ctx, count, 1, "layer inputs")
                    : oxp_alloc_raw(&r->x, ctx, count, sizeof *r->x, "layer inputs");
}

/* x: [wanted, groups * columns] that nothing else needs, or the rows' own memory. */
static oxp_status add_rows_of(oxp_node *n, const oxp_moments *m, float *x, rows *r)
{
    size_t width = m->groups * m->columns, from = r->count;
    OXP_TRY(take_rows(n, m, x, r));
    size_t count = r->count - from;
    if (!all_finite(x, count * width)) {
        r->count = from;
        return OXP_OK;
    }
    sum_rows(x, count, width, r->sums);
    if (m->scale) {
        oxp_fake_quantise_u8(x, x, count * width, *m->scale, 255);
        encode(r->codes + from * width, x, count * width, *m->scale);
    }
    sum_rows(x, count, width, r->sums + width);
    return OXP_OK;
}

static oxp_status on_node(void *user, int worker, size_t slot, oxp_node *n)
{
    (void)worker;
    collection *c = user;
    size_t at = c->moments_of[n->def->graph->id][n->def->index];
    if (at == 0 || n->in[0]->dtype != OXP_FLOAT)
        return OXP_OK;
    const oxp_moments *m = &c->moments[at - 1];
    rows *r = &c->taken[slot * c->count + at - 1];
    size_t width = m->groups * m->columns;
    float *x;
    OXP_TRY(open_rows(r, n->ctx, m));
    if (!m->scale)
        return add_rows_of(n, m, r->x + r->count * width, r);
    OXP_TRY(oxp_alloc_raw(&x, n->ctx, m->wanted * width, sizeof *x, "layer inputs"));
    oxp_status status = add_rows_of(n, m, x, r);
    oxp_free(x);
    return status;
}

/* ---- sums ---- */

/* h += X^T X for few columns, where a call of the product would cost more than it does. */
OXP_VECTORISED static void add_small(float *restrict h, size_t n, const float *restrict x,
                                     size_t count, size_t stride)
{
    for (size_t r = 0; r < count; r++)
        for (size_t i = 0; i < n; i++) {
            float xi = x[r * stride + i];
            for (size_t j = 0; j < n; j++)
                h[i * n + j] += xi * x[r * stride + j];
        }
}

#define SMALL 32

static void add_block(float *h, size_t n, const float *x, size_t count, size_t stride)
{
    oxp_gemm_shape s = {
        .trans_a = true, .m = n, .n = n, .k = count, .lda = stride, .ldb = stride, .ldc = n};
    if (n <= SMALL)
        add_small(h, n, x, count, stride);
    else
        oxp_gemm(&s, 1, x, x, 1, h);
}

/* Floats are four times as large as codes: they are added as soon as those of the samples before
 * them are, by whoever closes the gap. */
static void add_floats(collection *c, size_t moment, rows *r)
{
    oxp_moments *m = &c->moments[moment];
    for (size_t g = 0; g < m->groups; g++)
        for (size_t b = 0; r->count && b < oxp_moments_blocks(m); b++)
            add_block(oxp_moments_block(m, g, b), oxp_moments_width(m, b),
                      r->x + g * m->columns + b * m->block, r->count, m->groups * m->columns);
    oxp_free(r->x);
    r->x = NULL;
}

static oxp_status on_sample(void *user, oxp_ctx *ctx, int worker, size_t slot,
                            const oxp_tensor *inputs, const oxp_tensor *outputs)
{
    (void)ctx;
    (void)worker;
    (void)inputs;
    (void)outputs;
    collection *c = user;
    pthread_mutex_lock(&c->lock);
    c->done[slot] = true;
    for (; c->next < c->slots && c->done[c->next]; c->next++)
        for (size_t i = 0; i < c->count; i++)
            if (!c->moments[i].scale)
                add_floats(c, i, &c->taken[c->next * c->count + i]);
    pthread_mutex_unlock(&c->lock);
    return OXP_OK;
}

/* Adds the codes of all samples of one block, in their order. */
static oxp_status sum_part(void *user, oxp_ctx *ctx, size_t part, int worker)
{
    (void)worker;
    const summing *s = user;
    collection *c = s->c;
    oxp_moments *m = &c->moments[s->moment_of[part]];
    if (!m->scale)
        return OXP_OK;
    size_t at = part - s->first_of[part], blocks = oxp_moments_blocks(m), b = at % blocks;
    size_t n = oxp_moments_width(m, b), first = at / blocks * m->columns + b * m->block;
    size_t width = m->groups * m->columns;
    float *h = oxp_moments_block(m, at / blocks, b), *x;
    OXP_TRY(oxp_alloc_raw(&x, ctx, m->wanted * n, sizeof *x, "layer inputs"));
    for (size_t slot = 0; slot < c->slots; slot++) {
        const rows *r = &c->taken[slot * c->count + s->moment_of[part]];
        for (size_t i = 0; i < r->count; i++)
            decode(x + i * n, r->codes + i * width + first, n, *m->scale);
        if (r->count)
            add_block(h, n, x, r->count, n);
    }
    oxp_free(x);
    return OXP_OK;
}

static void free_rows(collection *c, size_t moment)
{
    for (size_t slot = 0; c->taken && slot < c->slots; slot++) {
        rows *r = &c->taken[slot * c->count + moment];
        oxp_free(r->x);
        oxp_free(r->codes);
        oxp_free(r->sums);
        *r = (rows){0};
    }
}

static void add_means(const collection *c, size_t moment)
{
    oxp_moments *m = &c->moments[moment];
    size_t width = m->groups * m->columns;
    for (size_t slot = 0; slot < c->slots; slot++) {
        const rows *r = &c->taken[slot * c->count + moment];
        for (size_t j = 0; r->count && j < width; j++) {
            m->mean[j] += r->sums[j];
            m->code_mean[j] += r->sums[width + j];
        }
        m->rows += r->count;
    }
}

static oxp_status finish_one(void *user, oxp_ctx *ctx, size_t i, int worker)
{
    (void)ctx;
    (void)worker;
    const summing *s = user;
    i += s->first;
    oxp_moments *m = &s->c->moments[i];
    add_means(s->c, i);
    if (m->rows == 0)
        return OXP_OK;
    double n = (double)m->rows;
    for (size_t j = 0; j < m->groups * m->columns; j++) {
        m->mean[j] /= n;
        m->code_mean[j] /= n;
    }
    for (size_t g = 0; g < m->groups; g++)
        for (size_t b = 0; b < oxp_moments_blocks(m); b++) {
            float *h = oxp_moments_block(m, g, b);
            const double *mean = m->code_mean + g * m->columns + b * m->block;
            size_t width = oxp_moments_width(m, b);
            for (size_t j = 0; j < width; j++)
                for (size_t k = 0; k < width; k++) {
                    double both = m->centred ? mean[j] * mean[k] : 0;
                    h[j * width + k] = (float)((double)h[j * width + k] / n - both);
                }
            for (size_t j = 0; j < width; j++)
                h[j * width + j] = fmaxf(h[j * width + j], 0);
        }
    return OXP_OK;
}

/* ---- the whole ---- */

static oxp_status make_table(collection *c, oxp_arena *arena, const oxp_graph *graph)
{
    const oxp_graph *const *graphs;
    size_t graph_count;
    OXP_TRY(oxp_graph_all(&graphs, &graph_count, arena, graph));
    c->moments_of = oxp_arena_alloc(arena, graph_count, sizeof *c->moments_of);
    c->taken = oxp_arena_alloc(arena, c->slots * c->count + 1, sizeof *c->taken);
    for (size_t g = 0; c->moments_of && g < graph_count; g++) {
        c->moments_of[g] = oxp_arena_alloc(arena, graphs[g]->node_count + 1, sizeof(size_t));
        if (!c->moments_of[g])
            return OXP_ELIMIT;
    }
    c->done = oxp_arena_alloc(arena, c->slots + 1, sizeof *c->done);
    if (!c->moments_of || !c->taken || !c->done)
        return OXP_ELIMIT;
    for (size_t i = 0; i < c->count; i++)
        for (size_t k = 0; k < c->moments[i].node_count; k++) {
            const oxp_graph_node *n = c->moments[i].nodes[k];
            c->moments_of[n->graph->id][n->index] = i + 1;
        }
    return OXP_OK;
}

static oxp_status number_parts(summing *s, oxp_arena *arena, size_t end)
{
    const oxp_moments *moments = s->c->moments;
    for (size_t i = s->first; i < end; i++)
        s->part_count += moments[i].groups * oxp_moments_blocks(&moments[i]);
    s->moment_of = oxp_arena_alloc(arena, s->part_count + 1, sizeof *s->moment_of);
    s->first_of = oxp_arena_alloc(arena, s->part_count + 1, sizeof *s->first_of);
    if (!s->moment_of || !s->first_of)
        return OXP_ELIMIT;
    for (size_t at = 0, i = s->first; i < end; i++) {
        size_t first = at, parts = moments[i].groups * oxp_moments_blocks(&moments[i]);
        for (; at < first + parts; at++) {
            s->moment_of[at] = i;
            s->first_of[at] = first;
        }
    }
    return OXP_OK;
}

oxp_status oxp_moments_hold(oxp_moments_held **out, oxp_moments *moments, size_t count,
                            oxp_ctx *ctx, const oxp_graph *graph, const oxp_source *source,
                            const size_t *which, size_t samples)
{
    collection *c;
    OXP_TRY(oxp_alloc(&c, ctx, 1, sizeof *c, "layer inputs"));
    c->ctx = ctx;
    c->moments = moments;
    c->count = count;
    c->slots = samples;
    oxp_arena_init(&c->arena, ctx);
    pthread_mutex_init(&c->lock, NULL);
    oxp_status status = make_table(c, &c->arena, graph);
    oxp_run_hooks hooks = {.user = c, .node = on_node, .sample = on_sample, .any_layout = true};
    if (status == OXP_OK)
        status = oxp_run_samples(ctx, graph, source, which, samples, &hooks, "moments");
    if (status == OXP_OK)
        *out = c;
    else
        oxp_moments_release(c);
    return status;
}

oxp_status oxp_moments_sum(oxp_moments_held *held, size_t first, size_t end)
{
    summing s = {.c = held, .first = first};
    oxp_arena arena;
    oxp_arena_init(&arena, held->ctx);
    oxp_status status = number_parts(&s, &arena, end);
    if (status == OXP_OK)
        status = oxp_parallel_for(held->ctx, s.part_count, sum_part, &s);
    if (status == OXP_OK)
        status = oxp_parallel_for(held->ctx, end - first, finish_one, &s);
    oxp_arena_free(&arena);
    for (size_t i = first; i < end; i++)
        free_rows(held, i);
    return status;
}

void oxp_moments_release(oxp_moments_held *held)
{
    if (!held)
        return;
    for (size_t i = 0; i < held->count; i++)
        free_rows(held, i);
    pthread_mutex_destroy(&held->lock);
    oxp_arena_free(&held->arena);
    oxp_free(held);
}

oxp_status oxp_moments_collect(oxp_moments *moments, size_t count, oxp_ctx *ctx,
                               const oxp_graph *graph, const oxp_source *source,
                               const size_t *which, size_t samples)
{
    oxp_moments_held *held;
    if (count == 0)
        return OXP_OK;
    OXP_TRY(oxp_moments_hold(&held, moments, count, ctx, graph, source, which, samples));
    oxp_status status = oxp_moments_sum(held, 0, count);
    oxp_moments_release(held);
    return status;
}
