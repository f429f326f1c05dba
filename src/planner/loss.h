/* loss.h - the loss of an input in nats: KL of the outputs' distribution, original to compressed.
 *
 * Categorical outputs: KL per row. Bernoulli: KL summed over elements. Embeddings: 1 - cos per row,
 * in place of a distribution. Real values: half the squared error over the output's mean power.
 * Outputs of a float type are added. */
#ifndef OXP_PLANNER_LOSS_H
#define OXP_PLANNER_LOSS_H

#include "planner/evaluate.h"

/* Mean power of each output over the reference samples: out[output_count]. */
void oxp_output_powers(double *out, const oxp_reference *r);

/* Of one input's differences, [output_count]. */
double oxp_input_loss(const oxp_reference *r, const oxp_difference *input, const double *powers);

#endif
