/* pool.h - pools over planes: src[planes, in] to dst[planes, out], the window as in window.h.
 *
 *   max      y[o] = max over the taps inside of x; a NaN among them is the result
 *   average  y[o] = sum over the taps inside / their number, or / the number of taps in
 *            0..in+begin+end (count_padding)
 *   lp       y[o] = (sum over the taps inside of |x|^p)^(1/p)
 *
 * Sums are taken in double. A window with no tap inside gives the lowest value (max) or 0. */
#ifndef OXP_KERNELS_POOL_H
#define OXP_KERNELS_POOL_H

#include "kernels/window.h"
#include "util/memory.h"

oxp_status oxp_pool_max(oxp_ctx *ctx, const oxp_window *w, size_t planes, const float *src,
                        float *dst);
void oxp_pool_max_reference(const oxp_window *w, size_t planes, const float *src, float *dst);
void oxp_pool_max_double(const oxp_window *w, size_t planes, const double *src, double *dst);
void oxp_pool_max_u8(const oxp_window *w, size_t planes, const uint8_t *src, uint8_t *dst);
void oxp_pool_max_i8(const oxp_window *w, size_t planes, const int8_t *src, int8_t *dst);

/* The place of the (first) maximum of every window in the whole of src, rows first or,
 * column_major, the first spatial axis fastest; -1 for a window with no tap inside. */
void oxp_pool_max_indices(const oxp_window *w, size_t planes, const float *src, bool column_major,
                          int64_t *indices);

oxp_status oxp_pool_average(oxp_ctx *ctx, const oxp_window *w, size_t planes, bool count_padding,
                            const float *src, float *dst);
void oxp_pool_average_reference(const oxp_window *w, size_t planes, bool count_padding,
                                const float *src, float *dst);

void oxp_pool_lp(const oxp_window *w, size_t planes, int64_t p, const float *src, float *dst);

/* The taps that an average at position o of an axis divides by. */
size_t oxp_pool_counted(const oxp_window *w, int axis, size_t o, bool count_padding);

/* Whole planes of `count` values to one value. */
void oxp_pool_global_average(size_t planes, size_t count, const float *src, float *dst);
void oxp_pool_global_max(size_t planes, size_t count, const float *src, float *dst);
void oxp_pool_global_lp(size_t planes, size_t count, int64_t p, const float *src, float *dst);

/* The sum in double over OXP_LANES partial sums, the same on every processor. */
double oxp_sum(const float *x, size_t n);

#endif
