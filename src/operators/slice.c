/* slice.c - Slice: x[start:end:step] along some axes, as NumPy counts them.
 *
 * Bounds below 0 count from the back, then they are clamped; a negative step walks backward. Bounds
 * and axes are attributes before opset 10 and inputs from then on.
 * https://onnx.ai/onnx/operators/onnx__Slice.html */
#include <string.h>

#include "operators/gradient.h"
#include "operators/movement.h"

typedef struct slice_state {
    int64_t start[OXP_MAX_RANK], step[OXP_MAX_RANK];
} slice_state;

typedef struct slice_request {
    size_t count;
    const int64_t *starts, *ends, *axes, *steps; /* axes and steps may be NULL */
} slice_request;

static int64_t clamp(int64_t v, int64_t low, int64_t high)
{
    return v < low ? low : v > high ? high : v;
}

/* How many elements start, start+step, ... lie before end; *start comes back clamped and *step
 * harmless. */
static int64_t resolve_axis(int64_t dim, int64_t *start, int64_t end, int64_t *step)
{
    bool backward = *step < 0;
    *start = *start < 0 ? *start + dim : *start;
    end = end < 0 ? end + dim : end;
    *start = clamp(*start, 0, backward ? dim - 1 : dim);
    end = backward ? clamp(end, -1, dim - 1) : clamp(end, 0, dim);
    int64_t span = backward ? *start - end : end - *start;
    uint64_t stride = backward ? -(uint64_t)*step : (uint64_t)*step;
    int64_t count = span > 0 && dim > 0 ? (int64_t)(((uint64_t)span - 1) / stride + 1) : 0;
    if (count <= 1)
        *step = 1;
    if (count == 0)
        *start = 0;
    return count;
}

static oxp_status declare(oxp_node *n, const slice_request *r)
{
    const oxp_tensor *x = n->in[0];
    slice_state *s = oxp_node_state(n, sizeof *s);
    if (!s)
        return n->ctx->status;
    int axes[OXP_MAX_RANK];
    int64_t dims[OXP_MAX_RANK];
    if (r->axes)
        OXP_TRY(oxp_move_axes(n, r->axes, r->count, x->rank, axes));
    else if (r->count > (size_t)x->rank)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "%zu starts for an input of rank %d",
                             r->count, x->rank);
    for (int i = 0; i < x->rank; i++) {
        dims[i] = x->dims[i];
        s->start[i] = 0;
        s->step[i] = 1;
    }
    bool whole = true;
    for (size_t i = 0; i < r->count; i++) {
        int axis = r->axes ? axes[i] : (int)i;
        s->start[axis] = r->starts[i];
        s->step[axis] = r->steps ? r->steps[i] : 1;
        if (s->step[axis] == 0)
            return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "the step of axis %d is 0", axis);
        dims[axis] = resolve_axis(x->dims[axis], &s->start[axis], r->ends[i], &s->step[axis]);
        whole = whole && dims[axis] == x->dims[axis] && s->step[axis] == 1;
    }
    if (whole)
        return oxp_output_alias(n, 0, 0, x->rank, dims);
    size_t element;
    OXP_TRY(oxp_move_element(n, 0, &element));
    return oxp_output(n, 0, x->dtype, x->rank, dims);
}

static oxp_status check_counts(oxp_node *n, size_t starts, size_t ends, bool has_axes, size_t axes,
                               bool has_steps, size_t steps)
{
    if (starts == ends && (!has_axes || axes == starts) && (!has_steps || steps == starts))
        return OXP_OK;
    return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                         "%zu starts, %zu ends, %zu axes, %zu steps: expected as many of each",
                         starts, ends, has_axes ? axes : starts, has_steps ? steps : starts);
}

static oxp_status slice_1_prepare(oxp_node *n)
{
    slice_request r = {0};
    size_t ends, axes;
    oxp_attr_ints(n, "starts", &r.starts, &r.count);
    oxp_attr_ints(n, "ends", &r.ends, &ends);
    oxp_attr_ints(n, "axes", &r.axes, &axes);
    OXP_TRY(check_counts(n, r.count, ends, r.axes != NULL, axes, false, 0));
    return declare(n, &r);
}

static oxp_status slice_10_prepare(oxp_node *n)
{
    slice_request r = {0};
    size_t ends, axes, steps;
    OXP_TRY(oxp_move_ints(n, 1, &r.starts, &r.count));
    OXP_TRY(oxp_move_ints(n, 2, &r.ends, &ends));
    OXP_TRY(oxp_move_ints(n, 3, &r.axes, &axes));
    OXP_TRY(oxp_move_ints(n, 4, &r.steps, &steps));
    OXP_TRY(check_counts(n, r.count, ends, r.axes != NULL, axes, r.steps != NULL, steps));
    return declare(n, &r);
}

static oxp_status slice_forward(oxp_node *n)
{
    const slice_state *s = n->state;
    const oxp_tensor *x = n->in[0], *y = &n->out[0];
    if (n->alias[0] >= 0 || !y->data || y->count == 0)
        return OXP_OK;
    oxp_copy copy = {.rank = 0};
    OXP_TRY(oxp_move_element(n, 0, &copy.element));
    int64_t from[OXP_MAX_RANK], to[OXP_MAX_RANK], offset = 0;
    oxp_move_strides(x->rank, x->dims, from);
    oxp_move_strides(y->rank, y->dims, to);
    for (int i = 0; i < y->rank; i++) {
        offset += s->start[i] * from[i];
        oxp_copy_add(&copy, y->dims[i], to[i], from[i] * s->step[i]);
    }
    oxp_copy_run(&copy, y->data, (const char *)x->data + (size_t)offset * copy.element);
    return OXP_OK;
}

static const char *const slice_1_examples[] = {
    "X[4,5]; starts=1,0 ends=3,-1",
    "X[4,5]; axes=1,0 starts=-3,0 ends=1000,2",
    NULL,
};

const oxp_operator oxp_op_slice_1 = {
    .domain = "",
    .type = "Slice",
    .since = 1,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .prepare = slice_1_prepare,
    .forward = slice_forward,
    .backward = oxp_backward_moved_first,
    .saves = OXP_SAVES_ALL_BUT_FIRST,
    .examples = slice_1_examples,
};

static const char *const slice_10_examples[] = {
    "X[4,5] S[2]:i64={1,0} E[2]:i64={3,-1}",
    "X[4,5] S[1]:i64={-1} E[1]:i64={-9223372036854775808} A[1]:i64={1} T[1]:i64={-2}",
    "X[4,5]:i64 S[1]:i32={0} E[1]:i32={2147483647} A[1]:i32={0}",
    "X[4,5] S[1]:i64={3} E[1]:i64={3} A[1]:i64={0}",
    "X[4,5] S[2]:i64={0,4} E[2]:i64={4,0} _ T[2]:i64={2,-3}",
    NULL,
};

const oxp_operator oxp_op_slice_10 = {
    .domain = "",
    .type = "Slice",
    .since = 10,
    .min_in = 3,
    .max_in = 5,
    .min_out = 1,
    .max_out = 1,
    .optional = 1 << 3 | 1 << 4,
    .values = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4,
    .prepare = slice_10_prepare,
    .forward = slice_forward,
    .backward = oxp_backward_moved_first,
    .saves = OXP_SAVES_ALL_BUT_FIRST,
    .examples = slice_10_examples,
};
