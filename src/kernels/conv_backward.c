/* conv_backward.c - patches as columns, in tiles, and a product of each with the gradient behind
 * it. A 1x1 kernel with stride 1 needs no patches. */
#include "kernels/conv_backward.h"

#include "kernels/columns.h"
#include "kernels/gemm.h"
#include "kernels/vector.h"

#define TILE_FLOATS ((size_t)1 << 18) /* of columns: 1 MB */

oxp_conv_shape oxp_conv_transposed(const oxp_conv_shape *shape)
{
    oxp_conv_shape t = *shape;
    t.in_channels = shape->out_channels;
    t.out_channels = shape->in_channels;
    return t;
}

/* One filter tap: the sum over the positions of one image. */
static double tap_sum(const oxp_window *w, const float *src, const float *ddst, const size_t k[3])
{
    double sum = 0;
    for (size_t o = 0; o < oxp_volume(w->out); o++) {
        const size_t at[3] = {o / w->out[2] / w->out[1], o / w->out[2] % w->out[1], o % w->out[2]};
        size_t i[3];
        bool inside = true;
        for (int d = 0; d < 3; d++) {
            i[d] = oxp_window_at(w, d, at[d], k[d]); /* in front of the input: wraps */
            inside = inside && i[d] < w->in[d];
        }
        if (inside)
            sum += (double)src[(i[0] * w->in[1] + i[1]) * w->in[2] + i[2]] * (double)ddst[o];
    }
    return sum;
}

void oxp_conv_backward_weights_reference(const oxp_conv_shape *s, const float *src,
                                         const float *ddst, float *dweights)
{
    const oxp_window *w = &s->window;
    size_t channels = s->in_channels / s->groups, filters = s->out_channels / s->groups;
    size_t taps = oxp_volume(w->kernel), in = oxp_volume(w->in), out = oxp_volume(w->out);
    for (size_t i = 0; i < s->out_channels * channels * taps; i++) {
        size_t m = i / taps / channels, c = m / filters * channels + i / taps % channels;
        size_t tap = i % taps;
        const size_t k[3] = {tap / w->kernel[2] / w->kernel[1], tap / w->kernel[2] % w->kernel[1],
                             tap % w->kernel[2]};
        double sum = 0;
        for (size_t n = 0; n < s->batch; n++)
            sum += tap_sum(w, src + (n * s->in_channels + c) * in,
                           ddst + (n * s->out_channels + m) * out, k);
        dweights[i] += (float)sum;
    }
}

static bool is_pointwise(const oxp_window *w)
{
    for (int i = 0; i < 3; i++)
        if (w->kernel[i] != 1 || w->stride[i] != 1 || w->begin[i] != 0 || w->in[i] != w->out[i])
            return false;
    return true;
}

/* One group of one image: dw[M, C * taps] += dy[M, out] columns[C * taps, out]^T. */
static void add_group(const oxp_conv_shape *s, const float *src, const float *ddst, float *dweights,
                      float *columns, size_t tile)
{
    const oxp_window *w = &s->window;
    size_t filters = s->out_channels / s->groups, out = oxp_volume(w->out);
    size_t rows = s->in_channels / s->groups * oxp_volume(w->kernel);
    for (size_t first = 0; first < out; first += tile) {
        size_t count = out - first < tile ? out - first : tile;
        oxp_gemm_shape product = oxp_gemm_plain(false, true, filters, rows, count);
        product.lda = out;
        if (columns)
            oxp_columns_take(w, src, 0, rows, first, count, columns);
        else
            product.ldb = out;
        oxp_gemm(&product, 1, ddst + first, columns ? columns : src + first, 1, dweights);
    }
}

oxp_status oxp_conv_backward_weights(oxp_ctx *ctx, const oxp_conv_shape *s, const float *src,
                                     const float *ddst, float *dweights)
{
    const oxp_window *w = &s->window;
    size_t channels = s->in_channels / s->groups, filters = s->out_channels / s->groups;
    size_t rows = channels * oxp_volume(w->kernel), in = oxp_volume(w->in),
           out = oxp_volume(w->out);
    float *columns = NULL;
    if (OXP_PLAIN) {
        oxp_conv_backward_weights_reference(s, src, ddst, dweights);
        return OXP_OK;
    }
    if (rows == 0 || out == 0)
        return OXP_OK;
    size_t tile = rows < TILE_FLOATS ? TILE_FLOATS / rows : 1;
    tile = tile < out ? tile : out;
    if (is_pointwise(w))
        tile = out;
    else
        OXP_TRY(oxp_alloc_raw(&columns, ctx, rows * tile, sizeof *columns, "weight gradient"));
    for (size_t i = 0; i < s->batch * s->groups; i++)
        add_group(s, src + i * channels * in, ddst + i * filters * out,
                  dweights + i % s->groups * filters * rows, columns, tile);
    oxp_free(columns);
    return OXP_OK;
}
