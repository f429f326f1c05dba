/* pool_backward.h - the gradients of pools (pool.h): dsrc[planes, in] += J^T ddst[planes, out].
 *
 *   max      all to the first maximum of the window
 *   average  to every tap inside, over the number that the mean was taken by
 *   lp       dx += dy * sign(x) |x|^(p-1) / y^(p-1)
 *
 * For whole planes a window as large as the plane does. */
#ifndef OXP_KERNELS_POOL_BACKWARD_H
#define OXP_KERNELS_POOL_BACKWARD_H

#include "kernels/pool.h"

void oxp_pool_max_backward(const oxp_window *w, size_t planes, const float *src, const float *ddst,
                           float *dsrc);
void oxp_pool_average_backward(const oxp_window *w, size_t planes, bool count_padding,
                               const float *ddst, float *dsrc);
void oxp_pool_lp_backward(const oxp_window *w, size_t planes, int64_t p, const float *src,
                          const float *ddst, float *dsrc);

/* A window over a whole plane of `count` values in a row. */
oxp_window oxp_window_whole(size_t count);

#endif
