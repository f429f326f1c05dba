/* latency.c - the roofline of every node and their sums. */
#include "deployment/latency.h"

#define SHARE_OF_FURTHER_CORES 0.75

static oxp_node_time node_time(const oxp_runtime *r, const oxp_runtime_node *n,
                               const oxp_machine *m, int threads, double batch, oxp_latency *sums)
{
    oxp_node_time t = {0};
    double scale = batch / r->batch, operations = n->operations * scale;
    double all = r->weight_bytes + r->activation_bytes * scale;
    const oxp_rate *rate = &m->rates[n->work];
    int home = oxp_machine_level(m, all);
    t.bytes = n->weight_bytes + (n->read_bytes + n->write_bytes) * scale;
    t.intensity = t.bytes > 0 ? operations / t.bytes : 0;
    t.level = oxp_machine_level(m, n->runs > 0 ? t.bytes / n->runs : t.bytes);
    double fast = operations / (rate->peak * threads);
    double near = t.bytes / oxp_machine_bandwidth(m, t.level, threads);
    double start = m->dispatch_low * n->runs;
    double slow = operations / (rate->typical * (1 + SHARE_OF_FURTHER_CORES * (threads - 1)));
    double far = t.bytes / oxp_machine_bandwidth(m, home, threads);
    t.low = (fast > near ? fast : near) + start;
    t.high = slow + far + m->dispatch_high * n->runs;
    t.bound = start > fast && start > near ? OXP_BOUND_DISPATCH
              : fast >= near               ? OXP_BOUND_COMPUTE
                                           : OXP_BOUND_MEMORY;
    t.attained = t.low > start ? operations / (t.low - start) : 0;
    sums->compute += slow;
    sums->memory += far;
    sums->dispatch += m->dispatch_high * n->runs;
    sums->low += t.low;
    sums->high += t.high;
    return t;
}

void oxp_latency_sum(oxp_latency *out, const oxp_runtime *runtime, const oxp_machine *machine,
                     int threads, double batch)
{
    *out = (oxp_latency){0};
    for (size_t i = 0; i < runtime->count; i++)
        node_time(runtime, &runtime->nodes[i], machine, threads, batch, out);
}

oxp_status oxp_latency_make(oxp_latency *out, oxp_arena *arena, const oxp_runtime *runtime,
                            const oxp_machine *machine, int threads, double batch)
{
    oxp_latency l = {.nodes = oxp_arena_alloc(arena, runtime->count + 1, sizeof *l.nodes)};
    if (!l.nodes)
        return OXP_ELIMIT;
    for (size_t i = 0; i < runtime->count; i++)
        l.nodes[i] = node_time(runtime, &runtime->nodes[i], machine, threads, batch, &l);
    *out = l;
    return OXP_OK;
}
