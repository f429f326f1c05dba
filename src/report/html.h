/* html.h - a report as one self-contained page: no script, no network, readable on paper and on a
 * telephone. */
#ifndef OXP_REPORT_HTML_H
#define OXP_REPORT_HTML_H

#include "util/file.h"

typedef struct oxp_html {
    oxp_ctx *ctx;
    char *text;
    size_t length, capacity;
    oxp_status status; /* the first failure; later calls do nothing */
} oxp_html;

/* The head, the title as heading. */
void oxp_html_begin(oxp_html *h, oxp_ctx *ctx, const char *title);
/* Markup as it is; arguments must not hold text of others. */
void oxp_html_markup(oxp_html *h, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Text with its special characters spelled out; what is no UTF-8 or a control character becomes
 * '?'. */
void oxp_html_text(oxp_html *h, const char *text);
/* <element>text</element> */
void oxp_html_element(oxp_html *h, const char *element, const char *text);

/* A table: heads, then cells row by row. A cell whose head begins with '#' is a number, aligned to
 * the right. */
void oxp_html_table_begin(oxp_html *h, const char *const *heads, size_t columns);
void oxp_html_row(oxp_html *h, const char *const *heads, const char *const *cells, size_t columns);
void oxp_html_table_end(oxp_html *h);

/* Ends the page and writes it, replacing `path` atomically; refuses a path that is one of the
 * inputs. Releases the text in any case. */
oxp_status oxp_html_save(oxp_html *h, const char *path, const oxp_file_id *inputs,
                         size_t input_count);
void oxp_html_release(oxp_html *h);

#endif
