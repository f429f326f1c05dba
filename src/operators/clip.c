/* clip.c - Clip: y = min(max(x, min), max), so that max wins when they cross. NaN stays NaN.
 *
 * Up to opset 6 the bounds are float attributes, from 11 on scalar inputs. A bound that is not
 * given is the least or largest finite value of the type, as the standard has it: infinities are
 * cut, too. */
#include <float.h>

#include "operators/cast_float.h"
#include "operators/cast_integer.h"
#include "operators/gradient.h"
#include "operators/real.h"
#include "operators/vector_math.h"

typedef struct clip_state {
    bool from_attributes;
    float low, high;
} clip_state;

static oxp_status prepare_output(oxp_node *n)
{
    const oxp_tensor *x = n->in[0];
    OXP_TRY(oxp_output(n, 0, x->dtype, x->rank, x->dims));
    oxp_output_overwrites(n, 0, 0);
    return OXP_OK;
}

static oxp_status prepare_attributes(oxp_node *n)
{
    clip_state *state = oxp_node_state(n, sizeof *state);
    if (!state)
        return n->ctx->status;
    state->from_attributes = true;
    state->low = oxp_attr_float(n, "min", -FLT_MAX);
    state->high = oxp_attr_float(n, "max", FLT_MAX);
    if (!oxp_dtype_is_float(n->in[0]->dtype))
        return oxp_node_bad_dtype(n, 0);
    return prepare_output(n);
}

static oxp_status prepare_inputs(oxp_node *n)
{
    oxp_dtype dtype = n->in[0]->dtype;
    clip_state *state = oxp_node_state(n, sizeof *state);
    if (!state)
        return n->ctx->status;
    state->from_attributes = false;
    if (!oxp_dtype_is_float(dtype) && oxp_integer_bytes(dtype) == 0)
        return oxp_node_bad_dtype(n, 0);
    for (int i = 1; i < n->in_count; i++) {
        if (!n->in[i])
            continue;
        OXP_TRY(oxp_node_want(n, i, dtype));
        if (n->in[i]->count != 1) {
            return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "%s must be a scalar, found %zu values",
                                 i == 1 ? "min" : "max", n->in[i]->count);
        }
    }
    return prepare_output(n);
}

static const oxp_tensor *bound(const oxp_node *n, int i)
{
    const clip_state *state = n->state;
    return !state->from_attributes && i < n->in_count ? n->in[i] : NULL;
}

OXP_HOT static void clip_f32(const float *x, float *y, size_t count, float low, float high)
{
    OXP_LANES
    for (size_t i = 0; i < count; i++) {
        float v = x[i] < low ? low : x[i];
        y[i] = v > high ? high : v;
    }
}

OXP_WIDE static void clip_f64(const double *x, double *y, size_t count, double low, double high)
{
    OXP_LANES
    for (size_t i = 0; i < count; i++) {
        double v = x[i] < low ? low : x[i];
        y[i] = v > high ? high : v;
    }
}

static void clip_floats(oxp_node *n, const oxp_tensor *x, oxp_tensor *y)
{
    const clip_state *state = n->state;
    const oxp_tensor *low_bound = bound(n, 1), *high_bound = bound(n, 2);
    float largest = x->dtype == OXP_FLOAT16    ? 65504.0f
                    : x->dtype == OXP_BFLOAT16 ? 0x1.fep127f
                                               : FLT_MAX;
    float low = state->from_attributes ? state->low : -largest;
    float high = state->from_attributes ? state->high : largest;
    size_t size = oxp_dtype_bits(x->dtype) / 8;
    if (low_bound)
        oxp_floats_load(&low, low_bound->data, x->dtype, 1);
    if (high_bound)
        oxp_floats_load(&high, high_bound->data, x->dtype, 1);
    if (x->dtype == OXP_FLOAT) {
        clip_f32(x->data, y->data, x->count, low, high);
        return;
    }
    float block[OXP_BLOCK];
    for (size_t i = 0; i < x->count; i += OXP_BLOCK) {
        size_t count = x->count - i < OXP_BLOCK ? x->count - i : OXP_BLOCK;
        oxp_floats_load(block, (const uint8_t *)x->data + i * size, x->dtype, count);
        clip_f32(block, block, count, low, high);
        oxp_floats_store((uint8_t *)y->data + i * size, x->dtype, block, count);
    }
}

static void clip_doubles(oxp_node *n, const oxp_tensor *x, oxp_tensor *y)
{
    const clip_state *state = n->state;
    const oxp_tensor *low_bound = bound(n, 1), *high_bound = bound(n, 2);
    bool least = state->from_attributes && state->low > -FLT_MAX;
    bool largest = state->from_attributes && state->high < FLT_MAX;
    double low = low_bound ? *(const double *)low_bound->data
                 : least   ? (double)state->low
                           : -DBL_MAX;
    double high = high_bound ? *(const double *)high_bound->data
                  : largest  ? (double)state->high
                             : DBL_MAX;
    clip_f64(x->data, y->data, x->count, low, high);
}

/* Signed types as they are; unsigned ones with the order of uint64. */
static void clip_integers(oxp_node *n, const oxp_tensor *x, oxp_tensor *y)
{
    const oxp_tensor *low_bound = bound(n, 1), *high_bound = bound(n, 2);
    uint64_t flip = oxp_integer_is_unsigned(x->dtype) ? UINT64_C(1) << 63 : 0;
    int64_t low = INT64_MIN, high = INT64_MAX;
    if (low_bound)
        low = (int64_t)((uint64_t)oxp_integer_load(low_bound->data, x->dtype, 0) ^ flip);
    if (high_bound)
        high = (int64_t)((uint64_t)oxp_integer_load(high_bound->data, x->dtype, 0) ^ flip);
    for (size_t i = 0; i < x->count; i++) {
        int64_t v = (int64_t)((uint64_t)oxp_integer_load(x->data, x->dtype, i) ^ flip);
        v = v < low ? low : v;
        v = v > high ? high : v;
        oxp_integer_store(y->data, x->dtype, i, (int64_t)((uint64_t)v ^ flip));
    }
}

static oxp_status forward(oxp_node *n)
{
    const oxp_tensor *x = n->in[0];
    if (x->dtype == OXP_DOUBLE)
        clip_doubles(n, x, &n->out[0]);
    else if (oxp_dtype_is_float(x->dtype))
        clip_floats(n, x, &n->out[0]);
    else
        clip_integers(n, x, &n->out[0]);
    return OXP_OK;
}

/* The bound that took an element's place gets its gradient. */
static oxp_status backward(oxp_node *n)
{
    const clip_state *state = n->state;
    const oxp_tensor *x = n->in[0], *low_bound = bound(n, 1), *high_bound = bound(n, 2);
    const float *dy = oxp_dout(n, 0), *values = oxp_real_in(n, 0);
    double low = state->from_attributes ? (double)state->low : -DBL_MAX;
    double high = state->from_attributes ? (double)state->high : DBL_MAX;
    double dlow = 0, dhigh = 0;
    if (!values)
        return n->ctx->status;
    if (low_bound)
        low = oxp_tensor_real(low_bound, 0);
    if (high_bound)
        high = oxp_tensor_real(high_bound, 0);
    float *dx = oxp_din(n, 0);
    for (size_t i = 0; dy && i < x->count; i++) {
        double raised = (double)values[i] < low ? low : (double)values[i];
        if (raised > high)
            dhigh += (double)dy[i];
        else if ((double)values[i] < low)
            dlow += (double)dy[i];
        else if (dx)
            dx[i] += dy[i];
    }
    if (low_bound && oxp_din(n, 1))
        *oxp_din(n, 1) += (float)dlow;
    if (high_bound && oxp_din(n, 2))
        *oxp_din(n, 2) += (float)dhigh;
    return OXP_OK;
}

const oxp_operator oxp_op_clip_6 = {
    .domain = "",
    .type = "Clip",
    .since = 6,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .prepare = prepare_attributes,
    .forward = forward,
    .backward = backward,
    .saves = 7,
    .examples = (const char *const[]){"X[2,3]; min=-0.5 max=0.25", "X[2,3]; min=0.0", "X[2,3]",
                                      "X[3]:f16; max=0.5", "X[3]:f64; max=0.5", NULL},
};

const oxp_operator oxp_op_clip_11 = {
    .domain = "",
    .type = "Clip",
    .since = 11,
    .min_in = 1,
    .max_in = 3,
    .min_out = 1,
    .max_out = 1,
    .optional = 1u << 1 | 1u << 2,
    .prepare = prepare_inputs,
    .forward = forward,
    .backward = backward,
    .saves = 7,
    .examples = (const char *const[]){"X[2,3] min[]={-0.5} max[]={0.25}", "X[2,3] _ max[]={0.0}",
                                      "X[2,3]", "X[4]:i8={-100,0,5,100} min[]:i8={-5} max[]:i8={7}",
                                      "X[2]:u64={1,9} min[]:u64={3}", "X[3]:bf16 min[]:bf16={0.0}",
                                      "X[2] min[]={1.0} max[]={-1.0}", NULL},
};
