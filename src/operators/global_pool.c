/* global_pool.c - GlobalAveragePool, GlobalMaxPool and GlobalLpPool: x[N, C, ...] to y[N, C, 1,
 * ...], any number of axes.
 *
 * https://onnx.ai/onnx/operators/onnx__GlobalAveragePool.html and its sisters. Computes in FLOAT,
 * sums in double. */
#include "kernels/pool_backward.h"
#include "kernels/pool_last.h"

#include "operators/gradient.h"
#include "operators/real.h"

typedef struct global_state {
    size_t planes, count;
    int64_t p;
} global_state;

static oxp_status prepare(oxp_node *n)
{
    const oxp_tensor *x = n->in[0];
    global_state *state = oxp_node_state(n, sizeof *state);
    int64_t dims[OXP_MAX_RANK];
    if (!state)
        return OXP_ELIMIT;
    OXP_TRY(oxp_real_types(n, 0));
    if (x->rank < 2)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "input 0 has rank %d, expected at least 2",
                             x->rank);
    for (int i = 0; i < x->rank; i++)
        dims[i] = i < 2 ? x->dims[i] : 1;
    OXP_TRY(oxp_output(n, 0, x->dtype, x->rank, dims));
    state->planes = n->out[0].count;
    state->count = state->planes ? x->count / state->planes : 0;
    if (state->planes && state->count == 0)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "input 0 has %zu planes without an element",
                             state->planes);
    return OXP_OK;
}

static oxp_status prepare_lp(oxp_node *n)
{
    OXP_TRY(prepare(n));
    global_state *state = n->state;
    state->p = oxp_attr_int(n, "p", 2);
    if (state->p < 1)
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE",
                             "attribute \"p\" is %lld, expected at least 1", (long long)state->p);
    return OXP_OK;
}

static oxp_status run(oxp_node *n, void (*kernel)(const oxp_node *n, const float *x, float *y))
{
    if (!oxp_node_makes(n, 0))
        return OXP_OK;
    const float *x = oxp_real_in(n, 0);
    float *y = oxp_real_out(n, 0);
    if (!x || !y)
        return OXP_ELIMIT;
    kernel(n, x, y);
    oxp_real_done(n, 0, y);
    return OXP_OK;
}

static void average(const oxp_node *n, const float *x, float *y)
{
    const global_state *state = n->state;
    const int64_t *dims = n->in[0]->dims;
    if (n->in_last)
        oxp_pool_last_global_average((size_t)dims[0], (size_t)dims[1], state->count, x, y);
    else
        oxp_pool_global_average(state->planes, state->count, x, y);
}

static void maximum(const oxp_node *n, const float *x, float *y)
{
    const global_state *state = n->state;
    oxp_pool_global_max(state->planes, state->count, x, y);
}

static void lp(const oxp_node *n, const float *x, float *y)
{
    const global_state *state = n->state;
    oxp_pool_global_lp(state->planes, state->count, state->p, x, y);
}

static oxp_status forward_average(oxp_node *n)
{
    return run(n, average);
}

static oxp_status forward_max(oxp_node *n)
{
    return run(n, maximum);
}

static oxp_status forward_lp(oxp_node *n)
{
    return run(n, lp);
}

/* As a window over each plane. */
static oxp_status backward_average(oxp_node *n)
{
    const global_state *s = n->state;
    oxp_window whole = oxp_window_whole(s->count);
    if (oxp_din(n, 0) && oxp_dout(n, 0))
        oxp_pool_average_backward(&whole, s->planes, false, oxp_dout(n, 0), oxp_din(n, 0));
    return OXP_OK;
}

static oxp_status backward_max(oxp_node *n)
{
    const global_state *s = n->state;
    oxp_window whole = oxp_window_whole(s->count);
    const float *x = oxp_real_in(n, 0);
    if (!x)
        return OXP_ELIMIT;
    if (oxp_din(n, 0) && oxp_dout(n, 0))
        oxp_pool_max_backward(&whole, s->planes, x, oxp_dout(n, 0), oxp_din(n, 0));
    return OXP_OK;
}

static oxp_status backward_lp(oxp_node *n)
{
    const global_state *s = n->state;
    oxp_window whole = oxp_window_whole(s->count);
    const float *x = oxp_real_in(n, 0);
    if (!x)
        return OXP_ELIMIT;
    if (oxp_din(n, 0) && oxp_dout(n, 0))
        oxp_pool_lp_backward(&whole, s->planes, s->p, x, oxp_dout(n, 0), oxp_din(n, 0));
    return OXP_OK;
}

static const char *const examples[] = {"X[2,3,5,4]", "X[1,17,33]",     "X[1,2,3,4,5]",
                                       "X[2,3]",     "X[1,4,6,6]:f64", NULL};
static const char *const lp_examples[] = {"X[2,3,5,4]", "X[1,2,7]; p=1", "X[1,2,3,4]; p=3", NULL};

#define GLOBAL_POOL(type_, since_, prepare_, forward_, backward_, saves_, last_, examples_)   \
    {                                                                                         \
        .domain = "", .type = type_, .since = since_, .min_in = 1, .max_in = 1, .min_out = 1, \
        .max_out = 1, .prepare = prepare_, .forward = forward_, .backward = backward_,        \
        .saves = saves_, .channels_last = last_, .examples = examples_                        \
    }

const oxp_operator oxp_op_global_average_pool_1 = GLOBAL_POOL(
    "GlobalAveragePool", 1, prepare, forward_average, backward_average, 0, true, examples);
const oxp_operator oxp_op_global_max_pool_1 =
    GLOBAL_POOL("GlobalMaxPool", 1, prepare, forward_max, backward_max, 1, false, examples);
const oxp_operator oxp_op_global_lp_pool_2 =
    GLOBAL_POOL("GlobalLpPool", 2, prepare_lp, forward_lp, backward_lp, 1, false, lp_examples);
