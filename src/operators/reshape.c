/* reshape.c - Reshape: the same elements under the shape that input 1 lists.
 *
 * One entry may be -1: what is left over. An entry 0 keeps the input's dimension, or is a real 0
 * with allowzero=1 (opset 14). The output is the input's memory.
 * https://onnx.ai/onnx/operators/onnx__Reshape.html */
#include <string.h>

#include "operators/gradient.h"
#include "operators/movement.h"

static oxp_status fail_mismatch(oxp_node *n, const int64_t *asked, size_t rank)
{
    char from[OXP_SHAPE_TEXT_MAX], to[OXP_SHAPE_TEXT_MAX];
    return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                         "input of shape %s (%zu elements) cannot take shape %s",
                         oxp_shape_text(from, n->in[0]->rank, n->in[0]->dims), n->in[0]->count,
                         oxp_shape_text(to, (int)rank, asked));
}

/* Puts kept dimensions in the place of zeros and finds the -1; *unknown is -1 when there is
 * none. */
static oxp_status resolve(oxp_node *n, int64_t *dims, int rank, bool allow_zero, int *unknown,
                          uint32_t *kept)
{
    bool real_zero = false;
    *unknown = -1;
    *kept = 0;
    for (int i = 0; i < rank; i++) {
        if (dims[i] < -1 || (dims[i] == -1 && *unknown >= 0))
            return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                                 "dimension %d of the new shape is %lld; at most one -1 is allowed",
                                 i, (long long)dims[i]);
        if (dims[i] == -1)
            *unknown = i;
        if (dims[i] != 0)
            continue;
        real_zero = allow_zero;
        if (allow_zero)
            continue;
        if (i >= n->in[0]->rank)
            return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                                 "dimension %d is kept (0), the input has rank %d", i,
                                 n->in[0]->rank);
        dims[i] = n->in[0]->dims[i];
        *kept |= UINT32_C(1) << i;
    }
    if (real_zero && *unknown >= 0)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                             "a shape with allowzero holds both 0 and -1");
    return OXP_OK;
}

/* The -1: what the input has besides the kept dimensions, over the other given ones. False when
 * that is not whole. */
static bool infer(const oxp_tensor *x, int64_t *dims, int rank, int unknown, uint32_t kept)
{
    size_t have = 1, given = 1;
    for (int i = 0; i < x->rank; i++) {
        if (!(kept >> i & 1) && !oxp_mul_ok(have, (size_t)x->dims[i], &have))
            return false;
    }
    for (int i = 0; i < rank; i++) {
        if (i != unknown && !(kept >> i & 1) && !oxp_mul_ok(given, (size_t)dims[i], &given))
            return false;
    }
    if (given == 0 || have % given != 0 || have / given > INT64_MAX)
        return false;
    dims[unknown] = (int64_t)(have / given);
    return true;
}

static oxp_status reshape_prepare(oxp_node *n)
{
    const int64_t *asked;
    size_t rank;
    int64_t dims[OXP_MAX_RANK];
    int unknown;
    uint32_t kept;
    bool allow_zero = oxp_attr_int(n, "allowzero", 0) != 0;
    OXP_TRY(oxp_node_want(n, 1, OXP_INT64));
    OXP_TRY(oxp_move_ints(n, 1, &asked, &rank));
    OXP_TRY(oxp_move_rank(n, rank));
    if (rank > 0)
        memcpy(dims, asked, rank * sizeof *dims);
    OXP_TRY(resolve(n, dims, (int)rank, allow_zero, &unknown, &kept));
    if (unknown >= 0 && !infer(n->in[0], dims, (int)rank, unknown, kept))
        return fail_mismatch(n, asked, rank);
    oxp_tensor shaped;
    OXP_TRY(oxp_tensor_shape(&shaped, n->ctx, n->in[0]->dtype, (int)rank, dims, "Reshape"));
    if (shaped.count != n->in[0]->count)
        return fail_mismatch(n, asked, rank);
    return oxp_output_alias(n, 0, 0, (int)rank, dims);
}

static const char *const reshape_5_examples[] = {
    "X[2,3,4] S[2]:i64={6,4}",
    "X[2,3,4] S[2]:i64={0,-1}",
    "X[2,3,4]:i64 S[1]:i64={-1}",
    "X[1] S[0]:i64={}",
    NULL,
};

const oxp_operator oxp_op_reshape_5 = {
    .domain = "",
    .type = "Reshape",
    .since = 5,
    .min_in = 2,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .values = 2,
    .prepare = reshape_prepare,
    .backward = oxp_backward_same,
    .examples = reshape_5_examples,
};

static const char *const reshape_14_examples[] = {
    "X[2,3,4] S[2]:i64={0,-1}",
    "X[0,3,4] S[3]:i64={3,4,0}; allowzero=1",
    "X[2,3,4]:u8 S[3]:i64={4,-1,2}; allowzero=1",
    NULL,
};

const oxp_operator oxp_op_reshape_14 = {
    .domain = "",
    .type = "Reshape",
    .since = 14,
    .min_in = 2,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .values = 2,
    .prepare = reshape_prepare,
    .backward = oxp_backward_same,
    .examples = reshape_14_examples,
};
