/* range.c - Range: start, start+delta, ... below (above, for a negative delta) limit:
 * max(ceil((limit-start)/delta), 0) values. https://onnx.ai/onnx/operators/onnx__Range.html
 *
 * Integers are exact; floats are start + i*delta in double, rounded once (what opset 27 asks of the
 * 16-bit types). */
#include <math.h>
#include <string.h>

#include "operators/movement.h"

static oxp_status integer_count(oxp_node *n, int64_t *count)
{
    int64_t start = oxp_tensor_int(n->in[0], 0), limit = oxp_tensor_int(n->in[1], 0),
            delta = oxp_tensor_int(n->in[2], 0);
    uint64_t span, step;
    if (delta == 0)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "delta is 0");
    bool empty = delta > 0 ? limit <= start : limit >= start;
    span = delta > 0 ? (uint64_t)limit - (uint64_t)start : (uint64_t)start - (uint64_t)limit;
    step = delta > 0 ? (uint64_t)delta : -(uint64_t)delta;
    uint64_t values = empty ? 0 : (span - 1) / step + 1;
    if (values > INT64_MAX)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE-OVERFLOW", "%llu values",
                             (unsigned long long)values);
    *count = (int64_t)values;
    return OXP_OK;
}

static oxp_status real_count(oxp_node *n, int64_t *count)
{
    double start = oxp_tensor_real(n->in[0], 0), limit = oxp_tensor_real(n->in[1], 0),
           delta = oxp_tensor_real(n->in[2], 0);
    double values = ceil((limit - start) / delta);
    if (delta == 0 || isnan(values))
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                             "start %g, limit %g, delta %g give no range", start, limit, delta);
    if (values > 0x1p62)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE-OVERFLOW", "%g values", values);
    *count = values > 0 ? (int64_t)values : 0;
    return OXP_OK;
}

static oxp_status range_prepare(oxp_node *n)
{
    oxp_dtype dtype = n->in[0]->dtype;
    int64_t count;
    oxp_attr_ignore(n, "stash_type");
    for (int i = 0; i < 3; i++) {
        OXP_TRY(oxp_node_want(n, i, dtype));
        if (n->in[i]->count != 1)
            return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "input %d holds %zu values, expected 1",
                                 i, n->in[i]->count);
    }
    if (oxp_dtype_is_float(dtype))
        OXP_TRY(real_count(n, &count));
    else if (dtype == OXP_INT16 || dtype == OXP_INT32 || dtype == OXP_INT64)
        OXP_TRY(integer_count(n, &count));
    else
        return oxp_node_bad_dtype(n, 0);
    return oxp_output(n, 0, dtype, 1, &count);
}

static oxp_status range_forward(oxp_node *n)
{
    const oxp_tensor *y = &n->out[0];
    size_t element;
    OXP_TRY(oxp_move_element(n, 0, &element));
    bool real = oxp_dtype_is_float(y->dtype);
    double start = oxp_tensor_real(n->in[0], 0), delta = oxp_tensor_real(n->in[2], 0);
    uint64_t first = real ? 0 : (uint64_t)oxp_tensor_int(n->in[0], 0),
             step = real ? 0 : (uint64_t)oxp_tensor_int(n->in[2], 0);
    char *to = y->data;
    for (size_t i = 0; to && i < y->count; i++, to += element) {
        int64_t value = (int64_t)(first + i * step);
        if (real)
            oxp_move_write_real(y->dtype, start + (double)i * delta, to);
        else
            memcpy(to, &value, element); /* the low bytes hold a smaller integer */
    }
    return OXP_OK;
}

static const char *const range_examples[] = {
    "A[]:i64={3} B[]:i64={9} C[]:i64={3}",
    "A[]:i32={10} B[]:i32={4} C[]:i32={-2}",
    "A[]={0.5} B[]={2.0} C[]={0.25}",
    "A[]:i64={3} B[]:i64={3} C[]:i64={1}",
    NULL,
};

const oxp_operator oxp_op_range_11 = {
    .domain = "",
    .type = "Range",
    .since = 11,
    .min_in = 3,
    .max_in = 3,
    .min_out = 1,
    .max_out = 1,
    .values = 7,
    .prepare = range_prepare,
    .forward = range_forward,
    .backward = oxp_backward_zero,
    .examples = range_examples,
};
