/* edit_build.h - small models in a few lines, for the tests of editing, saving and raising. */
#ifndef TESTS_UNIT_ONNX_EDIT_BUILD_H
#define TESTS_UNIT_ONNX_EDIT_BUILD_H

#include <criterion/criterion.h>

#include <stdio.h>
#include <string.h>

#include "onnx/edit.h"
#include "onnx/model_internal.h"
#include "onnx/save.h"

static oxp_ctx ctx;

__attribute__((unused)) static void expect_ok(oxp_status status)
{
    cr_assert_eq(status, OXP_OK, "%d %s %s", status, ctx.code, ctx.message);
}

__attribute__((unused)) static void expect_error(oxp_status found, oxp_status status,
                                                 const char *code, const char *text)
{
    cr_assert_eq(found, status, "status %d, expected %d: %s %s", found, status, ctx.code,
                 ctx.message);
    cr_assert_str_eq(ctx.code, code, "%s %s", ctx.code, ctx.message);
    cr_assert_not_null(strstr(ctx.message, text), "\"%s\" lacks \"%s\"", ctx.message, text);
    oxp_ctx_clear(&ctx);
}

__attribute__((unused)) static oxp_model *new_model(int64_t opset)
{
    oxp_model *model;
    expect_ok(oxp_model_new(&model, &ctx, opset));
    return model;
}

/* "a,,b" is three names, the second one empty; "" is none. */
typedef struct name_list {
    char text[200];
    const char *names[12];
    size_t count;
} name_list;

__attribute__((unused)) static void split_names(name_list *list, const char *names)
{
    list->count = 0;
    cr_assert_lt(strlen(names), sizeof list->text);
    strcpy(list->text, names);
    for (char *at = list->text; names[0] != '\0'; at++) {
        list->names[list->count++] = at;
        at += strcspn(at, ",");
        if (*at == '\0')
            break;
        *at = '\0';
    }
}

__attribute__((unused)) static oxp_node_proto *add_node(oxp_model *model, oxp_graph_proto *g,
                                                        const char *type, const char *inputs,
                                                        const char *outputs)
{
    name_list in, out;
    split_names(&in, inputs);
    split_names(&out, outputs);
    oxp_new_node node = {type, "", "", in.count, out.count, in.names, out.names};
    oxp_node_proto *made;
    expect_ok(oxp_edit_insert_node(&made, model, g, oxp_graph_proto_node_count(g), &node));
    return made;
}

__attribute__((unused)) static oxp_value_info float_info(const char *name, int rank)
{
    oxp_value_info info = {.name = name, .dtype = OXP_FLOAT, .is_tensor = true, .rank = rank};
    for (int i = 0; i < OXP_MAX_RANK; i++)
        info.dims[i] = 2;
    return info;
}

__attribute__((unused)) static void add_floats(oxp_model *model, oxp_graph_proto *g,
                                               const char *name, int64_t count, const float *data)
{
    expect_ok(oxp_edit_add_initializer(model, g, name, OXP_FLOAT, 1, &count, data));
}

/* A graph attribute, empty at first. */
__attribute__((unused)) static oxp_graph_proto *add_subgraph(oxp_model *model, oxp_node_proto *n,
                                                             const char *name)
{
    Onnx__GraphProto *g = oxp_arena_alloc(&model->arena, 1, sizeof *g);
    onnx__graph_proto__init(g);
    g->name = oxp_model_strdup(model, name);
    expect_ok(oxp_edit_set_int(model, n, name, 0));
    Onnx__AttributeProto *a = oxp_node_find_attribute(n, name);
    a->has_i = 0;
    a->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPH;
    a->g = g;
    return g;
}

/* x -> Relu -> y with the given opset, ready to be loaded. */
__attribute__((unused)) static oxp_model *relu_model(int64_t opset)
{
    oxp_model *model = new_model(opset);
    oxp_graph_proto *g = oxp_model_graph(model);
    oxp_value_info x = float_info("x", 2), y = float_info("y", 2);
    expect_ok(oxp_edit_add_input(model, g, &x));
    expect_ok(oxp_edit_add_output(model, g, &y));
    add_node(model, g, "Relu", "x", "y");
    return model;
}

/* The model as the strict loader sees what would be written. */
__attribute__((unused)) static oxp_model *reload(oxp_model *model)
{
    uint8_t *data;
    size_t bytes;
    oxp_model *loaded;
    expect_ok(oxp_model_pack(&data, &bytes, model));
    cr_assert_eq(bytes, oxp_model_packed_bytes(model));
    expect_ok(oxp_model_load_memory(&loaded, &ctx, data, bytes, NULL, NULL));
    oxp_free(data);
    return loaded;
}

__attribute__((unused)) static void expect_same(const oxp_model *a, const oxp_model *b)
{
    const char *difference;
    char text[OXP_FIELD_TEXT_MAX];
    expect_ok(oxp_message_compare(&difference, text, &ctx, &a->proto->base, &b->proto->base));
    cr_assert_null(difference, "%s", difference);
}

__attribute__((unused)) static void expect_text(const char *found, const char *expected)
{
    cr_assert_not_null(found);
    cr_assert_str_eq(found, expected);
}

/* "Type(a,b)->c,d" */
__attribute__((unused)) static const char *node_text(char out[400], const oxp_node_proto *n)
{
    int used = snprintf(out, 400, "%s(", oxp_node_proto_type(n));
    for (size_t i = 0; i < oxp_node_proto_input_count(n); i++)
        used += snprintf(out + used, 400 - (size_t)used, "%s%s", i > 0 ? "," : "",
                         oxp_node_proto_input(n, i));
    used += snprintf(out + used, 400 - (size_t)used, ")->");
    for (size_t i = 0; i < oxp_node_proto_output_count(n); i++)
        used += snprintf(out + used, 400 - (size_t)used, "%s%s", i > 0 ? "," : "",
                         oxp_node_proto_output(n, i));
    return out;
}

__attribute__((unused)) static void expect_node(const oxp_graph_proto *g, size_t i,
                                                const char *expected)
{
    char text[400];
    cr_assert_lt(i, oxp_graph_proto_node_count(g));
    cr_assert_str_eq(node_text(text, oxp_graph_proto_node(g, i)), expected);
}

__attribute__((unused)) static void start(void)
{
    oxp_ctx_init(&ctx);
}

__attribute__((unused)) static void finish(void)
{
    cr_assert_eq(atomic_load(&ctx.budget->used), 0, "memory is left");
}

#endif
