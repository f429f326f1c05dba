/* unary.h - the family of operators y = f(x): one row of functions each, everything else shared.
 *
 * FLOAT runs a vectorised loop, DOUBLE libm, the half types go through float in blocks, integers
 * (where a row has them) through int64. y may be x. */
#ifndef OXP_OPERATORS_UNARY_H
#define OXP_OPERATORS_UNARY_H

#include "operators/operator.h"
#include "operators/vector_math.h"

#define OXP_UNARY_ATTRIBUTES 2

typedef struct oxp_unary {
    const char *type;
    /* p: the attributes' values, in the row's order. */
    void (*f32)(const float *x, float *y, size_t count, const float *p);
    double (*f64)(double x, const float *p);
    /* x is sign- or zero-extended; the result is cut to the type. NULL: floats only. */
    int64_t (*integer)(int64_t x, bool is_unsigned, const float *p);
    /* dx += dy f'(x) */
    void (*df)(const float *x, const float *dy, float *dx, size_t count, const float *p);
    struct {
        const char *name;
        float otherwise;
    } attributes[OXP_UNARY_ATTRIBUTES];
} oxp_unary;

/* The loop of a row: `expression` is f of v, with a and b the attributes. */
#define OXP_UNARY_F32(function, expression)                                              \
    OXP_HOT static void function(const float *x, float *y, size_t count, const float *p) \
    {                                                                                    \
        float a = p[0], b = p[1];                                                        \
        (void)a;                                                                         \
        (void)b;                                                                         \
        OXP_LANES                                                                        \
        for (size_t i = 0; i < count; i++) {                                             \
            float v = x[i];                                                              \
            y[i] = (expression);                                                         \
        }                                                                                \
    }
#define OXP_UNARY_F64(function, expression)          \
    static double function(double v, const float *p) \
    {                                                \
        double a = (double)p[0], b = (double)p[1];   \
        (void)a;                                     \
        (void)b;                                     \
        return (expression);                         \
    }

/* dx += dy f'(v): `derivative` is f' of v, with a and b the attributes. */
#define OXP_UNARY_DF(function, derivative)                                                 \
    OXP_HOT static void function(const float *x, const float *dy, float *dx, size_t count, \
                                 const float *p)                                           \
    {                                                                                      \
        float a = p[0], b = p[1];                                                          \
        (void)a;                                                                           \
        (void)b;                                                                           \
        OXP_LANES                                                                          \
        for (size_t i = 0; i < count; i++) {                                               \
            float v = x[i];                                                                \
            (void)v;                                                                       \
            dx[i] += dy[i] * (derivative);                                                 \
        }                                                                                  \
    }

/* Finds the node's type in the table, reads its attributes and shapes the output. */
oxp_status oxp_unary_prepare(oxp_node *n, const oxp_unary *table, size_t rows);
oxp_status oxp_unary_prepare_row(oxp_node *n, const oxp_unary *row);
oxp_status oxp_unary_forward(oxp_node *n);
oxp_status oxp_unary_backward(oxp_node *n);

#define OXP_UNARY_OPERATOR(symbol, domain_, type_, since_, prepare_, ...) \
    const oxp_operator symbol = {                                         \
        .domain = domain_,                                                \
        .type = type_,                                                    \
        .since = since_,                                                  \
        .min_in = 1,                                                      \
        .max_in = 1,                                                      \
        .min_out = 1,                                                     \
        .max_out = 1,                                                     \
        .prepare = prepare_,                                              \
        .forward = oxp_unary_forward,                                     \
        .backward = oxp_unary_backward,                                   \
        .saves = 1,                                                       \
        .examples = (const char *const[]){__VA_ARGS__, NULL},             \
    };

#endif
