/* The error of a scale: the constants of the normal distribution, and its own spread over repeated
 * draws, for independent and for correlated elements. */
#include "calibration/scale_error.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "util/random.h"

#define ELEMENTS 1000000

static float *normal_values(size_t n, uint64_t seed)
{
    float *x = malloc(n * sizeof *x);
    oxp_random r = oxp_random_make(seed, 1, 1);
    cr_assert(x);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)oxp_random_normal(&r);
    return x;
}

static oxp_histogram *histogram_of(const float *x, size_t n)
{
    oxp_histogram *h = malloc(sizeof *h);
    cr_assert(h);
    oxp_histogram_init(h);
    oxp_histogram_add(h, x, n);
    return h;
}

/* sqrt(Var psi) / J for N(0, 1), by quadrature elsewhere. */
static void expect_constant(oxp_scale s, int max_code, double expected)
{
    float *x = normal_values(ELEMENTS, 3);
    oxp_histogram *h = histogram_of(x, ELEMENTS);
    double squares = 0;
    for (size_t i = 0; i < ELEMENTS; i++) {
        double u = oxp_scale_score(&x[i], 1, s, max_code);
        squares += u * u / ELEMENTS;
    }
    double found = sqrt(squares) / oxp_scale_curvature(h, s, max_code);
    cr_expect_lt(fabs(found / expected - 1), 0.04, "codes 0..%d: %g, expected %g", max_code, found,
                 expected);
    free(h);
    free(x);
}

Test(scale_error, constants_of_the_normal_distribution)
{
    expect_constant((oxp_scale){1.22401f, 1}, 2, 1.089);
    expect_constant((oxp_scale){0.65077f, 3}, 6, 0.800);
    expect_constant((oxp_scale){0.35341f, 7}, 14, 0.620);
    expect_constant((oxp_scale){0.33861f, 8}, 15, 0.623);
}

/* ---- against the spread of repeated estimates ---- */

static double squared_error(const float *x, size_t n, double step)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double c = fmin(fmax(nearbyint((double)x[i] / step), -7), 7), e = (double)x[i] - step * c;
        sum += e * e;
    }
    return sum;
}

static double best_scale(const float *x, size_t n)
{
    double best = 0.2, least = INFINITY;
    for (double step = 0.2; step < 0.6; step *= 1.01) {
        double e = squared_error(x, n, step);
        if (e < least) {
            least = e;
            best = step;
        }
    }
    for (double width = 0.005 * best; width > 1e-5; width /= 2)
        for (double step = best - width; step <= best + width; step += width) {
            double e = squared_error(x, n, step);
            if (e < least) {
                least = e;
                best = step;
            }
        }
    return best;
}

#define INPUTS 100
#define EACH 400
#define REPEATS 60

/* Inputs of unlike sizes: the elements of one input share its size. */
static void correlated(float *x, oxp_random *r)
{
    for (size_t i = 0; i < INPUTS; i++) {
        double size = exp(0.5 * oxp_random_normal(r));
        for (size_t k = 0; k < EACH; k++)
            x[i * EACH + k] = (float)(size * oxp_random_normal(r));
    }
}

static double by_input(const float *x, oxp_scale s, size_t each)
{
    size_t inputs = INPUTS * EACH / each;
    double *scores = malloc(inputs * sizeof *scores);
    cr_assert(scores);
    for (size_t i = 0; i < inputs; i++)
        scores[i] = oxp_scale_score(&x[i * each], each, s, 14);
    oxp_histogram *h = histogram_of(x, INPUTS * EACH);
    double se =
        oxp_scale_standard_error(scores, inputs, INPUTS * EACH, oxp_scale_curvature(h, s, 14), 14);
    free(h);
    free(scores);
    return se;
}

Test(scale_error, inputs_count_and_not_elements)
{
    float *x = malloc(INPUTS * EACH * sizeof *x);
    oxp_random r = oxp_random_make(11, 1, 1);
    double sum = 0, squares = 0, inputs = 0, elements = 0;
    cr_assert(x);
    for (int k = 0; k < REPEATS; k++) {
        correlated(x, &r);
        double s = best_scale(x, INPUTS * EACH);
        sum += s / REPEATS;
        squares += s * s / REPEATS;
        inputs += by_input(x, (oxp_scale){(float)s, 7}, EACH) / REPEATS;
        elements += by_input(x, (oxp_scale){(float)s, 7}, 1) / REPEATS;
    }
    double spread = sqrt((squares - sum * sum) * REPEATS / (REPEATS - 1.0));
    cr_expect_lt(fabs(inputs / spread - 1), 0.3, "by input %g, spread %g", inputs, spread);
    cr_expect_lt(elements / spread, 0.5, "by element %g, spread %g", elements, spread);
    free(x);
}

Test(scale_error, none_where_the_formula_does_not_hold)
{
    const double scores[3] = {1, -1, 0.5};
    cr_expect(isnan(oxp_scale_standard_error(scores, 3, 100, 0, 15)));
    cr_expect(isnan(oxp_scale_standard_error(scores, 3, 100, -1, 15)));
    cr_expect(isnan(oxp_scale_standard_error(scores, 3, 1000, 1, 255)));
    cr_expect(isnan(oxp_scale_standard_error(scores, 1, 1e6, 1, 255)));
    cr_expect_not(isnan(oxp_scale_standard_error(scores, 3, 1e6, 1, 255)));
}
