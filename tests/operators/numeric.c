/* numeric.c - what the standard's own cases leave open in the numeric operators: rounding,
 * integer edge cases, saturation, accuracy of long sums, every layout of a broadcast and of a
 * reduction, refusals. */
#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "operators/cast_float8.h"
#include "operators/vector_math.h"
#include "support/one_node.h"

/* One run of an example; released by end(). */
typedef struct trial {
    oxp_ctx ctx;
    one_node node;
    oxp_tensor out[4];
    oxp_status status;
} trial;

static void begin_in(trial *t, const char *domain, const char *type, int64_t opset,
                     const char *example)
{
    bool known;
    char why[512] = "";
    memset(t, 0, sizeof *t);
    oxp_ctx_init(&t->ctx);
    const oxp_operator *op = oxp_operator_find(domain, type, opset, &known);
    cr_assert_not_null(op, "%s at %d", type, (int)opset);
    cr_assert(one_node_make(&t->node, &t->ctx, op, example, why), "%s: %s", example, why);
    t->status = one_node_run(&t->node, t->out);
}

static void begin(trial *t, const char *type, int64_t opset, const char *example)
{
    begin_in(t, "", type, opset, example);
}

static void end(trial *t)
{
    for (size_t i = 0; i < 4; i++)
        oxp_tensor_release(&t->out[i]);
    one_node_free(&t->node);
}

static double element(const oxp_tensor *t, size_t i)
{
    return oxp_tensor_real(t, i);
}

/* The first output of the example is exactly this; NaN equals NaN. */
static void expect(const char *type, int64_t opset, const char *example, size_t count,
                   const double *values)
{
    trial t;
    begin(&t, type, opset, example);
    cr_assert_eq(t.status, OXP_OK, "%s %s: %s %s", type, example, t.ctx.code, t.ctx.message);
    cr_assert_eq(t.out[0].count, count, "%s %s", type, example);
    for (size_t i = 0; i < count; i++) {
        double found = element(&t.out[0], i);
        bool same = found == values[i] || (isnan(found) && isnan(values[i]));
        cr_expect(same, "%s %s: element %zu is %.17g, expected %.17g", type, example, i, found,
                  values[i]);
    }
    end(&t);
}
#define EXPECT(type, opset, example, ...)                                        \
    expect(type, opset, example, sizeof(double[]){__VA_ARGS__} / sizeof(double), \
           (double[]){__VA_ARGS__})

static void expect_refusal(const char *type, int64_t opset, const char *example, oxp_status status,
                           const char *code)
{
    trial t;
    begin(&t, type, opset, example);
    cr_expect_eq(t.status, status, "%s %s: status %d", type, example, (int)t.status);
    cr_expect_str_eq(t.ctx.code, code, "%s %s", type, example);
    end(&t);
}

/* ---- rounding and integers ---- */

Test(numeric, halves_round_to_the_even_neighbour)
{
    EXPECT("Round", 11, "X[6]={-2.5,-1.5,-0.5,0.5,1.5,2.5}", -2, -2, -0.0, 0, 2, 2);
    EXPECT("Round", 22, "X[3]:f16={0.5,1.5,2.5}", 0, 2, 2);
    EXPECT("QuantizeLinear", 13, "X[6]={-2.5,-1.5,-0.5,0.5,1.5,2.5} S[]={1.0} Z[]:i8={0}", -2, -2,
           0, 0, 2, 2);
    EXPECT("QuantizeLinear", 13, "X[4]={0.5,1.5,2.5,3.5} S[]={1.0} Z[]:u8={3}", 3, 5, 5, 7);
}

Test(numeric, integer_division_is_defined_everywhere)
{
    EXPECT("Div", 14, "A[6]:i32={7,-7,7,-7,-2147483648,5} B[6]:i32={2,2,-2,-2,-1,0}", 3, -3, -3, 3,
           INT32_MIN, 0);
    EXPECT("Div", 14, "A[3]:i8={-128,127,1} B[3]:i8={-1,-1,0}", -128, -127, 0);
    EXPECT("Div", 14, "A[2]:i64={-9223372036854775808,9} B[2]:i64={-1,0}", (double)INT64_MIN, 0);
    EXPECT("Div", 14, "A[3]:u8={255,7,1} B[3]:u8={2,8,0}", 127, 0, 0);
    EXPECT("Mod", 13, "A[6]:i32={7,-7,7,-7,-2147483648,5} B[6]:i32={3,3,-3,-3,-1,0}", 1, 2, -2, -1,
           0, 0);
    EXPECT("Mod", 13, "A[6]:i32={7,-7,7,-7,-2147483648,5} B[6]:i32={3,3,-3,-3,-1,0}; fmod=1", 1, -1,
           1, -1, 0, 0);
    EXPECT("Mod", 28, "A[4]={5.0,-5.0,5.0,-5.0} B[4]={3.0,3.0,-3.0,-3.0}", 2, 1, -1, -2);
    EXPECT("Mod", 13, "A[3]={5.0,-5.0,1.0} B[3]={3.0,3.0,0.0}; fmod=1", 2, -2, NAN);
}

Test(numeric, integers_wrap)
{
    EXPECT("Add", 14, "A[2]:i8={127,-128} B[2]:i8={1,-1}", -128, 127);
    EXPECT("Mul", 14, "A[2]:u16={65535,256} B[2]:u16={65535,256}", 1, 0);
    EXPECT("Sub", 14, "A[1]:i32={-2147483648} B[1]:i32={1}", INT32_MAX);
    EXPECT("Abs", 13, "X[2]:i8={-128,-3}", -128, 3);
    EXPECT("Neg", 13, "X[2]:i32={-2147483648,3}", INT32_MIN, -3);
    EXPECT("Pow", 15, "X[4]:i32={3,-2,5,7} Y[4]:i32={4,3,0,-1}", 81, -8, 1, 0);
    EXPECT("ReduceProd", 18, "X[2]:i32={65536,65536} axes[1]:i64={0}", 0);
}

Test(numeric, shifts_by_the_width_or_more_leave_the_sign)
{
    EXPECT("BitShift", 11, "X[4]:u8={1,1,1,255} Y[4]:u8={7,8,200,1}; direction='LEFT'", 128, 0, 0,
           254);
    EXPECT("BitShift", 11, "X[3]:u32={8,8,8} Y[3]:u32={3,32,4294967295}; direction='RIGHT'", 1, 0,
           0);
    EXPECT("BitShift", 28, "X[4]:i16={-4,-4,4,-1} Y[4]:i16={1,16,99,-1}; direction='RIGHT'", -2, -1,
           0, -1);
    EXPECT("BitShift", 28, "X[2]:i64={-1,1} Y[2]:i64={64,-3}; direction='LEFT'", 0, 0);
}

Test(numeric, unsigned_64_bit_order_is_unsigned)
{
    EXPECT("Less", 13, "A[1]:u64={-1} B[1]:u64={1}", 0);
    EXPECT("ReduceMax", 18, "X[2]:u64={-1,5} axes[1]:i64={0}", (double)UINT64_MAX);
    EXPECT("ReduceMin", 18, "X[2]:u64={-1,5} axes[1]:i64={0}", 5);
    EXPECT("Clip", 13, "X[2]:u64={-1,5} min[]:u64={7} max[]:u64={9}", 9, 7);
}

/* ---- casts ---- */

Test(numeric, casting_out_of_range_saturates_and_nan_is_zero)
{
    EXPECT("Cast", 13, "X[6]={nan,1e30,-1e30,inf,-1.9,1.9}; to=6", 0, INT32_MAX, INT32_MIN,
           INT32_MAX, -1, 1);
    EXPECT("Cast", 13, "X[4]={nan,1e30,-1e30,-0.5}; to=7", 0, (double)INT64_MAX, (double)INT64_MIN,
           0);
    EXPECT("Cast", 13, "X[4]={300.0,-1.0,255.9,nan}; to=2", 255, 0, 255, 0);
    EXPECT("Cast", 13, "X[3]={1e30,18446742974197923840.0,-1.0}; to=13", (double)UINT64_MAX,
           18446742974197923840.0, 0);
    EXPECT("Cast", 13, "X[3]:i32={300,-1,256}; to=3", 44, -1, 0);
    EXPECT("Cast", 13, "X[4]={nan,-0.0,0.1,0.0}; to=9", 1, 0, 1, 0);
}

Test(numeric, a_double_is_rounded_to_half_once)
{
    /* Just above the middle of two halves; through float it would become the middle and fall to
     * even. */
    EXPECT("Cast", 13, "X[2]:f64={1.00048828125001,1.00048828125}; to=10", 1.0009765625, 1.0);
    EXPECT("Cast", 13, "X[3]:f64={65519.99,65520.0,-1e300}; to=10", 65504, INFINITY, -INFINITY);
}

Test(numeric, small_floats_round_trip)
{
    static const oxp_dtype formats[] = {OXP_FLOAT8E4M3FN, OXP_FLOAT8E4M3FNUZ, OXP_FLOAT8E5M2,
                                        OXP_FLOAT8E5M2FNUZ, OXP_FLOAT4E2M1};
    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++)
        for (unsigned code = 0; code < (formats[f] == OXP_FLOAT4E2M1 ? 16u : 256u); code++) {
            float value = oxp_float8_load(formats[f], code);
            if (!isnan(value) && !isinf(value))
                cr_expect_eq(oxp_float8_store(formats[f], value, true), code, "%s %u",
                             oxp_dtype_name(formats[f]), code);
        }
    cr_expect_eq(oxp_float8_load(OXP_FLOAT8E4M3FN, oxp_float8_store(OXP_FLOAT8E4M3FN, 1e9f, true)),
                 448.0f);
    cr_expect(
        isnan(oxp_float8_load(OXP_FLOAT8E4M3FN, oxp_float8_store(OXP_FLOAT8E4M3FN, 1e9f, false))));
    cr_expect(
        isinf(oxp_float8_load(OXP_FLOAT8E5M2, oxp_float8_store(OXP_FLOAT8E5M2, 1e9f, false))));
}

Test(numeric, halves_convert_like_the_single_conversions)
{
    for (unsigned bits = 0; bits < 65536; bits++) {
        float value = oxp_half_load((uint16_t)bits);
        if (!isnan(value))
            cr_expect_eq(oxp_half_store(value), bits, "half %04x", bits);
    }
    cr_expect_eq(oxp_half_store(0x1p-25f), 0);
    cr_expect_eq(oxp_half_store(0x1.000002p-25f), 1);
    cr_expect_eq(oxp_bfloat_store(0x1.010002p0f), 0x3f81);
}

/* ---- quantisation ---- */

Test(numeric, quantising_saturates)
{
    EXPECT("QuantizeLinear", 13, "X[5]={1e9,-1e9,inf,-inf,0.0} S[]={0.5} Z[]:i8={10}", 127, -128,
           127, -128, 10);
    EXPECT("QuantizeLinear", 13, "X[4]={1e9,-1e9,63.5,-64.0} S[]={0.5} Z[]:u8={128}", 255, 0, 255,
           0);
    EXPECT("QuantizeLinear", 21, "X[3]={1e9,-1e9,2.0} S[]={0.0001} Z[]:u16={32768}", 65535, 0,
           52768);
    EXPECT("QuantizeLinear", 21, "X[5]={-100.0,-8.4,0.0,7.4,100.0} S[]={1.0}; output_dtype=22", -8,
           -8, 0, 7, 7);
    EXPECT("QuantizeLinear", 13, "X[3]={0.0,1.0,-1.0} S[]={1e-45}", 0, 255, 0);
}

Test(numeric, scales_per_axis_and_per_block)
{
    EXPECT("QuantizeLinear", 13, "X[2,3]={1,2,3,4,5,6} S[3]={1,2,3} Z[3]:i8={0,1,2}; axis=1", 1, 2,
           3, 4, 3, 4);
    EXPECT("QuantizeLinear", 13, "X[2,3]={1,2,3,4,5,6} S[2]={1,2} Z[2]:i8={0,1}; axis=0", 1, 2, 3,
           3, 3, 4);
    EXPECT("QuantizeLinear", 21, "X[1,5]={2,2,2,2,2} S[1,3]={1,2,0.5}; axis=1 block_size=2", 2, 2,
           1, 1, 4);
    EXPECT("DequantizeLinear", 21,
           "X[3,2]:i8={1,1,1,1,1,1} S[2,2]={1,2,3,4} Z[2,2]:i8={0,0,1,2}; axis=0 block_size=2", 1,
           2, 1, 2, 0, -4);
    EXPECT("DequantizeLinear", 13, "X[2]:i32={2147483647,-2147483648} S[]={1.0}", 2147483648.0,
           -2147483648.0);
}

/* ---- walks: against the plain definition ---- */

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 16;
}

static size_t offset_of(const oxp_tensor *t, int rank, const size_t *index)
{
    size_t offset = 0;
    for (int d = 0; d < t->rank; d++) {
        size_t i = index[rank - t->rank + d];
        offset = offset * (size_t)t->dims[d] + (t->dims[d] == 1 ? 0 : i);
    }
    return offset;
}

static void check_sub(const trial *t, const char *example)
{
    const oxp_tensor *a = &t->node.inputs[0], *b = &t->node.inputs[1], *c = &t->out[0];
    for (size_t i = 0; i < c->count; i++) {
        size_t index[OXP_MAX_RANK], rest = i;
        for (int d = c->rank - 1; d >= 0; d--) {
            index[d] = rest % (size_t)c->dims[d];
            rest /= (size_t)c->dims[d];
        }
        float wanted = (float)(element(a, offset_of(a, c->rank, index)) -
                               element(b, offset_of(b, c->rank, index)));
        cr_assert_eq((float)element(c, i), wanted, "%s, element %zu", example, i);
    }
}

/* A shape of `rank` dimensions that broadcasts with the others made from the same sizes. */
static int write_shape(char *text, uint32_t *random, int rank, const int *sizes)
{
    int at = snprintf(text, 64, "[");
    for (int d = 4 - rank; d < 4; d++)
        at += snprintf(text + at, 16, "%s%d", d > 4 - rank ? "," : "",
                       next_random(random) % 3 == 0 ? 1 : sizes[d]);
    at += snprintf(text + at, 4, "]");
    return at;
}

Test(numeric, every_broadcast_gives_what_the_definition_says)
{
    uint32_t random = 1;
    for (int round = 0; round < 300; round++) {
        int sizes[4];
        char example[256];
        trial t;
        for (int d = 0; d < 4; d++)
            sizes[d] = (int)(next_random(&random) % 4) + 1;
        int at = snprintf(example, sizeof example, "A");
        at += write_shape(example + at, &random, (int)(next_random(&random) % 5), sizes);
        at += snprintf(example + at, 8, " B");
        write_shape(example + at, &random, (int)(next_random(&random) % 5), sizes);
        begin(&t, "Sub", 14, example);
        cr_assert_eq(t.status, OXP_OK, "%s: %s", example, t.ctx.message);
        check_sub(&t, example);
        end(&t);
    }
}

static double plain_sum(const oxp_tensor *x, unsigned axes, size_t out, double *count)
{
    double sum = 0.0;
    *count = 0.0;
    for (size_t i = 0; i < x->count; i++) {
        size_t index[OXP_MAX_RANK], rest = i, kept = 0;
        for (int d = x->rank - 1; d >= 0; d--) {
            index[d] = rest % (size_t)x->dims[d];
            rest /= (size_t)x->dims[d];
        }
        for (int d = 0; d < x->rank; d++)
            if ((axes >> d & 1) == 0)
                kept = kept * (size_t)x->dims[d] + index[d];
        if (kept != out)
            continue;
        sum += element(x, i);
        *count += 1.0;
    }
    return sum;
}

Test(numeric, every_set_of_axes_gives_what_the_definition_says)
{
    for (unsigned axes = 1; axes < 16; axes++) {
        char example[128];
        int count = __builtin_popcount(axes),
            at = snprintf(example, sizeof example, "X[3,18,2,5] A[%d]:i64={", count);
        for (int d = 0, first = 1; d < 4; d++)
            if (axes >> d & 1) {
                at += snprintf(example + at, 8, "%s%d", first ? "" : ",", d);
                first = 0;
            }
        snprintf(example + at, 32, "}; keepdims=0");
        trial t;
        begin(&t, "ReduceMean", 18, example);
        cr_assert_eq(t.status, OXP_OK, "%s: %s", example, t.ctx.message);
        for (size_t i = 0; i < t.out[0].count; i++) {
            double n, sum = plain_sum(&t.node.inputs[0], axes, i, &n);
            cr_assert_float_eq(element(&t.out[0], i), sum / n, 1e-7, "%s, element %zu", example, i);
        }
        end(&t);
    }
}

Test(numeric, reductions_over_nothing)
{
    EXPECT("ReduceSum", 13, "X[2,0] axes[1]:i64={1}; keepdims=0", 0, 0);
    EXPECT("ReduceProd", 18, "X[2,0] axes[1]:i64={1}; keepdims=0", 1, 1);
    EXPECT("ReduceMax", 18, "X[1,0] axes[1]:i64={1}; keepdims=0", -INFINITY);
    EXPECT("ReduceMin", 18, "X[1,0]:i8 axes[1]:i64={1}; keepdims=0", 127);
    EXPECT("ReduceMax", 18, "X[1,0]:i32 axes[1]:i64={1}; keepdims=0", INT32_MIN);
    EXPECT("ReduceLogSumExp", 18, "X[1,0] axes[1]:i64={1}; keepdims=0", -INFINITY);
    EXPECT("ReduceMean", 18, "X[1,0] axes[1]:i64={1}; keepdims=0", NAN);
}

/* ---- accuracy ---- */

Test(numeric, long_sums_keep_their_digits)
{
    trial t;
    begin(&t, "ReduceSum", 13, "X[3000001]; keepdims=0");
    cr_assert_eq(t.status, OXP_OK);
    long double sum = 0;
    for (size_t i = 0; i < t.node.inputs[0].count; i++)
        sum += (long double)element(&t.node.inputs[0], i);
    cr_expect_float_eq(element(&t.out[0], 0), (double)sum, fabs((double)sum) * (double)FLT_EPSILON);
    end(&t);
    EXPECT("ReduceMean", 18, "X[3]={16777216.0,1.0,1.0}", (double)(16777218.0f / 3.0f));
}

Test(numeric, exponentials_do_not_overflow)
{
    EXPECT("Softmax", 13, "X[3]={1000.0,1000.0,-1000.0}", 0.5, 0.5, 0.0);
    EXPECT("LogSoftmax", 13, "X[2]={1000.0,-1000.0}", 0.0, -2000.0);
    EXPECT("ReduceLogSumExp", 18, "X[2]={3000.0,-3000.0}", 3000.0);
    EXPECT("Softplus", 1, "X[3]={1000.0,-1000.0,inf}", 1000.0, 0.0, INFINITY);
    EXPECT("Sigmoid", 13, "X[4]={1000.0,-1000.0,inf,-inf}", 1.0, 0.0, 1.0, 0.0);
    EXPECT("Mish", 18, "X[1]={1000.0}", 1000.0);
    EXPECT("Elu", 6, "X[2]={-1000.0,1000.0}", -1.0, 1000.0);
}

Test(numeric, nan_is_not_swallowed)
{
    EXPECT("Relu", 14, "X[2]={nan,-1.0}", NAN, 0.0);
    EXPECT("Clip", 13, "X[2]={nan,9.0} min[]={0.0} max[]={6.0}", NAN, 6.0);
    EXPECT("Max", 13, "A[2]={nan,1.0} B[2]={1.0,nan}", NAN, NAN);
    EXPECT("Min", 13, "A[2]={nan,1.0} B[2]={1.0,nan}", NAN, NAN);
    EXPECT("ReduceMax", 18, "X[3]={1.0,nan,2.0}", NAN);
    EXPECT("ArgMax", 13, "X[3]={1.0,nan,2.0}; keepdims=0", 1.0);
    EXPECT("HardSigmoid", 6, "X[1]={nan}", NAN);
    EXPECT("Tanh", 13, "X[1]={nan}", NAN);
    EXPECT("Softmax", 13, "X[2]={nan,1.0}", NAN, NAN);
}

static double ulps(float found, double wanted)
{
    int exponent;
    frexp(wanted, &exponent);
    exponent = exponent < -125 ? -125 : exponent;
    return fabs((double)found - wanted) / ldexp(1.0, exponent - 24);
}

static double sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

static double softplus(double x)
{
    return fmax(x, 0.0) + log1p(exp(-fabs(x)));
}

Test(numeric, vector_functions_are_within_three_ulps_of_libm)
{
    for (uint64_t bits = 0; bits <= UINT32_MAX; bits += 40009) {
        float x = oxp_from_bits((uint32_t)bits);
        double d = (double)x;
        if (isnan(x))
            continue;
        if (exp(d) < (double)FLT_MAX)
            cr_assert_leq(ulps(oxp_expf(x), exp(d)), 3.0, "exp %a", d);
        if (x > 0.0f && !isinf(x))
            cr_assert_leq(ulps(oxp_logf(x), log(d)), 3.0, "log %a", d);
        cr_assert_leq(ulps(oxp_tanhf(x), tanh(d)), 3.0, "tanh %a", d);
        cr_assert_leq(ulps(oxp_erff(x), erf(d)), 3.0, "erf %a", d);
        cr_assert_leq(ulps(oxp_sigmoidf(x), sigmoid(d)), 3.0, "sigmoid %a", d);
        if (!isinf(x))
            cr_assert_leq(ulps(oxp_softplusf(x), softplus(d)), 3.0, "softplus %a", d);
        if (x > -1.0f && x < 80.0f)
            cr_assert_leq(ulps(oxp_expm1f(x), expm1(d)), 4.0, "expm1 %a", d);
    }
    cr_expect(isnan(oxp_logf(-1.0f)) && isnan(oxp_logf(-INFINITY)) && isnan(oxp_expf(NAN)));
    cr_expect(oxp_logf(0.0f) == -INFINITY && oxp_logf(INFINITY) == INFINITY);
    cr_expect(oxp_expf(200.0f) == INFINITY && oxp_expf(-INFINITY) == 0.0f);
}

Test(numeric, a_large_mean_does_not_hide_the_variance)
{
    trial t;
    begin(&t, "LayerNormalization", 17,
          "X[4]={100000.0,100001.0,100002.0,100003.0} S[]={1.0}; epsilon=0.0");
    cr_assert_eq(t.status, OXP_OK, "%s", t.ctx.message);
    double scale = sqrt(1.25);
    for (int i = 0; i < 4; i++)
        cr_expect_float_eq(element(&t.out[0], (size_t)i), (i - 1.5) / scale, 1e-6);
    end(&t);
}

/* ---- other semantics ---- */

Test(numeric, before_opset_13_softmax_sees_a_matrix)
{
    EXPECT("Softmax", 12, "X[1,2,2]={0.0,0.0,0.0,0.0}", 0.25, 0.25, 0.25, 0.25);
    EXPECT("Softmax", 13, "X[1,2,2]={0.0,0.0,0.0,0.0}", 0.5, 0.5, 0.5, 0.5);
    EXPECT("Softmax", 13, "X[1,2,2]={0.0,1000.0,0.0,0.0}; axis=1", 0.5, 1.0, 0.5, 0.0);
}

Test(numeric, group_normalization_scales_by_group_then_by_channel)
{
    const char *by_group =
        "X[1,4]={0.0,2.0,5.0,7.0} S[2]={1.0,10.0} B[2]={0.0,1.0}; num_groups=2 epsilon=0.0";
    const char *by_channel = "X[1,4]={0.0,2.0,5.0,7.0} S[4]={1.0,2.0,3.0,4.0} "
                             "B[4]={0.0,0.0,0.0,1.0}; num_groups=2 epsilon=0.0";
    EXPECT("GroupNormalization", 18, by_group, -1, 1, -9, 11);
    EXPECT("GroupNormalization", 21, by_channel, -1, 2, -3, 5);
}

Test(numeric, einsum_contracts_in_any_form)
{
    EXPECT("Einsum", 12, "A[2,2]={1,2,3,4} B[2,2]={5,6,7,8}; equation='ij,jk'", 19, 22, 43, 50);
    EXPECT("Einsum", 12, "A[2,2]={1,2,3,4} B[2,2]={5,6,7,8}; equation='ij, jk -> ki'", 19, 43, 22,
           50);
    EXPECT("Einsum", 12, "A[2,2]={1,2,3,4}; equation='ii'", 5);
    EXPECT("Einsum", 12, "A[2,2]={1,2,3,4}; equation='ij->j'", 4, 6);
    EXPECT("Einsum", 12, "A[2]={1,2} B[2]={3,4} C[2]={5,6}; equation='i,i,i->'", 63);
    EXPECT("Einsum", 12, "A[1,2]:i32={3,4} B[2,2]:i32={1,2,3,4}; equation='...i,...i->...'", 11,
           25);
    EXPECT("Einsum", 12, "A[0]={} B[2]={1,2}; equation='i,j->j'", 0, 0);
}

Test(numeric, the_tanh_gelu_is_near_the_exact_one)
{
    trial exact, near;
    begin(&exact, "Gelu", 20, "X[101]");
    begin(&near, "Gelu", 20, "X[101]; approximate='tanh'");
    for (size_t i = 0; i < 101; i++)
        cr_expect_float_eq(element(&exact.out[0], i), element(&near.out[0], i), 5e-4);
    end(&exact);
    end(&near);
    EXPECT("Gelu", 20, "X[2]={-60.0,60.0}", -0.0, 60.0);
}

/* Loops run over elements, never over dimensions alone: these would take centuries. */
Test(numeric, an_empty_tensor_of_huge_dimensions_is_done_at_once, .timeout = 20)
{
#define HUGE_EMPTY "[1099511627776,0,4]"
    static const struct {
        const char *type;
        int opset;
        const char *example;
    } cases[] = {
        {"CumSum", 14, "X" HUGE_EMPTY " A[]:i64={1}"},
        {"Softmax", 13, "X" HUGE_EMPTY "; axis=1"},
        {"Softmax", 1, "X" HUGE_EMPTY},
        {"LayerNormalization", 17, "X" HUGE_EMPTY " S[4]; axis=1"},
        {"RMSNormalization", 23, "X" HUGE_EMPTY " S[4]; axis=1"},
        {"GroupNormalization", 21, "X" HUGE_EMPTY " S[0] B[0]; num_groups=3"},
        {"LpNormalization", 1, "X" HUGE_EMPTY "; axis=1"},
        {"MeanVarianceNormalization", 9, "X" HUGE_EMPTY "; axes=1"},
        {"QuantizeLinear", 13, "X" HUGE_EMPTY " S[0]; axis=1"},
        {"Add", 14, "A" HUGE_EMPTY " B[4]"},
        {"Trilu", 14, "X" HUGE_EMPTY},
        {"ArgMax", 13, "X" HUGE_EMPTY},
        {"Relu", 14, "X" HUGE_EMPTY},
        {"Cast", 13, "X" HUGE_EMPTY "; to=7"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        trial t;
        begin(&t, cases[i].type, cases[i].opset, cases[i].example);
        cr_expect_eq(t.status, OXP_OK, "%s: %s", cases[i].type, t.ctx.message);
        cr_expect_eq(t.out[0].count, 0, "%s", cases[i].type);
        end(&t);
    }
}

/* ---- refusals ---- */

Test(numeric, what_does_not_fit_is_refused_by_name)
{
    expect_refusal("Add", 14, "A[2,3] B[2]", OXP_EFORMAT, "E-BROADCAST");
    expect_refusal("Add", 14, "A[2] B[2]:f16", OXP_EFORMAT, "E-OP-DTYPE");
    expect_refusal("Where", 16, "C[2]:bool X[3] Y[3]", OXP_EFORMAT, "E-BROADCAST");
    expect_refusal("PRelu", 16, "X[2] slope[3,2]", OXP_EFORMAT, "E-BROADCAST");
    expect_refusal("ReduceSum", 13, "X[2,3] axes[1]:i64={2}", OXP_EFORMAT, "E-AXIS");
    expect_refusal("ReduceSum", 13, "X[2,3] axes[2]:i64={1,-1}", OXP_EFORMAT, "E-AXIS");
    expect_refusal("Softmax", 13, "X[2,3]; axis=2", OXP_EFORMAT, "E-AXIS");
    expect_refusal("LayerNormalization", 17, "X[2,3] S[3]; axis=-3", OXP_EFORMAT, "E-AXIS");
    expect_refusal("LayerNormalization", 17, "X[2,3] S[2]", OXP_EFORMAT, "E-BROADCAST");
    expect_refusal("CumSum", 14, "X[2,3] axis[]:i64={5}", OXP_EFORMAT, "E-AXIS");
    expect_refusal("ArgMax", 13, "X[2,0]; axis=1", OXP_EFORMAT, "E-SHAPE");
    expect_refusal("GroupNormalization", 21, "X[1,4] S[4] B[4]; num_groups=0", OXP_EFORMAT,
                   "E-ATTR-VALUE");
    expect_refusal("GroupNormalization", 21, "X[1,4] S[4] B[4]; num_groups=3", OXP_EFORMAT,
                   "E-ATTR-VALUE");
    expect_refusal("Cast", 13, "X[2]; to=99", OXP_EFORMAT, "E-ATTR-VALUE");
    expect_refusal("Cast", 13, "X[2]; to=8", OXP_EUNSUPPORTED, "E-OP-DTYPE");
    expect_refusal("BitShift", 11, "X[1]:u8 Y[1]:u8; direction='UP'", OXP_EFORMAT, "E-ATTR-VALUE");
    expect_refusal("Det", 11, "X[2,3]", OXP_EFORMAT, "E-SHAPE");
    expect_refusal("QuantizeLinear", 13, "X[2,3] S[2] Z[2]:u8; axis=1", OXP_EFORMAT, "E-SHAPE");
    expect_refusal("DequantizeLinear", 21, "X[2,3]:u8 S[2,3]; axis=1 block_size=2", OXP_EFORMAT,
                   "E-SHAPE");
    expect_refusal("Dropout", 13, "X[2] ratio[]={0.5} T[]:bool={1}", OXP_EUNSUPPORTED,
                   "E-ATTR-VALUE");
    expect_refusal("Einsum", 12, "A[2,3] B[4,2]; equation='ij,jk'", OXP_EFORMAT, "E-SHAPE");
    expect_refusal("Einsum", 12, "A[2,3]; equation='ij->k'", OXP_EFORMAT, "E-ATTR-VALUE");
    expect_refusal("Einsum", 12, "A[2,3]; equation='i'", OXP_EFORMAT, "E-SHAPE");
    expect_refusal("Einsum", 12, "A[2]; equation='i,i'", OXP_EFORMAT, "E-ATTR-VALUE");
}
