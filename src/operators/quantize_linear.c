/* quantize_linear.c - QuantizeLinear: y = saturate(round(x / scale) + zero_point), halves to the
 * even neighbour; for the float formats of 8 and 4 bits y = (x / scale + zero_point) in that
 * format. Also com.microsoft's.
 *
 * The quotient is taken in the precision of the scale's type, or in that of the attribute
 * `precision`: for the half types it is rounded to them first, as the standard has it. NaN
 * becomes the least code. */
#include "operators/cast_float.h"
#include "operators/cast_float8.h"
#include "operators/quantize_linear_layout.h"
#include "operators/real.h"
#include "operators/vector_math.h"

typedef struct quantize_state {
    oxp_quantization layout;
    oxp_dtype precision;
    bool saturate;
} quantize_state;

/* Limits of the integer code types; false for the others. */
static bool code_range(oxp_dtype dtype, float *low, float *high)
{
    switch (dtype) {
    case OXP_UINT8:
    case OXP_UINT16:
    case OXP_UINT4:
    case OXP_UINT2:
        *low = 0.0f;
        *high = ldexpf(1.0f, (int)oxp_dtype_bits(dtype)) - 1.0f;
        return true;
    case OXP_INT8:
    case OXP_INT16:
    case OXP_INT4:
    case OXP_INT2:
        *low = -ldexpf(1.0f, (int)oxp_dtype_bits(dtype) - 1);
        *high = -*low - 1.0f;
        return true;
    default:
        return false;
    }
}

static bool is_small_float(oxp_dtype dtype)
{
    return oxp_dtype_is_float8(dtype) || dtype == OXP_FLOAT4E2M1;
}

static bool is_number(oxp_dtype dtype)
{
    return dtype == OXP_FLOAT || dtype == OXP_INT32 || oxp_dtype_is_half(dtype);
}

/* The zero point's type, else output_dtype, else UINT8. */
static oxp_status code_type(oxp_node *n, oxp_dtype *dtype)
{
    int64_t asked = oxp_attr_int(n, "output_dtype", 0);
    bool has_zero = oxp_node_has(n, 2);
    int64_t type = has_zero ? (int64_t)n->in[2]->dtype : asked != 0 ? asked : OXP_UINT8;
    float low, high;
    if (type <= 0 || type >= OXP_DTYPE_COUNT || (has_zero && asked != 0 && asked != type)) {
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE", "output_dtype is %lld, expected %s",
                             (long long)asked,
                             has_zero ? oxp_dtype_name(n->in[2]->dtype) : "a type of codes");
    }
    *dtype = (oxp_dtype)type;
    if (code_range(*dtype, &low, &high) || is_small_float(*dtype))
        return OXP_OK;
    return oxp_node_fail(n, OXP_EUNSUPPORTED, "E-OP-DTYPE", "quantising to %s is not supported",
                         oxp_dtype_name(*dtype));
}

static oxp_status prepare(oxp_node *n)
{
    const oxp_tensor *x = n->in[0], *scale = n->in[1];
    quantize_state *state = oxp_node_state(n, sizeof *state);
    if (!state)
        return n->ctx->status;
    oxp_dtype dtype = OXP_UNDEFINED;
    int64_t precision = oxp_attr_int(n, "precision", 0);
    state->saturate = oxp_attr_int(n, "saturate", 1) != 0;
    state->precision = oxp_dtype_is_half(scale->dtype) ? scale->dtype : OXP_FLOAT;
    if (precision == OXP_FLOAT || precision == OXP_FLOAT16 || precision == OXP_BFLOAT16) {
        state->precision = (oxp_dtype)precision;
    } else if (precision != 0) {
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE",
                             "precision is %lld, expected FLOAT, FLOAT16 or BFLOAT16",
                             (long long)precision);
    }
    if (!is_number(x->dtype))
        return oxp_node_bad_dtype(n, 0);
    if (!is_number(scale->dtype) && scale->dtype != OXP_FLOAT8E8M0)
        return oxp_node_bad_dtype(n, 1);
    OXP_TRY(code_type(n, &dtype));
    OXP_TRY(oxp_quantization_prepare(n, &state->layout));
    return oxp_output(n, 0, dtype, x->rank, x->dims);
}

/* ---- loops ---- */

/* Clipping before the zero point is added keeps every step exact. */
OXP_INLINE float code_of(float quotient, float zero, float low, float high)
{
    float r = nearbyintf(quotient);
    r = r > low - zero ? r : low - zero;
    r = r < high - zero ? r : high - zero;
    return r + zero;
}

typedef struct quantize_job {
    const float *x, *scales, *zeros;
    void *y;
    oxp_dtype precision;
    float low, high;
} quantize_job;

#define QUANTIZE(function, T)                                                                    \
    OXP_HOT static void function##_one(const float *x, T *y, size_t count, float scale,          \
                                       float zero, float low, float high)                        \
    {                                                                                            \
        OXP_LANES                                                                                \
        for (size_t i = 0; i < count; i++)                                                       \
            y[i] = (T)(int32_t)code_of(x[i] / scale, zero, low, high);                           \
    }                                                                                            \
    OXP_HOT static void function##_each(const float *x, T *y, size_t count, const float *scales, \
                                        const float *zeros, float low, float high)               \
    {                                                                                            \
        OXP_LANES                                                                                \
        for (size_t i = 0; i < count; i++)                                                       \
            y[i] = (T)(int32_t)code_of(x[i] / scales[i], zeros[i], low, high);                   \
    }                                                                                            \
    static void function(void *user, size_t offset, size_t count, size_t scale, bool moves)      \
    {                                                                                            \
        const quantize_job *j = user;                                                            \
        const float *scales = j->scales + scale, *zeros = j->zeros + scale;                      \
        T *y = (T *)j->y + offset;                                                               \
        if (moves)                                                                               \
            function##_each(j->x + offset, y, count, scales, zeros, j->low, j->high);            \
        else                                                                                     \
            function##_one(j->x + offset, y, count, *scales, *zeros, j->low, j->high);           \
    }
QUANTIZE(quantize_8, uint8_t)
QUANTIZE(quantize_16, uint16_t)

/* x / scale rounded to the job's precision, into floats. */
static void divide(void *user, size_t offset, size_t count, size_t scale, bool moves)
{
    const quantize_job *j = user;
    const float *x = j->x + offset, *scales = j->scales + scale;
    float *y = (float *)j->y + offset;
    for (size_t i = 0; i < count; i++) {
        float quotient = x[i] / scales[moves ? i : 0];
        if (j->precision == OXP_FLOAT16)
            quotient = oxp_half_load(oxp_half_store(quotient));
        else if (j->precision == OXP_BFLOAT16)
            quotient = oxp_bfloat_load(oxp_bfloat_store(quotient));
        y[i] = quotient;
    }
}

static void add_zeros(void *user, size_t offset, size_t count, size_t scale, bool moves)
{
    const quantize_job *j = user;
    const float *zeros = j->zeros + scale;
    float *y = (float *)j->y + offset;
    for (size_t i = 0; i < count; i++)
        y[i] += zeros[moves ? i : 0];
}

/* ---- forward ---- */

/* Quotients that were rounded already are divided by one. */
static const float *ones(oxp_node *n, size_t count)
{
    float *values = oxp_node_scratch(n, count, sizeof *values);
    for (size_t i = 0; values && i < count; i++)
        values[i] = 1.0f;
    return values;
}

static oxp_status forward_floats(oxp_node *n, quantize_job *job, const oxp_quantization *layout)
{
    const quantize_state *state = n->state;
    oxp_tensor *y = &n->out[0];
    float *quotients = oxp_node_scratch(n, y->count, sizeof *quotients);
    int8_t *codes = oxp_node_scratch(n, y->count, 1);
    if (!quotients || !codes)
        return n->ctx->status;
    job->y = quotients;
    oxp_quantization_walk(layout, divide, job);
    oxp_quantization_walk(layout, add_zeros, job);
    for (size_t i = 0; i < y->count; i++)
        codes[i] = (int8_t)oxp_float8_store(y->dtype, quotients[i], state->saturate);
    if (y->dtype == OXP_FLOAT4E2M1)
        oxp_codes_pack(y, codes);
    else
        memcpy(y->data, codes, y->count);
    return OXP_OK;
}

static oxp_status forward_integers(oxp_node *n, quantize_job *job, const oxp_quantization *layout)
{
    oxp_tensor *y = &n->out[0];
    unsigned bits = oxp_dtype_bits(y->dtype);
    code_range(y->dtype, &job->low, &job->high);
    if (job->precision != OXP_FLOAT) {
        float *quotients = oxp_node_scratch(n, y->count, sizeof *quotients);
        job->y = quotients;
        if (!quotients)
            return n->ctx->status;
        oxp_quantization_walk(layout, divide, job);
        job->x = quotients;
        job->scales = ones(n, n->in[1]->count);
        if (!job->scales)
            return n->ctx->status;
    }
    job->y = bits < 8 ? oxp_node_scratch(n, y->count, 1) : y->data;
    if (!job->y && bits < 8)
        return n->ctx->status;
    oxp_quantization_walk(layout, bits == 16 ? quantize_16 : quantize_8, job);
    if (bits < 8)
        oxp_codes_pack(y, job->y);
    return OXP_OK;
}

static oxp_status forward(oxp_node *n)
{
    const quantize_state *state = n->state;
    const oxp_tensor *x = n->in[0];
    quantize_job job = {.precision = state->precision};
    if (x->dtype == OXP_INT32) {
        float *floats = oxp_node_scratch(n, x->count, sizeof *floats);
        if (!floats)
            return n->ctx->status;
        for (size_t i = 0; i < x->count; i++)
            floats[i] = (float)((const int32_t *)x->data)[i];
        job.x = floats;
    } else {
        job.x = oxp_real_in(n, 0);
        if (!job.x)
            return n->ctx->status;
    }
    OXP_TRY(oxp_quantization_floats(n, 1, &job.scales));
    OXP_TRY(oxp_quantization_floats(n, 2, &job.zeros));
    return (is_small_float(n->out[0].dtype) ? forward_floats : forward_integers)(n, &job,
                                                                                 &state->layout);
}

#define QUANTIZE_LINEAR(symbol, domain_, since_, ...)         \
    const oxp_operator symbol = {                             \
        .domain = domain_,                                    \
        .type = "QuantizeLinear",                             \
        .since = since_,                                      \
        .min_in = 2,                                          \
        .max_in = 3,                                          \
        .min_out = 1,                                         \
        .max_out = 1,                                         \
        .optional = 1u << 2,                                  \
        .prepare = prepare,                                   \
        .forward = forward,                                   \
        .examples = (const char *const[]){__VA_ARGS__, NULL}, \
    };
#define COMMON                                                                                     \
    "X[2,3,4] S[]={0.01} Z[]:u8={128}", "X[2,3,4] S[3]={0.01,0.02,0.05} Z[3]:i8={0,1,-2}; axis=1", \
        "X[2,3] S[]={0.1}"
QUANTIZE_LINEAR(oxp_op_quantize_linear_10, "", 10, COMMON, "X[2,3]:f16 S[]:f16={0.1} Z[]:i8={0}",
                "X[2,3] S[3]={0.01,0.02,0.05}; axis=-1 output_dtype=22",
                "X[2,3] S[]={0.00001} Z[]:u16={32768}",
                "X[2,4] S[2,2]={0.01,0.02,0.05,0.1}; axis=1 block_size=2",
                "X[3,2] S[2,2]={0.01,0.02,0.05,0.1}; axis=0 block_size=2",
                "X[2,3] S[]={0.01}; output_dtype=17", "X[5] S[]={0.5}; output_dtype=25",
                "X[3]:i32={-7,5,900} S[]={2.0}")
QUANTIZE_LINEAR(oxp_op_ms_quantize_linear_1, "com.microsoft", 1, COMMON)
