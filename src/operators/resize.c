/* resize.c - Resize and Upsample: attributes, sizes and rows of the table. The sampling is in
 * resize_tables.c and resize_interpolate.c. https://onnx.ai/onnx/operators/onnx__Resize.html
 *
 * An output dimension is floor(dimension * scale) in float, or what `sizes` says. nearest moves any
 * type; linear and cubic take floats, INT8, UINT8 and INT32. Before opset 11, and in Upsample,
 * places are asymmetric. */
#include "operators/gradient.h"
#include "operators/resize.h"

#include <math.h>
#include <string.h>

static oxp_status check_type(oxp_node *n, const oxp_resize *r)
{
    oxp_dtype dtype = n->in[0]->dtype;
    size_t element;
    if (r->mode == OXP_RESIZE_NEAREST)
        return oxp_move_element(n, 0, &element);
    bool known =
        oxp_dtype_is_float(dtype) || dtype == OXP_INT8 || dtype == OXP_UINT8 || dtype == OXP_INT32;
    return known ? OXP_OK : oxp_node_bad_dtype(n, 0);
}

/* Everything as it is: no axis moves. */
static oxp_status start(oxp_node *n, oxp_resize **out)
{
    const oxp_tensor *x = n->in[0];
    oxp_resize *r = oxp_node_state(n, sizeof *r);
    if (!r)
        return n->ctx->status;
    *r = (oxp_resize){.place = OXP_PLACE_ASYMMETRIC,
                      .round = OXP_ROUND_BY_SCALE,
                      .cubic_a = -0.75f,
                      .rank = x->rank};
    for (int i = 0; i < x->rank; i++) {
        r->in[i] = r->out[i] = x->dims[i];
        r->scale[i] = 1.0f;
        r->roi_end[i] = 1.0f;
    }
    *out = r;
    return OXP_OK;
}

static oxp_status set_scale(oxp_node *n, oxp_resize *r, int axis, float scale)
{
    float size = (float)r->in[axis] * scale;
    if (!(scale > 0.0f) || !isfinite(scale))
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "the scale of axis %d is %g", axis,
                             (double)scale);
    if (size > 0x1p62f)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE-OVERFLOW", "axis %d: %lld times %g overflows",
                             axis, (long long)r->in[axis], (double)scale);
    r->scale[axis] = scale;
    r->out[axis] = (int64_t)size;
    return OXP_OK;
}

static oxp_status set_scales(oxp_node *n, oxp_resize *r, const float *scales, size_t count,
                             const int *axes, size_t axis_count)
{
    if (count != axis_count)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "%zu scales for %zu axes", count,
                             axis_count);
    for (size_t i = 0; i < count; i++)
        OXP_TRY(set_scale(n, r, axes[i], scales[i]));
    return OXP_OK;
}

static oxp_status declare(oxp_node *n, oxp_resize *r)
{
    bool any = false;
    OXP_TRY(check_type(n, r));
    for (int i = 0; i < r->rank; i++) {
        bool crops = r->place == OXP_PLACE_TF_CROP_AND_RESIZE &&
                     (r->roi_start[i] != 0.0f || r->roi_end[i] != 1.0f);
        r->moves[i] = r->in[i] != r->out[i] || r->scale[i] != 1.0f || crops;
        any = any || r->moves[i];
        if (r->in[i] == 0 && r->out[i] > 0)
            return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                                 "axis %d is empty and cannot grow to %lld", i,
                                 (long long)r->out[i]);
    }
    if (!any)
        return oxp_output_alias(n, 0, 0, r->rank, r->out);
    return oxp_output(n, 0, n->in[0]->dtype, r->rank, r->out);
}

static oxp_status read_mode(oxp_node *n, oxp_resize *r, bool cubic)
{
    static const char *const modes[] = {"nearest", "linear", "cubic", NULL}, *const plain[] = {
                                                                                 "nearest",
                                                                                 "linear",
                                                                                 "bilinear", NULL};
    int mode;
    OXP_TRY(oxp_move_choice(n, "mode", "nearest", cubic ? modes : plain, &mode));
    r->mode = !cubic && mode > 0 ? OXP_RESIZE_LINEAR : (oxp_resize_mode)mode;
    return OXP_OK;
}

static void all_axes(int axes[OXP_MAX_RANK])
{
    for (int i = 0; i < OXP_MAX_RANK; i++)
        axes[i] = i;
}

static oxp_status upsample_7_prepare(oxp_node *n)
{
    oxp_resize *r;
    const float *scales;
    size_t count;
    int axes[OXP_MAX_RANK];
    OXP_TRY(start(n, &r));
    OXP_TRY(read_mode(n, r, false));
    oxp_attr_floats(n, "scales", &scales, &count);
    all_axes(axes);
    OXP_TRY(set_scales(n, r, scales, count, axes, (size_t)r->rank));
    return declare(n, r);
}

/* Upsample 9 and Resize 10: scales in input 1. */
static oxp_status resize_10_prepare(oxp_node *n)
{
    oxp_resize *r;
    int axes[OXP_MAX_RANK];
    OXP_TRY(start(n, &r));
    OXP_TRY(read_mode(n, r, false));
    OXP_TRY(oxp_node_want(n, 1, OXP_FLOAT));
    all_axes(axes);
    OXP_TRY(set_scales(n, r, n->in[1]->data, n->in[1]->count, axes, (size_t)r->rank));
    return declare(n, r);
}

static oxp_status read_attributes(oxp_node *n, oxp_resize *r)
{
    static const char *const places[] = {
        "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners",
        "asymmetric", "tf_half_pixel_for_nn", "tf_crop_and_resize", NULL};
    static const char *const rounds[] = {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil",
                                         NULL};
    int place, nearest;
    OXP_TRY(read_mode(n, r, true));
    OXP_TRY(oxp_move_choice(n, "coordinate_transformation_mode", "half_pixel", places, &place));
    OXP_TRY(oxp_move_choice(n, "nearest_mode", "round_prefer_floor", rounds, &nearest));
    r->place = (oxp_resize_place)place;
    r->round = (oxp_resize_round)nearest;
    r->cubic_a = oxp_attr_float(n, "cubic_coeff_a", -0.75f);
    r->exclude_outside = oxp_attr_int(n, "exclude_outside", 0) != 0;
    r->antialias = oxp_attr_int(n, "antialias", 0) != 0;
    r->extrapolation = oxp_attr_float(n, "extrapolation_value", 0);
    return OXP_OK;
}

/* Attribute axes, or all of them. */
static oxp_status read_axes(oxp_node *n, const oxp_resize *r, int axes[OXP_MAX_RANK], size_t *count)
{
    const int64_t *values;
    oxp_attr_ints(n, "axes", &values, count);
    if (values)
        return oxp_move_axes(n, values, *count, r->rank, axes);
    all_axes(axes);
    *count = (size_t)r->rank;
    return OXP_OK;
}

static oxp_status read_roi(oxp_node *n, oxp_resize *r, const int *axes, size_t count)
{
    const oxp_tensor *roi = n->in_count > 1 ? n->in[1] : NULL;
    if (r->place != OXP_PLACE_TF_CROP_AND_RESIZE)
        return OXP_OK;
    if (!roi || !oxp_dtype_is_float(roi->dtype) || roi->count != 2 * count)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                             "tf_crop_and_resize needs a roi of %zu floats, found %zu", 2 * count,
                             roi ? roi->count : 0);
    for (size_t i = 0; i < count; i++) {
        r->roi_start[axes[i]] = (float)oxp_tensor_real(roi, i);
        r->roi_end[axes[i]] = (float)oxp_tensor_real(roi, i + count);
    }
    return OXP_OK;
}

/* Sizes, or the scale that keeps the aspect ratio within (policy 1) or around (policy 2) them. */
static oxp_status set_sizes(oxp_node *n, oxp_resize *r, const int *axes, size_t axis_count)
{
    static const char *const policies[] = {"stretch", "not_larger", "not_smaller", NULL};
    const int64_t *sizes;
    size_t count;
    int policy;
    float common = 0;
    OXP_TRY(oxp_move_choice(n, "keep_aspect_ratio_policy", "stretch", policies, &policy));
    OXP_TRY(oxp_move_ints(n, 3, &sizes, &count));
    if (count != axis_count)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "%zu sizes for %zu axes", count,
                             axis_count);
    for (size_t i = 0; i < count; i++) {
        int axis = axes[i];
        if (sizes[i] < 0 || (sizes[i] > 0 && r->in[axis] == 0))
            return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "axis %d of %lld cannot become %lld",
                                 axis, (long long)r->in[axis], (long long)sizes[i]);
        r->out[axis] = sizes[i];
        r->scale[axis] = r->in[axis] == sizes[i] ? 1.0f : (float)sizes[i] / (float)r->in[axis];
        bool better = policy == 1 ? r->scale[axis] < common : r->scale[axis] > common;
        if (i == 0 || better)
            common = r->scale[axis];
    }
    for (size_t i = 0; policy != 0 && i < count; i++) {
        OXP_TRY(set_scale(n, r, axes[i], common));
        r->out[axes[i]] = (int64_t)floorf(common * (float)r->in[axes[i]] + 0.5f);
    }
    return OXP_OK;
}

static bool is_given(const oxp_node *n, int i)
{
    return i < n->in_count && n->in[i] && n->in[i]->count > 0;
}

static oxp_status resize_11_prepare(oxp_node *n)
{
    oxp_resize *r;
    int axes[OXP_MAX_RANK];
    size_t count;
    OXP_TRY(start(n, &r));
    OXP_TRY(read_attributes(n, r));
    OXP_TRY(read_axes(n, r, axes, &count));
    OXP_TRY(read_roi(n, r, axes, count));
    bool scales = is_given(n, 2), sizes = is_given(n, 3);
    if (scales == sizes && count > 0)
        return oxp_node_fail(n, OXP_EFORMAT, "E-ARITY",
                             "expected one of scales and sizes, found %s",
                             scales ? "both" : "none");
    if (scales) {
        oxp_attr_ignore(n, "keep_aspect_ratio_policy");
        OXP_TRY(oxp_node_want(n, 2, OXP_FLOAT));
        OXP_TRY(set_scales(n, r, n->in[2]->data, n->in[2]->count, axes, count));
    } else {
        OXP_TRY(set_sizes(n, r, axes, count));
    }
    return declare(n, r);
}

static oxp_status forward_nearest(oxp_node *n, const oxp_resize *r)
{
    oxp_gather_maps maps = {.rank = r->rank};
    oxp_tensor *y = &n->out[0];
    uint64_t fill[2] = {0};
    OXP_TRY(oxp_move_element(n, 0, &maps.element));
    for (int i = 0; i < r->rank; i++) {
        int64_t *map;
        OXP_TRY(oxp_resize_nearest(n, r, i, &map));
        maps.maps[i] = map;
        maps.to_dims[i] = r->out[i];
        maps.from_dims[i] = r->in[i];
    }
    if (!oxp_move_write_real(y->dtype, (double)r->extrapolation, fill) && r->extrapolation != 0.0f)
        return oxp_node_bad_dtype(n, 0);
    maps.fill = fill;
    return oxp_move_mapped(n, &maps, y->data, n->in[0]->data);
}

static oxp_status resize_forward(oxp_node *n)
{
    const oxp_resize *r = n->state;
    if (n->alias[0] >= 0 || !n->out[0].data || n->out[0].count == 0)
        return OXP_OK;
    return r->mode == OXP_RESIZE_NEAREST ? forward_nearest(n, r) : oxp_resize_interpolate(n, r);
}

static oxp_status resize_backward(oxp_node *n)
{
    oxp_resize *r = n->state;
    const float *dy = oxp_dout(n, 0);
    float *dx = oxp_din(n, 0), extrapolation = r->extrapolation;
    if (!dx || !dy || n->out[0].count == 0)
        return OXP_OK;
    if (r->mode != OXP_RESIZE_NEAREST && n->alias[0] < 0)
        return oxp_resize_interpolate_backward(n, r, dy, dx);
    r->extrapolation = 0;
    oxp_status status = oxp_backward_moved_first(n);
    r->extrapolation = extrapolation;
    return status;
}

static const char *const upsample_7_examples[] = {
    "X[1,1,2,2]; scales=1.0,1.0,2.0,3.0",
    "X[1,1,2,2]; scales=1.0,1.0,2.0,2.0 mode='linear'",
    NULL,
};

const oxp_operator oxp_op_upsample_7 = {
    .domain = "",
    .type = "Upsample",
    .since = 7,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .prepare = upsample_7_prepare,
    .forward = resize_forward,
    .backward = resize_backward,
    .saves = OXP_SAVES_ALL_BUT_FIRST,
    .examples = upsample_7_examples,
};

static const char *const resize_10_examples[] = {
    "X[1,2,4,4] S[4]={1.0,1.0,2.0,1.5}",
    "X[1,2,4,4]:u8 S[4]={1.0,1.0,0.5,0.6}",
    "X[1,2,4,4] S[4]={1.0,1.0,2.0,0.5}; mode='linear'",
    NULL,
};

const oxp_operator oxp_op_upsample_9 = {
    .domain = "",
    .type = "Upsample",
    .since = 9,
    .min_in = 2,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .values = 2,
    .prepare = resize_10_prepare,
    .forward = resize_forward,
    .backward = resize_backward,
    .saves = OXP_SAVES_ALL_BUT_FIRST,
    .examples = resize_10_examples,
};

const oxp_operator oxp_op_resize_10 = {
    .domain = "",
    .type = "Resize",
    .since = 10,
    .min_in = 2,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .values = 2,
    .prepare = resize_10_prepare,
    .forward = resize_forward,
    .backward = resize_backward,
    .saves = OXP_SAVES_ALL_BUT_FIRST,
    .examples = resize_10_examples,
};

static const char *const resize_11_examples[] = {
    "X[1,1,4,4] R[0]={} S[4]={1.0,1.0,0.8,2.0}; mode='cubic'",
    "X[1,1,4,4] R[8]={0.0,0.0,0.4,0.6,1.0,1.0,0.6,0.8} S[0]={} T[4]:i64={1,1,3,3}; mode='linear' "
    "coordinate_transformation_mode='tf_crop_and_resize' extrapolation_value=10.0",
    "X[1,1,2,2] R[0]={} S[4]={1.0,1.0,2.0,3.0}; nearest_mode='ceil'",
    NULL,
};

const oxp_operator oxp_op_resize_11 = {
    .domain = "",
    .type = "Resize",
    .since = 11,
    .min_in = 3,
    .max_in = 4,
    .min_out = 1,
    .max_out = 1,
    .optional = 1 << 1 | 1 << 2 | 1 << 3,
    .values = 1 << 1 | 1 << 2 | 1 << 3,
    .prepare = resize_11_prepare,
    .forward = resize_forward,
    .backward = resize_backward,
    .saves = OXP_SAVES_ALL_BUT_FIRST,
    .examples = resize_11_examples,
};

static const char *const resize_13_examples[] = {
    "X[1,1,4,4] _ S[4]={1.0,1.0,0.6,0.6}; mode='linear' "
    "coordinate_transformation_mode='align_corners'",
    "X[1,1,4,4] _ S[4]={1.0,1.0,0.6,0.6}; mode='linear' antialias=1",
    "X[1,1,4,4] _ S[4]={1.0,1.0,0.6,0.6}; mode='cubic' antialias=1 exclude_outside=1 "
    "cubic_coeff_a=-0.5",
    "X[1,1,7,8] _ _ T[2]:i64={4,9}; axes=2,3 keep_aspect_ratio_policy='not_larger'",
    "X[1,2,2,3,2] _ _ T[3]:i64={4,5,3}; axes=2,3,4 mode='linear' "
    "coordinate_transformation_mode='pytorch_half_pixel'",
    "X[1,5,6,1] _ S[4]={1.0,2.4,0.7,1.0}; mode='nearest' "
    "coordinate_transformation_mode='half_pixel_symmetric'",
    NULL,
};

const oxp_operator oxp_op_resize_13 = {
    .domain = "",
    .type = "Resize",
    .since = 13,
    .min_in = 1,
    .max_in = 4,
    .min_out = 1,
    .max_out = 1,
    .optional = 1 << 1 | 1 << 2 | 1 << 3,
    .values = 1 << 1 | 1 << 2 | 1 << 3,
    .prepare = resize_11_prepare,
    .forward = resize_forward,
    .backward = resize_backward,
    .saves = OXP_SAVES_ALL_BUT_FIRST,
    .examples = resize_13_examples,
};
