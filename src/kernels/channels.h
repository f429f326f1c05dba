/* channels.h - work per channel of x[batch, channels, inner]. */
#ifndef OXP_KERNELS_CHANNELS_H
#define OXP_KERNELS_CHANNELS_H

#include <stddef.h>

/* y = x * factor[c] + offset[c]; y may be x. */
void oxp_channel_affine(const float *x, size_t batch, size_t channels, size_t inner,
                        const float *factor, const float *offset, float *y);

/* Mean and variance of the population, over batch and inner, which must not be empty. Two passes,
 * sums in double. */
void oxp_channel_statistics(const float *x, size_t batch, size_t channels, size_t inner,
                            float *mean, float *var);

#endif
