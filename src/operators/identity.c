/* identity.c - Identity: the output is the input's memory. */
#include "operators/gradient.h"
#include "operators/operator.h"

static oxp_status prepare(oxp_node *n)
{
    return oxp_output_alias(n, 0, 0, n->in[0]->rank, n->in[0]->dims);
}

const oxp_operator oxp_op_identity_1 = {
    .domain = "",
    .type = "Identity",
    .since = 1,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .prepare = prepare,
    .backward = oxp_backward_same,
    .examples = (const char *const[]){"X[2,3]", "X[]:i64", "X[0,4]:bool", NULL},
};
