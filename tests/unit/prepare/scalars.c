/* Constant factors and terms in the weights beside them. */
#include "unit/prepare/small_models.h"

SMALL_SUITE(scalars);

static const oxp_prepare_options scalars_only = {.fold_scalars = true};

static void expect_nodes(size_t nodes)
{
    prepare_with(scalars_only);
    cr_assert(result.checked, "%s", result.why_unchecked);
    cr_expect_eq(count_nodes(prepared), nodes);
    expect_sound();
}

/* x [N, 4, 6, 6] → Relu r, then a Conv that reads `from`. */
static void begin(void)
{
    start(13);
    input("x", DIMS(-1, 4, 6, 6));
    node("Relu", "x", "r");
    weights("w", DIMS(5, 4, 3, 3));
    number("s", 1.5f);
    number("t", -0.75f);
}

static void conv(const char *inputs, const char *out, int64_t pad)
{
    ints(node("Conv", inputs, out), "pads", 4, (int64_t[]){pad, pad, pad, pad});
}

/* Each of these behind the Conv is no node of its own. */
Test(scalars, behind_a_conv)
{
    static const char *const forms[][2] = {{"Add", "c t"}, {"Add", "t c"}, {"Sub", "c t"},
                                           {"Sub", "t c"}, {"Mul", "c s"}, {"Mul", "s c"},
                                           {"Div", "c s"}};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        begin();
        conv("r w", "c", 1);
        node(forms[i][0], forms[i][1], "y");
        output("y");
        expect_nodes(2);
        again();
    }
}

Test(scalars, one_over_the_conv_stays)
{
    begin();
    conv("r w", "c", 1);
    node("Div", "s c", "y");
    output("y");
    expect_nodes(3);
    cr_expect_eq(result.tensor_count, 0);
}

Test(scalars, a_row_behind_is_rounded_once)
{
    begin();
    conv("r w", "c", 1);
    node("Mul", "c s", "a");
    node("Add", "a t", "b");
    node("Div", "b s", "d");
    node("Sub", "t d", "y");
    output("y");
    expect_nodes(2);
    cr_expect_eq(result.steps[4].changed, 1, "the row is one place");
    oxp_arena arena;
    oxp_arena_init(&arena, &ctx);
    oxp_tensor before, after; /* s/s is one, what remains of the factors is -1: exact */
    cr_assert(find_constant(&before, &arena, model, "w") &&
              find_constant(&after, &arena, prepared, "w"));
    for (size_t i = 0; i < before.count; i++)
        cr_assert_eq(((float *)after.data)[i], -((float *)before.data)[i]);
    oxp_arena_free(&arena);
}

Test(scalars, behind_a_gemm)
{
    start(13);
    input("x", DIMS(-1, 3));
    weights("w", DIMS(5, 3));
    number("s", 2);
    ok(oxp_edit_set_int(model, node("Gemm", "x w", "c"), "transB", 1));
    node("Mul", "c s", "y");
    output("y");
    expect_nodes(1);
    cr_expect_eq(result.tensor_count, 1);
}

/* MatMul and a bias is the form that runs fast. */
Test(scalars, the_bias_of_a_matmul_stays)
{
    start(13);
    input("x", DIMS(-1, 3));
    weights("w", DIMS(3, 5));
    weights("b", DIMS(5));
    node("MatMul", "x w", "c");
    node("Add", "c b", "y");
    output("y");
    expect_nodes(2);
}

Test(scalars, before_an_unpadded_conv)
{
    begin();
    node("Mul", "s r", "a");
    node("Add", "a t", "b");
    conv("b w", "y", 0);
    output("y");
    expect_nodes(2);
}

Test(scalars, a_factor_before_a_padded_conv)
{
    begin();
    node("Mul", "s r", "a");
    conv("a w", "y", 1);
    output("y");
    expect_nodes(2);
    cr_expect_eq(result.tensor_count, 1);
}

Test(scalars, a_term_before_a_padded_conv_stays)
{
    begin();
    node("Add", "r t", "a");
    conv("a w", "y", 1);
    output("y");
    expect_nodes(3);
    cr_expect_eq(result.tensor_count, 0);
}

/* s·r + t = s·(r + t/s): the factor goes, the term stays. */
Test(scalars, a_factor_and_a_term_before_a_padded_conv)
{
    begin();
    node("Mul", "s r", "a");
    node("Add", "a t", "b");
    conv("b w", "y", 1);
    output("y");
    expect_nodes(3);
    cr_expect_eq(count_type(prepared, "Mul"), 0);
    cr_expect_eq(count_type(prepared, "Add"), 1);
}

Test(scalars, factors_per_channel_before_a_grouped_conv)
{
    start(13);
    input("x", DIMS(-1, 4, 6, 6));
    node("Relu", "x", "r");
    weights("w", DIMS(4, 1, 3, 3));
    weights("s", DIMS(1, 4, 1, 1));
    node("Mul", "r s", "a");
    oxp_node_proto *n = node("Conv", "a w", "y");
    ok(oxp_edit_set_int(model, n, "group", 4));
    ints(n, "pads", 4, (int64_t[]){1, 1, 1, 1});
    output("y");
    expect_nodes(2);
}

Test(scalars, a_factor_with_another_reader_stays)
{
    begin();
    node("Mul", "s r", "a");
    conv("a w", "y", 1);
    node("Neg", "a", "z");
    output("y");
    output("z");
    expect_nodes(4);
}

Test(scalars, a_constant_of_more_dimensions_stays)
{
    begin();
    weights("k", DIMS(1, 1, 1, 1, 1));
    conv("r w", "c", 1);
    node("Mul", "c k", "y");
    output("y");
    expect_nodes(3);
}

Test(scalars, shared_weights_stay)
{
    start(13);
    input("x", DIMS(-1, 4, 6, 6));
    weights("w", DIMS(4, 4, 3, 3));
    number("s", 2);
    conv("x w", "c", 1);
    node("Mul", "c s", "h");
    conv("h w", "y", 1);
    output("y");
    expect_nodes(3);
    cr_expect_not_null(strstr(text_about("h"), "shared"), "%s", text_about("h"));
    cr_expect_eq(result.tensor_count, 0);
}

Test(scalars, a_factor_that_leaves_the_range_stays)
{
    begin();
    number("huge", 3e38f);
    number("tiny", 1e-30f);
    node("Mul", "r tiny", "a");
    conv("a w", "c", 1);
    weights_between("v", 10, 20, DIMS(3, 5, 1, 1));
    conv("c v", "d", 0);
    node("Mul", "d huge", "y");
    output("y");
    prepare_with(scalars_only);
    cr_expect_eq(count_type(prepared, "Mul"), 1, "10 times 3e38 is no float");
    cr_expect_not_null(strstr(text_about("y"), "not finite"), "%s", text_about("y"));
}

/* HardSwish as exporters write it, between two Convs: with activations recognised first nothing
 * of it is taken apart. */
Test(scalars, the_constants_of_an_activation_do_not_move)
{
    begin();
    number("three", 3);
    number("six", 6);
    number("zero", 0);
    conv("r w", "c", 1);
    node("Add", "c three", "a");
    node("Clip", "a zero six", "h");
    node("Mul", "c h", "p");
    node("Div", "p six", "u");
    node("Mul", "u s", "v");
    node("Add", "v t", "b");
    weights("w2", DIMS(3, 5, 1, 1));
    conv("b w2", "y", 0);
    output("y");
    prepare_all();
    cr_expect_eq(count_nodes(prepared), 5);
    cr_expect_eq(count_type(prepared, "HardSigmoid"), 1);
    expect_sound();
}
