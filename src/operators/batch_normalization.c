/* batch_normalization.c - BatchNormalization: y = (x - mean[c]) / sqrt(var[c] + epsilon) *
 * scale[c] + bias[c] over x[N, C, ...].
 *
 * https://onnx.ai/onnx/operators/onnx__BatchNormalization.html. Inference takes the given mean and
 * variance. With training_mode (opset 14) they are those of the batch (variance of the
 * population), and the outputs 1 and 2 are given * momentum + batch * (1 - momentum). Training as
 * opsets 1 to 9 have it is not supported. */
#include <math.h>

#include "kernels/channels.h"
#include "operators/normalization_rows.h"
#include "operators/gradient.h"
#include "operators/real.h"

typedef struct norm_state {
    size_t batch, channels, inner;
    float epsilon, momentum;
    bool training;
} norm_state;

static bool is_all_float(const oxp_node *n)
{
    for (int i = 0; i < 5; i++)
        if (!oxp_dtype_is_float(n->in[i]->dtype))
            return false;
    return true;
}

/* Opset 15 lets scale and bias, and mean and var, have float types of their own. */
static oxp_status check_inputs(oxp_node *n)
{
    const oxp_tensor *x = n->in[0];
    if (n->op->since < 14)
        OXP_TRY(oxp_real_types(n, 0x1e));
    if (!is_all_float(n))
        return oxp_node_fail(n, OXP_EFORMAT, "E-OP-DTYPE",
                             "an input is not of a float type (input 0 is %s)",
                             oxp_dtype_name(x->dtype));
    if (x->rank < 1)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                             "input 0 is a scalar, expected [N, C, ...]");
    int64_t channels = x->rank > 1 ? x->dims[1] : 1;
    for (int i = 1; i < 5; i++)
        if (n->in[i]->rank != 1 || n->in[i]->dims[0] != channels) {
            char text[OXP_SHAPE_TEXT_MAX];
            return oxp_node_fail(
                n, OXP_EFORMAT, "E-SHAPE", "input %d has shape %s, expected [%lld]", i,
                oxp_shape_text(text, n->in[i]->rank, n->in[i]->dims), (long long)channels);
        }
    return OXP_OK;
}

static oxp_status read_mode(oxp_node *n, norm_state *state)
{
    state->epsilon = oxp_attr_float(n, "epsilon", 1e-5f);
    state->momentum = oxp_attr_float(n, "momentum", 0.9f);
    state->training = n->op->since >= 14 && oxp_attr_int(n, "training_mode", 0) != 0;
    if (n->op->since < 9 && oxp_attr_int(n, "spatial", 1) != 1)
        return oxp_node_fail(
            n, OXP_EUNSUPPORTED, "E-ATTR-VALUE",
            "attribute \"spatial\" is not 1: statistics per position are not supported");
    if (n->op->since < 7)
        oxp_attr_ignore(n, "consumed_inputs"); /* a hint about memory */
    if (n->op->since < 7 && oxp_attr_int(n, "is_test", 0) == 0)
        return oxp_node_fail(n, OXP_EUNSUPPORTED, "E-OP-TRAINING",
                             "attribute \"is_test\" is 0: training in opset 6 is not supported");
    int outputs = state->training ? 3 : 1;
    for (int i = outputs; i < n->out_count; i++)
        if (n->wanted[i])
            return oxp_node_fail(n, OXP_EUNSUPPORTED, "E-OP-TRAINING",
                                 "output %d belongs to training and is not supported", i);
    return OXP_OK;
}

static oxp_status prepare(oxp_node *n)
{
    const oxp_tensor *x = n->in[0];
    norm_state *state = oxp_node_state(n, sizeof *state);
    if (!state)
        return OXP_ELIMIT;
    OXP_TRY(check_inputs(n));
    OXP_TRY(read_mode(n, state));
    state->batch = (size_t)x->dims[0];
    state->channels = x->rank > 1 ? (size_t)x->dims[1] : 1;
    size_t images = state->batch * state->channels;
    state->inner = x->count ? x->count / images : 0;
    if (state->training && x->count == 0)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "training needs values, input 0 has none");
    OXP_TRY(oxp_output(n, 0, x->dtype, x->rank, x->dims));
    oxp_output_overwrites(n, 0, 0);
    for (int i = 1; i < 3 && state->training; i++)
        OXP_TRY(oxp_output(n, i, n->in[3]->dtype, 1, n->in[3]->dims));
    return OXP_OK;
}

/* The mean and variance of the batch, and the running ones into the outputs 1 and 2. */
static oxp_status batch_statistics(oxp_node *n, const norm_state *state, const float *x,
                                   const float **mean, const float **var)
{
    float *batch_mean = oxp_node_scratch(n, state->channels, sizeof *batch_mean);
    float *batch_var = oxp_node_scratch(n, state->channels, sizeof *batch_var);
    if (!batch_mean || !batch_var)
        return OXP_ELIMIT;
    oxp_channel_statistics(x, state->batch, state->channels, state->inner, batch_mean, batch_var);
    const float *given[2] = {*mean, *var}, *found[2] = {batch_mean, batch_var};
    for (int i = 0; i < 2; i++) {
        if (!oxp_node_makes(n, i + 1))
            continue;
        float *running = oxp_real_out(n, i + 1);
        if (!running)
            return OXP_ELIMIT;
        for (size_t c = 0; c < state->channels; c++)
            running[c] = given[i][c] * state->momentum + found[i][c] * (1 - state->momentum);
        oxp_real_done(n, i + 1, running);
    }
    *mean = batch_mean;
    *var = batch_var;
    return OXP_OK;
}

static oxp_status forward(oxp_node *n)
{
    const norm_state *state = n->state;
    const float *in[5];
    for (int i = 0; i < 5; i++)
        if (!(in[i] = oxp_real_in(n, i)))
            return OXP_ELIMIT;
    if (state->training)
        OXP_TRY(batch_statistics(n, state, in[0], &in[3], &in[4]));
    if (!oxp_node_makes(n, 0))
        return OXP_OK;
    float *factor = oxp_node_scratch(n, state->channels, sizeof *factor), *y = oxp_real_out(n, 0);
    float *offset = oxp_node_scratch(n, state->channels, sizeof *offset);
    if (!factor || !offset || !y)
        return OXP_ELIMIT;
    for (size_t c = 0; c < state->channels; c++) {
        double f = (double)in[1][c] / sqrt((double)in[4][c] + (double)state->epsilon);
        factor[c] = (float)f;
        offset[c] = (float)((double)in[2][c] - (double)in[3][c] * f);
    }
    oxp_channel_affine(in[0], state->batch, state->channels, state->inner, factor, offset, y);
    oxp_real_done(n, 0, y);
    return OXP_OK;
}

/* One channel, brought together from all images: x and dy become rows. */
static void take_channel(const norm_state *s, const float *from, size_t c, float *row)
{
    for (size_t b = 0; b < s->batch; b++)
        for (size_t i = 0; i < s->inner; i++)
            row[b * s->inner + i] = from ? from[(b * s->channels + c) * s->inner + i] : 0;
}

static void add_to(const oxp_node *n, int i, size_t c, double value)
{
    if (oxp_din(n, i))
        oxp_din(n, i)[c] += (float)value;
}

/* The statistics are inputs (inference), or those of the row: then they carry on the gradients of
 * outputs 1 and 2. dx holds that of the row. */
static void backward_channel(const oxp_node *n, const float *const in[5], size_t c, const float *x,
                             float *dy, float *dx)
{
    const norm_state *s = n->state;
    size_t count = s->batch * s->inner;
    double mean = (double)in[3][c], variance = (double)in[4][c], sum = 0, product = 0;
    double kept = s->training ? (double)s->momentum : 1;
    double dmean = s->training && oxp_dout(n, 1) ? (double)oxp_dout(n, 1)[c] : 0;
    double dvariance = s->training && oxp_dout(n, 2) ? (double)oxp_dout(n, 2)[c] : 0;
    if (s->training)
        oxp_row_moments(x, count, &mean, &variance);
    double inverse = 1.0 / sqrt(variance + (double)s->epsilon), scale = (double)in[1][c];
    for (size_t i = 0; i < count; i++) {
        sum += (double)dy[i];
        product += (double)dy[i] * ((double)x[i] - mean) * inverse;
        dy[i] = (float)((double)dy[i] * scale);
        dx[i] = 0;
    }
    add_to(n, 1, c, product);
    add_to(n, 2, c, sum);
    if (s->training) {
        oxp_row_gradient row = {mean, inverse, true, (1 - kept) * dmean, (1 - kept) * dvariance};
        oxp_row_backward(&row, x, dy, dx, count);
        add_to(n, 3, c, kept * dmean);
        add_to(n, 4, c, kept * dvariance);
        return;
    }
    for (size_t i = 0; i < count; i++)
        dx[i] = (float)((double)dy[i] * inverse);
    add_to(n, 3, c, -scale * inverse * sum);
    add_to(n, 4, c, -0.5 * scale * inverse * inverse * product);
}

static oxp_status backward(oxp_node *n)
{
    const norm_state *s = n->state;
    const float *in[5] = {NULL};
    size_t count = s->batch * s->inner;
    float *x = oxp_node_scratch(n, count, sizeof *x), *dy = oxp_node_scratch(n, count, sizeof *dy);
    float *dx = oxp_node_scratch(n, count, sizeof *dx), *to = oxp_din(n, 0);
    for (int i = 0; i < 5; i++)
        if (i != 2 && !(in[i] = oxp_real_in(n, i)))
            return OXP_ELIMIT;
    if (!x || !dy || !dx)
        return OXP_ELIMIT;
    for (size_t c = 0; n->in[0]->count && c < s->channels; c++) {
        take_channel(s, in[0], c, x);
        take_channel(s, oxp_dout(n, 0), c, dy);
        backward_channel(n, in, c, x, dy, dx);
        for (size_t b = 0; to && b < s->batch; b++)
            oxp_gradient_add(to + (b * s->channels + c) * s->inner, dx + b * s->inner, s->inner, 1);
    }
    return OXP_OK;
}

static const char *const examples[] = {"X[2,3,4,5] S[3] B[3] M[3] V[3]={0.5,1.0,2.0}",
                                       "X[1,2,17] S[2] B[2] M[2] V[2]={0.25,3.0}; epsilon=0.01",
                                       "X[4,2] S[2] B[2] M[2] V[2]={0.25,3.0}", NULL};

static const char *const examples_1[] = {"X[2,3,4,5] S[3] B[3] M[3] V[3]={0.5,1.0,2.0}; is_test=1",
                                         NULL};

static const char *const examples_14[] = {
    "X[2,3,4,5] S[3] B[3] M[3] V[3]={0.5,1.0,2.0}",
    "X[4,2,3] S[2] B[2] M[2] V[2]={0.25,3.0}; training_mode=1 momentum=0.75 outputs=3",
    "X[1,2,5]:f16 S[2] B[2] M[2] V[2]={0.25,3.0}", NULL};

#define BATCH_NORMALIZATION(since_, max_out_, examples_)                                       \
    {                                                                                          \
        .domain = "", .type = "BatchNormalization", .since = since_, .min_in = 5, .max_in = 5, \
        .min_out = 1, .max_out = max_out_, .prepare = prepare, .forward = forward,             \
        .backward = backward, .saves = 0x1b, .examples = examples_                             \
    }

const oxp_operator oxp_op_batch_normalization_1 = BATCH_NORMALIZATION(1, 5, examples_1);
const oxp_operator oxp_op_batch_normalization_7 = BATCH_NORMALIZATION(7, 5, examples);
const oxp_operator oxp_op_batch_normalization_9 = BATCH_NORMALIZATION(9, 5, examples);
const oxp_operator oxp_op_batch_normalization_14 = BATCH_NORMALIZATION(14, 3, examples_14);
