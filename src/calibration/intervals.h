/* intervals.h - statements about a mean, a share or an extreme that n independent inputs allow.
 *
 * n is the number of inputs, never of tokens, pixels or elements: those of one input depend on each
 * other. `delta` is the probability of being wrong, 1 - confidence; for a statement about m tensors
 * at once each takes delta / m.
 *
 * Guaranteed for every distribution: Hoeffding and empirical Bernstein (values inside a known
 * range), Clopper-Pearson (0/1), order statistics (any). Approximate: Wilson, bootstrap, sandwich.
 * Sources: Hoeffding 1963; Maurer and Pontil 2009, theorem 4; Clopper and Pearson 1934; Wilks
 * 1941; Wilson 1927; Efron 1987 (BCa). */
#ifndef OXP_CALIBRATION_INTERVALS_H
#define OXP_CALIBRATION_INTERVALS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct oxp_interval {
    double low, high;
} oxp_interval;

typedef enum oxp_interval_method {
    OXP_INTERVAL_HOEFFDING,
    OXP_INTERVAL_BERNSTEIN,
    OXP_INTERVAL_CLOPPER_PEARSON,
    OXP_INTERVAL_ORDER_STATISTICS,
    OXP_INTERVAL_WILSON,
    OXP_INTERVAL_BOOTSTRAP,
    OXP_INTERVAL_SANDWICH,
    OXP_INTERVAL_METHOD_COUNT
} oxp_interval_method;

const char *oxp_interval_method_name(oxp_interval_method m);
/* Holds for every distribution; else it is an approximation, to be named as one. */
bool oxp_interval_is_guaranteed(oxp_interval_method m);

double oxp_mean(const double *values, size_t n); /* NAN of none */

/* ---- means of values inside a range of known width R ---- */

/* R sqrt(ln(2 / delta) / (2 n)) */
double oxp_hoeffding_half_width(double range, size_t n, double delta);
/* sqrt(2 V ln(4 / delta) / n) + 7 R ln(4 / delta) / (3 (n - 1)), V the sample variance with
 * n - 1; infinite below two inputs. */
double oxp_bernstein_half_width(double range, double variance, size_t n, double delta);

typedef struct oxp_half_width {
    double value;
    oxp_interval_method method;
} oxp_half_width;

/* The smaller of both, each at delta / 2. */
oxp_half_width oxp_bounded_half_width(double range, double variance, size_t n, double delta);
/* The least n at which that is at most `half_width`, the variance held: a prediction, no bound.
 * SIZE_MAX where none below 2^53 does. */
size_t oxp_bounded_needed(double range, double variance, double half_width, double delta);

/* ---- shares ---- */

/* Clopper-Pearson: holds for independent rows. */
oxp_interval oxp_interval_proportion(size_t successes, size_t n, double confidence);
/* Wilson's score interval; z is the normal quantile of 1 - (1 - confidence) / 2. */
oxp_interval oxp_interval_wilson(size_t successes, size_t n, double confidence);
/* The least n whose Clopper-Pearson interval is at most `half_width` to either side of a share that
 * stays as it is. */
size_t oxp_proportion_needed(double share, double half_width, double confidence);

/* The difference of two accuracies on the same rows: (only_b - only_a) / n, from exact binomial
 * limits on the discordant rows and on their share (each at half the error), hence conservative. */
oxp_interval oxp_interval_paired(size_t only_a, size_t only_b, size_t n, double confidence);

/* ---- extremes and quantiles, from order statistics ---- */

/* How often a new input can lie beyond the extreme of n, with confidence 1 - delta:
 * 1 - delta^(1/n). */
double oxp_beyond_extreme(size_t n, double delta);
/* Inputs after which a new one lies beyond their extreme with probability at most `beyond`:
 * ceil(ln delta / ln(1 - beyond)). */
size_t oxp_extreme_needed(double beyond, double delta);

typedef struct oxp_ranks { /* 1-based ranks among n sorted values; 0: that end is unbounded */
    size_t lower, upper;
} oxp_ranks;

/* Ranks l <= u such that [X_(l), X_(u)] holds the quantile `share` with confidence 1 - delta. */
oxp_ranks oxp_quantile_ranks(size_t n, double share, double delta);

/* ---- bootstrap over inputs ---- */

/* A statistic of a resample: `counts[i]` says how often input i was drawn; they add up to n. */
typedef double (*oxp_statistic)(const void *user, const uint32_t *counts, size_t n);

/* Bias-corrected and accelerated; `draws` resamples (1,000 and more), the same for the same seed.
 * Low and high are NAN where the statistic has no finite value on a resample. `work` holds
 * draws + n doubles and n counts: oxp_bootstrap_bytes(). */
oxp_interval oxp_bootstrap(oxp_statistic statistic, const void *user, size_t n, size_t draws,
                           double confidence, uint64_t seed, void *work);
size_t oxp_bootstrap_bytes(size_t n, size_t draws);
/* The same for the mean of n values. */
oxp_interval oxp_bootstrap_mean(const double *values, size_t n, size_t draws, double confidence,
                                uint64_t seed, void *work);

/* ---- the normal distribution ---- */

double oxp_normal_cdf(double z);
double oxp_normal_quantile(double p); /* 0 < p < 1; absolute error below 1e-9 */

#endif
