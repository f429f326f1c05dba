/* values.h - what the kernel tests share: random values, comparison, random windows. */
#ifndef OXP_TESTS_UNIT_KERNELS_VALUES_H
#define OXP_TESTS_UNIT_KERNELS_VALUES_H

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/window.h"
#include "util/random.h"
#include "util/status.h"

/* A block of exactly n elements, so that a sanitizer sees any access behind it. */
static inline void *make_block(size_t n, size_t size)
{
    void *block = malloc(n * size + (n == 0));
    cr_assert_not_null(block);
    return block;
}

static inline float *random_floats(oxp_random *r, size_t n)
{
    float *x = make_block(n, sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(2 * oxp_random_uniform(r) - 1);
    return x;
}

static inline uint8_t *random_bytes(oxp_random *r, size_t n)
{
    uint8_t *x = make_block(n, 1);
    for (size_t i = 0; i < n; i++)
        x[i] = (uint8_t)oxp_random_below(r, 256);
    return x;
}

/* In low..high. */
static inline size_t random_size(oxp_random *r, size_t low, size_t high)
{
    return low + oxp_random_below(r, high - low + 1);
}

/* The largest difference, relative to the largest expected value (at least 1). */
static inline double difference(const float *found, const float *expected, size_t n)
{
    double most = 0, size = 1;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)found[i] - (double)expected[i]);
        most = d > most || isnan(d) ? d : most;
        size = fmax(size, fabs((double)expected[i]));
    }
    return most / size;
}

/* A window of `spatial` axes with out > 0; padding may reach the kernel's extent when wide_padding
 * is set. */
static inline oxp_window random_window(oxp_random *r, int spatial, size_t most_in,
                                       bool wide_padding)
{
    oxp_window w;
    for (int i = 0; i < 3; i++) {
        bool used = i >= 3 - spatial;
        w.kernel[i] = used ? random_size(r, 1, 4) : 1;
        w.stride[i] = used ? random_size(r, 1, 3) : 1;
        w.dilation[i] = used ? random_size(r, 1, 3) : 1;
        size_t extent = (w.kernel[i] - 1) * w.dilation[i] + 1;
        w.begin[i] = used ? random_size(r, 0, extent - 1 + wide_padding) : 0;
        w.end[i] = used ? random_size(r, 0, extent - 1 + wide_padding) : 0;
        size_t pads = w.begin[i] + w.end[i], least = extent > pads ? extent - pads : 1;
        w.in[i] = used ? random_size(r, least, least + most_in) : 1;
        w.out[i] = (w.in[i] + pads - extent) / w.stride[i] + 1;
    }
    return w;
}

#endif
