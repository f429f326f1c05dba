#include "support/one_node.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "onnx/edit.h"
#include "util/half.h"
#include "util/random.h"

typedef struct parser {
    const char *at;
    char *why;
} parser;

static bool bad(parser *p, const char *what)
{
    snprintf(p->why, 512, "%.400s at \"%.60s\"", what, p->at);
    return false;
}

static void skip_blanks(parser *p)
{
    while (*p->at == ' ')
        p->at++;
}

static oxp_dtype dtype_named(const char *name)
{
    static const struct {
        const char *name;
        oxp_dtype dtype;
    } names[] = {{"f32", OXP_FLOAT},  {"f16", OXP_FLOAT16}, {"bf16", OXP_BFLOAT16},
                 {"f64", OXP_DOUBLE}, {"i8", OXP_INT8},     {"u8", OXP_UINT8},
                 {"i16", OXP_INT16},  {"u16", OXP_UINT16},  {"i32", OXP_INT32},
                 {"u32", OXP_UINT32}, {"i64", OXP_INT64},   {"u64", OXP_UINT64},
                 {"bool", OXP_BOOL}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i].name, name) == 0)
            return names[i].dtype;
    return OXP_UNDEFINED;
}

static void store(oxp_tensor *t, size_t i, double value)
{
    switch (t->dtype) {
    case OXP_FLOAT:
        ((float *)t->data)[i] = (float)value;
        break;
    case OXP_DOUBLE:
        ((double *)t->data)[i] = value;
        break;
    case OXP_FLOAT16:
        ((uint16_t *)t->data)[i] = oxp_float_to_half((float)value);
        break;
    case OXP_BFLOAT16:
        ((uint16_t *)t->data)[i] = oxp_float_to_bfloat16((float)value);
        break;
    case OXP_INT8:
    case OXP_UINT8:
    case OXP_BOOL:
        ((uint8_t *)t->data)[i] = (uint8_t)(int64_t)value;
        break;
    case OXP_INT16:
    case OXP_UINT16:
        ((uint16_t *)t->data)[i] = (uint16_t)(int64_t)value;
        break;
    case OXP_INT32:
    case OXP_UINT32:
        ((uint32_t *)t->data)[i] = (uint32_t)(int64_t)value;
        break;
    default:
        ((uint64_t *)t->data)[i] = (uint64_t)(int64_t)value;
        break;
    }
}

static void fill(oxp_tensor *t, size_t input)
{
    oxp_random r = oxp_random_make(7, t->count, input);
    for (size_t i = 0; i < t->count; i++) {
        double u = oxp_random_uniform(&r);
        bool real = oxp_dtype_is_float(t->dtype);
        store(t, i,
              real                   ? 2 * u - 1
              : t->dtype == OXP_BOOL ? (double)(u < 0.5)
                                     : (double)(int)(u * 4));
    }
}

static bool parse_dims(parser *p, int *rank, int64_t *dims)
{
    if (*p->at++ != '[')
        return bad(p, "expected [");
    for (*rank = 0; *p->at != ']'; (*rank)++) {
        char *end;
        dims[*rank] = strtoll(p->at, &end, 10);
        if (end == p->at || *rank == OXP_MAX_RANK)
            return bad(p, "a dimension");
        p->at = end + (*end == ',');
    }
    p->at++;
    return true;
}

static bool parse_values(parser *p, oxp_tensor *t)
{
    size_t i = 0;
    for (p->at += 2; *p->at != '}'; i++) {
        char *end;
        double value = strtod(p->at, &end);
        if (end == p->at || i == t->count)
            return bad(p, "a value, or one too many");
        store(t, i, value);
        p->at = end + (*end == ',');
    }
    p->at++;
    return i == t->count || bad(p, "too few values");
}

/* NAME[dims]:dtype={values}; a scalar is NAME[]. */
static bool parse_input(parser *p, one_node *n, char name[64])
{
    size_t length = strcspn(p->at, "[ ;");
    if (length == 0 || length >= 64)
        return bad(p, "an input name");
    memcpy(name, p->at, length);
    name[length] = '\0';
    p->at += length;
    if (strcmp(name, "_") == 0)
        return true;
    int rank;
    int64_t dims[OXP_MAX_RANK];
    oxp_dtype dtype = OXP_FLOAT;
    if (n->input_count == ONE_NODE_MAX_INPUTS || !parse_dims(p, &rank, dims))
        return bad(p, "dimensions");
    if (*p->at == ':') {
        char word[8] = "";
        length = strcspn(p->at + 1, " ;=");
        snprintf(word, sizeof word, "%.*s", (int)length, p->at + 1);
        p->at += 1 + length;
        dtype = dtype_named(word);
    }
    oxp_tensor *t = &n->inputs[n->input_count];
    if (dtype == OXP_UNDEFINED || oxp_tensor_shape(t, n->ctx, dtype, rank, dims, name) != OXP_OK ||
        oxp_tensor_alloc(t, n->ctx, name) != OXP_OK)
        return bad(p, "a type or shape");
    n->input_count++;
    if (*p->at == '=' && p->at[1] == '{')
        return parse_values(p, t);
    fill(t, n->input_count);
    return true;
}

/* Attributes that are lists also when they hold one number. */
static bool is_list(const char *name)
{
    static const char *const names[] = {"strides",      "pads",       "dilations", "kernel_shape",
                                        "axes",         "perm",       "split",     "output_padding",
                                        "output_shape", "starts",     "ends",      "shape",
                                        "repeats",      "scales_list"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

static bool set_attribute(parser *p, one_node *n, oxp_node_proto *node, const char *name,
                          const char *value)
{
    if (value[0] == '\'') {
        char text[256];
        snprintf(text, sizeof text, "%.*s", (int)strcspn(value + 1, "'"), value + 1);
        return oxp_edit_set_string(n->model, node, name, text) == OXP_OK;
    }
    if (strpbrk(value, ".eE") && strchr(value, ',')) {
        float list[32];
        size_t count = 0;
        for (const char *v = value; *v && count < 32; v += *v == ',') {
            char *end;
            list[count++] = strtof(v, &end);
            v = end;
        }
        return oxp_edit_set_floats(n->model, node, name, count, list) == OXP_OK || bad(p, "floats");
    }
    if (strpbrk(value, ".eE"))
        return oxp_edit_set_float(n->model, node, name, strtof(value, NULL)) == OXP_OK;
    if (is_list(name) || strchr(value, ',') || strchr(value, '[')) {
        int64_t list[32];
        size_t count = 0;
        for (const char *v = value + (value[0] == '['); *v && *v != ']' && count < 32;
             v += *v == ',') {
            char *end;
            list[count++] = strtoll(v, &end, 10);
            v = end;
        }
        return oxp_edit_set_ints(n->model, node, name, count, list) == OXP_OK;
    }
    return oxp_edit_set_int(n->model, node, name, strtoll(value, NULL, 10)) == OXP_OK;
}

static bool parse_attributes(parser *p, one_node *n, oxp_node_proto *node)
{
    for (skip_blanks(p); *p->at; skip_blanks(p)) {
        char name[64], value[256];
        size_t length = strcspn(p->at, "=");
        if (!p->at[length] || length >= sizeof name)
            return bad(p, "attribute=value");
        snprintf(name, sizeof name, "%.*s", (int)length, p->at);
        p->at += length + 1;
        length = p->at[0] == '\'' ? 1 + strcspn(p->at + 1, "'") + 1 : strcspn(p->at, " ");
        snprintf(value, sizeof value, "%.*s", (int)length, p->at);
        p->at += length;
        if (strcmp(name, "outputs") != 0 && !set_attribute(p, n, node, name, value))
            return bad(p, "an attribute that edit.h can set");
    }
    return true;
}

static bool add_io(one_node *n, size_t i, const char *name)
{
    const oxp_tensor *t = &n->inputs[i];
    oxp_value_info info = {.name = name, .dtype = t->dtype, .is_tensor = true, .rank = t->rank};
    memcpy(info.dims, t->dims, sizeof info.dims);
    return oxp_edit_add_input(n->model, oxp_model_graph(n->model), &info) == OXP_OK;
}

static bool build(one_node *n, const oxp_operator *op, parser *p)
{
    char names[ONE_NODE_MAX_INPUTS][64];
    const char *inputs[ONE_NODE_MAX_INPUTS], *outputs[16];
    char output_names[16][32];
    size_t count = 0;
    for (skip_blanks(p); *p->at && *p->at != ';'; skip_blanks(p)) {
        size_t before = n->input_count;
        if (count == ONE_NODE_MAX_INPUTS || !parse_input(p, n, names[count]))
            return false;
        bool omitted = n->input_count == before;
        inputs[count] = omitted ? "" : names[count];
        if (!omitted && !add_io(n, before, names[count]))
            return bad(p, "an input");
        count++;
    }
    p->at += *p->at == ';';
    n->output_count = (size_t)(op->min_out > 0 ? op->min_out : 1);
    const char *asked = strstr(p->at, "outputs=");
    if (asked)
        n->output_count = strtoul(asked + 8, NULL, 10);
    if (n->output_count > 16)
        return bad(p, "too many outputs");
    for (size_t i = 0; i < n->output_count; i++) {
        snprintf(output_names[i], sizeof output_names[i], "out%zu", i);
        outputs[i] = output_names[i];
        oxp_value_info info = {
            .name = outputs[i], .dtype = OXP_FLOAT, .is_tensor = true, .rank = -1};
        if (oxp_edit_add_output(n->model, oxp_model_graph(n->model), &info) != OXP_OK)
            return bad(p, "an output");
    }
    oxp_new_node made = {.type = op->type,
                         .domain = op->domain,
                         .name = "node",
                         .input_count = count,
                         .output_count = n->output_count,
                         .inputs = inputs,
                         .outputs = outputs};
    oxp_node_proto *node;
    if (oxp_edit_insert_node(&node, n->model, oxp_model_graph(n->model), 0, &made) != OXP_OK)
        return bad(p, "a node");
    return parse_attributes(p, n, node);
}

bool one_node_make(one_node *out, oxp_ctx *ctx, const oxp_operator *op, const char *example,
                   char why[512])
{
    parser p = {example, why};
    memset(out, 0, sizeof *out);
    out->ctx = ctx;
    oxp_arena_init(&out->arena, ctx);
    bool standard = op->domain[0] == '\0';
    bool made = oxp_model_new(&out->model, ctx, standard ? op->since : 17) == OXP_OK ||
                bad(&p, ctx->message);
    if (made && !standard)
        made = oxp_edit_set_opset(out->model, op->domain, op->since) == OXP_OK;
    made = made && build(out, op, &p);
    if (made && oxp_graph_build(&out->graph, &out->arena, out->model) != OXP_OK)
        made = bad(&p, ctx->message);
    if (!made)
        one_node_free(out);
    return made;
}

void one_node_free(one_node *n)
{
    for (size_t i = 0; i < n->input_count; i++)
        oxp_tensor_release(&n->inputs[i]);
    oxp_arena_free(&n->arena);
    oxp_model_free(n->model);
    memset(n, 0, sizeof *n);
}

oxp_status one_node_run(const one_node *n, oxp_tensor *outputs)
{
    oxp_session *session;
    const oxp_tensor *fed[ONE_NODE_MAX_INPUTS];
    for (size_t i = 0; i < n->input_count; i++)
        fed[i] = &n->inputs[i];
    OXP_TRY(oxp_session_create(&session, n->ctx, n->graph, NULL));
    oxp_tensor made[16] = {0};
    oxp_status status = oxp_session_run(session, fed, made);
    for (size_t i = 0; i < n->output_count;
         i++) { /* outputs may borrow what the session or the caller owns */
        if (status == OXP_OK)
            status = oxp_tensor_copy(&outputs[i], n->ctx, &made[i]);
        oxp_tensor_release(&made[i]);
    }
    oxp_session_free(session);
    return status;
}
