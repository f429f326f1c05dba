/* messages.c - what the command says: errors, log lines and the progress bar on stderr, reports on
 * stdout. An error is one line of at most 1,024 bytes, valid UTF-8 without control characters. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"

#define TEXT_BYTES 980 /* of an error, behind the name of the command and the code */
#define BAR_AFTER_SECONDS 1.0
#define BAR_EVERY_SECONDS 0.1

static struct {
    bool bar;            /* wanted: stderr is a terminal */
    size_t shown;        /* columns of the bar that stands there now */
    double start, drawn; /* seconds */
} progress;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- progress bar ---- */

static void erase_bar(void)
{
    if (progress.shown)
        fprintf(stderr, "\r%*s\r", (int)progress.shown, "");
    progress.shown = 0;
}

static void draw_bar(const char *stage, size_t done, size_t total)
{
    double t = now();
    if (t - progress.start < BAR_AFTER_SECONDS || t - progress.drawn < BAR_EVERY_SECONDS)
        return;
    double share = (double)done / (double)total;
    int length = fprintf(stderr, "\r%-18s %3.0f %%", stage, share < 1 ? 100 * share : 100.0);
    progress.shown = length > 1 ? (size_t)length - 1 : 0;
    progress.drawn = t;
}

static int on_progress(void *user, const char *stage, size_t done, size_t total)
{
    (void)user;
    if (progress.bar && stage && total)
        draw_bar(stage, done, total);
    return stop_requested();
}

/* ---- lines ---- */

static void print_line(const char *kind, const char *code, const char *separator, const char *text)
{
    erase_bar();
    fprintf(stderr, "onnxpress: %s%s%s%s\n", kind, code, separator, text);
}

static void on_log(void *user, oxp_log_level level, const char *line)
{
    (void)user;
    if ((shared.quiet && level > OXP_LOG_ERROR) || (!shared.verbose && level >= OXP_LOG_VERBOSE))
        return;
    print_line(level == OXP_LOG_WARNING ? "warning: " : "", "", "", line);
}

void start_talking(oxp_ctx *ctx)
{
    progress.bar = isatty(STDERR_FILENO) && !shared.quiet;
    progress.start = now();
    oxp_ctx_set_callbacks(ctx, on_log, on_progress, NULL);
}

/* Bytes of the UTF-8 character at `s`, 0 when it is none or a control character. Longer forms than
 * needed and surrogates pass: terminals show them as one unknown character. */
static size_t character_length(const unsigned char *s)
{
    if (s[0] < 0x80)
        return s[0] >= 0x20 && s[0] != 0x7f;
    size_t length = (s[0] & 0xe0) == 0xc0 ? 2 : (s[0] & 0xf0) == 0xe0 ? 3 : 4;
    if (s[0] < 0xc2 || s[0] > 0xf4 || (s[0] == 0xc2 && s[1] < 0xa0))
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    return length;
}

/* What the user typed may hold anything, and may have been cut inside a character. */
static void clean(char *text)
{
    for (unsigned char *s = (unsigned char *)text; *s;) {
        size_t length = character_length(s);
        if (length == 0)
            *s = '?';
        s += length ? length : 1;
    }
}

int fail(int status, const char *code, const char *format, ...)
{
    char text[TEXT_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    clean(text);
    print_line("error ", code, ": ", text);
    return status;
}

int fail_ctx(oxp_ctx *ctx, oxp_status status)
{
    if (status == OXP_ECANCELLED && stop_requested()) {
        erase_bar();
        return status;
    }
    const char *code = oxp_ctx_error_code(ctx);
    if (*code)
        return fail(status, code, "%s", oxp_ctx_error_message(ctx));
    if (status == OXP_ELIMIT)
        return fail(status, "E-LIMIT-MEM", "out of memory");
    return fail(OXP_EINTERNAL, "E-INTERNAL", "failed with status %d and no message", (int)status);
}

/* ---- reports ---- */

int flush_stdout(int status)
{
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    return fail(OXP_EIO, "E-WRITE", "standard output: %s",
                errno ? strerror(errno) : "not everything could be written");
}

/* JSON to a file goes first: where that fails, nothing has gone to stdout. */
static oxp_status deliver(oxp_ctx *ctx, const oxp_report *report)
{
    if (shared.json && strcmp(shared.json, "-") == 0) {
        puts(oxp_report_json(report));
        return OXP_OK;
    }
    if (shared.json) {
        oxp_status status = oxp_report_save_json(report, ctx, shared.json);
        if (status != OXP_OK)
            return status;
    }
    if (!shared.quiet)
        fputs(oxp_report_text(report), stdout);
    return OXP_OK;
}

/* A report whose bound was missed: the report, then the error line that says so. */
static int deliver_missed(oxp_ctx *ctx, const oxp_report *report)
{
    char code[64], message[TEXT_BYTES];
    snprintf(code, sizeof code, "%s", oxp_ctx_error_code(ctx));
    snprintf(message, sizeof message, "%s", oxp_ctx_error_message(ctx));
    oxp_ctx_clear_error(ctx);
    oxp_status status = deliver(ctx, report);
    if (status != OXP_OK)
        return fail_ctx(ctx, status);
    int written = flush_stdout(OXP_OK);
    return written ? written : fail(OXP_EBOUND, code, "%s", message);
}

int finish(oxp_ctx *ctx, oxp_status status, oxp_report *report)
{
    int code;
    erase_bar();
    if (report && status == OXP_EBOUND) {
        code = deliver_missed(ctx, report);
    } else {
        if (status == OXP_OK)
            status = deliver(ctx, report);
        code = status == OXP_OK ? flush_stdout(OXP_OK) : fail_ctx(ctx, status);
    }
    oxp_report_free(report);
    return code;
}
