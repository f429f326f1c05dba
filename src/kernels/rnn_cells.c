/* rnn_cells.c - see rnn_cells.h. */
#include "kernels/rnn_cells.h"

#include <math.h>

float oxp_activate(oxp_activation a, float x)
{
    switch (a.kind) {
    case OXP_ACT_RELU:
        return x < 0 ? 0 : x;
    case OXP_ACT_TANH:
        return tanhf(x);
    case OXP_ACT_SIGMOID:
        return 1 / (1 + expf(-x));
    case OXP_ACT_AFFINE:
        return a.alpha * x + a.beta;
    case OXP_ACT_LEAKY_RELU:
        return x < 0 ? a.alpha * x : x;
    case OXP_ACT_THRESHOLDED_RELU:
        return x > a.alpha ? x : 0;
    case OXP_ACT_SCALED_TANH:
        return a.alpha * tanhf(a.beta * x);
    case OXP_ACT_HARD_SIGMOID:
        return fmaxf(0, fminf(1, a.alpha * x + a.beta));
    case OXP_ACT_ELU:
        return x < 0 ? a.alpha * expm1f(x) : x;
    case OXP_ACT_SOFTSIGN:
        return x / (1 + fabsf(x));
    case OXP_ACT_SOFTPLUS:
        return fmaxf(x, 0) + log1pf(expf(-fabsf(x)));
    }
    return x;
}

/* The clipped activation; a NaN stays one. */
static float gate(const oxp_rnn_shape *s, int activation, float x)
{
    x = x > s->clip ? s->clip : x;
    x = x < -s->clip ? -s->clip : x;
    return oxp_activate(s->activation[activation], x);
}

void oxp_rnn_cell(const oxp_rnn_shape *s, const float *gates, float *h)
{
    for (size_t i = 0; i < s->hidden; i++)
        h[i] = gate(s, 0, gates[i]);
}

void oxp_lstm_cell(const oxp_rnn_shape *s, const float *gates, const float *peepholes, float *h,
                   float *c)
{
    size_t n = s->hidden;
    for (size_t i = 0; i < n; i++) {
        float in = gates[i], out = gates[n + i], forget = gates[2 * n + i];
        if (peepholes) {
            in += peepholes[i] * c[i];
            forget += peepholes[2 * n + i] * c[i];
        }
        in = gate(s, 0, in);
        forget = s->input_forget ? 1 - in : gate(s, 0, forget);
        c[i] = forget * c[i] + in * gate(s, 1, gates[3 * n + i]);
        if (peepholes)
            out += peepholes[n + i] * c[i];
        h[i] = gate(s, 0, out) * oxp_activate(s->activation[2], c[i]);
    }
}

void oxp_gru_reset(const oxp_rnn_shape *s, float *gates, const float *h, float *product)
{
    size_t n = s->hidden;
    for (size_t i = 0; i < n; i++) {
        gates[i] = gate(s, 0, gates[i]);
        gates[n + i] = gate(s, 0, gates[n + i]);
        product[i] = gates[n + i] * h[i];
    }
}

void oxp_gru_linear(const oxp_rnn_shape *s, float *gates, const float *linear, const float *bias)
{
    size_t n = s->hidden;
    for (size_t i = 0; i < n; i++)
        gates[2 * n + i] += gates[n + i] * (linear[i] + (bias ? bias[i] : 0));
}

void oxp_gru_cell(const oxp_rnn_shape *s, const float *gates, float *h)
{
    size_t n = s->hidden;
    for (size_t i = 0; i < n; i++)
        h[i] = (1 - gates[i]) * gate(s, 1, gates[2 * n + i]) + gates[i] * h[i];
}
