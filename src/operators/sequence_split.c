/* sequence_split.c - SplitToSequence: the parts of a tensor along one axis; ConcatFromSequence: a
 * tensor of the parts, one behind the other along an axis or along a new one.
 * https://onnx.ai/onnx/operators/onnx__SplitToSequence.html
 *
 * `split` is a list of sizes, or one size for all parts, of which the last may be smaller. Without
 * it every part has one entry, and with keepdims=0 loses the axis. */
#include <string.h>

#include "operators/sequence.h"

typedef struct split_state {
    int64_t axis;
    bool keeps;
} split_state;

/* ---- SplitToSequence ---- */

static oxp_status split_prepare(oxp_node *n)
{
    split_state *s = oxp_node_state(n, sizeof *s);
    if (!s)
        return n->ctx->status;
    s->axis = oxp_attr_int(n, "axis", 0);
    s->keeps = oxp_attr_int(n, "keepdims", 1) != 0 || oxp_node_has(n, 1);
    return oxp_sequence_prepare(n);
}

static oxp_status refuse_split(oxp_node *n, int64_t length)
{
    return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "the parts do not make up an axis of %lld",
                         (long long)length);
}

/* The sizes of the parts of an axis of `length`. */
static oxp_status read_parts(oxp_node *n, int64_t length, const int64_t **sizes, size_t *count)
{
    int64_t step = 1, total = 0;
    if (oxp_node_has(n, 1) && n->in[1]->rank > 0) {
        OXP_TRY(oxp_move_ints(n, 1, sizes, count));
        for (size_t i = 0; i < *count; i++)
            if ((*sizes)[i] < 0 || __builtin_add_overflow(total, (*sizes)[i], &total))
                return refuse_split(n, length);
        return total == length ? OXP_OK : refuse_split(n, length);
    }
    if (oxp_node_has(n, 1))
        OXP_TRY(oxp_move_scalar(n, 1, &step));
    if (step < 1)
        return refuse_split(n, length);
    *count = (size_t)(length / step + (length % step ? 1 : 0));
    int64_t *equal = oxp_node_scratch(n, *count, sizeof *equal);
    if (!equal)
        return n->ctx->status;
    for (size_t i = 0; i < *count; i++, length -= step)
        equal[i] = length < step ? length : step;
    *sizes = equal;
    return OXP_OK;
}

/* part = x[..., first to first + size, ...] along the axis. */
static oxp_status cut(oxp_node *n, int axis, int64_t first, int64_t size, oxp_tensor *part)
{
    const split_state *s = n->state;
    const oxp_tensor *x = n->in[0];
    int64_t dims[OXP_MAX_RANK], outer, inner;
    size_t element;
    int rank = 0;
    OXP_TRY(oxp_move_element(n, 0, &element));
    OXP_TRY(oxp_move_product(n, axis, x->dims, &outer));
    OXP_TRY(oxp_move_product(n, x->rank - axis - 1, x->dims + axis + 1, &inner));
    for (int d = 0; d < x->rank; d++)
        if (d != axis || s->keeps)
            dims[rank++] = d == axis ? size : x->dims[d];
    OXP_TRY(oxp_tensor_shape(part, n->ctx, x->dtype, rank, dims, n->def->type));
    OXP_TRY(oxp_tensor_alloc(part, n->ctx, n->def->type));
    oxp_copy copy = {.element = element};
    oxp_copy_add(&copy, outer, size * inner, x->dims[axis] * inner);
    oxp_copy_add(&copy, size * inner, 1, 1);
    oxp_copy_run(&copy, part->data, (const char *)x->data + (size_t)(first * inner) * element);
    return OXP_OK;
}

static oxp_status split_forward(oxp_node *n)
{
    const split_state *s = n->state;
    const oxp_tensor *x = n->in[0];
    const int64_t *sizes;
    size_t count;
    int axis;
    int64_t first = 0;
    oxp_tensor sequence;
    OXP_TRY(oxp_node_axis(n, s->axis, x->rank, false, &axis));
    OXP_TRY(read_parts(n, x->dims[axis], &sizes, &count));
    OXP_TRY(oxp_sequence_new(&sequence, n->ctx, count));
    for (size_t i = 0; i < count; i++) {
        oxp_status status = cut(n, axis, first, sizes[i], &oxp_sequence_items(&sequence)[i]);
        if (status != OXP_OK) {
            oxp_tensor_release(&sequence);
            return status;
        }
        first += sizes[i];
    }
    return oxp_sequence_give(n, &sequence);
}

const oxp_operator oxp_op_split_to_sequence_11 = {
    .domain = "",
    .type = "SplitToSequence",
    .since = 11,
    .min_in = 1,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .prepare = split_prepare,
    .forward = split_forward,
};

/* ---- ConcatFromSequence ---- */

typedef struct join_state {
    int64_t axis;
    bool adds_axis;
} join_state;

static oxp_status join_prepare(oxp_node *n)
{
    join_state *s = oxp_node_state(n, sizeof *s);
    if (!s)
        return n->ctx->status;
    if (!oxp_attr_present(n, "axis"))
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE", "attribute axis is missing");
    s->axis = oxp_attr_int(n, "axis", 0);
    s->adds_axis = oxp_attr_int(n, "new_axis", 0) != 0;
    return oxp_sequence_prepare(n);
}

/* All parts have the shape of the first, along the axis they may differ unless that is new. */
static oxp_status check_parts(oxp_node *n, const oxp_tensor *items, size_t count, int axis)
{
    const join_state *s = n->state;
    for (size_t i = 1; i < count; i++) {
        bool same = items[i].dtype == items[0].dtype && items[i].rank == items[0].rank;
        for (int d = 0; same && d < items[0].rank; d++)
            same = items[i].dims[d] == items[0].dims[d] || (d == axis && !s->adds_axis);
        if (same)
            continue;
        char a[OXP_SHAPE_TEXT_MAX], b[OXP_SHAPE_TEXT_MAX];
        return oxp_node_fail(
            n, OXP_EFORMAT, "E-SHAPE", "tensor %zu is %s %s, the first %s %s", i,
            oxp_dtype_name(items[i].dtype), oxp_shape_text(a, items[i].rank, items[i].dims),
            oxp_dtype_name(items[0].dtype), oxp_shape_text(b, items[0].rank, items[0].dims));
    }
    if (oxp_dtype_bits(items[0].dtype) % 8 == 0 && oxp_dtype_bits(items[0].dtype) > 0)
        return OXP_OK;
    return oxp_node_fail(n, OXP_EUNSUPPORTED, "E-OP-DTYPE", "a sequence of %s is not supported",
                         oxp_dtype_name(items[0].dtype));
}

static oxp_status joined_shape(oxp_node *n, const oxp_tensor *items, size_t count, int axis,
                               int *rank, int64_t dims[OXP_MAX_RANK + 1])
{
    const join_state *s = n->state;
    *rank = 0;
    for (int d = 0; d < items[0].rank + s->adds_axis; d++)
        dims[(*rank)++] = s->adds_axis && d == axis ? (int64_t)count
                                                    : items[0].dims[d - (s->adds_axis && d > axis)];
    for (size_t i = 1; i < count && !s->adds_axis; i++)
        if (__builtin_add_overflow(dims[axis], items[i].dims[axis], &dims[axis]))
            return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE-OVERFLOW", "the joined axis overflows");
    return OXP_OK;
}

static oxp_status join(oxp_node *n, const oxp_tensor *items, size_t count, int axis)
{
    const join_state *s = n->state;
    int64_t dims[OXP_MAX_RANK + 1], outer, inner;
    size_t element = oxp_dtype_bits(items[0].dtype) / 8;
    int rank;
    char *y;
    OXP_TRY(joined_shape(n, items, count, axis, &rank, dims));
    OXP_TRY(oxp_move_make_output(n, 0, items[0].dtype, rank, dims, &y));
    OXP_TRY(oxp_move_product(n, axis, dims, &outer));
    OXP_TRY(oxp_move_product(n, rank - axis - 1, dims + axis + 1, &inner));
    for (size_t i = 0; i < count && y; i++) {
        int64_t line = inner * (s->adds_axis ? 1 : items[i].dims[axis]);
        oxp_copy copy = {.element = element};
        oxp_copy_add(&copy, outer, dims[axis] * inner, line);
        oxp_copy_add(&copy, line, 1, 1);
        oxp_copy_run(&copy, y, items[i].data);
        y += (size_t)line * element;
    }
    return OXP_OK;
}

static oxp_status join_forward(oxp_node *n)
{
    const join_state *s = n->state;
    int axis;
    OXP_TRY(oxp_sequence_want(n, 0));
    const oxp_tensor *items = oxp_sequence_items(n->in[0]);
    size_t count = n->in[0]->count;
    if (count == 0)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "the sequence is empty");
    if (s->adds_axis)
        OXP_TRY(oxp_move_rank(n, (size_t)items[0].rank + 1));
    OXP_TRY(oxp_node_axis(n, s->axis, items[0].rank, s->adds_axis, &axis));
    OXP_TRY(check_parts(n, items, count, axis));
    return join(n, items, count, axis);
}

const oxp_operator oxp_op_concat_from_sequence_11 = {
    .domain = "",
    .type = "ConcatFromSequence",
    .since = 11,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .prepare = join_prepare,
    .forward = join_forward,
};
