/* conv_pieces.c - see conv_pieces.h: where to cut, the weights of the pieces, and their sum. */
#include "kernels/conv_pieces.h"

#include <string.h>

#include "kernels/vector.h"

#define MOST_CHANNELS ((size_t)128)   /* of a piece */
#define LEAST_CHANNELS ((size_t)48)   /* fewer would leave part of the vectors empty */
#define MOST_FLOATS ((size_t)1 << 22) /* of all pieces' outputs together */

size_t oxp_conv_pieces(const oxp_conv_shape *s)
{
    size_t outputs = s->batch * s->out_channels * oxp_volume(s->window.out);
    if (s->groups != 1 || outputs == 0)
        return 1;
    for (size_t pieces = (s->in_channels + MOST_CHANNELS - 1) / MOST_CHANNELS;
         pieces > 1 && s->in_channels / pieces >= LEAST_CHANNELS && pieces <= MOST_FLOATS / outputs;
         pieces++)
        if (s->in_channels % pieces == 0 && s->in_channels / pieces % 4 == 0)
            return pieces;
    return 1;
}

oxp_conv_shape oxp_conv_pieces_shape(const oxp_conv_shape *shape, size_t pieces)
{
    oxp_conv_shape cut = *shape;
    cut.groups = pieces;
    cut.out_channels = shape->out_channels * pieces;
    return cut;
}

void oxp_conv_pieces_weights(const oxp_conv_shape *s, size_t pieces, const float *weights,
                             float *cut)
{
    size_t row = s->in_channels * oxp_volume(s->window.kernel), part = row / pieces;
    for (size_t p = 0; p < pieces; p++)
        for (size_t m = 0; m < s->out_channels; m++)
            memcpy(cut + (p * s->out_channels + m) * part, weights + m * row + p * part,
                   part * sizeof *cut);
}

OXP_VECTORISED static void join_position(float *restrict y, const float *restrict parts,
                                         size_t pieces, size_t n, const float *restrict bias)
{
    for (size_t c = 0; c < n; c++)
        y[c] = parts[c] + parts[n + c];
    size_t p = 2;
    for (; p + 2 <= pieces; p += 2)
        for (size_t c = 0; c < n; c++)
            y[c] += parts[p * n + c] + parts[(p + 1) * n + c];
    if (p < pieces)
        for (size_t c = 0; c < n; c++)
            y[c] += parts[p * n + c];
    for (size_t c = 0; c < n; c++)
        y[c] += bias[c];
}

void oxp_conv_pieces_join(const float *parts, size_t positions, size_t pieces, size_t channels,
                          const float *bias, float *dst)
{
    for (size_t i = 0; i < positions; i++)
        join_position(dst + i * channels, parts + i * pieces * channels, pieces, channels, bias);
}
