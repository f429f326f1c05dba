/* qlinear_concat.c - com.microsoft QLinearConcat: inputs Y_scale, Y_zero_point, then X, X_scale,
 * X_zero_point of each tensor; every tensor's codes are requantised by a table of all 256 and
 * joined along `axis`. */
#include "kernels/requantise.h"
#include "operators/quantized_inputs.h"
#include "operators/real.h"

typedef struct concat_state {
    size_t outer, row; /* row: elements of Y per outer index */
} concat_state;

static oxp_status check_tensor(oxp_node *n, int i, int axis)
{
    const oxp_tensor *first = n->in[2], *t = n->in[i];
    OXP_TRY(oxp_node_want(n, i, first->dtype));
    OXP_TRY(oxp_quantized_want(n, i + 1, i + 2, first->dtype, 1));
    bool same = t->rank == first->rank;
    for (int d = 0; same && d < t->rank; d++)
        same = d == axis || t->dims[d] == first->dims[d];
    if (same)
        return OXP_OK;
    char a[OXP_SHAPE_TEXT_MAX], b[OXP_SHAPE_TEXT_MAX];
    return oxp_node_fail(
        n, OXP_EFORMAT, "E-SHAPE", "input %d has shape %s, which does not fit %s but for axis %d",
        i, oxp_shape_text(a, t->rank, t->dims), oxp_shape_text(b, first->rank, first->dims), axis);
}

static oxp_status prepare(oxp_node *n)
{
    concat_state *state = oxp_node_state(n, sizeof *state);
    int64_t dims[OXP_MAX_RANK] = {0};
    int axis;
    if (!state)
        return OXP_ELIMIT;
    for (int i = 0; i < n->in_count; i++)
        if (!n->in[i])
            return oxp_node_fail(n, OXP_EFORMAT, "E-ARITY", "input %d is omitted", i);
    if ((n->in_count - 2) % 3 != 0)
        return oxp_node_fail(n, OXP_EFORMAT, "E-ARITY",
                             "%d inputs, expected 2 and three for each tensor", n->in_count);
    const oxp_tensor *first = n->in[2];
    OXP_TRY(oxp_codes_want(n, 2));
    OXP_TRY(oxp_quantized_want(n, 0, 1, first->dtype, 1));
    OXP_TRY(oxp_node_axis(n, oxp_attr_int(n, "axis", 0), first->rank, false, &axis));
    for (int d = 0; d < first->rank; d++)
        dims[d] = d == axis ? 0 : first->dims[d];
    for (int i = 2; i < n->in_count; i += 3) {
        OXP_TRY(check_tensor(n, i, axis));
        if (__builtin_add_overflow(dims[axis], n->in[i]->dims[axis], &dims[axis]))
            return oxp_node_fail(n, OXP_ELIMIT, "E-SHAPE-OVERFLOW",
                                 "axis %d of the output overflows", axis);
    }
    OXP_TRY(oxp_output(n, 0, first->dtype, first->rank, dims));
    state->outer = 1;
    for (int d = 0; d < axis; d++)
        state->outer *= (size_t)dims[d];
    state->row = state->outer ? n->out[0].count / state->outer : 0;
    return OXP_OK;
}

static void make_table(const oxp_node *n, int i, bool is_signed, uint8_t table[256])
{
    uint8_t codes[256];
    float values[256];
    for (int k = 0; k < 256; k++)
        codes[k] = (uint8_t)k;
    oxp_from_codes(values, codes, is_signed, 256, oxp_quantized_scale(n, i + 1),
                   oxp_quantized_zero(n, i + 2));
    oxp_to_codes(table, is_signed, values, 256, oxp_quantized_scale(n, 0),
                 oxp_quantized_zero(n, 1));
}

static oxp_status forward(oxp_node *n)
{
    const concat_state *state = n->state;
    uint8_t table[256];
    if (!oxp_node_makes(n, 0) || n->out[0].count == 0)
        return OXP_OK;
    OXP_TRY(oxp_quantized_check(n, 0));
    uint8_t *y = n->out[0].data;
    for (int i = 2; i < n->in_count; i += 3) {
        const uint8_t *x = n->in[i]->data;
        size_t length = n->in[i]->count / state->outer;
        OXP_TRY(oxp_quantized_check(n, i + 1));
        make_table(n, i, oxp_is_signed(n->in[2]->dtype), table);
        for (size_t o = 0; o < state->outer; o++)
            for (size_t k = 0; k < length; k++)
                y[o * state->row + k] = table[x[o * length + k]];
        y += length;
    }
    return OXP_OK;
}

static const char *const examples[] = {
    "S[]={0.5} Z[]:u8={10} A[2,3]:u8 T[]={0.25} Y[]:u8={1} B[2,2]:u8 U[]={0.5} V[]:u8={10}; axis=1",
    "S[]={0.5} Z[]:i8={-3} A[2,3,2]:i8 T[]={0.25} Y[]:i8={1} B[1,3,2]:i8 U[]={0.7} V[]:i8={0}; "
    "axis=-3",
    NULL};

const oxp_operator oxp_op_qlinear_concat_1 = {.domain = "com.microsoft",
                                              .type = "QLinearConcat",
                                              .since = 1,
                                              .min_in = 5,
                                              .max_in = -1,
                                              .min_out = 1,
                                              .max_out = 1,
                                              .prepare = prepare,
                                              .forward = forward,
                                              .examples = examples};
