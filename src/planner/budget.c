/* budget.c - how a loss is shared among weights; agreement of rankings. */
#include <math.h>

#include "planner/sensitivity.h"

double oxp_kendall(const double *a, const double *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t k = i + 1; k < n; k++) {
            int x = (a[i] > a[k]) - (a[i] < a[k]), y = (b[i] > b[k]) - (b[i] < b[k]);
            sum += x * y;
        }
    return n > 1 ? sum / ((double)n * (double)(n - 1) / 2) : NAN;
}

static bool has_budget(double d, double t)
{
    return isfinite(t) && t > 0 && d > 0;
}

/* Weights at their cap spend less than their share; the others get what is left, until none is
 * above its cap. */
void oxp_budgets(double *out, const double *d, const double *t, const double *w, size_t count,
                 double loss)
{
    bool changed = true;
    for (size_t i = 0; i < count; i++)
        out[i] = has_budget(d[i], t[i]) ? -1 : w[i]; /* -1: free */
    while (changed) {
        double left = loss, sizes = 0;
        for (size_t i = 0; i < count; i++) {
            if (!has_budget(d[i], t[i]))
                continue;
            if (out[i] >= 0)
                left -= 0.5 * out[i] * out[i] * t[i] / d[i];
            else
                sizes += d[i];
        }
        changed = false;
        for (size_t i = 0; i < count; i++)
            if (out[i] < 0 && left > 0 && d[i] * sqrt(2 * left / (sizes * t[i])) >= w[i]) {
                out[i] = w[i];
                changed = true;
            }
        for (size_t i = 0; !changed && i < count; i++)
            if (out[i] < 0)
                out[i] = left > 0 ? d[i] * sqrt(2 * left / (sizes * t[i])) : 0;
    }
}
