/* movement.h - what the operators that move data share: strided copies, gathers through index
 * tables, integer inputs.
 *
 * Elements are opaque here: 1, 2, 4, 8 or 16 bytes. Types below 8 bits and STRING are refused by
 * oxp_move_element(). */
#ifndef OXP_OPERATORS_MOVEMENT_H
#define OXP_OPERATORS_MOVEMENT_H

#include "operators/operator.h"

/* Tile, DepthToSpace and their like split an axis in two. */
#define OXP_COPY_MAX_RANK (2 * OXP_MAX_RANK)

/* A copy of dims[0] x dims[1] x ... elements; strides count elements, those of the source may be 0
 * or negative. */
typedef struct oxp_copy {
    size_t element; /* bytes */
    int rank;
    int64_t dims[OXP_COPY_MAX_RANK];
    int64_t to[OXP_COPY_MAX_RANK];
    int64_t from[OXP_COPY_MAX_RANK];
} oxp_copy;

/* Appends a dimension; outermost first, in the order of the target's memory where that can be. */
void oxp_copy_add(oxp_copy *copy, int64_t dim, int64_t to, int64_t from);
/* `to` and `from` point at the element with all indices 0. */
void oxp_copy_run(const oxp_copy *copy, void *to, const void *from);

/* C-order strides in elements; all 0 when the shape is empty (then their product could
 * overflow). */
void oxp_move_strides(int rank, const int64_t *dims, int64_t *strides);

/* `count` times the element at `value`. */
void oxp_move_fill(void *to, size_t count, size_t element, const void *value);

/* A gather with one table per axis: to[i0,i1,...] = from[maps[0][i0], maps[1][i1], ...], or `fill`
 * where a table says -1. */
typedef struct oxp_gather_maps {
    size_t element;
    int rank;
    int64_t to_dims[OXP_MAX_RANK];
    int64_t from_dims[OXP_MAX_RANK];
    const int64_t *maps[OXP_MAX_RANK];
    const void *fill;
} oxp_gather_maps;
oxp_status oxp_move_mapped(oxp_node *n, const oxp_gather_maps *gather, void *to, const void *from);

/* Bytes of an element of input i; E-OP-DTYPE for packed types and STRING. */
oxp_status oxp_move_element(oxp_node *n, int input, size_t *bytes);

/* The values of input i (INT32 or INT64; rank 0 or 1) as int64; *values NULL and *count 0 when it
 * is omitted. They live until the call of prepare or forward returns. */
oxp_status oxp_move_ints(oxp_node *n, int input, const int64_t **values, size_t *count);
/* The one value of input i, of any integer type. */
oxp_status oxp_move_scalar(oxp_node *n, int input, int64_t *value);
/* Fails with E-LIMIT-RANK when `rank` dimensions are more than a tensor may have. */
oxp_status oxp_move_rank(oxp_node *n, size_t rank);
/* Normalises `count` axes of a tensor of that rank; E-AXIS also when one stands twice. axes has
 * OXP_MAX_RANK entries. */
oxp_status oxp_move_axes(oxp_node *n, const int64_t *values, size_t count, int rank, int *axes);
/* dims[0]*...*dims[count-1]; E-SHAPE-OVERFLOW. */
oxp_status oxp_move_product(oxp_node *n, int count, const int64_t *dims, int64_t *product);
/* The place of a string attribute's value among `choices` (NULL-terminated); E-ATTR-VALUE. */
oxp_status oxp_move_choice(oxp_node *n, const char *attribute, const char *otherwise,
                           const char *const *choices, int *choice);

/* An index in [-bound, bound) made non-negative; E-INDEX naming both. `what` names the input. */
oxp_status oxp_move_index(oxp_node *n, const char *what, int64_t index, int64_t bound,
                          int64_t *out);
/* Makes output i in forward, for shapes that data decides (prepare has called oxp_output_later()).
 * *data is where to write, NULL when nobody wants the output. */
oxp_status oxp_move_make_output(oxp_node *n, int i, oxp_dtype dtype, int rank, const int64_t *dims,
                                void *data_pointer);

/* Input i (FLOAT, FLOAT16 or BFLOAT16) as float: its own memory or a converted copy that lives
 * until the call returns. */
oxp_status oxp_move_floats(oxp_node *n, int input, const float **values);
/* Where the floats of an output are written first: its own memory, or scratch (another type, or
 * nobody wants it) from which oxp_move_store() then converts. */
oxp_status oxp_move_float_output(oxp_node *n, int output, float **values);
void oxp_move_store(oxp_node *n, int output, const float *values);

/* Writes a value as an element of a float or integer type (integers: cut toward zero and clamped,
 * NaN 0); false for another type. */
bool oxp_move_write_real(oxp_dtype dtype, double value, void *element);

/* A key whose unsigned order is the order of the element's values: -0 equals 0, every NaN is one
 * value above all. */
uint64_t oxp_move_order_key(oxp_dtype dtype, const void *element);

/* Sorts order[0..count) so that before(user, a, b) is never true of b standing in front of a;
 * stable. `spare` has as many entries. */
void oxp_move_sort(size_t *order, size_t *spare, size_t count,
                   bool (*before)(const void *user, size_t a, size_t b), const void *user);

#endif
