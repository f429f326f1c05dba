/* fourier.c - see fourier.h. */
#include "operators/fourier.h"

#include <math.h>
#include <string.h>

#define PI 3.14159265358979323846

static void put(double *pair, double real, double imaginary)
{
    pair[0] = real;
    pair[1] = imaginary;
}

/* a *= b */
static void multiply(double *a, const double *b)
{
    put(a, a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]);
}

static void conjugate(double *x, size_t count)
{
    for (size_t i = 0; i < count; i++)
        x[2 * i + 1] = -x[2 * i + 1];
}

/* ---- powers of two ---- */

static void reverse_bits(double *x, size_t m)
{
    for (size_t i = 1, j = 0; i < m; i++) {
        size_t bit = m >> 1;
        for (; j & bit; bit >>= 1)
            j ^= bit;
        j |= bit;
        if (i >= j)
            continue;
        double real = x[2 * i], imaginary = x[2 * i + 1];
        put(x + 2 * i, x[2 * j], x[2 * j + 1]);
        put(x + 2 * j, real, imaginary);
    }
}

static void transform(double *x, size_t m, const double *roots)
{
    reverse_bits(x, m);
    for (size_t half = 1; half < m; half *= 2)
        for (size_t start = 0; start < m; start += 2 * half)
            for (size_t k = 0; k < half; k++) {
                double *a = x + 2 * (start + k), *b = a + 2 * half;
                double t[2] = {b[0], b[1]};
                multiply(t, roots + 2 * (k * (m / 2 / half)));
                put(b, a[0] - t[0], a[1] - t[1]);
                put(a, a[0] + t[0], a[1] + t[1]);
            }
}

/* ---- any length ---- */

static void fill_roots(oxp_fourier *f)
{
    for (size_t k = 0; k < f->m / 2; k++) {
        double angle = -2.0 * PI * (double)k / (double)f->m;
        put(f->roots + 2 * k, cos(angle), sin(angle));
    }
}

/* k^2 is taken modulo 2 n, so that the angle keeps its digits. */
static void fill_chirp(oxp_fourier *f)
{
    memset(f->kernel, 0, 2 * f->m * sizeof *f->kernel);
    for (size_t k = 0; k < f->n; k++) {
        double angle = -PI * (double)((uint64_t)k * k % (2 * f->n)) / (double)f->n;
        put(f->chirp + 2 * k, cos(angle), sin(angle));
        put(f->kernel + 2 * k, cos(angle), -sin(angle));
        if (k > 0)
            put(f->kernel + 2 * (f->m - k), cos(angle), -sin(angle));
    }
    transform(f->kernel, f->m, f->roots);
}

oxp_status oxp_fourier_open(oxp_fourier *f, oxp_node *n, size_t length)
{
    *f = (oxp_fourier){.n = length, .m = 1};
    bool power = (length & (length - 1)) == 0;
    if (length > SIZE_MAX / 64)
        return oxp_node_fail(n, OXP_ELIMIT, "E-SHAPE-OVERFLOW", "a transform of length %zu",
                             length);
    while (f->m < (power ? length : 2 * length - 1))
        f->m *= 2;
    f->roots = oxp_node_scratch(n, f->m + 1, sizeof *f->roots);
    if (!f->roots)
        return n->ctx->status;
    fill_roots(f);
    if (power)
        return OXP_OK;
    f->chirp = oxp_node_scratch(n, 2 * length, sizeof *f->chirp);
    f->kernel = oxp_node_scratch(n, 2 * f->m, sizeof *f->kernel);
    f->work = oxp_node_scratch(n, 2 * f->m, sizeof *f->work);
    if (!f->chirp || !f->kernel || !f->work)
        return n->ctx->status;
    fill_chirp(f);
    return OXP_OK;
}

/* The convolution is undone by a second transform of the conjugate. */
static void bluestein(const oxp_fourier *f, double *x)
{
    double *w = f->work, scale = 1.0 / (double)f->m;
    memset(w, 0, 2 * f->m * sizeof *w);
    memcpy(w, x, 2 * f->n * sizeof *w);
    for (size_t k = 0; k < f->n; k++)
        multiply(w + 2 * k, f->chirp + 2 * k);
    transform(w, f->m, f->roots);
    for (size_t k = 0; k < f->m; k++)
        multiply(w + 2 * k, f->kernel + 2 * k);
    conjugate(w, f->m);
    transform(w, f->m, f->roots);
    for (size_t k = 0; k < f->n; k++) {
        put(x + 2 * k, w[2 * k] * scale, -w[2 * k + 1] * scale);
        multiply(x + 2 * k, f->chirp + 2 * k);
    }
}

void oxp_fourier_run(const oxp_fourier *f, double *x, bool inverse)
{
    if (inverse)
        conjugate(x, f->n);
    if (f->chirp)
        bluestein(f, x);
    else
        transform(x, f->n, f->roots);
    if (!inverse)
        return;
    conjugate(x, f->n);
    for (size_t i = 0; i < 2 * f->n; i++)
        x[i] /= (double)f->n;
}
