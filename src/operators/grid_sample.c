/* grid_sample.c - GridSample: y[n,c,p...] = x[n,c] sampled at grid[n,p...,:], 1 to 3 spatial
 * dimensions. https://onnx.ai/onnx/operators/onnx__GridSample.html
 *
 * A grid entry lists the innermost coordinate first, -1 and 1 being the ends of an axis (the
 * centres of its corner elements with align_corners). Modes nearest, linear and cubic (a = -0.75),
 * by their names of opset 16 and 20; outside lie zeros, the border, or the reflection. A coordinate
 * that is NaN lies outside, or at place 0 where there is no outside. FLOAT, FLOAT16 and
 * BFLOAT16. */
#include <math.h>

#include "operators/gradient.h"
#include "operators/movement.h"

#define MAX_SPATIAL 3
#define MAX_TAPS 64 /* cubic, 3 dimensions */

typedef enum sample_mode { SAMPLE_NEAREST, SAMPLE_LINEAR, SAMPLE_CUBIC } sample_mode;
typedef enum sample_padding { PADDING_ZEROS, PADDING_BORDER, PADDING_REFLECTION } sample_padding;

typedef struct sample_state {
    sample_mode mode;
    sample_padding padding;
    bool align_corners;
    int spatial;
} sample_state;

static oxp_status check_shapes(oxp_node *n, int spatial)
{
    const oxp_tensor *x = n->in[0], *grid = n->in[1];
    char a[OXP_SHAPE_TEXT_MAX], b[OXP_SHAPE_TEXT_MAX];
    if (spatial < 1 || spatial > MAX_SPATIAL)
        return oxp_node_fail(n, OXP_EUNSUPPORTED, "E-OP-SHAPE",
                             "input of rank %d; ranks 3 to %d are supported", x->rank,
                             2 + MAX_SPATIAL);
    bool fits = grid->rank == x->rank && grid->dims[0] == x->dims[0] &&
                grid->dims[grid->rank - 1] == spatial;
    for (int i = 0; fits && i < spatial; i++)
        fits = x->dims[2 + i] > 0 && x->dims[2 + i] < INT32_MAX;
    if (fits)
        return OXP_OK;
    return oxp_node_fail(
        n, OXP_EFORMAT, "E-SHAPE", "a grid of shape %s does not fit an input of shape %s",
        oxp_shape_text(a, grid->rank, grid->dims), oxp_shape_text(b, x->rank, x->dims));
}

static oxp_status grid_sample_prepare(oxp_node *n)
{
    static const char *const modes[] = {"nearest", "linear", "cubic", "bilinear", "bicubic", NULL};
    static const char *const paddings[] = {"zeros", "border", "reflection", NULL};
    const oxp_tensor *x = n->in[0], *grid = n->in[1];
    sample_state *s = oxp_node_state(n, sizeof *s);
    if (!s)
        return n->ctx->status;
    int mode, padding;
    OXP_TRY(oxp_move_choice(n, "mode", "linear", modes, &mode));
    OXP_TRY(oxp_move_choice(n, "padding_mode", "zeros", paddings, &padding));
    s->mode = (sample_mode)(mode > 2 ? mode - 2 : mode);
    s->padding = (sample_padding)padding;
    s->align_corners = oxp_attr_int(n, "align_corners", 0) != 0;
    s->spatial = x->rank - 2;
    for (int i = 0; i < 2; i++) {
        if (n->in[i]->dtype != OXP_FLOAT && n->in[i]->dtype != OXP_FLOAT16 &&
            n->in[i]->dtype != OXP_BFLOAT16)
            return oxp_node_bad_dtype(n, i);
    }
    OXP_TRY(check_shapes(n, s->spatial));
    int64_t dims[2 + MAX_SPATIAL] = {x->dims[0], x->dims[1]};
    for (int i = 0; i < s->spatial; i++)
        dims[2 + i] = grid->dims[1 + i];
    return oxp_output(n, 0, x->dtype, x->rank, dims);
}

/* Mirrors x on low and high until it lies between them. */
static float reflect(float x, float low, float high)
{
    float range = high - low;
    if (!(range > 0.0f))
        return low;
    float past = x < low ? low - x : x > high ? x - high : -1.0f;
    if (past < 0.0f)
        return x;
    float turns = floorf(past / range), rest = past - turns * range;
    bool even = fmodf(turns, 2.0f) == 0.0f;
    return (x < low) == even ? low + rest : high - rest;
}

static float clampf(float x, float low, float high)
{
    return x > low ? (x < high ? x : high) : low;
}

/* The coordinate in elements of an axis of `size`, moved inside as the padding asks. */
static float unnormalise(const sample_state *s, float g, int64_t size)
{
    float d = (float)size;
    float x = s->align_corners ? (g + 1.0f) / 2.0f * (d - 1.0f) : ((g + 1.0f) * d - 1.0f) / 2.0f;
    float low = s->align_corners ? 0.0f : -0.5f, high = s->align_corners ? d - 1.0f : d - 0.5f;
    if (s->mode == SAMPLE_NEAREST)
        x = nearbyintf(x);
    if (x >= low && x <= high)
        return x;
    if (s->padding == PADDING_BORDER && s->mode != SAMPLE_CUBIC)
        return clampf(x, 0.0f, d - 1.0f);
    return s->padding == PADDING_REFLECTION ? reflect(x, low, high) : x;
}

/* Samples along one axis: up to 4 places with weights; a place of -1 is outside and counts as 0. */
typedef struct axis_taps {
    int count;
    int64_t place[4];
    float weight[4];
} axis_taps;

static int64_t resolve_place(const sample_state *s, int64_t place, int64_t size)
{
    if (place >= 0 && place < size)
        return place;
    if (s->padding == PADDING_ZEROS)
        return -1;
    if (s->padding == PADDING_REFLECTION) {
        float low = s->align_corners ? 0.0f : -0.5f;
        place = (int64_t)reflect((float)place, low, (float)size - 1.0f - low);
    }
    return place < 0 ? 0 : place >= size ? size - 1 : place;
}

static void cubic_weights(float t, float weight[4])
{
    const float a = -0.75f;
    float u = t + 1.0f, v = 1.0f - t, w = 2.0f - t;
    weight[0] = ((a * u - 5.0f * a) * u + 8.0f * a) * u - 4.0f * a;
    weight[1] = ((a + 2.0f) * t - (a + 3.0f)) * t * t + 1.0f;
    weight[2] = ((a + 2.0f) * v - (a + 3.0f)) * v * v + 1.0f;
    weight[3] = ((a * w - 5.0f * a) * w + 8.0f * a) * w - 4.0f * a;
}

static void sample_axis(const sample_state *s, float g, int64_t size, axis_taps *taps)
{
    float x = unnormalise(s, g, size), down = floorf(x), rest = x - down;
    taps->count = s->mode == SAMPLE_NEAREST ? 1 : s->mode == SAMPLE_LINEAR ? 2 : 4;
    bool far = !(fabsf(x) < 0x1p30f);
    int64_t first = far ? 0 : (int64_t)down - (s->mode == SAMPLE_CUBIC ? 1 : 0);
    for (int i = 0; i < taps->count; i++)
        taps->place[i] =
            far && s->padding == PADDING_ZEROS ? -1 : resolve_place(s, first + i, size);
    if (far)
        rest = 0;
    taps->weight[0] = s->mode == SAMPLE_NEAREST ? 1.0f : 1.0f - rest;
    taps->weight[1] = rest;
    if (s->mode == SAMPLE_CUBIC)
        cubic_weights(rest, taps->weight);
}

/* The taps of a point: offsets into a plane and weights; those outside are left out. */
static int combine(const axis_taps *axes, int spatial, const int64_t *strides, int64_t *offset,
                   float *weight)
{
    int count = 1;
    offset[0] = 0;
    weight[0] = 1.0f;
    for (int a = 0; a < spatial; a++) {
        int made = 0;
        int64_t next_offset[MAX_TAPS];
        float next_weight[MAX_TAPS];
        for (int k = 0; k < count; k++) {
            for (int t = 0; t < axes[a].count; t++) {
                if (axes[a].place[t] < 0)
                    continue;
                next_offset[made] = offset[k] + axes[a].place[t] * strides[a];
                next_weight[made++] = weight[k] * axes[a].weight[t];
            }
        }
        for (int k = 0; k < made; k++) {
            offset[k] = next_offset[k];
            weight[k] = next_weight[k];
        }
        count = made;
    }
    return count;
}

static oxp_status grid_sample_forward(oxp_node *n)
{
    const sample_state *s = n->state;
    const oxp_tensor *xt = n->in[0], *yt = &n->out[0];
    const float *x, *grid;
    float *y;
    int64_t points, plane, strides[MAX_SPATIAL], offset[MAX_TAPS];
    float weight[MAX_TAPS];
    if (!yt->data || yt->count == 0)
        return OXP_OK;
    OXP_TRY(oxp_move_floats(n, 0, &x));
    OXP_TRY(oxp_move_floats(n, 1, &grid));
    OXP_TRY(oxp_move_float_output(n, 0, &y));
    OXP_TRY(oxp_move_product(n, s->spatial, yt->dims + 2, &points));
    OXP_TRY(oxp_move_product(n, s->spatial, xt->dims + 2, &plane));
    oxp_move_strides(s->spatial, xt->dims + 2, strides);
    for (int64_t b = 0; b < xt->dims[0]; b++) {
        for (int64_t p = 0; p < points; p++, grid += s->spatial) {
            axis_taps axes[MAX_SPATIAL];
            for (int a = 0; a < s->spatial; a++)
                sample_axis(s, grid[s->spatial - 1 - a], xt->dims[2 + a], &axes[a]);
            int taps = combine(axes, s->spatial, strides, offset, weight);
            for (int64_t c = 0; c < xt->dims[1]; c++) {
                const float *from = x + (b * xt->dims[1] + c) * plane;
                float sum = 0;
                for (int k = 0; k < taps; k++)
                    sum += weight[k] * from[offset[k]];
                y[(b * xt->dims[1] + c) * points + p] = sum;
            }
        }
    }
    oxp_move_store(n, 0, y);
    return OXP_OK;
}

/* ---- backward ---- */

/* The slope of reflect(): the direction in which its value goes. */
static float reflect_slope(float x, float low, float high)
{
    float range = high - low, past = x < low ? low - x : x - high;
    if (!(range > 0.0f))
        return 0.0f;
    if (x >= low && x <= high)
        return 1.0f;
    bool even = fmodf(floorf(past / range), 2.0f) == 0.0f;
    return even ? -1.0f : 1.0f;
}

/* That of unnormalise(), for modes that depend on the grid. */
static float place_slope(const sample_state *s, float g, int64_t size)
{
    float d = (float)size, base = s->align_corners ? (d - 1.0f) / 2.0f : d / 2.0f;
    float x = s->align_corners ? (g + 1.0f) / 2.0f * (d - 1.0f) : ((g + 1.0f) * d - 1.0f) / 2.0f;
    float low = s->align_corners ? 0.0f : -0.5f, high = s->align_corners ? d - 1.0f : d - 0.5f;
    if (!(fabsf(x) < 0x1p30f))
        return 0.0f;
    if (s->padding == PADDING_BORDER && s->mode != SAMPLE_CUBIC)
        return x > 0.0f && x < d - 1.0f ? base : 0.0f;
    return s->padding == PADDING_REFLECTION ? base * reflect_slope(x, low, high) : base;
}

static void cubic_slopes(float t, float slope[4])
{
    const float a = -0.75f;
    float u = t + 1.0f, v = 1.0f - t, w = 2.0f - t;
    slope[0] = (3.0f * a * u - 10.0f * a) * u + 8.0f * a;
    slope[1] = (3.0f * (a + 2.0f) * t - 2.0f * (a + 3.0f)) * t;
    slope[2] = -(3.0f * (a + 2.0f) * v - 2.0f * (a + 3.0f)) * v;
    slope[3] = -((3.0f * a * w - 10.0f * a) * w + 8.0f * a);
}

/* The axis's taps with their weights' slopes by the grid. */
static void slope_axis(const sample_state *s, float g, int64_t size, axis_taps *taps)
{
    sample_axis(s, g, size, taps);
    float x = unnormalise(s, g, size), by_place = place_slope(s, g, size);
    taps->weight[0] = -1.0f;
    taps->weight[1] = 1.0f;
    if (s->mode == SAMPLE_CUBIC)
        cubic_slopes(x - floorf(x), taps->weight);
    for (int i = 0; i < taps->count; i++)
        taps->weight[i] *= s->mode == SAMPLE_NEAREST ? 0.0f : by_place;
}

/* One place of the grid: planes of one batch entry. */
typedef struct sample_point {
    const float *x, *dy; /* dy: of this place in the first channel */
    float *dx;
    int64_t channels, plane, points;
} sample_point;

static void back_point(const sample_point *p, int taps, const int64_t *offset, const float *weight)
{
    for (int64_t c = 0; p->dx && c < p->channels; c++)
        for (int k = 0; k < taps; k++)
            p->dx[c * p->plane + offset[k]] += weight[k] * p->dy[c * p->points];
}

static double slope_point(const sample_point *p, int taps, const int64_t *offset,
                          const float *weight)
{
    double sum = 0;
    for (int64_t c = 0; c < p->channels; c++)
        for (int k = 0; k < taps; k++)
            sum += (double)weight[k] * (double)p->x[c * p->plane + offset[k]] *
                   (double)p->dy[c * p->points];
    return sum;
}

static void back_place(const oxp_node *n, const sample_point *p, const float *grid, float *dgrid,
                       const int64_t *strides)
{
    const sample_state *s = n->state;
    const int64_t *dims = n->in[0]->dims;
    axis_taps axes[MAX_SPATIAL], kept;
    int64_t offset[MAX_TAPS];
    float weight[MAX_TAPS];
    for (int a = 0; a < s->spatial; a++)
        sample_axis(s, grid[s->spatial - 1 - a], dims[2 + a], &axes[a]);
    int taps = combine(axes, s->spatial, strides, offset, weight);
    back_point(p, taps, offset, weight);
    for (int a = 0; dgrid && a < s->spatial; a++) {
        int at = s->spatial - 1 - a;
        kept = axes[a];
        slope_axis(s, grid[at], dims[2 + a], &axes[a]);
        taps = combine(axes, s->spatial, strides, offset, weight);
        dgrid[at] += (float)slope_point(p, taps, offset, weight);
        axes[a] = kept;
    }
}

static oxp_status grid_sample_backward(oxp_node *n)
{
    const sample_state *s = n->state;
    const oxp_tensor *xt = n->in[0], *yt = &n->out[0];
    const float *x, *grid, *dy = oxp_dout(n, 0);
    float *dx = oxp_din(n, 0), *dgrid = oxp_din(n, 1);
    int64_t points, plane, strides[MAX_SPATIAL];
    if (!dy || yt->count == 0)
        return OXP_OK;
    OXP_TRY(oxp_move_floats(n, 0, &x));
    OXP_TRY(oxp_move_floats(n, 1, &grid));
    OXP_TRY(oxp_move_product(n, s->spatial, yt->dims + 2, &points));
    OXP_TRY(oxp_move_product(n, s->spatial, xt->dims + 2, &plane));
    oxp_move_strides(s->spatial, xt->dims + 2, strides);
    for (int64_t i = 0; i < xt->dims[0] * points; i++) {
        int64_t image = i / points * xt->dims[1];
        sample_point p = {.x = x + image * plane,
                          .dy = dy + image * points + i % points,
                          .dx = dx ? dx + image * plane : NULL,
                          .channels = xt->dims[1],
                          .plane = plane,
                          .points = points};
        back_place(n, &p, grid + i * s->spatial, dgrid ? dgrid + i * s->spatial : NULL, strides);
    }
    return OXP_OK;
}

static void grid_sample_cost(const oxp_node *n, oxp_cost *cost)
{
    const sample_state *s = n->state;
    double taps = 1, per_axis = s->mode == SAMPLE_NEAREST ? 1 : s->mode == SAMPLE_LINEAR ? 2 : 4;
    for (int i = 0; i < s->spatial; i++)
        taps *= per_axis;
    cost->macs = s->mode == SAMPLE_NEAREST ? 0 : taps * (double)n->out[0].count;
    cost->bytes_read = (double)oxp_tensor_bytes(n->in[0]) + (double)oxp_tensor_bytes(n->in[1]);
    cost->bytes_written = (double)oxp_tensor_bytes(&n->out[0]);
}

static const char *const grid_sample_examples[] = {
    "X[1,2,4,4] G[1,3,3,2]",
    "X[1,2,4,4] G[1,3,3,2]; mode='nearest' align_corners=1",
    "X[2,1,3,5] G[2,4,2,2]; mode='cubic' padding_mode='border'",
    "X[1,1,4,4] G[1,2,2,2]={-3.0,2.5,1.2,-1.4,0.1,7.0,-1.0,1.0}; padding_mode='reflection'",
    "X[1,1,2,3,4] G[1,2,2,2,3]; mode='linear'",
    "X[1,1,6] G[1,4,1]; mode='linear' padding_mode='border'",
    NULL,
};

const oxp_operator oxp_op_grid_sample_16 = {
    .domain = "",
    .type = "GridSample",
    .since = 16,
    .min_in = 2,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .prepare = grid_sample_prepare,
    .forward = grid_sample_forward,
    .backward = grid_sample_backward,
    .saves = 3,
    .cost = grid_sample_cost,
    .examples = grid_sample_examples,
};
