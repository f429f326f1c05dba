/* dataset_files.c - finds the files of a dataset.
 *
 * A path is a .npz file, a .npy file, or a folder of one kind of things. Hidden names are passed
 * over; others that are none of the kinds are passed over with a warning. Names are sorted, so the
 * order never depends on the file system. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "calibration/dataset_internal.h"

#define SET_FOLDER_PREFIX "test_data_set_"

/* ---- names ---- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static size_t digits(const char *s)
{
    size_t n = 0;
    while (is_digit(s[n]))
        n++;
    return n;
}

static size_t zeros(const char *s)
{
    size_t n = 0;
    while (s[n] == '0' && is_digit(s[n + 1]))
        n++;
    return n;
}

int oxp_natural_order(const char *a, const char *b)
{
    const char *left = a, *right = b;
    while (*left != '\0' && *right != '\0') {
        if (is_digit(*left) && is_digit(*right)) {
            left += zeros(left);
            right += zeros(right);
            size_t n = digits(left), m = digits(right);
            int order = n != m ? (n < m ? -1 : 1) : memcmp(left, right, n);
            if (order != 0)
                return order;
            left += n;
            right += m;
        } else if (*left != *right) {
            return (unsigned char)*left < (unsigned char)*right ? -1 : 1;
        } else {
            left++;
            right++;
        }
    }
    if (*left != *right)
        return *left == '\0' ? -1 : 1;
    return strcmp(a, b); /* "x1" and "x01" */
}

static bool ends_with(const char *name, const char *ending)
{
    size_t n = strlen(name), m = strlen(ending);
    return n > m && strcmp(name + n - m, ending) == 0;
}

static bool begins_with(const char *name, const char *start)
{
    return strncmp(name, start, strlen(start)) == 0;
}

/* "input_12.pb" or "output_12.pb"; the number is below 10^9. */
static bool parse_pb_name(const char *name, pb_file *out)
{
    out->is_output = begins_with(name, "output_");
    if (!out->is_output && !begins_with(name, "input_"))
        return false;
    const char *number = strchr(name, '_') + 1;
    size_t n = digits(number);
    if (n == 0 || n > 9 || strcmp(number + n, ".pb") != 0)
        return false;
    out->position = 0;
    for (size_t i = 0; i < n; i++)
        out->position = out->position * 10 + (size_t)(number[i] - '0');
    return true;
}

/* ---- folders ---- */

typedef struct name_list {
    char **names;
    size_t count, capacity;
} name_list;

static int by_name(const void *a, const void *b)
{
    const char *const *left = a, *const *right = b;
    return oxp_natural_order(*left, *right);
}

static oxp_status cannot_list(oxp_dataset *d, const char *path)
{
    char reason[128];
    const char *subject = d->ctx->subject;
    d->ctx->subject = path;
    oxp_fail(d->ctx, OXP_EIO, "E-OPEN", "the folder cannot be read: %s",
             strerror_r(errno, reason, sizeof reason));
    d->ctx->subject = subject;
    return OXP_EIO;
}

/* Reads the names in a folder, but hidden ones. */
static oxp_status read_names(oxp_dataset *d, name_list *list, DIR *folder, const char *path)
{
    for (;;) {
        errno = 0;
        const struct dirent *found = readdir(folder);
        if (found == NULL)
            return errno == 0 ? OXP_OK : cannot_list(d, path);
        if (found->d_name[0] == '.')
            continue;
        OXP_TRY(
            oxp_grow(&list->names, &list->capacity, d->ctx, list->count + 1, sizeof *list->names));
        char *name = oxp_arena_strdup(&d->arena, found->d_name);
        if (name == NULL)
            return OXP_ELIMIT;
        list->names[list->count++] = name;
    }
}

static oxp_status list_folder(oxp_dataset *d, name_list *list, const char *path)
{
    DIR *folder = opendir(path);
    if (folder == NULL)
        return cannot_list(d, path);
    oxp_status status = read_names(d, list, folder, path);
    closedir(folder);
    if (status == OXP_OK && list->count > 1)
        qsort(list->names, list->count, sizeof *list->names, by_name);
    return status;
}

static char *join(oxp_dataset *d, const char *folder, const char *name)
{
    return oxp_arena_printf(&d->arena, "%s%s%s", folder, ends_with(folder, "/") ? "" : "/", name);
}

static oxp_status add_set(oxp_dataset *d, set_kind kind, const char *path)
{
    OXP_TRY(oxp_grow(&d->sets, &d->set_capacity, d->ctx, d->set_count + 1, sizeof *d->sets));
    if (path == NULL)
        return OXP_ELIMIT;
    d->sets[d->set_count++] = (data_set){.kind = kind, .path = path};
    return OXP_OK;
}

static oxp_status empty_folder(oxp_dataset *d, const char *path)
{
    const char *subject = d->ctx->subject;
    d->ctx->subject = path;
    oxp_fail(d->ctx, OXP_EDATA, "E-CALIB-EMPTY",
             "the folder has no .npz, .npy, input_N.pb or test_data_set_N");
    d->ctx->subject = subject;
    return OXP_EDATA;
}

static void pass_over(oxp_dataset *d, const char *name)
{
    char quoted[OXP_QUOTED_MAX];
    oxp_log(d->ctx, OXP_LOG_WARNING, "%s in the data folder is no calibration data, passed over",
            oxp_quote(quoted, name));
}

/* Makes one set of the .pb files among `list`. */
static oxp_status add_pb_set(oxp_dataset *d, const char *path, const name_list *list)
{
    OXP_TRY(add_set(d, SET_PB, path));
    data_set *set = &d->sets[d->set_count - 1];
    set->files = oxp_arena_alloc(&d->arena, list->count, sizeof *set->files);
    if (set->files == NULL)
        return OXP_ELIMIT;
    for (size_t i = 0; i < list->count; i++) {
        pb_file *file = &set->files[set->file_count];
        if (!parse_pb_name(list->names[i], file)) {
            pass_over(d, list->names[i]);
            continue;
        }
        file->path = join(d, path, list->names[i]);
        if (file->path == NULL)
            return OXP_ELIMIT;
        set->file_count++;
    }
    return set->file_count > 0 ? OXP_OK : empty_folder(d, path);
}

static oxp_status add_set_folder(oxp_dataset *d, const char *path)
{
    name_list list = {0};
    if (path == NULL)
        return OXP_ELIMIT;
    oxp_status status = list_folder(d, &list, path);
    if (status == OXP_OK)
        status = add_pb_set(d, path, &list);
    oxp_free(list.names);
    return status;
}

typedef enum name_kind { NAME_OTHER, NAME_NPZ, NAME_NPY, NAME_PB, NAME_SET_FOLDER } name_kind;

static name_kind kind_of(const char *name)
{
    pb_file ignored;
    return ends_with(name, ".npz")                ? NAME_NPZ
           : ends_with(name, ".npy")              ? NAME_NPY
           : parse_pb_name(name, &ignored)        ? NAME_PB
           : begins_with(name, SET_FOLDER_PREFIX) ? NAME_SET_FOLDER
                                                  : NAME_OTHER;
}

static oxp_status add_names(oxp_dataset *d, const name_list *list)
{
    bool has[5] = {false};
    for (size_t i = 0; i < list->count; i++)
        has[kind_of(list->names[i])] = true;
    int kinds = (has[NAME_NPZ] || has[NAME_NPY]) + has[NAME_PB] + has[NAME_SET_FOLDER];
    if (kinds == 0)
        return empty_folder(d, d->path);
    if (kinds > 1)
        return oxp_fail(d->ctx, OXP_EDATA, "E-CALIB-NAME",
                        "the folder mixes .npz or .npy files, input_N.pb files and "
                        "test_data_set_N folders, expected one kind");
    if (has[NAME_PB])
        return add_pb_set(d, d->path, list);
    for (size_t i = 0; i < list->count; i++) {
        const char *name = list->names[i];
        name_kind kind = kind_of(name);
        if (kind == NAME_OTHER)
            pass_over(d, name);
        else if (kind == NAME_SET_FOLDER)
            OXP_TRY(add_set_folder(d, join(d, d->path, name)));
        else
            OXP_TRY(add_set(d, kind == NAME_NPZ ? SET_NPZ : SET_NPY, join(d, d->path, name)));
    }
    return OXP_OK;
}

oxp_status oxp_data_files_find(oxp_dataset *d)
{
    struct stat about;
    if (stat(d->path, &about) != 0 || !S_ISDIR(about.st_mode)) /* reading names what is wrong */
        return add_set(d, ends_with(d->path, ".npz") ? SET_NPZ : SET_NPY, d->path);
    name_list list = {0};
    const char *subject = d->ctx->subject;
    d->ctx->subject = d->path;
    oxp_status status = list_folder(d, &list, d->path);
    if (status == OXP_OK)
        status = add_names(d, &list);
    d->ctx->subject = subject;
    oxp_free(list.names);
    return status;
}
