/* BatchNormalization and its spellings in the weights of the operator beside it. */
#include "unit/prepare/small_models.h"

SMALL_SUITE(batch_normalization);

static const oxp_prepare_options normalization_only = {.fold_batch_normalization = true};

static void expect_folded(size_t nodes)
{
    prepare_with(normalization_only);
    cr_assert(result.checked, "%s", result.why_unchecked);
    cr_expect_eq(count_type(prepared, "BatchNormalization"), 0);
    cr_expect_eq(count_nodes(prepared), nodes);
    cr_expect_geq(result.difference, 0);
    cr_expect_lt(result.difference, 1e-5);
    expect_sound();
}

static void expect_kept(const char *type, const char *about, const char *reason)
{
    prepare_with(normalization_only);
    cr_assert(result.checked, "%s", result.why_unchecked);
    cr_expect_geq(count_type(prepared, type), 1, "%s was folded", type);
    cr_expect_not_null(strstr(text_about(about), reason), "\"%s\" lacks \"%s\"", text_about(about),
                       reason);
    cr_expect_eq(result.tensor_count, 0);
    expect_same_outputs(0);
}

/* x [N, 4, 6, 6] */
static oxp_node_proto *conv(const char *inputs, int64_t pad)
{
    input("x", DIMS(-1, 4, 6, 6));
    oxp_node_proto *n = node("Conv", inputs, "c");
    ints(n, "pads", 4, (int64_t[]){pad, pad, pad, pad});
    return n;
}

Test(batch_normalization, behind_a_conv_with_bias)
{
    start(13);
    weights("w", DIMS(5, 4, 3, 3));
    weights("b", DIMS(5));
    conv("x w b", 1);
    normalization("c", "y", 5);
    output("y");
    expect_folded(1);
    cr_expect(is_listed("w") && is_listed("b"));
    cr_expect_eq(result.tensor_count, 2, "weights and bias are changed in place");
    cr_expect_not(has_constant(prepared, "y_v"), "what only the normalisation read is gone");
}

Test(batch_normalization, behind_a_conv_without_bias)
{
    start(9);
    weights("w", DIMS(5, 4, 3, 3));
    conv("x w", 1);
    normalization("c", "y", 5);
    output("y");
    expect_folded(1);
    cr_expect(is_listed("w_bias"), "the new bias is listed");
}

Test(batch_normalization, the_numbers_are_those_of_the_formula)
{
    start(9);
    constant("w", OXP_FLOAT, DIMS(2, 1, 1, 1), (float[]){2, 3});
    constant("b", OXP_FLOAT, DIMS(2), (float[]){1, -1});
    constant("s", OXP_FLOAT, DIMS(2), (float[]){2, 4});
    constant("o", OXP_FLOAT, DIMS(2), (float[]){10, 20});
    constant("m", OXP_FLOAT, DIMS(2), (float[]){3, 5});
    constant("v", OXP_FLOAT, DIMS(2), (float[]){3.75f, 15.75f});
    input("x", DIMS(-1, 1, 2, 2));
    node("Conv", "x w b", "c");
    ok(oxp_edit_set_float(model, node("BatchNormalization", "c s o m v", "y"), "epsilon", 0.25f));
    output("y");
    expect_folded(1);
    oxp_arena arena;
    oxp_arena_init(&arena, &ctx);
    oxp_tensor t; /* factors 2/2 = 1 and 4/4 = 1 */
    cr_assert(find_constant(&t, &arena, prepared, "b"));
    cr_expect_eq(((float *)t.data)[0], 1 * 1 + 10 - 3);
    cr_expect_eq(((float *)t.data)[1], -1 * 1 + 20 - 5);
    oxp_arena_free(&arena);
}

Test(batch_normalization, behind_a_grouped_conv)
{
    start(13);
    weights("w", DIMS(6, 2, 3, 3));
    weights("b", DIMS(6));
    ok(oxp_edit_set_int(model, conv("x w b", 1), "group", 2));
    normalization("c", "y", 6);
    output("y");
    expect_folded(1);
}

Test(batch_normalization, behind_a_grouped_conv_transpose)
{
    start(13);
    weights("w", DIMS(4, 3, 2, 2));
    input("x", DIMS(-1, 4, 6, 6));
    oxp_node_proto *n = node("ConvTranspose", "x w", "c");
    ok(oxp_edit_set_int(model, n, "group", 2));
    ints(n, "strides", 2, (int64_t[]){2, 2});
    normalization("c", "y", 6);
    output("y");
    expect_folded(1);
}

Test(batch_normalization, behind_a_one_dimensional_conv)
{
    start(13);
    weights("w", DIMS(5, 4, 3));
    input("x", DIMS(-1, 4, 16));
    node("Conv", "x w", "c");
    normalization("c", "y", 5);
    output("y");
    expect_folded(1);
}

/* Gemm in all its forms: transB, alpha, beta, without C, C of one number. */
static void gemm(int64_t transposed, const char *inputs, int bias_rank, const int64_t *bias_dims)
{
    start(13);
    if (transposed)
        weights("w", DIMS(5, 3));
    else
        weights("w", DIMS(3, 5));
    if (bias_rank >= 0)
        weights("b", bias_rank, bias_dims);
    input("x", DIMS(-1, 3));
    oxp_node_proto *n = node("Gemm", inputs, "c");
    ok(oxp_edit_set_int(model, n, "transB", transposed));
    ok(oxp_edit_set_float(model, n, "alpha", 0.5f));
    ok(oxp_edit_set_float(model, n, "beta", 3));
    normalization("c", "y", 5);
    output("y");
    expect_folded(1);
    again();
}

Test(batch_normalization, behind_a_gemm)
{
    for (int64_t transposed = 0; transposed < 2; transposed++) {
        gemm(transposed, "x w b", DIMS(5));
        gemm(transposed, "x w b", DIMS(1, 5));
        gemm(transposed, "x w b", DIMS(1));
        gemm(transposed, "x w", -1, NULL);
    }
}

Test(batch_normalization, a_gemm_bias_per_row_is_none_per_channel)
{
    start(13);
    weights("w", DIMS(3, 5));
    weights("b", DIMS(2, 1));
    input("x", DIMS(2, 3));
    node("Gemm", "x w b", "c");
    normalization("c", "y", 5);
    output("y");
    expect_kept("BatchNormalization", "y", "");
}

Test(batch_normalization, behind_a_matmul_stays_one_add)
{
    start(13);
    weights("w", DIMS(3, 5));
    weights("b", DIMS(5));
    input("x", DIMS(-1, 3));
    node("MatMul", "x w", "m");
    node("Add", "m b", "a");
    normalization("a", "y", 5);
    output("y");
    expect_folded(2);
    cr_expect_str_eq(oxp_node_proto_type(node_making(prepared, "y")), "Add");
}

/* [N, 5, 5]: the channels of the normalisation are not the columns of the product. */
Test(batch_normalization, behind_a_matmul_of_more_dimensions_stays)
{
    start(13);
    weights("w", DIMS(3, 5));
    input("x", DIMS(-1, 5, 3));
    node("MatMul", "x w", "m");
    normalization("m", "y", 5);
    output("y");
    expect_kept("BatchNormalization", "y", "");
}

Test(batch_normalization, behind_a_conv_and_its_bias_as_an_add)
{
    start(13);
    weights("w", DIMS(5, 4, 3, 3));
    weights("b", DIMS(1, 5, 1, 1));
    conv("x w", 0);
    node("Add", "b c", "a");
    normalization("a", "y", 5);
    output("y");
    expect_folded(1);
}

/* What exporters write instead; a scalar on the way goes along, one at the end belongs to
 * another step. */
Test(batch_normalization, factors_and_terms_per_channel)
{
    start(13);
    weights("w", DIMS(5, 4, 3, 3));
    weights("s", DIMS(5, 1, 1));
    weights("t", DIMS(1, 5, 1, 1));
    weights_between("d", 1, 2, DIMS(1, 5, 1, 1));
    number("two", 2);
    conv("x w", 1);
    node("Mul", "s c", "a1");
    node("Sub", "a1 t", "a2");
    node("Mul", "a2 two", "a3");
    node("Div", "a3 d", "a4");
    node("Sub", "t a4", "a5");
    node("Mul", "two a5", "y");
    output("y");
    expect_folded(2);
    cr_expect_str_eq(oxp_node_proto_type(node_making(prepared, "y")), "Mul");
}

/* [5] stands on the last axis; [2, 1, 1, 1, 1] and [6, 1] would change the shape or the axis. */
Test(batch_normalization, what_is_not_per_channel_stays)
{
    static const struct {
        int rank;
        int64_t dims[5];
    } shapes[] = {
        {1, {4}}, {5, {1, 1, 1, 1, 1}}, {2, {4, 1}}, {4, {1, 5, 4, 1}}, {4, {2, 1, 1, 1}}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        start(13);
        weights("w", DIMS(5, 4, 3, 3));
        weights("s", shapes[i].rank, shapes[i].dims);
        conv("x w", 0);
        node("Mul", "c s", "y");
        output("y");
        prepare_with((oxp_prepare_options){.fold_batch_normalization = true, .fold_scalars = true});
        cr_expect_eq(count_nodes(prepared), 2, "shape %zu", i);
        expect_same_outputs(0);
        again();
    }
}

Test(batch_normalization, shared_weights_are_not_folded)
{
    start(13);
    weights("w", DIMS(4, 4, 3, 3));
    conv("x w", 1);
    normalization("c", "h", 4);
    ints(node("Conv", "h w", "y"), "pads", 4, (int64_t[]){1, 1, 1, 1});
    output("y");
    expect_kept("BatchNormalization", "h", "the weights are shared");
}

Test(batch_normalization, weights_that_are_an_output_are_not_folded)
{
    start(13);
    weights("w", DIMS(5, 4, 3, 3));
    conv("x w", 1);
    normalization("c", "y", 5);
    output("y");
    output("w");
    expect_kept("BatchNormalization", "y", "the weights are shared");
}

/* The terms alone need no change of the weights. */
Test(batch_normalization, a_term_is_folded_beside_shared_weights)
{
    start(13);
    weights("w", DIMS(4, 4, 3, 3));
    weights("t", DIMS(4, 1, 1));
    conv("x w", 1);
    node("Add", "c t", "h");
    ints(node("Conv", "h w", "y"), "pads", 4, (int64_t[]){1, 1, 1, 1});
    output("y");
    expect_folded(2);
    cr_expect_not(is_listed("w"));
}

Test(batch_normalization, a_shared_bias_is_copied)
{
    start(13);
    weights("w", DIMS(4, 4, 3, 3));
    weights("w2", DIMS(4, 4, 3, 3));
    weights("b", DIMS(4));
    conv("x w b", 1);
    normalization("c", "h", 4);
    node("Conv", "h w2 b", "y");
    output("y");
    expect_folded(2);
    cr_expect_not(is_listed("b"), "the bias of the other Conv is the given one");
}

Test(batch_normalization, two_readers_of_the_conv_keep_it)
{
    start(13);
    weights("w", DIMS(5, 4, 3, 3));
    conv("x w", 1);
    normalization("c", "n", 5);
    node("Add", "n c", "y");
    output("y");
    expect_kept("BatchNormalization", "n", "");
}

Test(batch_normalization, a_graph_output_between_keeps_it)
{
    start(13);
    weights("w", DIMS(5, 4, 3, 3));
    conv("x w", 1);
    normalization("c", "y", 5);
    output("y");
    output("c");
    expect_kept("BatchNormalization", "y", "");
}

Test(batch_normalization, training_mode_keeps_it)
{
    start(15);
    weights("w", DIMS(5, 4, 3, 3));
    conv("x w", 1);
    ok(oxp_edit_set_int(model, normalization("c", "y", 5), "training_mode", 1));
    output("y");
    prepare_with(normalization_only);
    cr_expect_eq(count_type(prepared, "BatchNormalization"), 1);
}

/* x [N, 4, 6, 6] → Relu → BatchNormalization → Conv */
static void before_a_conv(int64_t pad)
{
    start(13);
    weights("w", DIMS(6, 2, 3, 3));
    input("x", DIMS(-1, 4, 6, 6));
    node("Relu", "x", "r");
    normalization("r", "n", 4);
    oxp_node_proto *n = node("Conv", "n w", "y");
    ok(oxp_edit_set_int(model, n, "group", 2));
    ints(n, "pads", 4, (int64_t[]){pad, 0, 0, pad});
    output("y");
}

Test(batch_normalization, before_an_unpadded_conv)
{
    before_a_conv(0);
    expect_folded(2);
}

Test(batch_normalization, before_a_padded_conv_stays)
{
    before_a_conv(1);
    expect_kept("BatchNormalization", "n", "zeros are padded");
}

Test(batch_normalization, before_a_conv_that_pads_by_itself_stays)
{
    before_a_conv(0);
    ok(oxp_edit_remove_attribute(model, node_making(model, "y"), "pads"));
    ok(oxp_edit_set_string(model, node_making(model, "y"), "auto_pad", "SAME_UPPER"));
    expect_kept("BatchNormalization", "n", "zeros are padded");
}

Test(batch_normalization, between_two_convs_it_goes_back)
{
    start(13);
    weights("w", DIMS(5, 4, 3, 3));
    weights("w2", DIMS(6, 5, 1, 1));
    conv("x w", 1);
    normalization("c", "n", 5);
    node("Conv", "n w2", "y");
    output("y");
    expect_folded(2);
    cr_expect(is_listed("w") && !is_listed("w2"));
}

Test(batch_normalization, weights_in_constant_nodes)
{
    start(9);
    float data[5 * 4] = {0};
    for (size_t i = 0; i < 20; i++)
        data[i] = (float)i / 7 - 1;
    oxp_node_proto *c = node("Constant", "", "w");
    ok(oxp_edit_set_tensor_attribute(model, c, "value", OXP_FLOAT, DIMS(5, 4, 1, 1), data));
    conv("x w", 0);
    normalization("c", "y", 5);
    output("y");
    prepare_with(normalization_only);
    cr_expect_eq(count_nodes(prepared), 2);
    cr_expect(is_listed("w"));
    expect_same_outputs(2e-6);
}

/* The weights lie outside; only the body that a sample runs through is changed. */
Test(batch_normalization, in_bodies_where_a_sample_comes_by)
{
    oxp_model *bodies[2];
    for (int i = 0; i < 2; i++) {
        start(13);
        if (i)
            weights("w2", DIMS(5, 4, 3, 3));
        node("Conv", i ? "x w2" : "x w", i ? "e1" : "t1");
        normalization(i ? "e1" : "t1", i ? "e" : "t", 5);
        output(i ? "e" : "t");
        bodies[i] = model;
    }
    start(13);
    weights("w", DIMS(5, 4, 3, 3));
    input("x", DIMS(-1, 4, 6, 6));
    oxp_value_info condition = info_of("c", OXP_BOOL, 0, NULL);
    ok(oxp_edit_add_input(model, g, &condition));
    output("y");
    append_if("c", "y", bodies[0], bodies[1]);
    prepare_with(normalization_only);
    cr_expect_eq(count_type(prepared, "BatchNormalization"), 1);
    cr_expect(is_listed("w") && !is_listed("w2"));
    cr_expect_not_null(strstr(text_about("e"), "no sample comes by"), "%s", text_about("e"));
    expect_sound();
}

/* Conv -> Transpose -> Mul, Add per channel on the axis where the channels stand now. */
static void turned_norm(const int64_t perm[4], const int64_t dims[4])
{
    start(13);
    weights("w", DIMS(5, 4, 3, 3));
    weights_between("a", 0.5, 1.5, 4, dims);
    weights("b", 4, dims);
    conv("x w", 1);
    ints(node("Transpose", "c", "t"), "perm", 4, perm);
    node("Mul", "t a", "m");
    node("Add", "m b", "n");
    node("Relu", "n", "y");
    output("y");
    prepare_with(normalization_only);
    cr_assert(result.checked, "%s", result.why_unchecked);
}

Test(batch_normalization, behind_the_transpose_of_a_conv)
{
    turned_norm((int64_t[]){0, 2, 3, 1}, (int64_t[]){1, 1, 1, 5});
    cr_expect_eq(count_nodes(prepared), 3, "Conv, Transpose, Relu");
    cr_expect_eq(result.steps[2].changed, 1);
    expect_sound();
    again();
}

Test(batch_normalization, behind_a_transpose_on_another_axis_it_stays)
{
    turned_norm((int64_t[]){0, 2, 1, 3}, (int64_t[]){1, 1, 1, 6});
    cr_expect_eq(count_nodes(prepared), 5);
    expect_sound();
}
