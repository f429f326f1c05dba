/* pad.c - Pad: elements put before and behind each axis (negative: taken away).
 *
 * Modes: constant; edge repeats the last element; reflect mirrors on it without repeating it; wrap
 * continues at the other end (opset 19). The pads are attributes before opset 11 and input 1 from
 * then on; opset 18 adds the axes they are for. An axis is cropped first and padded then, so that
 * what is mirrored is what is left. https://onnx.ai/onnx/operators/onnx__Pad.html */
#include <string.h>

#include "operators/gradient.h"
#include "operators/movement.h"

typedef enum pad_mode { PAD_CONSTANT, PAD_REFLECT, PAD_EDGE, PAD_WRAP } pad_mode;

typedef struct pad_state {
    pad_mode mode;
    int64_t begin[OXP_MAX_RANK]; /* may be negative */
    int64_t kept[OXP_MAX_RANK];  /* elements of the axis that stay */
    uint64_t fill[2];            /* the constant, in the data's type (opset 2) */
} pad_state;

static oxp_status read_mode(oxp_node *n, pad_state *s)
{
    static const char *const names[] = {"constant", "reflect", "edge", "wrap", NULL};
    int choice;
    OXP_TRY(oxp_move_choice(n, "mode", "constant", names, &choice));
    s->mode = (pad_mode)choice;
    return OXP_OK;
}

static oxp_status pad_axis(oxp_node *n, pad_state *s, int axis, int64_t before, int64_t behind,
                           int64_t *dim)
{
    int64_t size = n->in[0]->dims[axis], kept = size, total;
    bool overflow = __builtin_add_overflow(kept, before < 0 ? before : 0, &kept) ||
                    __builtin_add_overflow(kept, behind < 0 ? behind : 0, &kept);
    if (overflow || kept < 0)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                             "pads %lld and %lld take more than the %lld elements of axis %d",
                             (long long)before, (long long)behind, (long long)size, axis);
    if (__builtin_add_overflow(kept, before > 0 ? before : 0, &total) ||
        __builtin_add_overflow(total, behind > 0 ? behind : 0, &total))
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE-OVERFLOW",
                             "axis %d: %lld with pads %lld and %lld overflows", axis,
                             (long long)size, (long long)before, (long long)behind);
    if (kept == 0 && total > 0 && s->mode != PAD_CONSTANT)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                             "axis %d is empty, there is nothing to pad it with", axis);
    s->begin[axis] = before;
    s->kept[axis] = kept;
    *dim = total;
    return OXP_OK;
}

/* axes NULL: all of them. */
static oxp_status declare(oxp_node *n, pad_state *s, const int64_t *pads, size_t count,
                          const int64_t *axes, size_t axis_count)
{
    const oxp_tensor *x = n->in[0];
    int which[OXP_MAX_RANK];
    size_t element;
    int64_t dims[OXP_MAX_RANK];
    if (axes)
        OXP_TRY(oxp_move_axes(n, axes, axis_count, x->rank, which));
    else
        axis_count = (size_t)x->rank;
    if (count != 2 * axis_count)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "%zu pads, expected %zu", count,
                             2 * axis_count);
    OXP_TRY(oxp_move_element(n, 0, &element));
    for (int i = 0; i < x->rank; i++)
        OXP_TRY(pad_axis(n, s, i, 0, 0, &dims[i]));
    for (size_t i = 0; i < axis_count; i++) {
        int axis = axes ? which[i] : (int)i;
        OXP_TRY(pad_axis(n, s, axis, pads[i], pads[i + axis_count], &dims[axis]));
    }
    return oxp_output(n, 0, x->dtype, x->rank, dims);
}

/* Attribute value in the type of the data. */
static oxp_status read_value(oxp_node *n, pad_state *s)
{
    float value = oxp_attr_float(n, "value", 0);
    memset(s->fill, 0, sizeof s->fill);
    if (!oxp_move_write_real(n->in[0]->dtype, (double)value, s->fill) && value != 0.0f)
        return oxp_node_bad_dtype(n, 0);
    return OXP_OK;
}

static oxp_status pad_2_prepare(oxp_node *n)
{
    const int64_t *pads;
    size_t count;
    pad_state *s = oxp_node_state(n, sizeof *s);
    if (!s)
        return n->ctx->status;
    OXP_TRY(read_mode(n, s));
    OXP_TRY(read_value(n, s));
    oxp_attr_ints(n, "pads", &pads, &count);
    return declare(n, s, pads, count, NULL, 0);
}

static oxp_status pad_11_prepare(oxp_node *n)
{
    const int64_t *pads, *axes;
    size_t count, axis_count;
    pad_state *s = oxp_node_state(n, sizeof *s);
    if (!s)
        return n->ctx->status;
    OXP_TRY(read_mode(n, s));
    OXP_TRY(oxp_node_want(n, 1, OXP_INT64));
    OXP_TRY(oxp_move_ints(n, 1, &pads, &count));
    OXP_TRY(oxp_move_ints(n, 3, &axes, &axis_count));
    if (n->in_count > 2 && n->in[2]) {
        OXP_TRY(oxp_node_want(n, 2, n->in[0]->dtype));
        if (n->in[2]->count > 1)
            return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                                 "the constant has %zu values, expected 1", n->in[2]->count);
    }
    return declare(n, s, pads, count, axes, axis_count);
}

static const void *constant_of(const oxp_node *n, const pad_state *s)
{
    bool given = n->in_count > 2 && n->in[2] && n->in[2]->count == 1;
    return given ? n->in[2]->data : s->fill;
}

/* The element of 0..kept-1 that stands at place i, which may lie outside. */
static int64_t source_of(pad_mode mode, int64_t i, int64_t kept)
{
    if (i >= 0 && i < kept)
        return i;
    if (mode == PAD_CONSTANT)
        return -1;
    if (mode == PAD_EDGE || kept == 1)
        return i < 0 ? 0 : kept - 1;
    int64_t period = mode == PAD_WRAP ? kept : 2 * (kept - 1);
    int64_t place = i % period;
    if (place < 0)
        place += period;
    return place < kept ? place : period - place;
}

static oxp_status pad_forward(oxp_node *n)
{
    const pad_state *s = n->state;
    const oxp_tensor *x = n->in[0], *y = &n->out[0];
    oxp_gather_maps maps = {.rank = y->rank, .fill = constant_of(n, s)};
    if (!y->data || y->count == 0)
        return OXP_OK;
    OXP_TRY(oxp_move_element(n, 0, &maps.element));
    for (int i = 0; i < y->rank; i++) {
        int64_t *map = oxp_node_scratch(n, (size_t)y->dims[i], sizeof *map);
        if (!map)
            return n->ctx->status;
        int64_t before = s->begin[i] > 0 ? s->begin[i] : 0,
                crop = s->begin[i] < 0 ? -s->begin[i] : 0;
        for (int64_t k = 0; k < y->dims[i]; k++) {
            int64_t source = source_of(s->mode, k - before, s->kept[i]);
            map[k] = source < 0 ? -1 : source + crop;
        }
        maps.maps[i] = map;
        maps.to_dims[i] = y->dims[i];
        maps.from_dims[i] = x->dims[i];
    }
    return oxp_move_mapped(n, &maps, y->data, x->data);
}

/* The constant moves, too; one in the attribute has no gradient. */
static oxp_status pad_backward(oxp_node *n)
{
    pad_state *s = n->state;
    uint64_t fill[2];
    memcpy(fill, s->fill, sizeof fill);
    memset(s->fill, 0, sizeof s->fill);
    oxp_status status = oxp_backward_moved(n, 1u << 0 | 1u << 2);
    memcpy(s->fill, fill, sizeof fill);
    return status;
}

static const char *const pad_2_examples[] = {
    "X[2,3]; pads=1,0,0,2",
    "X[2,3]; pads=0,1,0,1 value=1.5",
    "X[1,2,3,4]; pads=0,0,1,2,0,0,1,3 mode='reflect'",
    "X[2,3]; pads=1,-1,0,2 mode='edge'",
    NULL,
};

const oxp_operator oxp_op_pad_2 = {
    .domain = "",
    .type = "Pad",
    .since = 2,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .prepare = pad_2_prepare,
    .forward = pad_forward,
    .backward = pad_backward,
    .saves = 1u << 1 | 1u << 3,
    .examples = pad_2_examples,
};

static const char *const pad_11_examples[] = {
    "X[2,3] P[4]:i64={1,0,0,2} V[]={2.5}",
    "X[2,3]:i64 P[4]:i64={0,2,0,2}; mode='reflect'",
    "X[2,3]:u8 P[4]:i64={0,-1,3,1}; mode='edge'",
    "X[0,3] P[4]:i64={1,0,1,0}",
    NULL,
};

const oxp_operator oxp_op_pad_11 = {
    .domain = "",
    .type = "Pad",
    .since = 11,
    .min_in = 2,
    .max_in = 3,
    .min_out = 1,
    .max_out = 1,
    .optional = 1 << 2,
    .values = 1 << 1,
    .prepare = pad_11_prepare,
    .forward = pad_forward,
    .backward = pad_backward,
    .saves = 1u << 1 | 1u << 3,
    .examples = pad_11_examples,
};

static const char *const pad_18_examples[] = {
    "X[2,3] P[4]:i64={1,0,0,2} V[]={2.5}",
    "X[2,3,4] P[2]:i64={1,2} _ A[1]:i64={-2}; mode='edge'",
    "X[3,2] P[4]:i64={2,1,1,1}; mode='wrap'",
    "X[2,5] P[4]:i64={0,-1,0,7}; mode='reflect'",
    NULL,
};

const oxp_operator oxp_op_pad_18 = {
    .domain = "",
    .type = "Pad",
    .since = 18,
    .min_in = 2,
    .max_in = 4,
    .min_out = 1,
    .max_out = 1,
    .optional = 1 << 2 | 1 << 3,
    .values = 1 << 1 | 1 << 3,
    .prepare = pad_11_prepare,
    .forward = pad_forward,
    .backward = pad_backward,
    .saves = 1u << 1 | 1u << 3,
    .examples = pad_18_examples,
};
