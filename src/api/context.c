/* context.c - the public context over util/status.h. */
#include <sched.h>
#include <stdlib.h>
#include <time.h>

#include "kernels/libraries.h"
#include "util/memory.h"

static int processors(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return count > 0 ? count : 1;
}

oxp_ctx *oxp_ctx_new(void)
{
    oxp_ctx *ctx = calloc(1, sizeof *ctx);
    if (!ctx)
        return NULL;
    oxp_ctx_init(ctx);
    ctx->threads = processors();
    return ctx;
}

void oxp_ctx_free(oxp_ctx *ctx)
{
    free(ctx);
}

void oxp_ctx_set_threads(oxp_ctx *ctx, int threads)
{
    ctx->threads = threads > 0 ? threads : 1;
}

void oxp_ctx_set_seed(oxp_ctx *ctx, uint64_t seed)
{
    ctx->seed = seed;
}

void oxp_ctx_set_max_memory(oxp_ctx *ctx, size_t bytes)
{
    ctx->budget->limit = bytes;
}

void oxp_ctx_set_timeout(oxp_ctx *ctx, double seconds)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    ctx->deadline = seconds > 0 ? (double)now.tv_sec + 1e-9 * (double)now.tv_nsec + seconds : 0;
}

void oxp_ctx_set_callbacks(
    oxp_ctx *ctx, void (*log)(void *user, oxp_log_level level, const char *line),
    int (*progress)(void *user, const char *stage, size_t done, size_t total), void *user)
{
    ctx->log = log;
    ctx->progress = progress;
    ctx->user = user;
}

const char *oxp_ctx_error_code(const oxp_ctx *ctx)
{
    return ctx->code;
}

const char *oxp_ctx_error_message(const oxp_ctx *ctx)
{
    return ctx->message;
}

void oxp_ctx_clear_error(oxp_ctx *ctx)
{
    oxp_ctx_clear(ctx);
}

oxp_status oxp_pin_instruction_set(oxp_ctx *ctx, const char *instruction_set)
{
    if (oxp_kernels_pin(instruction_set))
        return OXP_OK;
    char quoted[OXP_QUOTED_MAX];
    return oxp_fail(
        ctx, OXP_EUSAGE, "E-ISA",
        "instruction set %s cannot be pinned: this processor has not got it, or a model "
        "was run before (in use: %s)",
        oxp_quote(quoted, instruction_set), oxp_kernels_instruction_set());
}
