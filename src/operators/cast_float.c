/* cast_float.c - vectorised block conversions between the 16-bit floats and float. */
#include "operators/cast_float.h"

#include "operators/vector_math.h"

OXP_HOT static void half_load(float *to, const uint16_t *from, size_t count)
{
    OXP_LANES
    for (size_t i = 0; i < count; i++)
        to[i] = oxp_half_load(from[i]);
}

OXP_HOT static void half_store(uint16_t *to, const float *from, size_t count)
{
    OXP_LANES
    for (size_t i = 0; i < count; i++)
        to[i] = oxp_half_store(from[i]);
}

OXP_HOT static void bfloat_load(float *to, const uint16_t *from, size_t count)
{
    OXP_LANES
    for (size_t i = 0; i < count; i++)
        to[i] = oxp_bfloat_load(from[i]);
}

OXP_HOT static void bfloat_store(uint16_t *to, const float *from, size_t count)
{
    OXP_LANES
    for (size_t i = 0; i < count; i++)
        to[i] = oxp_bfloat_store(from[i]);
}

void oxp_floats_load(float *to, const void *from, oxp_dtype dtype, size_t count)
{
    if (dtype == OXP_FLOAT16)
        half_load(to, from, count);
    else if (dtype == OXP_BFLOAT16)
        bfloat_load(to, from, count);
    else
        memcpy(to, from, count * sizeof *to);
}

void oxp_floats_store(void *to, oxp_dtype dtype, const float *from, size_t count)
{
    if (dtype == OXP_FLOAT16)
        half_store(to, from, count);
    else if (dtype == OXP_BFLOAT16)
        bfloat_store(to, from, count);
    else
        memcpy(to, from, count * sizeof *from);
}
