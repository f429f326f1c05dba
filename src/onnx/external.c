/* external.c - the one gate through which a model's bytes come from other files.
 *
 * A location is a plain relative path; nothing is stripped or repaired. The file is opened once,
 * below the model's directory and without following links (openat2), and from then on only the
 * descriptor is asked: regular, not hard-linked, long enough. Nothing is allocated before the range
 * was held against the size.
 *
 * One layout with links is accepted: where the model file is a link itself, the data may be a link
 * into the directory that the model's link ends in (the cache of the Hugging Face hub: both lie in
 * blobs/). */
#include "onnx/external.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "onnx/sha1.h"

#define OPEN_FLAGS (O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)
#define OPEN_TRIES 16 /* openat2 says EAGAIN when something is renamed meanwhile */
#define READ_BYTES ((size_t)1 << 30)

typedef struct reference {
    const char *location, *offset, *length, *checksum; /* NULL when absent */
} reference;

typedef struct request {
    oxp_model *model;
    const Onnx__TensorProto *tensor;
    reference ref;
    uint64_t offset, length;
} request;

/* ---- errors ---- */

static oxp_status refuse(const request *r, oxp_status status, const char *code, const char *what)
{
    char tensor[OXP_QUOTED_MAX], location[OXP_QUOTED_MAX];
    return oxp_fail(r->model->ctx, status, code, "tensor %s: external data %s: %s",
                    oxp_quote(tensor, r->tensor->name), oxp_quote(location, r->ref.location), what);
}

static oxp_status refuse_errno(const request *r, const char *what)
{
    char reason[128], text[256];
    int error = errno;
    snprintf(text, sizeof text, "%s: %s", what, strerror_r(error, reason, sizeof reason));
    return refuse(r, OXP_EIO, "E-OPEN", text);
}

/* ---- what the model says ---- */

static const char **slot_of(reference *ref, const char *key)
{
    if (strcmp(key, "location") == 0)
        return &ref->location;
    if (strcmp(key, "offset") == 0)
        return &ref->offset;
    if (strcmp(key, "length") == 0)
        return &ref->length;
    return strcmp(key, "checksum") == 0 ? &ref->checksum : NULL;
}

const char *oxp_external_unknown_key(const Onnx__TensorProto *t)
{
    reference ref;
    for (size_t i = 0; i < t->n_external_data; i++) {
        const char *key = t->external_data[i]->key == NULL ? "" : t->external_data[i]->key;
        if (slot_of(&ref, key) == NULL && strcmp(key, "basepath") != 0)
            return key;
    }
    return NULL;
}

static oxp_status read_reference(request *r)
{
    char quoted[OXP_QUOTED_MAX], text[OXP_QUOTED_MAX + 40];
    for (size_t i = 0; i < r->tensor->n_external_data; i++) {
        const Onnx__StringStringEntryProto *entry = r->tensor->external_data[i];
        const char *key = entry->key == NULL ? "" : entry->key;
        const char **slot = slot_of(&r->ref, key);
        if (slot == NULL)
            continue;
        if (*slot != NULL) {
            snprintf(text, sizeof text, "key %s stands twice", oxp_quote(quoted, key));
            return refuse(r, OXP_EFORMAT, "E-EXT-KEY", text);
        }
        *slot = entry->value == NULL ? "" : entry->value;
    }
    return OXP_OK;
}

bool oxp_external_number(const char *text, uint64_t *value)
{
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 20 || text[digits] != '\0')
        return false;
    uint64_t number = 0;
    for (size_t i = 0; i < digits; i++)
        if (__builtin_mul_overflow(number, UINT64_C(10), &number) ||
            __builtin_add_overflow(number, (uint64_t)(text[i] - '0'), &number))
            return false;
    *value = number;
    return number <= INT64_MAX;
}

static oxp_status read_number(const request *r, const char *what, const char *text, uint64_t absent,
                              uint64_t *value)
{
    char quoted[OXP_QUOTED_MAX], fault[OXP_QUOTED_MAX + 64];
    *value = absent;
    if (text == NULL || oxp_external_number(text, value))
        return OXP_OK;
    snprintf(fault, sizeof fault, "%s is %s, expected decimal digits below 2^63", what,
             oxp_quote(quoted, text));
    return refuse(r, OXP_EFORMAT, "E-EXT-NUM", fault);
}

const char *oxp_external_location_fault(const char *location)
{
    if (location == NULL || location[0] == '\0')
        return "no location";
    if (location[0] == '/')
        return "an absolute path; only paths below the model's directory are read";
    if (strchr(location, '\\') != NULL)
        return "a backslash; only plain relative paths are read";
    if (location[1] == ':' || strstr(location, "://") != NULL)
        return "a drive or scheme; only plain relative paths are read";
    const char *last = location;
    for (const char *at = location;; at = last + 1) {
        size_t length = strcspn(at, "/");
        last = at + length;
        if (length == 0)
            return "an empty path component";
        if (length == 2 && at[0] == '.' && at[1] == '.')
            return "a path component \"..\"";
        if (length > OXP_EXTERNAL_MAX_COMPONENT)
            return "a path component of more than 255 bytes";
        if (*last == '\0')
            return length == 1 && at[0] == '.' ? "no file name" : NULL;
    }
}

/* ---- opening ---- */

/* As openat2 would, one component after the other; none is followed when it is a link. */
static int open_by_component(int directory, const char *location)
{
    char component[OXP_EXTERNAL_MAX_COMPONENT + 1];
    int parent = openat(directory, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    while (parent >= 0) {
        size_t length = strcspn(location, "/");
        if (length == 0 || length > OXP_EXTERNAL_MAX_COMPONENT ||
            (length == 2 && memcmp(location, "..", 2) == 0)) {
            close(parent);
            errno = EXDEV;
            return -1;
        }
        memcpy(component, location, length);
        component[length] = '\0';
        bool last = location[length] == '\0';
        int flags = last ? OPEN_FLAGS : O_PATH | O_DIRECTORY | O_CLOEXEC;
        int fd = openat(parent, component, flags | O_NOFOLLOW);
        struct stat about;
        if (fd < 0 && errno == ENOTDIR &&
            fstatat(parent, component, &about, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(about.st_mode))
            errno = ELOOP;
        int error = errno;
        close(parent);
        errno = error;
        if (last)
            return fd;
        parent = fd;
        location += length + 1;
    }
    return -1;
}

static int open_modern(int directory, const char *location, uint64_t resolve)
{
    struct open_how how = {.flags = (uint64_t)OPEN_FLAGS, .resolve = resolve};
    for (int i = 0; i < OPEN_TRIES; i++) {
        long fd = syscall(SYS_openat2, directory, location, &how, sizeof how);
        if (fd >= 0 || (errno != EAGAIN && errno != EINTR))
            return (int)fd;
    }
    return -1;
}

int oxp_external_open_beneath(int directory, const char *location, bool modern)
{
    uint64_t resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS;
    int fd = modern ? open_modern(directory, location, resolve) : -1;
    /* EPERM: a sandbox that does not know the call. */
    if (!modern || (fd < 0 && (errno == ENOSYS || errno == EPERM)))
        fd = open_by_component(directory, location);
    return fd;
}

static int open_following(int directory, const char *location)
{
    int fd = open_modern(directory, location, RESOLVE_NO_MAGICLINKS);
    if (fd < 0 && (errno == ENOSYS || errno == EPERM))
        fd = openat(directory, location, OPEN_FLAGS);
    return fd;
}

/* The directory of a path, in place; "/" keeps its slash. */
static void cut_to_directory(char *path)
{
    char *slash = strrchr(path, '/');
    if (slash != NULL)
        slash[slash == path ? 1 : 0] = '\0';
}

/* Both the model and the data are links, and both end in one directory: opens the data there, again
 * without following links, so that nothing can be exchanged between the look and the opening. */
static int open_beside_real_model(const oxp_model *model, const char *location)
{
    char real_directory[PATH_MAX], real_data[PATH_MAX], path[PATH_MAX];
    struct stat about;
    errno = ELOOP;
    if (model->path[0] == '\0' || lstat(model->path, &about) != 0 || !S_ISLNK(about.st_mode))
        return -1;
    int length = snprintf(path, sizeof path, "%s/%s", model->directory, location);
    if (length < 0 || (size_t)length >= sizeof path ||
        realpath(model->path, real_directory) == NULL || realpath(path, real_data) == NULL)
        return -1;
    cut_to_directory(real_directory);
    size_t prefix = strlen(real_directory);
    if (prefix == 0 || strncmp(real_data, real_directory, prefix) != 0 ||
        real_data[prefix] != '/') {
        errno = ELOOP;
        return -1;
    }
    int directory = open(real_directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0)
        return -1;
    int fd = oxp_external_open_beneath(directory, real_data + prefix + 1, true);
    int error = errno;
    close(directory);
    errno = error;
    return fd;
}

/* `linked` says that the file was reached through the links of the accepted layout. */
static oxp_status open_location(int *out, bool *linked, const request *r)
{
    const oxp_model *model = r->model;
    int directory = open(model->directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0)
        return refuse_errno(r, "the model's directory cannot be opened");
    bool follow = model->options.allow_symlinks;
    int fd = follow ? open_following(directory, r->ref.location)
                    : oxp_external_open_beneath(directory, r->ref.location, true);
    int error = errno;
    close(directory);
    *linked = false;
    if (fd < 0 && error == ELOOP && !follow) {
        fd = open_beside_real_model(model, r->ref.location);
        error = errno;
        *linked = fd >= 0;
    }
    if (fd < 0 && error == ELOOP)
        return refuse(r, OXP_EFORMAT, "E-EXT-LINK",
                      "a symbolic link on the way (--allow-symlinks follows it)");
    if (fd < 0 && error == EXDEV)
        return refuse(r, OXP_EFORMAT, "E-EXT-PATH", "a way out of the model's directory");
    if (fd < 0 && error == ENXIO)
        return refuse(r, OXP_EFORMAT, "E-NOT-REGULAR", "no regular file");
    errno = error;
    if (fd < 0)
        return refuse_errno(r, "cannot be opened");
    *out = fd;
    return OXP_OK;
}

/* ---- reading ---- */

static oxp_status check_range(const request *r, uint64_t size, size_t needed)
{
    char text[200];
    if (r->length > size || r->offset > size - r->length) {
        snprintf(text, sizeof text,
                 "offset %" PRIu64 " and length %" PRIu64 " leave the file, which has %" PRIu64
                 " bytes",
                 r->offset, r->length, size);
        return refuse(r, OXP_EFORMAT, "E-EXT-RANGE", text);
    }
    if (r->length != needed) {
        snprintf(text, sizeof text, "length is %" PRIu64 ", the shape needs %zu", r->length,
                 needed);
        return refuse(r, OXP_EFORMAT, "E-EXT-LEN", text);
    }
    return OXP_OK;
}

static oxp_status read_whole(const request *r, int fd, uint8_t *data, size_t bytes)
{
    size_t done = 0;
    while (done < bytes) {
        size_t left = bytes - done;
        ssize_t got = pread(fd, data + done, left < READ_BYTES ? left : READ_BYTES, (off_t)done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return refuse_errno(r, "cannot be read");
        if (got == 0)
            return refuse(r, OXP_EFORMAT, "E-EXT-RANGE",
                          "the file became shorter while it was read");
        done += (size_t)got;
        OXP_TRY(oxp_progress(r->model->ctx, "read external data", done, bytes));
    }
    return OXP_OK;
}

static oxp_status read_file(oxp_external_file *out, const request *r, int fd, bool linked,
                            size_t needed)
{
    struct stat about;
    if (fstat(fd, &about) != 0)
        return refuse_errno(r, "cannot be examined");
    if (!S_ISREG(about.st_mode))
        return refuse(r, OXP_EFORMAT, "E-NOT-REGULAR", "no regular file");
    if (about.st_nlink > 1 && !linked && !r->model->options.allow_hardlinks)
        return refuse(r, OXP_EFORMAT, "E-EXT-HARDLINK",
                      "the file has more than one hard link (--allow-hardlinks reads it)");
    OXP_TRY(check_range(r, (uint64_t)about.st_size, needed));
    *out = (oxp_external_file){.location = r->ref.location,
                               .bytes = (size_t)about.st_size,
                               .id = {about.st_dev, about.st_ino}};
    if (out->bytes >= OXP_MAPPED_BYTES &&
        oxp_mapping_open(&out->mapping, r->model->ctx, fd, out->bytes)) {
        out->data = out->mapping->data;
        return OXP_OK;
    }
    OXP_TRY(oxp_alloc_raw(&out->data, r->model->ctx, out->bytes, 1, r->ref.location));
    oxp_status status = read_whole(r, fd, out->data, out->bytes);
    if (status != OXP_OK)
        oxp_free(out->data);
    return status;
}

static oxp_status add_file(const request *r, size_t needed)
{
    oxp_model *m = r->model;
    if (m->external_count >= OXP_EXTERNAL_MAX_FILES)
        return refuse(r, OXP_ELIMIT, "E-LIMIT-EXTERNAL", "more than 1024 files of external data");
    OXP_TRY(oxp_grow(&m->externals, &m->external_capacity, m->ctx, m->external_count + 1,
                     sizeof *m->externals));
    OXP_TRY(oxp_grow(&m->files, &m->file_capacity, m->ctx, m->file_count + 1, sizeof *m->files));
    int fd = -1;
    bool linked = false;
    OXP_TRY(open_location(&fd, &linked, r));
    oxp_external_file *file = &m->externals[m->external_count];
    oxp_status status = read_file(file, r, fd, linked, needed);
    close(fd); /* only read from: no error to lose */
    if (status != OXP_OK)
        return status;
    m->external_count++;
    m->files[m->file_count++] = file->id;
    return OXP_OK;
}

static oxp_external_file *find_file(const oxp_model *m, const char *location)
{
    for (size_t i = m->external_count; i-- > 0;)
        if (strcmp(m->externals[i].location, location) == 0)
            return &m->externals[i];
    return NULL;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static oxp_status check_sum(const request *r, oxp_external_file *file)
{
    const char *stated = r->ref.checksum;
    if (stated == NULL)
        return OXP_OK;
    if (!file->sha1_known)
        oxp_sha1(file->sha1, file->data, file->bytes);
    oxp_pages_release(r->model->ctx, file->data, file->bytes);
    file->sha1_known = true;
    bool same = strlen(stated) == 2 * sizeof file->sha1;
    for (size_t i = 0; same && i < 2 * sizeof file->sha1; i++)
        same = hex_digit(stated[i]) == (file->sha1[i / 2] >> (i % 2 == 0 ? 4 : 0) & 15);
    return same ? OXP_OK
                : refuse(r, OXP_EFORMAT, "E-EXT-SUM", "the file does not have the stated SHA-1");
}

static oxp_status check_location(const request *r)
{
    const char *location = r->ref.location;
    if (location != NULL && strlen(location) > OXP_EXTERNAL_MAX_PATH)
        return refuse(r, OXP_ELIMIT, "E-LIMIT-PATH", "a path of more than 4095 bytes");
    const char *fault = oxp_external_location_fault(location);
    if (fault != NULL)
        return refuse(r, OXP_EFORMAT, "E-EXT-PATH", fault);
    if (find_file(r->model, location) == NULL &&
        (r->model->directory == NULL || r->model->directory[0] == '\0'))
        return refuse(r, OXP_EFORMAT, "E-EXT-PATH",
                      "a model in memory has no directory to read from");
    return OXP_OK;
}

oxp_status oxp_external_bytes(const uint8_t **out, oxp_model *model, const Onnx__TensorProto *t,
                              size_t needed)
{
    while (model->base != NULL) /* a clone's external data is that of the loaded model */
        model = (oxp_model *)(uintptr_t)model->base;
    request r = {.model = model, .tensor = t};
    OXP_TRY(read_reference(&r));
    OXP_TRY(check_location(&r));
    OXP_TRY(read_number(&r, "offset", r.ref.offset, 0, &r.offset));
    OXP_TRY(read_number(&r, "length", r.ref.length, needed, &r.length));
    oxp_external_file *file = find_file(model, r.ref.location);
    if (file == NULL)
        OXP_TRY(add_file(&r, needed));
    else
        OXP_TRY(check_range(&r, file->bytes, needed));
    file = find_file(model, r.ref.location);
    OXP_TRY(check_sum(&r, file));
    *out = file->data + r.offset;
    return OXP_OK;
}

void oxp_external_place(const oxp_model *model, const uint8_t *bytes, size_t *file, size_t *offset)
{
    for (size_t i = 0; i < model->external_count; i++) {
        const oxp_external_file *f = &model->externals[i];
        if ((uintptr_t)bytes >= (uintptr_t)f->data &&
            (uintptr_t)bytes <= (uintptr_t)f->data + f->bytes) {
            *file = i;
            *offset = (size_t)(bytes - f->data);
            return;
        }
    }
    *file = model->external_count;
    *offset = 0;
}
