/* file.h - whole files in, whole files out.
 *
 * Reading: regular files only, size bounded, one read. Writing: a temporary file in the target's
 * own directory that gets its name only when everything was written, synced and checked; the old
 * file stays until that instant. Errors name the path and the system's reason. */
#ifndef OXP_UTIL_FILE_H
#define OXP_UTIL_FILE_H

#include <sys/types.h>

#include "util/mapping.h"

/* Identity of an input, so that no output may ever replace one. */
typedef struct oxp_file_id {
    dev_t device;
    ino_t inode;
} oxp_file_id;

/* Reads a regular file of 1..limit bytes. `fail` is the status for what is wrong with the file
 * itself (OXP_EFORMAT for models, OXP_EDATA for data): not regular E-NOT-REGULAR, empty E-EMPTY.
 * Too large is OXP_ELIMIT E-LIMIT-FILE; absent or unreadable OXP_EIO E-OPEN; failing or changing
 * while it is read OXP_EIO E-READ. *out is freed with oxp_free(). `id` may be NULL. */
oxp_status oxp_file_read(uint8_t **out, size_t *bytes, oxp_ctx *ctx, const char *path, size_t limit,
                         oxp_status fail, oxp_file_id *id);

/* A file's bytes, read or, when it is large, mapped. */
typedef struct oxp_file_bytes {
    uint8_t *data; /* only read */
    size_t bytes;
    oxp_mapping *mapping; /* NULL: the bytes are on the heap */
    oxp_file_id id;
} oxp_file_bytes;

/* As oxp_file_read(), for files that may be larger than the memory. */
oxp_status oxp_file_open(oxp_file_bytes *out, oxp_ctx *ctx, const char *path, size_t limit,
                         oxp_status fail);
void oxp_file_close(oxp_file_bytes *file);

typedef struct oxp_output_file oxp_output_file;

typedef struct oxp_output_options {
    bool force;                /* replace an existing regular file; of a symbolic link, the link */
    const oxp_file_id *inputs; /* never replaced, also with force; copied */
    size_t input_count;
} oxp_output_options;

/* Opens the temporary file. OXP_EEXISTS E-EXISTS when the target exists without force, is not a
 * regular file or is an input; OXP_EIO E-OUT-DIR when the directory is missing, no directory or
 * not writable. */
oxp_status oxp_output_open(oxp_output_file **out, oxp_ctx *ctx, const char *path,
                           const oxp_output_options *options);

/* Claims disk space for `bytes` in all, where the file system can: a full disk shows before the
 * work is done. OXP_EIO E-WRITE. */
oxp_status oxp_output_reserve(oxp_output_file *output, size_t bytes);

/* Appends. OXP_EIO E-WRITE, and then publishing fails as well. */
oxp_status oxp_output_write(oxp_output_file *output, const void *data, size_t bytes);

/* Reads back what was written (for verification): read, or mapped when it is much.
 * OXP_EIO E-READ. */
oxp_status oxp_output_read_back(oxp_file_bytes *out, oxp_output_file *output);

/* Syncs and gives the file its name; frees `output` also on failure. Then the target is as it was,
 * except that an E-SYNC of the directory itself comes when the new file is in its place, whole.
 * OXP_EIO E-WRITE, E-SYNC, E-RENAME; OXP_EEXISTS E-EXISTS when the target came up meanwhile. */
oxp_status oxp_output_publish(oxp_output_file *output);
void oxp_output_discard(oxp_output_file *output); /* takes NULL */

/* The same for two files of one directory that belong together: `first`, then `second`, which
 * refers to it. When the second cannot be placed, the first target is as it was as well. Frees
 * both. */
oxp_status oxp_output_publish_pair(oxp_output_file *first, oxp_output_file *second);

/* For a signal handler that ends the process: what it has to remove. *name lies in *dirfd, or is
 * NULL while the temporary file has no name (where the system has unnamed files it never has one
 * outside of publish). Async-signal-safe while `output` lives: hold signals back across publish
 * and discard, which free it and leave nothing to remove. */
void oxp_output_temp(const oxp_output_file *output, int *dirfd, const char **name);

#endif
