/* arg_reduce.c - ArgMax and ArgMin along one axis: the INT64 index of the first best element,
 * with select_last_index of the last. The first NaN is the best of all, as NumPy has it. */
#include "operators/cast_float.h"
#include "operators/movement.h"

#include <string.h>

typedef struct arg_state {
    bool least, last;
    size_t outer, length, inner;
} arg_state;

static oxp_status prepare(oxp_node *n)
{
    const oxp_tensor *x = n->in[0];
    arg_state *state = oxp_node_state(n, sizeof *state);
    if (!state)
        return n->ctx->status;
    bool keep = oxp_attr_int(n, "keepdims", 1) != 0;
    int axis = 0, rank = 0;
    OXP_TRY(oxp_node_axis(n, oxp_attr_int(n, "axis", 0), x->rank, false, &axis));
    state->least = strcmp(n->op->type, "ArgMin") == 0;
    state->last = oxp_attr_int(n, "select_last_index", 0) != 0;
    state->outer = state->inner = 1;
    state->length = (size_t)x->dims[axis];
    int64_t dims[OXP_MAX_RANK];
    for (int d = 0; d < x->rank; d++) {
        if (d != axis)
            *(d < axis ? &state->outer : &state->inner) *= (size_t)x->dims[d];
        if (d != axis || keep)
            dims[rank++] = d == axis ? 1 : x->dims[d];
    }
    if (!oxp_dtype_is_float(x->dtype) &&
        (!oxp_dtype_is_integer(x->dtype) || oxp_dtype_bits(x->dtype) < 8))
        return oxp_node_bad_dtype(n, 0);
    OXP_TRY(oxp_output(n, 0, OXP_INT64, rank, dims));
    if (state->length == 0 && state->outer * state->inner > 0)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "axis %d has no elements to choose from",
                             axis);
    return OXP_OK;
}

/* Places along the axis are `inner` apart; neighbours in `inner` are taken in turn, so that
 * memory is read in order. */
#define ARG_LOOP(function, T)                                                                \
    static int64_t function(const T *x, size_t length, size_t step, bool least, bool last)   \
    {                                                                                        \
        size_t best = 0;                                                                     \
        T value = x[0];                                                                      \
        for (size_t k = 1; k < length && value == value; k++) {                              \
            T v = x[k * step];                                                               \
            bool better = (least ? v < value : v > value) || (last && v == value) || v != v; \
            if (better) {                                                                    \
                best = k;                                                                    \
                value = v;                                                                   \
            }                                                                                \
        }                                                                                    \
        return (int64_t)best;                                                                \
    }                                                                                        \
    static void function##_all(const arg_state *s, const void *data, int64_t *y)             \
    {                                                                                        \
        const T *x = data;                                                                   \
        for (size_t o = 0; o < s->outer; o++, x += s->length * s->inner)                     \
            for (size_t i = 0; i < s->inner; i++)                                            \
                *y++ = function(x + i, s->length, s->inner, s->least, s->last);              \
    }
ARG_LOOP(arg_f32, float)
ARG_LOOP(arg_f64, double)
ARG_LOOP(arg_i8, int8_t)
ARG_LOOP(arg_u8, uint8_t)
ARG_LOOP(arg_i16, int16_t)
ARG_LOOP(arg_u16, uint16_t)
ARG_LOOP(arg_i32, int32_t)
ARG_LOOP(arg_u32, uint32_t)
ARG_LOOP(arg_i64, int64_t)
ARG_LOOP(arg_u64, uint64_t)

static oxp_status forward(oxp_node *n)
{
    static void (*const loops[OXP_DTYPE_COUNT])(const arg_state *, const void *, int64_t *) = {
        [OXP_DOUBLE] = arg_f64_all, [OXP_INT8] = arg_i8_all,    [OXP_UINT8] = arg_u8_all,
        [OXP_INT16] = arg_i16_all,  [OXP_UINT16] = arg_u16_all, [OXP_INT32] = arg_i32_all,
        [OXP_UINT32] = arg_u32_all, [OXP_INT64] = arg_i64_all,  [OXP_UINT64] = arg_u64_all,
    };
    const oxp_tensor *x = n->in[0];
    if (n->out[0].count == 0)
        return OXP_OK;
    if (loops[x->dtype]) {
        loops[x->dtype](n->state, x->data, n->out[0].data);
        return OXP_OK;
    }
    const float *floats;
    OXP_TRY(oxp_move_floats(n, 0, &floats));
    arg_f32_all(n->state, floats, n->out[0].data);
    return OXP_OK;
}

#define ARG(symbol, type_)                                                                      \
    const oxp_operator symbol = {                                                               \
        .domain = "",                                                                           \
        .type = type_,                                                                          \
        .since = 1,                                                                             \
        .min_in = 1,                                                                            \
        .max_in = 1,                                                                            \
        .min_out = 1,                                                                           \
        .max_out = 1,                                                                           \
        .prepare = prepare,                                                                     \
        .forward = forward,                                                                     \
        .backward = oxp_backward_zero,                                                          \
        .examples =                                                                             \
            (const char *const[]){"X[2,3]", "X[2,3,4]; axis=1", "X[2,3,4]; axis=-1 keepdims=0", \
                                  "X[4]={2.0,7.0,7.0,2.0}; select_last_index=1",                \
                                  "X[2,5]:i8; axis=1", "X[2,5]:f16; axis=1", NULL},             \
    };
ARG(oxp_op_arg_max_1, "ArgMax")
ARG(oxp_op_arg_min_1, "ArgMin")
