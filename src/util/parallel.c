/* parallel.c - a loop over worker threads.
 *
 * The calling thread is worker 0. Indices are handed out in order from one counter, so every index
 * below a failing one has been started and finishes: the lowest failing index, hence the error, is
 * the same at any number of threads. Callbacks of the context are called by one thread at
 * a time. */
#include "util/parallel.h"

#include <pthread.h>

#include "util/memory.h"

#if __has_include(<omp.h>)
#include <omp.h>
#else /* clang without its own OpenMP runtime; the functions are those of the one we link */
extern void omp_set_num_threads(int threads);
extern int omp_get_max_threads(void);
#endif

typedef oxp_status loop_body(void *user, oxp_ctx *ctx, size_t index, int worker);

typedef struct loop {
    oxp_ctx *ctx;
    size_t count;
    loop_body *body;
    void *user;
    _Atomic size_t next;
    _Atomic bool stop;
    pthread_mutex_t callback_lock;
} loop;

typedef struct worker {
    loop *loop;
    oxp_ctx ctx;
    int number;
    size_t failed_index; /* SIZE_MAX: none */
    pthread_t thread;
} worker;

static void locked_log(void *user, oxp_log_level level, const char *line)
{
    loop *l = user;
    pthread_mutex_lock(&l->callback_lock);
    l->ctx->log(l->ctx->user, level, line);
    pthread_mutex_unlock(&l->callback_lock);
}

static int locked_progress(void *user, const char *stage, size_t done, size_t total)
{
    loop *l = user;
    pthread_mutex_lock(&l->callback_lock);
    int cancelled = l->ctx->progress(l->ctx->user, stage, done, total);
    pthread_mutex_unlock(&l->callback_lock);
    return cancelled;
}

static void worker_init(worker *w, loop *l, int number)
{
    w->loop = l;
    w->number = number;
    w->failed_index = SIZE_MAX;
    oxp_ctx_child(&w->ctx, l->ctx);
    w->ctx.threads = 1;
    w->ctx.user = l;
    w->ctx.log = l->ctx->log == NULL ? NULL : locked_log;
    w->ctx.progress = l->ctx->progress == NULL ? NULL : locked_progress;
}

static void worker_run(worker *w)
{
    loop *l = w->loop;
    while (!atomic_load(&l->stop)) {
        size_t index = atomic_fetch_add(&l->next, 1);
        if (index >= l->count)
            return;
        oxp_status status = l->body(l->user, &w->ctx, index, w->number);
        if (status == OXP_OK)
            continue;
        w->failed_index = index;
        atomic_store(&l->stop, true);
        if (w->ctx.status == OXP_OK)
            oxp_fail(&w->ctx, status, "E-INTERNAL", "step %zu failed without a message", index);
        return;
    }
}

static void *thread_main(void *argument)
{
    omp_set_num_threads(1); /* holds for this thread alone */
    worker_run(argument);
    return NULL;
}

/* Starts what the system gives; fewer threads do the same work. Returns the workers that run. */
static int start_threads(worker *workers, int wanted)
{
    for (int i = 1; i < wanted; i++)
        if (pthread_create(&workers[i].thread, NULL, thread_main, &workers[i]) != 0)
            return i;
    return wanted;
}

static oxp_status first_error(loop *l, const worker *workers, int count)
{
    const worker *first = NULL;
    for (int i = 0; i < count; i++)
        if (workers[i].failed_index != SIZE_MAX &&
            (first == NULL || workers[i].failed_index < first->failed_index))
            first = &workers[i];
    return first == NULL ? OXP_OK : oxp_ctx_join(l->ctx, &first->ctx);
}

oxp_status oxp_parallel_for(oxp_ctx *ctx, size_t count, loop_body *body, void *user)
{
    int wanted = ctx->threads;
    if ((size_t)wanted > count)
        wanted = (int)count;
    if (wanted < 1)
        wanted = 1;
    worker *workers;
    OXP_TRY(oxp_alloc(&workers, ctx, (size_t)wanted, sizeof *workers, "worker threads"));
    loop l = {.ctx = ctx, .count = count, .body = body, .user = user};
    pthread_mutex_init(&l.callback_lock, NULL);
    for (int i = 0; i < wanted; i++)
        worker_init(&workers[i], &l, i);

    int running = start_threads(workers, wanted);
    int callers_threads = omp_get_max_threads();
    omp_set_num_threads(1);
    worker_run(&workers[0]);
    omp_set_num_threads(callers_threads);
    for (int i = 1; i < running; i++)
        pthread_join(workers[i].thread, NULL);

    oxp_status status = first_error(&l, workers, running);
    pthread_mutex_destroy(&l.callback_lock);
    oxp_free(workers);
    return status;
}
