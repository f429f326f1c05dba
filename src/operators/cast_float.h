/* cast_float.h - blocks of FLOAT, FLOAT16 and BFLOAT16 elements to and from float. Arithmetic on
 * the half types is done in float and rounded once, to nearest even. */
#ifndef OXP_OPERATORS_CAST_FLOAT_H
#define OXP_OPERATORS_CAST_FLOAT_H

#include "util/tensor.h"

/* Elements that fit a block buffer on the stack. */
#define OXP_BLOCK 512

void oxp_floats_load(float *to, const void *from, oxp_dtype dtype, size_t count);
void oxp_floats_store(void *to, oxp_dtype dtype, const float *from, size_t count);

static inline bool oxp_dtype_is_half(oxp_dtype dtype)
{
    return dtype == OXP_FLOAT16 || dtype == OXP_BFLOAT16;
}

#endif
