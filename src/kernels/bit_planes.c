/* bit_planes.c - packing. */
#include "kernels/bit_planes.h"

#include <string.h>

int oxp_bit_planes(oxp_bit_plane planes[OXP_BIT_PLANES_MAX], int bits)
{
    int count = 0, shift = 0;
    for (int width = 4; width >= 1; width /= 2)
        if (bits & width) {
            planes[count++] = (oxp_bit_plane){shift, width};
            shift += width;
        }
    return count;
}

void oxp_bit_plane_pack(uint8_t *out, const int8_t *codes, size_t n, int offset, oxp_bit_plane p)
{
    unsigned mask = (1u << p.width) - 1;
    size_t each = 8 / (size_t)p.width;
    memset(out, 0, oxp_bit_plane_bytes(p, n));
    for (size_t i = 0; i < n; i++) {
        unsigned code = (unsigned)(codes[i] + offset) >> p.shift & mask;
        out[i / each] |= (uint8_t)(code << (i % each * (size_t)p.width));
    }
}
