/* cast_integer.h - one element of an 8- to 64-bit integer tensor to and from int64. UINT64 keeps
 * its bits; stores cut to the type's width, as two's complement does. */
#ifndef OXP_OPERATORS_CAST_INTEGER_H
#define OXP_OPERATORS_CAST_INTEGER_H

#include "util/tensor.h"

/* 1, 2, 4 or 8; 0 for everything that is not an integer of whole bytes. */
static inline size_t oxp_integer_bytes(oxp_dtype dtype)
{
    return oxp_dtype_is_integer(dtype) ? oxp_dtype_bits(dtype) / 8 : 0;
}

static inline bool oxp_integer_is_unsigned(oxp_dtype dtype)
{
    return dtype == OXP_UINT8 || dtype == OXP_UINT16 || dtype == OXP_UINT32 || dtype == OXP_UINT64;
}

static inline int64_t oxp_integer_load(const void *data, oxp_dtype dtype, size_t i)
{
    switch (dtype) {
    case OXP_UINT8:
    case OXP_BOOL:
        return ((const uint8_t *)data)[i];
    case OXP_INT8:
        return ((const int8_t *)data)[i];
    case OXP_UINT16:
        return ((const uint16_t *)data)[i];
    case OXP_INT16:
        return ((const int16_t *)data)[i];
    case OXP_UINT32:
        return ((const uint32_t *)data)[i];
    case OXP_INT32:
        return ((const int32_t *)data)[i];
    default:
        return ((const int64_t *)data)[i];
    }
}

static inline void oxp_integer_store(void *data, oxp_dtype dtype, size_t i, int64_t value)
{
    switch (dtype) {
    case OXP_UINT8:
    case OXP_INT8:
    case OXP_BOOL:
        ((uint8_t *)data)[i] = (uint8_t)value;
        break;
    case OXP_UINT16:
    case OXP_INT16:
        ((uint16_t *)data)[i] = (uint16_t)value;
        break;
    case OXP_UINT32:
    case OXP_INT32:
        ((uint32_t *)data)[i] = (uint32_t)value;
        break;
    default:
        ((int64_t *)data)[i] = value;
        break;
    }
}

#endif
