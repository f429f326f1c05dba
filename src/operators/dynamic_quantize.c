/* dynamic_quantize.c - DynamicQuantizeLinear: the range of x, stretched to hold zero, as UINT8
 * codes:
 *   scale = (max - min) / 255, zero_point = saturate(round(-min / scale)),
 *   y = saturate(round(x / scale) + zero_point)
 * A range of one point, which is zero, gets scale 1. NaN takes no part in the range and becomes
 * code 0. */
#include "operators/operator.h"
#include "operators/real.h"
#include "operators/vector_math.h"

#define LANES 16

static oxp_status prepare(oxp_node *n)
{
    const oxp_tensor *x = n->in[0];
    OXP_TRY(oxp_node_want(n, 0, OXP_FLOAT));
    OXP_TRY(oxp_output(n, 0, OXP_UINT8, x->rank, x->dims));
    OXP_TRY(oxp_output(n, 1, OXP_FLOAT, 0, NULL));
    return oxp_output(n, 2, OXP_UINT8, 0, NULL);
}

OXP_HOT static void range_with_zero(const float *x, size_t count, float *low, float *high)
{
    float lows[LANES] = {0}, highs[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= count; i += LANES)
        for (size_t k = 0; k < LANES; k++) {
            lows[k] = x[i + k] < lows[k] ? x[i + k] : lows[k];
            highs[k] = x[i + k] > highs[k] ? x[i + k] : highs[k];
        }
    for (; i < count; i++) {
        lows[0] = x[i] < lows[0] ? x[i] : lows[0];
        highs[0] = x[i] > highs[0] ? x[i] : highs[0];
    }
    for (int k = 1; k < LANES; k++) {
        lows[0] = lows[k] < lows[0] ? lows[k] : lows[0];
        highs[0] = highs[k] > highs[0] ? highs[k] : highs[0];
    }
    *low = lows[0];
    *high = highs[0];
}

OXP_HOT static void quantize(const float *x, uint8_t *y, size_t count, float scale, float zero)
{
    OXP_LANES
    for (size_t i = 0; i < count; i++) {
        float r = nearbyintf(x[i] / scale);
        r = r > -zero ? r : -zero;
        r = r < 255.0f - zero ? r : 255.0f - zero;
        y[i] = (uint8_t)(int32_t)(r + zero);
    }
}

static oxp_status forward(oxp_node *n)
{
    const oxp_tensor *x = n->in[0];
    float low, high;
    range_with_zero(x->data, x->count, &low, &high);
    float scale = high == low ? 1.0f : (high - low) / 255.0f;
    float zero = nearbyintf(-low / scale);
    zero = zero > 0.0f ? zero : 0.0f;
    zero = zero < 255.0f ? zero : 255.0f;
    if (oxp_node_makes(n, 0))
        quantize(x->data, n->out[0].data, x->count, scale, zero);
    if (oxp_node_makes(n, 1))
        *(float *)n->out[1].data = scale;
    if (oxp_node_makes(n, 2))
        *(uint8_t *)n->out[2].data = (uint8_t)(int32_t)zero;
    return OXP_OK;
}

const oxp_operator oxp_op_dynamic_quantize_linear_11 = {
    .domain = "",
    .type = "DynamicQuantizeLinear",
    .since = 11,
    .min_in = 1,
    .max_in = 1,
    .min_out = 3,
    .max_out = 3,
    .prepare = prepare,
    .forward = forward,
    .examples =
        (const char *const[]){"X[2,3]", "X[5,7]", "X[3]={0.0,0.0,0.0}", "X[3]={1.0,2.0,5.0}", NULL},
};
