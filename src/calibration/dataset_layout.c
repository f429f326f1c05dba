/* dataset_layout.c - which axis counts samples, and what one call's part of an array is.
 *
 * A tensor of shape [outer, n, inner] around its batch axis gives n / step calls; call i is [outer,
 * i step .. (i+1) step, inner]. */
#include <inttypes.h>
#include <string.h>

#include "calibration/dataset_internal.h"

static const char *role(const oxp_dataset *d, size_t slot)
{
    return slot < d->input_count                     ? "input"
           : slot < d->input_count + d->output_count ? "expected output"
                                                     : "key";
}

static bool leads_with(const oxp_value_info *v, int64_t dim)
{
    return v->rank > 0 && v->dims[0] == dim;
}

static bool is_named(const char *name)
{
    return name != NULL && name[0] != '\0';
}

/* ---- deciding the axes ---- */

static oxp_status apply_overrides(oxp_dataset *d, const oxp_dataset_options *options)
{
    char name[OXP_QUOTED_MAX];
    for (size_t i = 0; i < options->batch_axis_count; i++) {
        const oxp_batch_axis *given = &options->batch_axes[i];
        size_t slot = oxp_map_get(&d->slot_of, given->name);
        if (slot == OXP_MAP_NONE || slot >= d->input_count + d->output_count)
            return oxp_fail(d->ctx, OXP_EUSAGE, "E-CALIB-NAME",
                            "batch axis of %s: the model has no such input or output",
                            oxp_quote(name, given->name));
        const oxp_value_info *v = &d->slots[slot].info;
        int rank = v->rank < 0 ? OXP_MAX_RANK : v->rank;
        if (given->axis < 0 || given->axis >= rank)
            return oxp_fail(d->ctx, OXP_EUSAGE, "E-CALIB-SHAPE",
                            "batch axis of %s: %d is not an axis of rank %d",
                            oxp_quote(name, given->name), given->axis, rank);
        d->slots[slot].axis = given->axis;
        d->slots[slot].names_batch =
            slot < d->input_count && v->rank > 0 && is_named(v->params[given->axis]);
    }
    return OXP_OK;
}

static bool same_name(const char *a, const char *b)
{
    return is_named(a) && is_named(b) && strcmp(a, b) == 0;
}

static bool is_batch_param(const oxp_dataset *d, const char *param)
{
    for (size_t i = 0; i < d->input_count; i++) {
        const data_slot *s = &d->slots[i];
        if (s->names_batch && same_name(s->info.params[s->axis], param))
            return true;
    }
    return false;
}

static int axis_of_batch_param(const oxp_dataset *d, const oxp_value_info *v)
{
    for (int axis = 0; axis < v->rank; axis++)
        if (is_batch_param(d, v->params[axis]))
            return axis;
    return OXP_AXIS_NONE;
}

/* The first named leading dimension gives the batch its name, unless an override did. */
static void name_the_batch(oxp_dataset *d)
{
    for (size_t i = 0; i < d->input_count; i++)
        if (d->slots[i].names_batch)
            return;
    for (size_t i = 0; i < d->input_count; i++) {
        data_slot *s = &d->slots[i];
        if (s->axis < 0 && leads_with(&s->info, -1) && is_named(s->info.params[0])) {
            s->axis = 0;
            s->names_batch = true;
            return;
        }
    }
}

/* Whether `param` is a dimension, other than the batch, of an input that has the batch: the length
 * of a sequence, say. */
static bool is_inner_param(const oxp_dataset *d, const char *param)
{
    for (size_t i = 0; i < d->input_count; i++) {
        const oxp_value_info *v = &d->slots[i].info;
        int batch = axis_of_batch_param(d, v);
        for (int axis = 0; batch >= 0 && axis < v->rank; axis++)
            if (axis != batch && same_name(v->params[axis], param))
                return true;
    }
    return false;
}

static bool leads_with_batch(const oxp_dataset *d, const oxp_value_info *v)
{
    if (v->rank < 0 || leads_with(v, 1))
        return true;
    return leads_with(v, -1) && !is_inner_param(d, v->params[0]);
}

static bool any_input_has_axis(const oxp_dataset *d)
{
    for (size_t i = 0; i < d->input_count; i++)
        if (d->slots[i].axis >= 0)
            return true;
    return false;
}

static void decide_inputs(oxp_dataset *d)
{
    name_the_batch(d);
    for (size_t i = 0; i < d->input_count; i++) {
        data_slot *s = &d->slots[i];
        if (s->axis >= 0)
            continue;
        s->axis = axis_of_batch_param(d, &s->info);
        if (s->axis < 0 && leads_with_batch(d, &s->info))
            s->axis = 0;
    }
    if (any_input_has_axis(d))
        return;
    int64_t rows = 0; /* everything is fixed: the first leading dimension is the batch */
    for (size_t i = 0; i < d->input_count; i++) {
        data_slot *s = &d->slots[i];
        if (rows == 0 && s->info.rank > 0 && s->info.dims[0] > 1)
            rows = s->info.dims[0];
        if (rows > 0 && leads_with(&s->info, rows))
            s->axis = 0;
    }
}

static void decide_outputs(oxp_dataset *d)
{
    int64_t rows = 1; /* of a call, where they are fixed */
    for (size_t i = 0; i < d->input_count; i++)
        if (d->slots[i].axis >= 0 && d->slots[i].step > rows)
            rows = d->slots[i].step;
    for (size_t i = d->input_count; i < d->input_count + d->output_count; i++) {
        data_slot *s = &d->slots[i];
        if (s->axis >= 0)
            continue;
        s->axis = axis_of_batch_param(d, &s->info);
        if (s->axis < 0 && (leads_with_batch(d, &s->info) || leads_with(&s->info, rows)))
            s->axis = 0;
    }
}

oxp_status oxp_layout_decide(oxp_dataset *d, const oxp_dataset_options *options)
{
    OXP_TRY(apply_overrides(d, options));
    decide_inputs(d);
    for (size_t i = 0; i < d->input_count; i++) {
        data_slot *s = &d->slots[i];
        bool fixed = s->axis >= 0 && s->axis < s->info.rank && s->info.dims[s->axis] > 0;
        s->step = fixed ? s->info.dims[s->axis] : 1;
    }
    decide_outputs(d);
    return OXP_OK;
}

/* ---- holding data against the model ---- */

static oxp_status wrong_shape(const oxp_dataset *d, oxp_ctx *ctx, size_t slot, const oxp_tensor *t)
{
    char name[OXP_QUOTED_MAX], found[OXP_SHAPE_TEXT_MAX], wanted[OXP_SHAPE_TEXT_MAX];
    const oxp_value_info *v = &d->slots[slot].info;
    return oxp_fail(ctx, OXP_EDATA, "E-CALIB-SHAPE",
                    "%s %s: the data has shape %s, the model expects %s", role(d, slot),
                    oxp_quote(name, v->name), oxp_shape_text(found, t->rank, t->dims),
                    oxp_shape_text(wanted, v->rank, v->dims));
}

static oxp_status check_dtype(const oxp_dataset *d, oxp_ctx *ctx, size_t slot, const oxp_tensor *t)
{
    char name[OXP_QUOTED_MAX];
    const oxp_value_info *v = &d->slots[slot].info;
    if (!v->is_tensor)
        return oxp_fail(ctx, OXP_EDATA, "E-CALIB-DTYPE", "%s %s of the model is not a tensor",
                        role(d, slot), oxp_quote(name, v->name));
    if (v->dtype != OXP_UNDEFINED && v->dtype != t->dtype)
        return oxp_fail(ctx, OXP_EDATA, "E-CALIB-DTYPE",
                        "%s %s: the data is %s, the model expects %s", role(d, slot),
                        oxp_quote(name, v->name), oxp_dtype_name(t->dtype),
                        oxp_dtype_name(v->dtype));
    return OXP_OK;
}

/* Rank and fixed dimensions; the axis `except` may differ. */
static oxp_status check_dims(const oxp_dataset *d, oxp_ctx *ctx, size_t slot, const oxp_tensor *t,
                             int except)
{
    const oxp_value_info *v = &d->slots[slot].info;
    if (v->rank < 0)
        return OXP_OK;
    if (v->rank != t->rank)
        return wrong_shape(d, ctx, slot, t);
    for (int axis = 0; axis < v->rank; axis++)
        if (axis != except && v->dims[axis] >= 0 && v->dims[axis] != t->dims[axis])
            return wrong_shape(d, ctx, slot, t);
    return OXP_OK;
}

/* Calls that an input's array holds; 0 when it is given once. */
static oxp_status count_calls(const oxp_dataset *d, oxp_ctx *ctx, size_t slot, const oxp_tensor *t,
                              size_t *calls)
{
    char name[OXP_QUOTED_MAX];
    const data_slot *s = &d->slots[slot];
    OXP_TRY(check_dims(d, ctx, slot, t, s->axis));
    *calls = 0;
    if (s->axis < 0 || (s->info.rank < 0 && t->rank == 0))
        return OXP_OK;
    if (s->axis >= t->rank)
        return wrong_shape(d, ctx, slot, t);
    int64_t rows = t->dims[s->axis];
    if (rows == 0)
        return oxp_fail(ctx, OXP_EDATA, "E-CALIB-EMPTY", "input %s has no samples",
                        oxp_quote(name, s->info.name));
    if (rows % s->step != 0)
        return oxp_fail(ctx, OXP_EDATA, "E-CALIB-SHAPE",
                        "input %s: %" PRId64 " samples, the model takes %" PRId64
                        " at once and %" PRId64 " are left over",
                        oxp_quote(name, s->info.name), rows, s->step, rows % s->step);
    *calls = (size_t)(rows / s->step);
    return OXP_OK;
}

/* A single row for a leading dimension that is fixed at 1 may serve every call. */
static bool may_serve_all(const data_slot *s, size_t calls)
{
    return calls == 1 && s->axis == 0 && leads_with(&s->info, 1);
}

/* The number of calls is the largest of any input; the others have as many or serve all. */
static oxp_status count_set(const oxp_dataset *d, oxp_ctx *ctx, loaded_set *l)
{
    char name[OXP_QUOTED_MAX], other[OXP_QUOTED_MAX];
    size_t decided_by = SIZE_MAX;
    l->calls = l->rows = 1;
    for (size_t i = 0; i < d->input_count; i++) {
        size_t calls;
        if (l->tensors[i].dtype == OXP_UNDEFINED)
            continue;
        OXP_TRY(count_calls(d, ctx, i, &l->tensors[i], &calls));
        if (calls == 0 || (decided_by != SIZE_MAX && calls <= l->calls))
            continue;
        l->calls = calls;
        l->rows = (size_t)d->slots[i].step;
        decided_by = i;
    }
    for (size_t i = 0; i < d->input_count; i++) {
        size_t calls;
        if (l->tensors[i].dtype == OXP_UNDEFINED)
            continue;
        OXP_TRY(count_calls(d, ctx, i, &l->tensors[i], &calls));
        if (calls != 0 && calls != l->calls && !may_serve_all(&d->slots[i], calls))
            return oxp_fail(ctx, OXP_EDATA, "E-CALIB-SHAPE",
                            "input %s has data for %zu calls of the model, input %s for %zu",
                            oxp_quote(name, d->slots[i].info.name), calls,
                            oxp_quote(other, d->slots[decided_by].info.name), l->calls);
    }
    return OXP_OK;
}

/* A folder of .pb files is one call; its rows are what the first batch axis has. */
static oxp_status count_pb(const oxp_dataset *d, oxp_ctx *ctx, loaded_set *l)
{
    l->calls = l->rows = 1;
    bool known = false;
    for (size_t i = 0; i < d->input_count; i++) {
        const oxp_tensor *t = &l->tensors[i];
        const data_slot *s = &d->slots[i];
        if (t->dtype == OXP_UNDEFINED)
            continue;
        OXP_TRY(check_dims(d, ctx, i, t, OXP_AXIS_NONE));
        if (!known && s->axis >= 0 && s->axis < t->rank) {
            l->rows = (size_t)t->dims[s->axis];
            known = true;
        }
    }
    return OXP_OK;
}

/* An expected output is cut along its axis, or stacked along a leading one, or whole for a single
 * call. */
static oxp_status check_expected(const oxp_dataset *d, oxp_ctx *ctx, const loaded_set *l,
                                 size_t slot)
{
    char name[OXP_QUOTED_MAX], found[OXP_SHAPE_TEXT_MAX];
    const oxp_tensor *t = &l->tensors[slot];
    const data_slot *s = &d->slots[slot];
    int64_t calls = (int64_t)l->calls;
    bool fits;
    if (s->axis >= 0)
        fits = (s->info.rank < 0 || s->info.rank == t->rank) &&
               (calls == 1 || (s->axis < t->rank && t->dims[s->axis] % calls == 0));
    else
        fits = calls == 1 ? s->info.rank == t->rank
                          : s->info.rank + 1 == t->rank && t->dims[0] == calls;
    if (fits)
        return OXP_OK;
    return oxp_fail(ctx, OXP_EDATA, "E-CALIB-SHAPE",
                    "expected output %s: shape %s cannot be divided among %zu calls of the model",
                    oxp_quote(name, s->info.name), oxp_shape_text(found, t->rank, t->dims),
                    l->calls);
}

static oxp_status check_labels(const oxp_dataset *d, oxp_ctx *ctx, const loaded_set *l)
{
    const oxp_tensor *t = &l->tensors[d->slot_count - 1];
    char shape[OXP_SHAPE_TEXT_MAX];
    if (!oxp_dtype_is_integer(t->dtype))
        return oxp_fail(ctx, OXP_EDATA, "E-CALIB-DTYPE", "labels are %s, expected integers",
                        oxp_dtype_name(t->dtype));
    if (t->rank < 1 || t->count != l->calls * l->rows || (size_t)t->dims[0] != t->count)
        return oxp_fail(ctx, OXP_EDATA, "E-CALIB-SHAPE",
                        "labels have shape %s, expected one for each of %zu samples",
                        oxp_shape_text(shape, t->rank, t->dims), l->calls * l->rows);
    return OXP_OK;
}

oxp_status oxp_layout_check(const oxp_dataset *d, oxp_ctx *ctx, loaded_set *l, set_kind kind)
{
    size_t labels = d->slot_count - 1;
    for (size_t i = 0; i < labels; i++)
        if (l->tensors[i].dtype != OXP_UNDEFINED)
            OXP_TRY(check_dtype(d, ctx, i, &l->tensors[i]));
    OXP_TRY(kind == SET_PB ? count_pb(d, ctx, l) : count_set(d, ctx, l));
    for (size_t i = d->input_count; i < labels; i++)
        if (l->tensors[i].dtype != OXP_UNDEFINED && kind != SET_PB)
            OXP_TRY(check_expected(d, ctx, l, i));
    if (l->tensors[labels].dtype != OXP_UNDEFINED && !d->separate_labels)
        OXP_TRY(check_labels(d, ctx, l));
    return OXP_OK;
}

/* ---- slices ---- */

/* Rows [first, first + rows) along `axis`, in C order. */
static oxp_status copy_rows(oxp_tensor *out, oxp_ctx *ctx, const oxp_tensor *t, int axis,
                            size_t first, size_t rows)
{
    oxp_tensor part = {.dtype = t->dtype, .rank = t->rank};
    memcpy(part.dims, t->dims, sizeof part.dims);
    part.dims[axis] = (int64_t)rows;
    size_t outer = 1, inner = oxp_dtype_bits(t->dtype) / 8;
    for (int i = 0; i < t->rank; i++) {
        if (i < axis)
            outer *= (size_t)t->dims[i];
        if (i > axis)
            inner *= (size_t)t->dims[i];
    }
    part.count = t->dims[axis] == 0 ? 0 : t->count / (size_t)t->dims[axis] * rows;
    OXP_TRY(oxp_tensor_alloc(&part, ctx, "sample"));
    size_t stride = (size_t)t->dims[axis] * inner;
    const uint8_t *from = (const uint8_t *)t->data + first * inner;
    uint8_t *to = part.data;
    if (part.count > 0)
        for (size_t i = 0; i < outer; i++)
            memcpy(to + i * rows * inner, from + i * stride, rows * inner);
    if (t->storage == NULL) /* borrowed from a file that may be mapped */
        oxp_pages_release(ctx, from, outer == 1 ? rows * inner : 0);
    *out = part;
    return OXP_OK;
}

/* Element `index` of a new leading axis. */
static oxp_status copy_stacked(oxp_tensor *out, oxp_ctx *ctx, const oxp_tensor *t, size_t index)
{
    oxp_tensor part;
    OXP_TRY(copy_rows(&part, ctx, t, 0, index, 1));
    part.rank--;
    memmove(part.dims, part.dims + 1, (size_t)part.rank * sizeof part.dims[0]);
    part.dims[part.rank] = 0;
    *out = part;
    return OXP_OK;
}

oxp_status oxp_layout_slice(oxp_tensor *out, oxp_ctx *ctx, const oxp_dataset *d,
                            const loaded_set *l, size_t slot, size_t index)
{
    const oxp_tensor *t = &l->tensors[slot];
    const data_slot *s = &d->slots[slot];
    if (l->calls == 1)
        return oxp_tensor_copy(out, ctx, t);
    if (slot >= d->input_count) {
        if (s->axis < 0)
            return copy_stacked(out, ctx, t, index);
        size_t rows = (size_t)t->dims[s->axis] / l->calls;
        return copy_rows(out, ctx, t, s->axis, index * rows, rows);
    }
    size_t rows = (size_t)s->step;
    bool once = s->axis < 0 || s->axis >= t->rank || (size_t)t->dims[s->axis] != rows * l->calls;
    return once ? oxp_tensor_copy(out, ctx, t)
                : copy_rows(out, ctx, t, s->axis, index * rows, rows);
}

/* ---- joining ---- */

static oxp_status check_alike(oxp_ctx *ctx, const oxp_tensor *a, const oxp_tensor *b, int axis,
                              const char *name)
{
    char quoted[OXP_QUOTED_MAX], left[OXP_SHAPE_TEXT_MAX], right[OXP_SHAPE_TEXT_MAX];
    bool alike = a->dtype == b->dtype && a->rank == b->rank && axis < a->rank;
    for (int i = 0; alike && i < a->rank; i++)
        alike = i == axis || a->dims[i] == b->dims[i];
    if (alike)
        return OXP_OK;
    return oxp_fail(ctx, OXP_EDATA, "E-SHAPE",
                    "output %s: results of shapes %s and %s cannot be joined",
                    oxp_quote(quoted, name), oxp_shape_text(left, a->rank, a->dims),
                    oxp_shape_text(right, b->rank, b->dims));
}

static void join_data(const oxp_tensor *out, const oxp_tensor *calls, size_t count, int axis)
{
    size_t outer = 1, inner = oxp_dtype_bits(out->dtype) / 8;
    const oxp_tensor *first = &calls[0];
    for (int i = 0; i < first->rank; i++) {
        if (i < axis)
            outer *= (size_t)first->dims[i];
        else if (i > axis || axis < 0)
            inner *= (size_t)first->dims[i];
    }
    uint8_t *to = out->data;
    for (size_t o = 0; o < outer && out->count > 0; o++) {
        for (size_t c = 0; c < count; c++) {
            size_t bytes = inner * (axis < 0 ? 1 : (size_t)calls[c].dims[axis]);
            if (bytes > 0)
                memcpy(to, (const uint8_t *)calls[c].data + o * bytes, bytes);
            to += bytes;
        }
    }
}

oxp_status oxp_dataset_join(oxp_tensor *out, oxp_ctx *ctx, const oxp_tensor *calls, size_t count,
                            int axis, const char *name)
{
    if (count == 1)
        return oxp_tensor_copy(out, ctx, &calls[0]);
    const oxp_tensor *first = &calls[0];
    int64_t dims[OXP_MAX_RANK + 1];
    int lead = axis < 0 ? 1 : 0;
    dims[0] = (int64_t)count;
    for (int i = 0; i < first->rank; i++)
        dims[i + lead] = first->dims[i];
    for (size_t c = 0; c < count; c++)
        OXP_TRY(check_alike(ctx, first, &calls[c], axis, name));
    for (size_t c = 1; axis >= 0 && c < count; c++)
        if (__builtin_add_overflow(dims[axis], calls[c].dims[axis], &dims[axis]))
            return oxp_fail(ctx, OXP_EDATA, "E-SHAPE-OVERFLOW", "joined results are too large");
    oxp_tensor joined;
    OXP_TRY(oxp_tensor_shape(&joined, ctx, first->dtype, first->rank + lead, dims, name));
    OXP_TRY(oxp_tensor_alloc(&joined, ctx, name));
    join_data(&joined, calls, count, axis);
    *out = joined;
    return OXP_OK;
}
