/* stft.c - STFT: Fourier transforms of frames of a signal X[B, L, 1 or 2] that begin `frame_step`
 * samples apart, each multiplied with the window:
 *
 *     Y[b, f, k] = sum_j w[j] X[b, f * step + j] e^(-2 pi i j k / n)        Y[B, frames, K, 2]
 *
 * n is the length of the window, or frame_length; frames = (L - n) / step + 1; K = n, or n / 2 + 1
 * with onesided (the default, for real signals alone). With G the adjoint transform of dY,
 *
 *     dX[b, f * step + j] += w[j] G[b, f, j]        dw[j] += sum over b, f, parts of X G
 *
 * https://onnx.ai/onnx/operators/onnx__STFT.html */
#include <string.h>

#include "operators/fourier.h"
#include "operators/gradient.h"
#include "operators/movement.h"
#include "operators/real.h"

typedef struct stft_state {
    size_t batch, samples, parts, step, length, frames, bins;
} stft_state;

static oxp_status read_frames(oxp_node *n, stft_state *s)
{
    int64_t step, length = (int64_t)s->samples;
    OXP_TRY(oxp_move_scalar(n, 1, &step));
    if (oxp_node_has(n, 2))
        length = (int64_t)n->in[2]->count;
    if (oxp_node_has(n, 3))
        OXP_TRY(oxp_move_scalar(n, 3, &length));
    if (step < 1 || length < 1 || length > (int64_t)s->samples)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                             "frames of %lld samples, %lld apart, of a signal of %zu",
                             (long long)length, (long long)step, s->samples);
    if (oxp_node_has(n, 2) && (n->in[2]->rank != 1 || n->in[2]->count != (size_t)length))
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "the window has %zu values, expected %lld",
                             n->in[2]->count, (long long)length);
    s->step = (size_t)step;
    s->length = (size_t)length;
    s->frames = (s->samples - s->length) / s->step + 1;
    return OXP_OK;
}

static oxp_status prepare(oxp_node *n)
{
    const oxp_tensor *x = n->in[0];
    stft_state *s = oxp_node_state(n, sizeof *s);
    if (!s)
        return n->ctx->status;
    OXP_TRY(oxp_real_types(n, 1 << 2));
    bool onesided = oxp_attr_int(n, "onesided", 1) != 0;
    if (x->rank != 3 || x->dims[2] < 1 || x->dims[2] > (onesided ? 1 : 2)) {
        char found[OXP_SHAPE_TEXT_MAX];
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "the signal has shape %s, expected %s",
                             oxp_shape_text(found, x->rank, x->dims),
                             onesided ? "[B, L, 1] for one side" : "[B, L, 1 or 2]");
    }
    s->batch = (size_t)x->dims[0];
    s->samples = (size_t)x->dims[1];
    s->parts = (size_t)x->dims[2];
    OXP_TRY(read_frames(n, s));
    s->bins = onesided ? s->length / 2 + 1 : s->length;
    int64_t dims[4] = {x->dims[0], (int64_t)s->frames, (int64_t)s->bins, 2};
    return oxp_output(n, 0, x->dtype, 4, dims);
}

static void read_frame(const stft_state *s, const float *x, const float *window, double *line)
{
    for (size_t j = 0; j < s->length; j++) {
        double w = window ? (double)window[j] : 1.0;
        line[2 * j] = w * (double)x[j * s->parts];
        line[2 * j + 1] = s->parts == 2 ? w * (double)x[2 * j + 1] : 0.0;
    }
}

static oxp_status forward(oxp_node *n)
{
    const stft_state *s = n->state;
    oxp_fourier fourier;
    const float *window, *x = oxp_real_in(n, 0);
    float *y = oxp_real_out(n, 0);
    OXP_TRY(oxp_real_in_optional(n, 2, &window));
    OXP_TRY(oxp_fourier_open(&fourier, n, s->length));
    double *line = oxp_node_scratch(n, 2 * s->length, sizeof *line);
    if (!x || !y || !line)
        return n->ctx->status;
    float *to = y;
    for (size_t b = 0; b < s->batch; b++)
        for (size_t f = 0; f < s->frames; f++) {
            read_frame(s, x + (b * s->samples + f * s->step) * s->parts, window, line);
            oxp_fourier_run(&fourier, line, false);
            for (size_t k = 0; k < 2 * s->bins; k++)
                *to++ = (float)line[k];
        }
    oxp_real_done(n, 0, y);
    return OXP_OK;
}

/* ---- backward ---- */

/* G of one frame: the inverse transform times n; bins that were not written have no part. */
static void frame_gradient(const stft_state *s, const oxp_fourier *fourier, const float *dy,
                           double *line)
{
    memset(line, 0, 2 * s->length * sizeof *line);
    for (size_t k = 0; k < 2 * s->bins; k++)
        line[k] = (double)dy[k];
    oxp_fourier_run(fourier, line, true);
    for (size_t i = 0; i < 2 * s->length; i++)
        line[i] *= (double)s->length;
}

/* x: the frame's samples where dw is wanted; window NULL: ones. */
static void add_frame(const stft_state *s, const double *line, const float *x, const float *window,
                      float *dx, double *dw)
{
    for (size_t j = 0; j < s->length; j++)
        for (size_t part = 0; part < s->parts; part++) {
            size_t at = j * s->parts + part;
            double g = line[2 * j + part];
            if (dx)
                dx[at] += (float)((window ? (double)window[j] : 1.0) * g);
            if (dw)
                dw[j] += (double)x[at] * g;
        }
}

static oxp_status backward(oxp_node *n)
{
    const stft_state *s = n->state;
    const float *dy = oxp_dout(n, 0), *x = NULL, *window = NULL;
    float *dx = oxp_din(n, 0), *window_gradient = oxp_din(n, 2);
    oxp_fourier fourier;
    if (!dy || (!dx && !window_gradient))
        return OXP_OK;
    OXP_TRY(oxp_real_in_optional(n, 0, &x));
    OXP_TRY(oxp_real_in_optional(n, 2, &window));
    OXP_TRY(oxp_fourier_open(&fourier, n, s->length));
    double *line = oxp_node_scratch(n, 2 * s->length, sizeof *line);
    double *dw = oxp_node_scratch(n, s->length, sizeof *dw);
    if (!line || !dw)
        return n->ctx->status;
    memset(dw, 0, s->length * sizeof *dw);
    for (size_t b = 0; b < s->batch; b++)
        for (size_t f = 0; f < s->frames; f++) {
            size_t first = (b * s->samples + f * s->step) * s->parts;
            frame_gradient(s, &fourier, dy + (b * s->frames + f) * s->bins * 2, line);
            add_frame(s, line, x + first, window, dx ? dx + first : NULL,
                      window_gradient ? dw : NULL);
        }
    for (size_t j = 0; window_gradient && j < s->length; j++)
        window_gradient[j] += (float)dw[j];
    return OXP_OK;
}

const oxp_operator oxp_op_stft_17 = {
    .domain = "",
    .type = "STFT",
    .since = 17,
    .min_in = 2,
    .max_in = 4,
    .min_out = 1,
    .max_out = 1,
    .values = 1 << 1 | 1 << 3,
    .prepare = prepare,
    .forward = forward,
    .backward = backward,
    .saves = 1 << 0 | 1 << 2,
    .examples = (const char *const[]){"X[1,16,1] S[]:i64={4} W[8]",
                                      "X[2,16,1] S[]:i64={3} _ L[]:i64={5}; onesided=0",
                                      "X[1,9,2] S[]:i32={2} W[6]; onesided=0",
                                      "X[1,8,1]:f16 S[]:i64={4} W[4]:f16 L[]:i64={4}", NULL},
};
