/* einsum_equation.h - the equation of an Einsum as labels: letters are 0..51, the dimensions of
 * an ellipsis follow, right-aligned, so that operands with fewer of them broadcast. */
#ifndef OXP_OPERATORS_EINSUM_EQUATION_H
#define OXP_OPERATORS_EINSUM_EQUATION_H

#include "operators/operator.h"

#define OXP_EINSUM_LETTERS 52
#define OXP_EINSUM_LABELS (OXP_EINSUM_LETTERS + OXP_MAX_RANK)

typedef struct oxp_einsum_term {
    int rank;
    uint8_t labels[OXP_MAX_RANK];
} oxp_einsum_term;

typedef struct oxp_einsum {
    int64_t dims[OXP_EINSUM_LABELS]; /* -1: the label does not occur */
    oxp_einsum_term output;
    int inputs;
    oxp_einsum_term terms[]; /* one per input */
} oxp_einsum;

size_t oxp_einsum_bytes(int inputs);

/* Reads the equation against the shapes of the node's inputs; E-ATTR-VALUE for the text, E-SHAPE
 * for the shapes. */
oxp_status oxp_einsum_read(oxp_node *n, oxp_einsum *e, const char *equation);

#endif
