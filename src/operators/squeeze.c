/* squeeze.c - Squeeze and Unsqueeze: dimensions of 1 taken out of the shape, or put into it; the
 * input's memory.
 *
 * The axes are an attribute before opset 13 and input 1 from then on. Squeeze without axes takes
 * every dimension of 1. https://onnx.ai/onnx/operators/onnx__Squeeze.html,
 * https://onnx.ai/onnx/operators/onnx__Unsqueeze.html */
#include "operators/gradient.h"
#include "operators/movement.h"

static oxp_status squeeze_to(oxp_node *n, const int64_t *values, size_t count, bool given)
{
    const oxp_tensor *x = n->in[0];
    int axes[OXP_MAX_RANK], rank = 0;
    uint32_t gone = 0;
    int64_t dims[OXP_MAX_RANK];
    if (given)
        OXP_TRY(oxp_move_axes(n, values, count, x->rank, axes));
    for (size_t i = 0; given && i < count; i++) {
        if (x->dims[axes[i]] != 1)
            return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                                 "dimension %d is %lld, only 1 can be squeezed", axes[i],
                                 (long long)x->dims[axes[i]]);
        gone |= UINT32_C(1) << axes[i];
    }
    for (int i = 0; i < x->rank; i++) {
        if (given ? !(gone >> i & 1) : x->dims[i] != 1)
            dims[rank++] = x->dims[i];
    }
    return oxp_output_alias(n, 0, 0, rank, dims);
}

static oxp_status squeeze_1_prepare(oxp_node *n)
{
    const int64_t *axes;
    size_t count;
    oxp_attr_ints(n, "axes", &axes, &count);
    return squeeze_to(n, axes, count, oxp_attr_present(n, "axes"));
}

static oxp_status squeeze_13_prepare(oxp_node *n)
{
    const int64_t *axes;
    size_t count;
    OXP_TRY(oxp_move_ints(n, 1, &axes, &count));
    return squeeze_to(n, axes, count, axes != NULL);
}

static oxp_status unsqueeze_to(oxp_node *n, const int64_t *values, size_t count)
{
    const oxp_tensor *x = n->in[0];
    int axes[OXP_MAX_RANK];
    uint32_t fresh = 0;
    int64_t dims[OXP_MAX_RANK];
    OXP_TRY(oxp_move_rank(n, (size_t)x->rank + count));
    int rank = x->rank + (int)count;
    OXP_TRY(oxp_move_axes(n, values, count, rank, axes));
    for (size_t i = 0; i < count; i++)
        fresh |= UINT32_C(1) << axes[i];
    for (int i = 0, from = 0; i < rank; i++)
        dims[i] = fresh >> i & 1 ? 1 : x->dims[from++];
    return oxp_output_alias(n, 0, 0, rank, dims);
}

static oxp_status unsqueeze_1_prepare(oxp_node *n)
{
    const int64_t *axes;
    size_t count;
    oxp_attr_ints(n, "axes", &axes, &count);
    return unsqueeze_to(n, axes, count);
}

static oxp_status unsqueeze_13_prepare(oxp_node *n)
{
    const int64_t *axes;
    size_t count;
    OXP_TRY(oxp_move_ints(n, 1, &axes, &count));
    return unsqueeze_to(n, axes, count);
}

static const char *const squeeze_1_examples[] = {
    "X[1,3,1,5]",
    "X[1,3,1,5]; axes=0,2",
    "X[1,3,1,5]:i64; axes=-2,0",
    NULL,
};

const oxp_operator oxp_op_squeeze_1 = {
    .domain = "",
    .type = "Squeeze",
    .since = 1,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .prepare = squeeze_1_prepare,
    .backward = oxp_backward_same,
    .examples = squeeze_1_examples,
};

static const char *const squeeze_13_examples[] = {
    "X[1,3,1,5]", "X[1,3,1,5] A[1]:i64={0}", "X[1,3,1,5]:bool A[2]:i64={-2,0}", "X[1] A[1]:i64={0}",
    NULL,
};

const oxp_operator oxp_op_squeeze_13 = {
    .domain = "",
    .type = "Squeeze",
    .since = 13,
    .min_in = 1,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .values = 2,
    .prepare = squeeze_13_prepare,
    .backward = oxp_backward_same,
    .examples = squeeze_13_examples,
};

static const char *const unsqueeze_1_examples[] = {
    "X[3,5]; axes=0,3",
    "X[3,5]:u8; axes=-1,1",
    NULL,
};

const oxp_operator oxp_op_unsqueeze_1 = {
    .domain = "",
    .type = "Unsqueeze",
    .since = 1,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .prepare = unsqueeze_1_prepare,
    .backward = oxp_backward_same,
    .examples = unsqueeze_1_examples,
};

static const char *const unsqueeze_13_examples[] = {
    "X[3,5] A[1]:i64={1}",
    "X[3,5]:f16 A[3]:i64={4,0,-4}",
    "X[] A[1]:i64={0}",
    NULL,
};

const oxp_operator oxp_op_unsqueeze_13 = {
    .domain = "",
    .type = "Unsqueeze",
    .since = 13,
    .min_in = 2,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .values = 2,
    .prepare = unsqueeze_13_prepare,
    .backward = oxp_backward_same,
    .examples = unsqueeze_13_examples,
};
