/* normalization_rows.h - what the normalizations do to a row of neighbouring floats. Moments are
 * taken in double, in 16 lanes folded in a fixed order; the variance is that around the mean, in
 * a second pass. */
#ifndef OXP_OPERATORS_NORMALIZATION_ROWS_H
#define OXP_OPERATORS_NORMALIZATION_ROWS_H

#include "operators/operator.h"

void oxp_row_moments(const float *x, size_t count, double *mean, double *variance);
double oxp_row_mean_square(const float *x, size_t count);

/* y = (x - mean) factor scale + bias, elementwise; bias may be NULL, y may be x. */
void oxp_row_affine(const float *x, float *y, size_t count, double mean, double factor,
                    const float *scale, const float *bias);
/* The same with one scale and one bias for the whole row. */
void oxp_row_affine_one(const float *x, float *y, size_t count, double mean, double factor,
                        float scale, float bias);

/* The backward of a normalized row: with u = (x - mean) inverse and g the gradient of u,
 * dx += inverse (g - mean of g - u * mean of g u) + dmean / count + dvariance 2 (x - mean) / count.
 * Without `centred` the mean is 0 and the variance the mean square: mean of g falls away. */
typedef struct oxp_row_gradient {
    double mean, inverse;
    bool centred;
    double dmean, dvariance; /* from elsewhere */
} oxp_row_gradient;
void oxp_row_backward(const oxp_row_gradient *r, const float *x, const float *g, float *dx,
                      size_t count);
/* u of a row. */
void oxp_row_normalized(const float *x, float *u, size_t count, double mean, double inverse);

/* Input i as floats, repeated to dims when it has another shape (E-BROADCAST is checked in
 * prepare); *step is the distance between its rows of `length` elements, 0 when one row serves
 * all. *values is NULL when the input is omitted. */
oxp_status oxp_row_parameter(oxp_node *n, int i, int rank, const int64_t *dims, size_t length,
                             const float **values, size_t *step);

#endif
