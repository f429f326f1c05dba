/* transpose.c - blocks of 4 by 4 in registers, 16 columns at a time so that every line of the
 * source is used whole; 8 when the rows of the destination lie a multiple of 2 KB apart and would
 * push each other out of the cache. */
#include "kernels/transpose.h"

#include "kernels/vector.h"

#define LINE 16

typedef float lanes4 __attribute__((vector_size(16), aligned(4), may_alias));
typedef int mask4 __attribute__((vector_size(16)));

#if defined(__clang__)
#define PICK(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#else
#define PICK(a, b, i, j, k, l) __builtin_shuffle(a, b, (mask4){i, j, k, l})
#endif

static void transpose_4x4(float *to, size_t to_stride, const float *from, size_t from_stride)
{
    lanes4 a = *(const lanes4 *)from, b = *(const lanes4 *)(from + from_stride);
    lanes4 c = *(const lanes4 *)(from + 2 * from_stride),
           d = *(const lanes4 *)(from + 3 * from_stride);
    lanes4 ab_low = PICK(a, b, 0, 4, 1, 5), ab_high = PICK(a, b, 2, 6, 3, 7);
    lanes4 cd_low = PICK(c, d, 0, 4, 1, 5), cd_high = PICK(c, d, 2, 6, 3, 7);
    *(lanes4 *)to = PICK(ab_low, cd_low, 0, 1, 4, 5);
    *(lanes4 *)(to + to_stride) = PICK(ab_low, cd_low, 2, 3, 6, 7);
    *(lanes4 *)(to + 2 * to_stride) = PICK(ab_high, cd_high, 0, 1, 4, 5);
    *(lanes4 *)(to + 3 * to_stride) = PICK(ab_high, cd_high, 2, 3, 6, 7);
}

static void transpose_plain(float *to, size_t to_stride, const float *from, size_t from_stride,
                            size_t rows, size_t columns)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < columns; c++)
            to[c * to_stride + r] = from[r * from_stride + c];
}

/* A few columns, all rows. */
static void transpose_strip(float *to, size_t to_stride, const float *from, size_t from_stride,
                            size_t rows, size_t columns)
{
    size_t r = 0, whole = columns / 4 * 4;
    for (; r + 4 <= rows; r += 4) {
        for (size_t c = 0; c < whole; c += 4)
            transpose_4x4(to + c * to_stride + r, to_stride, from + r * from_stride + c,
                          from_stride);
        transpose_plain(to + whole * to_stride + r, to_stride, from + r * from_stride + whole,
                        from_stride, 4, columns - whole);
    }
    transpose_plain(to + r, to_stride, from + r * from_stride, from_stride, rows - r, columns);
}

/* Three planes of a picture side by side. */
OXP_VECTORISED static void interleave_three(float *restrict to, const float *restrict a,
                                            const float *restrict b, const float *restrict c,
                                            size_t n)
{
    for (size_t i = 0; i < n; i++) {
        to[3 * i] = a[i];
        to[3 * i + 1] = b[i];
        to[3 * i + 2] = c[i];
    }
}

void oxp_transpose(float *to, size_t to_stride, const float *from, size_t from_stride, size_t rows,
                   size_t columns)
{
    if (rows == 3 && to_stride == 3) {
        interleave_three(to, from, from + from_stride, from + 2 * from_stride, columns);
        return;
    }
    size_t strip = to_stride % 512 == 0 ? LINE / 2 : LINE;
    for (size_t c = 0; c < columns; c += strip) {
        size_t n = columns - c < strip ? columns - c : strip;
        transpose_strip(to + c * to_stride, to_stride, from + c, from_stride, rows, n);
    }
}
