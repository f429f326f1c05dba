/* report.c - text and JSON of a report. */
#include "report/report.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/map.h"

oxp_status oxp_report_new(oxp_report **out, oxp_ctx *ctx)
{
    oxp_report *r;
    OXP_TRY(oxp_alloc(&r, ctx, 1, sizeof *r, "report"));
    r->ctx = ctx;
    r->json = json_object();
    oxp_status status = r->json ? oxp_grow(&r->text, &r->text_capacity, ctx, 1, 1) : OXP_ELIMIT;
    if (status != OXP_OK) {
        oxp_report_free(r);
        return status;
    }
    *out = r;
    return OXP_OK;
}

void oxp_report_free(oxp_report *r)
{
    if (!r)
        return;
    json_decref(r->json);
    free(r->json_text);
    oxp_free(r->text);
    oxp_free(r->inputs);
    oxp_free(r);
}

oxp_status oxp_report_line(oxp_report *r, const char *format, ...)
{
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    oxp_status status = OXP_EINTERNAL;
    if (length >= 0)
        status =
            oxp_grow(&r->text, &r->text_capacity, r->ctx, r->text_length + (size_t)length + 2, 1);
    if (status == OXP_OK) {
        vsnprintf(r->text + r->text_length, (size_t)length + 1, format, again);
        r->text_length += (size_t)length;
        r->text[r->text_length++] = '\n';
        r->text[r->text_length] = '\0';
    }
    va_end(again);
    return status;
}

oxp_status oxp_report_protect(oxp_report *r, const oxp_file_id *ids, size_t count)
{
    OXP_TRY(oxp_grow(&r->inputs, &r->input_capacity, r->ctx, r->input_count + count, sizeof *ids));
    if (count)
        memcpy(r->inputs + r->input_count, ids, count * sizeof *ids);
    r->input_count += count;
    return OXP_OK;
}

const char *oxp_report_text(const oxp_report *r)
{
    return r->text;
}

const char *oxp_report_json(const oxp_report *report)
{
    oxp_report *r = (oxp_report *)(uintptr_t)report; /* the rendering is a cache */
    if (!r->json_text)
        r->json_text =
            json_dumps(r->json, JSON_INDENT(2) | JSON_REAL_PRECISION(9) | JSON_PRESERVE_ORDER);
    return r->json_text ? r->json_text : "{}";
}

/* One step of a path: into an object by key, into an array by index. */
static json_t *child(json_t *at, const char *key)
{
    if (json_is_array(at))
        return json_array_get(at, (size_t)strtoul(key, NULL, 10));
    return json_object_get(at, key);
}

double oxp_report_number(const oxp_report *r, const char *path, double otherwise)
{
    json_t *at = r->json;
    char key[128];
    while (at && *path) {
        size_t length = strcspn(path, ".");
        if (length >= sizeof key)
            return otherwise;
        memcpy(key, path, length);
        key[length] = '\0';
        at = child(at, key);
        path += length + (path[length] == '.');
    }
    return json_is_number(at) ? json_number_value(at) : otherwise;
}

oxp_status oxp_report_save_json(const oxp_report *r, oxp_ctx *ctx, const char *path)
{
    const char *text = oxp_report_json(r);
    oxp_output_options options = {
        .force = true, .inputs = r->inputs, .input_count = r->input_count};
    oxp_output_file *file;
    OXP_TRY(oxp_output_open(&file, ctx, path, &options));
    oxp_status status = oxp_output_write(file, text, strlen(text));
    if (status == OXP_OK)
        status = oxp_output_write(file, "\n", 1);
    if (status == OXP_OK)
        return oxp_output_publish(file);
    oxp_output_discard(file);
    return status;
}

/* ---- JSON ---- */

void oxp_json_string(json_t *object, const char *key, const char *value)
{
    if (!value)
        return;
    char quoted[OXP_QUOTED_MAX];
    json_t *text = json_string(value);
    json_object_set_new(object, key, text ? text : json_string(oxp_quote(quoted, value)));
}

void oxp_json_integer(json_t *object, const char *key, long long value)
{
    json_object_set_new(object, key, json_integer(value));
}

void oxp_json_real(json_t *object, const char *key, double value)
{
    if (isfinite(value))
        json_object_set_new(object, key, json_real(value));
}

void oxp_json_boolean(json_t *object, const char *key, bool value)
{
    json_object_set_new(object, key, json_boolean(value));
}

json_t *oxp_json_array(json_t *object, const char *key)
{
    json_t *array = json_array();
    json_object_set_new(object, key, array);
    return array;
}

json_t *oxp_json_object(json_t *object, const char *key)
{
    json_t *part = json_object();
    json_object_set_new(object, key, part);
    return part;
}

json_t *oxp_json_append(json_t *array)
{
    json_t *part = json_object();
    json_array_append_new(array, part);
    return part;
}

void oxp_json_file(json_t *object, const char *key, const char *path, size_t bytes, uint64_t hash)
{
    char hex[17];
    oxp_hash_hex(hex, hash);
    json_t *part = oxp_json_object(object, key);
    oxp_json_string(part, "path", path);
    oxp_json_integer(part, "bytes", (long long)bytes);
    oxp_json_string(part, "xxh3", hex);
}

void oxp_json_shape(json_t *object, const char *key, int rank, const int64_t *dims,
                    const char *const *params)
{
    if (rank < 0)
        return;
    json_t *array = oxp_json_array(object, key);
    for (int i = 0; i < rank; i++) {
        if (dims[i] >= 0)
            json_array_append_new(array, json_integer(dims[i]));
        else
            json_array_append_new(array, json_string(params && params[i] ? params[i] : "?"));
    }
}

const char *oxp_bytes_text(char out[32], double bytes)
{
    static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB"};
    size_t unit = 0;
    while (bytes >= 1000.0 && unit < 4) {
        bytes /= 1000.0;
        unit++;
    }
    snprintf(out, 32, unit == 0 ? "%.0f %s" : "%.2f %s", bytes, units[unit]);
    return out;
}
