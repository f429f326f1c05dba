/* logical.c - And, Or, Xor with broadcasting, and Not: on BOOL tensors, every byte but 0 is
 * true, results are 0 and 1. */
#define OXP_BINARY_BACKWARD oxp_backward_zero
#include "operators/binary.h"

OXP_BINARY_LOOP(OXP_WIDE, and_bool, uint8_t, uint8_t, (a != 0) & (b != 0))
OXP_BINARY_LOOP(OXP_WIDE, or_bool, uint8_t, uint8_t, (a | b) != 0)
OXP_BINARY_LOOP(OXP_WIDE, xor_bool, uint8_t, uint8_t, (a != 0) ^ (b != 0))

static const oxp_binary connectives[] = {
    {.type = "And", .loops = {[OXP_BOOL] = and_bool}},
    {.type = "Or", .loops = {[OXP_BOOL] = or_bool}},
    {.type = "Xor", .loops = {[OXP_BOOL] = xor_bool}},
};

static oxp_status prepare(oxp_node *n)
{
    return oxp_binary_prepare(n, connectives, sizeof connectives / sizeof *connectives);
}

#define CONNECTIVE(name, type)                                                              \
    OXP_BINARY_OPERATOR(oxp_op_##name##_7, type, 7, prepare, "A[2,3,4]:bool B[2,3,4]:bool", \
                        "A[2,3,4]:bool B[4]:bool", "A[3,1]:bool B[1,4]:bool",               \
                        "A[4]:bool B[]:bool")
CONNECTIVE(and, "And")
CONNECTIVE(or, "Or")
CONNECTIVE(xor, "Xor")

static oxp_status prepare_not(oxp_node *n)
{
    const oxp_tensor *x = n->in[0];
    OXP_TRY(oxp_node_want(n, 0, OXP_BOOL));
    OXP_TRY(oxp_output(n, 0, OXP_BOOL, x->rank, x->dims));
    oxp_output_overwrites(n, 0, 0);
    return OXP_OK;
}

static oxp_status forward_not(oxp_node *n)
{
    const uint8_t *x = n->in[0]->data;
    uint8_t *y = n->out[0].data;
    for (size_t i = 0; i < n->in[0]->count; i++)
        y[i] = x[i] == 0;
    return OXP_OK;
}

const oxp_operator oxp_op_not_1 = {
    .domain = "",
    .type = "Not",
    .since = 1,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .prepare = prepare_not,
    .forward = forward_not,
    .backward = oxp_backward_zero,
    .examples = (const char *const[]){"X[2,3]:bool", "X[]:bool", NULL},
};
