/* shared.h - blocks that several threads read and whoever comes first makes: weights packed once
 * for all sessions of a graph. */
#ifndef OXP_UTIL_SHARED_H
#define OXP_UTIL_SHARED_H

#include "util/memory.h"

typedef struct oxp_shared oxp_shared;

/* Blocks count against the context's budget and live until oxp_shared_free(). */
oxp_status oxp_shared_create(oxp_shared **out, oxp_ctx *ctx);
void oxp_shared_free(oxp_shared *shared); /* takes NULL */

/* The block made from `source` in the form that `form` (`form_bytes` of it) describes. When there
 * is none yet, `make` fills one of `bytes`; others wait for it meanwhile. `ctx` is the caller's,
 * for errors. */
oxp_status oxp_shared_get(const void **out, oxp_shared *shared, oxp_ctx *ctx, const void *source,
                          const void *form, size_t form_bytes, size_t bytes,
                          oxp_status (*make)(void *user, oxp_ctx *ctx, void *block), void *user);

#endif
