/* integer_conv.c - the integer convolution: codes widened to floats once, then columns in pieces
 * of exact products. */
#include <string.h>

#include "kernels/columns.h"
#include "kernels/depthwise.h"
#include "kernels/integer_pieces.h"
#include "kernels/vector.h"

#define COLUMN_TILE ((size_t)512)

static int32_t value_at(const oxp_codes *c, size_t i, int32_t zero)
{
    return (c->is_signed ? (int32_t)((const int8_t *)c->data)[i]
                         : (int32_t)((const uint8_t *)c->data)[i]) -
           zero;
}

static uint32_t patch_sum(const oxp_conv_shape *s, const oxp_codes *x, size_t plane, int32_t zx,
                          const oxp_codes *w, size_t filter, int32_t zw, const size_t o[3])
{
    const oxp_window *g = &s->window;
    size_t first[3], last[3];
    uint32_t sum = 0;
    for (int i = 0; i < 3; i++)
        oxp_window_taps(g, i, o[i], &first[i], &last[i]);
    for (size_t k0 = first[0]; k0 < last[0]; k0++)
        for (size_t k1 = first[1]; k1 < last[1]; k1++)
            for (size_t k2 = first[2]; k2 < last[2]; k2++) {
                size_t row =
                    oxp_window_at(g, 0, o[0], k0) * g->in[1] + oxp_window_at(g, 1, o[1], k1);
                size_t at = plane + row * g->in[2] + oxp_window_at(g, 2, o[2], k2);
                size_t tap = (k0 * g->kernel[1] + k1) * g->kernel[2] + k2;
                sum += (uint32_t)(value_at(x, at, zx) * value_at(w, filter + tap, zw));
            }
    return sum;
}

void oxp_integer_conv_reference(const oxp_conv_shape *s, oxp_codes x, oxp_codes w, int32_t *out)
{
    const oxp_window *g = &s->window;
    size_t channels = s->in_channels / s->groups, per_group = s->out_channels / s->groups;
    size_t in = oxp_volume(g->in), positions = oxp_volume(g->out), taps = oxp_volume(g->kernel);
    int32_t zx = x.zero_points ? x.zero_points[0] : 0;
    for (size_t i = 0; i < s->batch * s->out_channels * positions; i++) {
        size_t o[3] = {i % positions / g->out[2] / g->out[1], i % positions / g->out[2] % g->out[1],
                       i % g->out[2]};
        size_t n = i / positions / s->out_channels, m = i / positions % s->out_channels;
        size_t plane = (n * s->in_channels + m / per_group * channels) * in;
        uint32_t sum = 0;
        for (size_t c = 0; c < channels; c++)
            sum += patch_sum(s, &x, plane + c * in, zx, &w, (m * channels + c) * taps,
                             w.zero_points ? w.zero_points[m] : 0, o);
        out[i] = (int32_t)sum;
    }
}

typedef struct work {
    float *x, *w, *columns,
        *product; /* x: one image, w: all filters, product: [M of a group, tile] */
    size_t depth, tile;
} work;

static oxp_status alloc_work(oxp_ctx *ctx, const oxp_conv_shape *s, size_t limit, work *w)
{
    size_t rows = s->in_channels / s->groups * oxp_volume(s->window.kernel),
           out = oxp_volume(s->window.out);
    size_t image = s->in_channels * oxp_volume(s->window.in),
           per_group = s->out_channels / s->groups;
    *w =
        (work){.depth = rows < limit ? rows : limit, .tile = out < COLUMN_TILE ? out : COLUMN_TILE};
    OXP_TRY(oxp_alloc_raw(&w->x, ctx, image, sizeof(float), "integer convolution"));
    OXP_TRY(
        oxp_alloc_raw(&w->w, ctx, s->out_channels * rows, sizeof(float), "integer convolution"));
    OXP_TRY(
        oxp_alloc_raw(&w->columns, ctx, w->depth * w->tile, sizeof(float), "integer convolution"));
    return oxp_alloc_raw(&w->product, ctx, per_group * w->tile, sizeof(float),
                         "integer convolution");
}

static void free_work(work *w)
{
    oxp_free(w->x);
    oxp_free(w->w);
    oxp_free(w->columns);
    oxp_free(w->product);
}

/* Rows first..first+depth-1 of the columns, for a tile of positions, of one group of one image. */
static void multiply_piece(const oxp_conv_shape *s, const work *w, const float *x,
                           const float *filters, size_t first, size_t position, size_t count,
                           int32_t *out)
{
    size_t rows = s->in_channels / s->groups * oxp_volume(s->window.kernel),
           per_group = s->out_channels / s->groups;
    size_t depth = rows - first < w->depth ? rows - first : w->depth;
    oxp_columns_take(&s->window, x, first, depth, position, count, w->columns);
    oxp_gemm_shape product = oxp_gemm_plain(false, false, per_group, count, depth);
    product.lda = rows;
    oxp_gemm(&product, 1, filters + first, w->columns, 0, w->product);
    for (size_t m = 0; m < per_group; m++)
        oxp_add_piece(out + m * oxp_volume(s->window.out) + position, w->product + m * count,
                      count);
}

static void run_group(const oxp_conv_shape *s, const work *w, const float *x, const float *filters,
                      int32_t *out)
{
    size_t rows = s->in_channels / s->groups * oxp_volume(s->window.kernel),
           positions = oxp_volume(s->window.out);
    memset(out, 0, s->out_channels / s->groups * positions * sizeof *out);
    for (size_t position = 0; position < positions; position += w->tile) {
        size_t count = positions - position < w->tile ? positions - position : w->tile;
        for (size_t first = 0; first < rows; first += w->depth)
            multiply_piece(s, w, x, filters, first, position, count, out);
    }
}

static void run_image(const oxp_conv_shape *s, const work *w, int32_t *out)
{
    size_t channels = s->in_channels / s->groups, per_group = s->out_channels / s->groups;
    size_t rows = channels * oxp_volume(s->window.kernel);
    for (size_t g = 0; g < s->groups; g++)
        run_group(s, w, w->x + g * channels * oxp_volume(s->window.in), w->w + g * per_group * rows,
                  out + g * per_group * oxp_volume(s->window.out));
}

/* Few enough taps that a whole sum is exact: the float kernel does it. */
static oxp_status run_depthwise(oxp_ctx *ctx, const oxp_conv_shape *s, const work *w, int32_t *out)
{
    oxp_conv_shape one = *s;
    one.batch = 1;
    size_t count = s->out_channels * oxp_volume(s->window.out);
    float *sums;
    OXP_TRY(oxp_alloc_raw(&sums, ctx, count, sizeof *sums, "integer convolution"));
    oxp_status status = oxp_depthwise_run(ctx, &one, w->x, w->w, NULL, sums);
    memset(out, 0, count * sizeof *out);
    if (status == OXP_OK)
        oxp_add_piece(out, sums, count);
    oxp_free(sums);
    return status;
}

static oxp_status run_images(oxp_ctx *ctx, const oxp_conv_shape *s, size_t limit, work *w,
                             const oxp_codes *x, const oxp_codes *filters, int32_t *out)
{
    size_t rows = s->in_channels / s->groups * oxp_volume(s->window.kernel),
           image = s->in_channels * oxp_volume(s->window.in);
    bool depthwise = rows <= limit && oxp_depthwise_fits(s);
    for (size_t m = 0; m < s->out_channels; m++)
        oxp_widen_codes(w->w + m * rows, filters, m * rows, rows,
                        filters->zero_points ? filters->zero_points[m] : 0);
    for (size_t n = 0; n < s->batch; n++) {
        int32_t *to = out + n * s->out_channels * oxp_volume(s->window.out);
        oxp_widen_codes(w->x, x, n * image, image, x->zero_points ? x->zero_points[0] : 0);
        if (depthwise)
            OXP_TRY(run_depthwise(ctx, s, w, to));
        else
            run_image(s, w, to);
    }
    return OXP_OK;
}

oxp_status oxp_integer_conv(oxp_ctx *ctx, const oxp_conv_shape *s, oxp_codes x, oxp_codes w,
                            int32_t *out)
{
    if (s->batch * s->out_channels * oxp_volume(s->window.out) == 0)
        return OXP_OK;
    if (OXP_PLAIN) {
        oxp_integer_conv_reference(s, x, w, out);
        return OXP_OK;
    }
    size_t limit = oxp_exact_depth(&x, 1, &w, s->out_channels);
    work memory;
    oxp_status status = alloc_work(ctx, s, limit, &memory);
    if (status == OXP_OK)
        status = run_images(ctx, s, limit, &memory, &x, &w, out);
    free_work(&memory);
    return status;
}
