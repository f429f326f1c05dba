/* map.h - a hash map from strings to indices (XXH3, open addressing). Keys are borrowed. Iteration
 * is not offered: order must never depend on addresses. */
#ifndef OXP_UTIL_MAP_H
#define OXP_UTIL_MAP_H

#include "util/memory.h"

#define OXP_MAP_NONE SIZE_MAX

typedef struct oxp_map {
    oxp_ctx *ctx;
    const char **keys;
    size_t *values;
    size_t capacity, count;
} oxp_map;

void oxp_map_init(oxp_map *map, oxp_ctx *ctx);
void oxp_map_free(oxp_map *map);
/* Inserts or replaces. */
oxp_status oxp_map_put(oxp_map *map, const char *key, size_t value);
size_t oxp_map_get(const oxp_map *map, const char *key); /* OXP_MAP_NONE when absent */

/* XXH3-64 of a block, and its 16 lower-case hex digits. */
uint64_t oxp_hash(const void *data, size_t bytes);
void oxp_hash_hex(char out[17], uint64_t hash);

#endif
