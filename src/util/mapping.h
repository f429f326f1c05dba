/* mapping.h - memory that a file stands behind: large inputs, large results that are read back, and
 * scratch for what is written once and read seldom.
 *
 * It does not count against the budget: what oxp_pages_release() gives back is read again from the
 * file when it is needed. A process that reads a mapped file which somebody truncates meanwhile
 * gets SIGBUS, so small files are read instead of mapped (file.h). */
#ifndef OXP_UTIL_MAPPING_H
#define OXP_UTIL_MAPPING_H

#include <sys/types.h>
#include <time.h>

#include "util/memory.h"

#define OXP_MAPPED_BYTES ((size_t)32 << 20)   /* files from here on are mapped */
#define OXP_SCRATCH_BYTES ((size_t)512 << 10) /* pieces of an arena from here on are scratch */

typedef struct oxp_mapping {
    uint8_t *data;
    size_t bytes;
    oxp_budget *budget;
    struct oxp_mapping *next, *previous; /* of all mappings under one budget */
    int fd;                              /* of a file's mapping; a scratch piece has -1 */
    off_t offset;                        /* in the scratch file */
    struct timespec modified;            /* of a file, when it was mapped */
} oxp_mapping;

/* Maps a regular file for reading; keeps a descriptor of its own. `bytes` is the file's size, not
 * 0. false when the system cannot, which is no error: the file is read then. */
bool oxp_mapping_open(oxp_mapping **out, oxp_ctx *ctx, int fd, size_t bytes);
void oxp_mapping_close(oxp_mapping *mapping); /* takes NULL */

/* Whether the file has the size and the time of change that it had when it was mapped. */
bool oxp_mapping_is_unchanged(const oxp_mapping *mapping);

/* "These bytes are not needed for now": pages of a mapping leave the memory and come back when they
 * are read. Nothing for other memory; may be called while others read them. */
void oxp_pages_release(oxp_ctx *ctx, const void *data, size_t bytes);

/* An unnamed file, and how much of it is in use. */
struct oxp_scratch {
    int fd;
    off_t end;
};

/* From now on large pieces of arenas under the budget of `ctx` lie in an unnamed file of the
 * directory; where that cannot be made, they stay in memory. Closing leaves the pieces alone. */
void oxp_scratch_open(oxp_ctx *ctx, int directory);
void oxp_scratch_close(oxp_ctx *ctx);

/* A zero-filled piece of the scratch file; false without one, or when its disk is full. */
bool oxp_scratch_piece(oxp_mapping **out, oxp_ctx *ctx, size_t bytes);

#endif
