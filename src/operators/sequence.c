/* sequence.c - SequenceConstruct, SequenceEmpty, SequenceAt, SequenceInsert, SequenceErase and
 * SequenceLength: lists of tensors of one type, as exporters write them around loops.
 * https://onnx.ai/onnx/operators/onnx__SequenceAt.html
 *
 * A sequence shares its tensors, so that inserting moves no data. Its length is known by running
 * alone: nothing is declared before. */
#include "operators/sequence.h"

#include <string.h>

oxp_status oxp_sequence_prepare(oxp_node *n)
{
    for (int i = 0; i < n->out_count; i++)
        OXP_TRY(oxp_output_later(n, i));
    return OXP_OK;
}

oxp_status oxp_sequence_want(oxp_node *n, int input)
{
    if (oxp_is_sequence(n->in[input]))
        return OXP_OK;
    return oxp_node_fail(n, OXP_EFORMAT, "E-OP-DTYPE", "input %d is a tensor of %s, not a sequence",
                         input, oxp_dtype_name(n->in[input]->dtype));
}

/* A tensor that may join a sequence which has `first` in it (NULL: none yet). */
static oxp_status check_member(oxp_node *n, const oxp_tensor *first, const oxp_tensor *t)
{
    if (oxp_is_sequence(t))
        return oxp_node_fail(n, OXP_EUNSUPPORTED, "E-OP-DTYPE",
                             "a sequence in a sequence is not supported");
    if (first && first->dtype != t->dtype)
        return oxp_node_fail(n, OXP_EFORMAT, "E-OP-DTYPE",
                             "a tensor of %s joins a sequence of %s tensors",
                             oxp_dtype_name(t->dtype), oxp_dtype_name(first->dtype));
    return OXP_OK;
}

/* The value of an optional position, counted from the back when negative; `otherwise` without. */
static oxp_status read_position(oxp_node *n, int input, size_t length, size_t otherwise,
                                bool may_be_end, size_t *position)
{
    int64_t value, bound = (int64_t)length;
    *position = otherwise;
    if (!oxp_node_has(n, input))
        return OXP_OK;
    OXP_TRY(oxp_move_scalar(n, input, &value));
    if (value < -bound || value >= bound + (may_be_end ? 1 : 0))
        return oxp_node_fail(n, OXP_EFORMAT, "E-INDEX",
                             "position %lld of a sequence of %zu tensors", (long long)value,
                             length);
    *position = (size_t)(value < 0 ? value + bound : value);
    return OXP_OK;
}

oxp_status oxp_sequence_give(oxp_node *n, oxp_tensor *sequence)
{
    oxp_output_adopt(n, 0, sequence);
    oxp_tensor_release(sequence);
    return OXP_OK;
}

/* ---- making ---- */

static oxp_status construct_forward(oxp_node *n)
{
    oxp_tensor sequence;
    for (int i = 0; i < n->in_count; i++) {
        if (!n->in[i])
            return oxp_node_fail(n, OXP_EFORMAT, "E-ARITY", "input %d is omitted", i);
        OXP_TRY(check_member(n, n->in[0], n->in[i]));
    }
    OXP_TRY(oxp_sequence_new(&sequence, n->ctx, (size_t)n->in_count));
    for (int i = 0; i < n->in_count; i++)
        oxp_tensor_share(&oxp_sequence_items(&sequence)[i], n->in[i]);
    return oxp_sequence_give(n, &sequence);
}

static oxp_status empty_prepare(oxp_node *n)
{
    oxp_attr_ignore(n, "dtype"); /* the first tensor says what it is */
    return oxp_sequence_prepare(n);
}

static oxp_status empty_forward(oxp_node *n)
{
    oxp_tensor sequence;
    OXP_TRY(oxp_sequence_new(&sequence, n->ctx, 0));
    return oxp_sequence_give(n, &sequence);
}

static oxp_status insert_forward(oxp_node *n)
{
    size_t position;
    oxp_tensor sequence;
    OXP_TRY(oxp_sequence_want(n, 0));
    const oxp_tensor *old = oxp_sequence_items(n->in[0]);
    size_t length = n->in[0]->count;
    OXP_TRY(check_member(n, length ? old : NULL, n->in[1]));
    OXP_TRY(read_position(n, 2, length, length, true, &position));
    OXP_TRY(oxp_sequence_new(&sequence, n->ctx, length + 1));
    oxp_tensor *items = oxp_sequence_items(&sequence);
    for (size_t i = 0; i <= length; i++)
        oxp_tensor_share(&items[i], i == position ? n->in[1] : &old[i < position ? i : i - 1]);
    return oxp_sequence_give(n, &sequence);
}

static oxp_status erase_forward(oxp_node *n)
{
    size_t position;
    oxp_tensor sequence;
    OXP_TRY(oxp_sequence_want(n, 0));
    const oxp_tensor *old = oxp_sequence_items(n->in[0]);
    size_t length = n->in[0]->count;
    if (length == 0)
        return oxp_node_fail(n, OXP_EFORMAT, "E-INDEX", "the sequence is empty");
    OXP_TRY(read_position(n, 1, length, length - 1, false, &position));
    OXP_TRY(oxp_sequence_new(&sequence, n->ctx, length - 1));
    for (size_t i = 0; i + 1 < length; i++)
        oxp_tensor_share(&oxp_sequence_items(&sequence)[i], &old[i < position ? i : i + 1]);
    return oxp_sequence_give(n, &sequence);
}

/* ---- reading ---- */

static oxp_status at_forward(oxp_node *n)
{
    size_t position;
    OXP_TRY(oxp_sequence_want(n, 0));
    OXP_TRY(read_position(n, 1, n->in[0]->count, 0, false, &position));
    oxp_output_adopt(n, 0, &oxp_sequence_items(n->in[0])[position]);
    return OXP_OK;
}

static oxp_status length_prepare(oxp_node *n)
{
    return oxp_output(n, 0, OXP_INT64, 0, NULL);
}

static oxp_status length_forward(oxp_node *n)
{
    OXP_TRY(oxp_sequence_want(n, 0));
    *(int64_t *)n->out[0].data = (int64_t)n->in[0]->count;
    return OXP_OK;
}

#define SEQUENCE(symbol, type_, least, most, prepare_, forward_) \
    const oxp_operator symbol = {                                \
        .domain = "",                                            \
        .type = type_,                                           \
        .since = 11,                                             \
        .min_in = least,                                         \
        .max_in = most,                                          \
        .min_out = 1,                                            \
        .max_out = 1,                                            \
        .prepare = prepare_,                                     \
        .forward = forward_,                                     \
    };
SEQUENCE(oxp_op_sequence_construct_11, "SequenceConstruct", 1, -1, oxp_sequence_prepare,
         construct_forward)
SEQUENCE(oxp_op_sequence_empty_11, "SequenceEmpty", 0, 0, empty_prepare, empty_forward)
SEQUENCE(oxp_op_sequence_insert_11, "SequenceInsert", 2, 3, oxp_sequence_prepare, insert_forward)
SEQUENCE(oxp_op_sequence_erase_11, "SequenceErase", 1, 2, oxp_sequence_prepare, erase_forward)
SEQUENCE(oxp_op_sequence_at_11, "SequenceAt", 2, 2, oxp_sequence_prepare, at_forward)
SEQUENCE(oxp_op_sequence_length_11, "SequenceLength", 1, 1, length_prepare, length_forward)
