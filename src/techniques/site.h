/* site.h - one compressible weight with all its consumers; tied weights are one site.
 *
 * Sites are found in the order of their first consumer, graphs by id, so that the same model gives
 * the same numbering; a clone of a model has the same sites at the same indices. */
#ifndef OXP_TECHNIQUES_SITE_H
#define OXP_TECHNIQUES_SITE_H

#include "graph/graph.h"
#include "kernels/quantise.h"

typedef struct oxp_consumer {
    const oxp_graph_node *node;
    uint32_t input;
} oxp_consumer;

typedef struct oxp_site {
    size_t index;
    const oxp_value *value;  /* the constant: FLOAT, FLOAT16 or BFLOAT16, rank >= 2 */
    const oxp_graph *graph;  /* where it lives */
    oxp_consumer *consumers; /* nodes whose operator calls this input a weight */
    size_t consumer_count;
    size_t other_uses; /* reads that are no weight inputs, and graph outputs */
    int channel_axis;  /* of the first consumer */
    bool is_table;     /* every use is the table of a Gather */
    bool is_operand;   /* every use adds, multiplies or cuts it element by element */
    oxp_weight_layout layout;
    int scale_rank; /* the shape in which scales broadcast against the weight */
    int64_t scale_dims[OXP_MAX_RANK];
} oxp_site;

oxp_status oxp_sites_find(oxp_site **out, size_t *count, oxp_arena *arena, const oxp_graph *graph);

static inline size_t oxp_site_scales(const oxp_site *s)
{
    return s->layout.blocks * s->layout.channels;
}

static inline bool oxp_site_is_half(const oxp_site *s)
{
    return s->value->constant.dtype != OXP_FLOAT;
}

/* The weight as float: its own data, or, where it is in half precision, memory that *owned names
 * and oxp_free() takes (NULL otherwise). */
oxp_status oxp_site_numbers(const float **out, float **owned, oxp_ctx *ctx, const oxp_site *s);

#endif
