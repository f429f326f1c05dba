/* activation.c - Y = f(X), elementwise: the activation functions with up to two float attributes.
 *
 * The sigmoid, softplus and exponential forms neither overflow nor cancel. Relu and Shrink also
 * run on integers. NaN stays NaN in all of them. */
#include "operators/unary.h"

OXP_UNARY_F32(relu_f32, v < 0.0f ? 0.0f : v)
OXP_UNARY_F64(relu_f64, v < 0.0 ? 0.0 : v)
OXP_UNARY_F32(sigmoid_f32, oxp_sigmoidf(v))
OXP_UNARY_F64(sigmoid_f64, v < 0.0 ? exp(v) / (1.0 + exp(v)) : 1.0 / (1.0 + exp(-v)))
OXP_UNARY_F32(tanh_f32, oxp_tanhf(v))
OXP_UNARY_F64(tanh_f64, tanh(v))
OXP_UNARY_F32(leaky_relu_f32, v < 0.0f ? a * v : v)
OXP_UNARY_F64(leaky_relu_f64, v < 0.0 ? a * v : v)
OXP_UNARY_F32(elu_f32, v < 0.0f ? a * oxp_expm1f(v) : v)
OXP_UNARY_F64(elu_f64, v < 0.0 ? a * expm1(v) : v)
OXP_UNARY_F32(selu_f32, b *(v < 0.0f ? a * oxp_expm1f(v) : v))
OXP_UNARY_F64(selu_f64, b *(v < 0.0 ? a * expm1(v) : v))

/* max(0, v) + min(0, a (e^(v/a) - 1)); for a negative `a` the second term is not tied to v's
 * sign. */
OXP_INLINE float celu(float v, float a)
{
    float e = a * oxp_expm1f(v / a);
    return (v < 0.0f ? 0.0f : v) + (e > 0.0f ? 0.0f : e);
}
OXP_UNARY_F32(celu_f32, celu(v, a))
OXP_UNARY_F64(celu_f64, fmax(0.0, v) + fmin(0.0, a *expm1(v / a)))

OXP_INLINE float unit(float v)
{
    return v < 0.0f ? 0.0f : v > 1.0f ? 1.0f : v;
}
static double unit64(double v)
{
    return v < 0.0 ? 0.0 : v > 1.0 ? 1.0 : v;
}
/* A gate scales whole planes, and its rounding errors do not average out: doubles inside. */
OXP_UNARY_F32(hard_sigmoid_f32, unit((float)((double)a *(double)v + (double)b)))
OXP_UNARY_F64(hard_sigmoid_f64, unit64(a *v + b))
OXP_UNARY_F32(hard_swish_f32, v *unit(v *(1.0f / 6.0f) + 0.5f))
OXP_UNARY_F64(hard_swish_f64, v *unit64(v / 6.0 + 0.5))
OXP_UNARY_F32(softplus_f32, oxp_softplusf(v))
OXP_UNARY_F64(softplus_f64, log1p(exp(-fabs(v))) + fmax(v, 0.0))
OXP_UNARY_F32(softsign_f32, v / (1.0f + fabsf(v)))
OXP_UNARY_F64(softsign_f64, v / (1.0 + fabs(v)))

/* v tanh(log(1 + e^v)) = v n / (n + 2) with n = e^v (e^v + 2). */
OXP_INLINE float mish(float v)
{
    float e = oxp_expf(v > 20.0f ? 20.0f : v);
    float n = e * (e + 2.0f);
    return v * (n / (n + 2.0f));
}
OXP_UNARY_F32(mish_f32, mish(v))
OXP_UNARY_F64(mish_f64, v *tanh(log1p(exp(-fabs(v))) + fmax(v, 0.0)))

OXP_UNARY_F32(thresholded_relu_f32, v > a ? v : v != v ? v : 0.0f)
OXP_UNARY_F64(thresholded_relu_f64, v > a ? v : v != v ? v : 0.0)
OXP_UNARY_F32(shrink_f32, v<-a ? v + b : v> a ? v - b : v != v ? v : 0.0f)
OXP_UNARY_F64(shrink_f64, v<-a ? v + b : v> a ? v - b : v != v ? v : 0.0)
OXP_UNARY_F32(swish_f32, v *oxp_sigmoidf(a *v))
OXP_UNARY_F64(swish_f64, v *(1.0 / (1.0 + exp(-a * v))))

/* s' = s (1 - s) for the logistic function, without cancellation far out. */
OXP_INLINE float sigmoid_slope(float v)
{
    float e = oxp_expf(-fabsf(v)), d = 1.0f + e;
    return e / (d * d);
}

/* With t = tanh(softplus(v)): t + v (1 - t^2) s(v). */
OXP_INLINE float mish_slope(float v)
{
    float t = oxp_tanhf(oxp_softplusf(v));
    return t + v * (1.0f - t) * (1.0f + t) * oxp_sigmoidf(v);
}

OXP_INLINE float celu_slope(float v, float a)
{
    float e = a * oxp_expm1f(v / a);
    return (v < 0.0f ? 0.0f : 1.0f) + (e > 0.0f ? 0.0f : oxp_expf(v / a));
}

OXP_INLINE float hard_swish_slope(float v)
{
    float u = v * (1.0f / 6.0f) + 0.5f;
    return u <= 0.0f ? 0.0f : u >= 1.0f ? 1.0f : u + v * (1.0f / 6.0f);
}

OXP_UNARY_DF(relu_df, v > 0.0f ? 1.0f : 0.0f)
OXP_UNARY_DF(sigmoid_df, sigmoid_slope(v))
OXP_UNARY_DF(tanh_df, (1.0f - oxp_tanhf(v)) * (1.0f + oxp_tanhf(v)))
OXP_UNARY_DF(leaky_relu_df, v < 0.0f ? a : 1.0f)
OXP_UNARY_DF(elu_df, v < 0.0f ? a * oxp_expf(v) : 1.0f)
OXP_UNARY_DF(selu_df, b *(v < 0.0f ? a * oxp_expf(v) : 1.0f))
OXP_UNARY_DF(celu_df, celu_slope(v, a))
OXP_UNARY_DF(hard_sigmoid_df, a *v + b > 0.0f && a * v + b < 1.0f ? a : 0.0f)
OXP_UNARY_DF(hard_swish_df, hard_swish_slope(v))
OXP_UNARY_DF(softplus_df, oxp_sigmoidf(v))
OXP_UNARY_DF(softsign_df, 1.0f / ((1.0f + fabsf(v)) * (1.0f + fabsf(v))))
OXP_UNARY_DF(mish_df, mish_slope(v))
OXP_UNARY_DF(thresholded_relu_df, v > a ? 1.0f : 0.0f)
OXP_UNARY_DF(shrink_df, v<-a || v> a ? 1.0f : 0.0f)
OXP_UNARY_DF(swish_df, oxp_sigmoidf(a *v) + a * v * sigmoid_slope(a * v))

static int64_t relu_integer(int64_t x, bool is_unsigned, const float *p)
{
    (void)p;
    return is_unsigned || x > 0 ? x : 0;
}

/* Through double, cut towards zero. */
static int64_t shrink_integer(int64_t x, bool is_unsigned, const float *p)
{
    double v = is_unsigned ? (double)(uint64_t)x : (double)x;
    double y = shrink_f64(v, p);
    if (y >= 0x1p63)
        return is_unsigned && y < 0x1p64 ? (int64_t)(uint64_t)y : is_unsigned ? -1 : INT64_MAX;
    return y < -0x1p63 ? INT64_MIN : (int64_t)y;
}

static const oxp_unary functions[] = {
    {.type = "Relu", .f32 = relu_f32, .f64 = relu_f64, .df = relu_df, .integer = relu_integer},
    {.type = "Sigmoid", .f32 = sigmoid_f32, .f64 = sigmoid_f64, .df = sigmoid_df},
    {.type = "Tanh", .f32 = tanh_f32, .f64 = tanh_f64, .df = tanh_df},
    {.type = "LeakyRelu",
     .f32 = leaky_relu_f32,
     .f64 = leaky_relu_f64,
     .df = leaky_relu_df,
     .attributes = {{"alpha", 0.01f}}},
    {.type = "Elu", .f32 = elu_f32, .f64 = elu_f64, .df = elu_df, .attributes = {{"alpha", 1.0f}}},
    {.type = "Selu",
     .f32 = selu_f32,
     .f64 = selu_f64,
     .df = selu_df,
     .attributes = {{"alpha", 1.67326319217681884765625f}, {"gamma", 1.05070102214813232421875f}}},
    {.type = "Celu",
     .f32 = celu_f32,
     .f64 = celu_f64,
     .df = celu_df,
     .attributes = {{"alpha", 1.0f}}},
    {.type = "HardSigmoid",
     .f32 = hard_sigmoid_f32,
     .f64 = hard_sigmoid_f64,
     .df = hard_sigmoid_df,
     .attributes = {{"alpha", 0.2f}, {"beta", 0.5f}}},
    {.type = "HardSwish", .f32 = hard_swish_f32, .f64 = hard_swish_f64, .df = hard_swish_df},
    {.type = "Softplus", .f32 = softplus_f32, .f64 = softplus_f64, .df = softplus_df},
    {.type = "Softsign", .f32 = softsign_f32, .f64 = softsign_f64, .df = softsign_df},
    {.type = "Mish", .f32 = mish_f32, .f64 = mish_f64, .df = mish_df},
    {.type = "ThresholdedRelu",
     .f32 = thresholded_relu_f32,
     .f64 = thresholded_relu_f64,
     .df = thresholded_relu_df,
     .attributes = {{"alpha", 1.0f}}},
    {.type = "Shrink",
     .f32 = shrink_f32,
     .f64 = shrink_f64,
     .df = shrink_df,
     .integer = shrink_integer,
     .attributes = {{"lambd", 0.5f}, {"bias", 0.0f}}},
    {.type = "Swish",
     .f32 = swish_f32,
     .f64 = swish_f64,
     .df = swish_df,
     .attributes = {{"alpha", 1.0f}}},
    {.type = "QuickGelu",
     .f32 = swish_f32,
     .f64 = swish_f64,
     .df = swish_df,
     .attributes = {{"alpha", 1.702f}}},
};

static oxp_status prepare(oxp_node *n)
{
    return oxp_unary_prepare(n, functions, sizeof functions / sizeof *functions);
}

#define ACTIVATION(name, type, since, ...) \
    OXP_UNARY_OPERATOR(oxp_op_##name, "", type, since, prepare, __VA_ARGS__)

ACTIVATION(relu_6, "Relu", 6, "X[2,3,4]", "X[3]:i8={-3,0,4}", "X[5]:f16", "X[3]:f64")
ACTIVATION(sigmoid_6, "Sigmoid", 6, "X[2,3]", "X[4]={-100.0,-8.0,8.0,100.0}", "X[3]:f64",
           "X[3]:bf16")
ACTIVATION(tanh_6, "Tanh", 6, "X[2,3]", "X[4]={-20.0,-0.7,0.6,5.0}", "X[3]:f64", "X[3]:f16")
ACTIVATION(leaky_relu_6, "LeakyRelu", 6, "X[2,3]", "X[2,3]; alpha=0.2", "X[3]:f64")
ACTIVATION(elu_6, "Elu", 6, "X[2,3]", "X[2,3]; alpha=2.0", "X[3]:f64")
ACTIVATION(selu_6, "Selu", 6, "X[2,3]", "X[2,3]; alpha=2.0 gamma=3.0", "X[3]:f64")
ACTIVATION(celu_12, "Celu", 12, "X[2,3]", "X[2,3]; alpha=2.0", "X[3]:f64")
ACTIVATION(hard_sigmoid_6, "HardSigmoid", 6, "X[2,3]", "X[3]={-4.0,0.3,4.0}; alpha=0.5 beta=0.6",
           "X[3]:f64")
ACTIVATION(hard_swish_14, "HardSwish", 14, "X[5]={-4.0,-1.0,0.5,2.0,4.0}", "X[2,3]:f64")
ACTIVATION(softplus_1, "Softplus", 1, "X[2,3]", "X[3]={-90.0,1.0,90.0}", "X[3]:f64")
ACTIVATION(softsign_1, "Softsign", 1, "X[2,3]", "X[3]:f64")
ACTIVATION(mish_18, "Mish", 18, "X[2,3]", "X[3]={-30.0,1.0,30.0}", "X[3]:f64")
ACTIVATION(thresholded_relu_10, "ThresholdedRelu", 10, "X[4]={-1.0,0.5,1.5,3.0}",
           "X[4]={-1.0,0.5,1.5,3.0}; alpha=2.0", "X[3]:f64")
ACTIVATION(shrink_9, "Shrink", 9, "X[4]={-2.0,-0.1,0.4,3.0}",
           "X[4]={-2.0,-0.1,0.4,3.0}; lambd=1.5 bias=1.5", "X[3]:i32={-5,0,5}; bias=1.0")
ACTIVATION(swish_24, "Swish", 24, "X[2,3]", "X[2,3]; alpha=1.5", "X[3]:f64")
OXP_UNARY_OPERATOR(oxp_op_ms_quick_gelu_1, "com.microsoft", "QuickGelu", 1, prepare, "X[2,3]",
                   "X[2,3]; alpha=1.0")
