/* codebook_internal.h - what the files of codebook.h share. */
#ifndef OXP_KERNELS_CODEBOOK_INTERNAL_H
#define OXP_KERNELS_CODEBOOK_INTERNAL_H

#include "kernels/codebook.h"

typedef struct oxp_word_fit {
    const oxp_codebook_problem *p;
    oxp_codebook *b;
    oxp_ctx *ctx;
    oxp_arena *arena;
    size_t vectors;    /* of a row */
    float *e, *he;     /* [rows, columns]: w - decoded, and H times it */
    float *x, *hx;     /* [rows, columns]: for one step alone */
    float *linear;     /* [rows, dim], twice: as asked for, and with the other book taken off */
    float *quad;       /* [books, size] */
    uint32_t *index;   /* [books, rows]: what was chosen for one vector */
    float **factors;   /* by group and block: L, D on its diagonal; NULL without H */
    double *row_error; /* [rows] */
} oxp_word_fit;

/* The columns of vector v, fewer than `dim` at the end of a row. */
static inline size_t oxp_word_width(const oxp_codebook *b, size_t v)
{
    size_t left = b->columns - v * b->dim;
    return left < b->dim ? left : b->dim;
}

/* out[dim] = the sum of the words of one vector. */
void oxp_word_sum(float *out, const oxp_codebook *b, size_t row, size_t v);

/* out = x H over all rows. */
void oxp_word_times_h(float *out, const float *x, const oxp_codebook_problem *p);

/* e and he of the codebook as it is. */
void oxp_word_residual(oxp_word_fit *f);
double oxp_word_error(const oxp_word_fit *f); /* e . he, and row_error */

/* The nearest half precision number, within its range. */
float oxp_word_half(float x);

/* ---- choosing words (codebook_sweep.c) ---- */

/* Every vector by itself, the diagonal of H alone counted. */
oxp_status oxp_word_nearest(oxp_word_fit *f);
/* From the last vector of a row to the first, errors handed on; f->factors. */
oxp_status oxp_word_sweep(oxp_word_fit *f);
/* Each vector to its best word given the others; e and he are kept. *gain: by how much the sum
 * fell. */
oxp_status oxp_word_descend(oxp_word_fit *f, double *gain);

#endif
