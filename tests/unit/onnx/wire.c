/* wire.c - the wire walker: every rule of protobuf that protobuf-c leaves to us. */
#include "unit/onnx/encode.h"

#include <pthread.h>
#include <stdio.h>
#include <time.h>

#include "onnx/model_internal.h"
#include "onnx/wire.h"

#ifdef __SANITIZE_ADDRESS__ /* whose frames are larger */
#define STACK_BYTES ((size_t)1024 * 1024)
#else
#define STACK_BYTES ((size_t)256 * 1024)
#endif

/* A valid model with more bytes behind it. */
static bytes model_and(const void *more, size_t size)
{
    bytes b = model(graph());
    put(&b, more, size);
    return b;
}

Test(wire, an_empty_model_is_refused)
{
    expect_refused((bytes){0}, OXP_EFORMAT, "E-EMPTY", "empty");
}

Test(wire, every_single_byte_is_refused)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        bytes b = {0};
        loaded l;
        put_byte(&b, byte);
        load_in(&l, b, NULL, NULL);
        cr_expect_eq(l.ctx.status, OXP_EFORMAT, "byte %02x: %s %s", byte, l.ctx.code,
                     l.ctx.message);
    }
}

Test(wire, other_formats_are_named)
{
    static const struct {
        const char *data;
        size_t size;
        const char *what;
    } cases[] = {
        {"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", 16, "PNG"},
        {"PK\x03\x04\x14\0\0\0", 8, "ZIP"},
        {"GGUF\x03\0\0\0", 8, "GGUF"},
        {"\x89HDF\r\n\x1a\n", 8, "HDF5"},
        {"\x1f\x8b\x08\0\0\0", 6, "gzip"},
        {"\x93NUMPY\x01\0", 8, "NumPy"},
        {"\x0f\0\0\0\0\0\0\0{\"a\":1}", 15, "safetensors"},
        {"\x1c\0\0\0TFL3", 8, "TensorFlow Lite"},
        {"ir_version: 7\ngraph {\n", 22, "text"},
        {"<!DOCTYPE html>", 15, "text"},
        {"\x80\x04\x95\x10", 4, "pickle"},
        {"version https://git-lfs.github.com/spec/v1\noid", 46, "Git LFS"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bytes b = {0};
        put(&b, cases[i].data, cases[i].size);
        expect_refused(b, OXP_EFORMAT, "E-NOT-ONNX", cases[i].what);
    }
}

Test(wire, a_producer_named_like_a_format_is_no_format)
{
    bytes b = {0};
    put_int(&b, MODEL_IR, 7);
    put_text(&b, 2, "TFL3");
    put_message(&b, MODEL_OPSET, opset("", 17));
    put_message(&b, MODEL_GRAPH, graph());
    expect_accepted(b);
}

Test(wire, every_truncation_is_refused)
{
    bytes whole = model(graph());
    for (size_t size = 1; size < whole.size; size++) {
        bytes b = {0};
        loaded l;
        put(&b, whole.data, size);
        load_in(&l, b, NULL, NULL);
        cr_expect_eq(l.ctx.status, OXP_EFORMAT, "%zu bytes: %d %s", size, l.ctx.status, l.ctx.code);
        cr_expect(strcmp(l.ctx.code, "E-TRUNCATED") == 0 || strcmp(l.ctx.code, "E-NO-GRAPH") == 0,
                  "%zu bytes: %s %s", size, l.ctx.code, l.ctx.message);
    }
    free(whole.data);
}

Test(wire, bad_varints)
{
    expect_refused(model_and("\x28\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 12), OXP_EFORMAT,
                   "E-WIRE", "varint");
    expect_refused(model_and("\x28\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 11), OXP_EFORMAT,
                   "E-WIRE", "64 bits");
    expect_refused(model_and("\x28\xff\xff", 3), OXP_EFORMAT, "E-TRUNCATED", "model_version");
    /* The same inside a message: the file goes on, the message does not. */
    bytes g = graph();
    put(&g, "\x80", 1);
    expect_refused(model(g), OXP_EFORMAT, "E-WIRE", "ModelProto.graph");
}

Test(wire, bad_tags)
{
    expect_refused(model_and("\x00\x01", 2), OXP_EFORMAT, "E-WIRE", "field number 0");
    expect_refused(model_and("\x80\x00\x01", 3), OXP_EFORMAT, "E-WIRE", "field number 0");
    expect_refused(model_and("\x80\x80\x80\x80\x10\x01", 6), OXP_EFORMAT, "E-WIRE", "field number");
    expect_refused(model_and("\x80\x80\x80\x80\x80\x01\x01", 7), OXP_EFORMAT, "E-WIRE", "tag");
    static const unsigned forbidden[] = {3, 4, 6, 7};
    for (size_t i = 0; i < 4; i++) {
        bytes b = model(graph());
        put_tag(&b, 600, forbidden[i]);
        expect_refused(b, OXP_EFORMAT, "E-WIRE", "wire type");
    }
}

Test(wire, the_largest_field_number_is_accepted)
{
    bytes b = model(graph());
    put_tag(&b, (1u << 29) - 1, VARINT);
    put_varint(&b, 1);
    expect_accepted(b);
}

Test(wire, bad_lengths)
{
    static const uint64_t lengths[] = {UINT64_C(1) << 31, UINT32_MAX, UINT64_C(1) << 33};
    for (size_t i = 0; i < 3; i++) {
        bytes b = model(graph());
        put_tag(&b, 6, LENGTH);
        put_varint(&b, lengths[i]);
        expect_refused(b, OXP_EFORMAT, "E-WIRE", "2^31");
    }
    bytes wide = model(graph());
    put_tag(&wide, 6, LENGTH);
    put_varint(&wide, UINT64_C(1) << 63);
    expect_refused(wide, OXP_EFORMAT, "E-WIRE", "more than 5 bytes");
    bytes beyond = model(graph());
    put_tag(&beyond, 6, LENGTH);
    put_varint(&beyond, 100);
    expect_refused(beyond, OXP_EFORMAT, "E-TRUNCATED", "needs 100 bytes");
    bytes g = graph();
    put_tag(&g, GRAPH_NODE, LENGTH);
    put_varint(&g, 50);
    bytes nested = model(g);
    put_text(&nested, 6, "enough bytes follow, but they belong to the model, not to the graph");
    expect_refused(nested, OXP_EFORMAT, "E-WIRE", "its message has 0 left");
}

Test(wire, wire_types_must_match)
{
    bytes graph_as_number = model_header();
    put_int(&graph_as_number, MODEL_GRAPH, 1);
    expect_refused(graph_as_number, OXP_EFORMAT, "E-WIRETYPE", "graph");
    bytes number_as_text = model_header();
    put_text(&number_as_text, 5, "1");
    expect_refused(number_as_text, OXP_EFORMAT, "E-WIRETYPE", "model_version");
    bytes a = attribute("alpha", OXP_ATTR_FLOAT), n = node("Elu", "x", "z"), g = graph();
    put_int(&a, ATTR_F, 1);
    put_message(&n, NODE_ATTRIBUTE, a);
    put_message(&g, GRAPH_NODE, n);
    expect_refused(model(g), OXP_EFORMAT, "E-WIRETYPE", "attribute: f");
    int64_t dims[] = {1};
    bytes t = tensor("w", OXP_FLOAT, 1, dims);
    put_float(&t, TENSOR_RAW, 1); /* bytes are never packed */
    expect_refused(model_with_initializer(t), OXP_EFORMAT, "E-WIRETYPE", "raw_data");
}

Test(wire, numbers_of_32_bits)
{
    bytes t = {0};
    put_int(&t, TENSOR_TYPE, (INT64_C(1) << 32) + OXP_FLOAT);
    expect_refused(model_with_initializer(t), OXP_EFORMAT, "E-RANGE", "data_type");
    bytes negative = tensor("w", INT32_MIN, 0, NULL);
    expect_refused(model_with_initializer(negative), OXP_EFORMAT, "E-DTYPE", "-2147483648");
    bytes packed = {0}, holder = {0};
    put_varint(&packed, UINT64_C(1) << 35);
    put_blob(&holder, TENSOR_INT32, packed.data, packed.size);
    free(packed.data);
    expect_refused(model_with_initializer(holder), OXP_EFORMAT, "E-RANGE", "int32_data");
}

Test(wire, enums_must_have_the_value)
{
    bytes t = {0};
    put_int(&t, TENSOR_LOCATION, 2);
    expect_refused(model_with_initializer(t), OXP_EFORMAT, "E-ENUM", "data_location");
    bytes n = node("Elu", "x", "z"), g = graph();
    put_message(&n, NODE_ATTRIBUTE, attribute("alpha", 99));
    put_message(&g, GRAPH_NODE, n);
    expect_refused(model(g), OXP_EFORMAT, "E-ENUM", "99");
}

Test(wire, packed_fields)
{
    static const struct {
        unsigned field;
        size_t size;
        const char *data;
    } bad[] = {
        {TENSOR_FLOAT, 5, "12345"},
        {TENSOR_DOUBLE, 12, "123456789012"},
        {TENSOR_INT64, 3, "\x01\x02\x83"},
        {TENSOR_INT64, 11, "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"},
        {TENSOR_INT32, 1, "\xff"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        bytes t = {0};
        put_blob(&t, bad[i].field, bad[i].data, bad[i].size);
        expect_refused(model_with_initializer(t), OXP_EFORMAT, "E-WIRE", "initializer");
    }
}

Test(wire, packed_and_unpacked_elements_mix)
{
    float values[2] = {1, 2};
    int64_t dims[] = {3};
    bytes t = tensor("w", OXP_FLOAT, 1, dims);
    put_blob(&t, TENSOR_FLOAT, values, sizeof values);
    put_blob(&t, TENSOR_FLOAT, values, 0);
    put_float(&t, TENSOR_FLOAT, 3);
    loaded l;
    load_in(&l, model_with_initializer(t), NULL, NULL);
    cr_assert_eq(l.ctx.status, OXP_OK, "%s", l.ctx.message);
    oxp_arena arena;
    oxp_tensor w;
    oxp_arena_init(&arena, &l.ctx);
    cr_assert_eq(oxp_tensor_decode(&w, &arena, l.model,
                                   oxp_graph_proto_initializer(oxp_model_graph(l.model), 0)),
                 OXP_OK);
    for (size_t i = 0; i < 3; i++)
        cr_expect_eq(oxp_tensor_real(&w, i), (double)i + 1);
    oxp_arena_free(&arena);
    unload(&l);
}

Test(wire, unknown_fields_are_kept)
{
    bytes g = graph();
    put_text(&g, 599, "of the graph");
    bytes b = model_header();
    put_tag(&b, 500, VARINT);
    put_varint(&b, 7);
    put_tag(&b, 501, FIXED32);
    put(&b, "abcd", 4);
    put_tag(&b, 502, FIXED64);
    put(&b, "abcdefgh", 8);
    put_text(&b, 503, "anything \xff");
    put_message(&b, MODEL_GRAPH, g);
    put_text(&b, 6, "doc");
    loaded l;
    load_in(&l, b, NULL, NULL);
    cr_assert_eq(l.ctx.status, OXP_OK, "%s", l.ctx.message);
    const Onnx__ModelProto *m = l.model->proto;
    cr_expect_eq(m->base.n_unknown_fields, 4);
    cr_expect_eq(m->graph->base.n_unknown_fields, 1);
    unload(&l);
}

Test(wire, many_unknown_fields_are_too_many)
{
    bytes b = model(graph()), more = {.size = 8000000};
    more.data = malloc(more.size);
    for (size_t i = 0; i < more.size; i += 2)
        memcpy(more.data + i, "\x78\x01", 2); /* field 15 */
    put(&b, more.data, more.size);
    free(more.data);
    expect_refused(b, OXP_ELIMIT, "E-LIMIT-FIELDS", "unknown");
}

Test(wire, singular_fields_stand_once)
{
    bytes graphs = model(graph());
    put_message(&graphs, MODEL_GRAPH, graph());
    expect_refused(graphs, OXP_EFORMAT, "E-DUP-FIELD", "graph");
    bytes versions = model(graph());
    put_int(&versions, MODEL_IR, 8);
    expect_refused(versions, OXP_EFORMAT, "E-DUP-FIELD", "ir_version");
    bytes names = graph();
    put_text(&names, GRAPH_NAME, "again");
    expect_refused(model(names), OXP_EFORMAT, "E-DUP-FIELD", "name");
    int64_t dims[] = {1};
    bytes t = tensor("w", OXP_UINT8, 1, dims);
    put_blob(&t, TENSOR_RAW, "a", 1);
    put_blob(&t, TENSOR_RAW, "b", 1);
    expect_refused(model_with_initializer(t), OXP_EFORMAT, "E-DUP-FIELD", "raw_data");
}

Test(wire, one_member_of_a_oneof)
{
    bytes dim = {0}, shape = {0}, tensor_type = {0}, type = {0}, info = {0}, g = graph();
    put_int(&dim, 1, 3);
    put_text(&dim, 2, "N");
    put_message(&shape, 1, dim);
    put_message(&tensor_type, 2, shape);
    put_message(&type, 1, tensor_type);
    put_text(&info, 1, "x2");
    put_message(&info, 2, type);
    put_message(&g, GRAPH_INPUT, info);
    expect_refused(model(g), OXP_EFORMAT, "E-DUP-FIELD", "dim_value and dim_param");
}

Test(wire, strings_are_clean)
{
    static const struct {
        const char *text;
        size_t size;
        const char *code;
    } bad[] = {
        {"ab\0cd", 5, "E-STR-NUL"},
        {"\0", 1, "E-STR-NUL"},
        {"\xff", 1, "E-STR-UTF8"},
        {"a\xc3", 2, "E-STR-UTF8"},
        {"\xc0\x80", 2, "E-STR-UTF8"},
        {"\xe0\x80\xaf", 3, "E-STR-UTF8"},
        {"\xed\xa0\x80", 3, "E-STR-UTF8"},
        {"\xf4\x90\x80\x80", 4, "E-STR-UTF8"},
        {"\xf8\x88\x80\x80\x80", 5, "E-STR-UTF8"},
        {"\x80", 1, "E-STR-UTF8"},
        {"\xf0\x80\x80\x80", 4, "E-STR-UTF8"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        bytes b = model(graph());
        put_blob(&b, 2, bad[i].text, bad[i].size);
        expect_refused(b, OXP_EFORMAT, bad[i].code, "producer_name");
    }
    bytes good = model(graph());
    put_text(&good, 2, "\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80 \xef\xbf\xbf \x1b");
    expect_accepted(good);
}

/* Model > graph > node > attribute > graph ...: `messages` in one another, from the inside out. */
static bytes nested(size_t messages)
{
    static const unsigned fields[] = {MODEL_GRAPH, GRAPH_NODE, NODE_ATTRIBUTE, ATTR_G};
    bytes inner = {0};
    for (size_t depth = messages - 1; depth > 0; depth--) {
        bytes outer = {0};
        unsigned field = depth == 1 ? fields[0] : fields[1 + (depth - 2) % 3];
        if (depth == 1) {
            put_int(&outer, MODEL_IR, 8);
            put_message(&outer, MODEL_OPSET, opset("", 17));
        } else if (depth % 3 == 2) {
            put_text(&outer, GRAPH_NAME, "g");
            if (depth == 2)
                put_message(&outer, GRAPH_OUTPUT, value_info("y"));
        } else if (depth % 3 == 0) {
            put_text(&outer, NODE_TYPE, "If");
            put_text(&outer, NODE_OUTPUT, "y");
        } else {
            put_text(&outer, ATTR_NAME, "then_branch");
            put_int(&outer, ATTR_TYPE, OXP_ATTR_GRAPH);
        }
        put_message(&outer, field, inner);
        inner = outer;
    }
    return inner;
}

Test(wire, nesting_has_a_limit)
{
    expect_accepted(nested(98)); /* ends in a graph */
    bytes at_limit = nested(100);
    oxp_ctx ctx;
    oxp_wire wire;
    oxp_ctx_init(&ctx);
    cr_expect_eq(oxp_wire_walk(&wire, &ctx, &onnx__model_proto__descriptor, at_limit.data,
                               at_limit.size, OXP_EFORMAT),
                 OXP_OK, "%s", ctx.message);
    free(at_limit.data);
    expect_refused(nested(101), OXP_ELIMIT, "E-LIMIT-DEPTH", "100 messages");
    expect_refused(nested(1000), OXP_ELIMIT, "E-LIMIT-DEPTH", "100 messages");
}

static void *load_nested(void *unused)
{
    (void)unused;
    expect_accepted(nested(98));
    expect_refused(nested(3000), OXP_ELIMIT, "E-LIMIT-DEPTH", "100 messages");
    return NULL;
}

Test(wire, a_small_stack_is_enough)
{
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    cr_assert_eq(pthread_attr_setstacksize(&attributes, STACK_BYTES), 0);
    cr_assert_eq(pthread_create(&thread, &attributes, load_nested, NULL), 0);
    pthread_join(thread, NULL);
    pthread_attr_destroy(&attributes);
}

/* 3,000 levels would end a recursive parser's stack; the million is made by hand, from the outside
 * in. */
Test(wire, deep_nesting_is_refused_at_once)
{
    expect_refused(nested(3000), OXP_ELIMIT, "E-LIMIT-DEPTH", "100 messages");
    bytes b = model_header();
    b.data = realloc(b.data, b.size + 6000000);
    static const unsigned fields[] = {GRAPH_NODE, NODE_ATTRIBUTE, ATTR_G};
    for (size_t i = 0; i < 1000000; i++) {
        size_t left = (1000000 - i - 1) * 5;
        b.data[b.size++] = (uint8_t)((i == 0 ? MODEL_GRAPH : fields[(i - 1) % 3]) << 3 | LENGTH);
        for (size_t k = 0; k < 4; k++)
            b.data[b.size++] = (uint8_t)(left >> (7 * k) & 0x7f) | (k < 3 ? 0x80 : 0);
    }
    expect_refused(b, OXP_ELIMIT, "E-LIMIT-DEPTH", "100 messages");
}

Test(wire, types_nest_to_the_same_limit)
{
    static const unsigned fields[][2] = {{4, 1}, {9, 1}, {5, 2}}; /* sequence, optional, map */
    for (size_t kind = 0; kind < 3; kind++) {
        bytes type = {0};
        for (size_t i = 0; i < 500; i++) {
            bytes holder = {0}, outer = {0};
            put_message(&holder, fields[kind][1], type);
            put_message(&outer, fields[kind][0], holder);
            type = outer;
        }
        bytes info = {0}, g = graph();
        put_text(&info, 1, "v");
        put_message(&info, 2, type);
        put_message(&g, GRAPH_VALUE_INFO, info);
        expect_refused(model(g), OXP_ELIMIT, "E-LIMIT-DEPTH", "100 messages");
    }
}

static bytes filled(unsigned field, size_t count)
{
    bytes b = {.size = 2 * count};
    b.data = malloc(b.size);
    for (size_t i = 0; i < count; i++) {
        b.data[2 * i] = (uint8_t)(field << 3 | LENGTH);
        b.data[2 * i + 1] = 0;
    }
    return b;
}

Test(wire, small_messages_do_not_multiply_memory)
{
    size_t count = 1 << 20;
    expect_refused(model(filled(GRAPH_NODE, count)), OXP_ELIMIT, "E-LIMIT-ALLOC", "unpacking");
    expect_refused(model(filled(GRAPH_INITIALIZER, count)), OXP_ELIMIT, "E-LIMIT-ALLOC",
                   "unpacking");
    bytes g = graph();
    put_message(&g, GRAPH_NODE, filled(NODE_ATTRIBUTE, count));
    expect_refused(model(g), OXP_ELIMIT, "E-LIMIT-ALLOC", "unpacking");
}

Test(wire, a_small_budget_is_kept)
{
    bytes b = model(filled(GRAPH_NODE, 100000));
    oxp_ctx ctx;
    oxp_model *m = NULL;
    oxp_ctx_init(&ctx);
    ctx.own_budget.limit = 1 << 20;
    cr_expect_eq(oxp_model_load_memory(&m, &ctx, b.data, b.size, NULL, NULL), OXP_ELIMIT);
    cr_expect_str_eq(ctx.code, "E-LIMIT-MEM");
    cr_expect_eq(atomic_load(&ctx.own_budget.used), 0);
    cr_expect(atomic_load(&ctx.own_budget.peak) <= 1 << 20);
    free(b.data);
}

Test(wire, names_have_a_limit_and_documentation_has_none)
{
    char *text = malloc(1 << 20);
    memset(text, 'n', (1 << 20) - 1);
    text[(1 << 20) - 1] = '\0';
    bytes n = node("Relu", "x", "z"), g = graph();
    put_text(&n, NODE_NAME, text);
    put_message(&g, GRAPH_NODE, n);
    expect_refused(model(g), OXP_ELIMIT, "E-LIMIT-NAME", "name");
    bytes documented = model(graph());
    put_text(&documented, 6, text);
    put_message(&documented, MODEL_METADATA, entry("key", text));
    expect_accepted(documented);
    free(text);
}

Test(wire, varints_need_not_be_minimal)
{
    bytes b = {0};
    put(&b, "\x88\x00\x88\x80\x00", 5); /* ir_version = 8 */
    put_message(&b, MODEL_OPSET, opset("", 17));
    bytes g = graph();
    put(&b, "\xba\x80\x00", 3);
    put_byte(&b, (unsigned)(g.size & 0x7f) | 0x80);
    put_byte(&b, (unsigned)(g.size >> 7) | 0x80);
    put_byte(&b, 0);
    put(&b, g.data, g.size);
    free(g.data);
    expect_accepted(b);
}

/* ---- skeleton ---- */

/* A varint of exactly `width` bytes. */
static void put_padded(bytes *b, uint64_t value, size_t width)
{
    for (size_t i = 0; i < width; i++, value >>= 7)
        put_byte(b, (unsigned)(value & 0x7f) | (i + 1 < width ? 0x80 : 0));
}

/* Payloads around the length of a stub, at every depth, behind lengths of every width: the bytes
 * must come back. */
Test(wire, payloads_stay_where_they_are)
{
    static const size_t sizes[] = {0, 1, 23, 24, 25, 127, 128, 16383, 16384, 100000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (size_t width = 3; width <= 5; width++) {
            uint8_t *payload = malloc(sizes[i] + 1);
            for (size_t k = 0; k < sizes[i]; k++)
                payload[k] = (uint8_t)(k * 7 + i);
            int64_t dims[] = {(int64_t)sizes[i]};
            bytes t = tensor("w", OXP_UINT8, 1, dims), g = graph();
            put_tag(&t, TENSOR_RAW, LENGTH);
            put_padded(&t, sizes[i], width);
            put(&t, payload, sizes[i]);
            put_text(&t, 12, "behind the payload");
            put_tag(&g, GRAPH_INITIALIZER, LENGTH);
            put_padded(&g, t.size, width);
            put(&g, t.data, t.size);
            put_text(&g, 10, "behind the tensor");
            free(t.data);
            loaded l;
            load_in(&l, model(g), NULL, NULL);
            cr_assert_eq(l.ctx.status, OXP_OK, "%s", l.ctx.message);
            oxp_arena arena;
            oxp_tensor w;
            oxp_arena_init(&arena, &l.ctx);
            const oxp_tensor_proto *proto =
                oxp_graph_proto_initializer(oxp_model_graph(l.model), 0);
            cr_assert_eq(oxp_tensor_decode(&w, &arena, l.model, proto), OXP_OK);
            cr_expect_eq(w.count, sizes[i]);
            cr_expect_eq(memcmp(w.data, payload, sizes[i]), 0);
            cr_expect_str_eq(proto->doc_string, "behind the payload");
            cr_expect_str_eq(oxp_model_graph(l.model)->doc_string, "behind the tensor");
            oxp_arena_free(&arena);
            unload(&l);
            free(payload);
        }
    }
}

Test(wire, large_payloads_are_not_copied)
{
    size_t size = 8 << 20;
    int64_t dims[] = {(int64_t)size};
    uint8_t *payload = calloc(size, 1);
    bytes t = tensor("w", OXP_UINT8, 1, dims);
    put_blob(&t, TENSOR_RAW, payload, size);
    free(payload);
    loaded l;
    load_in(&l, model_with_initializer(t), NULL, NULL);
    cr_assert_eq(l.ctx.status, OXP_OK);
    cr_expect(atomic_load(&l.ctx.own_budget.peak) < size + (1 << 20));
    unload(&l);
}

/* A million nodes in one chain are within the limits and take no more than linear time. */
Test(wire, a_million_nodes)
{
    size_t count = 1000000;
    bytes g = {.data = malloc(40 * count)};
    for (size_t i = 0; i < count; i++) {
        char text[48];
        int size = snprintf(text, sizeof text, "\x0a\x1a\x0a\x08v%07zu\x12\x08v%07zu\x22\x04Relu",
                            i, i + 1);
        memcpy(g.data + g.size, text, (size_t)size);
        g.size += (size_t)size;
    }
    put_text(&g, GRAPH_NAME, "g");
    put_message(&g, GRAPH_OUTPUT, value_info("v1000000"));
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    expect_accepted(model(g));
    clock_gettime(CLOCK_MONOTONIC, &end);
    cr_expect(end.tv_sec - begin.tv_sec < 8);
}
