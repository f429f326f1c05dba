/* fourier.h - the discrete Fourier transform of any length, in double, for DFT and STFT.
 *
 * X[k] = sum_j x[j] e^(-2 pi i j k / n). A power of two is done by halving; every other length by
 * Bluestein's identity j k = (j^2 + k^2 - (k - j)^2) / 2, a convolution of the next power of two
 * from 2 n - 1 on. Complex values are pairs (real, imaginary). */
#ifndef OXP_OPERATORS_FOURIER_H
#define OXP_OPERATORS_FOURIER_H

#include "operators/operator.h"

typedef struct oxp_fourier {
    size_t n, m;    /* the length, and the power of two that is transformed */
    double *roots;  /* e^(-2 pi i k / m), m / 2 pairs */
    double *chirp;  /* e^(-pi i k^2 / n), n pairs; NULL when n is a power of two */
    double *kernel; /* the transform of the chirp's conjugate, m pairs */
    double *work;   /* m pairs */
} oxp_fourier;

/* Tables in the node's scratch; n at least 1. */
oxp_status oxp_fourier_open(oxp_fourier *f, oxp_node *n, size_t length);
/* x: n pairs, transformed in place. The inverse has the conjugate root and the factor 1 / n. */
void oxp_fourier_run(const oxp_fourier *f, double *x, bool inverse);

#endif
