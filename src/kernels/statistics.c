/* statistics.c - exact, mergeable histograms. */
#include "kernels/statistics.h"

#include <math.h>
#include <string.h>

#include "kernels/vector.h"

#define LEAST_EXPONENT (-149)
#define CHUNK 4096
#define BINS OXP_HISTOGRAM_BINS
#define HUGE_SQUARE 1e60 /* OXP_HUGE_VALUE squared */

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

/* Range, and whether anything needs a closer look. */
OXP_VECTORISED static bool scan(const float *x, size_t n, float *low, float *high)
{
    float a[OXP_LANES], b[OXP_LANES];
    int odd[OXP_LANES] = {0};
    for (int l = 0; l < OXP_LANES; l++) {
        a[l] = INFINITY;
        b[l] = -INFINITY;
    }
    size_t whole = n / OXP_LANES * OXP_LANES;
    for (size_t i = 0; i < whole; i += OXP_LANES)
        for (int l = 0; l < OXP_LANES; l++) {
            float v = x[i + (size_t)l];
            a[l] = v < a[l] ? v : a[l];
            b[l] = v > b[l] ? v : b[l];
            odd[l] |= !(fabsf(v) < OXP_HUGE_VALUE);
        }
    for (size_t i = whole; i < n; i++) {
        a[0] = x[i] < a[0] ? x[i] : a[0];
        b[0] = x[i] > b[0] ? x[i] : b[0];
        odd[0] |= !(fabsf(x[i]) < OXP_HUGE_VALUE);
    }
    for (int l = 1; l < OXP_LANES; l++) {
        a[0] = a[l] < a[0] ? a[l] : a[0];
        b[0] = b[l] > b[0] ? b[l] : b[0];
        odd[0] |= odd[l];
    }
    *low = a[0];
    *high = b[0];
    return odd[0] == 0;
}

void oxp_extremes(const float *x, size_t n, float *low, float *high)
{
    (void)scan(x, n, low, high);
}

OXP_VECTORISED static double distance(const float *a, const float *b, size_t n)
{
    double sums[OXP_LANES] = {0};
    size_t whole = n / OXP_LANES * OXP_LANES;
    for (size_t i = 0; i < whole; i += OXP_LANES)
        for (int l = 0; l < OXP_LANES; l++) {
            double e = (double)a[i + (size_t)l] - (double)b[i + (size_t)l];
            double square = e * e;
            sums[l] += square < HUGE_SQUARE ? square : 0;
        }
    for (size_t i = whole; i < n; i++) {
        double e = (double)a[i] - (double)b[i];
        sums[0] += e * e < HUGE_SQUARE ? e * e : 0;
    }
    for (int l = 1; l < OXP_LANES; l++)
        sums[0] += sums[l];
    return sums[0];
}

double oxp_squared_distance(const float *a, const float *b, size_t n)
{
    return distance(a, b, n);
}

/* The bin of each value, those of negative values behind the others. Multiplying by a power of two
 * is exact except where it would leave the range of float: double is used. */
OXP_VECTORISED static void find_bins(uint16_t *bins, const float *x, size_t n, double factor)
{
    for (size_t i = 0; i < n; i++) {
        int k = (int)(fabs((double)x[i]) * factor);
        bins[i] = (uint16_t)(k + (x[i] < 0 ? OXP_HISTOGRAM_BINS : 0));
    }
}

static void count_few(oxp_histogram *h, const float *x, size_t n, double factor)
{
    uint16_t bins[CHUNK];
    find_bins(bins, x, n, factor);
    for (size_t i = 0; i < n; i++)
        (bins[i] < BINS ? h->positive : h->negative)[bins[i] % BINS]++;
}

enum { TURNS = 4, MANY = 8 * CHUNK, MOST = 32 * CHUNK }; /* MOST / TURNS fits a uint16_t */

/* Neighbours are often equal: counting in turns keeps one count from waiting for the last. */
static void count_many(oxp_histogram *h, const float *x, size_t n, double factor)
{
    uint16_t bins[CHUNK], counts[TURNS][2 * BINS];
    memset(counts, 0, sizeof counts);
    for (size_t start = 0; start < n; start += CHUNK) {
        size_t length = n - start < CHUNK ? n - start : CHUNK;
        find_bins(bins, x + start, length, factor);
        for (size_t i = 0; i < length; i++)
            counts[i % TURNS][bins[i]]++;
    }
    for (size_t k = 0; k < BINS; k++)
        for (int t = 0; t < TURNS; t++) {
            h->positive[k] += counts[t][k];
            h->negative[k] += counts[t][BINS + k];
        }
}

static void count_plain(oxp_histogram *h, const float *x, size_t n)
{
    double factor = ldexp(1.0, -h->exponent);
    h->count += n;
    while (n) {
        size_t length = n < MANY ? (n < CHUNK ? n : CHUNK) : n < MOST ? n : MOST;
        (n < MANY ? count_few : count_many)(h, x, length, factor);
        x += length;
        n -= length;
    }
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

static void add_one(oxp_histogram *h, float x)
{
    if (isnan(x)) {
        h->nan++;
    } else if (fabsf(x) >= OXP_HUGE_VALUE) {
        h->huge++;
    } else {
        add_range(h, x, x);
        count_plain(h, &x, 1);
    }
}

void oxp_histogram_add(oxp_histogram *h, const float *x, size_t n)
{
    for (size_t start = 0; start < n; start += MOST) {
        const float *part = x + start;
        size_t length = n - start < MOST ? n - start : MOST;
        float low, high;
        if (scan(part, length, &low, &high)) {
            add_range(h, low, high);
            count_plain(h, part, length);
            continue;
        }
        for (size_t i = 0; i < length; i++)
            add_one(h, part[i]);
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
