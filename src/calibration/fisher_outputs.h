/* fisher_outputs.h - the gradient at the outputs that a pass of fisher.c starts from. */
#ifndef OXP_CALIBRATION_FISHER_OUTPUTS_H
#define OXP_CALIBRATION_FISHER_OUTPUTS_H

#include "calibration/fisher.h"
#include "util/random.h"

/* Fills dy (shaped as y, FLOAT) with a draw of the gradient of log p(y | x) by the output's own
 * distribution, scaled so that its squares come out per row. `power`: of a gaussian output. */
void oxp_fisher_draw(float *dy, const oxp_tensor *y, oxp_output_kind kind, oxp_estimator estimator,
                     double power, oxp_random *random);

/* The gradient for given classes, one per row; a class outside the row is left out. */
void oxp_fisher_label(float *dy, const oxp_tensor *y, oxp_output_kind kind, const int64_t *labels,
                      size_t label_count);

/* Class `k` of the single row of y; returns its probability. */
double oxp_fisher_class(float *dy, const oxp_tensor *y, oxp_output_kind kind, size_t k);

/* Rows along the last axis. */
size_t oxp_output_rows(const oxp_tensor *y);

#endif
