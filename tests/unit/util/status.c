/* Status: first error, message text, quoting, log, progress, deadline. */
#include "util/status.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static oxp_ctx ctx;

static void setup(void)
{
    oxp_ctx_init(&ctx);
}

TestSuite(status, .init = setup);

Test(status, the_first_error_wins)
{
    cr_expect_eq(oxp_fail(&ctx, OXP_EFORMAT, "E-RAW-LEN", "has %d bytes", 12), OXP_EFORMAT);
    cr_expect_eq(oxp_fail(&ctx, OXP_ELIMIT, "E-LIMIT-MEM", "later"), OXP_ELIMIT);
    cr_expect_eq(ctx.status, OXP_EFORMAT);
    cr_expect_str_eq(ctx.code, "E-RAW-LEN");
    cr_expect_str_eq(ctx.message, "has 12 bytes");
    oxp_ctx_clear(&ctx);
    cr_expect_eq(ctx.status, OXP_OK);
    oxp_fail(&ctx, OXP_EIO, "E-OPEN", "again");
    cr_expect_str_eq(ctx.message, "again");
}

Test(status, join_copies_unless_the_parent_has_an_error)
{
    oxp_ctx child;
    ctx.threads = 3;
    ctx.seed = 7;
    ctx.subject = "m.onnx";
    oxp_ctx_child(&child, &ctx);
    cr_expect_eq(child.threads, 3);
    cr_expect_eq(child.seed, 7);
    cr_expect_eq(child.budget, ctx.budget);
    cr_expect_eq(oxp_ctx_join(&ctx, &child), OXP_OK);
    oxp_fail(&child, OXP_EDATA, "E-A", "first");
    cr_expect_eq(oxp_ctx_join(&ctx, &child), OXP_EDATA);
    cr_expect_str_eq(ctx.message, "m.onnx: first");
    oxp_ctx_clear(&child);
    oxp_fail(&child, OXP_EIO, "E-B", "second");
    cr_expect_eq(oxp_ctx_join(&ctx, &child), OXP_EIO);
    cr_expect_str_eq(ctx.code, "E-A");
}

Test(status, messages_are_one_clean_line)
{
    ctx.subject = "a\nb.onnx";
    oxp_fail(&ctx, OXP_EFORMAT, "E-X", "line\r\n\x1b[31m \xff \xe2\x80\xae \xc3\xa9 100%%");
    cr_expect_str_eq(ctx.message, "a\\nb.onnx: line\\r\\n\\x1b[31m \\xff \\u202e \xc3\xa9 100%");
}

Test(status, long_messages_are_cut_at_a_character)
{
    char long_text[5000];
    for (size_t i = 0; i + 2 < sizeof long_text; i += 2)
        memcpy(long_text + i, "\xc3\xa9", 3);
    long_text[4998] = '\0';
    char subject[2000];
    memset(subject, 's', sizeof subject);
    subject[sizeof subject - 1] = '\0';
    ctx.subject = subject;
    oxp_fail(&ctx, OXP_EFORMAT, "E-LONG", "%s", long_text);
    size_t length = strlen(ctx.message);
    /* "onnxpress: error ", the code, ": " and the newline must fit into 1,024 bytes with it. */
    cr_expect_leq(length + 17 + OXP_CODE_MAX - 1 + 2 + 1, 1024);
    cr_expect_geq(length, 900);
    cr_expect_str_eq(ctx.message + length - 5, "\xc3\xa9\xe2\x80\xa6");
    cr_expect_not_null(strstr(ctx.message, "\xe2\x80\xa6: \xc3\xa9"), "the subject is cut too");
}

typedef struct quote_case {
    const char *name, *quoted;
} quote_case;

Test(status, quoting)
{
    static const quote_case cases[] = {
        {"", "\"\""},
        {"conv1/w:0", "\"conv1/w:0\""},
        {"a\"b\\c", "\"a\\\"b\\\\c\""},
        {"a\nb\tc\rd", "\"a\\nb\\tc\\rd\""},
        {"\x1b[2J\x07\x7f", "\"\\x1b[2J\\x07\\x7f\""},
        {"%n%s", "\"%n%s\""},
        {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\""},
        {"\xe2\x80\xaaq\xe2\x80\xab\xe2\x80\xac\xe2\x80\xad\xe2\x80\xae",
         "\"\\u202aq\\u202b\\u202c\\u202d\\u202e\""},
        {"\xe2\x81\xa6\xe2\x81\xa7\xe2\x81\xa8\xe2\x81\xa9", "\"\\u2066\\u2067\\u2068\\u2069\""},
        {"\xc2\x85\xe2\x80\xa8\xe2\x80\xa9", "\"\\u0085\\u2028\\u2029\""},
        {"\xff\xfe", "\"\\xff\\xfe\""},
        {"\xc0\xaf", "\"\\xc0\\xaf\""},                   /* overlong */
        {"\xe0\x80\xaf", "\"\\xe0\\x80\\xaf\""},          /* overlong */
        {"\xed\xa0\x80", "\"\\xed\\xa0\\x80\""},          /* surrogate */
        {"\xf4\x90\x80\x80", "\"\\xf4\\x90\\x80\\x80\""}, /* above U+10FFFF */
        {"\xf8\x88\x80\x80\x80", "\"\\xf8\\x88\\x80\\x80\\x80\""},
        {"cut\xe2\x82", "\"cut\\xe2\\x82\""},
        {"\x80x", "\"\\x80x\""},
    };
    char out[OXP_QUOTED_MAX];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        cr_expect_str_eq(oxp_quote(out, cases[i].name), cases[i].quoted, "case %zu: %s", i, out);
    cr_expect_str_eq(oxp_quote(out, NULL), "\"\"");
}

Test(status, quoting_cuts_to_128_bytes_at_a_character)
{
    char name[400], out[OXP_QUOTED_MAX];
    memset(name, 'x', 128);
    name[128] = '\0';
    oxp_quote(out, name);
    cr_expect_eq(strlen(out), 130, "128 bytes are not cut");

    memcpy(name + 128, "y", 2);
    oxp_quote(out, name);
    cr_expect_eq(strlen(out), 128 + 3 + 2);
    cr_expect_str_eq(out + 128, "x\xe2\x80\xa6\"");

    memcpy(name + 127, "\xc3\xa9", 3); /* bytes 128 and 129 are one character */
    oxp_quote(out, name);
    cr_expect_eq(strlen(out), 127 + 3 + 2);

    memset(name, 0xff, sizeof name - 1); /* the longest escapes */
    name[sizeof name - 1] = '\0';
    oxp_quote(out, name);
    cr_expect_eq(strlen(out), 128 * 4 + 3 + 2);
    cr_expect_lt(strlen(out), OXP_QUOTED_MAX);
}

typedef struct seen {
    char line[OXP_MESSAGE_MAX];
    oxp_log_level level;
    size_t done, total;
    int answer;
} seen;

static void keep_line(void *user, oxp_log_level level, const char *line)
{
    seen *s = user;
    s->level = level;
    snprintf(s->line, sizeof s->line, "%s", line);
}

static int keep_progress(void *user, const char *stage, size_t done, size_t total)
{
    seen *s = user;
    snprintf(s->line, sizeof s->line, "%s", stage);
    s->done = done;
    s->total = total;
    return s->answer;
}

Test(status, log_goes_to_the_callback)
{
    oxp_log(&ctx, OXP_LOG_WARNING, "nobody listens");
    seen s = {0};
    ctx.user = &s;
    ctx.log = keep_line;
    oxp_log(&ctx, OXP_LOG_WARNING, "tensor %d\n", 3);
    cr_expect_str_eq(s.line, "tensor 3\\n");
    cr_expect_eq(s.level, OXP_LOG_WARNING);
}

Test(status, progress_cancels)
{
    cr_expect_eq(oxp_progress(&ctx, "calibrate", 1, 2), OXP_OK);
    seen s = {0};
    ctx.user = &s;
    ctx.progress = keep_progress;
    cr_expect_eq(oxp_progress(&ctx, "calibrate", 1, 2), OXP_OK);
    cr_expect_str_eq(s.line, "calibrate");
    cr_expect_eq(s.done, 1);
    cr_expect_eq(s.total, 2);
    s.answer = 1;
    cr_expect_eq(oxp_progress(&ctx, "calibrate", 2, 2), OXP_ECANCELLED);
    cr_expect_eq(ctx.status, OXP_ECANCELLED);
}

Test(status, progress_looks_at_the_deadline)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    ctx.deadline = (double)now.tv_sec + 3600;
    cr_expect_eq(oxp_progress(&ctx, "run", 0, 1), OXP_OK);
    ctx.deadline = (double)now.tv_sec - 1;
    cr_expect_eq(oxp_progress(&ctx, "run", 0, 1), OXP_ELIMIT);
    cr_expect_str_eq(ctx.code, "E-LIMIT-TIME");
}
