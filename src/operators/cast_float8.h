/* cast_float8.h - the float formats below 16 bits: FLOAT8E4M3FN, FLOAT8E4M3FNUZ, FLOAT8E5M2,
 * FLOAT8E5M2FNUZ, FLOAT4E2M1 and the exponent-only FLOAT8E8M0, one code at a time.
 *
 * Rounding is to nearest even. Out of range: the largest value when `saturate`, else infinity
 * where the format has one, else NaN; FLOAT4E2M1 has neither and always saturates, NaN becomes
 * -0. */
#ifndef OXP_OPERATORS_CAST_FLOAT8_H
#define OXP_OPERATORS_CAST_FLOAT8_H

#include "util/tensor.h"

typedef enum oxp_e8m0_rounding { OXP_E8M0_UP, OXP_E8M0_DOWN, OXP_E8M0_NEAREST } oxp_e8m0_rounding;

bool oxp_dtype_is_float8(oxp_dtype dtype); /* the four formats with sign and mantissa in 8 bits */
bool oxp_dtype_is_minifloat(oxp_dtype dtype); /* all six */

float oxp_float8_load(oxp_dtype dtype, unsigned code);
unsigned oxp_float8_store(oxp_dtype dtype, float value, bool saturate);

float oxp_e8m0_load(unsigned code);
unsigned oxp_e8m0_store(float value, bool saturate, oxp_e8m0_rounding rounding);

#endif
