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

typedef struct rows { /* of one sample */
    float *x;         /* [count, groups * columns] */
    double *sums;     /* of X as it is, then of X as rounded */
    size_t count;
} rows;

typedef struct collection {
    oxp_moments *moments;
    size_t count;
    size_t **moments_of;  /* by graph and node: index + 1 */
    rows *taken;          /* [slot * count + moment] */
    pthread_mutex_t lock; /* of what follows, and of the sums */
    bool *done;           /* by slot */
    size_t slots, next;   /* next: the first slot that is not in the sums */
} collection;

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

/* The patch at position `at` over batch and output axes: all channels, their taps. */
static void take_patch(const oxp_conv_shape *s, const float *x, size_t at, float *out)
{
    const oxp_window *w = &s->window;
    size_t area = oxp_volume(w->in), places = oxp_volume(w->out), o = at % places;
    size_t o0 = o / (w->out[1] * w->out[2]), o1 = o / w->out[2] % w->out[1], o2 = o % w->out[2];
    size_t f0, l0, f1, l1, f2, l2, taps = oxp_volume(w->kernel);
    oxp_window_taps(w, 0, o0, &f0, &l0);
    oxp_window_taps(w, 1, o1, &f1, &l1);
    oxp_window_taps(w, 2, o2, &f2, &l2);
    memset(out, 0, s->in_channels * taps * sizeof *out);
    x += at / places * s->in_channels * area;
    for (size_t c = 0; c < s->in_channels; c++, x += area, out += taps)
        for (size_t k0 = f0; k0 < l0; k0++)
            for (size_t k1 = f1; k1 < l1; k1++) {
                size_t line = oxp_window_at(w, 0, o0, k0) * w->in[1] + oxp_window_at(w, 1, o1, k1);
                for (size_t k2 = f2; k2 < l2; k2++)
                    out[(k0 * w->kernel[1] + k1) * w->kernel[2] + k2] =
                        x[line * w->in[2] + oxp_window_at(w, 2, o2, k2)];
            }
}

static oxp_status take_rows(oxp_node *n, const oxp_moments *m, rows *r)
{
    const oxp_tensor *t = n->in[0];
    const float *x = t->data;
    size_t width = m->groups * m->columns, total = width ? t->count / width : 0;
    oxp_conv_shape shape = {0};
    if (is_conv(n->def)) {
        int spatial;
        OXP_TRY(oxp_conv_read(n, 1, 2, &shape, &spatial));
        total = shape.batch * oxp_volume(shape.window.out);
    }
    size_t left = m->wanted - r->count, wanted = total < left ? total : left;
    double phase = (double)(oxp_hash(x, t->count * sizeof *x) >> 11) * 0x1p-53;
    for (size_t i = 0; i < wanted; i++, r->count++) {
        size_t at = position(i, wanted, total, phase);
        float *out = r->x + r->count * width;
        if (is_conv(n->def))
            take_patch(&shape, x, at, out);
        else
            memcpy(out, x + at * width, width * sizeof *out);
    }
    return OXP_OK;
}

static void sum_rows(const rows *r, size_t from, size_t width, double *sums)
{
    for (size_t i = from; i < r->count; i++)
        for (size_t j = 0; j < width; j++)
            sums[j] += (double)r->x[i * width + j];
}

static bool all_finite(const float *x, size_t n)
{
    float sum = 0; /* of zeros, unless something is not finite */
    for (size_t i = 0; i < n; i++)
        sum += x[i] * 0.0f;
    return sum == 0;
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
    size_t width = m->groups * m->columns, from = r->count;
    if (!r->x) {
        OXP_TRY(oxp_alloc_raw(&r->x, n->ctx, m->wanted * width, sizeof *r->x, "layer inputs"));
        OXP_TRY(oxp_alloc(&r->sums, n->ctx, 2 * width, sizeof *r->sums, "layer inputs"));
    }
    OXP_TRY(take_rows(n, m, r));
    float *x = r->x + from * width;
    if (!all_finite(x, (r->count - from) * width)) {
        r->count = from;
        return OXP_OK;
    }
    sum_rows(r, from, width, r->sums);
    if (m->scale)
        oxp_fake_quantise_u8(x, x, (r->count - from) * width, *m->scale, 255);
    sum_rows(r, from, width, r->sums + width);
    return OXP_OK;
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

static void add_rows(oxp_moments *m, const rows *r)
{
    size_t width = m->groups * m->columns;
    if (r->count == 0)
        return;
    for (size_t g = 0; g < m->groups; g++)
        for (size_t b = 0; b < oxp_moments_blocks(m); b++)
            add_block(oxp_moments_block(m, g, b), oxp_moments_width(m, b),
                      r->x + g * m->columns + b * m->block, r->count, width);
    for (size_t j = 0; j < width; j++) {
        m->mean[j] += r->sums[j];
        m->code_mean[j] += r->sums[width + j];
    }
    m->rows += r->count;
}

static void free_slot(collection *c, size_t slot)
{
    for (size_t i = slot * c->count; i < (slot + 1) * c->count; i++) {
        oxp_free(c->taken[i].x);
        oxp_free(c->taken[i].sums);
        c->taken[i] = (rows){0};
    }
}

/* Whoever closes the gap adds all slots up to the next one. */
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
    for (; c->next < c->slots && c->done[c->next]; c->next++) {
        for (size_t i = 0; i < c->count; i++)
            add_rows(&c->moments[i], &c->taken[c->next * c->count + i]);
        free_slot(c, c->next);
    }
    pthread_mutex_unlock(&c->lock);
    return OXP_OK;
}

static oxp_status finish_one(void *user, oxp_ctx *ctx, size_t i, int worker)
{
    (void)ctx;
    (void)worker;
    oxp_moments *m = &((collection *)user)->moments[i];
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
    c->done = oxp_arena_alloc(arena, c->slots + 1, sizeof *c->done);
    for (size_t g = 0; c->moments_of && g < graph_count; g++) {
        c->moments_of[g] = oxp_arena_alloc(arena, graphs[g]->node_count + 1, sizeof(size_t));
        if (!c->moments_of[g])
            return OXP_ELIMIT;
    }
    if (!c->moments_of || !c->taken || !c->done)
        return OXP_ELIMIT;
    for (size_t i = 0; i < c->count; i++)
        for (size_t k = 0; k < c->moments[i].node_count; k++) {
            const oxp_graph_node *n = c->moments[i].nodes[k];
            c->moments_of[n->graph->id][n->index] = i + 1;
        }
    return OXP_OK;
}

static oxp_status collect(collection *c, oxp_ctx *ctx, const oxp_graph *graph,
                          const oxp_source *source, const size_t *which)
{
    oxp_run_hooks hooks = {.user = c, .node = on_node, .sample = on_sample};
    oxp_status status = oxp_run_samples(ctx, graph, source, which, c->slots, &hooks, "moments");
    for (size_t slot = c->next; slot < c->slots; slot++) /* after a failure */
        free_slot(c, slot);
    OXP_TRY(status);
    return oxp_parallel_for(ctx, c->count, finish_one, c);
}

oxp_status oxp_moments_collect(oxp_moments *moments, size_t count, oxp_ctx *ctx,
                               const oxp_graph *graph, const oxp_source *source,
                               const size_t *which, size_t samples)
{
    collection c = {.moments = moments, .count = count, .slots = samples};
    oxp_arena arena;
    if (count == 0)
        return OXP_OK;
    oxp_arena_init(&arena, ctx);
    oxp_status status = make_table(&c, &arena, graph);
    pthread_mutex_init(&c.lock, NULL);
    if (status == OXP_OK)
        status = collect(&c, ctx, graph, source, which);
    pthread_mutex_destroy(&c.lock);
    oxp_arena_free(&arena);
    return status;
}
