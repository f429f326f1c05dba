/* deform_conv.c - DeformConv: a convolution whose taps are moved by `offset` and weighed by `mask`,
 * over one to three spatial axes:
 *
 *     Y[n, m, o] = B[m] + sum_{c, k} W[m, c, k] mask[n, g, k, o] X[n, c, p]
 *     p = o stride + k dilation - pad + offset[n, g, k, axis, o]
 *
 * X at p is linear between its neighbours, zero outside; g = c / (C / offset_group). Computed in
 * FLOAT with sums in double. https://onnx.ai/onnx/operators/onnx__DeformConv.html */
#include <math.h>
#include <string.h>

#include "operators/real.h"
#include "operators/window.h"

enum { IN_X, IN_W, IN_OFFSET, IN_B, IN_MASK };

typedef struct deform_state {
    oxp_window window;
    int spatial;
    size_t batch, channels, outputs, group, offset_group;
} deform_state;

/* ---- shapes ---- */

static oxp_status expect_shape(oxp_node *n, int i, int rank, const int64_t *dims)
{
    const oxp_tensor *t = n->in[i];
    if (t->rank == rank && memcmp(t->dims, dims, (size_t)rank * sizeof *dims) == 0)
        return OXP_OK;
    char found[OXP_SHAPE_TEXT_MAX], expected[OXP_SHAPE_TEXT_MAX];
    return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "input %d has shape %s, expected %s", i,
                         oxp_shape_text(found, t->rank, t->dims),
                         oxp_shape_text(expected, rank, dims));
}

static oxp_status read_groups(oxp_node *n, deform_state *s)
{
    const oxp_tensor *x = n->in[IN_X], *w = n->in[IN_W];
    int64_t group = oxp_attr_int(n, "group", 1), offset_group = oxp_attr_int(n, "offset_group", 1);
    if (w->rank != x->rank)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "W has rank %d, expected %d as X", w->rank,
                             x->rank);
    if (group < 1 || offset_group < 1 || x->dims[1] % group != 0 ||
        x->dims[1] % offset_group != 0 || w->dims[0] % group != 0 ||
        w->dims[1] != x->dims[1] / group)
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE",
                             "group %lld and offset_group %lld do not fit %lld channels and "
                             "weights [%lld,%lld,...]",
                             (long long)group, (long long)offset_group, (long long)x->dims[1],
                             (long long)w->dims[0], (long long)w->dims[1]);
    s->batch = (size_t)x->dims[0];
    s->channels = (size_t)x->dims[1];
    s->outputs = (size_t)w->dims[0];
    s->group = (size_t)group;
    s->offset_group = (size_t)offset_group;
    return OXP_OK;
}

static oxp_status check_operands(oxp_node *n, const deform_state *s)
{
    const oxp_window *w = &s->window;
    int64_t taps = (int64_t)(s->offset_group * oxp_volume(w->kernel));
    int64_t dims[5] = {n->in[IN_X]->dims[0], taps * s->spatial};
    int64_t outputs = (int64_t)s->outputs;
    oxp_window_dims(w->out, s->spatial, dims + 2);
    OXP_TRY(expect_shape(n, IN_OFFSET, s->spatial + 2, dims));
    dims[1] = taps;
    if (oxp_node_has(n, IN_MASK))
        OXP_TRY(expect_shape(n, IN_MASK, s->spatial + 2, dims));
    if (oxp_node_has(n, IN_B))
        OXP_TRY(expect_shape(n, IN_B, 1, &outputs));
    return OXP_OK;
}

static oxp_status prepare(oxp_node *n)
{
    const oxp_tensor *x = n->in[IN_X];
    const oxp_window_options options = {.dilations = true};
    deform_state *s = oxp_node_state(n, sizeof *s);
    int64_t kernel[OXP_MAX_SPATIAL], dims[5];
    if (!s)
        return n->ctx->status;
    OXP_TRY(oxp_real_types(n, 1 << IN_W | 1 << IN_OFFSET | 1 << IN_B | 1 << IN_MASK));
    OXP_TRY(oxp_window_rank(n, x, &s->spatial));
    OXP_TRY(read_groups(n, s));
    OXP_TRY(oxp_window_kernel(n, s->spatial, n->in[IN_W]->dims + 2, kernel));
    OXP_TRY(oxp_window_read(n, s->spatial, x->dims + 2, kernel, options, &s->window));
    OXP_TRY(check_operands(n, s));
    dims[0] = x->dims[0];
    dims[1] = n->in[IN_W]->dims[0];
    oxp_window_dims(s->window.out, s->spatial, dims + 2);
    return oxp_output(n, 0, x->dtype, s->spatial + 2, dims);
}

/* ---- sampling ---- */

/* The value of one channel at a place between its elements: the weighed corners of the cell. */
static double sample(const oxp_window *w, const float *x, const double at[3])
{
    double floors[3], sum = 0.0;
    for (int d = 0; d < 3; d++) {
        if (!(at[d] > -1.0 && at[d] < (double)w->in[d]))
            return 0.0;
        floors[d] = floor(at[d]);
    }
    for (unsigned corner = 0; corner < 8; corner++) {
        double weight = 1.0;
        size_t index = 0;
        for (unsigned d = 0; d < 3; d++) {
            bool upper = corner >> d & 1;
            double place = floors[d] + (upper ? 1.0 : 0.0);
            double part = upper ? at[d] - floors[d] : 1.0 - (at[d] - floors[d]);
            bool inside = place >= 0.0 && place < (double)w->in[d];
            weight *= inside ? part : 0.0;
            index = index * w->in[d] + (inside ? (size_t)place : 0);
        }
        if (weight != 0.0)
            sum += weight * (double)x[index];
    }
    return sum;
}

/* What the kernel sees at one output place: column[C * K], moved and masked. */
static void fill_column(const deform_state *s, const float *x, const float *offset,
                        const float *mask, const size_t out[3], double *column)
{
    const oxp_window *w = &s->window;
    size_t taps = oxp_volume(w->kernel), places = oxp_volume(w->out);
    size_t place = (out[0] * w->out[1] + out[1]) * w->out[2] + out[2];
    size_t spatial = (size_t)s->spatial, unused = 3 - spatial;
    for (size_t c = 0; c < s->channels; c++) {
        size_t g = c / (s->channels / s->offset_group);
        for (size_t k = 0; k < taps; k++) {
            size_t tap[3] = {k / (w->kernel[1] * w->kernel[2]), k / w->kernel[2] % w->kernel[1],
                             k % w->kernel[2]};
            double at[3];
            for (size_t d = 0; d < 3; d++) {
                size_t row = ((g * taps + k) * spatial + d - unused) * places + place;
                at[d] = (double)(out[d] * w->stride[d] + tap[d] * w->dilation[d]) -
                        (double)w->begin[d] + (d < unused ? 0.0 : (double)offset[row]);
            }
            double factor = mask ? (double)mask[(g * taps + k) * places + place] : 1.0;
            column[c * taps + k] = factor * sample(w, x + c * oxp_volume(w->in), at);
        }
    }
}

static void multiply(const deform_state *s, const float *weights, const float *bias,
                     const double *column, float *y)
{
    size_t depth = s->channels / s->group * oxp_volume(s->window.kernel);
    size_t places = oxp_volume(s->window.out);
    for (size_t m = 0; m < s->outputs; m++) {
        const double *seen = column + m / (s->outputs / s->group) * depth;
        double sum = bias ? (double)bias[m] : 0.0;
        for (size_t i = 0; i < depth; i++)
            sum += (double)weights[m * depth + i] * seen[i];
        y[m * places] = (float)sum;
    }
}

static oxp_status forward(oxp_node *n)
{
    const deform_state *s = n->state;
    const oxp_window *w = &s->window;
    size_t places = oxp_volume(w->out), taps = oxp_volume(w->kernel);
    const float *x = oxp_real_in(n, IN_X), *weights = oxp_real_in(n, IN_W);
    const float *offset = oxp_real_in(n, IN_OFFSET), *bias, *mask;
    float *y = oxp_real_out(n, 0);
    double *column = oxp_node_scratch(n, s->channels * taps + 1, sizeof *column);
    OXP_TRY(oxp_real_in_optional(n, IN_B, &bias));
    OXP_TRY(oxp_real_in_optional(n, IN_MASK, &mask));
    if (!x || !weights || !offset || !y || !column)
        return n->ctx->status;
    for (size_t b = 0; b < s->batch; b++)
        for (size_t place = 0; place < places; place++) {
            size_t out[3] = {place / (w->out[1] * w->out[2]), place / w->out[2] % w->out[1],
                             place % w->out[2]};
            size_t groups = b * s->offset_group * taps * places;
            fill_column(s, x + b * s->channels * oxp_volume(w->in),
                        offset + groups * (size_t)s->spatial, mask ? mask + groups : NULL, out,
                        column);
            multiply(s, weights, bias, column, y + b * s->outputs * places + place);
        }
    oxp_real_done(n, 0, y);
    return OXP_OK;
}

static void cost(const oxp_node *n, oxp_cost *c)
{
    const deform_state *s = n->state;
    double depth = (double)(s->channels / s->group * oxp_volume(s->window.kernel));
    oxp_cost_of(n, (double)n->out[0].count * depth, c);
}

const oxp_operator oxp_op_deform_conv_19 = {
    .domain = "",
    .type = "DeformConv",
    .since = 19,
    .min_in = 3,
    .max_in = 5,
    .min_out = 1,
    .max_out = 1,
    .optional = 1 << IN_B,
    .prepare = prepare,
    .forward = forward,
    .cost = cost,
    .examples = (const char *const[]){"X[1,2,4,4] W[3,2,2,2] O[1,8,3,3]",
                                      "X[2,4,5,5] W[2,2,3,3] O[2,36,5,5] B[2] M[2,18,5,5]; "
                                      "pads=1,1,1,1 group=2 offset_group=2",
                                      "X[1,1,6]:f16 W[1,1,3]:f16 O[1,3,2]:f16; strides=2",
                                      "X[1,1,3,3,3] W[1,1,2,2,2] O[1,24,2,2,2]", NULL},
};
