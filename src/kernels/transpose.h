/* transpose.h - between planes and channels-last: [rows, columns] to [columns, rows]. */
#ifndef OXP_KERNELS_TRANSPOSE_H
#define OXP_KERNELS_TRANSPOSE_H

#include <stddef.h>

/* to[c * to_stride + r] = from[r * from_stride + c] */
void oxp_transpose(float *to, size_t to_stride, const float *from, size_t from_stride, size_t rows,
                   size_t columns);

#endif
