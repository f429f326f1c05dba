/* equalize_channels.h - which elements of a tensor belong to which channel, and which channels
 * must have one factor.
 *
 * A channel of a value is a variable; channels that must have the same factor are united, those
 * that must keep their size are pinned. The channel of an element is
 * offset + sum over axes k of (index_k / divide_k mod extent_k) * stride_k,
 * which Transpose, Reshape, Slice and Split map to the same form. */
#ifndef OXP_PREPARE_EQUALIZE_CHANNELS_H
#define OXP_PREPARE_EQUALIZE_CHANNELS_H

#include "util/tensor.h"

#define OXP_NO_VARIABLE UINT32_MAX

typedef struct oxp_channel_part { /* extent 1: the axis does not tell channels apart */
    size_t divide, extent, stride;
} oxp_channel_part;

typedef struct oxp_channels { /* of one value */
    size_t count;             /* 0: the value has no channels, its elements keep their size */
    uint32_t first;           /* the variable of channel 0 */
    size_t offset;
    int rank;
    int64_t dims[OXP_MAX_RANK]; /* as one run showed them */
    oxp_channel_part parts[OXP_MAX_RANK];
} oxp_channels;

typedef struct oxp_variables {
    oxp_ctx *ctx;
    uint32_t *parent;
    bool *pinned; /* by root */
    size_t count, capacity, pinned_capacity;
} oxp_variables;

void oxp_variables_free(oxp_variables *v);
oxp_status oxp_variables_add(uint32_t *first, oxp_variables *v, size_t count);
uint32_t oxp_variables_root(oxp_variables *v, uint32_t variable);
void oxp_variables_unite(oxp_variables *v, uint32_t a, uint32_t b);
void oxp_variables_pin(oxp_variables *v, uint32_t variable);

/* Channels along one axis of a shape, without variables yet. */
oxp_channels oxp_channels_along(int axis, int rank, const int64_t *dims);
/* All channels that elements of the value have are pinned. */
void oxp_channels_pin(oxp_variables *v, const oxp_channels *c);
/* *out[i]: the variable of index i along `axis`. False when another axis tells channels apart. */
bool oxp_channels_on_axis(uint32_t *out, const oxp_channels *c, int axis);
/* Whether the two, aligned at their last axes, give aligned elements the same channel number. */
bool oxp_channels_alike(const oxp_channels *a, const oxp_channels *b);

/* The same elements in another shape; false when the channels cannot be told there. */
bool oxp_channels_reshape(oxp_channels *out, const oxp_channels *in, int rank, const int64_t *dims);
bool oxp_channels_transpose(oxp_channels *out, const oxp_channels *in, const int64_t *order);
/* Elements start, start + 1, … of an axis. */
bool oxp_channels_slice(oxp_channels *out, const oxp_channels *in, int axis, int64_t start,
                        int64_t size);
/* The axis gets a new size; false when it tells channels apart. */
bool oxp_channels_resize(oxp_channels *out, const oxp_channels *in, int rank, const int64_t *dims);

/* The channel part of index i of every axis: tables[k][i], in the arena. */
oxp_status oxp_channels_tables(size_t *tables[OXP_MAX_RANK], const oxp_channels *c, int rank,
                               const int64_t *dims, oxp_arena *arena);

#endif
