/* gemm.c - Gemm: Y[M, N] = alpha * op(A) * op(B) + beta * C, C broadcast to [M, N].
 *
 * https://onnx.ai/onnx/operators/onnx__Gemm.html. Opsets 1 and 6 have an attribute `broadcast`,
 * which changes nothing where C has the full shape; up to 9 C is required. FLOAT16 and BFLOAT16
 * are computed in FLOAT; the integer types of opset 9 are not supported. */
#include "kernels/gemm.h"

#include "operators/gradient.h"
#include "operators/matmul.h"
#include "operators/real.h"

typedef struct gemm_state {
    oxp_gemm_shape product;
    float alpha, beta;
    size_t c_row,
        c_column; /* elements from one row or column of C to the next; 0 where it is broadcast */
} gemm_state;

static oxp_status read_product(oxp_node *n, oxp_gemm_shape *s)
{
    const oxp_tensor *a = n->in[0], *b = n->in[1];
    bool trans_a = oxp_attr_int(n, "transA", 0) != 0, trans_b = oxp_attr_int(n, "transB", 0) != 0;
    if (a->rank != 2 || b->rank != 2)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                             "inputs 0 and 1 have ranks %d and %d, expected 2", a->rank, b->rank);
    int64_t a_depth = a->dims[trans_a ? 0 : 1], b_depth = b->dims[trans_b ? 1 : 0];
    if (a_depth != b_depth)
        return oxp_node_fail(n, OXP_EFORMAT, "E-SHAPE",
                             "input 1 has depth %lld, expected %lld as input 0", (long long)b_depth,
                             (long long)a_depth);
    *s = oxp_gemm_plain(trans_a, trans_b, (size_t)a->dims[trans_a ? 1 : 0],
                        (size_t)b->dims[trans_b ? 0 : 1], (size_t)a_depth);
    return OXP_OK;
}

static oxp_status read_bias(oxp_node *n, gemm_state *state)
{
    const oxp_tensor *c = n->in[2];
    size_t columns = c->rank > 0 ? (size_t)c->dims[c->rank - 1] : 1,
           rows = c->rank > 1 ? (size_t)c->dims[0] : 1;
    const oxp_gemm_shape *s = &state->product;
    if (c->rank > 2 || (columns != 1 && columns != s->n) || (rows != 1 && rows != s->m)) {
        char text[OXP_SHAPE_TEXT_MAX];
        return oxp_node_fail(n, OXP_EFORMAT, "E-BROADCAST",
                             "input 2 of shape %s does not broadcast to [%zu,%zu]",
                             oxp_shape_text(text, c->rank, c->dims), s->m, s->n);
    }
    state->c_column = columns == 1 ? 0 : 1;
    state->c_row = rows == 1 ? 0 : columns;
    return OXP_OK;
}

static oxp_status prepare(oxp_node *n)
{
    gemm_state *state = oxp_node_state(n, sizeof *state);
    if (!state)
        return OXP_ELIMIT;
    if (oxp_dtype_is_integer(n->in[0]->dtype))
        return oxp_node_bad_dtype(n, 0);
    OXP_TRY(oxp_real_types(n, 1u << 1 | 1u << 2));
    OXP_TRY(read_product(n, &state->product));
    if (n->op->since < 7)
        oxp_attr_ignore(n, "broadcast");
    state->alpha = oxp_attr_float(n, "alpha", 1);
    state->beta = oxp_attr_float(n, "beta", 1);
    if (oxp_node_has(n, 2))
        OXP_TRY(read_bias(n, state));
    return oxp_output(n, 0, n->in[0]->dtype, 2,
                      (const int64_t[]){(int64_t)state->product.m, (int64_t)state->product.n});
}

static void fill_bias(const gemm_state *state, const float *c, float *y)
{
    for (size_t i = 0; i < state->product.m; i++)
        for (size_t j = 0; j < state->product.n; j++)
            y[i * state->product.n + j] = state->beta * c[i * state->c_row + j * state->c_column];
}

static oxp_status run_float(oxp_node *n, const gemm_state *state)
{
    const float *c, *a = oxp_real_in(n, 0), *b = oxp_real_in(n, 1);
    float *y = oxp_real_out(n, 0);
    if (!a || !b || !y)
        return OXP_ELIMIT;
    OXP_TRY(oxp_real_in_optional(n, 2, &c));
    bool biased = c && state->beta != 0;
    if (biased)
        fill_bias(state, c, y);
    oxp_gemm(&state->product, state->alpha, a, b, biased ? 1 : 0, y);
    oxp_real_done(n, 0, y);
    return OXP_OK;
}

static void run_double(oxp_node *n, const gemm_state *state)
{
    const oxp_gemm_shape *s = &state->product;
    bool biased = oxp_node_has(n, 2) && state->beta != 0;
    double *y = n->out[0].data;
    const double *c = biased ? n->in[2]->data : NULL;
    for (size_t i = 0; biased && i < s->m; i++)
        for (size_t j = 0; j < s->n; j++)
            y[i * s->n + j] = (double)state->beta * c[i * state->c_row + j * state->c_column];
    oxp_gemm_double(s, (double)state->alpha, n->in[0]->data, n->in[1]->data, biased ? 1 : 0, y);
}

static oxp_status forward(oxp_node *n)
{
    if (!oxp_node_makes(n, 0))
        return OXP_OK;
    if (n->in[0]->dtype != OXP_DOUBLE)
        return run_float(n, n->state);
    run_double(n, n->state);
    return OXP_OK;
}

static oxp_status backward(oxp_node *n)
{
    const gemm_state *state = n->state;
    const oxp_tensor *y = &n->out[0];
    const float *a = oxp_real_in(n, 0), *b = oxp_real_in(n, 1);
    if (!a || !b)
        return OXP_ELIMIT;
    if (!oxp_dout(n, 0))
        return OXP_OK;
    oxp_gemm_backward(&state->product, state->alpha, a, b, oxp_dout(n, 0), oxp_din(n, 0),
                      oxp_din(n, 1));
    if (!oxp_din(n, 2))
        return OXP_OK;
    return oxp_gradient_reduce(n, oxp_din(n, 2), n->in[2], oxp_dout(n, 0), y->rank, y->dims,
                               state->beta);
}

static void cost(const oxp_node *n, oxp_cost *cost)
{
    const gemm_state *state = n->state;
    const oxp_gemm_shape *s = &state->product;
    oxp_cost_of(n, (double)s->m * (double)s->n * (double)s->k, cost);
}

static bool weight(const oxp_graph_node *def, int input, int rank, int *channel_axis)
{
    if (rank != 2 || input > 1)
        return false;
    *channel_axis = input == 0 ? (oxp_graph_node_int(def, "transA", 0) ? 1 : 0)
                               : (oxp_graph_node_int(def, "transB", 0) ? 0 : 1);
    return true;
}

static const char *const examples[] = {"A[3,4] B[4,5] C[5]",
                                       "A[4,3] B[5,4] C[3,1]; transA=1 transB=1",
                                       "A[3,4] B[5,4] C[3,5]; transB=1 alpha=0.5 beta=2.0",
                                       "A[4,3] B[4,5] C[1,5]; transA=1",
                                       "A[1,17] B[17,33] C[1]; alpha=0.25",
                                       "A[3,4] B[4,5] C[]; beta=0.5",
                                       "A[3,4]:f64 B[4,5]:f64 C[5]:f64; beta=0.5",
                                       "A[3,4]:f16 B[4,5]:f16 C[5]:f16",
                                       NULL};

static const char *const examples_11[] = {
    "A[3,4] B[4,5]", "A[4,3] B[5,4]; transA=1 transB=1 alpha=0.5", "A[3,4] B[4,5] C[5]", NULL};

#define GEMM(since_, min_in_, examples_)                                                          \
    {                                                                                             \
        .domain = "", .type = "Gemm", .since = since_, .min_in = min_in_, .max_in = 3,            \
        .min_out = 1, .max_out = 1, .prepare = prepare, .forward = forward, .backward = backward, \
        .saves = 3, .cost = cost, .weight = weight, .examples = examples_                         \
    }

const oxp_operator oxp_op_gemm_1 = GEMM(1, 3, examples);
const oxp_operator oxp_op_gemm_7 = GEMM(7, 3, examples);
const oxp_operator oxp_op_gemm_11 = GEMM(11, 2, examples_11);
