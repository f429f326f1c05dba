/* hard_swish_blocks.h - x * HardSigmoid(x) between an integer and a float convolution.
 *
 * ONNX Runtime fuses x * HardSigmoid(x) into the float Conv that makes x. Behind an integer one it
 * would be two nodes and two DequantizeLinear (one for each reader of x), in the plain layout. A
 * depthwise 1x1 Conv with weights 1 behind the DequantizeLinear takes it in instead, and stands in
 * the blocked layout that the next float Conv wants: measured 1.01 to 1.03 on whole networks. */
#ifndef OXP_TECHNIQUES_HARD_SWISH_BLOCKS_H
#define OXP_TECHNIQUES_HARD_SWISH_BLOCKS_H

#include "techniques/islands.h"
#include "techniques/technique.h"

/* Channels of a Conv's result that HardSigmoid and Mul alone read, for float Convs; 0 otherwise. */
size_t oxp_hard_swish_channels(const oxp_islands *islands, const oxp_value *v);

/* output = Conv(input) with weights 1, before position `at`. */
oxp_status oxp_hard_swish_conv(oxp_edit *e, const oxp_graph *g, size_t at, size_t channels,
                               const char *input, const char *output);

#endif
