/* scatter_nd.c - ScatterND: y = x, then y[indices[i..., :]..., s...] = updates[i..., s...], in the
 * order of the updates, or reduced into what stands there (add and mul since opset 16, max and min
 * since 18). https://onnx.ai/onnx/operators/onnx__ScatterND.html */
#include <string.h>

#include "operators/gather_nd.h"
#include "operators/scatter_reduction.h"

typedef struct scatter_state {
    oxp_nd nd;
    oxp_reduction reduction;
} scatter_state;

static oxp_status check_updates(oxp_node *n, const oxp_nd *nd)
{
    const oxp_tensor *x = n->in[0], *indices = n->in[1], *updates = n->in[2];
    int last = indices->rank - 1;
    OXP_TRY(oxp_node_want(n, 2, x->dtype));
    bool fits = updates->rank == last + x->rank - nd->tuple;
    for (int i = 0; fits && i < updates->rank; i++)
        fits = updates->dims[i] == (i < last ? indices->dims[i] : x->dims[i - last + nd->tuple]);
    if (fits)
        return OXP_OK;
    char a[OXP_SHAPE_TEXT_MAX], b[OXP_SHAPE_TEXT_MAX], c[OXP_SHAPE_TEXT_MAX];
    return oxp_node_fail(
        n, OXP_EFORMAT, "E-SHAPE", "updates of shape %s do not fit indices %s into data %s",
        oxp_shape_text(a, updates->rank, updates->dims),
        oxp_shape_text(b, indices->rank, indices->dims), oxp_shape_text(c, x->rank, x->dims));
}

static oxp_status scatter_nd_prepare(oxp_node *n)
{
    const oxp_tensor *x = n->in[0];
    scatter_state *s = oxp_node_state(n, sizeof *s);
    if (!s)
        return n->ctx->status;
    size_t element;
    OXP_TRY(oxp_move_element(n, 0, &element));
    OXP_TRY(oxp_reduction_read(n, &s->reduction));
    OXP_TRY(oxp_nd_read(n, 0, &s->nd));
    OXP_TRY(check_updates(n, &s->nd));
    OXP_TRY(oxp_output(n, 0, x->dtype, x->rank, x->dims));
    oxp_output_overwrites(n, 0, 0);
    return OXP_OK;
}

static oxp_status scatter_nd_forward(oxp_node *n)
{
    const scatter_state *s = n->state;
    const oxp_tensor *x = n->in[0];
    size_t element, *offsets;
    OXP_TRY(oxp_move_element(n, 0, &element));
    OXP_TRY(oxp_nd_offsets(n, &s->nd, &offsets));
    char *to = n->out[0].data;
    if (!to || x->count == 0)
        return OXP_OK;
    if (to != x->data)
        memcpy(to, x->data, x->count * element);
    const char *from = n->in[2]->data;
    for (size_t i = 0; i < s->nd.slices; i++)
        oxp_reduction_apply(s->reduction, x->dtype, element, to + offsets[i] * element,
                            from + i * s->nd.slice * element, s->nd.slice);
    return OXP_OK;
}

static oxp_status scatter_nd_backward(oxp_node *n)
{
    const scatter_state *s = n->state;
    size_t *offsets;
    OXP_TRY(oxp_nd_offsets(n, &s->nd, &offsets));
    return oxp_reduction_backward(n, s->reduction, offsets, s->nd.slices, s->nd.slice);
}

static const char *const scatter_nd_examples[] = {
    "X[8] I[4,1]:i64={4,3,1,7} U[4]",
    "X[4,2,2]:i64 I[2,1]:i64={0,-2} U[2,2,2]:i64",
    "X[4,2] I[3,2]:i64={0,1,0,1,3,0} U[3]; reduction='add'",
    "X[4,2]:i32 I[2,1]:i64={1,1} U[2,2]:i32; reduction='max'",
    NULL,
};

const oxp_operator oxp_op_scatter_nd_11 = {
    .domain = "",
    .type = "ScatterND",
    .since = 11,
    .min_in = 3,
    .max_in = 3,
    .min_out = 1,
    .max_out = 1,
    .prepare = scatter_nd_prepare,
    .forward = scatter_nd_forward,
    .backward = scatter_nd_backward,
    .saves = 7,
    .examples = scatter_nd_examples,
};
