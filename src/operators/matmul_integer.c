/* matmul_integer.c - MatMulInteger, QLinearMatMul, and com.microsoft MatMulIntegerToFloat,
 * DynamicQuantizeMatMul and QGemm.
 *
 * S[m, n] = sum over k of (a - za[m]) (b - zb[n]), exact in 32 bits that wrap; then, with the
 * scales,
 *   MatMulInteger          S
 *   QLinearMatMul, QGemm   saturate(round(S * sa * sb[n] / sy) + zy)
 *   the others             S * sa * sb[n] + bias[n]; DynamicQuantizeMatMul first quantises A as
 *                          DynamicQuantizeLinear does.
 * Scales and zero points are per tensor, or per row of A and per column of B (not per batch
 * entry). */
#include "kernels/integer.h"

#include "kernels/requantise.h"
#include "operators/matmul.h"
#include "operators/quantized_inputs.h"
#include "operators/real.h"

/* Which input is what; -1: the operator has none. */
typedef struct layout {
    int a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero, bias;
} layout;

typedef struct product_state {
    oxp_matmul_plan plan;
    layout at;
    float alpha;
} product_state;

static const layout matmul_integer = {0, -1, 2, 1, -1, 3, -1, -1, -1};
static const layout qlinear_matmul = {0, 1, 2, 3, 4, 5, 6, 7, -1};
static const layout integer_to_float = {0, 2, 4, 1, 3, 5, -1, -1, 6};
static const layout dynamic_quantize = {0, -1, -1, 1, 2, 3, -1, -1, 4};
static const layout qgemm = {0, 1, 2, 3, 4, 5, 7, 8, 6};

static oxp_status want_zeros(oxp_node *n, int i, int codes, size_t count)
{
    if (!oxp_node_has(n, i))
        return OXP_OK;
    OXP_TRY(oxp_node_want(n, i, n->in[codes]->dtype));
    if (n->in[i]->count == 1 || n->in[i]->count == count)
        return OXP_OK;
    char text[OXP_SHAPE_TEXT_MAX];
    return oxp_node_fail(n, OXP_EUNSUPPORTED, "E-SHAPE",
                         "input %d has shape %s, supported are one element or %zu", i,
                         oxp_shape_text(text, n->in[i]->rank, n->in[i]->dims), count);
}

/* Rows of A in one batch entry, before batches were joined. */
static size_t rows_of(const oxp_node *n, const product_state *state)
{
    const oxp_tensor *a = n->in[state->at.a];
    return a->rank < 2 ? 1 : (size_t)a->dims[a->rank - (state->plan.product.trans_a ? 1 : 2)];
}

static oxp_status check_quantisation(oxp_node *n, const product_state *state)
{
    const layout *at = &state->at;
    size_t rows = rows_of(n, state), columns = state->plan.product.n;
    OXP_TRY(want_zeros(n, at->a_zero, at->a, rows));
    OXP_TRY(want_zeros(n, at->b_zero, at->b, columns));
    if (at->a_scale >= 0)
        OXP_TRY(oxp_quantized_want(n, at->a_scale, -1, OXP_UNDEFINED, at->bias >= 0 ? 1 : rows));
    if (at->b_scale >= 0)
        OXP_TRY(oxp_quantized_want(n, at->b_scale, -1, OXP_UNDEFINED, columns));
    return OXP_OK;
}

static oxp_status read_product(oxp_node *n, const layout *at, oxp_matmul_options options,
                               product_state **out)
{
    product_state *state = oxp_node_state(n, sizeof *state);
    if (!state)
        return OXP_ELIMIT;
    state->at = *at;
    state->alpha = 1;
    OXP_TRY(oxp_codes_want(n, at->b));
    OXP_TRY(oxp_matmul_read(n, at->a, at->b, options, &state->plan));
    OXP_TRY(check_quantisation(n, state));
    *out = state;
    return OXP_OK;
}

static oxp_status declare(oxp_node *n, const product_state *state, oxp_dtype dtype)
{
    return oxp_output(n, 0, dtype, state->plan.rank, state->plan.dims);
}

/* ---- prepare ---- */

static oxp_status prepare_matmul_integer(oxp_node *n)
{
    product_state *state;
    OXP_TRY(oxp_codes_want(n, 0));
    OXP_TRY(read_product(n, &matmul_integer, (oxp_matmul_options){0}, &state));
    return declare(n, state, OXP_INT32);
}

static oxp_status prepare_qlinear_matmul(oxp_node *n)
{
    product_state *state;
    OXP_TRY(oxp_codes_want(n, 0));
    OXP_TRY(oxp_codes_want(n, 7));
    OXP_TRY(read_product(n, &qlinear_matmul, (oxp_matmul_options){0}, &state));
    OXP_TRY(oxp_quantized_want(n, 6, 7, n->in[7]->dtype, 1));
    return declare(n, state, n->in[7]->dtype);
}

static oxp_status check_bias(oxp_node *n, const product_state *state, oxp_dtype dtype)
{
    int i = state->at.bias;
    if (!oxp_node_has(n, i))
        return OXP_OK;
    OXP_TRY(oxp_node_want(n, i, dtype));
    if (n->in[i]->rank == 1 && n->in[i]->count == state->plan.product.n)
        return OXP_OK;
    char text[OXP_SHAPE_TEXT_MAX];
    return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE", "input %d has shape %s, expected [%zu]", i,
                         oxp_shape_text(text, n->in[i]->rank, n->in[i]->dims),
                         state->plan.product.n);
}

static oxp_status prepare_integer_to_float(oxp_node *n)
{
    product_state *state;
    OXP_TRY(oxp_codes_want(n, 0));
    OXP_TRY(read_product(n, &integer_to_float, (oxp_matmul_options){0}, &state));
    OXP_TRY(check_bias(n, state, OXP_FLOAT));
    return declare(n, state, OXP_FLOAT);
}

static oxp_status prepare_dynamic(oxp_node *n)
{
    product_state *state;
    OXP_TRY(oxp_node_want(n, 0, OXP_FLOAT));
    OXP_TRY(read_product(n, &dynamic_quantize, (oxp_matmul_options){0}, &state));
    OXP_TRY(check_bias(n, state, OXP_FLOAT));
    return declare(n, state, OXP_FLOAT);
}

static oxp_status prepare_qgemm(oxp_node *n)
{
    product_state *state;
    oxp_matmul_options options = {.trans_a = oxp_attr_int(n, "transA", 0) != 0,
                                  .trans_b = oxp_attr_int(n, "transB", 0) != 0};
    OXP_TRY(oxp_codes_want(n, 0));
    if (n->in[0]->rank != 2 || n->in[3]->rank != 2)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                             "inputs 0 and 3 have ranks %d and %d, expected 2", n->in[0]->rank,
                             n->in[3]->rank);
    OXP_TRY(read_product(n, &qgemm, options, &state));
    state->alpha = oxp_attr_float(n, "alpha", 1);
    if (oxp_node_has(n, 6)) {
        const oxp_gemm_shape *s = &state->plan.product;
        const oxp_tensor *c = n->in[6];
        OXP_TRY(oxp_node_want(n, 6, OXP_INT32));
        size_t columns = c->rank > 0 ? (size_t)c->dims[c->rank - 1] : 1,
               rows = c->rank > 1 ? (size_t)c->dims[0] : 1;
        if (c->rank > 2 || (columns != 1 && columns != s->n) || (rows != 1 && rows != s->m))
            return oxp_node_fail(n, OXP_EFORMAT, "E-BROADCAST",
                                 "input 6 does not broadcast to [%zu,%zu]", s->m, s->n);
    }
    if (!oxp_node_has(n, 7))
        return declare(n, state, OXP_FLOAT);
    if (!oxp_node_has(n, 8))
        return oxp_node_fail(
            n, OXP_EFORMAT, "E-ARITY",
            "input 7 (the output's scale) is given without input 8 (its zero point)");
    OXP_TRY(oxp_codes_want(n, 8));
    OXP_TRY(oxp_quantized_want(n, 7, 8, n->in[8]->dtype, 1));
    return declare(n, state, n->in[8]->dtype);
}

/* ---- forward ---- */

typedef struct product_run {
    oxp_node *n;
    const product_state *state;
    oxp_codes a, b;
    const int32_t *row_zeros; /* of one batch entry, or NULL */
    float dynamic_scale;      /* of A, when it is quantised here */
    int32_t *sums;            /* one batch entry */
} product_run;

static oxp_status quantise_a(product_run *r, int32_t *zero)
{
    oxp_node *n = r->n;
    const oxp_tensor *a = n->in[r->state->at.a];
    uint8_t *codes = oxp_node_scratch(n, a->count, 1);
    if (!codes)
        return OXP_ELIMIT;
    oxp_dynamic_scale(a->data, a->count, &r->dynamic_scale, zero);
    oxp_to_codes(codes, false, a->data, a->count, r->dynamic_scale, *zero);
    r->a.data = codes;
    return OXP_OK;
}

/* One zero point per row of the product, also where batch entries were joined into rows. */
static oxp_status read_row_zeros(product_run *r)
{
    size_t m = r->state->plan.product.m, rows = rows_of(r->n, r->state);
    int i = r->state->at.a_zero;
    bool dynamic = r->n->in[r->state->at.a]->dtype == OXP_FLOAT;
    int32_t zero = 0;
    if (dynamic)
        OXP_TRY(quantise_a(r, &zero));
    if (!dynamic && !oxp_node_has(r->n, i))
        return OXP_OK;
    int32_t *zeros = oxp_node_scratch(r->n, m, sizeof *zeros);
    if (!zeros)
        return OXP_ELIMIT;
    for (size_t k = 0; k < m; k++)
        zeros[k] = dynamic                   ? zero
                   : r->n->in[i]->count == 1 ? oxp_quantized_zero(r->n, i)
                                             : (int32_t)oxp_tensor_int(r->n->in[i], k % rows);
    r->a.zero_points = zeros;
    return OXP_OK;
}

static oxp_status start(product_run *r, oxp_node *n)
{
    const product_state *state = n->state;
    const oxp_tensor *a = n->in[state->at.a], *b = n->in[state->at.b];
    *r = (product_run){.n = n,
                       .state = state,
                       .a = {.data = a->data, .is_signed = oxp_is_signed(a->dtype)},
                       .b = {.data = b->data, .is_signed = oxp_is_signed(b->dtype)}};
    OXP_TRY(read_row_zeros(r));
    if (oxp_node_has(n, state->at.b_zero))
        OXP_TRY(oxp_quantized_zeros(n, state->at.b_zero, state->plan.product.n, &r->b.zero_points));
    r->sums = oxp_node_scratch(n, state->plan.product.m * state->plan.product.n, sizeof *r->sums);
    return r->sums ? OXP_OK : OXP_ELIMIT;
}

static oxp_status multiply(const product_run *r, size_t batch, int32_t *sums)
{
    size_t at_a, at_b;
    oxp_matmul_at(&r->state->plan, batch, &at_a, &at_b);
    oxp_codes a = r->a, b = r->b;
    a.data = (const uint8_t *)a.data + at_a;
    b.data = (const uint8_t *)b.data + at_b;
    return oxp_integer_matmul(r->n->ctx, &r->state->plan.product, a, b, sums);
}

static oxp_status forward_matmul_integer(oxp_node *n)
{
    product_run r;
    const product_state *state = n->state;
    size_t each = state->plan.product.m * state->plan.product.n;
    if (!oxp_node_makes(n, 0))
        return OXP_OK;
    OXP_TRY(start(&r, n));
    for (size_t i = 0; i < state->plan.batches; i++)
        OXP_TRY(multiply(&r, i, (int32_t *)n->out[0].data + i * each));
    return OXP_OK;
}

/* Factors of row `row`: sa[row] * sb[column] * alpha (/ sy). */
static void row_factors(const product_run *r, size_t row, float a_scale_given,
                        const float *b_scales, float y_scale, float *out)
{
    const oxp_node *n = r->n;
    int i = r->state->at.a_scale;
    float a_scale = i < 0 ? a_scale_given
                          : (float)oxp_tensor_real(
                                n->in[i], n->in[i]->count == 1 ? 0 : row % rows_of(n, r->state));
    for (size_t j = 0; j < r->state->plan.product.n; j++)
        out[j] = a_scale * r->state->alpha * b_scales[j] / y_scale;
}

/* sums[row] += bias, which is broadcast to [m, n]: QGemm alone has one here. */
static void add_integer_bias(const product_run *r, size_t row, int32_t *sums)
{
    const oxp_tensor *c = r->n->in[r->state->at.bias];
    size_t columns = c->rank > 0 ? (size_t)c->dims[c->rank - 1] : 1,
           rows = c->rank > 1 ? (size_t)c->dims[0] : 1;
    const int32_t *values = (const int32_t *)c->data + (rows == 1 ? 0 : row * columns);
    for (size_t j = 0; j < r->state->plan.product.n; j++)
        sums[j] = (int32_t)((uint32_t)sums[j] + (uint32_t)values[columns == 1 ? 0 : j]);
}

/* Row `row` of the output, from its sums. */
static void finish_row(const product_run *r, size_t batch, size_t row, const float *factors)
{
    const oxp_gemm_shape *s = &r->state->plan.product;
    oxp_node *n = r->n;
    size_t at = (batch * s->m + row) * s->n;
    int32_t *sums = r->sums + row * s->n;
    bool biased = oxp_node_has(n, r->state->at.bias),
         integer_bias = biased && n->in[r->state->at.bias]->dtype == OXP_INT32;
    const float *bias = biased && !integer_bias ? n->in[r->state->at.bias]->data : NULL;
    if (integer_bias)
        add_integer_bias(r, row, sums);
    if (n->out[0].dtype == OXP_FLOAT)
        oxp_scale_sums((float *)n->out[0].data + at, sums, s->n, (oxp_factors){factors, true},
                       bias);
    else
        oxp_requantise((uint8_t *)n->out[0].data + at, oxp_is_signed(n->out[0].dtype), sums, s->n,
                       (oxp_factors){factors, true}, oxp_quantized_zero(n, r->state->at.y_zero));
}

static oxp_status check_scales(oxp_node *n, const layout *at)
{
    const int scales[3] = {at->a_scale, at->b_scale, at->y_scale};
    for (int i = 0; i < 3; i++)
        if (oxp_node_has(n, scales[i]))
            OXP_TRY(oxp_quantized_check(n, scales[i]));
    return OXP_OK;
}

static oxp_status forward_scaled(oxp_node *n)
{
    product_run r;
    const product_state *state = n->state;
    const oxp_gemm_shape *s = &state->plan.product;
    if (!oxp_node_makes(n, 0))
        return OXP_OK;
    OXP_TRY(check_scales(n, &state->at));
    OXP_TRY(start(&r, n));
    const float *b_scales = oxp_quantized_scales(n, state->at.b_scale, s->n);
    float *factors = oxp_node_scratch(n, s->n, sizeof *factors);
    if (!b_scales || !factors)
        return OXP_ELIMIT;
    float y_scale =
        oxp_node_has(n, state->at.y_scale) ? oxp_quantized_scale(n, state->at.y_scale) : 1;
    for (size_t i = 0; i < state->plan.batches; i++) {
        OXP_TRY(multiply(&r, i, r.sums));
        for (size_t row = 0; row < s->m; row++) {
            row_factors(&r, row, r.dynamic_scale, b_scales, y_scale, factors);
            finish_row(&r, i, row, factors);
        }
    }
    return OXP_OK;
}

static void cost(const oxp_node *n, oxp_cost *cost)
{
    const product_state *state = n->state;
    oxp_cost_of(n, oxp_matmul_macs(&state->plan), cost);
}

/* ---- rows ---- */

static const char *const matmul_integer_examples[] = {
    "A[3,4]:u8={1,2,3,4,5,6,7,8,9,10,11,250} B[4,2]:i8={-4,3,2,1,0,-1,-2,127}",
    "A[2,3,4]:u8 B[4,5]:u8 Z[]:u8={2} Y[]:u8={1}",
    "A[3,4]:i8 B[4,2]:i8 Z[3]:i8={1,0,-2} Y[2]:i8={1,-1}", "A[4]:u8 B[4,5]:i8", NULL};

static const char *const qlinear_examples[] = {
    "A[2,4]:u8={208,236,0,238,3,214,255,29} S[]={0.0066} Z[]:u8={113} B[4,3]:u8 T[]={0.00705} "
    "Y[]:u8={114} U[]={0.0107} V[]:u8={118}",
    "A[2,3,4]:u8 S[]={0.5} Z[]:u8={1} B[4,3]:i8 T[3]={0.5,0.25,1.0} Y[3]:i8={0,1,2} U[]={0.75} "
    "V[]:u8={3}",
    "A[3,4]:i8 S[]={0.5} Z[]:i8={1} B[4,3]:i8 T[]={0.25} Y[]:i8={0} U[]={0.75} V[]:i8={-3}", NULL};

static const char *const to_float_examples[] = {
    "A[3,4]:u8 B[4,5]:i8 S[]={0.5} T[]={0.25} Z[]:u8={2} Y[]:i8={1} C[5]",
    "A[2,3,4]:i8 B[4,2]:i8 S[]={0.5} T[2]={0.25,0.5}", NULL};

static const char *const dynamic_examples[] = {"A[3,4] B[4,5]:i8 S[]={0.25} Z[]:i8={1} C[5]",
                                               "A[2,3,4] B[4,2]:u8 S[2]={0.25,0.5} Z[2]:u8={1,2}",
                                               NULL};

static const char *const qgemm_examples[] = {
    "A[3,4]:u8 S[]={0.5} Z[]:u8={1} B[4,5]:i8 T[5]={0.25,0.5,1.0,0.125,0.5} Y[5]:i8={0,0,0,0,0} "
    "C[5]:i32 U[]={0.75} V[]:u8={3}",
    "A[4,3]:u8 S[]={0.5} Z[]:u8={1} B[5,4]:u8 T[]={0.25} Y[]:u8={1} _ U[]={0.5} V[]:u8={9}; "
    "transA=1 transB=1 alpha=0.5",
    "A[3,4]:i8 S[]={0.5} Z[]:i8={1} B[4,5]:i8 T[]={0.25} Y[]:i8={0} C[3,5]:i32", NULL};

#define PRODUCT(domain_, type_, since_, min_in_, max_in_, prepare_, forward_, examples_)         \
    {                                                                                            \
        .domain = domain_, .type = type_, .since = since_, .min_in = min_in_, .max_in = max_in_, \
        .min_out = 1, .max_out = 1, .prepare = prepare_, .forward = forward_, .cost = cost,      \
        .examples = examples_                                                                    \
    }

const oxp_operator oxp_op_matmul_integer_10 =
    PRODUCT("", "MatMulInteger", 10, 2, 4, prepare_matmul_integer, forward_matmul_integer,
            matmul_integer_examples);
const oxp_operator oxp_op_qlinear_matmul_10 = PRODUCT(
    "", "QLinearMatMul", 10, 8, 8, prepare_qlinear_matmul, forward_scaled, qlinear_examples);
const oxp_operator oxp_op_matmul_integer_to_float_1 =
    PRODUCT("com.microsoft", "MatMulIntegerToFloat", 1, 4, 7, prepare_integer_to_float,
            forward_scaled, to_float_examples);
const oxp_operator oxp_op_dynamic_quantize_matmul_1 =
    PRODUCT("com.microsoft", "DynamicQuantizeMatMul", 1, 3, 5, prepare_dynamic, forward_scaled,
            dynamic_examples);
const oxp_operator oxp_op_qgemm_1 =
    PRODUCT("com.microsoft", "QGemm", 1, 6, 9, prepare_qgemm, forward_scaled, qgemm_examples);
