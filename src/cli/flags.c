/* flags.c - flags from a table: parsed and checked. No abbreviations; for an unknown word the
 * nearest known one is suggested. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

settings shared;

static const flag common_list[] = {
    {"--json", NULL, FLAG_TEXT, &shared.json, "FILE", NULL,
     "write the report as JSON to FILE, or to stdout where FILE is -"},
    {"--quiet", "-q", FLAG_SWITCH, &shared.quiet, NULL, NULL, "print errors only"},
    {"--verbose", "-v", FLAG_SWITCH, &shared.verbose, NULL, NULL, "print a line per tensor"},
    {"--threads", NULL, FLAG_COUNT, &shared.threads, "N", NULL,
     "threads (default 0: one per processor); the result is the same at any number"},
    {"--seed", NULL, FLAG_COUNT, &shared.seed, "N", NULL,
     "seed of what is drawn at random (default 0)"},
    {"--max-memory", NULL, FLAG_SIZE, &shared.max_memory, "SIZE", NULL,
     "most memory to use, such as 2GiB (default: 75 % of what the process may have)"},
    {"--timeout", NULL, FLAG_REAL, &shared.timeout, "S", NULL,
     "give up after S seconds (default 0: never)"},
    {"--isa", NULL, FLAG_WORD, &shared.isa, "ISA", "baseline|avx2|avx512",
     "compute with this instruction set, for the same bytes on every processor that has it"},
    {"--force", NULL, FLAG_SWITCH, &shared.force, NULL, NULL,
     "replace an existing output, never an input"},
};

static const flag data_list[] = {
    {"--batch-axis", NULL, FLAG_LIST, &shared.batch_axes, "NAME=K", NULL,
     "axis K of input NAME counts the samples; repeatable"},
    {"--random", NULL, FLAG_COUNT, &shared.random, "N", NULL,
     "N random samples instead of data; the report says so"},
};

static const flag model_list[] = {
    {"--dim", NULL, FLAG_LIST, &shared.dims, "NAME=N", NULL,
     "size of a symbolic dimension, where no data says it; repeatable"},
    {"--shape", NULL, FLAG_LIST, &shared.shapes, "NAME:1x3x224x224", NULL,
     "shape of an input, where no data says it; repeatable"},
    {"--nonfinite", NULL, FLAG_WORD, &shared.nonfinite, "HOW", "refuse|keep|skip",
     "NaN and infinity; keep: weights that hold them, skip: leave such samples out (default "
     "refuse)"},
    {"--allow-symlinks", NULL, FLAG_SWITCH, &shared.allow_symlinks, NULL, NULL,
     "read external data through symbolic links"},
    {"--allow-hardlinks", NULL, FLAG_SWITCH, &shared.allow_hardlinks, NULL, NULL,
     "read external data that has more than one name"},
};

#define COUNT(list) (sizeof(list) / sizeof *(list))
const flag_group common_flags = {"flags of every command", common_list, COUNT(common_list)};
const flag_group data_flags = {"flags for samples", data_list, COUNT(data_list)};
const flag_group model_flags = {"flags for models", model_list, COUNT(model_list)};

const char *const *list_or_null(const flag_list *list)
{
    return list->count ? list->items : NULL;
}

void input_options(oxp_input_options *out)
{
    *out = (oxp_input_options)OXP_INPUT_OPTIONS_INIT;
    out->allow_symlinks = shared.allow_symlinks;
    out->allow_hardlinks = shared.allow_hardlinks;
    out->nonfinite = shared.nonfinite;
    out->batch_axes = list_or_null(&shared.batch_axes);
    out->dims = list_or_null(&shared.dims);
    out->shapes = list_or_null(&shared.shapes);
    out->random_samples = shared.random;
}

int check_samples(const char *name, const char *data, bool needed)
{
    if (data && shared.random)
        return fail(2, "E-USAGE", "--data and --random exclude each other");
    if (needed && !data && !shared.random)
        return fail(2, "E-USAGE", "%s needs --data D, or --random N", name);
    return 0;
}

/* ---- nearest word ---- */

#define WORD_MAX 64

/* Levenshtein's distance, a row at a time. */
static size_t distance(const char *a, const char *b)
{
    size_t row[WORD_MAX + 1], a_length = strlen(a), b_length = strlen(b);
    if (a_length > WORD_MAX || b_length > WORD_MAX)
        return SIZE_MAX;
    for (size_t j = 0; j <= b_length; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_length; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            size_t above = row[j], best = diagonal + (a[i - 1] != b[j - 1]);
            if (above + 1 < best)
                best = above + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            diagonal = above;
            row[j] = best;
        }
    }
    return row[b_length];
}

/* The word at the least distance, the first of equals; NULL when more than half of it differs. */
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

/* A decimal number that is not negative and what stands behind it; NULL when there is none. The
 * command runs in the C locale. */
static const char *read_real(const char *value, double *out)
{
    char *end = NULL;
    if ((*value < '0' || *value > '9') && *value != '.')
        return NULL;
    errno = 0;
    *out = strtod(value, &end);
    return end == value || errno || !isfinite(*out) ? NULL : end;
}

static int parse_real(const flag *f, const char *value)
{
    double number;
    const char *rest = read_real(value, &number);
    if (!rest || *rest)
        return bad_value(f, value, "a number that is not negative");
    *(double *)f->target = number;
    return 0;
}

static int parse_count(const flag *f, const char *value)
{
    size_t number = 0;
    const char *p = value;
    bool fits = true;
    for (; *p >= '0' && *p <= '9'; p++)
        fits = fits && !__builtin_mul_overflow(number, (size_t)10, &number) &&
               !__builtin_add_overflow(number, (size_t)(*p - '0'), &number);
    if (p == value || *p || !fits)
        return bad_value(f, value, "a whole number");
    if (f->target == &shared.threads && number > THREADS_MAX)
        return fail(2, "E-USAGE", "%s: %zu threads, at most %d are possible", f->name, number,
                    THREADS_MAX);
    *(size_t *)f->target = number;
    return 0;
}

static int parse_size(const flag *f, const char *value)
{
    static const struct {
        const char *name;
        double bytes;
    } units[] = {
        {"", 1},         {"B", 1},        {"kB", 1e3},     {"KB", 1e3},
        {"MB", 1e6},     {"GB", 1e9},     {"TB", 1e12},    {"KiB", 0x1p10},
        {"kiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"TiB", 0x1p40},
    };
    double number;
    const char *rest = read_real(value, &number);
    for (size_t i = 0; rest && i < sizeof units / sizeof *units; i++) {
        double bytes = number * units[i].bytes;
        if (strcmp(rest, units[i].name) == 0 && bytes >= 1 && bytes < 0x1p63) {
            *(size_t *)f->target = (size_t)bytes;
            return 0;
        }
    }
    return bad_value(f, value, "a size such as 500MB or 2GiB");
}

#define WORDS_MAX 16

/* Splits "a|b[:P]" into names without parameters; returns whether `value` is one of them. */
static bool match_word(const char *value, char *copy, const char **names, size_t *count)
{
    bool found = false;
    for (char *p = copy, *end; p && *count < WORDS_MAX; p = end) {
        end = strchr(p, '|');
        if (end)
            *end++ = '\0';
        char *parameter = strchr(p, '[');
        if (parameter)
            *parameter = '\0';
        size_t length = strlen(p);
        found = found || strcmp(value, p) == 0 ||
                (parameter && strncmp(value, p, length) == 0 && value[length] == ':');
        names[(*count)++] = p;
    }
    return found;
}

static int parse_word(const flag *f, const char *value)
{
    char copy[128];
    const char *names[WORDS_MAX];
    size_t count = 0;
    snprintf(copy, sizeof copy, "%s", f->words);
    if (match_word(value, copy, names, &count)) {
        *(const char **)f->target = value;
        return 0;
    }
    const char *near = nearest_word(value, names, count);
    return fail(2, "E-USAGE", "%s: unknown word \"%.100s\"%s%s%s; %s takes %s", f->name, value,
                near ? " (did you mean " : "", near ? near : "", near ? "?)" : "", f->name,
                f->words);
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
    if (!*value)
        return fail(2, "E-USAGE", "%s needs a value: %s", f->name, f->argument);
    switch (f->kind) {
    case FLAG_TEXT:
        *(const char **)f->target = value;
        return 0;
    case FLAG_WORD:
        return parse_word(f, value);
    case FLAG_LIST:
        return add_item(f, value);
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

static bool is_name(const char *name, const char *argument, size_t length)
{
    return name && strlen(name) == length && strncmp(name, argument, length) == 0;
}

static const flag *find_flag(const flag_group *groups, size_t group_count, const char *argument,
                             size_t length)
{
    for (size_t g = 0; g < group_count; g++)
        for (size_t i = 0; i < groups[g].count; i++) {
            const flag *f = &groups[g].flags[i];
            if (is_name(f->name, argument, length) || is_name(f->alias, argument, length))
                return f;
        }
    return NULL;
}

static int unknown_flag(const flag_group *groups, size_t group_count, const char *argument,
                        size_t length)
{
    const char *names[128];
    char word[WORD_MAX + 1];
    size_t count = 0;
    for (size_t g = 0; g < group_count; g++)
        for (size_t i = 0; i < groups[g].count && count < 128; i++)
            names[count++] = groups[g].flags[i].name;
    snprintf(word, sizeof word, "%.*s", length < WORD_MAX ? (int)length : WORD_MAX, argument);
    const char *near = nearest_word(word, names, count);
    return fail(2, "E-USAGE", "unknown flag \"%s\"%s%s%s", word, near ? " (did you mean " : "",
                near ? near : "", near ? "?)" : "");
}

/* The flag at argv[*i], with its value behind '=' or in the next argument. */
static int parse_flag(const flag_group *groups, size_t group_count, int argc, char **argv, int *i)
{
    const char *argument = argv[*i];
    const char *equals = argument[1] == '-' ? strchr(argument, '=') : NULL;
    size_t length = equals ? (size_t)(equals - argument) : strlen(argument);
    const flag *f = find_flag(groups, group_count, argument, length);
    if (!f)
        return unknown_flag(groups, group_count, argument, length);
    if (f->kind == FLAG_SWITCH) {
        if (equals)
            return fail(2, "E-USAGE", "%s takes no value", f->name);
        *(bool *)f->target = true;
        return 0;
    }
    if (equals)
        return take_value(f, equals + 1);
    if (*i + 1 == argc)
        return fail(2, "E-USAGE", "%s needs a value: %s", f->name, f->argument);
    return take_value(f, argv[++*i]);
}

int parse_flags(const flag_group *groups, size_t group_count, int argc, char **argv,
                const char **positional, size_t *positional_count, size_t positional_max)
{
    bool only_positional = false;
    for (int i = 0; i < argc; i++) {
        if (!only_positional && strcmp(argv[i], "--") == 0) {
            only_positional = true;
        } else if (!only_positional && argv[i][0] == '-' && argv[i][1] != '\0') {
            int status = parse_flag(groups, group_count, argc, argv, &i);
            if (status)
                return status;
        } else if (*positional_count == positional_max) {
            return fail(2, "E-USAGE", "one argument too many: \"%.200s\"", argv[i]);
        } else {
            positional[(*positional_count)++] = argv[i];
        }
    }
    return 0;
}
