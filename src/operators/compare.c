/* compare.c - C = A ? B, BOOL, elementwise with broadcasting: Equal, Less, Greater, LessOrEqual,
 * GreaterOrEqual. Anything but "not equal" is false of a NaN. Strings are not compared. */
#define OXP_BINARY_BACKWARD oxp_backward_zero
#include "operators/binary.h"

#define COMPARE_TYPE(name, suffix, T, operation) \
    OXP_BINARY_LOOP(OXP_WIDE, name##_##suffix, T, uint8_t, a operation b)
#define COMPARE(name, operation)                                        \
    OXP_BINARY_LOOP(OXP_HOT, name##_f32, float, uint8_t, a operation b) \
    COMPARE_TYPE(name, f64, double, operation)                          \
    COMPARE_TYPE(name, i8, int8_t, operation)                           \
    COMPARE_TYPE(name, u8, uint8_t, operation)                          \
    COMPARE_TYPE(name, i16, int16_t, operation)                         \
    COMPARE_TYPE(name, u16, uint16_t, operation)                        \
    COMPARE_TYPE(name, i32, int32_t, operation)                         \
    COMPARE_TYPE(name, u32, uint32_t, operation)                        \
    COMPARE_TYPE(name, i64, int64_t, operation)                         \
    COMPARE_TYPE(name, u64, uint64_t, operation)
#define LOOPS(name)                                                                \
    [OXP_FLOAT] = name##_f32, [OXP_DOUBLE] = name##_f64, [OXP_INT8] = name##_i8,   \
    [OXP_UINT8] = name##_u8, [OXP_INT16] = name##_i16, [OXP_UINT16] = name##_u16,  \
    [OXP_INT32] = name##_i32, [OXP_UINT32] = name##_u32, [OXP_INT64] = name##_i64, \
    [OXP_UINT64] = name##_u64

COMPARE(equal, ==)
COMPARE(less, <)
COMPARE(greater, >)
COMPARE(less_or_equal, <=)
COMPARE(greater_or_equal, >=)
OXP_BINARY_LOOP(OXP_WIDE, equal_bool, uint8_t, uint8_t, (a != 0) == (b != 0))

static const oxp_binary comparisons[] = {
    {.type = "Equal", .result = OXP_BOOL, .loops = {LOOPS(equal), [OXP_BOOL] = equal_bool}},
    {.type = "Less", .result = OXP_BOOL, .loops = {LOOPS(less)}},
    {.type = "Greater", .result = OXP_BOOL, .loops = {LOOPS(greater)}},
    {.type = "LessOrEqual", .result = OXP_BOOL, .loops = {LOOPS(less_or_equal)}},
    {.type = "GreaterOrEqual", .result = OXP_BOOL, .loops = {LOOPS(greater_or_equal)}},
};

static oxp_status prepare(oxp_node *n)
{
    return oxp_binary_prepare(n, comparisons, sizeof comparisons / sizeof *comparisons);
}

#define COMPARISON(name, type, since, ...) \
    OXP_BINARY_OPERATOR(oxp_op_##name, type, since, prepare, __VA_ARGS__)

COMPARISON(equal_7, "Equal", 7, "A[2,3,4]:i64 B[4]:i64", "A[3]:bool B[]:bool", "A[2,3] B[2,3]",
           "A[4]:f16 B[4]:f16")
COMPARISON(less_7, "Less", 7, "A[2,3,4] B[4]", "A[3]:i8={-1,0,1} B[]:i8={0}", "A[3]:f64 B[3]:f64",
           "A[3]:bf16 B[3]:bf16")
COMPARISON(greater_7, "Greater", 7, "A[2,3,4] B[4]", "A[2]:u64={1,5} B[2]:u64={5,1}",
           "A[]:i32={1} B[3]:i32")
COMPARISON(less_or_equal_12, "LessOrEqual", 12, "A[2,3,4] B[4]", "A[3]:i64 B[3]:i64",
           "A[3]:u8 B[]:u8={1}")
COMPARISON(greater_or_equal_12, "GreaterOrEqual", 12, "A[2,3,4] B[4]", "A[3]:i64 B[3]:i64",
           "A[3]:u16 B[]:u16={1}")
