/* recurrent.c - RNN, GRU and LSTM: formulas in kernels/rnn.h.
 *
 * https://onnx.ai/onnx/operators/onnx__LSTM.html and its sisters. Inputs X[T,B,I], W[D,G*H,I],
 * R[D,G*H,H], B[D,2*G*H], sequence_lens[B], initial_h[D,B,H], LSTM: initial_c[D,B,H], P[D,3*H];
 * outputs Y[T,D,B,H], Y_h[D,B,H], LSTM: Y_c[D,B,H]. Layout 1 (opset 14) puts the batch in front of
 * X, Y and the states. Computes in FLOAT. */
#include "operators/recurrent.h"

#include "kernels/rnn_backward.h"
#include "operators/gradient.h"
#include "operators/real.h"

enum { X, W, R, B, LENGTHS, INITIAL_H, INITIAL_C, PEEPHOLES };

static oxp_status check_inputs(oxp_node *n, const oxp_recurrent *r)
{
    const oxp_rnn_shape *s = &r->shape[0];
    int64_t d = (int64_t)r->directions, h = (int64_t)s->hidden,
            rows = (int64_t)oxp_rnn_gates(s->kind) * h;
    OXP_TRY(oxp_recurrent_want_shape(n, W, 3, (const int64_t[]){d, rows, (int64_t)s->input}));
    OXP_TRY(oxp_recurrent_want_shape(n, R, 3, (const int64_t[]){d, rows, h}));
    OXP_TRY(oxp_recurrent_want_shape(n, B, 2, (const int64_t[]){d, 2 * rows}));
    OXP_TRY(oxp_recurrent_want_shape(n, LENGTHS, 1, (const int64_t[]){(int64_t)s->batch}));
    if (oxp_node_has(n, LENGTHS))
        OXP_TRY(oxp_node_want(n, LENGTHS, OXP_INT32));
    OXP_TRY(oxp_recurrent_want_state(n, INITIAL_H, r));
    if (s->kind != OXP_RNN_LSTM)
        return OXP_OK;
    OXP_TRY(oxp_recurrent_want_state(n, INITIAL_C, r));
    return oxp_recurrent_want_shape(n, PEEPHOLES, 2, (const int64_t[]){d, 3 * h});
}

static oxp_status prepare(oxp_node *n, oxp_rnn_kind kind)
{
    const oxp_tensor *x = n->in[X], *w = n->in[R];
    oxp_recurrent *r = oxp_node_state(n, sizeof *r);
    if (!r)
        return OXP_ELIMIT;
    OXP_TRY(oxp_real_types(n, 0xff & ~(1u << LENGTHS)));
    if (x->rank != 3 || w->rank != 3)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                             "inputs 0 and 2 have ranks %d and %d, expected 3", x->rank, w->rank);
    *r = (oxp_recurrent){0};
    oxp_rnn_shape *s = &r->shape[0];
    s->kind = kind;
    s->steps = (size_t)x->dims[0];
    s->batch = (size_t)x->dims[1];
    s->input = (size_t)x->dims[2];
    s->hidden = (size_t)w->dims[2];
    s->input_forget = kind == OXP_RNN_LSTM && oxp_attr_int(n, "input_forget", 0) != 0;
    s->linear_before_reset = kind == OXP_RNN_GRU && oxp_attr_int(n, "linear_before_reset", 0) != 0;
    OXP_TRY(oxp_recurrent_read(n, r, n->op->since >= 14));
    OXP_TRY(check_inputs(n, r));
    return oxp_recurrent_outputs(n, r, x->dtype);
}

static oxp_status prepare_rnn(oxp_node *n)
{
    return prepare(n, OXP_RNN_PLAIN);
}

static oxp_status prepare_gru(oxp_node *n)
{
    return prepare(n, OXP_RNN_GRU);
}

static oxp_status prepare_lstm(oxp_node *n)
{
    return prepare(n, OXP_RNN_LSTM);
}

/* All floats of all directions. */
static oxp_status read_data(oxp_node *n, const oxp_recurrent *r, oxp_rnn_data *d)
{
    float **outputs[3] = {&d->y, &d->y_h, &d->y_c};
    *d = (oxp_rnn_data){.x = oxp_real_in(n, X), .w = oxp_real_in(n, W), .r = oxp_real_in(n, R)};
    if (!d->x || !d->w || !d->r)
        return OXP_ELIMIT;
    OXP_TRY(oxp_real_in_optional(n, B, &d->bias));
    OXP_TRY(oxp_real_in_optional(n, INITIAL_H, &d->h0));
    OXP_TRY(oxp_real_in_optional(n, INITIAL_C, &d->c0));
    OXP_TRY(oxp_real_in_optional(n, PEEPHOLES, &d->peepholes));
    OXP_TRY(oxp_recurrent_lengths(n, LENGTHS, r, &d->lengths));
    for (int i = 0; i < 3; i++)
        if (oxp_node_makes(n, i) && !(*outputs[i] = oxp_real_out(n, i)))
            return OXP_ELIMIT;
    return OXP_OK;
}

static const float *moved(const float *values, size_t by)
{
    return values ? values + by : NULL;
}

static oxp_rnn_data direction_of(const oxp_recurrent *r, const oxp_rnn_data *all, size_t d)
{
    const oxp_rnn_shape *s = &r->shape[0];
    size_t h = s->hidden, rows = oxp_rnn_gates(s->kind) * h, at = oxp_recurrent_at(r, d);
    return (oxp_rnn_data){.x = all->x,
                          .w = all->w + d * rows * s->input,
                          .r = all->r + d * rows * h,
                          .bias = moved(all->bias, d * 2 * rows),
                          .peepholes = moved(all->peepholes, d * 3 * h),
                          .lengths = all->lengths,
                          .h0 = moved(all->h0, at),
                          .c0 = moved(all->c0, at),
                          .y = all->y ? all->y + at : NULL,
                          .y_h = all->y_h ? all->y_h + at : NULL,
                          .y_c = all->y_c ? all->y_c + at : NULL};
}

static oxp_status forward(oxp_node *n)
{
    const oxp_recurrent *r = n->state;
    oxp_rnn_data all;
    OXP_TRY(read_data(n, r, &all));
    for (size_t d = 0; d < r->directions; d++) {
        oxp_rnn_data one = direction_of(r, &all, d);
        OXP_TRY(oxp_rnn_run(n->ctx, &r->shape[d], &one));
    }
    const float *outputs[3] = {all.y, all.y_h, all.y_c};
    for (int i = 0; i < 3; i++)
        if (outputs[i])
            oxp_real_done(n, i, outputs[i]);
    return OXP_OK;
}

static float *moved_back(float *values, size_t by)
{
    return values ? values + by : NULL;
}

static oxp_status backward(oxp_node *n)
{
    const oxp_recurrent *r = n->state;
    const oxp_rnn_shape *s = &r->shape[0];
    size_t h = s->hidden, rows = oxp_rnn_gates(s->kind) * h;
    oxp_rnn_data all;
    OXP_TRY(read_data(n, r, &all));
    for (size_t d = 0; d < r->directions; d++) {
        oxp_rnn_data one = direction_of(r, &all, d);
        size_t at = oxp_recurrent_at(r, d);
        oxp_rnn_gradients g = {.dy = moved(oxp_dout(n, 0), at),
                               .dy_h = moved(oxp_dout(n, 1), at),
                               .dy_c = moved(oxp_dout(n, 2), at),
                               .dx = oxp_din(n, X),
                               .dw = moved_back(oxp_din(n, W), d * rows * s->input),
                               .dr = moved_back(oxp_din(n, R), d * rows * h),
                               .dbias = moved_back(oxp_din(n, B), d * 2 * rows),
                               .dh0 = moved_back(oxp_din(n, INITIAL_H), at),
                               .dc0 = moved_back(oxp_din(n, INITIAL_C), at),
                               .dpeepholes = moved_back(oxp_din(n, PEEPHOLES), d * 3 * h)};
        OXP_TRY(oxp_rnn_backward(n->ctx, &r->shape[d], &one, &g));
    }
    return OXP_OK;
}

static void cost(const oxp_node *n, oxp_cost *cost)
{
    oxp_cost_of(n, oxp_recurrent_macs(n->state), cost);
}

static bool weight(const oxp_graph_node *def, int input, int rank, int *channel_axis)
{
    (void)def;
    *channel_axis = 1;
    return (input == W || input == R) && rank == 3;
}

static const char *const rnn_examples[] = {
    "X[4,2,3] W[1,5,3] R[1,5,5]; hidden_size=5 outputs=2",
    "X[3,2,3] W[2,4,3] R[2,4,4] B[2,8] L[2]:i32={3,2} H[2,2,4]; hidden_size=4 "
    "direction='bidirectional'",
    "X[3,2,3] W[1,4,3] R[1,4,4] B[1,8]; hidden_size=4 direction='reverse' clip=0.5", NULL};

static const char *const gru_examples[] = {
    "X[4,2,3] W[1,15,3] R[1,15,5]; hidden_size=5 outputs=2",
    "X[3,2,3] W[2,12,3] R[2,12,4] B[2,24] L[2]:i32={1,3} H[2,2,4]; hidden_size=4 "
    "direction='bidirectional'",
    "X[3,2,3] W[1,12,3] R[1,12,4] B[1,24]; hidden_size=4 linear_before_reset=1",
    "X[3,2,3] W[1,12,3] R[1,12,4] B[1,24] _ H[1,2,4]; hidden_size=4 direction='reverse' "
    "linear_before_reset=1",
    NULL};

static const char *const lstm_examples[] = {
    "X[4,2,3] W[1,20,3] R[1,20,5]; hidden_size=5 outputs=3",
    "X[3,2,3] W[2,16,3] R[2,16,4] B[2,32] L[2]:i32={2,3} H[2,2,4] C[2,2,4] P[2,12]; hidden_size=4 "
    "direction='bidirectional'",
    "X[3,2,3] W[1,16,3] R[1,16,4] B[1,32]; hidden_size=4 direction='reverse' clip=0.5",
    "X[3,2,3] W[1,16,3] R[1,16,4] B[1,32]; hidden_size=4 input_forget=1", NULL};

static const char *const rnn_examples_14[] = {
    "X[2,4,3] W[2,5,3] R[2,5,5] B[2,10] _ H[2,2,5]; "
    "hidden_size=5 layout=1 direction='bidirectional' outputs=2",
    NULL};
static const char *const gru_examples_14[] = {
    "X[2,4,3] W[2,15,3] R[2,15,5] B[2,30] _ H[2,2,5]; "
    "hidden_size=5 layout=1 direction='bidirectional'",
    "X[4,2,3] W[1,15,3] R[1,15,5]; hidden_size=5 outputs=2", NULL};
static const char *const lstm_examples_14[] = {
    "X[2,4,3] W[2,20,3] R[2,20,5] B[2,40] _ H[2,2,5] C[2,2,5]; hidden_size=5 layout=1 "
    "direction='bidirectional'",
    "X[4,2,3] W[1,20,3] R[1,20,5]; hidden_size=5 outputs=3", NULL};

#define RECURRENT(type_, since_, max_in_, max_out_, prepare_, examples_)                           \
    {                                                                                              \
        .domain = "", .type = type_, .since = since_, .min_in = 3, .max_in = max_in_,              \
        .min_out = 0, .max_out = max_out_, .prepare = prepare_, .forward = forward,                \
        .backward = backward, .saves = 0xff, .cost = cost, .weight = weight, .examples = examples_ \
    }

const oxp_operator oxp_op_rnn_7 = RECURRENT("RNN", 7, 6, 2, prepare_rnn, rnn_examples);
const oxp_operator oxp_op_rnn_14 = RECURRENT("RNN", 14, 6, 2, prepare_rnn, rnn_examples_14);
const oxp_operator oxp_op_gru_7 = RECURRENT("GRU", 7, 6, 2, prepare_gru, gru_examples);
const oxp_operator oxp_op_gru_14 = RECURRENT("GRU", 14, 6, 2, prepare_gru, gru_examples_14);
const oxp_operator oxp_op_lstm_7 = RECURRENT("LSTM", 7, 8, 3, prepare_lstm, lstm_examples);
const oxp_operator oxp_op_lstm_14 = RECURRENT("LSTM", 14, 8, 3, prepare_lstm, lstm_examples_14);
