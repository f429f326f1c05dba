/* artefact_histogram.c - histograms as bytes: few of the 8192 bins of one are filled. */
#include <math.h>
#include <string.h>

#include "calibration/artefact.h"

#define BINS OXP_HISTOGRAM_BINS
#define LEAST_EXPONENT (-149)
#define MOST_EXPONENT 128
#define FIXED_BYTES 44
#define MOST_BYTES (FIXED_BYTES + 2 * BINS * (2 + 10)) /* a gap has at most two bytes */

static uint8_t *put(uint8_t *at, const void *data, size_t bytes)
{
    memcpy(at, data, bytes);
    return at + bytes;
}

static uint8_t *put_varint(uint8_t *at, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        *at++ = (uint8_t)(value | 0x80);
    *at++ = (uint8_t)value;
    return at;
}

static uint32_t filled(const uint64_t *bins)
{
    uint32_t n = 0;
    for (size_t k = 0; k < BINS; k++)
        n += bins[k] != 0;
    return n;
}

static uint8_t *put_side(uint8_t *at, const uint64_t *bins)
{
    size_t next = 0;
    for (size_t k = 0; k < BINS; k++)
        if (bins[k]) {
            at = put_varint(at, k - next);
            at = put_varint(at, bins[k]);
            next = k + 1;
        }
    return at;
}

oxp_status oxp_histogram_pack(uint8_t **out, size_t *bytes, oxp_ctx *ctx, const oxp_histogram *h)
{
    uint8_t *work, *packed;
    int32_t exponent = h->exponent;
    uint32_t sides[2] = {filled(h->positive), filled(h->negative)};
    OXP_TRY(oxp_alloc_raw(&work, ctx, MOST_BYTES, 1, "histogram"));
    uint8_t *at = put(work, &exponent, 4);
    at = put(at, &h->min, 4);
    at = put(at, &h->max, 4);
    at = put(at, &h->count, 8);
    at = put(at, &h->huge, 8);
    at = put(at, &h->nan, 8);
    at = put(at, sides, 8);
    at = put_side(put_side(at, h->positive), h->negative);
    size_t length = (size_t)(at - work);
    oxp_status status = oxp_alloc_raw(&packed, ctx, length, 1, "histogram");
    if (status == OXP_OK) {
        memcpy(packed, work, length);
        *out = packed;
        *bytes = length;
    }
    oxp_free(work);
    return status;
}

static float read_float(oxp_oxc_cursor *c)
{
    uint32_t bits = oxp_oxc_u32(c);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Adds the counts of a side to *total, which must not overflow. */
static void read_side(oxp_oxc_cursor *c, uint64_t *bins, uint32_t count, uint64_t *total)
{
    uint64_t at = 0;
    for (uint32_t i = 0; i < count && c->status == OXP_OK; i++) {
        uint64_t gap = oxp_oxc_varint(c), in_bin = oxp_oxc_varint(c);
        if (gap >= BINS - at || in_bin == 0 || __builtin_add_overflow(*total, in_bin, total)) {
            oxp_oxc_refuse(c, "bins that no histogram has");
            return;
        }
        at += gap;
        bins[at++] = in_bin;
    }
}

static bool is_possible(const oxp_histogram *h, uint64_t total)
{
    if (h->exponent < LEAST_EXPONENT || h->exponent > MOST_EXPONENT || total != h->count)
        return false;
    if (h->count == 0)
        return h->min > h->max;
    return h->min <= h->max && fabsf(h->min) < OXP_HUGE_VALUE && fabsf(h->max) < OXP_HUGE_VALUE &&
           (double)fmaxf(fabsf(h->min), fabsf(h->max)) < ldexp(BINS, h->exponent);
}

oxp_status oxp_histogram_unpack(oxp_histogram *out, oxp_oxc_cursor *c)
{
    uint64_t total = 0;
    oxp_histogram_init(out);
    out->exponent = (int)(int32_t)oxp_oxc_u32(c);
    out->min = read_float(c);
    out->max = read_float(c);
    out->count = oxp_oxc_u64(c);
    out->huge = oxp_oxc_u64(c);
    out->nan = oxp_oxc_u64(c);
    uint32_t positive = oxp_oxc_u32(c), negative = oxp_oxc_u32(c);
    read_side(c, out->positive, positive, &total);
    read_side(c, out->negative, negative, &total);
    if (c->status == OXP_OK && !is_possible(out, total))
        oxp_oxc_refuse(c, "bins, counts and range that do not belong together");
    return c->status;
}
