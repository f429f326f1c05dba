/* softmax.c - Softmax, LogSoftmax and Hardmax: e^x / sum e^x, x - log sum e^x, and 1 at the first
 * largest element.
 *
 * From opset 13 on along one axis (default the last). Before, the input is seen as a matrix
 * whose rows are all dimensions from `axis` (default 1) on. The largest element is taken out
 * first; sums are accumulated in double. */
#include <string.h>

#include "operators/real.h"
#include "operators/gradient.h"
#include "operators/cast_float.h"
#include "operators/movement.h"
#include "operators/vector_math.h"

typedef enum softmax_kind { KIND_SOFTMAX, KIND_LOG, KIND_HARD } softmax_kind;

typedef struct softmax_state {
    softmax_kind kind;
    size_t outer, length, inner; /* elements of a line are `inner` apart */
} softmax_state;

static oxp_status prepare(oxp_node *n)
{
    const oxp_tensor *x = n->in[0];
    softmax_state *state = oxp_node_state(n, sizeof *state);
    if (!state)
        return n->ctx->status;
    if (!oxp_dtype_is_float(x->dtype))
        return oxp_node_bad_dtype(n, 0);
    bool matrix = n->op->since < 13;
    int axis = 0;
    int64_t value = oxp_attr_int(n, "axis", matrix ? 1 : -1);
    if (x->rank > 0) /* a scalar is a line of one element */
        OXP_TRY(oxp_node_axis(n, value, x->rank, false, &axis));
    const char *type = n->op->type;
    state->kind = strcmp(type, "Softmax") == 0      ? KIND_SOFTMAX
                  : strcmp(type, "LogSoftmax") == 0 ? KIND_LOG
                                                    : KIND_HARD;
    state->outer = state->length = state->inner = 1;
    for (int d = 0; d < x->rank; d++) {
        size_t *part = d < axis              ? &state->outer
                       : d == axis || matrix ? &state->length
                                             : &state->inner;
        *part *= (size_t)x->dims[d];
    }
    OXP_TRY(oxp_output(n, 0, x->dtype, x->rank, x->dims));
    if (state->kind != KIND_HARD)
        oxp_output_overwrites(n, 0, 0);
    return OXP_OK;
}

/* ---- lines whose elements are neighbours ---- */

#define LANES 16

OXP_HOT static float largest(const float *x, size_t count)
{
    float lanes[LANES];
    size_t i = 0;
    for (int k = 0; k < LANES; k++)
        lanes[k] = -INFINITY;
    for (; i + LANES <= count; i += LANES)
        for (size_t k = 0; k < LANES; k++)
            lanes[k] = x[i + k] > lanes[k] ? x[i + k] : lanes[k];
    for (; i < count; i++)
        lanes[0] = x[i] > lanes[0] ? x[i] : lanes[0];
    for (int k = 1; k < LANES; k++)
        lanes[0] = lanes[k] > lanes[0] ? lanes[k] : lanes[0];
    return lanes[0];
}

OXP_HOT static void exponentials(const float *x, float *y, size_t count, float shift)
{
    OXP_LANES
    for (size_t i = 0; i < count; i++)
        y[i] = oxp_expf(x[i] - shift);
}

OXP_HOT static double total(const float *x, size_t count)
{
    double lanes[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= count; i += LANES)
        for (size_t k = 0; k < LANES; k++)
            lanes[k] += (double)x[i + k];
    for (; i < count; i++)
        lanes[i % LANES] += (double)x[i];
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int k = 0; k < width; k++)
            lanes[k] += lanes[k + width];
    return lanes[0];
}

OXP_HOT static double total_of_exponentials(const float *x, size_t count, float shift)
{
    float block[OXP_BLOCK];
    double sum = 0.0;
    for (size_t i = 0; i < count; i += OXP_BLOCK) {
        size_t some = count - i < OXP_BLOCK ? count - i : OXP_BLOCK;
        exponentials(x + i, block, some, shift);
        sum += total(block, some);
    }
    return sum;
}

OXP_HOT static void scale(float *y, size_t count, float factor)
{
    for (size_t i = 0; i < count; i++)
        y[i] *= factor;
}

/* The shift and the logarithm are taken off one after the other: their sum would lose the small
 * one's digits. */
OXP_HOT static void subtract(const float *x, float *y, size_t count, float shift, float logarithm)
{
    OXP_LANES
    for (size_t i = 0; i < count; i++)
        y[i] = (x[i] - shift) - logarithm;
}

static void softmax_line(softmax_kind kind, const float *x, float *y, size_t count)
{
    float shift = largest(x, count);
    if (kind == KIND_SOFTMAX) {
        exponentials(x, y, count, shift);
        scale(y, count, (float)(1.0 / total(y, count)));
    } else {
        double sum = total_of_exponentials(x, count, shift);
        subtract(x, y, count, shift, (float)log(sum));
    }
}

/* ---- lines side by side, through blocks of columns ---- */

OXP_HOT static void largest_each(const float *x, float *most, size_t count)
{
    OXP_LANES
    for (size_t i = 0; i < count; i++)
        most[i] = x[i] > most[i] ? x[i] : most[i];
}

OXP_HOT static void exponentials_each(const float *x, float *y, const float *shifts, double *sums,
                                      size_t count)
{
    OXP_LANES
    for (size_t i = 0; i < count; i++) {
        float e = oxp_expf(x[i] - shifts[i]);
        y[i] = e;
        sums[i] += (double)e;
    }
}

OXP_HOT static void scale_each(float *y, const float *factors, size_t count)
{
    OXP_LANES
    for (size_t i = 0; i < count; i++)
        y[i] *= factors[i];
}

OXP_HOT static void subtract_each(const float *x, float *y, const float *shifts,
                                  const float *logarithms, size_t count)
{
    OXP_LANES
    for (size_t i = 0; i < count; i++)
        y[i] = (x[i] - shifts[i]) - logarithms[i];
}

static void softmax_columns(const softmax_state *s, const float *x, float *y, size_t count)
{
    float shifts[OXP_BLOCK], unused[OXP_BLOCK], factors[OXP_BLOCK];
    double sums[OXP_BLOCK];
    for (size_t i = 0; i < count; i++) {
        shifts[i] = -INFINITY;
        sums[i] = 0.0;
    }
    for (size_t k = 0; k < s->length; k++)
        largest_each(x + k * s->inner, shifts, count);
    for (size_t k = 0; k < s->length; k++) {
        float *to = s->kind == KIND_SOFTMAX ? y + k * s->inner : unused;
        exponentials_each(x + k * s->inner, to, shifts, sums, count);
    }
    for (size_t i = 0; i < count; i++)
        factors[i] = (float)(s->kind == KIND_SOFTMAX ? 1.0 / sums[i] : log(sums[i]));
    for (size_t k = 0; k < s->length; k++) {
        if (s->kind == KIND_SOFTMAX)
            scale_each(y + k * s->inner, factors, count);
        else
            subtract_each(x + k * s->inner, y + k * s->inner, shifts, factors, count);
    }
}

/* ---- the rest: DOUBLE, and Hardmax of any type ---- */

static void softmax_doubles(const softmax_state *s, const double *x, double *y)
{
    double shift = -(double)INFINITY, sum = 0.0;
    for (size_t k = 0; k < s->length; k++)
        shift = x[k * s->inner] > shift ? x[k * s->inner] : shift;
    for (size_t k = 0; k < s->length; k++)
        sum += exp(x[k * s->inner] - shift);
    for (size_t k = 0; k < s->length; k++) {
        double v = x[k * s->inner] - shift;
        y[k * s->inner] = s->kind == KIND_SOFTMAX ? exp(v) / sum : v - log(sum);
    }
}

#define HARDMAX(function, T)                                        \
    static void function(const softmax_state *s, const T *x, T *y)  \
    {                                                               \
        size_t best = 0;                                            \
        for (size_t k = 0; k < s->length; k++) {                    \
            y[k * s->inner] = 0;                                    \
            best = x[k * s->inner] > x[best * s->inner] ? k : best; \
        }                                                           \
        y[best * s->inner] = 1;                                     \
    }
HARDMAX(hardmax_floats, float)
HARDMAX(hardmax_doubles, double)

static oxp_status forward_doubles(oxp_node *n)
{
    const softmax_state *s = n->state;
    for (size_t o = 0; o < s->outer; o++)
        for (size_t i = 0; i < s->inner; i++) {
            size_t at = o * s->length * s->inner + i;
            const double *x = (const double *)n->in[0]->data + at;
            double *y = (double *)n->out[0].data + at;
            (s->kind == KIND_HARD ? hardmax_doubles : softmax_doubles)(s, x, y);
        }
    return OXP_OK;
}

static void run_outer(const softmax_state *s, const float *x, float *y)
{
    if (s->kind == KIND_HARD) {
        for (size_t i = 0; i < s->inner; i++)
            hardmax_floats(s, x + i, y + i);
    } else if (s->inner == 1) {
        softmax_line(s->kind, x, y, s->length);
    } else {
        for (size_t i = 0; i < s->inner; i += OXP_BLOCK)
            softmax_columns(s, x + i, y + i, s->inner - i < OXP_BLOCK ? s->inner - i : OXP_BLOCK);
    }
}

static oxp_status forward(oxp_node *n)
{
    const softmax_state *s = n->state;
    if (n->in[0]->count == 0)
        return OXP_OK;
    if (n->in[0]->dtype == OXP_DOUBLE)
        return forward_doubles(n);
    const float *x;
    float *y;
    OXP_TRY(oxp_move_floats(n, 0, &x));
    OXP_TRY(oxp_move_float_output(n, 0, &y));
    for (size_t o = 0; o < s->outer; o++)
        run_outer(s, x + o * s->length * s->inner, y + o * s->length * s->inner);
    oxp_move_store(n, 0, y);
    return OXP_OK;
}

/* One line: dx += y (dy - sum of dy y), or dy - e^y times the sum of dy. */
static void backward_line(const softmax_state *s, const float *y, const float *dy, float *dx)
{
    double sum = 0;
    bool logarithm = s->kind == KIND_LOG;
    for (size_t k = 0; k < s->length * s->inner; k += s->inner)
        sum += (double)dy[k] * (logarithm ? 1 : (double)y[k]);
    for (size_t k = 0; k < s->length * s->inner; k += s->inner)
        dx[k] += logarithm ? (float)((double)dy[k] - exp((double)y[k]) * sum)
                           : (float)((double)y[k] * ((double)dy[k] - sum));
}

static oxp_status backward(oxp_node *n)
{
    const softmax_state *s = n->state;
    const float *dy = oxp_dout(n, 0), *y;
    float *dx = oxp_din(n, 0);
    if (!dx || !dy || s->kind == KIND_HARD)
        return OXP_OK;
    y = oxp_real_saved(n, 0);
    if (!y)
        return n->ctx->status;
    for (size_t o = 0; o < s->outer; o++)
        for (size_t i = 0; i < s->inner; i++) {
            size_t at = o * s->length * s->inner + i;
            backward_line(s, y + at, dy + at, dx + at);
        }
    return OXP_OK;
}

#define SOFTMAX(symbol, type_, since_, backward_)                                               \
    const oxp_operator symbol = {                                                               \
        .domain = "",                                                                           \
        .type = type_,                                                                          \
        .since = since_,                                                                        \
        .min_in = 1,                                                                            \
        .max_in = 1,                                                                            \
        .min_out = 1,                                                                           \
        .max_out = 1,                                                                           \
        .prepare = prepare,                                                                     \
        .forward = forward,                                                                     \
        .backward = backward_,                                                                  \
        .saves = 1u << 16,                                                                      \
        .examples =                                                                             \
            (const char *const[]){"X[2,3]", "X[2,3,4]", "X[2,3,4]; axis=1", "X[2,3,4]; axis=0", \
                                  "X[2,37]", "X[2,3]:f16", "X[2,3]:f64; axis=-1",               \
                                  "X[3]={1000.0,1001.0,-1000.0}; axis=0", NULL},                \
    };
SOFTMAX(oxp_op_softmax_1, "Softmax", 1, backward)
SOFTMAX(oxp_op_softmax_13, "Softmax", 13, backward)
SOFTMAX(oxp_op_log_softmax_1, "LogSoftmax", 1, backward)
SOFTMAX(oxp_op_log_softmax_13, "LogSoftmax", 13, backward)
SOFTMAX(oxp_op_hardmax_1, "Hardmax", 1, oxp_backward_zero)
SOFTMAX(oxp_op_hardmax_13, "Hardmax", 13, oxp_backward_zero)
