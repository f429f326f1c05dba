/* output.c - a file that appears under its name complete or not at all.
 *
 * The order of things: the directory is opened, and every later call is relative to that
 * descriptor; the target is looked at; a temporary file is made beside it, unnamed where the
 * system can (O_TMPFILE), else ".NAME.tmp-PID-N"; bytes are written. How it gets its name stands
 * in publish.c. */
#include "util/output_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

oxp_status oxp_output_fail(const oxp_output_file *output, const char *code, const char *what)
{
    return oxp_file_fail(output->ctx, output->path, OXP_EIO, code, what, errno);
}

oxp_status oxp_output_refuse(const oxp_output_file *output, const char *what)
{
    return oxp_file_fail(output->ctx, output->path, OXP_EEXISTS, "E-EXISTS", what, 0);
}

/* ---- the target ---- */

static bool is_input(const oxp_output_file *output, const struct stat *about)
{
    for (size_t i = 0; i < output->input_count; i++)
        if (output->inputs[i].device == about->st_dev && output->inputs[i].inode == about->st_ino)
            return true;
    return false;
}

/* Refuses a target that must stay, and takes over the permissions of one that will be replaced. */
oxp_status oxp_output_examine(oxp_output_file *output)
{
    struct stat about;
    if (fstatat(output->directory, output->name, &about, 0) == 0) {
        if (is_input(output, &about))
            return oxp_output_refuse(output,
                                     "is an input of this run, and inputs are never replaced");
        if (!S_ISREG(about.st_mode))
            return oxp_output_refuse(
                output, S_ISDIR(about.st_mode)
                            ? "is a directory, and only a regular file can be replaced"
                            : "is a device, FIFO or the like, and only a regular file can "
                              "be replaced");
        if (!output->force)
            return oxp_output_refuse(output, "exists, and is not replaced without force");
        output->mode = about.st_mode & 0777;
        return OXP_OK;
    }
    if (errno != ENOENT && errno != ELOOP)
        return oxp_output_fail(output, "E-OUT-DIR", "cannot be examined");
    bool dangling = fstatat(output->directory, output->name, &about, AT_SYMLINK_NOFOLLOW) == 0;
    if (dangling && !output->force)
        return oxp_output_refuse(output,
                                 "exists as a symbolic link, and is not replaced without force");
    return OXP_OK;
}

/* ---- the temporary file ---- */

/* Bytes of `text` up to `limit` that do not end inside a UTF-8 character. */
static size_t whole_characters(const char *text, size_t limit)
{
    size_t length = strlen(text);
    if (length <= limit)
        return length;
    while (limit > 0 && ((unsigned char)text[limit] & 0xc0) == 0x80)
        limit--;
    return limit;
}

void oxp_output_temp_name(char out[NAME_MAX + 1], const oxp_output_file *output, unsigned attempt)
{
    char suffix[48];
    int length = snprintf(suffix, sizeof suffix, ".tmp-%ld-%u", (long)getpid(), attempt);
    size_t kept = whole_characters(output->name, NAME_MAX - 1 - (size_t)length);
    snprintf(out, NAME_MAX + 1, ".%.*s%s", (int)kept, output->name, suffix);
}

/* A message to a standard stream that is closed must not end up in the file. */
static int above_standard_streams(int fd)
{
    if (fd < 0 || fd > STDERR_FILENO)
        return fd;
    int high = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    int error = errno;
    close(fd);
    errno = error;
    return high;
}

static int open_beside(const oxp_output_file *output, const char *name, int flags)
{
    int fd;
    do /* 0666: the kernel takes the umask off, or applies the directory's default ACL */
        fd = openat(output->directory, name, flags | O_RDWR | O_CLOEXEC, 0666);
    while (fd < 0 && errno == EINTR);
    return above_standard_streams(fd);
}

const char *oxp_fd_path(char out[OXP_FD_PATH_MAX], int fd)
{
    snprintf(out, OXP_FD_PATH_MAX, "/proc/self/fd/%d", fd);
    return out;
}

/* An unnamed file gets its name through /proc, which may not be there. */
static bool can_be_named(int fd)
{
    char path[OXP_FD_PATH_MAX];
    struct stat by_fd, by_path;
    return fstat(fd, &by_fd) == 0 && stat(oxp_fd_path(path, fd), &by_path) == 0 &&
           by_fd.st_dev == by_path.st_dev && by_fd.st_ino == by_path.st_ino;
}

static bool open_unnamed(oxp_output_file *output)
{
    int fd = open_beside(output, ".", O_TMPFILE);
    if (fd >= 0 && !can_be_named(fd)) {
        close(fd);
        return false;
    }
    output->file = fd;
    output->has_no_name = fd >= 0;
    return fd >= 0;
}

/* The flag is raised before the name exists: a signal in between removes at worst nothing. */
static bool open_named(oxp_output_file *output)
{
    for (unsigned attempt = 0; attempt < OXP_TEMP_ATTEMPTS; attempt++) {
        oxp_output_temp_name(output->temp_name, output, attempt);
        output->temp_is_named = 1;
        output->file = open_beside(output, output->temp_name, O_CREAT | O_EXCL | O_NOFOLLOW);
        if (output->file >= 0)
            return true;
        output->temp_is_named = 0;
        if (errno != EEXIST)
            return false;
    }
    return false;
}

/* Half-written bytes are nobody else's: a named file is closed to others until it is published. */
static oxp_status open_temp(oxp_output_file *output)
{
    if (!open_unnamed(output) && !open_named(output))
        return oxp_output_fail(output, "E-OUT-DIR", "no file can be made in its directory");
    struct stat about;
    if (fstat(output->file, &about) != 0)
        return oxp_output_fail(output, "E-OUT-DIR", "cannot be examined");
    output->mode = about.st_mode & 0777;
    if (!output->has_no_name && fchmod(output->file, 0600) != 0)
        return oxp_output_fail(output, "E-OUT-DIR", "its permissions cannot be set");
    return OXP_OK;
}

void oxp_output_drop_temp(oxp_output_file *output)
{
    if (output->temp_is_named)
        unlinkat(output->directory, output->temp_name, 0);
    output->temp_is_named = 0;
}

/* ---- opening ---- */

static oxp_status open_directory(oxp_output_file *output)
{
    char *slash = strrchr(output->path, '/');
    output->name = slash == NULL ? output->path : slash + 1;
    const char *name = output->name;
    if (name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
        errno = EISDIR;
        return oxp_output_fail(output, "E-OUT-DIR", "is not the name of a file");
    }
    char kept = '\0';
    if (slash != NULL) { /* "dir/" and "/" are directories as they stand */
        kept = slash[1];
        slash[1] = '\0';
    }
    int fd;
    do
        fd = open(slash == NULL ? "." : output->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    while (fd < 0 && errno == EINTR);
    int error = errno;
    if (slash != NULL)
        slash[1] = kept;
    errno = error;
    output->directory = above_standard_streams(fd);
    if (output->directory < 0)
        return oxp_output_fail(output, "E-OUT-DIR", "its directory cannot be opened");
    return OXP_OK;
}

static oxp_status copy_options(oxp_output_file *output, const oxp_output_options *options)
{
    if (options == NULL)
        return OXP_OK;
    output->force = options->force;
    OXP_TRY(oxp_alloc(&output->inputs, output->ctx, options->input_count, sizeof *output->inputs,
                      "identities of the inputs"));
    for (size_t i = 0; i < options->input_count; i++)
        output->inputs[i] = options->inputs[i];
    output->input_count = options->input_count;
    return OXP_OK;
}

oxp_status oxp_output_open(oxp_output_file **out, oxp_ctx *ctx, const char *path,
                           const oxp_output_options *options)
{
    oxp_output_file *output;
    oxp_status status;
    OXP_TRY(oxp_alloc(&output, ctx, 1, sizeof *output, "output"));
    output->ctx = ctx;
    output->directory = output->file = -1;
    size_t length = strlen(path);
    OXP_TRY_GOTO(oxp_alloc(&output->path, ctx, length + 1, 1, "path of the output"), fail);
    memcpy(output->path, path, length);
    OXP_TRY_GOTO(copy_options(output, options), fail);
    OXP_TRY_GOTO(open_directory(output), fail);
    OXP_TRY_GOTO(oxp_output_examine(output), fail);
    OXP_TRY_GOTO(open_temp(output), fail);
    *out = output;
    return OXP_OK;
fail:
    oxp_output_discard(output);
    return status;
}

/* ---- writing ---- */

oxp_status oxp_output_reserve(oxp_output_file *output, size_t bytes)
{
    if (bytes == 0 || bytes > (size_t)PTRDIFF_MAX)
        return OXP_OK;
    int result;
    do
        result = fallocate(output->file, FALLOC_FL_KEEP_SIZE, 0, (off_t)bytes);
    while (result != 0 && errno == EINTR);
    if (result == 0 || (errno != ENOSPC && errno != EDQUOT && errno != EFBIG && errno != EIO))
        return OXP_OK; /* not every file system can */
    return output->status = oxp_output_fail(output, "E-WRITE", "its space cannot be reserved");
}

oxp_status oxp_output_write(oxp_output_file *output, const void *data, size_t bytes)
{
    if (output->status != OXP_OK)
        return output->status;
    const uint8_t *from = data;
    size_t done = 0;
    while (done < bytes) {
        ssize_t put = write(output->file, from + done, bytes - done);
        if (put < 0 && errno == EINTR)
            continue;
        if (put == 0)
            errno = EIO;
        if (put <= 0)
            return output->status = oxp_output_fail(output, "E-WRITE", "cannot be written");
        done += (size_t)put;
    }
    return OXP_OK;
}

static oxp_status copy_back(uint8_t **out, oxp_output_file *output, size_t size)
{
    uint8_t *data;
    size_t done = 0;
    OXP_TRY(oxp_alloc_raw(&data, output->ctx, size, 1, output->path));
    while (done < size) {
        ssize_t got = pread(output->file, data + done, size - done, (off_t)done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got == 0)
            errno = EIO;
        if (got <= 0) {
            oxp_free(data);
            return oxp_output_fail(output, "E-READ", "cannot be read back");
        }
        done += (size_t)got;
    }
    *out = data;
    return OXP_OK;
}

oxp_status oxp_output_read_back(oxp_file_bytes *out, oxp_output_file *output)
{
    struct stat about;
    if (output->status != OXP_OK)
        return output->status;
    if (fstat(output->file, &about) != 0)
        return oxp_output_fail(output, "E-READ", "cannot be examined");
    oxp_file_bytes file = {.bytes = (size_t)about.st_size, .id = {about.st_dev, about.st_ino}};
    if (file.bytes >= OXP_MAPPED_BYTES &&
        oxp_mapping_open(&file.mapping, output->ctx, output->file, file.bytes))
        file.data = file.mapping->data;
    else
        OXP_TRY(copy_back(&file.data, output, file.bytes));
    *out = file;
    return OXP_OK;
}

/* ---- the end ---- */

void oxp_output_discard(oxp_output_file *output)
{
    if (output == NULL)
        return;
    oxp_output_drop_temp(output);
    if (output->file >= 0)
        close(output->file);
    if (output->directory >= 0)
        close(output->directory);
    oxp_free(output->inputs);
    oxp_free(output->path);
    oxp_free(output);
}

void oxp_output_temp(const oxp_output_file *output, int *dirfd, const char **name)
{
    *dirfd = output->directory;
    *name = output->temp_is_named ? output->temp_name : NULL;
}
