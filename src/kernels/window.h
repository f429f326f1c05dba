/* window.h - the geometry that convolutions and pools share: a window sliding over up to three
 * spatial axes.
 *
 * Fewer axes stand at the end, the others are 1. Output position o reads input positions o*stride
 * + k*dilation - begin, k in 0..kernel-1; what falls outside 0..in-1 is padding. */
#ifndef OXP_KERNELS_WINDOW_H
#define OXP_KERNELS_WINDOW_H

#include <stdbool.h>
#include <stddef.h>

typedef struct oxp_window {
    size_t in[3], out[3], kernel[3], stride[3], dilation[3], begin[3];
    size_t
        end[3]; /* padding behind the input, as stated; only averages that count padding read it */
} oxp_window;

static inline size_t oxp_volume(const size_t axes[3])
{
    return axes[0] * axes[1] * axes[2];
}

/* The taps k of an axis that read inside the input at output position o: [*first, *last). */
static inline void oxp_window_taps(const oxp_window *w, int axis, size_t o, size_t *first,
                                   size_t *last)
{
    size_t start = o * w->stride[axis], d = w->dilation[axis], begin = w->begin[axis];
    size_t reach = w->in[axis] + begin; /* one past the input, in padded coordinates */
    *first = start >= begin ? 0 : (begin - start + d - 1) / d;
    *last = start >= reach ? 0 : (reach - start + d - 1) / d;
    if (*last > w->kernel[axis])
        *last = w->kernel[axis];
    if (*first > *last)
        *first = *last;
}

/* The input position of tap k at output position o, which must be inside. */
static inline size_t oxp_window_at(const oxp_window *w, int axis, size_t o, size_t k)
{
    return o * w->stride[axis] + k * w->dilation[axis] - w->begin[axis];
}

#endif
