/* tensors.c - TensorProto: shapes, sizes and values that are refused, and what decodes to what. */
#include "unit/onnx/encode.h"

#include <math.h>
#include <stdio.h>

#include "onnx/tensor_codec.h"

static void put_raw(bytes *t, const void *data, size_t size)
{
    put_blob(t, TENSOR_RAW, data, size);
}

static void put_zeros(bytes *t, size_t size)
{
    void *zeros = calloc(size + 1, 1);
    put_raw(t, zeros, size);
    free(zeros);
}

static void refuse_tensor(bytes t, oxp_status status, const char *code, const char *part)
{
    expect_refused(model_with_initializer(t), status, code, part);
}

static bytes shaped(int dtype, size_t rank, int64_t d0, int64_t d1, int64_t d2)
{
    int64_t dims[] = {d0, d1, d2};
    return tensor("w", dtype, rank, dims);
}

/* ---- shapes ---- */

Test(tensors, dims_are_not_negative)
{
    refuse_tensor(shaped(OXP_FLOAT, 2, 2, -1, 0), OXP_EFORMAT, "E-DIM", "dimension 1 is -1");
    refuse_tensor(shaped(OXP_FLOAT, 1, INT64_MIN, 0, 0), OXP_EFORMAT, "E-DIM",
                  "-9223372036854775808");
}

Test(tensors, products_do_not_wrap)
{
    int64_t big = INT64_C(1) << 32;
    refuse_tensor(shaped(OXP_UINT8, 2, big, big, 0), OXP_EFORMAT, "E-SHAPE-OVERFLOW", "w");
    refuse_tensor(shaped(OXP_UINT8, 2, INT64_C(3037000501), INT64_C(3037000501), 0), OXP_EFORMAT,
                  "E-SHAPE-OVERFLOW", "w");
    refuse_tensor(shaped(OXP_DOUBLE, 1, INT64_C(1) << 61, 0, 0), OXP_EFORMAT, "E-SHAPE-OVERFLOW",
                  "DOUBLE");
    refuse_tensor(shaped(OXP_INT4, 2, INT64_C(1) << 62, 4, 0), OXP_EFORMAT, "E-SHAPE-OVERFLOW",
                  "INT4");
    bytes claim = shaped(OXP_FLOAT, 1, INT64_C(1) << 60, 0, 0);
    put_zeros(&claim, 4);
    refuse_tensor(claim, OXP_EFORMAT, "E-RAW-LEN", "needs 4611686018427387904");
}

Test(tensors, a_zero_dim_makes_an_empty_tensor)
{
    int64_t huge = INT64_C(1) << 62;
    expect_accepted(model_with_initializer(shaped(OXP_FLOAT, 3, 0, huge, huge)));
    expect_accepted(model_with_initializer(shaped(OXP_FLOAT, 3, huge, huge, 0)));
    bytes raw = shaped(OXP_FLOAT, 1, 0, 0, 0);
    put_zeros(&raw, 0);
    expect_accepted(model_with_initializer(raw));
    bytes full = shaped(OXP_FLOAT, 1, 0, 0, 0);
    put_zeros(&full, 4);
    refuse_tensor(full, OXP_EFORMAT, "E-RAW-LEN", "4 bytes");
    bytes typed = shaped(OXP_FLOAT, 1, 0, 0, 0);
    put_float(&typed, TENSOR_FLOAT, 1);
    refuse_tensor(typed, OXP_EFORMAT, "E-DATA-LEN", "1 entries");
}

Test(tensors, ranks_have_a_limit)
{
    int64_t ones[65];
    for (size_t i = 0; i < 65; i++)
        ones[i] = 1;
    bytes at_limit = tensor("w", OXP_UINT8, 64, ones), over = tensor("w", OXP_UINT8, 65, ones);
    put_zeros(&at_limit, 1);
    put_zeros(&over, 1);
    expect_accepted(model_with_initializer(at_limit));
    refuse_tensor(over, OXP_ELIMIT, "E-LIMIT-RANK", "rank 65");
    uint8_t *many = malloc(1000000);
    memset(many, 1, 1000000);
    bytes million = {0};
    put_text(&million, TENSOR_NAME, "w");
    put_int(&million, TENSOR_TYPE, OXP_UINT8);
    put_blob(&million, TENSOR_DIMS, many, 1000000);
    free(many);
    refuse_tensor(million, OXP_ELIMIT, "E-LIMIT-RANK", "rank 1000000");
}

/* ---- sizes ---- */

Test(tensors, raw_data_has_the_size_of_the_shape)
{
    static const size_t sizes[] = {0, 1, 22, 23, 25, 28, 48};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        bytes t = shaped(OXP_FLOAT, 2, 2, 3, 0);
        put_zeros(&t, sizes[i]);
        refuse_tensor(t, OXP_EFORMAT, "E-RAW-LEN", "shape [2,3] FLOAT needs 24");
    }
    bytes t = shaped(OXP_FLOAT, 2, 2, 3, 0);
    put_zeros(&t, 12);
    refuse_tensor(
        t, OXP_EFORMAT, "E-RAW-LEN",
        "graph \"g\": initializer \"w\": raw_data has 12 bytes, shape [2,3] FLOAT needs 24");
}

Test(tensors, elements_below_a_byte_are_packed)
{
    for (int64_t n = 1; n <= 9; n++) {
        static const int types[] = {OXP_INT4, OXP_UINT4, OXP_FLOAT4E2M1, OXP_INT2, OXP_UINT2};
        for (size_t i = 0; i < 5; i++) {
            int per_byte = i < 3 ? 2 : 4;
            size_t size = (size_t)(n + per_byte - 1) / (size_t)per_byte;
            for (size_t wrong = 0; wrong < 3; wrong++) {
                bytes t = shaped(types[i], 1, n, 0, 0);
                put_zeros(&t, size - 1 + wrong);
                if (wrong == 1)
                    expect_accepted(model_with_initializer(t));
                else
                    refuse_tensor(t, OXP_EFORMAT, "E-RAW-LEN", i < 3 ? "ceil(n/2)" : "ceil(n/4)");
            }
        }
    }
}

typedef struct typed_case {
    unsigned field, wire_type;
    int dtype;
    size_t entries; /* for two elements */
} typed_case;

static const typed_case typed_cases[] = {
    {TENSOR_FLOAT, FIXED32, OXP_FLOAT, 2},   {TENSOR_FLOAT, FIXED32, OXP_COMPLEX64, 4},
    {TENSOR_INT32, VARINT, OXP_INT32, 2},    {TENSOR_INT32, VARINT, OXP_INT8, 2},
    {TENSOR_INT32, VARINT, OXP_FLOAT16, 2},  {TENSOR_INT32, VARINT, OXP_BFLOAT16, 2},
    {TENSOR_INT32, VARINT, OXP_BOOL, 2},     {TENSOR_INT32, VARINT, OXP_FLOAT8E5M2, 2},
    {TENSOR_INT32, VARINT, OXP_INT4, 1},     {TENSOR_INT32, VARINT, OXP_UINT2, 1},
    {TENSOR_STRING, LENGTH, OXP_STRING, 2},  {TENSOR_INT64, VARINT, OXP_INT64, 2},
    {TENSOR_DOUBLE, FIXED64, OXP_DOUBLE, 2}, {TENSOR_DOUBLE, FIXED64, OXP_COMPLEX128, 4},
    {TENSOR_UINT64, VARINT, OXP_UINT64, 2},  {TENSOR_UINT64, VARINT, OXP_UINT32, 2},
};

/* [2] of the type with so many entries in the field, all zero. */
static bytes typed_tensor(const typed_case *c, int dtype, size_t entries)
{
    static const char zeros[8];
    bytes t = shaped(dtype, 1, 2, 0, 0);
    for (size_t i = 0; i < entries; i++) {
        put_tag(&t, c->field, c->wire_type);
        put(&t, zeros, c->wire_type == FIXED64 ? 8 : c->wire_type == FIXED32 ? 4 : 1);
    }
    return t;
}

Test(tensors, typed_fields_have_the_size_of_the_shape)
{
    for (size_t i = 0; i < sizeof typed_cases / sizeof typed_cases[0]; i++) {
        const typed_case *c = &typed_cases[i];
        expect_accepted(model_with_initializer(typed_tensor(c, c->dtype, c->entries)));
        refuse_tensor(typed_tensor(c, c->dtype, c->entries - 1), OXP_EFORMAT, "E-DATA-LEN", "w");
        refuse_tensor(typed_tensor(c, c->dtype, c->entries + 1), OXP_EFORMAT, "E-DATA-LEN", "w");
    }
}

Test(tensors, data_is_in_the_field_of_its_type)
{
    for (size_t i = 0; i < sizeof typed_cases / sizeof typed_cases[0]; i++) {
        const typed_case *c = &typed_cases[i];
        for (int dtype = 1; dtype < OXP_DTYPE_COUNT; dtype++) {
            static const unsigned wire_fields[] = {TENSOR_FLOAT, TENSOR_INT32,  TENSOR_STRING,
                                                   TENSOR_INT64, TENSOR_DOUBLE, TENSOR_UINT64};
            if (wire_fields[oxp_data_field_of((oxp_dtype)dtype)] != c->field)
                refuse_tensor(typed_tensor(c, dtype, c->entries), OXP_EFORMAT, "E-DATA-FIELD", "w");
        }
    }
    bytes text = shaped(OXP_STRING, 1, 2, 0, 0);
    put_raw(&text, "ab", 2);
    refuse_tensor(text, OXP_EFORMAT, "E-DATA-FIELD", "string_data");
}

Test(tensors, data_is_in_one_place)
{
    bytes both = shaped(OXP_FLOAT, 1, 1, 0, 0);
    put_zeros(&both, 4);
    put_float(&both, TENSOR_FLOAT, 0);
    refuse_tensor(both, OXP_EFORMAT, "E-DATA-BOTH", "float_data and raw_data");
    bytes typed = shaped(OXP_INT32, 1, 1, 0, 0);
    put_int(&typed, TENSOR_INT32, 1);
    put_int(&typed, TENSOR_INT64, 1);
    refuse_tensor(typed, OXP_EFORMAT, "E-DATA-BOTH", "int32_data and int64_data");
}

/* ---- types ---- */

Test(tensors, types_exist)
{
    refuse_tensor(shaped(OXP_UNDEFINED, 0, 0, 0, 0), OXP_EFORMAT, "E-DTYPE", "not stated");
    refuse_tensor(shaped(-1, 0, 0, 0, 0), OXP_EFORMAT, "E-DTYPE", "-1");
    refuse_tensor(shaped(29, 0, 0, 0, 0), OXP_EFORMAT, "E-DTYPE", "29");
    refuse_tensor(shaped(27, 0, 0, 0, 0), OXP_EUNSUPPORTED, "E-DTYPE", "6-bit");
    refuse_tensor(shaped(28, 0, 0, 0, 0), OXP_EUNSUPPORTED, "E-DTYPE", "6-bit");
    bytes untyped = {0};
    put_text(&untyped, TENSOR_NAME, "w");
    refuse_tensor(untyped, OXP_EFORMAT, "E-DTYPE", "not stated");
    bytes nameless = tensor("", OXP_FLOAT, 0, NULL);
    refuse_tensor(nameless, OXP_EFORMAT, "E-NAME", "name");
}

Test(tensors, segments_are_not_supported)
{
    bytes t = shaped(OXP_FLOAT, 1, 1, 0, 0), segment = {0};
    put_int(&segment, 1, 0);
    put_message(&t, TENSOR_SEGMENT, segment);
    refuse_tensor(t, OXP_EUNSUPPORTED, "E-SEGMENT", "segments");
}

Test(tensors, values_fit_their_type)
{
    static const struct {
        int dtype;
        int64_t least, most;
    } cases[] = {
        {OXP_INT8, -128, 127},    {OXP_UINT8, 0, 255},        {OXP_INT16, -32768, 32767},
        {OXP_UINT16, 0, 65535},   {OXP_BOOL, 0, 1},           {OXP_FLOAT16, 0, 65535},
        {OXP_BFLOAT16, 0, 65535}, {OXP_FLOAT8E4M3FN, 0, 255}, {OXP_FLOAT8E8M0, 0, 255},
        {OXP_INT4, 0, 255},       {OXP_UINT2, 0, 255},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (int step = 0; step < 4; step++) {
            int64_t value = step == 0   ? cases[i].least - 1
                            : step == 1 ? cases[i].least
                            : step == 2 ? cases[i].most
                                        : cases[i].most + 1;
            bytes t = shaped(cases[i].dtype, 0, 0, 0, 0);
            put_int(&t, TENSOR_INT32, value);
            if (step == 1 || step == 2)
                expect_accepted(model_with_initializer(t));
            else
                refuse_tensor(t, OXP_EFORMAT, "E-DATA-RANGE", "int32_data[0]");
        }
    }
    bytes wide = shaped(OXP_UINT32, 0, 0, 0, 0);
    put_int(&wide, TENSOR_UINT64, INT64_C(1) << 32);
    refuse_tensor(wide, OXP_EFORMAT, "E-DATA-RANGE", "4294967296");
    bytes flag = shaped(OXP_BOOL, 1, 3, 0, 0);
    put_raw(&flag, "\0\1\2", 3);
    refuse_tensor(flag, OXP_EFORMAT, "E-DATA-RANGE", "byte 2 is 2");
}

/* ---- NaN and infinity ---- */

/* x * w with w in an initializer or a Constant node. Takes the tensor, which is named w. */
static bytes model_that_multiplies(const char *type, bool constant, bytes t)
{
    bytes n = {0}, g = graph();
    put_text(&n, NODE_INPUT, "x");
    put_text(&n, NODE_INPUT, "w");
    put_text(&n, NODE_OUTPUT, "z");
    put_text(&n, NODE_TYPE, type);
    if (constant) {
        bytes a = attribute("value", OXP_ATTR_TENSOR), c = node("Constant", NULL, "w");
        put_message(&a, ATTR_T, t);
        put_message(&c, NODE_ATTRIBUTE, a);
        put_message(&g, GRAPH_NODE, c);
    } else
        put_message(&g, GRAPH_INITIALIZER, t);
    put_message(&g, GRAPH_NODE, n);
    return model(g);
}

static bytes three_floats(float last)
{
    float values[] = {1, 2, last};
    bytes t = shaped(OXP_FLOAT, 1, 3, 0, 0);
    put_raw(&t, values, sizeof values);
    return t;
}

Test(tensors, weights_are_finite)
{
    refuse_tensor(three_floats(NAN), OXP_EFORMAT, "E-NONFINITE",
                  "initializer \"w\": NaN at index 2");
    expect_refused(model_that_multiplies("MatMul", false, three_floats(INFINITY)), OXP_EFORMAT,
                   "E-NONFINITE", "infinity at index 2");
    expect_refused(model_that_multiplies("Conv", true, three_floats(-INFINITY)), OXP_EFORMAT,
                   "E-NONFINITE", "attribute \"value\": infinity at index 2");
    expect_refused(model_that_multiplies("LSTM", true, three_floats(NAN)), OXP_EFORMAT,
                   "E-NONFINITE", "NaN at index 2");
    /* Masks hold infinity, fill values NaN. */
    expect_accepted(model_with_initializer(three_floats(-INFINITY)));
    expect_accepted(model_that_multiplies("Add", true, three_floats(NAN)));
    bytes scalar = shaped(OXP_FLOAT, 0, 0, 0, 0);
    put_float(&scalar, TENSOR_FLOAT, NAN);
    expect_accepted(model_with_initializer(scalar));
    expect_accepted(model_that_multiplies("MatMul", false, three_floats(1e-45f)));
    expect_accepted(model_that_multiplies("MatMul", false, three_floats(3.4e38f)));
}

Test(tensors, nonfinite_values_are_kept_on_demand)
{
    loaded l;
    oxp_load_options options = {.keep_nonfinite = true};
    load_in(&l, model_that_multiplies("MatMul", false, three_floats(NAN)), NULL, &options);
    cr_expect_eq(l.ctx.status, OXP_OK, "%s", l.ctx.message);
    unload(&l);
}

Test(tensors, every_float_type_is_looked_at)
{
    static const struct {
        int dtype;
        size_t size;
        uint64_t bits, finite;
    } cases[] = {
        {OXP_FLOAT, 4, 0x7fc00000, 0x7f7fffff},
        {OXP_DOUBLE, 8, UINT64_C(0xfff8000000000000), UINT64_C(0xffefffffffffffff)},
        {OXP_FLOAT16, 2, 0x7e00, 0x7bff},
        {OXP_BFLOAT16, 2, 0xff81, 0xff7f},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (int finite = 0; finite < 2; finite++) {
            uint64_t bits = finite ? cases[i].finite : cases[i].bits;
            bytes raw = shaped(cases[i].dtype, 1, 1, 0, 0);
            put_raw(&raw, &bits, cases[i].size);
            bytes typed = shaped(cases[i].dtype, 1, 1, 0, 0);
            if (cases[i].size == 2)
                put_int(&typed, TENSOR_INT32, (int64_t)bits);
            else {
                put_tag(&typed, cases[i].size == 4 ? TENSOR_FLOAT : TENSOR_DOUBLE,
                        cases[i].size == 4 ? FIXED32 : FIXED64);
                put(&typed, &bits, cases[i].size);
            }
            if (finite) {
                expect_accepted(model_with_initializer(raw));
                expect_accepted(model_with_initializer(typed));
            } else {
                refuse_tensor(raw, OXP_EFORMAT, "E-NONFINITE", "NaN at index 0");
                refuse_tensor(typed, OXP_EFORMAT, "E-NONFINITE", "NaN at index 0");
            }
        }
    }
}

/* ---- decoding ---- */

/* Decodes the only initializer of a model into `out`. Takes the tensor. */
static void decode(loaded *l, oxp_arena *arena, oxp_tensor *out, bytes t)
{
    load_in(l, model_with_initializer(t), NULL, NULL);
    cr_assert_eq(l->ctx.status, OXP_OK, "%s", l->ctx.message);
    oxp_arena_init(arena, &l->ctx);
    const oxp_tensor_proto *proto = oxp_graph_proto_initializer(oxp_model_graph(l->model), 0);
    cr_assert_eq(oxp_tensor_decode(out, arena, l->model, proto), OXP_OK, "%s", l->ctx.message);
}

static void done(loaded *l, oxp_arena *arena)
{
    oxp_arena_free(arena);
    unload(l);
}

Test(tensors, typed_fields_decode)
{
    static const struct {
        int dtype;
        unsigned field;
        int64_t values[2];
        size_t element_bytes;
        uint64_t bits[2];
    } cases[] = {
        {OXP_INT32, TENSOR_INT32, {-5, 7}, 4, {0xfffffffb, 7}},
        {OXP_INT8, TENSOR_INT32, {-5, 7}, 1, {0xfb, 7}},
        {OXP_UINT8, TENSOR_INT32, {255, 7}, 1, {255, 7}},
        {OXP_INT16, TENSOR_INT32, {-2, 300}, 2, {0xfffe, 300}},
        {OXP_UINT16, TENSOR_INT32, {65535, 1}, 2, {65535, 1}},
        {OXP_BOOL, TENSOR_INT32, {1, 0}, 1, {1, 0}},
        {OXP_FLOAT16, TENSOR_INT32, {0xfc00, 0x0001}, 2, {0xfc00, 1}},
        {OXP_BFLOAT16, TENSOR_INT32, {0x3f80, 0xbf80}, 2, {0x3f80, 0xbf80}},
        {OXP_FLOAT8E4M3FN, TENSOR_INT32, {0x7f, 0x80}, 1, {0x7f, 0x80}},
        {OXP_INT64, TENSOR_INT64, {INT64_MIN, 9}, 8, {UINT64_C(1) << 63, 9}},
        {OXP_UINT64, TENSOR_UINT64, {-1, 9}, 8, {UINT64_MAX, 9}},
        {OXP_UINT32, TENSOR_UINT64, {0xffffffff, 9}, 4, {0xffffffff, 9}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        loaded l;
        oxp_arena arena;
        oxp_tensor out;
        bytes t = shaped(cases[i].dtype, 2, 1, 2, 0);
        put_int(&t, cases[i].field, cases[i].values[0]);
        put_int(&t, cases[i].field, cases[i].values[1]);
        decode(&l, &arena, &out, t);
        cr_expect_eq(out.dtype, (oxp_dtype)cases[i].dtype);
        cr_expect_eq(out.rank, 2);
        for (size_t k = 0; k < 2; k++) {
            uint64_t bits = 0;
            memcpy(&bits, (const char *)out.data + k * cases[i].element_bytes,
                   cases[i].element_bytes);
            cr_expect_eq(bits, cases[i].bits[k], "%s [%zu]", oxp_dtype_name(out.dtype), k);
        }
        done(&l, &arena);
    }
}

Test(tensors, small_elements_decode)
{
    loaded l;
    oxp_arena arena;
    oxp_tensor out;
    bytes nibbles = shaped(OXP_INT4, 1, 3, 0, 0);
    put_int(&nibbles, TENSOR_INT32, 0x7f); /* -1, 7 */
    put_int(&nibbles, TENSOR_INT32, 0xf8); /* -8, and padding that is not zero */
    decode(&l, &arena, &out, nibbles);
    cr_expect_eq(oxp_tensor_int(&out, 0), -1);
    cr_expect_eq(oxp_tensor_int(&out, 1), 7);
    cr_expect_eq(oxp_tensor_int(&out, 2), -8);
    done(&l, &arena);
    bytes pairs = shaped(OXP_UINT2, 1, 5, 0, 0);
    put_raw(&pairs, "\xe4\x02", 2); /* 0 1 2 3, 2 */
    decode(&l, &arena, &out, pairs);
    for (size_t i = 0; i < 4; i++)
        cr_expect_eq(oxp_tensor_int(&out, i), (int64_t)i);
    cr_expect_eq(oxp_tensor_int(&out, 4), 2);
    done(&l, &arena);
}

/* Raw data may lie at any address: at each offset the values are the same and the pointer is
 * aligned. */
Test(tensors, raw_data_decodes_at_every_offset)
{
    for (size_t shift = 0; shift < 16; shift++) {
        double values[5] = {0.5, -1, 1e300, -0.0, 4};
        char padding[17] = "................";
        padding[shift] = '\0';
        bytes t = shaped(OXP_DOUBLE, 1, 5, 0, 0);
        put_text(&t, 12, padding);
        put_raw(&t, values, sizeof values);
        loaded l;
        oxp_arena arena;
        oxp_tensor out;
        decode(&l, &arena, &out, t);
        cr_expect_eq((uintptr_t)out.data % sizeof(double), 0);
        cr_expect_eq(memcmp(out.data, values, sizeof values), 0);
        done(&l, &arena);
    }
}

Test(tensors, half_patterns_survive)
{
    uint16_t patterns[65536];
    for (size_t i = 0; i < 65536; i++)
        patterns[i] = (uint16_t)i;
    bytes t = shaped(OXP_FLOAT16, 1, 65536, 0, 0);
    put_raw(&t, patterns, sizeof patterns);
    bytes g = graph();
    put_message(&g, GRAPH_INITIALIZER, t);
    loaded l;
    oxp_arena arena;
    oxp_tensor out;
    oxp_load_options keep = {.keep_nonfinite = true};
    load_in(&l, model(g), NULL, &keep);
    cr_assert_eq(l.ctx.status, OXP_OK);
    oxp_arena_init(&arena, &l.ctx);
    cr_assert_eq(oxp_tensor_decode(&out, &arena, l.model,
                                   oxp_graph_proto_initializer(oxp_model_graph(l.model), 0)),
                 OXP_OK);
    cr_expect_eq(memcmp(out.data, patterns, sizeof patterns), 0);
    done(&l, &arena);
}

Test(tensors, strings_have_a_shape_and_no_data)
{
    loaded l;
    oxp_arena arena;
    oxp_tensor out;
    bytes t = shaped(OXP_STRING, 1, 2, 0, 0);
    put_text(&t, TENSOR_STRING, "a");
    put_blob(&t, TENSOR_STRING, "b\0\xff", 3); /* bytes, not text */
    decode(&l, &arena, &out, t);
    cr_expect_eq(out.count, 2);
    cr_expect_null(out.data);
    done(&l, &arena);
}

Test(tensors, empty_tensors_have_a_pointer)
{
    loaded l;
    oxp_arena arena;
    oxp_tensor out;
    decode(&l, &arena, &out, shaped(OXP_FLOAT, 2, 0, 3, 0));
    cr_expect_eq(out.count, 0);
    cr_expect_not_null(out.data);
    done(&l, &arena);
}

Test(tensors, high_ranks_are_kept_but_not_decoded)
{
    int64_t ones[17];
    for (size_t i = 0; i < 17; i++)
        ones[i] = 1;
    bytes t = tensor("w", OXP_UINT8, 17, ones);
    put_zeros(&t, 1);
    loaded l;
    oxp_arena arena;
    oxp_tensor out;
    load_in(&l, model_with_initializer(t), NULL, NULL);
    cr_assert_eq(l.ctx.status, OXP_OK);
    oxp_arena_init(&arena, &l.ctx);
    cr_expect_eq(oxp_tensor_decode(&out, &arena, l.model,
                                   oxp_graph_proto_initializer(oxp_model_graph(l.model), 0)),
                 OXP_ELIMIT);
    cr_expect_str_eq(l.ctx.code, "E-LIMIT-RANK");
    done(&l, &arena);
}

Test(tensors, bytes_are_swapped_per_element)
{
    uint8_t in[8] = {1, 2, 3, 4, 5, 6, 7, 8}, out[8];
    static const uint8_t by_size[4][8] = {{1, 2, 3, 4, 5, 6, 7, 8},
                                          {2, 1, 4, 3, 6, 5, 8, 7},
                                          {4, 3, 2, 1, 8, 7, 6, 5},
                                          {8, 7, 6, 5, 4, 3, 2, 1}};
    for (size_t i = 0; i < 4; i++) {
        oxp_swap_bytes(out, in, 8 >> i, (size_t)1 << i);
        cr_expect_eq(memcmp(out, by_size[i], 8), 0, "elements of %d bytes", 1 << i);
    }
}

/* ---- attributes ---- */

Test(tensors, attributes_read_as_they_were_written)
{
    bytes n = node("Op", "x", "z"), g = graph();
    bytes text = attribute("text", OXP_ATTR_STRING), nul = attribute("nul", OXP_ATTR_STRING);
    bytes texts = attribute("texts", OXP_ATTR_STRINGS), ints = attribute("ints", OXP_ATTR_INTS);
    put_text(&text, ATTR_S, "NOTSET NOTSET NOTSET NOTSET NOTSET NOTSET NOTSET NOTSET NOTSET!");
    put_blob(&nul, ATTR_S, "a\0b", 3);
    put_text(&texts, ATTR_STRINGS, "forward");
    put_text(&texts, ATTR_STRINGS, "");
    put_text(&texts, ATTR_STRINGS, "reverse");
    put_int(&ints, ATTR_INTS, -3);
    put_int(&ints, ATTR_INTS, 4);
    put_message(&n, NODE_ATTRIBUTE, text);
    put_message(&n, NODE_ATTRIBUTE, nul);
    put_message(&n, NODE_ATTRIBUTE, texts);
    put_message(&n, NODE_ATTRIBUTE, ints);
    put_message(&g, GRAPH_NODE, n);
    loaded l;
    load_in(&l, model(g), NULL, NULL);
    cr_assert_eq(l.ctx.status, OXP_OK, "%s", l.ctx.message);
    oxp_model *clone;
    cr_assert_eq(oxp_model_clone(&clone, l.model), OXP_OK);
    for (int of_clone = 0; of_clone < 2; of_clone++) {
        oxp_attribute a;
        const oxp_node_proto *read =
            oxp_graph_proto_node(oxp_model_graph(of_clone ? clone : l.model), 1);
        oxp_node_proto_attribute(read, 0, &a);
        cr_expect_eq(a.type, OXP_ATTR_STRING);
        cr_expect_eq(strlen(a.s), 63);
        oxp_node_proto_attribute(read, 1, &a);
        cr_expect_eq(a.type, OXP_ATTR_OTHER);
        oxp_node_proto_attribute(read, 2, &a);
        cr_expect_eq(a.type, OXP_ATTR_STRINGS);
        cr_assert_eq(a.count, 3);
        cr_expect_str_eq(a.strings[0], "forward");
        cr_expect_str_eq(a.strings[1], "");
        cr_expect_str_eq(a.strings[2], "reverse");
        oxp_node_proto_attribute(read, 3, &a);
        cr_assert_eq(a.count, 2);
        cr_expect_eq(a.ints[0], -3);
    }
    oxp_model_free(clone);
    unload(&l);
}
