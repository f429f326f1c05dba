/* reduce_loops.c - see reduce_loops.h. */
#include "operators/reduce_loops.h"

#include "operators/vector_math.h"

#define LANES 16

#define PLUS(a, v) ((a) + (v))
#define TIMES(a, v) ((a) * (v))
#define MAXIMUM(a, v) ((v) > (a) || (v) != (v) ? (v) : (a))
#define MINIMUM(a, v) ((v) < (a) || (v) != (v) ? (v) : (a))

/* `map` is an expression of v, the element as an A, and with `shifted` also of s; `combine`
 * takes the accumulator and that. */
#define REDUCE_LOOP(attribute, function, T, A, start, combine, map, shifted)                     \
    attribute static void function##_one(const T *x, size_t count, A *accumulator,               \
                                         const A *shifts)                                        \
    {                                                                                            \
        A lanes[LANES];                                                                          \
        A s = shifted ? shifts[0] : 0;                                                           \
        size_t i = 0;                                                                            \
        (void)s;                                                                                 \
        for (int k = 0; k < LANES; k++)                                                          \
            lanes[k] = (start);                                                                  \
        for (; i + LANES <= count; i += LANES)                                                   \
            for (size_t k = 0; k < LANES; k++) {                                                 \
                A v = (A)x[i + k];                                                               \
                A m = (map);                                                                     \
                lanes[k] = combine(lanes[k], m);                                                 \
            }                                                                                    \
        for (; i < count; i++) {                                                                 \
            A v = (A)x[i];                                                                       \
            A m = (map);                                                                         \
            lanes[i % LANES] = combine(lanes[i % LANES], m);                                     \
        }                                                                                        \
        for (int width = LANES / 2; width > 0; width /= 2)                                       \
            for (int k = 0; k < width; k++)                                                      \
                lanes[k] = combine(lanes[k], lanes[k + width]);                                  \
        accumulator[0] = combine(accumulator[0], lanes[0]);                                      \
    }                                                                                            \
    attribute static void function##_each(const T *x, size_t count, A *accumulators,             \
                                          const A *shifts)                                       \
    {                                                                                            \
        (void)shifts;                                                                            \
        OXP_LANES                                                                                \
        for (size_t i = 0; i < count; i++) {                                                     \
            A v = (A)x[i];                                                                       \
            A s = shifted ? shifts[i] : 0;                                                       \
            (void)s;                                                                             \
            A m = (map);                                                                         \
            accumulators[i] = combine(accumulators[i], m);                                       \
        }                                                                                        \
    }                                                                                            \
    static void function(const T *x, size_t count, A *accumulators, bool moves, const A *shifts) \
    {                                                                                            \
        (moves ? function##_each : function##_one)(x, count, accumulators, shifts);              \
    }

/* FLOAT is widened; e^(v - s) alone is taken in float. */
#define FLOAT_LOOPS(name, start, combine, map, shifted)                           \
    REDUCE_LOOP(OXP_HOT, name##_f32, float, double, start, combine, map, shifted) \
    REDUCE_LOOP(OXP_WIDE, name##_f64, double, double, start, combine, map, shifted)
/* Wrapping sums and products are those of the unsigned twin. */
#define INTEGER_LOOP(name, A, start, combine, map) \
    REDUCE_LOOP(OXP_WIDE, name##_i64, A, A, start, combine, map, false)

FLOAT_LOOPS(sum, 0.0, PLUS, v, false)
FLOAT_LOOPS(abs, 0.0, PLUS, fabs(v), false)
FLOAT_LOOPS(square, 0.0, PLUS, v *v, false)
FLOAT_LOOPS(product, 1.0, TIMES, v, false)
FLOAT_LOOPS(max, -(double)INFINITY, MAXIMUM, v, false)
FLOAT_LOOPS(min, (double)INFINITY, MINIMUM, v, false)
FLOAT_LOOPS(deviation, 0.0, PLUS, (v - s) * (v - s), true)
REDUCE_LOOP(OXP_HOT, exp_f32, float, double, 0.0, PLUS, (double)oxp_expf((float)(v - s)), true)
REDUCE_LOOP(, exp_f64, double, double, 0.0, PLUS, exp(v - s), true)

INTEGER_LOOP(sum, uint64_t, 0, PLUS, v)
INTEGER_LOOP(abs, uint64_t, 0, PLUS, v >> 63 ? 0 - v : v)
INTEGER_LOOP(square, uint64_t, 0, PLUS, v *v)
INTEGER_LOOP(product, uint64_t, 1, TIMES, v)
INTEGER_LOOP(max, int64_t, INT64_MIN, MAXIMUM, v)
INTEGER_LOOP(min, int64_t, INT64_MAX, MINIMUM, v)

/* Signed and unsigned 64-bit integers may alias each other. */
#define INTEGER_ENTRY(name, A)                                                                     \
    static void name##_integers(const int64_t *x, size_t count, int64_t *accumulators, bool moves) \
    {                                                                                              \
        name##_i64((const A *)x, count, (A *)accumulators, moves, NULL);                           \
    }
INTEGER_ENTRY(sum, uint64_t)
INTEGER_ENTRY(abs, uint64_t)
INTEGER_ENTRY(square, uint64_t)
INTEGER_ENTRY(product, uint64_t)
INTEGER_ENTRY(max, int64_t)
INTEGER_ENTRY(min, int64_t)

const oxp_reduce_loops *oxp_reduce_loops_of(oxp_reduction reduction)
{
    static const oxp_reduce_loops loops[OXP_REDUCTION_COUNT] = {
        [OXP_REDUCE_SUM] = {0.0, 0, sum_f32, sum_f64, sum_integers},
        [OXP_REDUCE_ABS] = {0.0, 0, abs_f32, abs_f64, abs_integers},
        [OXP_REDUCE_SQUARE] = {0.0, 0, square_f32, square_f64, square_integers},
        [OXP_REDUCE_PRODUCT] = {1.0, 1, product_f32, product_f64, product_integers},
        [OXP_REDUCE_MAX] = {-(double)INFINITY, INT64_MIN, max_f32, max_f64, max_integers},
        [OXP_REDUCE_MIN] = {(double)INFINITY, INT64_MAX, min_f32, min_f64, min_integers},
        [OXP_REDUCE_EXP] = {0.0, 0, exp_f32, exp_f64, NULL},
        [OXP_REDUCE_DEVIATION] = {0.0, 0, deviation_f32, deviation_f64, NULL},
    };
    return &loops[reduction];
}
