/* quantized_inputs.h - scales and zero points of the operators on 8-bit codes.
 *
 * A scale or zero point has one element for a whole tensor or as many as the tensor has rows,
 * columns or channels. Checked in prepare, read in forward. */
#ifndef OXP_OPERATORS_QUANTIZED_INPUTS_H
#define OXP_OPERATORS_QUANTIZED_INPUTS_H

#include "operators/operator.h"

/* Input i must hold 8-bit codes: UINT8 or INT8 (E-OP-DTYPE). */
oxp_status oxp_codes_want(oxp_node *n, int i);

/* Inputs `scale` (a float type) and `zero_point` (type of the codes at input `codes`; may be
 * omitted, also with -1) must have one element or `count`. */
oxp_status oxp_quantized_want(oxp_node *n, int scale, int zero_point, oxp_dtype codes,
                              size_t count);

/* `count` floats: the elements of input i, or its one element repeated; NULL out of memory. */
const float *oxp_quantized_scales(oxp_node *n, int i, size_t count);
/* The same of a zero point; *out NULL (all zero) when it is omitted. */
oxp_status oxp_quantized_zeros(oxp_node *n, int i, size_t count, const int32_t **out);

float oxp_quantized_scale(const oxp_node *n, int i);  /* of one element */
int32_t oxp_quantized_zero(const oxp_node *n, int i); /* 0 when omitted */

/* A scale that is read must be positive and finite: E-RANGE. */
oxp_status oxp_quantized_check(oxp_node *n, int i);

static inline bool oxp_is_signed(oxp_dtype dtype)
{
    return dtype == OXP_INT8;
}

#endif
