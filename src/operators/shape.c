/* shape.c - Shape and Size: the dimensions of a tensor, and their product, as INT64.
 *
 * Shape takes the dimensions [start, end) since opset 15; both bounds count from the back when
 * negative and are clamped. https://onnx.ai/onnx/operators/onnx__Shape.html,
 * https://onnx.ai/onnx/operators/onnx__Size.html */
#include <string.h>

#include "operators/operator.h"

typedef struct shape_state {
    int start;
} shape_state;

static int clamp_bound(int64_t bound, int rank)
{
    if (bound < 0)
        bound += rank;
    if (bound < 0)
        return 0;
    return bound > rank ? rank : (int)bound;
}

static oxp_status shape_prepare(oxp_node *n)
{
    shape_state *s = oxp_node_state(n, sizeof *s);
    if (!s)
        return n->ctx->status;
    int rank = n->in[0]->rank;
    s->start = clamp_bound(oxp_attr_int(n, "start", 0), rank);
    int end = clamp_bound(oxp_attr_int(n, "end", INT64_MAX), rank);
    int64_t count = end > s->start ? end - s->start : 0;
    return oxp_output(n, 0, OXP_INT64, 1, &count);
}

static oxp_status shape_forward(oxp_node *n)
{
    const shape_state *s = n->state;
    if (n->out[0].data)
        memcpy(n->out[0].data, n->in[0]->dims + s->start, n->out[0].count * sizeof(int64_t));
    return OXP_OK;
}

static const char *const shape_1_examples[] = {"X[2,3,4]", "X[]", NULL};

const oxp_operator oxp_op_shape_1 = {
    .domain = "",
    .type = "Shape",
    .since = 1,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .prepare = shape_prepare,
    .forward = shape_forward,
    .backward = oxp_backward_zero,
    .examples = shape_1_examples,
};

static const char *const shape_15_examples[] = {
    "X[2,3,4]",         "X[2,3,4]; start=1",        "X[2,3,4]; start=-1",
    "X[2,3,4]; end=-1", "X[2,3,4]; start=-9 end=9", NULL,
};

const oxp_operator oxp_op_shape_15 = {
    .domain = "",
    .type = "Shape",
    .since = 15,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .prepare = shape_prepare,
    .forward = shape_forward,
    .backward = oxp_backward_zero,
    .examples = shape_15_examples,
};

static oxp_status size_prepare(oxp_node *n)
{
    return oxp_output(n, 0, OXP_INT64, 0, NULL);
}

static oxp_status size_forward(oxp_node *n)
{
    if (n->out[0].data)
        *(int64_t *)n->out[0].data = (int64_t)n->in[0]->count;
    return OXP_OK;
}

static const char *const size_examples[] = {"X[2,3,4]", "X[0,4]:i64", NULL};

const oxp_operator oxp_op_size_1 = {
    .domain = "",
    .type = "Size",
    .since = 1,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .prepare = size_prepare,
    .forward = size_forward,
    .backward = oxp_backward_zero,
    .examples = size_examples,
};
