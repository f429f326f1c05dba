/* pool_last.c - pools over channels-last images: the channels of a position lie side by side, so
 * every tap is a run of them. A block of channels goes through all taps of a window at once. */
#include "kernels/pool_last.h"

#include <math.h>

#include "kernels/pool.h"
#include "kernels/vector.h"

#define BLOCK 64 /* channels whose maxima or sums are kept at hand */

typedef struct position { /* of an output, and the taps inside the input there */
    size_t at[3], first[3], last[3];
} position;

static position position_of(const oxp_window *w, size_t o)
{
    position p = {.at = {o / w->out[2] / w->out[1], o / w->out[2] % w->out[1], o % w->out[2]}};
    for (int i = 0; i < 3; i++)
        oxp_window_taps(w, i, p.at[i], &p.first[i], &p.last[i]);
    return p;
}

/* The channels of the input position under a tap. */
static const float *under(const oxp_window *w, const position *p, const size_t tap[3],
                          const float *image, size_t channels)
{
    size_t place = 0;
    for (int i = 0; i < 3; i++)
        place = place * w->in[i] + oxp_window_at(w, i, p->at[i], tap[i]);
    return image + place * channels;
}

static bool next_tap(const position *p, size_t tap[3])
{
    for (int i = 2; i >= 0; i--) {
        if (++tap[i] < p->last[i])
            return true;
        tap[i] = p->first[i];
    }
    return false;
}

static bool has_taps(const position *p)
{
    return p->first[0] < p->last[0] && p->first[1] < p->last[1] && p->first[2] < p->last[2];
}

/* ---- maximum ---- */

OXP_VECTORISED static void max_into(float *restrict best, const float *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float best_or_x = x[i] <= best[i] ? best[i] : x[i]; /* x when it is a NaN */
        best[i] = best[i] != best[i] ? best[i] : best_or_x;
    }
}

static void max_at(const oxp_window *w, const position *p, const float *image, size_t channels,
                   float *best)
{
    size_t tap[3] = {p->first[0], p->first[1], p->first[2]};
    for (size_t c = 0; c < channels; c++)
        best[c] = -INFINITY;
    if (!has_taps(p))
        return;
    do
        max_into(best, under(w, p, tap, image, channels), channels);
    while (next_tap(p, tap));
}

void oxp_pool_last_max(const oxp_window *w, size_t images, size_t channels, const float *src,
                       float *dst)
{
    size_t in = oxp_volume(w->in), out = oxp_volume(w->out);
    for (size_t i = 0; i < images * out; i++) {
        position p = position_of(w, i % out);
        max_at(w, &p, src + i / out * in * channels, channels, dst + i * channels);
    }
}

/* ---- average ---- */

OXP_VECTORISED static void add_into(double *restrict sum, const float *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        sum[i] += (double)x[i];
}

static void average_at(const oxp_window *w, const position *p, size_t count, const float *image,
                       size_t channels, float *mean)
{
    for (size_t first = 0; first < channels; first += BLOCK) {
        size_t n = channels - first < BLOCK ? channels - first : BLOCK;
        size_t tap[3] = {p->first[0], p->first[1], p->first[2]};
        double sum[BLOCK] = {0};
        if (has_taps(p))
            do
                add_into(sum, under(w, p, tap, image, channels) + first, n);
            while (next_tap(p, tap));
        for (size_t c = 0; c < n; c++)
            mean[first + c] = count ? (float)(sum[c] / (double)count) : 0;
    }
}

void oxp_pool_last_average(const oxp_window *w, size_t images, size_t channels, bool count_padding,
                           const float *src, float *dst)
{
    size_t in = oxp_volume(w->in), out = oxp_volume(w->out);
    for (size_t i = 0; i < images * out; i++) {
        position p = position_of(w, i % out);
        size_t count = 1;
        for (int axis = 0; axis < 3; axis++)
            count *= oxp_pool_counted(w, axis, p.at[axis], count_padding);
        average_at(w, &p, count, src + i / out * in * channels, channels, dst + i * channels);
    }
}

void oxp_pool_last_global_average(size_t images, size_t channels, size_t count, const float *src,
                                  float *dst)
{
    for (size_t i = 0; i < images; i++)
        for (size_t first = 0; first < channels; first += BLOCK) {
            size_t n = channels - first < BLOCK ? channels - first : BLOCK;
            double sum[BLOCK] = {0};
            for (size_t k = 0; k < count; k++)
                add_into(sum, src + (i * count + k) * channels + first, n);
            for (size_t c = 0; c < n; c++)
                dst[i * channels + first + c] = (float)(sum[c] / (double)count);
        }
}
