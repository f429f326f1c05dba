/* columns.h - patches under a window as columns of a matrix, and back.
 *
 * Row (c, k0, k1, k2) and column o of the matrix hold x[c, o*stride + k*dilation - begin], 0
 * outside. Tiles of columns are made one at a time so that a tile stays in the cache. */
#ifndef OXP_KERNELS_COLUMNS_H
#define OXP_KERNELS_COLUMNS_H

#include "kernels/window.h"

/* Output positions first..first+count-1 (in C order over the output axes) of rows
 * row_first..row_first+rows-1: columns[rows, count]. src: all channels. */
void oxp_columns_take(const oxp_window *w, const float *src, size_t row_first, size_t rows,
                      size_t first, size_t count, float *columns);

/* dst[i] += sum over the window positions of columns[k, o] that read input position i, for one
 * channel: columns are [kernel, out], dst [in]. */
void oxp_columns_add(const oxp_window *w, const float *columns, float *dst);

#endif
