/* A sparse initializer that was added, seen through the loader: dense again, and removable. */
#include "unit/onnx/edit_build.h"

TestSuite(edit_sparse, .init = start, .fini = finish);

Test(edit_sparse, what_is_listed_stands_where_it_was)
{
    oxp_model *model = relu_model(13);
    oxp_graph_proto *g = oxp_model_graph(model);
    const int64_t places[] = {1, 5}, dims[] = {2, 3};
    const float values[] = {7, -2}, dense[] = {0, 7, 0, 0, 0, -2};
    oxp_sparse_list list = {OXP_FLOAT, 2, places, values};
    expect_ok(oxp_edit_set_ir_version(model, 4));
    expect_ok(oxp_edit_add_sparse_initializer(model, g, "w", &list, 2, dims));
    oxp_model *loaded = reload(model);
    oxp_graph_proto *found = oxp_model_graph(loaded);
    oxp_tensor t;
    cr_assert_eq(oxp_graph_proto_sparse_count(found), 1);
    cr_expect_str_eq(oxp_graph_proto_sparse_name(found, 0), "w");
    expect_ok(oxp_graph_proto_sparse(&t, &loaded->arena, loaded, found, 0));
    cr_assert(t.rank == 2 && t.dims[0] == 2 && t.dims[1] == 3 && t.dtype == OXP_FLOAT);
    cr_expect_arr_eq(t.data, dense, sizeof dense);
    cr_expect_eq(loaded->proto->ir_version, 6);
    const char *name;
    expect_ok(oxp_edit_unique_name(&name, model, "w"));
    cr_expect_str_eq(name, "w_1");
    expect_ok(oxp_edit_remove_initializer(model, g, "w"));
    cr_expect_eq(oxp_graph_proto_sparse_count(g), 0);
    oxp_model_free(loaded);
    oxp_model_free(model);
}
