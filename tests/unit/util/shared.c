/* Shared blocks: made once whoever asks, one for each form, and a failure leaves none behind. */
#include "util/shared.h"

#include <criterion/criterion.h>
#include <string.h>

#include "util/parallel.h"

typedef struct maker {
    oxp_shared *shared;
    _Atomic int made;
    bool fails;
} maker;

static oxp_status make(void *user, oxp_ctx *ctx, void *block)
{
    maker *m = user;
    if (m->fails)
        return oxp_fail(ctx, OXP_EINTERNAL, "E-TEST", "no");
    m->made++;
    memset(block, 7, 64);
    return OXP_OK;
}

static oxp_status ask(void *user, oxp_ctx *ctx, size_t index, int worker)
{
    (void)worker;
    maker *m = user;
    static const int sources[4];
    int form = index % 2 ? 5 : 6;
    const void *block;
    OXP_TRY(oxp_shared_get(&block, m->shared, ctx, &sources[index / 2 % 4], &form, sizeof form, 64,
                           make, m));
    cr_expect_eq(((const unsigned char *)block)[63], 7);
    return OXP_OK;
}

Test(shared, made_once_for_all_threads)
{
    oxp_ctx ctx;
    maker m = {0};
    oxp_ctx_init(&ctx);
    ctx.threads = 4;
    cr_assert_eq(oxp_shared_create(&m.shared, &ctx), OXP_OK);
    cr_assert_eq(oxp_parallel_for(&ctx, 400, ask, &m), OXP_OK);
    cr_expect_eq(m.made, 8); /* four sources in two forms */
    oxp_shared_free(m.shared);
    cr_expect_eq(ctx.budget->used, 0);
}

Test(shared, a_failure_leaves_nothing)
{
    oxp_ctx ctx;
    maker m = {.fails = true};
    const void *block = NULL;
    oxp_ctx_init(&ctx);
    cr_assert_eq(oxp_shared_create(&m.shared, &ctx), OXP_OK);
    cr_expect_eq(oxp_shared_get(&block, m.shared, &ctx, &m, "f", 1, 64, make, &m), OXP_EINTERNAL);
    oxp_ctx_clear(&ctx);
    m.fails = false;
    cr_expect_eq(oxp_shared_get(&block, m.shared, &ctx, &m, "f", 1, 64, make, &m), OXP_OK);
    cr_expect_eq(m.made, 1);
    oxp_shared_free(m.shared);
    cr_expect_eq(ctx.budget->used, 0);
}
