/* loss.c - NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss over X[N, C, D...] and the classes
 * T[N, D...], with the optional weights w[C]:
 *
 *     log_prob = X - log sum_c e^X (of the second alone)    loss[n, d] = -w[t] * log_prob[n, t, d]
 *
 * reduction `none` gives loss, `sum` its sum, `mean` the sum over the sum of w[t]. Where t is
 * ignore_index the loss and the weight are 0. Everything is computed in double.
 * https://onnx.ai/onnx/operators/onnx__SoftmaxCrossEntropyLoss.html */
#include <math.h>
#include <string.h>

#include "operators/gradient.h"
#include "operators/movement.h"
#include "operators/real.h"

enum { REDUCTION_NONE, REDUCTION_SUM, REDUCTION_MEAN };

typedef struct loss_state {
    bool softmax, ignores;
    int64_t ignored;
    int reduction;
    size_t outer, classes, inner; /* N, C, the product of D */
} loss_state;

static oxp_status refuse_shapes(oxp_node *n, const char *expected)
{
    char x[OXP_SHAPE_TEXT_MAX], t[OXP_SHAPE_TEXT_MAX];
    return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "scores %s and classes %s, expected %s",
                         oxp_shape_text(x, n->in[0]->rank, n->in[0]->dims),
                         oxp_shape_text(t, n->in[1]->rank, n->in[1]->dims), expected);
}

static oxp_status check_shapes(oxp_node *n, loss_state *s)
{
    const oxp_tensor *x = n->in[0], *t = n->in[1];
    if (x->rank < 2 || t->rank != x->rank - 1 || t->dims[0] != x->dims[0])
        return refuse_shapes(n, "[N, C, D...] and [N, D...]");
    s->outer = (size_t)x->dims[0];
    s->classes = (size_t)x->dims[1];
    s->inner = 1;
    for (int d = 2; d < x->rank; d++) {
        if (x->dims[d] != t->dims[d - 1])
            return refuse_shapes(n, "the same D... in both");
        s->inner *= (size_t)x->dims[d];
    }
    if (t->dtype != OXP_INT32 && t->dtype != OXP_INT64)
        return oxp_node_fail(n, OXP_EFORMAT, "E-OP-DTYPE",
                             "the classes have type %s, expected INT32 or INT64",
                             oxp_dtype_name(t->dtype));
    if (oxp_node_has(n, 2) && (n->in[2]->rank != 1 || n->in[2]->count != s->classes))
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "%zu weights, expected one for each of %zu",
                             n->in[2]->count, s->classes);
    return OXP_OK;
}

static oxp_status prepare(oxp_node *n)
{
    static const char *const reductions[] = {"none", "sum", "mean", NULL};
    const oxp_tensor *x = n->in[0], *t = n->in[1];
    loss_state *s = oxp_node_state(n, sizeof *s);
    if (!s)
        return n->ctx->status;
    OXP_TRY(oxp_real_types(n, 1 << 2));
    OXP_TRY(check_shapes(n, s));
    s->softmax = strcmp(n->op->type, "SoftmaxCrossEntropyLoss") == 0;
    s->ignores = oxp_attr_present(n, "ignore_index");
    s->ignored = oxp_attr_int(n, "ignore_index", 0);
    OXP_TRY(oxp_move_choice(n, "reduction", "mean", reductions, &s->reduction));
    int rank = s->reduction == REDUCTION_NONE ? t->rank : 0;
    OXP_TRY(oxp_output(n, 0, x->dtype, rank, t->dims));
    if (n->out_count > 1)
        OXP_TRY(oxp_output(n, 1, x->dtype, x->rank, x->dims));
    return OXP_OK;
}

static void write(oxp_tensor *y, size_t i, double value)
{
    oxp_move_write_real(y->dtype, value, (uint8_t *)y->data + i * (oxp_dtype_bits(y->dtype) / 8));
}

/* The logarithm of sum_c e^X[.., c, ..] over the classes of one place. */
static double log_of_sum(const loss_state *s, const oxp_tensor *x, size_t first)
{
    double most = -(double)INFINITY, sum = 0.0;
    for (size_t c = 0; c < s->classes; c++)
        most = fmax(most, oxp_tensor_real(x, first + c * s->inner));
    if (isinf(most))
        return most;
    for (size_t c = 0; c < s->classes; c++)
        sum += exp(oxp_tensor_real(x, first + c * s->inner) - most);
    return most + log(sum);
}

static oxp_status read_class(oxp_node *n, size_t place, bool *ignored, size_t *class)
{
    const loss_state *s = n->state;
    int64_t t = oxp_tensor_int(n->in[1], place);
    *ignored = s->ignores && t == s->ignored;
    if (*ignored)
        return OXP_OK;
    if (t < 0 || t >= (int64_t)s->classes)
        return oxp_node_fail(n, OXP_EFORMAT, "E-INDEX", "class %zu is %lld, expected [0, %zu)",
                             place, (long long)t, s->classes);
    *class = (size_t)t;
    return OXP_OK;
}

static oxp_status forward(oxp_node *n)
{
    const loss_state *s = n->state;
    const oxp_tensor *x = n->in[0];
    double sum = 0.0, weights = 0.0;
    for (size_t place = 0; place < s->outer * s->inner; place++) {
        size_t first = place / s->inner * s->classes * s->inner + place % s->inner, class = 0;
        bool ignored;
        double shift = s->softmax ? log_of_sum(s, x, first) : 0.0;
        for (size_t c = 0; oxp_node_makes(n, 1) && c < s->classes; c++)
            write(&n->out[1], first + c * s->inner,
                  oxp_tensor_real(x, first + c * s->inner) - shift);
        OXP_TRY(read_class(n, place, &ignored, &class));
        double weight = ignored ? 0.0 : oxp_node_has(n, 2) ? oxp_tensor_real(n->in[2], class) : 1.0;
        double log_prob = oxp_tensor_real(x, first + class * s->inner) - shift;
        double loss = ignored ? 0.0 : -weight * log_prob;
        sum += loss;
        weights += weight;
        if (s->reduction == REDUCTION_NONE && oxp_node_makes(n, 0))
            write(&n->out[0], place, loss);
    }
    if (s->reduction != REDUCTION_NONE && oxp_node_makes(n, 0))
        write(&n->out[0], 0, s->reduction == REDUCTION_MEAN ? sum / weights : sum);
    return OXP_OK;
}

/* The weights of all places added up, for the mean. */
static oxp_status total_weight(oxp_node *n, double *total)
{
    const loss_state *s = n->state;
    *total = 0.0;
    for (size_t place = 0; place < s->outer * s->inner; place++) {
        size_t class = 0;
        bool ignored;
        OXP_TRY(read_class(n, place, &ignored, &class));
        if (!ignored)
            *total += oxp_node_has(n, 2) ? oxp_tensor_real(n->in[2], class) : 1.0;
    }
    return OXP_OK;
}

/* One place: d is the gradient of its loss, and output 1 gives one of every log_prob. */
static void back_place(oxp_node *n, size_t first, size_t class, double by_class)
{
    const loss_state *s = n->state;
    const float *dlog = oxp_dout(n, 1);
    float *dx = oxp_din(n, 0);
    double sum = by_class, shift = s->softmax ? log_of_sum(s, n->in[0], first) : 0.0;
    for (size_t c = 0; dlog && c < s->classes; c++)
        sum += (double)dlog[first + c * s->inner];
    for (size_t c = 0; c < s->classes; c++) {
        size_t at = first + c * s->inner;
        double d = (c == class ? by_class : 0.0) + (dlog ? (double)dlog[at] : 0.0);
        if (s->softmax)
            d -= sum * exp(oxp_tensor_real(n->in[0], at) - shift);
        dx[at] += (float)d;
    }
}

/* loss = -w log_prob over what it is a mean of; with L the whole loss and W the sum of weights,
 * the mean also has dw[t] -= L / W per place. */
static oxp_status backward(oxp_node *n)
{
    const loss_state *s = n->state;
    const float *dy = oxp_dout(n, 0);
    float *dw = oxp_din(n, 2);
    bool mean = s->reduction == REDUCTION_MEAN;
    double total = 1.0;
    if (mean)
        OXP_TRY(total_weight(n, &total));
    for (size_t place = 0; place < s->outer * s->inner; place++) {
        size_t first = place / s->inner * s->classes * s->inner + place % s->inner, class = 0;
        bool ignored;
        OXP_TRY(read_class(n, place, &ignored, &class));
        double d = dy ? (double)dy[s->reduction == REDUCTION_NONE ? place : 0] / total : 0.0;
        double weight = ignored ? 0.0 : oxp_node_has(n, 2) ? oxp_tensor_real(n->in[2], class) : 1.0;
        double shift = s->softmax ? log_of_sum(s, n->in[0], first) : 0.0;
        double log_prob = oxp_tensor_real(n->in[0], first + class * s->inner) - shift;
        if (oxp_din(n, 0))
            back_place(n, first, class, -weight * d);
        if (dw && !ignored)
            dw[class] += (float)(-d * (log_prob + (mean ? oxp_tensor_real(&n->out[0], 0) : 0.0)));
    }
    return OXP_OK;
}

static const char *const examples[] = {
    "X[2,3] T[2]:i64={2,0}",
    "X[2,3]:f64 T[2]:i32={1,1} W[3]:f64; reduction='sum'",
    "X[2,3,2] T[2,2]:i64={0,1,-1,2} W[3]; ignore_index=-1",
    "X[1,4,2,2]:f16 T[1,2,2]:i64={3,1,0,2}; reduction='none'",
    NULL,
};

const oxp_operator oxp_op_negative_log_likelihood_loss_12 = {
    .domain = "",
    .type = "NegativeLogLikelihoodLoss",
    .since = 12,
    .min_in = 2,
    .max_in = 3,
    .min_out = 1,
    .max_out = 1,
    .prepare = prepare,
    .forward = forward,
    .backward = backward,
    .saves = 7 | 1u << 16,
    .examples = examples,
};

const oxp_operator oxp_op_softmax_cross_entropy_loss_12 = {
    .domain = "",
    .type = "SoftmaxCrossEntropyLoss",
    .since = 12,
    .min_in = 2,
    .max_in = 3,
    .min_out = 1,
    .max_out = 2,
    .prepare = prepare,
    .forward = forward,
    .backward = backward,
    .saves = 7 | 1u << 16,
    .examples = examples,
};
