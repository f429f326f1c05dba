/* Activations that exporters spell out, in every order of operands. */
#include "unit/prepare/small_models.h"

SMALL_SUITE(activations);

static const oxp_prepare_options activations_only = {.recognise_activations = true};

/* ---- HardSwish ---- */

typedef struct spelling {
    int64_t opset;
    bool add_reversed, divides, reversed;
    int form; /* 0: (x·h)/6, 1: x·(h/6), 2: (x/6)·h */
    float three, six, bound;
    const char *other; /* the factor beside the gate */
} spelling;

static const spelling plain = {
    .opset = 13, .divides = true, .three = 3, .six = 6, .bound = 6, .other = "r"};

static void product(const char *a, const char *b, const char *out, bool reversed)
{
    char inputs[64];
    snprintf(inputs, sizeof inputs, "%s %s", reversed ? b : a, reversed ? a : b);
    node("Mul", inputs, out);
}

static void sixth(const spelling *s, const char *of, const char *out)
{
    char inputs[64];
    snprintf(inputs, sizeof inputs, "%s six", of);
    if (s->divides)
        node("Div", inputs, out);
    else
        product(of, "six", out, s->reversed);
}

static void clip(const spelling *s)
{
    if (s->opset >= 11) {
        number("low", 0);
        number("high", s->bound);
        node("Clip", "a low high", "h");
        return;
    }
    oxp_node_proto *n = node("Clip", "a", "h");
    ok(oxp_edit_set_float(model, n, "min", 0));
    ok(oxp_edit_set_float(model, n, "max", s->bound));
}

static void build_hard_swish(const spelling *s)
{
    start(s->opset);
    input("x", DIMS(-1, 5));
    node("Abs", "x", "q");
    node("Neg", "x", "r");
    number("three", s->three);
    number("six", s->divides ? s->six : 1 / s->six);
    node("Add", s->add_reversed ? "three r" : "r three", "a");
    clip(s);
    if (s->form == 0) {
        product(s->other, "h", "p", s->reversed);
        sixth(s, "p", "y");
    } else if (s->form == 1) {
        sixth(s, "h", "p");
        product(s->other, "p", "y", s->reversed);
    } else {
        sixth(s, s->other, "p");
        product("p", "h", "y", s->reversed);
    }
    output("y");
    output("q");
}

Test(activations, hard_swish_in_every_order)
{
    for (int bits = 0; bits < 48; bits++) {
        spelling s = plain;
        s.opset = bits & 1 ? 9 : 13;
        s.add_reversed = bits & 2;
        s.divides = bits & 4;
        s.reversed = bits & 8;
        s.form = bits / 16;
        build_hard_swish(&s);
        prepare_with(activations_only);
        cr_assert(result.checked, "%s", result.why_unchecked);
        cr_expect_eq(count_nodes(prepared), 4, "order %d", bits);
        cr_expect_eq(count_type(prepared, "HardSigmoid"), 1, "order %d", bits);
        cr_expect_str_eq(oxp_node_proto_type(node_making(prepared, "y")), "Mul");
        cr_expect_eq(oxp_graph_proto_initializer_count(oxp_model_graph(prepared)), 0,
                     "constants are gone");
        cr_expect_eq(result.tensor_count, 0);
        expect_sound();
        again();
    }
}

static void expect_no_hard_swish(const spelling *s)
{
    build_hard_swish(s);
    size_t nodes = count_nodes(model);
    prepare_with(activations_only);
    cr_assert(result.checked, "%s", result.why_unchecked);
    cr_expect_eq(count_nodes(prepared), nodes);
    cr_expect_eq(count_type(prepared, "HardSigmoid"), 0);
    expect_same_outputs(0);
    again();
}

Test(activations, near_hard_swish_stays)
{
    spelling s = plain;
    s.three = 2;
    expect_no_hard_swish(&s);
    s = plain;
    s.six = 5;
    expect_no_hard_swish(&s);
    s = plain;
    s.bound = 5;
    expect_no_hard_swish(&s);
    s = plain;
    s.other = "q";
    expect_no_hard_swish(&s);
    s = plain;
    s.other = "h"; /* h·h/6 */
    expect_no_hard_swish(&s);
}

/* The gate or the sum is read once more, or leaves the graph. */
Test(activations, a_hard_swish_with_visible_parts_stays)
{
    static const char *const parts[] = {"a", "h", "p"};
    for (size_t i = 0; i < 3; i++) {
        build_hard_swish(&plain);
        output(parts[i]);
        prepare_with(activations_only);
        cr_expect_eq(count_type(prepared, "HardSigmoid"), 0, "%s", parts[i]);
        expect_same_outputs(0);
        again();
    }
}

/* The constants 3, 0 and 6 are often one initializer for the whole model. */
Test(activations, shared_constants_stay_while_they_are_read)
{
    build_hard_swish(&plain);
    node("Mul", "q three", "z");
    output("z");
    prepare_with(activations_only);
    cr_expect_eq(count_type(prepared, "HardSigmoid"), 1);
    cr_expect(has_constant(prepared, "three"));
    cr_expect_not(has_constant(prepared, "six"));
    expect_sound();
}

Test(activations, two_in_a_row_with_a_factor_between)
{
    start(13);
    input("x", DIMS(-1, 5));
    number("three", 3);
    number("six", 6);
    number("zero", 0);
    number("s", 0.5f);
    node("Add", "x three", "a");
    node("Clip", "a zero six", "h");
    node("Mul", "x h", "p");
    node("Div", "p six", "u");
    node("Mul", "u s", "v");
    node("Add", "three v", "b");
    node("Clip", "b zero six", "i");
    node("Div", "i six", "j");
    node("Mul", "j v", "y");
    output("y");
    prepare_with(activations_only);
    cr_expect_eq(count_type(prepared, "HardSigmoid"), 2);
    cr_expect_eq(count_nodes(prepared), 5);
    expect_sound();
}

/* ---- GELU ---- */

typedef struct gelu_spelling {
    bool divides, add_reversed, reversed;
    int form; /* 0: (x·g)·½, 1: (x·½)·g, 2: x·(g·½), 3: (x·g)/2 */
} gelu_spelling;

static void build_gelu(gelu_spelling s)
{
    start(13);
    input("x", DIMS(-1, 5));
    node("Neg", "x", "r");
    number("root", s.divides ? (float)sqrt(2) : (float)sqrt(0.5));
    number("one", 1);
    number("half", s.form == 3 ? 2 : 0.5f);
    if (s.divides)
        node("Div", "r root", "d");
    else
        product("r", "root", "d", s.reversed);
    node("Erf", "d", "e");
    node("Add", s.add_reversed ? "one e" : "e one", "g");
    const char *const first[4][2] = {{"r", "g"}, {"r", "half"}, {"g", "half"}, {"r", "g"}};
    const char *const second[4] = {"half", "g", "r", "half"};
    product(first[s.form][0], first[s.form][1], "p", s.reversed);
    if (s.form == 3)
        node("Div", "p half", "y");
    else
        product("p", second[s.form], "y", s.reversed);
    output("y");
}

Test(activations, gelu_gets_the_order_that_is_fused)
{
    for (int bits = 0; bits < 32; bits++) {
        gelu_spelling s = {bits & 1, bits & 2, bits & 4, bits / 8};
        build_gelu(s);
        prepare_with(activations_only);
        cr_assert(result.checked, "%s", result.why_unchecked);
        bool fused_before = s.divides && s.form < 2;
        cr_expect_eq(entries_of(OXP_PREPARE_LEFT), fused_before, "order %d", bits);
        cr_expect_eq(entries_of(OXP_PREPARE_CHANGED), !fused_before, "order %d", bits);
        cr_expect_eq(count_nodes(prepared), 6);
        cr_expect_eq(count_type(prepared, "Div"), 1, "order %d", bits);
        cr_expect_eq(count_type(prepared, "Mul"), 2, "order %d", bits);
        expect_sound();
        again();
    }
}

Test(activations, spelled_layer_normalization_is_recorded)
{
    start(13);
    input("x", DIMS(-1, 5));
    number("two", 2);
    number("epsilon", 1e-5f);
    ints(node("ReduceMean", "x", "m"), "axes", 1, (int64_t[]){-1});
    node("Sub", "x m", "d");
    node("Pow", "d two", "q");
    ints(node("ReduceMean", "q", "v"), "axes", 1, (int64_t[]){-1});
    node("Add", "v epsilon", "w");
    node("Sqrt", "w", "s");
    node("Div", "d s", "y");
    output("y");
    prepare_with(activations_only);
    cr_expect_eq(count_nodes(prepared), 7);
    cr_expect_eq(entries_of(OXP_PREPARE_LEFT), 1);
    cr_expect_not_null(strstr(text_about("y"), "LayerNormalization"), "%s", text_about("y"));
    expect_same_outputs(0);
}
