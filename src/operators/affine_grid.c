/* affine_grid.c - AffineGrid: for each output pixel theta[n] * (x, y, 1) (or (x, y, z, 1)), the
 * coordinates from -1 to 1 along each axis; what GridSample takes.
 * https://onnx.ai/onnx/operators/onnx__AffineGrid.html
 *
 * theta [N, 2, 3] or [N, 3, 4]; size (N, C, H, W) or (N, C, D, H, W). FLOAT, FLOAT16 and
 * BFLOAT16. */
#include <string.h>

#include "operators/gradient.h"
#include "operators/movement.h"

typedef struct grid_state {
    bool align_corners;
    int spatial;
    int64_t size[3]; /* outermost first */
} grid_state;

static oxp_status affine_grid_prepare(oxp_node *n)
{
    const oxp_tensor *theta = n->in[0];
    const int64_t *size;
    size_t count;
    grid_state *s = oxp_node_state(n, sizeof *s);
    if (!s)
        return n->ctx->status;
    s->align_corners = oxp_attr_int(n, "align_corners", 0) != 0;
    if (theta->dtype != OXP_FLOAT && theta->dtype != OXP_FLOAT16 && theta->dtype != OXP_BFLOAT16)
        return oxp_node_bad_dtype(n, 0);
    OXP_TRY(oxp_move_ints(n, 1, &size, &count));
    bool fits = (count == 4 || count == 5) && theta->rank == 3 && theta->dims[0] == size[0] &&
                theta->dims[1] == (int64_t)count - 2 && theta->dims[2] == (int64_t)count - 1;
    if (!fits) {
        char text[OXP_SHAPE_TEXT_MAX];
        return oxp_node_fail(
            n, OXP_EFORMAT, "E-SHAPE",
            "theta has shape %s and size %zu entries; expected [N,2,3] and 4, or [N,3,4] and 5",
            oxp_shape_text(text, theta->rank, theta->dims), count);
    }
    s->spatial = (int)count - 2;
    int64_t dims[5] = {size[0]};
    for (int i = 0; i < s->spatial; i++)
        dims[1 + i] = s->size[i] = size[2 + i];
    dims[1 + s->spatial] = s->spatial;
    return oxp_output(n, 0, theta->dtype, s->spatial + 2, dims);
}

/* The normalised coordinate of entry i of `size`; a corner that is alone is the last one, as in
 * ONNX Runtime. */
static double coordinate(const grid_state *s, int64_t i, int64_t size)
{
    if (s->align_corners)
        return size > 1 ? -1.0 + 2.0 * (double)i / (double)(size - 1) : 1.0;
    return (2.0 * (double)i + 1.0) / (double)size - 1.0;
}

static oxp_status affine_grid_forward(oxp_node *n)
{
    const grid_state *s = n->state;
    const oxp_tensor *y = &n->out[0];
    const float *theta;
    float *to;
    if (!y->data || y->count == 0)
        return OXP_OK;
    OXP_TRY(oxp_move_floats(n, 0, &theta));
    OXP_TRY(oxp_move_float_output(n, 0, &to));
    int d = s->spatial;
    size_t points = y->count / (size_t)(y->dims[0] * d);
    for (int64_t b = 0; b < y->dims[0]; b++, theta += d * (d + 1)) {
        int64_t place[3] = {0};
        for (size_t p = 0; p < points; p++, to += d) {
            for (int row = 0; row < d; row++) {
                const float *line = theta + row * (d + 1);
                double sum = (double)line[d];
                for (int k = 0; k < d; k++)
                    sum += (double)line[k] * coordinate(s, place[d - 1 - k], s->size[d - 1 - k]);
                to[row] = (float)sum;
            }
            for (int a = d - 1; a >= 0 && ++place[a] == s->size[a]; a--)
                place[a] = 0;
        }
    }
    oxp_move_store(n, 0, to - y->count);
    return OXP_OK;
}

static oxp_status affine_grid_backward(oxp_node *n)
{
    const grid_state *s = n->state;
    const oxp_tensor *y = &n->out[0];
    const float *dy = oxp_dout(n, 0);
    float *dtheta = oxp_din(n, 0);
    int d = s->spatial;
    if (!dtheta || !dy || y->count == 0)
        return OXP_OK;
    size_t points = y->count / (size_t)(y->dims[0] * d);
    for (int64_t b = 0; b < y->dims[0]; b++, dtheta += d * (d + 1)) {
        int64_t place[3] = {0};
        double sums[12] = {0};
        for (size_t p = 0; p < points; p++, dy += d) {
            for (int i = 0; i < d * (d + 1); i++) {
                int k = i % (d + 1), axis = d - 1 - k;
                double factor = k == d ? 1 : coordinate(s, place[axis], s->size[axis]);
                sums[i] += factor * (double)dy[i / (d + 1)];
            }
            for (int a = d - 1; a >= 0 && ++place[a] == s->size[a]; a--)
                place[a] = 0;
        }
        for (int i = 0; i < d * (d + 1); i++)
            dtheta[i] += (float)sums[i];
    }
    return OXP_OK;
}

static const char *const affine_grid_examples[] = {
    "T[2,2,3] S[4]:i64={2,3,4,5}",
    "T[1,2,3] S[4]:i64={1,1,2,3}; align_corners=1",
    "T[1,3,4] S[5]:i64={1,2,2,3,4}",
    NULL,
};

const oxp_operator oxp_op_affine_grid_20 = {
    .domain = "",
    .type = "AffineGrid",
    .since = 20,
    .min_in = 2,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .values = 2,
    .prepare = affine_grid_prepare,
    .forward = affine_grid_forward,
    .backward = affine_grid_backward,
    .examples = affine_grid_examples,
};
