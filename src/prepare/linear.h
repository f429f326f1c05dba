/* linear.h - operators with constant weights that can take y = scale·x + shift of their output
 * or input into them. */
#ifndef OXP_PREPARE_LINEAR_H
#define OXP_PREPARE_LINEAR_H

#include "prepare/affine.h"

typedef enum oxp_linear_kind {
    OXP_LINEAR_CONV,           /* W [M, C/group, k…] */
    OXP_LINEAR_CONV_TRANSPOSE, /* W [C, M/group, k…] */
    OXP_LINEAR_GEMM,           /* B [K, N], or [N, K] with transB */
    OXP_LINEAR_MATMUL          /* B [K, N] */
} oxp_linear_kind;

typedef struct oxp_linear {
    size_t scope;
    const oxp_graph_node *node;
    oxp_linear_kind kind;
    const oxp_value *weight, *bias; /* bias NULL when there is none */
    size_t outputs, inputs;         /* channels: M and C */
    size_t first, second, rest;     /* the weight's dims, those from the third on multiplied */
    size_t groups;
    int rank;        /* of the output; its channel axis is 1 */
    bool transposed; /* Gemm transB */
    double beta;     /* Gemm */
    bool padded;     /* zeros stand around the input of a Conv, or may */
} oxp_linear;

/* False when the node is none of these, or its weights are not FLOAT constants that can be
 * changed. */
bool oxp_linear_read(oxp_linear *out, const oxp_pass *p, size_t scope, const oxp_graph_node *node);
/* Whether nothing else reads the weights. */
bool oxp_linear_owns_weight(const oxp_pass *p, const oxp_linear *l);

/* Output and input channel of row `i` of the weight seen as [first·second, rest]. */
size_t oxp_linear_output_channel(const oxp_linear *l, size_t i);
size_t oxp_linear_input_channel(const oxp_linear *l, size_t i);

/* New numbers of an operator; NULL where the old ones stay. */
typedef struct oxp_linear_numbers {
    float *weight;
    float *bias; /* [outputs] */
} oxp_linear_numbers;

/* y' = scale·y + shift per output channel. *finite is false when a number leaves the range of
 * float. */
oxp_status oxp_linear_scale_outputs(oxp_linear_numbers *out, bool *finite, oxp_pass *p,
                                    const oxp_linear *l, const double *scale, const double *shift);
/* The operator on scale·x + shift per input channel, as one on x. For Conv; shift needs an
 * unpadded one. */
oxp_status oxp_linear_scale_inputs(oxp_linear_numbers *out, bool *finite, oxp_pass *p,
                                   const oxp_linear *l, const double *scale, const double *shift);
/* Writes the numbers into the model. For MatMul, which has no bias, *bias receives the name of a
 * new constant. */
oxp_status oxp_linear_write(const char **bias, oxp_pass *p, const oxp_linear *l,
                            const oxp_linear_numbers *numbers);

#endif
