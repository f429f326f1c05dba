/* formulas.c - operators against their formula, written out once more and plainly: transforms,
 * losses, deformable and causal convolution, attention as a recurrence. And what they refuse. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "support/one_node.h"

#define PI 3.14159265358979323846

/* One run of an example; released by end(). */
typedef struct trial {
    oxp_ctx ctx;
    one_node node;
    oxp_tensor out[4];
    oxp_status status;
} trial;

static void begin(trial *t, const char *type, int64_t opset, const char *example)
{
    bool known;
    char why[512] = "";
    memset(t, 0, sizeof *t);
    oxp_ctx_init(&t->ctx);
    const oxp_operator *op = oxp_operator_find("", type, opset, &known);
    cr_assert_not_null(op, "%s at %d", type, (int)opset);
    cr_assert(one_node_make(&t->node, &t->ctx, op, example, why), "%s: %s", example, why);
    t->status = one_node_run(&t->node, t->out);
}

static void begin_well(trial *t, const char *type, int64_t opset, const char *example)
{
    begin(t, type, opset, example);
    cr_assert_eq(t->status, OXP_OK, "%s %s: %s %s", type, example, t->ctx.code, t->ctx.message);
}

static void end(trial *t)
{
    for (size_t i = 0; i < 4; i++)
        oxp_tensor_release(&t->out[i]);
    one_node_free(&t->node);
}

static double in(const trial *t, size_t input, size_t i)
{
    return oxp_tensor_real(&t->node.inputs[input], i);
}

static double out(const trial *t, size_t output, size_t i)
{
    return oxp_tensor_real(&t->out[output], i);
}

static void expect_near(double found, double expected, const char *what, size_t i)
{
    cr_expect_float_eq(found, expected, 1e-5 * (1.0 + fabs(expected)),
                       "%s: element %zu is %.9g, expected %.9g", what, i, found, expected);
}

static void expect_refusal(const char *type, int64_t opset, const char *example, const char *code)
{
    trial t;
    begin(&t, type, opset, example);
    cr_expect_neq(t.status, OXP_OK, "%s %s", type, example);
    cr_expect_str_eq(t.ctx.code, code, "%s %s: %s", type, example, t.ctx.message);
    end(&t);
}

/* ---- transforms ---- */

/* Every length from 1 on, so that both ways of transforming are met. */
Test(formulas, dft_of_any_length)
{
    for (size_t n = 1; n <= 33; n++) {
        char example[64];
        trial t;
        snprintf(example, sizeof example, "X[1,%zu,2]", n);
        begin_well(&t, "DFT", 20, example);
        for (size_t k = 0; k < n; k++) {
            double real = 0, imaginary = 0;
            for (size_t j = 0; j < n; j++) {
                double angle = -2 * PI * (double)(j * k % n) / (double)n;
                double a = in(&t, 0, 2 * j), b = in(&t, 0, 2 * j + 1);
                real += a * cos(angle) - b * sin(angle);
                imaginary += a * sin(angle) + b * cos(angle);
            }
            expect_near(out(&t, 0, 2 * k), real, example, 2 * k);
            expect_near(out(&t, 0, 2 * k + 1), imaginary, example, 2 * k + 1);
        }
        end(&t);
    }
}

/* One side and back: the spectrum of {1,2,3,4} and of {1,2,3}. */
Test(formulas, dft_of_one_side_and_back)
{
    static const struct {
        const char *example;
        size_t count;
        double values[6];
    } cases[] = {
        {"X[1,4,1]={1,2,3,4} _ A[]:i64={1}; onesided=1", 6, {10, 0, -2, 2, -2, 0}},
        {"X[1,3,2]={10,0,-2,2,-2,0} _ A[]:i64={1}; onesided=1 inverse=1", 4, {1, 2, 3, 4}},
        {"X[1,2,2]={6,0,-1.5,0.8660254} L[]:i64={3} A[]:i64={-2}; onesided=1 inverse=1",
         3,
         {1, 2, 3}},
        {"X[1,2,1]={1,2} L[]:i64={4} A[]:i64={1}; onesided=1", 6, {3, 0, 1, -2, -1, 0}},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        trial t;
        begin_well(&t, "DFT", 20, cases[c].example);
        cr_assert_eq(t.out[0].count, cases[c].count, "%s", cases[c].example);
        for (size_t i = 0; i < cases[c].count; i++)
            expect_near(out(&t, 0, i), cases[c].values[i], cases[c].example, i);
        end(&t);
    }
    expect_refusal("DFT", 20, "X[1,4,2]; onesided=1", "E-SHAPE");
    expect_refusal("DFT", 20, "X[1,4,3]", "E-SHAPE");
    expect_refusal("DFT", 20, "X[1,4,1] _ A[]:i64={2}", "E-AXIS");
    expect_refusal("DFT", 17, "X[1,4,1]; axis=-1", "E-AXIS");
    expect_refusal("DFT", 17, "X[1,4,1] L[]:i64={0}", "E-SHAPE");
}

Test(formulas, stft_frames_and_weighs)
{
    trial t;
    begin_well(&t, "STFT", 17, "X[1,11,1] S[]:i64={3} W[5]");
    cr_assert_eq(t.out[0].count, 3 * 3 * 2);
    for (size_t f = 0; f < 3; f++)
        for (size_t k = 0; k < 3; k++) {
            double real = 0, imaginary = 0;
            for (size_t j = 0; j < 5; j++) {
                double v = in(&t, 0, 3 * f + j) * in(&t, 2, j);
                double angle = -2 * PI * (double)(j * k) / 5;
                real += v * cos(angle);
                imaginary += v * sin(angle);
            }
            expect_near(out(&t, 0, (f * 3 + k) * 2), real, "STFT", f);
            expect_near(out(&t, 0, (f * 3 + k) * 2 + 1), imaginary, "STFT", f);
        }
    end(&t);
    expect_refusal("STFT", 17, "X[1,4,1] S[]:i64={1} W[5]", "E-SHAPE");
    expect_refusal("STFT", 17, "X[1,8,2] S[]:i64={1} W[4]", "E-SHAPE");
    expect_refusal("STFT", 17, "X[1,8,1] S[]:i64={0} W[4]", "E-SHAPE");
    expect_refusal("STFT", 17, "X[1,8,1] S[]:i64={1} W[4] L[]:i64={3}", "E-SHAPE");
}

Test(formulas, mel_bands_stay_in_the_spectrum)
{
    expect_refusal("MelWeightMatrix", 17,
                   "B[]:i64={4} L[]:i64={16} R[]:i64={8000} F[]={0.0} T[]={8000.0}", "E-INDEX");
    expect_refusal("HannWindow", 17, "S[]:i64={-1}", "E-SHAPE");
}

/* ---- losses ---- */

Test(formulas, cross_entropy_is_weighed_and_averaged)
{
    trial t;
    begin_well(&t, "SoftmaxCrossEntropyLoss", 13,
               "X[2,3]={1,2,3,0,0,5} T[2]:i64={2,0} W[3]={0.5,1,2}; outputs=2");
    double first = -(3 - log(exp(1) + exp(2) + exp(3))), second = -(0 - log(1 + 1 + exp(5)));
    expect_near(out(&t, 0, 0), (2 * first + 0.5 * second) / 2.5, "mean", 0);
    expect_near(out(&t, 1, 0), 1 - log(exp(1) + exp(2) + exp(3)), "log_prob", 0);
    end(&t);
    begin_well(&t, "NegativeLogLikelihoodLoss", 13,
               "X[1,2,3]={1,2,3,4,5,6} T[1,3]:i64={0,1,-7}; ignore_index=-7 reduction='none'");
    static const double losses[] = {-1, -5, 0};
    for (size_t i = 0; i < 3; i++)
        expect_near(out(&t, 0, i), losses[i], "none", i);
    end(&t);
    expect_refusal("NegativeLogLikelihoodLoss", 13, "X[1,2] T[1]:i64={2}", "E-INDEX");
    expect_refusal("NegativeLogLikelihoodLoss", 13, "X[1,2] T[1]:i64={-1}", "E-INDEX");
    expect_refusal("NegativeLogLikelihoodLoss", 13, "X[1,2,3] T[1,2]:i64={0,0}", "E-SHAPE");
    expect_refusal("SoftmaxCrossEntropyLoss", 13, "X[1,2] T[1]:i64={0} W[3]", "E-SHAPE");
    expect_refusal("SoftmaxCrossEntropyLoss", 13, "X[1,2] T[1]:i64={0}; reduction='other'",
                   "E-ATTR-VALUE");
}

/* ---- convolutions ---- */

/* A whole offset moves each tap by one place, to zero outside; half of one averages two. */
Test(formulas, deformed_taps_move)
{
    static const struct {
        const char *example;
        double values[2];
    } cases[] = {
        {"X[1,1,3]={1,2,4} W[1,1,2]={10,1} O[1,2,2]={0,0,0,0}", {12, 24}},
        {"X[1,1,3]={1,2,4} W[1,1,2]={10,1} O[1,2,2]={1,1,0,0}", {22, 44}},
        {"X[1,1,3]={1,2,4} W[1,1,2]={10,1} O[1,2,2]={0,0,0.5,1}", {13, 20}},
        {"X[1,1,3]={1,2,4} W[1,1,2]={10,1} O[1,2,2]={-0.5,0,0,0} B[1]={100} M[1,2,2]={2,1,1,0}",
         {112, 120}},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        trial t;
        begin_well(&t, "DeformConv", 19, cases[c].example);
        for (size_t i = 0; i < 2; i++)
            expect_near(out(&t, 0, i), cases[c].values[i], cases[c].example, i);
        end(&t);
    }
    expect_refusal("DeformConv", 19, "X[1,1,3] W[1,1,2] O[1,3,2]", "E-SHAPE");
    expect_refusal("DeformConv", 19, "X[1,3,3] W[1,1,2] O[1,2,2]; group=2", "E-ATTR-VALUE");
}

Test(formulas, a_causal_convolution_carries_its_past)
{
    trial t;
    begin_well(&t, "CausalConvWithState", 27,
               "X[1,1,2]={3,4} W[1,1,3]={100,10,1} _ P[1,1,2]={1,2}; outputs=2");
    static const double values[] = {123, 234, 3, 4};
    for (size_t i = 0; i < 2; i++) {
        expect_near(out(&t, 0, i), values[i], "output", i);
        expect_near(out(&t, 1, i), values[2 + i], "state", i);
    }
    end(&t);
    begin_well(&t, "CausalConvWithState", 27, "X[1,1,1]={2} W[1,1,1]={1}; activation='silu'");
    expect_near(out(&t, 0, 0), 2 / (1 + exp(-2)), "silu", 0);
    end(&t);
    expect_refusal("CausalConvWithState", 27, "X[1,2,2] W[1,1,3]", "E-SHAPE");
    expect_refusal("CausalConvWithState", 27, "X[1,1,2] W[1,1,3] _ P[1,1,3]", "E-SHAPE");
}

/* ---- recurrences ---- */

/* Two steps of one head with Dk = 2, Dv = 1 and the delta rule with decay. */
Test(formulas, gated_delta_attention)
{
    trial t;
    double s[2] = {0.5, -1};
    begin_well(&t, "LinearAttention", 27,
               "Q[1,2,2] K[1,2,2] V[1,2,1] P[1,1,2,1]={0.5,-1} G[1,2,1] B[1,2,1]; "
               "q_num_heads=1 kv_num_heads=1 scale=2.0 outputs=2");
    for (size_t i = 0; i < 2; i++) {
        double k[] = {in(&t, 1, 2 * i), in(&t, 1, 2 * i + 1)}, decay = exp(in(&t, 4, i));
        double seen = decay * (s[0] * k[0] + s[1] * k[1]);
        double update = in(&t, 5, i) * (in(&t, 2, i) - seen);
        for (size_t d = 0; d < 2; d++)
            s[d] = decay * s[d] + k[d] * update;
        double expected = 2 * (in(&t, 0, 2 * i) * s[0] + in(&t, 0, 2 * i + 1) * s[1]);
        expect_near(out(&t, 0, i), expected, "output", i);
    }
    for (size_t d = 0; d < 2; d++)
        expect_near(out(&t, 1, d), s[d], "state", d);
    end(&t);
    expect_refusal("LinearAttention", 27,
                   "Q[1,2,2] K[1,2,2] V[1,2,1]; q_num_heads=1 kv_num_heads=1", "E-ARITY");
    expect_refusal("LinearAttention", 27,
                   "Q[1,2,2] K[1,2,2] V[1,2,1]; q_num_heads=1 kv_num_heads=2 "
                   "update_rule='linear'",
                   "E-SHAPE");
}

/* ---- bits and counts ---- */

Test(formulas, bits_keep_their_places)
{
    trial t;
    begin_well(&t, "BitCast", 26, "X[2]={1.0,-2.0}; to=6");
    cr_expect_eq(t.out[0].dtype, OXP_INT32);
    cr_expect_eq(oxp_tensor_int(&t.out[0], 0), 0x3f800000);
    cr_expect_eq(oxp_tensor_int(&t.out[0], 1), (int32_t)0xc0000000);
    end(&t);
    expect_refusal("BitCast", 26, "X[2]; to=7", "E-OP-DTYPE");
    expect_refusal("BitCast", 26, "X[2]; to=8", "E-ATTR-VALUE");
    expect_refusal("BitCast", 26, "X[2]", "E-ATTR-VALUE");
}

/* Pairs (2,3) and (5,6) with up to one token between them; TF, IDF and TFIDF. */
Test(formulas, grams_are_counted_across_gaps)
{
    static const struct {
        const char *mode;
        double values[2];
    } cases[] = {{"TF", {2, 1}}, {"IDF", {0.5, 4}}, {"TFIDF", {1, 4}}};
    for (size_t c = 0; c < 3; c++) {
        char example[400];
        trial t;
        snprintf(example, sizeof example,
                 "X[7]:i64={2,3,2,9,3,5,6}; mode='%s' min_gram_length=2 max_gram_length=2 "
                 "max_skip_count=1 ngram_counts=0,0 ngram_indexes=0,1 pool_int64s=2,3,5,6 "
                 "weights=0.5,4.0",
                 cases[c].mode);
        begin_well(&t, "TfIdfVectorizer", 9, example);
        cr_assert_eq(t.out[0].count, 2);
        for (size_t i = 0; i < 2; i++)
            expect_near(out(&t, 0, i), cases[c].values[i], cases[c].mode, i);
        end(&t);
    }
    expect_refusal("TfIdfVectorizer", 9,
                   "X[2]:i64; mode='TF' min_gram_length=2 max_gram_length=2 ngram_counts=0,1 "
                   "ngram_indexes=0,1 pool_int64s=1,2,3,4",
                   "E-ATTR-VALUE");
}
