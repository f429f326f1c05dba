/* transpose.c - Transpose: y's dimension i is x's dimension perm[i] (default: reversed).
 *
 * A permutation that only moves dimensions of 1 leaves the memory as it is and gives the input's.
 * The others are one strided copy, which finds matrix transposes and runs by itself (movement.c).
 * https://onnx.ai/onnx/operators/onnx__Transpose.html */
#include "operators/gradient.h"
#include "operators/movement.h"

typedef struct transpose_state {
    int perm[OXP_MAX_RANK];
} transpose_state;

static oxp_status read_perm(oxp_node *n, int *perm)
{
    const int64_t *values;
    size_t count;
    int rank = n->in[0]->rank;
    uint32_t seen = 0;
    oxp_attr_ints(n, "perm", &values, &count);
    if (!oxp_attr_present(n, "perm")) {
        for (int i = 0; i < rank; i++)
            perm[i] = rank - 1 - i;
        return OXP_OK;
    }
    if (count != (size_t)rank)
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE",
                             "perm has %zu entries, the input has rank %d", count, rank);
    for (int i = 0; i < rank; i++) {
        if (values[i] < 0 || values[i] >= rank || (seen >> values[i] & 1))
            return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE",
                                 "perm is no permutation of 0..%d: entry %d is %lld", rank - 1, i,
                                 (long long)values[i]);
        perm[i] = (int)values[i];
        seen |= UINT32_C(1) << perm[i];
    }
    return OXP_OK;
}

static bool keeps_memory(const oxp_tensor *x, const int *perm)
{
    int last = -1;
    for (int i = 0; i < x->rank; i++) {
        if (x->dims[perm[i]] == 1)
            continue;
        if (perm[i] < last)
            return false;
        last = perm[i];
    }
    return true;
}

static oxp_status transpose_prepare(oxp_node *n)
{
    const oxp_tensor *x = n->in[0];
    transpose_state *s = oxp_node_state(n, sizeof *s);
    if (!s)
        return n->ctx->status;
    OXP_TRY(read_perm(n, s->perm));
    int64_t dims[OXP_MAX_RANK];
    for (int i = 0; i < x->rank; i++)
        dims[i] = x->dims[s->perm[i]];
    if (keeps_memory(x, s->perm))
        return oxp_output_alias(n, 0, 0, x->rank, dims);
    size_t element;
    OXP_TRY(oxp_move_element(n, 0, &element));
    return oxp_output(n, 0, x->dtype, x->rank, dims);
}

static oxp_status transpose_forward(oxp_node *n)
{
    const transpose_state *s = n->state;
    const oxp_tensor *x = n->in[0], *y = &n->out[0];
    if (n->alias[0] >= 0 || !y->data)
        return OXP_OK;
    oxp_copy copy = {.rank = 0};
    OXP_TRY(oxp_move_element(n, 0, &copy.element));
    int64_t from[OXP_MAX_RANK], to[OXP_MAX_RANK];
    oxp_move_strides(x->rank, x->dims, from);
    oxp_move_strides(y->rank, y->dims, to);
    for (int i = 0; i < y->rank; i++)
        oxp_copy_add(&copy, y->dims[i], to[i], from[s->perm[i]]);
    oxp_copy_run(&copy, y->data, x->data);
    return OXP_OK;
}

static const char *const transpose_examples[] = {
    "X[3,5]",
    "X[2,3,4,5]; perm=0,1,3,2",
    "X[2,3,4,5]; perm=0,2,3,1",
    "X[2,3,4,5]; perm=0,3,1,2",
    "X[2,3,4,5]:i8; perm=3,1,0,2",
    "X[2,1,4,1]; perm=1,0,3,2",
    "X[0,3]",
    NULL,
};

const oxp_operator oxp_op_transpose_1 = {
    .domain = "",
    .type = "Transpose",
    .since = 1,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .prepare = transpose_prepare,
    .forward = transpose_forward,
    .backward = oxp_backward_moved_first,
    .saves = OXP_SAVES_ALL_BUT_FIRST,
    .examples = transpose_examples,
};
