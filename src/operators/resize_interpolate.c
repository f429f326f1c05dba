/* resize_interpolate.c - linear and cubic interpolation, one axis after the other from the last:
 * [outer, in, inner] to [outer, out, inner].
 *
 * FLOAT, FLOAT16 and BFLOAT16 are blended in float, DOUBLE and integers in double; integers are
 * then cut toward zero and clamped, as ONNX Runtime does. */
#include <string.h>

#include "operators/resize.h"
#include "operators/vector_math.h"

#define DEFINE_BLEND(type)                                                                        \
    /* Whole runs behind the axis: to[i] = sum of weight[t] * from[index[t] * inner + i]. */      \
    static OXP_HOT void type##_blend(type *restrict to, const type *restrict from,                \
                                     const int64_t *index, const float *weight, int64_t taps,     \
                                     int64_t inner)                                               \
    {                                                                                             \
        const type *a = from + index[0] * inner, *b = from + index[1] * inner;                    \
        type p = (type)weight[0], q = (type)weight[1];                                            \
        OXP_LANES                                                                                 \
        for (int64_t i = 0; i < inner; i++)                                                       \
            to[i] = p * a[i] + q * b[i];                                                          \
        for (int64_t t = 2; t < taps; t++) {                                                      \
            const type *c = from + index[t] * inner;                                              \
            type w = (type)weight[t];                                                             \
            OXP_LANES                                                                             \
            for (int64_t i = 0; i < inner; i++)                                                   \
                to[i] += w * c[i];                                                                \
        }                                                                                         \
    }                                                                                             \
    /* Nothing behind the axis: one line. */                                                      \
    static void type##_line(type *restrict to, const type *restrict from, const oxp_taps *taps,   \
                            int64_t count)                                                        \
    {                                                                                             \
        const int64_t *index = taps->index;                                                       \
        const float *weight = taps->weight;                                                       \
        for (int64_t k = 0; k < count; k++) {                                                     \
            type sum = 0;                                                                         \
            for (int64_t t = 0; t < taps->taps; t++)                                              \
                sum += (type)*weight++ * from[*index++];                                          \
            to[k] = sum;                                                                          \
        }                                                                                         \
    }                                                                                             \
    static void type##_outside(type *to, const oxp_taps *taps, int64_t count, int64_t inner,      \
                               type value)                                                        \
    {                                                                                             \
        for (int64_t k = 0; k < count; k++) {                                                     \
            for (int64_t i = 0; taps->outside[k] && i < inner; i++)                               \
                to[k * inner + i] = value;                                                        \
        }                                                                                         \
    }                                                                                             \
    static void type##_axis(type *to, const type *from, const oxp_resize *r, int axis,            \
                            const oxp_taps *taps, int64_t outer, int64_t inner)                   \
    {                                                                                             \
        int64_t in = r->in[axis], out = r->out[axis];                                             \
        for (int64_t o = 0; o < outer; o++) {                                                     \
            type *target = to + o * out * inner;                                                  \
            const type *source = from + o * in * inner;                                           \
            if (inner == 1)                                                                       \
                type##_line(target, source, taps, out);                                           \
            for (int64_t k = 0; inner > 1 && k < out; k++)                                        \
                type##_blend(target + k * inner, source, taps->index + k * taps->taps,            \
                             taps->weight + k * taps->taps, taps->taps, inner);                   \
            if (r->place == OXP_PLACE_TF_CROP_AND_RESIZE)                                         \
                type##_outside(target, taps, out, inner, (type)r->extrapolation);                 \
        }                                                                                         \
    }                                                                                             \
    /* `to` gets the last axis that moves; those before go through scratch memory. */             \
    static oxp_status type##_resize(oxp_node *n, const oxp_resize *r, const type *from, type *to) \
    {                                                                                             \
        int64_t dims[OXP_MAX_RANK], outer, inner, size;                                           \
        int left = 0;                                                                             \
        memcpy(dims, r->in, sizeof dims);                                                         \
        for (int axis = 0; axis < r->rank; axis++)                                                \
            left += r->moves[axis];                                                               \
        for (int axis = r->rank - 1; axis >= 0; axis--) {                                         \
            if (!r->moves[axis])                                                                  \
                continue;                                                                         \
            oxp_taps taps = {.taps = 0};                                                          \
            OXP_TRY(oxp_resize_taps(n, r, axis, &taps));                                          \
            OXP_TRY(oxp_move_product(n, axis, dims, &outer));                                     \
            dims[axis] = r->out[axis];                                                            \
            OXP_TRY(oxp_move_product(n, r->rank - axis - 1, dims + axis + 1, &inner));            \
            OXP_TRY(oxp_move_product(n, r->rank, dims, &size));                                   \
            type *target = --left == 0 ? to : oxp_node_scratch(n, (size_t)size, sizeof *target);  \
            if (!target)                                                                          \
                return n->ctx->status;                                                            \
            type##_axis(target, from, r, axis, &taps, outer, inner);                              \
            from = target;                                                                        \
        }                                                                                         \
        return OXP_OK;                                                                            \
    }

DEFINE_BLEND(float)
DEFINE_BLEND(double)

static oxp_status interpolate_wide(oxp_node *n, const oxp_resize *r)
{
    const oxp_tensor *x = n->in[0];
    oxp_tensor *y = &n->out[0];
    double *from = oxp_node_scratch(n, x->count, sizeof *from);
    double *to = oxp_node_scratch(n, y->count, sizeof *to);
    if (!from || !to)
        return n->ctx->status;
    for (size_t i = 0; i < x->count; i++)
        from[i] = oxp_tensor_real(x, i);
    OXP_TRY(double_resize(n, r, from, to));
    size_t element;
    OXP_TRY(oxp_move_element(n, 0, &element));
    for (size_t i = 0; i < y->count; i++)
        oxp_move_write_real(y->dtype, to[i], (char *)y->data + i * element);
    return OXP_OK;
}

oxp_status oxp_resize_interpolate(oxp_node *n, const oxp_resize *r)
{
    oxp_dtype dtype = n->in[0]->dtype;
    if (dtype != OXP_FLOAT && dtype != OXP_FLOAT16 && dtype != OXP_BFLOAT16)
        return interpolate_wide(n, r);
    const float *from;
    float *to;
    OXP_TRY(oxp_move_floats(n, 0, &from));
    OXP_TRY(oxp_move_float_output(n, 0, &to));
    OXP_TRY(float_resize(n, r, from, to));
    oxp_move_store(n, 0, to);
    return OXP_OK;
}

/* ---- backward ---- */

/* from[outer, out, inner] to sums [outer, in, inner], which are zero. */
static void scatter_axis(const double *from, double *to, const oxp_resize *r, int axis,
                         const oxp_taps *taps, int64_t outer, int64_t inner)
{
    int64_t in = r->in[axis], out = r->out[axis];
    bool crops = r->place == OXP_PLACE_TF_CROP_AND_RESIZE;
    for (int64_t k = 0; k < outer * out; k++) {
        if (crops && taps->outside[k % out])
            continue;
        for (int64_t t = k % out * taps->taps; t < (k % out + 1) * taps->taps; t++)
            for (int64_t i = 0; i < inner; i++)
                to[(k / out * in + taps->index[t]) * inner + i] +=
                    (double)taps->weight[t] * from[k * inner + i];
    }
}

oxp_status oxp_resize_interpolate_backward(oxp_node *n, const oxp_resize *r, const float *dy,
                                           float *dx)
{
    int64_t dims[OXP_MAX_RANK], outer, inner, size;
    size_t count = n->out[0].count;
    double *from = oxp_node_scratch(n, count, sizeof *from);
    if (!from)
        return n->ctx->status;
    for (size_t i = 0; i < count; i++)
        from[i] = (double)dy[i];
    memcpy(dims, r->out, sizeof dims);
    for (int axis = 0; axis < r->rank; axis++) { /* the forward's order, backwards */
        if (!r->moves[axis])
            continue;
        oxp_taps taps = {.taps = 0};
        OXP_TRY(oxp_resize_taps(n, r, axis, &taps));
        OXP_TRY(oxp_move_product(n, axis, dims, &outer));
        OXP_TRY(oxp_move_product(n, r->rank - axis - 1, dims + axis + 1, &inner));
        dims[axis] = r->in[axis];
        OXP_TRY(oxp_move_product(n, r->rank, dims, &size));
        double *to = oxp_node_scratch(n, (size_t)size, sizeof *to);
        if (!to)
            return n->ctx->status;
        scatter_axis(from, to, r, axis, &taps, outer, inner);
        from = to;
    }
    for (size_t i = 0; i < n->in[0]->count; i++)
        dx[i] += (float)from[i];
    return OXP_OK;
}
