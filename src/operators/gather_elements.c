/* gather_elements.c - GatherElements: y[i,j,k] = x[i,indices[i,j,k],k] (axis 1); y has the shape of
 * the indices. https://onnx.ai/onnx/operators/onnx__GatherElements.html */
#include <string.h>

#include "operators/gradient.h"
#include "operators/scatter_elements.h"

typedef struct gather_state {
    int axis;
} gather_state;

static oxp_status gather_elements_prepare(oxp_node *n)
{
    gather_state *s = oxp_node_state(n, sizeof *s);
    if (!s)
        return n->ctx->status;
    size_t element;
    OXP_TRY(oxp_move_element(n, 0, &element));
    OXP_TRY(oxp_node_axis(n, oxp_attr_int(n, "axis", 0), n->in[0]->rank, false, &s->axis));
    OXP_TRY(oxp_elements_check(n, s->axis));
    return oxp_output(n, 0, n->in[0]->dtype, n->in[1]->rank, n->in[1]->dims);
}

static oxp_status gather_elements_forward(oxp_node *n)
{
    const gather_state *s = n->state;
    size_t element, count = n->in[1]->count;
    size_t *offsets;
    OXP_TRY(oxp_move_element(n, 0, &element));
    OXP_TRY(oxp_elements_offsets(n, s->axis, &offsets));
    char *to = n->out[0].data;
    const char *from = n->in[0]->data;
    for (size_t i = 0; to && i < count; i++)
        memcpy(to + i * element, from + offsets[i] * element, element);
    return OXP_OK;
}

static const char *const gather_elements_examples[] = {
    "X[3,4] I[2,4]:i64={0,1,2,0,2,1,0,2}; axis=0",
    "X[2,3]:i64 I[2,2]:i32={0,-1,2,1}; axis=-1",
    "X[2,3] I[0,3]:i64={}; axis=0",
    NULL,
};

const oxp_operator oxp_op_gather_elements_11 = {
    .domain = "",
    .type = "GatherElements",
    .since = 11,
    .min_in = 2,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .prepare = gather_elements_prepare,
    .forward = gather_elements_forward,
    .backward = oxp_backward_moved_first,
    .saves = OXP_SAVES_ALL_BUT_FIRST,
    .examples = gather_elements_examples,
};
