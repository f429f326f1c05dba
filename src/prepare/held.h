/* held.h - samples that lie in memory, run through a graph: side by side, a session per thread.
 *
 * Tensors keep the layout of their shape, watched or not, so that runs can be compared bit for bit.
 * What is summed over samples belongs into slots by sample, added in order afterwards. */
#ifndef OXP_PREPARE_HELD_H
#define OXP_PREPARE_HELD_H

#include "interpreter/interpreter.h"

typedef struct oxp_held_hooks { /* slot: position of the sample */
    void *user;
    /* every tensor that a node made; or NULL */
    oxp_status (*value)(void *user, oxp_ctx *ctx, size_t slot, const oxp_graph *graph,
                        uint32_t value, const oxp_tensor *t);
    /* what came out, one tensor per graph output; what the hook does not empty is released */
    oxp_status (*outputs)(void *user, oxp_ctx *ctx, size_t slot, oxp_tensor *outputs);
} oxp_held_hooks;

/* samples: [count], one tensor per graph input each. After an error no new sample begins, and all
 * before the one that failed have run. */
oxp_status oxp_held_run(oxp_ctx *ctx, const oxp_graph *graph,
                        const oxp_tensor *const *const *samples, size_t count,
                        const oxp_held_hooks *hooks);

#endif
