/* sparse_form.h - a constant with many zeros in the form of fewest bytes, b bytes a number.
 *
 *   dense  b n
 *   list   sparse_initializer: (8 + b) for each that is not zero
 *   gaps   (1 + b) or (2 + b): how far each lies behind the one before, summed up, and the numbers;
 *          a gap that 8 or 16 bits do not hold is cut by zeros
 *   mask   n / 8 and b for each that is not zero; its running sum says which of them stands where
 *
 * All of them are dense once ONNX Runtime has loaded the model: gaps and mask are expressions of
 * constants, which it folds. Nothing is computed faster, or in less memory, for the zeros. */
#ifndef OXP_TECHNIQUES_SPARSE_FORM_H
#define OXP_TECHNIQUES_SPARSE_FORM_H

#include "techniques/expression.h"

#define OXP_SPARSE_OPSET 11 /* CumSum, ScatterND */

typedef enum oxp_sparse_kind {
    OXP_SPARSE_DENSE,
    OXP_SPARSE_LIST,
    OXP_SPARSE_GAPS8,
    OXP_SPARSE_GAPS16,
    OXP_SPARSE_MASK
} oxp_sparse_kind;

typedef struct oxp_sparse_form {
    oxp_sparse_kind kind;
    size_t bytes;   /* about, nodes included */
    size_t entries; /* numbers that are written; of gaps with the zeros between */
} oxp_sparse_form;

/* The bytes of `count` numbers, of which `nonzero` are not zero and lie evenly, in the smallest
 * form. */
size_t oxp_sparse_bytes(oxp_dtype dtype, size_t count, size_t nonzero);

/* dtype: FLOAT or INT8. */
oxp_sparse_form oxp_sparse_form_of(oxp_dtype dtype, const void *data, size_t count);

/* Writes the value *name (made fresh when NULL), nodes of its expression at x->at. The name is
 * free: the caller took away what had it. */
oxp_status oxp_sparse_form_write(const char **name, oxp_expression *x, const oxp_sparse_form *form,
                                 oxp_dtype dtype, int rank, const int64_t *dims, const void *data);

#endif
