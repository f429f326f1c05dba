/* Tensors: element types, shapes, sub-byte sizes, ownership, single elements. */
#include "util/tensor.h"

#include <criterion/criterion.h>
#include <string.h>

static oxp_ctx ctx;

static void setup(void)
{
    oxp_ctx_init(&ctx);
}

static void teardown(void)
{
    cr_expect_eq(atomic_load(&ctx.own_budget.used), 0, "a block was not given back");
}

TestSuite(tensor, .init = setup, .fini = teardown);

Test(tensor, types)
{
    static const struct {
        oxp_dtype dtype;
        const char *name;
        unsigned bits;
    } some[] = {
        {OXP_FLOAT, "FLOAT", 32},
        {OXP_DOUBLE, "DOUBLE", 64},
        {OXP_BOOL, "BOOL", 8},
        {OXP_FLOAT16, "FLOAT16", 16},
        {OXP_INT4, "INT4", 4},
        {OXP_UINT2, "UINT2", 2},
        {OXP_FLOAT4E2M1, "FLOAT4E2M1", 4},
        {OXP_COMPLEX128, "COMPLEX128", 128},
        {OXP_STRING, "STRING", 0},
        {OXP_UNDEFINED, "UNDEFINED", 0},
    };
    for (size_t i = 0; i < sizeof some / sizeof some[0]; i++) {
        cr_expect_str_eq(oxp_dtype_name(some[i].dtype), some[i].name);
        cr_expect_eq(oxp_dtype_bits(some[i].dtype), some[i].bits);
    }
    for (int d = 1; d < OXP_DTYPE_COUNT; d++) {
        cr_expect_str_neq(oxp_dtype_name((oxp_dtype)d), "?");
        cr_expect(oxp_dtype_bits((oxp_dtype)d) > 0 || d == OXP_STRING, "%d has no size", d);
        cr_expect_not(oxp_dtype_is_integer((oxp_dtype)d) && oxp_dtype_is_float((oxp_dtype)d));
    }
    cr_expect_str_eq(oxp_dtype_name((oxp_dtype)OXP_DTYPE_COUNT), "?");
    cr_expect_str_eq(oxp_dtype_name((oxp_dtype)-1), "?");
    cr_expect_eq(oxp_dtype_bits((oxp_dtype)1000), 0);
    cr_expect(oxp_dtype_is_integer(OXP_INT4) && oxp_dtype_is_integer(OXP_UINT64));
    cr_expect_not(oxp_dtype_is_integer(OXP_BOOL));
    cr_expect_not(oxp_dtype_is_float(OXP_FLOAT8E5M2));
}

Test(tensor, shapes_give_their_product)
{
    oxp_tensor t;
    cr_assert_eq(oxp_tensor_shape(&t, &ctx, OXP_FLOAT, 3, (int64_t[]){2, 3, 4}, "t"), OXP_OK);
    cr_expect_eq(t.count, 24);
    cr_expect_eq(oxp_tensor_bytes(&t), 96);
    cr_expect_null(t.data);
    cr_assert_eq(oxp_tensor_shape(&t, &ctx, OXP_FLOAT, 0, NULL, "scalar"), OXP_OK);
    cr_expect_eq(t.count, 1);
}

Test(tensor, an_empty_product_does_not_depend_on_the_order)
{
    const int64_t big = INT64_C(1) << 62;
    const int64_t orders[3][3] = {{0, big, big}, {big, 0, big}, {big, big, 0}};
    for (int i = 0; i < 3; i++) {
        oxp_tensor t;
        cr_assert_eq(oxp_tensor_shape(&t, &ctx, OXP_DOUBLE, 3, orders[i], "t"), OXP_OK);
        cr_expect_eq(t.count, 0);
        cr_expect_eq(oxp_tensor_bytes(&t), 0);
    }
}

typedef struct bad_shape {
    oxp_dtype dtype;
    int rank;
    int64_t dims[3];
    oxp_status status;
    const char *code;
} bad_shape;

Test(tensor, bad_shapes_are_refused)
{
    static const bad_shape cases[] = {
        {OXP_FLOAT, 2, {INT64_C(1) << 32, INT64_C(1) << 32, 0}, OXP_EFORMAT, "E-SHAPE-OVERFLOW"},
        {OXP_FLOAT, 2, {3037000499, 3037000501, 0}, OXP_EFORMAT, "E-SHAPE-OVERFLOW"},
        {OXP_INT8, 2, {4294967296, 4294967297, 0}, OXP_EFORMAT, "E-SHAPE-OVERFLOW"},
        {OXP_DOUBLE, 1, {INT64_C(1) << 61, 0, 0}, OXP_EFORMAT, "E-SHAPE-OVERFLOW"},
        {OXP_UINT8, 2, {INT64_MAX, 2, 0}, OXP_EFORMAT, "E-SHAPE-OVERFLOW"},
        {OXP_COMPLEX128, 1, {INT64_C(1) << 59, 0, 0}, OXP_EFORMAT, "E-SHAPE-OVERFLOW"},
        {OXP_FLOAT, 1, {-1, 0, 0}, OXP_EFORMAT, "E-DIM"},
        {OXP_FLOAT, 2, {0, INT64_MIN, 0}, OXP_EFORMAT, "E-DIM"},
        {OXP_FLOAT, OXP_MAX_RANK + 1, {1, 1, 1}, OXP_ELIMIT, "E-LIMIT-RANK"},
        {OXP_FLOAT, -1, {1, 1, 1}, OXP_ELIMIT, "E-LIMIT-RANK"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        oxp_tensor t = {.rank = 77};
        oxp_ctx_clear(&ctx);
        cr_expect_eq(oxp_tensor_shape(&t, &ctx, cases[i].dtype, cases[i].rank, cases[i].dims, "w"),
                     cases[i].status, "case %zu", i);
        cr_expect_str_eq(ctx.code, cases[i].code, "case %zu: %s", i, ctx.message);
        cr_expect_not_null(strstr(ctx.message, "\"w\""));
        cr_expect_eq(t.rank, 77, "the result changed on failure");
    }
    oxp_tensor t; /* the largest that can be addressed */
    oxp_ctx_clear(&ctx);
    cr_expect_eq(oxp_tensor_shape(&t, &ctx, OXP_INT8, 1, (int64_t[]){INT64_MAX}, "w"), OXP_OK);
    cr_expect_eq(oxp_tensor_shape(&t, &ctx, OXP_INT4, 1, (int64_t[]){INT64_MAX}, "w"), OXP_OK);
    cr_expect_eq(oxp_tensor_bytes(&t), (size_t)1 << 62);
}

Test(tensor, packed_sizes_round_up)
{
    for (int64_t n = 0; n <= 17; n++) {
        oxp_tensor t;
        cr_assert_eq(oxp_tensor_shape(&t, &ctx, OXP_INT4, 1, &n, "t"), OXP_OK);
        cr_expect_eq(oxp_tensor_bytes(&t), (size_t)(n + 1) / 2);
        cr_assert_eq(oxp_tensor_shape(&t, &ctx, OXP_UINT2, 1, &n, "t"), OXP_OK);
        cr_expect_eq(oxp_tensor_bytes(&t), (size_t)(n + 3) / 4);
        cr_assert_eq(oxp_tensor_shape(&t, &ctx, OXP_FLOAT, 1, &n, "t"), OXP_OK);
        cr_expect_eq(oxp_tensor_bytes(&t), (size_t)n * 4);
    }
}

Test(tensor, sharing_counts_and_copies_are_apart)
{
    oxp_tensor a, b, c;
    cr_assert_eq(oxp_tensor_shape(&a, &ctx, OXP_INT32, 1, (int64_t[]){3}, "a"), OXP_OK);
    cr_assert_eq(oxp_tensor_alloc(&a, &ctx, "a"), OXP_OK);
    cr_expect_eq((uintptr_t)a.data & 63, 0);
    memcpy(a.data, (int32_t[]){1, -2, 3}, 12);
    oxp_tensor_share(&b, &a);
    cr_expect_eq(b.data, a.data);
    cr_expect_eq(a.storage->references, 2);
    cr_assert_eq(oxp_tensor_copy(&c, &ctx, &a), OXP_OK);
    cr_expect_neq(c.data, a.data);
    oxp_tensor_release(&a);
    cr_expect_null(a.data);
    cr_expect_eq(oxp_tensor_int(&b, 1), -2, "the other holder still sees the data");
    oxp_tensor_release(&b);
    cr_expect_eq(oxp_tensor_int(&c, 1), -2);
    oxp_tensor_release(&c);
    oxp_tensor_release(&c); /* all-zero */
}

Test(tensor, borrowed_data_is_never_freed)
{
    int64_t data[2] = {5, 6};
    oxp_tensor a, b;
    cr_assert_eq(oxp_tensor_shape(&a, &ctx, OXP_INT64, 1, (int64_t[]){2}, "a"), OXP_OK);
    a.data = data;
    oxp_tensor_share(&b, &a);
    cr_expect_null(b.storage);
    oxp_tensor_release(&a);
    cr_expect_eq(oxp_tensor_int(&b, 0), 5);
    oxp_tensor_release(&b);
}

Test(tensor, an_empty_tensor_has_memory_of_its_own)
{
    oxp_tensor t, copy;
    cr_assert_eq(oxp_tensor_shape(&t, &ctx, OXP_FLOAT, 2, (int64_t[]){0, 3}, "t"), OXP_OK);
    cr_assert_eq(oxp_tensor_copy(&copy, &ctx, &t), OXP_OK, "also from a tensor without data");
    cr_assert_eq(oxp_tensor_alloc(&t, &ctx, "t"), OXP_OK);
    cr_expect_not_null(t.data);
    oxp_tensor_release(&t);
    oxp_tensor_release(&copy);
}

Test(tensor, allocation_over_budget_leaves_the_tensor)
{
    oxp_tensor t;
    cr_assert_eq(oxp_tensor_shape(&t, &ctx, OXP_FLOAT, 1, (int64_t[]){1 << 20}, "t"), OXP_OK);
    ctx.own_budget.limit = 1 << 20;
    cr_expect_eq(oxp_tensor_alloc(&t, &ctx, "activation of \"Conv_3\""), OXP_ELIMIT);
    cr_expect_not_null(strstr(ctx.message, "Conv_3"));
    cr_expect_null(t.data);
    cr_expect_null(t.storage);
}

static oxp_tensor over(oxp_dtype dtype, void *data, size_t count)
{
    return (oxp_tensor){
        .dtype = dtype, .rank = 1, .dims = {(int64_t)count}, .count = count, .data = data};
}

Test(tensor, packed_elements_start_in_the_low_bits)
{
    uint8_t bytes[2] = {0x8f, 0x07}; /* nibbles f 8 7; pairs 3 3 0 2 3 1 */
    oxp_tensor t = over(OXP_UINT4, bytes, 3);
    cr_expect_eq(oxp_tensor_int(&t, 0), 15);
    cr_expect_eq(oxp_tensor_int(&t, 1), 8);
    cr_expect_eq(oxp_tensor_int(&t, 2), 7);
    t.dtype = OXP_INT4;
    cr_expect_eq(oxp_tensor_int(&t, 0), -1);
    cr_expect_eq(oxp_tensor_int(&t, 1), -8);
    cr_expect_eq(oxp_tensor_int(&t, 2), 7);
    static const int pairs[6] = {3, 3, 0, 2, 3, 1}, signed_pairs[6] = {-1, -1, 0, -2, -1, 1};
    for (size_t i = 0; i < 6; i++) {
        t = over(OXP_UINT2, bytes, 6);
        cr_expect_eq(oxp_tensor_int(&t, i), pairs[i]);
        t = over(OXP_INT2, bytes, 6);
        cr_expect_eq(oxp_tensor_int(&t, i), signed_pairs[i]);
    }
}

Test(tensor, elements_of_every_type)
{
    oxp_tensor t = over(OXP_INT8, (int8_t[]){-128}, 1);
    cr_expect_eq(oxp_tensor_int(&t, 0), -128);
    t = over(OXP_UINT8, (uint8_t[]){255}, 1);
    cr_expect_eq(oxp_tensor_int(&t, 0), 255);
    t = over(OXP_BOOL, (uint8_t[]){1}, 1);
    cr_expect_eq(oxp_tensor_int(&t, 0), 1);
    t = over(OXP_INT16, (int16_t[]){-32768}, 1);
    cr_expect_eq(oxp_tensor_int(&t, 0), -32768);
    t = over(OXP_UINT16, (uint16_t[]){65535}, 1);
    cr_expect_eq(oxp_tensor_int(&t, 0), 65535);
    t = over(OXP_INT32, (int32_t[]){INT32_MIN}, 1);
    cr_expect_eq(oxp_tensor_int(&t, 0), INT32_MIN);
    t = over(OXP_UINT32, (uint32_t[]){UINT32_MAX}, 1);
    cr_expect_eq(oxp_tensor_int(&t, 0), UINT32_MAX);
    t = over(OXP_INT64, (int64_t[]){INT64_MIN}, 1);
    cr_expect_eq(oxp_tensor_int(&t, 0), INT64_MIN);
    t = over(OXP_UINT64, (uint64_t[]){UINT64_MAX}, 1);
    cr_expect_eq(oxp_tensor_int(&t, 0), -1, "wraps");
    cr_expect_eq(oxp_tensor_real(&t, 0), 0x1p64);
    t = over(OXP_FLOAT, (float[]){0.5f}, 1);
    cr_expect_eq(oxp_tensor_real(&t, 0), 0.5);
    t = over(OXP_DOUBLE, (double[]){1e300}, 1);
    cr_expect_eq(oxp_tensor_real(&t, 0), 1e300);
    t = over(OXP_FLOAT16, (uint16_t[]){0xc000}, 1);
    cr_expect_eq(oxp_tensor_real(&t, 0), -2.0);
    t = over(OXP_BFLOAT16, (uint16_t[]){0x3f80}, 1);
    cr_expect_eq(oxp_tensor_real(&t, 0), 1.0);
    t = over(OXP_INT8, (int8_t[]){-3}, 1);
    cr_expect_eq(oxp_tensor_real(&t, 0), -3.0);
}

Test(tensor, shapes_as_text)
{
    char text[OXP_SHAPE_TEXT_MAX];
    cr_expect_str_eq(oxp_shape_text(text, 3, (int64_t[]){2, 3, 4}), "[2,3,4]");
    cr_expect_str_eq(oxp_shape_text(text, 0, NULL), "[]");
    cr_expect_str_eq(oxp_shape_text(text, 2, (int64_t[]){-1, 128}), "[?,128]");
    cr_expect_str_eq(oxp_shape_text(text, -1, NULL), "[*]");
    int64_t widest[OXP_MAX_RANK];
    for (int i = 0; i < OXP_MAX_RANK; i++)
        widest[i] = INT64_MIN;
    cr_expect_eq(strlen(oxp_shape_text(text, OXP_MAX_RANK, widest)), OXP_MAX_RANK * 21 + 1);
}
