/* equalize_moves.c - operators that move elements, or make one of several of a channel: their
 * output has the channels of their input where these can still be told apart. */
#include <string.h>

#include "prepare/equalize_rules.h"

typedef oxp_equalize_walk walk;

/* ---- helpers ---- */

static bool integer_attribute(const oxp_graph_node *n, const char *name, const int64_t **values,
                              size_t *count)
{
    const oxp_attribute *a = oxp_graph_node_attribute(n, name);
    if (!a || a->type != OXP_ATTR_INTS)
        return false;
    *values = a->ints;
    *count = a->count;
    return true;
}

static bool integer_input(const walk *w, const oxp_graph_node *n, size_t i, const int64_t **values,
                          size_t *count)
{
    const oxp_value *v = oxp_pass_constant(w->pass, 0, n, i);
    if (!v || v->constant.dtype != OXP_INT64)
        return false;
    *values = v->constant.data;
    *count = v->constant.count;
    return true;
}

/* ---- movements ---- */

static oxp_status pass_through(walk *w, const oxp_graph_node *n)
{
    oxp_channels c;
    const oxp_tensor *y = oxp_walk_seen_out(w, n);
    for (size_t i = 1; i < n->input_count; i++)
        oxp_channels_pin(&w->variables, oxp_walk_channels_in(w, n, i));
    if (oxp_walk_channels_in(w, n, 0)->count == 0)
        return OXP_OK;
    if (y->rank != oxp_walk_channels_in(w, n, 0)->rank ||
        !oxp_channels_resize(&c, oxp_walk_channels_in(w, n, 0), y->rank, y->dims))
        return oxp_walk_block(w, n);
    return oxp_walk_hand_on(w, n, &c);
}

/* Pools have a second output, of positions, that a factor does not change. */
static oxp_status pool(walk *w, const oxp_graph_node *n)
{
    return pass_through(w, n);
}

static oxp_status prelu(walk *w, const oxp_graph_node *n)
{
    return oxp_walk_constant_in(w, n, 1) ? pass_through(w, n) : oxp_walk_block(w, n);
}

/* What is outside is extrapolated with a number of its own in one mode. */
static oxp_status resize(walk *w, const oxp_graph_node *n)
{
    const oxp_attribute *a = oxp_graph_node_attribute(n, "coordinate_transformation_mode");
    if (a && a->type == OXP_ATTR_STRING && strcmp(a->s, "tf_crop_and_resize") == 0)
        return oxp_walk_block(w, n);
    return pass_through(w, n);
}

static oxp_status reshape(walk *w, const oxp_graph_node *n)
{
    oxp_channels c;
    const oxp_tensor *y = oxp_walk_seen_out(w, n);
    if (oxp_walk_channels_in(w, n, 0)->count == 0)
        return OXP_OK;
    if (!oxp_channels_reshape(&c, oxp_walk_channels_in(w, n, 0), y->rank, y->dims))
        return oxp_walk_block(w, n);
    return oxp_walk_hand_on(w, n, &c);
}

static oxp_status transpose(walk *w, const oxp_graph_node *n)
{
    oxp_channels c;
    const oxp_channels *x = oxp_walk_channels_in(w, n, 0);
    const int64_t *order = NULL;
    size_t count = (size_t)x->rank;
    if (x->count == 0)
        return OXP_OK;
    integer_attribute(n, "perm", &order, &count);
    if (count != (size_t)x->rank || !oxp_channels_transpose(&c, x, order))
        return oxp_walk_block(w, n);
    return oxp_walk_hand_on(w, n, &c);
}

/* Means and sums over axes that do not tell channels apart. */
static oxp_status reduce(walk *w, const oxp_graph_node *n)
{
    oxp_channels c;
    const oxp_channels *x = oxp_walk_channels_in(w, n, 0);
    const int64_t *axes = NULL;
    size_t count = 0;
    if (x->count == 0)
        return OXP_OK;
    if (!integer_attribute(n, "axes", &axes, &count) && !integer_input(w, n, 1, &axes, &count))
        return oxp_walk_block(w, n);
    int64_t dims[OXP_MAX_RANK];
    memcpy(dims, x->dims, sizeof dims);
    for (size_t i = 0; i < count; i++) {
        int64_t axis = axes[i] < 0 ? axes[i] + x->rank : axes[i];
        if (axis < 0 || axis >= x->rank)
            return oxp_walk_block(w, n);
        dims[axis] = 1;
    }
    const oxp_tensor *y = oxp_walk_seen_out(w, n);
    if (!oxp_channels_resize(&c, x, x->rank, dims) ||
        !oxp_channels_reshape(&c, &c, y->rank, y->dims))
        return oxp_walk_block(w, n);
    return oxp_walk_hand_on(w, n, &c);
}

/* One axis, forward, step 1. */
static bool slice_bounds(const walk *w, const oxp_graph_node *n, int *axis, int64_t *start)
{
    const int64_t *starts = NULL, *axes = NULL, *steps = NULL;
    size_t start_count = 0, axis_count = 0, step_count = 0;
    const oxp_channels *x = oxp_walk_channels_in(w, n, 0);
    if (!integer_attribute(n, "starts", &starts, &start_count) &&
        !integer_input(w, n, 1, &starts, &start_count))
        return false;
    if (!integer_attribute(n, "axes", &axes, &axis_count) &&
        !integer_input(w, n, 3, &axes, &axis_count))
        return false;
    bool has_steps = n->input_count > 4 && n->inputs[4] != OXP_NO_VALUE;
    if (has_steps &&
        (!integer_input(w, n, 4, &steps, &step_count) || step_count != 1 || *steps != 1))
        return false;
    if (start_count != 1 || axis_count != 1)
        return false;
    int64_t at = axes[0] < 0 ? axes[0] + x->rank : axes[0];
    if (at < 0 || at >= x->rank)
        return false;
    int64_t size = x->dims[at], from = starts[0] < 0 ? starts[0] + size : starts[0];
    *axis = (int)at;
    *start = from < 0 ? 0 : from > size ? size : from;
    return true;
}

static oxp_status slice(walk *w, const oxp_graph_node *n)
{
    oxp_channels c;
    const oxp_channels *x = oxp_walk_channels_in(w, n, 0);
    int axis;
    int64_t start;
    if (x->count == 0)
        return OXP_OK;
    if (oxp_channels_resize(&c, x, x->rank,
                            oxp_walk_seen_out(w, n)->dims)) /* no axis with channels */
        return oxp_walk_hand_on(w, n, &c);
    if (!slice_bounds(w, n, &axis, &start) ||
        !oxp_channels_slice(&c, x, axis, start, oxp_walk_seen_out(w, n)->dims[axis]))
        return oxp_walk_block(w, n);
    return oxp_walk_hand_on(w, n, &c);
}

static oxp_status split(walk *w, const oxp_graph_node *n)
{
    oxp_channels c;
    const oxp_channels *x = oxp_walk_channels_in(w, n, 0);
    int64_t axis = oxp_graph_node_int(n, "axis", 0), start = 0;
    axis = axis < 0 ? axis + x->rank : axis;
    if (x->count == 0)
        return OXP_OK;
    for (size_t i = 0; i < n->output_count; i++) {
        if (axis < 0 || axis >= x->rank || n->outputs[i] == OXP_NO_VALUE)
            return oxp_walk_block(w, n);
        int64_t size = w->seen[n->outputs[i]].dims[axis];
        if (!oxp_channels_slice(&c, x, (int)axis, start, size))
            return oxp_walk_block(w, n);
        w->channels[n->outputs[i]] = c;
        start += size;
    }
    return OXP_OK;
}

/* ---- Concat and Pad ---- */

/* The channels of y from `at` on, along an axis, and those of one operand. */
static void unite_range(walk *w, const uint32_t *made, size_t at, const uint32_t *own, size_t count)
{
    for (size_t i = 0; i < count; i++)
        oxp_variables_unite(&w->variables, made[at + i], own[i]);
}

static oxp_status concat_channels(walk *w, const oxp_graph_node *n, int axis)
{
    const oxp_tensor *y = oxp_walk_seen_out(w, n);
    OXP_TRY(oxp_walk_begin_channels(w, n, oxp_channels_along(axis, y->rank, y->dims)));
    size_t total = (size_t)y->dims[axis], at = 0;
    uint32_t *made = oxp_walk_no_variables(w, total), *own = oxp_walk_no_variables(w, total);
    if (!made || !own)
        return w->pass->ctx->status;
    oxp_channels_on_axis(made, &w->channels[n->outputs[0]], axis);
    for (size_t i = 0; i < n->input_count; i++) {
        size_t size = (size_t)oxp_walk_seen_in(w, n, i)->dims[axis];
        const oxp_channels *c = oxp_walk_channels_in(w, n, i);
        if (c->count && oxp_channels_on_axis(own, c, axis)) {
            unite_range(w, made, at, own, size);
        } else if (!oxp_walk_all_zero(w, n, i)) {
            oxp_channels_pin(&w->variables, c);
            for (size_t k = 0; k < size; k++)
                oxp_variables_pin(&w->variables, made[at + k]);
        }
        at += size;
    }
    return OXP_OK;
}

static oxp_status concat(walk *w, const oxp_graph_node *n)
{
    const oxp_tensor *y = oxp_walk_seen_out(w, n);
    int64_t axis = oxp_graph_node_int(n, "axis", 1);
    axis = axis < 0 ? axis + y->rank : axis;
    bool along = false, any = false;
    oxp_channels first = {0};
    for (size_t i = 0; i < n->input_count; i++) {
        const oxp_channels *c = oxp_walk_channels_in(w, n, i);
        along = along || (c->count && c->parts[axis].extent > 1);
        if (c->count && !any)
            first = *c;
        any = any || c->count;
    }
    if (!any || y->dtype != OXP_FLOAT)
        return oxp_walk_block(w, n);
    if (along)
        return concat_channels(w, n, (int)axis);
    for (size_t i = 0; i < n->input_count; i++)
        if (!oxp_walk_all_zero(w, n, i) &&
            (oxp_walk_channels_in(w, n, i)->count != first.count ||
             oxp_walk_channels_in(w, n, i)->offset != first.offset ||
             !oxp_channels_alike(oxp_walk_channels_in(w, n, i), &first)))
            return oxp_walk_block(w, n);
    for (size_t i = 0; i < n->input_count; i++)
        oxp_walk_unite(w, &first, oxp_walk_channels_in(w, n, i));
    oxp_channels c;
    return oxp_channels_resize(&c, &first, y->rank, y->dims) ? oxp_walk_hand_on(w, n, &c)
                                                             : oxp_walk_block(w, n);
}

static bool pads_with_zero(const walk *w, const oxp_graph_node *n)
{
    const oxp_attribute *mode = oxp_graph_node_attribute(n, "mode");
    const oxp_attribute *value = oxp_graph_node_attribute(n, "value");
    if (mode && (mode->type != OXP_ATTR_STRING || strcmp(mode->s, "constant") != 0))
        return false;
    if (value && (value->type != OXP_ATTR_FLOAT || value->f != 0))
        return false;
    return n->input_count < 3 || n->inputs[2] == OXP_NO_VALUE ||
           (oxp_walk_constant_in(w, n, 2) && oxp_walk_all_zero(w, n, 2));
}

/* Zeros are zeros of any channel; new channels are free. Other modes repeat elements, which is as
 * good where no channels are added. */
static oxp_status pad(walk *w, const oxp_graph_node *n)
{
    oxp_channels c;
    const oxp_channels *x = oxp_walk_channels_in(w, n, 0);
    const oxp_tensor *y = oxp_walk_seen_out(w, n);
    const int64_t *pads = NULL;
    size_t count = 0;
    bool zeros = pads_with_zero(w, n);
    const oxp_attribute *mode = oxp_graph_node_attribute(n, "mode");
    bool constant = !mode || (mode->type == OXP_ATTR_STRING && strcmp(mode->s, "constant") == 0);
    if (x->count == 0)
        return OXP_OK;
    if (constant && !zeros)
        return oxp_walk_block(w, n);
    if (oxp_channels_resize(&c, x, y->rank, y->dims))
        return oxp_walk_hand_on(w, n, &c);
    uint32_t *own = oxp_walk_no_variables(w, (size_t)x->dims[1] + 1);
    if (!own)
        return w->pass->ctx->status;
    bool known = n->input_count < 4 && (integer_attribute(n, "pads", &pads, &count) ||
                                        integer_input(w, n, 1, &pads, &count));
    if (!zeros || !known || x->rank < 2 || count != 2 * (size_t)x->rank || pads[1] < 0 ||
        pads[1 + x->rank] < 0 || !oxp_channels_on_axis(own, x, 1))
        return oxp_walk_block(w, n);
    OXP_TRY(oxp_walk_begin_channels(w, n, oxp_channels_along(1, y->rank, y->dims)));
    uint32_t first = w->channels[n->outputs[0]].first + (uint32_t)pads[1];
    for (int64_t i = 0; i < x->dims[1]; i++)
        oxp_variables_unite(&w->variables, first + (uint32_t)i, own[i]);
    return OXP_OK;
}

/* Zeros of a shape that is known only when it runs. */
static oxp_status constant_of_shape(walk *w, const oxp_graph_node *n)
{
    const oxp_attribute *a = oxp_graph_node_attribute(n, "value");
    if (!a) {
        w->zero[n->outputs[0]] = true;
        return OXP_OK;
    }
    oxp_tensor t;
    if (a->type != OXP_ATTR_TENSOR)
        return OXP_OK;
    OXP_TRY(oxp_tensor_decode(&t, w->arena, w->pass->model, a->t));
    w->zero[n->outputs[0]] = t.dtype == OXP_FLOAT && t.count == 1 && *(float *)t.data == 0;
    return OXP_OK;
}

/* Shapes do not depend on sizes of numbers. */
static oxp_status nothing(walk *w, const oxp_graph_node *n)
{
    (void)w;
    (void)n;
    return OXP_OK;
}

/* ---- the table ---- */

static const oxp_walk_row rows[] = {
    {"Relu", pass_through},
    {"LeakyRelu", pass_through},
    {"PRelu", prelu},
    {"Abs", pass_through},
    {"Neg", pass_through},
    {"Identity", pass_through},
    {"Dropout", pass_through},
    {"MaxPool", pool},
    {"AveragePool", pool},
    {"GlobalAveragePool", pool},
    {"GlobalMaxPool", pool},
    {"Resize", resize},
    {"Upsample", pass_through},
    {"Reshape", reshape},
    {"Flatten", reshape},
    {"Squeeze", reshape},
    {"Unsqueeze", reshape},
    {"Transpose", transpose},
    {"ReduceMean", reduce},
    {"ReduceSum", reduce},
    {"ReduceMax", reduce},
    {"ReduceMin", reduce},
    {"Slice", slice},
    {"Split", split},
    {"Concat", concat},
    {"Pad", pad},
    {"ConstantOfShape", constant_of_shape},
    {"Shape", nothing},
    {"Size", nothing},
};

oxp_walk_rule *oxp_walk_move(const oxp_graph_node *n)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (oxp_pass_is(n, rows[i].type))
            return rows[i].rule;
    return NULL;
}
