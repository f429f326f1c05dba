/* machine_file.c - a machine by name or from JSON: numbers with their units in the keys, every one
 * checked.
 *
 *   {"name": "edge", "source": "data sheet …", "cores": 4,
 *    "rates": {"dense": {"peak_gflops": 60, "typical_gflops": 30}, …one per kind of work},
 *    "levels": [{"name": "L1", "bytes": 49152, "gb_per_s": 180, "gb_per_s_all": 720}, …],
 *    "dispatch_us": {"low": 0.2, "high": 4}, "disk_gb_per_s": 2} */
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "deployment/machine.h"

#define FILE_BYTES_MAX 65536

typedef struct reader {
    oxp_ctx *ctx;
    const char *path;
} reader;

static oxp_status number(double *out, const reader *r, const json_t *object, const char *key,
                         double unit, double least)
{
    const json_t *value = json_object_get(object, key);
    double x = json_is_number(value) ? json_number_value(value) * unit : NAN;
    if (!isfinite(x) || x < least || x > 1e30)
        return oxp_fail(r->ctx, OXP_EFORMAT, "E-MACHINE",
                        "%s: \"%s\" needs a number that is %s, found %s", r->path, key,
                        least > 0 ? "positive" : "not negative",
                        value ? json_is_number(value) ? "another" : "no number" : "none");
    *out = x;
    return OXP_OK;
}

static oxp_status text(char *out, size_t size, const reader *r, const json_t *object,
                       const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));
    if (!value || !*value || strlen(value) >= size)
        return oxp_fail(r->ctx, OXP_EFORMAT, "E-MACHINE",
                        "%s: \"%s\" needs a text of 1 to %zu bytes", r->path, key, size - 1);
    memcpy(out, value, strlen(value) + 1);
    return OXP_OK;
}

#define LEAST 1e-9

static oxp_status rates(oxp_machine *m, const reader *r, const json_t *object)
{
    for (int w = 0; w < OXP_WORK_COUNT; w++) {
        const json_t *rate = json_object_get(object, oxp_work_name((oxp_work)w));
        if (!json_is_object(rate))
            return oxp_fail(r->ctx, OXP_EFORMAT, "E-MACHINE", "%s: \"rates\" holds no \"%s\"",
                            r->path, oxp_work_name((oxp_work)w));
        OXP_TRY(number(&m->rates[w].peak, r, rate, "peak_gflops", 1e9, LEAST));
        OXP_TRY(number(&m->rates[w].typical, r, rate, "typical_gflops", 1e9, LEAST));
        if (m->rates[w].typical > m->rates[w].peak)
            return oxp_fail(r->ctx, OXP_EFORMAT, "E-MACHINE",
                            "%s: \"%s\": typical_gflops is above peak_gflops", r->path,
                            oxp_work_name((oxp_work)w));
    }
    return OXP_OK;
}

static oxp_status levels(oxp_machine *m, const reader *r, const json_t *array)
{
    size_t count = json_array_size(array);
    if (count < 1 || count > OXP_MEMORY_LEVELS_MAX)
        return oxp_fail(r->ctx, OXP_EFORMAT, "E-MACHINE",
                        "%s: \"levels\" needs 1 to %d memory levels, found %zu", r->path,
                        OXP_MEMORY_LEVELS_MAX, count);
    for (size_t i = 0; i < count; i++) {
        const json_t *o = json_array_get(array, i);
        oxp_memory_level *level = &m->levels[i];
        OXP_TRY(text(level->name, sizeof level->name, r, o, "name"));
        OXP_TRY(number(&level->bytes, r, o, "bytes", 1, LEAST));
        OXP_TRY(number(&level->bandwidth, r, o, "gb_per_s", 1e9, LEAST));
        OXP_TRY(number(&level->bandwidth_of_all, r, o, "gb_per_s_all", 1e9, LEAST));
        if (i > 0 && level->bytes <= level[-1].bytes)
            return oxp_fail(r->ctx, OXP_EFORMAT, "E-MACHINE",
                            "%s: level \"%s\" is no larger than the one before it", r->path,
                            level->name);
    }
    m->level_count = (int)count;
    return OXP_OK;
}

static oxp_status parse(oxp_machine *m, const reader *r, const json_t *root)
{
    double cores;
    const json_t *dispatch = json_object_get(root, "dispatch_us");
    OXP_TRY(text(m->name, sizeof m->name, r, root, "name"));
    OXP_TRY(text(m->source, sizeof m->source, r, root, "source"));
    OXP_TRY(number(&cores, r, root, "cores", 1, 1));
    m->cores = cores < 4096 ? (int)cores : 4096;
    OXP_TRY(rates(m, r, json_object_get(root, "rates")));
    OXP_TRY(levels(m, r, json_object_get(root, "levels")));
    OXP_TRY(number(&m->dispatch_low, r, dispatch, "low", 1e-6, 0));
    OXP_TRY(number(&m->dispatch_high, r, dispatch, "high", 1e-6, m->dispatch_low));
    if (json_object_get(root, "disk_gb_per_s"))
        OXP_TRY(number(&m->disk_bandwidth, r, root, "disk_gb_per_s", 1e9, LEAST));
    return OXP_OK;
}

static oxp_status load_file(oxp_machine *out, oxp_ctx *ctx, const char *path)
{
    uint8_t *bytes;
    size_t size;
    oxp_machine m = {.has_file = true};
    reader r = {ctx, path};
    json_error_t error;
    OXP_TRY(oxp_file_read(&bytes, &size, ctx, path, FILE_BYTES_MAX, OXP_EFORMAT, &m.file));
    json_t *root = json_loadb((const char *)bytes, size, JSON_REJECT_DUPLICATES, &error);
    oxp_free(bytes);
    if (!root)
        return oxp_fail(ctx, OXP_EFORMAT, "E-MACHINE", "%s:%d: no JSON: %.100s", path, error.line,
                        error.text);
    oxp_status status = parse(&m, &r, root);
    json_decref(root);
    if (status == OXP_OK)
        *out = m;
    return status;
}

oxp_status oxp_machine_load(oxp_machine *out, oxp_ctx *ctx, const char *name_or_path)
{
    for (size_t i = 0; i < oxp_machine_count(); i++)
        if (strcmp(oxp_machine_at(i)->name, name_or_path) == 0) {
            *out = *oxp_machine_at(i);
            return OXP_OK;
        }
    size_t length = strlen(name_or_path);
    if (length > 5 && strcmp(name_or_path + length - 5, ".json") == 0)
        return load_file(out, ctx, name_or_path);
    char quoted[OXP_QUOTED_MAX];
    return oxp_fail(ctx, OXP_EUSAGE, "E-USAGE",
                    "no machine is called %s: laptop, server-vnni, server-avx2, arm-board, "
                    "datacenter-gpu, or a FILE.json",
                    oxp_quote(quoted, name_or_path));
}
