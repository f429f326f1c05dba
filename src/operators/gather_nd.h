/* gather_nd.h - what GatherND and ScatterND share: index tuples that name slices. */
#ifndef OXP_OPERATORS_GATHER_ND_H
#define OXP_OPERATORS_GATHER_ND_H

#include "operators/movement.h"

typedef struct oxp_nd {
    int batch_dims; /* leading dimensions that data and indices share */
    int tuple;      /* entries of an index tuple: the last dimension of the indices */
    size_t slices;  /* how many tuples */
    size_t slice;   /* elements of the slice that a tuple names */
} oxp_nd;

/* Reads the shapes of data (input 0) and indices (input 1). */
oxp_status oxp_nd_read(oxp_node *n, int batch_dims, oxp_nd *nd);
/* For each tuple the offset in input 0, in elements, in scratch; E-INDEX. */
oxp_status oxp_nd_offsets(oxp_node *n, const oxp_nd *nd, size_t **offsets);

#endif
