/* rnn_backward.c - see rnn_backward.h. Rows of one batch entry are kept by time, so that one
 * product over all its steps gives each gradient of a weight. */
#include "kernels/rnn_backward.h"

#include <math.h>
#include <string.h>

#include "kernels/gemm.h"
#include "kernels/vector.h"

float oxp_activate_slope(oxp_activation a, float x)
{
    float y = oxp_activate(a, x);
    switch (a.kind) {
    case OXP_ACT_RELU:
        return x > 0 ? 1 : 0;
    case OXP_ACT_TANH:
        return (1 - y) * (1 + y);
    case OXP_ACT_SIGMOID:
        return y * (1 - y);
    case OXP_ACT_AFFINE:
        return a.alpha;
    case OXP_ACT_LEAKY_RELU:
        return x < 0 ? a.alpha : 1;
    case OXP_ACT_THRESHOLDED_RELU:
        return x > a.alpha ? 1 : 0;
    case OXP_ACT_SCALED_TANH: {
        float t = tanhf(a.beta * x);
        return a.alpha * a.beta * (1 - t) * (1 + t);
    }
    case OXP_ACT_HARD_SIGMOID:
        return y > 0 && y < 1 ? a.alpha : 0;
    case OXP_ACT_ELU:
        return x < 0 ? a.alpha * expf(x) : 1;
    case OXP_ACT_SOFTSIGN:
        return 1 / ((1 + fabsf(x)) * (1 + fabsf(x)));
    case OXP_ACT_SOFTPLUS:
        return 1 / (1 + expf(-x));
    }
    return 1;
}

/* One batch entry; rows [T, ...] by time. */
typedef struct entry {
    const oxp_rnn_shape *s;
    const oxp_rnn_data *d;
    const oxp_rnn_gradients *g;
    size_t b, length, columns;   /* columns: G*H */
    float *arguments;            /* [T, G*H] of the gates */
    float *before;               /* [T, H]: h- */
    float *cells_before, *cells; /* [T, H]: LSTM */
    float *linear;               /* [T, H]: GRU with linear_before_reset, h- Rh^T + bR */
    float *reset;                /* [T, H]: GRU, r h- */
    float *da, *dr;              /* [T, G*H]: by the arguments; by what R gives */
    float *dh, *dc;              /* [H] */
} entry;

static size_t time_of(const entry *e, size_t step)
{
    return e->s->reverse ? e->length - 1 - step : step;
}

static float clipped(const oxp_rnn_shape *s, int activation, float x)
{
    x = x > s->clip ? s->clip : x;
    x = x < -s->clip ? -s->clip : x;
    return oxp_activate(s->activation[activation], x);
}

static float slope(const oxp_rnn_shape *s, int activation, float x)
{
    bool passes = x <= s->clip && x >= -s->clip;
    return passes ? oxp_activate_slope(s->activation[activation], x) : 0;
}

/* out[rows] += M[rows, n] x */
OXP_VECTORISED static void multiply(const float *m, size_t rows, size_t n, const float *x,
                                    float *out)
{
    for (size_t r = 0; r < rows; r++) {
        double lanes[OXP_LANES] = {0}, sum = 0;
        for (size_t i = 0; i < n; i++)
            lanes[i % OXP_LANES] += (double)m[r * n + i] * (double)x[i];
        for (size_t k = 0; k < OXP_LANES; k++)
            sum += lanes[k];
        out[r] += (float)sum;
    }
}

/* out[n] += M[rows, n]^T x */
OXP_VECTORISED static void multiply_transposed(const float *restrict m, size_t rows, size_t n,
                                               const float *restrict x, float *restrict out)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < n; i++)
            out[i] += x[r] * m[r * n + i];
}

/* ---- again forward ---- */

static void forward_lstm(const entry *e, size_t t, float *h, float *c)
{
    const oxp_rnn_shape *s = e->s;
    const float *p = e->d->peepholes;
    size_t n = s->hidden;
    float *a = e->arguments + t * e->columns;
    memcpy(e->cells_before + t * n, c, n * sizeof *c);
    multiply(e->d->r, e->columns, n, h, a);
    for (size_t i = 0; i < n; i++) {
        if (p) {
            a[i] += p[i] * c[i];
            a[2 * n + i] += p[2 * n + i] * c[i];
        }
        float in = clipped(s, 0, a[i]);
        float forget = s->input_forget ? 1 - in : clipped(s, 0, a[2 * n + i]);
        c[i] = forget * c[i] + in * clipped(s, 1, a[3 * n + i]);
        if (p)
            a[n + i] += p[n + i] * c[i];
        h[i] = clipped(s, 0, a[n + i]) * oxp_activate(s->activation[2], c[i]);
    }
    memcpy(e->cells + t * n, c, n * sizeof *c);
}

static void forward_gru(const entry *e, size_t t, float *h)
{
    const oxp_rnn_shape *s = e->s;
    size_t n = s->hidden;
    float *a = e->arguments + t * e->columns, *linear = e->linear + t * n,
          *reset = e->reset + t * n;
    multiply(e->d->r, 2 * n, n, h, a);
    for (size_t i = 0; i < n; i++)
        reset[i] = clipped(s, 0, a[n + i]) * h[i];
    if (s->linear_before_reset) {
        for (size_t i = 0; i < n; i++)
            linear[i] = e->d->bias ? e->d->bias[5 * n + i] : 0;
        multiply(e->d->r + 2 * n * n, n, n, h, linear);
        for (size_t i = 0; i < n; i++)
            a[2 * n + i] += clipped(s, 0, a[n + i]) * linear[i];
    } else {
        multiply(e->d->r + 2 * n * n, n, n, reset, a + 2 * n);
    }
    for (size_t i = 0; i < n; i++) {
        float z = clipped(s, 0, a[i]);
        h[i] = (1 - z) * clipped(s, 1, a[2 * n + i]) + z * h[i];
    }
}

static void forward_plain(const entry *e, size_t t, float *h)
{
    float *a = e->arguments + t * e->columns;
    multiply(e->d->r, e->columns, e->s->hidden, h, a);
    for (size_t i = 0; i < e->s->hidden; i++)
        h[i] = clipped(e->s, 0, a[i]);
}

/* Row length of x for one entry, and where its time 0 is. */
static size_t x_rows(const entry *e, size_t *first)
{
    const oxp_rnn_shape *s = e->s;
    *first = s->batch_first ? e->b * s->steps * s->input : e->b * s->input;
    return s->batch_first ? s->input : s->batch * s->input;
}

static void run_forward(const entry *e)
{
    const oxp_rnn_shape *s = e->s;
    size_t n = s->hidden, first, row = x_rows(e, &first);
    float *h = e->dh, *c = e->dc; /* free until the way back */
    for (size_t t = 0; t < e->length; t++)
        oxp_rnn_bias(s, e->d->bias, e->arguments + t * e->columns);
    oxp_gemm_shape product = oxp_gemm_plain(false, true, e->length, e->columns, s->input);
    product.lda = row;
    oxp_gemm(&product, 1, e->d->x + first, e->d->w, 1, e->arguments);
    for (size_t i = 0; i < n; i++) {
        h[i] = e->d->h0 ? e->d->h0[e->b * s->state_batch + i] : 0;
        c[i] = e->d->c0 ? e->d->c0[e->b * s->state_batch + i] : 0;
    }
    for (size_t step = 0; step < e->length; step++) {
        size_t t = time_of(e, step);
        memcpy(e->before + t * n, h, n * sizeof *h);
        if (s->kind == OXP_RNN_LSTM)
            forward_lstm(e, t, h, c);
        else if (s->kind == OXP_RNN_GRU)
            forward_gru(e, t, h);
        else
            forward_plain(e, t, h);
    }
}

/* ---- back ---- */

/* Leaves dc as that of the cell before; dh is read. */
static void back_lstm(const entry *e, size_t t)
{
    const oxp_rnn_shape *s = e->s;
    const float *p = e->d->peepholes;
    float *dp = e->g->dpeepholes;
    size_t n = s->hidden;
    const float *a = e->arguments + t * e->columns;
    float *da = e->da + t * e->columns;
    for (size_t i = 0; i < n; i++) {
        float cell = e->cells[t * n + i], old = e->cells_before[t * n + i];
        float in = clipped(s, 0, a[i]), out = clipped(s, 0, a[n + i]);
        float forget = s->input_forget ? 1 - in : clipped(s, 0, a[2 * n + i]);
        float fresh = clipped(s, 1, a[3 * n + i]);
        da[n + i] = e->dh[i] * oxp_activate(s->activation[2], cell) * slope(s, 0, a[n + i]);
        float dc = e->dc[i] + e->dh[i] * out * oxp_activate_slope(s->activation[2], cell);
        dc += p ? da[n + i] * p[n + i] : 0;
        float din = dc * (s->input_forget ? fresh - old : fresh);
        da[i] = din * slope(s, 0, a[i]);
        da[2 * n + i] = s->input_forget ? 0 : dc * old * slope(s, 0, a[2 * n + i]);
        da[3 * n + i] = dc * in * slope(s, 1, a[3 * n + i]);
        e->dc[i] = dc * forget;
        if (p)
            e->dc[i] += da[i] * p[i] + da[2 * n + i] * p[2 * n + i];
        if (dp) {
            dp[i] += da[i] * old;
            dp[n + i] += da[n + i] * cell;
            dp[2 * n + i] += da[2 * n + i] * old;
        }
    }
    memcpy(e->dr + t * e->columns, da, e->columns * sizeof *da);
    memset(e->dh, 0, n * sizeof *e->dh);
    multiply_transposed(e->d->r, e->columns, n, da, e->dh);
}

static void back_gru(const entry *e, size_t t)
{
    const oxp_rnn_shape *s = e->s;
    size_t n = s->hidden;
    const float *a = e->arguments + t * e->columns, *old = e->before + t * n;
    const float *linear = e->linear + t * n;
    float *da = e->da + t * e->columns, *dr = e->dr + t * e->columns, *dreset = e->dc;
    for (size_t i = 0; i < n; i++) {
        float z = clipped(s, 0, a[i]), fresh = clipped(s, 1, a[2 * n + i]);
        da[i] = e->dh[i] * (old[i] - fresh) * slope(s, 0, a[i]);
        da[2 * n + i] = e->dh[i] * (1 - z) * slope(s, 1, a[2 * n + i]);
        e->dh[i] *= z;
        dreset[i] = 0;
    }
    if (!s->linear_before_reset)
        multiply_transposed(e->d->r + 2 * n * n, n, n, da + 2 * n, dreset);
    for (size_t i = 0; i < n; i++) {
        float r = clipped(s, 0, a[n + i]);
        float by_r = s->linear_before_reset ? da[2 * n + i] * linear[i] : dreset[i] * old[i];
        da[n + i] = by_r * slope(s, 0, a[n + i]);
        dr[i] = da[i];
        dr[n + i] = da[n + i];
        dr[2 * n + i] = da[2 * n + i] * (s->linear_before_reset ? r : 1);
        e->dh[i] += dreset[i] * r;
    }
    multiply_transposed(e->d->r, (s->linear_before_reset ? 3 : 2) * n, n, dr, e->dh);
}

static void back_plain(const entry *e, size_t t)
{
    float *da = e->da + t * e->columns;
    for (size_t i = 0; i < e->s->hidden; i++)
        da[i] = e->dh[i] * slope(e->s, 0, e->arguments[t * e->columns + i]);
    memcpy(e->dr + t * e->columns, da, e->columns * sizeof *da);
    memset(e->dh, 0, e->s->hidden * sizeof *e->dh);
    multiply_transposed(e->d->r, e->columns, e->s->hidden, da, e->dh);
}

static void run_back(const entry *e)
{
    const oxp_rnn_shape *s = e->s;
    size_t n = s->hidden, state = e->b * s->state_batch;
    for (size_t i = 0; i < n; i++) {
        e->dh[i] = e->g->dy_h ? e->g->dy_h[state + i] : 0;
        e->dc[i] = e->g->dy_c ? e->g->dy_c[state + i] : 0;
    }
    for (size_t step = e->length; step-- > 0;) {
        size_t t = time_of(e, step);
        for (size_t i = 0; e->g->dy && i < n; i++)
            e->dh[i] += e->g->dy[t * s->y_step + e->b * s->y_batch + i];
        if (s->kind == OXP_RNN_LSTM)
            back_lstm(e, t);
        else if (s->kind == OXP_RNN_GRU)
            back_gru(e, t);
        else
            back_plain(e, t);
    }
    for (size_t i = 0; i < n; i++) {
        if (e->g->dh0)
            e->g->dh0[state + i] += e->dh[i];
        if (e->g->dc0 && s->kind == OXP_RNN_LSTM)
            e->g->dc0[state + i] += e->dc[i];
    }
}

/* C[rows, n] += A[T, ...]^T B[T, n]; A begins at a column of a row of `lda`. */
static void add_product(size_t rows, size_t n, size_t steps, const float *a, size_t lda,
                        const float *b, size_t ldb, float *c)
{
    oxp_gemm_shape product = oxp_gemm_plain(true, false, rows, n, steps);
    product.lda = lda;
    product.ldb = ldb;
    oxp_gemm(&product, 1, a, b, 1, c);
}

static void add_weights(const entry *e)
{
    const oxp_rnn_shape *s = e->s;
    const oxp_rnn_gradients *g = e->g;
    size_t n = s->hidden, first, row = x_rows(e, &first);
    bool apart = s->kind == OXP_RNN_GRU && !s->linear_before_reset;
    size_t plain = apart ? 2 * n : e->columns; /* rows of R that multiply h- */
    if (g->dw)
        add_product(e->columns, s->input, e->length, e->da, e->columns, e->d->x + first, row,
                    g->dw);
    if (g->dr)
        add_product(plain, n, e->length, e->dr, e->columns, e->before, n, g->dr);
    if (g->dr && apart)
        add_product(n, n, e->length, e->dr + 2 * n, e->columns, e->reset, n, g->dr + 2 * n * n);
    for (size_t i = 0; g->dbias && i < e->columns; i++) {
        double of_w = 0, of_r = 0;
        for (size_t t = 0; t < e->length; t++) {
            of_w += (double)e->da[t * e->columns + i];
            of_r += (double)e->dr[t * e->columns + i];
        }
        g->dbias[i] += (float)of_w;
        g->dbias[e->columns + i] += (float)of_r;
    }
    if (!g->dx)
        return;
    oxp_gemm_shape product = oxp_gemm_plain(false, false, e->length, s->input, e->columns);
    product.ldc = row;
    oxp_gemm(&product, 1, e->da, e->d->w, 1, g->dx + first);
}

oxp_status oxp_rnn_backward(oxp_ctx *ctx, const oxp_rnn_shape *s, const oxp_rnn_data *d,
                            const oxp_rnn_gradients *g)
{
    entry e = {.s = s, .d = d, .g = g, .columns = oxp_rnn_gates(s->kind) * s->hidden};
    size_t n = s->hidden, row = 3 * e.columns + 5 * n, floats;
    float *memory;
    if (!oxp_mul_ok(s->steps + 1, row, &floats))
        return oxp_fail(ctx, OXP_ELIMIT, "E-LIMIT-MEM", "%zu steps of %zu are too many", s->steps,
                        row);
    OXP_TRY(oxp_alloc(&memory, ctx, floats, sizeof *memory, "recurrent gradients"));
    float **parts[] = {&e.before, &e.cells_before, &e.cells, &e.linear, &e.reset};
    float **wide[] = {&e.arguments, &e.da, &e.dr};
    float *at = memory;
    for (size_t i = 0; i < 3; i++, at += s->steps * e.columns)
        *wide[i] = at;
    for (size_t i = 0; i < 5; i++, at += s->steps * n)
        *parts[i] = at;
    e.dh = at;
    e.dc = at + n;
    for (e.b = 0; e.b < s->batch; e.b++) {
        e.length = d->lengths ? (size_t)d->lengths[e.b] : s->steps;
        run_forward(&e);
        run_back(&e);
        add_weights(&e);
    }
    oxp_free(memory);
    return OXP_OK;
}
