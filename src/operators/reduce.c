/* reduce.c - the reductions: ReduceSum, Mean, Max, Min, Prod, L1, L2, SumSquare, LogSum, LogSumExp
 * over any set of axes.
 *
 * Floats are accumulated in double and rounded once. Integers are exact and wrap; where the
 * definition leaves the integers (Mean, L2, the logarithms) the result is cut towards zero,
 * saturating. Over no elements: 0 for sums and norms, 1 for Prod, the type's least value or
 * -infinity for Max, the opposite for Min, -infinity for the logarithms, NaN (integers: 0) for
 * Mean. LogSumExp takes the largest element out first, so that it does not overflow. */
#include <float.h>
#include <string.h>

#include "operators/real.h"
#include "operators/gradient.h"
#include "operators/cast_float.h"
#include "operators/cast_integer.h"
#include "operators/movement.h"
#include "operators/reduce_loops.h"
#include "operators/reduce_plan.h"
#include "operators/vector_math.h"

typedef enum reduce_finish { FINISH_NONE, FINISH_MEAN, FINISH_ROOT, FINISH_LOG } reduce_finish;

typedef struct reduce_row {
    const char *type;
    oxp_reduction reduction;
    reduce_finish finish;
} reduce_row;

static const reduce_row reductions[] = {
    {.type = "ReduceSum", .reduction = OXP_REDUCE_SUM},
    {.type = "ReduceMean", .reduction = OXP_REDUCE_SUM, .finish = FINISH_MEAN},
    {.type = "ReduceMax", .reduction = OXP_REDUCE_MAX},
    {.type = "ReduceMin", .reduction = OXP_REDUCE_MIN},
    {.type = "ReduceProd", .reduction = OXP_REDUCE_PRODUCT},
    {.type = "ReduceL1", .reduction = OXP_REDUCE_ABS},
    {.type = "ReduceL2", .reduction = OXP_REDUCE_SQUARE, .finish = FINISH_ROOT},
    {.type = "ReduceSumSquare", .reduction = OXP_REDUCE_SQUARE},
    {.type = "ReduceLogSum", .reduction = OXP_REDUCE_SUM, .finish = FINISH_LOG},
    {.type = "ReduceLogSumExp", .reduction = OXP_REDUCE_EXP, .finish = FINISH_LOG},
};

typedef struct reduce_state {
    const reduce_row *row;
    oxp_reduce_plan plan;
} reduce_state;

/* ---- prepare ---- */

static bool runs(const reduce_row *row, oxp_dtype dtype)
{
    bool extreme = row->reduction == OXP_REDUCE_MAX || row->reduction == OXP_REDUCE_MIN;
    return oxp_dtype_is_float(dtype) || oxp_integer_bytes(dtype) > 0 ||
           (dtype == OXP_BOOL && extreme);
}

/* Which axes go: from the attribute or the input; none given means all, or none at all with
 * noop_with_empty_axes. */
static oxp_status reduced_axes(oxp_node *n, bool reduced[OXP_MAX_RANK])
{
    const int64_t *values;
    size_t count;
    int rank = n->in[0]->rank, axes[OXP_MAX_RANK];
    bool otherwise = true;
    if (n->op->max_in == 1) {
        oxp_attr_ints(n, "axes", &values, &count);
    } else {
        OXP_TRY(oxp_move_ints(n, 1, &values, &count));
        otherwise = oxp_attr_int(n, "noop_with_empty_axes", 0) == 0;
    }
    OXP_TRY(oxp_move_axes(n, values, count, rank, axes));
    for (int d = 0; d < rank; d++)
        reduced[d] = count == 0 && otherwise;
    for (size_t i = 0; i < count; i++)
        reduced[axes[i]] = true;
    return OXP_OK;
}

static oxp_status prepare(oxp_node *n)
{
    const oxp_tensor *x = n->in[0];
    reduce_state *state = oxp_node_state(n, sizeof *state);
    if (!state)
        return n->ctx->status;
    for (size_t i = 0; i < sizeof reductions / sizeof *reductions; i++)
        if (strcmp(reductions[i].type, n->op->type) == 0)
            state->row = &reductions[i];
    if (!runs(state->row, x->dtype))
        return oxp_node_bad_dtype(n, 0);
    bool keep = oxp_attr_int(n, "keepdims", 1) != 0, reduced[OXP_MAX_RANK];
    int64_t dims[OXP_MAX_RANK];
    int rank = 0;
    OXP_TRY(reduced_axes(n, reduced));
    for (int d = 0; d < x->rank; d++)
        if (keep || !reduced[d])
            dims[rank++] = reduced[d] ? 1 : x->dims[d];
    oxp_reduce_plan_make(&state->plan, x->rank, x->dims, reduced);
    return oxp_output(n, 0, x->dtype, rank, dims);
}

/* ---- forward ---- */

typedef struct pass {
    const oxp_reduce_loops *loops;
    const void *x;
    void *accumulators;
    const double *shifts;
} pass;

static void visit_f32(void *user, size_t offset, size_t count, size_t out, bool out_moves)
{
    const pass *p = user;
    p->loops->f32((const float *)p->x + offset, count, (double *)p->accumulators + out, out_moves,
                  p->shifts ? p->shifts + out : NULL);
}

static void visit_f64(void *user, size_t offset, size_t count, size_t out, bool out_moves)
{
    const pass *p = user;
    p->loops->f64((const double *)p->x + offset, count, (double *)p->accumulators + out, out_moves,
                  p->shifts ? p->shifts + out : NULL);
}

static void visit_i64(void *user, size_t offset, size_t count, size_t out, bool out_moves)
{
    const pass *p = user;
    p->loops->i64((const int64_t *)p->x + offset, count, (int64_t *)p->accumulators + out,
                  out_moves);
}

/* One reduction of FLOAT (is_double false) or DOUBLE elements into fresh accumulators. */
static void accumulate(const oxp_reduce_plan *plan, oxp_reduction reduction, bool is_double,
                       const void *x, double *accumulators, const double *shifts)
{
    pass p = {oxp_reduce_loops_of(reduction), x, accumulators, shifts};
    for (size_t i = 0; i < plan->outputs; i++)
        accumulators[i] = p.loops->start;
    oxp_reduce_walk(plan, is_double ? visit_f64 : visit_f32, &p);
}

static double finished(reduce_finish finish, double value, double count, double shift)
{
    switch (finish) {
    case FINISH_MEAN:
        return value / count;
    case FINISH_ROOT:
        return sqrt(value);
    case FINISH_LOG:
        return log(value) + shift;
    default:
        return value;
    }
}

/* The finished result of every output, as double, in the node's scratch. */
static oxp_status reduce_reals(oxp_node *n, bool is_double, const void *x, double **results)
{
    const reduce_state *state = n->state;
    const oxp_reduce_plan *plan = &state->plan;
    double *values = oxp_node_scratch(n, plan->outputs, sizeof *values);
    double *shifts = NULL;
    if (!values)
        return n->ctx->status;
    if (state->row->reduction == OXP_REDUCE_EXP) {
        shifts = oxp_node_scratch(n, plan->outputs, sizeof *shifts);
        if (!shifts)
            return n->ctx->status;
        accumulate(plan, OXP_REDUCE_MAX, is_double, x, shifts, NULL);
        for (size_t i = 0; i < plan->outputs; i++)
            shifts[i] = isfinite(shifts[i]) ? shifts[i] : 0.0;
    }
    accumulate(plan, state->row->reduction, is_double, x, values, shifts);
    for (size_t i = 0; i < plan->outputs; i++)
        values[i] = finished(state->row->finish, values[i], (double)plan->per_output,
                             shifts ? shifts[i] : 0.0);
    *results = values;
    return OXP_OK;
}

static oxp_status forward_floats(oxp_node *n)
{
    const oxp_tensor *x = n->in[0];
    oxp_tensor *y = &n->out[0];
    const float *floats = NULL;
    double *results;
    bool is_double = x->dtype == OXP_DOUBLE;
    if (!is_double)
        OXP_TRY(oxp_move_floats(n, 0, &floats));
    OXP_TRY(reduce_reals(n, is_double, is_double ? x->data : floats, &results));
    if (is_double) {
        memcpy(y->data, results, y->count * sizeof *results);
        return OXP_OK;
    }
    float *out;
    OXP_TRY(oxp_move_float_output(n, 0, &out));
    for (size_t i = 0; i < y->count; i++)
        out[i] = (float)results[i];
    oxp_move_store(n, 0, out);
    return OXP_OK;
}

/* Within the type's range, towards zero; what is not a number becomes 0. */
static int64_t cut(double value, oxp_dtype dtype)
{
    unsigned bits = oxp_dtype_bits(dtype);
    bool is_unsigned = oxp_integer_is_unsigned(dtype);
    double high = ldexp(1.0, (int)bits - (is_unsigned ? 0 : 1));
    if (value != value)
        return 0;
    if (value >= high)
        return (int64_t)(UINT64_MAX >> (64 - bits) >> (is_unsigned ? 0 : 1));
    if (value < (is_unsigned ? 0.0 : -high))
        return is_unsigned ? 0 : -(int64_t)(UINT64_MAX >> (65 - bits)) - 1;
    return value >= 0x1p63 ? (int64_t)(uint64_t)value : (int64_t)value;
}

/* Roots and logarithms of integers. */
static oxp_status forward_integers_as_reals(oxp_node *n)
{
    const oxp_tensor *x = n->in[0];
    double *reals = oxp_node_scratch(n, x->count, sizeof *reals), *results;
    if (!reals)
        return n->ctx->status;
    for (size_t i = 0; i < x->count; i++)
        reals[i] = oxp_tensor_real(x, i);
    OXP_TRY(reduce_reals(n, true, reals, &results));
    for (size_t i = 0; i < n->out[0].count; i++)
        oxp_integer_store(n->out[0].data, x->dtype, i, cut(results[i], x->dtype));
    return OXP_OK;
}

static int64_t integer_mean(int64_t sum, size_t count, bool is_unsigned)
{
    if (count == 0)
        return 0;
    return is_unsigned ? (int64_t)((uint64_t)sum / count) : sum / (int64_t)count;
}

/* The value over no elements: Max and Min have the type's own. */
static int64_t integer_start(const reduce_state *state, const oxp_reduce_loops *loops,
                             oxp_dtype dtype)
{
    if (state->row->reduction == OXP_REDUCE_MAX)
        return dtype == OXP_BOOL ? 0 : cut(-DBL_MAX, dtype);
    if (state->row->reduction == OXP_REDUCE_MIN)
        return dtype == OXP_BOOL ? 1 : cut(DBL_MAX, dtype);
    return loops->integer_start;
}

/* UINT64 gets the order of int64 for Max and Min by flipping the top bit, there and back. */
static oxp_status forward_integers(oxp_node *n)
{
    const reduce_state *state = n->state;
    const oxp_tensor *x = n->in[0];
    const oxp_reduce_plan *plan = &state->plan;
    bool extreme =
        state->row->reduction == OXP_REDUCE_MAX || state->row->reduction == OXP_REDUCE_MIN;
    bool is_unsigned = oxp_integer_is_unsigned(x->dtype);
    uint64_t flip = extreme && is_unsigned ? UINT64_C(1) << 63 : 0;
    oxp_reduction reduction = state->row->reduction;
    if (is_unsigned && reduction == OXP_REDUCE_ABS)
        reduction = OXP_REDUCE_SUM;
    int64_t *values = oxp_node_scratch(n, x->count, sizeof *values);
    int64_t *results = oxp_node_scratch(n, plan->outputs, sizeof *results);
    if (!values || !results)
        return n->ctx->status;
    for (size_t i = 0; i < x->count; i++)
        values[i] = (int64_t)((uint64_t)oxp_integer_load(x->data, x->dtype, i) ^ flip);
    pass p = {oxp_reduce_loops_of(reduction), values, results, NULL};
    int64_t start = (int64_t)((uint64_t)integer_start(state, p.loops, x->dtype) ^ flip);
    for (size_t i = 0; i < plan->outputs; i++)
        results[i] = start;
    oxp_reduce_walk(plan, visit_i64, &p);
    for (size_t i = 0; i < n->out[0].count; i++) {
        int64_t value = (int64_t)((uint64_t)results[i] ^ flip);
        if (state->row->finish == FINISH_MEAN)
            value = integer_mean(value, plan->per_output, is_unsigned);
        oxp_integer_store(n->out[0].data, x->dtype, i, value);
    }
    return OXP_OK;
}

static oxp_status forward(oxp_node *n)
{
    const reduce_state *state = n->state;
    if (oxp_dtype_is_float(n->in[0]->dtype))
        return forward_floats(n);
    if (state->row->finish == FINISH_ROOT || state->row->finish == FINISH_LOG)
        return forward_integers_as_reals(n);
    return forward_integers(n);
}

/* ---- backward ---- */

/* A walk over the input with, per output, its finished value y and its gradient. */
typedef struct back_pass {
    const reduce_row *row;
    const float *x, *dy;
    const double *y;
    float *dx;
    double scale;   /* of a mean */
    double *others; /* Prod: the product without zeros */
    uint32_t *seen; /* Prod: zeros; Max, Min: 1 once the extreme was met */
} back_pass;

static void visit_factors(void *user, size_t offset, size_t count, size_t out, bool out_moves)
{
    const back_pass *p = user;
    for (size_t i = 0; i < count; i++) {
        size_t o = out + (out_moves ? i : 0);
        if (p->x[offset + i] == 0.0f)
            p->seen[o]++;
        else
            p->others[o] *= (double)p->x[offset + i];
    }
}

static double sign(double x)
{
    return x > 0 ? 1 : x < 0 ? -1 : 0;
}

/* dY/dx before the finish: of the product that of all others, of an extreme 1 where it stands
 * first. */
static double slope_of(const back_pass *p, double x, size_t o)
{
    switch (p->row->reduction) {
    case OXP_REDUCE_ABS:
        return sign(x);
    case OXP_REDUCE_SQUARE:
        return 2 * x;
    case OXP_REDUCE_PRODUCT:
        if (p->seen[o] > 1)
            return 0;
        return x == 0 ? p->others[o] : p->seen[o] ? 0 : p->others[o] / x;
    case OXP_REDUCE_MAX:
    case OXP_REDUCE_MIN:
        return x == p->y[o] && p->seen[o]++ == 0;
    default:
        return 1;
    }
}

static void visit_back(void *user, size_t offset, size_t count, size_t out, bool out_moves)
{
    const back_pass *p = user;
    for (size_t i = 0; i < count; i++) {
        size_t o = out + (out_moves ? i : 0);
        double x = (double)p->x[offset + i], y = p->y[o], slope = slope_of(p, x, o);
        if (p->row->reduction == OXP_REDUCE_EXP)
            slope = exp(x - y); /* log of the sum is y */
        else if (p->row->finish == FINISH_LOG)
            slope /= exp(y);
        else if (p->row->finish == FINISH_ROOT)
            slope = y > 0 ? x / y : 0;
        p->dx[offset + i] += (float)(p->scale * slope * (double)p->dy[o]);
    }
}

static oxp_status backward(oxp_node *n)
{
    const reduce_state *state = n->state;
    const oxp_reduce_plan *plan = &state->plan;
    back_pass p = {.row = state->row, .dy = oxp_dout(n, 0), .dx = oxp_din(n, 0), .scale = 1};
    double *results;
    if (!p.dx || !p.dy)
        return OXP_OK;
    p.x = oxp_real_in(n, 0);
    p.others = oxp_node_scratch(n, plan->outputs, sizeof *p.others);
    p.seen = oxp_node_scratch(n, plan->outputs, sizeof *p.seen);
    if (!p.x || !p.others || !p.seen)
        return n->ctx->status;
    OXP_TRY(reduce_reals(n, false, p.x, &results));
    p.y = results;
    if (state->row->finish == FINISH_MEAN)
        p.scale = 1 / (double)plan->per_output;
    for (size_t i = 0; i < plan->outputs; i++)
        p.others[i] = 1;
    if (state->row->reduction == OXP_REDUCE_PRODUCT)
        oxp_reduce_walk(plan, visit_factors, &p);
    oxp_reduce_walk(plan, visit_back, &p);
    return OXP_OK;
}

#define REDUCE(symbol, type_, since_, inputs, ...)            \
    const oxp_operator symbol = {                             \
        .domain = "",                                         \
        .type = type_,                                        \
        .since = since_,                                      \
        .min_in = 1,                                          \
        .max_in = inputs,                                     \
        .min_out = 1,                                         \
        .max_out = 1,                                         \
        .optional = inputs == 2 ? 1u << 1 : 0,                \
        .values = inputs == 2 ? 1u << 1 : 0,                  \
        .prepare = prepare,                                   \
        .forward = forward,                                   \
        .backward = backward,                                 \
        .saves = 1,                                           \
        .examples = (const char *const[]){__VA_ARGS__, NULL}, \
    };

/* Axes as an attribute, then as an input. */
#define REDUCE_FAMILY(name, type, input_since, ...)                                               \
    REDUCE(oxp_op_##name##_1, type, 1, 1, "X[2,3,4]; axes=1,2", "X[2,3,4]; axes=-1,0 keepdims=0", \
           "X[2,3,4]; axes=0,2", "X[2,3,4]; keepdims=0", "X[2,3,4,5]; axes=2,3",                  \
           "X[2,3,2]:f16; axes=0,1")                                                              \
    REDUCE(oxp_op_##name##_##input_since, type, input_since, 2, "X[2,3,4] axes[1]:i64={1}",       \
           "X[2,3,4] axes[2]:i64={0,-1}; keepdims=0", "X[2,3,4]",                                 \
           "X[2,3]; noop_with_empty_axes=1", "X[2,37] axes[1]:i64={1}",                           \
           "X[2,3]:f64 axes[1]:i64={0}", __VA_ARGS__)

REDUCE_FAMILY(reduce_sum, "ReduceSum", 13, "X[2,3]:i32 axes[1]:i64={1}", "X[2,0] axes[1]:i64={1}")
REDUCE_FAMILY(reduce_mean, "ReduceMean", 18, "X[2,3]:i64 axes[1]:i64={1}",
              "X[2,2]:bf16 axes[1]:i64={1}")
REDUCE_FAMILY(reduce_max, "ReduceMax", 18, "X[2,3]:u8 axes[1]:i64={1}",
              "X[2,3]:bool axes[1]:i64={0}", "X[2,2]:u64 axes[1]:i64={1}",
              "X[2,0]:i8 axes[1]:i64={1}")
REDUCE_FAMILY(reduce_min, "ReduceMin", 18, "X[2,3]:i8 axes[1]:i64={1}",
              "X[2,3]:bool axes[1]:i64={0}", "X[2,2]:u64 axes[1]:i64={1}",
              "X[2,0]:u8 axes[1]:i64={1}")
REDUCE_FAMILY(reduce_prod, "ReduceProd", 18, "X[2,3]:i32 axes[1]:i64={1}", "X[2,0] axes[1]:i64={1}")
REDUCE_FAMILY(reduce_l1, "ReduceL1", 18, "X[3]:i32={-4,2,1} axes[1]:i64={0}")
REDUCE_FAMILY(reduce_l2, "ReduceL2", 18, "X[2]:i32={-4,3} axes[1]:i64={0}")
REDUCE_FAMILY(reduce_sum_square, "ReduceSumSquare", 18, "X[3]:i64={-4,2,1} axes[1]:i64={0}")
REDUCE_FAMILY(reduce_log_sum_exp, "ReduceLogSumExp", 18, "X[2]={1000.0,1001.0} axes[1]:i64={0}",
              "X[2]:i32={3,9} axes[1]:i64={0}")

#define POSITIVE "X[2,3]={0.5,1.0,2.0,3.0,4.0,5.0}"
REDUCE(oxp_op_reduce_log_sum_1, "ReduceLogSum", 1, 1, POSITIVE "; axes=0,1",
       POSITIVE "; axes=-1,0 keepdims=0", POSITIVE)
REDUCE(oxp_op_reduce_log_sum_18, "ReduceLogSum", 18, 2, POSITIVE " axes[1]:i64={1}",
       POSITIVE " axes[1]:i64={0}; keepdims=0", POSITIVE "; noop_with_empty_axes=1",
       "X[3]:i32={1,2,9}")
