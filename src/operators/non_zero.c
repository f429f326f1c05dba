/* non_zero.c - NonZero: INT64 [rank, count], the indices of the elements that are not 0, in C order
 * (-0 is 0, NaN is not). https://onnx.ai/onnx/operators/onnx__NonZero.html
 *
 * A scalar counts as a vector of one element with no index: [0, 0 or 1]. */
#include "operators/movement.h"

static oxp_status non_zero_prepare(oxp_node *n)
{
    oxp_dtype dtype = n->in[0]->dtype;
    if (dtype != OXP_BOOL && !oxp_dtype_is_integer(dtype) && !oxp_dtype_is_float(dtype))
        return oxp_node_bad_dtype(n, 0);
    return oxp_output_later(n, 0);
}

static bool is_set(const oxp_tensor *t, size_t i)
{
    return oxp_dtype_is_float(t->dtype) ? oxp_tensor_real(t, i) != 0 : oxp_tensor_int(t, i) != 0;
}

static oxp_status non_zero_forward(oxp_node *n)
{
    const oxp_tensor *x = n->in[0];
    int64_t *out, dims[2] = {x->rank, 0}, place[OXP_MAX_RANK] = {0};
    for (size_t i = 0; i < x->count; i++)
        dims[1] += is_set(x, i);
    OXP_TRY(oxp_move_make_output(n, 0, OXP_INT64, 2, dims, &out));
    size_t column = 0, columns = (size_t)dims[1];
    for (size_t i = 0; out && i < x->count; i++) {
        if (is_set(x, i)) {
            for (int d = 0; d < x->rank; d++)
                out[(size_t)d * columns + column] = place[d];
            column++;
        }
        int d = x->rank - 1;
        while (d >= 0 && ++place[d] == x->dims[d])
            place[d--] = 0;
    }
    return OXP_OK;
}

static const char *const non_zero_examples[] = {
    "X[2,2]={1.0,0.0,1.0,-0.0}", "X[5]:bool={1,0,1,1,0}", "X[2,3]:i64", "X[0,3]", NULL,
};

const oxp_operator oxp_op_non_zero_9 = {
    .domain = "",
    .type = "NonZero",
    .since = 9,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .prepare = non_zero_prepare,
    .forward = non_zero_forward,
    .backward = oxp_backward_zero,
    .examples = non_zero_examples,
};
