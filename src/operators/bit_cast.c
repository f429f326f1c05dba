/* bit_cast.c - BitCast: the same bits under another type of the same width. Elements below 8 bits
 * stay packed as they are.
 * https://onnx.ai/onnx/operators/onnx__BitCast.html */
#include "operators/operator.h"

static oxp_status prepare(oxp_node *n)
{
    const oxp_tensor *x = n->in[0];
    int64_t to = oxp_attr_int(n, "to", OXP_UNDEFINED);
    if (to <= OXP_UNDEFINED || to >= OXP_DTYPE_COUNT || to == OXP_STRING)
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE",
                             "attribute to is %lld, expected a type other than STRING",
                             (long long)to);
    unsigned found = oxp_dtype_bits(x->dtype), wanted = oxp_dtype_bits((oxp_dtype)to);
    if (found == 0)
        return oxp_node_bad_dtype(n, 0);
    if (found != wanted)
        return oxp_node_fail(
            n, OXP_EFORMAT, "E-OP-DTYPE", "%s has %u bits and %s has %u, expected as many",
            oxp_dtype_name(x->dtype), found, oxp_dtype_name((oxp_dtype)to), wanted);
    OXP_TRY(oxp_output_alias(n, 0, 0, x->rank, x->dims));
    if (n->out_count > 0)
        n->out[0].dtype = (oxp_dtype)to;
    return OXP_OK;
}

const oxp_operator oxp_op_bit_cast_26 = {
    .domain = "",
    .type = "BitCast",
    .since = 26,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .prepare = prepare,
    .backward = oxp_backward_zero,
    .examples = (const char *const[]){"X[2,3]; to=6", "X[2]:i32; to=1", "X[3]:f16; to=4",
                                      "X[]:bool; to=2", NULL},
};
