/* center_crop_pad.c - CenterCropPad: each axis cropped to, or padded with zeros to, the size that
 * input 1 lists, the middle staying in the middle; of an odd difference the larger half is at the
 * end. https://onnx.ai/onnx/operators/onnx__CenterCropPad.html */
#include <string.h>

#include "operators/gradient.h"
#include "operators/movement.h"

static oxp_status center_crop_pad_prepare(oxp_node *n)
{
    const oxp_tensor *x = n->in[0];
    const int64_t *sizes, *values;
    size_t count, axis_count, element;
    int axes[OXP_MAX_RANK];
    int64_t dims[OXP_MAX_RANK];
    OXP_TRY(oxp_move_element(n, 0, &element));
    OXP_TRY(oxp_move_ints(n, 1, &sizes, &count));
    oxp_attr_ints(n, "axes", &values, &axis_count);
    if (values)
        OXP_TRY(oxp_move_axes(n, values, axis_count, x->rank, axes));
    else
        axis_count = (size_t)x->rank;
    if (count != axis_count)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "%zu sizes for %zu axes", count,
                             axis_count);
    memcpy(dims, x->dims, sizeof dims);
    for (size_t i = 0; i < count; i++)
        dims[values ? axes[i] : (int)i] = sizes[i];
    return oxp_output(n, 0, x->dtype, x->rank, dims);
}

static oxp_status center_crop_pad_forward(oxp_node *n)
{
    const oxp_tensor *x = n->in[0], *y = &n->out[0];
    oxp_copy copy = {.rank = 0};
    int64_t from[OXP_MAX_RANK], to[OXP_MAX_RANK], source = 0, target = 0;
    OXP_TRY(oxp_move_element(n, 0, &copy.element));
    if (!y->data || y->count == 0)
        return OXP_OK;
    memset(y->data, 0, y->count * copy.element);
    oxp_move_strides(x->rank, x->dims, from);
    oxp_move_strides(y->rank, y->dims, to);
    for (int i = 0; i < y->rank; i++) {
        int64_t crop = x->dims[i] - y->dims[i];
        if (crop > 0)
            source += crop / 2 * from[i];
        else
            target += -crop / 2 * to[i];
        oxp_copy_add(&copy, crop > 0 ? y->dims[i] : x->dims[i], to[i], from[i]);
    }
    oxp_copy_run(&copy, (char *)y->data + (size_t)target * copy.element,
                 (const char *)x->data + (size_t)source * copy.element);
    return OXP_OK;
}

static const char *const center_crop_pad_examples[] = {
    "X[7,5,3] S[3]:i64={4,5,6}",
    "X[4,6]:i32 S[2]:i32={9,3}; axes=-1,0",
    "X[3,8,5] S[2]:i64={5,4}; axes=1,2",
    NULL,
};

const oxp_operator oxp_op_center_crop_pad_18 = {
    .domain = "",
    .type = "CenterCropPad",
    .since = 18,
    .min_in = 2,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .values = 2,
    .prepare = center_crop_pad_prepare,
    .forward = center_crop_pad_forward,
    .backward = oxp_backward_moved_first,
    .saves = OXP_SAVES_ALL_BUT_FIRST,
    .examples = center_crop_pad_examples,
};
