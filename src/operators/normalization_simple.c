/* normalization_simple.c - two normalizations without parameters:
 *   LpNormalization            y = x / norm of its line along `axis`, p = 1 or 2; zeros stay zeros
 *   MeanVarianceNormalization  y = (x - mean) / (deviation + 1e-9) over `axes` (default 0, 2, 3) */
#include "operators/movement.h"
#include "operators/real.h"
#include "operators/reduce_loops.h"
#include "operators/reduce_plan.h"
#include "operators/vector_math.h"

typedef struct simple_state {
    oxp_reduce_plan plan;
    int p;
} simple_state;

static oxp_status prepare_axes(oxp_node *n, const bool *reduced)
{
    const oxp_tensor *x = n->in[0];
    simple_state *state = n->state;
    oxp_reduce_plan_make(&state->plan, x->rank, x->dims, reduced);
    OXP_TRY(oxp_real_types(n, 0));
    OXP_TRY(oxp_output(n, 0, x->dtype, x->rank, x->dims));
    oxp_output_overwrites(n, 0, 0);
    return OXP_OK;
}

static oxp_status prepare_lp(oxp_node *n)
{
    simple_state *state = oxp_node_state(n, sizeof *state);
    if (!state)
        return n->ctx->status;
    int axis = 0;
    int64_t p = oxp_attr_int(n, "p", 2);
    bool reduced[OXP_MAX_RANK] = {false};
    if (p != 1 && p != 2)
        return oxp_node_fail(n, OXP_EFORMAT, "E-ATTR-VALUE", "p is %lld, expected 1 or 2",
                             (long long)p);
    state->p = (int)p;
    OXP_TRY(oxp_node_axis(n, oxp_attr_int(n, "axis", -1), n->in[0]->rank, false, &axis));
    reduced[axis] = true;
    return prepare_axes(n, reduced);
}

static oxp_status prepare_mean_variance(oxp_node *n)
{
    static const int64_t usual[] = {0, 2, 3};
    const int64_t *values;
    size_t count;
    int axes[OXP_MAX_RANK];
    bool reduced[OXP_MAX_RANK] = {false};
    if (!oxp_node_state(n, sizeof(simple_state)))
        return n->ctx->status;
    oxp_attr_ints(n, "axes", &values, &count);
    if (!oxp_attr_present(n, "axes")) {
        values = usual;
        count = sizeof usual / sizeof *usual;
    }
    OXP_TRY(oxp_move_axes(n, values, count, n->in[0]->rank, axes));
    for (size_t i = 0; i < count; i++)
        reduced[axes[i]] = true;
    return prepare_axes(n, reduced);
}

/* One walk over the input: into accumulators, or from statistics to the output. */
typedef struct pass {
    const oxp_reduce_loops *loops;
    const float *x;
    double *accumulators;
    const double *shifts;
    const double *means, *factors;
    float *y;
} pass;

static void visit_accumulate(void *user, size_t offset, size_t count, size_t out, bool out_moves)
{
    const pass *p = user;
    p->loops->f32(p->x + offset, count, p->accumulators + out, out_moves,
                  p->shifts ? p->shifts + out : NULL);
}

OXP_HOT static void apply_one(const float *x, float *y, size_t count, double mean, double factor)
{
    OXP_LANES
    for (size_t i = 0; i < count; i++)
        y[i] = (float)(((double)x[i] - mean) * factor);
}

OXP_HOT static void apply_each(const float *x, float *y, size_t count, const double *means,
                               const double *factors)
{
    OXP_LANES
    for (size_t i = 0; i < count; i++)
        y[i] = (float)(((double)x[i] - means[i]) * factors[i]);
}

static void visit_apply(void *user, size_t offset, size_t count, size_t out, bool out_moves)
{
    const pass *p = user;
    if (out_moves)
        apply_each(p->x + offset, p->y + offset, count, p->means + out, p->factors + out);
    else
        apply_one(p->x + offset, p->y + offset, count, p->means[out], p->factors[out]);
}

static void accumulate(const simple_state *state, const float *x, oxp_reduction reduction,
                       double *to, const double *shifts)
{
    pass p = {
        .loops = oxp_reduce_loops_of(reduction), .x = x, .accumulators = to, .shifts = shifts};
    oxp_reduce_walk(&state->plan, visit_accumulate, &p); /* scratch starts at zero, as sums do */
}

static oxp_status forward(oxp_node *n, bool lp)
{
    const simple_state *state = n->state;
    size_t outputs = n->in[0]->count > 0 ? state->plan.outputs : 0;
    const float *x = oxp_real_in(n, 0);
    float *y = oxp_real_out(n, 0);
    double *means = oxp_node_scratch(n, outputs, sizeof *means);
    double *factors = oxp_node_scratch(n, outputs, sizeof *factors);
    if (!x || !y || !means || !factors)
        return n->ctx->status;
    double count = (double)state->plan.per_output;
    if (lp) {
        accumulate(state, x, state->p == 1 ? OXP_REDUCE_ABS : OXP_REDUCE_SQUARE, factors, NULL);
        for (size_t i = 0; i < outputs; i++) {
            double norm = state->p == 1 ? factors[i] : sqrt(factors[i]);
            factors[i] = norm == 0.0 ? 0.0 : 1.0 / norm;
        }
    } else {
        accumulate(state, x, OXP_REDUCE_SUM, means, NULL);
        for (size_t i = 0; i < outputs; i++)
            means[i] /= count;
        accumulate(state, x, OXP_REDUCE_DEVIATION, factors, means);
        for (size_t i = 0; i < outputs; i++)
            factors[i] = 1.0 / (sqrt(factors[i] / count) + 1e-9);
    }
    pass p = {.x = x, .means = means, .factors = factors, .y = y};
    oxp_reduce_walk(&state->plan, visit_apply, &p);
    oxp_real_done(n, 0, y);
    return OXP_OK;
}

static oxp_status forward_lp(oxp_node *n)
{
    return forward(n, true);
}

static oxp_status forward_mean_variance(oxp_node *n)
{
    return forward(n, false);
}

#define SIMPLE(symbol, type_, since_, prepare_, forward_, ...) \
    const oxp_operator symbol = {                              \
        .domain = "",                                          \
        .type = type_,                                         \
        .since = since_,                                       \
        .min_in = 1,                                           \
        .max_in = 1,                                           \
        .min_out = 1,                                          \
        .max_out = 1,                                          \
        .prepare = prepare_,                                   \
        .forward = forward_,                                   \
        .examples = (const char *const[]){__VA_ARGS__, NULL},  \
    };
SIMPLE(oxp_op_lp_normalization_1, "LpNormalization", 1, prepare_lp, forward_lp, "X[2,3,4]",
       "X[2,3,4]; axis=1 p=1", "X[3]={0.0,0.0,0.0}", "X[2,3]:f16; axis=0")
SIMPLE(oxp_op_mean_variance_normalization_9, "MeanVarianceNormalization", 9, prepare_mean_variance,
       forward_mean_variance, "X[2,3,4,5]", "X[2,3,4]; axes=-1", "X[2,3,4]; axes=0,2",
       "X[2,3]:f64; axes=0")
