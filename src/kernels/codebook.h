/* codebook.h - a weight as vectors out of a small book: W [rows, columns] is cut into vectors of
 * `dim` neighbouring columns (the last of a row is filled with what nobody reads), each stands as
 * the index of its nearest word, times a scale per row: w = s_r sum_b C_b[i_b], b over one book or
 * two.
 *
 * Words and indices are those of least sum over rows of e^T H e, e = w - s c, H = X X^T / n of what
 * the layer reads: weighted k-means (Lloyd, seeded by squared distance) for a start; then from the
 * last vector of a row to the first, each absorbing what the later ones left (kernels/rounding.h
 * with vectors in the place of codes: H = L D L^T, the cost of a vector is that of D^(1/2) L_b^T);
 * then in turn: words by conjugate gradients on their least squares, scales in closed form, and
 * vectors moved to the best word given all others. Without H the sum is the squared distance.
 *
 * Words and scales are numbers that half precision holds. */
#ifndef OXP_KERNELS_CODEBOOK_H
#define OXP_KERNELS_CODEBOOK_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/moment_block.h"
#include "util/memory.h"

#define OXP_CODEBOOK_DIM_MAX 8
#define OXP_CODEBOOK_SIZE_MAX 65536
#define OXP_CODEBOOK_BOOKS_MAX 2

typedef struct oxp_codebook {
    size_t rows, columns;
    size_t dim, size, books;
    float *words;      /* [books, size, dim] */
    uint16_t *indices; /* [books, rows, oxp_codebook_vectors()] */
    float *scales;     /* [rows]; 0 for a row of zeros */
} oxp_codebook;

static inline size_t oxp_codebook_vectors(const oxp_codebook *b) /* of a row */
{
    return (b->columns + b->dim - 1) / b->dim;
}

/* Where to end: all of it; when errors have been handed on once; with the words of k-means, each
 * vector by itself. */
typedef enum oxp_codebook_effort {
    OXP_CODEBOOK_REFINED,
    OXP_CODEBOOK_SWEPT,
    OXP_CODEBOOK_NEAREST
} oxp_codebook_effort;

typedef struct oxp_codebook_problem {
    const float *w; /* [rows, columns] */
    size_t rows, columns;
    size_t groups; /* of rows, each with blocks of its own */
    /* [groups, block_count], each group's covering its columns in order; NULL: H = I */
    const oxp_moment_block *blocks; /* positive definite */
    size_t block_count;
    uint64_t seed;
    oxp_codebook_effort effort;
} oxp_codebook_problem;

/* out->dim, size and books are the caller's; the arrays come from the arena. size falls to what the
 * vectors need where they are fewer. *error: the sum that is left. */
oxp_status oxp_codebook_fit(oxp_codebook *out, double *error, oxp_arena *arena,
                            const oxp_codebook_problem *p);

void oxp_codebook_decode(float *w, const oxp_codebook *b);

/* sum of (w - decoded)^T H (w - decoded). */
oxp_status oxp_codebook_error(double *error, oxp_ctx *ctx, const oxp_codebook *b,
                              const oxp_codebook_problem *p);

/* ---- weighted k-means (codebook_means.c) ---- */

typedef struct oxp_means {
    const float *vectors, *weights; /* [count, dim]; weights >= 0 */
    size_t count, dim;
    float *words; /* [size, dim] */
    size_t size;
    uint32_t *index; /* [count] */
} oxp_means;

/* Words to begin with: all distinct vectors where they are no more than `size` (which then falls to
 * their number), else drawn by their squared distance from those drawn before. */
oxp_status oxp_means_seed(oxp_means *m, oxp_ctx *ctx, uint64_t seed);
/* Each vector to its nearest word, then each word to the mean of its vectors; a word without any
 * goes to the vector that is worst off. *distortion: sum of weight * (vector - word)^2 of the words
 * as they were. */
oxp_status oxp_means_step(oxp_means *m, oxp_ctx *ctx, double *distortion);

/* For each of n rows the word of largest linear . c - c^T Q c / 2; quad[size] = c^T Q c / 2. */
oxp_status oxp_words_choose(uint32_t *index, oxp_ctx *ctx, const float *words, size_t size,
                            size_t dim, const float *linear, size_t n, const float *quad);

#endif
