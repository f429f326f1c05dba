/* Batches and caches: what fits and what does not, at the edge. */
#include "deployment/batch.h"

#include <criterion/criterion.h>
#include <math.h>

#include "deployment/kv_cache.h"

static oxp_runtime_node nodes[2];

/* One product and one elementwise node. */
static oxp_runtime runtime(void)
{
    nodes[0] = (oxp_runtime_node){.work = OXP_WORK_DENSE,
                                  .runs = 1,
                                  .operations = 2e6,
                                  .weight_bytes = 4e6,
                                  .read_bytes = 4e3,
                                  .write_bytes = 4e3};
    nodes[1] = (oxp_runtime_node){.work = OXP_WORK_SIMPLE,
                                  .runs = 1,
                                  .operations = 1e3,
                                  .read_bytes = 4e3,
                                  .write_bytes = 4e3};
    return (oxp_runtime){.nodes = nodes,
                         .count = 2,
                         .operations = 2.001e6,
                         .weight_bytes = 4e6,
                         .activation_bytes = 1e6,
                         .batch = 1};
}

Test(batch, the_largest_fits_and_one_more_does_not)
{
    oxp_runtime r = runtime();
    for (double memory = 45e6; memory < 4e9; memory *= 1.7) {
        oxp_batch b;
        oxp_batch_make(&b, &r, oxp_machine_at(0), 1, memory, 0, 0);
        double m = b.activation_bytes_per_sample, s = b.resident_bytes;
        cr_expect_leq(b.largest * m + s, memory);
        cr_expect_gt((b.largest + 1) * m + s, memory);
    }
    oxp_batch none;
    oxp_batch_make(&none, &r, oxp_machine_at(0), 1, 30e6, 0, 0);
    cr_expect_eq(none.largest, 0);
    cr_expect_eq(none.best, 0);
    cr_expect_eq(none.points, 0);
}

Test(batch, the_best_keeps_the_latency)
{
    oxp_runtime r = runtime();
    oxp_batch b;
    oxp_latency l;
    oxp_batch_make(&b, &r, oxp_machine_at(0), 1, 16e9, 2e-3, 0);
    cr_assert_geq(b.best, 1);
    cr_assert_lt(b.best, b.largest);
    oxp_latency_sum(&l, &r, oxp_machine_at(0), 1, b.best);
    cr_expect_leq(l.high, 2e-3);
    oxp_latency_sum(&l, &r, oxp_machine_at(0), 1, b.best + 1);
    cr_expect_gt(l.high, 2e-3);
}

Test(batch, without_a_latency_95_percent_of_the_throughput)
{
    oxp_runtime r = runtime();
    oxp_batch b;
    oxp_latency one, many;
    const oxp_machine *gpu = oxp_machine_at(4);
    oxp_batch_make(&b, &r, gpu, 1, 16e9, 0, 0);
    oxp_latency_sum(&one, &r, gpu, 1, 1);
    oxp_latency_sum(&many, &r, gpu, 1, 64);
    double slope = (many.high - one.high) / 63, start = one.high - slope;
    double share = b.best / (start + slope * b.best) * slope; /* of the limit 1 / slope */
    cr_expect(share >= 0.95 && share < 0.96, "%g at batch %g", share, b.best);
}

Test(latency, low_is_never_above_high_and_grows_with_the_batch)
{
    oxp_runtime r = runtime();
    for (size_t i = 0; i < oxp_machine_count(); i++)
        for (int threads = 1; threads <= oxp_machine_at(i)->cores; threads *= 2) {
            oxp_latency a, b;
            oxp_latency_sum(&a, &r, oxp_machine_at(i), threads, 1);
            oxp_latency_sum(&b, &r, oxp_machine_at(i), threads, 16);
            cr_expect_leq(a.low, a.high);
            cr_expect_leq(a.low, b.low);
            cr_expect_leq(a.high, b.high);
            cr_expect_lt(fabs(a.compute + a.memory + a.dispatch - a.high), 1e-12);
        }
}

Test(machine, the_described_ones_are_in_order)
{
    for (size_t i = 0; i < oxp_machine_count(); i++) {
        const oxp_machine *m = oxp_machine_at(i);
        for (int w = 0; w < OXP_WORK_COUNT; w++)
            cr_expect(m->rates[w].typical > 0 && m->rates[w].typical <= m->rates[w].peak, "%s %s",
                      m->name, oxp_work_name((oxp_work)w));
        for (int l = 1; l < m->level_count; l++) {
            cr_expect_gt(m->levels[l].bytes, m->levels[l - 1].bytes);
            cr_expect_leq(m->levels[l].bandwidth, m->levels[l - 1].bandwidth);
        }
        cr_expect_eq(oxp_machine_level(m, 0), 0);
        cr_expect_eq(oxp_machine_level(m, 1e15), m->level_count - 1);
    }
}

/* Published shapes: Llama-3-8B has 32 layers and 8 heads of 128 for keys and values, 2 bytes each:
 * 131,072 bytes a token; with 32 such heads (no grouping) it would be 524,288. */
Test(kv_cache, bytes_of_published_shapes)
{
    oxp_ctx ctx;
    oxp_kv_shape s;
    oxp_ctx_init(&ctx);
    cr_assert_eq(oxp_kv_parse(&s, &ctx, "layers=32,kv_heads=8,head_dim=128,bytes=2"), OXP_OK);
    cr_expect_eq(oxp_kv_bytes_per_token(&s), 131072);
    cr_assert_eq(oxp_kv_parse(&s, &ctx, "bytes=2,head_dim=64,kv_heads=2,layers=24"), OXP_OK);
    cr_expect_eq(oxp_kv_bytes_per_token(&s), 12288); /* Qwen2-0.5B */
    static const char *const bad[] = {"layers=32", "layers=32,kv_heads=8,head_dim=128,bytes=x",
                                      "layers=-1,kv_heads=8,head_dim=128,bytes=2", "heads=3", "="};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_expect_eq(oxp_kv_parse(&s, &ctx, bad[i]), OXP_EUSAGE, "%s", bad[i]);
        oxp_ctx_clear(&ctx);
    }
}

Test(kv_cache, the_longest_sequence_fits_and_one_more_does_not)
{
    for (double kappa = 1; kappa <= 2; kappa++) {
        double room = 1e9, batch = 3, token = 12288, linear = 1e6, quadratic = 5e5, at = 128;
        double t = oxp_kv_longest(room, batch, kappa, token, linear, quadratic, at);
        for (int more = 0; more < 2; more++) {
            double n = t + more;
            double bytes =
                batch * (kappa * token * n + linear * n / at + quadratic * (n / at) * (n / at));
            cr_expect_eq(bytes <= room, more == 0, "%g bytes at %g", bytes, n);
        }
    }
    cr_expect_eq(oxp_kv_longest(-1, 1, 1, 1, 0, 0, 1), 0);
}
