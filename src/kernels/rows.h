/* rows.h - products and sums of rows in double, over fixed partial sums: the bits do not depend on
 * the processor. */
#ifndef OXP_KERNELS_ROWS_H
#define OXP_KERNELS_ROWS_H

#include <stddef.h>

double oxp_row_dot(const double *a, const double *b, size_t n);
double oxp_row_dot_float(const float *a, const double *b, size_t n);

/* to += f * row; they do not overlap. */
void oxp_row_add(double *to, const double *row, double f, size_t n);
void oxp_row_add_float(double *to, const float *row, double f, size_t n);

#endif
