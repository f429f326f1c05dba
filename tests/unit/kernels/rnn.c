/* Recurrent layers against a direct evaluation of their formulas in double, one batch entry at a
 * time. */
#include "kernels/rnn.h"

#include "unit/kernels/values.h"

static oxp_ctx ctx;

static void setup(void)
{
    oxp_ctx_init(&ctx);
}

static void teardown(void)
{
    cr_expect_eq(atomic_load(&ctx.own_budget.used), 0, "a block was not given back");
}

TestSuite(rnn, .init = setup, .fini = teardown);

#define MOST_HIDDEN 8

static double row_dot(const float *row, const double *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)row[i] * x[i];
    return sum;
}

static double activate(const oxp_rnn_shape *s, int which, double x)
{
    double clipped = fmin(fmax(x, -(double)s->clip), (double)s->clip);
    return s->activation[which].kind == OXP_ACT_SIGMOID ? 1 / (1 + exp(-clipped)) : tanh(clipped);
}

/* Gate g, unit j without the recurrent part, and with it. */
static double input_part(const oxp_rnn_shape *s, const oxp_rnn_data *d, size_t g, size_t j,
                         const double *x)
{
    size_t row = g * s->hidden + j;
    return row_dot(d->w + row * s->input, x, s->input) + (d->bias ? (double)d->bias[row] : 0);
}

static double recurrent_part(const oxp_rnn_shape *s, const oxp_rnn_data *d, size_t g, size_t j,
                             const double *h)
{
    size_t row = g * s->hidden + j, rows = oxp_rnn_gates(s->kind) * s->hidden;
    return row_dot(d->r + row * s->hidden, h, s->hidden) +
           (d->bias ? (double)d->bias[rows + row] : 0);
}

static double gate(const oxp_rnn_shape *s, const oxp_rnn_data *d, size_t g, size_t j,
                   const double *x, const double *h)
{
    return input_part(s, d, g, j, x) + recurrent_part(s, d, g, j, h);
}

static double peephole(const oxp_rnn_shape *s, const oxp_rnn_data *d, size_t which, size_t j,
                       double c)
{
    return d->peepholes ? (double)d->peepholes[which * s->hidden + j] * c : 0;
}

static void lstm_step(const oxp_rnn_shape *s, const oxp_rnn_data *d, const double *x, double *h,
                      double *c)
{
    double next[MOST_HIDDEN];
    for (size_t j = 0; j < s->hidden; j++) {
        double in = activate(s, 0, gate(s, d, 0, j, x, h) + peephole(s, d, 0, j, c[j]));
        double forget = activate(s, 0, gate(s, d, 2, j, x, h) + peephole(s, d, 2, j, c[j]));
        if (s->input_forget)
            forget = 1 - in;
        c[j] = forget * c[j] + in * activate(s, 1, gate(s, d, 3, j, x, h));
        next[j] = activate(s, 0, gate(s, d, 1, j, x, h) + peephole(s, d, 1, j, c[j])) * tanh(c[j]);
    }
    memcpy(h, next, s->hidden * sizeof *h);
}

static void gru_step(const oxp_rnn_shape *s, const oxp_rnn_data *d, const double *x, double *h)
{
    double z[MOST_HIDDEN], r[MOST_HIDDEN], product[MOST_HIDDEN], next[MOST_HIDDEN];
    for (size_t j = 0; j < s->hidden; j++) {
        z[j] = activate(s, 0, gate(s, d, 0, j, x, h));
        r[j] = activate(s, 0, gate(s, d, 1, j, x, h));
        product[j] = r[j] * h[j];
    }
    for (size_t j = 0; j < s->hidden; j++) {
        double recurrent = s->linear_before_reset ? r[j] * recurrent_part(s, d, 2, j, h)
                                                  : recurrent_part(s, d, 2, j, product);
        next[j] = (1 - z[j]) * activate(s, 1, input_part(s, d, 2, j, x) + recurrent) + z[j] * h[j];
    }
    memcpy(h, next, s->hidden * sizeof *h);
}

static void plain_step(const oxp_rnn_shape *s, const oxp_rnn_data *d, const double *x, double *h)
{
    double next[MOST_HIDDEN];
    for (size_t j = 0; j < s->hidden; j++)
        next[j] = activate(s, 0, gate(s, d, 0, j, x, h));
    memcpy(h, next, s->hidden * sizeof *h);
}

static double largest(double a, double b)
{
    return a > b || isnan(a) ? a : b;
}

/* The largest difference to what the kernel wrote, for one batch entry. */
static double evaluate(const oxp_rnn_shape *s, const oxp_rnn_data *d, size_t b)
{
    double h[MOST_HIDDEN], c[MOST_HIDDEN], x[MOST_HIDDEN], worst = 0;
    size_t length = d->lengths ? (size_t)d->lengths[b] : s->steps, at = b * s->state_batch;
    for (size_t j = 0; j < s->hidden; j++) {
        h[j] = d->h0 ? (double)d->h0[at + j] : 0;
        c[j] = d->c0 ? (double)d->c0[at + j] : 0;
    }
    for (size_t step = 0; step < s->steps; step++) {
        size_t time = s->reverse && step < length ? length - 1 - step : step;
        const float *from =
            d->x + (s->batch_first ? b * s->steps + time : time * s->batch + b) * s->input;
        for (size_t i = 0; i < s->input; i++)
            x[i] = (double)from[i];
        if (step < length && s->kind == OXP_RNN_LSTM)
            lstm_step(s, d, x, h, c);
        else if (step < length && s->kind == OXP_RNN_GRU)
            gru_step(s, d, x, h);
        else if (step < length)
            plain_step(s, d, x, h);
        for (size_t j = 0; j < s->hidden; j++) {
            double y = (double)d->y[time * s->y_step + b * s->y_batch + j];
            worst = largest(fabs(y - (step < length ? h[j] : 0)), worst);
        }
    }
    for (size_t j = 0; j < s->hidden; j++) {
        worst = largest(fabs((double)d->y_h[at + j] - h[j]), worst);
        if (s->kind == OXP_RNN_LSTM)
            worst = largest(fabs((double)d->y_c[at + j] - c[j]), worst);
    }
    return worst;
}

static oxp_rnn_shape random_shape(oxp_random *r, oxp_rnn_kind kind)
{
    oxp_activation_kind first = kind == OXP_RNN_PLAIN ? OXP_ACT_TANH : OXP_ACT_SIGMOID;
    oxp_rnn_shape s = {.kind = kind,
                       .steps = random_size(r, 0, 5),
                       .batch = random_size(r, 1, 4),
                       .input = random_size(r, 1, MOST_HIDDEN),
                       .hidden = random_size(r, 1, MOST_HIDDEN),
                       .batch_first = oxp_random_below(r, 2),
                       .reverse = oxp_random_below(r, 2),
                       .linear_before_reset = oxp_random_below(r, 2),
                       .input_forget = oxp_random_below(r, 4) == 0,
                       .clip = oxp_random_below(r, 2) ? 0.5f : INFINITY,
                       .activation = {{first, 0, 0}, {OXP_ACT_TANH, 0, 0}, {OXP_ACT_TANH, 0, 0}}};
    s.y_step = s.batch_first ? s.hidden : s.batch * s.hidden;
    s.y_batch = s.batch_first ? s.steps * s.hidden : s.hidden;
    s.state_batch = s.hidden;
    return s;
}

static void check(oxp_random *r, const oxp_rnn_shape *s)
{
    size_t rows = oxp_rnn_gates(s->kind) * s->hidden, state = s->batch * s->hidden;
    float *x = random_floats(r, s->steps * s->batch * s->input),
          *w = random_floats(r, rows * s->input);
    float *recurrence = random_floats(r, rows * s->hidden), *bias = random_floats(r, 2 * rows);
    float *peepholes = random_floats(r, 3 * s->hidden), *h0 = random_floats(r, state),
          *c0 = random_floats(r, state);
    int32_t lengths[4];
    for (size_t b = 0; b < s->batch; b++)
        lengths[b] = (int32_t)oxp_random_below(r, s->steps + 1);
    oxp_rnn_data d = {.x = x,
                      .w = w,
                      .r = recurrence,
                      .bias = oxp_random_below(r, 2) ? bias : NULL,
                      .peepholes = oxp_random_below(r, 2) ? peepholes : NULL,
                      .lengths = oxp_random_below(r, 2) ? lengths : NULL,
                      .h0 = oxp_random_below(r, 2) ? h0 : NULL,
                      .c0 = oxp_random_below(r, 2) ? c0 : NULL,
                      .y = make_block(s->steps * state, sizeof(float)),
                      .y_h = make_block(state, sizeof(float)),
                      .y_c = make_block(state, sizeof(float))};
    cr_assert_eq(oxp_rnn_run(&ctx, s, &d), OXP_OK, "%s", ctx.message);
    for (size_t b = 0; b < s->batch; b++) {
        double worst = evaluate(s, &d, b);
        cr_expect(worst < 1e-5, "kind %d, entry %zu is %g off", s->kind, b, worst);
    }
    float *blocks[] = {x, w, recurrence, bias, peepholes, h0, c0, d.y, d.y_h, d.y_c};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        free(blocks[i]);
}

Test(rnn, every_kind_follows_its_formula)
{
    oxp_random r = oxp_random_make(1, 0, 0);
    for (int i = 0; i < 300; i++) {
        oxp_rnn_shape s = random_shape(&r, (oxp_rnn_kind)(i % 3));
        check(&r, &s);
    }
}

Test(rnn, outputs_that_nobody_wants_are_left_out)
{
    oxp_random r = oxp_random_make(2, 0, 0);
    oxp_rnn_shape s = random_shape(&r, OXP_RNN_LSTM);
    s.steps = 3;
    size_t rows = 4 * s.hidden, state = s.batch * s.hidden;
    float *x = random_floats(&r, 3 * s.batch * s.input), *w = random_floats(&r, rows * s.input);
    float *recurrence = random_floats(&r, rows * s.hidden), *last = make_block(state, sizeof *last);
    oxp_rnn_data d = {.x = x, .w = w, .r = recurrence, .y_c = last};
    cr_expect_eq(oxp_rnn_run(&ctx, &s, &d), OXP_OK);
    free(x);
    free(w);
    free(recurrence);
    free(last);
}

Test(rnn, activations)
{
    static const struct {
        oxp_activation a;
        float x, y;
    } rows[] = {
        {{OXP_ACT_RELU, 0, 0}, -2, 0},
        {{OXP_ACT_RELU, 0, 0}, 2, 2},
        {{OXP_ACT_TANH, 0, 0}, 1, 0.76159416f},
        {{OXP_ACT_SIGMOID, 0, 0}, 0, 0.5f},
        {{OXP_ACT_AFFINE, 2, 3}, 4, 11},
        {{OXP_ACT_LEAKY_RELU, 0.1f, 0}, -10, -1},
        {{OXP_ACT_THRESHOLDED_RELU, 1, 0}, 1, 0},
        {{OXP_ACT_THRESHOLDED_RELU, 1, 0}, 1.5f, 1.5f},
        {{OXP_ACT_SCALED_TANH, 2, 0.5f}, 2, 1.5231883f},
        {{OXP_ACT_HARD_SIGMOID, 0.2f, 0.5f}, 9, 1},
        {{OXP_ACT_HARD_SIGMOID, 0.2f, 0.5f}, 1, 0.7f},
        {{OXP_ACT_ELU, 2, 0}, -1, -1.2642411f},
        {{OXP_ACT_SOFTSIGN, 0, 0}, -3, -0.75f},
        {{OXP_ACT_SOFTPLUS, 0, 0}, 0, 0.6931472f},
        {{OXP_ACT_SOFTPLUS, 0, 0}, 200, 200},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        cr_expect(fabsf(oxp_activate(rows[i].a, rows[i].x) - rows[i].y) < 1e-6f, "row %zu", i);
}
