/* gradient.c - see gradient.h. */
#include "operators/gradient.h"

#include <string.h>

#include "operators/movement.h"
#include "operators/vector_math.h"

oxp_status oxp_backward_zero(oxp_node *n)
{
    (void)n;
    return OXP_OK;
}

OXP_HOT static void add_scaled(float *dx, const float *dy, size_t count, float scale)
{
    OXP_LANES
    for (size_t i = 0; i < count; i++)
        dx[i] += scale * dy[i];
}

void oxp_gradient_add(float *dx, const float *dy, size_t count, float scale)
{
    add_scaled(dx, dy, count, scale);
}

oxp_status oxp_backward_same(oxp_node *n)
{
    if (oxp_dout(n, 0) && oxp_din(n, 0))
        oxp_gradient_add(oxp_din(n, 0), oxp_dout(n, 0), n->din[0]->count, 1);
    return OXP_OK;
}

/* ---- broadcasting ---- */

static void reduce_runs(const oxp_broadcast *plan, const float *dy, double *sums)
{
    oxp_broadcast_cursor at = {0};
    size_t run = oxp_broadcast_run(plan), runs = oxp_broadcast_runs(plan);
    size_t step = oxp_broadcast_advances(plan, 0);
    for (size_t r = 0; r < runs; r++, dy += run, oxp_broadcast_next(plan, &at)) {
        double *to = sums + at.offset[0];
        for (size_t k = 0; k < run; k++)
            to[k * step] += (double)dy[k];
    }
}

oxp_status oxp_gradient_reduce(oxp_node *n, float *dx, const oxp_tensor *x, const float *dy,
                               int rank, const int64_t *dims, float scale)
{
    oxp_broadcast plan;
    size_t count = 1;
    for (int i = 0; i < rank; i++)
        count *= (size_t)dims[i];
    if (count == x->count) {
        oxp_gradient_add(dx, dy, count, scale);
        return OXP_OK;
    }
    double *sums = oxp_node_scratch(n, x->count, sizeof *sums);
    if (!sums)
        return n->ctx->status;
    oxp_broadcast_plan(&plan, rank, dims, 1, &x);
    reduce_runs(&plan, dy, sums);
    for (size_t i = 0; i < x->count; i++)
        dx[i] += (float)(sums[i] * (double)scale);
    return OXP_OK;
}

/* ---- movement ---- */

typedef struct numbering {
    oxp_tensor *in, *out;
    const oxp_tensor **in_list;
    uint32_t *first; /* number of an input's first element; 0: it does not move */
    uint32_t next;
} numbering;

static bool moves(uint32_t moved, int i)
{
    return moved >> (i < 15 ? i : 15) & 1;
}

/* Numbers start at 1: 0 is an element that came from nowhere. */
static oxp_status number_input(oxp_node *n, numbering *m, int i, bool moving)
{
    oxp_tensor *t = &m->in[i];
    *t = *n->in[i];
    m->in_list[i] = t;
    if (!oxp_dtype_is_float(t->dtype) || (!moving && t->data))
        return OXP_OK;
    t->dtype = OXP_FLOAT;
    t->storage = NULL;
    uint32_t *numbers = oxp_node_scratch(n, t->count, sizeof *numbers);
    if (!numbers)
        return n->ctx->status;
    t->data = numbers;
    if (!moving)
        return OXP_OK;
    if (t->count >= UINT32_MAX - m->next)
        return oxp_node_fail(n, OXP_ELIMIT, "E-LIMIT-MEM", "%zu elements cannot be numbered",
                             t->count);
    m->first[i] = m->next;
    for (size_t k = 0; k < t->count; k++)
        numbers[k] = m->next++;
    return OXP_OK;
}

static oxp_status number_output(oxp_node *n, numbering *m, int i)
{
    oxp_tensor *t = &m->out[i];
    *t = n->out[i];
    t->storage = NULL;
    t->data = NULL;
    if (!n->wanted[i] || t->rank < 0)
        return OXP_OK;
    if (oxp_dtype_is_float(t->dtype))
        t->dtype = OXP_FLOAT;
    t->data = oxp_node_scratch(n, oxp_tensor_bytes(t), 1);
    return t->data ? OXP_OK : n->ctx->status;
}

static oxp_status number_all(oxp_node *n, numbering *m, uint32_t moved)
{
    size_t in = (size_t)n->in_count, out = (size_t)n->out_count;
    *m = (numbering){.next = 1};
    m->in = oxp_node_scratch(n, in, sizeof *m->in);
    m->in_list = oxp_node_scratch(n, in, sizeof *m->in_list);
    m->first = oxp_node_scratch(n, in, sizeof *m->first);
    m->out = oxp_node_scratch(n, out, sizeof *m->out);
    if (!m->in || !m->in_list || !m->first || !m->out)
        return n->ctx->status;
    for (int i = 0; i < n->in_count; i++)
        if (n->in[i])
            OXP_TRY(number_input(n, m, i, moves(moved, i)));
    for (int i = 0; i < n->out_count; i++)
        OXP_TRY(number_output(n, m, i));
    return OXP_OK;
}

static oxp_status run_numbers(oxp_node *n, const numbering *m)
{
    const oxp_tensor **in = n->in;
    oxp_tensor *out = n->out;
    n->in = m->in_list;
    n->out = m->out;
    oxp_status status = n->op->forward(n);
    n->in = in;
    n->out = out;
    return status;
}

/* Sums by number. */
static void collect(const oxp_node *n, const numbering *m, double *sums)
{
    for (int o = 0; o < n->out_count; o++) {
        const float *dy = oxp_dout(n, o);
        const uint32_t *numbers = m->out[o].data;
        for (size_t k = 0; dy && k < m->out[o].count; k++)
            if (numbers[k] < m->next) /* a constant may be anything */
                sums[numbers[k]] += (double)dy[k];
    }
}

oxp_status oxp_backward_moved(oxp_node *n, uint32_t moved)
{
    numbering m;
    if (n->out_count == 1 && n->alias[0] >= 0) {
        int from = n->alias[0];
        if (oxp_din(n, from) && oxp_dout(n, 0))
            oxp_gradient_add(oxp_din(n, from), oxp_dout(n, 0), n->din[from]->count, 1);
        return OXP_OK;
    }
    OXP_TRY(number_all(n, &m, moved));
    double *sums = oxp_node_scratch(n, m.next, sizeof *sums);
    if (!sums)
        return n->ctx->status;
    oxp_status status = run_numbers(n, &m);
    if (status == OXP_OK)
        collect(n, &m, sums);
    for (int i = 0; i < n->out_count; i++)
        oxp_tensor_release(&m.out[i]); /* made in forward, where data decides the shape */
    OXP_TRY(status);
    for (int i = 0; i < n->in_count; i++) {
        float *dx = m.first[i] ? oxp_din(n, i) : NULL;
        for (size_t k = 0; dx && k < n->in[i]->count; k++)
            dx[k] += (float)sums[m.first[i] + k];
    }
    return OXP_OK;
}

oxp_status oxp_backward_moved_first(oxp_node *n)
{
    return oxp_backward_moved(n, 1);
}

oxp_status oxp_backward_moved_all(oxp_node *n)
{
    return oxp_backward_moved(n, 0xffff);
}
