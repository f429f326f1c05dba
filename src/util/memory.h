/* memory.h - memory under a budget, checked sizes, arenas.
 *
 * Every block of the library comes from oxp_alloc(): it counts against the context's budget and
 * fails with OXP_ELIMIT (E-LIMIT-MEM) before the system does. Three arenas by life time: model
 * (dies with the model), run (dies with a session), scratch (mark and release inside one call). */
#ifndef OXP_UTIL_MEMORY_H
#define OXP_UTIL_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/status.h"

/* Zero-filled, 64-byte aligned; size 0 gives a valid pointer. `what` names the thing in the error.
 * */
oxp_status oxp_alloc(void *out_pointer, oxp_ctx *ctx, size_t count, size_t size, const char *what);

/* As oxp_alloc() without the zero fill: for blocks that are written whole. */
oxp_status oxp_alloc_raw(void *out_pointer, oxp_ctx *ctx, size_t count, size_t size,
                         const char *what);

/* Grows an array to hold `needed` elements (doubling); *pointer may be NULL and *capacity 0. New
 * elements are zero. */
oxp_status oxp_grow(void *pointer, size_t *capacity, oxp_ctx *ctx, size_t needed, size_t size);

void oxp_free(void *pointer); /* takes NULL; knows its budget */

static inline bool oxp_mul_ok(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

static inline bool oxp_add_ok(size_t a, size_t b, size_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

typedef struct oxp_arena_block oxp_arena_block;

typedef struct oxp_arena {
    oxp_ctx *ctx;            /* budget and errors */
    oxp_arena_block *blocks; /* newest first */
} oxp_arena;

typedef struct oxp_arena_mark {
    oxp_arena_block *block;
    size_t used;
} oxp_arena_mark;

void oxp_arena_init(oxp_arena *arena, oxp_ctx *ctx);
void oxp_arena_free(oxp_arena *arena);
oxp_arena_mark oxp_arena_mark_now(const oxp_arena *arena);
void oxp_arena_release(oxp_arena *arena, oxp_arena_mark mark);

/* Zero-filled, 64-byte aligned. NULL out of budget (the error is in the arena's context). */
void *oxp_arena_alloc(oxp_arena *arena, size_t count, size_t size);
char *oxp_arena_strdup(oxp_arena *arena, const char *text);
char *oxp_arena_printf(oxp_arena *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
