/* eigen.c - see eigen.h. */
#include "kernels/eigen.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/rows.h"
#include "kernels/vector.h"

#define TURNS 60 /* of QL for one eigenvalue; three are usual */

OXP_VECTORISED static void take_both(double *restrict to, const double *restrict a, double fa,
                                     const double *restrict b, double fb, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] -= fa * a[i] + fb * b[i];
}

OXP_VECTORISED static void rotate(double *restrict x, double *restrict y, double c, double s,
                                  size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double upper = x[i], lower = y[i];
        x[i] = c * upper - s * lower;
        y[i] = s * upper + c * lower;
    }
}

/* ---- A = Q T Q^T ---- */

/* Row i (its first i elements) becomes the vector v of the reflection that leaves only element
 * i - 1 of it, which is returned; *h = v^T v / 2, 0 where there is nothing to reflect. */
static double reflection(double *row, size_t i, double *h)
{
    double kept = row[i - 1], size = 0, sum = 0;
    *h = 0;
    for (size_t k = 0; k < i; k++)
        size = fmax(size, fabs(row[k]));
    for (size_t k = 0; k + 1 < i; k++)
        sum += row[k] / size * (row[k] / size);
    if (!(sum > 0))
        return kept;
    double norm = size * sqrt(sum + kept / size * (kept / size));
    norm = kept > 0 ? -norm : norm;
    row[i - 1] = kept - norm;
    *h = norm * norm - kept * norm;
    return norm;
}

/* The leading i x i of a, reflected on both sides with v = row i; q is memory for i numbers. */
static void reflect_both_sides(double *a, size_t n, size_t i, double h, double *q)
{
    const double *v = &a[i * n];
    memset(q, 0, i * sizeof *q);
    for (size_t k = 0; k < i; k++) {
        q[k] += oxp_row_dot(&a[k * n], v, k + 1);
        oxp_row_add(q, &a[k * n], v[k], k);
    }
    double half = oxp_row_dot(q, v, i) / (2 * h * h);
    for (size_t k = 0; k < i; k++)
        q[k] = q[k] / h - half * v[k];
    for (size_t k = 0; k < i; k++)
        take_both(&a[k * n], q, v[k], v, q[k], k + 1);
}

/* diagonal[n], below[n] (below[i] left of diagonal[i]); transposed[n, n] = Q^T. */
static void make_tridiagonal(double *a, size_t n, double *diagonal, double *below, double *h,
                             double *transposed)
{
    for (size_t i = n; i-- > 1;) {
        below[i] = reflection(&a[i * n], i, &h[i]);
        if (h[i] > 0)
            reflect_both_sides(a, n, i, h[i], diagonal);
    }
    for (size_t i = 0; i < n; i++) {
        diagonal[i] = a[i * n + i];
        transposed[i * n + i] = 1;
    }
    for (size_t i = 1; i < n; i++)
        for (size_t r = 0; r < i && h[i] > 0; r++)
            oxp_row_add(&transposed[r * n], &a[i * n],
                        -oxp_row_dot(&transposed[r * n], &a[i * n], i) / h[i], i);
}

/* ---- T = Z^T diag Z ---- */

/* One turn of QL on rows low..high, with the shift for the first. */
static void turn(double *d, double *e, double *v, size_t n, size_t low, size_t high)
{
    double g = (d[low + 1] - d[low]) / (2 * e[low]), r = hypot(g, 1);
    double s = 1, c = 1, p = 0;
    g = d[high] - d[low] + e[low] / (g + copysign(r, g));
    for (size_t i = high; i-- > low;) {
        double f = s * e[i], b = c * e[i];
        r = hypot(f, g);
        e[i + 1] = r;
        if (r == 0) { /* splits here */
            d[i + 1] -= p;
            e[high] = 0;
            return;
        }
        s = f / r;
        c = g / r;
        g = d[i + 1] - p;
        r = (d[i] - g) * s + 2 * c * b;
        p = s * r;
        d[i + 1] = g + p;
        g = c * r - b;
        rotate(&v[i * n], &v[(i + 1) * n], c, s, n);
    }
    d[low] -= p;
    e[low] = g;
    e[high] = 0;
}

/* e[i]: right of d[i]. Rotates the rows of v along. */
static bool make_diagonal(double *d, double *e, double *v, size_t n)
{
    for (size_t low = 0; low < n; low++)
        for (int turns = 0;; turns++) {
            size_t high = low;
            while (high + 1 < n &&
                   !(fabs(e[high]) <= DBL_EPSILON * (fabs(d[high]) + fabs(d[high + 1]))))
                high++;
            if (high == low)
                break;
            if (turns == TURNS)
                return false;
            turn(d, e, v, n, low, high);
        }
    return true;
}

/* ---- both ---- */

typedef struct place {
    double value;
    size_t row;
} place;

static int largest_first(const void *a, const void *b)
{
    const place *x = a, *y = b;
    if (x->value != y->value)
        return x->value > y->value ? -1 : 1;
    return x->row < y->row ? -1 : x->row > y->row;
}

static oxp_status decompose(double *a, double *values, oxp_arena *arena, size_t n)
{
    double *d = oxp_arena_alloc(arena, 3 * n, sizeof *d);
    double *v = oxp_arena_alloc(arena, n * n, sizeof *v);
    place *places = oxp_arena_alloc(arena, n, sizeof *places);
    if (!d || !v || !places)
        return OXP_ELIMIT;
    double *e = d + n;
    make_tridiagonal(a, n, d, e, e + n, v);
    memmove(e, e + 1, (n - 1) * sizeof *e);
    e[n - 1] = 0;
    bool done = make_diagonal(d, e, v, n);
    for (size_t i = 0; i < n; i++) {
        places[i] = (place){d[i], i};
        done = done && isfinite(d[i]);
    }
    if (!done)
        return oxp_fail(arena->ctx, OXP_EINTERNAL, "E-EIGEN",
                        "no eigenvalues of a %zu x %zu matrix: it has numbers that are not finite",
                        n, n);
    qsort(places, n, sizeof *places, largest_first);
    for (size_t i = 0; i < n; i++) {
        values[i] = places[i].value;
        memcpy(&a[i * n], &v[places[i].row * n], n * sizeof *a);
    }
    return OXP_OK;
}

oxp_status oxp_eigen(double *a, double *values, oxp_ctx *ctx, size_t n)
{
    oxp_arena arena;
    if (n == 0)
        return OXP_OK;
    oxp_arena_init(&arena, ctx);
    oxp_status status = decompose(a, values, &arena, n);
    oxp_arena_free(&arena);
    return status;
}
