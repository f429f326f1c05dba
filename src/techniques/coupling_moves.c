/* coupling_moves.c - operators that move elements or work on each alone: their output has the
 * channels of their input where these can still be told apart. */
#include <string.h>

#include "techniques/coupling_rules.h"

static bool has_channel_axis(const oxp_channels *x, int64_t from, int64_t end)
{
    for (int64_t k = from < 0 ? 0 : from; k < end && k < x->rank; k++)
        if (x->parts[k].extent > 1)
            return true;
    return false;
}

/* Input 0 element by element, or within axes without channels; others may not have any. */
static oxp_status pass_through(oxp_coupling *c, const oxp_graph_node *n)
{
    oxp_channels y;
    const oxp_channels *x = oxp_coupling_in(c, n, 0);
    const oxp_tensor *made = &c->seen[n->outputs[0]];
    for (size_t i = 1; i < n->input_count; i++)
        oxp_channels_pin(&c->variables, oxp_coupling_in(c, n, i));
    if (x->count == 0)
        return OXP_OK;
    if (made->rank != x->rank || !oxp_channels_resize(&y, x, made->rank, made->dims))
        return oxp_coupling_block(c, n);
    return oxp_coupling_hand_on(c, n, &y);
}

/* `sizes` counts the channels too. */
static oxp_status resize(oxp_coupling *c, const oxp_graph_node *n)
{
    const oxp_channels *x = oxp_coupling_in(c, n, 0);
    int axis = oxp_coupling_axis(x);
    if (x->count == 0)
        return OXP_OK;
    bool by_sizes = oxp_coupling_has_input(n, 3), is_attribute;
    const int64_t *sizes;
    size_t count;
    if (oxp_graph_node_attribute(n, "axes") || !oxp_coupling_single(x))
        return oxp_coupling_block(c, n);
    if (by_sizes) {
        if (!oxp_coupling_integers(&sizes, &count, &is_attribute, n, 3, NULL) ||
            count != (size_t)x->rank)
            return oxp_coupling_block(c, n);
        const uint32_t *along = oxp_coupling_along(c, x, axis);
        if (!along)
            return OXP_ELIMIT;
        OXP_TRY(oxp_coupling_add_count(c, (oxp_count){.node = n,
                                                      .input = 3,
                                                      .entry = (size_t)axis,
                                                      .variables = along,
                                                      .count = (size_t)x->dims[axis]}));
    }
    return pass_through(c, n);
}

/* Sums over axes behind `axis` (all of them before opset 13) must not mix channels. */
static oxp_status along_axis(oxp_coupling *c, const oxp_graph_node *n)
{
    const oxp_channels *x = oxp_coupling_in(c, n, 0);
    int64_t axis = oxp_graph_node_int(n, "axis", -2); /* the default differs by version */
    axis = axis == -2 ? 1 : axis < 0 ? axis + x->rank : axis;
    if (has_channel_axis(x, axis, x->rank))
        return oxp_coupling_block(c, n);
    return pass_through(c, n);
}

/* ---- shapes ---- */

/* One index of the outermost part is one channel from here on: heads, groups. */
static void unite_inner(oxp_coupling *c, const oxp_channels *x, int axis)
{
    size_t digits[OXP_MAX_RANK] = {0};
    for (int k = 0; k >= 0;) {
        size_t channel = x->offset;
        for (int i = 0; i < x->rank; i++)
            channel += digits[i] * x->parts[i].stride;
        size_t outer = x->offset + digits[axis] * x->parts[axis].stride;
        oxp_variables_unite(&c->variables, x->first + (uint32_t)outer,
                            x->first + (uint32_t)channel);
        for (k = x->rank - 1; k >= 0 && ++digits[k] >= x->parts[k].extent; k--)
            digits[k] = 0;
    }
}

/* Output 0 in another shape; *axis is that of its channels. */
static oxp_status take_shape(oxp_coupling *c, const oxp_graph_node *n, int *axis)
{
    oxp_channels y;
    const oxp_tensor *made = &c->seen[n->outputs[0]];
    *axis = -1;
    if (!oxp_channels_reshape(&y, oxp_coupling_in(c, n, 0), made->rank, made->dims))
        return oxp_coupling_block(c, n);
    *axis = oxp_coupling_axis(&y);
    if (*axis >= 0 && !oxp_coupling_single(&y))
        unite_inner(c, &y, *axis);
    return oxp_coupling_hand_on(c, n, &y);
}

static oxp_status flatten(oxp_coupling *c, const oxp_graph_node *n)
{
    int axis;
    return oxp_coupling_in(c, n, 0)->count ? take_shape(c, n, &axis) : OXP_OK;
}

static oxp_status reshape(oxp_coupling *c, const oxp_graph_node *n)
{
    const int64_t *shape;
    size_t count;
    bool is_attribute;
    int axis;
    if (oxp_coupling_in(c, n, 0)->count == 0)
        return OXP_OK;
    if (!oxp_coupling_integers(&shape, &count, &is_attribute, n, 1, "shape") ||
        count != (size_t)c->seen[n->outputs[0]].rank)
        return oxp_coupling_block(c, n);
    OXP_TRY(take_shape(c, n, &axis));
    if (axis < 0 || shape[axis] == -1)
        return OXP_OK;
    const oxp_channels *y = &c->channels[n->outputs[0]];
    const uint32_t *along = oxp_coupling_along(c, y, axis);
    if (!along)
        return OXP_ELIMIT;
    return oxp_coupling_add_count(c, (oxp_count){.node = n,
                                                 .attribute = is_attribute ? "shape" : NULL,
                                                 .is_list = true,
                                                 .input = 1,
                                                 .entry = (size_t)axis,
                                                 .variables = along,
                                                 .count = (size_t)y->dims[axis]});
}

static oxp_status transpose(oxp_coupling *c, const oxp_graph_node *n)
{
    oxp_channels y;
    const oxp_channels *x = oxp_coupling_in(c, n, 0);
    const oxp_attribute *perm = oxp_graph_node_attribute(n, "perm");
    if (x->count == 0)
        return OXP_OK;
    if ((perm && (perm->type != OXP_ATTR_INTS || perm->count != (size_t)x->rank)) ||
        !oxp_channels_transpose(&y, x, perm ? perm->ints : NULL))
        return oxp_coupling_block(c, n);
    return oxp_coupling_hand_on(c, n, &y);
}

static oxp_status reduce(oxp_coupling *c, const oxp_graph_node *n)
{
    oxp_channels y;
    const oxp_channels *x = oxp_coupling_in(c, n, 0);
    const oxp_tensor *made = &c->seen[n->outputs[0]];
    const int64_t *axes;
    size_t count;
    bool is_attribute;
    if (x->count == 0)
        return OXP_OK;
    if (!oxp_coupling_integers(&axes, &count, &is_attribute, n, 1, "axes"))
        return oxp_coupling_block(c, n);
    int64_t dims[OXP_MAX_RANK];
    memcpy(dims, x->dims, sizeof dims);
    for (size_t i = 0; i < count; i++) {
        int64_t axis = axes[i] < 0 ? axes[i] + x->rank : axes[i];
        if (axis < 0 || axis >= x->rank)
            return oxp_coupling_block(c, n);
        dims[axis] = 1;
    }
    if (!oxp_channels_resize(&y, x, x->rank, dims) ||
        !oxp_channels_reshape(&y, &y, made->rank, made->dims))
        return oxp_coupling_block(c, n);
    return oxp_coupling_hand_on(c, n, &y);
}

/* ---- Slice and Split ---- */

/* The number of an end or a start of a range of channels. */
static oxp_status count_to(oxp_coupling *c, const oxp_graph_node *n, size_t input,
                           const char *attribute, const uint32_t *along, int64_t end)
{
    return oxp_coupling_add_count(c, (oxp_count){.node = n,
                                                 .attribute = attribute,
                                                 .is_list = true,
                                                 .input = input,
                                                 .entry = 0,
                                                 .variables = along,
                                                 .count = (size_t)end});
}

/* One axis, step 1: where it starts and ends. */
static bool slice_range(const oxp_coupling *c, const oxp_graph_node *n, int *axis, int64_t *start,
                        bool *is_attribute)
{
    const oxp_channels *x = oxp_coupling_in(c, n, 0);
    const int64_t *starts, *ends, *axes, *steps;
    size_t counts[4] = {0};
    bool other;
    if (!oxp_coupling_integers(&starts, &counts[0], is_attribute, n, 1, "starts") ||
        !oxp_coupling_integers(&ends, &counts[1], &other, n, 2, "ends") ||
        !oxp_coupling_integers(&axes, &counts[2], &other, n, 3, "axes"))
        return false;
    if (oxp_coupling_has_input(n, 4) &&
        (!oxp_coupling_integers(&steps, &counts[3], &other, n, 4, NULL) || counts[3] != 1 ||
         steps[0] != 1))
        return false;
    if (counts[0] != 1 || counts[1] != 1 || counts[2] != 1)
        return false;
    int64_t at = axes[0] < 0 ? axes[0] + x->rank : axes[0];
    if (at < 0 || at >= x->rank)
        return false;
    int64_t size = x->dims[at], from = starts[0] < 0 ? starts[0] + size : starts[0];
    *axis = (int)at;
    *start = from < 0 ? 0 : from > size ? size : from;
    return true;
}

/* No axis that is cut tells channels apart. */
static bool leaves_channels(const oxp_graph_node *n, const oxp_channels *x)
{
    const int64_t *axes;
    size_t count;
    bool is_attribute, leaves;
    leaves = oxp_coupling_integers(&axes, &count, &is_attribute, n, 3, "axes");
    for (size_t i = 0; leaves && i < count; i++) {
        int64_t axis = axes[i] < 0 ? axes[i] + x->rank : axes[i];
        leaves = axis >= 0 && axis < x->rank && x->parts[axis].extent == 1;
    }
    return leaves;
}

static oxp_status slice(oxp_coupling *c, const oxp_graph_node *n)
{
    oxp_channels y;
    const oxp_channels *x = oxp_coupling_in(c, n, 0);
    const oxp_tensor *made = &c->seen[n->outputs[0]];
    int axis;
    int64_t start;
    bool is_attribute;
    if (x->count == 0)
        return OXP_OK;
    if (leaves_channels(n, x))
        return pass_through(c, n);
    if (!slice_range(c, n, &axis, &start, &is_attribute) || axis != oxp_coupling_axis(x) ||
        !oxp_coupling_single(x) || !oxp_channels_slice(&y, x, axis, start, made->dims[axis]))
        return oxp_coupling_block(c, n);
    const uint32_t *along = oxp_coupling_along(c, x, axis);
    if (!along)
        return OXP_ELIMIT;
    OXP_TRY(count_to(c, n, 1, is_attribute ? "starts" : NULL, along, start));
    OXP_TRY(count_to(c, n, 2, is_attribute ? "ends" : NULL, along, start + made->dims[axis]));
    return oxp_coupling_hand_on(c, n, &y);
}

/* Where the sizes of a Split stand: an attribute before opset 13, an input from then on. */
static const char *sizes_attribute(const oxp_graph_node *n)
{
    return oxp_model_opset(n->graph->model, "") < 13 ? "split" : NULL;
}

static bool has_unknown_sizes(const oxp_graph_node *n)
{
    const int64_t *sizes;
    size_t count;
    bool is_attribute;
    return oxp_coupling_has_input(n, 1) &&
           !oxp_coupling_integers(&sizes, &count, &is_attribute, n, 1, NULL);
}

static oxp_status split_range(oxp_coupling *c, const oxp_graph_node *n, size_t i,
                              const uint32_t *along, int64_t size)
{
    return oxp_coupling_add_count(c, (oxp_count){.node = n,
                                                 .attribute = sizes_attribute(n),
                                                 .is_list = true,
                                                 .input = 1,
                                                 .entry = i,
                                                 .variables = along,
                                                 .count = (size_t)size});
}

static oxp_status split(oxp_coupling *c, const oxp_graph_node *n)
{
    const oxp_channels *x = oxp_coupling_in(c, n, 0);
    int64_t axis = oxp_graph_node_int(n, "axis", 0), start = 0;
    axis = axis < 0 ? axis + x->rank : axis;
    if (x->count == 0)
        return OXP_OK;
    if (axis < 0 || axis >= x->rank || has_unknown_sizes(n))
        return oxp_coupling_block(c, n);
    bool cuts = x->parts[axis].extent > 1;
    if (cuts && ((int)axis != oxp_coupling_axis(x) || !oxp_coupling_single(x)))
        return oxp_coupling_block(c, n);
    const uint32_t *along = oxp_coupling_along(c, x, (int)axis);
    if (!along)
        return OXP_ELIMIT;
    for (size_t i = 0; i < n->output_count; i++) {
        if (n->outputs[i] == OXP_NO_VALUE)
            return oxp_coupling_block(c, n);
        int64_t size = c->seen[n->outputs[i]].dims[axis];
        if (!oxp_channels_slice(&c->channels[n->outputs[i]], x, (int)axis, start, size))
            return oxp_coupling_block(c, n);
        if (cuts)
            OXP_TRY(split_range(c, n, i, along + start, size));
        start += size;
    }
    return OXP_OK;
}

/* ---- Concat ---- */

static oxp_status concat_channels(oxp_coupling *c, const oxp_graph_node *n, int axis)
{
    OXP_TRY(oxp_coupling_begin(c, n, axis));
    const uint32_t *made = oxp_coupling_along(c, &c->channels[n->outputs[0]], axis);
    size_t at = 0;
    if (!made)
        return OXP_ELIMIT;
    for (size_t i = 0; i < n->input_count; i++) {
        const oxp_channels *x = oxp_coupling_in(c, n, i);
        size_t size = (size_t)oxp_coupling_seen_in(c, n, i)->dims[axis];
        bool follow = x->count && oxp_coupling_axis(x) == axis && oxp_coupling_single(x);
        const uint32_t *own = follow ? oxp_coupling_along(c, x, axis) : NULL;
        if (follow && !own)
            return OXP_ELIMIT;
        if (!follow)
            oxp_channels_pin(&c->variables, x);
        for (size_t k = 0; k < size; k++)
            if (follow)
                oxp_variables_unite(&c->variables, made[at + k], own[k]);
            else
                oxp_variables_pin(&c->variables, made[at + k]);
        at += size;
    }
    return OXP_OK;
}

static oxp_status concat(oxp_coupling *c, const oxp_graph_node *n)
{
    oxp_channels y;
    const oxp_tensor *made = &c->seen[n->outputs[0]];
    int64_t axis = oxp_graph_node_int(n, "axis", 1);
    axis = axis < 0 ? axis + made->rank : axis;
    const oxp_channels *first = NULL;
    bool along = false;
    for (size_t i = 0; i < n->input_count; i++) {
        const oxp_channels *x = oxp_coupling_in(c, n, i);
        first = !first && x->count ? x : first;
        along = along || (x->count && axis < x->rank && x->parts[axis].extent > 1);
    }
    if (!first || axis < 0 || axis >= made->rank)
        return OXP_OK;
    if (along)
        return concat_channels(c, n, (int)axis);
    for (size_t i = 0; i < n->input_count; i++) {
        const oxp_channels *x = oxp_coupling_in(c, n, i);
        if (x->count != first->count || x->offset != first->offset || !oxp_channels_alike(x, first))
            return oxp_coupling_block(c, n);
    }
    for (size_t i = 0; i < n->input_count; i++)
        oxp_coupling_unite(c, first, oxp_coupling_in(c, n, i));
    return oxp_channels_resize(&y, first, made->rank, made->dims) ? oxp_coupling_hand_on(c, n, &y)
                                                                  : oxp_coupling_block(c, n);
}

/* ---- the table ---- */

static const oxp_coupling_row rows[] = {
    {"Relu", pass_through},
    {"LeakyRelu", pass_through},
    {"ThresholdedRelu", pass_through},
    {"Elu", pass_through},
    {"Selu", pass_through},
    {"Celu", pass_through},
    {"Gelu", pass_through},
    {"Mish", pass_through},
    {"Swish", pass_through},
    {"Sigmoid", pass_through},
    {"HardSigmoid", pass_through},
    {"HardSwish", pass_through},
    {"Tanh", pass_through},
    {"Softplus", pass_through},
    {"Softsign", pass_through},
    {"Erf", pass_through},
    {"Exp", pass_through},
    {"Log", pass_through},
    {"Sqrt", pass_through},
    {"Reciprocal", pass_through},
    {"Abs", pass_through},
    {"Neg", pass_through},
    {"Sign", pass_through},
    {"Floor", pass_through},
    {"Ceil", pass_through},
    {"Round", pass_through},
    {"Identity", pass_through},
    {"Dropout", pass_through},
    {"Cast", pass_through},
    {"Clip", pass_through},
    {"MaxPool", pass_through},
    {"AveragePool", pass_through},
    {"LpPool", pass_through},
    {"GlobalAveragePool", pass_through},
    {"GlobalMaxPool", pass_through},
    {"Upsample", pass_through},
    {"Pad", pass_through},
    {"Resize", resize},
    {"Softmax", along_axis},
    {"LogSoftmax", along_axis},
    {"Reshape", reshape},
    {"Flatten", flatten},
    {"Squeeze", flatten},
    {"Unsqueeze", flatten},
    {"Transpose", transpose},
    {"ReduceMean", reduce},
    {"ReduceSum", reduce},
    {"ReduceMax", reduce},
    {"ReduceMin", reduce},
    {"ReduceL2", reduce},
    {"Slice", slice},
    {"Split", split},
    {"Concat", concat},
};

oxp_coupling_rule *oxp_coupling_move(const oxp_graph_node *n)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(n->type, rows[i].type) == 0)
            return rows[i].rule;
    return NULL;
}
