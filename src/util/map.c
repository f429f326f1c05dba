/* map.c - a hash map from strings to indices: XXH3, open addressing with linear probing, at most
 * half full. Nothing is ever removed, so there are no tombstones. */
#include "util/map.h"

#include <string.h>
#include <xxhash.h>

#define FIRST_SLOTS ((size_t)16)

uint64_t oxp_hash(const void *data, size_t bytes)
{
    return XXH3_64bits(data, bytes);
}

void oxp_hash_hex(char out[17], uint64_t hash)
{
    for (int i = 15; i >= 0; i--, hash >>= 4)
        out[i] = "0123456789abcdef"[hash & 15];
    out[16] = '\0';
}

void oxp_map_init(oxp_map *map, oxp_ctx *ctx)
{
    *map = (oxp_map){.ctx = ctx};
}

void oxp_map_free(oxp_map *map)
{
    oxp_free(map->keys);
    oxp_free(map->values);
    *map = (oxp_map){.ctx = map->ctx};
}

/* The slot that holds `key`, or the empty one where it belongs. `capacity` is a power of two, never
 * full. */
static size_t find_slot(const char *const *keys, size_t capacity, const char *key)
{
    size_t slot = (size_t)oxp_hash(key, strlen(key)) & (capacity - 1);
    while (keys[slot] != NULL && strcmp(keys[slot], key) != 0)
        slot = (slot + 1) & (capacity - 1);
    return slot;
}

static oxp_status rehash(oxp_map *map, size_t capacity)
{
    const char **keys;
    size_t *values;
    OXP_TRY(oxp_alloc(&keys, map->ctx, capacity, sizeof *keys, "map"));
    oxp_status status = oxp_alloc(&values, map->ctx, capacity, sizeof *values, "map");
    if (status != OXP_OK) {
        oxp_free(keys);
        return status;
    }
    for (size_t i = 0; i < map->capacity; i++) {
        if (map->keys[i] == NULL)
            continue;
        size_t slot = find_slot(keys, capacity, map->keys[i]);
        keys[slot] = map->keys[i];
        values[slot] = map->values[i];
    }
    oxp_free(map->keys);
    oxp_free(map->values);
    map->keys = keys;
    map->values = values;
    map->capacity = capacity;
    return OXP_OK;
}

oxp_status oxp_map_put(oxp_map *map, const char *key, size_t value)
{
    if (map->capacity == 0)
        OXP_TRY(rehash(map, FIRST_SLOTS));
    else if (map->count >= map->capacity / 2)
        OXP_TRY(rehash(map, map->capacity * 2));
    size_t slot = find_slot(map->keys, map->capacity, key);
    if (map->keys[slot] == NULL) {
        map->keys[slot] = key;
        map->count++;
    }
    map->values[slot] = value;
    return OXP_OK;
}

size_t oxp_map_get(const oxp_map *map, const char *key)
{
    if (map->capacity == 0)
        return OXP_MAP_NONE;
    size_t slot = find_slot(map->keys, map->capacity, key);
    return map->keys[slot] == NULL ? OXP_MAP_NONE : map->values[slot];
}
