/* html.c - building a page and writing it. */
#include "report/html.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Numbers in tables line up, tables scroll by themselves on narrow screens, and paper gets black on
 * white without cut rows. */
static const char head[] =
    "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<style>"
    "body{font:16px/1.5 system-ui,sans-serif;color:#1a1a1a;background:#fff;max-width:60rem;"
    "margin:0 auto;padding:1rem}"
    "h1{font-size:1.5rem;overflow-wrap:anywhere}h2{font-size:1.15rem;margin-top:2rem}"
    ".verdict{font-size:1.15rem;border-left:.3rem solid #555;padding-left:.8rem}"
    ".scroll{overflow-x:auto}table{border-collapse:collapse;font-size:.875rem;width:100%}"
    "th,td{text-align:left;padding:.25rem .6rem;border-bottom:1px solid #ddd;"
    "vertical-align:top}td{overflow-wrap:anywhere}"
    ".n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}"
    "svg{width:100%;height:auto}svg text{font:12px system-ui,sans-serif;fill:#1a1a1a}"
    ".note{color:#555;font-size:.875rem}"
    "@media print{body{max-width:none;padding:0;font-size:11px}tr{break-inside:avoid}"
    ".scroll{overflow:visible}}"
    "</style>\n<title>";

void oxp_html_markup(oxp_html *h, const char *format, ...)
{
    va_list arguments, again;
    if (h->status != OXP_OK)
        return;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    h->status = OXP_EINTERNAL;
    if (length >= 0)
        h->status = oxp_grow(&h->text, &h->capacity, h->ctx, h->length + (size_t)length + 1, 1);
    if (h->status == OXP_OK) {
        vsnprintf(h->text + h->length, (size_t)length + 1, format, again);
        h->length += (size_t)length;
    }
    va_end(again);
}

/* Bytes of the UTF-8 character at `s`; 0 when it is none, or one that a page may not hold. */
static size_t character_length(const unsigned char *s)
{
    uint32_t code;
    size_t length = oxp_utf8_character(s, &code);
    bool is_control = length && (code < 0x20 || (code >= 0x7f && code < 0xa0));
    return is_control && code != '\n' ? 0 : length;
}

void oxp_html_text(oxp_html *h, const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    while (*s && h->status == OXP_OK) {
        size_t length = character_length(s);
        if (*s == '&')
            oxp_html_markup(h, "&amp;");
        else if (*s == '<')
            oxp_html_markup(h, "&lt;");
        else if (*s == '>')
            oxp_html_markup(h, "&gt;");
        else if (*s == '"')
            oxp_html_markup(h, "&quot;");
        else if (length == 0)
            oxp_html_markup(h, "?");
        else
            oxp_html_markup(h, "%.*s", (int)length, (const char *)s);
        s += length ? length : 1;
    }
}

void oxp_html_element(oxp_html *h, const char *element, const char *text)
{
    oxp_html_markup(h, "<%s>", element);
    oxp_html_text(h, text);
    oxp_html_markup(h, "</%s>\n", element);
}

void oxp_html_begin(oxp_html *h, oxp_ctx *ctx, const char *title)
{
    *h = (oxp_html){.ctx = ctx};
    oxp_html_markup(h, "%s", head);
    oxp_html_text(h, title);
    oxp_html_markup(h, "</title></head><body>\n");
    oxp_html_element(h, "h1", title);
}

/* ---- tables ---- */

static bool is_number(const char *table_head)
{
    return table_head[0] == '#';
}

void oxp_html_table_begin(oxp_html *h, const char *const *heads, size_t columns)
{
    oxp_html_markup(h, "<div class=\"scroll\"><table><thead><tr>");
    for (size_t i = 0; i < columns; i++) {
        oxp_html_markup(h, is_number(heads[i]) ? "<th class=\"n\">" : "<th>");
        oxp_html_text(h, heads[i] + is_number(heads[i]));
        oxp_html_markup(h, "</th>");
    }
    oxp_html_markup(h, "</tr></thead><tbody>\n");
}

void oxp_html_row(oxp_html *h, const char *const *heads, const char *const *cells, size_t columns)
{
    oxp_html_markup(h, "<tr>");
    for (size_t i = 0; i < columns; i++) {
        oxp_html_markup(h, is_number(heads[i]) ? "<td class=\"n\">" : "<td>");
        oxp_html_text(h, cells[i]);
        oxp_html_markup(h, "</td>");
    }
    oxp_html_markup(h, "</tr>\n");
}

void oxp_html_table_end(oxp_html *h)
{
    oxp_html_markup(h, "</tbody></table></div>\n");
}

/* ---- the end ---- */

void oxp_html_release(oxp_html *h)
{
    oxp_free(h->text);
    h->text = NULL;
    h->length = h->capacity = 0;
}

oxp_status oxp_html_save(oxp_html *h, const char *path, const oxp_file_id *inputs,
                         size_t input_count)
{
    oxp_html_markup(h, "</body></html>\n");
    oxp_output_options options = {.force = true, .inputs = inputs, .input_count = input_count};
    oxp_output_file *file = NULL;
    oxp_status status = h->status;
    if (status == OXP_OK)
        status = oxp_output_open(&file, h->ctx, path, &options);
    if (status == OXP_OK)
        status = oxp_output_write(file, h->text, h->length);
    if (status == OXP_OK)
        status = oxp_output_publish(file);
    else
        oxp_output_discard(file);
    oxp_html_release(h);
    return status;
}
