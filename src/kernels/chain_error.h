/* chain_error.h - how errors of several changes of one weight add up: W_0 -> W_1 -> ... -> W_n,
 * W_i = C_i(W_{i-1}).
 *
 *   actual     |W_n - W_0|
 *   telescoped sum |W_i - W_{i-1}|: never below `actual`, without any assumption
 *   pairwise   B_n of B_i = e_i + L_i B_{i-1}, e_i = |C_i(W_0) - W_0|, L_i = |C_i(W_{i-1}) -
 *              C_i(W_0)| / |W_{i-1} - W_0|: sum e_i prod_{j>i} L_j, never below `actual` because
 *              the constants are measured where they are used
 *   a_priori   B_i = e_i + c B_{i-1}, where C_i takes the nearest point of a fixed closed set: c =
 *              2 (1 where the set is convex); the Frobenius norm alone
 *
 * Norms: Frobenius, or the seminorm of what the layer reads, sum over rows of e^T H e, H = X X^T /
 * n. All are given relative to |W_0|. */
#ifndef OXP_KERNELS_CHAIN_ERROR_H
#define OXP_KERNELS_CHAIN_ERROR_H

#include <stdbool.h>
#include <stddef.h>

/* H as diagonal blocks of `block` columns (the last of a group narrower), group behind group; h
 * NULL: the identity. */
typedef struct oxp_seminorm {
    const float *h;
    size_t groups, columns, block;
} oxp_seminorm;

/* |a - b|, b NULL: |a|; [rows, columns], rows of a group together. Sums in double. */
double oxp_seminorm_distance(const oxp_seminorm *n, const float *a, const float *b, size_t rows);

typedef struct oxp_chain {
    const float *original;      /* W_0 [rows, columns] */
    const float *const *after;  /* [count]: W_1 … W_n */
    const float *const *alone;  /* [count]: C_i(W_0); of C_1 the same as after[0] */
    const float *const *frozen; /* [count]: nearest to W_0 in the set of C_i; NULL: no such set */
    const bool *is_convex;      /* [count]; NULL: none is */
    size_t count, rows;
} oxp_chain;

typedef struct oxp_chain_error {
    double actual, telescoped, pairwise, a_priori; /* NAN where there is none */
} oxp_chain_error;

oxp_chain_error oxp_chain_measure(const oxp_chain *c, const oxp_seminorm *n);

/* The order that the bound sum e_i prod L_j of independent stages prefers: ascending (1 - L) / e,
 * ties as they stand; e = 0 counts as +inf for L < 1, -inf for L > 1, 0 for L = 1. */
void oxp_chain_order(size_t *order, const double *e, const double *l, size_t count);

#endif
