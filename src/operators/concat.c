/* concat.c - Concat: inputs that agree in all dimensions but `axis`, one after the other along it.
 * https://onnx.ai/onnx/operators/onnx__Concat.html
 *
 * A single input gives its own memory. Types below 8 bits are not joined. */
#include <string.h>

#include "operators/gradient.h"
#include "operators/movement.h"

typedef struct concat_state {
    int axis;
} concat_state;

static oxp_status check_input(oxp_node *n, int i, int axis)
{
    const oxp_tensor *first = n->in[0], *t = n->in[i];
    OXP_TRY(oxp_node_want(n, i, first->dtype));
    bool same = t->rank == first->rank;
    for (int d = 0; same && d < t->rank; d++)
        same = d == axis || t->dims[d] == first->dims[d];
    if (same)
        return OXP_OK;
    char a[OXP_SHAPE_TEXT_MAX], b[OXP_SHAPE_TEXT_MAX];
    return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                         "input %d has shape %s, input 0 %s; they may differ in dimension %d alone",
                         i, oxp_shape_text(a, t->rank, t->dims),
                         oxp_shape_text(b, first->rank, first->dims), axis);
}

static oxp_status concat_prepare(oxp_node *n)
{
    concat_state *s = oxp_node_state(n, sizeof *s);
    if (!s)
        return n->ctx->status;
    const oxp_tensor *first = n->in[0];
    int64_t dims[OXP_MAX_RANK];
    if (!oxp_attr_present(n, "axis"))
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE", "attribute axis is missing");
    OXP_TRY(oxp_node_axis(n, oxp_attr_int(n, "axis", 0), first->rank, false, &s->axis));
    memcpy(dims, first->dims, (size_t)first->rank * sizeof *dims);
    if (n->in_count == 1)
        return oxp_output_alias(n, 0, 0, first->rank, dims);
    size_t element;
    OXP_TRY(oxp_move_element(n, 0, &element));
    for (int i = 1; i < n->in_count; i++) {
        OXP_TRY(check_input(n, i, s->axis));
        if (__builtin_add_overflow(dims[s->axis], n->in[i]->dims[s->axis], &dims[s->axis]))
            return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE-OVERFLOW",
                                 "dimension %d of the output overflows", s->axis);
    }
    return oxp_output(n, 0, first->dtype, first->rank, dims);
}

static oxp_status concat_forward(oxp_node *n)
{
    const concat_state *s = n->state;
    const oxp_tensor *y = &n->out[0];
    if (n->alias[0] >= 0 || !y->data || y->count == 0)
        return OXP_OK;
    size_t element;
    OXP_TRY(oxp_move_element(n, 0, &element));
    int64_t outer, inner;
    OXP_TRY(oxp_move_product(n, s->axis, y->dims, &outer));
    OXP_TRY(oxp_move_product(n, y->rank - s->axis - 1, y->dims + s->axis + 1, &inner));
    char *to = y->data;
    for (int i = 0; i < n->in_count; i++) {
        int64_t run = n->in[i]->dims[s->axis] * inner;
        oxp_copy copy = {.element = element};
        oxp_copy_add(&copy, outer, y->dims[s->axis] * inner, run);
        oxp_copy_add(&copy, run, 1, 1);
        oxp_copy_run(&copy, to, n->in[i]->data);
        to += (size_t)run * element;
    }
    return OXP_OK;
}

static const char *const concat_examples[] = {
    "A[2,3] B[2,1] C[2,4]; axis=1",
    "A[2,3,4] B[1,3,4]; axis=0",
    "A[2,3,4]:i64 B[2,3,2]:i64; axis=-1",
    "A[2,0] B[2,3]; axis=1",
    "A[2,3]; axis=0",
    NULL,
};

const oxp_operator oxp_op_concat_4 = {
    .domain = "",
    .type = "Concat",
    .since = 4,
    .min_in = 1,
    .max_in = -1,
    .min_out = 1,
    .max_out = 1,
    .prepare = concat_prepare,
    .forward = concat_forward,
    .backward = oxp_backward_moved_all,
    .examples = concat_examples,
};
