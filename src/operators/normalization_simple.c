/* normalization_simple.c - two normalizations without parameters:
 *   LpNormalization            y = x / norm of its line along `axis`, p = 1 or 2; zeros stay zeros
 *   MeanVarianceNormalization  y = (x - mean) / (deviation + 1e-9) over `axes` (default 0, 2, 3) */
#include "operators/gradient.h"
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

/* What is taken off every line (nothing for a norm) and what it is multiplied by. */
static void statistics(const simple_state *state, bool lp, const float *x, double *means,
                       double *factors, size_t outputs)
{
    double count = (double)state->plan.per_output;
    if (lp) {
        accumulate(state, x, state->p == 1 ? OXP_REDUCE_ABS : OXP_REDUCE_SQUARE, factors, NULL);
        for (size_t i = 0; i < outputs; i++) {
            double norm = state->p == 1 ? factors[i] : sqrt(factors[i]);
            factors[i] = norm == 0.0 ? 0.0 : 1.0 / norm;
        }
        return;
    }
    accumulate(state, x, OXP_REDUCE_SUM, means, NULL);
    for (size_t i = 0; i < outputs; i++)
        means[i] /= count;
    accumulate(state, x, OXP_REDUCE_DEVIATION, factors, means);
    for (size_t i = 0; i < outputs; i++)
        factors[i] = 1.0 / (sqrt(factors[i] / count) + 1e-9);
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
    statistics(state, lp, x, means, factors, outputs);
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

/* dx += f (g - a) - b (x - mean), or b sign(x) for p = 1, with a and b of the element's line. */
typedef struct back_pass {
    const float *x, *dy;
    float *dx;
    bool first; /* makes the sums of dy and of dy (x - mean) */
    bool by_sign;
    double *means, *factors, *sums, *products;
} back_pass;

static void visit_back(void *user, size_t offset, size_t count, size_t out, bool out_moves)
{
    const back_pass *p = user;
    for (size_t i = 0; i < count; i++) {
        size_t at = offset + i, o = out + (out_moves ? i : 0);
        double x = (double)p->x[at] - p->means[o], g = (double)p->dy[at];
        if (p->first) {
            p->sums[o] += g;
            p->products[o] += g * x;
            continue;
        }
        double direction = !p->by_sign ? x : x > 0 ? 1 : x < 0 ? -1 : 0;
        p->dx[at] += (float)(p->factors[o] * (g - p->sums[o]) - p->products[o] * direction);
    }
}

/* The sums become a and b. */
static void finish_sums(const simple_state *state, bool lp, back_pass *p, size_t outputs)
{
    double count = (double)state->plan.per_output;
    for (size_t i = 0; i < outputs; i++) {
        double f = p->factors[i], deviation = f > 0 ? 1 / f - 1e-9 : 0;
        p->sums[i] = lp ? 0 : p->sums[i] / count;
        if (lp)
            p->products[i] *= state->p == 1 ? f * f : f * f * f;
        else
            p->products[i] *= deviation > 0 ? f * f / (deviation * count) : 0;
    }
}

static oxp_status backward(oxp_node *n, bool lp)
{
    const simple_state *state = n->state;
    size_t outputs = n->in[0]->count > 0 ? state->plan.outputs : 0;
    back_pass p = {.x = oxp_real_in(n, 0),
                   .dy = oxp_dout(n, 0),
                   .dx = oxp_din(n, 0),
                   .first = true,
                   .by_sign = lp && state->p == 1,
                   .means = oxp_node_scratch(n, outputs, sizeof(double)),
                   .factors = oxp_node_scratch(n, outputs, sizeof(double)),
                   .sums = oxp_node_scratch(n, outputs, sizeof(double)),
                   .products = oxp_node_scratch(n, outputs, sizeof(double))};
    if (!p.x || !p.means || !p.factors || !p.sums || !p.products)
        return n->ctx->status;
    if (!p.dx || !p.dy)
        return OXP_OK;
    statistics(state, lp, p.x, p.means, p.factors, outputs);
    oxp_reduce_walk(&state->plan, visit_back, &p);
    finish_sums(state, lp, &p, outputs);
    p.first = false;
    oxp_reduce_walk(&state->plan, visit_back, &p);
    return OXP_OK;
}

static oxp_status backward_lp(oxp_node *n)
{
    return backward(n, true);
}

static oxp_status backward_mean_variance(oxp_node *n)
{
    return backward(n, false);
}

#define SIMPLE(symbol, type_, since_, prepare_, forward_, backward_, ...) \
    const oxp_operator symbol = {                                         \
        .domain = "",                                                     \
        .type = type_,                                                    \
        .since = since_,                                                  \
        .min_in = 1,                                                      \
        .max_in = 1,                                                      \
        .min_out = 1,                                                     \
        .max_out = 1,                                                     \
        .prepare = prepare_,                                              \
        .forward = forward_,                                              \
        .backward = backward_,                                            \
        .saves = 1,                                                       \
        .examples = (const char *const[]){__VA_ARGS__, NULL},             \
    };
SIMPLE(oxp_op_lp_normalization_1, "LpNormalization", 1, prepare_lp, forward_lp, backward_lp,
       "X[2,3,4]", "X[2,3,4]; axis=1 p=1", "X[3]={0.0,0.0,0.0}", "X[2,3]:f16; axis=0")
SIMPLE(oxp_op_mean_variance_normalization_9, "MeanVarianceNormalization", 9, prepare_mean_variance,
       forward_mean_variance, backward_mean_variance, "X[2,3,4,5]", "X[2,3,4]; axes=-1",
       "X[2,3,4]; axes=0,2", "X[2,3]:f64; axes=0")
