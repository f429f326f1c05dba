/* status.c - the context of a call: its first error, log and progress callbacks, memory limit.
 *
 * Everything that leaves as text is one line of valid UTF-8 without control characters or marks
 * that change the direction of writing, whatever bytes a file put into its names. */
#include "util/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define QUOTED_SOURCE_MAX 128
#define SUBJECT_SOURCE_MAX 512
#define ELLIPSIS "\xe2\x80\xa6"
#define LINE_BYTES \
    960 /* leaves room for the command's name and the code in a line of 1,024 bytes */
#define DEFAULT_STEPS UINT64_C(100000000)

/* ---- text ---- */

size_t oxp_utf8_character(const unsigned char *s, uint32_t *code)
{
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    size_t length = s[0] < 0x80             ? 1
                    : (s[0] & 0xe0) == 0xc0 ? 2
                    : (s[0] & 0xf0) == 0xe0 ? 3
                    : (s[0] & 0xf8) == 0xf0 ? 4
                                            : 0;
    if (length <= 1) {
        *code = s[0];
        return length;
    }
    uint32_t value = s[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        value = value << 6 | (s[i] & 0x3fu);
    }
    if (value < least[length] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff))
        return 0;
    *code = value;
    return length;
}

/* C1 controls, line separators, direction marks and overrides. */
static bool is_hidden(uint32_t code)
{
    return (code >= 0x80 && code <= 0x9f) || code == 0x61c || code == 0x200e || code == 0x200f ||
           (code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
}

typedef enum escape_style { ESCAPE_HIDDEN, ESCAPE_QUOTED } escape_style;

/* The text that stands for the character at `s`, in out[13]; returns the source bytes it covers. */
static size_t escape_character(char out[13], const unsigned char *s, escape_style style)
{
    uint32_t code = 0;
    size_t length = oxp_utf8_character(s, &code);
    if (length == 0) {
        snprintf(out, 13, "\\x%02x", s[0]);
        return 1;
    }
    if (code == '\n' || code == '\t' || code == '\r')
        snprintf(out, 13, "\\%c", code == '\n' ? 'n' : code == '\t' ? 't' : 'r');
    else if (code < 0x20 || code == 0x7f)
        snprintf(out, 13, "\\x%02x", s[0]);
    else if (is_hidden(code))
        snprintf(out, 13, "\\u%04x", (unsigned)code);
    else if (style == ESCAPE_QUOTED && (code == '"' || code == '\\'))
        snprintf(out, 13, "\\%c", (char)code);
    else
        snprintf(out, 13, "%.*s", (int)length, (const char *)s);
    return length;
}

/* Appends the escaped `text` to out at *used, at most `source_max` of its bytes; what does not fit
 * in `size` bytes or is over the maximum becomes an ellipsis. */
static void escape(char *out, size_t size, size_t *used, const char *text, size_t source_max,
                   escape_style style)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t taken = 0;
    while (s[taken] != '\0') {
        char piece[13];
        size_t covers = escape_character(piece, s + taken, style);
        size_t length = strlen(piece);
        bool last = s[taken + covers] == '\0';
        size_t reserve = last ? 0 : strlen(ELLIPSIS);
        if (taken + covers > source_max || *used + length + reserve + 1 > size) {
            memcpy(out + *used, ELLIPSIS, sizeof ELLIPSIS);
            *used += strlen(ELLIPSIS);
            return;
        }
        memcpy(out + *used, piece, length + 1);
        *used += length;
        taken += covers;
    }
    out[*used] = '\0';
}

const char *oxp_quote(char out[OXP_QUOTED_MAX], const char *name)
{
    size_t used = 1;
    out[0] = '"';
    escape(out, OXP_QUOTED_MAX - 1, &used, name == NULL ? "" : name, QUOTED_SOURCE_MAX,
           ESCAPE_QUOTED);
    out[used] = '"';
    out[used + 1] = '\0';
    return out;
}

/* Formats one clean line into out. */
__attribute__((format(printf, 3, 0))) static void
format_line(char out[OXP_MESSAGE_MAX], const char *subject, const char *format, va_list arguments)
{
    char raw[OXP_MESSAGE_MAX * 2];
    if (vsnprintf(raw, sizeof raw, format, arguments) < 0)
        snprintf(raw, sizeof raw, "(a message that could not be formatted)");
    size_t used = 0;
    out[0] = '\0';
    if (subject != NULL && subject[0] != '\0') {
        escape(out, LINE_BYTES / 2, &used, subject, SUBJECT_SOURCE_MAX, ESCAPE_HIDDEN);
        memcpy(out + used, ": ", 3);
        used += 2;
    }
    escape(out, LINE_BYTES, &used, raw, sizeof raw, ESCAPE_HIDDEN);
}

/* ---- limits of the machine ---- */

/* The number in a file that holds one; SIZE_MAX when it is absent or says "max". */
static size_t number_in_file(const char *path)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return SIZE_MAX;
    char text[64];
    size_t value = SIZE_MAX;
    if (fgets(text, sizeof text, file) != NULL && text[0] >= '0' && text[0] <= '9')
        value = strtoull(text, NULL, 10);
    fclose(file);
    return value;
}

static size_t least_of(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* The least limit of a control group and of all that contain it. `group` is cut on the way up. */
static size_t group_limit(const char *root, char *group, const char *file)
{
    size_t limit = SIZE_MAX;
    for (;;) {
        char path[4352];
        int length = snprintf(path, sizeof path, "%s%s/%s", root, group, file);
        if (length > 0 && (size_t)length < sizeof path)
            limit = least_of(limit, number_in_file(path));
        char *slash = strrchr(group, '/');
        if (slash == NULL)
            return limit;
        *slash = '\0';
    }
}

/* Lines of /proc/self/cgroup: "0::/group" (version 2) or "4:memory:/group" (version 1). */
static size_t control_group_limit(void)
{
    FILE *file = fopen("/proc/self/cgroup", "re");
    if (file == NULL)
        return SIZE_MAX;
    size_t limit = SIZE_MAX;
    char line[4096];
    while (fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':');
        char *group = controllers == NULL ? NULL : strchr(controllers + 1, ':');
        if (group == NULL)
            continue;
        *group++ = '\0';
        if (controllers[1] == '\0')
            limit = least_of(limit, group_limit("/sys/fs/cgroup", group, "memory.max"));
        else if (strstr(controllers, "memory") != NULL)
            limit = least_of(limit,
                             group_limit("/sys/fs/cgroup/memory", group, "memory.limit_in_bytes"));
    }
    fclose(file);
    return limit;
}

static size_t memory_of_process(void)
{
    size_t limit = control_group_limit();
    long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE);
    size_t ram;
    if (pages > 0 && page_bytes > 0 &&
        !__builtin_mul_overflow((size_t)pages, (size_t)page_bytes, &ram))
        limit = least_of(limit, ram);
    struct rlimit address_space;
    if (getrlimit(RLIMIT_AS, &address_space) == 0 && address_space.rlim_cur != RLIM_INFINITY)
        limit = least_of(limit, (size_t)address_space.rlim_cur);
    return limit;
}

/* ---- contexts ---- */

void oxp_ctx_init(oxp_ctx *ctx)
{
    memset(ctx, 0, sizeof *ctx);
    ctx->own_budget.limit = memory_of_process() / 4 * 3;
    ctx->budget = &ctx->own_budget;
    ctx->threads = 1;
    ctx->step_limit = DEFAULT_STEPS;
}

void oxp_ctx_child(oxp_ctx *child, oxp_ctx *parent)
{
    memset(child, 0, sizeof *child);
    child->subject = parent->subject;
    child->log = parent->log;
    child->progress = parent->progress;
    child->user = parent->user;
    child->budget = parent->budget;
    child->threads = parent->threads;
    child->seed = parent->seed;
    child->step_limit = parent->step_limit;
    child->deadline = parent->deadline;
    child->parent = parent;
}

oxp_status oxp_ctx_join(oxp_ctx *parent, const oxp_ctx *child)
{
    if (child->status != OXP_OK && parent->status == OXP_OK) {
        parent->status = child->status;
        memcpy(parent->code, child->code, sizeof parent->code);
        memcpy(parent->message, child->message, sizeof parent->message);
    }
    return child->status;
}

void oxp_ctx_clear(oxp_ctx *ctx)
{
    ctx->status = OXP_OK;
    ctx->code[0] = '\0';
    ctx->message[0] = '\0';
}

oxp_status oxp_fail(oxp_ctx *ctx, oxp_status status, const char *code, const char *format, ...)
{
    if (ctx->status != OXP_OK)
        return status;
    ctx->status = status;
    snprintf(ctx->code, sizeof ctx->code, "%s", code);
    va_list arguments;
    va_start(arguments, format);
    format_line(ctx->message, ctx->subject, format, arguments);
    va_end(arguments);
    return status;
}

void oxp_log(oxp_ctx *ctx, oxp_log_level level, const char *format, ...)
{
    if (ctx->log == NULL)
        return;
    char line[OXP_MESSAGE_MAX];
    va_list arguments;
    va_start(arguments, format);
    format_line(line, NULL, format, arguments);
    va_end(arguments);
    ctx->log(ctx->user, level, line);
}

/* Inside a run there is no stage to name. */
static oxp_status stop(oxp_ctx *ctx, oxp_status status, const char *code, const char *what,
                       const char *stage, size_t done, size_t total)
{
    if (stage == NULL)
        return oxp_fail(ctx, status, code, "%s while the model ran", what);
    return oxp_fail(ctx, status, code, "%s in %s after %zu of %zu", what, stage, done, total);
}

oxp_status oxp_progress(oxp_ctx *ctx, const char *stage, size_t done, size_t total)
{
    if (ctx->progress != NULL && ctx->progress(ctx->user, stage, done, total) != 0)
        return stop(ctx, OXP_ECANCELLED, "E-CANCELLED", "cancelled", stage, done, total);
    if (ctx->deadline <= 0)
        return OXP_OK;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if ((double)now.tv_sec + (double)now.tv_nsec * 1e-9 <= ctx->deadline)
        return OXP_OK;
    return stop(ctx, OXP_ELIMIT, "E-LIMIT-TIME", "time limit reached", stage, done, total);
}
