/* The error of a 4-bit scale against the number of draws: sqrt(n) (s - s*) is normal with the
 * constant sqrt(Var psi) / J, so log |s - s*| falls with slope -1/2 in log n, and the interval of
 * the sandwich formula holds s* as often as it says. N(0, 1), codes -7..7: s* = 0.35341. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "calibration/scale_error.h"
#include "util/random.h"

#define LIMIT 7
#define OPTIMUM 0.35341
#define MOST 100000
#define REPEATS 60

typedef struct sorted { /* values and sums of the first i: the error of a scale is then cheap */
    float *x;
    double *sums, squares;
    size_t n;
} sorted;

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static size_t first_from(const sorted *s, double at)
{
    size_t low = 0, high = s->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if ((double)s->x[middle] < at)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* sum (x - step c)^2 = sum x^2 - 2 step sum c x + step^2 sum c^2, code by code. */
static double error_of(const sorted *s, double step)
{
    double cx = 0, cc = 0;
    size_t from = 0;
    for (int c = -LIMIT; c <= LIMIT; c++) {
        size_t to = c == LIMIT ? s->n : first_from(s, (c + 0.5) * step);
        cx += c * (s->sums[to] - s->sums[from]);
        cc += (double)(c * c) * (double)(to - from);
        from = to;
    }
    return s->squares - 2 * step * cx + step * step * cc;
}

static double best_scale(const sorted *s)
{
    double best = 0.1, least = INFINITY;
    for (double step = 0.1; step < 0.8; step *= 1.004) {
        double e = error_of(s, step);
        best = e < least ? step : best;
        least = fmin(e, least);
    }
    for (double width = 0.004 * best; width > 1e-6; width /= 2)
        for (double step = best - width, end = best + width; step <= end; step += width / 2) {
            double e = error_of(s, step);
            best = e < least ? step : best;
            least = fmin(e, least);
        }
    return best;
}

static void draw(sorted *s, size_t n, oxp_random *r)
{
    s->n = n;
    s->squares = 0;
    for (size_t i = 0; i < n; i++)
        s->x[i] = (float)oxp_random_normal(r);
    qsort(s->x, n, sizeof *s->x, by_value);
    s->sums[0] = 0;
    for (size_t i = 0; i < n; i++) {
        s->sums[i + 1] = s->sums[i] + (double)s->x[i];
        s->squares += (double)s->x[i] * (double)s->x[i];
    }
}

static double standard_error(const sorted *s, double step, double *scores, oxp_histogram *h)
{
    oxp_scale scale = {(float)step, LIMIT};
    for (size_t i = 0; i < s->n; i++)
        scores[i] = oxp_scale_score(&s->x[i], 1, scale, 2 * LIMIT);
    oxp_histogram_init(h);
    oxp_histogram_add(h, s->x, s->n);
    return oxp_scale_standard_error(scores, s->n, (double)s->n,
                                    oxp_scale_curvature(h, scale, 2 * LIMIT), 2 * LIMIT);
}

Test(scale_error_rate, falls_with_the_root_of_n_and_is_covered)
{
    const size_t sizes[] = {300, 1000, 3000, 10000, 30000, MOST};
    sorted s = {.x = malloc(MOST * sizeof *s.x), .sums = malloc((MOST + 1) * sizeof *s.sums)};
    double *scores = malloc(MOST * sizeof *scores), xx = 0, xy = 0, mean_x = 0, mean_y = 0;
    double logs[6], errors[6];
    oxp_histogram *h = malloc(sizeof *h);
    oxp_random r = oxp_random_make(31, 1, 1);
    cr_assert(s.x && s.sums && scores && h);
    for (size_t k = 0; k < 6; k++) {
        int covered = 0;
        errors[k] = 0;
        for (int repeat = 0; repeat < REPEATS; repeat++) {
            draw(&s, sizes[k], &r);
            double step = best_scale(&s), off = fabs(step - OPTIMUM);
            errors[k] += log(off) / REPEATS;
            double error = standard_error(&s, step, scores, h);
            cr_expect_eq(isnan(error), sizes[k] < 6000, "%zu draws: %g", sizes[k], error);
            covered += off <= 1.96 * error;
        }
        logs[k] = log((double)sizes[k]);
        mean_x += logs[k] / 6;
        mean_y += errors[k] / 6;
        /* promised are 57 of 60, approximately; nothing where there is no interval */
        cr_log_info("%d of %d at %zu", covered, REPEATS, sizes[k]);
        cr_expect(sizes[k] < 6000 || covered >= 54, "%d of %d at %zu", covered, REPEATS, sizes[k]);
    }
    for (size_t k = 0; k < 6; k++) {
        xx += (logs[k] - mean_x) * (logs[k] - mean_x);
        xy += (logs[k] - mean_x) * (errors[k] - mean_y);
    }
    cr_expect_lt(fabs(xy / xx + 0.5), 0.1, "slope %g", xy / xx);
    cr_log_info("slope %g", xy / xx);
    free(h);
    free(scores);
    free(s.sums);
    free(s.x);
}
