/* small_models.h - models of a few nodes, prepared and compared, for the tests of src/prepare/. */
#ifndef OXP_TESTS_UNIT_PREPARE_SMALL_MODELS_H
#define OXP_TESTS_UNIT_PREPARE_SMALL_MODELS_H

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "interpreter/interpreter.h"
#include "onnx/edit.h"
#include "onnx/save.h"
#include "prepare/prepare.h"
#include "util/half.h"
#include "util/map.h"
#include "util/random.h"

static oxp_ctx ctx;
static oxp_model *model;    /* the given one */
static oxp_graph_proto *g;  /* its main graph, or the graph that is being built */
static oxp_model *prepared; /* what came out */
static oxp_prepare_result result;

static inline void small_setup(void)
{
    oxp_ctx_init(&ctx);
}

static inline void small_teardown(void)
{
    oxp_prepare_release(&result);
    oxp_model_free(prepared);
    oxp_model_free(model);
    cr_expect_eq(atomic_load(&ctx.own_budget.used), 0, "a block was not given back");
}

#define SMALL_SUITE(name) TestSuite(name, .init = small_setup, .fini = small_teardown)

static inline void ok(oxp_status status)
{
    cr_assert_eq(status, OXP_OK, "%d %s %s", status, ctx.code, ctx.message);
}

/* ---- building ---- */

static inline void start(int64_t opset)
{
    ok(oxp_model_new(&model, &ctx, opset));
    g = oxp_model_graph(model);
}

#define DIMS(...)                                                          \
    (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]) \
    {                                                                      \
        __VA_ARGS__                                                        \
    }

static inline oxp_value_info info_of(const char *name, oxp_dtype dtype, int rank,
                                     const int64_t *dims)
{
    oxp_value_info info = {.name = name, .dtype = dtype, .is_tensor = true, .rank = rank};
    for (int i = 0; i < rank; i++)
        info.dims[i] = dims[i];
    return info;
}

/* -1 is a symbolic dimension. */
static inline void input(const char *name, int rank, const int64_t *dims)
{
    oxp_value_info info = info_of(name, OXP_FLOAT, rank, dims);
    for (int i = 0; i < rank; i++)
        info.params[i] = dims[i] < 0 ? (i == 0 ? "N" : "S") : NULL;
    ok(oxp_edit_add_input(model, g, &info));
}

static inline void output(const char *name)
{
    oxp_value_info info = info_of(name, OXP_FLOAT, -1, NULL);
    ok(oxp_edit_add_output(model, g, &info));
}

static inline void constant(const char *name, oxp_dtype dtype, int rank, const int64_t *dims,
                            const void *data)
{
    ok(oxp_edit_add_initializer(model, g, name, dtype, rank, dims, data));
}

static inline void number(const char *name, float value)
{
    constant(name, OXP_FLOAT, 0, NULL, &value);
}

static inline void integers(const char *name, int count, const int64_t *values)
{
    constant(name, OXP_INT64, 1, (int64_t[]){count}, values);
}

/* Floats in [low, high), the same for the same name. */
static inline void weights_between(const char *name, double low, double high, int rank,
                                   const int64_t *dims)
{
    size_t count = 1;
    for (int i = 0; i < rank; i++)
        count *= (size_t)dims[i];
    float *data = calloc(count + 1, sizeof *data);
    oxp_random random = oxp_random_make(7, oxp_hash(name, strlen(name)), 0);
    for (size_t i = 0; i < count; i++)
        data[i] = (float)(low + (high - low) * oxp_random_uniform(&random));
    constant(name, OXP_FLOAT, rank, dims, data);
    free(data);
}

static inline void weights(const char *name, int rank, const int64_t *dims)
{
    weights_between(name, -1, 1, rank, dims);
}

/* "a b": two names. An input "_" is omitted. */
static inline size_t split(const char *names[8], char *text)
{
    size_t count = 0;
    for (char *at = text; *at != '\0';) {
        char *end = at + strcspn(at, " ");
        bool last = *end == '\0';
        *end = '\0';
        names[count++] = strcmp(at, "_") == 0 ? "" : at;
        at = last ? end : end + 1;
    }
    return count;
}

static inline oxp_node_proto *node(const char *type, const char *inputs, const char *outputs)
{
    char in[256], out[256];
    const char *in_names[8], *out_names[8];
    strncpy(in, inputs, sizeof in - 1);
    strncpy(out, outputs, sizeof out - 1);
    in[sizeof in - 1] = out[sizeof out - 1] = '\0';
    oxp_new_node n = {
        .type = type, .domain = "", .name = out, .inputs = in_names, .outputs = out_names};
    n.input_count = split(in_names, in);
    n.output_count = split(out_names, out);
    n.name = out_names[0];
    oxp_node_proto *made;
    ok(oxp_edit_insert_node(&made, model, g, oxp_graph_proto_node_count(g), &n));
    return made;
}

static inline void ints(oxp_node_proto *n, const char *attribute, int count, const int64_t *values)
{
    ok(oxp_edit_set_ints(model, n, attribute, (size_t)count, values));
}

/* The inputs of a BatchNormalization over `channels`: NAME_s, NAME_b, NAME_m, NAME_v. */
static inline oxp_node_proto *normalization(const char *x, const char *name, int64_t channels)
{
    char names[5][64], all[400];
    const char *const suffix[5] = {"s", "b", "m", "v", ""};
    for (int i = 0; i < 4; i++) {
        snprintf(names[i], sizeof names[i], "%.40s_%s", name, suffix[i]);
        weights_between(names[i],
                        i == 3   ? 0.2
                        : i == 0 ? 0.5
                                 : -1,
                        i == 3   ? 3
                        : i == 0 ? 2
                                 : 1,
                        DIMS(channels));
    }
    snprintf(all, sizeof all, "%s %s %s %s %s", x, names[0], names[1], names[2], names[3]);
    return node("BatchNormalization", all, name);
}

/* ---- an If at the end of the model, from bodies that are models of their own ---- */

typedef struct wire {
    uint8_t *data;
    size_t size;
} wire;

static inline void wire_put(wire *w, const void *data, size_t size)
{
    w->data = realloc(w->data, w->size + size + 1);
    if (size)
        memcpy(w->data + w->size, data, size);
    w->size += size;
}

static inline void wire_varint(wire *w, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        wire_put(w, &(uint8_t){(uint8_t)(value | 0x80)}, 1);
    wire_put(w, &(uint8_t){(uint8_t)value}, 1);
}

static inline void wire_blob(wire *w, unsigned field, const void *data, size_t size)
{
    wire_varint(w, field << 3 | 2);
    wire_varint(w, size);
    wire_put(w, data, size);
}

static inline void wire_text(wire *w, unsigned field, const char *text)
{
    wire_blob(w, field, text, strlen(text));
}

static inline uint64_t wire_read(const uint8_t *data, size_t *at)
{
    uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
        value |= (uint64_t)(data[*at] & 0x7f) << shift;
        if (!(data[(*at)++] & 0x80))
            return value;
    }
}

/* The GraphProto (field 7) of a model. */
static inline wire graph_bytes(oxp_model *m)
{
    uint8_t *packed;
    size_t size;
    wire graph = {0};
    ok(oxp_model_pack(&packed, &size, m));
    for (size_t at = 0; at < size;) {
        uint64_t tag = wire_read(packed, &at), length = wire_read(packed, &at);
        if ((tag & 7) == 0)
            continue; /* a number: what was read as a length was its value */
        if (tag >> 3 == 7)
            wire_put(&graph, packed + at, (size_t)length);
        at += (size_t)length;
    }
    oxp_free(packed);
    return graph;
}

static inline void wire_body(wire *n, const char *attribute, oxp_model *body)
{
    wire graph = graph_bytes(body), a = {0};
    wire_text(&a, 1, attribute);
    wire_blob(&a, 6, graph.data, graph.size);
    wire_varint(&a, 20 << 3);
    wire_varint(&a, OXP_ATTR_GRAPH);
    wire_blob(n, 5, a.data, a.size);
    free(graph.data);
    free(a.data);
}

/* `model` with an If as its last node replaces `model`; the bodies are freed. */
static inline void append_if(const char *condition, const char *out, oxp_model *then_body,
                             oxp_model *else_body)
{
    wire n = {0}, graph = graph_bytes(model), all = {0}, import = {0};
    wire_text(&n, 1, condition);
    wire_text(&n, 2, out);
    wire_text(&n, 3, out);
    wire_text(&n, 4, "If");
    wire_body(&n, "then_branch", then_body);
    wire_body(&n, "else_branch", else_body);
    wire_blob(&graph, 1, n.data, n.size);
    wire_varint(&import, 2 << 3);
    wire_varint(&import, (uint64_t)oxp_model_opset(model, ""));
    wire_varint(&all, 1 << 3);
    wire_varint(&all, 8);
    wire_blob(&all, 7, graph.data, graph.size);
    wire_blob(&all, 8, import.data, import.size);
    oxp_model_free(then_body);
    oxp_model_free(else_body);
    oxp_model_free(model);
    ok(oxp_model_load_memory(&model, &ctx, all.data, all.size, NULL, &(oxp_load_options){0}));
    g = oxp_model_graph(model);
    free(n.data);
    free(graph.data);
    free(import.data);
    free(all.data);
}

/* ---- preparing ---- */

static const oxp_prepare_options everything = {.fold_constants = true,
                                               .fold_batch_normalization = true,
                                               .recognise_activations = true,
                                               .fold_scalars = true};

static inline void prepare_with(oxp_prepare_options options)
{
    ok(oxp_prepare(&prepared, &result, model, &options));
}

static inline void prepare_all(void)
{
    prepare_with(everything);
    cr_assert(result.checked, "%s", result.why_unchecked);
}

/* ---- looking ---- */

/* Calls for every graph of a model. Bodies hang on attributes of nodes. */
static inline size_t list_graphs(oxp_graph_proto *graphs[16], oxp_model *m)
{
    size_t count = 1;
    graphs[0] = oxp_model_graph(m);
    for (size_t i = 0; i < count; i++)
        for (size_t n = 0; n < oxp_graph_proto_node_count(graphs[i]); n++) {
            const oxp_node_proto *proto = oxp_graph_proto_node(graphs[i], n);
            for (size_t a = 0; a < oxp_node_proto_attribute_count(proto); a++) {
                oxp_attribute attribute;
                oxp_node_proto_attribute(proto, a, &attribute);
                if (attribute.type == OXP_ATTR_GRAPH && count < 16)
                    graphs[count++] = attribute.g;
            }
        }
    return count;
}

static inline size_t count_type(oxp_model *m, const char *type)
{
    oxp_graph_proto *graphs[16];
    size_t graph_count = list_graphs(graphs, m), found = 0;
    for (size_t i = 0; i < graph_count; i++)
        for (size_t n = 0; n < oxp_graph_proto_node_count(graphs[i]); n++)
            found +=
                !type || strcmp(oxp_node_proto_type(oxp_graph_proto_node(graphs[i], n)), type) == 0;
    return found;
}

static inline size_t count_nodes(oxp_model *m)
{
    return count_type(m, NULL);
}

static inline oxp_node_proto *node_making(oxp_model *m, const char *name)
{
    oxp_graph_proto *graph = oxp_model_graph(m);
    for (size_t n = 0; n < oxp_graph_proto_node_count(graph); n++) {
        oxp_node_proto *proto = oxp_graph_proto_node(graph, n);
        for (size_t i = 0; i < oxp_node_proto_output_count(proto); i++)
            if (strcmp(oxp_node_proto_output(proto, i), name) == 0)
                return proto;
    }
    return NULL;
}

/* The initializer of that name in any graph, decoded into `arena`. */
static inline bool find_constant(oxp_tensor *out, oxp_arena *arena, oxp_model *m, const char *name)
{
    oxp_graph_proto *graphs[16];
    size_t graph_count = list_graphs(graphs, m);
    for (size_t i = 0; i < graph_count; i++)
        for (size_t k = 0; k < oxp_graph_proto_initializer_count(graphs[i]); k++) {
            oxp_tensor_proto *t = oxp_graph_proto_initializer(graphs[i], k);
            if (strcmp(oxp_tensor_proto_name(t), name) == 0) {
                ok(oxp_tensor_decode(out, arena, m, t));
                return true;
            }
        }
    return false;
}

static inline bool has_constant(oxp_model *m, const char *name)
{
    oxp_arena arena;
    oxp_arena_init(&arena, &ctx);
    oxp_tensor t;
    bool found = find_constant(&t, &arena, m, name);
    oxp_arena_free(&arena);
    return found;
}

static inline bool is_listed(const char *name)
{
    for (size_t i = 0; i < result.tensor_count; i++)
        if (strcmp(result.tensors[i], name) == 0)
            return true;
    return false;
}

static inline size_t entries_of(oxp_prepare_kind kind)
{
    size_t found = 0;
    for (size_t i = 0; i < result.entry_count; i++)
        found += result.entries[i].kind == kind;
    return found;
}

static inline const char *text_about(const char *value)
{
    for (size_t i = 0; i < result.entry_count; i++)
        if (strcmp(result.entries[i].value, value) == 0)
            return result.entries[i].text;
    return "";
}

/* What the report promises: a constant of the prepared model that is not listed is the given
 * one, bit for bit. */
static inline void expect_the_rest_identical(void)
{
    oxp_arena arena;
    oxp_arena_init(&arena, &ctx);
    oxp_graph_proto *graphs[16];
    size_t graph_count = list_graphs(graphs, prepared);
    for (size_t i = 0; i < graph_count; i++)
        for (size_t k = 0; k < oxp_graph_proto_initializer_count(graphs[i]); k++) {
            oxp_tensor_proto *t = oxp_graph_proto_initializer(graphs[i], k);
            const char *name = oxp_tensor_proto_name(t);
            oxp_tensor before, after;
            if (is_listed(name))
                continue;
            cr_assert(find_constant(&before, &arena, model, name), "%s is new and not listed",
                      name);
            ok(oxp_tensor_decode(&after, &arena, prepared, t));
            cr_assert_eq(before.dtype, after.dtype);
            cr_assert_eq(oxp_tensor_bytes(&before), oxp_tensor_bytes(&after), "%s", name);
            cr_assert(memcmp(before.data, after.data, oxp_tensor_bytes(&before)) == 0, "%s differs",
                      name);
        }
    oxp_arena_free(&arena);
}

/* ---- running both, apart from what preparation itself ran ---- */

static inline void run_model(oxp_model *m, const oxp_tensor *const *inputs, oxp_tensor *outputs,
                             oxp_arena *arena)
{
    oxp_graph *graph;
    oxp_session *session;
    ok(oxp_graph_build(&graph, arena, m));
    ok(oxp_session_create(&session, &ctx, graph, NULL));
    ok(oxp_session_run(session, inputs, outputs));
    oxp_session_free(session);
}

/* The fed inputs of the main graph, with N = 2 and S = 6, drawn at random. */
static inline size_t draw_inputs(oxp_tensor *tensors, oxp_arena *arena)
{
    oxp_graph *graph;
    ok(oxp_graph_build(&graph, arena, model));
    for (size_t i = 0; i < graph->input_count; i++) {
        const oxp_value_info *d = &graph->values[graph->inputs[i]].declared;
        int64_t dims[OXP_MAX_RANK] = {0};
        for (int k = 0; k < d->rank; k++)
            dims[k] = d->dims[k] >= 0 ? d->dims[k] : k == 0 ? 2 : 6;
        ok(oxp_tensor_shape(&tensors[i], &ctx, d->dtype, d->rank, dims, "input"));
        tensors[i].data = oxp_arena_alloc(arena, 1, oxp_tensor_bytes(&tensors[i]));
        oxp_random random = oxp_random_make(99, i, 0);
        for (size_t k = 0; k < tensors[i].count; k++)
            if (d->dtype == OXP_FLOAT)
                ((float *)tensors[i].data)[k] = (float)(8 * oxp_random_uniform(&random) - 4);
            else
                ((uint8_t *)tensors[i].data)[k * oxp_dtype_bits(d->dtype) / 8] = 1;
    }
    return graph->input_count;
}

static inline double difference_of(const oxp_tensor *a, const oxp_tensor *b)
{
    double largest = 0, difference = 0;
    cr_assert_eq(a->dtype, b->dtype);
    cr_assert_eq(a->rank, b->rank);
    for (int i = 0; i < a->rank; i++)
        cr_assert_eq(a->dims[i], b->dims[i]);
    for (size_t i = 0; i < a->count; i++) {
        double x = oxp_tensor_real(a, i), y = oxp_tensor_real(b, i);
        largest = fmax(largest, fabs(x));
        difference = fmax(difference, fabs(x - y));
    }
    return difference == 0 ? 0 : difference / largest;
}

/* Both models on inputs of the test's own; the outputs agree to `allowed`, relative to the
 * largest. */
static inline void expect_same_outputs(double allowed)
{
    oxp_arena arena;
    oxp_arena_init(&arena, &ctx);
    oxp_tensor tensors[8] = {0}, before[16] = {0}, after[16] = {0};
    const oxp_tensor *inputs[8];
    draw_inputs(tensors, &arena);
    for (size_t i = 0; i < 8; i++)
        inputs[i] = &tensors[i];
    run_model(model, inputs, before, &arena);
    run_model(prepared, inputs, after, &arena);
    size_t count = oxp_graph_proto_output_count(oxp_model_graph(model));
    cr_assert_eq(oxp_graph_proto_output_count(oxp_model_graph(prepared)), count);
    for (size_t i = 0; i < count; i++) {
        oxp_value_info given, kept;
        oxp_graph_proto_output(oxp_model_graph(model), i, &given);
        oxp_graph_proto_output(oxp_model_graph(prepared), i, &kept);
        cr_expect_str_eq(given.name, kept.name);
        double d = difference_of(&before[i], &after[i]);
        cr_expect(d <= allowed, "output %zu differs by %g", i, d);
        oxp_tensor_release(&before[i]);
        oxp_tensor_release(&after[i]);
    }
    oxp_arena_free(&arena);
}

/* The check of most tests: outputs within float rounding, nothing else touched, the clone passes
 * as a model. */
static inline void expect_sound(void)
{
    expect_same_outputs(2e-6);
    expect_the_rest_identical();
    uint8_t *packed;
    size_t size;
    oxp_model *again;
    ok(oxp_model_pack(&packed, &size, prepared));
    ok(oxp_model_load_memory(&again, &ctx, packed, size, NULL, &(oxp_load_options){0}));
    oxp_model_free(again);
    oxp_free(packed);
}

/* Another preparation in the same test. */
static inline void again(void)
{
    oxp_prepare_release(&result);
    oxp_model_free(prepared);
    oxp_model_free(model);
    prepared = model = NULL;
}

#endif
