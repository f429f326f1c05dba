/* expression.h - a chain of nodes written in front of what reads a weight: constants and operators
 * that every version has, which ONNX Runtime folds when it loads the model. */
#ifndef OXP_TECHNIQUES_EXPRESSION_H
#define OXP_TECHNIQUES_EXPRESSION_H

#include "kernels/bit_planes.h"
#include "techniques/technique.h"

typedef struct oxp_expression {
    oxp_edit *e;
    const oxp_graph *graph;
    size_t at; /* where the next node goes */
} oxp_expression;

/* *out names the result: made fresh when NULL on entry. b NULL: one input. */
oxp_status oxp_expression_add(oxp_expression *x, const char *type, const char *a, const char *b,
                              const char **out);
oxp_status oxp_expression_cast(oxp_expression *x, const char *from, oxp_dtype to, const char **out);
oxp_status oxp_expression_number(oxp_expression *x, float value, const char **out);
oxp_status oxp_expression_reshape(oxp_expression *x, const char *from, int rank,
                                  const int64_t *dims, const char **out);
oxp_status oxp_expression_transpose(oxp_expression *x, const char *from, int rank,
                                    const int64_t *order, const char **out);
/* The first `count` along an axis; -1: of a vector. */
oxp_status oxp_expression_first(oxp_expression *x, const char *from, int64_t axis, int64_t count,
                                const char **out);

/* One plane of codes (kernels/bit_planes.h) as numbers of their own, FLOAT [count]; `base` begins
 * the name of its bytes. */
oxp_status oxp_expression_plane(oxp_expression *x, const char *base, const int8_t *codes,
                                size_t count, oxp_bit_plane plane, const char **out);
/* *sum += 2^shift times another part; *sum NULL: the first one. */
oxp_status oxp_expression_add_part(oxp_expression *x, const char *part, int shift,
                                   const char **sum);

/* Whole numbers from 0 to 2^bits - 1, bits 1 to 16, as one tensor of type INT32, [count]: bytes and
 * pairs of bytes as they are, other widths packed as planes (kernels/bit_planes.h). */
oxp_status oxp_expression_indices(oxp_expression *x, const uint16_t *values, size_t count, int bits,
                                  const char **out);
size_t oxp_indices_bytes(size_t count, int bits);

#endif
