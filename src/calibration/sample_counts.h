/* sample_counts.h - how many inputs the statistics of a calibration need.
 *
 * Per tensor up to two statements:
 *   outside  the probability of a new value outside the calibrated range. Where no input had one
 *            (min-max): that a new input has any, by order statistics; an end that the operator
 *            itself bounds (0 of a Relu) cannot be passed and costs nothing. Where some had
 *            (percentile, entropy): Clopper-Pearson on one value drawn at random from each input.
 *   scale    where the scale is the one of least squared error: its error by the sandwich formula
 *            over inputs, as a share of the scale (the range is a fixed number of steps). Where
 *            the formula does not hold the tensor gets the statement above.
 *   mean     where the range is known from the operator (Sigmoid, Softmax, Tanh, HardSigmoid): the
 *            mean over inputs, by Hoeffding or empirical Bernstein, as a share of that range.
 * All hold at once with the stated confidence: each takes its part of the error. `needed` holds
 * what was seen (variance, share) fixed: it predicts, it does not promise. */
#ifndef OXP_CALIBRATION_SAMPLE_COUNTS_H
#define OXP_CALIBRATION_SAMPLE_COUNTS_H

#include "calibration/input_statistics.h"
#include "calibration/intervals.h"

typedef enum oxp_sample_statistic {
    OXP_STATISTIC_OUTSIDE,
    OXP_STATISTIC_SCALE,
    OXP_STATISTIC_MEAN,
    OXP_STATISTIC_COUNT
} oxp_sample_statistic;

const char *oxp_sample_statistic_name(oxp_sample_statistic s);

typedef struct oxp_sample_row {
    size_t tensor; /* item of the ranges */
    oxp_sample_statistic statistic;
    oxp_interval_method method;
    double half_width; /* at the asked number of inputs */
    size_t needed;     /* inputs at which it is at most the tolerance; SIZE_MAX: no number is */
    bool enough;
} oxp_sample_row;

typedef struct oxp_sample_counts {
    oxp_sample_row *rows;
    size_t count, short_count; /* short: rows that are not enough */
    size_t needed;             /* the largest; 1 without rows */
} oxp_sample_counts;

/* At `inputs` inputs (0: as many as were seen). In the arena. */
oxp_status oxp_sample_counts_make(oxp_sample_counts *out, oxp_arena *arena, const oxp_graph *graph,
                                  const oxp_ranges *ranges, const oxp_input_statistics *statistics,
                                  double tolerance, double confidence, size_t inputs);

#endif
