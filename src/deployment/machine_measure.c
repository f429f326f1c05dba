/* machine_measure.c - this machine, from the library's own kernels on one core.
 *
 * Each rate is the best of several runs of about ten milliseconds: the machine may do other work,
 * and what is wanted is what it can do. Peaks come from shapes that suit the kernels best, typical
 * rates from small ones. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "deployment/machine.h"
#include "kernels/conv.h"
#include "kernels/gemm.h"
#include "kernels/libraries.h"

#define TRIALS 7
#define TRIAL_SECONDS 0.01

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- one thing, timed ---- */

typedef struct job {
    void (*run)(struct job *);
    oxp_ctx *ctx;
    float *a, *b, *c;
    size_t count;
    oxp_gemm_shape gemm;
    oxp_conv *conv;
    oxp_status status;
} job;

/* Seconds of one run, the least of some trials. */
static double seconds_of(job *j)
{
    size_t repeats = 1;
    double best = INFINITY;
    j->run(j); /* warm */
    for (int trial = 0; trial < TRIALS; trial++) {
        double start = now(), elapsed;
        for (size_t i = 0; i < repeats; i++)
            j->run(j);
        elapsed = now() - start;
        if (elapsed < TRIAL_SECONDS && repeats < 1000000) {
            repeats *= elapsed > 0 ? 1 + (size_t)(TRIAL_SECONDS / elapsed) : 100;
            trial--;
            continue;
        }
        best = fmin(best, elapsed / (double)repeats);
    }
    return best;
}

static void run_gemm(job *j)
{
    oxp_gemm(&j->gemm, 1, j->a, j->b, 0, j->c);
}

static void run_conv(job *j)
{
    if (j->status == OXP_OK)
        j->status = oxp_conv_run(j->conv, j->ctx, j->a, NULL, j->c);
}

typedef float vector16 __attribute__((vector_size(64), aligned(4)));
#define LANES 16

/* c = a + 2 b: the triad. */
__attribute__((target_clones("avx512f", "avx2", "default"))) static void run_triad(job *j)
{
    for (size_t i = 0; i + LANES <= j->count; i += LANES)
        *(vector16 *)(void *)(j->c + i) = *(const vector16 *)(const void *)(j->a + i) +
                                          2.0f * *(const vector16 *)(const void *)(j->b + i);
    __asm__ volatile("" ::"r"(j->c) : "memory");
}

static void run_exp(job *j)
{
    for (size_t i = 0; i < j->count; i++)
        j->c[i] = expf(j->a[i]);
    __asm__ volatile("" ::"r"(j->c) : "memory");
}

/* ---- rates ---- */

static double gemm_rate(job *j, size_t m, size_t n, size_t k)
{
    j->run = run_gemm;
    j->gemm = oxp_gemm_plain(false, false, m, n, k);
    return 2.0 * (double)m * (double)n * (double)k / seconds_of(j);
}

/* A 3x3 convolution, padding 1, on an image of `side`. */
static oxp_status conv_rate(double *out, job *j, size_t groups, size_t channels, size_t side)
{
    oxp_window window = {.in = {1, side, side},
                         .out = {1, side, side},
                         .kernel = {1, 3, 3},
                         .stride = {1, 1, 1},
                         .dilation = {1, 1, 1},
                         .begin = {0, 1, 1},
                         .end = {0, 1, 1}};
    oxp_conv_shape s = {1, groups, channels, channels, window};
    OXP_TRY(oxp_conv_create(&j->conv, j->ctx, &s));
    j->status = oxp_conv_pack(j->conv, j->ctx, j->b);
    j->run = run_conv;
    double seconds = j->status == OXP_OK ? seconds_of(j) : 1;
    oxp_conv_free(j->conv);
    *out =
        2.0 * 9 * (double)(channels / groups) * (double)channels * (double)(side * side) / seconds;
    return j->status;
}

static double triad_bandwidth(job *j, size_t bytes)
{
    j->run = run_triad;
    j->count = bytes / 12;
    return 12.0 * (double)j->count / seconds_of(j);
}

static double exp_rate(job *j)
{
    j->run = run_exp;
    j->count = 4096;
    return (double)j->count / seconds_of(j);
}

/* ---- caches ---- */

static double cache_bytes(int name, double otherwise)
{
    long bytes = sysconf(name);
    return bytes > 0 ? (double)bytes : otherwise;
}

#define KIB 1024.0
#define MIB (1024.0 * 1024.0)
#define BUFFER_BYTES (64u << 20) /* of each of three: beyond any cache that one core gets */

static void set_level(oxp_machine *m, const char *name, double bytes, double bandwidth, double all)
{
    oxp_memory_level *l = &m->levels[m->level_count++];
    snprintf(l->name, sizeof l->name, "%s", name);
    l->bytes = bytes;
    l->bandwidth = bandwidth;
    l->bandwidth_of_all = all;
}

static void measure_levels(oxp_machine *m, job *j)
{
    double l1 = cache_bytes(_SC_LEVEL1_DCACHE_SIZE, 32 * KIB);
    double l2 = cache_bytes(_SC_LEVEL2_CACHE_SIZE, 512 * KIB);
    double l3 = cache_bytes(_SC_LEVEL3_CACHE_SIZE, 0);
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    double memory = pages > 0 && page > 0 ? (double)pages * (double)page : 4e9, cores = m->cores;
    double near = triad_bandwidth(j, (size_t)(l1 / 2)),
           middle = triad_bandwidth(j, (size_t)(l2 / 2));
    double far = triad_bandwidth(j, 3u * BUFFER_BYTES);
    set_level(m, "L1", l1, fmax(near, middle), fmax(near, middle) * cores);
    set_level(m, "L2", l2, middle, middle * cores);
    if (l3 > l2) {
        double third = triad_bandwidth(j, (size_t)fmin(l3 / 2, 24 * MIB));
        set_level(m, "L3", l3, fmax(third, far), fmax(third, far) * cores);
    }
    /* one core seldom fills the memory's channels, two to four do */
    set_level(m, "DRAM", fmax(memory, l3 + 1), far, far * fmin(cores, 3));
}

/* 8-bit sums of four products per lane where the instructions exist, else about twice float. */
static void scale_integers(oxp_machine *m)
{
    bool quadruple = strcmp(oxp_kernels_instruction_set(), "avx512") == 0;
    double peak = quadruple ? 4 : 2, typical = quadruple ? 2 : 1.2;
    m->rates[OXP_WORK_DENSE_INT8] = (oxp_rate){peak * m->rates[OXP_WORK_DENSE].peak,
                                               typical * m->rates[OXP_WORK_DENSE].typical};
    m->rates[OXP_WORK_DEPTHWISE_INT8] =
        (oxp_rate){2 * m->rates[OXP_WORK_DEPTHWISE].peak, m->rates[OXP_WORK_DEPTHWISE].typical / 2};
}

static oxp_status measure_rates(oxp_machine *m, job *j)
{
    double wide, narrow, depthwise, small_depthwise;
    double peak = fmax(gemm_rate(j, 384, 384, 384), gemm_rate(j, 256, 1024, 256));
    OXP_TRY(conv_rate(&wide, j, 1, 128, 28));
    OXP_TRY(conv_rate(&narrow, j, 1, 24, 28));
    OXP_TRY(conv_rate(&depthwise, j, 128, 128, 28));
    OXP_TRY(conv_rate(&small_depthwise, j, 64, 64, 7));
    peak = fmax(peak, wide);
    m->rates[OXP_WORK_DENSE] = (oxp_rate){peak, fmin(narrow, peak / 2)};
    m->rates[OXP_WORK_DEPTHWISE] =
        (oxp_rate){fmax(depthwise, peak / 3), fmin(small_depthwise, depthwise)};
    double lanes = m->levels[0].bandwidth / 12;
    m->rates[OXP_WORK_SIMPLE] = (oxp_rate){2 * lanes, lanes / 4};
    double slow = exp_rate(j);
    m->rates[OXP_WORK_FUNCTION] = (oxp_rate){fmax(8 * slow, lanes / 2), 2 * slow};
    scale_integers(m);
    return OXP_OK;
}

oxp_status oxp_machine_measure(oxp_machine *out, oxp_ctx *ctx)
{
    oxp_machine m = {.dispatch_low = 0.2e-6, .dispatch_high = 2.5e-6};
    job j = {.ctx = ctx};
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    char library[64];
    oxp_kernels_library(library);
    m.cores = cores > 0 ? (int)cores : 1;
    snprintf(m.name, sizeof m.name, "this machine");
    snprintf(m.source, sizeof m.source,
             "measured on one core with %s, %s; 8-bit rates and the cost of a node in proportion",
             library, oxp_kernels_instruction_set());
    oxp_status status = oxp_alloc(&j.a, ctx, BUFFER_BYTES, 1, "buffer");
    if (status == OXP_OK)
        status = oxp_alloc(&j.b, ctx, BUFFER_BYTES, 1, "buffer");
    if (status == OXP_OK)
        status = oxp_alloc(&j.c, ctx, BUFFER_BYTES, 1, "buffer");
    if (status == OXP_OK) {
        measure_levels(&m, &j);
        status = measure_rates(&m, &j);
    }
    oxp_free(j.a);
    oxp_free(j.b);
    oxp_free(j.c);
    if (status == OXP_OK)
        *out = m;
    return status;
}
