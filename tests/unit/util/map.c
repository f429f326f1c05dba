/* Map: put, get, replace, growth, failure; hashes in hex. */
#include "util/map.h"

#include <criterion/criterion.h>
#include <stdio.h>

Test(map, keeps_every_key)
{
    enum { N = 20000 };
    static char names[N][16];
    oxp_ctx ctx;
    oxp_ctx_init(&ctx);
    oxp_map map;
    oxp_map_init(&map, &ctx);
    cr_expect_eq(oxp_map_get(&map, "anything"), OXP_MAP_NONE);
    for (size_t i = 0; i < N; i++) {
        snprintf(names[i], sizeof names[i], "node_%zu", i);
        cr_assert_eq(oxp_map_get(&map, names[i]), OXP_MAP_NONE);
        cr_assert_eq(oxp_map_put(&map, names[i], i), OXP_OK);
    }
    cr_expect_eq(map.count, N);
    for (size_t i = 0; i < N; i++)
        cr_assert_eq(oxp_map_get(&map, names[i]), i);
    cr_expect_eq(oxp_map_get(&map, "node_"), OXP_MAP_NONE);
    oxp_map_free(&map);
    cr_expect_eq(atomic_load(&ctx.own_budget.used), 0);
    cr_expect_eq(oxp_map_get(&map, "node_1"), OXP_MAP_NONE, "a freed map is an empty one");
}

Test(map, put_replaces_by_text_not_by_address)
{
    oxp_ctx ctx;
    oxp_ctx_init(&ctx);
    oxp_map map;
    oxp_map_init(&map, &ctx);
    char one[] = "key", two[] = "key";
    cr_assert_eq(oxp_map_put(&map, one, 1), OXP_OK);
    cr_assert_eq(oxp_map_put(&map, two, 2), OXP_OK);
    cr_assert_eq(oxp_map_put(&map, "", 3), OXP_OK);
    cr_expect_eq(map.count, 2);
    cr_expect_eq(oxp_map_get(&map, "key"), 2);
    cr_expect_eq(oxp_map_get(&map, ""), 3);
    oxp_map_free(&map);
}

Test(map, a_failed_put_leaves_the_map_whole)
{
    oxp_ctx ctx;
    oxp_ctx_init(&ctx);
    oxp_map map;
    oxp_map_init(&map, &ctx);
    static const char *const names[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i"};
    for (size_t i = 0; i < 8; i++)
        cr_assert_eq(oxp_map_put(&map, names[i], i), OXP_OK);
    ctx.own_budget.limit = atomic_load(&ctx.own_budget.used) + 400;
    cr_expect_eq(oxp_map_put(&map, names[8], 8), OXP_ELIMIT, "growth needs two arrays");
    for (size_t i = 0; i < 8; i++)
        cr_expect_eq(oxp_map_get(&map, names[i]), i);
    cr_expect_eq(oxp_map_get(&map, names[8]), OXP_MAP_NONE);
    oxp_map_free(&map);
    cr_expect_eq(atomic_load(&ctx.own_budget.used), 0);
}

Test(map, hash_is_xxh3_64)
{
    char hex[17];
    oxp_hash_hex(hex, oxp_hash("", 0)); /* the published value for no input and seed 0 */
    cr_expect_str_eq(hex, "2d06800538d394c2");
    oxp_hash_hex(hex, 0x0123456789abcdefu);
    cr_expect_str_eq(hex, "0123456789abcdef");
    oxp_hash_hex(hex, 1);
    cr_expect_str_eq(hex, "0000000000000001");
}
