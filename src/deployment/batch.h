/* batch.h - how many samples fit, and how many are worth taking at once.
 *
 *   largest   B* = floor((M - S) / m): M bytes of memory, S resident (weights as they lie while
 *             running, the runtime itself, the key-value cache), m activation bytes per sample
 *   best      the largest batch whose slow end is within the asked latency; without one, where
 *             throughput reaches 95 % of its limit: latency a + b B, B = ceil(19 a / b) */
#ifndef OXP_DEPLOYMENT_BATCH_H
#define OXP_DEPLOYMENT_BATCH_H

#include "deployment/latency.h"

#define OXP_RUNTIME_BYTES (32.0 * 1024 * 1024) /* ONNX Runtime with an empty session */
#define OXP_BATCH_POINTS_MAX 32

typedef struct oxp_batch_point {
    double batch, latency_low, latency, throughput; /* latency, throughput: the slow end */
} oxp_batch_point;

typedef struct oxp_batch {
    double resident_bytes, activation_bytes_per_sample;
    double largest, best; /* 0: not even one sample fits, or none within the latency */
    double knee;          /* where throughput saturates; 0: never */
    oxp_batch_point curve[OXP_BATCH_POINTS_MAX];
    size_t points;
} oxp_batch;

/* memory_bytes: M; slo_seconds: 0 = none; cache_bytes_per_sample: of a key-value cache. */
void oxp_batch_make(oxp_batch *out, const oxp_runtime *runtime, const oxp_machine *machine,
                    int threads, double memory_bytes, double slo_seconds,
                    double cache_bytes_per_sample);

#endif
