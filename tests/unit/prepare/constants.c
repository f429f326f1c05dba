/* Folding of constant nodes: what is folded, bit for bit, and what must never be. */
#include "unit/prepare/small_models.h"

SMALL_SUITE(constants);

static const oxp_prepare_options constants_only = {.fold_constants = true};

static const float six[6] = {1, -2, 3.5f, 4, -5, 6};

/* x [N, 3] times a weight that a node makes from initializers. */
static void end_with_product(const char *weight)
{
    input("x", DIMS(-1, 3));
    node("MatMul", (strcmp(weight, "w") == 0 ? "x w" : "x t"), "y");
    output("y");
}

Test(constants, a_transposed_weight_is_stored_transposed)
{
    start(13);
    constant("w", OXP_FLOAT, DIMS(2, 3), six);
    node("Transpose", "w", "t");
    end_with_product("t");
    prepare_with(constants_only);
    cr_expect_eq(count_nodes(prepared), 1);
    cr_expect_not(has_constant(prepared, "w"), "the source is read by nobody now");
    cr_assert_eq(result.tensor_count, 1);
    cr_expect_str_eq(result.tensors[0], "t");
    oxp_arena arena;
    oxp_arena_init(&arena, &ctx);
    oxp_tensor t;
    cr_assert(find_constant(&t, &arena, prepared, "t"));
    cr_expect_eq(t.dims[0], 3);
    for (size_t i = 0; i < 6; i++)
        cr_expect_eq(((float *)t.data)[i], six[i % 2 * 3 + i / 2]);
    oxp_arena_free(&arena);
    expect_same_outputs(0);
    expect_sound();
    cr_expect_eq(result.nodes_before, 2);
    cr_expect_eq(result.nodes_after, 1);
    cr_expect_eq(result.difference, 0);
}

Test(constants, the_given_model_stays_as_it_is)
{
    start(13);
    constant("w", OXP_FLOAT, DIMS(2, 3), six);
    node("Transpose", "w", "t");
    end_with_product("t");
    uint8_t *before, *after;
    size_t before_size, after_size;
    ok(oxp_model_pack(&before, &before_size, model));
    prepare_all();
    ok(oxp_model_pack(&after, &after_size, model));
    cr_assert_eq(before_size, after_size);
    cr_expect(memcmp(before, after, before_size) == 0);
    oxp_free(before);
    oxp_free(after);
}

Test(constants, of_a_chain_only_the_end_is_stored)
{
    start(13);
    constant("w", OXP_FLOAT, DIMS(6), six);
    integers("shape", 2, (int64_t[]){2, 3});
    integers("axes", 1, (int64_t[]){0});
    number("two", 2);
    node("Reshape", "w shape", "a");
    node("Mul", "a two", "b");
    node("Unsqueeze", "b axes", "c");
    node("Squeeze", "c axes", "d");
    node("Transpose", "d", "t");
    end_with_product("t");
    prepare_with(constants_only);
    cr_expect_eq(count_nodes(prepared), 1);
    cr_expect_eq(oxp_graph_proto_initializer_count(oxp_model_graph(prepared)), 1);
    cr_expect_eq(result.steps[1].changed, 5);
    cr_expect_eq(result.tensor_count, 1);
    expect_sound();
}

Test(constants, constant_nodes_count_as_constants)
{
    start(13);
    oxp_node_proto *c = node("Constant", "", "w");
    ok(oxp_edit_set_tensor_attribute(model, c, "value", OXP_FLOAT, DIMS(2, 3), six));
    node("Transpose", "w", "t");
    end_with_product("t");
    prepare_with(constants_only);
    cr_expect_eq(count_type(prepared, "Constant"), 0);
    cr_expect_eq(count_nodes(prepared), 1);
    cr_expect(is_listed("t"));
    expect_sound();
}

/* A tied weight: stored once, transposed for one of its two readers. */
Test(constants, a_large_weight_with_another_reader_is_not_copied)
{
    start(13);
    weights("w", DIMS(64, 64));
    node("Transpose", "w", "t");
    input("x", DIMS(-1, 64));
    node("MatMul", "x w", "h");
    node("MatMul", "h t", "y");
    output("y");
    prepare_with(constants_only);
    cr_expect_eq(count_type(prepared, "Transpose"), 1);
    cr_expect_eq(entries_of(OXP_PREPARE_LEFT), 1);
    cr_expect_eq(result.tensor_count, 0);
    expect_sound();
}

static void expect_left(const char *type)
{
    prepare_with(constants_only);
    cr_expect_eq(count_type(prepared, type), 1, "%s was folded", type);
    cr_expect_eq(entries_of(OXP_PREPARE_LEFT), 1);
    expect_sound();
}

Test(constants, constant_of_shape_stays_when_it_grows)
{
    start(13);
    integers("shape", 2, (int64_t[]){1000, 3});
    node("ConstantOfShape", "shape", "w");
    input("x", DIMS(1000, 3));
    node("Add", "x w", "y");
    output("y");
    expect_left("ConstantOfShape");
}

Test(constants, expand_stays_when_it_grows)
{
    start(13);
    integers("shape", 2, (int64_t[]){1000, 3});
    weights("v", DIMS(1, 3));
    node("Expand", "v shape", "w");
    input("x", DIMS(1000, 3));
    node("Add", "x w", "y");
    output("y");
    expect_left("Expand");
}

Test(constants, tile_stays_when_it_grows)
{
    start(13);
    integers("repeats", 2, (int64_t[]){1000, 1});
    weights("v", DIMS(1, 3));
    node("Tile", "v repeats", "w");
    input("x", DIMS(1000, 3));
    node("Add", "x w", "y");
    output("y");
    expect_left("Tile");
}

/* Terabytes from 16 bytes: nothing may be allocated for them, not even to find out that they are
 * too many. */
Test(constants, a_shape_of_terabytes_is_not_made)
{
    start(13);
    integers("shape", 2, (int64_t[]){INT64_C(1) << 20, INT64_C(1) << 20});
    node("ConstantOfShape", "shape", "w");
    node("Shape", "w", "s");
    node("Cast", "s", "f");
    ok(oxp_edit_set_int(model, node_making(model, "f"), "to", OXP_FLOAT));
    input("x", DIMS(2));
    node("Add", "x f", "y");
    output("y");
    size_t peak_before = atomic_load(&ctx.own_budget.peak);
    ctx.own_budget.limit = peak_before + ((size_t)64 << 20);
    prepare_with(constants_only);
    cr_expect_eq(count_type(prepared, "ConstantOfShape"), 1);
    cr_expect_not(result.checked, "the model itself needs the memory");
    cr_expect(atomic_load(&ctx.own_budget.peak) < peak_before + ((size_t)32 << 20));
}

/* Each doubles what the one before made; together they would be 2^24 times the start. */
Test(constants, many_small_steps_do_not_add_up)
{
    start(13);
    integers("v0", 1, (int64_t[]){3});
    for (int i = 0; i < 24; i++) {
        char in[32], out[16];
        snprintf(in, sizeof in, "v%d v%d", i, i);
        snprintf(out, sizeof out, "v%d", i + 1);
        ok(oxp_edit_set_int(model, node("Concat", in, out), "axis", 0));
    }
    integers("first", 1, (int64_t[]){0});
    node("Gather", "v24 first", "i");
    ok(oxp_edit_set_int(model, node("Cast", "i", "f"), "to", OXP_FLOAT));
    input("x", DIMS(1));
    node("Add", "x f", "y");
    output("y");
    prepare_with(constants_only);
    cr_expect(result.steps[1].changed < 20);
    cr_expect_lt(oxp_model_packed_bytes(prepared), (size_t)256 << 10);
    cr_expect_geq(count_type(prepared, "Concat"), 4);
}

Test(constants, stored_weights_stay_stored)
{
    start(13);
    constant("codes", OXP_INT8, DIMS(3, 2), (int8_t[]){1, -2, 3, 4, -5, 127});
    weights("scale", DIMS(1, 2));
    ok(oxp_edit_set_int(model, node("Cast", "codes", "c"), "to", OXP_FLOAT));
    node("Mul", "c scale", "t");
    end_with_product("t");
    prepare_with(constants_only);
    cr_expect_eq(count_nodes(prepared), 3);
    cr_expect_eq(result.tensor_count, 0);
    cr_expect_eq(entries_of(OXP_PREPARE_CHANGED), 0);
    expect_sound();
}

Test(constants, half_precision_weights_stay_stored)
{
    start(13);
    uint16_t halves[6];
    for (size_t i = 0; i < 6; i++)
        halves[i] = oxp_float_to_half(six[i]);
    constant("h", OXP_FLOAT16, DIMS(3, 2), halves);
    ok(oxp_edit_set_int(model, node("Cast", "h", "t"), "to", OXP_FLOAT));
    end_with_product("t");
    prepare_with(constants_only);
    cr_expect_eq(count_type(prepared, "Cast"), 1);
    expect_sound();
}

/* Two codes of four bits in a byte, taken apart by arithmetic: the halves are larger than what
 * they come from. */
Test(constants, packed_codes_stay_packed)
{
    start(13);
    constant("packed", OXP_UINT8, DIMS(3, 1), (uint8_t[]){0x12, 0x9a, 0xf0});
    constant("sixteen", OXP_UINT8, 0, NULL, (uint8_t[]){16});
    node("Div", "packed sixteen", "high");
    node("Mul", "high sixteen", "above");
    node("Sub", "packed above", "low");
    ok(oxp_edit_set_int(model, node("Concat", "high low", "codes"), "axis", 1));
    ok(oxp_edit_set_int(model, node("Cast", "codes", "t"), "to", OXP_FLOAT));
    end_with_product("t");
    size_t given = oxp_model_packed_bytes(model);
    prepare_with(constants_only);
    cr_expect_eq(count_type(prepared, "Div"), 1);
    cr_expect_leq(oxp_model_packed_bytes(prepared), given);
    expect_sound();
}

/* Two factors in the place of a weight are smaller than the weight. */
Test(constants, low_rank_weights_stay_factored)
{
    start(13);
    weights("u", DIMS(3, 1));
    weights("v", DIMS(1, 40));
    node("MatMul", "u v", "t");
    end_with_product("t");
    prepare_with(constants_only);
    cr_expect_eq(count_type(prepared, "MatMul"), 2);
    expect_sound();
}

Test(constants, dequantized_weights_stay)
{
    start(13);
    constant("codes", OXP_INT8, DIMS(3, 2), (int8_t[]){1, -2, 3, 4, -5, 127});
    number("scale", 0.1f);
    constant("zero", OXP_INT8, 0, NULL, (int8_t[]){0});
    node("DequantizeLinear", "codes scale zero", "t");
    end_with_product("t");
    prepare_with(constants_only);
    cr_expect_eq(count_type(prepared, "DequantizeLinear"), 1);
    cr_expect_eq(entries_of(OXP_PREPARE_CHANGED), 0);
}

/* x is [N, 3] or [2, 3]; its shape goes to Reshape. */
static void shape_of_input(int64_t first)
{
    start(13);
    input("x", DIMS(first, 3));
    node("Shape", "x", "s");
    integers("i", 1, (int64_t[]){1});
    node("Gather", "s i", "last");
    integers("minus", 1, (int64_t[]){-1});
    ok(oxp_edit_set_int(model, node("Concat", "minus last", "to"), "axis", 0));
    node("Reshape", "x to", "y");
    output("y");
    prepare_with(constants_only);
}

Test(constants, the_shape_of_a_fixed_input_is_folded)
{
    shape_of_input(2);
    cr_expect_eq(count_nodes(prepared), 1);
    cr_expect(is_listed("to"));
    expect_sound();
}

Test(constants, the_shape_of_a_symbolic_input_is_not)
{
    shape_of_input(-1);
    cr_expect_eq(count_nodes(prepared), 4);
    cr_expect_eq(result.tensor_count, 0);
    expect_sound();
}

Test(constants, graph_outputs_keep_their_nodes)
{
    start(13);
    constant("w", OXP_FLOAT, DIMS(2, 3), six);
    node("Transpose", "w", "t");
    end_with_product("t");
    output("t");
    prepare_with(constants_only);
    cr_expect_eq(count_nodes(prepared), 2);
    cr_expect_eq(result.tensor_count, 0);
    expect_sound();
}

Test(constants, what_was_dead_before_is_not_touched)
{
    start(13);
    weights("unused", DIMS(3));
    weights("w", DIMS(3, 2));
    node("Neg", "unused", "dead");
    end_with_product("w");
    prepare_with(constants_only);
    cr_expect_eq(count_nodes(prepared), 2);
    cr_expect(has_constant(prepared, "unused"));
    expect_sound();
}

/* From IR 4 on an initializer that is also an input is a default that a caller may replace. */
Test(constants, overridable_initializers_are_no_constants)
{
    start(13);
    constant("w", OXP_FLOAT, DIMS(2, 3), six);
    oxp_value_info info = info_of("w", OXP_FLOAT, DIMS(2, 3));
    ok(oxp_edit_add_input(model, g, &info));
    node("Transpose", "w", "t");
    end_with_product("t");
    prepare_with(constants_only);
    cr_expect_eq(count_type(prepared, "Transpose"), 1);
    expect_sound();
}

/* A body folds its own constants and those of the graph around it. */
Test(constants, bodies_are_folded_too)
{
    oxp_model *bodies[2];
    for (int i = 0; i < 2; i++) {
        start(13);
        number("k", (float)(2 + i));
        node("Mul", "w k", "a");
        node("Transpose", "a", "b");
        node("MatMul", "x b", i ? "e" : "t");
        output(i ? "e" : "t");
        bodies[i] = model;
    }
    start(13);
    constant("w", OXP_FLOAT, DIMS(2, 3), six);
    input("x", DIMS(-1, 3));
    oxp_value_info condition = info_of("c", OXP_BOOL, 0, NULL);
    ok(oxp_edit_add_input(model, g, &condition));
    output("y");
    append_if("c", "y", bodies[0], bodies[1]);
    prepare_with(constants_only);
    cr_expect_eq(count_nodes(prepared), 3, "the If and a MatMul in each body");
    cr_expect_eq(result.steps[1].changed, 4);
    cr_expect_not(has_constant(prepared, "w"), "both readers are gone");
    cr_expect_eq(oxp_graph_proto_initializer_count(oxp_model_graph(prepared)), 0);
    expect_same_outputs(0);
    expect_sound();
}

Test(constants, a_model_that_cannot_be_run_gets_the_exact_steps_only)
{
    start(13);
    constant("w", OXP_FLOAT, DIMS(2, 3), six);
    node("Transpose", "w", "t");
    end_with_product("t");
    ok(oxp_edit_set_opset(model, "some.other", 1));
    ok(oxp_edit_set_type(model, node("Anything", "y", "z"), "Anything", "some.other"));
    output("z");
    prepare_with(everything);
    cr_expect_not(result.checked);
    cr_expect_not_null(strstr(result.why_unchecked, "Anything"), "%s", result.why_unchecked);
    cr_expect_eq(count_type(prepared, "Transpose"), 0);
    cr_expect(result.steps[1].ran);
    cr_expect_not(result.steps[2].ran);
    cr_expect(result.difference < 0);
}
