/* half.h - conversions between float and the 16-bit float formats, one value at a time.
 * Rounding is to nearest even; overflow gives infinity; NaN stays NaN. */
#ifndef OXP_UTIL_HALF_H
#define OXP_UTIL_HALF_H

#include <stdint.h>

float oxp_half_to_float(uint16_t bits);
uint16_t oxp_float_to_half(float value);
float oxp_bfloat16_to_float(uint16_t bits);
uint16_t oxp_float_to_bfloat16(float value);

#endif
