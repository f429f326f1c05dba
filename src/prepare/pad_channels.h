/* pad_channels.h - convolutions kept in the blocked layout in which ONNX Runtime computes them.
 *
 * ONNX Runtime computes a float Conv with its channels in blocks (16 with AVX-512, 8 with AVX2) and
 * pads them by itself, but pools only over whole blocks, reads a whole block or four channels, and
 * goes back to the plain layout around everything that it has no blocked form for. Going there and
 * back costs as much as a narrow Conv. */
#ifndef OXP_PREPARE_PAD_CHANNELS_H
#define OXP_PREPARE_PAD_CHANNELS_H

#include "prepare/linear.h"

/* The channels of activations [N, C, H, W] that cannot differ: what a depthwise Conv, a pool or an
 * elementwise node hands on has those of what it reads. */
typedef struct oxp_channel_groups {
    uint32_t *parent; /* by value id: union-find */
    size_t *channels; /* by value id; 0: not known to be an activation of a Conv */
    bool *fixed;      /* by root: something reads or makes them that cannot be padded */
    bool *pooled;     /* by root */
    bool *blocked;    /* by value id: a Conv makes it, or an activation that fuses with one */
    size_t value_count;
} oxp_channel_groups;

oxp_status oxp_channel_groups_find(oxp_channel_groups *out, oxp_pass *p, size_t scope);
uint32_t oxp_channel_group(const oxp_channel_groups *groups, uint32_t value);

/* A Conv [M, C/group, kh, kw] whose weights nothing else reads, dense or depthwise. */
bool oxp_padded_conv(oxp_linear *out, const oxp_pass *p, size_t scope, const oxp_graph_node *node);
static inline bool oxp_is_depthwise(const oxp_linear *l)
{
    return l->groups > 1;
}

/* Spellings that stay in blocks (pad_channels_spell.c): zeros appended to the channels of one side
 * of an Add as a 1x1 Conv, a scalar Add before a padded Conv as a depthwise 1x1 Conv. */
oxp_status oxp_spell_in_blocks(oxp_pass *p, size_t scope, const oxp_channel_groups *groups);

#endif
