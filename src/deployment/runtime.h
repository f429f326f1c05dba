/* runtime.h - what ONNX Runtime executes of a graph, node by node, with its work and its bytes.
 *
 * Modelled: expressions of constants are folded at load (DequantizeLinear excepted); Reshape and
 * its relatives move nothing; an activation behind a float Conv or Gemm, an Add behind a Conv or a
 * MatMul are fused; an operator with an integer form between DequantizeLinear and QuantizeLinear
 * runs in integers and takes both along; DynamicQuantizeLinear - MatMulInteger - Cast - Mul is one
 * node. Shapes and counts of runs come from running one sample, bodies of Loop included. */
#ifndef OXP_DEPLOYMENT_RUNTIME_H
#define OXP_DEPLOYMENT_RUNTIME_H

#include "calibration/runner.h"
#include "deployment/machine.h"

typedef struct oxp_runtime_node {
    const oxp_graph_node *node;
    oxp_work work;
    bool in_integers;
    double runs; /* per inference: more than 1 in the body of a Loop, 0 in a branch not taken */
    double macs; /* of all runs */
    double operations;              /* 2 per multiply-accumulate, else 1 per element */
    double weight_bytes;            /* constants read, as they lie in memory while running */
    double read_bytes, write_bytes; /* activations */
} oxp_runtime_node;

typedef struct oxp_runtime {
    oxp_runtime_node *nodes; /* those that run, in order, main graph first */
    size_t count;
    double macs, operations;
    double weight_bytes;     /* resident: every constant that a running node reads, once */
    double activation_bytes; /* the most that is alive at once in the main graph */
    double batch;            /* of the sample that was run: leading dimension of the first input */
} oxp_runtime;

/* Runs sample 0 of the source. Lives in the arena. */
oxp_status oxp_runtime_make(oxp_runtime *out, oxp_arena *arena, const oxp_graph *graph,
                            const oxp_source *source);

#endif
