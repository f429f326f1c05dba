/* mapping.c - see mapping.h.
 *
 * All mappings under one budget form a list, so that oxp_pages_release() can tell a mapped address
 * from one of the heap, whose pages must not be dropped. Scratch space is claimed from the disk
 * before it is mapped: a full disk is then an answer, not a signal at some later write. */
#include "util/mapping.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGES_WORTH_IT ((size_t)64 << 10)

static size_t page_bytes(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

/* ---- the list ---- */

static void lock(oxp_budget *budget)
{
    while (atomic_exchange(&budget->mappings_locked, true))
        sched_yield();
}

static void unlock(oxp_budget *budget)
{
    atomic_store(&budget->mappings_locked, false);
}

static void link_mapping(oxp_mapping *m)
{
    oxp_budget *budget = m->budget;
    lock(budget);
    m->next = budget->mappings;
    if (m->next != NULL)
        m->next->previous = m;
    budget->mappings = m;
    unlock(budget);
}

static void unlink_mapping(oxp_mapping *m)
{
    oxp_budget *budget = m->budget;
    lock(budget);
    *(m->previous == NULL ? &budget->mappings : &m->previous->next) = m->next;
    if (m->next != NULL)
        m->next->previous = m->previous;
    unlock(budget);
}

static const oxp_mapping *find(const oxp_budget *budget, const uint8_t *data)
{
    for (const oxp_mapping *m = budget->mappings; m != NULL; m = m->next)
        if ((uintptr_t)data >= (uintptr_t)m->data &&
            (uintptr_t)data < (uintptr_t)m->data + m->bytes)
            return m;
    return NULL;
}

void oxp_pages_release(oxp_ctx *ctx, const void *data, size_t bytes)
{
    oxp_budget *budget = ctx->budget;
    if (bytes < PAGES_WORTH_IT)
        return;
    lock(budget);
    const oxp_mapping *m = find(budget, data);
    if (m != NULL) { /* whole pages inside: the neighbours may be in use */
        size_t page = page_bytes(), from = (size_t)((const uint8_t *)data - m->data);
        size_t to = bytes < m->bytes - from ? from + bytes : m->bytes;
        from = (from + page - 1) / page * page;
        to = to / page * page;
        if (from < to)
            madvise(m->data + from, to - from, MADV_DONTNEED);
    }
    unlock(budget);
}

/* ---- files ---- */

static bool new_mapping(oxp_mapping **out, oxp_ctx *ctx, int protection, int fd, size_t bytes,
                        off_t offset)
{
    oxp_mapping *m;
    int sharing = (protection & PROT_WRITE) != 0 ? MAP_SHARED : MAP_PRIVATE;
    void *data = mmap(NULL, bytes, protection, sharing, fd, offset);
    if (data == MAP_FAILED)
        return false;
    oxp_ctx quiet; /* a mapping that cannot be had is no error */
    oxp_ctx_child(&quiet, ctx);
    if (oxp_alloc(&m, &quiet, 1, sizeof *m, "mapping") != OXP_OK) {
        munmap(data, bytes);
        return false;
    }
    m->data = data;
    m->bytes = bytes;
    m->budget = ctx->budget;
    m->fd = -1;
    m->offset = offset;
    link_mapping(m);
    *out = m;
    return true;
}

bool oxp_mapping_open(oxp_mapping **out, oxp_ctx *ctx, int fd, size_t bytes)
{
    struct stat about;
    oxp_mapping *m;
    int own = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (own < 0)
        return false;
    if (fstat(own, &about) != 0 || !new_mapping(&m, ctx, PROT_READ, own, bytes, 0)) {
        close(own);
        return false;
    }
    m->fd = own;
    m->modified = about.st_mtim;
    *out = m;
    return true;
}

bool oxp_mapping_is_unchanged(const oxp_mapping *m)
{
    struct stat about;
    return fstat(m->fd, &about) == 0 && (size_t)about.st_size == m->bytes &&
           about.st_mtim.tv_sec == m->modified.tv_sec &&
           about.st_mtim.tv_nsec == m->modified.tv_nsec;
}

static void drop_scratch(const oxp_mapping *m)
{
    const oxp_budget *budget = m->budget;
    if (budget->scratch != NULL)
        fallocate(budget->scratch->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, m->offset,
                  (off_t)m->bytes);
}

void oxp_mapping_close(oxp_mapping *m)
{
    if (m == NULL)
        return;
    unlink_mapping(m);
    munmap(m->data, m->bytes);
    if (m->fd >= 0)
        close(m->fd); /* only read from: no error to lose */
    else
        drop_scratch(m);
    oxp_free(m);
}

/* ---- scratch ---- */

void oxp_scratch_open(oxp_ctx *ctx, int directory)
{
    oxp_ctx quiet;
    oxp_ctx_child(&quiet, ctx);
    oxp_budget *budget = ctx->budget;
    int fd = openat(directory, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0 || budget->scratch != NULL ||
        oxp_alloc(&budget->scratch, &quiet, 1, sizeof *budget->scratch, "scratch") != OXP_OK) {
        if (fd >= 0)
            close(fd);
        return;
    }
    budget->scratch->fd = fd;
}

void oxp_scratch_close(oxp_ctx *ctx)
{
    oxp_budget *budget = ctx->budget;
    if (budget->scratch == NULL)
        return;
    close(budget->scratch->fd);
    oxp_free(budget->scratch);
    budget->scratch = NULL;
}

/* The next bytes of the file, claimed from the disk. */
static bool claim(oxp_budget *budget, size_t bytes, off_t *offset)
{
    lock(budget);
    *offset = budget->scratch->end;
    int result;
    do
        result = fallocate(budget->scratch->fd, 0, *offset, (off_t)bytes);
    while (result != 0 && errno == EINTR);
    if (result == 0)
        budget->scratch->end += (off_t)bytes;
    unlock(budget);
    return result == 0;
}

bool oxp_scratch_piece(oxp_mapping **out, oxp_ctx *ctx, size_t bytes)
{
    size_t page = page_bytes(), rounded;
    off_t offset;
    if (ctx->budget->scratch == NULL || !oxp_add_ok(bytes, page - 1, &rounded) ||
        rounded > (size_t)PTRDIFF_MAX / 2)
        return false;
    rounded = rounded / page * page;
    return claim(ctx->budget, rounded, &offset) &&
           new_mapping(out, ctx, PROT_READ | PROT_WRITE, ctx->budget->scratch->fd, rounded, offset);
}
