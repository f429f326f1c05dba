/* product.h - a tree of Mul and Div nodes read as a constant times a few values. */
#ifndef OXP_PREPARE_PRODUCT_H
#define OXP_PREPARE_PRODUCT_H

#include "prepare/pass.h"

#define OXP_PRODUCT_NODES 6
#define OXP_PRODUCT_FACTORS 2

typedef struct oxp_product {
    const oxp_graph_node
        *nodes[OXP_PRODUCT_NODES]; /* the root first; the others are read by these alone */
    size_t node_count;
    uint32_t factors[OXP_PRODUCT_FACTORS];
    size_t factor_count;
    double constant;
    size_t divisions; /* Div nodes among them */
} oxp_product;

/* constant · factors[0] · factors[1], whatever the order of operands and nodes. False when it
 * has another number of factors, or a constant could change a shape. */
bool oxp_product_read(oxp_product *out, const oxp_pass *p, size_t scope,
                      const oxp_graph_node *root);

/* Whether a scalar constant of rank `rank` leaves the shape of value `id` as it is. */
bool oxp_scalar_fits(const oxp_pass *p, size_t scope, uint32_t id, int rank);

/* The scalar operand of a node with two inputs, at either place; *other is the value at the
 * other one. */
bool oxp_scalar_operand(const oxp_pass *p, size_t scope, const oxp_graph_node *node, double *number,
                        uint32_t *other);

/* A node whose result is read by one node alone and is no output. */
const oxp_graph_node *oxp_private_producer(const oxp_pass *p, size_t scope, uint32_t id,
                                           const char *type);

#endif
