/* layer.h - a layer and the inputs that it reads, for tests of what is fitted to a layer's output:
 * W [rows, columns], X [samples, columns] whose columns share a few causes, H = X^T X / samples. */
#ifndef OXP_TESTS_UNIT_KERNELS_LAYER_H
#define OXP_TESTS_UNIT_KERNELS_LAYER_H

#include "values.h"

typedef struct test_layer {
    size_t rows, columns, samples;
    float *w, *x, *h;
} test_layer;

static inline void fill_moments(test_layer *l)
{
    for (size_t i = 0; i < l->columns; i++)
        for (size_t j = 0; j < l->columns; j++) {
            double sum = 0;
            for (size_t s = 0; s < l->samples; s++)
                sum += (double)l->x[s * l->columns + i] * (double)l->x[s * l->columns + j];
            l->h[i * l->columns + j] = (float)(sum / (double)l->samples);
        }
}

/* Each input is a mixture of `causes` numbers and `noise` of its own, and has a size of its own. */
static inline test_layer make_test_layer(oxp_random *r, size_t rows, size_t columns, size_t samples,
                                         size_t causes, double noise)
{
    test_layer l = {.rows = rows, .columns = columns, .samples = samples};
    float *mix = random_floats(r, causes * columns), *cause = make_block(causes, sizeof *cause);
    float *size = make_block(columns, sizeof *size);
    for (size_t j = 0; j < columns; j++)
        size[j] = (float)exp(0.7 * oxp_random_normal(r));
    l.w = random_floats(r, rows * columns);
    l.x = make_block(samples * columns, sizeof *l.x);
    l.h = make_block(columns * columns, sizeof *l.h);
    for (size_t s = 0; s < samples; s++) {
        for (size_t c = 0; c < causes; c++)
            cause[c] = (float)oxp_random_normal(r);
        for (size_t j = 0; j < columns; j++) {
            double sum = noise * oxp_random_normal(r);
            for (size_t c = 0; c < causes; c++)
                sum += (double)cause[c] * (double)mix[c * columns + j];
            l.x[s * columns + j] = (float)sum * size[j];
        }
    }
    fill_moments(&l);
    free(mix);
    free(size);
    free(cause);
    return l;
}

static inline void free_test_layer(test_layer *l)
{
    free(l->w);
    free(l->x);
    free(l->h);
}

/* Mean over the samples of the squared error of the outputs, from X itself. */
static inline double raw_error(const test_layer *l, const float *out)
{
    double total = 0;
    for (size_t s = 0; s < l->samples; s++)
        for (size_t r = 0; r < l->rows; r++) {
            double y = 0;
            for (size_t k = 0; k < l->columns; k++)
                y += ((double)l->w[r * l->columns + k] - (double)out[r * l->columns + k]) *
                     (double)l->x[s * l->columns + k];
            total += y * y;
        }
    return total / (double)l->samples;
}

#endif
