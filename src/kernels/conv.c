/* conv.c - convolution: the choice of method and all methods but the depthwise one. */
#include "kernels/conv.h"

#include <string.h>

#include "kernels/columns.h"
#include "kernels/conv_pieces.h"
#include "kernels/conv_position.h"
#include "kernels/depthwise.h"
#include "kernels/dnnl_wrap.h"
#include "kernels/gemm.h"
#include "kernels/transpose.h"
#include "kernels/vector.h"

#define TILE_FLOATS ((size_t)1 << 18) /* of columns: 1 MB */
#define POINTWISE_TILE ((size_t)768)  /* positions */
#define POINTWISE_TERMS ((size_t)128)
#define FEW_POSITIONS 100 /* below, a product over planes leaves part of its vectors empty */
#define MANY_WEIGHTS 4096 /* from here on packing them into oneDNN's layout is worth it */
#define ORDINARY_LIMIT ((size_t)1 << 12)
#define INDEX_LIMIT \
    ((size_t)1 << 29) /* elements: oneDNN's code counts bytes in 32 bits in places */

typedef enum method { POINTWISE, DEPTHWISE, BLOCKED, COLUMNS, REFERENCE } method;

struct oxp_conv {
    oxp_conv_shape shape;
    oxp_conv_layout layout;
    method method;
    const float *weights;
    float *zero_bias;
    void *own_packed;   /* by oxp_conv_pack() */
    const void *packed; /* that, or somebody else's */
#ifndef OXP_KERNELS_REFERENCE
    oxp_dnnl_conv *blocked;
    size_t pieces; /* of its input channels */
#endif
};

/* ---- plain ---- */

static double patch_sum(const oxp_window *w, const float *src, const float *weights,
                        const size_t o[3])
{
    double sum = 0;
    size_t first[3], last[3];
    for (int i = 0; i < 3; i++)
        oxp_window_taps(w, i, o[i], &first[i], &last[i]);
    for (size_t k0 = first[0]; k0 < last[0]; k0++)
        for (size_t k1 = first[1]; k1 < last[1]; k1++)
            for (size_t k2 = first[2]; k2 < last[2]; k2++) {
                size_t row =
                    oxp_window_at(w, 0, o[0], k0) * w->in[1] + oxp_window_at(w, 1, o[1], k1);
                double x = (double)src[row * w->in[2] + oxp_window_at(w, 2, o[2], k2)];
                sum += x * (double)weights[(k0 * w->kernel[1] + k1) * w->kernel[2] + k2];
            }
    return sum;
}

/* One output plane. */
static void reference_plane(const oxp_conv_shape *s, const float *src, const float *weights,
                            float bias, float *dst)
{
    const oxp_window *w = &s->window;
    size_t channels = s->in_channels / s->groups, in = oxp_volume(w->in),
           taps = oxp_volume(w->kernel);
    for (size_t i = 0; i < oxp_volume(w->out); i++) {
        size_t o[3] = {i / w->out[2] / w->out[1], i / w->out[2] % w->out[1], i % w->out[2]};
        double sum = (double)bias;
        for (size_t c = 0; c < channels; c++)
            sum += patch_sum(w, src + c * in, weights + c * taps, o);
        dst[i] = (float)sum;
    }
}

void oxp_conv_reference(const oxp_conv_shape *s, const float *src, const float *weights,
                        const float *bias, float *dst)
{
    size_t in = oxp_volume(s->window.in), out = oxp_volume(s->window.out),
           taps = oxp_volume(s->window.kernel);
    size_t channels = s->in_channels / s->groups, per_group = s->out_channels / s->groups;
    for (size_t n = 0; n < s->batch; n++)
        for (size_t m = 0; m < s->out_channels; m++)
            reference_plane(s, src + (n * s->in_channels + m / per_group * channels) * in,
                            weights + m * channels * taps, bias ? bias[m] : 0,
                            dst + (n * s->out_channels + m) * out);
}

/* ---- products over planes ---- */

OXP_VECTORISED static void add_bias(float *dst, size_t rows, size_t stride, size_t columns,
                                    const float *bias)
{
    for (size_t r = 0; r < rows; r++) {
        float *restrict row = dst + r * stride, b = bias[r];
        for (size_t c = 0; c < columns; c++)
            row[c] += b;
    }
}

/* One group of one image, a tile of positions at a time: the bias is added while they are in the
 * cache. */
static void run_group_pointwise(const oxp_conv_shape *s, const float *src, const float *weights,
                                const float *bias, float *dst)
{
    size_t channels = s->in_channels / s->groups, per_group = s->out_channels / s->groups,
           plane = oxp_volume(s->window.in);
    size_t terms = POINTWISE_TERMS;
    size_t tile = bias || channels > terms ? POINTWISE_TILE : plane;
    for (size_t first = 0; first < plane; first += tile) {
        size_t count = plane - first < tile ? plane - first : tile;
        for (size_t c = 0; c < channels; c += terms) { /* short sums: conv_pieces.h */
            size_t most = channels - c < terms ? channels - c : terms;
            oxp_gemm_shape product = oxp_gemm_plain(false, false, per_group, count, most);
            product.lda = channels;
            product.ldb = product.ldc = plane;
            oxp_gemm(&product, 1, weights + c, src + c * plane + first, c > 0, dst + first);
        }
        if (bias)
            add_bias(dst + first, per_group, plane, count, bias);
    }
}

static void run_pointwise(const oxp_conv *conv, const float *src, const float *bias, float *dst)
{
    const oxp_conv_shape *s = &conv->shape;
    size_t channels = s->in_channels / s->groups, per_group = s->out_channels / s->groups,
           plane = oxp_volume(s->window.in);
    if (plane == 1) {
        oxp_conv_position(s, src, conv->weights, bias, dst);
        return;
    }
    for (size_t i = 0; i < s->batch * s->groups; i++) {
        size_t g = i % s->groups;
        run_group_pointwise(s, src + i * channels * plane, conv->weights + g * per_group * channels,
                            bias ? bias + g * per_group : NULL, dst + i * per_group * plane);
    }
}

static void fill_bias(float *dst, size_t rows, size_t columns, const float *bias)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < columns; c++)
            dst[r * columns + c] = bias ? bias[r] : 0;
}

/* One group of one image, a tile of output positions after the other. */
static void run_group_columns(const oxp_conv *conv, const float *src, const float *weights,
                              const float *bias, float *dst, float *columns, size_t tile)
{
    const oxp_conv_shape *s = &conv->shape;
    size_t per_group = s->out_channels / s->groups, out = oxp_volume(s->window.out);
    size_t rows = s->in_channels / s->groups * oxp_volume(s->window.kernel);
    fill_bias(dst, per_group, out, bias);
    for (size_t first = 0; first < out; first += tile) {
        size_t count = out - first < tile ? out - first : tile;
        oxp_columns_take(&s->window, src, 0, rows, first, count, columns);
        oxp_gemm_shape product = oxp_gemm_plain(false, false, per_group, count, rows);
        product.ldc = out;
        oxp_gemm(&product, 1, weights, columns, 1, dst + first);
    }
}

static oxp_status run_columns(const oxp_conv *conv, oxp_ctx *ctx, const float *src,
                              const float *bias, float *dst)
{
    const oxp_conv_shape *s = &conv->shape;
    size_t channels = s->in_channels / s->groups, per_group = s->out_channels / s->groups;
    size_t in = oxp_volume(s->window.in), out = oxp_volume(s->window.out),
           rows = channels * oxp_volume(s->window.kernel);
    size_t tile = rows < TILE_FLOATS / 16 ? TILE_FLOATS / (rows + 1) : 16, floats;
    tile = tile < out ? tile : out;
    if (!oxp_mul_ok(rows, tile, &floats))
        return oxp_fail(ctx, OXP_ELIMIT, "E-LIMIT-MEM", "%zu columns of %zu rows are too many",
                        tile, rows);
    float *columns;
    OXP_TRY(oxp_alloc_raw(&columns, ctx, floats, sizeof *columns, "convolution"));
    for (size_t i = 0; i < s->batch * s->groups; i++) {
        size_t g = i % s->groups;
        run_group_columns(conv, src + i * channels * in, conv->weights + g * per_group * rows,
                          bias ? bias + g * per_group : NULL, dst + i * per_group * out, columns,
                          tile);
    }
    oxp_free(columns);
    return OXP_OK;
}

/* ---- changes of layout ---- */

static void change_layout(float *to, const float *from, size_t images, size_t rows, size_t columns)
{
    for (size_t i = 0; i < images; i++)
        oxp_transpose(to + i * rows * columns, rows, from + i * rows * columns, columns, rows,
                      columns);
}

/* Floats of a side's copy in the other layout; a plane of one position or an image of one channel
 * is the same in both. Whole cache lines. */
static size_t copy_floats(size_t images, size_t channels, size_t positions)
{
    if (channels == 1 || positions == 1)
        return 0;
    return (images * channels * positions + 15) / 16 * 16;
}

typedef struct sides { /* where the method reads and writes */
    const float *src;
    float *dst, *work; /* work: what was asked for, behind the copies */
    float *block;      /* to be freed */
} sides;

/* Copies src where the method wants the other layout, and finds dst a place. */
static oxp_status enter(sides *s, const oxp_conv *conv, oxp_ctx *ctx, oxp_conv_layout inside,
                        const float *src, float *dst, size_t work_bytes)
{
    const oxp_conv_shape *shape = &conv->shape;
    size_t in = oxp_volume(shape->window.in), out = oxp_volume(shape->window.out);
    size_t src_floats = inside.src_last == conv->layout.src_last
                            ? 0
                            : copy_floats(shape->batch, shape->in_channels, in);
    size_t dst_floats = inside.dst_last == conv->layout.dst_last
                            ? 0
                            : copy_floats(shape->batch, shape->out_channels, out);
    size_t floats = src_floats + dst_floats + (work_bytes + 63) / 64 * 16;
    *s = (sides){.src = src, .dst = dst};
    if (floats == 0)
        return OXP_OK;
    OXP_TRY(oxp_alloc_raw(&s->block, ctx, floats, sizeof *s->block, "convolution"));
    s->work = s->block + src_floats + dst_floats;
    if (dst_floats)
        s->dst = s->block + src_floats;
    if (src_floats) {
        bool last = inside.src_last;
        change_layout(s->block, src, shape->batch, last ? shape->in_channels : in,
                      last ? in : shape->in_channels);
        s->src = s->block;
    }
    return OXP_OK;
}

static void leave(sides *s, const oxp_conv *conv, float *dst)
{
    const oxp_conv_shape *shape = &conv->shape;
    size_t out = oxp_volume(shape->window.out);
    bool last = conv->layout.dst_last;
    if (s->dst != dst)
        change_layout(dst, s->dst, shape->batch, last ? shape->out_channels : out,
                      last ? out : shape->out_channels);
    oxp_free(s->block);
}

/* ---- oneDNN ---- */

#ifndef OXP_KERNELS_REFERENCE

static oxp_status run_blocked(const oxp_conv *conv, oxp_ctx *ctx, const float *src,
                              const float *bias, float *dst)
{
    sides s;
    const oxp_conv_shape *shape = &conv->shape;
    size_t positions = shape->batch * oxp_volume(shape->window.out);
    size_t parts = conv->pieces > 1 ? positions * conv->pieces * shape->out_channels : 0;
    size_t floats = (parts + 15) / 16 * 16;
    OXP_TRY(enter(&s, conv, ctx, (oxp_conv_layout){true, true}, src, dst,
                  floats * sizeof(float) + oxp_dnnl_conv_scratch(conv->blocked)));
    bias = bias ? bias : conv->zero_bias;
    oxp_status status =
        oxp_dnnl_conv_run(conv->blocked, ctx, conv->packed, s.src, parts ? conv->zero_bias : bias,
                          parts ? s.work : s.dst, s.work ? s.work + floats : NULL);
    if (status == OXP_OK && parts)
        oxp_conv_pieces_join(s.work, positions, conv->pieces, shape->out_channels, bias, s.dst);
    leave(&s, conv, dst);
    return status;
}

static oxp_status pack_blocked(const oxp_conv *conv, oxp_ctx *ctx, const float *weights,
                               void *packed)
{
    const oxp_conv_shape *s = &conv->shape;
    float *cut;
    if (conv->pieces == 1)
        return oxp_dnnl_conv_pack(conv->blocked, ctx, weights, packed);
    OXP_TRY(oxp_alloc_raw(&cut, ctx, s->out_channels * s->in_channels,
                          oxp_volume(s->window.kernel) * sizeof *cut, "convolution weights"));
    oxp_conv_pieces_weights(s, conv->pieces, weights, cut);
    oxp_status status = oxp_dnnl_conv_pack(conv->blocked, ctx, cut, packed);
    oxp_free(cut);
    return status;
}

static bool is_pointwise(const oxp_conv_shape *s)
{
    const oxp_window *w = &s->window;
    for (int i = 0; i < 3; i++)
        if (w->kernel[i] != 1 || w->stride[i] != 1 || w->begin[i] != 0 || w->in[i] != w->out[i])
            return false;
    return true;
}

/* Padding within the kernel's extent, and nothing that would not fit the small integers of
 * generated code. */
static bool is_ordinary(const oxp_window *w)
{
    for (int i = 0; i < 3; i++) {
        size_t extent = (w->kernel[i] - 1) * w->dilation[i] + 1;
        if (extent > ORDINARY_LIMIT || w->stride[i] > ORDINARY_LIMIT || w->begin[i] >= extent)
            return false;
        size_t read = (w->out[i] - 1) * w->stride[i] + extent;
        if (read >= w->in[i] + w->begin[i] + extent)
            return false;
    }
    return true;
}

static bool is_for_blocked(const oxp_conv_shape *s, bool any_pointwise)
{
    size_t positions = oxp_volume(s->window.in),
           weights = s->out_channels * (s->in_channels / s->groups);
    if (s->in_channels == 0 || s->out_channels == 0 || s->batch == 0 || positions == 0 ||
        oxp_volume(s->window.out) == 0 || !is_ordinary(&s->window))
        return false;
    if (s->batch * s->in_channels * positions > INDEX_LIMIT ||
        s->batch * s->out_channels * oxp_volume(s->window.out) > INDEX_LIMIT)
        return false;
    if (is_pointwise(s) && positions == 1)
        return false; /* conv_position.h */
    if (is_pointwise(s) && !any_pointwise)
        return s->groups == 1 && positions < FEW_POSITIONS && weights >= MANY_WEIGHTS;
    return true;
}

static oxp_status choose(oxp_conv *conv, oxp_ctx *ctx)
{
    const oxp_conv_shape *s = &conv->shape;
    conv->method = is_pointwise(s) ? POINTWISE : COLUMNS;
    bool last = conv->layout.src_last || conv->layout.dst_last;
    if (conv->method == COLUMNS && oxp_depthwise_fits(s))
        conv->method = DEPTHWISE;
    if ((conv->method == DEPTHWISE && !last) || !is_for_blocked(s, last))
        return OXP_OK;
    conv->pieces = oxp_conv_pieces(s);
    if (conv->pieces > 1) {
        oxp_conv_shape cut = oxp_conv_pieces_shape(s, conv->pieces);
        OXP_TRY(oxp_dnnl_conv_create(&conv->blocked, ctx, &cut));
    }
    if (!conv->blocked) {
        conv->pieces = 1;
        OXP_TRY(oxp_dnnl_conv_create(&conv->blocked, ctx, s));
    }
    if (conv->blocked)
        conv->method = BLOCKED;
    return OXP_OK;
}

#endif

/* ---- the handle ---- */

oxp_status oxp_conv_create_in(oxp_conv **out, oxp_ctx *ctx, const oxp_conv_shape *shape,
                              oxp_conv_layout layout)
{
    oxp_conv *conv;
    OXP_TRY(oxp_alloc(&conv, ctx, 1, sizeof *conv, "convolution"));
    conv->shape = *shape;
    conv->layout = layout;
    conv->method = REFERENCE;
    oxp_status status = OXP_OK;
    size_t outputs = shape->out_channels;
#ifndef OXP_KERNELS_REFERENCE
    status = choose(conv, ctx);
    outputs *= conv->pieces ? conv->pieces : 1;
#endif
    if (status == OXP_OK)
        status = oxp_alloc(&conv->zero_bias, ctx, outputs, sizeof(float), "convolution");
    if (status != OXP_OK) {
        oxp_conv_free(conv);
        return status;
    }
    *out = conv;
    return OXP_OK;
}

oxp_status oxp_conv_create(oxp_conv **out, oxp_ctx *ctx, const oxp_conv_shape *shape)
{
    return oxp_conv_create_in(out, ctx, shape, (oxp_conv_layout){false, false});
}

size_t oxp_conv_packed_bytes(const oxp_conv *conv)
{
#ifndef OXP_KERNELS_REFERENCE
    if (conv->method == BLOCKED)
        return oxp_dnnl_conv_packed_bytes(conv->blocked);
#endif
    (void)conv;
    return 0;
}

oxp_status oxp_conv_pack_into(const oxp_conv *conv, oxp_ctx *ctx, const float *weights,
                              void *packed)
{
#ifndef OXP_KERNELS_REFERENCE
    if (conv->method == BLOCKED)
        return pack_blocked(conv, ctx, weights, packed);
#endif
    (void)conv;
    (void)ctx;
    (void)weights;
    (void)packed;
    return OXP_OK;
}

void oxp_conv_use_packed(oxp_conv *conv, const float *weights, const void *packed)
{
    conv->weights = weights;
    conv->packed = packed;
}

oxp_status oxp_conv_pack(oxp_conv *conv, oxp_ctx *ctx, const float *weights)
{
    size_t bytes = oxp_conv_packed_bytes(conv);
    if (bytes && !conv->own_packed)
        OXP_TRY(oxp_alloc_raw(&conv->own_packed, ctx, bytes, 1, "convolution weights"));
    OXP_TRY(oxp_conv_pack_into(conv, ctx, weights, conv->own_packed));
    oxp_conv_use_packed(conv, weights, conv->own_packed);
    return OXP_OK;
}

void oxp_conv_unpack(oxp_conv *conv)
{
    oxp_free(conv->own_packed);
    conv->own_packed = NULL;
    conv->packed = NULL;
}

/* In NCHW. */
static oxp_status run_plain(const oxp_conv *conv, oxp_ctx *ctx, const float *src, const float *bias,
                            float *dst)
{
    switch (conv->method) {
    case POINTWISE:
        run_pointwise(conv, src, bias, dst);
        return OXP_OK;
    case DEPTHWISE:
        return oxp_depthwise_run(ctx, &conv->shape, src, conv->weights, bias, dst);
    case COLUMNS:
        return run_columns(conv, ctx, src, bias, dst);
    default:
        oxp_conv_reference(&conv->shape, src, conv->weights, bias, dst);
        return OXP_OK;
    }
}

oxp_status oxp_conv_run(oxp_conv *conv, oxp_ctx *ctx, const float *src, const float *bias,
                        float *dst)
{
    if (conv->shape.batch == 0 || oxp_volume(conv->shape.window.out) == 0)
        return OXP_OK;
#ifndef OXP_KERNELS_REFERENCE
    if (conv->method == BLOCKED)
        return run_blocked(conv, ctx, src, bias, dst);
#endif
    sides s;
    OXP_TRY(enter(&s, conv, ctx, (oxp_conv_layout){false, false}, src, dst, 0));
    oxp_status status = run_plain(conv, ctx, s.src, bias, s.dst);
    leave(&s, conv, dst);
    return status;
}

const char *oxp_conv_method(const oxp_conv *conv)
{
    static const char *const names[] = {"pointwise", "depthwise", "blocked", "columns",
                                        "reference"};
    return names[conv->method];
}

void oxp_conv_free(oxp_conv *conv)
{
    if (!conv)
        return;
#ifndef OXP_KERNELS_REFERENCE
    oxp_dnnl_conv_free(conv->blocked);
#endif
    oxp_free(conv->zero_bias);
    oxp_free(conv->own_packed);
    oxp_free(conv);
}
