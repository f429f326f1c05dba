/* inline.c - calls of model-local functions become nodes: names, attributes, subgraphs, and what
 * is refused. A model is compared as text, "Type{attribute}(inputs)->outputs; ". */
#include "onnx/inline.h"

#include <math.h>
#include <stdio.h>

#include "unit/onnx/encode.h"

enum { FUNCTION_INPUT = 4, FUNCTION_OUTPUT = 5, FUNCTION_ATTRIBUTE_NAME = 6 };

/* ---- making ---- */

/* A node with lists of names that are separated by one space; "-" is an omitted one. */
static bytes node_of(const char *type, const char *domain, const char *inputs, const char *outputs)
{
    bytes b = {0};
    const char *lists[] = {inputs, outputs};
    for (int side = 0; side < 2; side++) {
        char *copy = strdup(lists[side]), *rest = copy;
        for (char *name; (name = strsep(&rest, " ")) != NULL;)
            put_text(&b, side == 0 ? NODE_INPUT : NODE_OUTPUT, strcmp(name, "-") == 0 ? "" : name);
        free(copy);
    }
    put_text(&b, NODE_TYPE, type);
    put_text(&b, NODE_DOMAIN, domain);
    return b;
}

static bytes float_attribute(const char *name, float value)
{
    bytes a = attribute(name, OXP_ATTR_FLOAT);
    put_float(&a, ATTR_F, value);
    return a;
}

static bytes reference(const char *name, const char *to)
{
    bytes a = attribute(name, OXP_ATTR_FLOAT);
    put_text(&a, ATTR_REF, to);
    return a;
}

static bytes with(bytes n, bytes a)
{
    put_message(&n, NODE_ATTRIBUTE, a);
    return n;
}

/* A function of domain `local` without nodes. */
static bytes function(const char *name, const char *inputs, const char *outputs, int64_t version)
{
    bytes f = {0};
    const char *lists[] = {inputs, outputs};
    put_text(&f, FUNCTION_NAME, name);
    put_text(&f, FUNCTION_DOMAIN, "local");
    put_message(&f, FUNCTION_OPSET, opset("", version));
    put_message(&f, FUNCTION_OPSET, opset("local", 1));
    for (unsigned side = 0; side < 2; side++) {
        char *copy = strdup(lists[side]), *rest = copy;
        for (char *at; (at = strsep(&rest, " ")) != NULL;)
            put_text(&f, FUNCTION_INPUT + side, at);
        free(copy);
    }
    return f;
}

/* act(x, s) -> (r): t = LeakyRelu{alpha}(x), r = Mul(t, s); alpha is 0.5 when not given. */
static bytes activation(void)
{
    bytes f = function("act", "x s", "r", 17);
    put_message(&f, FUNCTION_ATTRIBUTE, float_attribute("alpha", 0.5f));
    put_message(&f, FUNCTION_NODE,
                with(node_of("LeakyRelu", "", "x", "t"), reference("alpha", "alpha")));
    put_message(&f, FUNCTION_NODE, node_of("Mul", "", "t s", "r"));
    return f;
}

/* The graph of encode.h, x -> Relu -> y, and a call of the function. Takes both. */
static bytes model_with(bytes call, bytes f)
{
    bytes g = graph();
    put_message(&g, GRAPH_NODE, call);
    bytes b = model(g);
    put_message(&b, MODEL_OPSET, opset("local", 1));
    put_message(&b, MODEL_FUNCTION, f);
    return b;
}

/* ---- reading ---- */

typedef struct text {
    char at[2000];
    size_t used;
} text;

static void add(text *t, const char *piece)
{
    int count = snprintf(t->at + t->used, sizeof t->at - t->used, "%s", piece);
    t->used += (size_t)count;
    cr_assert_lt(t->used, sizeof t->at);
}

static void add_list(text *t, const oxp_node_proto *n, size_t count,
                     const char *(*name)(const oxp_node_proto *, size_t))
{
    for (size_t i = 0; i < count; i++) {
        add(t, i ? "," : "");
        add(t, name(n, i));
    }
}

static void add_graph(text *t, const oxp_graph_proto *g);

static void add_node(text *t, const oxp_node_proto *n)
{
    add(t, oxp_node_proto_type(n));
    for (size_t i = 0; i < oxp_node_proto_attribute_count(n); i++) {
        oxp_attribute a;
        char value[64];
        oxp_node_proto_attribute(n, i, &a);
        snprintf(value, sizeof value, "{%s=%g}", a.name, (double)a.f);
        if (a.type == OXP_ATTR_FLOAT)
            add(t, value);
        if (a.type == OXP_ATTR_GRAPH)
            add_graph(t, a.g);
    }
    add(t, "(");
    add_list(t, n, oxp_node_proto_input_count(n), oxp_node_proto_input);
    add(t, ")->");
    add_list(t, n, oxp_node_proto_output_count(n), oxp_node_proto_output);
    add(t, "; ");
}

/* Two levels at most: the tests are no deeper. */
static void add_graph(text *t, const oxp_graph_proto *g)
{
    add(t, "[");
    for (size_t i = 0; i < oxp_graph_proto_node_count(g); i++)
        add_node(t, oxp_graph_proto_node(g, i));
    for (size_t i = 0; i < oxp_graph_proto_output_count(g); i++) {
        oxp_value_info info;
        oxp_graph_proto_output(g, i, &info);
        add(t, info.name);
    }
    add(t, "]");
}

/* Takes the bytes. */
static void expect_inlined(bytes b, const char *expected)
{
    loaded l;
    text t = {0};
    load_in(&l, b, NULL, NULL);
    cr_assert_eq(l.ctx.status, OXP_OK, "%s", l.ctx.message);
    cr_assert_eq(oxp_model_inline_functions(l.model), OXP_OK, "%s", l.ctx.message);
    add_graph(&t, oxp_model_graph(l.model));
    cr_expect_str_eq(t.at, expected);
    unload(&l);
}

/* Takes the bytes. */
static void expect_not_inlined(bytes b, oxp_status status, const char *code, const char *part)
{
    loaded l;
    load_in(&l, b, NULL, NULL);
    cr_assert_eq(l.ctx.status, OXP_OK, "%s", l.ctx.message);
    cr_expect_eq(oxp_model_inline_functions(l.model), status);
    cr_expect_str_eq(l.ctx.code, code);
    cr_expect_not_null(strstr(l.ctx.message, part), "no \"%s\" in: %s", part, l.ctx.message);
    unload(&l);
}

/* ---- the tests ---- */

Test(inlining, every_call_has_values_and_attributes_of_its_own)
{
    bytes g = graph();
    put_message(&g, GRAPH_NODE,
                with(node_of("act", "local", "y x", "t"), float_attribute("alpha", 0.25f)));
    put_message(&g, GRAPH_NODE, node_of("act", "local", "t t", "z"));
    bytes b = model(g);
    put_message(&b, MODEL_OPSET, opset("local", 1));
    put_message(&b, MODEL_FUNCTION, activation());
    expect_inlined(b, "[Relu(x)->y; LeakyRelu{alpha=0.25}(y)->t_1; Mul(t_1,x)->t; "
                      "LeakyRelu{alpha=0.5}(t)->t_2; Mul(t_2,t)->z; y]");
}

Test(inlining, functions_call_functions)
{
    bytes f = function("outer", "a", "b", 17);
    put_message(&f, FUNCTION_NODE,
                with(node_of("act", "local", "a a", "t"), reference("alpha", "slope")));
    put_message(&f, FUNCTION_NODE, node_of("Neg", "", "t", "b"));
    bytes call = with(node_of("outer", "local", "y", "z"), float_attribute("slope", 0.125f));
    bytes b = model_with(call, f);
    put_message(&b, MODEL_FUNCTION, activation());
    expect_inlined(b, "[Relu(x)->y; LeakyRelu{alpha=0.125}(y)->t_1; Mul(t_1,y)->t; Neg(t)->z; y]");
}

Test(inlining, subgraphs_follow_the_names_around_them)
{
    bytes branch = {0}, f = function("pick", "c x", "y", 17);
    put_message(&branch, GRAPH_NODE, node_of("act", "local", "t x", "inner"));
    put_text(&branch, GRAPH_NAME, "branch");
    put_message(&branch, GRAPH_OUTPUT, value_info("inner"));
    bytes a = attribute("then_branch", OXP_ATTR_GRAPH);
    put_message(&a, ATTR_G, branch);
    put_message(&f, FUNCTION_NODE, node_of("Exp", "", "x", "t"));
    put_message(&f, FUNCTION_NODE, with(node_of("If", "", "c", "y"), a));
    bytes b = model_with(node_of("pick", "local", "x y", "z"), f);
    put_message(&b, MODEL_FUNCTION, activation());
    expect_inlined(b, "[Relu(x)->y; Exp(y)->t; If[LeakyRelu{alpha=0.5}(t)->t_1; "
                      "Mul(t_1,y)->inner; inner](x)->z; y]");
}

Test(inlining, an_output_that_is_an_input_is_handed_on)
{
    bytes f = function("both", "x b", "x b2", 17);
    put_message(&f, FUNCTION_NODE, node_of("Add", "", "x b", "b2"));
    expect_inlined(model_with(node_of("both", "local", "x y", "p q"), f),
                   "[Relu(x)->y; Add(x,y)->q; Identity(x)->p; y]");
}

Test(inlining, what_the_call_leaves_out_is_omitted)
{
    bytes f = function("clip", "x low high", "y spare", 17);
    put_message(&f, FUNCTION_NODE, node_of("Clip", "", "x low high", "y"));
    put_message(&f, FUNCTION_NODE, node_of("Neg", "", "y", "spare"));
    expect_inlined(model_with(node_of("clip", "local", "x - y", "z"), f),
                   "[Relu(x)->y; Clip(x,,y)->z; Neg(z)->spare; y]");
}

Test(inlining, a_reference_without_a_value_is_no_attribute)
{
    bytes f = function("act", "x", "y", 17);
    put_message(&f, FUNCTION_NODE,
                with(node_of("LeakyRelu", "", "x", "y"), reference("alpha", "alpha")));
    expect_inlined(model_with(node_of("act", "local", "x", "z"), f),
                   "[Relu(x)->y; LeakyRelu(x)->z; y]");
}

Test(inlining, opsets_are_made_the_same)
{
    bytes lower = function("f", "x", "y", 13), higher = function("f", "x", "y", 18);
    put_message(&lower, FUNCTION_NODE, node_of("Neg", "", "x", "y"));
    put_message(&higher, FUNCTION_NODE, node_of("Mish", "", "x", "y"));
    expect_inlined(model_with(node_of("f", "local", "x", "z"), lower),
                   "[Relu(x)->y; Neg(x)->z; y]");
    loaded l;
    load_in(&l, model_with(node_of("f", "local", "x", "z"), higher), NULL, NULL);
    cr_assert_eq(oxp_model_inline_functions(l.model), OXP_OK, "%s", l.ctx.message);
    cr_expect_eq(oxp_model_opset(l.model, ""), 18);
    unload(&l);
    bytes other = function("f", "x", "y", 17);
    put_message(&other, FUNCTION_NODE, node_of("Gelu", "other", "x", "y"));
    put_message(&other, FUNCTION_OPSET, opset("other", 2));
    bytes b = model_with(node_of("f", "local", "x", "z"), other);
    put_message(&b, MODEL_OPSET, opset("other", 1));
    expect_not_inlined(b, OXP_EUNSUPPORTED, "E-OPSET", "needs opset 2 of domain \"other\"");
}

Test(inlining, a_call_with_too_many_arguments_is_refused)
{
    expect_not_inlined(model_with(node_of("act", "local", "x x y", "z"), activation()), OXP_EFORMAT,
                       "E-ARITY", "3 inputs and 1 outputs, it has 2 and 1");
}

Test(inlining, a_model_without_calls_keeps_its_functions)
{
    loaded l;
    load_in(&l, model_with(node_of("Neg", "", "y", "z"), activation()), NULL, NULL);
    cr_assert_eq(oxp_model_inline_functions(l.model), OXP_OK);
    cr_expect(oxp_model_is_function(l.model, "local", "act"));
    unload(&l);
}

/* y and a [2, 1] constant go into a body of one node. */
static bytes call_with_constant(const char *type, float value)
{
    bytes f = function("two", "a w", "b", 17), g = graph();
    bytes t = tensor("w", OXP_FLOAT, 2, (int64_t[]){2, 1});
    put_float(&t, TENSOR_FLOAT, 1);
    put_float(&t, TENSOR_FLOAT, value);
    put_message(&f, FUNCTION_NODE, node_of(type, "", "a w", "b"));
    put_message(&g, GRAPH_INITIALIZER, t);
    put_message(&g, GRAPH_NODE, node_of("two", "local", "y w", "z"));
    bytes b = model(g);
    put_message(&b, MODEL_OPSET, opset("local", 1));
    put_message(&b, MODEL_FUNCTION, f);
    return b;
}

Test(inlining, a_weight_that_a_body_multiplies_is_finite)
{
    expect_not_inlined(call_with_constant("MatMul", INFINITY), OXP_EFORMAT, "E-NONFINITE",
                       "initializer \"w\": infinity at index 1");
    expect_inlined(call_with_constant("MatMul", 2), "[Relu(x)->y; MatMul(y,w)->z; y]");
    expect_inlined(call_with_constant("Add", -INFINITY), "[Relu(x)->y; Add(y,w)->z; y]");
}
