/* matmul.c - MatMul, and com.microsoft FusedMatMul: Y = alpha * op(A) * op(B), batched as
 * numpy.matmul.
 *
 * https://onnx.ai/onnx/operators/onnx__MatMul.html. FLOAT16 and BFLOAT16 are computed in FLOAT,
 * DOUBLE in double; 32- and 64-bit integers wrap. */
#include "operators/gradient.h"
#include "operators/matmul.h"

#include "kernels/integer.h"
#include "operators/real.h"

typedef struct matmul_state {
    oxp_matmul_plan plan;
    float alpha;
} matmul_state;

static bool is_whole(oxp_dtype t)
{
    return t == OXP_INT32 || t == OXP_UINT32 || t == OXP_INT64 || t == OXP_UINT64;
}

static oxp_status prepare_with(oxp_node *n, oxp_matmul_options options, float alpha)
{
    matmul_state *state = oxp_node_state(n, sizeof *state);
    if (!state)
        return OXP_ELIMIT;
    if (is_whole(n->in[0]->dtype) && alpha == 1)
        OXP_TRY(oxp_node_want(n, 1, n->in[0]->dtype));
    else
        OXP_TRY(oxp_real_types(n, 1u << 1));
    OXP_TRY(oxp_matmul_read(n, 0, 1, options, &state->plan));
    state->alpha = alpha;
    return oxp_output(n, 0, n->in[0]->dtype, state->plan.rank, state->plan.dims);
}

static oxp_status prepare(oxp_node *n)
{
    return prepare_with(n, (oxp_matmul_options){0}, 1);
}

static oxp_status prepare_fused(oxp_node *n)
{
    oxp_matmul_options options = {.trans_a = oxp_attr_int(n, "transA", 0) != 0,
                                  .trans_b = oxp_attr_int(n, "transB", 0) != 0,
                                  .trans_batch_a = oxp_attr_int(n, "transBatchA", 0) != 0,
                                  .trans_batch_b = oxp_attr_int(n, "transBatchB", 0) != 0};
    return prepare_with(n, options, oxp_attr_float(n, "alpha", 1));
}

static oxp_status run_float(oxp_node *n, const matmul_state *state)
{
    const float *a = oxp_real_in(n, 0), *b = oxp_real_in(n, 1);
    float *y = oxp_real_out(n, 0);
    if (!a || !b || !y)
        return OXP_ELIMIT;
    const oxp_gemm_shape *s = &state->plan.product;
    for (size_t i = 0; i < state->plan.batches; i++) {
        size_t at_a, at_b;
        oxp_matmul_at(&state->plan, i, &at_a, &at_b);
        oxp_gemm(s, state->alpha, a + at_a, b + at_b, 0, y + i * s->m * s->n);
    }
    oxp_real_done(n, 0, y);
    return OXP_OK;
}

static oxp_status run_other(oxp_node *n, const matmul_state *state)
{
    const oxp_gemm_shape *s = &state->plan.product;
    oxp_dtype dtype = n->in[0]->dtype;
    size_t bytes = oxp_dtype_bits(dtype) / 8;
    for (size_t i = 0; i < state->plan.batches; i++) {
        size_t at_a, at_b;
        oxp_matmul_at(&state->plan, i, &at_a, &at_b);
        const void *a = (const char *)n->in[0]->data + at_a * bytes,
                   *b = (const char *)n->in[1]->data + at_b * bytes;
        void *y = (char *)n->out[0].data + i * s->m * s->n * bytes;
        if (dtype == OXP_DOUBLE)
            oxp_gemm_double(s, (double)state->alpha, a, b, 0, y);
        else if (bytes == 4)
            oxp_gemm_wrap32(s, a, b, y);
        else
            oxp_gemm_wrap64(s, a, b, y);
    }
    return OXP_OK;
}

static oxp_status forward(oxp_node *n)
{
    oxp_dtype dtype = n->in[0]->dtype;
    if (!oxp_node_makes(n, 0))
        return OXP_OK;
    return dtype == OXP_DOUBLE || is_whole(dtype) ? run_other(n, n->state) : run_float(n, n->state);
}

static oxp_status backward(oxp_node *n)
{
    const matmul_state *state = n->state;
    const oxp_gemm_shape *s = &state->plan.product;
    const float *dy = oxp_dout(n, 0), *a = oxp_real_in(n, 0), *b = oxp_real_in(n, 1);
    float *da = oxp_din(n, 0), *db = oxp_din(n, 1);
    if (!a || !b)
        return OXP_ELIMIT;
    for (size_t i = 0; dy && i < state->plan.batches; i++, dy += s->m * s->n) {
        size_t at_a, at_b;
        oxp_matmul_at(&state->plan, i, &at_a, &at_b);
        oxp_gemm_backward(s, state->alpha, a + at_a, b + at_b, dy, da ? da + at_a : NULL,
                          db ? db + at_b : NULL);
    }
    return OXP_OK;
}

static void cost(const oxp_node *n, oxp_cost *cost)
{
    const matmul_state *state = n->state;
    oxp_cost_of(n, oxp_matmul_macs(&state->plan), cost);
}

static bool weight(const oxp_graph_node *def, int input, int rank, int *channel_axis)
{
    (void)def;
    return oxp_matmul_weight(input, rank, false, false, channel_axis);
}

/* With a moved batch axis a matrix is spread over the tensor, and its channels are not an axis
 * next to its rows. */
static bool weight_fused(const oxp_graph_node *def, int input, int rank, int *channel_axis)
{
    if (oxp_graph_node_int(def, input == 0 ? "transBatchA" : "transBatchB", 0))
        return false;
    return oxp_matmul_weight(input, rank, oxp_graph_node_int(def, "transA", 0) != 0,
                             oxp_graph_node_int(def, "transB", 0) != 0, channel_axis);
}

static const char *const examples[] = {"A[3,4] B[4,5]",
                                       "A[2,3,4] B[4,5]",
                                       "A[2,1,3,4] B[3,4,2]",
                                       "A[4] B[4,5]",
                                       "A[2,3,4] B[4]",
                                       "A[4] B[4]",
                                       "A[1,17] B[17,33]",
                                       "A[3,4]:f64 B[4,2]:f64",
                                       "A[3,4]:f16 B[4,2]:f16",
                                       "A[3,4]:i32 B[4,2]:i32",
                                       NULL};

static const char *const fused_examples[] = {
    "A[3,4] B[4,5]; alpha=0.5", "A[2,4,3] B[2,5,4]; transA=1 transB=1",
    "A[5,2,4] B[2,4,3]; transBatchA=1",
    "A[4,2,5] B[3,2,4]; transBatchA=1 transA=1 transBatchB=1 transB=1 alpha=2.0", NULL};

#define MATMUL(domain_, type_, prepare_, weight_, examples_)                                     \
    {                                                                                            \
        .domain = domain_, .type = type_, .since = 1, .min_in = 2, .max_in = 2, .min_out = 1,    \
        .max_out = 1, .prepare = prepare_, .forward = forward, .backward = backward, .saves = 3, \
        .cost = cost, .weight = weight_, .examples = examples_                                   \
    }

const oxp_operator oxp_op_matmul_1 = MATMUL("", "MatMul", prepare, weight, examples);
const oxp_operator oxp_op_fused_matmul_1 =
    MATMUL("com.microsoft", "FusedMatMul", prepare_fused, weight_fused, fused_examples);
