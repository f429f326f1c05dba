/* affine.h - nodes that compute y = a_c·x + b_c with constants, a pair per channel c or one for
 * all. */
#ifndef OXP_PREPARE_AFFINE_H
#define OXP_PREPARE_AFFINE_H

#include "prepare/pass.h"

#define OXP_CHAIN_MAX 16

typedef struct oxp_affine {
    uint32_t from;      /* the value x */
    bool normalization; /* a BatchNormalization */
    bool scalar;        /* one pair for all channels */
} oxp_affine;

/* Reads a node as y = a·x + b over `channels` channels on axis `axis` of x, which has rank
 * `rank`; a and b have room for `channels` numbers. False when the node is something else, or
 * would change the shape of x. */
bool oxp_affine_read(oxp_affine *out, double *a, double *b, const oxp_pass *p, size_t scope,
                     const oxp_graph_node *node, int rank, int axis, size_t channels);

/* Affine nodes one behind the other, each read by the next alone; y = scale·x + shift for the
 * whole chain. */
typedef struct oxp_chain {
    const oxp_graph_node *nodes[OXP_CHAIN_MAX]; /* in the order of computation */
    size_t count;
    uint32_t from, to; /* x and y */
    bool normalization, scalar;
    double *scale, *shift; /* [channels] */
} oxp_chain;

/* Which part of a chain a step folds. */
typedef enum oxp_chain_end {
    OXP_CHAIN_ARITHMETIC,      /* all of it up to the first BatchNormalization */
    OXP_CHAIN_TO_CHANNELS,     /* up to the farthest node with numbers per channel */
    OXP_CHAIN_TO_NORMALIZATION /* up to the farthest BatchNormalization */
} oxp_chain_end;

/* The chain behind value `from`, or before value `to`. count 0 when there is none. */
oxp_status oxp_chain_behind(oxp_chain *out, oxp_pass *p, size_t scope, uint32_t from, int rank,
                            int axis, size_t channels, oxp_chain_end end);
oxp_status oxp_chain_before(oxp_chain *out, oxp_pass *p, size_t scope, uint32_t to, int rank,
                            int axis, size_t channels, oxp_chain_end end);

/* "BatchNormalization \"bn1\", Mul \"m\"" */
#define OXP_CHAIN_TEXT_MAX 512
const char *oxp_chain_text(char out[OXP_CHAIN_TEXT_MAX], const oxp_chain *chain);

#endif
