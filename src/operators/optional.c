/* optional.c - Optional, OptionalHasElement and OptionalGetElement of a value that is there: a
 * tensor or a sequence, which is its own element; an omitted input has none. Empty optional values
 * do not occur here: an Optional that would make one is refused.
 * https://onnx.ai/onnx/operators/onnx__OptionalHasElement.html */
#include "operators/sequence.h"

static oxp_status has_prepare(oxp_node *n)
{
    return oxp_output(n, 0, OXP_BOOL, 0, NULL);
}

static oxp_status has_forward(oxp_node *n)
{
    *(uint8_t *)n->out[0].data = oxp_node_has(n, 0);
    return OXP_OK;
}

const oxp_operator oxp_op_optional_has_element_15 = {
    .domain = "",
    .type = "OptionalHasElement",
    .since = 15,
    .min_in = 0,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .prepare = has_prepare,
    .forward = has_forward,
    .examples = (const char *const[]){"X[2,3]", "X[]:i64", NULL},
};

static oxp_status get_forward(oxp_node *n)
{
    oxp_output_adopt(n, 0, n->in[0]);
    return OXP_OK;
}

static oxp_status optional_prepare(oxp_node *n)
{
    oxp_attr_ignore(n, "type"); /* what an empty one would hold */
    if (oxp_node_has(n, 0))
        return oxp_sequence_prepare(n);
    return oxp_node_fail(n, OXP_EUNSUPPORTED, "E-OP-DTYPE",
                         "an empty optional value is not supported");
}

const oxp_operator oxp_op_optional_15 = {
    .domain = "",
    .type = "Optional",
    .since = 15,
    .min_in = 0,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .prepare = optional_prepare,
    .forward = get_forward,
    .examples = (const char *const[]){"X[2,3]", "X[]:i64", NULL},
};

const oxp_operator oxp_op_optional_get_element_15 = {
    .domain = "",
    .type = "OptionalGetElement",
    .since = 15,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .prepare = oxp_sequence_prepare,
    .forward = get_forward,
    .examples = (const char *const[]){"X[2,3]", "X[]:i64", NULL},
};
