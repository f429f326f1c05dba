/* race.h - which method's scale costs the layers that read a value least: pass two of calibration.
 *
 * A trial runs a judging node once more with its input 0 quantised: o = |y(Q(x)) - y(x)|^2. That is
 * as dear as the node itself, so with many samples only some are tried, T of them, and
 *
 *     sum of o over all samples ~ sum of e over all samples * sum over T of o / sum over T of e,
 *
 * e = |Q(x) - x|^2 of the input, which the histogram of all samples gives (a ratio estimate: what
 * differs from sample to sample, rare outliers that a scale clips, shows in e). T holds the samples
 * in which most values have their largest and smallest elements, and others spread over the rest;
 * all samples when they are few: then the sum of o is exact. A method that is far behind after the
 * first samples of T is tried no more. Errors go into slots by sample and are added in order. */
#ifndef OXP_CALIBRATION_RACE_H
#define OXP_CALIBRATION_RACE_H

#include "calibration/ranges.h"

#define OXP_TRIALS (OXP_METHOD_COUNT + 1) /* the last one is the dynamic scale */

typedef struct oxp_extreme { /* the first sample in which an item has its smallest or largest */
    size_t low, high;
} oxp_extreme;

typedef struct oxp_race {
    const oxp_graph *graph;
    const oxp_judge *judges;
    size_t judge_count;
    const oxp_scale *scales;      /* [item * OXP_METHOD_COUNT + method] */
    const oxp_extreme *extremes;  /* by item; positions in `which` */
    const double *dynamic_errors; /* by item: e over all samples at their own scales */
    size_t tried;                 /* samples that are tried, at most */
} oxp_race;

/* The scale that DynamicQuantizeLinear takes from this very tensor. */
oxp_scale oxp_scale_of_run(const oxp_tensor *t);

/* Fills output_error, dynamic_error and judged of all items, and method and scale of those that are
 * not fixed. Errors are those of all `count` samples, measured or estimated. */
oxp_status oxp_race_run(oxp_ranges *ranges, oxp_arena *arena, const oxp_race *race,
                        const oxp_source *source, const size_t *which, size_t count);

#endif
