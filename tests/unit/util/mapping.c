/* Mapped files and scratch: what is read comes back, what is given back costs no memory. */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "util/file.h"

#define MANY (OXP_MAPPED_BYTES + 12345)

static bool disk_is_full;

#pragma GCC visibility push(hidden) /* they are not for the test framework */

int fallocate(int fd, int mode, off_t offset, off_t bytes)
{
    if (disk_is_full && (mode & FALLOC_FL_PUNCH_HOLE) == 0) {
        errno = ENOSPC;
        return -1;
    }
    return (int)syscall(SYS_fallocate, fd, mode, offset, bytes);
}

#pragma GCC visibility pop

static oxp_ctx ctx;
static char directory[64];

static void enter(void)
{
    strcpy(directory, "/tmp/oxp-mapping-XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
    cr_assert(chdir(directory) == 0);
    oxp_ctx_init(&ctx);
    disk_is_full = false;
}

static void leave(void)
{
    oxp_scratch_close(&ctx);
    unlink("file");
    cr_assert(chdir("/") == 0);
    cr_assert(rmdir(directory) == 0, "a file is left");
    cr_assert_eq(atomic_load(&ctx.budget->used), 0, "memory is left");
    cr_assert_null(ctx.budget->mappings);
}

TestSuite(mapping, .init = enter, .fini = leave);

static uint8_t byte_at(size_t i)
{
    return (uint8_t)(i * 31 + i / 4096);
}

static void make_file(size_t bytes)
{
    int fd = open("file", O_RDWR | O_CREAT | O_TRUNC, 0644);
    cr_assert(fd >= 0 && ftruncate(fd, (off_t)bytes) == 0);
    uint8_t *to = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    cr_assert_neq(to, MAP_FAILED);
    for (size_t i = 0; i < bytes; i++)
        to[i] = byte_at(i);
    munmap(to, bytes);
    close(fd);
}

static size_t resident_pages(const void *data, size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), found = 0;
    char path[] = "/proc/self/pagemap";
    int fd = open(path, O_RDONLY);
    cr_assert_geq(fd, 0);
    for (size_t at = 0; at < bytes; at += page) {
        uint64_t entry = 0;
        off_t offset = (off_t)(((uintptr_t)data + at) / page * sizeof entry);
        cr_assert_eq(pread(fd, &entry, sizeof entry, offset), (ssize_t)sizeof entry);
        found += entry >> 63;
    }
    close(fd);
    return found;
}

static oxp_file_bytes open_file(void)
{
    oxp_file_bytes file;
    cr_assert_eq(oxp_file_open(&file, &ctx, "file", SIZE_MAX, OXP_EFORMAT), OXP_OK, "%s",
                 ctx.message);
    return file;
}

static void expect_content(const uint8_t *data, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        cr_assert_eq(data[i], byte_at(i), "byte %zu", i);
}

Test(mapping, small_files_are_read)
{
    make_file(1000);
    oxp_file_bytes file = open_file();
    cr_assert_null(file.mapping);
    cr_assert(truncate("file", 0) == 0); /* the copy does not mind */
    expect_content(file.data, 1000);
    oxp_file_close(&file);
}

Test(mapping, large_files_are_mapped_and_leave_the_memory)
{
    make_file(MANY);
    oxp_file_bytes file = open_file();
    cr_assert_not_null(file.mapping);
    cr_assert_lt(atomic_load(&ctx.budget->used), 4096, "it does not count");
    expect_content(file.data, file.bytes);
    size_t before = resident_pages(file.data, file.bytes);
    cr_assert_gt(before, 8000);
    oxp_pages_release(&ctx, file.data + 100, file.bytes - 100);
    cr_assert_leq(resident_pages(file.data, file.bytes), 2, "the first and the last in part");
    expect_content(file.data, file.bytes);
    cr_assert(oxp_mapping_is_unchanged(file.mapping));
    oxp_file_close(&file);
}

/* On the heap the same call would lose what is there. */
Test(mapping, memory_that_is_no_mapping_keeps_its_bytes)
{
    make_file(MANY);
    oxp_file_bytes file = open_file();
    uint8_t *heap;
    cr_assert_eq(oxp_alloc(&heap, &ctx, 1 << 20, 1, "heap"), OXP_OK);
    for (size_t i = 0; i < 1 << 20; i++)
        heap[i] = byte_at(i);
    oxp_pages_release(&ctx, heap, 1 << 20);
    expect_content(heap, 1 << 20);
    oxp_pages_release(&ctx, NULL, 1 << 20);
    oxp_free(heap);
    oxp_file_close(&file);
}

Test(mapping, a_changed_file_is_noticed)
{
    make_file(MANY);
    oxp_file_bytes file = open_file();
    cr_assert(truncate("file", (off_t)MANY + 1) == 0);
    cr_assert_not(oxp_mapping_is_unchanged(file.mapping));
    cr_assert(truncate("file", (off_t)MANY) == 0);
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 1, .tv_nsec = 5}};
    cr_assert(utimensat(AT_FDCWD, "file", times, 0) == 0);
    cr_assert_not(oxp_mapping_is_unchanged(file.mapping));
    oxp_file_close(&file);
}

/* ---- scratch ---- */

static void open_scratch(void)
{
    int fd = open(".", O_PATH | O_DIRECTORY);
    oxp_scratch_open(&ctx, fd);
    close(fd);
    cr_assert_not_null(ctx.budget->scratch);
}

static uint8_t *piece(oxp_arena *arena, size_t bytes)
{
    uint8_t *data = oxp_arena_alloc(arena, bytes, 1);
    cr_assert_not_null(data, "%s", ctx.message);
    for (size_t i = 0; i < bytes; i++)
        cr_assert_eq(data[i], 0);
    for (size_t i = 0; i < bytes; i++)
        data[i] = byte_at(i);
    return data;
}

Test(mapping, large_pieces_of_an_arena_are_scratch)
{
    open_scratch();
    oxp_arena arena;
    oxp_arena_init(&arena, &ctx);
    uint8_t *small = piece(&arena, 1000), *large = piece(&arena, 3 << 20),
            *second = piece(&arena, OXP_SCRATCH_BYTES);
    cr_assert_lt(atomic_load(&ctx.budget->used), OXP_SCRATCH_BYTES);
    cr_assert_eq((uintptr_t)large % 64, 0);
    oxp_pages_release(&ctx, large, 3 << 20);
    cr_assert_leq(resident_pages(large, 3 << 20), 2);
    expect_content(large, 3 << 20);
    expect_content(second, OXP_SCRATCH_BYTES);
    expect_content(small, 1000);
    oxp_arena_free(&arena);
}

Test(mapping, a_piece_taken_anew_is_zero)
{
    open_scratch();
    oxp_arena arena;
    oxp_arena_init(&arena, &ctx);
    oxp_arena_mark empty = oxp_arena_mark_now(&arena);
    piece(&arena, 1 << 20);
    oxp_arena_mark inside = oxp_arena_mark_now(&arena);
    piece(&arena, 4000);
    oxp_arena_release(&arena, inside);
    piece(&arena, 4000);
    inside.used = 0; /* as if the mark had been made before anything was taken */
    oxp_arena_release(&arena, inside);
    piece(&arena, 1 << 20);
    oxp_arena_release(&arena, empty);
    piece(&arena, 1 << 20);
    oxp_arena_free(&arena);
}

Test(mapping, on_a_full_disk_pieces_stay_in_memory)
{
    open_scratch();
    disk_is_full = true;
    oxp_arena arena;
    oxp_arena_init(&arena, &ctx);
    uint8_t *large = piece(&arena, 1 << 20);
    cr_assert_gt(atomic_load(&ctx.budget->used), (size_t)1 << 20);
    oxp_pages_release(&ctx, large, 1 << 20);
    expect_content(large, 1 << 20);
    cr_assert_eq(ctx.status, OXP_OK);
    oxp_arena_free(&arena);
}

Test(mapping, scratch_given_back_leaves_the_disk)
{
    open_scratch();
    oxp_arena arena;
    oxp_arena_init(&arena, &ctx);
    struct stat full, empty;
    piece(&arena, 8 << 20);
    cr_assert(fstat(ctx.budget->scratch->fd, &full) == 0);
    oxp_arena_free(&arena);
    cr_assert(fstat(ctx.budget->scratch->fd, &empty) == 0);
    cr_assert_lt(empty.st_blocks, full.st_blocks / 2);
}

Test(mapping, scratch_outlives_its_closing)
{
    open_scratch();
    oxp_arena arena;
    oxp_arena_init(&arena, &ctx);
    uint8_t *large = piece(&arena, 1 << 20);
    oxp_scratch_close(&ctx);
    expect_content(large, 1 << 20);
    oxp_arena_free(&arena);
}
