/* quantize_linear_layout.h - which scale belongs to which element: one for the tensor, one per
 * index along `axis`, or one per block of block_size neighbours along `axis`. */
#ifndef OXP_OPERATORS_QUANTIZE_LINEAR_LAYOUT_H
#define OXP_OPERATORS_QUANTIZE_LINEAR_LAYOUT_H

#include "operators/operator.h"

typedef struct oxp_quantization {
    size_t count;                /* elements */
    size_t outer, length, inner; /* before, along and after the axis */
    size_t block;                /* 0: no blocks */
    bool per_tensor;
} oxp_quantization;

/* Reads axis and block_size and checks the shapes of scale (input 1) and zero point (input 2,
 * may be omitted). */
oxp_status oxp_quantization_prepare(oxp_node *n, oxp_quantization *q);

/* Elements offset .. offset+count-1 have the scale `scale`, or with `moves` the scales from
 * there on, one each. */
typedef void (*oxp_quantization_visit)(void *user, size_t offset, size_t count, size_t scale,
                                       bool moves);
void oxp_quantization_walk(const oxp_quantization *q, oxp_quantization_visit visit, void *user);

/* Types of 2 and 4 bits as one code per byte (signed types sign-extended), and back. */
void oxp_codes_unpack(int8_t *to, const oxp_tensor *packed);
void oxp_codes_pack(oxp_tensor *packed, const int8_t *from);

/* Scale or zero point i as floats; all zero when the input is omitted. */
oxp_status oxp_quantization_floats(oxp_node *n, int i, const float **values);

#endif
