/* bit_planes.h - codes of 2 to 7 bits as planes of 4, 2 and 1 bits, each packed into whole bytes.
 *
 * A plane holds `width` bits of every code, the first code of a byte in its lowest bits: what
 * arithmetic on floats takes apart again (byte / 2^k, floor), which every runtime has. */
#ifndef OXP_KERNELS_BIT_PLANES_H
#define OXP_KERNELS_BIT_PLANES_H

#include <stddef.h>
#include <stdint.h>

#define OXP_BIT_PLANES_MAX 3

typedef struct oxp_bit_plane {
    int shift, width; /* bits shift .. shift + width - 1 of the code; width is 1, 2 or 4 */
} oxp_bit_plane;

/* The planes of a width of 2 to 7 bits, lowest first; returns how many. */
int oxp_bit_planes(oxp_bit_plane planes[OXP_BIT_PLANES_MAX], int bits);

/* Bytes of a plane of n codes. */
static inline size_t oxp_bit_plane_bytes(oxp_bit_plane p, size_t n)
{
    size_t each = 8 / (size_t)p.width;
    return (n + each - 1) / each;
}

/* The plane of code + offset (which is not negative); bits behind the last code are 0. */
void oxp_bit_plane_pack(uint8_t *out, const int8_t *codes, size_t n, int offset, oxp_bit_plane p);

#endif
