/* pool.c - MaxPool, AveragePool and LpPool over one to three spatial axes of x[N, C, in].
 *
 * https://onnx.ai/onnx/operators/onnx__MaxPool.html, AveragePool, LpPool. MaxPool keeps 8-bit
 * integers as they are; all else computes in FLOAT. Attributes that a version does not have yet
 * are unknown to it. */
#include "kernels/pool_backward.h"
#include "kernels/pool_last.h"

#include "operators/gradient.h"
#include "operators/real.h"
#include "operators/window.h"

typedef struct pool_state {
    oxp_window window;
    size_t planes;
    bool column_major, count_padding;
    int64_t p;
} pool_state;

/* A window that lies in the padding alone would have no value. */
static oxp_status check_pads(oxp_node *n, const oxp_window *w, int spatial)
{
    for (int i = 3 - spatial; i < 3; i++)
        if (w->begin[i] >= w->kernel[i] + (w->kernel[i] - 1) * (w->dilation[i] - 1) ||
            w->end[i] >= w->kernel[i] + (w->kernel[i] - 1) * (w->dilation[i] - 1))
            return oxp_node_fail(
                n, OXP_EFORMAT, "E-ATTR-VALUE",
                "pads %zu and %zu on spatial axis %d reach the extent of the kernel", w->begin[i],
                w->end[i], i - (3 - spatial));
    return OXP_OK;
}

/* Output 0, and the window into the state. */
static oxp_status prepare_window(oxp_node *n, oxp_window_options options, pool_state **out)
{
    const oxp_tensor *x = n->in[0];
    pool_state *state = oxp_node_state(n, sizeof *state);
    int64_t kernel[OXP_MAX_SPATIAL], dims[OXP_MAX_SPATIAL + 2];
    int spatial;
    if (!state)
        return OXP_ELIMIT;
    OXP_TRY(oxp_window_rank(n, x, &spatial));
    OXP_TRY(oxp_window_kernel(n, spatial, NULL, kernel));
    OXP_TRY(oxp_window_read(n, spatial, x->dims + 2, kernel, options, &state->window));
    OXP_TRY(check_pads(n, &state->window, spatial));
    dims[0] = x->dims[0];
    dims[1] = x->dims[1];
    oxp_window_dims(state->window.out, spatial, dims + 2);
    OXP_TRY(oxp_output(n, 0, x->dtype, spatial + 2, dims));
    size_t positions = oxp_volume(state->window.out);
    state->planes = positions ? n->out[0].count / positions : 0;
    *out = state;
    return OXP_OK;
}

/* ---- MaxPool ---- */

static oxp_status prepare_max(oxp_node *n)
{
    oxp_dtype dtype = n->in[0]->dtype;
    int since = n->op->since;
    pool_state *state;
    if (!(since >= 12 && (dtype == OXP_UINT8 || dtype == OXP_INT8)))
        OXP_TRY(oxp_real_types(n, 0));
    OXP_TRY(prepare_window(
        n, (oxp_window_options){.dilations = since >= 10, .ceil_mode = since >= 10}, &state));
    state->column_major = since >= 8 && oxp_attr_int(n, "storage_order", 0) != 0;
    if (n->out_count < 2)
        return OXP_OK;
    if (!oxp_dtype_is_float(dtype))
        return oxp_node_fail(n, OXP_EUNSUPPORTED, "E-OP-DTYPE",
                             "Indices of an input of type %s are not supported",
                             oxp_dtype_name(dtype));
    return oxp_output(n, 1, OXP_INT64, n->out[0].rank, n->out[0].dims);
}

static oxp_status max_as_float(oxp_node *n, const pool_state *state)
{
    const float *x = oxp_real_in(n, 0);
    if (!x)
        return OXP_ELIMIT;
    if (oxp_node_makes(n, 0)) {
        float *y = oxp_real_out(n, 0);
        if (!y)
            return OXP_ELIMIT;
        if (n->in_last)
            oxp_pool_last_max(&state->window, (size_t)n->in[0]->dims[0], (size_t)n->in[0]->dims[1],
                              x, y);
        else
            OXP_TRY(oxp_pool_max(n->ctx, &state->window, state->planes, x, y));
        oxp_real_done(n, 0, y);
    }
    if (oxp_node_makes(n, 1))
        oxp_pool_max_indices(&state->window, state->planes, x, state->column_major, n->out[1].data);
    return OXP_OK;
}

static oxp_status forward_max(oxp_node *n)
{
    const pool_state *state = n->state;
    const void *x = n->in[0]->data;
    if (n->in[0]->dtype == OXP_UINT8 && oxp_node_makes(n, 0))
        oxp_pool_max_u8(&state->window, state->planes, x, n->out[0].data);
    else if (n->in[0]->dtype == OXP_INT8 && oxp_node_makes(n, 0))
        oxp_pool_max_i8(&state->window, state->planes, x, n->out[0].data);
    else if (oxp_dtype_is_float(n->in[0]->dtype))
        return max_as_float(n, state);
    return OXP_OK;
}

/* ---- AveragePool and LpPool ---- */

static oxp_status prepare_average(oxp_node *n)
{
    int since = n->op->since;
    pool_state *state;
    OXP_TRY(oxp_real_types(n, 0));
    OXP_TRY(prepare_window(
        n, (oxp_window_options){.dilations = since >= 19, .ceil_mode = since >= 10}, &state));
    state->count_padding = since >= 7 && oxp_attr_int(n, "count_include_pad", 0) != 0;
    return OXP_OK;
}

static oxp_status forward_average(oxp_node *n)
{
    if (!oxp_node_makes(n, 0))
        return OXP_OK;
    const pool_state *state = n->state;
    const float *x = oxp_real_in(n, 0);
    float *y = oxp_real_out(n, 0);
    if (!x || !y)
        return OXP_ELIMIT;
    if (n->in_last)
        oxp_pool_last_average(&state->window, (size_t)n->in[0]->dims[0], (size_t)n->in[0]->dims[1],
                              state->count_padding, x, y);
    else
        OXP_TRY(
            oxp_pool_average(n->ctx, &state->window, state->planes, state->count_padding, x, y));
    oxp_real_done(n, 0, y);
    return OXP_OK;
}

static oxp_status prepare_lp(oxp_node *n)
{
    int since = n->op->since;
    pool_state *state;
    OXP_TRY(oxp_real_types(n, 0));
    OXP_TRY(prepare_window(
        n, (oxp_window_options){.dilations = since >= 18, .ceil_mode = since >= 18}, &state));
    state->p = oxp_attr_int(n, "p", 2);
    if (state->p < 1)
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE",
                             "attribute \"p\" is %lld, expected at least 1", (long long)state->p);
    return OXP_OK;
}

static oxp_status forward_lp(oxp_node *n)
{
    if (!oxp_node_makes(n, 0))
        return OXP_OK;
    const pool_state *state = n->state;
    const float *x = oxp_real_in(n, 0);
    float *y = oxp_real_out(n, 0);
    if (!x || !y)
        return OXP_ELIMIT;
    oxp_pool_lp(&state->window, state->planes, state->p, x, y);
    oxp_real_done(n, 0, y);
    return OXP_OK;
}

/* ---- backward ---- */

static oxp_status backward_max(oxp_node *n)
{
    const pool_state *s = n->state;
    const float *dy = oxp_dout(n, 0), *x = oxp_real_in(n, 0);
    float *dx = oxp_din(n, 0);
    if (!x)
        return OXP_ELIMIT;
    if (dx && dy)
        oxp_pool_max_backward(&s->window, s->planes, x, dy, dx);
    return OXP_OK;
}

static oxp_status backward_average(oxp_node *n)
{
    const pool_state *s = n->state;
    if (oxp_din(n, 0) && oxp_dout(n, 0))
        oxp_pool_average_backward(&s->window, s->planes, s->count_padding, oxp_dout(n, 0),
                                  oxp_din(n, 0));
    return OXP_OK;
}

static oxp_status backward_lp(oxp_node *n)
{
    const pool_state *s = n->state;
    const float *dy = oxp_dout(n, 0), *x = oxp_real_in(n, 0);
    float *dx = oxp_din(n, 0);
    if (!x)
        return OXP_ELIMIT;
    if (dx && dy)
        oxp_pool_lp_backward(&s->window, s->planes, s->p, x, dy, dx);
    return OXP_OK;
}

/* ---- rows ---- */

static const char *const max_examples[] = {
    "X[1,2,5,6]; kernel_shape=2,3",
    "X[2,3,7,7]; kernel_shape=3,3 strides=2,2 pads=1,1,1,1",
    "X[1,1,1,9]; kernel_shape=1,4 strides=1,3 auto_pad='SAME_UPPER'",
    "X[1,1,9,2]; kernel_shape=4,1 strides=3,1 auto_pad='SAME_LOWER'",
    "X[1,2,4,5,4]; kernel_shape=2,2,2 strides=2,1,2 auto_pad='VALID'",
    "X[1,2,5,5]:f16; kernel_shape=2,2",
    NULL};

static const char *const max_examples_10[] = {
    "X[1,2,8,9]; kernel_shape=3,2 dilations=2,3 strides=2,1",
    "X[1,2,7,8]; kernel_shape=3,3 strides=2,3 ceil_mode=1",
    "X[1,1,6,6]; kernel_shape=2,2 strides=3,3 pads=1,0,1,1 ceil_mode=1", NULL};

static const char *const max_examples_12[] = {
    "X[1,2,6,6]; kernel_shape=3,3 pads=1,1,1,1 ceil_mode=1",
    "X[1,2,6,6]:u8; kernel_shape=3,2 strides=2,2", "X[1,2,6,6]:i8; kernel_shape=2,2 dilations=2,2",
    NULL};

static const char *const average_examples[] = {
    "X[1,2,5,6]; kernel_shape=2,3", "X[2,3,7,7]; kernel_shape=3,3 strides=2,2 pads=1,1,1,1",
    "X[1,1,1,9]; kernel_shape=1,4 strides=1,3 auto_pad='SAME_UPPER'",
    "X[1,2,4,5,4]; kernel_shape=2,2,2 strides=2,1,2", NULL};

static const char *const average_examples_7[] = {
    "X[2,3,7,7]; kernel_shape=3,3 strides=2,2 pads=1,1,1,1 count_include_pad=1",
    "X[1,1,8,2]; kernel_shape=3,2 auto_pad='SAME_LOWER' count_include_pad=1", NULL};

static const char *const average_examples_10[] = {
    "X[1,2,7,8]; kernel_shape=3,3 strides=2,3 ceil_mode=1",
    "X[1,1,6,6]; kernel_shape=2,2 strides=3,3 pads=1,0,1,1 ceil_mode=1 count_include_pad=1",
    "X[1,1,6,6]:f64; kernel_shape=2,2", NULL};

static const char *const average_examples_19[] = {
    "X[1,2,8,9]; kernel_shape=3,2 dilations=2,3 strides=2,1",
    "X[1,2,8,9]; kernel_shape=3,2 dilations=2,2 pads=1,1,1,1 count_include_pad=1", NULL};

static const char *const lp_examples[] = {
    "X[1,2,5,6]; kernel_shape=2,3", "X[1,2,7,5]; kernel_shape=3,2 strides=2,1 pads=1,1,1,1 p=3",
    "X[1,2,7,7]; kernel_shape=3,3 p=1 auto_pad='SAME_UPPER'", NULL};

static const char *const lp_examples_18[] = {
    "X[1,2,7,8]; kernel_shape=3,3 strides=2,3 ceil_mode=1 p=2",
    "X[1,2,8,9]; kernel_shape=3,2 dilations=2,3 p=3", NULL};

#define POOL(type_, since_, max_out_, prepare_, forward_, backward_, saves_, last_, examples_) \
    {                                                                                          \
        .domain = "", .type = type_, .since = since_, .min_in = 1, .max_in = 1, .min_out = 1,  \
        .max_out = max_out_, .prepare = prepare_, .forward = forward_, .backward = backward_,  \
        .saves = saves_, .examples = examples_, .channels_last = last_                         \
    }

static const char *const max_examples_8[] = {
    "X[1,2,5,6]; kernel_shape=2,3 storage_order=1 outputs=2",
    "X[2,3,7,7]; kernel_shape=3,3 strides=2,2 pads=1,1,1,1 outputs=2", NULL};

const oxp_operator oxp_op_max_pool_1 =
    POOL("MaxPool", 1, 1, prepare_max, forward_max, backward_max, 1, true, max_examples);
const oxp_operator oxp_op_max_pool_8 =
    POOL("MaxPool", 8, 2, prepare_max, forward_max, backward_max, 1, true, max_examples_8);
const oxp_operator oxp_op_max_pool_10 =
    POOL("MaxPool", 10, 2, prepare_max, forward_max, backward_max, 1, true, max_examples_10);
const oxp_operator oxp_op_max_pool_12 =
    POOL("MaxPool", 12, 2, prepare_max, forward_max, backward_max, 1, true, max_examples_12);
const oxp_operator oxp_op_average_pool_1 =
    POOL("AveragePool", 1, 1, prepare_average, forward_average, backward_average, 0, true,
         average_examples);
const oxp_operator oxp_op_average_pool_7 =
    POOL("AveragePool", 7, 1, prepare_average, forward_average, backward_average, 0, true,
         average_examples_7);
const oxp_operator oxp_op_average_pool_10 =
    POOL("AveragePool", 10, 1, prepare_average, forward_average, backward_average, 0, true,
         average_examples_10);
const oxp_operator oxp_op_average_pool_19 =
    POOL("AveragePool", 19, 1, prepare_average, forward_average, backward_average, 0, true,
         average_examples_19);
const oxp_operator oxp_op_lp_pool_2 =
    POOL("LpPool", 2, 1, prepare_lp, forward_lp, backward_lp, 1, false, lp_examples);
const oxp_operator oxp_op_lp_pool_18 =
    POOL("LpPool", 18, 1, prepare_lp, forward_lp, backward_lp, 1, false, lp_examples_18);
