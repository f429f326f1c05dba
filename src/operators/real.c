/* real.c - see real.h. */
#include "operators/real.h"

#include "util/half.h"

oxp_status oxp_real_types(oxp_node *n, uint32_t mask)
{
    oxp_dtype dtype = n->in[0]->dtype;
    if (!oxp_dtype_is_float(dtype))
        return oxp_node_fail(n, OXP_EFORMAT, "E-OP-DTYPE",
                             "input 0 has type %s, expected a float type", oxp_dtype_name(dtype));
    for (int i = 1; i < n->in_count && i < 32; i++)
        if ((mask >> i & 1) && n->in[i])
            OXP_TRY(oxp_node_want(n, i, dtype));
    return OXP_OK;
}

static void widen(const oxp_tensor *t, float *to)
{
    const uint16_t *half = t->data;
    const double *wide = t->data;
    for (size_t i = 0; i < t->count; i++)
        to[i] = t->dtype == OXP_FLOAT16    ? oxp_half_to_float(half[i])
                : t->dtype == OXP_BFLOAT16 ? oxp_bfloat16_to_float(half[i])
                                           : (float)wide[i];
}

const float *oxp_real_in(oxp_node *n, int i)
{
    const oxp_tensor *t = n->in[i];
    if (t->dtype == OXP_FLOAT)
        return t->data;
    float *values = oxp_node_scratch(n, t->count, sizeof *values);
    if (values)
        widen(t, values);
    return values;
}

const float *oxp_real_saved(oxp_node *n, int i)
{
    const oxp_tensor *t = &n->out[i];
    if (t->dtype == OXP_FLOAT)
        return t->data;
    float *values = oxp_node_scratch(n, t->count, sizeof *values);
    if (values)
        widen(t, values);
    return values;
}

oxp_status oxp_real_in_optional(oxp_node *n, int i, const float **values)
{
    *values = NULL;
    if (!oxp_node_has(n, i))
        return OXP_OK;
    *values = oxp_real_in(n, i);
    return *values ? OXP_OK : OXP_ELIMIT;
}

float *oxp_real_out(oxp_node *n, int i)
{
    oxp_tensor *t = &n->out[i];
    return t->dtype == OXP_FLOAT ? t->data : oxp_node_scratch(n, t->count, sizeof(float));
}

void oxp_real_done(oxp_node *n, int i, const float *values)
{
    oxp_tensor *t = &n->out[i];
    uint16_t *half = t->data;
    double *wide = t->data;
    if (t->dtype == OXP_FLOAT16)
        for (size_t k = 0; k < t->count; k++)
            half[k] = oxp_float_to_half(values[k]);
    else if (t->dtype == OXP_BFLOAT16)
        for (size_t k = 0; k < t->count; k++)
            half[k] = oxp_float_to_bfloat16(values[k]);
    else if (t->dtype == OXP_DOUBLE)
        for (size_t k = 0; k < t->count; k++)
            wide[k] = (double)values[k];
}

bool oxp_node_has(const oxp_node *n, int i)
{
    return i >= 0 && i < n->in_count && n->in[i];
}

bool oxp_node_makes(const oxp_node *n, int i)
{
    return i < n->out_count && n->out[i].data;
}

bool oxp_node_is_constant(const oxp_node *n, int i)
{
    return oxp_node_has(n, i) && (n->constant >> i & 1);
}

void oxp_cost_of(const oxp_node *n, double macs, oxp_cost *cost)
{
    *cost = (oxp_cost){.macs = macs};
    for (int i = 0; i < n->in_count; i++)
        if (n->in[i])
            cost->bytes_read += (double)oxp_tensor_bytes(n->in[i]);
    for (int i = 0; i < n->out_count; i++)
        if (n->wanted[i])
            cost->bytes_written += (double)oxp_tensor_bytes(&n->out[i]);
}
