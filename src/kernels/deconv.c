/* deconv.c - the transpose of a convolution: a product gives every patch, the patches are added
 * where they overlap. */
#include "kernels/columns.h"
#include "kernels/conv.h"
#include "kernels/gemm.h"
#include "kernels/vector.h"

#define TILE_FLOATS ((size_t)1 << 19) /* of patches: 2 MB */

/* One output plane; weights of input channel c at weights + c * stride. */
static void reference_plane(const oxp_window *w, const float *src, size_t channels,
                            const float *weights, size_t stride, double *dst)
{
    size_t taps = oxp_volume(w->kernel), out = oxp_volume(w->out);
    for (size_t i = 0; i < channels * out * taps; i++) {
        size_t c = i / taps / out, o = i / taps % out, k = i % taps, at[3];
        size_t position[3] = {o / w->out[2] / w->out[1], o / w->out[2] % w->out[1], o % w->out[2]};
        size_t tap[3] = {k / w->kernel[2] / w->kernel[1], k / w->kernel[2] % w->kernel[1],
                         k % w->kernel[2]};
        bool inside = true;
        for (int d = 0; d < 3; d++) {
            at[d] = oxp_window_at(w, d, position[d],
                                  tap[d]); /* wraps to a huge number in front of the input */
            inside = inside && at[d] < w->in[d];
        }
        if (inside)
            dst[(at[0] * w->in[1] + at[1]) * w->in[2] + at[2]] +=
                (double)src[c * out + o] * (double)weights[c * stride + k];
    }
}

static void reference_into(const oxp_conv_shape *s, const float *src, const float *weights,
                           const float *bias, float *dst, double *plane)
{
    size_t channels = s->in_channels / s->groups, per_group = s->out_channels / s->groups;
    size_t in = oxp_volume(s->window.in), out = oxp_volume(s->window.out),
           taps = oxp_volume(s->window.kernel);
    for (size_t i = 0; i < s->batch * s->out_channels; i++) {
        size_t n = i / s->out_channels, m = i % s->out_channels, g = m / per_group;
        for (size_t p = 0; p < in; p++)
            plane[p] = bias ? (double)bias[m] : 0;
        reference_plane(&s->window, src + (n * s->in_channels + g * channels) * out, channels,
                        weights + (g * channels * per_group + m % per_group) * taps,
                        per_group * taps, plane);
        for (size_t p = 0; p < in; p++)
            dst[i * in + p] = (float)plane[p];
    }
}

oxp_status oxp_deconv_reference(oxp_ctx *ctx, const oxp_conv_shape *s, const float *src,
                                const float *weights, const float *bias, float *dst)
{
    double *plane;
    OXP_TRY(
        oxp_alloc(&plane, ctx, oxp_volume(s->window.in), sizeof *plane, "transposed convolution"));
    reference_into(s, src, weights, bias, dst, plane);
    oxp_free(plane);
    return OXP_OK;
}

/* Output channels first..first+count-1 of a group: patches [count * taps, out] = W^T [count *
 * taps, C] x [C, out]. */
static void run_channels(const oxp_conv_shape *s, const float *src, const float *weights,
                         const float *bias, float *dst, float *patches, size_t first, size_t count)
{
    size_t channels = s->in_channels / s->groups, per_group = s->out_channels / s->groups;
    size_t in = oxp_volume(s->window.in), out = oxp_volume(s->window.out),
           taps = oxp_volume(s->window.kernel);
    oxp_gemm_shape product = oxp_gemm_plain(true, false, count * taps, out, channels);
    product.lda = per_group * taps;
    oxp_gemm(&product, 1, weights + first * taps, src, 0, patches);
    for (size_t m = 0; m < count; m++) {
        float *plane = dst + (first + m) * in;
        for (size_t p = 0; p < in; p++)
            plane[p] = bias ? bias[first + m] : 0;
        oxp_columns_add(&s->window, patches + m * taps * out, plane);
    }
}

static oxp_status run_products(oxp_ctx *ctx, const oxp_conv_shape *s, const float *src,
                               const float *weights, const float *bias, float *dst)
{
    size_t channels = s->in_channels / s->groups, per_group = s->out_channels / s->groups;
    size_t in = oxp_volume(s->window.in), out = oxp_volume(s->window.out),
           taps = oxp_volume(s->window.kernel);
    size_t patch, floats;
    if (!oxp_mul_ok(taps, out, &patch))
        return oxp_fail(ctx, OXP_ELIMIT, "E-LIMIT-MEM", "%zu patches of %zu are too many", out,
                        taps);
    size_t tile = patch < TILE_FLOATS ? TILE_FLOATS / (patch + 1) : 1;
    tile = tile < per_group ? tile : per_group;
    if (!oxp_mul_ok(tile, patch, &floats))
        return oxp_fail(ctx, OXP_ELIMIT, "E-LIMIT-MEM", "%zu patches of %zu are too many", out,
                        taps);
    float *patches;
    OXP_TRY(oxp_alloc_raw(&patches, ctx, floats, sizeof *patches, "transposed convolution"));
    for (size_t i = 0; i < s->batch * s->groups; i++)
        for (size_t first = 0, g = i % s->groups; first < per_group; first += tile) {
            size_t count = per_group - first < tile ? per_group - first : tile;
            run_channels(s, src + i * channels * out, weights + g * channels * per_group * taps,
                         bias ? bias + g * per_group : NULL, dst + i * per_group * in, patches,
                         first, count);
        }
    oxp_free(patches);
    return OXP_OK;
}

oxp_status oxp_deconv_run(oxp_ctx *ctx, const oxp_conv_shape *s, const float *src,
                          const float *weights, const float *bias, float *dst)
{
    if (OXP_PLAIN)
        return oxp_deconv_reference(ctx, s, src, weights, bias, dst);
    return run_products(ctx, s, src, weights, bias, dst);
}
