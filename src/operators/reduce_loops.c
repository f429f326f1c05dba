/* reduce_loops.c - see reduce_loops.h. */
#include "operators/reduce_loops.h"

#include "operators/vector_math.h"

#define LANES 16

#define MAXIMUM(a, v) ((v) > (a) || (v) != (v) ? (v) : (a))
#define MINIMUM(a, v) ((v) < (a) || (v) != (v) ? (v) : (a))
#define PLUS(a, v) ((a) + (v))
#define TIMES(a, v) ((a) * (v))

/* `map` is an expression of v (the element as A) and s (the shift); `combine` a macro of accumulator and mapped value. */
#define REDUCE_LOOP(attribute, function, T, A, start, combine, map)                                \
    attribute static void function##_one(const T *x, size_t count, A *accumulator, A s)            \
    {                                                                                              \
        A lanes[LANES];                                                                            \
        size_t i = 0;                                                                              \
        (void)s;                                                                                   \
        for (int k = 0; k < LANES; k++)                                                            \
            lanes[k] = (start);                                                                    \
        for (; i + LANES <= count; i += LANES)                                                     \
            for (int k = 0; k < LANES; k++) {                                                      \
                A v = (A)x[i + (size_t)k];                                                         \
                A m = (map);                                                                       \
                lanes[k] = combine(lanes[k], m);                                                   \
            }                                                                                      \
        for (; i < count; i++) {                                                                   \
            A v = (A)x[i];                                                                         \
            A m = (map);                                                                           \
            lanes[i % LANES] = combine(lanes[i % LANES], m);                                       \
        }                                                                                          \
        for (int width = LANES / 2; width > 0; width /= 2)                                         \
            for (int k = 0; k < width; k++)                                                        \
                lanes[k] = combine(lanes[k], lanes[k + width]);                                    \
        *accumulator = combine(*accumulator, lanes[0]);                                            \
    }                                                                                              \
    attribute static void function##_each(const T *x, size_t count, A *accumulators,               \
                                          const A *shifts)                                         \
    {                                                                                              \
        (void)shifts;                                                                              \
        OXP_LANES                                                                                  \
        for (size_t i = 0; i < count; i++) {                                                       \
            A v = (A)x[i];                                                                         \
            A m = SHIFTED(map);                                                                    \
            accumulators[i] = combine(accumulators[i], m);                                         \
        }                                                                                          \
    }

/* The loops of the floats with a shift read it per element; the others never name s. */
#define SHIFTED(map) (map)
#define s_of(shifts, i) ((shifts)[i])

#define FLOAT_ENTRY(function, T)                                                                   \
    static void function(const T *x, size_t count, double *accumulators, bool moves,               \
                         const double *shifts)                                                     \
    {                                                                                              \
        if (moves)                                                                                 \
            function##_each(x, count, accumulators, shifts);                                       \
        else                                                                                       \
            function##_one(x, count, accumulators, shifts ? shifts[0] : 0.0);                      \
    }
