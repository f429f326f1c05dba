/* bitwise.c - BitwiseAnd, BitwiseOr, BitwiseXor and BitShift with broadcasting, BitwiseNot: on
 * integers.
 *
 * A shift by a negative amount, or by the type's width or more, moves everything out: what
 * remains is 0, or -1 for a negative number shifted right, which copies its sign. */
#include "operators/movement.h"

#define OXP_BINARY_BACKWARD oxp_backward_zero
#include "operators/binary.h"
#include "operators/cast_integer.h"

#define BY_WIDTH(name, expression)                                       \
    OXP_BINARY_LOOP(OXP_WIDE, name##_8, uint8_t, uint8_t, expression)    \
    OXP_BINARY_LOOP(OXP_WIDE, name##_16, uint16_t, uint16_t, expression) \
    OXP_BINARY_LOOP(OXP_WIDE, name##_32, uint32_t, uint32_t, expression) \
    OXP_BINARY_LOOP(OXP_WIDE, name##_64, uint64_t, uint64_t, expression)

BY_WIDTH(and, a &b)
BY_WIDTH(or, a | b)
BY_WIDTH(xor, a ^ b)

/* An amount read as unsigned: a negative one is larger than any width. */
#define SHIFT_LEFT(bits)                                                   \
    OXP_BINARY_LOOP(OXP_WIDE, left_##bits, uint##bits##_t, uint##bits##_t, \
                    b < bits ? (uint64_t)a << (b & (bits - 1)) : 0)
#define SHIFT_RIGHT(bits)                                                    \
    OXP_BINARY_LOOP(OXP_WIDE, right_u##bits, uint##bits##_t, uint##bits##_t, \
                    b < bits ? a >> (b & (bits - 1)) : 0)                    \
    OXP_BINARY_LOOP(OXP_WIDE, right_i##bits, int##bits##_t, int##bits##_t,   \
                    a >> ((uint##bits##_t)b < bits ? b : bits - 1))

SHIFT_LEFT(8)
SHIFT_LEFT(16)
SHIFT_LEFT(32)
SHIFT_LEFT(64)
SHIFT_RIGHT(8)
SHIFT_RIGHT(16)
SHIFT_RIGHT(32)
SHIFT_RIGHT(64)

#define LOOPS(name)                                                                  \
    {                                                                                \
        [OXP_INT8] = name##_8, [OXP_UINT8] = name##_8, [OXP_INT16] = name##_16,      \
        [OXP_UINT16] = name##_16, [OXP_INT32] = name##_32, [OXP_UINT32] = name##_32, \
        [OXP_INT64] = name##_64, [OXP_UINT64] = name##_64                            \
    }

static const oxp_binary operations[] = {
    {.type = "BitwiseAnd", .loops = LOOPS(and)},
    {.type = "BitwiseOr", .loops = LOOPS(or)},
    {.type = "BitwiseXor", .loops = LOOPS(xor)},
};
static const oxp_binary shift_left = {.type = "BitShift", .loops = LOOPS(left)};
static const oxp_binary shift_right = {.type = "BitShift",
                                       .loops = {[OXP_INT8] = right_i8,
                                                 [OXP_UINT8] = right_u8,
                                                 [OXP_INT16] = right_i16,
                                                 [OXP_UINT16] = right_u16,
                                                 [OXP_INT32] = right_i32,
                                                 [OXP_UINT32] = right_u32,
                                                 [OXP_INT64] = right_i64,
                                                 [OXP_UINT64] = right_u64}};

static oxp_status prepare(oxp_node *n)
{
    return oxp_binary_prepare(n, operations, sizeof operations / sizeof *operations);
}

static oxp_status prepare_shift(oxp_node *n)
{
    static const char *const directions[] = {"LEFT", "RIGHT", NULL};
    int direction = 0;
    OXP_TRY(oxp_move_choice(n, "direction", "", directions, &direction));
    return oxp_binary_prepare_row(n, direction == 0 ? &shift_left : &shift_right);
}

#define BITWISE(name, type)                                                                     \
    OXP_BINARY_OPERATOR(oxp_op_bitwise_##name##_18, type, 18, prepare, "A[2,3]:i32 B[2,3]:i32", \
                        "A[2,3]:u8 B[3]:u8", "A[3]:i64={-1,5,-8} B[]:i64={6}")
BITWISE(and, "BitwiseAnd")
BITWISE(or, "BitwiseOr")
BITWISE(xor, "BitwiseXor")
OXP_BINARY_OPERATOR(oxp_op_bit_shift_11, "BitShift", 11, prepare_shift,
                    "X[3]:u8={1,128,255} Y[3]:u8={1,1,8}; direction='LEFT'",
                    "X[3]:u64={16,4,1} Y[]:u64={2}; direction='RIGHT'",
                    "X[3]:i32={-16,-1,7} Y[3]:i32={2,40,-1}; direction='RIGHT'")

static oxp_status prepare_not(oxp_node *n)
{
    const oxp_tensor *x = n->in[0];
    if (oxp_integer_bytes(x->dtype) == 0)
        return oxp_node_bad_dtype(n, 0);
    OXP_TRY(oxp_output(n, 0, x->dtype, x->rank, x->dims));
    oxp_output_overwrites(n, 0, 0);
    return OXP_OK;
}

static oxp_status forward_not(oxp_node *n)
{
    const uint8_t *x = n->in[0]->data;
    uint8_t *y = n->out[0].data;
    size_t bytes = oxp_tensor_bytes(n->in[0]);
    for (size_t i = 0; i < bytes; i++)
        y[i] = (uint8_t)~x[i];
    return OXP_OK;
}

const oxp_operator oxp_op_bitwise_not_18 = {
    .domain = "",
    .type = "BitwiseNot",
    .since = 18,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .prepare = prepare_not,
    .forward = forward_not,
    .backward = oxp_backward_zero,
    .examples = (const char *const[]){"X[2,3]:i32", "X[4]:u8", "X[2]:i64={-1,5}", NULL},
};
