/* lrn.c - LRN: y = x / (bias + alpha / size * sum of x^2 over the channels c - floor((size-1)/2)
 * .. c + ceil((size-1)/2))^beta.
 *
 * https://onnx.ai/onnx/operators/onnx__LRN.html. x[N, C, ...]. Computes in FLOAT, sums in
 * double. */
#include <math.h>

#include "operators/gradient.h"
#include "operators/real.h"

typedef struct lrn_state {
    size_t images, channels, inner;
    size_t before, after; /* channels on either side */
    double alpha, beta, bias;
} lrn_state;

static oxp_status prepare(oxp_node *n)
{
    const oxp_tensor *x = n->in[0];
    lrn_state *state = oxp_node_state(n, sizeof *state);
    if (!state)
        return OXP_ELIMIT;
    OXP_TRY(oxp_real_types(n, 0));
    int64_t size = oxp_attr_int(n, "size", 0);
    if (size < 1 || size > INT32_MAX)
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE",
                             "attribute \"size\" is %lld, expected at least 1", (long long)size);
    if (x->rank < 2)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "input 0 has rank %d, expected at least 2",
                             x->rank);
    state->before = (size_t)(size - 1) / 2;
    state->after = (size_t)(size - 1) - state->before;
    state->alpha = (double)oxp_attr_float(n, "alpha", 0.0001f) / (double)size;
    state->beta = (double)oxp_attr_float(n, "beta", 0.75f);
    state->bias = (double)oxp_attr_float(n, "bias", 1);
    state->images = x->count ? (size_t)x->dims[0] : 0;
    state->channels = (size_t)x->dims[1];
    state->inner = x->count ? x->count / (state->images * state->channels) : 0;
    return oxp_output(n, 0, x->dtype, x->rank, x->dims);
}

static float normalised(const lrn_state *state, const float *image, size_t c, size_t i)
{
    size_t first = c > state->before ? c - state->before : 0, last = c + state->after;
    double sum = 0;
    last = last < state->channels ? last : state->channels - 1;
    for (size_t k = first; k <= last; k++) {
        double x = (double)image[k * state->inner + i];
        sum += x * x;
    }
    return (float)((double)image[c * state->inner + i] /
                   pow(state->bias + state->alpha * sum, state->beta));
}

static oxp_status forward(oxp_node *n)
{
    if (!oxp_node_makes(n, 0))
        return OXP_OK;
    const lrn_state *state = n->state;
    const float *x = oxp_real_in(n, 0);
    float *y = oxp_real_out(n, 0);
    if (!x || !y)
        return OXP_ELIMIT;
    size_t image = state->channels * state->inner;
    for (size_t k = 0; k < state->images; k++)
        for (size_t c = 0; c < state->channels; c++)
            for (size_t i = 0; i < state->inner; i++)
                y[k * image + c * state->inner + i] = normalised(state, x + k * image, c, i);
    oxp_real_done(n, 0, y);
    return OXP_OK;
}

/* With S[c] the sum in the denominator and q[c] = dy x S^(-beta-1):
 * dx[j] += dy[j] S[j]^-beta - 2 alpha beta x[j] * sum of q over the c whose window holds j. */
static void backward_pixel(const lrn_state *s, const float *x, const float *dy, float *dx,
                           double *powers, double *q)
{
    for (size_t c = 0; c < s->channels; c++) {
        size_t first = c > s->before ? c - s->before : 0, last = c + s->after;
        double sum = 0;
        last = last < s->channels ? last : s->channels - 1;
        for (size_t k = first; k <= last; k++)
            sum += (double)x[k * s->inner] * (double)x[k * s->inner];
        double base = s->bias + s->alpha * sum;
        powers[c] = pow(base, -s->beta);
        q[c] = (double)dy[c * s->inner] * (double)x[c * s->inner] * powers[c] / base;
    }
    for (size_t j = 0; j < s->channels; j++) {
        size_t first = j > s->after ? j - s->after : 0, last = j + s->before;
        double sum = 0;
        last = last < s->channels ? last : s->channels - 1;
        for (size_t c = first; c <= last; c++)
            sum += q[c];
        dx[j * s->inner] += (float)((double)dy[j * s->inner] * powers[j] -
                                    2 * s->alpha * s->beta * (double)x[j * s->inner] * sum);
    }
}

static oxp_status backward(oxp_node *n)
{
    const lrn_state *s = n->state;
    const float *x = oxp_real_in(n, 0), *dy = oxp_dout(n, 0);
    float *dx = oxp_din(n, 0);
    double *powers = oxp_node_scratch(n, s->channels, sizeof *powers);
    double *q = oxp_node_scratch(n, s->channels, sizeof *q);
    if (!x || !powers || !q)
        return OXP_ELIMIT;
    for (size_t k = 0; dx && dy && k < s->images; k++)
        for (size_t i = 0; i < s->inner; i++) {
            size_t at = k * s->channels * s->inner + i;
            backward_pixel(s, x + at, dy + at, dx + at, powers, q);
        }
    return OXP_OK;
}

static const char *const examples[] = {"X[2,5,3,4]; size=3",
                                       "X[1,6,7]; size=4 alpha=0.5 beta=0.5 bias=2.0",
                                       "X[1,3,2,2]; size=9 alpha=1.0", NULL};

const oxp_operator oxp_op_lrn_1 = {.domain = "",
                                   .type = "LRN",
                                   .since = 1,
                                   .min_in = 1,
                                   .max_in = 1,
                                   .min_out = 1,
                                   .max_out = 1,
                                   .prepare = prepare,
                                   .forward = forward,
                                   .backward = backward,
                                   .saves = 1,
                                   .examples = examples};
