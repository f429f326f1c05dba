/* qlinear_binary.c - com.microsoft QLinearAdd and QLinearMul: C = quantise(dequantise(A) + or *
 * dequantise(B)), with NumPy's broadcasting.
 *
 * Inputs A, A_scale, A_zero_point, B, B_scale, B_zero_point, C_scale, C_zero_point; zero points
 * may be omitted (0). With ratios of the scales r, as ONNX Runtime computes it: Add round(a ra + b
 * rb + (zc - za ra - zb rb)), Mul round((a - za) (b - zb) r + zc). */
#include "kernels/requantise.h"
#include "operators/broadcast.h"
#include "operators/quantized_inputs.h"
#include "operators/real.h"

#define CHUNK ((size_t)256)

typedef struct binary_state {
    oxp_broadcast plan;
} binary_state;

static oxp_status prepare(oxp_node *n)
{
    binary_state *state = oxp_node_state(n, sizeof *state);
    const oxp_tensor *in[2] = {n->in[0], n->in[3]};
    int rank;
    int64_t dims[OXP_MAX_RANK];
    if (!state)
        return OXP_ELIMIT;
    OXP_TRY(oxp_codes_want(n, 0));
    OXP_TRY(oxp_node_want(n, 3, n->in[0]->dtype));
    for (int i = 0; i < 3; i++)
        OXP_TRY(oxp_quantized_want(n, 3 * i + (i < 2 ? 1 : 0), 3 * i + (i < 2 ? 2 : 1),
                                   n->in[0]->dtype, 1));
    OXP_TRY(oxp_node_broadcast(n, in[0], in[1], &rank, dims));
    oxp_broadcast_plan(&state->plan, rank, dims, 2, in);
    return oxp_output(n, 0, n->in[0]->dtype, rank, dims);
}

/* A run of either operand; step 0 repeats its first code. */
typedef struct operand {
    const uint8_t *codes;
    bool is_signed;
    size_t step;
} operand;

static int32_t code_at(const operand *o, size_t i)
{
    uint8_t code = o->codes[i * o->step];
    return o->is_signed ? (int32_t)(int8_t)code : (int32_t)code;
}

typedef struct constants {
    float a_ratio, b_ratio, offset; /* Add */
    float ratio;                    /* Mul */
    int32_t a_zero, b_zero, c_zero;
} constants;

static constants read_constants(const oxp_node *n)
{
    float a = oxp_quantized_scale(n, 1), b = oxp_quantized_scale(n, 4),
          c = oxp_quantized_scale(n, 6);
    constants k = {.a_ratio = a / c,
                   .b_ratio = b / c,
                   .ratio = a * b / c,
                   .a_zero = oxp_quantized_zero(n, 2),
                   .b_zero = oxp_quantized_zero(n, 5),
                   .c_zero = oxp_quantized_zero(n, 7)};
    k.offset = (float)k.c_zero - (k.a_ratio * (float)k.a_zero + k.b_ratio * (float)k.b_zero);
    return k;
}

static void add(const constants *k, const operand *a, const operand *b, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] =
            (float)code_at(b, i) * k->b_ratio + ((float)code_at(a, i) * k->a_ratio + k->offset);
}

static void multiply(const constants *k, const operand *a, const operand *b, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (float)((code_at(a, i) - k->a_zero) * (code_at(b, i) - k->b_zero)) * k->ratio +
                 (float)k->c_zero;
}

typedef void (*combine)(const constants *k, const operand *a, const operand *b, size_t n,
                        float *out);

static void run(const constants *k, combine function, operand a, operand b, size_t n, uint8_t *y)
{
    float values[CHUNK];
    for (size_t first = 0; first < n; first += CHUNK) {
        size_t count = n - first < CHUNK ? n - first : CHUNK;
        function(k, &a, &b, count, values);
        oxp_to_codes(y + first, a.is_signed, values, count, 1, 0);
        a.codes += a.step * count;
        b.codes += b.step * count;
    }
}

static oxp_status forward(oxp_node *n, combine function)
{
    const binary_state *state = n->state;
    oxp_broadcast_cursor cursor = {0};
    if (!oxp_node_makes(n, 0))
        return OXP_OK;
    OXP_TRY(oxp_quantized_check(n, 1));
    OXP_TRY(oxp_quantized_check(n, 4));
    OXP_TRY(oxp_quantized_check(n, 6));
    constants k = read_constants(n);
    bool is_signed = oxp_is_signed(n->in[0]->dtype);
    size_t length = oxp_broadcast_run(&state->plan), runs = oxp_broadcast_runs(&state->plan);
    for (size_t i = 0; i < runs; i++) {
        operand a = {(const uint8_t *)n->in[0]->data + cursor.offset[0], is_signed,
                     oxp_broadcast_advances(&state->plan, 0)};
        operand b = {(const uint8_t *)n->in[3]->data + cursor.offset[1], is_signed,
                     oxp_broadcast_advances(&state->plan, 1)};
        run(&k, function, a, b, length, (uint8_t *)n->out[0].data + i * length);
        oxp_broadcast_next(&state->plan, &cursor);
    }
    return OXP_OK;
}

static oxp_status forward_add(oxp_node *n)
{
    return forward(n, add);
}

static oxp_status forward_mul(oxp_node *n)
{
    return forward(n, multiply);
}

static const char *const examples[] = {
    "A[2,3]:u8={0,10,100,128,200,255} S[]={0.05} Z[]:u8={128} B[2,3]:u8={5,20,90,130,210,250} "
    "T[]={0.04} Y[]:u8={120} U[]={0.09} V[]:u8={125}",
    "A[2,3]:i8={-128,10,100,-5,0,127} S[]={0.05} Z[]:i8={3} B[3]:i8={5,-20,90} T[]={0.04} "
    "Y[]:i8={-2} U[]={0.1} V[]:i8={7}",
    "A[2,1,3]:u8 S[]={0.5} Z[]:u8={1} B[4,1]:u8 T[]={0.25} Y[]:u8={2} U[]={0.25} V[]:u8={0}", NULL};

#define BINARY(type_, forward_)                                                         \
    {                                                                                   \
        .domain = "com.microsoft", .type = type_, .since = 1, .min_in = 7, .max_in = 8, \
        .min_out = 1, .max_out = 1, .optional = 1u << 2 | 1u << 5, .prepare = prepare,  \
        .forward = forward_, .examples = examples                                       \
    }

const oxp_operator oxp_op_qlinear_add_1 = BINARY("QLinearAdd", forward_add);
const oxp_operator oxp_op_qlinear_mul_1 = BINARY("QLinearMul", forward_mul);
