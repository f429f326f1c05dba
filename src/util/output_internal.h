/* output_internal.h - what output.c and publish.c share. Nobody else includes it. */
#ifndef OXP_UTIL_OUTPUT_INTERNAL_H
#define OXP_UTIL_OUTPUT_INTERNAL_H

#include <limits.h>
#include <signal.h>

#include "util/file_internal.h"

#define OXP_TEMP_ATTEMPTS 1000u
#define OXP_FD_PATH_MAX 64

struct oxp_output_file {
    oxp_ctx *ctx;
    char *path;
    const char *name; /* the last component of path */
    bool force;
    oxp_file_id *inputs;
    size_t input_count;
    int directory, file;
    mode_t mode;       /* that the published file gets */
    bool has_no_name;  /* made by O_TMPFILE */
    oxp_status status; /* of the first write that failed */
    volatile sig_atomic_t temp_is_named;
    char temp_name[NAME_MAX + 1];
};

oxp_status oxp_output_fail(const oxp_output_file *output, const char *code, const char *what);
oxp_status oxp_output_refuse(const oxp_output_file *output, const char *what);
/* Refuses a target that must stay, and takes over the permissions of one that will be replaced. */
oxp_status oxp_output_examine(oxp_output_file *output);
void oxp_output_temp_name(char out[NAME_MAX + 1], const oxp_output_file *output, unsigned attempt);
void oxp_output_drop_temp(oxp_output_file *output);
const char *oxp_fd_path(char out[OXP_FD_PATH_MAX], int fd); /* in /proc */

#endif
