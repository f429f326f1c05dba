/* batch.c - the largest and the best batch, and the curve between. */
#include "deployment/batch.h"

#include <math.h>

static double slow_end(const oxp_runtime *r, const oxp_machine *m, int threads, double batch)
{
    oxp_latency l;
    oxp_latency_sum(&l, r, m, threads, batch);
    return l.high;
}

/* The largest whole batch in [0, most] whose slow end is within `limit`. */
static double within(const oxp_runtime *r, const oxp_machine *m, int threads, double most,
                     double limit)
{
    double low = 0, high = most;
    if (most < 1 || slow_end(r, m, threads, most) <= limit)
        return most;
    while (high - low > 1) {
        double middle = floor((low + high) / 2);
        *(slow_end(r, m, threads, middle) <= limit ? &low : &high) = middle;
    }
    return low;
}

/* From latency = a + b B through batches 1 and 64. */
static double saturation(const oxp_runtime *r, const oxp_machine *m, int threads)
{
    double one = slow_end(r, m, threads, 1), many = slow_end(r, m, threads, 64);
    double b = (many - one) / 63, a = one - b;
    return b > 0 && a > 0 ? ceil(19 * a / b) : 1;
}

void oxp_batch_make(oxp_batch *out, const oxp_runtime *runtime, const oxp_machine *machine,
                    int threads, double memory_bytes, double slo_seconds,
                    double cache_bytes_per_sample)
{
    oxp_batch b = {.resident_bytes = oxp_resident_bytes(runtime)};
    b.activation_bytes_per_sample = oxp_sample_bytes(runtime) + cache_bytes_per_sample;
    double room = memory_bytes - b.resident_bytes;
    b.largest = room < 0 ? 0
                : b.activation_bytes_per_sample > 0
                    ? fmin(floor(room / b.activation_bytes_per_sample), 0x1p40)
                    : 0x1p40;
    b.knee = saturation(runtime, machine, threads);
    b.best = slo_seconds > 0 ? within(runtime, machine, threads, b.largest, slo_seconds)
                             : fmin(b.largest, b.knee);
    double last = fmin(b.largest, fmax(256, 4 * b.knee));
    for (double batch = 1; batch <= last && b.points < OXP_BATCH_POINTS_MAX; batch *= 2) {
        oxp_latency l;
        oxp_latency_sum(&l, runtime, machine, threads, batch);
        b.curve[b.points++] = (oxp_batch_point){batch, l.low, l.high, batch / l.high};
    }
    *out = b;
}
