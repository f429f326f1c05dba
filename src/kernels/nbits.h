/* nbits.h - codes of 2, 4 or 8 bits, packed with the first in the low bits of a byte, to floats. */
#ifndef OXP_KERNELS_NBITS_H
#define OXP_KERNELS_NBITS_H

#include <stddef.h>
#include <stdint.h>

/* out[i] = (code i - zero) * scale, the codes beginning with a byte. */
void oxp_unpack_bits(float *out, const uint8_t *codes, size_t n, unsigned bits, float zero,
                     float scale);

/* Code i. */
static inline unsigned oxp_code_at(const uint8_t *codes, size_t i, unsigned bits)
{
    size_t bit = i * bits;
    return (unsigned)codes[bit / 8] >> (bit % 8) & ((1u << bits) - 1);
}

#endif
