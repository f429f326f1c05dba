/* expand.c - Expand: the input broadcast against the shape that input 1 lists (both may have
 * dimensions of 1). https://onnx.ai/onnx/operators/onnx__Expand.html */
#include <string.h>

#include "operators/gradient.h"
#include "operators/movement.h"

static oxp_status expand_prepare(oxp_node *n)
{
    const oxp_tensor *x = n->in[0];
    const int64_t *asked;
    size_t count, element;
    OXP_TRY(oxp_node_want(n, 1, OXP_INT64));
    OXP_TRY(oxp_move_ints(n, 1, &asked, &count));
    OXP_TRY(oxp_move_rank(n, count));
    oxp_tensor shape = {.rank = (int)count};
    if (count > 0)
        memcpy(shape.dims, asked, count * sizeof *asked);
    int rank;
    int64_t dims[OXP_MAX_RANK];
    OXP_TRY(oxp_node_broadcast(n, x, &shape, &rank, dims));
    if (rank == x->rank && (rank == 0 || memcmp(dims, x->dims, (size_t)rank * sizeof *dims) == 0))
        return oxp_output_alias(n, 0, 0, rank, dims);
    OXP_TRY(oxp_move_element(n, 0, &element));
    return oxp_output(n, 0, x->dtype, rank, dims);
}

static oxp_status expand_forward(oxp_node *n)
{
    const oxp_tensor *x = n->in[0], *y = &n->out[0];
    if (n->alias[0] >= 0 || !y->data || y->count == 0)
        return OXP_OK;
    oxp_copy copy = {.rank = 0};
    OXP_TRY(oxp_move_element(n, 0, &copy.element));
    int64_t from[OXP_MAX_RANK], to[OXP_MAX_RANK];
    oxp_move_strides(x->rank, x->dims, from);
    oxp_move_strides(y->rank, y->dims, to);
    int ahead = y->rank - x->rank;
    for (int i = 0; i < y->rank; i++) {
        bool repeats = i < ahead || x->dims[i - ahead] == 1;
        oxp_copy_add(&copy, y->dims[i], to[i], repeats ? 0 : from[i - ahead]);
    }
    oxp_copy_run(&copy, y->data, x->data);
    return OXP_OK;
}

static oxp_status expand_backward(oxp_node *n)
{
    const oxp_tensor *y = &n->out[0];
    if (!oxp_dout(n, 0) || !oxp_din(n, 0))
        return OXP_OK;
    return oxp_gradient_reduce(n, oxp_din(n, 0), n->in[0], oxp_dout(n, 0), y->rank, y->dims, 1);
}

static const char *const expand_examples[] = {
    "X[3,1] S[3]:i64={2,1,6}",
    "X[3,1]:i64 S[1]:i64={1}",
    "X[1]:bool S[2]:i64={2,3}",
    "X[1,3] S[2]:i64={0,1}",
    NULL,
};

const oxp_operator oxp_op_expand_8 = {
    .domain = "",
    .type = "Expand",
    .since = 8,
    .min_in = 2,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .values = 2,
    .prepare = expand_prepare,
    .forward = expand_forward,
    .backward = expand_backward,
    .examples = expand_examples,
};
