/* nbits.c - see nbits.h. */
#include "kernels/nbits.h"

#include "kernels/vector.h"

OXP_VECTORISED static void unpack_8(float *restrict out, const uint8_t *restrict codes, size_t n,
                                    float zero, float scale)
{
    for (size_t i = 0; i < n; i++)
        out[i] = ((float)codes[i] - zero) * scale;
}

OXP_VECTORISED static void unpack_4(float *restrict out, const uint8_t *restrict codes,
                                    size_t bytes, float zero, float scale)
{
    for (size_t i = 0; i < bytes; i++) {
        out[2 * i] = ((float)(codes[i] & 15) - zero) * scale;
        out[2 * i + 1] = ((float)(codes[i] >> 4) - zero) * scale;
    }
}

void oxp_unpack_bits(float *out, const uint8_t *codes, size_t n, unsigned bits, float zero,
                     float scale)
{
    size_t done = 0;
    if (bits == 8)
        unpack_8(out, codes, done = n, zero, scale);
    if (bits == 4)
        unpack_4(out, codes, (done = n / 2 * 2) / 2, zero, scale);
    for (size_t i = done; i < n; i++)
        out[i] = ((float)oxp_code_at(codes, i, bits) - zero) * scale;
}
