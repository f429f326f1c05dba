/* report.h - what a call found, as text for people and JSON for programs.
 *
 * JSON is jansson's; a number that was not measured is absent, never zero. */
#ifndef OXP_REPORT_REPORT_H
#define OXP_REPORT_REPORT_H

#include <jansson.h>

#include "util/file.h"

struct oxp_report {
    oxp_ctx *ctx;
    char *text;
    size_t text_length, text_capacity;
    json_t *json;        /* an object */
    char *json_text;     /* rendered on first use */
    oxp_file_id *inputs; /* files that no output may replace */
    size_t input_count, input_capacity;
};

oxp_status oxp_report_new(oxp_report **out, oxp_ctx *ctx);
oxp_status oxp_report_line(oxp_report *report, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
oxp_status oxp_report_protect(oxp_report *report, const oxp_file_id *ids, size_t count);

/* Setters that skip what is not finite or NULL. The object may be report->json or a part of it. */
void oxp_json_string(json_t *object, const char *key, const char *value);
void oxp_json_integer(json_t *object, const char *key, long long value);
void oxp_json_real(json_t *object, const char *key, double value);
void oxp_json_boolean(json_t *object, const char *key, bool value);
/* A new array or object under the key; borrowed. */
json_t *oxp_json_array(json_t *object, const char *key);
json_t *oxp_json_object(json_t *object, const char *key);
json_t *oxp_json_append(json_t *array); /* a new object at the end; borrowed */
/* {"path","bytes","xxh3"} */
void oxp_json_file(json_t *object, const char *key, const char *path, size_t bytes, uint64_t hash);
/* [1,"N",3] */
void oxp_json_shape(json_t *object, const char *key, int rank, const int64_t *dims,
                    const char *const *params);

/* "12,345" style: bytes for people, "1.23 MB". out has 32 bytes. */
const char *oxp_bytes_text(char out[32], double bytes);

#endif
