/* pool.c - pools. The fast forms go by rows: the rows under a window are first reduced to one,
 * value by value, then the taps along that row; both in runs that become vector code. */
#include "kernels/pool.h"

#include <math.h>
#include <string.h>

#include "kernels/vector.h"

/* ---- one window after the other ---- */

typedef struct taps {
    size_t first[3], last[3];
} taps;

static taps taps_at(const oxp_window *w, size_t o)
{
    taps t;
    size_t at[3] = {o / w->out[2] / w->out[1], o / w->out[2] % w->out[1], o % w->out[2]};
    for (int i = 0; i < 3; i++)
        oxp_window_taps(w, i, at[i], &t.first[i], &t.last[i]);
    return t;
}

static size_t input_at(const oxp_window *w, size_t o, size_t k0, size_t k1, size_t k2)
{
    size_t row0 = oxp_window_at(w, 0, o / w->out[2] / w->out[1], k0),
           row1 = oxp_window_at(w, 1, o / w->out[2] % w->out[1], k1);
    return (row0 * w->in[1] + row1) * w->in[2] + oxp_window_at(w, 2, o % w->out[2], k2);
}

#define FOR_TAPS(t)                                            \
    for (size_t k0 = (t).first[0]; k0 < (t).last[0]; k0++)     \
        for (size_t k1 = (t).first[1]; k1 < (t).last[1]; k1++) \
            for (size_t k2 = (t).first[2]; k2 < (t).last[2]; k2++)

#define IS_NAN(x) ((x) != (x))
#define NEVER(x) 0

#define DEFINE_POOL_MAX(name, type, lowest, is_nan)                           \
    void name(const oxp_window *w, size_t planes, const type *src, type *dst) \
    {                                                                         \
        size_t in = oxp_volume(w->in), out = oxp_volume(w->out);              \
        for (size_t i = 0; i < planes * out; i++) {                           \
            const type *plane = src + i / out * in;                           \
            taps t = taps_at(w, i % out);                                     \
            type best = lowest;                                               \
            FOR_TAPS(t)                                                       \
            {                                                                 \
                type x = plane[input_at(w, i % out, k0, k1, k2)];             \
                if ((x > best || is_nan(x)) && !is_nan(best))                 \
                    best = x;                                                 \
            }                                                                 \
            dst[i] = best;                                                    \
        }                                                                     \
    }

DEFINE_POOL_MAX(oxp_pool_max_reference, float, -INFINITY, IS_NAN)
DEFINE_POOL_MAX(oxp_pool_max_double, double, -(double)INFINITY, IS_NAN)
DEFINE_POOL_MAX(oxp_pool_max_u8, uint8_t, 0, NEVER)
DEFINE_POOL_MAX(oxp_pool_max_i8, int8_t, INT8_MIN, NEVER)

/* Position `at` of a plane counted with the first axis fastest. */
static size_t column_major_place(const oxp_window *w, size_t at)
{
    size_t i0 = at / w->in[2] / w->in[1], i1 = at / w->in[2] % w->in[1], i2 = at % w->in[2];
    return (i2 * w->in[1] + i1) * w->in[0] + i0;
}

void oxp_pool_max_indices(const oxp_window *w, size_t planes, const float *src, bool column_major,
                          int64_t *indices)
{
    size_t in = oxp_volume(w->in), out = oxp_volume(w->out);
    for (size_t i = 0; i < planes * out; i++) {
        const float *plane = src + i / out * in;
        taps t = taps_at(w, i % out);
        size_t place = SIZE_MAX;
        FOR_TAPS(t)
        {
            size_t at = input_at(w, i % out, k0, k1, k2);
            bool beats = place != SIZE_MAX && (plane[at] > plane[place] || IS_NAN(plane[at]));
            if (place == SIZE_MAX || (beats && !IS_NAN(plane[place])))
                place = at;
        }
        if (place == SIZE_MAX)
            indices[i] = -1;
        else
            indices[i] =
                (int64_t)(i / out * in + (column_major ? column_major_place(w, place) : place));
    }
}

/* What tap positions of an axis count in a mean: those inside the input, or those inside the input
 * and its stated padding (the last window of a rounded-up output may reach beyond). */
size_t oxp_pool_counted(const oxp_window *w, int axis, size_t o, bool padding)
{
    if (!padding) {
        size_t first, last;
        oxp_window_taps(w, axis, o, &first, &last);
        return last - first;
    }
    size_t room = w->begin[axis] + w->in[axis] + w->end[axis], start = o * w->stride[axis],
           d = w->dilation[axis];
    size_t fit = start >= room ? 0 : (room - start + d - 1) / d;
    return fit < w->kernel[axis] ? fit : w->kernel[axis];
}

static double mean_of(double sum, size_t count)
{
    return sum / (double)(count ? count : 1);
}

void oxp_pool_average_reference(const oxp_window *w, size_t planes, bool count_padding,
                                const float *src, float *dst)
{
    size_t in = oxp_volume(w->in), out = oxp_volume(w->out);
    for (size_t i = 0; i < planes * out; i++) {
        const float *plane = src + i / out * in;
        taps t = taps_at(w, i % out);
        double sum = 0;
        FOR_TAPS(t)
        sum += (double)plane[input_at(w, i % out, k0, k1, k2)];
        size_t count = oxp_pool_counted(w, 0, i % out / w->out[2] / w->out[1], count_padding) *
                       oxp_pool_counted(w, 1, i % out / w->out[2] % w->out[1], count_padding) *
                       oxp_pool_counted(w, 2, i % w->out[2], count_padding);
        dst[i] = (float)mean_of(sum, count);
    }
}

static double power(double x, int64_t p)
{
    x = fabs(x);
    return p == 1 ? x : p == 2 ? x * x : pow(x, (double)p);
}

static float root(double x, int64_t p)
{
    return (float)(p == 1 ? x : p == 2 ? sqrt(x) : pow(x, 1 / (double)p));
}

void oxp_pool_lp(const oxp_window *w, size_t planes, int64_t p, const float *src, float *dst)
{
    size_t in = oxp_volume(w->in), out = oxp_volume(w->out);
    for (size_t i = 0; i < planes * out; i++) {
        const float *plane = src + i / out * in;
        taps t = taps_at(w, i % out);
        double sum = 0;
        FOR_TAPS(t)
        sum += power((double)plane[input_at(w, i % out, k0, k1, k2)], p);
        dst[i] = root(sum, p);
    }
}

/* ---- by rows ---- */

static inline float larger(float best, float x)
{
    float best_or_x = x <= best ? best : x; /* x when it is a NaN */
    return IS_NAN(best) ? best : best_or_x;
}

/* best[i] = max(best[i], x[stride * i]); the branches give the compiler strides it can turn into
 * vector loads. */
OXP_VECTORISED static void max_into(float *restrict best, const float *restrict x, size_t stride,
                                    size_t n)
{
    if (stride == 1)
        for (size_t i = 0; i < n; i++)
            best[i] = larger(best[i], x[i]);
    else if (stride == 2)
        for (size_t i = 0; i < n; i++)
            best[i] = larger(best[i], x[2 * i]);
    else
        for (size_t i = 0; i < n; i++)
            best[i] = larger(best[i], x[stride * i]);
}

OXP_VECTORISED static void add_floats(double *restrict sum, const float *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        sum[i] += (double)x[i];
}

OXP_VECTORISED static void add_doubles(double *restrict sum, const double *restrict x,
                                       size_t stride, size_t n)
{
    if (stride == 1)
        for (size_t i = 0; i < n; i++)
            sum[i] += x[i];
    else if (stride == 2)
        for (size_t i = 0; i < n; i++)
            sum[i] += x[2 * i];
    else
        for (size_t i = 0; i < n; i++)
            sum[i] += x[stride * i];
}

/* The length that a row needs with its padding so that every tap of every window reads inside
 * it. */
static bool padded_row(const oxp_window *w, size_t *length)
{
    size_t read = (w->out[2] - 1) * w->stride[2] + (w->kernel[2] - 1) * w->dilation[2] + 1,
           held = w->begin[2] + w->in[2];
    *length = read > held ? read : held;
    return *length <= SIZE_MAX / sizeof(double);
}

/* row (padded, `pad` outside) = the maximum over the input rows under output row (o0, o1) */
static void max_rows(const oxp_window *w, const float *plane, size_t o0, size_t o1, float *row,
                     size_t length)
{
    size_t first0, last0, first1, last1;
    oxp_window_taps(w, 0, o0, &first0, &last0);
    oxp_window_taps(w, 1, o1, &first1, &last1);
    for (size_t i = 0; i < length; i++)
        row[i] = -INFINITY;
    for (size_t k0 = first0; k0 < last0; k0++)
        for (size_t k1 = first1; k1 < last1; k1++) {
            size_t line = oxp_window_at(w, 0, o0, k0) * w->in[1] + oxp_window_at(w, 1, o1, k1);
            max_into(row + w->begin[2], plane + line * w->in[2], 1, w->in[2]);
        }
}

oxp_status oxp_pool_max(oxp_ctx *ctx, const oxp_window *w, size_t planes, const float *src,
                        float *dst)
{
    size_t length, rows = w->out[0] * w->out[1];
    if (OXP_PLAIN)
        oxp_pool_max_reference(w, planes, src, dst);
    if (OXP_PLAIN || planes * rows * w->out[2] == 0)
        return OXP_OK;
    float *row = NULL;
    if (!padded_row(w, &length))
        return oxp_fail(ctx, OXP_ELIMIT, "E-LIMIT-MEM", "a row of %zu is too large", w->in[2]);
    OXP_TRY(oxp_alloc_raw(&row, ctx, length, sizeof *row, "pool"));
    for (size_t i = 0; i < planes * rows; i++) {
        float *out = dst + i * w->out[2];
        max_rows(w, src + i / rows * oxp_volume(w->in), i % rows / w->out[1], i % rows % w->out[1],
                 row, length);
        for (size_t o = 0; o < w->out[2]; o++)
            out[o] = -INFINITY;
        for (size_t k = 0; k < w->kernel[2]; k++)
            max_into(out, row + k * w->dilation[2], w->stride[2], w->out[2]);
    }
    oxp_free(row);
    return OXP_OK;
}

static void add_rows(const oxp_window *w, const float *plane, size_t o0, size_t o1, double *row,
                     size_t length)
{
    size_t first0, last0, first1, last1;
    oxp_window_taps(w, 0, o0, &first0, &last0);
    oxp_window_taps(w, 1, o1, &first1, &last1);
    memset(row, 0, length * sizeof *row);
    for (size_t k0 = first0; k0 < last0; k0++)
        for (size_t k1 = first1; k1 < last1; k1++) {
            size_t line = oxp_window_at(w, 0, o0, k0) * w->in[1] + oxp_window_at(w, 1, o1, k1);
            add_floats(row + w->begin[2], plane + line * w->in[2], w->in[2]);
        }
}

/* dst[o] = the sum over the taps of the padded row / what counts; sums has room for a row of
 * outputs. */
static void average_row(const oxp_window *w, size_t row_count, const double *row, double *sums,
                        bool count_padding, float *dst)
{
    memset(sums, 0, w->out[2] * sizeof *sums);
    for (size_t k = 0; k < w->kernel[2]; k++)
        add_doubles(sums, row + k * w->dilation[2], w->stride[2], w->out[2]);
    for (size_t o = 0; o < w->out[2]; o++)
        dst[o] = (float)mean_of(sums[o], row_count * oxp_pool_counted(w, 2, o, count_padding));
}

oxp_status oxp_pool_average(oxp_ctx *ctx, const oxp_window *w, size_t planes, bool count_padding,
                            const float *src, float *dst)
{
    size_t length, rows = w->out[0] * w->out[1], total;
    if (OXP_PLAIN)
        oxp_pool_average_reference(w, planes, count_padding, src, dst);
    if (OXP_PLAIN || planes * rows * w->out[2] == 0)
        return OXP_OK;
    double *row = NULL;
    if (!padded_row(w, &length) || !oxp_add_ok(length, w->out[2], &total))
        return oxp_fail(ctx, OXP_ELIMIT, "E-LIMIT-MEM", "a row of %zu is too large", w->in[2]);
    OXP_TRY(oxp_alloc_raw(&row, ctx, total, sizeof *row, "pool"));
    for (size_t i = 0; i < planes * rows; i++) {
        size_t o0 = i % rows / w->out[1], o1 = i % rows % w->out[1];
        size_t row_count =
            oxp_pool_counted(w, 0, o0, count_padding) * oxp_pool_counted(w, 1, o1, count_padding);
        add_rows(w, src + i / rows * oxp_volume(w->in), o0, o1, row, length);
        average_row(w, row_count, row, row + length, count_padding, dst + i * w->out[2]);
    }
    oxp_free(row);
    return OXP_OK;
}

/* ---- whole planes ---- */

OXP_VECTORISED static void partial_sums(double sum[OXP_LANES], const float *x, size_t n)
{
    for (size_t i = 0; i + OXP_LANES <= n; i += OXP_LANES)
        for (int l = 0; l < OXP_LANES; l++)
            sum[l] += (double)x[i + (size_t)l];
}

double oxp_sum(const float *x, size_t n)
{
    double sum[OXP_LANES] = {0}, total = 0;
    partial_sums(sum, x, n);
    for (size_t i = n - n % OXP_LANES; i < n; i++)
        sum[i % OXP_LANES] += (double)x[i];
    for (int l = 0; l < OXP_LANES; l++)
        total += sum[l];
    return total;
}

void oxp_pool_global_average(size_t planes, size_t count, const float *src, float *dst)
{
    for (size_t i = 0; i < planes; i++)
        dst[i] = (float)(oxp_sum(src + i * count, count) / (double)count);
}

void oxp_pool_global_max(size_t planes, size_t count, const float *src, float *dst)
{
    for (size_t i = 0; i < planes; i++) {
        float best = -INFINITY;
        for (const float *x = src + i * count; x < src + (i + 1) * count; x++)
            if ((*x > best || IS_NAN(*x)) && !IS_NAN(best))
                best = *x;
        dst[i] = best;
    }
}

void oxp_pool_global_lp(size_t planes, size_t count, int64_t p, const float *src, float *dst)
{
    for (size_t i = 0; i < planes; i++) {
        double sum = 0;
        for (size_t j = 0; j < count; j++)
            sum += power((double)src[i * count + j], p);
        dst[i] = root(sum, p);
    }
}
