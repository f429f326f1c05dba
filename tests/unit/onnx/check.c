/* check.c - models, graphs, nodes and functions by themselves: what is refused, and what must not
 * be. */
#include "unit/onnx/encode.h"

#include <stdio.h>

/* The graph of encode.h with one more node. Takes the node. */
static bytes model_with_node(bytes n)
{
    bytes g = graph();
    put_message(&g, GRAPH_NODE, n);
    return model(g);
}

/* ---- the model ---- */

Test(check, a_graph_is_needed)
{
    expect_refused(model_header(), OXP_EFORMAT, "E-NO-GRAPH", "no graph");
}

Test(check, ir_versions)
{
    static const struct {
        int64_t version;
        oxp_status status;
        const char *code;
    } cases[] = {{0, OXP_EFORMAT, "E-IR"},
                 {-1, OXP_EFORMAT, "E-IR"},
                 {15, OXP_EUNSUPPORTED, "E-IR-NEW"},
                 {INT64_MAX, OXP_EUNSUPPORTED, "E-IR-NEW"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bytes b = {0};
        put_int(&b, MODEL_IR, cases[i].version);
        put_message(&b, MODEL_OPSET, opset("", 17));
        put_message(&b, MODEL_GRAPH, graph());
        expect_refused(b, cases[i].status, cases[i].code, "ir_version");
    }
    bytes missing = {0};
    put_message(&missing, MODEL_OPSET, opset("", 17));
    put_message(&missing, MODEL_GRAPH, graph());
    expect_refused(missing, OXP_EFORMAT, "E-IR", "missing");
    for (int64_t version = 1; version <= 14; version++) {
        bytes b = {0};
        put_int(&b, MODEL_IR, version);
        put_message(&b, MODEL_OPSET, opset("", 17));
        put_message(&b, MODEL_GRAPH, graph());
        expect_accepted(b);
    }
}

Test(check, opset_imports)
{
    static const struct {
        const char *domain;
        int64_t version;
        oxp_status status;
        const char *code;
    } cases[] = {{"", 0, OXP_EFORMAT, "E-OPSET"},
                 {"", -1, OXP_EFORMAT, "E-OPSET"},
                 {"other", 0, OXP_EFORMAT, "E-OPSET"},
                 {"", 29, OXP_EUNSUPPORTED, "E-OPSET-NEW"},
                 {"ai.onnx", 29, OXP_EUNSUPPORTED, "E-OPSET-NEW"},
                 {"", INT64_MAX, OXP_EUNSUPPORTED, "E-OPSET-NEW"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bytes b = {0};
        put_int(&b, MODEL_IR, 8);
        put_message(&b, MODEL_OPSET, opset(cases[i].domain, cases[i].version));
        put_message(&b, MODEL_GRAPH, graph());
        expect_refused(b, cases[i].status, cases[i].code, "opset");
    }
    bytes missing = {0};
    put_int(&missing, MODEL_IR, 3);
    put_message(&missing, MODEL_GRAPH, graph());
    expect_refused(missing, OXP_EFORMAT, "E-OPSET", "missing");
    bytes newest = {0};
    put_int(&newest, MODEL_IR, 14);
    put_message(&newest, MODEL_OPSET, opset("", 28));
    put_message(&newest, MODEL_OPSET, opset("other", 99));
    put_message(&newest, MODEL_GRAPH, graph());
    expect_accepted(newest);
}

Test(check, one_version_per_domain)
{
    bytes b = model(graph());
    put_message(&b, MODEL_OPSET, opset("ai.onnx", 13));
    expect_refused(b, OXP_EFORMAT, "E-OPSET-DUP", "versions 17 and 13");
    bytes same = model(graph());
    put_message(&same, MODEL_OPSET, opset("ai.onnx", 17));
    expect_accepted(same);
}

Test(check, the_first_ir_versions_had_no_opsets)
{
    bytes b = {0};
    loaded l;
    put_int(&b, MODEL_IR, 2);
    put_message(&b, MODEL_GRAPH, graph());
    load_in(&l, b, NULL, NULL);
    cr_assert_eq(l.ctx.status, OXP_OK, "%s", l.ctx.message);
    cr_expect_eq(oxp_model_opset(l.model, "ai.onnx"), 1);
    cr_expect_eq(oxp_model_opset(l.model, "other"), 0);
    unload(&l);
}

Test(check, domains_must_be_imported)
{
    bytes n = node("FusedMatMul", "x", "z");
    put_text(&n, NODE_DOMAIN, "com.microsoft");
    expect_refused(model_with_node(n), OXP_EFORMAT, "E-OPSET", "com.microsoft");
    bytes again = node("FusedMatMul", "x", "z"), g = graph();
    put_text(&again, NODE_DOMAIN, "com.microsoft");
    put_message(&g, GRAPH_NODE, again);
    bytes b = model(g);
    put_message(&b, MODEL_OPSET, opset("com.microsoft", 1));
    expect_accepted(b);
}

Test(check, metadata_does_not_contradict_itself)
{
    bytes b = model(graph());
    put_message(&b, MODEL_METADATA, entry("key", "one"));
    put_message(&b, MODEL_METADATA, entry("key", "two"));
    expect_refused(b, OXP_EFORMAT, "E-META-DUP", "\"key\"");
    bytes same = model(graph());
    put_message(&same, MODEL_METADATA, entry("onnx.infer", "tool"));
    put_message(&same, MODEL_METADATA, entry("onnx.infer", "tool"));
    expect_accepted(same);
}

Test(check, outputs_are_needed)
{
    bytes g = {0};
    put_text(&g, GRAPH_NAME, "g");
    put_message(&g, GRAPH_INPUT, value_info("x"));
    expect_refused(model(g), OXP_EFORMAT, "E-NO-OUTPUT", "no outputs");
}

static void count_warning(void *user, oxp_log_level level, const char *line)
{
    (void)line;
    *(size_t *)user += level == OXP_LOG_WARNING;
}

Test(check, oddities_are_accepted_with_a_warning)
{
    bytes g = {0}, training = {0};
    put_message(&g, GRAPH_NODE, node("Relu", "x", "y"));
    put_message(&g, GRAPH_INPUT, value_info("x"));
    put_message(&g, GRAPH_OUTPUT, value_info("y")); /* no name */
    bytes b = model(g);
    put_message(&training, 2, graph());
    put_message(&b, MODEL_TRAINING, training);
    oxp_ctx ctx;
    size_t warnings = 0;
    oxp_model *m;
    oxp_ctx_init(&ctx);
    ctx.log = count_warning;
    ctx.user = &warnings;
    cr_assert_eq(oxp_model_load_memory(&m, &ctx, b.data, b.size, NULL, NULL), OXP_OK);
    cr_expect_eq(warnings, 2);
    cr_expect(oxp_model_has_unchecked_parts(m));
    oxp_model_free(m);
    free(b.data);
}

/* ---- nodes ---- */

Test(check, nodes_have_a_type_and_ends)
{
    bytes untyped = {0};
    put_text(&untyped, NODE_INPUT, "x");
    put_text(&untyped, NODE_OUTPUT, "z");
    expect_refused(model_with_node(untyped), OXP_EFORMAT, "E-OPTYPE", "node 1");
    expect_refused(model_with_node(node("Relu", NULL, NULL)), OXP_EFORMAT, "E-ARITY", "(Relu)");
    expect_refused(model_with_node(node("", "x", "z")), OXP_EFORMAT, "E-OPTYPE", "node 1");
}

/* Takes the attribute. */
static bytes model_with_attribute(bytes a)
{
    bytes n = node("Op", "x", "z");
    put_message(&n, NODE_ATTRIBUTE, a);
    return model_with_node(n);
}

Test(check, an_attribute_has_the_value_of_its_type)
{
    bytes floats = attribute("a", OXP_ATTR_INT);
    put_float(&floats, ATTR_FLOATS, 1);
    expect_refused(model_with_attribute(floats), OXP_EFORMAT, "E-ATTR-TYPE",
                   "found a value in floats");
    bytes both = attribute("a", OXP_ATTR_INT);
    put_int(&both, ATTR_I, 1);
    put_float(&both, ATTR_F, 1);
    expect_refused(model_with_attribute(both), OXP_EFORMAT, "E-ATTR-TYPE", "both f and i");
    static const int single[] = {OXP_ATTR_FLOAT,  OXP_ATTR_INT,   OXP_ATTR_STRING,
                                 OXP_ATTR_TENSOR, OXP_ATTR_GRAPH, OXP_ATTR_SPARSE};
    for (size_t i = 0; i < sizeof single / sizeof single[0]; i++)
        expect_refused(model_with_attribute(attribute("a", single[i])), OXP_EFORMAT, "E-ATTR-TYPE",
                       "found no value");
    static const int lists[] = {OXP_ATTR_FLOATS, OXP_ATTR_INTS, OXP_ATTR_STRINGS};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        expect_accepted(model_with_attribute(attribute("a", lists[i])));
    bytes untyped = {0};
    put_text(&untyped, ATTR_NAME, "a");
    put_int(&untyped, ATTR_I, 3);
    expect_refused(model_with_attribute(untyped), OXP_EFORMAT, "E-ATTR-TYPE", "type is missing");
}

Test(check, the_first_ir_version_had_no_attribute_types)
{
    bytes a = {0}, n = node("Op", "x", "z"), g = graph(), b = {0};
    put_text(&a, ATTR_NAME, "a");
    put_int(&a, ATTR_I, 3);
    put_message(&n, NODE_ATTRIBUTE, a);
    put_message(&g, GRAPH_NODE, n);
    put_int(&b, MODEL_IR, 1);
    put_message(&b, MODEL_GRAPH, g);
    loaded l;
    load_in(&l, b, NULL, NULL);
    cr_assert_eq(l.ctx.status, OXP_OK, "%s", l.ctx.message);
    oxp_attribute read;
    oxp_node_proto_attribute(oxp_graph_proto_node(oxp_model_graph(l.model), 1), 0, &read);
    cr_expect_eq(read.type, OXP_ATTR_INT);
    cr_expect_eq(read.i, 3);
    unload(&l);
}

Test(check, attributes_stand_once)
{
    for (int others = 0; others < 20; others += 19) {
        bytes n = node("Op", "x", "z");
        for (int i = -others; i < 2; i++) {
            char name[16];
            snprintf(name, sizeof name, "a%d", i < 0 ? -i : 0);
            bytes a = attribute(name, OXP_ATTR_INT);
            put_int(&a, ATTR_I, i);
            put_message(&n, NODE_ATTRIBUTE, a);
        }
        expect_refused(model_with_node(n), OXP_EFORMAT, "E-ATTR-DUP", "\"a0\"");
    }
}

Test(check, references_only_in_functions)
{
    bytes a = attribute("a", OXP_ATTR_INT);
    put_text(&a, ATTR_REF, "outer");
    expect_refused(model_with_attribute(a), OXP_EFORMAT, "E-ATTR-REF", "outside a function");
}

Test(check, names_in_messages_are_escaped)
{
    bytes n = {0};
    put_text(&n, NODE_INPUT, "x");
    put_text(&n, NODE_OUTPUT, "z");
    put_text(&n, NODE_NAME, "esc\x1b[31m\nnew %n%s \xe2\x80\xae right");
    loaded l;
    load_in(&l, model_with_node(n), NULL, NULL);
    cr_expect_str_eq(l.ctx.code, "E-OPTYPE");
    for (const char *c = l.ctx.message; *c != '\0'; c++)
        cr_expect((unsigned char)*c >= 0x20 && *c != 0x7f);
    cr_expect_null(strstr(l.ctx.message, "\xe2\x80\xae"));
    cr_expect_not_null(strstr(l.ctx.message, "\\x1b[31m\\nnew %n%s \\u202e"));
    unload(&l);
}

/* ---- subgraphs ---- */

/* A graph whose only node is an If with this graph as its branch. Takes the graph. */
static bytes wrapped(bytes inner, const char *name)
{
    bytes a = attribute("then_branch", OXP_ATTR_GRAPH), n = {0}, g = {0};
    put_message(&a, ATTR_G, inner);
    put_text(&n, NODE_INPUT, "c");
    put_text(&n, NODE_OUTPUT, "y");
    put_text(&n, NODE_NAME, name);
    put_text(&n, NODE_TYPE, "If");
    put_message(&n, NODE_ATTRIBUTE, a);
    put_message(&g, GRAPH_NODE, n);
    put_text(&g, GRAPH_NAME, "main");
    put_message(&g, GRAPH_OUTPUT, value_info("y"));
    return g;
}

Test(check, messages_say_where)
{
    bytes inner = graph();
    put_message(&inner, GRAPH_NODE, node("", "x", "z"));
    expect_refused(model(wrapped(wrapped(inner, "If_2"), "If_1")), OXP_EFORMAT, "E-OPTYPE",
                   "graph \"main\" > node 0 \"If_1\" (If) > then_branch > node 0 \"If_2\" (If) > "
                   "then_branch > node 1 \"\" ()");
    bytes deep = graph();
    put_message(&deep, GRAPH_NODE, node("", "x", "z"));
    for (int i = 0; i < 30; i++)
        deep = wrapped(deep, "If");
    expect_refused(model(deep), OXP_EFORMAT, "E-OPTYPE", "then_branch > node 1 \"\" ()");
}

Test(check, every_graph_of_a_list_is_seen)
{
    bytes a = attribute("bodies", OXP_ATTR_GRAPHS), bad = graph();
    put_message(&bad, GRAPH_NODE, node("", "x", "z"));
    put_message(&a, ATTR_GRAPHS, graph());
    put_message(&a, ATTR_GRAPHS, bad);
    expect_refused(model_with_attribute(a), OXP_EFORMAT, "E-OPTYPE", "bodies > node 1");
}

Test(check, declarations)
{
    bytes nameless = graph();
    put_message(&nameless, GRAPH_INPUT, value_info(""));
    expect_refused(model(nameless), OXP_EFORMAT, "E-NAME", "input");
    bytes tensor_type = {0}, type = {0}, info = {0}, g = graph();
    put_int(&tensor_type, 1, 77);
    put_message(&type, 1, tensor_type);
    put_text(&info, 1, "v");
    put_message(&info, 2, type);
    put_message(&g, GRAPH_VALUE_INFO, info);
    expect_refused(model(g), OXP_EFORMAT, "E-DTYPE", "77");
}

/* ---- functions ---- */

/* A function that calls `callees`, names that are separated by one space. */
static bytes function(const char *name, const char *callees)
{
    bytes f = {0};
    char *copy = strdup(callees), *rest = copy;
    put_text(&f, FUNCTION_NAME, name);
    put_text(&f, FUNCTION_DOMAIN, "local");
    put_message(&f, FUNCTION_OPSET, opset("", 17));
    put_message(&f, FUNCTION_OPSET, opset("local", 1));
    put_message(&f, FUNCTION_NODE, node("Relu", "a", "b"));
    for (char *callee; (callee = strsep(&rest, " ")) != NULL;) {
        if (callee[0] == '\0')
            continue;
        bytes n = node(callee, "b", "c");
        put_text(&n, NODE_DOMAIN, "local");
        put_message(&f, FUNCTION_NODE, n);
    }
    free(copy);
    return f;
}

static bytes model_for_functions(void)
{
    bytes g = graph(), n = node("f0", "x", "z");
    put_text(&n, NODE_DOMAIN, "local");
    put_message(&g, GRAPH_NODE, n);
    bytes b = model(g);
    put_message(&b, MODEL_OPSET, opset("local", 1));
    return b;
}

Test(check, functions_are_found)
{
    bytes b = model_for_functions();
    put_message(&b, MODEL_FUNCTION, function("f1", ""));
    put_message(&b, MODEL_FUNCTION, function("f0", "f1 f1"));
    loaded l;
    load_in(&l, b, NULL, NULL);
    cr_assert_eq(l.ctx.status, OXP_OK, "%s", l.ctx.message);
    cr_expect(oxp_model_is_function(l.model, "local", "f0"));
    cr_expect(oxp_model_is_function(l.model, "local", "f1"));
    cr_expect_not(oxp_model_is_function(l.model, "local", "f2"));
    cr_expect_not(oxp_model_is_function(l.model, "", "f0"));
    unload(&l);
}

Test(check, functions_have_one_name)
{
    bytes b = model_for_functions();
    put_message(&b, MODEL_FUNCTION, function("f0", ""));
    put_message(&b, MODEL_FUNCTION, function("f1", ""));
    put_message(&b, MODEL_FUNCTION, function("f0", ""));
    expect_refused(b, OXP_EFORMAT, "E-FUNC-DUP", "\"f0\"");
    bytes overloaded = model_for_functions(), second = function("f0", "");
    put_text(&second, FUNCTION_OVERLOAD, "other");
    put_message(&overloaded, MODEL_FUNCTION, function("f0", ""));
    put_message(&overloaded, MODEL_FUNCTION, second);
    expect_accepted(overloaded);
}

Test(check, functions_do_not_reach_themselves)
{
    bytes itself = model_for_functions();
    put_message(&itself, MODEL_FUNCTION, function("f0", "f0"));
    expect_refused(itself, OXP_EFORMAT, "E-FUNC-CYCLE", "\"f0\" > \"f0\"");
    bytes three = model_for_functions();
    put_message(&three, MODEL_FUNCTION, function("f0", "f1"));
    put_message(&three, MODEL_FUNCTION, function("f1", "f2"));
    put_message(&three, MODEL_FUNCTION, function("f2", "f0"));
    expect_refused(three, OXP_EFORMAT, "E-FUNC-CYCLE", "\"f0\" > \"f1\" > \"f2\" > \"f0\"");
    bytes unused = model_for_functions();
    put_message(&unused, MODEL_FUNCTION, function("f0", ""));
    put_message(&unused, MODEL_FUNCTION, function("f8", "f9"));
    put_message(&unused, MODEL_FUNCTION, function("f9", "f8"));
    expect_refused(unused, OXP_EFORMAT, "E-FUNC-CYCLE", "\"f8\" > \"f9\" > \"f8\"");
}

Test(check, calls_hide_in_subgraphs)
{
    for (int list = 0; list < 2; list++) {
        bytes call = node("f0", "a", "z"), body = {0};
        put_text(&call, NODE_DOMAIN, "local");
        put_message(&body, GRAPH_NODE, call);
        put_text(&body, GRAPH_NAME, "body");
        bytes a = attribute("body", list ? OXP_ATTR_GRAPHS : OXP_ATTR_GRAPH);
        put_message(&a, list ? ATTR_GRAPHS : ATTR_G, body);
        bytes n = node("If", "a", "q"), f = function("f0", "");
        put_message(&n, NODE_ATTRIBUTE, a);
        put_message(&f, FUNCTION_NODE, n);
        bytes b = model_for_functions();
        put_message(&b, MODEL_FUNCTION, f);
        expect_refused(b, OXP_EFORMAT, "E-FUNC-CYCLE", "\"f0\" > \"f0\"");
    }
}

/* f0 calls f1 `calls` times, f1 calls f2 as often, ... */
static bytes function_chain(size_t length, size_t calls)
{
    bytes b = model_for_functions();
    for (size_t i = 0; i < length; i++) {
        char name[16], callees[256] = "";
        snprintf(name, sizeof name, "f%zu", i);
        for (size_t k = 0; k < calls && i + 1 < length; k++)
            snprintf(callees + strlen(callees), sizeof callees - strlen(callees), "f%zu ", i + 1);
        put_message(&b, MODEL_FUNCTION, function(name, callees));
    }
    return b;
}

Test(check, expansion_has_limits)
{
    expect_accepted(function_chain(100, 1));
    expect_refused(function_chain(101, 1), OXP_ELIMIT, "E-LIMIT-EXPAND", "100 calls");
    expect_accepted(function_chain(5, 10)); /* 11,111 nodes and the calls' own */
    expect_refused(function_chain(20, 10), OXP_ELIMIT, "E-LIMIT-EXPAND", "1000000 nodes");
}

Test(check, functions_have_a_number_limit)
{
    expect_refused(function_chain(10001, 0), OXP_ELIMIT, "E-LIMIT-FUNCS", "10001");
}

Test(check, function_bodies_are_checked)
{
    bytes reference = attribute("alpha", OXP_ATTR_FLOAT), n = node("Elu", "a", "b");
    put_text(&reference, ATTR_REF, "alpha");
    put_message(&n, NODE_ATTRIBUTE, reference);
    bytes f = function("f0", ""), b = model_for_functions();
    put_message(&f, FUNCTION_NODE, n);
    put_message(&b, MODEL_FUNCTION, f);
    expect_accepted(b);
    bytes bad = function("f0", ""), holder = model_for_functions();
    put_message(&bad, FUNCTION_NODE, node("", "a", "b"));
    put_message(&holder, MODEL_FUNCTION, bad);
    expect_refused(holder, OXP_EFORMAT, "E-OPTYPE", "function \"local\" \"f0\" > node 1");
    bytes foreign = function("f0", ""), call = node("Gelu", "a", "b"),
          third = model_for_functions();
    put_text(&call, NODE_DOMAIN, "com.microsoft");
    put_message(&foreign, FUNCTION_NODE, call);
    put_message(&third, MODEL_FUNCTION, foreign);
    expect_refused(third, OXP_EFORMAT, "E-OPSET", "com.microsoft");
    bytes twice = attribute("d", OXP_ATTR_INT), with_default = function("f0", "");
    put_int(&twice, ATTR_I, 1);
    put_float(&twice, ATTR_F, 1);
    put_message(&with_default, FUNCTION_ATTRIBUTE, twice);
    bytes fourth = model_for_functions();
    put_message(&fourth, MODEL_FUNCTION, with_default);
    expect_refused(fourth, OXP_EFORMAT, "E-ATTR-TYPE",
                   "function \"local\" \"f0\": attribute \"d\"");
}
