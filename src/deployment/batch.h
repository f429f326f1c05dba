/* batch.h - how many samples fit, and how many are worth taking at once.
 *
 *   largest   B* = floor((M - S) / m): M bytes of memory, S resident (weights as they lie while
 *             running, the runtime itself, the key-value cache), m activation bytes per sample as
 *             its allocator reserves them
 *   best      the largest batch whose slow end is within the asked latency; without one, where
 *             throughput reaches 95 % of its limit: latency a + b B, B = ceil(19 a / b) */
#ifndef OXP_DEPLOYMENT_BATCH_H
#define OXP_DEPLOYMENT_BATCH_H

#include "deployment/latency.h"

#define OXP_RUNTIME_BYTES (32.0 * 1024 * 1024) /* ONNX Runtime with an empty session */
/* Measured on ONNX Runtime 1.32, ResNet-50, MobileNetV2 and DenseNet-121, batches of 1 to 128
 * (bench/deploy-test): weights lie there as read and as packed for the kernels; its allocator
 * reserves 1.15 to 1.43 times what is alive. */
#define OXP_WEIGHT_COPIES 2.0
#define OXP_ALLOCATOR_SHARE 1.3
#define OXP_BATCH_POINTS_MAX 32

/* S without a cache, and m. */
static inline double oxp_resident_bytes(const oxp_runtime *r)
{
    return OXP_WEIGHT_COPIES * r->weight_bytes + OXP_RUNTIME_BYTES;
}

static inline double oxp_sample_bytes(const oxp_runtime *r)
{
    return OXP_ALLOCATOR_SHARE * r->activation_bytes / r->batch;
}

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
