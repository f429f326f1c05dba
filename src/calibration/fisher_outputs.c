/* fisher_outputs.c - scores of the output distributions.
 *
 * Categorical in logits z, p = softmax z: score e_y - p, information diag(p) - p p', factor
 * B = diag(sqrt p) - p sqrt(p)'. In probabilities: score e_y / p_y, information diag(1 / p); in
 * log-probabilities e_y, diag(p): the Softmax behind them gives the rest. Bernoulli in
 * probabilities: (y - p) / (p (1 - p)). Gaussian of variance P: noise / sqrt P. Embedding f: of
 * 1 - cos the second order is (I - u u') / |f|^2, u = f / |f|, its own factor (I - u u') / |f|. */
#include "calibration/fisher_outputs.h"

#include <math.h>
#include <string.h>

#define LEAST_PROBABILITY 1e-30 /* below it a class has no part: its score is no number */

size_t oxp_output_rows(const oxp_tensor *y)
{
    size_t classes = y->rank ? (size_t)y->dims[y->rank - 1] : 1;
    return classes ? y->count / classes : 0;
}

static double probability(const oxp_tensor *y, oxp_output_kind kind, size_t i, double norm)
{
    double value = oxp_tensor_real(y, i);
    double p = kind == OXP_KIND_PROBABILITIES ? value : exp(value - norm);
    return p > LEAST_PROBABILITY ? p : 0;
}

/* score of class `label`, times `scale`, added to a row of zeros */
static void score(float *dy, const oxp_tensor *y, oxp_output_kind kind, size_t start,
                  size_t classes, size_t label, double scale)
{
    double norm = oxp_log_normaliser(kind, y, start, classes);
    double p = probability(y, kind, start + label, norm);
    if (kind == OXP_KIND_LOGITS)
        for (size_t k = 0; k < classes; k++)
            dy[k] = (float)(-scale * probability(y, kind, start + k, norm));
    if (p > 0)
        dy[label] += (float)(kind == OXP_KIND_PROBABILITIES ? scale / p : scale);
}

static void factor_row(float *dy, const oxp_tensor *y, oxp_output_kind kind, size_t start,
                       size_t classes, double scale, oxp_random *random)
{
    double norm = oxp_log_normaliser(kind, y, start, classes), mean = 0;
    for (size_t k = 0; k < classes; k++) {
        double p = probability(y, kind, start + k, norm), sign = (double)oxp_random_sign(random);
        double root = sqrt(p) * sign;
        mean += root;
        dy[k] =
            (float)(scale * (kind == OXP_KIND_PROBABILITIES ? p > 0 ? sign / sqrt(p) : 0 : root));
    }
    if (kind == OXP_KIND_LOGITS)
        for (size_t k = 0; k < classes; k++)
            dy[k] -= (float)(scale * mean * probability(y, kind, start + k, norm));
}

static size_t draw_class(const oxp_tensor *y, oxp_output_kind kind, size_t start, size_t classes,
                         oxp_random *random)
{
    double norm = oxp_log_normaliser(kind, y, start, classes), total = 0, below = 0;
    for (size_t k = 0; k < classes; k++)
        total += probability(y, kind, start + k, norm);
    double u = oxp_random_uniform(random) * total;
    for (size_t k = 0; k < classes; k++) {
        below += probability(y, kind, start + k, norm);
        if (u < below)
            return k;
    }
    return classes - 1;
}

static void draw_categorical(float *dy, const oxp_tensor *y, oxp_output_kind kind,
                             oxp_estimator estimator, oxp_random *random)
{
    size_t rows = oxp_output_rows(y), classes = rows ? y->count / rows : 0;
    double scale = 1 / sqrt((double)(rows ? rows : 1));
    for (size_t r = 0; r < rows; r++) {
        size_t start = r * classes;
        if (estimator == OXP_ESTIMATOR_FACTOR)
            factor_row(dy + start, y, kind, start, classes, scale, random);
        else
            score(dy + start, y, kind, start, classes, draw_class(y, kind, start, classes, random),
                  scale);
    }
}

/* Noise across the row's direction over its length. */
static void turn_row(float *dy, const oxp_tensor *y, size_t start, size_t n, bool factor,
                     double scale, oxp_random *random)
{
    double square = 0, along = 0;
    for (size_t k = 0; k < n; k++) {
        double f = oxp_tensor_real(y, start + k);
        dy[k] = factor ? oxp_random_sign(random) : (float)oxp_random_normal(random);
        square += f * f;
        along += f * (double)dy[k];
    }
    double length = sqrt(square);
    for (size_t k = 0; k < n; k++)
        dy[k] = square > 0
                    ? (float)(scale / length *
                              ((double)dy[k] - oxp_tensor_real(y, start + k) * along / square))
                    : 0;
}

static void draw_embedding(float *dy, const oxp_tensor *y, bool factor, oxp_random *random)
{
    size_t rows = oxp_output_rows(y), width = rows ? y->count / rows : 0;
    for (size_t r = 0; r < rows; r++)
        turn_row(dy + r * width, y, r * width, width, factor, 1 / sqrt((double)rows), random);
}

void oxp_fisher_draw(float *dy, const oxp_tensor *y, oxp_output_kind kind, oxp_estimator estimator,
                     double power, oxp_random *random)
{
    memset(dy, 0, y->count * sizeof *dy);
    if (oxp_is_categorical(kind)) {
        draw_categorical(dy, y, kind, estimator, random);
        return;
    }
    bool factor = estimator == OXP_ESTIMATOR_FACTOR;
    if (kind == OXP_KIND_EMBEDDING) {
        draw_embedding(dy, y, factor, random);
        return;
    }
    for (size_t i = 0; i < y->count; i++) {
        double sign = (double)oxp_random_sign(random), p = oxp_tensor_real(y, i), v = p * (1 - p);
        if (kind == OXP_KIND_BERNOULLI) {
            double outcome = oxp_random_uniform(random) < p ? 1 : 0;
            dy[i] =
                v > LEAST_PROBABILITY ? (float)(factor ? sign / sqrt(v) : (outcome - p) / v) : 0;
        } else if (power > 0) {
            dy[i] = (float)((factor ? sign : oxp_random_normal(random)) / sqrt(power));
        }
    }
}

void oxp_fisher_label(float *dy, const oxp_tensor *y, oxp_output_kind kind, const int64_t *labels,
                      size_t label_count)
{
    size_t rows = oxp_output_rows(y), classes = rows ? y->count / rows : 0;
    double scale = 1 / sqrt((double)(rows ? rows : 1));
    memset(dy, 0, y->count * sizeof *dy);
    for (size_t r = 0; r < rows && r < label_count; r++)
        if (labels[r] >= 0 && (uint64_t)labels[r] < classes)
            score(dy + r * classes, y, kind, r * classes, classes, (size_t)labels[r], scale);
}

double oxp_fisher_class(float *dy, const oxp_tensor *y, oxp_output_kind kind, size_t k)
{
    memset(dy, 0, y->count * sizeof *dy);
    score(dy, y, kind, 0, y->count, k, 1);
    return probability(y, kind, k, oxp_log_normaliser(kind, y, 0, y->count));
}
