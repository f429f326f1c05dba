/* depthwise.c - see depthwise.h. */
#include "kernels/depthwise.h"

#include <string.h>

#include "kernels/vector.h"

#define MAX_STRIDE 4
#define MAX_TAPS 4096
#define MAX_PER_GROUP 4
#define WIDE (4 * OXP_LANES)

typedef struct depthwise {
    const oxp_window *w;
    size_t rows[3]; /* of a phase: out + reach/stride; [2] is the length of a run */
    size_t phase;   /* rows[0] * rows[1] * rows[2] floats */
    size_t run;     /* floats of an output channel at the buffer's row length */
    float *buffer; /* [stride 0, stride 1, stride 2, phase] and WIDE floats that are read in vain */
    const float **taps; /* where the run of each tap begins */
    float *sums;        /* [run] and room for whole vectors */
} depthwise;

bool oxp_depthwise_fits(const oxp_conv_shape *shape)
{
    const oxp_window *w = &shape->window;
    bool small_stride =
        w->stride[0] <= MAX_STRIDE && w->stride[1] <= MAX_STRIDE && w->stride[2] <= MAX_STRIDE;
    return shape->groups > 1 && shape->in_channels == shape->groups &&
           shape->out_channels <= MAX_PER_GROUP * shape->groups && small_stride &&
           oxp_volume(w->kernel) <= MAX_TAPS;
}

static bool measure(depthwise *d, const oxp_window *w, size_t *buffer_floats)
{
    size_t floats = 1;
    d->w = w;
    for (int i = 0; i < 3; i++) {
        d->rows[i] = w->out[i] + (w->kernel[i] - 1) * w->dilation[i] / w->stride[i];
        if (!oxp_mul_ok(floats, d->rows[i], &floats))
            return false;
    }
    d->phase = floats;
    d->run = ((w->out[0] - 1) * d->rows[1] + w->out[1] - 1) * d->rows[2] + w->out[2];
    return oxp_mul_ok(floats, oxp_volume(w->stride), &floats) &&
           oxp_add_ok(floats, WIDE, buffer_floats);
}

static void place_taps(depthwise *d)
{
    const oxp_window *w = d->w;
    for (size_t t = 0; t < oxp_volume(w->kernel); t++) {
        size_t at[3] = {t / w->kernel[2] / w->kernel[1], t / w->kernel[2] % w->kernel[1],
                        t % w->kernel[2]};
        size_t phase = 0, offset = 0;
        for (int i = 0; i < 3; i++) {
            size_t x = at[i] * w->dilation[i];
            phase = phase * w->stride[i] + x % w->stride[i];
            offset = offset * d->rows[i] + x / w->stride[i];
        }
        d->taps[t] = d->buffer + phase * d->phase + offset;
    }
}

static oxp_status make_plan(depthwise *d, oxp_ctx *ctx, const oxp_window *w)
{
    size_t floats;
    *d = (depthwise){0};
    if (!measure(d, w, &floats))
        return oxp_fail(ctx, OXP_ELIMIT, "E-LIMIT-MEM", "a channel of %zux%zux%zu is too large",
                        w->in[0], w->in[1], w->in[2]);
    OXP_TRY(oxp_alloc(&d->buffer, ctx, floats, sizeof *d->buffer, "depthwise convolution"));
    OXP_TRY(
        oxp_alloc(&d->taps, ctx, oxp_volume(w->kernel), sizeof *d->taps, "depthwise convolution"));
    OXP_TRY(oxp_alloc_raw(&d->sums, ctx, d->run + WIDE, sizeof *d->sums, "depthwise convolution"));
    place_taps(d);
    return OXP_OK;
}

static void free_plan(depthwise *d)
{
    oxp_free(d->buffer);
    oxp_free(d->taps);
    oxp_free(d->sums);
}

OXP_VECTORISED static void split_pairs(float *restrict even, float *restrict odd,
                                       const float *restrict src, size_t pairs)
{
    for (size_t i = 0; i < pairs; i++) {
        even[i] = src[2 * i];
        odd[i] = src[2 * i + 1];
    }
}

/* Position x of the row goes to place begin + x = stride*j + phase. Padding was cleared once and
 * is never written. */
static void load_row(const depthwise *d, float *to, const float *src)
{
    size_t begin = d->w->begin[2], stride = d->w->stride[2], limit = d->rows[2] * stride,
           n = d->w->in[2];
    n = begin >= limit ? 0 : n < limit - begin ? n : limit - begin;
    if (stride == 1) {
        memcpy(to + begin, src, n * sizeof *to);
        return;
    }
    size_t x = 0;
    if (stride == 2 && n > 0) {
        if (begin % 2 == 1)
            to[d->phase + begin / 2] = src[x++];
        size_t pairs = (n - x) / 2, at = (begin + x) / 2;
        split_pairs(to + at, to + d->phase + at, src + x, pairs);
        x += 2 * pairs;
    }
    for (; x < n; x++)
        to[(begin + x) % stride * d->phase + (begin + x) / stride] = src[x];
}

static void load_channel(const depthwise *d, const float *src)
{
    const oxp_window *w = d->w;
    for (size_t i0 = 0; i0 < w->in[0]; i0++)
        for (size_t i1 = 0; i1 < w->in[1]; i1++) {
            size_t y0 = w->begin[0] + i0, y1 = w->begin[1] + i1, row0 = y0 / w->stride[0],
                   row1 = y1 / w->stride[1];
            if (row0 >= d->rows[0] || row1 >= d->rows[1])
                continue;
            size_t phase = (y0 % w->stride[0] * w->stride[1] + y1 % w->stride[1]) * w->stride[2];
            load_row(d, d->buffer + phase * d->phase + (row0 * d->rows[1] + row1) * d->rows[2],
                     src + (i0 * w->in[1] + i1) * w->in[2]);
        }
}

/* Writes whole vectors, that is up to WIDE - 1 floats behind out[n - 1], and reads as far. */
OXP_VECTORISED static void weighted_sum(float *restrict out, size_t n,
                                        const float *const *restrict taps,
                                        const float *restrict weights, size_t count, float bias)
{
    for (size_t i = 0; i < n; i += WIDE) {
        float a[OXP_LANES], b[OXP_LANES], c[OXP_LANES], d[OXP_LANES];
        for (int l = 0; l < OXP_LANES; l++)
            a[l] = b[l] = c[l] = d[l] = bias;
        for (size_t t = 0; t < count; t++) {
            const float *x = taps[t] + i;
            float f = weights[t];
            for (int l = 0; l < OXP_LANES; l++) {
                a[l] += x[l] * f;
                b[l] += x[OXP_LANES + l] * f;
                c[l] += x[2 * OXP_LANES + l] * f;
                d[l] += x[3 * OXP_LANES + l] * f;
            }
        }
        memcpy(out + i, a, sizeof a);
        memcpy(out + i + OXP_LANES, b, sizeof b);
        memcpy(out + i + 2 * OXP_LANES, c, sizeof c);
        memcpy(out + i + 3 * OXP_LANES, d, sizeof d);
    }
}

static void run_channel(const depthwise *d, const float *weights, float bias, float *dst)
{
    const oxp_window *w = d->w;
    weighted_sum(d->sums, d->run, d->taps, weights, oxp_volume(w->kernel), bias);
    for (size_t o0 = 0; o0 < w->out[0]; o0++)
        for (size_t o1 = 0; o1 < w->out[1]; o1++)
            memcpy(dst + (o0 * w->out[1] + o1) * w->out[2],
                   d->sums + (o0 * d->rows[1] + o1) * d->rows[2], w->out[2] * sizeof *dst);
}

oxp_status oxp_depthwise_run(oxp_ctx *ctx, const oxp_conv_shape *shape, const float *src,
                             const float *weights, const float *bias, float *dst)
{
    depthwise d;
    oxp_status status = make_plan(&d, ctx, &shape->window);
    size_t per_group = shape->out_channels / shape->groups;
    size_t in = oxp_volume(shape->window.in), out = oxp_volume(shape->window.out),
           taps = oxp_volume(shape->window.kernel);
    for (size_t i = 0; status == OXP_OK && i < shape->batch * shape->groups; i++) {
        load_channel(&d, src + i * in);
        for (size_t m = 0; m < per_group; m++) {
            size_t channel = i % shape->groups * per_group + m;
            run_channel(&d, weights + channel * taps, bias ? bias[channel] : 0,
                        dst + (i * per_group + m) * out);
        }
    }
    free_plan(&d);
    return status;
}
