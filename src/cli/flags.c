/* flags.c - flags from a table: parsed, checked, explained. No abbreviations; an unknown word gets the nearest known one. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

/* ---- nearest word ---- */

static size_t distance(const char *a, const char *b)
{
    size_t la = strlen(a), lb = strlen(b), row[65];
    if (la > 64 || lb > 64)
        return 99;
    for (size_t j = 0; j <= lb; j++)
        row[j] = j;
    for (size_t i = 1; i <= la; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            size_t above = row[j], best = diagonal + (a[i - 1] != b[j - 1]);
            if (above + 1 < best)
                best = above + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            diagonal = above;
            row[j] = best;
        }
    }
    return row[lb];
}

const char *nearest_word(const char *word, const char *const *words, size_t count)
{
    const char *best = NULL;
    size_t least = strlen(word) / 2 + 1;
    for (size_t i = 0; i < count; i++) {
        size_t d = distance(word, words[i]);
        if (d < least) {
            least = d;
            best = words[i];
        }
    }
    return best;
}

/* ---- values ---- */

static int bad_value(const flag *f, const char *value, const char *expected)
{
    return fail(2, "E-USAGE", "%s needs %s, found \"%.100s\"", f->name, expected, value);
}

static int parse_real(const flag *f, const char *value)
{
    char *end = NULL;
    errno = 0;
    double number = strtod(value, &end);
    if (!*value || *end || errno || !isfinite(number) || number < 0)
        return bad_value(f, value, "a number that is not negative");
    *(double *)f->target = number;
    return 0;
}

static int parse_whole(const char *value, const char **rest, size_t *out)
{
    size_t number = 0;
    const char *p = value;
    for (; *p >= '0' && *p <= '9'; p++)
        if (__builtin_mul_overflow(number, (size_t)10, &number) || __builtin_add_overflow(number, (size_t)(*p - '0'), &number))
            return 2;
    *rest = p;
    *out = number;
    return p == value ? 2 : 0;
}

static int parse_count(const flag *f, const char *value)
{
    const char *rest = value;
    size_t number;
    if (parse_whole(value, &rest, &number) || *rest)
        return bad_value(f, value, "a whole number");
    *(size_t *)f->target = number;
    return 0;
}

static int parse_size(const flag *f, const char *value)
{
    static const struct {
        const char *name;
        size_t factor;
    } units[] = {{"", 1},          {"B", 1},          {"kB", 1000},         {"KB", 1000},         {"MB", 1000000},
                 {"GB", 1000000000}, {"KiB", 1u << 10}, {"kiB", 1u << 10}, {"MiB", 1u << 20}, {"GiB", 1u << 30}};
    const char *rest = value;
    size_t number;
    if (parse_whole(value, &rest, &number) == 0)
        for (size_t i = 0; i < sizeof units / sizeof *units; i++)
            if (strcmp(rest, units[i].name) == 0 && !__builtin_mul_overflow(number, units[i].factor, (size_t *)f->target))
                return 0;
    return bad_value(f, value, "a size such as 500MB or 2GiB");
}

/* Splits "a|b:|c" into words; a word that ends in ':' takes anything behind the colon (and may stand without it). */
static int parse_word(const flag *f, const char *value)
{
    char copy[512];
    const char *words[64];
    size_t count = 0;
    snprintf(copy, sizeof copy, "%s", f->words);
    for (char *p = strtok(copy, "|"); p && count < 64; p = strtok(NULL, "|")) {
        size_t length = strlen(p);
        bool open = p[length - 1] == ':';
        if (open)
            p[--length] = '\0';
        if (strcmp(p, value) == 0 || (open && strncmp(p, value, length) == 0 && value[length] == ':')) {
            *(const char **)f->target = value;
            return 0;
        }
        words[count++] = p;
    }
    const char *near = nearest_word(value, words, count);
    if (near)
        return fail(2, "E-USAGE", "%s: unknown word \"%.100s\" (did you mean %s?); one of %s", f->name, value, near, f->words);
    return fail(2, "E-USAGE", "%s: unknown word \"%.100s\"; one of %s", f->name, value, f->words);
}

static int add_item(const flag *f, const char *value)
{
    flag_list *list = f->target;
    if (list->count == FLAG_LIST_MAX)
        return fail(2, "E-USAGE", "%s stands more than %d times", f->name, FLAG_LIST_MAX);
    list->items[list->count++] = value;
    return 0;
}

static int take_value(const flag *f, const char *value)
{
    switch (f->kind) {
    case FLAG_TEXT:
        *(const char **)f->target = value;
        return *value ? 0 : bad_value(f, value, "a value");
    case FLAG_WORD:
        return parse_word(f, value);
    case FLAG_LIST:
        return *value ? add_item(f, value) : bad_value(f, value, "a value");
    case FLAG_COUNT:
        return parse_count(f, value);
    case FLAG_REAL:
        return parse_real(f, value);
    case FLAG_SIZE:
        return parse_size(f, value);
    case FLAG_SWITCH:
        break;
    }
    return 0;
}

/* ---- the walk ---- */

static const flag *find_flag(const flag *flags, size_t count, const char *argument, size_t length)
{
    for (size_t i = 0; i < count; i++) {
        if (strlen(flags[i].name) == length && strncmp(flags[i].name, argument, length) == 0)
            return &flags[i];
        if (flags[i].alias && strlen(flags[i].alias) == length && strncmp(flags[i].alias, argument, length) == 0)
            return &flags[i];
    }
    return NULL;
}

static int unknown_flag(const flag *flags, size_t count, const char *argument)
{
    const char *names[128];
    for (size_t i = 0; i < count && i < 128; i++)
        names[i] = flags[i].name;
    const char *near = nearest_word(argument, names, count < 128 ? count : 128);
    if (near)
        return fail(2, "E-USAGE", "unknown flag \"%.100s\" (did you mean %s?)", argument, near);
    return fail(2, "E-USAGE", "unknown flag \"%.100s\"", argument);
}

int parse_flags(const flag *flags, size_t count, int argc, char **argv, const char **positional, size_t *positional_count,
                size_t positional_max)
{
    bool only_positional = false;
    for (int i = 0; i < argc; i++) {
        const char *argument = argv[i];
        if (only_positional || argument[0] != '-' || argument[1] == '\0') {
            if (*positional_count == positional_max)
                return fail(2, "E-USAGE", "one argument too many: \"%.200s\"", argument);
            positional[(*positional_count)++] = argument;
            continue;
        }
        if (strcmp(argument, "--") == 0) {
            only_positional = true;
            continue;
        }
        const char *equals = argument[1] == '-' ? strchr(argument, '=') : NULL;
        const flag *f = find_flag(flags, count, argument, equals ? (size_t)(equals - argument) : strlen(argument));
        if (!f)
            return unknown_flag(flags, count, argument);
        if (f->kind == FLAG_SWITCH) {
            if (equals)
                return fail(2, "E-USAGE", "%s takes no value", f->name);
            *(bool *)f->target = true;
            continue;
        }
        if (!equals && i + 1 == argc)
            return fail(2, "E-USAGE", "%s needs a value: %s", f->name, f->argument);
        int status = take_value(f, equals ? equals + 1 : argv[++i]);
        if (status)
            return status;
    }
    return 0;
}

size_t shared_flags(shared *s, flag *out)
{
    const flag list[] = {
        {"--json", NULL, FLAG_TEXT, &s->json, "FILE", NULL, "write the report as JSON to FILE, or to stdout with -"},
        {"--quiet", "-q", FLAG_SWITCH, &s->quiet, NULL, NULL, "print errors only"},
        {"--verbose", "-v", FLAG_SWITCH, &s->verbose, NULL, NULL, "print a line per tensor"},
        {"--threads", NULL, FLAG_COUNT, &s->threads, "N", NULL, "threads; the result is the same at any number"},
        {"--seed", NULL, FLAG_COUNT, &s->seed, "N", NULL, "seed of what is drawn at random (default 0)"},
        {"--max-memory", NULL, FLAG_SIZE, &s->max_memory, "SIZE", NULL, "most memory to use, e.g. 2GiB"},
        {"--timeout", NULL, FLAG_REAL, &s->timeout, "S", NULL, "give up after S seconds"},
        {"--force", NULL, FLAG_SWITCH, &s->force, NULL, NULL, "replace an existing output"},
        {"--batch-axis", NULL, FLAG_LIST, &s->batch_axes, "NAME=K", NULL, "axis K of input NAME counts the samples"},
        {"--random", NULL, FLAG_COUNT, &s->random, "N", NULL, "N random samples instead of data"},
        {"--dim", NULL, FLAG_LIST, &s->dims, "N=8", NULL, "size of a symbolic dimension, for random samples"},
        {"--nonfinite", NULL, FLAG_WORD, &s->nonfinite, "HOW", "refuse|keep|skip", "NaN and Inf: refuse, keep (weights), skip (samples)"},
        {"--allow-symlinks", NULL, FLAG_SWITCH, &s->allow_symlinks, NULL, NULL, "external data may be a symbolic link"},
        {"--allow-hardlinks", NULL, FLAG_SWITCH, &s->allow_hardlinks, NULL, NULL, "external data may be a hard link"},
    };
    memcpy(out, list, sizeof list);
    return sizeof list / sizeof *list;
}

void input_options(oxp_input_options *out, const shared *s)
{
    *out = (oxp_input_options)OXP_INPUT_OPTIONS_INIT;
    out->allow_symlinks = s->allow_symlinks;
    out->allow_hardlinks = s->allow_hardlinks;
    out->nonfinite = s->nonfinite;
    out->batch_axes = s->batch_axes.count ? s->batch_axes.items : NULL;
    out->dims = s->dims.count ? s->dims.items : NULL;
    out->random_samples = s->random;
}
