/* swiglu.c - SwiGLU: Y = A sigmoid(alpha A) B, of two tensors of one shape.
 * https://onnx.ai/onnx/operators/onnx__SwiGLU.html */
#include "operators/gradient.h"
#include "operators/real.h"
#include "operators/vector_math.h"

static oxp_status prepare(oxp_node *n)
{
    const oxp_tensor *a = n->in[0], *b = n->in[1];
    float *alpha = oxp_node_state(n, sizeof *alpha);
    char found[OXP_SHAPE_TEXT_MAX], expected[OXP_SHAPE_TEXT_MAX];
    if (!alpha)
        return n->ctx->status;
    *alpha = oxp_attr_float(n, "alpha", 1.0f);
    OXP_TRY(oxp_real_types(n, 1 << 1));
    bool same = a->rank == b->rank;
    for (int d = 0; same && d < a->rank; d++)
        same = a->dims[d] == b->dims[d];
    if (!same)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "B has shape %s, expected that of A, %s",
                             oxp_shape_text(found, b->rank, b->dims),
                             oxp_shape_text(expected, a->rank, a->dims));
    OXP_TRY(oxp_output(n, 0, a->dtype, a->rank, a->dims));
    oxp_output_overwrites(n, 0, 0);
    return OXP_OK;
}

OXP_HOT static void gate(const float *a, const float *b, float *y, size_t count, float alpha)
{
    OXP_LANES
    for (size_t i = 0; i < count; i++)
        y[i] = a[i] * oxp_sigmoidf(alpha * a[i]) * b[i];
}

static void gate_doubles(const double *a, const double *b, double *y, size_t count, double alpha)
{
    for (size_t i = 0; i < count; i++)
        y[i] = a[i] / (1.0 + exp(-alpha * a[i])) * b[i];
}

static oxp_status forward(oxp_node *n)
{
    const oxp_tensor *x = n->in[0];
    float alpha = *(const float *)n->state;
    if (x->dtype == OXP_DOUBLE) {
        gate_doubles(x->data, n->in[1]->data, n->out[0].data, x->count, (double)alpha);
        return OXP_OK;
    }
    const float *a = oxp_real_in(n, 0), *b = oxp_real_in(n, 1);
    float *y = oxp_real_out(n, 0);
    if (!a || !b || !y)
        return n->ctx->status;
    gate(a, b, y, x->count, alpha);
    oxp_real_done(n, 0, y);
    return OXP_OK;
}

/* With s = sigmoid(alpha a): dA = dY b s (1 + alpha a (1 - s)), dB = dY a s. */
static oxp_status backward(oxp_node *n)
{
    float alpha = *(const float *)n->state;
    const float *a = oxp_real_in(n, 0), *b = oxp_real_in(n, 1), *dy = oxp_dout(n, 0);
    float *da = oxp_din(n, 0), *db = oxp_din(n, 1);
    if (!a || !b)
        return n->ctx->status;
    for (size_t i = 0; dy && i < n->in[0]->count; i++) {
        float s = oxp_sigmoidf(alpha * a[i]), rest = oxp_sigmoidf(-alpha * a[i]);
        if (da)
            da[i] += dy[i] * b[i] * s * (1.0f + alpha * a[i] * rest);
        if (db)
            db[i] += dy[i] * a[i] * s;
    }
    return OXP_OK;
}

const oxp_operator oxp_op_swiglu_28 = {
    .domain = "",
    .type = "SwiGLU",
    .since = 28,
    .min_in = 2,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .prepare = prepare,
    .forward = forward,
    .backward = backward,
    .saves = 3,
    .examples = (const char *const[]){"A[2,3] B[2,3]", "A[5]:f16 B[5]:f16; alpha=1.5",
                                      "A[2]:f64 B[2]:f64", NULL},
};
