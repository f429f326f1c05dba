/* file.c - reads a regular file whole, or maps it.
 *
 * Nothing is decided by a path twice: the file is opened once, without waiting for a FIFO or taking
 * a terminal, and everything after asks the descriptor. Small files are read, not mapped, because a
 * mapped file that somebody truncates ends the process. */
#include "util/file_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

oxp_status oxp_file_fail(oxp_ctx *ctx, const char *path, oxp_status status, const char *code,
                         const char *what, int error)
{
    char reason[128] = "";
    const char *text = error == 0 ? "" : strerror_r(error, reason, sizeof reason);
    const char *subject = ctx->subject;
    ctx->subject = path;
    status = oxp_fail(ctx, status, code, "%s%s%s", what, error == 0 ? "" : ": ", text);
    ctx->subject = subject;
    return status;
}

/* Files of /proc and /sys call themselves regular, but their sizes mean nothing. */
static bool is_regular(int fd, const struct stat *about)
{
    if (!S_ISREG(about->st_mode))
        return false;
    struct statfs system;
    return fstatfs(fd, &system) != 0 ||
           (system.f_type != PROC_SUPER_MAGIC && system.f_type != SYSFS_MAGIC);
}

static oxp_status check(oxp_ctx *ctx, const char *path, int fd, const struct stat *about,
                        size_t limit, oxp_status fail)
{
    if (!is_regular(fd, about))
        return oxp_file_fail(ctx, path, fail, "E-NOT-REGULAR",
                             S_ISDIR(about->st_mode)
                                 ? "expected a regular file, found a directory"
                                 : "expected a regular file, found a device, FIFO or the like",
                             0);
    if (about->st_size <= 0)
        return oxp_file_fail(ctx, path, fail, "E-EMPTY", "the file is empty", 0);
    if ((uintmax_t)about->st_size > limit) {
        const char *subject = ctx->subject;
        ctx->subject = path;
        oxp_fail(ctx, OXP_ELIMIT, "E-LIMIT-FILE", "the file has %jd bytes, the limit is %zu",
                 (intmax_t)about->st_size, limit);
        ctx->subject = subject;
        return OXP_ELIMIT;
    }
    return OXP_OK;
}

static oxp_status read_whole(oxp_ctx *ctx, const char *path, int fd, uint8_t *data, size_t bytes)
{
    size_t done = 0;
    while (done < bytes) {
        ssize_t got = read(fd, data + done, bytes - done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return oxp_file_fail(ctx, path, OXP_EIO, "E-READ", "cannot be read", errno);
        if (got == 0)
            return oxp_file_fail(ctx, path, OXP_EIO, "E-READ",
                                 "the file became shorter while it was read", 0);
        done += (size_t)got;
    }
    return OXP_OK;
}

static bool same_state(const struct stat *a, const struct stat *b)
{
    return a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static oxp_status copy_bytes(uint8_t **out, oxp_ctx *ctx, const char *path, int fd,
                             const struct stat *before)
{
    struct stat after;
    uint8_t *data;
    size_t size = (size_t)before->st_size;
    OXP_TRY(oxp_alloc_raw(&data, ctx, size, 1, path));
    oxp_status status = read_whole(ctx, path, fd, data, size);
    if (status == OXP_OK && (fstat(fd, &after) != 0 || !same_state(before, &after)))
        status =
            oxp_file_fail(ctx, path, OXP_EIO, "E-READ", "the file changed while it was read", 0);
    if (status != OXP_OK) {
        oxp_free(data);
        return status;
    }
    *out = data;
    return OXP_OK;
}

static oxp_status read_open_file(oxp_file_bytes *out, oxp_ctx *ctx, const char *path, int fd,
                                 size_t limit, oxp_status fail, bool may_map)
{
    struct stat about;
    if (fstat(fd, &about) != 0)
        return oxp_file_fail(ctx, path, OXP_EIO, "E-READ", "cannot be examined", errno);
    OXP_TRY(check(ctx, path, fd, &about, limit, fail));
    oxp_file_bytes file = {.bytes = (size_t)about.st_size, .id = {about.st_dev, about.st_ino}};
    if (may_map && file.bytes >= OXP_MAPPED_BYTES &&
        oxp_mapping_open(&file.mapping, ctx, fd, file.bytes))
        file.data = file.mapping->data;
    else
        OXP_TRY(copy_bytes(&file.data, ctx, path, fd, &about));
    *out = file;
    return OXP_OK;
}

static oxp_status open_and_read(oxp_file_bytes *out, oxp_ctx *ctx, const char *path, size_t limit,
                                oxp_status fail, bool may_map)
{
    int fd;
    do
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    while (fd < 0 && errno == EINTR);
    if (fd < 0 && errno == ENXIO) /* a socket, a device without a driver */
        return oxp_file_fail(ctx, path, fail, "E-NOT-REGULAR",
                             "expected a regular file, found a socket or device", 0);
    if (fd < 0)
        return oxp_file_fail(ctx, path, OXP_EIO, "E-OPEN", "cannot be opened", errno);
    oxp_status status = read_open_file(out, ctx, path, fd, limit, fail, may_map);
    close(fd); /* nothing was written through it: no error to lose */
    return status;
}

oxp_status oxp_file_open(oxp_file_bytes *out, oxp_ctx *ctx, const char *path, size_t limit,
                         oxp_status fail)
{
    return open_and_read(out, ctx, path, limit, fail, true);
}

void oxp_file_close(oxp_file_bytes *file)
{
    if (file->mapping != NULL)
        oxp_mapping_close(file->mapping);
    else
        oxp_free(file->data);
    *file = (oxp_file_bytes){0};
}

oxp_status oxp_file_read(uint8_t **out, size_t *bytes, oxp_ctx *ctx, const char *path, size_t limit,
                         oxp_status fail, oxp_file_id *id)
{
    oxp_file_bytes file;
    OXP_TRY(open_and_read(&file, ctx, path, limit, fail, false));
    *out = file.data;
    *bytes = file.bytes;
    if (id != NULL)
        *id = file.id;
    return OXP_OK;
}
