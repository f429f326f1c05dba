/* columns.c - see columns.h. */
#include "kernels/columns.h"

#include <string.h>

#include "kernels/vector.h"

/* Whether tap k of an axis is inside at output position o; *at is where. */
static bool inside(const oxp_window *w, int axis, size_t o, size_t k, size_t *at)
{
    size_t padded = o * w->stride[axis] + k * w->dilation[axis];
    *at = padded - w->begin[axis];
    return padded >= w->begin[axis] && *at < w->in[axis];
}

/* The output positions of an axis at which tap k is inside: [*first, *last). */
static void positions(const oxp_window *w, int axis, size_t k, size_t *first, size_t *last)
{
    size_t at = k * w->dilation[axis], stride = w->stride[axis], begin = w->begin[axis],
           reach = w->in[axis] + begin;
    *first = at >= begin ? 0 : (begin - at + stride - 1) / stride;
    *last = at >= reach ? 0 : (reach - at + stride - 1) / stride;
    if (*last > w->out[axis])
        *last = w->out[axis];
    if (*first > *last)
        *first = *last;
}

OXP_VECTORISED static void copy_strided(float *restrict to, const float *restrict from,
                                        size_t stride, size_t n)
{
    if (stride == 2)
        for (size_t i = 0; i < n; i++)
            to[i] = from[2 * i];
    else
        for (size_t i = 0; i < n; i++)
            to[i] = from[stride * i];
}

/* Positions o2 in [from, to) of one output row for tap k2; row NULL when the row is padding. */
static void take_row(const oxp_window *w, const float *row, size_t k2, size_t from, size_t to,
                     float *out)
{
    size_t first, last;
    positions(w, 2, k2, &first, &last);
    if (first < from)
        first = from;
    if (last > to)
        last = to;
    if (!row || first >= last) {
        memset(out, 0, (to - from) * sizeof *out);
        return;
    }
    memset(out, 0, (first - from) * sizeof *out);
    const float *x = row + oxp_window_at(w, 2, first, k2);
    if (w->stride[2] == 1)
        memcpy(out + (first - from), x, (last - first) * sizeof *out);
    else
        copy_strided(out + (first - from), x, w->stride[2], last - first);
    memset(out + (last - from), 0, (to - last) * sizeof *out);
}

/* One row of the matrix: tap (k0, k1, k2) of one channel. */
static void take_tap(const oxp_window *w, const float *channel, const size_t k[3], size_t first,
                     size_t count, float *out)
{
    size_t width = w->out[2];
    for (size_t done = 0; done < count;) {
        size_t line = (first + done) / width, from = (first + done) % width;
        size_t to = width - from < count - done ? width : from + (count - done);
        size_t i0, i1;
        bool in0 = inside(w, 0, line / w->out[1], k[0], &i0),
             in1 = inside(w, 1, line % w->out[1], k[1], &i1);
        const float *row = in0 && in1 ? channel + (i0 * w->in[1] + i1) * w->in[2] : NULL;
        take_row(w, row, k[2], from, to, out + done);
        done += to - from;
    }
}

void oxp_columns_take(const oxp_window *w, const float *src, size_t row_first, size_t rows,
                      size_t first, size_t count, float *columns)
{
    size_t taps = oxp_volume(w->kernel);
    for (size_t r = 0; r < rows; r++) {
        size_t channel = (row_first + r) / taps, tap = (row_first + r) % taps;
        size_t k[3] = {tap / w->kernel[2] / w->kernel[1], tap / w->kernel[2] % w->kernel[1],
                       tap % w->kernel[2]};
        take_tap(w, src + channel * oxp_volume(w->in), k, first, count, columns + r * count);
    }
}

OXP_VECTORISED static void add_row(float *restrict to, size_t stride, const float *restrict from,
                                   size_t n)
{
    if (stride == 1)
        for (size_t i = 0; i < n; i++)
            to[i] += from[i];
    else
        for (size_t i = 0; i < n; i++)
            to[stride * i] += from[i];
}

static void add_tap(const oxp_window *w, const size_t k[3], const float *columns, float *dst)
{
    size_t first0, last0, first1, last1, first2, last2;
    positions(w, 0, k[0], &first0, &last0);
    positions(w, 1, k[1], &first1, &last1);
    positions(w, 2, k[2], &first2, &last2);
    if (first2 == last2)
        return;
    for (size_t o0 = first0; o0 < last0; o0++)
        for (size_t o1 = first1; o1 < last1; o1++) {
            size_t row = oxp_window_at(w, 0, o0, k[0]) * w->in[1] + oxp_window_at(w, 1, o1, k[1]);
            add_row(dst + row * w->in[2] + oxp_window_at(w, 2, first2, k[2]), w->stride[2],
                    columns + (o0 * w->out[1] + o1) * w->out[2] + first2, last2 - first2);
        }
}

void oxp_columns_add(const oxp_window *w, const float *columns, float *dst)
{
    size_t out = oxp_volume(w->out);
    for (size_t k0 = 0; k0 < w->kernel[0]; k0++)
        for (size_t k1 = 0; k1 < w->kernel[1]; k1++)
            for (size_t k2 = 0; k2 < w->kernel[2]; k2++) {
                size_t tap = (k0 * w->kernel[1] + k1) * w->kernel[2] + k2;
                add_tap(w, (const size_t[3]){k0, k1, k2}, columns + tap * out, dst);
            }
}
