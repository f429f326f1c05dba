/* unary_classify.c - IsNaN and IsInf: Y[i] = whether X[i] is of the class, BOOL. Besides the
 * float types they take the 8-bit floats, of which only the E5M2 ones with infinities have any. */
#include "operators/cast_float8.h"
#include "operators/cast_float.h"
#include "operators/operator.h"
#include "operators/vector_math.h"

typedef struct class_state {
    bool nan, positive, negative;
} class_state;

static oxp_status prepare(oxp_node *n, class_state wanted)
{
    const oxp_tensor *x = n->in[0];
    class_state *state = oxp_node_state(n, sizeof *state);
    if (!state)
        return n->ctx->status;
    *state = wanted;
    if (!oxp_dtype_is_float(x->dtype) && !oxp_dtype_is_float8(x->dtype))
        return oxp_node_bad_dtype(n, 0);
    return oxp_output(n, 0, OXP_BOOL, x->rank, x->dims);
}

static oxp_status prepare_nan(oxp_node *n)
{
    return prepare(n, (class_state){.nan = true});
}

static oxp_status prepare_inf(oxp_node *n)
{
    return prepare(n, (class_state){.positive = oxp_attr_int(n, "detect_positive", 1) != 0,
                                    .negative = oxp_attr_int(n, "detect_negative", 1) != 0});
}

static bool is_in(const class_state *wanted, double v)
{
    return (wanted->nan && isnan(v)) || (wanted->positive && v == (double)INFINITY) ||
           (wanted->negative && v == -(double)INFINITY);
}

static void run_floats(const class_state *wanted, const oxp_tensor *x, uint8_t *y)
{
    float block[OXP_BLOCK];
    const uint8_t *read = x->data;
    size_t size = oxp_dtype_bits(x->dtype) / 8;
    for (size_t i = 0; i < x->count; i += OXP_BLOCK) {
        size_t count = x->count - i < OXP_BLOCK ? x->count - i : OXP_BLOCK;
        oxp_floats_load(block, read + i * size, x->dtype, count);
        for (size_t k = 0; k < count; k++)
            y[i + k] = is_in(wanted, (double)block[k]);
    }
}

static oxp_status forward(oxp_node *n)
{
    const oxp_tensor *x = n->in[0];
    uint8_t *y = n->out[0].data;
    if (x->dtype == OXP_DOUBLE) {
        const double *read = x->data;
        for (size_t i = 0; i < x->count; i++)
            y[i] = is_in(n->state, read[i]);
    } else if (oxp_dtype_is_float8(x->dtype)) {
        const uint8_t *read = x->data;
        for (size_t i = 0; i < x->count; i++)
            y[i] = is_in(n->state, (double)oxp_float8_load(x->dtype, read[i]));
    } else {
        run_floats(n->state, x, y);
    }
    return OXP_OK;
}

#define CLASSIFY(symbol, type_, since_, prepare_, ...)        \
    const oxp_operator symbol = {                             \
        .domain = "",                                         \
        .type = type_,                                        \
        .since = since_,                                      \
        .min_in = 1,                                          \
        .max_in = 1,                                          \
        .min_out = 1,                                         \
        .max_out = 1,                                         \
        .prepare = prepare_,                                  \
        .forward = forward,                                   \
        .backward = oxp_backward_zero,                        \
        .examples = (const char *const[]){__VA_ARGS__, NULL}, \
    };

CLASSIFY(oxp_op_is_nan_9, "IsNaN", 9, prepare_nan, "X[2,3]", "X[3]:f16", "X[3]:f64")
CLASSIFY(oxp_op_is_inf_10, "IsInf", 10, prepare_inf, "X[2,3]", "X[3]:f64; detect_negative=0",
         "X[3]:bf16; detect_positive=0")
