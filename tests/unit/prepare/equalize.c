/* Factors moved between layers: the outputs stay, bit for bit, and channels become alike. */
#include "prepare/equalize.h"

#include "unit/prepare/small_models.h"

static oxp_equalize_result equalized;

static void teardown(void)
{
    oxp_equalize_release(&equalized);
    small_teardown();
}

TestSuite(equalize, .init = small_setup, .fini = teardown);

static const oxp_equalize_options balanced = {.activations = 1};

/* Weights whose row `m` (first dim) is 2^((5m) mod 7 − 3) times as large as the others'. */
static void uneven(const char *name, int rank, const int64_t *dims)
{
    size_t rest = 1;
    for (int i = 1; i < rank; i++)
        rest *= (size_t)dims[i];
    float *data = calloc((size_t)dims[0] * rest + 1, sizeof *data);
    oxp_random random = oxp_random_make(11, oxp_hash(name, strlen(name)), 0);
    for (size_t m = 0; m < (size_t)dims[0]; m++)
        for (size_t k = 0; k < rest; k++)
            data[m * rest + k] =
                ldexpf((float)(oxp_random_uniform(&random) - 0.4), (int)(5 * m % 7) - 3);
    constant(name, OXP_FLOAT, rank, dims, data);
    free(data);
}

static void equalize_with(oxp_equalize_options options)
{
    oxp_arena arena;
    oxp_arena_init(&arena, &ctx);
    oxp_tensor tensors[8] = {0};
    const oxp_tensor *fed[8];
    const oxp_tensor *const *samples[1] = {fed};
    draw_inputs(tensors, &arena);
    for (size_t i = 0; i < 8; i++)
        fed[i] = &tensors[i];
    options.samples = samples;
    options.sample_count = 1;
    ok(oxp_equalize(&prepared, &equalized, model, &options));
    oxp_arena_free(&arena);
    cr_assert_str_empty(equalized.why_unchecked);
    ok(oxp_alloc(&result.tensors, &ctx, equalized.tensor_count + 1, sizeof *result.tensors,
                 "names"));
    for (size_t i = 0; i < equalized.tensor_count; i++)
        result.tensors[result.tensor_count++] = equalized.tensors[i];
}

/* Outputs bit for bit, other constants untouched, `groups` of channels with factors. */
static void expect_groups(size_t groups)
{
    equalize_with(balanced);
    cr_expect_eq(equalized.group_count, groups, "%zu groups, expected %zu", equalized.group_count,
                 groups);
    cr_expect_eq(equalized.undone, 0);
    cr_expect_eq(equalized.difference, 0);
    cr_expect_eq(equalized.tensor_count > 0, groups > 0);
    expect_same_outputs(0);
    expect_the_rest_identical();
}

static void next(void)
{
    oxp_equalize_release(&equalized);
    oxp_free(result.tensors);
    result.tensors = NULL;
    result.tensor_count = 0;
    again();
}

/* x [N, 3, 8, 8] → Conv c with 7 uneven channels. */
static void begin(void)
{
    start(13);
    input("x", DIMS(-1, 3, 8, 8));
    uneven("w", DIMS(7, 3, 3, 3));
    uneven("b", DIMS(7));
    node("Conv", "x w b", "c");
}

/* Conv v on `from` with `channels` of them makes the output. */
static void finish(const char *from, int64_t channels)
{
    char inputs[64];
    snprintf(inputs, sizeof inputs, "%s v", from);
    weights("v", DIMS(4, channels, 1, 1));
    node("Conv", inputs, "y");
    output("y");
}

/* ---- what factors pass ---- */

Test(equalize, positively_homogeneous_operators_are_passed)
{
    static const char *const types[] = {"Relu",     "LeakyRelu",         "Abs",          "Neg",
                                        "Identity", "GlobalAveragePool", "GlobalMaxPool"};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        begin();
        node(types[i], "c", "r");
        finish("r", 7);
        expect_groups(1);
        next();
    }
}

Test(equalize, what_is_not_homogeneous_is_not)
{
    static const char *const types[] = {"Sigmoid", "HardSigmoid", "Tanh", "Softplus", "Exp", "Elu"};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        begin();
        node(types[i], "c", "r");
        finish("r", 7);
        expect_groups(0);
        next();
    }
}

/* x·sigmoid(x) too: one of the two readers pins the channels. */
Test(equalize, one_reader_that_needs_the_size_pins_it)
{
    begin();
    node("HardSigmoid", "c", "h");
    node("Mul", "c h", "r");
    finish("r", 7);
    expect_groups(0);
}

Test(equalize, outputs_of_the_graph_keep_their_size)
{
    begin();
    node("Relu", "c", "r");
    finish("r", 7);
    output("r");
    expect_groups(0);
}

Test(equalize, bounds_that_are_numbers_keep_the_size)
{
    begin();
    number("low", 0);
    number("high", 6);
    node("Clip", "c low high", "r");
    finish("r", 7);
    expect_groups(0);
}

Test(equalize, a_depthwise_conv_stands_between_two_groups)
{
    begin();
    node("Relu", "c", "r");
    weights("d", DIMS(7, 1, 3, 3));
    ok(oxp_edit_set_int(model, node("Conv", "r d", "s"), "group", 7));
    node("Relu", "s", "t");
    finish("t", 7);
    equalize_with((oxp_equalize_options){.activations = 1});
    cr_expect_eq(equalized.group_count, 2);
    cr_expect_eq(equalized.difference, 0);
    expect_same_outputs(0);
    expect_the_rest_identical();
}

Test(equalize, a_sum_shares_its_factors)
{
    begin();
    node("Relu", "c", "r");
    weights("u", DIMS(7, 7, 1, 1));
    node("Conv", "r u", "s");
    node("Add", "s r", "t");
    finish("t", 7);
    expect_groups(1);
    cr_expect_eq(equalized.groups[0].layers, 2);
    cr_expect_eq(equalized.groups[0].channels, 7);
}

/* As BlazeFace widens its trunk. */
Test(equalize, channels_of_zeros_behind)
{
    begin();
    node("Relu", "c", "r");
    float zeros[2 * 2 * 36] = {0};
    constant("z", OXP_FLOAT, DIMS(2, 2, 6, 6), zeros);
    ok(oxp_edit_set_int(model, node("Concat", "r z", "p"), "axis", 1));
    weights("u", DIMS(9, 7, 1, 1));
    node("Conv", "r u", "s");
    node("Add", "s p", "t");
    finish("t", 9);
    expect_groups(1);
    cr_expect_eq(equalized.groups[0].channels, 9);
}

Test(equalize, concat_keeps_channels_apart)
{
    begin();
    node("Relu", "c", "r");
    node("Sigmoid", "r", "s"); /* pins r, and its own channels have no factor */
    uneven("u", DIMS(5, 7, 1, 1));
    node("Conv", "s u", "e");
    ok(oxp_edit_set_int(model, node("Concat", "r e", "p"), "axis", 1));
    finish("p", 12);
    expect_groups(1);
    cr_expect_eq(equalized.groups[0].channels, 5);
}

Test(equalize, a_gate_is_pinned_and_what_it_gates_passes)
{
    begin();
    node("Relu", "c", "r");
    node("GlobalAveragePool", "r", "m");
    weights("u", DIMS(7, 7, 1, 1));
    node("Conv", "m u", "e");
    node("HardSigmoid", "e", "h");
    node("Mul", "h r", "t");
    finish("t", 7);
    expect_groups(1);
    cr_expect_eq(equalized.groups[0].layers, 2, "the gate's layer reads the channels too");
}

/* The gate has channels here, and another reader that would gain by factors of its own. */
Test(equalize, a_gate_that_a_layer_makes_is_pinned_too)
{
    begin();
    node("Relu", "c", "r");
    node("GlobalAveragePool", "r", "m");
    uneven("u", DIMS(7, 7, 1, 1));
    node("Conv", "m u", "e");
    node("Mul", "r e", "t");
    weights("o", DIMS(4, 7, 1, 1));
    node("Conv", "e o", "z");
    output("z");
    finish("t", 7);
    expect_groups(1);
}

Test(equalize, pools_and_resize)
{
    begin();
    ints(node("MaxPool", "c", "p"), "kernel_shape", 2, (int64_t[]){2, 2});
    float scales[4] = {1, 1, 2, 2};
    constant("scales", OXP_FLOAT, DIMS(4), scales);
    node("Resize", "p _ scales", "r");
    finish("r", 7);
    expect_groups(1);
}

Test(equalize, a_prelu)
{
    begin();
    weights("slope", DIMS(7, 1, 1));
    node("PRelu", "c slope", "r");
    finish("r", 7);
    expect_groups(1);
}

/* Max(x, t) becomes Max(x, t/s). The numbers are read elsewhere too, and stay there. */
Test(equalize, numbers_beside_the_data_follow)
{
    begin();
    weights("t", DIMS(7, 1, 1));
    node("Max", "c t", "r");
    finish("r", 7);
    node("Relu", "t", "z");
    output("z");
    expect_groups(1);
    cr_expect(!is_listed("t"));
}

Test(equalize, one_number_for_all_channels_pins_them)
{
    begin();
    number("n", -0.4f);
    node("Max", "c n", "r");
    finish("r", 7);
    expect_groups(0);
}

Test(equalize, a_transposed_convolution)
{
    begin();
    node("Relu", "c", "r");
    weights("u", DIMS(7, 5, 2, 2));
    node("ConvTranspose", "r u", "y");
    output("y");
    expect_groups(1);
    cr_expect_eq(equalized.groups[0].channels, 7);
}

Test(equalize, weights_of_two_layers_keep_both)
{
    begin();
    node("Relu", "c", "r");
    weights("v", DIMS(7, 7, 1, 1));
    node("Conv", "r v", "s");
    node("Sigmoid", "s", "t");
    node("Conv", "t v", "y");
    output("y");
    expect_groups(0);
}

Test(equalize, a_gemm_behind_flatten)
{
    begin();
    node("Relu", "c", "r");
    node("Flatten", "r", "f");
    weights("v", DIMS(5, 7 * 36));
    ok(oxp_edit_set_int(model, node("Gemm", "f v", "y"), "transB", 1));
    output("y");
    expect_groups(1);
    cr_expect_eq(equalized.groups[0].channels, 7);
}

/* ---- transformers ---- */

/* x [N, 6, 12] → LayerNormalization n, scale uneven. */
static void begin_rows(void)
{
    start(17);
    input("x", DIMS(-1, 6, 12));
    uneven("gamma", DIMS(12));
    uneven("beta", DIMS(12));
    node("LayerNormalization", "x gamma beta", "n");
}

Test(equalize, outliers_go_into_the_layer_normalization)
{
    begin_rows();
    weights("w", DIMS(12, 8));
    node("MatMul", "n w", "y");
    output("y");
    expect_groups(1);
    cr_expect(is_listed("gamma") && is_listed("beta") && is_listed("w"));
}

Test(equalize, and_into_what_stands_for_one)
{
    start(13);
    input("x", DIMS(-1, 6, 12));
    node("Sigmoid", "x", "s");
    uneven("gamma", DIMS(12));
    uneven("beta", DIMS(12));
    node("Mul", "gamma s", "m");
    node("Add", "m beta", "n");
    weights("w", DIMS(12, 8));
    node("MatMul", "n w", "y");
    output("y");
    expect_groups(1);
}

/* A residual stream that a LayerNormalization reads keeps its size. */
Test(equalize, but_not_past_a_residual_that_is_normalised)
{
    begin_rows();
    weights("w", DIMS(12, 12));
    node("MatMul", "n w", "m");
    node("Add", "m n", "a");
    weights("g2", DIMS(12));
    node("LayerNormalization", "a g2", "y");
    output("y");
    expect_groups(0);
}

/* Q, K and V from one product, cut apart; the factors of V pass the attention. */
Test(equalize, values_of_an_attention)
{
    begin_rows();
    weights("w", DIMS(12, 36));
    uneven("b", DIMS(36)); /* makes the channels of the values differ */
    node("MatMul", "n w", "m");
    node("Add", "m b", "a");
    integers("split", 5, (int64_t[]){0, 6, 3, 3, 4});
    node("Reshape", "a split", "h"); /* N, tokens, 3, heads, 4 */
    ints(node("Transpose", "h", "t"), "perm", 5, (int64_t[]){2, 0, 3, 1, 4});
    integers("zero", 1, (int64_t[]){0});
    integers("one", 1, (int64_t[]){1});
    integers("two", 1, (int64_t[]){2});
    integers("three", 1, (int64_t[]){3});
    node("Slice", "t zero one zero", "q1");
    node("Slice", "t one two zero", "k1");
    node("Slice", "t two three zero", "v1");
    node("Squeeze", "q1 zero", "q");
    node("Squeeze", "k1 zero", "k");
    node("Squeeze", "v1 zero", "v");
    ints(node("Transpose", "k", "kt"), "perm", 4, (int64_t[]){0, 1, 3, 2});
    node("MatMul", "q kt", "scores");
    node("Softmax", "scores", "p");
    node("MatMul", "p v", "o");
    ints(node("Transpose", "o", "ot"), "perm", 4, (int64_t[]){0, 2, 1, 3});
    integers("join", 3, (int64_t[]){0, 6, 12});
    node("Reshape", "ot join", "of");
    weights("u", DIMS(12, 5));
    node("MatMul", "of u", "y");
    output("y");
    expect_groups(2);
    cr_expect_eq(equalized.groups[1].channels, 12);
}

/* ---- which factors ---- */

static double size_of_channel(const char *name, size_t channel, size_t stride, size_t step,
                              size_t count)
{
    oxp_arena arena;
    oxp_arena_init(&arena, &ctx);
    oxp_tensor t;
    double most = 0;
    cr_assert(find_constant(&t, &arena, prepared, name));
    for (size_t i = 0; i < count; i++)
        most = fmax(most, fabs((double)((float *)t.data)[channel * stride + i * step]));
    oxp_arena_free(&arena);
    return most;
}

/* Where weights do not count, the channels of the tensor come out nearly equally large; where they
 * alone count, the columns of the layer that reads it. Before, they are apart by 16 and 35. */
Test(equalize, what_counts_comes_out_alike)
{
    for (int weights_alone = 0; weights_alone < 2; weights_alone++) {
        start(13);
        input("x", DIMS(-1, 1));
        uneven("w", DIMS(1, 1));
        float rows[6] = {1, 2, 4, 8, 16, 3}, columns[6] = {0.5f, 1, 7, 0.2f, 1, 3};
        constant("first", OXP_FLOAT, DIMS(1, 6), rows);
        constant("second", OXP_FLOAT, DIMS(6, 1), columns);
        node("MatMul", "x first", "a");
        node("Abs", "a", "r");
        node("MatMul", "r second", "y");
        output("y");
        equalize_with(
            (oxp_equalize_options){.activations = weights_alone ? 0 : 1e9, .any_factor = true});
        cr_assert_eq(equalized.group_count, 1);
        expect_same_outputs(1e-5);
        double least = INFINITY, most = 0;
        for (size_t c = 0; c < 6; c++) {
            double size = size_of_channel(weights_alone ? "second" : "first", c, 1, 1, 1);
            least = fmin(least, size);
            most = fmax(most, size);
        }
        cr_expect_lt(most / least, 2, "%g to %g", least, most);
        next();
    }
}

Test(equalize, factors_are_powers_of_two)
{
    begin();
    node("Relu", "c", "r");
    finish("r", 7);
    equalize_with(balanced);
    cr_assert_eq(equalized.group_count, 1);
    oxp_arena arena;
    oxp_arena_init(&arena, &ctx);
    oxp_tensor before, after;
    size_t changed = 0;
    cr_assert(find_constant(&before, &arena, model, "w") &&
              find_constant(&after, &arena, prepared, "w"));
    for (size_t i = 0; i < before.count; i++) {
        int exponent;
        float factor = ((float *)after.data)[i] / ((float *)before.data)[i];
        cr_expect_eq(frexpf(factor, &exponent), 0.5f);
        changed += factor != 1;
    }
    cr_expect_gt(changed, 0);
    oxp_arena_free(&arena);
}

/* Rows that are alike already. */
Test(equalize, what_would_gain_nothing_is_left)
{
    start(13);
    input("x", DIMS(-1, 3, 8, 8));
    weights("w", DIMS(7, 3, 3, 3));
    node("Conv", "x w", "c");
    node("Relu", "c", "r");
    finish("r", 7);
    expect_groups(0);
}

/* Less than is asked for: nothing is changed, and what was expected is told. */
Test(equalize, what_promises_too_little_is_left)
{
    static const oxp_equalize_options asked[] = {
        {.activations = 1, .least_gain_db = 1, .large_macs = 1e9, .least_gain_large_db = 100},
        {.activations = 1, .least_gain_db = 100, .large_macs = 1e9, .least_gain_large_db = 1},
        {.activations = 1, .least_gain_db = 1, .large_macs = 1, .least_gain_large_db = 100}};
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
        begin();
        node("Relu", "c", "r");
        finish("r", 7);
        equalize_with(asked[i]);
        cr_expect_gt(equalized.expected_db, 1);
        cr_expect_lt(equalized.expected_db, 100);
        cr_expect_eq(equalized.promises_little, i > 0);
        cr_expect_eq(equalized.group_count, i == 0);
        cr_expect_eq(equalized.tensor_count > 0, i == 0);
        expect_same_outputs(0);
        expect_the_rest_identical();
        next();
    }
}

Test(equalize, nothing_without_samples)
{
    begin();
    node("Relu", "c", "r");
    finish("r", 7);
    ok(oxp_equalize(&prepared, &equalized, model, &(oxp_equalize_options){.activations = 1}));
    cr_expect_str_eq(equalized.why_unchecked, "no samples");
    expect_the_rest_identical();
}
