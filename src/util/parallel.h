/* parallel.h - fixed chunks over worker threads. Results must not depend on which thread ran a
 * chunk: write to slots that belong to the index, reduce afterwards in index order. */
#ifndef OXP_UTIL_PARALLEL_H
#define OXP_UTIL_PARALLEL_H

#include "util/status.h"

/* Runs `body(user, ctx, index, worker)` for index 0..count-1, each once, on ctx->threads threads,
 * each with its own child context; worker is 0..threads-1. Indices are handed out in order. After
 * an error no new index starts; the error of the lowest failing index is the one that is kept.
 * Inside a body, libraries run on one thread. */
oxp_status oxp_parallel_for(oxp_ctx *ctx, size_t count,
                            oxp_status (*body)(void *user, oxp_ctx *ctx, size_t index, int worker),
                            void *user);

#endif
