/* latency.h - how long one inference takes, as a bracket, and which bound holds for each node.
 *
 *   low  = sum over nodes of max(operations / peak, bytes / bandwidth of the nearest level that
 *          holds them) + cheapest start of a node
 *   high = sum over nodes of operations / typical rate + bytes / bandwidth of the level that holds
 *          the whole model + dearest start of a node
 *
 * A prediction, no bound: kernels may be below their typical rate. `threads` cores work on every
 * node; the slow end takes three quarters of each further core. */
#ifndef OXP_DEPLOYMENT_LATENCY_H
#define OXP_DEPLOYMENT_LATENCY_H

#include "deployment/runtime.h"

typedef enum oxp_bound_by { OXP_BOUND_COMPUTE, OXP_BOUND_MEMORY, OXP_BOUND_DISPATCH } oxp_bound_by;

typedef struct oxp_node_time {
    double bytes, intensity; /* operations per byte; 0 where it moves none */
    double low, high;        /* seconds */
    oxp_bound_by bound;      /* the largest term of `low` */
    int level;               /* the memory level of `low` */
    double attained;         /* of the roofline at `low`: operations per second */
} oxp_node_time;

typedef struct oxp_latency {
    oxp_node_time *nodes;             /* as in the runtime */
    double compute, memory, dispatch; /* terms of `high` */
    double low, high;
} oxp_latency;

/* At `batch` samples per inference: operations and activations grow with it, weights do not. */
oxp_status oxp_latency_make(oxp_latency *out, oxp_arena *arena, const oxp_runtime *runtime,
                            const oxp_machine *machine, int threads, double batch);

/* The sums alone. */
void oxp_latency_sum(oxp_latency *out, const oxp_runtime *runtime, const oxp_machine *machine,
                     int threads, double batch);

#endif
