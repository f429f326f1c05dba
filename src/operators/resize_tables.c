/* resize_tables.c - where each output of Resize looks in the input along one axis, and with which
 * weights.
 *
 * Places are computed in float and in the order of operations of ONNX Runtime, so that ties of
 * nearest fall the same way. Cubic weights: Keys, "Cubic convolution interpolation for digital
 * image processing" (1981), equation 4 with a = cubic_coeff_a. Antialiasing stretches the filter by
 * 1/scale where an axis shrinks. Places beyond the edge read the edge, or get no weight with
 * exclude_outside. */
#include <math.h>

#include "operators/resize.h"

static float place_of(const oxp_resize *r, int axis, int64_t k)
{
    float x = (float)k, in = (float)r->in[axis], out = (float)r->out[axis], scale = r->scale[axis];
    switch (r->place) {
    case OXP_PLACE_HALF_PIXEL:
        return (x + 0.5f) / scale - 0.5f;
    case OXP_PLACE_HALF_PIXEL_SYMMETRIC: {
        float adjustment = out / (scale * in);
        float offset = in / 2.0f * (1.0f - adjustment);
        return offset + (x + 0.5f) / scale - 0.5f;
    }
    case OXP_PLACE_PYTORCH_HALF_PIXEL:
        return out > 1.0f ? (x + 0.5f) / scale - 0.5f : 0.0f;
    case OXP_PLACE_ALIGN_CORNERS:
        return out == 1.0f ? 0.0f : x * (in - 1.0f) / (out - 1.0f);
    case OXP_PLACE_ASYMMETRIC:
        return x / scale;
    case OXP_PLACE_TF_HALF_PIXEL_FOR_NN:
        return (x + 0.5f) / scale;
    case OXP_PLACE_TF_CROP_AND_RESIZE:
        break;
    }
    float start = r->roi_start[axis], end = r->roi_end[axis];
    if (out > 1.0f)
        return start * (in - 1.0f) + x * (end - start) * (in - 1.0f) / (out - 1.0f);
    return 0.5f * (start + end) * (in - 1.0f);
}

static bool is_outside(const oxp_resize *r, int axis, float place)
{
    return r->place == OXP_PLACE_TF_CROP_AND_RESIZE &&
           !(place >= 0.0f && place <= (float)(r->in[axis] - 1));
}

static int64_t clamp_place(float place, int64_t in)
{
    if (!(place > 0.0f))
        return 0;
    return place >= (float)(in - 1) ? in - 1 : (int64_t)place;
}

static float round_place(const oxp_resize *r, int axis, float place)
{
    float down = floorf(place), rest = place - down;
    switch (r->round) {
    case OXP_ROUND_PREFER_FLOOR:
        return rest > 0.5f ? down + 1.0f : down;
    case OXP_ROUND_PREFER_CEIL:
        return rest >= 0.5f ? down + 1.0f : down;
    case OXP_ROUND_FLOOR:
        return down;
    case OXP_ROUND_CEIL:
        return ceilf(place);
    case OXP_ROUND_BY_SCALE:
        break;
    }
    return r->scale[axis] < 1.0f ? ceilf(place) : down;
}

oxp_status oxp_resize_nearest(oxp_node *n, const oxp_resize *r, int axis, int64_t **map)
{
    int64_t *result = oxp_node_scratch(n, (size_t)r->out[axis], sizeof *result);
    if (!result)
        return n->ctx->status;
    for (int64_t k = 0; k < r->out[axis]; k++) {
        float place = r->moves[axis] ? place_of(r, axis, k) : (float)k;
        if (!r->moves[axis])
            result[k] = k;
        else if (is_outside(r, axis, place))
            result[k] = -1;
        else
            result[k] = clamp_place(round_place(r, axis, place), r->in[axis]);
    }
    *map = result;
    return OXP_OK;
}

static float cubic_weight(float a, float distance)
{
    float x = fabsf(distance);
    if (x <= 1.0f)
        return ((a + 2.0f) * x - (a + 3.0f)) * x * x + 1.0f;
    return x < 2.0f ? ((a * x - 5.0f * a) * x + 8.0f * a) * x - 4.0f * a : 0.0f;
}

static float linear_weight(float distance)
{
    float x = fabsf(distance);
    return x < 1.0f ? 1.0f - x : 0.0f;
}

/* Weights of `taps` places from `first` on for an output at `place`; they sum to 1. */
static void weigh(const oxp_resize *r, int axis, float place, float first, float stretch,
                  int64_t taps, float *weight)
{
    float sum = 0;
    for (int64_t t = 0; t < taps; t++) {
        float at = first + (float)t, distance = (at - place) * stretch;
        bool outside = at < 0.0f || at > (float)(r->in[axis] - 1);
        weight[t] = r->mode == OXP_RESIZE_CUBIC ? cubic_weight(r->cubic_a, distance)
                                                : linear_weight(distance);
        if (r->exclude_outside && outside)
            weight[t] = 0;
        sum += weight[t];
    }
    bool normalise = r->antialias || r->exclude_outside;
    for (int64_t t = 0; normalise && sum != 0.0f && t < taps; t++)
        weight[t] /= sum;
}

oxp_status oxp_resize_taps(oxp_node *n, const oxp_resize *r, int axis, oxp_taps *out)
{
    float stretch = r->antialias && r->scale[axis] < 1.0f ? r->scale[axis] : 1.0f;
    float reach = r->mode == OXP_RESIZE_CUBIC ? 2.0f : 1.0f;
    float first = floorf(-reach / stretch) + 1.0f;
    size_t count = (size_t)r->out[axis], entries;
    oxp_taps t = {.taps = (int64_t)(2.0f - 2.0f * first)};
    if (!oxp_mul_ok(count, (size_t)t.taps, &entries))
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE-OVERFLOW", "axis %d needs too many samples",
                             axis);
    t.index = oxp_node_scratch(n, entries, sizeof *t.index);
    t.weight = oxp_node_scratch(n, entries, sizeof *t.weight);
    t.outside = oxp_node_scratch(n, count, sizeof *t.outside);
    if (!t.index || !t.weight || !t.outside)
        return n->ctx->status;
    for (int64_t k = 0; k < r->out[axis]; k++) {
        float place = place_of(r, axis, k), start = floorf(place) + first;
        t.outside[k] = is_outside(r, axis, place);
        weigh(r, axis, place, start, stretch, t.taps, t.weight + k * t.taps);
        for (int64_t i = 0; i < t.taps; i++)
            t.index[k * t.taps + i] = clamp_place(start + (float)i, r->in[axis]);
    }
    *out = t;
    return OXP_OK;
}
