/* statistics.c - exact, mergeable histograms. */
#include "kernels/statistics.h"

#include <math.h>
#include <string.h>

#define LEAST_EXPONENT (-149)

void oxp_histogram_init(oxp_histogram *h)
{
    memset(h, 0, sizeof *h);
    h->exponent = LEAST_EXPONENT;
    h->min = INFINITY;
    h->max = -INFINITY;
}

static void halve(uint64_t *bins)
{
    for (size_t k = 0; k < OXP_HISTOGRAM_BINS / 2; k++)
        bins[k] = bins[2 * k] + bins[2 * k + 1];
    memset(bins + OXP_HISTOGRAM_BINS / 2, 0, OXP_HISTOGRAM_BINS / 2 * sizeof *bins);
}

/* The least exponent whose bins hold |x|: |x| < BINS * 2^e. */
static int exponent_for(float size)
{
    if (size == 0)
        return LEAST_EXPONENT;
    int e;
    (void)frexpf(size, &e); /* size < 2^e */
    e -= 12;                /* BINS = 2^12 */
    return e < LEAST_EXPONENT ? LEAST_EXPONENT : e;
}

static void widen(oxp_histogram *h, int exponent)
{
    if (exponent - h->exponent > 12) { /* everything lands in bin 0 */
        for (int side = 0; side < 2; side++) {
            uint64_t *bins = side ? h->negative : h->positive, sum = 0;
            for (size_t k = 0; k < OXP_HISTOGRAM_BINS; k++)
                sum += bins[k];
            memset(bins, 0, OXP_HISTOGRAM_BINS * sizeof *bins);
            bins[0] = sum;
        }
        h->exponent = exponent;
    }
    for (; h->exponent < exponent; h->exponent++) {
        halve(h->positive);
        halve(h->negative);
    }
}

/* One pass that vectorises: range, and whether anything needs a closer look. */
static bool scan(const float *x, size_t n, float *low, float *high)
{
    float a = INFINITY, b = -INFINITY;
    int odd = 0;
    for (size_t i = 0; i < n; i++) {
        a = x[i] < a ? x[i] : a;
        b = x[i] > b ? x[i] : b;
        odd |= !(fabsf(x[i]) < OXP_HUGE_VALUE);
    }
    *low = a;
    *high = b;
    return odd == 0;
}

static void count_plain(oxp_histogram *h, const float *x, size_t n)
{
    /* multiplying by a power of two is exact except where it would leave the range of float: use
     * double */
    double factor = ldexp(1.0, -h->exponent);
    for (size_t i = 0; i < n; i++) {
        size_t k = (size_t)(fabs((double)x[i]) * factor);
        (x[i] < 0 ? h->negative : h->positive)[k]++;
    }
    h->count += n;
}

static void add_range(oxp_histogram *h, float low, float high)
{
    h->min = low < h->min ? low : h->min;
    h->max = high > h->max ? high : h->max;
    float size = fmaxf(fabsf(low), fabsf(high));
    int exponent = exponent_for(size);
    if (exponent > h->exponent)
        widen(h, exponent);
}

void oxp_histogram_add(oxp_histogram *h, const float *x, size_t n)
{
    enum { CHUNK = 4096 };
    for (size_t start = 0; start < n; start += CHUNK) {
        const float *part = x + start;
        size_t length = n - start < CHUNK ? n - start : CHUNK;
        float low, high;
        if (scan(part, length, &low, &high)) {
            add_range(h, low, high);
            count_plain(h, part, length);
            continue;
        }
        for (size_t i = 0; i < length; i++) {
            if (isnan(part[i])) {
                h->nan++;
            } else if (fabsf(part[i]) >= OXP_HUGE_VALUE) {
                h->huge++;
            } else {
                add_range(h, part[i], part[i]);
                count_plain(h, &part[i], 1);
            }
        }
    }
}

void oxp_histogram_merge(oxp_histogram *into, const oxp_histogram *from)
{
    into->huge += from->huge;
    into->nan += from->nan;
    if (from->count == 0)
        return;
    add_range(into, from->min, from->max);
    /* into is at least as wide: same rule, larger range */
    int shift = into->exponent - from->exponent;
    for (size_t k = 0; k < OXP_HISTOGRAM_BINS; k++) {
        size_t to = shift > 12 ? 0 : k >> shift;
        into->positive[to] += from->positive[k];
        into->negative[to] += from->negative[k];
    }
    into->count += from->count;
}

float oxp_histogram_quantile(const oxp_histogram *h, double share, bool upper)
{
    double target = share * (double)h->count, seen = 0;
    float width = ldexpf(1.0f, h->exponent);
    /* from the most negative bin to the most positive */
    for (size_t i = 0; i < 2 * OXP_HISTOGRAM_BINS; i++) {
        bool negative = i < OXP_HISTOGRAM_BINS;
        size_t k = negative ? OXP_HISTOGRAM_BINS - 1 - i : i - OXP_HISTOGRAM_BINS;
        uint64_t in_bin = negative ? h->negative[k] : h->positive[k];
        seen += (double)in_bin;
        if (in_bin && (upper ? seen >= target : seen > target)) {
            float near_zero = (float)k * width, far = (float)(k + 1) * width;
            float edge = negative ? (upper ? -near_zero : -far) : (upper ? far : near_zero);
            return edge < h->min ? h->min : edge > h->max ? h->max : edge;
        }
    }
    return upper ? h->max : h->min;
}
