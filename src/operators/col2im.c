/* col2im.c - Col2Im: [N, C * prod(block), L] summed into the image [N, C, image...], block l at its
 * place of the sliding window (strides, dilations, pads); the adjoint of im2col.
 * https://onnx.ai/onnx/operators/onnx__Col2Im.html
 *
 * FLOAT, FLOAT16 and BFLOAT16, summed in double. */
#include <string.h>

#include "operators/gradient.h"
#include "operators/movement.h"

typedef struct window {
    int64_t image, block, blocks, stride, dilation,
        pad; /* of one axis; blocks: how often the window fits */
} window;

typedef struct col2im_state {
    int spatial;
    window axes[OXP_MAX_RANK];
    int64_t block, blocks, image; /* products */
} col2im_state;

static int64_t entry(const int64_t *values, size_t i, int64_t otherwise)
{
    return values ? values[i] : otherwise;
}

static oxp_status read_list(oxp_node *n, const char *name, size_t expected, const int64_t **values)
{
    size_t count;
    oxp_attr_ints(n, name, values, &count);
    if (*values && count != expected)
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE",
                             "attribute %s has %zu entries, expected %zu", name, count, expected);
    return OXP_OK;
}

/* Numbers that are sizes of something real: products of two of them do not overflow. */
static bool is_size(int64_t v, int64_t least)
{
    return v >= least && v <= INT32_MAX;
}

static oxp_status set_window(oxp_node *n, int axis, window *w, int64_t pad_end)
{
    bool sane = is_size(w->image, 1) && is_size(w->block, 1) && is_size(w->stride, 1) &&
                is_size(w->dilation, 1) && is_size(w->pad, 0) && is_size(pad_end, 0);
    int64_t reach = sane ? w->image + w->pad + pad_end - w->dilation * (w->block - 1) - 1 : -1;
    if (reach < 0)
        return oxp_node_fail(
            n, OXP_EFORMAT, "E-SHAPE",
            "axis %d: a block of %lld (dilation %lld, stride %lld) does not fit an image of %lld",
            axis, (long long)w->block, (long long)w->dilation, (long long)w->stride,
            (long long)w->image);
    w->blocks = reach / w->stride + 1;
    return OXP_OK;
}

static oxp_status read_windows(oxp_node *n, col2im_state *s)
{
    const int64_t *image, *block, *strides, *pads, *dilations;
    size_t count, blocks;
    int64_t sizes[3][OXP_MAX_RANK];
    OXP_TRY(oxp_move_ints(n, 1, &image, &count));
    OXP_TRY(oxp_move_ints(n, 2, &block, &blocks));
    OXP_TRY(oxp_move_rank(n, count + 2));
    if (blocks != count || count == 0)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                             "image_shape has %zu entries, block_shape %zu", count, blocks);
    OXP_TRY(read_list(n, "strides", count, &strides));
    OXP_TRY(read_list(n, "pads", 2 * count, &pads));
    OXP_TRY(read_list(n, "dilations", count, &dilations));
    s->spatial = (int)count;
    for (size_t i = 0; i < count; i++) {
        s->axes[i] = (window){.image = image[i],
                              .block = block[i],
                              .stride = entry(strides, i, 1),
                              .dilation = entry(dilations, i, 1),
                              .pad = entry(pads, i, 0)};
        OXP_TRY(set_window(n, (int)i, &s->axes[i], entry(pads, i + count, 0)));
        sizes[0][i] = image[i];
        sizes[1][i] = block[i];
        sizes[2][i] = s->axes[i].blocks;
    }
    OXP_TRY(oxp_move_product(n, (int)count, sizes[0], &s->image));
    OXP_TRY(oxp_move_product(n, (int)count, sizes[1], &s->block));
    return oxp_move_product(n, (int)count, sizes[2], &s->blocks);
}

static oxp_status col2im_prepare(oxp_node *n)
{
    const oxp_tensor *x = n->in[0];
    col2im_state *s = oxp_node_state(n, sizeof *s);
    if (!s)
        return n->ctx->status;
    if (x->dtype != OXP_FLOAT && x->dtype != OXP_FLOAT16 && x->dtype != OXP_BFLOAT16)
        return oxp_node_bad_dtype(n, 0);
    OXP_TRY(read_windows(n, s));
    if (x->rank != 3 || x->dims[1] % s->block != 0 || x->dims[2] != s->blocks) {
        char text[OXP_SHAPE_TEXT_MAX];
        return oxp_node_fail(
            n, OXP_EFORMAT, "E-SHAPE", "the input has shape %s, expected [N, C * %lld, %lld]",
            oxp_shape_text(text, x->rank, x->dims), (long long)s->block, (long long)s->blocks);
    }
    int64_t dims[OXP_MAX_RANK] = {x->dims[0], x->dims[1] / s->block};
    for (int i = 0; i < s->spatial; i++)
        dims[2 + i] = s->axes[i].image;
    return oxp_output(n, 0, x->dtype, s->spatial + 2, dims);
}

/* Where entry `offset` of block `at` (both flat) lands in the image; -1 in the padding. */
static int64_t landing(const col2im_state *s, int64_t offset, int64_t at)
{
    int64_t place = 0, step = 1;
    for (int i = s->spatial - 1; i >= 0; i--) {
        const window *w = &s->axes[i];
        int64_t pixel = at % w->blocks * w->stride - w->pad + offset % w->block * w->dilation;
        if (pixel < 0 || pixel >= w->image)
            return -1;
        place += pixel * step;
        step *= w->image;
        at /= w->blocks;
        offset /= w->block;
    }
    return place;
}

static oxp_status col2im_forward(oxp_node *n)
{
    const col2im_state *s = n->state;
    const oxp_tensor *y = &n->out[0];
    const float *x;
    float *to;
    if (!y->data || y->count == 0)
        return OXP_OK;
    OXP_TRY(oxp_move_floats(n, 0, &x));
    OXP_TRY(oxp_move_float_output(n, 0, &to));
    double *sum = oxp_node_scratch(n, (size_t)s->image, sizeof *sum);
    if (!sum)
        return n->ctx->status;
    for (int64_t plane = 0; plane < y->dims[0] * y->dims[1]; plane++) {
        memset(sum, 0, (size_t)s->image * sizeof *sum);
        for (int64_t offset = 0; offset < s->block; offset++) {
            for (int64_t at = 0; at < s->blocks; at++, x++) {
                int64_t place = landing(s, offset, at);
                if (place >= 0)
                    sum[place] += (double)*x;
            }
        }
        for (int64_t i = 0; i < s->image; i++)
            *to++ = (float)sum[i];
    }
    oxp_move_store(n, 0, to - y->count);
    return OXP_OK;
}

static oxp_status col2im_backward(oxp_node *n)
{
    const col2im_state *s = n->state;
    const oxp_tensor *y = &n->out[0];
    const float *dy = oxp_dout(n, 0);
    float *dx = oxp_din(n, 0);
    if (!dx || !dy || y->count == 0)
        return OXP_OK;
    for (int64_t plane = 0; plane < y->dims[0] * y->dims[1]; plane++, dy += s->image)
        for (int64_t offset = 0; offset < s->block; offset++)
            for (int64_t at = 0; at < s->blocks; at++, dx++) {
                int64_t place = landing(s, offset, at);
                if (place >= 0)
                    *dx += dy[place];
            }
    return OXP_OK;
}

static const char *const col2im_examples[] = {
    "X[1,5,5] I[2]:i64={5,5} B[2]:i64={1,5}",
    "X[1,4,20] I[2]:i64={5,5} B[2]:i64={2,2}; dilations=1,5 strides=1,1 pads=0,0,0,5",
    "X[2,18,4] I[2]:i64={4,4} B[2]:i64={3,3}",
    "X[1,8,8] I[3]:i64={3,3,3} B[3]:i64={2,2,2}",
    NULL,
};

const oxp_operator oxp_op_col2im_18 = {
    .domain = "",
    .type = "Col2Im",
    .since = 18,
    .min_in = 3,
    .max_in = 3,
    .min_out = 1,
    .max_out = 1,
    .values = 1 << 1 | 1 << 2,
    .prepare = col2im_prepare,
    .forward = col2im_forward,
    .backward = col2im_backward,
    .examples = col2im_examples,
};
