/* quantize_linear_inverse.c - DequantizeLinear: y = (x - zero_point) scale, with codes of 2 to
 * 32 bits or of the small float formats. Also com.microsoft's. The difference is exact, the
 * product is rounded to FLOAT and, for the half types, once more to the output's type. */
#include "operators/cast_float.h"
#include "operators/cast_float8.h"
#include "operators/quantize_linear_layout.h"
#include "operators/real.h"
#include "operators/vector_math.h"

static bool is_code(oxp_dtype dtype)
{
    return (oxp_dtype_is_integer(dtype) && oxp_dtype_bits(dtype) <= 32 && dtype != OXP_UINT32) ||
           oxp_dtype_is_float8(dtype) || dtype == OXP_FLOAT4E2M1;
}

static oxp_status prepare(oxp_node *n)
{
    const oxp_tensor *x = n->in[0], *scale = n->in[1];
    oxp_quantization *layout = oxp_node_state(n, sizeof *layout);
    if (!layout)
        return n->ctx->status;
    if (!is_code(x->dtype))
        return oxp_node_bad_dtype(n, 0);
    bool is_real = scale->dtype == OXP_FLOAT || oxp_dtype_is_half(scale->dtype);
    if (!is_real && scale->dtype != OXP_FLOAT8E8M0)
        return oxp_node_bad_dtype(n, 1);
    if (oxp_node_has(n, 2))
        OXP_TRY(oxp_node_want(n, 2, x->dtype));
    int64_t asked = oxp_attr_int(n, "output_dtype", 0),
            type = asked != 0 ? asked : (int64_t)scale->dtype;
    if (type != OXP_FLOAT && type != OXP_FLOAT16 && type != OXP_BFLOAT16) {
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE",
                             "output_dtype is %lld, expected FLOAT, FLOAT16 or BFLOAT16",
                             (long long)asked);
    }
    OXP_TRY(oxp_quantization_prepare(n, layout));
    return oxp_output(n, 0, (oxp_dtype)type, x->rank, x->dims);
}

/* ---- loops ---- */

typedef struct dequantize_job {
    const void *x;
    const float *scales;
    const int32_t *zeros;     /* of integers */
    const float *float_zeros; /* of small floats */
    float *y;
} dequantize_job;

/* D holds the difference of two T exactly. */
#define DEQUANTIZE(function, T, D)                                                               \
    OXP_HOT static void function##_one(const T *x, float *y, size_t count, float scale,          \
                                       int32_t zero)                                             \
    {                                                                                            \
        OXP_LANES                                                                                \
        for (size_t i = 0; i < count; i++)                                                       \
            y[i] = (float)((D)x[i] - zero) * scale;                                              \
    }                                                                                            \
    OXP_HOT static void function##_each(const T *x, float *y, size_t count, const float *scales, \
                                        const int32_t *zeros)                                    \
    {                                                                                            \
        OXP_LANES                                                                                \
        for (size_t i = 0; i < count; i++)                                                       \
            y[i] = (float)((D)x[i] - zeros[i]) * scales[i];                                      \
    }                                                                                            \
    static void function(void *user, size_t offset, size_t count, size_t scale, bool moves)      \
    {                                                                                            \
        const dequantize_job *j = user;                                                          \
        const T *x = (const T *)j->x + offset;                                                   \
        if (moves)                                                                               \
            function##_each(x, j->y + offset, count, j->scales + scale, j->zeros + scale);       \
        else                                                                                     \
            function##_one(x, j->y + offset, count, j->scales[scale], j->zeros[scale]);          \
    }
DEQUANTIZE(dequantize_i8, int8_t, int32_t)
DEQUANTIZE(dequantize_u8, uint8_t, int32_t)
DEQUANTIZE(dequantize_i16, int16_t, int32_t)
DEQUANTIZE(dequantize_u16, uint16_t, int32_t)
DEQUANTIZE(dequantize_i32, int32_t, int64_t)

static void dequantize_floats(void *user, size_t offset, size_t count, size_t scale, bool moves)
{
    const dequantize_job *j = user;
    const float *x = (const float *)j->x + offset;
    for (size_t i = 0; i < count; i++) {
        size_t k = scale + (moves ? i : 0);
        j->y[offset + i] = (x[i] - j->float_zeros[k]) * j->scales[k];
    }
}

static oxp_quantization_visit loop_of(oxp_dtype dtype)
{
    switch (dtype) {
    case OXP_UINT8:
        return dequantize_u8;
    case OXP_INT16:
        return dequantize_i16;
    case OXP_UINT16:
        return dequantize_u16;
    case OXP_INT32:
        return dequantize_i32;
    case OXP_INT8:
    case OXP_INT4: /* unpacked; unsigned codes of 4 and 2 bits fit int8, too */
    case OXP_UINT4:
    case OXP_INT2:
    case OXP_UINT2:
        return dequantize_i8;
    default:
        return dequantize_floats;
    }
}

/* ---- forward ---- */

static oxp_status integer_zeros(oxp_node *n, const int32_t **zeros)
{
    int32_t *values = oxp_node_scratch(n, n->in[1]->count, sizeof *values);
    if (!values)
        return n->ctx->status;
    for (size_t i = 0; oxp_node_has(n, 2) && i < n->in[2]->count; i++)
        values[i] = (int32_t)oxp_tensor_int(n->in[2], i);
    *zeros = values;
    return OXP_OK;
}

/* The codes in a form that a loop takes: as they are, unpacked, or decoded. */
static oxp_status take_codes(oxp_node *n, const void **codes)
{
    const oxp_tensor *x = n->in[0];
    *codes = x->data;
    if (oxp_dtype_is_integer(x->dtype)) {
        if (oxp_dtype_bits(x->dtype) >= 8)
            return OXP_OK;
        int8_t *unpacked = oxp_node_scratch(n, x->count, 1);
        if (!unpacked)
            return n->ctx->status;
        oxp_codes_unpack(unpacked, x);
        *codes = unpacked;
        return OXP_OK;
    }
    const float *decoded;
    OXP_TRY(oxp_quantization_floats(n, 0, &decoded));
    *codes = decoded;
    return OXP_OK;
}

static oxp_status forward(oxp_node *n)
{
    dequantize_job job = {.y = oxp_real_out(n, 0)};
    if (!job.y)
        return n->ctx->status;
    OXP_TRY(take_codes(n, &job.x));
    OXP_TRY(oxp_quantization_floats(n, 1, &job.scales));
    if (oxp_dtype_is_integer(n->in[0]->dtype))
        OXP_TRY(integer_zeros(n, &job.zeros));
    else
        OXP_TRY(oxp_quantization_floats(n, 2, &job.float_zeros));
    oxp_quantization_walk(n->state, loop_of(n->in[0]->dtype), &job);
    oxp_real_done(n, 0, job.y);
    return OXP_OK;
}

#define DEQUANTIZE_LINEAR(symbol, domain_, since_, ...)       \
    const oxp_operator symbol = {                             \
        .domain = domain_,                                    \
        .type = "DequantizeLinear",                           \
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
#define COMMON                                                                                  \
    "X[2,3,4]:u8 S[]={0.01} Z[]:u8={128}",                                                      \
        "X[2,3,4]:i8 S[3]={0.01,0.02,0.05} Z[3]:i8={0,1,-2}; axis=1", "X[2,3]:i32 S[]={0.001}", \
        "X[2,3]:u16 S[]={0.1} Z[]:u16={7}"
DEQUANTIZE_LINEAR(oxp_op_dequantize_linear_10, "", 10, COMMON, "X[2,3]:i8 S[]:f16={0.1} Z[]:i8={1}",
                  "X[2,4]:i8 S[2,2]={0.01,0.02,0.05,0.1}; axis=1 block_size=2",
                  "X[2,3]:i16 S[3]={0.5,1.0,2.0}; axis=-1",
                  "X[3,2]:u8 S[2,2]={0.01,0.02,0.05,0.1}; axis=0 block_size=2",
                  "X[2,3]:u8 S[]={0.5}; output_dtype=10")
DEQUANTIZE_LINEAR(oxp_op_ms_dequantize_linear_1, "com.microsoft", 1, COMMON)
