/* file_internal.h - what file.c and output.c share. Nobody else includes it. */
#ifndef OXP_UTIL_FILE_INTERNAL_H
#define OXP_UTIL_FILE_INTERNAL_H

#include "util/file.h"

/* "PATH: what: reason of `error`"; without a reason when `error` is 0. */
oxp_status oxp_file_fail(oxp_ctx *ctx, const char *path, oxp_status status, const char *code,
                         const char *what, int error);

#endif
