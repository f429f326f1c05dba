/* Copies: they say the same, share what is heavy, and neither sees what happens to the other. */
#include "unit/onnx/edit_build.h"

TestSuite(clone, .init = start, .fini = finish);

/* A model with something in most kinds of fields, down to `depth` subgraphs. */
static oxp_model *rich_model(int depth)
{
    oxp_model *model = relu_model(13);
    oxp_graph_proto *g = oxp_model_graph(model);
    add_floats(model, g, "w", 4, (float[]){1, 2, 3, 4});
    expect_ok(oxp_edit_set_metadata(model, "k", "v"));
    expect_ok(oxp_edit_set_opset(model, "com.microsoft", 1));
    oxp_node_proto *n = add_node(model, g, "Concat", "x,w,x", "z");
    expect_ok(oxp_edit_set_ints(model, n, "ints", 3, (int64_t[]){1, 2, 3}));
    expect_ok(oxp_edit_set_string(model, n, "s", "text"));
    expect_ok(oxp_edit_set_tensor_attribute(model, n, "t", OXP_FLOAT, 0, NULL, &(float){1}));
    for (int i = 0; i < depth; i++) {
        oxp_node_proto *outer = add_node(model, g, "If", "c", "u");
        g = add_subgraph(model, outer, "then_branch");
        add_node(model, g, "Neg", "x", "v");
    }
    return model;
}

static const char *difference_of(const oxp_model *a, const oxp_model *b,
                                 char text[OXP_FIELD_TEXT_MAX])
{
    const char *difference;
    expect_ok(oxp_message_compare(&difference, text, &ctx, &a->proto->base, &b->proto->base));
    return difference == NULL ? "" : difference;
}

Test(clone, says_the_same)
{
    oxp_model *model = rich_model(30), *copy;
    expect_ok(oxp_model_clone(&copy, model));
    expect_same(model, copy);
    cr_assert_neq(model->proto, copy->proto);
    cr_assert_neq(oxp_model_graph(model), oxp_model_graph(copy));
    oxp_model_free(copy);
    oxp_model_free(model);
}

Test(clone, depth_does_not_matter)
{
    oxp_model *model = rich_model(100000), *copy;
    expect_ok(oxp_model_clone(&copy, model));
    expect_same(model, copy);
    oxp_model_free(copy);
    oxp_model_free(model);
}

Test(clone, shares_bytes_and_strings)
{
    oxp_model *model = rich_model(1), *copy;
    expect_ok(oxp_model_clone(&copy, model));
    const Onnx__TensorProto *a = model->proto->graph->initializer[0];
    const Onnx__TensorProto *b = copy->proto->graph->initializer[0];
    cr_assert_neq(a, b);
    cr_assert_eq(a->raw_data.data, b->raw_data.data);
    cr_assert_eq(a->name, b->name);
    cr_assert_eq(a->dims, b->dims);
    oxp_model_free(copy);
    oxp_model_free(model);
}

/* Everything that edit.h can change, in every kind of array. */
static void change(oxp_model *model)
{
    oxp_graph_proto *g = oxp_model_graph(model);
    oxp_node_proto *n = oxp_graph_proto_node(g, 1);
    oxp_value_info info = float_info("more", 1);
    expect_ok(oxp_edit_set_tensor(model, oxp_graph_proto_initializer(g, 0), OXP_INT8, 2,
                                  (int64_t[]){1, 2}, "\1\2"));
    add_floats(model, g, "added", 1, &(float){1});
    expect_ok(oxp_edit_set_input(model, n, 1, "changed"));
    expect_ok(oxp_edit_set_input(model, n, 5, "far"));
    expect_ok(oxp_edit_set_output(model, n, 0, "elsewhere"));
    expect_ok(oxp_edit_set_ints(model, n, "ints", 1, (int64_t[]){9}));
    expect_ok(oxp_edit_set_string(model, n, "s", "other"));
    expect_ok(oxp_edit_remove_attribute(model, n, "t"));
    expect_ok(oxp_edit_set_type(model, n, "Other", "d"));
    expect_ok(oxp_edit_replace_uses(model, g, "x", "renamed"));
    add_node(model, g, "New", "x", "new");
    expect_ok(oxp_edit_remove_node(model, g, oxp_graph_proto_node(g, 0)));
    expect_ok(oxp_edit_add_input(model, g, &info));
    expect_ok(oxp_edit_set_metadata(model, "k", "other"));
    expect_ok(oxp_edit_set_opset(model, "com.microsoft", 2));
    expect_ok(oxp_edit_set_opset(model, "", 21));
}

static void pack(uint8_t **out, size_t *bytes, const oxp_model *model)
{
    *bytes = protobuf_c_message_get_packed_size(&model->proto->base);
    expect_ok(oxp_alloc(out, &ctx, *bytes, 1, "packed"));
    protobuf_c_message_pack(&model->proto->base, *out);
}

static void expect_bytes(const oxp_model *model, const uint8_t *data, size_t bytes)
{
    uint8_t *found;
    size_t size;
    pack(&found, &size, model);
    cr_assert_eq(size, bytes);
    cr_assert_arr_eq(found, data, bytes);
    oxp_free(found);
}

Test(clone, the_original_does_not_see_changes_of_the_copy)
{
    oxp_model *model = rich_model(2), *copy;
    uint8_t *before;
    size_t bytes;
    pack(&before, &bytes, model);
    expect_ok(oxp_model_clone(&copy, model));
    change(copy);
    expect_bytes(model, before, bytes);
    oxp_model_free(copy);
    expect_bytes(model, before, bytes);
    oxp_free(before);
    oxp_model_free(model);
}

Test(clone, the_copy_does_not_see_changes_of_the_original)
{
    oxp_model *model = rich_model(2), *copy, *second;
    uint8_t *before;
    size_t bytes;
    pack(&before, &bytes, model);
    expect_ok(oxp_model_clone(&copy, model));
    expect_ok(oxp_model_clone(&second, copy));
    change(model);
    expect_bytes(copy, before, bytes);
    change(copy);
    expect_bytes(second, before, bytes);
    oxp_free(before);
    oxp_model_free(second);
    oxp_model_free(copy);
    oxp_model_free(model);
}

/* An array with spare room must not be grown into by two models. */
Test(clone, arrays_with_room_are_not_shared)
{
    oxp_model *model = new_model(13), *copy;
    oxp_graph_proto *g = oxp_model_graph(model);
    for (int i = 0; i < 40; i++)
        add_node(model, g, "Relu", "x", "y");
    expect_ok(oxp_model_clone(&copy, model));
    add_node(model, g, "A", "x", "a");
    add_node(copy, oxp_model_graph(copy), "B", "x", "b");
    expect_node(g, 40, "A(x)->a");
    expect_node(oxp_model_graph(copy), 40, "B(x)->b");
    oxp_model_free(copy);
    oxp_model_free(model);
}

Test(clone, carries_identity)
{
    oxp_model *model = relu_model(13), *copy;
    oxp_model *loaded = reload(model);
    size_t count;
    expect_ok(oxp_model_clone(&copy, loaded));
    cr_assert_eq(oxp_model_hash(copy), oxp_model_hash(loaded));
    cr_assert_eq(oxp_model_file_bytes(copy), oxp_model_file_bytes(loaded));
    expect_text(oxp_model_path(copy), "");
    oxp_model_files(copy, &count);
    cr_assert_eq(count, 0);
    oxp_model_free(copy);
    oxp_model_free(loaded);
    oxp_model_free(model);
}

/* ---- comparison ---- */

static void expect_difference(void (*edit)(oxp_model *model), const char *expected)
{
    oxp_model *model = rich_model(1), *copy;
    char text[OXP_FIELD_TEXT_MAX];
    expect_ok(oxp_model_clone(&copy, model));
    edit(copy);
    cr_assert_str_eq(difference_of(model, copy, text), expected);
    cr_assert_str_eq(difference_of(copy, model, text), expected);
    oxp_model_free(copy);
    oxp_model_free(model);
}

static void other_string(oxp_model *m)
{
    m->proto->graph->node[1]->input[2] = (char *)"y";
}

static void other_count(oxp_model *m)
{
    m->proto->graph->node[1]->n_input--;
}

static void other_presence(oxp_model *m)
{
    m->proto->graph->node[1]->name = (char *)"";
}

static void other_scalar_presence(oxp_model *m)
{
    m->proto->has_model_version = 1;
}

static void other_bytes(oxp_model *m)
{
    static uint8_t bytes[16];
    m->proto->graph->initializer[0]->raw_data.data = bytes;
}

static void other_numbers(oxp_model *m)
{
    static int64_t dims[] = {5};
    m->proto->graph->initializer[0]->dims = dims;
}

static void other_case(oxp_model *m)
{
    Onnx__TensorShapeProto__Dimension *d =
        m->proto->graph->input[0]->type->tensor_type->shape->dim[0];
    d->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE__NOT_SET;
}

static void other_unknown(oxp_model *m)
{
    static ProtobufCMessageUnknownField field = {999, PROTOBUF_C_WIRE_TYPE_VARINT, 1,
                                                 (uint8_t *)"\1"};
    m->proto->graph->base.n_unknown_fields = 1;
    m->proto->graph->base.unknown_fields = &field;
}

Test(clone, comparison_sees_each_kind_of_difference)
{
    expect_difference(other_string, "NodeProto.input");
    expect_difference(other_count, "NodeProto.input");
    expect_difference(other_presence, "NodeProto.name");
    expect_difference(other_scalar_presence, "ModelProto.model_version");
    expect_difference(other_bytes, "TensorProto.raw_data");
    expect_difference(other_numbers, "TensorProto.dims");
    expect_difference(other_case, "Dimension.dim_value");
    expect_difference(other_unknown, "GraphProto.(unknown fields)");
}

/* ---- visits, memory ---- */

static oxp_status count_nodes(void *user, ProtobufCMessage *m)
{
    size_t *count = user;
    *count += m->descriptor == &onnx__node_proto__descriptor;
    return *count < 50 ? OXP_OK : OXP_ECANCELLED;
}

Test(clone, a_visit_sees_everything_once_and_stops_on_request)
{
    size_t count = 0;
    oxp_model *model = rich_model(20);
    expect_ok(oxp_message_visit(&ctx, &model->proto->base, count_nodes, &count));
    cr_assert_eq(count, 2 + 2 * 20);
    cr_assert_eq(oxp_message_visit(&ctx, &model->proto->base, count_nodes, &count), OXP_ECANCELLED);
    cr_assert_eq(count, 50);
    oxp_model_free(model);
}

Test(clone, running_out_of_memory_anywhere_is_an_error)
{
    oxp_model *model = rich_model(300), *copy;
    size_t used = atomic_load(&ctx.budget->used), limit = used, failures = 0;
    oxp_status status;
    do {
        ctx.budget->limit = limit;
        status = oxp_model_clone(&copy, model);
        cr_assert(status == OXP_OK || (status == OXP_ELIMIT && ctx.status == OXP_ELIMIT));
        failures += status != OXP_OK;
        oxp_ctx_clear(&ctx);
        limit += 1024;
    } while (status != OXP_OK);
    cr_assert_gt(failures, 50);
    oxp_model_free(copy);
    cr_assert_eq(atomic_load(&ctx.budget->used), used);
    oxp_model_free(model);
}
