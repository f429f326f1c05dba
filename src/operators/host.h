/* host.h - what an operator with subgraphs asks of whoever runs it. The interpreter fills it in. */
#ifndef OXP_OPERATORS_HOST_H
#define OXP_OPERATORS_HOST_H

#include "operators/operator.h"
#include "util/shared.h"

struct oxp_host {
    oxp_status (*run_subgraph)(struct oxp_host *host, oxp_node *n, size_t which,
                               const oxp_tensor *const *inputs, size_t input_count, oxp_tensor *out,
                               size_t output_count);
    /* see oxp_node_backward_subgraph() */
    oxp_status (*backward_subgraph)(struct oxp_host *host, oxp_node *n, size_t which,
                                    const oxp_tensor *const *inputs, size_t input_count,
                                    const oxp_tensor *const *dout, size_t output_count,
                                    oxp_tensor *din);
    oxp_arena *lifetime; /* of the session: node state, decoded tensor attributes */
    oxp_shared *shared;  /* packed constants of all sessions of the graph; NULL: each has its own */
};

#endif
