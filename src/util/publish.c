/* publish.c - how a file that was written gets its name.
 *
 * fsync, the mode, one atomic step that gives the name, fsync of the directory. A failed fsync is
 * final: the kernel forgets it, so a second one that succeeds proves nothing. Of two files that
 * belong together the one that is referred to goes first; the old one in its place is kept under a
 * temporary name until the second has its name. No system call places two files at once: a process
 * that is killed between the two steps leaves a new first beside an old second.
 *
 * Owner and group of a replaced file are not carried over, its permissions are. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/output_internal.h"

/* ---- the parts of it ---- */

static int sync_fd(int fd)
{
    int result;
    do
        result = fsync(fd);
    while (result != 0 && errno == EINTR);
    return result;
}

static oxp_status make_durable(oxp_output_file *output)
{
    struct stat about;
    if (fstat(output->file, &about) != 0)
        return oxp_output_fail(output, "E-SYNC", "cannot be examined");
    if ((about.st_mode & 0777) != output->mode && fchmod(output->file, output->mode) != 0)
        return oxp_output_fail(output, "E-SYNC", "its permissions cannot be set");
    if (sync_fd(output->file) != 0)
        return oxp_output_fail(output, "E-SYNC", "cannot be synced to the disk");
    int copy = dup(output->file); /* some file systems report a lost write only at a close */
    if (copy < 0 || close(copy) != 0)
        return oxp_output_fail(output, "E-SYNC", "cannot be closed");
    return OXP_OK;
}

static int link_unnamed(const oxp_output_file *output, const char *name)
{
    char path[OXP_FD_PATH_MAX];
    return linkat(AT_FDCWD, oxp_fd_path(path, output->file), output->directory, name,
                  AT_SYMLINK_FOLLOW);
}

static bool is_unsupported(int error)
{
    return error == EINVAL || error == ENOSYS || error == EOPNOTSUPP || error == EPERM;
}

/* Moves the named temporary file to a name that must be free, by the first way that the file system
 * knows. The last one is not atomic: between look and rename a file could come up. */
static int rename_without_replacing(oxp_output_file *output)
{
    int directory = output->directory;
    int result = renameat2(directory, output->temp_name, directory, output->name, RENAME_NOREPLACE);
    if (result == 0)
        output->temp_is_named = 0;
    if (result == 0 || !is_unsupported(errno))
        return result;
    result = linkat(directory, output->temp_name, directory, output->name, 0);
    if (result == 0) {
        oxp_output_drop_temp(output);
        return 0;
    }
    if (!is_unsupported(errno))
        return result;
    struct stat about;
    if (fstatat(directory, output->name, &about, AT_SYMLINK_NOFOLLOW) == 0) {
        errno = EEXIST;
        return -1;
    }
    result = renameat(directory, output->temp_name, directory, output->name);
    if (result == 0)
        output->temp_is_named = 0;
    return result;
}

static oxp_status place_new(oxp_output_file *output)
{
    int result =
        output->has_no_name ? link_unnamed(output, output->name) : rename_without_replacing(output);
    if (result == 0)
        return OXP_OK;
    if (errno == EEXIST)
        return oxp_output_refuse(output,
                                 "came into being meanwhile, and is not replaced without force");
    return oxp_output_fail(output, "E-RENAME", "cannot be given its name");
}

static int name_unnamed(oxp_output_file *output)
{
    for (unsigned attempt = 0; attempt < OXP_TEMP_ATTEMPTS; attempt++) {
        oxp_output_temp_name(output->temp_name, output, attempt);
        output->temp_is_named = 1;
        if (link_unnamed(output, output->temp_name) == 0)
            return 0;
        output->temp_is_named = 0;
        if (errno != EEXIST)
            return -1;
    }
    return -1;
}

static oxp_status place_over(oxp_output_file *output)
{
    if (output->has_no_name && name_unnamed(output) != 0)
        return oxp_output_fail(output, "E-RENAME", "cannot be given a name");
    OXP_TRY(oxp_output_examine(output)); /* syncing took its time */
    if (renameat(output->directory, output->temp_name, output->directory, output->name) != 0)
        return oxp_output_fail(output, "E-RENAME", "cannot be given its name");
    output->temp_is_named = 0;
    return OXP_OK;
}

static oxp_status sync_directory(oxp_output_file *output)
{
    if (sync_fd(output->directory) != 0 && errno != EINVAL) /* EINVAL: this one cannot */
        return oxp_output_fail(output, "E-SYNC",
                               "is in its place, but its directory cannot be synced");
    return OXP_OK;
}

static oxp_status get_ready(oxp_output_file *output)
{
    if (output->status != OXP_OK)
        return output->status;
    OXP_TRY(oxp_output_examine(output));
    return make_durable(output);
}

static oxp_status place(oxp_output_file *output)
{
    return output->force ? place_over(output) : place_new(output);
}

/* ---- one file ---- */

static oxp_status publish(oxp_output_file *output)
{
    OXP_TRY(get_ready(output));
    OXP_TRY(place(output));
    return sync_directory(output);
}

oxp_status oxp_output_publish(oxp_output_file *output)
{
    oxp_status status = publish(output);
    oxp_output_discard(output);
    return status;
}

/* ---- two files ---- */

/* The old target under a second, temporary name, "" when there was none. */
typedef struct kept_target {
    char name[NAME_MAX + 1];
} kept_target;

/* A hard link leaves the target where it is; where the file system has none, it is moved. */
static oxp_status keep_target(kept_target *kept, oxp_output_file *output)
{
    struct stat about;
    int directory = output->directory;
    kept->name[0] = '\0';
    if (!output->force || fstatat(directory, output->name, &about, AT_SYMLINK_NOFOLLOW) != 0)
        return OXP_OK;
    for (unsigned attempt = 0; attempt < OXP_TEMP_ATTEMPTS; attempt++) {
        oxp_output_temp_name(kept->name, output, attempt);
        int result = linkat(directory, output->name, directory, kept->name, 0);
        if (result != 0 && is_unsupported(errno))
            result = renameat2(directory, output->name, directory, kept->name, RENAME_NOREPLACE);
        if (result == 0)
            return OXP_OK;
        if (errno != EEXIST)
            break;
    }
    return oxp_output_fail(output, "E-RENAME", "the file in its place cannot be kept meanwhile");
}

/* The published target goes, what was there before comes back. */
static void take_back(const kept_target *kept, const oxp_output_file *output)
{
    struct stat ours, there;
    int directory = output->directory;
    if (kept->name[0] != '\0') {
        renameat(directory, kept->name, directory, output->name);
        unlinkat(directory, kept->name, 0); /* two names of one file: then rename does nothing */
    } else if (fstat(output->file, &ours) == 0 &&
               fstatat(directory, output->name, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
               ours.st_dev == there.st_dev && ours.st_ino == there.st_ino)
        unlinkat(directory, output->name, 0);
}

static oxp_status place_both(oxp_output_file *first, oxp_output_file *second)
{
    kept_target kept;
    OXP_TRY(keep_target(&kept, first));
    oxp_status status = place(first);
    if (status == OXP_OK)
        status = sync_directory(first);
    if (status == OXP_OK)
        status = place(second);
    if (status != OXP_OK)
        take_back(&kept, first);
    else if (kept.name[0] != '\0')
        unlinkat(first->directory, kept.name, 0);
    return status == OXP_OK ? sync_directory(second) : status;
}

oxp_status oxp_output_publish_pair(oxp_output_file *first, oxp_output_file *second)
{
    oxp_status status = get_ready(first);
    if (status == OXP_OK)
        status = get_ready(second);
    if (status == OXP_OK)
        status = place_both(first, second);
    oxp_output_discard(first);
    oxp_output_discard(second);
    return status;
}
