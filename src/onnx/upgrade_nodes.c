/* upgrade_nodes.c - the conversions of single operators, by the version that brought the change.
 *
 * Most of them turn an attribute into an input. A default that changed is written out. */
#include "onnx/upgrade_internal.h"

#include <string.h>

static oxp_status drop_attribute(oxp_upgrade *u, const char *name)
{
    return oxp_edit_remove_attribute(u->model, u->n, name);
}

static bool has_input(const oxp_upgrade *u, size_t i)
{
    return i < u->n->n_input && u->n->input[i][0] != '\0';
}

/* A list of integers moves from an attribute to input i. Without the attribute nothing happens. */
static oxp_status ints_to_input(oxp_upgrade *u, const char *attribute, size_t i)
{
    const int64_t *values;
    size_t count;
    bool present;
    const char *name;
    OXP_TRY(oxp_upgrade_ints(u, attribute, &values, &count, &present));
    if (!present)
        return OXP_OK;
    OXP_TRY(oxp_upgrade_int_list(&name, u, attribute, count, values));
    OXP_TRY(oxp_edit_set_input(u->model, u->n, i, name));
    return drop_attribute(u, attribute);
}

static oxp_status need_ints(oxp_upgrade *u, const char *attribute, const char *complaint)
{
    const int64_t *values;
    size_t count;
    bool present;
    OXP_TRY(oxp_upgrade_ints(u, attribute, &values, &count, &present));
    return present ? OXP_OK : oxp_upgrade_refuse(u, complaint);
}

/* ---- 9, 10 ---- */

oxp_status oxp_upgrade_spatial(oxp_upgrade *u)
{
    int64_t spatial = 1;
    OXP_TRY(oxp_upgrade_int(u, "spatial", &spatial));
    if (spatial == 0)
        return oxp_upgrade_refuse(u, "spatial=0, statistics for each element, is gone");
    return drop_attribute(u, "spatial");
}

/* A mask that nobody reads is taken off. */
static oxp_status drop_mask(oxp_upgrade *u, const char *complaint)
{
    bool is_read = false;
    if (u->n->n_output < 2)
        return OXP_OK;
    if (u->n->output[1][0] != '\0')
        OXP_TRY(oxp_upgrade_is_read(&is_read, u, u->n->output[1]));
    if (is_read)
        return oxp_upgrade_refuse(u, complaint);
    u->n->n_output = 1;
    return OXP_OK;
}

oxp_status oxp_upgrade_dropout_mask(oxp_upgrade *u)
{
    return drop_mask(u, "its mask is read, which had the data's type and becomes BOOL");
}

oxp_status oxp_upgrade_slice(oxp_upgrade *u)
{
    OXP_TRY(need_ints(u, "starts", "it has no attribute starts"));
    OXP_TRY(need_ints(u, "ends", "it has no attribute ends"));
    OXP_TRY(ints_to_input(u, "starts", 1));
    OXP_TRY(ints_to_input(u, "ends", 2));
    return ints_to_input(u, "axes", 3);
}

oxp_status oxp_upgrade_top_k(oxp_upgrade *u)
{
    int64_t k = -1;
    const char *name;
    OXP_TRY(oxp_upgrade_int(u, "k", &k));
    if (k < 0)
        return oxp_upgrade_refuse(u, "it has no attribute k");
    OXP_TRY(oxp_upgrade_int_list(&name, u, "k", 1, &k));
    OXP_TRY(oxp_edit_set_input(u->model, u->n, 1, name));
    return drop_attribute(u, "k");
}

/* ---- 11, 12 ---- */

/* A number moves from an attribute to input i, in the type of input 0. */
static oxp_status number_to_input(oxp_upgrade *u, const char *attribute, float value, size_t i)
{
    oxp_dtype dtype;
    const char *name;
    if (!has_input(u, 0))
        return oxp_upgrade_refuse(u, "it has no input");
    OXP_TRY(oxp_upgrade_dtype(&dtype, u, u->n->input[0]));
    OXP_TRY(oxp_upgrade_scalar(&name, u, attribute, dtype, value));
    return oxp_edit_set_input(u->model, u->n, i, name);
}

/* The defaults are the ends of the type before and after. */
oxp_status oxp_upgrade_clip(oxp_upgrade *u)
{
    float min = 0, max = 0;
    bool has_min, has_max;
    OXP_TRY(oxp_upgrade_float(u, "min", &min, &has_min));
    OXP_TRY(oxp_upgrade_float(u, "max", &max, &has_max));
    if (has_min)
        OXP_TRY(number_to_input(u, "min", min, 1));
    if (has_max)
        OXP_TRY(number_to_input(u, "max", max, 2));
    OXP_TRY(drop_attribute(u, "min"));
    return drop_attribute(u, "max");
}

oxp_status oxp_upgrade_pad(oxp_upgrade *u)
{
    static const float zero = 0;
    float value = 0;
    bool has_value;
    OXP_TRY(need_ints(u, "pads", "it has no attribute pads"));
    OXP_TRY(oxp_upgrade_float(u, "value", &value, &has_value));
    OXP_TRY(ints_to_input(u, "pads", 1));
    if (memcmp(&value, &zero, sizeof value) != 0) /* -0 is another value */
        OXP_TRY(number_to_input(u, "value", value, 2));
    return drop_attribute(u, "value");
}

oxp_status oxp_upgrade_scatter(oxp_upgrade *u)
{
    return oxp_edit_set_type(u->model, u->n, "ScatterElements", "");
}

/* The type of the ratio is independent of the data's. What a mask holds outside of training was not
 * said before; runtimes gave false and give true. */
oxp_status oxp_upgrade_dropout_ratio(oxp_upgrade *u)
{
    float ratio = 0;
    bool present;
    const char *name;
    OXP_TRY(drop_mask(u, "its mask is read, which becomes all true"));
    OXP_TRY(oxp_upgrade_float(u, "ratio", &ratio, &present));
    if (!present)
        return OXP_OK;
    OXP_TRY(oxp_upgrade_scalar(&name, u, "ratio", OXP_FLOAT, ratio));
    OXP_TRY(oxp_edit_set_input(u->model, u->n, 1, name));
    return drop_attribute(u, "ratio");
}

/* ---- 13 ---- */

/* Squeeze, Unsqueeze and reductions. An empty list meant "all" and has no counterpart in an input,
 * where it is left out. */
oxp_status oxp_upgrade_axes(oxp_upgrade *u)
{
    const int64_t *axes;
    size_t count;
    bool present;
    OXP_TRY(oxp_upgrade_ints(u, "axes", &axes, &count, &present));
    if (strcmp(u->n->op_type, "Unsqueeze") == 0) {
        OXP_TRY(need_ints(u, "axes", "it has no attribute axes"));
        return ints_to_input(u, "axes", 1);
    }
    return count > 0 ? ints_to_input(u, "axes", 1) : drop_attribute(u, "axes");
}

oxp_status oxp_upgrade_split_13(oxp_upgrade *u)
{
    return ints_to_input(u, "split", 1);
}

/* Before, all dimensions from `axis` on were one row:
 *
 *     Softmax(x, axis)  =  Reshape(Softmax(Flatten(x, axis), -1), Shape(x))
 *
 * Where axis is the last one, that is Softmax along it. At opset 13 itself, which has no allowzero,
 * an empty x of rank 3 or more cannot be reshaped back. */
static oxp_status softmax_over_rows(oxp_upgrade *u, int64_t axis)
{
    const char *rows, *shape, *result;
    char *output = u->n->output[0];
    Onnx__NodeProto *flatten, *reshape;
    OXP_TRY(oxp_upgrade_name(&rows, u, "rows"));
    OXP_TRY(oxp_upgrade_name(&shape, u, "shape"));
    OXP_TRY(oxp_upgrade_name(&result, u, "result"));
    OXP_TRY(oxp_upgrade_insert_before(&flatten, u, "Flatten", u->n->input[0], rows));
    OXP_TRY(oxp_edit_set_int(u->model, flatten, "axis", axis));
    OXP_TRY(oxp_upgrade_insert_before(NULL, u, "Shape", u->n->input[0], shape));
    OXP_TRY(oxp_upgrade_insert_behind(&reshape, u, "Reshape", result, shape, output));
    if (u->target >= 14) /* a 0 in the shape is a size, not "as in the input" */
        OXP_TRY(oxp_edit_set_int(u->model, reshape, "allowzero", 1));
    OXP_TRY(oxp_edit_set_input(u->model, u->n, 0, rows));
    OXP_TRY(oxp_edit_set_output(u->model, u->n, 0, result));
    return oxp_edit_set_int(u->model, u->n, "axis", -1);
}

oxp_status oxp_upgrade_softmax(oxp_upgrade *u)
{
    int64_t axis = 1;
    int rank;
    OXP_TRY(oxp_upgrade_int(u, "axis", &axis));
    if (axis == -1)
        return OXP_OK;
    if (!has_input(u, 0) || u->n->n_output == 0)
        return oxp_upgrade_refuse(u, "it has no input or output");
    OXP_TRY(oxp_upgrade_rank(&rank, u, u->n->input[0]));
    if (rank >= 0 && axis == rank - 1)
        return oxp_edit_set_int(u->model, u->n, "axis", axis);
    return softmax_over_rows(u, axis);
}

/* ---- 14 and newer ---- */

/* More than one output was how training was asked for, which computes something else. */
oxp_status oxp_upgrade_training_outputs(oxp_upgrade *u)
{
    for (size_t i = 1; i < u->n->n_output; i++)
        if (u->n->output[i][0] != '\0')
            return oxp_upgrade_refuse(u, "it gives statistics, which means training");
    if (u->n->n_output > 1)
        u->n->n_output = 1;
    return OXP_OK;
}

oxp_status oxp_upgrade_roi_align(oxp_upgrade *u)
{
    if (oxp_node_find_attribute(u->n, "coordinate_transformation_mode") != NULL)
        return OXP_OK;
    return oxp_edit_set_string(u->model, u->n, "coordinate_transformation_mode",
                               "output_half_pixel");
}

/* Equal parts had no mark; now their number is stated. */
oxp_status oxp_upgrade_split_18(oxp_upgrade *u)
{
    if (has_input(u, 1))
        return OXP_OK;
    return oxp_edit_set_int(u->model, u->n, "num_outputs", (int64_t)u->n->n_output);
}

oxp_status oxp_upgrade_grid_sample(oxp_upgrade *u)
{
    if (oxp_upgrade_string_is(u, "mode", "bilinear"))
        return oxp_edit_set_string(u->model, u->n, "mode", "linear");
    if (oxp_upgrade_string_is(u, "mode", "bicubic"))
        return oxp_edit_set_string(u->model, u->n, "mode", "cubic");
    return OXP_OK;
}

oxp_status oxp_upgrade_dft(oxp_upgrade *u)
{
    int64_t axis = 1;
    const char *name;
    OXP_TRY(oxp_upgrade_int(u, "axis", &axis));
    OXP_TRY(oxp_upgrade_constant(&name, u, "axis", OXP_INT64, 0, NULL, &axis));
    OXP_TRY(oxp_edit_set_input(u->model, u->n, 2, name));
    return drop_attribute(u, "axis");
}
