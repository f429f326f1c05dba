/* runner.h - feeds samples through the interpreter, samples in parallel, one thread inside each.
 *
 * Whatever is summed over samples belongs into slots: the hooks get the slot (0..count-1, the
 * position in the list), and the caller adds slots in order afterwards. */
#ifndef OXP_CALIBRATION_RUNNER_H
#define OXP_CALIBRATION_RUNNER_H

#include "interpreter/interpreter.h"

/* Where samples come from. `get` fills all-zero tensors, one per graph input; the runner releases
 * them. */
typedef struct oxp_source {
    size_t count;
    void *user;
    oxp_status (*get)(void *user, oxp_ctx *ctx, size_t index, oxp_tensor *inputs);
} oxp_source;

typedef struct oxp_run_hooks {
    void *user;
    /* every tensor that a node made */
    oxp_status (*value)(void *user, oxp_ctx *ctx, int worker, size_t slot, const oxp_graph *graph,
                        uint32_t value, const oxp_tensor *t);
    /* every node with its inputs and outputs */
    oxp_status (*node)(void *user, int worker, size_t slot, oxp_node *n);
    /* a whole sample: `inputs` as fed, `outputs` as made (borrowed) */
    oxp_status (*sample)(void *user, oxp_ctx *ctx, int worker, size_t slot,
                         const oxp_tensor *inputs, const oxp_tensor *outputs);
    /* `value` and `node` take elements in any order (interpreter.h: any_layout) */
    bool any_layout;
} oxp_run_hooks;

/* Sessions that are kept from run to run: what they packed and planned serves all of them. The
 * hooks are copied. */
typedef struct oxp_runner oxp_runner;
oxp_status oxp_runner_create(oxp_runner **out, oxp_ctx *ctx, const oxp_graph *graph,
                             const oxp_run_hooks *hooks);
oxp_status oxp_runner_run(oxp_runner *runner, const oxp_source *source, const size_t *which,
                          size_t count, const char *stage);
void oxp_runner_free(oxp_runner *runner); /* takes NULL */

/* Runs samples which[0..count-1] of the source (which NULL: 0..count-1). `stage` names it for
 * progress. */
oxp_status oxp_run_samples(oxp_ctx *ctx, const oxp_graph *graph, const oxp_source *source,
                           const size_t *which, size_t count, const oxp_run_hooks *hooks,
                           const char *stage);

#endif
