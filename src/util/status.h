/* status.h - the context of a call: first error, log, progress, budgets, seed.
 *
 * Functions that can fail return oxp_status and nothing else; results go through out-parameters
 * that stay untouched on failure. The first error wins: a later oxp_fail() on the same context
 * keeps the first message. A worker thread gets its own context from oxp_ctx_child(). */
#ifndef OXP_UTIL_STATUS_H
#define OXP_UTIL_STATUS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "onnxpress.h"

#define OXP_MESSAGE_MAX 1024
#define OXP_CODE_MAX 32

/* Bytes that everything made through oxp_alloc() may hold together; shared by child contexts. */
typedef struct oxp_budget {
    _Atomic size_t used, peak;
    size_t limit;
    struct oxp_mapping *mappings; /* what files stand behind: not counted (mapping.h) */
    _Atomic bool mappings_locked;
    struct oxp_scratch *scratch;
} oxp_budget;

struct oxp_ctx {
    oxp_status status;             /* of the first error, OXP_OK before */
    char code[OXP_CODE_MAX];       /* "E-RAW-LEN" */
    char message[OXP_MESSAGE_MAX]; /* one line without the code */
    const char *subject; /* the file that errors are about, put in front of messages; may be NULL */
    void (*log)(void *user, oxp_log_level level, const char *line);
    int (*progress)(void *user, const char *stage, size_t done,
                    size_t total); /* non-zero cancels */
    void *user;
    oxp_budget *budget;
    oxp_budget own_budget; /* what `budget` points to unless this is a child */
    int threads;           /* >= 1 */
    uint64_t seed;
    uint64_t step_limit; /* node executions of one session, Loop bodies included */
    double deadline;     /* seconds of CLOCK_MONOTONIC, 0 = none */
    const oxp_ctx *parent;
};

#define OXP_TRY(call)                 \
    do {                              \
        oxp_status oxp_try_ = (call); \
        if (oxp_try_ != OXP_OK)       \
            return oxp_try_;          \
    } while (0)

/* As OXP_TRY, for functions with one exit: sets `status` and jumps to the label. */
#define OXP_TRY_GOTO(call, label) \
    do {                          \
        status = (call);          \
        if (status != OXP_OK)     \
            goto label;           \
    } while (0)

/* Defaults: 75 % of the memory the process may have, 1 thread, seed 0, 10^8 steps. */
void oxp_ctx_init(oxp_ctx *ctx);

/* A context for one worker thread: shares the budget and settings, has its own error. */
void oxp_ctx_child(oxp_ctx *child, oxp_ctx *parent);

/* Copies the child's first error into the parent unless it has one; returns the child's status. */
oxp_status oxp_ctx_join(oxp_ctx *parent, const oxp_ctx *child);

void oxp_ctx_clear(oxp_ctx *ctx);

/* Records and returns `status`. `code` is stable ("E-SHAPE"); the text names the thing, what was
 * expected and found. */
oxp_status oxp_fail(oxp_ctx *ctx, oxp_status status, const char *code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

void oxp_log(oxp_ctx *ctx, oxp_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Calls the progress callback and looks at the deadline: OXP_ECANCELLED, OXP_ELIMIT (E-LIMIT-TIME)
 * or OXP_OK. */
oxp_status oxp_progress(oxp_ctx *ctx, const char *stage, size_t done, size_t total);

/* Bytes of the valid UTF-8 character at `s` and its code point; 0 when the bytes are not one. Stops
 * at the NUL. */
size_t oxp_utf8_character(const unsigned char *s, uint32_t *code);

/* Writes `name` for a message, with its quotation marks: no control characters, no invalid UTF-8,
 * at most 128 bytes and then an ellipsis. `out` has OXP_QUOTED_MAX bytes. Returns `out`. */
#define OXP_QUOTED_MAX 600
const char *oxp_quote(char out[OXP_QUOTED_MAX], const char *name);

#endif
