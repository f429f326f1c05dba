/* input_statistics.h - what each single input shows of every ranged tensor: the draws that
 * statements about the number of samples are made of.
 *
 * A draw is an input, whatever it holds: tokens and pixels of one input are not independent. */
#ifndef OXP_CALIBRATION_INPUT_STATISTICS_H
#define OXP_CALIBRATION_INPUT_STATISTICS_H

#include "calibration/ranges.h"

typedef struct oxp_input_statistic {
    float min, max;  /* of the elements; 0 when there are none */
    double sum;      /* of the elements */
    double score;    /* oxp_scale_score() at the tensor's scale */
    size_t elements; /* finite ones that set a range */
    bool outside;    /* one element, drawn at random, lies outside the calibrated range */
} oxp_input_statistic;

typedef struct oxp_input_statistics {
    oxp_input_statistic *cells; /* [input * tensors + tensor], tensors as in the ranges */
    size_t inputs, tensors;
} oxp_input_statistics;

/* One pass over the samples. Lives in the arena. */
oxp_status oxp_input_statistics_collect(oxp_input_statistics *out, oxp_arena *arena,
                                        const oxp_graph *graph, const oxp_source *source,
                                        const size_t *which, size_t count,
                                        const oxp_ranges *ranges);

static inline const oxp_input_statistic *oxp_input_statistics_at(const oxp_input_statistics *s,
                                                                 size_t input, size_t tensor)
{
    return &s->cells[input * s->tensors + tensor];
}

#endif
