/* one_hot.c - OneHot: a new axis of `depth` entries, values[1] where it meets the index and
 * values[0] elsewhere.
 *
 * Since opset 11 an index in [-depth, -1] counts from the back; every other one gives values[0]
 * alone, as all negative ones do before. https://onnx.ai/onnx/operators/onnx__OneHot.html */
#include <math.h>
#include <string.h>

#include "operators/gradient.h"
#include "operators/movement.h"

typedef struct one_hot_state {
    int axis;
    int64_t depth;
} one_hot_state;

static bool is_numeric(const oxp_tensor *t)
{
    return oxp_dtype_is_integer(t->dtype) || oxp_dtype_is_float(t->dtype);
}

/* The element as an integer, cut toward zero; INT64_MIN where it is none. */
static int64_t element_index(const oxp_tensor *t, size_t i)
{
    if (oxp_dtype_is_integer(t->dtype))
        return oxp_tensor_int(t, i);
    double value = oxp_tensor_real(t, i);
    return fabs(value) < 0x1p62 ? (int64_t)value : INT64_MIN;
}

static oxp_status one_hot_prepare(oxp_node *n)
{
    const oxp_tensor *indices = n->in[0];
    one_hot_state *s = oxp_node_state(n, sizeof *s);
    if (!s)
        return n->ctx->status;
    size_t element;
    OXP_TRY(oxp_move_element(n, 2, &element));
    for (int i = 0; i < 2; i++) {
        if (!is_numeric(n->in[i]))
            return oxp_node_bad_dtype(n, i);
    }
    if (n->in[1]->count != 1 || n->in[2]->count != 2)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                             "depth holds %zu values, expected 1; values %zu, expected 2",
                             n->in[1]->count, n->in[2]->count);
    s->depth = element_index(n->in[1], 0);
    if (s->depth < 0)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "depth is %lld", (long long)s->depth);
    OXP_TRY(oxp_move_rank(n, (size_t)indices->rank + 1));
    OXP_TRY(oxp_node_axis(n, oxp_attr_int(n, "axis", -1), indices->rank, true, &s->axis));
    int64_t dims[OXP_MAX_RANK];
    for (int i = 0; i <= indices->rank; i++)
        dims[i] = i == s->axis ? s->depth : indices->dims[i < s->axis ? i : i - 1];
    return oxp_output(n, 0, n->in[2]->dtype, indices->rank + 1, dims);
}

static oxp_status one_hot_forward(oxp_node *n)
{
    const one_hot_state *s = n->state;
    const oxp_tensor *indices = n->in[0], *y = &n->out[0];
    if (!y->data || y->count == 0)
        return OXP_OK;
    size_t element;
    int64_t inner;
    OXP_TRY(oxp_move_element(n, 2, &element));
    OXP_TRY(oxp_move_product(n, indices->rank - s->axis, indices->dims + s->axis, &inner));
    const char *on = (const char *)n->in[2]->data + element;
    oxp_move_fill(y->data, y->count, element, n->in[2]->data);
    for (size_t i = 0; i < indices->count; i++) {
        int64_t index = element_index(indices, i);
        if (index < 0 && n->op->since >= 11)
            index += s->depth;
        if (index < 0 || index >= s->depth)
            continue;
        size_t outer = i / (size_t)inner, rest = i % (size_t)inner;
        size_t place = (outer * (size_t)s->depth + (size_t)index) * (size_t)inner + rest;
        memcpy((char *)y->data + place * element, on, element);
    }
    return OXP_OK;
}

static oxp_status one_hot_backward(oxp_node *n)
{
    return oxp_backward_moved(n, 1u << 2);
}

static const char *const one_hot_examples[] = {
    "I[2,3]:i64={0,7,1,2,-1,4} D[]:i64={5} V[2]={0.0,3.0}",
    "I[2,3]:i64={0,7,1,2,-1,4} D[1]:i64={5} V[2]:i64={7,1}; axis=0",
    "I[2]={1.0,2.0} D[]={4.0} V[2]={0.0,1.0}; axis=1",
    NULL,
};

const oxp_operator oxp_op_one_hot_9 = {
    .domain = "",
    .type = "OneHot",
    .since = 9,
    .min_in = 3,
    .max_in = 3,
    .min_out = 1,
    .max_out = 1,
    .values = 2,
    .prepare = one_hot_prepare,
    .forward = one_hot_forward,
    .backward = one_hot_backward,
    .saves = 3,
    .examples = one_hot_examples,
};

const oxp_operator oxp_op_one_hot_11 = {
    .domain = "",
    .type = "OneHot",
    .since = 11,
    .min_in = 3,
    .max_in = 3,
    .min_out = 1,
    .max_out = 1,
    .values = 2,
    .prepare = one_hot_prepare,
    .forward = one_hot_forward,
    .backward = one_hot_backward,
    .saves = 3,
    .examples = one_hot_examples,
};
