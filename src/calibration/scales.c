/* scales.c - from a histogram to a u8 scale: min-max, percentile, entropy, mean squared error.
 *
 * All ranges hold zero, and zero is exactly representable (padding). Percentile cuts (1 - P) / 2 on
 * each side of a tensor with both signs, (1 - P) on the one side of a tensor with one sign.
 * Entropy: the clip of |x| whose 128-level version has the least KL divergence from the clipped
 * distribution, outliers folded into the last bin of P but not of Q, zero bins smoothed with 1e-4
 * of a count. MSE: the clips of least mean (x - Q(x))^2 over the histogram, found by coordinate
 * descent over both ends. */
#include <math.h>
#include <string.h>

#include "calibration/ranges.h"

const char *oxp_method_name(oxp_method m)
{
    static const char *const names[OXP_METHOD_COUNT] = {"minmax", "percentile", "entropy", "mse"};
    return m < OXP_METHOD_COUNT ? names[m] : "?";
}

/* ---- percentile ---- */

static oxp_scale by_percentile(const oxp_histogram *h, double percentile)
{
    double out = 1.0 - percentile / 100.0;
    double low_share = h->max <= 0 ? out : out / 2, high_share = h->min >= 0 ? out : out / 2;
    float low = h->min >= 0 ? 0 : oxp_histogram_quantile(h, low_share, false);
    float high = h->max <= 0 ? 0 : oxp_histogram_quantile(h, 1.0 - high_share, true);
    return oxp_scale_for_range(low, high, 255);
}

/* ---- mean squared error ---- */

typedef struct bins { /* the occupied bins, as centre and count */
    float centre[2 * OXP_HISTOGRAM_BINS];
    double count[2 * OXP_HISTOGRAM_BINS];
    size_t n;
} bins;

static void occupied(bins *b, const oxp_histogram *h)
{
    float width = ldexpf(1.0f, h->exponent);
    b->n = 0;
    for (size_t i = 0; i < 2 * OXP_HISTOGRAM_BINS; i++) {
        bool negative = i < OXP_HISTOGRAM_BINS;
        size_t k = negative ? OXP_HISTOGRAM_BINS - 1 - i : i - OXP_HISTOGRAM_BINS;
        uint64_t count = negative ? h->negative[k] : h->positive[k];
        if (!count)
            continue;
        float centre = ((float)k + 0.5f) * width;
        b->centre[b->n] = negative ? -centre : centre;
        b->count[b->n++] = (double)count;
    }
}

static double error_at(const bins *b, oxp_scale s)
{
    float least = (float)-s.zero_point, most = (float)(255 - s.zero_point),
          inverse = 1.0f / s.scale;
    double sum = 0;
    for (size_t i = 0; i < b->n; i++) {
        float q = nearbyintf(b->centre[i] * inverse);
        q = q < least ? least : q > most ? most : q;
        float e = b->centre[i] - q * s.scale;
        sum += b->count[i] * (double)(e * e);
    }
    return sum;
}

static double range_error(const bins *b, float low, float high)
{
    return error_at(b, oxp_scale_for_range(low, high, 255));
}

double oxp_scale_error(const oxp_histogram *h, oxp_scale s)
{
    bins b;
    double width = ldexp(1.0, h->exponent);
    occupied(&b, h);
    return error_at(&b, s) + (double)h->count * width * width / 12;
}

#define CLIP_STEPS 32
#define CLIP_OCTAVES 6.0f

typedef struct clip { /* in octaves below the seen ends */
    float low, high;
} clip;

static double clip_error(const bins *b, const oxp_histogram *h, clip c)
{
    return range_error(b, fminf(h->min, 0) * exp2f(-c.low), fmaxf(h->max, 0) * exp2f(-c.high));
}

/* Moves both ends, or one, by up to `reach` octaves either way in `steps` steps; keeps the best. */
static void descend(const bins *b, const oxp_histogram *h, clip *c, double *error, bool low,
                    bool high, float reach, int steps)
{
    clip centre = *c;
    for (int i = -steps; i <= steps; i++) {
        float octaves = reach * (float)i / (float)steps;
        clip trial = {centre.low + (low ? octaves : 0), centre.high + (high ? octaves : 0)};
        if (trial.low < 0 || trial.high < 0)
            continue;
        double e = clip_error(b, h, trial);
        if (e < *error) {
            *error = e;
            *c = trial;
        }
    }
}

/* Coarse steps over both ends at once, then each end and both with ever finer steps: the ends hang
 * together through the scale, so that moving one alone stops on a ridge. */
static oxp_scale by_mse(const oxp_histogram *h)
{
    bins b;
    occupied(&b, h);
    clip c = {0, 0};
    double error = clip_error(&b, h, c);
    bool has_low = 0 > h->min, has_high = 0 < h->max;
    descend(&b, h, &c, &error, has_low, has_high, CLIP_OCTAVES, CLIP_STEPS);
    for (float reach = 2.0f; reach > 0.02f; reach /= 3.0f) {
        if (has_low && has_high) {
            descend(&b, h, &c, &error, true, false, reach, 6);
            descend(&b, h, &c, &error, false, true, reach, 6);
        }
        descend(&b, h, &c, &error, has_low, has_high, reach, 6);
    }
    return oxp_scale_for_range(fminf(h->min, 0) * exp2f(-c.low), fmaxf(h->max, 0) * exp2f(-c.high),
                               255);
}

/* ---- entropy ---- */

#define ENTROPY_BINS 2048
#define ENTROPY_LEVELS 128
#define ENTROPY_STEP 16

static void smooth(double *x, size_t n)
{
    size_t zeros = 0;
    for (size_t i = 0; i < n; i++)
        zeros += x[i] <= 0;
    if (zeros == 0 || zeros == n)
        return;
    double take = 1e-4 * (double)zeros / (double)(n - zeros);
    for (size_t i = 0; i < n; i++)
        x[i] = x[i] <= 0 ? 1e-4 : x[i] - take;
}

static double divergence(double *p, double *q, size_t n)
{
    double sp = 0, sq = 0, kl = 0;
    smooth(p, n);
    smooth(q, n);
    for (size_t i = 0; i < n; i++) {
        if (p[i] <= 0 || q[i] <= 0)
            return INFINITY;
        sp += p[i];
        sq += q[i];
    }
    for (size_t i = 0; i < n; i++)
        kl += p[i] / sp * log((p[i] / sp) / (q[i] / sq));
    return kl;
}

/* 128 groups of floor(n / 128) bins, the last takes the remainder; a group's mass goes evenly to
 * its bins where P > 0. */
static void levels(double *q, const double *h, const double *p, size_t n)
{
    size_t width = n / ENTROPY_LEVELS;
    for (size_t g = 0; g < ENTROPY_LEVELS; g++) {
        size_t from = g * width, to = g + 1 == ENTROPY_LEVELS ? n : from + width, used = 0;
        double mass = 0;
        for (size_t i = from; i < to; i++) {
            mass += h[i];
            used += p[i] > 0;
        }
        for (size_t i = from; i < to; i++)
            q[i] = p[i] > 0 ? mass / (double)used : 0;
    }
}

static oxp_scale by_entropy(const oxp_histogram *hist)
{
    double h[ENTROPY_BINS], p[ENTROPY_BINS], q[ENTROPY_BINS];
    float most = fmaxf(fabsf(hist->min), fabsf(hist->max)),
          width = ldexpf(1.0f, hist->exponent + 1);
    size_t best = ENTROPY_BINS, used = 0;
    for (size_t i = 0; i < ENTROPY_BINS; i++) {
        h[i] = (double)(hist->positive[2 * i] + hist->positive[2 * i + 1] + hist->negative[2 * i] +
                        hist->negative[2 * i + 1]);
        used = h[i] > 0 ? i + 1 : used;
    }
    double least = INFINITY;
    for (size_t n = ENTROPY_LEVELS; n <= used; n += ENTROPY_STEP) {
        double tail = 0;
        memcpy(p, h, n * sizeof *p);
        for (size_t i = n; i < used; i++)
            tail += h[i];
        p[n - 1] += tail;
        levels(q, h, p, n);
        double kl = divergence(p, q, n);
        if (kl < least) {
            least = kl;
            best = n;
        }
    }
    float edge = best == ENTROPY_BINS ? most : fminf(most, (float)best * width);
    return oxp_scale_for_range(fmaxf(hist->min, -edge), fminf(hist->max, edge), 255);
}

oxp_scale oxp_scale_by(oxp_method method, const oxp_histogram *h, double percentile)
{
    if (h->count == 0)
        return oxp_scale_for_range(0, 0, 255);
    switch (method) {
    case OXP_METHOD_PERCENTILE:
        return by_percentile(h, percentile);
    case OXP_METHOD_ENTROPY:
        return by_entropy(h);
    case OXP_METHOD_MSE:
        return by_mse(h);
    case OXP_METHOD_MINMAX:
    case OXP_METHOD_COUNT:
        break;
    }
    return oxp_scale_for_range(h->min, h->max, 255);
}
