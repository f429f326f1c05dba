/* statistics.h - histograms whose result does not depend on order, grouping or threads.
 *
 * Bins have width 2^exponent; bin k of a side holds k <= |x| / 2^exponent < k + 1. When a value
 * does not fit, pairs of bins merge and the exponent grows by one, exactly; so the final histogram
 * is a function of the set of values alone. Counts are integers. Values of 1e30 and more in size
 * (masks, infinities) are counted apart and set no range. */
#ifndef OXP_KERNELS_STATISTICS_H
#define OXP_KERNELS_STATISTICS_H

#include "util/memory.h"

#define OXP_HISTOGRAM_BINS 4096
#define OXP_HUGE_VALUE 1e30f

typedef struct oxp_histogram {
    int exponent; /* of the bin width; meaningful once `count` is not zero */
    uint64_t positive[OXP_HISTOGRAM_BINS]; /* includes zero */
    uint64_t negative[OXP_HISTOGRAM_BINS];
    uint64_t count; /* finite values below OXP_HUGE_VALUE in size */
    uint64_t huge, nan;
    float min, max; /* of the counted values */
} oxp_histogram;

void oxp_histogram_init(oxp_histogram *h);
void oxp_histogram_add(oxp_histogram *h, const float *x, size_t n);
void oxp_histogram_merge(oxp_histogram *into, const oxp_histogram *from);

/* The value below which `share` of the counted values lie: an upper (for share > 1/2) or lower bin
 * edge. */
float oxp_histogram_quantile(const oxp_histogram *h, double share, bool upper);

/* The least and largest element, NaN left out; INFINITY and -INFINITY when there is none. */
void oxp_extremes(const float *x, size_t n, float *low, float *high);
/* Sum of (a - b)^2 in double over fixed partial sums; differences of OXP_HUGE_VALUE and more, and
 * what is not finite, are left out. */
double oxp_squared_distance(const float *a, const float *b, size_t n);

#endif
