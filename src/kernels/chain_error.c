/* chain_error.c - see chain_error.h. */
#include "kernels/chain_error.h"

#include <math.h>

static double square(const float *h, const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double e = b ? (double)a[i] - (double)b[i] : (double)a[i], row = 0;
        if (e == 0)
            continue;
        for (size_t j = 0; j < n; j++)
            row += (double)h[i * n + j] * (b ? (double)a[j] - (double)b[j] : (double)a[j]);
        sum += e * row;
    }
    return sum;
}

static double frobenius(const float *a, const float *b, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        double e = b ? (double)a[i] - (double)b[i] : (double)a[i];
        sum += e * e;
    }
    return sqrt(sum);
}

double oxp_seminorm_distance(const oxp_seminorm *n, const float *a, const float *b, size_t rows)
{
    if (!n->h)
        return frobenius(a, b, rows * n->columns);
    size_t blocks = (n->columns + n->block - 1) / n->block;
    size_t last = n->columns - (blocks - 1) * n->block;
    size_t group_floats = (blocks - 1) * n->block * n->block + last * last;
    double sum = 0;
    for (size_t r = 0; r < rows; r++) {
        const float *h = n->h + r / (rows / n->groups) * group_floats;
        size_t at = r * n->columns;
        for (size_t k = 0; k < blocks; k++) {
            size_t width = k + 1 < blocks ? n->block : last;
            sum += square(h, a + at, b ? b + at : NULL, width);
            h += width * width;
            at += width;
        }
    }
    return sqrt(fmax(sum, 0));
}

/* 0 / 0 is 0: nothing came in, nothing goes out. x / 0 makes the bound absent. */
static double constant(double out, double in)
{
    return in > 0 ? out / in : out > 0 ? NAN : 0;
}

static double a_priori(const oxp_chain *c, const oxp_seminorm *n)
{
    double bound = 0;
    for (size_t i = 0; i < c->count; i++) {
        if (n->h || !c->frozen || !c->frozen[i])
            return NAN;
        double factor = c->is_convex && c->is_convex[i] ? 1 : 2;
        bound = oxp_seminorm_distance(n, c->frozen[i], c->original, c->rows) + factor * bound;
    }
    return bound;
}

oxp_chain_error oxp_chain_measure(const oxp_chain *c, const oxp_seminorm *n)
{
    const float *before = c->original;
    double size = oxp_seminorm_distance(n, c->original, NULL, c->rows), telescoped = 0,
           pairwise = 0;
    for (size_t i = 0; i < c->count; before = c->after[i++]) {
        telescoped += oxp_seminorm_distance(n, c->after[i], before, c->rows);
        double in = oxp_seminorm_distance(n, before, c->original, c->rows);
        double out = oxp_seminorm_distance(n, c->after[i], c->alone[i], c->rows);
        pairwise = oxp_seminorm_distance(n, c->alone[i], c->original, c->rows) +
                   constant(out, in) * pairwise;
    }
    double actual = oxp_seminorm_distance(n, before, c->original, c->rows);
    double share = size > 0 ? 1 / size : actual > 0 ? NAN : 0;
    return (oxp_chain_error){actual * share, telescoped * share, pairwise * share,
                             a_priori(c, n) * share};
}

static double order_key(double e, double l)
{
    if (e > 0)
        return (1 - l) / e;
    return l < 1 ? INFINITY : l > 1 ? -INFINITY : 0;
}

void oxp_chain_order(size_t *order, const double *e, const double *l, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t at = i;
        for (; at > 0 && order_key(e[i], l[i]) < order_key(e[order[at - 1]], l[order[at - 1]]);
             at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
}
