/* Parallel-for: each index once, same results at any thread count, which error is kept, callbacks.
*/
#include "util/parallel.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <time.h>

#include "util/memory.h"
#include "util/random.h"

extern int omp_get_max_threads(void);

#define COUNT 2000

typedef struct job {
    _Atomic int runs[COUNT];
    uint64_t results[COUNT];
    _Atomic int inside;
    int threads;
    size_t fails_from, fails_every; /* index >= from and divisible by every */
    _Atomic size_t highest_started;
} job;

static oxp_status draw(void *user, oxp_ctx *ctx, size_t index, int worker)
{
    job *j = user;
    cr_assert(worker >= 0 && worker < j->threads);
    cr_assert_eq(ctx->threads, 1);
    cr_assert_eq(omp_get_max_threads(), 1);
    void *scratch;
    OXP_TRY(oxp_alloc(&scratch, ctx, 64, 1, "scratch"));
    oxp_random r = oxp_random_make(ctx->seed, index, 0);
    j->results[index] = oxp_random_bits(&r);
    atomic_fetch_add(&j->runs[index], 1);
    oxp_free(scratch);
    return OXP_OK;
}

Test(parallel, each_index_once_and_the_same_at_any_thread_count)
{
    static job jobs[4];
    static const int threads[4] = {1, 2, 3, 16};
    for (int t = 0; t < 4; t++) {
        oxp_ctx ctx;
        oxp_ctx_init(&ctx);
        ctx.seed = 11;
        ctx.threads = jobs[t].threads = threads[t];
        int before = omp_get_max_threads();
        cr_assert_eq(oxp_parallel_for(&ctx, COUNT, draw, &jobs[t]), OXP_OK);
        cr_expect_eq(omp_get_max_threads(), before, "the caller's setting is put back");
        for (size_t i = 0; i < COUNT; i++) {
            cr_assert_eq(atomic_load(&jobs[t].runs[i]), 1);
            cr_assert_eq(jobs[t].results[i], jobs[0].results[i]);
        }
        cr_expect_eq(atomic_load(&ctx.own_budget.used), 0);
    }
}

Test(parallel, no_index_no_call)
{
    oxp_ctx ctx;
    oxp_ctx_init(&ctx);
    ctx.threads = 4;
    cr_expect_eq(oxp_parallel_for(&ctx, 0, draw, NULL), OXP_OK);
}

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
}

static oxp_status sometimes_fail(void *user, oxp_ctx *ctx, size_t index, int worker)
{
    job *j = user;
    (void)worker;
    size_t highest = atomic_load(&j->highest_started);
    while (index > highest && !atomic_compare_exchange_weak(&j->highest_started, &highest, index))
        ;
    if (index == j->fails_from)
        nap(); /* later ones that fail too come first in time */
    if (index >= j->fails_from && index % j->fails_every == 0)
        return oxp_fail(ctx, OXP_EDATA, "E-TEST", "index %zu", index);
    return OXP_OK;
}

Test(parallel, the_lowest_failing_index_is_kept)
{
    for (int threads = 1; threads <= 8; threads++) {
        static job j;
        oxp_ctx ctx;
        oxp_ctx_init(&ctx);
        ctx.threads = threads;
        j.fails_from = 120;
        j.fails_every = 3;
        atomic_store(&j.highest_started, 0);
        cr_assert_eq(oxp_parallel_for(&ctx, COUNT, sometimes_fail, &j), OXP_EDATA);
        cr_expect_str_eq(ctx.message, "index 120", "%d threads: %s", threads, ctx.message);
        cr_expect_eq(ctx.status, OXP_EDATA);
        cr_expect_lt(atomic_load(&j.highest_started), COUNT - 1, "no new index after an error");
        if (threads == 1)
            cr_expect_eq(atomic_load(&j.highest_started), 120);
    }
}

static oxp_status fail_silently(void *user, oxp_ctx *ctx, size_t index, int worker)
{
    (void)user;
    (void)ctx;
    (void)worker;
    return index == 2 ? OXP_EIO : OXP_OK;
}

Test(parallel, an_error_without_a_message_gets_one)
{
    oxp_ctx ctx;
    oxp_ctx_init(&ctx);
    ctx.threads = 2;
    cr_expect_eq(oxp_parallel_for(&ctx, 5, fail_silently, NULL), OXP_EIO);
    cr_expect_eq(ctx.status, OXP_EIO);
    cr_expect_neq(ctx.message[0], '\0');
}

typedef struct listener {
    int inside, calls;
} listener;

static void listen_log(void *user, oxp_log_level level, const char *line)
{
    listener *l = user;
    (void)level;
    (void)line;
    cr_assert_eq(l->inside++, 0, "two threads in one callback");
    nap();
    l->inside--;
    l->calls++;
}

static int listen_progress(void *user, const char *stage, size_t done, size_t total)
{
    (void)done;
    (void)total;
    listen_log(user, OXP_LOG_INFO, stage);
    return 0;
}

static oxp_status talk(void *user, oxp_ctx *ctx, size_t index, int worker)
{
    (void)user;
    oxp_log(ctx, OXP_LOG_INFO, "worker %d", worker);
    return oxp_progress(ctx, "talk", index, 40);
}

Test(parallel, callbacks_are_called_by_one_thread_at_a_time)
{
    oxp_ctx ctx;
    oxp_ctx_init(&ctx);
    listener l = {0};
    ctx.threads = 4;
    ctx.user = &l;
    ctx.log = listen_log;
    ctx.progress = listen_progress;
    cr_assert_eq(oxp_parallel_for(&ctx, 40, talk, NULL), OXP_OK);
    cr_expect_eq(l.calls, 80);
}

static oxp_status nest(void *user, oxp_ctx *ctx, size_t index, int worker)
{
    job *j = user;
    (void)index;
    (void)worker;
    return oxp_parallel_for(ctx, COUNT, draw, j);
}

Test(parallel, a_nested_loop_runs_inline)
{
    static job j;
    oxp_ctx ctx;
    oxp_ctx_init(&ctx);
    ctx.threads = 1;
    j.threads = 1;
    cr_assert_eq(oxp_parallel_for(&ctx, 1, nest, &j), OXP_OK);
    ctx.threads = 2;
    cr_assert_eq(oxp_parallel_for(&ctx, 1, nest, &j), OXP_OK);
    cr_expect_eq(atomic_load(&j.runs[COUNT - 1]), 2);
}
