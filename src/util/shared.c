/* shared.c - a list under a lock: there are as many blocks as a graph has weights. */
#include "util/shared.h"

#include <pthread.h>
#include <string.h>

typedef struct entry {
    const void *source;
    void *form, *block;
    size_t form_bytes;
} entry;

struct oxp_shared {
    pthread_mutex_t lock;
    entry *entries;
    size_t count, capacity;
};

oxp_status oxp_shared_create(oxp_shared **out, oxp_ctx *ctx)
{
    oxp_shared *s;
    OXP_TRY(oxp_alloc(&s, ctx, 1, sizeof *s, "shared blocks"));
    pthread_mutex_init(&s->lock, NULL);
    *out = s;
    return OXP_OK;
}

void oxp_shared_free(oxp_shared *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->count; i++) {
        oxp_free(s->entries[i].form);
        oxp_free(s->entries[i].block);
    }
    oxp_free(s->entries);
    pthread_mutex_destroy(&s->lock);
    oxp_free(s);
}

static const entry *find(const oxp_shared *s, const void *source, const void *form,
                         size_t form_bytes)
{
    for (size_t i = 0; i < s->count; i++) {
        const entry *e = &s->entries[i];
        if (e->source == source && e->form_bytes == form_bytes &&
            memcmp(e->form, form, form_bytes) == 0)
            return e;
    }
    return NULL;
}

static oxp_status add(const void **out, oxp_shared *s, oxp_ctx *ctx, entry e, const void *form,
                      size_t bytes, oxp_status (*make)(void *, oxp_ctx *, void *), void *user)
{
    OXP_TRY(oxp_grow(&s->entries, &s->capacity, ctx, s->count + 1, sizeof *s->entries));
    OXP_TRY(oxp_alloc(&e.form, ctx, 1, e.form_bytes, "shared block"));
    memcpy(e.form, form, e.form_bytes);
    oxp_status status = oxp_alloc_raw(&e.block, ctx, bytes, 1, "shared block");
    if (status == OXP_OK)
        status = make(user, ctx, e.block);
    if (status != OXP_OK) {
        oxp_free(e.form);
        oxp_free(e.block);
        return status;
    }
    s->entries[s->count++] = e;
    *out = e.block;
    return OXP_OK;
}

oxp_status oxp_shared_get(const void **out, oxp_shared *s, oxp_ctx *ctx, const void *source,
                          const void *form, size_t form_bytes, size_t bytes,
                          oxp_status (*make)(void *user, oxp_ctx *ctx, void *block), void *user)
{
    pthread_mutex_lock(&s->lock);
    const entry *e = find(s, source, form, form_bytes);
    oxp_status status = OXP_OK;
    if (e)
        *out = e->block;
    else
        status = add(out, s, ctx, (entry){.source = source, .form_bytes = form_bytes}, form, bytes,
                     make, user);
    pthread_mutex_unlock(&s->lock);
    return status;
}
