/* params.c - see params.h. */
#include "techniques/params.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "util/number.h"

void oxp_params_default(oxp_params *out, const oxp_param *table)
{
    *out = (oxp_params){0};
    for (size_t i = 0; table && table[i].name; i++)
        out->values[i] = table[i].fallback;
}

static size_t find(const oxp_param *table, const char *name, size_t length)
{
    size_t i = 0;
    while (table && table[i].name &&
           (strlen(table[i].name) != length || memcmp(table[i].name, name, length) != 0))
        i++;
    return table && table[i].name ? i : SIZE_MAX;
}

/* The place of a word in "a|b|c", or -1. */
static int word_at(const char *words, const char *text)
{
    size_t length = strlen(text);
    for (int at = 0; words; at++) {
        const char *end = strchr(words, '|');
        size_t size = end ? (size_t)(end - words) : strlen(words);
        if (size == length && memcmp(words, text, size) == 0)
            return at;
        words = end ? end + 1 : NULL;
    }
    return -1;
}

/* ---- reading ---- */

static bool is_whole(double value)
{
    return value == floor(value);
}

static bool read_number(const oxp_param *p, const char *text, double *out)
{
    const char *rest = oxp_read_decimal(text, out);
    return rest && *rest == '\0' && *out >= p->low && *out <= p->high &&
           (p->type != OXP_PARAM_COUNT || is_whole(*out));
}

static bool read_pair(const oxp_param *p, const char *text, double *out)
{
    double n, of;
    const char *rest = oxp_read_decimal(text, &n);
    if (!rest || *rest != ':')
        return false;
    rest = oxp_read_decimal(rest + 1, &of);
    *out = n * 65536 + of;
    return rest && *rest == '\0' && is_whole(n) && is_whole(of) && n >= 1 && n < of &&
           of <= p->high;
}

static bool read_value(const oxp_param *p, const char *text, double *out)
{
    int at = word_at(p->words, text);
    if (at >= 0) {
        *out = p->type == OXP_PARAM_WORD ? at : -1 - at;
        return true;
    }
    return p->type == OXP_PARAM_WORD   ? false
           : p->type == OXP_PARAM_PAIR ? read_pair(p, text, out)
                                       : read_number(p, text, out);
}

static void expected(char *out, size_t size, const oxp_param *p)
{
    const char *more = p->words ? " or " : "", *words = p->words ? p->words : "";
    if (p->type == OXP_PARAM_WORD)
        snprintf(out, size, "%s", words);
    else if (p->type == OXP_PARAM_PAIR)
        snprintf(out, size, "N:M with M up to %g%s%s", p->high, more, words);
    else
        snprintf(out, size, "%s from %g to %g%s%s",
                 p->type == OXP_PARAM_COUNT ? "a whole number" : "a number", p->low, p->high, more,
                 words);
}

static oxp_status unknown(oxp_ctx *ctx, const char *technique, const oxp_param *table,
                          const char *name)
{
    char names[256] = "none", quoted[OXP_QUOTED_MAX];
    size_t used = 0;
    for (size_t i = 0; table && table[i].name && used < sizeof names; i++)
        used +=
            (size_t)snprintf(names + used, sizeof names - used, i ? ", %s" : "%s", table[i].name);
    return oxp_fail(ctx, OXP_EUSAGE, "E-PARAM", "%s has no parameter %s; it has: %s", technique,
                    oxp_quote(quoted, name), names);
}

static oxp_status set(oxp_params *out, oxp_ctx *ctx, const char *technique, const oxp_param *table,
                      char *item)
{
    char quoted[OXP_QUOTED_MAX], what[192];
    char *equals = strchr(item, '=');
    size_t at = find(table, item, equals ? (size_t)(equals - item) : strlen(item));
    if (equals)
        *equals = '\0';
    if (at == SIZE_MAX)
        return unknown(ctx, technique, table, item);
    if (oxp_params_given(out, (int)at))
        return oxp_fail(ctx, OXP_EUSAGE, "E-PARAM", "%s: %s is given twice", technique, item);
    if (equals && read_value(&table[at], equals + 1, &out->values[at])) {
        out->given |= 1u << at;
        return OXP_OK;
    }
    expected(what, sizeof what, &table[at]);
    return oxp_fail(ctx, OXP_EUSAGE, "E-PARAM", "%s: %s=%s: expected %s", technique, item,
                    oxp_quote(quoted, equals ? equals + 1 : ""), what);
}

oxp_status oxp_params_parse(oxp_params *out, oxp_ctx *ctx, const char *technique,
                            const oxp_param *table, const char *text, size_t length)
{
    oxp_params p;
    oxp_params_default(&p, table);
    for (size_t at = 0; at < length;) {
        char item[256];
        const char *comma = memchr(text + at, ',', length - at);
        size_t size = comma ? (size_t)(comma - text) - at : length - at;
        if (size >= sizeof item)
            return oxp_fail(ctx, OXP_EUSAGE, "E-PARAM", "%s: a parameter of %zu bytes is too long",
                            technique, size);
        memcpy(item, text + at, size);
        item[size] = '\0';
        OXP_TRY(set(&p, ctx, technique, table, item));
        at += size + 1;
        if (comma && at == length)
            return oxp_fail(ctx, OXP_EUSAGE, "E-PARAM", "%s: a comma ends its parameters",
                            technique);
    }
    *out = p;
    return OXP_OK;
}

void oxp_params_set(oxp_params *p, const oxp_param *table, const char *name, double value)
{
    size_t at = find(table, name, strlen(name));
    if (at == SIZE_MAX)
        return;
    p->values[at] = value;
    p->given |= 1u << at;
}

/* ---- printing ---- */

static void print_word(char *out, size_t size, const char *words, int at)
{
    for (; at > 0; at--)
        words = strchr(words, '|') + 1;
    const char *end = strchr(words, '|');
    snprintf(out, size, "%.*s", end ? (int)(end - words) : (int)strlen(words), words);
}

void oxp_params_value_text(char *out, size_t size, const oxp_param *p, double value)
{
    size_t of;
    if (p->type == OXP_PARAM_WORD) {
        print_word(out, size, p->words, (int)value);
    } else if (p->words && value < 0) {
        print_word(out, size, p->words, (int)(-1 - value));
    } else if (p->type == OXP_PARAM_PAIR) {
        size_t n = oxp_params_pair(value, &of);
        snprintf(out, size, "%zu:%zu", n, of);
    } else {
        snprintf(out, size, "%.10g", value);
    }
}

const char *oxp_params_text(oxp_arena *arena, const oxp_params *p, const oxp_param *table)
{
    const char *text = "";
    for (size_t i = 0; text && table && table[i].name; i++) {
        char value[64];
        oxp_params_value_text(value, sizeof value, &table[i], p->values[i]);
        text = oxp_arena_printf(arena, "%s%s%s=%s", text, i ? "," : "", table[i].name, value);
    }
    return text;
}
