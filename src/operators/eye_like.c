/* eye_like.c - EyeLike: ones on the k-th diagonal of a matrix of the input's shape, of type
 * `dtype` or the input's. */
#include <string.h>

#include "operators/cast_float.h"
#include "operators/cast_integer.h"
#include "operators/operator.h"

static oxp_status prepare(oxp_node *n)
{
    const oxp_tensor *x = n->in[0];
    int64_t *k = oxp_node_state(n, sizeof *k);
    if (!k)
        return n->ctx->status;
    *k = oxp_attr_int(n, "k", 0);
    int64_t type = oxp_attr_int(n, "dtype", x->dtype);
    if (x->rank != 2)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "the input has rank %d, expected 2",
                             x->rank);
    if (type <= OXP_UNDEFINED || type >= OXP_DTYPE_COUNT) {
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE", "dtype is %lld, expected a data type",
                             (long long)type);
    }
    oxp_dtype dtype = (oxp_dtype)type;
    if (!oxp_dtype_is_float(dtype) && oxp_integer_bytes(dtype) == 0 && dtype != OXP_BOOL) {
        return oxp_node_fail(n, OXP_EUNSUPPORTED, "E-OP-DTYPE",
                             "an output of type %s is not supported", oxp_dtype_name(dtype));
    }
    return oxp_output(n, 0, dtype, 2, x->dims);
}

static void store_one(oxp_tensor *y, size_t i)
{
    const float one = 1.0f;
    if (y->dtype == OXP_DOUBLE)
        ((double *)y->data)[i] = 1.0;
    else if (oxp_dtype_is_float(y->dtype))
        oxp_floats_store((uint8_t *)y->data + i * (oxp_dtype_bits(y->dtype) / 8), y->dtype, &one,
                         1);
    else
        oxp_integer_store(y->data, y->dtype, i, 1);
}

static oxp_status forward(oxp_node *n)
{
    oxp_tensor *y = &n->out[0];
    int64_t rows = y->dims[0], columns = y->dims[1], k = *(const int64_t *)n->state;
    memset(y->data, 0, oxp_tensor_bytes(y));
    if (k >= columns || k <= -rows)
        return OXP_OK;
    for (int64_t r = k < 0 ? -k : 0, c = k < 0 ? 0 : k; r < rows && c < columns; r++, c++)
        store_one(y, (size_t)(r * columns + c));
    return OXP_OK;
}

const oxp_operator oxp_op_eye_like_9 = {
    .domain = "",
    .type = "EyeLike",
    .since = 9,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .prepare = prepare,
    .forward = forward,
    .backward = oxp_backward_zero,
    .examples = (const char *const[]){"X[3,4]", "X[3,4]; k=1", "X[4,3]:i32; k=-1 dtype=1",
                                      "X[3,3]; dtype=9 k=7", "X[2,2]:bf16", NULL},
};
