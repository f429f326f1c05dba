/* binary.h - the family of operators C = f(A, B) with NumPy's broadcasting: a row of loops per
 * operator, one per element type, everything else shared.
 *
 * The half types go through the FLOAT loop in blocks. A loop gets runs of the output; over a run
 * each input advances or stands still. c may be a or b. */
#ifndef OXP_OPERATORS_BINARY_H
#define OXP_OPERATORS_BINARY_H

#include "operators/broadcast.h"
#include "operators/vector_math.h"

typedef void (*oxp_binary_loop)(const void *a, const void *b, void *c, size_t count, bool a_moves,
                                bool b_moves);

typedef struct oxp_binary {
    const char *type;
    oxp_dtype result; /* OXP_UNDEFINED: that of the inputs */
    oxp_binary_loop loops[OXP_DTYPE_COUNT];
    /* da = dc df/da, db = dc df/db, on operands of one shape; da or db may be NULL. NULL: the
     * result is no float, or constant piece by piece. */
    void (*df)(const float *a, const float *b, const float *dc, float *da, float *db, size_t count);
} oxp_binary;

/* A loop: `expression` is f of the elements a and b, both of type T, cast to R. */
#define OXP_BINARY_LOOP(attribute, function, T, R, expression)                           \
    attribute static void function(const void *a_data, const void *b_data, void *c_data, \
                                   size_t count, bool a_moves, bool b_moves)             \
    {                                                                                    \
        const T *as = a_data, *bs = b_data;                                              \
        R *cs = c_data;                                                                  \
        if (a_moves && b_moves) {                                                        \
            OXP_LANES                                                                    \
            for (size_t i = 0; i < count; i++) {                                         \
                T a = as[i], b = bs[i];                                                  \
                cs[i] = (R)(expression);                                                 \
            }                                                                            \
        } else if (a_moves) {                                                            \
            T b = bs[0];                                                                 \
            OXP_LANES                                                                    \
            for (size_t i = 0; i < count; i++) {                                         \
                T a = as[i];                                                             \
                cs[i] = (R)(expression);                                                 \
            }                                                                            \
        } else {                                                                         \
            T a = as[0];                                                                 \
            OXP_LANES                                                                    \
            for (size_t i = 0; i < count; i++) {                                         \
                T b = bs[i];                                                             \
                cs[i] = (R)(expression);                                                 \
            }                                                                            \
        }                                                                                \
    }

/* A row's df from its two derivatives, expressions of a and b. */
#define OXP_BINARY_DF(function, by_a, by_b)                                                    \
    OXP_HOT static void function(const float *as, const float *bs, const float *dc, float *da, \
                                 float *db, size_t count)                                      \
    {                                                                                          \
        for (size_t i = 0; i < count; i++) {                                                   \
            float a = as[i], b = bs[i], d = dc[i];                                             \
            (void)a;                                                                           \
            (void)b;                                                                           \
            if (da)                                                                            \
                da[i] = d * (by_a);                                                            \
            if (db)                                                                            \
                db[i] = d * (by_b);                                                            \
        }                                                                                      \
    }

/* Finds the node's type in the table, shapes the output (E-BROADCAST) and plans the walk. */
oxp_status oxp_binary_prepare(oxp_node *n, const oxp_binary *table, size_t rows);
oxp_status oxp_binary_prepare_row(oxp_node *n, const oxp_binary *row);
/* For operands of two types and a forward of one's own: plans the walk; the output has A's type. */
oxp_status oxp_binary_prepare_mixed(oxp_node *n, const oxp_binary *row);
oxp_status oxp_binary_forward(oxp_node *n);
/* Reads both inputs; the exponent of a Pow may be an integer. */
oxp_status oxp_binary_backward(oxp_node *n);

/* Whether the row has a loop for this type, directly or through float. */
bool oxp_binary_has(const oxp_binary *row, oxp_dtype dtype);
/* c = f(a, b) over a plan with a and b as its inputs 0 and 1. */
void oxp_binary_apply(const oxp_binary *row, oxp_dtype dtype, const oxp_broadcast *plan,
                      const void *a, const void *b, void *c);

/* Families without derivatives set this to oxp_backward_zero before they include this file. */
#ifndef OXP_BINARY_BACKWARD
#define OXP_BINARY_BACKWARD oxp_binary_backward
#endif

#define OXP_BINARY_OPERATOR(symbol, type_, since_, prepare_, ...) \
    const oxp_operator symbol = {                                 \
        .domain = "",                                             \
        .type = type_,                                            \
        .since = since_,                                          \
        .min_in = 2,                                              \
        .max_in = 2,                                              \
        .min_out = 1,                                             \
        .max_out = 1,                                             \
        .prepare = prepare_,                                      \
        .forward = oxp_binary_forward,                            \
        .backward = OXP_BINARY_BACKWARD,                          \
        .saves = 3,                                               \
        .examples = (const char *const[]){__VA_ARGS__, NULL},     \
    };

#endif
