/* intervals.c - means, shares, extremes, bootstrap. */
#include "calibration/intervals.h"

#include <math.h>
#include <stdlib.h>

#include "util/random.h"

const char *oxp_interval_method_name(oxp_interval_method m)
{
    static const char *const names[OXP_INTERVAL_METHOD_COUNT] = {
        "hoeffding", "empirical_bernstein", "clopper_pearson", "order_statistics",
        "wilson",    "bootstrap",           "sandwich"};
    return m < OXP_INTERVAL_METHOD_COUNT ? names[m] : "?";
}

bool oxp_interval_is_guaranteed(oxp_interval_method m)
{
    return m <= OXP_INTERVAL_ORDER_STATISTICS;
}

/* The least n in [1, 2^53) for which `enough` holds; monotone in n. */
typedef bool (*enough_at)(const void *user, size_t n);

static size_t least(enough_at enough, const void *user)
{
    size_t low = 0, high = 1;
    while (!enough(user, high)) {
        if (high >= (size_t)1 << 52)
            return SIZE_MAX;
        low = high;
        high *= 2;
    }
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        *(enough(user, middle) ? &high : &low) = middle;
    }
    return high;
}

/* ---- means ---- */

double oxp_mean(const double *values, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += values[i];
    return n ? sum / (double)n : NAN;
}

double oxp_hoeffding_half_width(double range, size_t n, double delta)
{
    return n ? range * sqrt(log(2 / delta) / (2 * (double)n)) : INFINITY;
}

double oxp_bernstein_half_width(double range, double variance, size_t n, double delta)
{
    if (n < 2)
        return INFINITY;
    double l = log(4 / delta);
    return sqrt(2 * variance * l / (double)n) + 7 * range * l / (3 * (double)(n - 1));
}

oxp_half_width oxp_bounded_half_width(double range, double variance, size_t n, double delta)
{
    oxp_half_width h = {oxp_hoeffding_half_width(range, n, delta / 2), OXP_INTERVAL_HOEFFDING};
    double b = oxp_bernstein_half_width(range, variance, n, delta / 2);
    return b < h.value ? (oxp_half_width){b, OXP_INTERVAL_BERNSTEIN} : h;
}

typedef struct bounded {
    double range, variance, half_width, delta;
} bounded;

static bool bounded_enough(const void *user, size_t n)
{
    const bounded *b = user;
    return oxp_bounded_half_width(b->range, b->variance, n, b->delta).value <= b->half_width;
}

size_t oxp_bounded_needed(double range, double variance, double half_width, double delta)
{
    bounded b = {range, variance, half_width, delta};
    return half_width > 0 ? least(bounded_enough, &b) : range > 0 ? SIZE_MAX : 1;
}

/* ---- shares ---- */

static double log_choose(size_t n, size_t k)
{
    int sign; /* lgamma() itself writes a global */
    return lgamma_r((double)n + 1, &sign) - lgamma_r((double)k + 1, &sign) -
           lgamma_r((double)(n - k) + 1, &sign);
}

/* P(Binomial(n, p) <= k), summed in logarithms: exact enough for any n that a data set has. */
static double binomial_cdf(size_t k, size_t n, double p)
{
    if (k >= n || p <= 0)
        return 1.0;
    if (p >= 1)
        return 0.0;
    double sum = 0;
    for (size_t i = 0; i <= k; i++)
        sum += exp(log_choose(n, i) + (double)i * log(p) + (double)(n - i) * log1p(-p));
    return sum < 1 ? sum : 1;
}

oxp_interval oxp_interval_proportion(size_t successes, size_t n, double confidence)
{
    double tail = (1 - confidence) / 2;
    oxp_interval out = {0, 1};
    if (n == 0)
        return out;
    if (successes > 0) { /* P(X >= successes | low) = tail */
        double a = 0, b = 1;
        for (int i = 0; i < 60; i++) {
            double p = (a + b) / 2;
            *(1 - binomial_cdf(successes - 1, n, p) < tail ? &a : &b) = p;
        }
        out.low = a;
    }
    if (successes < n) { /* P(X <= successes | high) = tail */
        double a = 0, b = 1;
        for (int i = 0; i < 60; i++) {
            double p = (a + b) / 2;
            *(binomial_cdf(successes, n, p) > tail ? &a : &b) = p;
        }
        out.high = b;
    }
    return out;
}

oxp_interval oxp_interval_wilson(size_t successes, size_t n, double confidence)
{
    if (n == 0)
        return (oxp_interval){0, 1};
    double z = oxp_normal_quantile(1 - (1 - confidence) / 2), m = (double)n;
    double p = (double)successes / m, scale = 1 + z * z / m;
    double centre = (p + z * z / (2 * m)) / scale;
    double half = z * sqrt(p * (1 - p) / m + z * z / (4 * m * m)) / scale;
    return (oxp_interval){fmax(0, centre - half), fmin(1, centre + half)};
}

typedef struct proportion {
    double share, half_width, confidence;
} proportion;

static bool proportion_enough(const void *user, size_t n)
{
    const proportion *p = user;
    if (n > 1000000) /* the exact sum grows with n: here the normal form is as good */
        return oxp_normal_quantile(1 - (1 - p->confidence) / 2) *
                   sqrt(p->share * (1 - p->share) / (double)n) <=
               p->half_width;
    size_t k = (size_t)nearbyint(p->share * (double)n);
    oxp_interval i = oxp_interval_proportion(k, n, p->confidence);
    double at = (double)k / (double)n;
    return at - i.low <= p->half_width && i.high - at <= p->half_width;
}

size_t oxp_proportion_needed(double share, double half_width, double confidence)
{
    proportion p = {share, half_width, confidence};
    return half_width > 0 ? least(proportion_enough, &p) : SIZE_MAX;
}

oxp_interval oxp_interval_paired(size_t only_a, size_t only_b, size_t n, double confidence)
{
    size_t discordant = only_a + only_b;
    double half = 1 - (1 - confidence) / 2;
    oxp_interval share = oxp_interval_proportion(discordant, n, half);
    oxp_interval split = oxp_interval_proportion(only_b, discordant, half);
    double low = 2 * split.low - 1, high = 2 * split.high - 1;
    return (oxp_interval){low < 0 ? low * share.high : low * share.low,
                          high > 0 ? high * share.high : high * share.low};
}

/* ---- extremes and quantiles ---- */

double oxp_beyond_extreme(size_t n, double delta)
{
    return n ? -expm1(log(delta) / (double)n) : 1;
}

size_t oxp_extreme_needed(double beyond, double delta)
{
    if (beyond >= 1)
        return 1;
    if (beyond <= 0)
        return SIZE_MAX;
    double n = ceil(log(delta) / log1p(-beyond) - 1e-9);
    return n < 1 ? 1 : n < 0x1p53 ? (size_t)n : SIZE_MAX;
}

oxp_ranks oxp_quantile_ranks(size_t n, double share, double delta)
{
    oxp_ranks r = {0, 0};
    double below = 0; /* P(Binomial <= rank - 1) */
    for (size_t rank = 1; rank <= n; rank++) {
        below += exp(log_choose(n, rank - 1) + (double)(rank - 1) * log(share) +
                     (double)(n - rank + 1) * log1p(-share));
        if (below <= delta / 2)
            r.lower = rank;
        /* P(Binomial >= rank) = 1 - below */
        if (r.upper == 0 && 1 - below <= delta / 2)
            r.upper = rank;
    }
    return r;
}

/* ---- the normal distribution ---- */

double oxp_normal_cdf(double z)
{
    return 0.5 * erfc(-z / sqrt(2.0));
}

/* Bisection on the distribution itself, in the tail where it is exact. */
double oxp_normal_quantile(double p)
{
    double sign = p > 0.5 ? 1 : -1, tail = p > 0.5 ? 1 - p : p;
    double low = 0, high = 40; /* cdf(-high) <= tail <= cdf(-low) */
    for (int i = 0; i < 64; i++) {
        double z = (low + high) / 2;
        *(oxp_normal_cdf(-z) > tail ? &low : &high) = z;
    }
    return sign * (low + high) / 2;
}

/* ---- bootstrap ---- */

size_t oxp_bootstrap_bytes(size_t n, size_t draws)
{
    return (draws + n) * sizeof(double) + n * sizeof(uint32_t);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The acceleration: a sixth of the skewness of the statistic's change when an input is left out. */
static double acceleration(oxp_statistic statistic, const void *user, uint32_t *counts,
                           double *left_out, size_t n)
{
    double mean = 0, second = 0, third = 0;
    for (size_t i = 0; i < n; i++)
        counts[i] = 1;
    for (size_t i = 0; i < n; i++) {
        counts[i] = 0;
        left_out[i] = statistic(user, counts, n);
        mean += left_out[i] / (double)n;
        counts[i] = 1;
    }
    for (size_t i = 0; i < n; i++) {
        double d = mean - left_out[i];
        second += d * d;
        third += d * d * d;
    }
    return second > 0 ? third / (6 * pow(second, 1.5)) : 0;
}

static double percentile_of(const double *sorted, size_t count, double share)
{
    double at = share * (double)(count - 1);
    size_t k = (size_t)at;
    return k + 1 < count ? sorted[k] + (at - (double)k) * (sorted[k + 1] - sorted[k])
                         : sorted[count - 1];
}

oxp_interval oxp_bootstrap(oxp_statistic statistic, const void *user, size_t n, size_t draws,
                           double confidence, uint64_t seed, void *work)
{
    double *values = work, *left_out = values + draws;
    uint32_t *counts = (uint32_t *)(left_out + n);
    if (n < 2 || draws < 2)
        return (oxp_interval){NAN, NAN};
    double a = acceleration(statistic, user, counts, left_out, n), below = 0;
    double seen = statistic(user, counts, n);
    bool finite = isfinite(seen) && isfinite(a);
    oxp_random random = oxp_random_make(seed, n, 0);
    for (size_t b = 0; b < draws; b++) {
        for (size_t i = 0; i < n; i++)
            counts[i] = 0;
        for (size_t i = 0; i < n; i++)
            counts[oxp_random_below(&random, n)]++;
        values[b] = statistic(user, counts, n);
        finite = finite && isfinite(values[b]);
        below += values[b] < seen ? 1 : values[b] > seen ? 0 : 0.5;
    }
    if (!finite)
        return (oxp_interval){NAN, NAN};
    qsort(values, draws, sizeof *values, by_size);
    double share = fmin(fmax(below, 0.5), (double)draws - 0.5) / (double)draws;
    double bias = oxp_normal_quantile(share), z = oxp_normal_quantile(1 - (1 - confidence) / 2);
    double lower = bias + (bias - z) / (1 - a * (bias - z));
    double upper = bias + (bias + z) / (1 - a * (bias + z));
    return (oxp_interval){percentile_of(values, draws, oxp_normal_cdf(lower)),
                          percentile_of(values, draws, oxp_normal_cdf(upper))};
}

static double mean_of(const void *user, const uint32_t *counts, size_t n)
{
    const double *values = user;
    double sum = 0, total = 0;
    for (size_t i = 0; i < n; i++) {
        sum += (double)counts[i] * values[i];
        total += (double)counts[i];
    }
    return sum / total;
}

oxp_interval oxp_bootstrap_mean(const double *values, size_t n, size_t draws, double confidence,
                                uint64_t seed, void *work)
{
    return oxp_bootstrap(mean_of, values, n, draws, confidence, seed, work);
}
