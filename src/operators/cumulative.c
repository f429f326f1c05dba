/* cumulative.c - CumSum and CumProd along one axis, given as the second input. With exclusive=1
 * the element itself is left out, with reverse=1 the running starts at the end. Floats are
 * accumulated in double; integers wrap. */
#include "operators/real.h"
#include "operators/gradient.h"
#include "operators/cast_float.h"
#include "operators/cast_integer.h"
#include "operators/movement.h"
#include "operators/vector_math.h"

typedef struct cumulative_state {
    bool product, exclusive, reverse;
    size_t outer, length, inner;
} cumulative_state;

/* Accumulators that run side by side. */
#define COLUMNS 256

static oxp_status prepare(oxp_node *n)
{
    const oxp_tensor *x = n->in[0];
    cumulative_state *state = oxp_node_state(n, sizeof *state);
    if (!state)
        return n->ctx->status;
    int64_t value = 0;
    int axis = 0;
    if (!oxp_dtype_is_float(x->dtype) && oxp_integer_bytes(x->dtype) == 0)
        return oxp_node_bad_dtype(n, 0);
    OXP_TRY(oxp_move_scalar(n, 1, &value));
    OXP_TRY(oxp_node_axis(n, value, x->rank, false, &axis));
    state->product = strcmp(n->op->type, "CumProd") == 0;
    state->exclusive = oxp_attr_int(n, "exclusive", 0) != 0;
    state->reverse = oxp_attr_int(n, "reverse", 0) != 0;
    state->length = (size_t)x->dims[axis];
    state->outer = state->inner = 1;
    for (int d = 0; d < x->rank; d++)
        if (d != axis)
            *(d < axis ? &state->outer : &state->inner) *= (size_t)x->dims[d];
    OXP_TRY(oxp_output(n, 0, x->dtype, x->rank, x->dims));
    oxp_output_overwrites(n, 0, 0);
    return OXP_OK;
}

/* One line of `count` neighbouring columns: y is the running value, before or after x joins it. */
#define ADVANCE(function, T)                                                                     \
    OXP_WIDE static void function(const T *x, T *y, double *running, size_t count, bool product, \
                                  bool exclusive)                                                \
    {                                                                                            \
        OXP_LANES                                                                                \
        for (size_t i = 0; i < count; i++) {                                                     \
            double v = (double)x[i], before = running[i];                                        \
            running[i] = product ? before * v : before + v;                                      \
            y[i] = (T)(exclusive ? before : running[i]);                                         \
        }                                                                                        \
    }
ADVANCE(advance_f32, float)
ADVANCE(advance_f64, double)

static void run_reals(const cumulative_state *s, bool is_double, const void *x, void *y,
                      size_t first, size_t count)
{
    double running[COLUMNS];
    for (size_t i = 0; i < count; i++)
        running[i] = s->product ? 1.0 : 0.0;
    for (size_t k = 0; k < s->length; k++) {
        size_t at = first + (s->reverse ? s->length - 1 - k : k) * s->inner;
        if (is_double)
            advance_f64((const double *)x + at, (double *)y + at, running, count, s->product,
                        s->exclusive);
        else
            advance_f32((const float *)x + at, (float *)y + at, running, count, s->product,
                        s->exclusive);
    }
}

static void run_integers(const cumulative_state *s, const oxp_tensor *x, oxp_tensor *y,
                         size_t first, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t running = s->product ? 1 : 0;
        for (size_t k = 0; k < s->length; k++) {
            size_t at = first + i + (s->reverse ? s->length - 1 - k : k) * s->inner;
            uint64_t v = (uint64_t)oxp_integer_load(x->data, x->dtype, at), before = running;
            running = s->product ? before * v : before + v;
            oxp_integer_store(y->data, x->dtype, at, (int64_t)(s->exclusive ? before : running));
        }
    }
}

static oxp_status forward(oxp_node *n)
{
    const cumulative_state *s = n->state;
    const oxp_tensor *x = n->in[0];
    const void *from = x->data;
    void *to = n->out[0].data;
    bool is_real = oxp_dtype_is_float(x->dtype), is_double = x->dtype == OXP_DOUBLE;
    if (x->count == 0)
        return OXP_OK;
    if (is_real && !is_double) {
        const float *floats;
        float *out;
        OXP_TRY(oxp_move_floats(n, 0, &floats));
        OXP_TRY(oxp_move_float_output(n, 0, &out));
        from = floats;
        to = out;
    }
    for (size_t o = 0; o < s->outer; o++)
        for (size_t i = 0; i < s->inner; i += COLUMNS) {
            size_t first = o * s->length * s->inner + i,
                   count = s->inner - i < COLUMNS ? s->inner - i : COLUMNS;
            if (is_real)
                run_reals(s, is_double, from, to, first, count);
            else
                run_integers(s, x, &n->out[0], first, count);
        }
    if (is_real && !is_double)
        oxp_move_store(n, 0, to);
    return OXP_OK;
}

/* One line, in the order of the running: a running sum's gradient is the sum of those after it.
 * A product's, with P[k] the product before k and r the gradient by what runs on, in
 * double:
 *   exclusive  y[k] = P[k]: dx[k] = P[k] r, then r = x[k] r + dy[k]
 *   else       y[k] = P[k] x[k]: r += dy[k], dx[k] = P[k] r, then r = x[k] r */
static void backward_line(const cumulative_state *s, const float *x, const float *dy, float *dx,
                          double *before)
{
    double running = 1, left = 0;
    for (size_t k = 0; s->product && k < s->length; k++) {
        size_t at = (s->reverse ? s->length - 1 - k : k) * s->inner;
        before[k] = running;
        running *= (double)x[at];
    }
    for (size_t k = s->length; k-- > 0;) {
        size_t at = (s->reverse ? s->length - 1 - k : k) * s->inner;
        double factor = s->product ? (double)x[at] : 1;
        if (!s->exclusive)
            left += (double)dy[at];
        dx[at] += (float)(left * (s->product ? before[k] : 1));
        left *= factor;
        if (s->exclusive)
            left += (double)dy[at];
    }
}

static oxp_status backward(oxp_node *n)
{
    const cumulative_state *s = n->state;
    const float *dy = oxp_dout(n, 0), *x = NULL;
    float *dx = oxp_din(n, 0);
    double *before = oxp_node_scratch(n, s->length, sizeof *before);
    if (!before || (s->product && !(x = oxp_real_in(n, 0))))
        return n->ctx->status;
    for (size_t o = 0; dx && dy && o < s->outer; o++)
        for (size_t i = 0; i < s->inner; i++) {
            size_t at = o * s->length * s->inner + i;
            backward_line(s, x ? x + at : NULL, dy + at, dx + at, before);
        }
    return OXP_OK;
}

#define CUMULATIVE(symbol, type_, since_, saves_)                                                \
    const oxp_operator symbol = {                                                                \
        .domain = "",                                                                            \
        .type = type_,                                                                           \
        .since = since_,                                                                         \
        .min_in = 2,                                                                             \
        .max_in = 2,                                                                             \
        .min_out = 1,                                                                            \
        .max_out = 1,                                                                            \
        .values = 1u << 1,                                                                       \
        .prepare = prepare,                                                                      \
        .forward = forward,                                                                      \
        .backward = backward,                                                                    \
        .saves = saves_,                                                                         \
        .examples =                                                                              \
            (const char *const[]){"X[5] axis[]:i64={0}", "X[2,3,4] axis[]:i32={1}; reverse=1",   \
                                  "X[2,3] axis[]:i64={-1}; exclusive=1",                         \
                                  "X[2,3]:f64 axis[]:i32={0}; exclusive=1 reverse=1",            \
                                  "X[2,3]:i32 axis[]:i32={1}", "X[4]:f16 axis[]:i32={0}", NULL}, \
    };
CUMULATIVE(oxp_op_cum_sum_11, "CumSum", 11, 0)
CUMULATIVE(oxp_op_cum_prod_26, "CumProd", 26, 1)
