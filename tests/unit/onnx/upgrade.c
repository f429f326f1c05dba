/* Raising the opset: what each conversion makes of a node, and what is refused by name. */
#include "unit/onnx/edit_build.h"

#include "onnx/upgrade.h"

TestSuite(upgrade, .init = start, .fini = finish);

/* One node with inputs of a type; its outputs are the graph's. */
static oxp_model *one_node(int64_t opset, const char *type, oxp_dtype dtype, const char *inputs,
                           const char *outputs)
{
    oxp_model *model = new_model(opset);
    oxp_graph_proto *g = oxp_model_graph(model);
    name_list in, out;
    split_names(&in, inputs);
    split_names(&out, outputs);
    for (size_t i = 0; i < in.count; i++) {
        oxp_value_info info = float_info(in.names[i], 3);
        info.dtype = dtype;
        expect_ok(oxp_edit_add_input(model, g, &info));
    }
    oxp_value_info info = float_info(out.names[0], -1);
    info.dtype = dtype;
    expect_ok(oxp_edit_add_output(model, g, &info));
    add_node(model, g, type, inputs, outputs);
    return model;
}

static oxp_node_proto *first(oxp_model *model)
{
    return oxp_graph_proto_node(oxp_model_graph(model), 0);
}

static void raise_to(oxp_model *model, int64_t target)
{
    expect_ok(oxp_model_upgrade(model, target, NULL));
    cr_assert_eq(oxp_model_opset(model, ""), target);
    cr_assert_geq(oxp_model_ir_version(model), oxp_ir_for_opset(target));
}

static void expect_refused(oxp_model *model, int64_t target, const char *text)
{
    expect_error(oxp_model_upgrade(model, target, NULL), OXP_EUNSUPPORTED, "E-UPGRADE", text);
    oxp_model_free(model);
}

/* The last check: the loader takes what came out. */
static void finish_model(oxp_model *model)
{
    oxp_model_free(reload(model));
    oxp_model_free(model);
}

static const Onnx__TensorProto *initializer(const oxp_model *model, const char *name)
{
    const Onnx__GraphProto *g = model->proto->graph;
    for (size_t i = 0; i < g->n_initializer; i++)
        if (strcmp(g->initializer[i]->name, name) == 0)
            return g->initializer[i];
    cr_assert(false, "no initializer %s", name);
    return NULL;
}

static oxp_tensor constant(oxp_model *model, const char *name)
{
    oxp_tensor t = {0};
    expect_ok(oxp_tensor_decode(&t, &model->arena, model, initializer(model, name)));
    return t;
}

static void expect_ints(oxp_model *model, const char *name, int rank, size_t count,
                        const int64_t *values)
{
    oxp_tensor t = constant(model, name);
    cr_assert(t.dtype == OXP_INT64 && t.rank == rank && t.count == count, "%s", name);
    for (size_t i = 0; i < count; i++)
        cr_assert_eq(oxp_tensor_int(&t, i), values[i]);
}

static void expect_scalar(oxp_model *model, const char *name, oxp_dtype dtype, double value)
{
    oxp_tensor t = constant(model, name);
    cr_assert(t.dtype == dtype && t.rank == 0, "%s", name);
    cr_assert_eq(oxp_tensor_real(&t, 0), value);
}

static const Onnx__AttributeProto *attribute(oxp_node_proto *n, const char *name)
{
    return oxp_node_find_attribute(n, name);
}

static void expect_string(oxp_node_proto *n, const char *name, const char *value)
{
    const Onnx__AttributeProto *a = attribute(n, name);
    cr_assert(a != NULL && a->has_s && a->s.len == strlen(value) &&
                  memcmp(a->s.data, value, a->s.len) == 0,
              "%s", name);
}

/* ---- the call itself ---- */

Test(upgrade, a_model_at_or_above_the_target_is_left_alone)
{
    oxp_model *model = relu_model(13), *loaded = reload(model);
    expect_ok(oxp_model_upgrade(loaded, 11, NULL));
    expect_ok(oxp_model_upgrade(loaded, 13, NULL));
    cr_assert_not(loaded->edited);
    oxp_model_free(loaded);
    oxp_model_free(model);
}

Test(upgrade, versions_out_of_range)
{
    oxp_model *model = relu_model(13);
    expect_error(oxp_model_upgrade(model, OXP_UPGRADE_NEWEST + 1, NULL), OXP_EUNSUPPORTED,
                 "E-OPSET-NEW", "up to opset 21, asked for 22");
    model->proto->opset_import[0]->version = 6;
    expect_error(oxp_model_upgrade(model, 13, NULL), OXP_EUNSUPPORTED, "E-OPSET", "has 6");
    oxp_model_free(model);
}

Test(upgrade, operators_without_a_change)
{
    oxp_model *model = relu_model(7);
    oxp_graph_proto *g = oxp_model_graph(model);
    add_node(model, g, "Conv", "x,y", "a");
    add_node(model, g, "Max", "a,y", "b");
    oxp_node_proto *other = add_node(model, g, "Softmax", "b", "c");
    expect_ok(oxp_edit_set_type(model, other, "Softmax", "com.example"));
    expect_ok(oxp_edit_set_opset(model, "com.example", 1));
    raise_to(model, 21);
    cr_assert_eq(oxp_graph_proto_node_count(g), 4);
    cr_assert_eq(oxp_graph_proto_initializer_count(g), 0);
    expect_node(g, 3, "Softmax(b)->c");
    finish_model(model);
}

/* In IR 3 constants are listed as inputs. */
Test(upgrade, constants_of_old_models_stay_constant)
{
    oxp_model *model = one_node(10, "Resize", OXP_FLOAT, "x,s", "y");
    oxp_graph_proto *g = oxp_model_graph(model);
    add_floats(model, g, "s", 3, (float[]){1, 2, 2});
    model->proto->ir_version = 3;
    raise_to(model, 13);
    cr_assert_eq(oxp_graph_proto_input_count(g), 1);
    expect_string(first(model), "nearest_mode", "floor");
    finish_model(model);
}

/* ---- attributes that became inputs ---- */

Test(upgrade, slice)
{
    oxp_model *model = one_node(9, "Slice", OXP_FLOAT, "x", "y");
    expect_ok(oxp_edit_set_ints(model, first(model), "starts", 2, (int64_t[]){0, -3}));
    expect_ok(oxp_edit_set_ints(model, first(model), "ends", 2, (int64_t[]){1, INT64_MAX}));
    expect_ok(oxp_edit_set_ints(model, first(model), "axes", 2, (int64_t[]){1, 2}));
    raise_to(model, 13);
    expect_node(oxp_model_graph(model), 0, "Slice(x,y_starts,y_ends,y_axes)->y");
    expect_ints(model, "y_starts", 1, 2, (int64_t[]){0, -3});
    expect_ints(model, "y_ends", 1, 2, (int64_t[]){1, INT64_MAX});
    expect_ints(model, "y_axes", 1, 2, (int64_t[]){1, 2});
    cr_assert_eq(oxp_node_proto_attribute_count(first(model)), 0);
    finish_model(model);
    expect_refused(one_node(9, "Slice", OXP_FLOAT, "x", "y"), 10, "no attribute starts");
}

Test(upgrade, top_k)
{
    oxp_model *model = one_node(9, "TopK", OXP_FLOAT, "x", "y,i");
    expect_ok(oxp_edit_set_int(model, first(model), "k", 4));
    expect_ok(oxp_edit_set_int(model, first(model), "axis", 1));
    raise_to(model, 11);
    expect_node(oxp_model_graph(model), 0, "TopK(x,y_k)->y,i");
    expect_ints(model, "y_k", 1, 1, (int64_t[]){4});
    cr_assert_not_null(attribute(first(model), "axis"));
    finish_model(model);
    expect_refused(one_node(9, "TopK", OXP_FLOAT, "x", "y"), 10, "no attribute k");
}

static void clip_of(oxp_dtype dtype)
{
    oxp_model *model = one_node(10, "Clip", dtype, "x", "y");
    expect_ok(oxp_edit_set_float(model, first(model), "min", -0.5f));
    expect_ok(oxp_edit_set_float(model, first(model), "max", 6));
    raise_to(model, 13);
    expect_node(oxp_model_graph(model), 0, "Clip(x,y_min,y_max)->y");
    expect_scalar(model, "y_min", dtype, -0.5);
    expect_scalar(model, "y_max", dtype, 6);
    finish_model(model);
}

Test(upgrade, clip)
{
    clip_of(OXP_FLOAT);
    clip_of(OXP_FLOAT16);
    clip_of(OXP_DOUBLE);
    oxp_model *model = one_node(10, "Clip", OXP_FLOAT, "x", "y");
    expect_ok(oxp_edit_set_float(model, first(model), "max", 1));
    raise_to(model, 11);
    expect_node(oxp_model_graph(model), 0, "Clip(x,,y_max)->y");
    oxp_model_free(model);
    model = one_node(10, "Clip", OXP_FLOAT, "x", "y");
    raise_to(model, 11);
    expect_node(oxp_model_graph(model), 0, "Clip(x)->y");
    finish_model(model);
}

Test(upgrade, pad)
{
    oxp_model *model = one_node(10, "Pad", OXP_FLOAT16, "x", "y");
    expect_ok(oxp_edit_set_ints(model, first(model), "pads", 6, (int64_t[]){0, 1, 2, 3, 4, 5}));
    expect_ok(oxp_edit_set_float(model, first(model), "value", 0));
    raise_to(model, 18);
    expect_node(oxp_model_graph(model), 0, "Pad(x,y_pads)->y");
    expect_ints(model, "y_pads", 1, 6, (int64_t[]){0, 1, 2, 3, 4, 5});
    finish_model(model);
    model = one_node(10, "Pad", OXP_FLOAT16, "x", "y");
    expect_ok(oxp_edit_set_ints(model, first(model), "pads", 6, (int64_t[]){0, 1, 2, 3, 4, 5}));
    expect_ok(oxp_edit_set_float(model, first(model), "value", -2));
    raise_to(model, 11);
    expect_node(oxp_model_graph(model), 0, "Pad(x,y_pads,y_value)->y");
    expect_scalar(model, "y_value", OXP_FLOAT16, -2);
    finish_model(model);
}

Test(upgrade, squeeze_unsqueeze_and_reductions)
{
    static const struct {
        const char *type;
        int64_t before, after;
    } rows[] = {{"Squeeze", 11, 13},    {"Unsqueeze", 11, 13}, {"ReduceSum", 12, 13},
                {"ReduceMean", 13, 18}, {"ReduceL2", 11, 18},  {"ReduceMax", 13, 18}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        oxp_model *model = one_node(rows[i].before, rows[i].type, OXP_FLOAT, "x", "y");
        char text[64];
        expect_ok(oxp_edit_set_ints(model, first(model), "axes", 2, (int64_t[]){0, -1}));
        raise_to(model, rows[i].after);
        snprintf(text, sizeof text, "%s(x,y_axes)->y", rows[i].type);
        expect_node(oxp_model_graph(model), 0, text);
        expect_ints(model, "y_axes", 1, 2, (int64_t[]){0, -1});
        cr_assert_null(attribute(first(model), "axes"));
        finish_model(model);
    }
    oxp_model *model = one_node(11, "ReduceMean", OXP_FLOAT, "x", "y"); /* over all */
    raise_to(model, 18);
    expect_node(oxp_model_graph(model), 0, "ReduceMean(x)->y");
    finish_model(model);
    model = one_node(13, "ReduceMean", OXP_FLOAT, "x", "y"); /* still an attribute */
    expect_ok(oxp_edit_set_ints(model, first(model), "axes", 1, (int64_t[]){1}));
    raise_to(model, 17);
    cr_assert_not_null(attribute(first(model), "axes"));
    finish_model(model);
    expect_refused(one_node(11, "Unsqueeze", OXP_FLOAT, "x", "y"), 13, "no attribute axes");
}

Test(upgrade, split)
{
    oxp_model *model = one_node(11, "Split", OXP_FLOAT, "x", "y,z");
    expect_ok(oxp_edit_set_ints(model, first(model), "split", 2, (int64_t[]){1, 2}));
    raise_to(model, 18);
    expect_node(oxp_model_graph(model), 0, "Split(x,y_split)->y,z");
    expect_ints(model, "y_split", 1, 2, (int64_t[]){1, 2});
    cr_assert_null(attribute(first(model), "num_outputs"));
    finish_model(model);
    model = one_node(11, "Split", OXP_FLOAT, "x", "y,z,w");
    raise_to(model, 18);
    expect_node(oxp_model_graph(model), 0, "Split(x)->y,z,w");
    cr_assert_eq(attribute(first(model), "num_outputs")->i, 3);
    finish_model(model);
}

Test(upgrade, dft)
{
    oxp_model *model = one_node(17, "DFT", OXP_FLOAT, "x", "y");
    raise_to(model, 20);
    expect_node(oxp_model_graph(model), 0, "DFT(x,,y_axis)->y");
    expect_ints(model, "y_axis", 0, 1, (int64_t[]){1});
    finish_model(model);
}

/* ---- dropout, normalisation, regions ---- */

Test(upgrade, dropout)
{
    oxp_model *model = one_node(7, "Dropout", OXP_FLOAT, "x", "y,mask");
    expect_ok(oxp_edit_set_float(model, first(model), "ratio", 0.25f));
    raise_to(model, 13);
    expect_node(oxp_model_graph(model), 0, "Dropout(x,y_ratio)->y");
    expect_scalar(model, "y_ratio", OXP_FLOAT, 0.25);
    finish_model(model);
    model = one_node(7, "Dropout", OXP_FLOAT, "x", "y,mask");
    add_node(model, oxp_model_graph(model), "Neg", "mask", "n");
    expect_refused(model, 13,
                   "graph \"graph\": node 0 \"\" (\"Dropout\"): cannot be raised to opset 10: its "
                   "mask is read");
    model = one_node(10, "Dropout", OXP_FLOAT, "x", "y,mask");
    add_node(model, oxp_model_graph(model), "Not", "mask", "n");
    expect_refused(model, 13, "raised to opset 12: its mask is read");
}

Test(upgrade, batch_normalization)
{
    oxp_model *model = one_node(7, "BatchNormalization", OXP_FLOAT, "x,s,b,m,v", "y");
    expect_ok(oxp_edit_set_int(model, first(model), "spatial", 1));
    expect_ok(oxp_edit_set_float(model, first(model), "epsilon", 1e-3f));
    raise_to(model, 15);
    cr_assert_null(attribute(first(model), "spatial"));
    cr_assert_eq(attribute(first(model), "epsilon")->f, 1e-3f);
    finish_model(model);
    model = one_node(7, "BatchNormalization", OXP_FLOAT, "x,s,b,m,v", "y");
    expect_ok(oxp_edit_set_int(model, first(model), "spatial", 0));
    expect_refused(model, 9, "spatial=0");
    model = one_node(9, "BatchNormalization", OXP_FLOAT, "x,s,b,m,v", "y,m2,v2,m3,v3");
    expect_refused(model, 14, "training");
}

Test(upgrade, roi_align_grid_sample_scatter)
{
    oxp_model *model = one_node(10, "RoiAlign", OXP_FLOAT, "x,r,b", "y");
    raise_to(model, 16);
    expect_string(first(model), "coordinate_transformation_mode", "output_half_pixel");
    finish_model(model);
    model = one_node(16, "GridSample", OXP_FLOAT, "x,g", "y");
    expect_ok(oxp_edit_set_string(model, first(model), "mode", "bicubic"));
    raise_to(model, 20);
    expect_string(first(model), "mode", "cubic");
    finish_model(model);
    model = one_node(9, "Scatter", OXP_FLOAT, "x,i,u", "y");
    raise_to(model, 13);
    expect_node(oxp_model_graph(model), 0, "ScatterElements(x,i,u)->y");
    finish_model(model);
}

/* ---- Softmax ---- */

Test(upgrade, softmax_along_the_last_axis)
{
    oxp_model *model = one_node(11, "Softmax", OXP_FLOAT, "x", "y"); /* rank 3 */
    expect_ok(oxp_edit_set_int(model, first(model), "axis", 2));
    raise_to(model, 13);
    expect_node(oxp_model_graph(model), 0, "Softmax(x)->y");
    cr_assert_eq(attribute(first(model), "axis")->i, 2);
    finish_model(model);
    model = one_node(11, "LogSoftmax", OXP_FLOAT, "x", "y");
    expect_ok(oxp_edit_set_int(model, first(model), "axis", -1));
    raise_to(model, 13);
    cr_assert_eq(oxp_graph_proto_node_count(oxp_model_graph(model)), 1);
    finish_model(model);
}

static int rank_2(void *user, const oxp_graph_proto *g, const char *value)
{
    cr_assert_not_null(g);
    ++*(int *)user;
    return strcmp(value, "x") == 0 ? 2 : -1;
}

Test(upgrade, softmax_asks_for_the_rank_that_running_showed)
{
    int asked = 0;
    oxp_model *model = one_node(11, "Softmax", OXP_FLOAT, "x", "y");
    oxp_upgrade_options options = {.rank_of = rank_2, .user = &asked};
    expect_ok(oxp_model_upgrade(model, 13, &options));
    cr_assert_gt(asked, 0);
    expect_node(oxp_model_graph(model), 0, "Softmax(x)->y");
    cr_assert_eq(attribute(first(model), "axis")->i, 1, "the old default, written out");
    oxp_model_free(model);
}

static void softmax_rows(int64_t target, bool has_allowzero)
{
    oxp_model *model = one_node(11, "Hardmax", OXP_FLOAT, "x", "y");
    oxp_graph_proto *g = oxp_model_graph(model);
    add_node(model, g, "Softmax", "y", "z"); /* follows, rank unknown */
    raise_to(model, target);
    expect_node(g, 0, "Flatten(x)->y_rows");
    cr_assert_eq(attribute(oxp_graph_proto_node(g, 0), "axis")->i, 1);
    expect_node(g, 1, "Shape(x)->y_shape");
    expect_node(g, 2, "Hardmax(y_rows)->y_result");
    cr_assert_eq(attribute(oxp_graph_proto_node(g, 2), "axis")->i, -1);
    expect_node(g, 3, "Reshape(y_result,y_shape)->y");
    cr_assert_eq(attribute(oxp_graph_proto_node(g, 3), "allowzero") != NULL, has_allowzero);
    expect_node(g, 4, "Flatten(y)->z_rows");
    expect_node(g, 6, "Softmax(z_rows)->z_result");
    cr_assert_eq(oxp_graph_proto_node_count(g), 8);
    finish_model(model);
}

Test(upgrade, softmax_over_several_axes)
{
    softmax_rows(13, false);
    softmax_rows(17, true);
}

/* ---- Upsample and Resize ---- */

static oxp_model *upsample(int64_t opset, const char *mode)
{
    oxp_model *model = one_node(opset, "Upsample", OXP_FLOAT, "x", "y");
    expect_ok(oxp_edit_set_string(model, first(model), "mode", mode));
    expect_ok(oxp_edit_set_floats(model, first(model), "scales", 3, (float[]){1, 2, 2}));
    return model;
}

Test(upgrade, upsample)
{
    oxp_model *model = upsample(7, "nearest");
    raise_to(model, 9);
    expect_node(oxp_model_graph(model), 0, "Upsample(x,y_scales)->y");
    finish_model(model);
    model = upsample(7, "nearest");
    raise_to(model, 10);
    expect_node(oxp_model_graph(model), 0, "Resize(x,y_scales)->y");
    finish_model(model);
    model = upsample(7, "nearest");
    raise_to(model, 17);
    expect_node(oxp_model_graph(model), 0, "Resize(x,y_roi,y_scales)->y");
    expect_string(first(model), "mode", "nearest");
    expect_string(first(model), "nearest_mode", "floor");
    expect_string(first(model), "coordinate_transformation_mode", "asymmetric");
    cr_assert_eq(constant(model, "y_roi").count, 0);
    oxp_tensor scales = constant(model, "y_scales");
    cr_assert(scales.count == 3 && ((float *)scales.data)[2] == 2);
    finish_model(model);
    model = upsample(7, "linear");
    raise_to(model, 13);
    cr_assert_null(attribute(first(model), "nearest_mode"));
    finish_model(model);
    expect_refused(upsample(7, "cubic"), 11, "mode is not known");
    expect_refused(one_node(7, "Upsample", OXP_FLOAT, "x", "y"), 9, "no attribute scales");
}

/* The scales are computed, but those of Upsample never shrink. */
Test(upgrade, upsample_by_unknown_scales)
{
    oxp_model *model = one_node(9, "Upsample", OXP_FLOAT, "x,s", "y");
    raise_to(model, 13);
    expect_string(first(model), "nearest_mode", "floor");
    finish_model(model);
}

static oxp_model *resize_10(float a, float b)
{
    oxp_model *model = one_node(10, "Resize", OXP_FLOAT, "x", "y");
    add_floats(model, oxp_model_graph(model), "s", 2, (float[]){a, b});
    expect_ok(oxp_edit_set_input(model, first(model), 1, "s"));
    return model;
}

Test(upgrade, resize_rounds_by_its_scales)
{
    oxp_model *model = resize_10(1, 3);
    raise_to(model, 11);
    expect_node(oxp_model_graph(model), 0, "Resize(x,y_roi,s)->y");
    expect_string(first(model), "nearest_mode", "floor");
    finish_model(model);
    model = resize_10(0.5f, 1);
    raise_to(model, 11);
    expect_string(first(model), "nearest_mode", "ceil");
    finish_model(model);
    expect_refused(resize_10(0.5f, 2), 11, "enlarges one axis and reduces another");
    expect_refused(one_node(10, "Resize", OXP_FLOAT, "x,s", "y"), 11, "scales are not constant");
    model = resize_10(0.5f, 2);
    expect_ok(oxp_edit_set_string(model, first(model), "mode", "linear"));
    raise_to(model, 13);
    expect_string(first(model), "coordinate_transformation_mode", "asymmetric");
    finish_model(model);
}

Test(upgrade, an_initializer_that_may_be_overridden_is_not_constant)
{
    oxp_model *model = resize_10(1, 3);
    oxp_value_info info = float_info("s", 1);
    expect_ok(oxp_edit_add_input(model, oxp_model_graph(model), &info));
    expect_refused(model, 11, "scales are not constant");
}

static oxp_model *resize_11(const char *mode, const char *nearest_mode)
{
    oxp_model *model = one_node(11, "Resize", OXP_FLOAT, "x", "y");
    oxp_graph_proto *g = oxp_model_graph(model);
    add_floats(model, g, "none", 0, NULL);
    expect_ok(oxp_edit_add_initializer(model, g, "sizes", OXP_INT64, 1, &(int64_t){3},
                                       (int64_t[]){2, 4, 4}));
    expect_ok(oxp_edit_set_input(model, first(model), 1, "none"));
    expect_ok(oxp_edit_set_input(model, first(model), 2, "none"));
    expect_ok(oxp_edit_set_input(model, first(model), 3, "sizes"));
    expect_ok(oxp_edit_set_string(model, first(model), "mode", mode));
    expect_ok(oxp_edit_set_string(model, first(model), "nearest_mode", nearest_mode));
    expect_ok(oxp_edit_set_string(model, first(model), "coordinate_transformation_mode",
                                  "tf_half_pixel_for_nn"));
    return model;
}

Test(upgrade, resize_leaves_out_empty_scales_and_the_mode_that_is_gone)
{
    oxp_model *model = resize_11("nearest", "floor");
    raise_to(model, 13);
    expect_node(oxp_model_graph(model), 0, "Resize(x,none,,sizes)->y");
    expect_string(first(model), "coordinate_transformation_mode", "half_pixel");
    expect_string(first(model), "nearest_mode", "round_prefer_ceil");
    finish_model(model);
    expect_refused(resize_11("nearest", "ceil"), 13, "tf_half_pixel_for_nn");
    expect_refused(resize_11("linear", "floor"), 13, "tf_half_pixel_for_nn");
}

/* ---- refusals ---- */

Test(upgrade, what_cannot_be_kept)
{
    expect_refused(one_node(8, "Scan", OXP_FLOAT, ",x", "y"), 9, "(\"Scan\")");
    expect_refused(one_node(18, "GroupNormalization", OXP_FLOAT, "x,s,b", "y"), 21, "per channel");
    oxp_model *model = one_node(9, "TopK", OXP_FLOAT, "x", "y");
    expect_ok(oxp_edit_set_string(model, first(model), "k", "four"));
    expect_refused(model, 10, "should be an integer");
    model = one_node(11, "Squeeze", OXP_FLOAT, "x", "y");
    expect_ok(oxp_edit_set_int(model, first(model), "axes", 1));
    expect_refused(model, 13, "should be a list of integers");
}

/* ---- types of values ---- */

/* A Clip behind a chain of nodes none of whose values is declared. */
static oxp_model *clip_behind(const char *type, oxp_dtype dtype, int64_t opset)
{
    oxp_model *model = one_node(opset, "Identity", dtype, "x", "a");
    oxp_graph_proto *g = oxp_model_graph(model);
    g->n_output = 0;
    oxp_value_info info = float_info("end", -1);
    expect_ok(oxp_edit_add_output(model, g, &info));
    add_node(model, g, type, "a,a,a", "b");
    oxp_node_proto *clip = add_node(model, g, "Clip", "b", "y");
    expect_ok(oxp_edit_set_float(model, clip, "min", 0));
    add_node(model, g, "Cast", "y", "end");
    expect_ok(oxp_edit_set_int(model, oxp_graph_proto_node(g, 3), "to", OXP_FLOAT));
    return model;
}

Test(upgrade, types_are_followed_through_nodes)
{
    oxp_model *model = clip_behind("Conv", OXP_DOUBLE, 10);
    raise_to(model, 11);
    expect_scalar(model, "y_min", OXP_DOUBLE, 0);
    finish_model(model);
    model = clip_behind("RandomNormalLike", OXP_DOUBLE, 10);
    expect_ok(oxp_edit_set_int(model, oxp_graph_proto_node(oxp_model_graph(model), 1), "dtype",
                               OXP_FLOAT16));
    raise_to(model, 11);
    expect_scalar(model, "y_min", OXP_FLOAT16, 0);
    oxp_model_free(model);
    expect_refused(clip_behind("If", OXP_DOUBLE, 10), 11, "element type of its input is not known");
    expect_refused(clip_behind("Shape", OXP_DOUBLE, 10), 11,
                   "element type of its input is no float");
}

static oxp_dtype half(void *user, const oxp_graph_proto *g, const char *value)
{
    (void)user;
    (void)g;
    return strcmp(value, "b") == 0 ? OXP_FLOAT16 : OXP_UNDEFINED;
}

Test(upgrade, types_that_running_showed)
{
    oxp_model *model = clip_behind("If", OXP_FLOAT, 10);
    oxp_upgrade_options options = {.dtype_of = half};
    expect_ok(oxp_model_upgrade(model, 11, &options));
    expect_scalar(model, "y_min", OXP_FLOAT16, 0);
    oxp_model_free(model);
}

/* ---- subgraphs, functions ---- */

Test(upgrade, subgraphs_are_raised_and_see_the_values_around)
{
    oxp_model *model = one_node(9, "Identity", OXP_DOUBLE, "x", "y");
    oxp_graph_proto *g = oxp_model_graph(model);
    oxp_node_proto *outer = add_node(model, g, "If", "c", "z");
    oxp_graph_proto *branch = add_subgraph(model, outer, "then_branch");
    oxp_node_proto *clip = add_node(model, branch, "Clip", "y", "inside");
    expect_ok(oxp_edit_set_float(model, clip, "max", 3));
    add_node(model, branch, "Upsample", "inside,s", "t");
    add_floats(model, g, "s", 1, (float[]){2});
    raise_to(model, 13);
    expect_node(branch, 0, "Clip(y,,inside_max)->inside");
    expect_node(branch, 1, "Resize(inside,t_roi,s)->t");
    cr_assert_eq(branch->n_initializer, 2);
    cr_assert_eq(branch->initializer[0]->data_type, OXP_DOUBLE);
    cr_assert_eq(g->n_initializer, 1);
    oxp_model_free(model);
}

/* Two branches may use one name for different things. */
Test(upgrade, sibling_subgraphs_keep_their_types_apart)
{
    static const oxp_dtype types[] = {OXP_DOUBLE, OXP_FLOAT16};
    oxp_model *model = relu_model(9);
    oxp_graph_proto *g = oxp_model_graph(model);
    oxp_node_proto *outer = add_node(model, g, "If", "c", "z");
    oxp_graph_proto *branches[2];
    for (int i = 0; i < 2; i++) {
        branches[i] = add_subgraph(model, outer, i == 0 ? "then_branch" : "else_branch");
        oxp_node_proto *cast = add_node(model, branches[i], "Cast", "x", "same");
        expect_ok(oxp_edit_set_int(model, cast, "to", types[i]));
        oxp_node_proto *clip = add_node(model, branches[i], "Clip", "same", "out");
        expect_ok(oxp_edit_set_float(model, clip, "max", 3));
    }
    raise_to(model, 13);
    cr_assert_eq(branches[0]->initializer[0]->data_type, OXP_DOUBLE);
    cr_assert_eq(branches[1]->initializer[0]->data_type, OXP_FLOAT16);
    oxp_model_free(model);
}

static oxp_model *with_function(const char *type)
{
    oxp_model *model = relu_model(13);
    Onnx__FunctionProto *f = oxp_arena_alloc(&model->arena, 1, sizeof *f);
    Onnx__OperatorSetIdProto *import = oxp_arena_alloc(&model->arena, 1, sizeof *import);
    oxp_model *lender = new_model(13);
    oxp_node_proto *n = add_node(model, oxp_model_graph(lender), type, "a", "b");
    onnx__function_proto__init(f);
    onnx__operator_set_id_proto__init(import);
    import->domain = (char *)"";
    import->has_version = 1;
    import->version = 13;
    f->name = (char *)"Local";
    f->domain = (char *)"local";
    char *a = oxp_model_strdup(model, "a"), *b = oxp_model_strdup(model, "b");
    Onnx__ModelProto *proto = model->proto;
    expect_ok(oxp_array_insert(model, &f->input, &f->n_input, 0, a));
    expect_ok(oxp_array_insert(model, &f->output, &f->n_output, 0, b));
    expect_ok(oxp_array_insert(model, &f->node, &f->n_node, 0, n));
    expect_ok(oxp_array_insert(model, &f->opset_import, &f->n_opset_import, 0, import));
    expect_ok(oxp_array_insert(model, &proto->functions, &proto->n_functions, 0, f));
    oxp_model_free(lender);
    return model;
}

Test(upgrade, functions_are_raised_when_nothing_in_them_changes)
{
    oxp_model *model = with_function("Relu");
    raise_to(model, 18);
    cr_assert_eq(model->proto->functions[0]->opset_import[0]->version, 18);
    finish_model(model);
    expect_refused(
        with_function("Split"), 18,
        "function \"Local\": node 0 \"\" (\"Split\"): cannot be raised to opset 18: nodes "
        "of functions");
}

/* ---- size, memory ---- */

Test(upgrade, many_nodes_in_little_time)
{
    oxp_model *model = one_node(10, "Identity", OXP_FLOAT, "x", "y");
    oxp_graph_proto *g = oxp_model_graph(model);
    const char *previous = "y", *next;
    for (int i = 0; i < 20000; i++) {
        expect_ok(oxp_edit_unique_name(&next, model, "v"));
        oxp_node_proto *clip = add_node(model, g, i % 2 ? "Clip" : "Dropout", previous, next);
        if (i % 2)
            expect_ok(oxp_edit_set_float(model, clip, "max", 6));
        previous = next;
    }
    raise_to(model, 17);
    cr_assert_eq(oxp_graph_proto_initializer_count(g), 10000);
    oxp_model_free(model);
}

Test(upgrade, running_out_of_memory_anywhere_is_an_error)
{
    oxp_model *model = upsample(7, "nearest"), *copy;
    oxp_graph_proto *g = oxp_model_graph(model);
    add_node(model, g, "Softmax", "y", "z");
    expect_ok(oxp_edit_set_float(model, add_node(model, g, "Clip", "z", "c"), "max", 6));
    size_t used = atomic_load(&ctx.budget->used), limit = used, failures = 0;
    oxp_status status;
    do {
        ctx.budget->limit = limit;
        status = oxp_model_clone(&copy, model);
        if (status == OXP_OK) {
            status = oxp_model_upgrade(copy, 21, NULL);
            oxp_model_free(copy);
        }
        cr_assert(status == OXP_OK || (status == OXP_ELIMIT && ctx.status == OXP_ELIMIT));
        cr_assert_eq(atomic_load(&ctx.budget->used), used);
        failures += status != OXP_OK;
        oxp_ctx_clear(&ctx);
        limit += 256;
    } while (status != OXP_OK);
    cr_assert_gt(failures, 100);
    oxp_model_free(model);
}
