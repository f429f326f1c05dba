/* constant_of_shape.c - ConstantOfShape: a tensor of the shape that the input lists, filled with
 * one value (0.0f when the attribute is absent).
 * https://onnx.ai/onnx/operators/onnx__ConstantOfShape.html */
#include <string.h>

#include "operators/movement.h"

typedef struct fill_state {
    oxp_tensor value;
} fill_state;

static oxp_status read_value(oxp_node *n, fill_state *s)
{
    static const float zero = 0;
    OXP_TRY(oxp_attr_tensor(n, "value", &s->value));
    if (s->value.rank < 0) {
        OXP_TRY(oxp_tensor_shape(&s->value, n->ctx, OXP_FLOAT, 0, NULL, "value"));
        s->value.data = (void *)(uintptr_t)&zero;
    }
    if (s->value.count != 1)
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE",
                             "attribute value holds %zu elements, expected 1", s->value.count);
    if (oxp_dtype_bits(s->value.dtype) < 4)
        return oxp_node_fail(n, OXP_EUNSUPPORTED, "E-OP-DTYPE",
                             "a value of type %s is not supported", oxp_dtype_name(s->value.dtype));
    return OXP_OK;
}

static oxp_status constant_of_shape_prepare(oxp_node *n)
{
    const int64_t *dims;
    size_t rank;
    fill_state *s = oxp_node_state(n, sizeof *s);
    if (!s)
        return n->ctx->status;
    if (!s->value.data)
        OXP_TRY(read_value(n, s));
    OXP_TRY(oxp_node_want(n, 0, OXP_INT64));
    OXP_TRY(oxp_move_ints(n, 0, &dims, &rank));
    OXP_TRY(oxp_move_rank(n, rank));
    return oxp_output(n, 0, s->value.dtype, (int)rank, dims);
}

static oxp_status constant_of_shape_forward(oxp_node *n)
{
    const fill_state *s = n->state;
    oxp_tensor *y = &n->out[0];
    if (!y->data || y->count == 0)
        return OXP_OK;
    unsigned bits = oxp_dtype_bits(y->dtype);
    if (bits == 4) {
        int nibble = *(const uint8_t *)s->value.data & 15;
        memset(y->data, nibble | nibble << 4, oxp_tensor_bytes(y));
        return OXP_OK;
    }
    oxp_move_fill(y->data, y->count, bits / 8, s->value.data);
    return OXP_OK;
}

static const char *const constant_of_shape_examples[] = {
    "S[3]:i64={2,3,4}",
    "S[2]:i64={0,5}",
    "S[0]:i64={}",
    NULL,
};

const oxp_operator oxp_op_constant_of_shape_9 = {
    .domain = "",
    .type = "ConstantOfShape",
    .since = 9,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .values = 1,
    .prepare = constant_of_shape_prepare,
    .forward = constant_of_shape_forward,
    .backward = oxp_backward_zero,
    .examples = constant_of_shape_examples,
};
