/* activations.h - the activations that are recognised where exporters spell them out. */
#ifndef OXP_PREPARE_ACTIVATIONS_H
#define OXP_PREPARE_ACTIVATIONS_H

#include "prepare/product.h"

/* Each looks at one node, the last one of the pattern, and rewrites or notes what it recognises. */
oxp_status oxp_recognise_hard_swish(oxp_pass *p, size_t scope, const oxp_product *product);
oxp_status oxp_recognise_gelu(oxp_pass *p, size_t scope, const oxp_product *product);
oxp_status oxp_recognise_layer_normalization(oxp_pass *p, size_t scope, const oxp_graph_node *node);

/* Takes the inner nodes of a product away; its root stays. */
oxp_status oxp_product_remove_inner(oxp_pass *p, size_t scope, const oxp_product *product);
/* A node right before `root`, with one output; *output receives its name. */
oxp_status oxp_insert_before(oxp_node_proto **out, const char **output, oxp_pass *p, size_t scope,
                             const oxp_graph_node *root, const char *type, size_t input_count,
                             const char *const *inputs);

#endif
