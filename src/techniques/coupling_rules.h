/* coupling_rules.h - what the files of coupling.h share. A rule reads the channels of a node's
 * inputs, pins what cannot be followed, and gives its outputs channels. */
#ifndef OXP_TECHNIQUES_COUPLING_RULES_H
#define OXP_TECHNIQUES_COUPLING_RULES_H

#include "techniques/coupling.h"

typedef oxp_status oxp_coupling_rule(oxp_coupling *c, const oxp_graph_node *n);

typedef struct oxp_coupling_row {
    const char *type;
    oxp_coupling_rule *rule;
} oxp_coupling_row;

/* The rule of an operator that moves elements, or NULL (coupling_moves.c). */
oxp_coupling_rule *oxp_coupling_move(const oxp_graph_node *n);

/* Conv, ConvTranspose, Gemm, MatMul (coupling_layers.c). */
oxp_status oxp_coupling_layer(oxp_coupling *c, const oxp_graph_node *n);

bool oxp_coupling_has_input(const oxp_graph_node *n, size_t i);
const oxp_channels *oxp_coupling_in(const oxp_coupling *c, const oxp_graph_node *n, size_t i);
const oxp_tensor *oxp_coupling_seen_in(const oxp_coupling *c, const oxp_graph_node *n, size_t i);
/* A constant of the main graph that nothing else reads and nobody overrides, or NULL. */
const oxp_value *oxp_coupling_own(const oxp_graph_node *n, size_t i);
/* An INT64 constant, or a list attribute where the input is none; *attribute tells which. */
bool oxp_coupling_integers(const int64_t **values, size_t *count, bool *is_attribute,
                           const oxp_graph_node *n, size_t input, const char *attribute);

/* All channels of all inputs are pinned; the outputs get none. */
oxp_status oxp_coupling_block(oxp_coupling *c, const oxp_graph_node *n);
/* Output 0 has these channels. */
oxp_status oxp_coupling_hand_on(oxp_coupling *c, const oxp_graph_node *n, const oxp_channels *x);
/* Output 0 has new variables along an axis. */
oxp_status oxp_coupling_begin(oxp_coupling *c, const oxp_graph_node *n, int axis);
/* Elements at the same place; the two are alike (oxp_channels_alike). */
void oxp_coupling_unite(oxp_coupling *c, const oxp_channels *a, const oxp_channels *b);

/* The axis along which channels can be taken away: that of the largest stride; -1 for none. */
int oxp_coupling_axis(const oxp_channels *x);
bool oxp_coupling_single(const oxp_channels *x); /* no other axis tells channels apart */
/* By index along the axis; NULL: no memory. */
const uint32_t *oxp_coupling_along(oxp_coupling *c, const oxp_channels *x, int axis);

oxp_status oxp_coupling_add_cut(oxp_coupling *c, oxp_cut cut);
oxp_status oxp_coupling_add_count(oxp_coupling *c, oxp_count count);

#endif
