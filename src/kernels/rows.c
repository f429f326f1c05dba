/* rows.c - see rows.h. What is compiled for several processors stays inside: its resolver would be
 * a symbol of the library. */
#include "kernels/rows.h"

#include "kernels/vector.h"

OXP_VECTORISED static double dot(const double *restrict a, const double *restrict b, size_t n)
{
    double lanes[OXP_LANES] = {0}, sum = 0;
    size_t whole = n / OXP_LANES * OXP_LANES;
    for (size_t i = 0; i < whole; i += OXP_LANES)
        for (size_t k = 0; k < OXP_LANES; k++)
            lanes[k] += a[i + k] * b[i + k];
    for (size_t i = whole; i < n; i++)
        sum += a[i] * b[i];
    for (size_t k = 0; k < OXP_LANES; k++)
        sum += lanes[k];
    return sum;
}

OXP_VECTORISED static double dot_float(const float *restrict a, const double *restrict b, size_t n)
{
    double lanes[OXP_LANES] = {0}, sum = 0;
    size_t whole = n / OXP_LANES * OXP_LANES;
    for (size_t i = 0; i < whole; i += OXP_LANES)
        for (size_t k = 0; k < OXP_LANES; k++)
            lanes[k] += (double)a[i + k] * b[i + k];
    for (size_t i = whole; i < n; i++)
        sum += (double)a[i] * b[i];
    for (size_t k = 0; k < OXP_LANES; k++)
        sum += lanes[k];
    return sum;
}

OXP_VECTORISED static void add(double *restrict to, const double *restrict row, double f, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] += f * row[i];
}

OXP_VECTORISED static void add_float(double *restrict to, const float *restrict row, double f,
                                     size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] += f * (double)row[i];
}

double oxp_row_dot(const double *a, const double *b, size_t n)
{
    return dot(a, b, n);
}

double oxp_row_dot_float(const float *a, const double *b, size_t n)
{
    return dot_float(a, b, n);
}

void oxp_row_add(double *to, const double *row, double f, size_t n)
{
    add(to, row, f, n);
}

void oxp_row_add_float(double *to, const float *row, double f, size_t n)
{
    add_float(to, row, f, n);
}
