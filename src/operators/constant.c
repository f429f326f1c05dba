/* constant.c - Constant: a tensor that stands in the node itself.
 *
 * Its output is a constant of the graph and the interpreter skips the node; the row makes it known,
 * and runs it where it is asked to. https://onnx.ai/onnx/operators/onnx__Constant.html Not here:
 * value_string, value_strings and sparse_value. */
#include <string.h>

#include "operators/operator.h"

typedef struct constant_state {
    oxp_tensor value;
    float scalar_float;
    int64_t scalar_int;
} constant_state;

static oxp_status borrow(oxp_node *n, oxp_tensor *t, oxp_dtype dtype, int rank, size_t count,
                         const void *data)
{
    int64_t dims[1] = {(int64_t)count};
    OXP_TRY(oxp_tensor_shape(t, n->ctx, dtype, rank, dims, "Constant"));
    t->data = (void *)(uintptr_t)data; /* never written */
    return OXP_OK;
}

static oxp_status read_value(oxp_node *n, constant_state *s)
{
    const float *floats;
    const int64_t *ints;
    size_t count;
    if (oxp_attr_present(n, "value"))
        return oxp_attr_tensor(n, "value", &s->value);
    if (oxp_attr_present(n, "value_float")) {
        s->scalar_float = oxp_attr_float(n, "value_float", 0);
        return borrow(n, &s->value, OXP_FLOAT, 0, 1, &s->scalar_float);
    }
    if (oxp_attr_present(n, "value_int")) {
        s->scalar_int = oxp_attr_int(n, "value_int", 0);
        return borrow(n, &s->value, OXP_INT64, 0, 1, &s->scalar_int);
    }
    if (oxp_attr_present(n, "value_floats")) {
        oxp_attr_floats(n, "value_floats", &floats, &count);
        return borrow(n, &s->value, OXP_FLOAT, 1, count, floats);
    }
    if (oxp_attr_present(n, "value_ints")) {
        oxp_attr_ints(n, "value_ints", &ints, &count);
        return borrow(n, &s->value, OXP_INT64, 1, count, ints);
    }
    return oxp_node_fail(n, OXP_EUNSUPPORTED, "E-ATTR",
                         "expected one of value, value_float, value_floats, value_int, value_ints");
}

static oxp_status constant_prepare(oxp_node *n)
{
    constant_state *s = oxp_node_state(n, sizeof *s);
    if (!s)
        return n->ctx->status;
    if (!s->value.data)
        OXP_TRY(read_value(n, s));
    if (n->ctx->status != OXP_OK)
        return n->ctx->status;
    if (s->value.dtype == OXP_STRING)
        return oxp_node_fail(n, OXP_EUNSUPPORTED, "E-OP-DTYPE",
                             "a value of type STRING is not supported");
    return oxp_output(n, 0, s->value.dtype, s->value.rank, s->value.dims);
}

static oxp_status constant_forward(oxp_node *n)
{
    const constant_state *s = n->state;
    if (n->out[0].data && s->value.count > 0)
        memcpy(n->out[0].data, s->value.data, oxp_tensor_bytes(&s->value));
    return OXP_OK;
}

static const char *const constant_examples[] = {
    "; value_float=1.5",
    "; value_int=7",
    "; value_ints=1,2,3",
    NULL,
};

const oxp_operator oxp_op_constant_1 = {
    .domain = "",
    .type = "Constant",
    .since = 1,
    .min_in = 0,
    .max_in = 0,
    .min_out = 1,
    .max_out = 1,
    .prepare = constant_prepare,
    .forward = constant_forward,
    .backward = oxp_backward_zero,
    .examples = constant_examples,
};
