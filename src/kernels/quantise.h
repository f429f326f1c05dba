/* quantise.h - numbers to codes and back: y = saturate(round_half_even(x / scale) + zero_point).
 *
 * The rounding is that of the ONNX operators QuantizeLinear and DequantizeLinear, bit for bit. */
#ifndef OXP_KERNELS_QUANTISE_H
#define OXP_KERNELS_QUANTISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct oxp_scale {
    float scale;    /* > 0, normal */
    int zero_point; /* 0..255 for u8 */
} oxp_scale;

/* Affine u8 parameters for [low, high]; the range is widened to hold zero, zero is exactly
 * representable, the scale is never zero, subnormal or infinite. `max_code` is 255, or 127 for 7
 * bits. */
oxp_scale oxp_scale_for_range(float low, float high, int max_code);

/* x -> dequantised u8 code; in place allowed. */
void oxp_fake_quantise_u8(float *out, const float *x, size_t n, oxp_scale s, int max_code);

/* Sum of (x - that)^2 in double over fixed partial sums, masks and what is not finite left out
 * (oxp_squared_distance). */
double oxp_quantisation_error(const float *x, size_t n, oxp_scale s, int max_code);

/* A weight as blocks x outer x channels x inner elements; a scale per (block, channel),
 * scales[block * channels + c]. */
typedef struct oxp_weight_layout {
    size_t blocks, outer, channels, inner;
} oxp_weight_layout;

/* Symmetric codes in [-limit, limit]; per scale the one of least squared error on a grid of shares
 * of the channel's largest size, that size itself included. A channel of zeros gets scale 1. */
void oxp_quantise_weight(int8_t *codes, float *scales, const float *w, oxp_weight_layout l,
                         int limit);

/* Codes for given scales. */
void oxp_quantise_weight_with(int8_t *codes, const float *scales, const float *w,
                              oxp_weight_layout l, int limit);

/* codes * scale, in float32 as the written expression computes it. */
void oxp_dequantise_weight(float *w, const int8_t *codes, const float *scales, oxp_weight_layout l);

#endif
