/* rnn.c - see rnn.h. */
#include "kernels/rnn.h"

#include <math.h>
#include <string.h>

#include "kernels/gemm.h"
#include "kernels/rnn_cells.h"

size_t oxp_rnn_gates(oxp_rnn_kind kind)
{
    return kind == OXP_RNN_PLAIN ? 1 : kind == OXP_RNN_GRU ? 3 : 4;
}

void oxp_rnn_bias(const oxp_rnn_shape *s, const float *bias, float *out)
{
    size_t rows = oxp_rnn_gates(s->kind) * s->hidden;
    for (size_t i = 0; i < rows; i++) {
        bool apart = s->kind == OXP_RNN_GRU && s->linear_before_reset && i >= 2 * s->hidden;
        out[i] = !bias ? 0 : apart ? bias[i] : bias[i] + bias[rows + i];
    }
}

/* ---- steps ---- */

typedef struct run {
    const oxp_rnn_shape *s;
    const oxp_rnn_data *d;
    const float *projected;
    oxp_rnn_recurrent recurrent;
    void *user;
    size_t columns; /* G*H */
    float *h, *c;   /* [B, H] */
    float *gates;   /* [B, G*H] */
    float *extra;   /* [B, H]: what the reset gate multiplies */
} run;

static size_t length_of(const run *r, size_t b)
{
    return r->d->lengths ? (size_t)r->d->lengths[b] : r->s->steps;
}

/* The time that batch entry b is at in step `step`; false when its sequence is over. */
static bool time_of(const run *r, size_t b, size_t step, size_t *time)
{
    size_t length = length_of(r, b);
    *time = r->s->reverse ? length - 1 - step : step;
    return step < length;
}

static void load_state(const run *r, float *state, const float *from)
{
    for (size_t b = 0; b < r->s->batch; b++)
        if (from)
            memcpy(state + b * r->s->hidden, from + b * r->s->state_batch,
                   r->s->hidden * sizeof *state);
        else
            memset(state + b * r->s->hidden, 0, r->s->hidden * sizeof *state);
}

static void store_state(const run *r, float *to, const float *state)
{
    for (size_t b = 0; to && b < r->s->batch; b++)
        memcpy(to + b * r->s->state_batch, state + b * r->s->hidden, r->s->hidden * sizeof *state);
}

/* gates = projected inputs of this step; 0 for sequences that are over. */
static void load_inputs(const run *r, size_t step)
{
    for (size_t b = 0; b < r->s->batch; b++) {
        size_t time, row;
        if (!time_of(r, b, step, &time)) {
            memset(r->gates + b * r->columns, 0, r->columns * sizeof *r->gates);
            continue;
        }
        row = r->s->batch_first ? b * r->s->steps + time : time * r->s->batch + b;
        memcpy(r->gates + b * r->columns, r->projected + row * r->columns,
               r->columns * sizeof *r->gates);
    }
}

static void store_outputs(const run *r, size_t step)
{
    for (size_t b = 0; r->d->y && b < r->s->batch; b++) {
        size_t time;
        if (time_of(r, b, step, &time))
            memcpy(r->d->y + time * r->s->y_step + b * r->s->y_batch, r->h + b * r->s->hidden,
                   r->s->hidden * sizeof *r->h);
    }
}

/* In a GRU the new value needs the reset gate before its product, or beside it. */
static void multiply_gru(const run *r)
{
    size_t hidden = r->s->hidden;
    r->recurrent(r->user, r->h, 0, 2, r->gates, r->columns);
    for (size_t b = 0; b < r->s->batch; b++)
        oxp_gru_reset(r->s, r->gates + b * r->columns, r->h + b * hidden, r->extra + b * hidden);
    if (!r->s->linear_before_reset) {
        r->recurrent(r->user, r->extra, 2, 1, r->gates + 2 * hidden, r->columns);
        return;
    }
    memset(r->extra, 0, r->s->batch * hidden * sizeof *r->extra);
    r->recurrent(r->user, r->h, 2, 1, r->extra, hidden);
    for (size_t b = 0; b < r->s->batch; b++)
        oxp_gru_linear(r->s, r->gates + b * r->columns, r->extra + b * hidden,
                       r->d->bias ? r->d->bias + 5 * hidden : NULL);
}

static void take_step(const run *r, size_t step)
{
    size_t hidden = r->s->hidden, time;
    load_inputs(r, step);
    if (r->s->kind == OXP_RNN_GRU)
        multiply_gru(r);
    else
        r->recurrent(r->user, r->h, 0, oxp_rnn_gates(r->s->kind), r->gates, r->columns);
    for (size_t b = 0; b < r->s->batch; b++) {
        float *gates = r->gates + b * r->columns, *h = r->h + b * hidden;
        if (!time_of(r, b, step, &time))
            continue;
        if (r->s->kind == OXP_RNN_LSTM)
            oxp_lstm_cell(r->s, gates, r->d->peepholes, h, r->c + b * hidden);
        else if (r->s->kind == OXP_RNN_GRU)
            oxp_gru_cell(r->s, gates, h);
        else
            oxp_rnn_cell(r->s, gates, h);
    }
    store_outputs(r, step);
}

static void clear_behind(const run *r)
{
    for (size_t b = 0; r->d->y && b < r->s->batch; b++)
        for (size_t time = length_of(r, b); time < r->s->steps; time++)
            memset(r->d->y + time * r->s->y_step + b * r->s->y_batch, 0,
                   r->s->hidden * sizeof *r->d->y);
}

oxp_status oxp_rnn_steps(oxp_ctx *ctx, const oxp_rnn_shape *s, const oxp_rnn_data *d,
                         const float *projected, oxp_rnn_recurrent recurrent, void *user)
{
    run r = {.s = s, .d = d, .projected = projected, .recurrent = recurrent, .user = user};
    float *memory;
    size_t states, floats;
    r.columns = oxp_rnn_gates(s->kind) * s->hidden;
    if (!oxp_mul_ok(s->batch, 3 * s->hidden + r.columns, &floats))
        return oxp_fail(ctx, OXP_ELIMIT, "E-LIMIT-MEM", "a state of %zux%zu is too large", s->batch,
                        s->hidden);
    OXP_TRY(oxp_alloc(&memory, ctx, floats, sizeof *memory, "recurrent state"));
    states = s->batch * s->hidden;
    r.h = memory;
    r.c = r.h + states;
    r.extra = r.c + states;
    r.gates = r.extra + states;
    load_state(&r, r.h, d->h0);
    load_state(&r, r.c, d->c0);
    for (size_t step = 0; step < s->steps; step++)
        take_step(&r, step);
    clear_behind(&r);
    store_state(&r, d->y_h, r.h);
    store_state(&r, d->y_c, r.c);
    oxp_free(memory);
    return OXP_OK;
}

/* ---- float weights ---- */

typedef struct float_weights {
    const oxp_rnn_shape *s;
    const float *r;
} float_weights;

static void multiply_float(void *user, const float *h, size_t first, size_t count, float *out,
                           size_t out_stride)
{
    const float_weights *w = user;
    size_t hidden = w->s->hidden;
    oxp_gemm_shape product = oxp_gemm_plain(false, true, w->s->batch, count * hidden, hidden);
    product.ldc = out_stride;
    oxp_gemm(&product, 1, h, w->r + first * hidden * hidden, 1, out);
}

oxp_status oxp_rnn_run(oxp_ctx *ctx, const oxp_rnn_shape *s, const oxp_rnn_data *d)
{
    size_t columns = oxp_rnn_gates(s->kind) * s->hidden, rows, floats;
    float *projected, *bias;
    if (!oxp_mul_ok(s->steps, s->batch, &rows) || !oxp_mul_ok(rows + 1, columns, &floats))
        return oxp_fail(ctx, OXP_ELIMIT, "E-LIMIT-MEM", "%zu steps of %zux%zu are too many",
                        s->steps, s->batch, columns);
    OXP_TRY(oxp_alloc_raw(&projected, ctx, floats, sizeof *projected, "recurrent inputs"));
    bias = projected + rows * columns;
    oxp_rnn_bias(s, d->bias, bias);
    for (size_t i = 0; i < rows; i++)
        memcpy(projected + i * columns, bias, columns * sizeof *bias);
    oxp_gemm_shape product = oxp_gemm_plain(false, true, rows, columns, s->input);
    oxp_gemm(&product, 1, d->x, d->w, 1, projected);
    float_weights weights = {.s = s, .r = d->r};
    oxp_status status = oxp_rnn_steps(ctx, s, d, projected, multiply_float, &weights);
    oxp_free(projected);
    return status;
}
