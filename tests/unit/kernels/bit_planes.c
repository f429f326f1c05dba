/* Planes: what is packed comes apart again by the arithmetic that the written model does. */
#include "kernels/bit_planes.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "util/random.h"

enum { N = 1003 };

/* byte / 2^k, floor, minus 2^width times the same one further. */
static float unpacked(uint8_t byte, size_t place, int width)
{
    float here = floorf((float)byte / (float)(1u << (place * (size_t)width)));
    float above = floorf((float)byte / (float)(1u << ((place + 1) * (size_t)width)));
    return here - above * (float)(1 << width);
}

Test(bit_planes, come_apart_by_float_arithmetic)
{
    for (int bits = 2; bits <= 7; bits++) {
        int limit = (1 << (bits - 1)) - 1, offset = 1 << (bits - 1);
        int8_t codes[N];
        float sum[N] = {0};
        oxp_random r = oxp_random_make(1, (uint64_t)bits, 0);
        for (size_t i = 0; i < N; i++)
            codes[i] = (int8_t)((int)oxp_random_below(&r, (size_t)(2 * limit + 1)) - limit);
        codes[0] = (int8_t)-limit;
        codes[1] = (int8_t)limit;
        oxp_bit_plane planes[OXP_BIT_PLANES_MAX];
        int count = oxp_bit_planes(planes, bits), width = 0;
        for (int p = 0; p < count; p++) {
            uint8_t packed[N];
            size_t each = 8 / (size_t)planes[p].width;
            cr_expect_eq(planes[p].shift, width);
            width += planes[p].width;
            oxp_bit_plane_pack(packed, codes, N, offset, planes[p]);
            for (size_t i = 0; i < N; i++)
                sum[i] += unpacked(packed[i / each], i % each, planes[p].width) *
                          (float)(1 << planes[p].shift);
        }
        cr_expect_eq(width, bits);
        for (size_t i = 0; i < N; i++)
            cr_expect_eq(sum[i] - (float)offset, (float)codes[i], "%d bits, %zu", bits, i);
    }
}

Test(bit_planes, bytes)
{
    cr_expect_eq(oxp_bit_plane_bytes((oxp_bit_plane){0, 4}, 5), 3);
    cr_expect_eq(oxp_bit_plane_bytes((oxp_bit_plane){0, 1}, 16), 2);
    cr_expect_eq(oxp_bit_plane_bytes((oxp_bit_plane){0, 2}, 1), 1);
}
