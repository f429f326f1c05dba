/* equalize_rules.h - what the rules of the walk share. A rule reads the channels of a node's
 * inputs, pins what must keep its size, and gives its outputs channels. */
#ifndef OXP_PREPARE_EQUALIZE_RULES_H
#define OXP_PREPARE_EQUALIZE_RULES_H

#include "prepare/equalize_walk.h"

typedef oxp_status oxp_walk_rule(oxp_equalize_walk *w, const oxp_graph_node *n);

typedef struct oxp_walk_row {
    const char *type;
    oxp_walk_rule *rule;
} oxp_walk_row;

/* The rule of an operator that moves elements, or NULL (equalize_moves.c). */
oxp_walk_rule *oxp_walk_move(const oxp_graph_node *n);

/* Channels of input i; none when it is omitted. */
const oxp_channels *oxp_walk_channels_in(const oxp_equalize_walk *w, const oxp_graph_node *n,
                                         size_t i);
/* Type and shape of input i, which is not omitted, and of the first output. */
const oxp_tensor *oxp_walk_seen_in(const oxp_equalize_walk *w, const oxp_graph_node *n, size_t i);
const oxp_tensor *oxp_walk_seen_out(const oxp_equalize_walk *w, const oxp_graph_node *n);
/* The FLOAT constant behind input i, or NULL. */
const oxp_value *oxp_walk_constant_in(const oxp_equalize_walk *w, const oxp_graph_node *n,
                                      size_t i);
bool oxp_walk_all_zero(const oxp_equalize_walk *w, const oxp_graph_node *n, size_t i);

/* Pins all channels of all inputs; the outputs get none. */
oxp_status oxp_walk_block(oxp_equalize_walk *w, const oxp_graph_node *n);
/* The first output gets these channels, or new ones laid out like these. */
oxp_status oxp_walk_hand_on(oxp_equalize_walk *w, const oxp_graph_node *n, const oxp_channels *c);
oxp_status oxp_walk_begin_channels(oxp_equalize_walk *w, const oxp_graph_node *n, oxp_channels c);
void oxp_walk_unite(oxp_equalize_walk *w, const oxp_channels *a, const oxp_channels *b);
/* [count] times OXP_NO_VARIABLE, in the walk's arena. */
uint32_t *oxp_walk_no_variables(oxp_equalize_walk *w, size_t count);

#endif
