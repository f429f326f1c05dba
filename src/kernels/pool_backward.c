/* pool_backward.c - see pool_backward.h. One window after the other, in the order of the
 * outputs. */
#include "kernels/pool_backward.h"

#include <math.h>

/* The taps inside the input at one output position. */
typedef struct patch {
    size_t o[3], first[3], last[3];
} patch;

static patch patch_at(const oxp_window *w, size_t out)
{
    patch p = {.o = {out / w->out[2] / w->out[1], out / w->out[2] % w->out[1], out % w->out[2]}};
    for (int i = 0; i < 3; i++)
        oxp_window_taps(w, i, p.o[i], &p.first[i], &p.last[i]);
    return p;
}

static size_t place(const oxp_window *w, const patch *p, size_t k0, size_t k1, size_t k2)
{
    size_t row = oxp_window_at(w, 0, p->o[0], k0) * w->in[1] + oxp_window_at(w, 1, p->o[1], k1);
    return row * w->in[2] + oxp_window_at(w, 2, p->o[2], k2);
}

#define FOR_TAPS(p)                                            \
    for (size_t k0 = (p).first[0]; k0 < (p).last[0]; k0++)     \
        for (size_t k1 = (p).first[1]; k1 < (p).last[1]; k1++) \
            for (size_t k2 = (p).first[2]; k2 < (p).last[2]; k2++)

void oxp_pool_max_backward(const oxp_window *w, size_t planes, const float *src, const float *ddst,
                           float *dsrc)
{
    size_t in = oxp_volume(w->in), out = oxp_volume(w->out);
    for (size_t i = 0; i < planes * out; i++) {
        const float *plane = src + i / out * in;
        patch p = patch_at(w, i % out);
        size_t best = SIZE_MAX;
        FOR_TAPS(p)
        {
            size_t at = place(w, &p, k0, k1, k2);
            if (best == SIZE_MAX || plane[at] > plane[best])
                best = at;
        }
        if (best != SIZE_MAX)
            dsrc[i / out * in + best] += ddst[i];
    }
}

/* As the mean counts them: with padding, what lies in 0..in+begin+end. */
static size_t counted(const oxp_window *w, const patch *p, bool padding)
{
    size_t count = 1;
    for (int i = 0; i < 3; i++) {
        size_t taps = p->last[i] - p->first[i];
        if (padding) {
            size_t room = w->begin[i] + w->in[i] + w->end[i], start = p->o[i] * w->stride[i];
            taps = start >= room ? 0 : (room - start + w->dilation[i] - 1) / w->dilation[i];
            taps = taps < w->kernel[i] ? taps : w->kernel[i];
        }
        count *= taps;
    }
    return count;
}

void oxp_pool_average_backward(const oxp_window *w, size_t planes, bool count_padding,
                               const float *ddst, float *dsrc)
{
    size_t in = oxp_volume(w->in), out = oxp_volume(w->out);
    for (size_t i = 0; i < planes * out; i++) {
        float *plane = dsrc + i / out * in;
        patch p = patch_at(w, i % out);
        size_t count = counted(w, &p, count_padding);
        float share = ddst[i] / (float)(count ? count : 1);
        FOR_TAPS(p)
        plane[place(w, &p, k0, k1, k2)] += share;
    }
}

void oxp_pool_lp_backward(const oxp_window *w, size_t planes, int64_t power, const float *src,
                          const float *ddst, float *dsrc)
{
    size_t in = oxp_volume(w->in), out = oxp_volume(w->out);
    double exponent = (double)power;
    for (size_t i = 0; i < planes * out; i++) {
        const float *plane = src + i / out * in;
        patch p = patch_at(w, i % out);
        double sum = 0;
        FOR_TAPS(p)
        sum += pow(fabs((double)plane[place(w, &p, k0, k1, k2)]), exponent);
        if (sum == 0)
            continue;
        double scale = (double)ddst[i] * pow(sum, 1 / exponent - 1);
        FOR_TAPS(p)
        {
            size_t at = place(w, &p, k0, k1, k2);
            double x = (double)plane[at], slope = pow(fabs(x), exponent - 1);
            dsrc[i / out * in + at] += (float)(x == 0 ? 0 : scale * (x < 0 ? -slope : slope));
        }
    }
}

oxp_window oxp_window_whole(size_t count)
{
    return (oxp_window){.in = {1, 1, count},
                        .out = {1, 1, 1},
                        .kernel = {1, 1, count},
                        .stride = {1, 1, 1},
                        .dilation = {1, 1, 1}};
}
