/* integer_conv.c - the integer convolution: codes widened to floats once, then columns in pieces
 * of exact products. */
#include <string.h>

#include "kernels/columns.h"
#include "kernels/depthwise.h"
#include "kernels/integer_pieces.h"
#include "kernels/vector.h"

#define COLUMN_TILE ((size_t)512)
#define CHUNK_FLOATS ((size_t)1 << 17) /* of values and sums of a few groups: half a MB */

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
    float *x;       /* a few groups of one image */
    float *w;       /* all filters */
    float *columns; /* [depth, tile] */
    float *sums;    /* [M of a group, tile], or all outputs of those groups */
    size_t depth, tile, groups;
    bool depthwise; /* few enough taps that a whole sum is exact: the float kernel does it */
} work;

static size_t per_group_out(const oxp_conv_shape *s)
{
    return s->out_channels / s->groups;
}

/* Values of x, and of the output, that a group has in one image. */
static size_t group_in(const oxp_conv_shape *s)
{
    return s->in_channels / s->groups * oxp_volume(s->window.in);
}

static size_t group_out(const oxp_conv_shape *s)
{
    return per_group_out(s) * oxp_volume(s->window.out);
}

static size_t filter_taps(const oxp_conv_shape *s)
{
    return s->in_channels / s->groups * oxp_volume(s->window.kernel);
}

static oxp_status alloc_work(oxp_ctx *ctx, const oxp_conv_shape *s, size_t limit, work *w)
{
    size_t taps = filter_taps(s), out = oxp_volume(s->window.out);
    size_t groups = CHUNK_FLOATS / (group_in(s) + group_out(s)) + 1;
    *w = (work){.depth = taps < limit ? taps : limit,
                .tile = out < COLUMN_TILE ? out : COLUMN_TILE,
                .groups = groups < s->groups ? groups : s->groups,
                .depthwise = taps <= limit && oxp_depthwise_fits(s)};
    size_t sums = w->depthwise ? w->groups * group_out(s) : per_group_out(s) * w->tile;
    const char *what = "integer convolution";
    OXP_TRY(oxp_alloc_raw(&w->x, ctx, w->groups * group_in(s), sizeof(float), what));
    OXP_TRY(oxp_alloc_raw(&w->w, ctx, s->out_channels * taps, sizeof(float), what));
    OXP_TRY(oxp_alloc_raw(&w->columns, ctx, w->depth * w->tile, sizeof(float), what));
    return oxp_alloc_raw(&w->sums, ctx, sums, sizeof(float), what);
}

static void free_work(work *w)
{
    oxp_free(w->x);
    oxp_free(w->w);
    oxp_free(w->columns);
    oxp_free(w->sums);
}

/* Rows first..first+depth-1 of the columns, for a tile of positions, of one group of one image. */
static void multiply_piece(const oxp_conv_shape *s, const work *w, const float *x,
                           const float *filters, size_t first, size_t position, size_t count,
                           int32_t *out)
{
    size_t taps = filter_taps(s), depth = taps - first < w->depth ? taps - first : w->depth;
    oxp_columns_take(&s->window, x, first, depth, position, count, w->columns);
    oxp_gemm_shape product = oxp_gemm_plain(false, false, per_group_out(s), count, depth);
    product.lda = taps;
    oxp_gemm(&product, 1, filters + first, w->columns, 0, w->sums);
    for (size_t m = 0; m < per_group_out(s); m++)
        oxp_add_piece(out + m * oxp_volume(s->window.out) + position, w->sums + m * count, count);
}

static void run_group(const oxp_conv_shape *s, const work *w, const float *x, const float *filters,
                      int32_t *out)
{
    size_t taps = filter_taps(s), positions = oxp_volume(s->window.out);
    memset(out, 0, group_out(s) * sizeof *out);
    for (size_t position = 0; position < positions; position += w->tile) {
        size_t count = positions - position < w->tile ? positions - position : w->tile;
        for (size_t first = 0; first < taps; first += w->depth)
            multiply_piece(s, w, x, filters, first, position, count, out);
    }
}

/* `count` groups of one image from group g on; x holds them. */
static oxp_status run_groups(oxp_ctx *ctx, const oxp_conv_shape *s, const work *w, size_t g,
                             size_t count, int32_t *out)
{
    const float *filters = w->w + g * per_group_out(s) * filter_taps(s);
    if (w->depthwise) {
        oxp_conv_shape some = *s;
        some.batch = 1;
        some.groups = some.in_channels = count;
        some.out_channels = count * per_group_out(s);
        OXP_TRY(oxp_depthwise_run(ctx, &some, w->x, filters, NULL, w->sums));
        memset(out, 0, count * group_out(s) * sizeof *out);
        oxp_add_piece(out, w->sums, count * group_out(s));
        return OXP_OK;
    }
    for (size_t i = 0; i < count; i++)
        run_group(s, w, w->x + i * group_in(s), filters + i * per_group_out(s) * filter_taps(s),
                  out + i * group_out(s));
    return OXP_OK;
}

static oxp_status run_images(oxp_ctx *ctx, const oxp_conv_shape *s, const work *w,
                             const oxp_codes *x, const oxp_codes *filters, int32_t *out)
{
    size_t taps = filter_taps(s);
    int32_t x_zero = x->zero_points ? x->zero_points[0] : 0;
    for (size_t m = 0; m < s->out_channels; m++)
        oxp_widen_codes(w->w + m * taps, filters, m * taps, taps,
                        filters->zero_points ? filters->zero_points[m] : 0);
    for (size_t n = 0; n < s->batch; n++)
        for (size_t g = 0; g < s->groups; g += w->groups) {
            size_t count = s->groups - g < w->groups ? s->groups - g : w->groups;
            size_t from = n * s->groups + g;
            oxp_widen_codes(w->x, x, from * group_in(s), count * group_in(s), x_zero);
            OXP_TRY(run_groups(ctx, s, w, g, count, out + from * group_out(s)));
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
    work memory;
    oxp_status status = alloc_work(ctx, s, oxp_exact_depth(&x, 1, &w, s->out_channels), &memory);
    if (status == OXP_OK)
        status = run_images(ctx, s, &memory, &x, &w, out);
    free_work(&memory);
    return status;
}
