/* pool_last.h - the pools of pool.h over channels-last images: src[images, in, channels] to
 * dst[images, out, channels]. The same values; an average's double sum is taken tap by tap. */
#ifndef OXP_KERNELS_POOL_LAST_H
#define OXP_KERNELS_POOL_LAST_H

#include "kernels/window.h"

void oxp_pool_last_max(const oxp_window *w, size_t images, size_t channels, const float *src,
                       float *dst);
void oxp_pool_last_average(const oxp_window *w, size_t images, size_t channels, bool count_padding,
                           const float *src, float *dst);
/* All `count` positions to one: dst[images, channels]. */
void oxp_pool_last_global_average(size_t images, size_t channels, size_t count, const float *src,
                                  float *dst);

#endif
