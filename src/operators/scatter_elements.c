/* scatter_elements.c - ScatterElements, and Scatter as it was called before opset 11: y = x, then
 * y[i,indices[i,j,k],k] = updates[i,j,k] (axis 1), in the order of the updates, or reduced into
 * what stands there. https://onnx.ai/onnx/operators/onnx__ScatterElements.html */
#include "operators/scatter_elements.h"

#include <string.h>

#include "operators/scatter_reduction.h"

typedef struct scatter_state {
    int axis;
    oxp_reduction reduction;
} scatter_state;

oxp_status oxp_elements_check(oxp_node *n, int axis)
{
    const oxp_tensor *x = n->in[0], *indices = n->in[1];
    if (indices->dtype != OXP_INT32 && indices->dtype != OXP_INT64)
        return oxp_node_bad_dtype(n, 1);
    bool fits = indices->rank == x->rank;
    for (int i = 0; fits && i < x->rank; i++)
        fits = i == axis || indices->dims[i] <= x->dims[i];
    if (fits)
        return OXP_OK;
    char a[OXP_SHAPE_TEXT_MAX], b[OXP_SHAPE_TEXT_MAX];
    return oxp_node_fail(
        n, OXP_EFORMAT, "E-SHAPE", "indices of shape %s do not fit data of shape %s along axis %d",
        oxp_shape_text(a, indices->rank, indices->dims), oxp_shape_text(b, x->rank, x->dims), axis);
}

oxp_status oxp_elements_offsets(oxp_node *n, int axis, size_t **out)
{
    const oxp_tensor *x = n->in[0], *indices = n->in[1];
    size_t *offsets = oxp_node_scratch(n, indices->count, sizeof *offsets);
    if (!offsets)
        return n->ctx->status;
    int64_t strides[OXP_MAX_RANK], place[OXP_MAX_RANK] = {0}, base = 0;
    oxp_move_strides(x->rank, x->dims, strides);
    for (size_t i = 0; i < indices->count; i++) {
        int64_t index;
        OXP_TRY(oxp_move_index(n, "indices", oxp_tensor_int(indices, i), x->dims[axis], &index));
        offsets[i] = (size_t)(base + index * strides[axis]);
        for (int d = x->rank - 1; d >= 0; d--) {
            int64_t step = d == axis ? 0 : strides[d];
            base += step;
            if (++place[d] < indices->dims[d])
                break;
            base -= step * place[d];
            place[d] = 0;
        }
    }
    *out = offsets;
    return OXP_OK;
}

static oxp_status scatter_prepare(oxp_node *n)
{
    const oxp_tensor *x = n->in[0];
    scatter_state *s = oxp_node_state(n, sizeof *s);
    if (!s)
        return n->ctx->status;
    size_t element;
    OXP_TRY(oxp_move_element(n, 0, &element));
    OXP_TRY(oxp_node_want(n, 2, x->dtype));
    OXP_TRY(oxp_node_axis(n, oxp_attr_int(n, "axis", 0), x->rank, false, &s->axis));
    OXP_TRY(oxp_reduction_read(n, &s->reduction));
    OXP_TRY(oxp_elements_check(n, s->axis));
    const oxp_tensor *indices = n->in[1], *updates = n->in[2];
    bool same = indices->rank == updates->rank;
    for (int i = 0; same && i < indices->rank; i++)
        same = indices->dims[i] == updates->dims[i];
    if (!same) {
        char a[OXP_SHAPE_TEXT_MAX], b[OXP_SHAPE_TEXT_MAX];
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "updates have shape %s, indices %s",
                             oxp_shape_text(a, updates->rank, updates->dims),
                             oxp_shape_text(b, indices->rank, indices->dims));
    }
    OXP_TRY(oxp_output(n, 0, x->dtype, x->rank, x->dims));
    oxp_output_overwrites(n, 0, 0);
    return OXP_OK;
}

static oxp_status scatter_forward(oxp_node *n)
{
    const scatter_state *s = n->state;
    const oxp_tensor *x = n->in[0], *updates = n->in[2];
    size_t element, *offsets;
    OXP_TRY(oxp_move_element(n, 0, &element));
    OXP_TRY(oxp_elements_offsets(n, s->axis, &offsets));
    char *to = n->out[0].data;
    if (!to || x->count == 0)
        return OXP_OK;
    if (to != x->data)
        memcpy(to, x->data, x->count * element);
    const char *from = updates->data;
    for (size_t i = 0; i < updates->count; i++)
        oxp_reduction_apply(s->reduction, x->dtype, element, to + offsets[i] * element,
                            from + i * element, 1);
    return OXP_OK;
}

static oxp_status scatter_backward(oxp_node *n)
{
    const scatter_state *s = n->state;
    size_t *offsets;
    OXP_TRY(oxp_elements_offsets(n, s->axis, &offsets));
    return oxp_reduction_backward(n, s->reduction, offsets, n->in[2]->count, 1);
}

static const char *const scatter_9_examples[] = {
    "X[3,4] I[2,4]:i64={0,1,2,0,2,2,0,1} U[2,4]; axis=0",
    "X[1,5]:i32 I[1,2]:i64={1,3} U[1,2]:i32; axis=1",
    NULL,
};

const oxp_operator oxp_op_scatter_9 = {
    .domain = "",
    .type = "Scatter",
    .since = 9,
    .min_in = 3,
    .max_in = 3,
    .min_out = 1,
    .max_out = 1,
    .prepare = scatter_prepare,
    .forward = scatter_forward,
    .backward = scatter_backward,
    .saves = 7,
    .examples = scatter_9_examples,
};

static const char *const scatter_elements_examples[] = {
    "X[3,4] I[2,4]:i64={0,1,2,0,2,2,0,1} U[2,4]; axis=0",
    "X[1,5]:i32 I[1,2]:i64={1,-3} U[1,2]:i32; axis=1",
    "X[1,5] I[1,2]:i64={1,1} U[1,2]; axis=1 reduction='add'",
    "X[1,5]:i64 I[1,2]:i64={1,1} U[1,2]:i64; axis=-1 reduction='mul'",
    "X[1,5]:f16 I[1,2]:i64={1,1} U[1,2]:f16; axis=1 reduction='max'",
    "X[1,5]:u8 I[1,2]:i64={0,1} U[1,2]:u8; axis=1 reduction='min'",
    NULL,
};

const oxp_operator oxp_op_scatter_elements_11 = {
    .domain = "",
    .type = "ScatterElements",
    .since = 11,
    .min_in = 3,
    .max_in = 3,
    .min_out = 1,
    .max_out = 1,
    .prepare = scatter_prepare,
    .forward = scatter_forward,
    .backward = scatter_backward,
    .saves = 7,
    .examples = scatter_elements_examples,
};
