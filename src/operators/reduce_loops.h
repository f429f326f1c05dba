/* reduce_loops.h - the inner loops of reductions: what a stretch of elements does to its
 * accumulators.
 *
 * FLOAT and DOUBLE accumulate in double, integers in int64 that wraps. A stretch into one
 * accumulator runs in 16 lanes that are folded in a fixed order, so that results do not depend
 * on the machine. */
#ifndef OXP_OPERATORS_REDUCE_LOOPS_H
#define OXP_OPERATORS_REDUCE_LOOPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum oxp_reduction {
    OXP_REDUCE_SUM,
    OXP_REDUCE_ABS,    /* sum of |v| */
    OXP_REDUCE_SQUARE, /* sum of v^2 */
    OXP_REDUCE_PRODUCT,
    OXP_REDUCE_MAX, /* NaN wins */
    OXP_REDUCE_MIN,
    OXP_REDUCE_EXP,       /* sum of e^(v - shift); floats only */
    OXP_REDUCE_DEVIATION, /* sum of (v - shift)^2; floats only */
    OXP_REDUCTION_COUNT
} oxp_reduction;

/* x: count elements. accumulators: one, or with `moves` count of them. shifts likewise, NULL
 * where they have no use. */
typedef void (*oxp_reduce_f32)(const float *x, size_t count, double *accumulators, bool moves,
                               const double *shifts);
typedef void (*oxp_reduce_f64)(const double *x, size_t count, double *accumulators, bool moves,
                               const double *shifts);
typedef void (*oxp_reduce_i64)(const int64_t *x, size_t count, int64_t *accumulators, bool moves);

typedef struct oxp_reduce_loops {
    double start;
    int64_t integer_start;
    oxp_reduce_f32 f32;
    oxp_reduce_f64 f64;
    oxp_reduce_i64 i64; /* NULL: floats only */
} oxp_reduce_loops;

const oxp_reduce_loops *oxp_reduce_loops_of(oxp_reduction reduction);

#endif
