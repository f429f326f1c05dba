/* dropout.c - Dropout at inference: the output is the input's memory, the mask is all ones.
 *
 * From opset 12 on the graph can ask for training; with a ratio of 0 that changes nothing, any
 * other ratio would draw random numbers and is refused. */
#include <string.h>

#include "operators/cast_float.h"
#include "operators/gradient.h"
#include "operators/operator.h"

static oxp_status prepare_outputs(oxp_node *n, oxp_dtype mask)
{
    const oxp_tensor *x = n->in[0];
    OXP_TRY(oxp_output_alias(n, 0, 0, x->rank, x->dims));
    return oxp_output(n, 1, mask, x->rank, x->dims);
}

static oxp_status prepare_7(oxp_node *n)
{
    oxp_attr_ignore(n, "ratio");
    oxp_attr_ignore(n, "is_test");
    if (!oxp_dtype_is_float(n->in[0]->dtype))
        return oxp_node_bad_dtype(n, 0);
    return prepare_outputs(n, n->in[0]->dtype);
}

static oxp_status prepare_10(oxp_node *n)
{
    oxp_attr_ignore(n, "ratio");
    return prepare_outputs(n, OXP_BOOL);
}

/* The value of an optional scalar input. */
static oxp_status scalar(oxp_node *n, int i, double otherwise, double *value)
{
    const oxp_tensor *t = i < n->in_count ? n->in[i] : NULL;
    *value = otherwise;
    if (!t)
        return OXP_OK;
    if (t->dtype != OXP_BOOL && !oxp_dtype_is_float(t->dtype))
        return oxp_node_bad_dtype(n, i);
    if (t->count != 1) {
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                             "input %d must be a scalar, found %zu values", i, t->count);
    }
    *value = oxp_tensor_real(t, 0);
    return OXP_OK;
}

static oxp_status prepare_12(oxp_node *n)
{
    double ratio, training;
    oxp_attr_ignore(n, "seed");
    OXP_TRY(scalar(n, 1, 0.5, &ratio));
    OXP_TRY(scalar(n, 2, 0.0, &training));
    if (training != 0.0 && ratio != 0.0) {
        return oxp_node_fail(n, OXP_EUNSUPPORTED, "E-ATTR-VALUE",
                             "training_mode is true with ratio %g, expected inference or ratio 0",
                             ratio);
    }
    return prepare_outputs(n, OXP_BOOL);
}

static oxp_status forward(oxp_node *n)
{
    oxp_tensor *mask = n->out_count > 1 ? &n->out[1] : NULL;
    if (!mask || !mask->data)
        return OXP_OK;
    if (mask->dtype == OXP_BOOL) {
        memset(mask->data, 1, mask->count);
        return OXP_OK;
    }
    const float one = 1.0f;
    size_t size = oxp_dtype_bits(mask->dtype) / 8;
    for (size_t i = 0; i < mask->count; i++) {
        if (mask->dtype == OXP_DOUBLE)
            ((double *)mask->data)[i] = 1.0;
        else
            oxp_floats_store((uint8_t *)mask->data + i * size, mask->dtype, &one, 1);
    }
    return OXP_OK;
}

#define DROPOUT(symbol, since_, inputs, prepare_, ...)        \
    const oxp_operator symbol = {                             \
        .domain = "",                                         \
        .type = "Dropout",                                    \
        .since = since_,                                      \
        .min_in = 1,                                          \
        .max_in = inputs,                                     \
        .min_out = 1,                                         \
        .max_out = 2,                                         \
        .optional = inputs == 3 ? 1u << 1 | 1u << 2 : 0,      \
        .values = inputs == 3 ? 1u << 1 | 1u << 2 : 0,        \
        .prepare = prepare_,                                  \
        .forward = forward,                                   \
        .backward = oxp_backward_same,                        \
        .examples = (const char *const[]){__VA_ARGS__, NULL}, \
    };

DROPOUT(oxp_op_dropout_6, 6, 1, prepare_7, "X[2,3]", "X[2,3]; ratio=0.3")
DROPOUT(oxp_op_dropout_10, 10, 1, prepare_10, "X[2,3]", "X[2,3]; ratio=0.3")
DROPOUT(oxp_op_dropout_12, 12, 3, prepare_12, "X[2,3]", "X[2,3] ratio[]={0.5}",
        "X[2,3] ratio[]={0.0} T[]:bool={1}", "X[2,3]:f16 _ T[]:bool={0}")
