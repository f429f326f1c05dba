/* kv_cache.c - reading the shape of the cache and counting it. */
#include "deployment/kv_cache.h"

#include <math.h>
#include <string.h>

#include "util/number.h"

static const char *const keys[] = {"layers", "kv_heads", "head_dim", "bytes"};
#define KEYS 4

static bool take(double values[KEYS], const char *item, size_t length)
{
    for (size_t k = 0; k < KEYS; k++) {
        size_t name = strlen(keys[k]);
        if (length <= name + 1 || strncmp(item, keys[k], name) != 0 || item[name] != '=')
            continue;
        double value;
        const char *end = oxp_read_decimal(item + name + 1, &value);
        if (end != item + length || value <= 0 || value > 1e9)
            return false;
        values[k] = value;
        return true;
    }
    return false;
}

oxp_status oxp_kv_parse(oxp_kv_shape *out, oxp_ctx *ctx, const char *text)
{
    double values[KEYS] = {0};
    char quoted[OXP_QUOTED_MAX];
    for (const char *at = text; *at;) {
        size_t length = strcspn(at, ",");
        if (!take(values, at, length))
            return oxp_fail(ctx, OXP_EUSAGE, "E-USAGE",
                            "--kv %s: expected layers=N,kv_heads=N,head_dim=N,bytes=N",
                            oxp_quote(quoted, text));
        at += length + (at[length] == ',');
    }
    for (size_t k = 0; k < KEYS; k++)
        if (values[k] <= 0)
            return oxp_fail(ctx, OXP_EUSAGE, "E-USAGE", "--kv %s: %s=N is missing",
                            oxp_quote(quoted, text), keys[k]);
    *out = (oxp_kv_shape){values[0], values[1], values[2], values[3]};
    return OXP_OK;
}

static bool is_cache(const oxp_value_info *v)
{
    return v->rank == 4 && oxp_dtype_is_float(v->dtype) && v->dims[1] > 0 && v->dims[3] > 0 &&
           strstr(v->name, "past") && (strstr(v->name, "key") || strstr(v->name, "value"));
}

double oxp_kv_find(const oxp_graph *graph, size_t *layers)
{
    double bytes = 0;
    size_t tensors = 0;
    for (size_t i = 0; i < graph->input_count; i++) {
        const oxp_value_info *v = &graph->values[graph->inputs[i]].declared;
        if (!is_cache(v))
            continue;
        tensors++;
        bytes += (double)v->dims[1] * (double)v->dims[3] * (double)oxp_dtype_bits(v->dtype) / 8;
    }
    *layers = tensors / 2;
    return bytes;
}

double oxp_kv_bytes_per_token(const oxp_kv_shape *s)
{
    return 2 * s->layers * s->kv_heads * s->head_dim * s->bytes;
}

double oxp_kv_longest(double room, double batch, double kappa, double per_token,
                      double activation_bytes, double quadratic_bytes, double at)
{
    double low = 0, high = 0x1p40;
    while (high - low > 1) {
        double t = floor((low + high) / 2), share = t / at;
        double bytes = batch * (kappa * per_token * t + activation_bytes * share +
                                quadratic_bytes * share * share);
        *(bytes <= room ? &low : &high) = t;
    }
    return low;
}
