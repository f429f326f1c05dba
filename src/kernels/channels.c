/* channels.c - see channels.h. */
#include "kernels/channels.h"

#include "kernels/pool.h"
#include "kernels/vector.h"

OXP_VECTORISED static void affine(float *y, const float *x, size_t n, float factor, float offset)
{
    OXP_INDEPENDENT
    for (size_t i = 0; i < n; i++)
        y[i] = x[i] * factor + offset;
}

void oxp_channel_affine(const float *x, size_t batch, size_t channels, size_t inner,
                        const float *factor, const float *offset, float *y)
{
    for (size_t i = 0; i < batch * channels; i++)
        if (inner > 1)
            affine(y + i * inner, x + i * inner, inner, factor[i % channels], offset[i % channels]);
        else
            y[i] = x[i] * factor[i % channels] + offset[i % channels];
}

OXP_VECTORISED static void partial_squares(double sum[OXP_LANES], const float *x, size_t n,
                                           double mean)
{
    for (size_t i = 0; i + OXP_LANES <= n; i += OXP_LANES)
        for (int l = 0; l < OXP_LANES; l++) {
            double d = (double)x[i + (size_t)l] - mean;
            sum[l] += d * d;
        }
}

static double sum_of_squares(const float *x, size_t n, double mean)
{
    double sum[OXP_LANES] = {0}, total = 0;
    partial_squares(sum, x, n, mean);
    for (size_t i = n - n % OXP_LANES; i < n; i++)
        sum[i % OXP_LANES] += ((double)x[i] - mean) * ((double)x[i] - mean);
    for (int l = 0; l < OXP_LANES; l++)
        total += sum[l];
    return total;
}

void oxp_channel_statistics(const float *x, size_t batch, size_t channels, size_t inner,
                            float *mean, float *var)
{
    double count = (double)batch * (double)inner;
    for (size_t c = 0; c < channels; c++) {
        double sum = 0, squares = 0;
        for (size_t n = 0; n < batch; n++)
            sum += oxp_sum(x + (n * channels + c) * inner, inner);
        for (size_t n = 0; n < batch; n++)
            squares += sum_of_squares(x + (n * channels + c) * inner, inner, sum / count);
        mean[c] = (float)(sum / count);
        var[c] = (float)(squares / count);
    }
}
