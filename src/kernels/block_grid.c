/* block_grid.c - see block_grid.h. */
#include "kernels/block_grid.h"

#include <float.h>

#include "kernels/vector.h"
#include "util/half.h"

#define LEAST_HALF 6.103515625e-5f /* the smallest normal one */
#define MOST_HALF 65504.0f

float oxp_block_scale(const oxp_block_grid *g, float scale)
{
    float size = fabsf(scale);
    if (!(size > 0))
        return 1.0f;
    size = g->half_scales
               ? oxp_half_to_float(oxp_float_to_half(fminf(fmaxf(size, LEAST_HALF), MOST_HALF)))
               : fminf(fmaxf(size, FLT_MIN), FLT_MAX / 1024);
    return scale < 0 ? -size : size;
}

/* ---- one block ---- */

typedef struct block { /* of a row */
    const float *w, *h;
    size_t count;
    float most; /* code */
    bool keep_zeros;
} block;

/* `steps` clips times three zero points, or times two signs of the scale. */
#define STEPS 16
#define TRIALS 48

typedef struct trials {
    float inverse[TRIALS], zero[TRIALS]; /* 1 / scale */
    float wq[TRIALS], qq[TRIALS];        /* sum h w (q - z), sum h (q - z)^2 */
    int count;
} trials;

OXP_VECTORISED static void try_all(trials *restrict t, const float *restrict w,
                                   const float *restrict h, size_t n, float most)
{
    for (int k = 0; k < TRIALS; k++)
        t->wq[k] = t->qq[k] = 0;
    for (size_t i = 0; i < n; i++) {
        float x = w[i], weight = h ? h[i] : 1.0f;
        for (int k = 0; k < TRIALS; k++) {
            float q = nearbyintf(x * t->inverse[k]) + t->zero[k];
            q = q < 0 ? 0 : q;
            q = (q > most ? most : q) - t->zero[k];
            t->wq[k] += weight * x * q;
            t->qq[k] += weight * q * q;
        }
    }
}

/* The smallest share of a block's range that is tried: the fewer the codes, the more is clipped. */
static float least_share(int bits)
{
    static const float shares[] = {0.3f, 0.3f, 0.3f, 0.3f, 0.35f, 0.5f, 0.65f, 0.8f, 0.88f};
    return shares[bits];
}

static float share(int step, int bits)
{
    return powf(least_share(bits), (float)step / (float)(STEPS - 1));
}

static void add_trial(trials *t, float scale, float zero)
{
    t->inverse[t->count] = 1 / scale;
    t->zero[t->count++] = zero;
}

/* The largest weight on the code 0, of either sign of it, or on the last code. */
static void symmetric_trials(trials *t, const oxp_block_grid *g, float largest)
{
    float half = (float)(1 << (g->bits - 1));
    for (int step = 0; step < STEPS; step++) {
        float clip = largest * share(step, g->bits);
        add_trial(t, -clip / half, half);
        add_trial(t, clip / half, half);
        add_trial(t, clip / (half - 1), half);
    }
}

static void asymmetric_trials(trials *t, const oxp_block_grid *g, float low, float high)
{
    float most = (float)oxp_block_grid_most(g), span = high - low;
    float zero = nearbyintf(-low / span * most);
    for (int step = 0; step < STEPS; step++)
        for (int shift = -1; shift <= 1; shift++) {
            float z = zero + (float)shift;
            z = z < 0 ? 0 : z > most ? most : z;
            add_trial(t, span * share(step, g->bits) / most, z);
        }
}

static double block_error(const block *b, float scale, float zero, double *wq, double *qq)
{
    double sum = 0;
    *wq = *qq = 0;
    for (size_t i = 0; i < b->count; i++) {
        float x = b->w[i], q = oxp_block_code(x, scale, zero, b->most) - zero;
        double weight = b->h ? (double)b->h[i] : 1, e = (double)x - (double)(q * scale);
        sum += weight * e * e;
        *wq += weight * (double)x * (double)q;
        *qq += weight * (double)q * (double)q;
    }
    return sum;
}

/* Codes and scale in turn while the error falls. */
static float settle(const oxp_block_grid *g, const block *b, float scale, float zero)
{
    double wq, qq, next_wq, next_qq, error = block_error(b, scale, zero, &wq, &qq);
    for (int turn = 0; turn < 10 && qq > 0 && (wq > 0) == (scale > 0); turn++) {
        float next = oxp_block_scale(g, (float)(wq / qq));
        double next_error = block_error(b, next, zero, &next_wq, &next_qq);
        if (!(next_error < error))
            break;
        scale = next;
        error = next_error;
        wq = next_wq;
        qq = next_qq;
    }
    return scale;
}

static bool is_seen(const float *h, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (h[i] > 0)
            return true;
    return false;
}

static void search_block(const oxp_block_grid *g, const block *b, float *scale, uint8_t *zero)
{
    float low = 0, high = 0;
    for (size_t i = 0; i < b->count; i++) {
        low = fminf(low, b->w[i]);
        high = fmaxf(high, b->w[i]);
    }
    *zero = (uint8_t)(1 << (g->bits - 1));
    *scale = 1.0f;
    if (!(high - low >= FLT_MIN))
        return;
    trials t = {.count = 0};
    if (g->symmetric)
        symmetric_trials(&t, g, high > -low ? high : low);
    else
        asymmetric_trials(&t, g, low, high);
    try_all(&t, b->w, b->h, b->count, b->most);
    int best = -1;
    double most = 0; /* the error is sum h w^2 less this */
    for (int k = 0; k < t.count; k++) {
        double taken = t.qq[k] > 0 ? (double)t.wq[k] * (double)t.wq[k] / (double)t.qq[k] : 0;
        if (taken > most) {
            most = taken;
            best = k;
        }
    }
    int chosen = best < 0 ? 0 : best;
    float first = best < 0 ? 1 / t.inverse[0] : t.wq[best] / t.qq[best];
    *zero = (uint8_t)t.zero[chosen];
    *scale = settle(g, b, oxp_block_scale(g, first), t.zero[chosen]);
}

/* ---- rows ---- */

void oxp_block_search(const oxp_block_grid *g, const float *w, size_t rows, size_t columns,
                      const float *h, const oxp_block_codes *out)
{
    size_t blocks = oxp_block_grid_blocks(g, columns);
    for (size_t r = 0; r < rows; r++)
        for (size_t k = 0; k < blocks; k++) {
            size_t first = k * g->block, left = columns - first;
            block b = {.w = w + r * columns + first,
                       .count = left < g->block ? left : g->block,
                       .most = (float)oxp_block_grid_most(g)};
            b.h = h && is_seen(h + first, b.count) ? h + first : NULL;
            search_block(g, &b, &out->scales[r * blocks + k], &out->zeros[r * blocks + k]);
        }
    oxp_block_nearest(g, w, rows, columns, out);
}

void oxp_block_nearest(const oxp_block_grid *g, const float *w, size_t rows, size_t columns,
                       const oxp_block_codes *c)
{
    size_t blocks = oxp_block_grid_blocks(g, columns);
    float most = (float)oxp_block_grid_most(g);
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < columns; i++) {
            size_t b = r * blocks + i / g->block;
            c->codes[r * columns + i] =
                (uint8_t)oxp_block_code(w[r * columns + i], c->scales[b], (float)c->zeros[b], most);
        }
}

void oxp_block_values(const oxp_block_grid *g, const oxp_block_codes *c, size_t rows,
                      size_t columns, float *out)
{
    size_t blocks = oxp_block_grid_blocks(g, columns);
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < columns; i++) {
            size_t b = r * blocks + i / g->block;
            out[r * columns + i] =
                ((float)c->codes[r * columns + i] - (float)c->zeros[b]) * c->scales[b];
        }
}
