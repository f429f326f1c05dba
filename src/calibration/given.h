/* given.h - activations that the given model quantises itself: what stands between QuantizeLinear
 * and DequantizeLinear with one scale for the whole tensor, in 8 bits.
 *
 * An integer layer takes such a value as it is: quantising it again would lose more and cost two
 * nodes. Scales per channel or block, and other widths, are nothing that a layer can take. */
#ifndef OXP_CALIBRATION_GIVEN_H
#define OXP_CALIBRATION_GIVEN_H

#include "graph/graph.h"
#include "kernels/quantise.h"

typedef struct oxp_given {
    oxp_dtype dtype; /* of the codes: UINT8 or INT8 */
    oxp_scale scale; /* zero_point of the same grid in u8: that of INT8 codes plus 128 */
} oxp_given;

/* Whether a DequantizeLinear of codes that are computed makes the value. */
bool oxp_is_dequantised(const oxp_graph *graph, uint32_t value);
/* The same, and its scale is one that a layer can take. */
bool oxp_given_input(oxp_given *out, const oxp_graph *graph, uint32_t value);

/* Whether some QuantizeLinear reads the value. */
bool oxp_is_quantised(const oxp_graph *graph, uint32_t value);
/* The same, and it is the only reader, with a scale that a layer can take. */
bool oxp_given_output(oxp_given *out, const oxp_graph *graph, uint32_t value);

#endif
