/* roi_align.c - RoiAlign: y[r,c,:,:] = the region rois[r] of x[batch_indices[r],c], pooled to
 * output_height x output_width bins from bilinear samples (He et al., "Mask R-CNN", arXiv
 * 1703.06870). https://onnx.ai/onnx/operators/onnx__RoiAlign.html
 *
 * sampling_ratio 0 takes ceil(region / bins) samples an axis. Before opset 16 coordinates are not
 * shifted by half a pixel and a region is at least 1 wide. Mode max takes the largest weighted
 * corner, as the standard's reference does. FLOAT, FLOAT16 and BFLOAT16. */
#include <math.h>

#include "operators/gradient.h"
#include "operators/movement.h"

typedef struct roi_state {
    bool maximum, half_pixel;
    int64_t height, width, sampling_ratio;
    float scale;
} roi_state;

static oxp_status check_shapes(oxp_node *n)
{
    const oxp_tensor *x = n->in[0], *rois = n->in[1], *batch = n->in[2];
    char a[OXP_SHAPE_TEXT_MAX], b[OXP_SHAPE_TEXT_MAX], c[OXP_SHAPE_TEXT_MAX];
    OXP_TRY(oxp_node_want(n, 2, OXP_INT64));
    if (x->rank == 4 && rois->rank == 2 && rois->dims[1] == 4 && batch->rank == 1 &&
        batch->dims[0] == rois->dims[0])
        return OXP_OK;
    return oxp_node_fail(
        n, OXP_EFORMAT, "E-SHAPE", "shapes %s, %s, %s; expected [N,C,H,W], [R,4], [R]",
        oxp_shape_text(a, x->rank, x->dims), oxp_shape_text(b, rois->rank, rois->dims),
        oxp_shape_text(c, batch->rank, batch->dims));
}

static oxp_status roi_align_prepare(oxp_node *n)
{
    static const char *const modes[] = {"avg", "max", NULL}, *const places[] = {"half_pixel",
                                                                                "output_half_pixel",
                                                                                NULL};
    roi_state *s = oxp_node_state(n, sizeof *s);
    if (!s)
        return n->ctx->status;
    int mode, place = 1;
    OXP_TRY(oxp_move_choice(n, "mode", "avg", modes, &mode));
    if (n->op->since >= 16)
        OXP_TRY(oxp_move_choice(n, "coordinate_transformation_mode", "half_pixel", places, &place));
    s->maximum = mode == 1;
    s->half_pixel = place == 0;
    s->height = oxp_attr_int(n, "output_height", 1);
    s->width = oxp_attr_int(n, "output_width", 1);
    s->sampling_ratio = oxp_attr_int(n, "sampling_ratio", 0);
    s->scale = oxp_attr_float(n, "spatial_scale", 1.0f);
    if (s->height < 1 || s->width < 1 || s->sampling_ratio < 0 || s->sampling_ratio > INT32_MAX)
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE",
                             "output %lld x %lld, sampling_ratio %lld", (long long)s->height,
                             (long long)s->width, (long long)s->sampling_ratio);
    for (int i = 0; i < 2; i++) {
        if (n->in[i]->dtype != OXP_FLOAT && n->in[i]->dtype != OXP_FLOAT16 &&
            n->in[i]->dtype != OXP_BFLOAT16)
            return oxp_node_bad_dtype(n, i);
    }
    OXP_TRY(check_shapes(n));
    int64_t dims[4] = {n->in[1]->dims[0], n->in[0]->dims[1], s->height, s->width};
    return oxp_output(n, 0, n->in[0]->dtype, 4, dims);
}

/* A bilinear sample: four corners. */
typedef struct roi_sample {
    int64_t offset[4];
    float weight[4];
} roi_sample;

/* One region: where its bins start, how large they are, how many samples an axis each takes. */
typedef struct region {
    float y, x, bin_height, bin_width;
    int64_t grid_height, grid_width;
} region;

static int64_t grid_size(const roi_state *s, float bin)
{
    if (s->sampling_ratio > 0)
        return s->sampling_ratio;
    return bin > 0.0f ? (int64_t)ceilf(bin) : 0;
}

static oxp_status read_region(oxp_node *n, const float *roi, size_t r, region *out)
{
    const roi_state *s = n->state;
    float offset = s->half_pixel ? 0.5f : 0.0f;
    for (int i = 0; i < 4; i++) {
        if (!(fabsf(roi[i] * s->scale) < 0x1p30f))
            return oxp_node_fail(n, OXP_EFORMAT, "E-INDEX", "region %zu has coordinate %g", r,
                                 (double)roi[i]);
    }
    out->x = roi[0] * s->scale - offset;
    out->y = roi[1] * s->scale - offset;
    float width = roi[2] * s->scale - offset - out->x, height = roi[3] * s->scale - offset - out->y;
    if (!s->half_pixel) {
        width = fmaxf(width, 1.0f);
        height = fmaxf(height, 1.0f);
    }
    out->bin_height = height / (float)s->height;
    out->bin_width = width / (float)s->width;
    out->grid_height = grid_size(s, out->bin_height);
    out->grid_width = grid_size(s, out->bin_width);
    double samples =
        (double)out->grid_height * (double)out->grid_width * (double)s->height * (double)s->width;
    if (samples > (double)n->ctx->step_limit)
        return oxp_node_fail(n, OXP_ELIMIT, "E-LIMIT-STEPS",
                             "region %zu needs %g samples, at most %llu are allowed", r, samples,
                             (unsigned long long)n->ctx->step_limit);
    return OXP_OK;
}

static void set_sample(roi_sample *p, float y, float x, int64_t H, int64_t W)
{
    *p = (roi_sample){.offset = {0}};
    if (y < -1.0f || y > (float)H || x < -1.0f || x > (float)W)
        return;
    y = fmaxf(y, 0.0f);
    x = fmaxf(x, 0.0f);
    int64_t top = (int64_t)y, left = (int64_t)x, bottom = top + 1, right = left + 1;
    if (top >= H - 1) {
        top = bottom = H - 1;
        y = (float)top;
    }
    if (left >= W - 1) {
        left = right = W - 1;
        x = (float)left;
    }
    float down = y - (float)top, across = x - (float)left;
    p->offset[0] = top * W + left;
    p->offset[1] = top * W + right;
    p->offset[2] = bottom * W + left;
    p->offset[3] = bottom * W + right;
    p->weight[0] = (1.0f - down) * (1.0f - across);
    p->weight[1] = (1.0f - down) * across;
    p->weight[2] = down * (1.0f - across);
    p->weight[3] = down * across;
}

static void set_samples(const roi_state *s, const region *g, int64_t H, int64_t W, roi_sample *p)
{
    for (int64_t row = 0; row < s->height; row++) {
        for (int64_t column = 0; column < s->width; column++) {
            for (int64_t i = 0; i < g->grid_height; i++) {
                float y = g->y + (float)row * g->bin_height +
                          ((float)i + 0.5f) * g->bin_height / (float)g->grid_height;
                for (int64_t j = 0; j < g->grid_width; j++) {
                    float x = g->x + (float)column * g->bin_width +
                              ((float)j + 0.5f) * g->bin_width / (float)g->grid_width;
                    set_sample(p++, y, x, H, W);
                }
            }
        }
    }
}

static float pool(const roi_state *s, const roi_sample *p, int64_t samples, const float *from)
{
    double sum = 0;
    float best = 0;
    for (int64_t i = 0; i < samples; i++) {
        for (int k = 0; k < 4; k++) {
            float value = p[i].weight[k] * from[p[i].offset[k]];
            sum += (double)value;
            best = (i == 0 && k == 0) || value > best ? value : best;
        }
    }
    return s->maximum ? best : (float)(sum / (double)(samples > 0 ? samples : 1));
}

static oxp_status pool_region(oxp_node *n, const region *g, const float *from, float *to)
{
    const roi_state *s = n->state;
    const int64_t *d = n->in[0]->dims;
    int64_t per_bin = g->grid_height * g->grid_width, bins = s->height * s->width;
    oxp_arena_mark mark = oxp_arena_mark_now(n->scratch);
    roi_sample *samples = oxp_node_scratch(n, (size_t)(per_bin * bins), sizeof *samples);
    if (!samples)
        return n->ctx->status;
    set_samples(s, g, d[2], d[3], samples);
    for (int64_t c = 0; c < d[1]; c++) {
        for (int64_t b = 0; b < bins; b++)
            to[c * bins + b] = pool(s, samples + b * per_bin, per_bin, from + c * d[2] * d[3]);
    }
    oxp_arena_release(n->scratch, mark);
    return OXP_OK;
}

static oxp_status roi_align_forward(oxp_node *n)
{
    const oxp_tensor *x = n->in[0], *y = &n->out[0];
    const float *data, *rois;
    float *to;
    if (!y->data || y->count == 0)
        return OXP_OK;
    if (x->dims[2] == 0 || x->dims[3] == 0)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "the input has no pixels");
    OXP_TRY(oxp_move_floats(n, 0, &data));
    OXP_TRY(oxp_move_floats(n, 1, &rois));
    OXP_TRY(oxp_move_float_output(n, 0, &to));
    size_t per_roi = y->count / (size_t)y->dims[0];
    for (size_t r = 0; r < (size_t)y->dims[0]; r++) {
        int64_t batch;
        region g = {.y = 0};
        OXP_TRY(
            oxp_move_index(n, "batch_indices", oxp_tensor_int(n->in[2], r), x->dims[0], &batch));
        OXP_TRY(read_region(n, rois + 4 * r, r, &g));
        OXP_TRY(pool_region(n, &g, data + batch * x->dims[1] * x->dims[2] * x->dims[3],
                            to + r * per_roi));
    }
    oxp_move_store(n, 0, to);
    return OXP_OK;
}

/* One bin: the mean spreads over all samples, the largest takes it all. */
static void pool_back(const roi_state *s, const roi_sample *p, int64_t samples, const float *from,
                      float dy, float *dx)
{
    int64_t best = 0;
    for (int64_t i = 0; i < 4 * samples; i++) {
        const roi_sample *one = &p[i / 4], *top = &p[best / 4];
        if (!s->maximum)
            dx[one->offset[i % 4]] += dy * one->weight[i % 4] / (float)samples;
        else if (one->weight[i % 4] * from[one->offset[i % 4]] >
                 top->weight[best % 4] * from[top->offset[best % 4]])
            best = i;
    }
    if (s->maximum && samples > 0)
        dx[p[best / 4].offset[best % 4]] += dy * p[best / 4].weight[best % 4];
}

static oxp_status region_back(oxp_node *n, const region *g, const float *from, const float *dy,
                              float *dx)
{
    const roi_state *s = n->state;
    const int64_t *d = n->in[0]->dims;
    int64_t per_bin = g->grid_height * g->grid_width, bins = s->height * s->width;
    oxp_arena_mark mark = oxp_arena_mark_now(n->scratch);
    roi_sample *samples = oxp_node_scratch(n, (size_t)(per_bin * bins), sizeof *samples);
    if (!samples)
        return n->ctx->status;
    set_samples(s, g, d[2], d[3], samples);
    for (int64_t i = 0; i < d[1] * bins; i++) {
        int64_t plane = i / bins * d[2] * d[3];
        pool_back(s, samples + i % bins * per_bin, per_bin, from + plane, dy[i], dx + plane);
    }
    oxp_arena_release(n->scratch, mark);
    return OXP_OK;
}

/* The regions themselves have no gradient: they are chosen, not computed with. */
static oxp_status roi_align_backward(oxp_node *n)
{
    const oxp_tensor *x = n->in[0], *y = &n->out[0];
    const float *data, *rois, *dy = oxp_dout(n, 0);
    float *dx = oxp_din(n, 0);
    if (!dx || !dy || y->count == 0)
        return OXP_OK;
    OXP_TRY(oxp_move_floats(n, 0, &data));
    OXP_TRY(oxp_move_floats(n, 1, &rois));
    size_t per_roi = y->count / (size_t)y->dims[0];
    for (size_t r = 0; r < (size_t)y->dims[0]; r++) {
        int64_t batch, image = x->dims[1] * x->dims[2] * x->dims[3];
        region g = {.y = 0};
        OXP_TRY(
            oxp_move_index(n, "batch_indices", oxp_tensor_int(n->in[2], r), x->dims[0], &batch));
        OXP_TRY(read_region(n, rois + 4 * r, r, &g));
        OXP_TRY(region_back(n, &g, data + batch * image, dy + r * per_roi, dx + batch * image));
    }
    return OXP_OK;
}

static const char *const roi_align_examples[] = {
    "X[1,2,6,6] R[2,4]={0.0,0.0,4.0,4.0,1.5,1.0,5.0,5.5} B[2]:i64={0,0}; output_height=2 "
    "output_width=3 sampling_ratio=2",
    "X[2,1,6,6] R[2,4]={0.0,0.0,9.0,9.0,2.0,1.0,8.0,4.0} B[2]:i64={1,0}; output_height=2 "
    "output_width=2 spatial_scale=0.5",
    "X[1,1,6,6] R[1,4]={1.0,1.0,5.0,4.0} B[1]:i64={0}; output_height=2 output_width=2 mode='max'",
    NULL,
};

const oxp_operator oxp_op_roi_align_10 = {
    .domain = "",
    .type = "RoiAlign",
    .since = 10,
    .min_in = 3,
    .max_in = 3,
    .min_out = 1,
    .max_out = 1,
    .prepare = roi_align_prepare,
    .forward = roi_align_forward,
    .backward = roi_align_backward,
    .saves = 7,
    .examples = roi_align_examples,
};

const oxp_operator oxp_op_roi_align_16 = {
    .domain = "",
    .type = "RoiAlign",
    .since = 16,
    .min_in = 3,
    .max_in = 3,
    .min_out = 1,
    .max_out = 1,
    .prepare = roi_align_prepare,
    .forward = roi_align_forward,
    .backward = roi_align_backward,
    .saves = 7,
    .examples = roi_align_examples,
};
