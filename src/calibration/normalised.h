/* normalised.h - whether a value is an embedding: rows divided by their own Euclidean norm. */
#ifndef OXP_CALIBRATION_NORMALISED_H
#define OXP_CALIBRATION_NORMALISED_H

#include "graph/graph.h"

/* Read off the nodes that make the value: LpNormalization, x / |x|, or x times 1 / |x|, where |x|
 * is ReduceL2 or the root of a sum of squares over the last axis, with whatever keeps it from zero
 * or gives it its shape back. */
bool oxp_is_normalised(const oxp_graph *graph, uint32_t value);

#endif
