/* dynamic_lstm.h - LSTM in integers, what it reads quantised when it comes: com.microsoft
 * DynamicQuantizeLSTM.
 *
 * W [D, 4H, I] and R [D, 4H, H] become codes [D, I, 4H] and [D, H, 4H] with a scale per direction
 * and gate row, zero points 0. Both or neither: the two weights of a node are one pair. */
#ifndef OXP_TECHNIQUES_DYNAMIC_LSTM_H
#define OXP_TECHNIQUES_DYNAMIC_LSTM_H

#include "techniques/technique.h"

/* Whether the consumer is an LSTM whose two weights can both be codes; else *why_not. */
bool oxp_lstm_can_be_dynamic(const oxp_consumer *c, const char **why_not);

/* The site of the other weight of the LSTM that reads site `i`; SIZE_MAX when `i` is no such. */
size_t oxp_lstm_partner(const oxp_site *sites, size_t count, size_t i);

/* Rewrites the LSTM that reads site `i`, both weights at once. */
oxp_status oxp_lstm_make_dynamic(oxp_edit *e, size_t i);

#endif
