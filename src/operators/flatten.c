/* flatten.c - Flatten: [d0*..*d(axis-1), d(axis)*..*d(r-1)]; the input's memory.
 * https://onnx.ai/onnx/operators/onnx__Flatten.html (negative axes, since opset 11, are taken in
 * every version). */
#include "operators/gradient.h"
#include "operators/movement.h"

static oxp_status flatten_prepare(oxp_node *n)
{
    const oxp_tensor *x = n->in[0];
    int axis;
    int64_t dims[2];
    int64_t asked = oxp_attr_int(n, "axis", 1);
    if (asked < -x->rank || asked > x->rank) {
        return oxp_node_fail(n, OXP_EFORMAT, "E-AXIS", "axis %lld, expected [%d, %d]",
                             (long long)asked, -x->rank, x->rank);
    }
    axis = (int)(asked < 0 ? asked + x->rank : asked);
    OXP_TRY(oxp_move_product(n, axis, x->dims, &dims[0]));
    OXP_TRY(oxp_move_product(n, x->rank - axis, x->dims + axis, &dims[1]));
    return oxp_output_alias(n, 0, 0, 2, dims);
}

static const char *const flatten_examples[] = {
    "X[2,3,4,5]", "X[2,3,4,5]; axis=0", "X[2,3,4,5]; axis=4", "X[2,3,4,5]:i8; axis=-2", "X[0,3]",
    NULL,
};

const oxp_operator oxp_op_flatten_1 = {
    .domain = "",
    .type = "Flatten",
    .since = 1,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .prepare = flatten_prepare,
    .backward = oxp_backward_same,
    .examples = flatten_examples,
};
