/* Nodes that hand on their input. */
#include "unit/prepare/small_models.h"

SMALL_SUITE(identities);

static const oxp_prepare_options constants_only = {.fold_constants = true};

Test(identities, readers_of_a_copied_initializer_read_the_initializer)
{
    start(13);
    weights("w", DIMS(3, 3));
    node("Identity", "w", "w2");
    input("x", DIMS(-1, 3));
    node("MatMul", "x w", "h");
    node("MatMul", "h w2", "y");
    output("y");
    prepare_with(constants_only);
    cr_expect_eq(count_nodes(prepared), 2);
    cr_expect_str_eq(oxp_node_proto_input(node_making(prepared, "y"), 1), "w");
    cr_expect_eq(result.tensor_count, 0, "the weight is the given one");
    expect_same_outputs(0);
    expect_sound();
}

Test(identities, a_row_of_them_goes_at_once)
{
    start(13);
    input("x", DIMS(-1, 3));
    node("Relu", "x", "r");
    node("Identity", "r", "a");
    node("Identity", "a", "b");
    node("Dropout", "b", "c");
    node("Identity", "c", "d");
    node("Neg", "d", "y");
    node("Neg", "b", "z");
    output("y");
    output("z");
    prepare_with(constants_only);
    cr_expect_eq(count_nodes(prepared), 3);
    expect_same_outputs(0);
    expect_sound();
}

Test(identities, the_name_of_a_graph_output_moves_to_the_node_before)
{
    start(13);
    input("x", DIMS(-1, 3));
    node("Relu", "x", "r");
    node("Neg", "r", "z");
    node("Identity", "r", "y");
    output("y");
    output("z");
    prepare_with(constants_only);
    cr_expect_eq(count_nodes(prepared), 2);
    cr_expect_str_eq(oxp_node_proto_type(node_making(prepared, "y")), "Relu");
    expect_same_outputs(0);
    expect_sound();
}

Test(identities, two_outputs_of_one_value_keep_one_copy)
{
    start(13);
    input("x", DIMS(-1, 3));
    node("Relu", "x", "r");
    node("Identity", "r", "y");
    node("Identity", "r", "z");
    output("y");
    output("z");
    prepare_with(constants_only);
    cr_expect_eq(count_nodes(prepared), 2);
    expect_same_outputs(0);
    expect_sound();
}

Test(identities, input_to_output_stays)
{
    start(13);
    input("x", DIMS(-1, 3));
    node("Identity", "x", "y");
    output("y");
    weights("w", DIMS(3));
    node("Identity", "w", "z");
    output("z");
    prepare_with(constants_only);
    cr_expect_eq(count_nodes(prepared), 2);
    expect_same_outputs(0);
}

Test(identities, a_dropout_whose_mask_is_read_stays)
{
    start(13);
    input("x", DIMS(-1, 3));
    node("Dropout", "x", "d m");
    node("Neg", "d", "y");
    oxp_value_info mask = info_of("m", OXP_BOOL, -1, NULL);
    output("y");
    ok(oxp_edit_add_output(model, g, &mask));
    prepare_with(constants_only);
    cr_expect_eq(count_type(prepared, "Dropout"), 1);
}

/* From opset 12 on the third input says whether it is training. */
static size_t dropouts_left(const char *inputs, bool training)
{
    start(13);
    input("x", DIMS(-1, 3));
    number("ratio", 0);
    constant("training", OXP_BOOL, 0, NULL, &training);
    node("Dropout", inputs, "d");
    node("Neg", "d", "y");
    output("y");
    prepare_with(constants_only);
    expect_same_outputs(0);
    size_t left = count_type(prepared, "Dropout");
    cr_expect_eq(has_constant(prepared, "ratio"), left > 0 || strstr(inputs, "ratio") == NULL);
    again();
    return left;
}

Test(identities, dropout_in_training_stays)
{
    cr_expect_eq(dropouts_left("x", false), 0);
    cr_expect_eq(dropouts_left("x ratio", false), 0);
    cr_expect_eq(dropouts_left("x ratio training", false), 0);
    cr_expect_eq(dropouts_left("x ratio training", true), 1);
}

/* x [N, 3] and a constant one of some rank. */
static size_t products_left(const char *type, const char *inputs, int rank, float one)
{
    start(13);
    input("x", DIMS(-1, 3));
    constant("one", OXP_FLOAT, rank, (int64_t[]){1, 1, 1}, &one);
    node("Relu", "x", "r");
    node(type, inputs, "m");
    node("Neg", "m", "y");
    output("y");
    prepare_with(constants_only);
    expect_same_outputs(0);
    size_t left = count_type(prepared, type);
    again();
    return left;
}

Test(identities, products_with_one)
{
    cr_expect_eq(products_left("Mul", "r one", 0, 1), 0);
    cr_expect_eq(products_left("Mul", "one r", 1, 1), 0);
    cr_expect_eq(products_left("Div", "r one", 2, 1), 0);
    cr_expect_eq(products_left("Div", "one r", 0, 1), 1, "1/r is no r");
    cr_expect_eq(products_left("Mul", "r one", 0, 1.0000001f), 1);
    cr_expect_eq(products_left("Mul", "r one", 3, 1), 1, "the result has one dimension more");
}

Test(identities, in_bodies_and_what_bodies_read)
{
    oxp_model *bodies[2];
    for (int i = 0; i < 2; i++) {
        start(13);
        node("Neg", "copy", "a");
        node("Identity", "a", "b");
        node("Neg", "b", i ? "e" : "t");
        output(i ? "e" : "t");
        bodies[i] = model;
    }
    start(13);
    input("x", DIMS(-1, 3));
    oxp_value_info condition = info_of("c", OXP_BOOL, 0, NULL);
    ok(oxp_edit_add_input(model, g, &condition));
    node("Relu", "x", "r");
    node("Identity", "r", "copy");
    output("y");
    append_if("c", "y", bodies[0], bodies[1]);
    prepare_with(constants_only);
    cr_expect_eq(count_type(prepared, "Identity"), 0);
    cr_expect_eq(count_type(prepared, "Neg"), 4);
    expect_same_outputs(0);
    expect_sound();
}

/* A body may name a value from around it as its output; that name is left alone. */
Test(identities, what_a_body_hands_on_stays)
{
    oxp_model *bodies[2];
    for (int i = 0; i < 2; i++) {
        start(13);
        if (i)
            node("Neg", "copy", "e");
        output(i ? "e" : "copy");
        bodies[i] = model;
    }
    start(13);
    input("x", DIMS(-1, 3));
    oxp_value_info condition = info_of("c", OXP_BOOL, 0, NULL);
    ok(oxp_edit_add_input(model, g, &condition));
    node("Relu", "x", "r");
    node("Identity", "r", "copy");
    output("y");
    append_if("c", "y", bodies[0], bodies[1]);
    prepare_with(constants_only);
    cr_expect_eq(count_type(prepared, "Identity"), 1);
    expect_same_outputs(0);
    expect_sound();
}
