/* encode.h - builds protobuf bytes for tests, right ones and wrong ones, and small models from
 * them. */
#ifndef OXP_TESTS_UNIT_ONNX_ENCODE_H
#define OXP_TESTS_UNIT_ONNX_ENCODE_H

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "onnx/model.h"

typedef struct bytes {
    uint8_t *data;
    size_t size;
} bytes;

enum { VARINT = 0, FIXED64 = 1, LENGTH = 2, GROUP = 3, GROUP_END = 4, FIXED32 = 5 };

static inline void put(bytes *b, const void *data, size_t size)
{
    if (size == 0)
        return;
    b->data = realloc(b->data, b->size + size);
    cr_assert_not_null(b->data);
    memcpy(b->data + b->size, data, size);
    b->size += size;
}

static inline void put_byte(bytes *b, unsigned byte)
{
    uint8_t value = (uint8_t)byte;
    put(b, &value, 1);
}

static inline void put_varint(bytes *b, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        put_byte(b, (unsigned)(value & 0x7f) | 0x80);
    put_byte(b, (unsigned)value);
}

static inline void put_tag(bytes *b, uint64_t field, unsigned wire_type)
{
    put_varint(b, field << 3 | wire_type);
}

static inline void put_int(bytes *b, unsigned field, int64_t value)
{
    put_tag(b, field, VARINT);
    put_varint(b, (uint64_t)value);
}

static inline void put_blob(bytes *b, unsigned field, const void *data, size_t size)
{
    put_tag(b, field, LENGTH);
    put_varint(b, size);
    put(b, data, size);
}

static inline void put_text(bytes *b, unsigned field, const char *text)
{
    put_blob(b, field, text, strlen(text));
}

static inline void put_float(bytes *b, unsigned field, float value)
{
    put_tag(b, field, FIXED32);
    put(b, &value, sizeof value);
}

/* Takes the child and frees it. */
static inline void put_message(bytes *b, unsigned field, bytes child)
{
    put_blob(b, field, child.data, child.size);
    free(child.data);
}

/* ---- parts of models: field numbers of the schema by name ---- */

enum {
    MODEL_IR = 1,
    MODEL_GRAPH = 7,
    MODEL_OPSET = 8,
    MODEL_METADATA = 14,
    MODEL_TRAINING = 20,
    MODEL_FUNCTION = 25
};
enum {
    GRAPH_NODE = 1,
    GRAPH_NAME = 2,
    GRAPH_INITIALIZER = 5,
    GRAPH_INPUT = 11,
    GRAPH_OUTPUT = 12,
    GRAPH_VALUE_INFO = 13,
    GRAPH_SPARSE = 15
};
enum {
    NODE_INPUT = 1,
    NODE_OUTPUT = 2,
    NODE_NAME = 3,
    NODE_TYPE = 4,
    NODE_ATTRIBUTE = 5,
    NODE_DOMAIN = 7,
    NODE_OVERLOAD = 8
};
enum {
    ATTR_NAME = 1,
    ATTR_F = 2,
    ATTR_I = 3,
    ATTR_S = 4,
    ATTR_T = 5,
    ATTR_G = 6,
    ATTR_FLOATS = 7,
    ATTR_INTS = 8,
    ATTR_STRINGS = 9,
    ATTR_TENSORS = 10,
    ATTR_GRAPHS = 11,
    ATTR_TYPE = 20,
    ATTR_REF = 21,
    ATTR_SPARSE = 22
};
enum {
    TENSOR_DIMS = 1,
    TENSOR_TYPE = 2,
    TENSOR_SEGMENT = 3,
    TENSOR_FLOAT = 4,
    TENSOR_INT32 = 5,
    TENSOR_STRING = 6,
    TENSOR_INT64 = 7,
    TENSOR_NAME = 8,
    TENSOR_RAW = 9,
    TENSOR_DOUBLE = 10,
    TENSOR_UINT64 = 11,
    TENSOR_EXTERNAL = 13,
    TENSOR_LOCATION = 14
};
enum {
    FUNCTION_NAME = 1,
    FUNCTION_NODE = 7,
    FUNCTION_OPSET = 9,
    FUNCTION_DOMAIN = 10,
    FUNCTION_ATTRIBUTE = 11,
    FUNCTION_OVERLOAD = 13
};

static inline bytes opset(const char *domain, int64_t version)
{
    bytes b = {0};
    put_text(&b, 1, domain);
    put_int(&b, 2, version);
    return b;
}

static inline bytes entry(const char *key, const char *value)
{
    bytes b = {0};
    put_text(&b, 1, key);
    put_text(&b, 2, value);
    return b;
}

/* A FLOAT value of unknown shape. */
static inline bytes value_info(const char *name)
{
    bytes tensor = {0}, type = {0}, b = {0};
    put_int(&tensor, 1, OXP_FLOAT);
    put_message(&type, 1, tensor);
    put_text(&b, 1, name);
    put_message(&b, 2, type);
    return b;
}

/* A node with one input and one output; more is appended by the caller. */
static inline bytes node(const char *type, const char *input, const char *output)
{
    bytes b = {0};
    if (input != NULL)
        put_text(&b, NODE_INPUT, input);
    if (output != NULL)
        put_text(&b, NODE_OUTPUT, output);
    put_text(&b, NODE_TYPE, type);
    return b;
}

/* An attribute with its type; the value is appended by the caller. */
static inline bytes attribute(const char *name, int type)
{
    bytes b = {0};
    put_text(&b, ATTR_NAME, name);
    put_int(&b, ATTR_TYPE, type);
    return b;
}

/* Name, type and dims; data is appended by the caller. */
static inline bytes tensor(const char *name, int dtype, size_t rank, const int64_t *dims)
{
    bytes b = {0};
    for (size_t i = 0; i < rank; i++)
        put_int(&b, TENSOR_DIMS, dims[i]);
    put_int(&b, TENSOR_TYPE, dtype);
    put_text(&b, TENSOR_NAME, name);
    return b;
}

/* x -> Relu -> y without anything else; more is appended by the caller. */
static inline bytes graph(void)
{
    bytes b = {0};
    put_message(&b, GRAPH_NODE, node("Relu", "x", "y"));
    put_text(&b, GRAPH_NAME, "g");
    put_message(&b, GRAPH_INPUT, value_info("x"));
    put_message(&b, GRAPH_OUTPUT, value_info("y"));
    return b;
}

static inline bytes model_header(void)
{
    bytes b = {0};
    put_int(&b, MODEL_IR, 8);
    put_message(&b, MODEL_OPSET, opset("", 17));
    return b;
}

/* Takes the graph. */
static inline bytes model(bytes g)
{
    bytes b = model_header();
    put_message(&b, MODEL_GRAPH, g);
    return b;
}

/* A model whose graph has one initializer. Takes the tensor. */
static inline bytes model_with_initializer(bytes t)
{
    bytes g = graph();
    put_message(&g, GRAPH_INITIALIZER, t);
    return model(g);
}

/* ---- loading ---- */

typedef struct loaded {
    oxp_ctx ctx;
    oxp_model *model;
} loaded;

/* Takes the bytes. After a failure nothing may be allocated. */
static inline void load_in(loaded *l, bytes b, const char *directory,
                           const oxp_load_options *options)
{
    oxp_ctx_init(&l->ctx);
    l->model = NULL;
    oxp_status status =
        oxp_model_load_memory(&l->model, &l->ctx, b.data, b.size, directory, options);
    free(b.data);
    cr_assert_eq(status, l->ctx.status);
    if (status != OXP_OK)
        cr_assert_eq(atomic_load(&l->ctx.own_budget.used), 0, "a failed load keeps memory");
}

static inline void unload(loaded *l)
{
    oxp_model_free(l->model);
    cr_assert_eq(atomic_load(&l->ctx.own_budget.used), 0, "a freed model keeps memory");
}

/* Takes the bytes; they must be refused with this code, and the message must hold `part`. */
static inline void expect_refused(bytes b, oxp_status status, const char *code, const char *part)
{
    loaded l;
    load_in(&l, b, NULL, NULL);
    cr_expect(l.ctx.status == status && strcmp(l.ctx.code, code) == 0,
              "expected %d %s (%s), found %d %s: %s", status, code, part, l.ctx.status, l.ctx.code,
              l.ctx.message);
    cr_expect(strstr(l.ctx.message, part) != NULL, "%s: no \"%s\" in: %s", code, part,
              l.ctx.message);
    unload(&l);
}

static inline void expect_accepted(bytes b)
{
    loaded l;
    load_in(&l, b, NULL, NULL);
    cr_expect(l.ctx.status == OXP_OK, "expected a model, found %s: %s", l.ctx.code, l.ctx.message);
    unload(&l);
}

#endif
