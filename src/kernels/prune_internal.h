/* prune_internal.h - what the files of prune.h share. */
#ifndef OXP_KERNELS_PRUNE_INTERNAL_H
#define OXP_KERNELS_PRUNE_INTERNAL_H

#include "kernels/prune.h"

/* kept[n]: 0 at the `zeros` smallest |scores|, of equal ones at the first; else 1. */
void oxp_prune_drop_smallest(uint8_t *kept, const float *scores, size_t n, size_t zeros);

/* As oxp_prune_wanda(), a share of the whole weight. No N:M. */
oxp_status oxp_prune_wanda_overall(uint8_t *kept, oxp_ctx *ctx, const oxp_prune_layer *l,
                                   const oxp_prune_rule *rule);

typedef struct oxp_prune_groups { /* those of a range of channels, in turn */
    const oxp_prune_rule *rule;
    size_t channels;  /* of the layer */
    size_t end;       /* of the range */
    size_t from, tap; /* of the next group */
} oxp_prune_groups;

typedef struct oxp_prune_group {
    size_t columns[OXP_PRUNE_GROUP_MAX];
    size_t count, keep;
} oxp_prune_group;

/* The groups of columns first .. first + count - 1 of all `columns`. */
oxp_prune_groups oxp_prune_groups_of(const oxp_prune_rule *rule, size_t columns, size_t first,
                                     size_t count);
/* Where a range ends inside a group, its parts together keep what the whole may. */
bool oxp_prune_next_group(oxp_prune_groups *g, oxp_prune_group *out);
/* scores and kept of a row; those of the group are set. */
void oxp_prune_drop_in_group(uint8_t *kept, const float *scores, const oxp_prune_group *g);

#endif
