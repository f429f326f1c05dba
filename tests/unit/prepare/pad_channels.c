/* Channels padded with zeros, and nodes spelled so that convolutions stay in blocks: the outputs
 * stay what they are. */
#include "unit/prepare/small_models.h"

SMALL_SUITE(pad_channels);

static const oxp_prepare_options channels_only = {.block_channels = 16};

static void prepare_channels(void)
{
    prepare_with(channels_only);
    cr_assert(result.checked, "%s", result.why_unchecked);
    expect_sound();
}

static oxp_node_proto *conv(const char *inputs, const char *out, int64_t pad)
{
    oxp_node_proto *n = node("Conv", inputs, out);
    ints(n, "pads", 4, (int64_t[]){pad, pad, pad, pad});
    return n;
}

static void expect_dims(const char *name, int64_t first, int64_t second)
{
    oxp_arena arena;
    oxp_arena_init(&arena, &ctx);
    oxp_tensor t;
    cr_assert(find_constant(&t, &arena, prepared, name), "%s is gone", name);
    cr_expect_eq(t.dims[0], first, "%s: %lld rows", name, (long long)t.dims[0]);
    if (second)
        cr_expect_eq(t.dims[1], second, "%s: %lld columns", name, (long long)t.dims[1]);
    oxp_arena_free(&arena);
}

static int64_t group_of(const char *made)
{
    const oxp_node_proto *n = node_making(prepared, made);
    for (size_t i = 0; i < oxp_node_proto_attribute_count(n); i++) {
        oxp_attribute a;
        oxp_node_proto_attribute(n, i, &a);
        if (strcmp(a.name, "group") == 0)
            return a.i;
    }
    return 1;
}

/* x [N, 3, 6, 6] -> a (20) -> depthwise d -> GlobalAveragePool g -> s (7) -> HardSigmoid h (20);
 * d * h -> y (5). */
static void squeeze_and_excite(void)
{
    start(13);
    input("x", DIMS(-1, 3, 6, 6));
    weights("aw", DIMS(20, 3, 3, 3));
    weights("ab", DIMS(20));
    weights("dw", DIMS(20, 1, 3, 3));
    weights("db", DIMS(20));
    weights("sw", DIMS(7, 20, 1, 1));
    weights("sb", DIMS(7));
    weights("hw", DIMS(20, 7, 1, 1));
    weights("yw", DIMS(5, 20, 1, 1));
    conv("x aw ab", "a", 1);
    node("Relu", "a", "r");
    ok(oxp_edit_set_int(model, conv("r dw db", "d", 1), "group", 20));
    node("GlobalAveragePool", "d", "g");
    conv("g sw sb", "s", 0);
    conv("s hw", "t", 0);
    node("HardSigmoid", "t", "h");
    node("Mul", "d h", "m");
    conv("m yw", "y", 0);
    output("y");
}

Test(pad_channels, whole_blocks_around_a_pool_and_narrow_ones)
{
    squeeze_and_excite();
    prepare_channels();
    expect_dims("aw", 32, 3); /* the input is the graph's own: it stays */
    expect_dims("ab", 32, 0);
    expect_dims("dw", 32, 1);
    expect_dims("sw", 16, 32); /* 7 channels are less than half a block */
    expect_dims("hw", 32, 16);
    expect_dims("yw", 5, 32); /* so does the output */
    cr_expect_eq(group_of("d"), 32);
    cr_expect_eq(result.steps[OXP_PREPARE_STEPS - 1].changed, 2, "two groups of channels");
    again();
}

/* The pool's channels are those of a branch that stands before it. */
Test(pad_channels, a_pool_in_one_branch_counts_for_both)
{
    start(13);
    input("x", DIMS(-1, 3, 6, 6));
    weights("w", DIMS(20, 3, 3, 3));
    weights("v", DIMS(20, 3, 3, 3));
    weights("u", DIMS(4, 20, 1, 1));
    ints(conv("x w", "a", 1), "strides", 2, (int64_t[]){2, 2});
    conv("x v", "b", 1);
    oxp_node_proto *pool = node("MaxPool", "b", "p");
    ints(pool, "kernel_shape", 2, (int64_t[]){2, 2});
    ints(pool, "strides", 2, (int64_t[]){2, 2});
    node("Add", "a p", "s");
    conv("s u", "y", 0);
    output("y");
    prepare_channels();
    expect_dims("w", 32, 3);
    expect_dims("v", 32, 3);
    expect_dims("u", 4, 32);
}

Test(pad_channels, a_multiple_of_four_is_enough_without_a_pool)
{
    start(13);
    input("x", DIMS(-1, 3, 6, 6));
    weights("w", DIMS(22, 3, 3, 3));
    weights("v", DIMS(16, 22, 1, 1));
    conv("x w", "a", 1);
    node("Relu", "a", "r");
    conv("r v", "y", 0);
    output("y");
    prepare_channels();
    expect_dims("w", 24, 3);
    expect_dims("v", 16, 24);
}

static void expect_untouched(void)
{
    prepare_channels();
    cr_expect_eq(result.tensor_count, 0);
    cr_expect_eq(entries_of(OXP_PREPARE_CHANGED), 0);
}

Test(pad_channels, what_something_else_reads_stays)
{
    static const char *const readers[][2] = {
        {"Softmax", "r"}, {"Flatten", "r"}, {"Transpose", "r"}};
    for (size_t i = 0; i < sizeof readers / sizeof *readers; i++) {
        start(13);
        input("x", DIMS(-1, 3, 6, 6));
        weights("w", DIMS(6, 3, 3, 3));
        weights("v", DIMS(4, 6, 1, 1));
        conv("x w", "a", 1);
        node("Relu", "a", "r");
        node(readers[i][0], readers[i][1], "z");
        conv("r v", "y", 0);
        output("y");
        output("z");
        expect_untouched();
        again();
    }
}

Test(pad_channels, shared_weights_and_outputs_stay)
{
    start(13);
    input("x", DIMS(-1, 3, 6, 6));
    weights("w", DIMS(6, 3, 3, 3));
    conv("x w", "a", 1);
    conv("x w", "b", 1);
    node("Add", "a b", "y");
    output("y");
    expect_untouched();
}

Test(pad_channels, no_blocks_no_change)
{
    squeeze_and_excite();
    prepare_with((oxp_prepare_options){0});
    cr_expect_eq(result.tensor_count, 0);
    expect_sound();
}

/* A residual that gets wider: zeros appended to the channels, as an exporter writes them. */
static void widening(const char *added)
{
    static const float zeros[6 * 36];
    start(13);
    input("x", DIMS(1, 3, 6, 6));
    weights("w", DIMS(10, 3, 3, 3));
    weights("v", DIMS(16, 10, 1, 1));
    weights("u", DIMS(4, 16, 1, 1));
    constant("zeros", OXP_FLOAT, DIMS(1, 6, 6, 6), zeros);
    integers("shape", 4, (int64_t[]){1, 6, 6, 6});
    conv("x w", "a", 1);
    node("Relu", "a", "r");
    if (strcmp(added, "made") == 0)
        node("ConstantOfShape", "shape", "made");
    char inputs[32];
    snprintf(inputs, sizeof inputs, "r %s", added);
    ok(oxp_edit_set_int(model, node("Concat", inputs, "c"), "axis", 1));
    conv("r v", "b", 0);
    node("Add", "c b", "s");
    node("Relu", "s", "t");
    conv("t u", "y", 0);
    output("y");
}

Test(pad_channels, zeros_are_appended_by_a_conv)
{
    static const char *const kinds[] = {"zeros", "made"};
    for (size_t i = 0; i < 2; i++) {
        widening(kinds[i]);
        prepare_channels();
        cr_expect_eq(count_type(prepared, "Concat"), 0);
        cr_expect_eq(count_type(prepared, "ConstantOfShape"), 0);
        cr_expect_str_eq(oxp_node_proto_type(node_making(prepared, "c")), "Conv");
        again();
    }
}

Test(pad_channels, what_is_not_zero_is_not_appended_by_a_conv)
{
    start(13);
    input("x", DIMS(1, 3, 6, 6));
    weights("w", DIMS(16, 3, 3, 3));
    weights("v", DIMS(22, 16, 1, 1));
    weights("more", DIMS(1, 6, 6, 6));
    conv("x w", "a", 1);
    ok(oxp_edit_set_int(model, node("Concat", "a more", "c"), "axis", 1));
    conv("a v", "b", 0);
    node("Add", "c b", "y");
    output("y");
    prepare_channels();
    cr_expect_eq(count_type(prepared, "Concat"), 1);
}

/* y = a x + b that a padded Conv behind it cannot take. */
Test(pad_channels, a_scalar_before_a_padded_conv_is_a_depthwise_conv)
{
    start(13);
    input("x", DIMS(-1, 3, 6, 6));
    weights("w", DIMS(16, 3, 3, 3));
    weights("v", DIMS(4, 16, 3, 3));
    number("s", 1.5f);
    number("t", -0.75f);
    conv("x w", "a", 1);
    node("Relu", "a", "r");
    node("Mul", "r s", "m");
    node("Add", "t m", "c");
    conv("c v", "y", 1);
    output("y");
    prepare_channels();
    cr_expect_eq(count_type(prepared, "Mul") + count_type(prepared, "Add"), 0);
    cr_expect_eq(group_of("c"), 16);
    cr_expect_eq(count_type(prepared, "ConstantOfShape"), 2, "one number for all is not held");
    again();
}

Test(pad_channels, a_scalar_that_something_else_reads_stays)
{
    start(13);
    input("x", DIMS(-1, 3, 6, 6));
    weights("w", DIMS(16, 3, 3, 3));
    weights("v", DIMS(4, 16, 3, 3));
    number("t", -0.75f);
    conv("x w", "a", 1);
    node("Relu", "a", "r");
    node("Add", "t r", "c");
    conv("c v", "y", 1);
    node("Softmax", "c", "z");
    output("y");
    output("z");
    expect_untouched();
}
