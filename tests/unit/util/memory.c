/* Memory: budget, checked sizes, growing, arenas. */
#include "util/memory.h"

#include <criterion/criterion.h>
#include <string.h>

static oxp_ctx ctx;

static void setup(void)
{
    oxp_ctx_init(&ctx);
}

static void teardown(void)
{
    cr_expect_eq(atomic_load(&ctx.own_budget.used), 0, "a block was not given back");
}

TestSuite(memory, .init = setup, .fini = teardown);

static bool aligned(const void *pointer)
{
    return ((uintptr_t)pointer & 63) == 0;
}

static bool all_zero(const void *data, size_t bytes)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < bytes; i++)
        if (p[i] != 0)
            return false;
    return true;
}

Test(memory, blocks_are_aligned_and_zero)
{
    for (size_t bytes = 0; bytes < 300; bytes++) {
        unsigned char *block = NULL;
        cr_assert_eq(oxp_alloc(&block, &ctx, bytes, 1, "block"), OXP_OK);
        cr_assert_not_null(block);
        cr_assert(aligned(block));
        cr_assert(all_zero(block, bytes));
        if (bytes > 0)
            memset(block, 0xff, bytes); /* dirties what the next round may be given */
        oxp_free(block);
    }
    oxp_free(NULL);
}

Test(memory, default_limit_is_a_share_of_the_machine)
{
    cr_expect_gt(ctx.budget->limit, (size_t)16 << 20);
    cr_expect_lt(ctx.budget->limit, SIZE_MAX / 2);
    cr_expect_eq(ctx.budget, &ctx.own_budget);
}

Test(memory, products_that_wrap_are_refused)
{
    static const size_t counts[] = {SIZE_MAX, SIZE_MAX / 2 + 1, (size_t)1 << 32, SIZE_MAX - 63,
                                    (size_t)PTRDIFF_MAX};
    static const size_t sizes[] = {2, 2, (size_t)1 << 32, 1, 1};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        int marker;
        void *block = &marker;
        oxp_ctx_clear(&ctx);
        cr_assert_eq(oxp_alloc(&block, &ctx, counts[i], sizes[i], "huge"), OXP_ELIMIT, "case %zu",
                     i);
        cr_expect_eq(block, (void *)&marker, "the result changed on failure");
        cr_expect_str_eq(ctx.code, "E-LIMIT-MEM");
        cr_expect_eq(atomic_load(&ctx.budget->used), 0);
    }
}

Test(memory, budget_is_exhausted_and_released)
{
    ctx.own_budget.limit = 1024;
    void *first, *second = NULL;
    cr_assert_eq(oxp_alloc(&first, &ctx, 512, 1, "first"), OXP_OK);
    cr_expect_eq(atomic_load(&ctx.budget->used), 576);
    cr_assert_eq(oxp_alloc(&second, &ctx, 448, 1, "second \"one\""), OXP_ELIMIT);
    cr_expect_null(second);
    cr_expect_eq(ctx.status, OXP_ELIMIT);
    cr_expect_str_eq(ctx.message,
                     "\"second \\\"one\\\"\": asked for 512 bytes, 576 in use, the limit "
                     "is 1024");
    oxp_free(first);
    cr_expect_eq(atomic_load(&ctx.budget->used), 0);
    cr_assert_eq(oxp_alloc(&second, &ctx, 960, 1, "second"), OXP_OK);
    cr_expect_eq(atomic_load(&ctx.budget->used), 1024, "exactly the limit fits");
    oxp_free(second);
    cr_expect_eq(atomic_load(&ctx.budget->peak), 1024);
}

Test(memory, a_child_shares_the_budget)
{
    oxp_ctx child;
    oxp_ctx_child(&child, &ctx);
    ctx.own_budget.limit = 256;
    void *block, *more;
    cr_assert_eq(oxp_alloc(&block, &child, 100, 1, "block"), OXP_OK);
    cr_expect_eq(atomic_load(&ctx.own_budget.used), 192);
    cr_expect_eq(oxp_alloc(&more, &child, 100, 1, "more"), OXP_ELIMIT);
    cr_expect_eq(ctx.status, OXP_OK);
    cr_expect_eq(oxp_ctx_join(&ctx, &child), OXP_ELIMIT);
    cr_expect_str_eq(ctx.code, "E-LIMIT-MEM");
    oxp_free(block);
}

Test(memory, grow_keeps_the_old_and_clears_the_new)
{
    uint32_t *array = NULL;
    size_t capacity = 0;
    for (uint32_t n = 0; n < 5000; n++) {
        cr_assert_eq(oxp_grow(&array, &capacity, &ctx, n + 1, sizeof *array), OXP_OK);
        cr_assert_geq(capacity, n + 1);
        cr_assert_eq(array[n], 0);
        array[n] = n * 7 + 1;
    }
    for (uint32_t n = 0; n < 5000; n++)
        cr_assert_eq(array[n], n * 7 + 1);
    cr_expect_leq(capacity, 10000);
    uint32_t *before = array;
    cr_expect_eq(oxp_grow(&array, &capacity, &ctx, SIZE_MAX / 2, sizeof *array), OXP_ELIMIT);
    cr_expect_eq(array, before);
    cr_expect_leq(capacity, 10000);
    oxp_free(array);
}

Test(memory, arena_pieces_are_aligned_zero_and_apart)
{
    oxp_arena arena;
    oxp_arena_init(&arena, &ctx);
    unsigned char *pieces[200];
    for (size_t i = 0; i < 200; i++) {
        pieces[i] = oxp_arena_alloc(&arena, i * 37, 1);
        cr_assert_not_null(pieces[i]);
        cr_assert(aligned(pieces[i]));
        cr_assert(all_zero(pieces[i], i * 37));
        memset(pieces[i], (int)i, i * 37);
        cr_assert_str_eq(oxp_arena_strdup(&arena, "odd"), "odd");
    }
    for (size_t i = 0; i < 200; i++)
        for (size_t j = 0; j < i * 37; j++)
            cr_assert_eq(pieces[i][j], (unsigned char)i);
    oxp_arena_free(&arena);
    cr_expect_null(arena.blocks);
}

Test(memory, arena_release_goes_back_to_the_mark)
{
    oxp_arena arena;
    oxp_arena_init(&arena, &ctx);
    oxp_arena_mark empty = oxp_arena_mark_now(&arena);
    char *kept = oxp_arena_strdup(&arena, "kept");
    oxp_arena_mark mark = oxp_arena_mark_now(&arena);
    size_t used = atomic_load(&ctx.budget->used);
    unsigned char *small = oxp_arena_alloc(&arena, 100, 1);
    memset(small, 0xaa, 100);
    cr_assert_not_null(oxp_arena_alloc(&arena, 1000000, 1));
    cr_expect_gt(atomic_load(&ctx.budget->used), used + 1000000);
    oxp_arena_release(&arena, mark);
    cr_expect_eq(atomic_load(&ctx.budget->used), used);
    cr_expect_str_eq(kept, "kept");
    unsigned char *again = oxp_arena_alloc(&arena, 100, 1);
    cr_expect_eq(again, small, "released memory is used again");
    cr_expect(all_zero(again, 100), "and is cleared");
    oxp_arena_release(&arena, empty);
    cr_expect_eq(atomic_load(&ctx.budget->used), 0);
}

Test(memory, arena_fails_within_the_budget)
{
    oxp_arena arena;
    oxp_arena_init(&arena, &ctx);
    ctx.own_budget.limit = 100000;
    cr_assert_not_null(oxp_arena_alloc(&arena, 1000, 1));
    cr_expect_null(oxp_arena_alloc(&arena, 100000, 1));
    cr_expect_str_eq(ctx.code, "E-LIMIT-MEM");
    oxp_ctx_clear(&ctx);
    cr_expect_null(oxp_arena_alloc(&arena, SIZE_MAX / 4, 8));
    cr_expect_str_eq(ctx.code, "E-LIMIT-MEM");
    oxp_ctx_clear(&ctx);
    cr_expect_null(oxp_arena_alloc(&arena, SIZE_MAX - 8, 1));
    cr_expect_str_eq(ctx.code, "E-LIMIT-MEM");
    cr_expect_not_null(oxp_arena_alloc(&arena, 1000, 1), "what fits is still given");
    oxp_arena_free(&arena);
}

Test(memory, arena_printf_fits_any_length)
{
    oxp_arena arena;
    oxp_arena_init(&arena, &ctx);
    cr_expect_str_eq(oxp_arena_printf(&arena, "%s-%d", "node", 17), "node-17");
    cr_expect_str_eq(oxp_arena_printf(&arena, "%s", ""), "");
    char *wide = oxp_arena_printf(&arena, "%100000d", 1);
    cr_assert_not_null(wide);
    cr_expect_eq(strlen(wide), 100000);
    cr_expect_eq(wide[99999], '1');
    oxp_arena_free(&arena);
}
