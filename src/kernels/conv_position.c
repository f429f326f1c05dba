/* conv_position.c - see conv_position.h. */
#include "kernels/conv_position.h"

#include "kernels/vector.h"

OXP_VECTORISED static double dot(const float *restrict a, const float *restrict b, size_t n)
{
    double lanes[OXP_LANES] = {0};
    size_t i = 0;
    for (; i + OXP_LANES <= n; i += OXP_LANES)
        for (size_t l = 0; l < OXP_LANES; l++)
            lanes[l] += (double)a[i + l] * (double)b[i + l];
    for (size_t l = 0; i < n; i++, l++)
        lanes[l] += (double)a[i] * (double)b[i];
    for (size_t width = OXP_LANES / 2; width > 0; width /= 2)
        for (size_t l = 0; l < width; l++)
            lanes[l] += lanes[l + width];
    return lanes[0];
}

void oxp_conv_position(const oxp_conv_shape *s, const float *src, const float *weights,
                       const float *bias, float *dst)
{
    size_t channels = s->in_channels / s->groups, per_group = s->out_channels / s->groups;
    for (size_t n = 0; n < s->batch; n++)
        for (size_t m = 0; m < s->out_channels; m++) {
            const float *x = src + n * s->in_channels + m / per_group * channels;
            double sum = dot(weights + m * channels, x, channels);
            dst[n * s->out_channels + m] = (float)(sum + (bias ? (double)bias[m] : 0));
        }
}
