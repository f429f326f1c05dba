/* binary_pow.c - Z = X^Y, elementwise with broadcasting; Z has the type of X, Y any numeric type.
 *
 * A single exponent of -1, 1/2, 1, 2, 3 or 4 is done by multiplication, division or a square
 * root. Integer powers are exact and wrap; a negative integer exponent gives 0 but for the bases
 * 1 and -1. An integer to a float exponent goes through double and is cut towards zero,
 * saturating. */
#include "operators/binary.h"
#include "operators/cast_float.h"
#include "operators/cast_integer.h"
#include "operators/unary.h"

OXP_BINARY_LOOP(, pow_f32, float, float, powf(a, b))
OXP_BINARY_LOOP(, pow_f64, double, double, pow(a, b))

/* Where the base is not positive, nothing is said about the exponent. */
OXP_BINARY_DF(pow_df, b == 0.0f ? 0.0f : b * powf(a, b - 1.0f),
              a > 0.0f ? powf(a, b) * logf(a) : 0.0f)

static const oxp_binary general = {
    .type = "Pow", .loops = {[OXP_FLOAT] = pow_f32, [OXP_DOUBLE] = pow_f64}, .df = pow_df};

OXP_UNARY_F32(inverse, 1.0f / v)
OXP_UNARY_F32(square_root, v == -INFINITY ? INFINITY : sqrtf(v) + 0.0f)
OXP_UNARY_F32(itself, v)
OXP_UNARY_F32(square, v *v)
OXP_UNARY_F32(cube, v *v *v)
OXP_UNARY_F32(fourth, (v * v) * (v * v))

typedef void (*power_loop)(const float *x, float *y, size_t count, const float *p);

static power_loop loop_for(double exponent)
{
    static const struct {
        double exponent;
        power_loop loop;
    } loops[] = {{-1.0, inverse}, {0.5, square_root}, {1.0, itself},
                 {2.0, square},   {3.0, cube},        {4.0, fourth}};
    for (size_t i = 0; i < sizeof loops / sizeof *loops; i++)
        if (loops[i].exponent == exponent)
            return loops[i].loop;
    return NULL;
}

static oxp_status prepare(oxp_node *n)
{
    const oxp_tensor *x = n->in[0], *y = n->in[1];
    if (oxp_binary_has(&general, x->dtype) && y->dtype == x->dtype)
        return oxp_binary_prepare_row(n, &general);
    bool base = oxp_dtype_is_float(x->dtype) || x->dtype == OXP_INT32 || x->dtype == OXP_INT64;
    if (!base)
        return oxp_node_bad_dtype(n, 0);
    if (!oxp_dtype_is_float(y->dtype) && oxp_integer_bytes(y->dtype) == 0)
        return oxp_node_bad_dtype(n, 1);
    return oxp_binary_prepare_mixed(n, &general);
}

static int64_t integer_power(int64_t base, int64_t exponent, bool is_unsigned)
{
    if (!is_unsigned && exponent < 0)
        return base == 1 || (base == -1 && exponent % 2 == 0) ? 1 : base == -1 ? -1 : 0;
    uint64_t result = 1, square_of = (uint64_t)base;
    for (uint64_t e = (uint64_t)exponent; e > 0; e >>= 1, square_of *= square_of)
        if (e & 1)
            result *= square_of;
    return (int64_t)result;
}

static int64_t cut_to_int64(double v)
{
    if (v != v)
        return 0;
    return v >= 0x1p63 ? INT64_MAX : v < -0x1p63 ? INT64_MIN : (int64_t)v;
}

static void store_power(oxp_tensor *z, size_t k, const oxp_tensor *x, size_t i, const oxp_tensor *y,
                        size_t j)
{
    if (oxp_dtype_is_float(z->dtype)) {
        double v = pow(oxp_tensor_real(x, i), oxp_tensor_real(y, j));
        float narrow = (float)v;
        if (z->dtype == OXP_DOUBLE)
            ((double *)z->data)[k] = v;
        else
            oxp_floats_store((uint8_t *)z->data + k * (oxp_dtype_bits(z->dtype) / 8), z->dtype,
                             &narrow, 1);
        return;
    }
    int64_t v;
    if (oxp_dtype_is_float(y->dtype)) {
        v = cut_to_int64(pow(oxp_tensor_real(x, i), oxp_tensor_real(y, j)));
        if (z->dtype == OXP_INT32)
            v = v > INT32_MAX ? INT32_MAX : v < INT32_MIN ? INT32_MIN : v;
    } else {
        v = integer_power(oxp_tensor_int(x, i), oxp_tensor_int(y, j),
                          oxp_integer_is_unsigned(y->dtype));
    }
    oxp_integer_store(z->data, z->dtype, k, v);
}

/* One element at a time, for exponents of another type than the base. */
static void run_mixed(const oxp_tensor *x, const oxp_tensor *y, oxp_tensor *z)
{
    oxp_broadcast plan;
    oxp_broadcast_cursor at = {0};
    oxp_broadcast_plan(&plan, z->rank, z->dims, 2, (const oxp_tensor *const[]){x, y});
    size_t run = oxp_broadcast_run(&plan), runs = oxp_broadcast_runs(&plan);
    size_t x_step = oxp_broadcast_advances(&plan, 0), y_step = oxp_broadcast_advances(&plan, 1);
    for (size_t r = 0; r < runs; r++, oxp_broadcast_next(&plan, &at))
        for (size_t k = 0; k < run; k++)
            store_power(z, r * run + k, x, at.offset[0] + k * x_step, y, at.offset[1] + k * y_step);
}

static void run_scalar(power_loop loop, const oxp_tensor *x, oxp_tensor *z)
{
    const float none[OXP_UNARY_ATTRIBUTES] = {0};
    float block[OXP_BLOCK];
    size_t size = oxp_dtype_bits(x->dtype) / 8;
    if (x->dtype == OXP_FLOAT) {
        loop(x->data, z->data, z->count, none);
        return;
    }
    for (size_t i = 0; i < z->count; i += OXP_BLOCK) {
        size_t count = z->count - i < OXP_BLOCK ? z->count - i : OXP_BLOCK;
        oxp_floats_load(block, (const uint8_t *)x->data + i * size, x->dtype, count);
        loop(block, block, count, none);
        oxp_floats_store((uint8_t *)z->data + i * size, x->dtype, block, count);
    }
}

static oxp_status forward(oxp_node *n)
{
    const oxp_tensor *x = n->in[0], *y = n->in[1];
    oxp_tensor *z = &n->out[0];
    bool in_float = x->dtype == OXP_FLOAT || oxp_dtype_is_half(x->dtype);
    power_loop loop = in_float && y->count == 1 ? loop_for(oxp_tensor_real(y, 0)) : NULL;
    if (loop)
        run_scalar(loop, x, z);
    else if (x->dtype == y->dtype && oxp_dtype_is_float(x->dtype))
        return oxp_binary_forward(n);
    else
        run_mixed(x, y, z);
    return OXP_OK;
}

#define POW(symbol, since_, ...)                              \
    const oxp_operator symbol = {                             \
        .domain = "",                                         \
        .type = "Pow",                                        \
        .since = since_,                                      \
        .min_in = 2,                                          \
        .max_in = 2,                                          \
        .min_out = 1,                                         \
        .max_out = 1,                                         \
        .prepare = prepare,                                   \
        .forward = forward,                                   \
        .backward = oxp_binary_backward,                      \
        .saves = 3,                                           \
        .examples = (const char *const[]){__VA_ARGS__, NULL}, \
    };

POW(oxp_op_pow_1, 1, "X[2,3]={1.0,2.0,0.5,3.0,4.0,0.25} Y[2,3]",
    "X[2,3] Y[3]={1.0,2.0,3.0}; broadcast=1")
POW(oxp_op_pow_7, 7, "X[2,3]={1.0,2.0,0.5,3.0,4.0,0.25} Y[3]", "X[2,3] Y[]={2.0}",
    "X[2,3]:f16 Y[]:f16={3.0}", "X[3]:i32={2,-3,7} Y[3]:i32={5,3,0}",
    "X[3]={1.0,2.0,3.0} Y[3]:i64={4,5,6}", "X[2]:f64={2.0,9.0} Y[]:f64={0.5}",
    "X[3]:i64={1,2,3} Y[3]={0.5,1.5,2.0}")
