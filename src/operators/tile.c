/* tile.c - Tile: the input repeated repeats[i] times along dimension i.
 * https://onnx.ai/onnx/operators/onnx__Tile.html (the form of opset 6) */
#include "operators/gradient.h"
#include "operators/movement.h"

static oxp_status tile_prepare(oxp_node *n)
{
    const oxp_tensor *x = n->in[0];
    const int64_t *repeats;
    size_t count, element;
    int64_t dims[OXP_MAX_RANK];
    bool once = true;
    OXP_TRY(oxp_node_want(n, 1, OXP_INT64));
    OXP_TRY(oxp_move_ints(n, 1, &repeats, &count));
    if (count != (size_t)x->rank)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "%zu repeats for an input of rank %d",
                             count, x->rank);
    for (int i = 0; i < x->rank; i++) {
        if (repeats[i] < 0)
            return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "repeats[%d] is %lld", i,
                                 (long long)repeats[i]);
        if (__builtin_mul_overflow(x->dims[i], repeats[i], &dims[i]))
            return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE-OVERFLOW",
                                 "dimension %d: %lld times %lld overflows", i,
                                 (long long)x->dims[i], (long long)repeats[i]);
        once = once && repeats[i] == 1;
    }
    if (once)
        return oxp_output_alias(n, 0, 0, x->rank, dims);
    OXP_TRY(oxp_move_element(n, 0, &element));
    return oxp_output(n, 0, x->dtype, x->rank, dims);
}

static oxp_status tile_forward(oxp_node *n)
{
    const oxp_tensor *x = n->in[0], *y = &n->out[0];
    if (n->alias[0] >= 0 || !y->data || y->count == 0)
        return OXP_OK;
    oxp_copy copy = {.rank = 0};
    OXP_TRY(oxp_move_element(n, 0, &copy.element));
    int64_t from[OXP_MAX_RANK], to[OXP_MAX_RANK];
    oxp_move_strides(x->rank, x->dims, from);
    oxp_move_strides(y->rank, y->dims, to);
    for (int i = 0; i < y->rank; i++) {
        oxp_copy_add(&copy, y->dims[i] / x->dims[i], to[i] * x->dims[i], 0);
        oxp_copy_add(&copy, x->dims[i], to[i], from[i]);
    }
    oxp_copy_run(&copy, y->data, x->data);
    return OXP_OK;
}

static const char *const tile_examples[] = {
    "X[2,3] R[2]:i64={2,2}",
    "X[2,3]:i64 R[2]:i64={1,3}",
    "X[2,3,1]:bool R[3]:i64={2,1,4}",
    "X[2,3] R[2]:i64={0,1}",
    NULL,
};

const oxp_operator oxp_op_tile_6 = {
    .domain = "",
    .type = "Tile",
    .since = 6,
    .min_in = 2,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .values = 2,
    .prepare = tile_prepare,
    .forward = tile_forward,
    .backward = oxp_backward_moved_first,
    .saves = OXP_SAVES_ALL_BUT_FIRST,
    .examples = tile_examples,
};
