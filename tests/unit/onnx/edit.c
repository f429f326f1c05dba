/* Every change of edit.h, seen through the loader or the message itself. */
#include "unit/onnx/edit_build.h"

TestSuite(edit, .init = start, .fini = finish);

/* ---- names ---- */

static void expect_unique(oxp_model *model, const char *base, const char *expected)
{
    const char *name;
    expect_ok(oxp_edit_unique_name(&name, model, base));
    cr_assert_str_eq(name, expected);
}

Test(edit, unique_names_avoid_every_name_in_use)
{
    oxp_model *model = relu_model(13);
    oxp_graph_proto *g = oxp_model_graph(model);
    oxp_node_proto *outer = add_node(model, g, "If", "c", "z");
    oxp_graph_proto *inner = add_subgraph(model, outer, "then_branch");
    add_node(model, inner, "Relu", "x", "inside");
    add_floats(model, inner, "weight", 1, &(float){1});
    expect_unique(model, "free", "free");
    expect_unique(model, "free", "free_1");
    expect_unique(model, "x", "x_1");
    expect_unique(model, "inside", "inside_1");
    expect_unique(model, "weight", "weight_1");
    add_floats(model, g, "later", 1, &(float){1});
    add_node(model, g, "Relu", "x", "later_1");
    expect_unique(model, "later", "later_2");
    oxp_model_free(model);
}

Test(edit, unique_names_of_one_base_are_found_at_once)
{
    oxp_model *model = relu_model(13);
    const char *name;
    for (int i = 0; i < 50000; i++)
        expect_ok(oxp_edit_unique_name(&name, model, "x"));
    cr_assert_str_eq(name, "x_50000");
    oxp_model_free(model);
}

Test(edit, unique_names_stay_readable_names)
{
    static char base[65536];
    for (size_t i = 0; i + 1 < sizeof base - 1; i += 2)
        memcpy(base + i, "\xc3\xa9", 2);
    base[sizeof base - 2] = '\0';
    oxp_model *model = relu_model(13);
    const char *first, *second;
    expect_ok(oxp_edit_unique_name(&first, model, base));
    expect_ok(oxp_edit_unique_name(&second, model, base));
    cr_assert_lt(strlen(second), 65000);
    cr_assert_str_neq(first, second);
    cr_assert_eq(strlen(first) % 2, 0, "cut inside a character");
    oxp_model_free(model);
}

/* ---- initializers ---- */

Test(edit, initializers_hold_a_copy)
{
    oxp_model *model = relu_model(13);
    oxp_graph_proto *g = oxp_model_graph(model);
    float data[] = {1, 2, 3, 4, 5, 6};
    int64_t dims[] = {2, 3};
    expect_ok(oxp_edit_add_initializer(model, g, "w", OXP_FLOAT, 2, dims, data));
    expect_ok(oxp_edit_add_initializer(model, g, "scalar", OXP_FLOAT, 0, NULL, data));
    expect_ok(oxp_edit_add_initializer(model, g, "none", OXP_INT64, 1, &(int64_t){0}, NULL));
    data[0] = 99;
    oxp_model *loaded = reload(model);
    oxp_graph_proto *found = oxp_model_graph(loaded);
    oxp_tensor t;
    cr_assert_eq(oxp_graph_proto_initializer_count(found), 3);
    expect_ok(oxp_tensor_decode(&t, &loaded->arena, loaded, oxp_graph_proto_initializer(found, 0)));
    cr_assert(t.rank == 2 && t.dims[0] == 2 && t.dims[1] == 3);
    cr_assert_eq(((float *)t.data)[0], 1);
    cr_assert_eq(((float *)t.data)[5], 6);
    expect_ok(oxp_tensor_decode(&t, &loaded->arena, loaded, oxp_graph_proto_initializer(found, 1)));
    cr_assert(t.rank == 0 && t.count == 1);
    expect_ok(oxp_tensor_decode(&t, &loaded->arena, loaded, oxp_graph_proto_initializer(found, 2)));
    cr_assert(t.rank == 1 && t.count == 0);
    oxp_model_free(loaded);
    oxp_model_free(model);
}

Test(edit, four_bit_data_takes_half_bytes_and_a_new_ir)
{
    oxp_model *model = relu_model(21);
    model->proto->ir_version = 8;
    expect_ok(oxp_edit_add_initializer(model, oxp_model_graph(model), "q", OXP_INT4, 1,
                                       &(int64_t){3}, "\x21\x03"));
    cr_assert_eq(oxp_model_ir_version(model), 10);
    cr_assert_eq(model->proto->graph->initializer[0]->raw_data.len, 2);
    oxp_model_free(reload(model));
    oxp_model_free(model);
}

Test(edit, below_ir_4_initializers_stop_being_inputs)
{
    oxp_model *model = relu_model(8);
    oxp_graph_proto *g = oxp_model_graph(model);
    oxp_value_info old = float_info("old", 1);
    add_floats(model, g, "old", 2, (float[]){1, 2});
    expect_ok(oxp_edit_add_input(model, g, &old));
    model->proto->ir_version = 3;
    cr_assert_eq(oxp_graph_proto_input_count(g), 2);
    add_floats(model, g, "new", 1, &(float){1});
    cr_assert_eq(oxp_model_ir_version(model), 4);
    cr_assert_eq(oxp_graph_proto_input_count(g), 1);
    expect_text(model->proto->graph->input[0]->name, "x");
    expect_ok(oxp_edit_add_input(model, g, &old)); /* from IR 4 on that means something else */
    add_floats(model, g, "newer", 1, &(float){1});
    cr_assert_eq(oxp_graph_proto_input_count(g), 2);
    oxp_model_free(model);
}

Test(edit, set_tensor_replaces_whatever_held_the_data)
{
    oxp_model *model = relu_model(13);
    oxp_graph_proto *g = oxp_model_graph(model);
    add_floats(model, g, "w", 2, (float[]){1, 2});
    Onnx__TensorProto *t = model->proto->graph->initializer[0];
    float typed[] = {1, 2};
    Onnx__StringStringEntryProto entry, *entries[] = {&entry};
    onnx__string_string_entry_proto__init(&entry);
    t->has_raw_data = 0;
    t->float_data = typed;
    t->n_float_data = 2;
    t->external_data = entries;
    t->n_external_data = 1;
    t->has_data_location = 1;
    t->data_location = ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
    expect_ok(oxp_edit_set_tensor(model, t, OXP_INT8, 1, &(int64_t){3}, "\1\2\3"));
    cr_assert(t->n_float_data == 0 && t->n_external_data == 0 && !t->has_data_location);
    expect_text(t->name, "w");
    oxp_model *loaded = reload(model);
    oxp_tensor found;
    expect_ok(oxp_tensor_decode(&found, &loaded->arena, loaded,
                                oxp_graph_proto_initializer(oxp_model_graph(loaded), 0)));
    cr_assert(found.dtype == OXP_INT8 && found.count == 3 && ((int8_t *)found.data)[2] == 3);
    oxp_model_free(loaded);
    oxp_model_free(model);
}

Test(edit, tensors_that_cannot_be)
{
    oxp_model *model = relu_model(13);
    oxp_graph_proto *g = oxp_model_graph(model);
    int64_t dims[17] = {-1};
    expect_error(oxp_edit_add_initializer(model, g, "s", OXP_STRING, 0, NULL, "x"), OXP_EINTERNAL,
                 "E-EDIT", "\"s\"");
    cr_assert_neq(oxp_edit_add_initializer(model, g, "n", OXP_FLOAT, 1, dims, NULL), OXP_OK);
    oxp_ctx_clear(&ctx);
    cr_assert_neq(oxp_edit_add_initializer(model, g, "r", OXP_FLOAT, 17, dims, NULL), OXP_OK);
    oxp_ctx_clear(&ctx);
    cr_assert_eq(oxp_graph_proto_initializer_count(g), 0);
    oxp_model_free(model);
}

Test(edit, removed_initializers_are_no_inputs_either)
{
    oxp_model *model = relu_model(13);
    oxp_graph_proto *g = oxp_model_graph(model);
    oxp_value_info info = float_info("b", 1);
    add_floats(model, g, "a", 1, &(float){1});
    add_floats(model, g, "b", 1, &(float){2});
    expect_ok(oxp_edit_add_input(model, g, &info));
    expect_ok(oxp_edit_remove_initializer(model, g, "b"));
    cr_assert_eq(oxp_graph_proto_initializer_count(g), 1);
    cr_assert_eq(oxp_graph_proto_input_count(g), 1);
    expect_error(oxp_edit_remove_initializer(model, g, "b"), OXP_EINTERNAL, "E-EDIT", "\"b\"");
    oxp_model_free(model);
}

/* ---- nodes ---- */

Test(edit, nodes_stand_where_they_were_put)
{
    oxp_model *model = new_model(13);
    oxp_graph_proto *g = oxp_model_graph(model);
    oxp_node_proto *b = add_node(model, g, "B", "x", "b");
    add_node(model, g, "D", "b", "d");
    const char *in = "x", *out = "y";
    oxp_new_node a = {"A", "com.microsoft", "first", 1, 1, &in, &out}, c = a;
    c.type = "C";
    expect_ok(oxp_edit_insert_node(NULL, model, g, 0, &a));
    expect_ok(oxp_edit_insert_node(NULL, model, g, 2, &c));
    expect_node(g, 0, "A(x)->y");
    expect_node(g, 1, "B(x)->b");
    expect_node(g, 2, "C(x)->y");
    expect_node(g, 3, "D(b)->d");
    expect_text(oxp_node_proto_domain(oxp_graph_proto_node(g, 0)), "com.microsoft");
    expect_text(oxp_node_proto_name(oxp_graph_proto_node(g, 0)), "first");
    cr_assert_eq(oxp_edit_position(g, b), 1);
    expect_ok(oxp_edit_remove_node(model, g, b));
    cr_assert_eq(oxp_edit_position(g, b), SIZE_MAX);
    expect_node(g, 1, "C(x)->y");
    cr_assert_eq(oxp_graph_proto_node_count(g), 3);
    expect_error(oxp_edit_remove_node(model, g, b), OXP_EINTERNAL, "E-EDIT", "does not have");
    expect_error(oxp_edit_insert_node(NULL, model, g, 4, &a), OXP_EINTERNAL, "E-EDIT", "position");
    oxp_model_free(model);
}

Test(edit, many_insertions_take_linear_memory)
{
    oxp_model *model = new_model(13);
    oxp_graph_proto *g = oxp_model_graph(model);
    size_t count = 30000;
    for (size_t i = 0; i < count; i++) {
        const char *name = "v";
        oxp_new_node node = {"Relu", "", "", 1, 1, &name, &name};
        expect_ok(oxp_edit_insert_node(NULL, model, g, i / 2, &node));
        add_floats(model, g, "w", 1, &(float){1});
    }
    cr_assert_eq(oxp_graph_proto_node_count(g), count);
    cr_assert_lt(atomic_load(&ctx.budget->peak), count * 2048);
    oxp_model_free(model);
}

Test(edit, small_arrays_that_grow_past_their_bounds)
{
    oxp_model *model = new_model(13);
    oxp_graph_proto *g = oxp_model_graph(model);
    oxp_node_proto *a = add_node(model, g, "Concat", "", "y");
    oxp_node_proto *b = add_node(model, g, "Concat", "", "z");
    char name[16];
    for (size_t i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "a%zu", i);
        expect_ok(oxp_edit_set_input(model, a, i, name));
        snprintf(name, sizeof name, "b%zu", i);
        expect_ok(oxp_edit_set_input(model, b, i, name));
    }
    for (size_t i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "a%zu", i);
        expect_text(oxp_node_proto_input(a, i), name);
        snprintf(name, sizeof name, "b%zu", i);
        expect_text(oxp_node_proto_input(b, i), name);
    }
    oxp_model_free(model);
}

Test(edit, arguments_and_types)
{
    oxp_model *model = new_model(13);
    oxp_graph_proto *g = oxp_model_graph(model);
    oxp_node_proto *n = add_node(model, g, "Resize", "x", "y");
    expect_ok(oxp_edit_set_input(model, n, 3, "sizes"));
    expect_node(g, 0, "Resize(x,,,sizes)->y");
    expect_ok(oxp_edit_set_input(model, n, 0, "x2"));
    expect_ok(oxp_edit_set_output(model, n, 2, "more"));
    expect_node(g, 0, "Resize(x2,,,sizes)->y,,more");
    n->overload = (char *)"variant";
    expect_ok(oxp_edit_set_type(model, n, "MatMulNBits", "com.microsoft"));
    expect_text(oxp_node_proto_type(n), "MatMulNBits");
    expect_text(oxp_node_proto_domain(n), "com.microsoft");
    cr_assert_null(n->overload);
    oxp_model_free(model);
}

/* ---- attributes ---- */

static oxp_attribute attribute_at(const oxp_node_proto *n, size_t i)
{
    oxp_attribute a;
    cr_assert_lt(i, oxp_node_proto_attribute_count(n));
    oxp_node_proto_attribute(n, i, &a);
    return a;
}

Test(edit, attributes_of_every_kind)
{
    oxp_model *model = relu_model(13);
    oxp_graph_proto *g = oxp_model_graph(model);
    oxp_node_proto *n = add_node(model, g, "Custom", "x", "z");
    expect_ok(oxp_edit_set_int(model, n, "i", -7));
    expect_ok(oxp_edit_set_ints(model, n, "ints", 2, (int64_t[]){3, INT64_MIN}));
    expect_ok(oxp_edit_set_ints(model, n, "empty", 0, NULL));
    expect_ok(oxp_edit_set_float(model, n, "f", 0.5f));
    expect_ok(oxp_edit_set_string(model, n, "s", "text"));
    expect_ok(
        oxp_edit_set_tensor_attribute(model, n, "t", OXP_INT64, 1, &(int64_t){1}, &(int64_t){42}));
    expect_ok(oxp_edit_set_floats(model, n, "floats", 2, (float[]){0.25f, -1}));
    oxp_attribute a = attribute_at(n, 0);
    cr_assert(strcmp(a.name, "i") == 0 && a.type == OXP_ATTR_INT && a.i == -7);
    a = attribute_at(n, 1);
    cr_assert(a.type == OXP_ATTR_INTS && a.count == 2 && a.ints[1] == INT64_MIN);
    a = attribute_at(n, 2);
    cr_assert(a.type == OXP_ATTR_INTS && a.count == 0);
    a = attribute_at(n, 3);
    cr_assert(a.type == OXP_ATTR_FLOAT && a.f == 0.5f);
    a = attribute_at(n, 4);
    cr_assert(a.type == OXP_ATTR_STRING && strcmp(a.s, "text") == 0);
    a = attribute_at(n, 5);
    cr_assert(a.type == OXP_ATTR_TENSOR && a.t != NULL);
    a = attribute_at(n, 6);
    cr_assert(a.type == OXP_ATTR_FLOATS && a.count == 2 && a.floats[1] == -1);
    oxp_model_free(model);
}

Test(edit, an_attribute_takes_another_value_and_type)
{
    oxp_model *model = relu_model(13);
    oxp_node_proto *n = add_node(model, oxp_model_graph(model), "Custom", "x", "z");
    expect_ok(oxp_edit_set_ints(model, n, "a", 2, (int64_t[]){3, 4}));
    n->attribute[0]->doc_string = (char *)"documented";
    expect_ok(oxp_edit_set_float(model, n, "b", 1));
    expect_ok(oxp_edit_set_int(model, n, "a", 5));
    cr_assert_eq(oxp_node_proto_attribute_count(n), 2);
    oxp_attribute a = attribute_at(n, 0);
    cr_assert(a.type == OXP_ATTR_INT && a.i == 5);
    cr_assert_eq(n->attribute[0]->n_ints, 0);
    expect_text(n->attribute[0]->doc_string, "documented");
    expect_ok(oxp_edit_remove_attribute(model, n, "a"));
    expect_ok(oxp_edit_remove_attribute(model, n, "a"));
    cr_assert_eq(oxp_node_proto_attribute_count(n), 1);
    expect_text(attribute_at(n, 0).name, "b");
    oxp_model_free(model);
}

/* ---- uses ---- */

Test(edit, replace_uses_leaves_graph_outputs_alone)
{
    oxp_model *model = relu_model(13);
    oxp_graph_proto *g = oxp_model_graph(model);
    add_node(model, g, "Add", "y,y", "z");
    add_node(model, g, "Mul", "x,y", "w");
    expect_ok(oxp_edit_replace_uses(model, g, "y", "y_quantised"));
    expect_node(g, 0, "Relu(x)->y");
    expect_node(g, 1, "Add(y_quantised,y_quantised)->z");
    expect_node(g, 2, "Mul(x,y_quantised)->w");
    expect_text(model->proto->graph->output[0]->name, "y");
    oxp_model_free(model);
}

/* If whose branches read y from around: one directly, one has a y of its own. */
Test(edit, replace_uses_in_subgraphs_respects_shadows)
{
    oxp_model *model = relu_model(13);
    oxp_graph_proto *g = oxp_model_graph(model);
    oxp_node_proto *outer = add_node(model, g, "If", "c", "z");
    oxp_graph_proto *reads = add_subgraph(model, outer, "then_branch");
    oxp_graph_proto *shadows = add_subgraph(model, outer, "else_branch");
    oxp_node_proto *inner = add_node(model, reads, "If", "y", "t");
    oxp_graph_proto *deep = add_subgraph(model, inner, "then_branch");
    oxp_graph_proto *hands_out = add_subgraph(model, inner, "else_branch");
    add_node(model, deep, "Neg", "y", "d");
    oxp_value_info info = float_info("y", 1);
    expect_ok(oxp_edit_add_output(model, hands_out, &info));
    add_node(model, shadows, "Abs", "x", "y");
    oxp_node_proto *below = add_node(model, shadows, "If", "y", "u");
    oxp_graph_proto *hidden = add_subgraph(model, below, "then_branch");
    add_node(model, hidden, "Neg", "y", "v");

    expect_ok(oxp_edit_replace_uses(model, g, "y", "new"));
    expect_node(reads, 0, "If(new)->t");
    expect_node(deep, 0, "Neg(new)->d");
    expect_text(hands_out->output[0]->name, "new");
    expect_node(shadows, 0, "Abs(x)->y");
    expect_node(shadows, 1, "If(y)->u");
    expect_node(hidden, 0, "Neg(y)->v");
    oxp_model_free(model);
}

Test(edit, replace_uses_never_captures)
{
    oxp_model *model = relu_model(13);
    oxp_graph_proto *g = oxp_model_graph(model);
    oxp_node_proto *outer = add_node(model, g, "If", "c", "z");
    oxp_graph_proto *own = add_subgraph(model, outer, "then_branch");
    oxp_node_proto *inner = add_node(model, own, "If", "c", "new");
    oxp_graph_proto *deep = add_subgraph(model, inner, "then_branch");
    add_node(model, deep, "Neg", "y", "d");
    expect_error(oxp_edit_replace_uses(model, g, "y", "new"), OXP_EINTERNAL, "E-EDIT",
                 "\"y\" cannot become \"new\"");
    expect_node(deep, 0, "Neg(y)->d");
    expect_ok(oxp_edit_replace_uses(model, g, "y", "other"));
    expect_node(deep, 0, "Neg(other)->d");
    oxp_model_free(model);
}

/* ---- values ---- */

Test(edit, declared_values)
{
    oxp_model *model = new_model(13);
    oxp_graph_proto *g = oxp_model_graph(model);
    oxp_value_info info = float_info("x", 3), found;
    info.dims[0] = -1;
    info.params[0] = "N";
    info.dims[1] = -1;
    info.dims[2] = 0;
    expect_ok(oxp_edit_add_input(model, g, &info));
    oxp_graph_proto_input(g, 0, &found);
    cr_assert(found.is_tensor && found.dtype == OXP_FLOAT && found.rank == 3);
    expect_text(found.params[0], "N");
    cr_assert(found.dims[0] == -1 && found.dims[1] == -1 && found.params[1] == NULL);
    cr_assert_eq(found.dims[2], 0);
    info.rank = -1;
    expect_ok(oxp_edit_add_output(model, g, &info));
    oxp_graph_proto_output(g, 0, &found);
    cr_assert_eq(found.rank, -1);
    info.is_tensor = false;
    expect_error(oxp_edit_add_output(model, g, &info), OXP_EINTERNAL, "E-EDIT", "\"x\"");
    g->value_info = g->input;
    g->n_value_info = g->n_input;
    expect_ok(oxp_edit_remove_value_info(model, g, "absent"));
    cr_assert_eq(oxp_graph_proto_value_info_count(g), 1);
    expect_ok(oxp_edit_remove_value_info(model, g, "x"));
    cr_assert_eq(oxp_graph_proto_value_info_count(g), 0);
    oxp_model_free(model);
}

/* ---- versions and metadata ---- */

Test(edit, the_ir_version_follows_the_opset)
{
    static const int64_t pairs[][2] = {{1, 3},   {7, 3},   {8, 3},   {9, 4},   {10, 5},
                                       {11, 6},  {12, 7},  {14, 7},  {15, 8},  {18, 8},
                                       {19, 9},  {20, 9},  {21, 10}, {22, 10}, {23, 11},
                                       {24, 12}, {25, 13}, {27, 13}, {28, 14}, {99, 14}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        cr_assert_eq(oxp_ir_for_opset(pairs[i][0]), pairs[i][1], "opset %ld", (long)pairs[i][0]);
    oxp_model *model = new_model(13);
    cr_assert_eq(oxp_model_ir_version(model), 8);
    expect_ok(oxp_edit_set_opset(model, "ai.onnx", 21));
    cr_assert_eq(oxp_model_opset_count(model), 1);
    cr_assert_eq(oxp_model_opset(model, ""), 21);
    cr_assert_eq(oxp_model_ir_version(model), 10);
    expect_ok(oxp_edit_set_opset(model, "com.microsoft", 1));
    expect_ok(oxp_edit_set_opset(model, "", 9));
    cr_assert_eq(oxp_model_opset_count(model), 2);
    cr_assert_eq(oxp_model_ir_version(model), 10, "it never falls");
    oxp_model_free(model);
}

Test(edit, metadata)
{
    oxp_model *model = relu_model(13);
    expect_ok(oxp_edit_set_metadata(model, "a", "1"));
    expect_ok(oxp_edit_set_metadata(model, "b", "2"));
    expect_ok(oxp_edit_set_metadata(model, "a", "3"));
    oxp_model *loaded = reload(model);
    cr_assert_eq(loaded->proto->n_metadata_props, 2);
    expect_text(loaded->proto->metadata_props[0]->value, "3");
    expect_text(loaded->proto->metadata_props[1]->key, "b");
    oxp_model_free(loaded);
    oxp_model_free(model);
}

/* ---- memory ---- */

static oxp_status edit_everything(void)
{
    oxp_model *model;
    OXP_TRY(oxp_model_new(&model, &ctx, 13));
    oxp_graph_proto *g = oxp_model_graph(model);
    oxp_node_proto *n;
    oxp_value_info info = float_info("x", 2);
    const char *name, *names[] = {"x"};
    oxp_new_node node = {"Relu", "d", "n", 1, 1, names, names};
    oxp_status status;
    OXP_TRY_GOTO(oxp_edit_add_input(model, g, &info), done);
    OXP_TRY_GOTO(oxp_edit_add_output(model, g, &info), done);
    for (int i = 0; i < 300; i++)
        OXP_TRY_GOTO(oxp_edit_insert_node(&n, model, g, 0, &node), done);
    OXP_TRY_GOTO(oxp_edit_unique_name(&name, model, "x"), done);
    static const uint8_t data[300000];
    OXP_TRY_GOTO(oxp_edit_add_initializer(model, g, name, OXP_UINT8, 1, &(int64_t){300000}, data),
                 done);
    OXP_TRY_GOTO(oxp_edit_set_ints(model, n, "a", 1, &(int64_t){1}), done);
    OXP_TRY_GOTO(oxp_edit_set_string(model, n, "s", "text"), done);
    OXP_TRY_GOTO(oxp_edit_set_tensor_attribute(model, n, "t", OXP_FLOAT, 0, NULL, &(float){1}),
                 done);
    OXP_TRY_GOTO(oxp_edit_replace_uses(model, g, "x", "y"), done);
    OXP_TRY_GOTO(oxp_edit_set_metadata(model, "k", "v"), done);
done:
    oxp_model_free(model);
    return status;
}

Test(edit, running_out_of_memory_anywhere_is_an_error)
{
    oxp_status status;
    size_t limit = 0, failures = 0;
    do {
        ctx.budget->limit = limit;
        status = edit_everything();
        cr_assert(status == OXP_OK || (status == OXP_ELIMIT && ctx.status == OXP_ELIMIT));
        cr_assert_eq(atomic_load(&ctx.budget->used), 0);
        failures += status != OXP_OK;
        oxp_ctx_clear(&ctx);
        limit += 1024;
    } while (status != OXP_OK);
    cr_assert_gt(failures, 100);
}
