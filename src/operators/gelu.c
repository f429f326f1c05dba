/* gelu.c - Gelu: y = x Phi(x) = x/2 (1 + erf(x / sqrt 2)), or its approximation with tanh, x/2 (1 +
 * tanh(sqrt(2/pi) (x + 0.044715 x^3))) = x sigmoid(2 sqrt(2/pi) (x + 0.044715 x^3)).
 *
 * com.microsoft has three more: Gelu (exact), BiasGelu (exact, of x + bias[last axis]) and
 * FastGelu (the approximation, with an optional bias). With a bias they run on FLOAT, FLOAT16
 * and BFLOAT16. */
#include "operators/gradient.h"
#include "operators/movement.h"
#include "operators/unary.h"

OXP_UNARY_F32(exact_f32, 0.5f * v * oxp_erf_plus_onef(v * 0.707106781f))
OXP_UNARY_F64(exact_f64, 0.5 * v * erfc(v * -0.70710678118654752440))
OXP_UNARY_F32(tanh_f32, v *oxp_sigmoidf(1.59576912f * (v + 0.044715f * v * v * v)))
OXP_UNARY_F64(tanh_f64, v / (1.0 + exp(-1.5957691216057307 * (v + 0.044715 * v * v * v))))

/* Phi(x) + x phi(x). */
OXP_UNARY_DF(exact_df, 0.5f * oxp_erf_plus_onef(v * 0.707106781f) +
                           v * 0.398942280f * oxp_expf(-0.5f * v * v))
/* With u = 2 sqrt(2/pi) (x + 0.044715 x^3): s(u) + x s(u) s(-u) u'. */
OXP_UNARY_DF(tanh_df, oxp_sigmoidf(1.59576912f * (v + 0.044715f * v * v * v)) +
                          v * oxp_sigmoidf(1.59576912f * (v + 0.044715f * v * v * v)) *
                              oxp_sigmoidf(-1.59576912f * (v + 0.044715f * v * v * v)) *
                              1.59576912f * (1.0f + 0.134145f * v * v))

static const oxp_unary exact = {.type = "Gelu", .f32 = exact_f32, .f64 = exact_f64, .df = exact_df};
static const oxp_unary approximate = {
    .type = "Gelu", .f32 = tanh_f32, .f64 = tanh_f64, .df = tanh_df};

static oxp_status prepare_gelu(oxp_node *n)
{
    static const char *const choices[] = {"none", "tanh", NULL};
    int choice = 0;
    OXP_TRY(oxp_move_choice(n, "approximate", "none", choices, &choice));
    return oxp_unary_prepare_row(n, choice == 0 ? &exact : &approximate);
}

static oxp_status prepare_exact(oxp_node *n)
{
    return oxp_unary_prepare_row(n, &exact);
}

static bool has_bias(const oxp_node *n)
{
    return n->in_count > 1 && n->in[1];
}

static oxp_status check_bias(oxp_node *n)
{
    const oxp_tensor *x = n->in[0], *bias = n->in[1];
    int64_t last = x->rank > 0 ? x->dims[x->rank - 1] : -1;
    if (x->dtype == OXP_DOUBLE)
        return oxp_node_bad_dtype(n, 0);
    OXP_TRY(oxp_node_want(n, 1, x->dtype));
    if (bias->rank == 1 && bias->dims[0] == last)
        return OXP_OK;
    char a[OXP_SHAPE_TEXT_MAX], b[OXP_SHAPE_TEXT_MAX];
    return oxp_node_fail(
        n, OXP_EFORMAT, "E-SHAPE", "bias has shape %s, expected the last axis of %s",
        oxp_shape_text(a, bias->rank, bias->dims), oxp_shape_text(b, x->rank, x->dims));
}

static oxp_status prepare_bias_gelu(oxp_node *n)
{
    OXP_TRY(oxp_unary_prepare_row(n, &exact));
    return check_bias(n);
}

static oxp_status prepare_fast_gelu(oxp_node *n)
{
    OXP_TRY(oxp_unary_prepare_row(n, &approximate));
    return has_bias(n) ? check_bias(n) : OXP_OK;
}

OXP_HOT static void add_row(const float *x, const float *bias, float *y, size_t count)
{
    OXP_LANES
    for (size_t i = 0; i < count; i++)
        y[i] = x[i] + bias[i];
}

static oxp_status forward_with_bias(oxp_node *n, const oxp_unary *row)
{
    const float *x, *bias;
    float *y;
    const float none[OXP_UNARY_ATTRIBUTES] = {0};
    OXP_TRY(oxp_move_floats(n, 0, &x));
    OXP_TRY(oxp_move_floats(n, 1, &bias));
    OXP_TRY(oxp_move_float_output(n, 0, &y));
    size_t last = n->in[1]->count;
    for (size_t i = 0; i < n->in[0]->count; i += last) {
        add_row(x + i, bias, y + i, last);
        row->f32(y + i, y + i, last, none);
    }
    oxp_move_store(n, 0, y);
    return OXP_OK;
}

/* The argument and its gradient are made whole; the bias's is their sum over the rows. */
static oxp_status backward_with_bias(oxp_node *n, const oxp_unary *row)
{
    const float *dy = oxp_dout(n, 0), *x, *bias;
    const float none[OXP_UNARY_ATTRIBUTES] = {0};
    size_t count = n->in[0]->count, last = n->in[1]->count;
    if (!dy)
        return OXP_OK;
    OXP_TRY(oxp_move_floats(n, 0, &x));
    OXP_TRY(oxp_move_floats(n, 1, &bias));
    float *sum = oxp_node_scratch(n, count, sizeof *sum);
    float *dsum = oxp_node_scratch(n, count, sizeof *dsum);
    if (!sum || !dsum)
        return n->ctx->status;
    for (size_t i = 0; i < count; i += last)
        add_row(x + i, bias, sum + i, last);
    row->df(sum, dy, dsum, count, none);
    if (oxp_din(n, 0))
        oxp_gradient_add(oxp_din(n, 0), dsum, count, 1);
    if (!oxp_din(n, 1))
        return OXP_OK;
    return oxp_gradient_reduce(n, oxp_din(n, 1), n->in[1], dsum, n->in[0]->rank, n->in[0]->dims, 1);
}

static oxp_status forward_bias_gelu(oxp_node *n)
{
    return forward_with_bias(n, &exact);
}

static oxp_status forward_fast_gelu(oxp_node *n)
{
    return has_bias(n) ? forward_with_bias(n, &approximate) : oxp_unary_forward(n);
}

static oxp_status backward_bias_gelu(oxp_node *n)
{
    return backward_with_bias(n, &exact);
}

static oxp_status backward_fast_gelu(oxp_node *n)
{
    return has_bias(n) ? backward_with_bias(n, &approximate) : oxp_unary_backward(n);
}

OXP_UNARY_OPERATOR(oxp_op_gelu_20, "", "Gelu", 20, prepare_gelu, "X[2,5]",
                   "X[4]={-7.0,-1.0,1.0,7.0}", "X[2,5]; approximate='tanh'", "X[3]:f16", "X[3]:f64")
OXP_UNARY_OPERATOR(oxp_op_ms_gelu_1, "com.microsoft", "Gelu", 1, prepare_exact, "X[2,5]",
                   "X[3]:f64")

const oxp_operator oxp_op_ms_bias_gelu_1 = {
    .domain = "com.microsoft",
    .type = "BiasGelu",
    .since = 1,
    .min_in = 2,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .prepare = prepare_bias_gelu,
    .forward = forward_bias_gelu,
    .backward = backward_bias_gelu,
    .saves = 3,
    .examples = (const char *const[]){"A[2,3,5] B[5]", "A[2,5]:f16 B[5]:f16", NULL},
};

const oxp_operator oxp_op_ms_fast_gelu_1 = {
    .domain = "com.microsoft",
    .type = "FastGelu",
    .since = 1,
    .min_in = 1,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .optional = 1u << 1,
    .prepare = prepare_fast_gelu,
    .forward = forward_fast_gelu,
    .backward = backward_fast_gelu,
    .saves = 3,
    .examples =
        (const char *const[]){"X[2,3,5]", "X[2,3,5] bias[5]", "X[2,5]:bf16 bias[5]:bf16", NULL},
};
