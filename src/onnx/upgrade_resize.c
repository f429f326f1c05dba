/* upgrade_resize.c - Upsample and Resize.
 *
 * Up to opset 10 an output coordinate o reads the input at o / scale (which opset 11 calls
 * asymmetric). "nearest" takes the floor of that where an axis grows and the ceiling where it
 * shrinks; the reference tests of opset 10 and ONNX Runtime agree on it, the text says nothing. */
#include "onnx/upgrade_internal.h"

#include <string.h>

/* ---- Upsample ---- */

oxp_status oxp_upgrade_upsample_9(oxp_upgrade *u)
{
    const Onnx__AttributeProto *scales = oxp_node_find_attribute(u->n, "scales");
    if (scales == NULL || scales->n_floats == 0)
        return oxp_upgrade_refuse(u, "it has no attribute scales");
    int64_t dim = (int64_t)scales->n_floats;
    const char *name;
    OXP_TRY(oxp_upgrade_constant(&name, u, "scales", OXP_FLOAT, 1, &dim, scales->floats));
    OXP_TRY(oxp_edit_set_input(u->model, u->n, 1, name));
    return oxp_edit_remove_attribute(u->model, u->n, "scales");
}

/* Further on it waits for opset 11: that its scales are at least 1 is known only of Upsample. */
oxp_status oxp_upgrade_upsample_10(oxp_upgrade *u)
{
    return u->target > 10 ? OXP_OK : oxp_edit_set_type(u->model, u->n, "Resize", "");
}

/* (X, scales) becomes (X, roi, scales) with an empty roi. */
static oxp_status resize_asymmetric(oxp_upgrade *u, const char *nearest_mode)
{
    if (u->n->n_input < 2)
        return oxp_upgrade_refuse(u, "it has no scales");
    int64_t none = 0;
    const char *roi, *scales = u->n->input[1];
    OXP_TRY(oxp_upgrade_constant(&roi, u, "roi", OXP_FLOAT, 1, &none, NULL));
    OXP_TRY(oxp_edit_set_input(u->model, u->n, 2, scales));
    OXP_TRY(oxp_edit_set_input(u->model, u->n, 1, roi));
    if (nearest_mode != NULL)
        OXP_TRY(oxp_edit_set_string(u->model, u->n, "nearest_mode", nearest_mode));
    return oxp_edit_set_string(u->model, u->n, "coordinate_transformation_mode", "asymmetric");
}

/* The mode's default is nearest. */
static oxp_status is_nearest(bool *out, const oxp_upgrade *u)
{
    bool linear = oxp_upgrade_string_is(u, "mode", "linear");
    *out = oxp_upgrade_string_is(u, "mode", "nearest") ||
           oxp_node_find_attribute(u->n, "mode") == NULL;
    return *out || linear ? OXP_OK : oxp_upgrade_refuse(u, "its mode is not known");
}

oxp_status oxp_upgrade_upsample_11(oxp_upgrade *u)
{
    bool nearest;
    OXP_TRY(is_nearest(&nearest, u));
    OXP_TRY(oxp_edit_set_type(u->model, u->n, "Resize", ""));
    return resize_asymmetric(u, nearest ? "floor" : NULL);
}

/* ---- Resize ---- */

static oxp_status rounding_of_scales(const char **out, const oxp_upgrade *u,
                                     const oxp_tensor *scales)
{
    bool grows = false, shrinks = false;
    for (size_t i = 0; i < scales->count; i++) {
        grows = grows || oxp_tensor_real(scales, i) > 1;
        shrinks = shrinks || oxp_tensor_real(scales, i) < 1;
    }
    if (grows && shrinks)
        return oxp_upgrade_refuse(u, "it enlarges one axis and reduces another by nearest");
    *out = shrinks ? "ceil" : "floor";
    return OXP_OK;
}

static oxp_status nearest_mode_of(const char **out, const oxp_upgrade *u)
{
    const Onnx__TensorProto *proto =
        u->n->n_input < 2 ? NULL : oxp_upgrade_constant_of(u, u->n->input[1]);
    if (proto == NULL || proto->data_type != ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT)
        return oxp_upgrade_refuse(u, "its scales are not constant, so that the rounding of nearest "
                                     "is not known");
    oxp_arena arena;
    oxp_tensor scales = {0};
    oxp_arena_init(&arena, u->model->ctx);
    oxp_status status = oxp_tensor_decode(&scales, &arena, u->model, proto);
    if (status == OXP_OK)
        status = rounding_of_scales(out, u, &scales);
    oxp_arena_free(&arena);
    return status;
}

oxp_status oxp_upgrade_resize_11(oxp_upgrade *u)
{
    bool nearest;
    const char *nearest_mode = NULL;
    OXP_TRY(is_nearest(&nearest, u));
    if (nearest)
        OXP_TRY(nearest_mode_of(&nearest_mode, u));
    return resize_asymmetric(u, nearest_mode);
}

/* tf_half_pixel_for_nn is gone. With floor it was floor((o + 0.5) / scale), which is half_pixel
 * rounded to the nearest, halves up. */
static oxp_status replace_tf_half_pixel(oxp_upgrade *u)
{
    bool is_default_mode = oxp_node_find_attribute(u->n, "mode") == NULL;
    if ((!is_default_mode && !oxp_upgrade_string_is(u, "mode", "nearest")) ||
        !oxp_upgrade_string_is(u, "nearest_mode", "floor"))
        return oxp_upgrade_refuse(u, "tf_half_pixel_for_nn is gone and has a counterpart only for "
                                     "nearest with floor");
    OXP_TRY(oxp_edit_set_string(u->model, u->n, "coordinate_transformation_mode", "half_pixel"));
    return oxp_edit_set_string(u->model, u->n, "nearest_mode", "round_prefer_ceil");
}

/* Of scales and sizes one is given; the other was an empty tensor and is left out now. */
oxp_status oxp_upgrade_resize_13(oxp_upgrade *u)
{
    if (oxp_upgrade_string_is(u, "coordinate_transformation_mode", "tf_half_pixel_for_nn"))
        OXP_TRY(replace_tf_half_pixel(u));
    if (u->n->n_input < 4 || u->n->input[3][0] == '\0')
        return OXP_OK;
    const Onnx__TensorProto *scales = oxp_upgrade_constant_of(u, u->n->input[2]);
    if (scales == NULL || scales->n_dims != 1 || scales->dims[0] != 0)
        return OXP_OK;
    return oxp_edit_set_input(u->model, u->n, 2, "");
}
