/* evaluate.h - the outputs of one model against those of another on the same samples. */
#ifndef OXP_PLANNER_EVALUATE_H
#define OXP_PLANNER_EVALUATE_H

#include "calibration/metrics.h"
#include "calibration/runner.h"

/* The float outputs of some samples, kept to compare against. */
typedef struct oxp_reference {
    oxp_ctx *ctx;
    oxp_source source;
    size_t *which; /* sample indices */
    size_t count;
    size_t output_count;
    oxp_output_kind *kinds; /* by output */
    oxp_tensor *outputs;    /* [slot * output_count + output], owned */
    const int64_t **labels; /* by slot, borrowed; NULL without labels */
    size_t *label_counts;
} oxp_reference;

/* Runs the float graph. */
oxp_status oxp_reference_make(oxp_reference *out, oxp_ctx *ctx, const oxp_graph *graph,
                              const oxp_source *source, const size_t *which, size_t count);
void oxp_reference_free(oxp_reference *r);
/* E-CALIB-NONFINITE (8) names an output of `graph` without a number in any sample. */
oxp_status oxp_reference_check(const oxp_reference *r, const oxp_graph *graph);
/* Labels of a slot's rows, for the accuracy of categorical outputs. */
oxp_status oxp_reference_label(oxp_reference *r, size_t slot, const int64_t *labels, size_t count);

/* The first `count` reference samples through a model: differences[output], summed in sample order.
 * Integer outputs count as differing when any element does (nonfinite). */
oxp_status oxp_evaluate(oxp_difference *differences, const oxp_reference *r, oxp_model *model,
                        size_t count, const char *stage);

/* The same, input by input: slots[input * output_count + output]. */
oxp_status oxp_evaluate_inputs(oxp_difference *slots, const oxp_reference *r, oxp_model *model,
                               size_t count, const char *stage);

/* The least SQNR over float outputs, in dB; 200 when there is none. */
double oxp_least_sqnr(const oxp_reference *r, const oxp_difference *differences);

/* Noise over signal, summed over float outputs: what a change costs, comparable between changes. */
double oxp_noise_share(const oxp_reference *r, const oxp_difference *differences);

#endif
