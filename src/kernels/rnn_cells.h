/* rnn_cells.h - the elementwise half of a step, for one batch entry: gates hold x W^T + h R^T + b
 * and are overwritten. */
#ifndef OXP_KERNELS_RNN_CELLS_H
#define OXP_KERNELS_RNN_CELLS_H

#include "kernels/rnn.h"

void oxp_rnn_cell(const oxp_rnn_shape *s, const float *gates, float *h);
void oxp_lstm_cell(const oxp_rnn_shape *s, const float *gates, const float *peepholes, float *h,
                   float *c);

/* Makes z and r of the first two gates; product = r h. */
void oxp_gru_reset(const oxp_rnn_shape *s, float *gates, const float *h, float *product);
/* Third gate += r (linear + bias). */
void oxp_gru_linear(const oxp_rnn_shape *s, float *gates, const float *linear, const float *bias);
/* After one of the above. */
void oxp_gru_cell(const oxp_rnn_shape *s, const float *gates, float *h);

#endif
