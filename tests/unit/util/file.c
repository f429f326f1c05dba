/* Files in and out: what is refused, what errors leave behind, and that a target is old or new.
 *
 * The system calls below stand in front of the C library's, so that each can be made to fail. */
#include <criterion/criterion.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "util/file.h"

/* ---- faults ---- */

static struct {
    bool no_unnamed;       /* O_TMPFILE is not supported */
    int renameat2, linkat; /* errno of every call, 0 = works */
    int renameat, fsync, write, close;
    bool renameat_once;    /* the call after it works again */
    int fsync_at;          /* which fsync fails: 1 the file, 2 the directory */
    bool short_io;         /* one byte at a time, every other call interrupted */
    int interrupts;        /* counts */
    void (*on_read)(void); /* what somebody else does meanwhile */
    void (*on_sync)(void);
} fault;

static int fsyncs;

#pragma GCC visibility push(hidden) /* they are not for the test framework */

static bool interrupted(void)
{
    if (!fault.short_io || ++fault.interrupts % 2 == 0)
        return false;
    errno = EINTR;
    return true;
}

static int failing(int error)
{
    errno = error;
    return -1;
}

int openat(int directory, const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = va_arg(arguments, mode_t);
    va_end(arguments);
    if (fault.no_unnamed && (flags & O_TMPFILE) == O_TMPFILE)
        return failing(EOPNOTSUPP);
    return (int)syscall(SYS_openat, directory, path, flags, mode);
}

ssize_t read(int fd, void *data, size_t bytes)
{
    if (interrupted())
        return -1;
    if (fault.on_read != NULL)
        fault.on_read();
    return syscall(SYS_read, fd, data, fault.short_io ? 1 : bytes);
}

ssize_t pread(int fd, void *data, size_t bytes, off_t offset)
{
    if (interrupted())
        return -1;
    return syscall(SYS_pread64, fd, data, fault.short_io ? 1 : bytes, offset);
}

ssize_t write(int fd, const void *data, size_t bytes)
{
    if (fault.write != 0)
        return failing(fault.write);
    if (interrupted())
        return -1;
    return syscall(SYS_write, fd, data, fault.short_io ? 1 : bytes);
}

int fsync(int fd)
{
    if (interrupted())
        return -1;
    if (++fsyncs == fault.fsync_at)
        return failing(fault.fsync);
    if (fault.on_sync != NULL)
        fault.on_sync();
    return (int)syscall(SYS_fsync, fd);
}

int close(int fd)
{
    long result = syscall(SYS_close, fd);
    return fault.close != 0 ? failing(fault.close) : (int)result;
}

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    if (fault.renameat2 != 0)
        return failing(fault.renameat2);
    return (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    int error = fault.renameat;
    if (fault.renameat_once)
        fault.renameat = 0;
    if (error != 0)
        return failing(error);
    return (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, 0);
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
    if (fault.linkat != 0)
        return failing(fault.linkat);
    return (int)syscall(SYS_linkat, from_dir, from, to_dir, to, flags);
}

#pragma GCC visibility pop

/* ---- a directory for each test ---- */

static char directory[64];
static oxp_ctx ctx;

static void enter(void)
{
    strcpy(directory, "/tmp/oxp-file-XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
    cr_assert(chdir(directory) == 0);
    memset(&fault, 0, sizeof fault);
    fsyncs = 0;
    umask(022);
    oxp_ctx_init(&ctx);
}

/* Names in the current directory but "." and "..". */
static size_t entries(char *last, size_t size)
{
    DIR *dir = opendir(".");
    size_t count = 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        count++;
        if (last != NULL)
            snprintf(last, size, "%s", entry->d_name);
    }
    closedir(dir);
    return count;
}

static void leave(void)
{
    memset(&fault, 0, sizeof fault);
    char name[256];
    while (entries(name, sizeof name) > 0)
        cr_assert(unlink(name) == 0 || rmdir(name) == 0);
    cr_assert(chdir("/") == 0);
    cr_assert(rmdir(directory) == 0);
    cr_assert_eq(atomic_load(&ctx.budget->used), 0, "memory is left");
}

static void put_file(const char *path, const char *text, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    cr_assert_geq(fd, 0);
    cr_assert_eq(syscall(SYS_write, fd, text, strlen(text)), (long)strlen(text));
    cr_assert(fchmod(fd, mode) == 0);
    syscall(SYS_close, fd);
}

static void expect_file(const char *path, const char *text, mode_t mode)
{
    char found[256] = "";
    struct stat about;
    int fd = open(path, O_RDONLY);
    cr_assert_geq(fd, 0, "%s: %s", path, strerror(errno));
    cr_assert_eq(syscall(SYS_read, fd, found, sizeof found - 1), (long)strlen(text));
    cr_assert(fstat(fd, &about) == 0);
    syscall(SYS_close, fd);
    cr_assert_str_eq(found, text);
    cr_assert_eq(about.st_mode & 07777, mode, "mode %o", about.st_mode & 07777);
}

static void expect_error(oxp_status found, oxp_status status, const char *code, const char *text)
{
    cr_assert_eq(found, status, "status %d, expected %d: %s %s", found, status, ctx.code,
                 ctx.message);
    cr_assert_str_eq(ctx.code, code, "%s", ctx.message);
    cr_assert_not_null(strstr(ctx.message, text), "\"%s\" lacks \"%s\"", ctx.message, text);
    oxp_ctx_clear(&ctx);
}

static void expect_ok(oxp_status status)
{
    cr_assert_eq(status, OXP_OK, "%s %s", ctx.code, ctx.message);
}

TestSuite(reading, .init = enter, .fini = leave);
TestSuite(writing, .init = enter, .fini = leave);

/* ---- reading ---- */

static oxp_status read_file(const char *path, size_t limit)
{
    uint8_t *data = NULL;
    size_t bytes = 0;
    oxp_status status = oxp_file_read(&data, &bytes, &ctx, path, limit, OXP_EDATA, NULL);
    cr_assert(status == OXP_OK || data == NULL);
    oxp_free(data);
    return status;
}

Test(reading, a_file_and_its_identity)
{
    put_file("a", "hello", 0600);
    uint8_t *data;
    size_t bytes;
    oxp_file_id id;
    struct stat about;
    expect_ok(oxp_file_read(&data, &bytes, &ctx, "a", 5, OXP_EFORMAT, &id));
    cr_assert_eq(bytes, 5);
    cr_assert_arr_eq(data, "hello", 5);
    cr_assert(stat("a", &about) == 0);
    cr_assert(id.device == about.st_dev && id.inode == about.st_ino);
    oxp_free(data);
}

Test(reading, interrupted_and_in_pieces)
{
    put_file("a", "in many pieces", 0600);
    uint8_t *data;
    size_t bytes;
    fault.short_io = true;
    expect_ok(oxp_file_read(&data, &bytes, &ctx, "a", 100, OXP_EFORMAT, NULL));
    cr_assert_eq(bytes, 14);
    cr_assert_arr_eq(data, "in many pieces", 14);
    cr_assert_geq(fault.interrupts, 28);
    oxp_free(data);
}

Test(reading, refuses_what_is_no_regular_file)
{
    cr_assert(mkdir("dir", 0700) == 0);
    cr_assert(mkfifo("fifo", 0600) == 0);
    expect_error(read_file("dir", 9), OXP_EDATA, "E-NOT-REGULAR", "dir: expected a regular file");
    expect_error(read_file("fifo", 9), OXP_EDATA, "E-NOT-REGULAR", "fifo: expected");
    expect_error(read_file("/dev/zero", 9), OXP_EDATA, "E-NOT-REGULAR", "/dev/zero: expected");
    expect_error(read_file("/proc/self/mem", 9), OXP_EDATA, "E-NOT-REGULAR", "expected");
    expect_error(read_file("/proc/self/environ", 9), OXP_EDATA, "E-NOT-REGULAR", "expected");
}

Test(reading, refuses_empty_large_and_absent_files)
{
    put_file("empty", "", 0600);
    put_file("large", "123456", 0600);
    expect_error(read_file("empty", 5), OXP_EDATA, "E-EMPTY", "empty: the file is empty");
    expect_error(read_file("large", 5), OXP_ELIMIT, "E-LIMIT-FILE",
                 "large: the file has 6 bytes, the limit is 5");
    expect_error(read_file("absent", 5), OXP_EIO, "E-OPEN",
                 "absent: cannot be opened: No such file or directory");
    expect_ok(read_file("large", 6));
}

Test(reading, errors_name_the_file_that_they_are_about)
{
    ctx.subject = "model.onnx";
    expect_error(read_file("absent", 5), OXP_EIO, "E-OPEN", "absent: cannot");
    cr_assert_str_eq(ctx.subject, "model.onnx");
}

static void shorten(void)
{
    cr_assert(truncate("a", 3) == 0);
}

static void rewrite(void)
{
    struct timespec pause = {.tv_nsec = 20000000}; /* time stamps may be that coarse */
    nanosleep(&pause, NULL);
    put_file("a", "654321", 0600);
}

Test(reading, notices_a_file_that_changes)
{
    put_file("a", "123456", 0600);
    fault.on_read = rewrite;
    expect_error(read_file("a", 9), OXP_EIO, "E-READ", "a: the file changed");
    fault.on_read = shorten;
    expect_error(read_file("a", 9), OXP_EIO, "E-READ", "a: the file became shorter");
}

Test(reading, stays_within_the_budget)
{
    put_file("a", "123456", 0600);
    ctx.budget->limit = 64;
    expect_error(read_file("a", 9), OXP_ELIMIT, "E-LIMIT-MEM", "\"a\"");
}

/* ---- writing ---- */

static oxp_output_file *start(const char *path, bool force)
{
    oxp_output_file *output = NULL;
    oxp_output_options options = {.force = force};
    expect_ok(oxp_output_open(&output, &ctx, path, &options));
    return output;
}

static oxp_status open_for(const char *path, bool force, const char *input)
{
    struct stat about = {0};
    if (input != NULL)
        cr_assert(stat(input, &about) == 0);
    oxp_file_id id = {about.st_dev, about.st_ino};
    oxp_output_options options = {force, &id, input != NULL};
    oxp_output_file *output = NULL;
    oxp_status status = oxp_output_open(&output, &ctx, path, &options);
    cr_assert(status == OXP_OK || output == NULL);
    oxp_output_discard(output);
    return status;
}

static oxp_status write_file(const char *path, bool force, const char *text)
{
    oxp_output_file *output = start(path, force);
    oxp_status status = oxp_output_write(output, text, strlen(text));
    oxp_status published = oxp_output_publish(output);
    return status != OXP_OK ? status : published;
}

/* The same with the two kinds of temporary files. */
static void with_both_kinds(void (*body)(void))
{
    body();
    fault.no_unnamed = true;
    body();
}

static void new_file(void)
{
    umask(027);
    oxp_output_file *output = start("new", false);
    expect_ok(oxp_output_reserve(output, 11));
    expect_ok(oxp_output_write(output, "hello ", 6));
    expect_ok(oxp_output_write(output, "world", 5));
    struct stat about;
    cr_assert(stat("new", &about) != 0 && errno == ENOENT);
    expect_ok(oxp_output_publish(output));
    cr_assert_eq(entries(NULL, 0), 1);
    expect_file("new", "hello world", 0640);
    cr_assert(unlink("new") == 0);
}

Test(writing, a_new_file)
{
    with_both_kinds(new_file);
}

Test(writing, an_unnamed_file_shows_nothing)
{
    oxp_output_file *output = start("new", false);
    expect_ok(oxp_output_write(output, "x", 1));
    int dirfd;
    const char *name = "";
    oxp_output_temp(output, &dirfd, &name);
    cr_assert_null(name);
    cr_assert_eq(entries(NULL, 0), 0);
    oxp_output_discard(output);
    cr_assert_eq(entries(NULL, 0), 0);
}

Test(writing, a_named_temporary_file_is_private_and_tells_its_name)
{
    fault.no_unnamed = true;
    oxp_output_file *output = start("new", false);
    char found[256], expected[64];
    struct stat about;
    int dirfd;
    const char *name;
    snprintf(expected, sizeof expected, ".new.tmp-%ld-0", (long)getpid());
    oxp_output_temp(output, &dirfd, &name);
    cr_assert_str_eq(name, expected);
    cr_assert_eq(entries(found, sizeof found), 1);
    cr_assert_str_eq(found, expected);
    cr_assert(fstatat(dirfd, name, &about, 0) == 0);
    cr_assert_eq(about.st_mode & 0777, 0600);
    oxp_output_discard(output);
    cr_assert_eq(entries(NULL, 0), 0);
}

Test(writing, a_stale_temporary_name_is_passed_over)
{
    fault.no_unnamed = true;
    char stale[64];
    snprintf(stale, sizeof stale, ".new.tmp-%ld-0", (long)getpid());
    put_file(stale, "stale", 0600);
    expect_ok(write_file("new", false, "text"));
    expect_file("new", "text", 0644);
    expect_file(stale, "stale", 0600);
}

static void existing_file(void)
{
    put_file("old", "old", 0640);
    expect_error(open_for("old", false, NULL), OXP_EEXISTS, "E-EXISTS", "old: exists");
    cr_assert_eq(entries(NULL, 0), 1);
    expect_ok(write_file("old", true, "new text"));
    cr_assert_eq(entries(NULL, 0), 1);
    expect_file("old", "new text", 0640);
    put_file("old", "private", 0600);
    expect_ok(write_file("old", true, "private too"));
    expect_file("old", "private too", 0600);
    cr_assert(unlink("old") == 0);
    expect_ok(write_file("old", true, "there was none"));
    expect_file("old", "there was none", 0644);
    cr_assert(unlink("old") == 0);
}

Test(writing, an_existing_file)
{
    with_both_kinds(existing_file);
}

Test(writing, never_replaces_an_input)
{
    put_file("input", "precious", 0644);
    cr_assert(link("input", "hard") == 0);
    cr_assert(symlink("input", "soft") == 0);
    char absolute[96];
    snprintf(absolute, sizeof absolute, "%s/input", directory);
    const char *const spellings[] = {"input", "./input", "hard", "soft", absolute};
    for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++) {
        expect_error(open_for(spellings[i], true, "input"), OXP_EEXISTS, "E-EXISTS",
                     "is an input of this run");
        expect_error(open_for(spellings[i], false, "input"), OXP_EEXISTS, "E-EXISTS",
                     "is an input of this run");
    }
    expect_file("input", "precious", 0644);
    cr_assert_eq(entries(NULL, 0), 3);
}

static void move_input_to_target(void)
{
    fault.on_sync = NULL;
    cr_assert(rename("input", "out") == 0);
}

/* Before publishing, or at its last moment. */
static void input_comes_up_as_target(void)
{
    for (int late = 0; late < 2; late++) {
        put_file("input", "precious", 0644);
        struct stat about;
        cr_assert(stat("input", &about) == 0);
        oxp_file_id id = {about.st_dev, about.st_ino};
        oxp_output_file *output;
        expect_ok(oxp_output_open(&output, &ctx, "out", &(oxp_output_options){true, &id, 1}));
        expect_ok(oxp_output_write(output, "x", 1));
        if (late)
            fault.on_sync = move_input_to_target;
        else
            move_input_to_target();
        expect_error(oxp_output_publish(output), OXP_EEXISTS, "E-EXISTS", "out: is an input");
        expect_file("out", "precious", 0644);
        cr_assert_eq(entries(NULL, 0), 1);
        cr_assert(unlink("out") == 0);
    }
}

Test(writing, never_replaces_an_input_that_moved_under_the_target)
{
    with_both_kinds(input_comes_up_as_target);
}

Test(writing, refuses_what_is_no_regular_file)
{
    cr_assert(mkdir("dir", 0700) == 0);
    cr_assert(mkfifo("fifo", 0600) == 0);
    for (int force = 0; force < 2; force++) {
        expect_error(open_for("dir", force, NULL), OXP_EEXISTS, "E-EXISTS", "dir: is a directory");
        expect_error(open_for("fifo", force, NULL), OXP_EEXISTS, "E-EXISTS", "fifo: is a device");
        expect_error(open_for("/dev/full", force, NULL), OXP_EEXISTS, "E-EXISTS", "is a device");
        expect_error(open_for("dir/", force, NULL), OXP_EIO, "E-OUT-DIR", "dir/: is not the name");
        expect_error(open_for("dir/..", force, NULL), OXP_EIO, "E-OUT-DIR", "is not the name");
        expect_error(open_for("", force, NULL), OXP_EIO, "E-OUT-DIR", "is not the name");
    }
}

Test(writing, a_symbolic_link_is_replaced_itself)
{
    put_file("real", "real", 0644);
    cr_assert(symlink("real", "link") == 0);
    cr_assert(symlink("nowhere", "dangling") == 0);
    expect_error(open_for("link", false, NULL), OXP_EEXISTS, "E-EXISTS", "link: exists");
    expect_error(open_for("dangling", false, NULL), OXP_EEXISTS, "E-EXISTS", "symbolic link");
    expect_ok(write_file("link", true, "new"));
    expect_ok(write_file("dangling", true, "new"));
    expect_file("real", "real", 0644);
    struct stat about;
    cr_assert(lstat("link", &about) == 0 && S_ISREG(about.st_mode));
    cr_assert(lstat("dangling", &about) == 0 && S_ISREG(about.st_mode));
    cr_assert(stat("nowhere", &about) != 0);
}

Test(writing, the_directory_must_be_usable)
{
    put_file("file", "x", 0644);
    expect_error(open_for("absent/out", false, NULL), OXP_EIO, "E-OUT-DIR",
                 "absent/out: its directory cannot be opened: No such file or directory");
    expect_error(open_for("file/out", false, NULL), OXP_EIO, "E-OUT-DIR", "Not a directory");
    expect_error(open_for("/proc/out", false, NULL), OXP_EIO, "E-OUT-DIR", "no file can be made");
}

static void make_target(void)
{
    fault.on_sync = NULL;
    put_file("out", "theirs", 0644);
}

static void target_comes_up(bool named, bool late, int renameat2_error, int linkat_error)
{
    fault.no_unnamed = named;
    oxp_output_file *output = start("out", false);
    expect_ok(oxp_output_write(output, "mine", 4));
    if (late)
        fault.on_sync = make_target;
    else
        make_target();
    fault.renameat2 = renameat2_error;
    fault.linkat = linkat_error;
    expect_error(oxp_output_publish(output), OXP_EEXISTS, "E-EXISTS", "out: ");
    fault.renameat2 = fault.linkat = 0;
    expect_file("out", "theirs", 0644);
    cr_assert_eq(entries(NULL, 0), 1);
    cr_assert(unlink("out") == 0);
}

Test(writing, a_target_that_comes_up_meanwhile_stays)
{
    for (int late = 0; late < 2; late++) {
        target_comes_up(false, late, 0, 0);
        target_comes_up(true, late, 0, 0);
        target_comes_up(true, late, EINVAL, 0);
        target_comes_up(true, late, EINVAL, EPERM);
    }
}

Test(writing, without_unnamed_files_renames_or_links)
{
    static const int ways[][2] = {{0, 0}, {EINVAL, 0}, {ENOSYS, EPERM}, {EINVAL, EOPNOTSUPP}};
    fault.no_unnamed = true;
    for (size_t way = 0; way < 4; way++) {
        fault.renameat2 = ways[way][0];
        fault.linkat = ways[way][1];
        expect_ok(write_file("out", false, "text"));
        expect_file("out", "text", 0644);
        cr_assert_eq(entries(NULL, 0), 1);
        cr_assert(unlink("out") == 0);
    }
}

static void two_writers(void)
{
    oxp_output_file *a = start("out", false), *b = start("out", false);
    expect_ok(oxp_output_write(a, "first", 5));
    expect_ok(oxp_output_write(b, "second", 6));
    expect_ok(oxp_output_publish(b));
    expect_error(oxp_output_publish(a), OXP_EEXISTS, "E-EXISTS", "out: ");
    expect_file("out", "second", 0644);
    cr_assert_eq(entries(NULL, 0), 1);
    cr_assert(unlink("out") == 0);
}

Test(writing, of_two_writers_one_wins)
{
    with_both_kinds(two_writers);
}

Test(writing, interrupted_and_in_pieces)
{
    fault.short_io = true;
    oxp_output_file *output = start("out", false);
    expect_ok(oxp_output_write(output, "in many pieces", 14));
    oxp_file_bytes back;
    expect_ok(oxp_output_read_back(&back, output));
    cr_assert_eq(back.bytes, 14);
    cr_assert_arr_eq(back.data, "in many pieces", 14);
    oxp_file_close(&back);
    expect_ok(oxp_output_publish(output));
    fault.short_io = false;
    expect_file("out", "in many pieces", 0644);
}

/* With every fault the target is as it was and nothing else is left. */
static void fails_with(const char *code, const char *text)
{
    put_file("old", "old", 0640);
    expect_error(write_file("old", true, "new"), OXP_EIO, code, text);
    expect_file("old", "old", 0640);
    cr_assert_eq(entries(NULL, 0), 1);
    cr_assert(unlink("old") == 0);
    expect_error(write_file("new", false, "new"), OXP_EIO, code, text);
    cr_assert_eq(entries(NULL, 0), 0);
}

static void failing_writes(void)
{
    fault.write = ENOSPC;
    fails_with("E-WRITE", "cannot be written: No space left on device");
    fault.write = EIO;
    fails_with("E-WRITE", "Input/output error");
    fault.write = 0;
}

Test(writing, a_full_disk)
{
    with_both_kinds(failing_writes);
}

static void failing_sync(void)
{
    fault.fsync = EIO;
    fault.fsync_at = fsyncs + 1;
    put_file("old", "old", 0640);
    expect_error(write_file("old", true, "new"), OXP_EIO, "E-SYNC",
                 "old: cannot be synced to the disk: Input/output error");
    cr_assert_eq(fsyncs, fault.fsync_at, "a failed fsync is never repeated");
    expect_file("old", "old", 0640);
    cr_assert_eq(entries(NULL, 0), 1);
    fault.fsync_at = fsyncs + 2;
    expect_error(write_file("old", true, "new"), OXP_EIO, "E-SYNC", "is in its place");
    expect_file("old", "new", 0640);
    cr_assert_eq(entries(NULL, 0), 1);
    cr_assert(unlink("old") == 0);
    fault.fsync = fault.fsync_at = 0;
}

Test(writing, a_failed_sync_is_final)
{
    with_both_kinds(failing_sync);
}

Test(writing, a_directory_that_cannot_sync_is_no_failure)
{
    fault.fsync = EINVAL;
    fault.fsync_at = 2;
    expect_ok(write_file("new", false, "text"));
    expect_file("new", "text", 0644);
}

static void failing_rename(void)
{
    fault.renameat = fault.linkat = fault.renameat2 = EIO;
    fails_with("E-RENAME", "Input/output error");
    fault.renameat = fault.linkat = fault.renameat2 = 0;
}

Test(writing, a_failed_rename)
{
    with_both_kinds(failing_rename);
}

static void failing_close(void)
{
    oxp_output_file *output = start("new", false);
    expect_ok(oxp_output_write(output, "x", 1));
    fault.close = EIO;
    expect_error(oxp_output_publish(output), OXP_EIO, "E-SYNC", "cannot be closed");
    fault.close = 0;
    cr_assert_eq(entries(NULL, 0), 0);
}

Test(writing, a_failed_close)
{
    with_both_kinds(failing_close);
}

static void file_size_limit(void)
{
    put_file("old", "old", 0640);
    oxp_output_file *output = start("old", true);
    expect_ok(oxp_output_write(output, "0123456789", 10));
    expect_error(oxp_output_write(output, "0123456789", 10), OXP_EIO, "E-WRITE", "File too large");
    cr_assert_eq(oxp_output_publish(output), OXP_EIO);
    expect_file("old", "old", 0640);
    cr_assert_eq(entries(NULL, 0), 1);
}

Test(writing, a_limit_of_file_size)
{
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit limit = {16, RLIM_INFINITY};
    cr_assert(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    with_both_kinds(file_size_limit);
    limit.rlim_cur = RLIM_INFINITY;
    setrlimit(RLIMIT_FSIZE, &limit);
}

/* The longest name, also when its cut would fall into a character of two bytes. */
static void long_name(void)
{
    for (size_t shift = 0; shift < 2; shift++) {
        char name[256];
        memset(name, 'n', sizeof name);
        for (size_t i = 150 + shift; i + 2 < sizeof name; i += 2)
            memcpy(name + i, "\xc3\xa9", 2);
        name[255] = '\0';
        oxp_output_file *output = start(name, false);
        int dirfd;
        const char *temp;
        oxp_output_temp(output, &dirfd, &temp);
        if (temp != NULL) {
            cr_assert_leq(strlen(temp), 255);
            const char *end = strstr(temp, ".tmp-");
            cr_assert_not_null(end);
            cr_assert_eq((unsigned char)end[-1], 0xa9, "cut inside a character");
        }
        expect_ok(oxp_output_write(output, "x", 1));
        expect_ok(oxp_output_publish(output));
        expect_file(name, "x", 0644);
        expect_ok(write_file(name, true, "y"));
        expect_file(name, "y", 0644);
        cr_assert(unlink(name) == 0);
    }
    char over[257];
    memset(over, 'n', 256);
    over[256] = '\0';
    expect_error(open_for(over, false, NULL), OXP_EIO, "E-OUT-DIR", "File name too long");
}

Test(writing, a_name_of_255_bytes)
{
    with_both_kinds(long_name);
}

/* A child closes its standard streams, or is killed in the midst of writing. */
static void in_child(void (*body)(void), int expected_signal)
{
    pid_t child = fork();
    if (child == 0) {
        body();
        _exit(0);
    }
    int status;
    cr_assert(waitpid(child, &status, 0) == child);
    cr_assert(expected_signal == 0 ? WIFEXITED(status) && WEXITSTATUS(status) == 0
                                   : WIFSIGNALED(status) && WTERMSIG(status) == expected_signal);
}

static void write_without_streams(void)
{
    for (int fd = 0; fd < 3; fd++)
        syscall(SYS_close, fd);
    oxp_output_file *output = NULL;
    if (oxp_output_open(&output, &ctx, "out", NULL) != OXP_OK ||
        oxp_output_write(output, "model", 5) != OXP_OK)
        _exit(1);
    for (int fd = 0; fd < 3; fd++)
        if (syscall(SYS_write, fd, "noise", 5) >= 0)
            _exit(2);
    if (oxp_output_publish(output) != OXP_OK)
        _exit(3);
}

static void streams_closed(void)
{
    in_child(write_without_streams, 0);
    expect_file("out", "model", 0644);
    cr_assert(unlink("out") == 0);
}

Test(writing, closed_standard_streams_do_not_reach_the_file)
{
    with_both_kinds(streams_closed);
}

static void write_and_die(void)
{
    oxp_output_file *output = start("old", true);
    oxp_output_write(output, "half of", 7);
    kill(getpid(), SIGKILL);
}

Test(writing, killed_it_leaves_the_old_file)
{
    put_file("old", "old", 0640);
    in_child(write_and_die, SIGKILL);
    expect_file("old", "old", 0640);
    cr_assert_eq(entries(NULL, 0), 1);
    fault.no_unnamed = true;
    in_child(write_and_die, SIGKILL);
    expect_file("old", "old", 0640);
    cr_assert_eq(entries(NULL, 0), 2, "the temporary file, which nothing ever reads");
    expect_ok(write_file("old", true, "new"));
    expect_file("old", "new", 0640);
}

Test(writing, reserving_beyond_the_disk)
{
    oxp_output_file *output = start("out", false);
    expect_error(oxp_output_reserve(output, (size_t)1 << 50), OXP_EIO, "E-WRITE", "reserved");
    oxp_output_discard(output);
    cr_assert_eq(entries(NULL, 0), 0);
}

Test(writing, a_discarded_null)
{
    oxp_output_discard(NULL);
}

/* ---- two files that belong together ---- */

static oxp_status write_pair(bool force)
{
    oxp_output_file *data = start("m.data", force), *model = start("m", force);
    expect_ok(oxp_output_write(data, "new data", 8));
    expect_ok(oxp_output_write(model, "new model", 9));
    return oxp_output_publish_pair(data, model);
}

static void pair_appears(void)
{
    expect_ok(write_pair(false));
    expect_file("m.data", "new data", 0644);
    expect_file("m", "new model", 0644);
    cr_assert_eq(entries(NULL, 0), 2);
    put_file("m.data", "old data", 0640);
    put_file("m", "old model", 0600);
    expect_ok(write_pair(true));
    expect_file("m.data", "new data", 0640);
    expect_file("m", "new model", 0600);
    cr_assert_eq(entries(NULL, 0), 2);
    cr_assert(unlink("m") == 0 && unlink("m.data") == 0);
}

Test(writing, a_pair_appears)
{
    with_both_kinds(pair_appears);
    fault.linkat = EPERM; /* no hard links: the old file is moved aside */
    fault.no_unnamed = true;
    pair_appears();
}

static void make_second_exist(void)
{
    if (fsyncs == 3) /* of both files and, when the first is in its place, the directory */
        put_file("m", "somebody's", 0644);
}

/* The second finds its name taken when the first has its own already. */
static void second_is_too_late(void)
{
    fsyncs = 0;
    fault.on_sync = make_second_exist;
    expect_error(write_pair(false), OXP_EEXISTS, "E-EXISTS", "m: ");
    fault.on_sync = NULL;
    expect_file("m", "somebody's", 0644);
    cr_assert_eq(entries(NULL, 0), 1, "the first is gone again");
    cr_assert(unlink("m") == 0);
}

Test(writing, of_a_pair_the_first_goes_when_the_second_cannot_come)
{
    with_both_kinds(second_is_too_late);
}

static void place_second_fails(void)
{
    if (fsyncs == 3)
        fault.renameat = EIO;
}

static void old_pair_stays(void)
{
    put_file("m.data", "old data", 0640);
    put_file("m", "old model", 0600);
    fsyncs = 0;
    fault.renameat_once = true;
    fault.on_sync = place_second_fails;
    expect_error(write_pair(true), OXP_EIO, "E-RENAME", "m: ");
    fault.on_sync = NULL;
    expect_file("m.data", "old data", 0640);
    expect_file("m", "old model", 0600);
    cr_assert_eq(entries(NULL, 0), 2);
    cr_assert(unlink("m") == 0 && unlink("m.data") == 0);
}

Test(writing, of_a_pair_the_old_first_comes_back)
{
    with_both_kinds(old_pair_stays);
}

Test(writing, a_pair_fails_before_anything_has_a_name)
{
    oxp_output_file *data = start("m.data", false), *model = start("m", false);
    expect_ok(oxp_output_write(data, "x", 1));
    fault.write = ENOSPC;
    expect_error(oxp_output_write(model, "x", 1), OXP_EIO, "E-WRITE", "m: ");
    fault.write = 0;
    cr_assert_eq(oxp_output_publish_pair(data, model), OXP_EIO);
    cr_assert_eq(entries(NULL, 0), 0);
}
