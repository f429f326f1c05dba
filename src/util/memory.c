/* memory.c - blocks under a budget, growing arrays, arenas.
 *
 * A block is preceded by a 64-byte header that holds its size and its budget, so that oxp_free()
 * needs no context:
 *
 *     | header (64) | payload, 64-byte aligned, rounded up to 64 |
 *
 * The budget counts headers and rounding too. An arena is a list of blocks, newest first; small
 * pieces share a block, a large one may lie in the scratch file. */
#include "util/mapping.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALIGNMENT ((size_t)64)
#define ARENA_BLOCK_BYTES ((size_t)64 * 1024)
#define ARENA_SLACK_BYTES ((size_t)4096) /* behind a large piece, for small ones that follow */
#define FIRST_CAPACITY ((size_t)8)

typedef struct block_header {
    size_t bytes; /* counted: header, payload, rounding */
    oxp_budget *budget;
    unsigned char padding[48];
} block_header;

_Static_assert(sizeof(block_header) == 64, "the payload must stay 64-byte aligned");

static bool round_up(size_t bytes, size_t alignment, size_t *out)
{
    if (!oxp_add_ok(bytes, alignment - 1, out))
        return false;
    *out &= ~(alignment - 1);
    return true;
}

static bool budget_take(oxp_budget *budget, size_t bytes)
{
    size_t used = atomic_load(&budget->used);
    size_t next;
    do {
        if (used > budget->limit || bytes > budget->limit - used)
            return false;
        next = used + bytes;
    } while (!atomic_compare_exchange_weak(&budget->used, &used, next));

    size_t peak = atomic_load(&budget->peak);
    while (peak < next && !atomic_compare_exchange_weak(&budget->peak, &peak, next))
        ;
    return true;
}

static void budget_give(oxp_budget *budget, size_t bytes)
{
    atomic_fetch_sub(&budget->used, bytes);
}

/* The bytes that `count` elements cost with header and rounding; SIZE_MAX when they cannot be
 * addressed. */
static size_t block_bytes(size_t count, size_t size)
{
    size_t bytes;
    if (!oxp_mul_ok(count, size, &bytes) || !oxp_add_ok(bytes, sizeof(block_header), &bytes) ||
        !round_up(bytes, ALIGNMENT, &bytes) || bytes > (size_t)PTRDIFF_MAX)
        return SIZE_MAX;
    return bytes;
}

oxp_status oxp_alloc_raw(void *out_pointer, oxp_ctx *ctx, size_t count, size_t size,
                         const char *what)
{
    char quoted[OXP_QUOTED_MAX];
    size_t bytes = block_bytes(count, size);
    if (bytes == SIZE_MAX)
        return oxp_fail(ctx, OXP_ELIMIT, "E-LIMIT-MEM",
                        "%s: %zu elements of %zu bytes are more than memory can address",
                        oxp_quote(quoted, what), count, size);
    oxp_budget *budget = ctx->budget;
    if (!budget_take(budget, bytes))
        return oxp_fail(ctx, OXP_ELIMIT, "E-LIMIT-MEM",
                        "%s: asked for %zu bytes, %zu in use, the limit is %zu",
                        oxp_quote(quoted, what), bytes, atomic_load(&budget->used), budget->limit);
    block_header *header = aligned_alloc(ALIGNMENT, bytes);
    if (header == NULL) {
        budget_give(budget, bytes);
        return oxp_fail(ctx, OXP_ELIMIT, "E-LIMIT-MEM",
                        "%s: the system refused %zu bytes, %zu in use, the limit is %zu",
                        oxp_quote(quoted, what), bytes, atomic_load(&budget->used), budget->limit);
    }
    header->bytes = bytes;
    header->budget = budget;
    void *payload = header + 1;
    memcpy(out_pointer, &payload, sizeof payload);
    return OXP_OK;
}

oxp_status oxp_alloc(void *out_pointer, oxp_ctx *ctx, size_t count, size_t size, const char *what)
{
    void *payload;
    OXP_TRY(oxp_alloc_raw(&payload, ctx, count, size, what));
    memset(payload, 0, count * size);
    memcpy(out_pointer, &payload, sizeof payload);
    return OXP_OK;
}

void oxp_free(void *pointer)
{
    if (pointer == NULL)
        return;
    block_header *header = (block_header *)pointer - 1;
    budget_give(header->budget, header->bytes);
    free(header);
}

oxp_status oxp_grow(void *pointer, size_t *capacity, oxp_ctx *ctx, size_t needed, size_t size)
{
    if (needed <= *capacity)
        return OXP_OK;
    size_t grown = *capacity < FIRST_CAPACITY ? FIRST_CAPACITY : *capacity;
    while (grown < needed && oxp_mul_ok(grown, 2, &grown))
        ;
    if (grown < needed)
        grown = needed;

    void *old;
    unsigned char *fresh;
    memcpy(&old, pointer, sizeof old);
    OXP_TRY(oxp_alloc_raw(&fresh, ctx, grown, size, "array"));
    size_t kept = *capacity * size;
    if (kept > 0)
        memcpy(fresh, old, kept);
    memset(fresh + kept, 0, grown * size - kept);
    oxp_free(old);
    memcpy(pointer, &fresh, sizeof fresh);
    *capacity = grown;
    return OXP_OK;
}

/* ---- arenas ---- */

struct oxp_arena_block {
    oxp_arena_block *older;
    size_t bytes; /* of the payload, which begins 64 bytes into the block */
    size_t used;
    oxp_mapping *scratch; /* that the block lies in, or NULL */
    bool reused;          /* pieces of it were given back */
};

_Static_assert(sizeof(oxp_arena_block) <= 64, "the block's own fields must fit before its payload");

static unsigned char *block_payload(oxp_arena_block *block)
{
    return (unsigned char *)block + ALIGNMENT;
}

void oxp_arena_init(oxp_arena *arena, oxp_ctx *ctx)
{
    *arena = (oxp_arena){.ctx = ctx};
}

void oxp_arena_free(oxp_arena *arena)
{
    oxp_arena_release(arena, (oxp_arena_mark){0});
}

oxp_arena_mark oxp_arena_mark_now(const oxp_arena *arena)
{
    oxp_arena_block *newest = arena->blocks;
    return (oxp_arena_mark){.block = newest, .used = newest == NULL ? 0 : newest->used};
}

static void free_block(oxp_arena_block *block)
{
    if (block->scratch != NULL)
        oxp_mapping_close(block->scratch);
    else
        oxp_free(block);
}

void oxp_arena_release(oxp_arena *arena, oxp_arena_mark mark)
{
    while (arena->blocks != mark.block) {
        oxp_arena_block *older = arena->blocks->older;
        free_block(arena->blocks);
        arena->blocks = older;
    }
    if (mark.block != NULL) {
        mark.block->used = mark.used;
        mark.block->reused = true;
    }
}

/* Sets *at to where a piece begins in the newest block; false when it does not fit there. */
static bool fits(const oxp_arena_block *block, size_t bytes, size_t alignment, size_t *at)
{
    return block != NULL && round_up(block->used, alignment, at) && *at <= block->bytes &&
           bytes <= block->bytes - *at;
}

static oxp_status add_block(oxp_arena *arena, size_t bytes)
{
    size_t payload;
    if (!oxp_add_ok(bytes, ARENA_SLACK_BYTES, &payload))
        payload = bytes;
    if (payload < ARENA_BLOCK_BYTES)
        payload = ARENA_BLOCK_BYTES;
    size_t whole;
    if (!oxp_add_ok(payload, ALIGNMENT, &whole))
        whole = SIZE_MAX; /* refused below */
    oxp_arena_block *block;
    oxp_mapping *scratch = NULL;
    if (bytes >= OXP_SCRATCH_BYTES && oxp_scratch_piece(&scratch, arena->ctx, whole))
        block = (oxp_arena_block *)(void *)scratch->data;
    else
        OXP_TRY(oxp_alloc_raw(&block, arena->ctx, whole, 1, "arena"));
    *block = (oxp_arena_block){.older = arena->blocks, .bytes = payload, .scratch = scratch};
    arena->blocks = block;
    return OXP_OK;
}

static void *arena_take(oxp_arena *arena, size_t bytes, size_t alignment)
{
    size_t at = 0;
    if (!fits(arena->blocks, bytes, alignment, &at)) {
        if (add_block(arena, bytes) != OXP_OK)
            return NULL;
        at = 0;
    }
    arena->blocks->used = at + bytes;
    return block_payload(arena->blocks) + at;
}

/* The first piece of a scratch block is zero, and filling it would bring all its pages in. After a
 * release to a mark the block may be taken from anew. */
static bool is_fresh_scratch(const oxp_arena *arena, const void *piece)
{
    return arena->blocks->scratch != NULL && piece == block_payload(arena->blocks) &&
           !arena->blocks->reused;
}

void *oxp_arena_alloc(oxp_arena *arena, size_t count, size_t size)
{
    size_t bytes;
    if (!oxp_mul_ok(count, size, &bytes)) {
        oxp_fail(arena->ctx, OXP_ELIMIT, "E-LIMIT-MEM",
                 "arena: %zu elements of %zu bytes are more than memory can address", count, size);
        return NULL;
    }
    void *piece = arena_take(arena, bytes, ALIGNMENT);
    if (piece != NULL && !is_fresh_scratch(arena, piece))
        memset(piece, 0, bytes);
    return piece;
}

char *oxp_arena_strdup(oxp_arena *arena, const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = arena_take(arena, bytes, 1);
    if (copy != NULL)
        memcpy(copy, text, bytes);
    return copy;
}

char *oxp_arena_printf(oxp_arena *arena, const char *format, ...)
{
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    char *text = NULL;
    int length = vsnprintf(NULL, 0, format, arguments);
    if (length < 0)
        oxp_fail(arena->ctx, OXP_EINTERNAL, "E-INTERNAL", "a text could not be formatted");
    else
        text = arena_take(arena, (size_t)length + 1, 1);
    if (text != NULL)
        vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    va_end(arguments);
    return text;
}
