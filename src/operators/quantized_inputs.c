/* quantized_inputs.c - see quantized_inputs.h. */
#include "operators/quantized_inputs.h"

#include <math.h>

#include "operators/real.h"

oxp_status oxp_codes_want(oxp_node *n, int i)
{
    oxp_dtype dtype = n->in[i]->dtype;
    if (dtype == OXP_UINT8 || dtype == OXP_INT8)
        return OXP_OK;
    if (oxp_dtype_is_integer(dtype))
        return oxp_node_bad_dtype(n, i);
    return oxp_node_fail(n, OXP_EFORMAT, "E-OP-DTYPE",
                         "input %d has type %s, expected UINT8 or INT8", i, oxp_dtype_name(dtype));
}

static oxp_status want_count(oxp_node *n, int i, size_t count)
{
    if (n->in[i]->count == 1 || n->in[i]->count == count)
        return OXP_OK;
    char text[OXP_SHAPE_TEXT_MAX];
    return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                         "input %d has shape %s, expected one element or %zu", i,
                         oxp_shape_text(text, n->in[i]->rank, n->in[i]->dims), count);
}

oxp_status oxp_quantized_want(oxp_node *n, int scale, int zero_point, oxp_dtype codes, size_t count)
{
    if (!oxp_dtype_is_float(n->in[scale]->dtype))
        return oxp_node_fail(n, OXP_EFORMAT, "E-OP-DTYPE",
                             "input %d has type %s, expected a float type", scale,
                             oxp_dtype_name(n->in[scale]->dtype));
    OXP_TRY(want_count(n, scale, count));
    if (zero_point < 0 || !oxp_node_has(n, zero_point))
        return OXP_OK;
    OXP_TRY(oxp_node_want(n, zero_point, codes));
    return want_count(n, zero_point, count);
}

const float *oxp_quantized_scales(oxp_node *n, int i, size_t count)
{
    float *out = oxp_node_scratch(n, count, sizeof *out);
    for (size_t k = 0; out && k < count; k++)
        out[k] = (float)oxp_tensor_real(n->in[i], n->in[i]->count == 1 ? 0 : k);
    return out;
}

oxp_status oxp_quantized_zeros(oxp_node *n, int i, size_t count, const int32_t **out)
{
    *out = NULL;
    if (!oxp_node_has(n, i))
        return OXP_OK;
    int32_t *values = oxp_node_scratch(n, count, sizeof *values);
    if (!values)
        return OXP_ELIMIT;
    for (size_t k = 0; k < count; k++)
        values[k] = (int32_t)oxp_tensor_int(n->in[i], n->in[i]->count == 1 ? 0 : k);
    *out = values;
    return OXP_OK;
}

float oxp_quantized_scale(const oxp_node *n, int i)
{
    return (float)oxp_tensor_real(n->in[i], 0);
}

int32_t oxp_quantized_zero(const oxp_node *n, int i)
{
    return oxp_node_has(n, i) ? (int32_t)oxp_tensor_int(n->in[i], 0) : 0;
}

oxp_status oxp_quantized_check(oxp_node *n, int i)
{
    for (size_t k = 0; k < n->in[i]->count; k++) {
        double scale = oxp_tensor_real(n->in[i], k);
        if (!(scale > 0) || isinf(scale))
            return oxp_node_fail(n, OXP_EFORMAT, "E-RANGE",
                                 "input %d holds the scale %g at %zu, expected a positive number",
                                 i, scale, k);
    }
    return OXP_OK;
}
