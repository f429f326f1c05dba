/* rnn.h - one direction of a recurrent layer: RNN, GRU or LSTM, as ONNX defines them.
 *
 * x [T, B, I], h [B, H], W [G*H, I], R [G*H, H], bias [2*G*H] (of W, then of R), G gates:
 *   RNN   i: h' = f(x W^T + h R^T + b)
 *   GRU   z r h: z = f(x Wz^T + h Rz^T + b), r = f(x Wr^T + h Rr^T + b), h' = (1 - z) h~ + z h with
 *         h~ = g(x Wh^T + (r h) Rh^T + b), for linear_before_reset
 *         h~ = g(x Wh^T + bW + r (h Rh^T + bR))
 *   LSTM  i o f c: i = f(x Wi^T + h Ri^T + Pi c + b),
 *         f = f(x Wf^T + h Rf^T + Pf c + b) or 1 - i for input_forget,
 *         c' = f c + i g(x Wc^T + h Rc^T + b), o = f(x Wo^T + h Ro^T + Po c' + b), h' = o h(c')
 * The argument of every gate's activation is clipped to [-clip, clip]. All inputs are projected by
 * one product ahead of the steps. A sequence shorter than T ends with its own state, and its
 * outputs behind are 0; in reverse it begins at its own end. */
#ifndef OXP_KERNELS_RNN_H
#define OXP_KERNELS_RNN_H

#include "util/memory.h"

typedef enum oxp_rnn_kind { OXP_RNN_PLAIN, OXP_RNN_GRU, OXP_RNN_LSTM } oxp_rnn_kind;

typedef enum oxp_activation_kind {
    OXP_ACT_RELU,
    OXP_ACT_TANH,
    OXP_ACT_SIGMOID,
    OXP_ACT_AFFINE,           /* alpha x + beta */
    OXP_ACT_LEAKY_RELU,       /* x below 0: alpha x */
    OXP_ACT_THRESHOLDED_RELU, /* x above alpha, else 0 */
    OXP_ACT_SCALED_TANH,      /* alpha tanh(beta x) */
    OXP_ACT_HARD_SIGMOID,     /* alpha x + beta in [0, 1] */
    OXP_ACT_ELU,              /* x below 0: alpha (e^x - 1) */
    OXP_ACT_SOFTSIGN,
    OXP_ACT_SOFTPLUS
} oxp_activation_kind;

typedef struct oxp_activation {
    oxp_activation_kind kind;
    float alpha, beta;
} oxp_activation;

typedef struct oxp_rnn_shape {
    oxp_rnn_kind kind;
    size_t steps, batch, input, hidden;
    bool batch_first; /* x is [B, T, I] */
    bool reverse;
    bool linear_before_reset, input_forget;
    float clip;                   /* INFINITY: none */
    oxp_activation activation[3]; /* f, g, h */
    size_t y_step, y_batch;       /* floats of y from one step or batch entry to the next */
    size_t state_batch; /* floats of h0, c0, y_h and y_c from one batch entry to the next */
} oxp_rnn_shape;

/* Of this direction; NULL where optional: bias, peepholes [3*H] (i o f), lengths [B] (0 <= length
 * <= T), h0, c0, y, y_h, y_c. */
typedef struct oxp_rnn_data {
    const float *x, *w, *r, *bias, *peepholes;
    const int32_t *lengths;
    const float *h0, *c0;
    float *y, *y_h, *y_c;
} oxp_rnn_data;

size_t oxp_rnn_gates(oxp_rnn_kind kind);
oxp_status oxp_rnn_run(oxp_ctx *ctx, const oxp_rnn_shape *shape, const oxp_rnn_data *data);

/* The steps alone, for inputs projected elsewhere: projected [T, B, G*H] or [B, T, G*H] is x W^T
 * with its biases (see oxp_rnn_bias); recurrent adds h R^T for gates first..first+count-1 into out
 * [B, G*H], h being [B, H]. */
typedef void (*oxp_rnn_recurrent)(void *user, const float *h, size_t first, size_t count,
                                  float *out, size_t out_stride);
oxp_status oxp_rnn_steps(oxp_ctx *ctx, const oxp_rnn_shape *shape, const oxp_rnn_data *data,
                         const float *projected, oxp_rnn_recurrent recurrent, void *user);
/* What the projection of the inputs adds, [G*H]: both biases, but not that of R which a reset gate
 * multiplies. */
void oxp_rnn_bias(const oxp_rnn_shape *shape, const float *bias, float *out);

float oxp_activate(oxp_activation a, float x);

#endif
