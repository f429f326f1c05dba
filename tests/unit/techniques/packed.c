/* Weights in few bits: what the written expression computes is what was measured; blocks divide. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "interpreter/interpreter.h"
#include "onnx/edit.h"
#include "support/nodes.h"
#include "techniques/fit.h"
#include "util/random.h"

typedef struct fixture {
    oxp_ctx ctx;
    oxp_arena arena;
    oxp_model *model;
    oxp_graph *graph;
    oxp_site *sites;
    size_t count;
    oxp_fits fits;
} fixture;

static void io(fixture *f, const char *name, int64_t columns, bool output)
{
    oxp_value_info info = {
        .name = name, .dtype = OXP_FLOAT, .is_tensor = true, .rank = 2, .dims = {1, columns}};
    oxp_graph_proto *g = oxp_model_graph(f->model);
    cr_assert_eq((output ? oxp_edit_add_output : oxp_edit_add_input)(f->model, g, &info), OXP_OK);
}

/* x [1, k] . w [k, n] -> y */
static void start(fixture *f, int64_t k, int64_t n, const float *w)
{
    const char *inputs[2] = {"x", "w"};
    memset(f, 0, sizeof *f);
    oxp_ctx_init(&f->ctx);
    oxp_arena_init(&f->arena, &f->ctx);
    cr_assert_eq(oxp_model_new(&f->model, &f->ctx, 13), OXP_OK);
    io(f, "x", k, false);
    io(f, "y", n, true);
    oxp_graph_proto *g = oxp_model_graph(f->model);
    cr_assert_eq(oxp_edit_add_initializer(f->model, g, "w", OXP_FLOAT, 2, (int64_t[]){k, n}, w),
                 OXP_OK);
    cr_assert_eq(append_node(f->model, "MatMul", 2, inputs, "y", NULL), OXP_OK);
    cr_assert_eq(oxp_graph_build(&f->graph, &f->arena, f->model), OXP_OK);
    cr_assert_eq(oxp_sites_find(&f->sites, &f->count, &f->arena, f->graph), OXP_OK);
    cr_assert_eq(f->count, 1);
}

/* Without samples: what the weight alone says. */
static const oxp_fitted *fit(fixture *f, oxp_choice *choice)
{
    oxp_fit_options options = {.graph = f->graph, .sites = f->sites, .site_count = 1};
    cr_assert_eq(oxp_techniques_fit(&f->fits, choice, &options), OXP_OK, "%s", f->ctx.message);
    return choice->fitted;
}

static void stop(fixture *f)
{
    oxp_fits_free(&f->fits);
    oxp_arena_free(&f->arena);
    oxp_model_free(f->model);
}

/* Squared distance of w and what a unit input reads of the written model, row by row. */
static double written_noise(fixture *f, const oxp_choice *choice, const float *w)
{
    oxp_model *out;
    oxp_graph *graph;
    oxp_session *session;
    oxp_codes codes = {0};
    int64_t k = f->sites[0].value->constant.dims[0], n = f->sites[0].value->constant.dims[1];
    double noise = 0;
    cr_assert_eq(oxp_edit_apply(&out, f->model, choice, &codes, NULL, NULL), OXP_OK, "%s",
                 f->ctx.message);
    cr_assert_eq(oxp_graph_build(&graph, &f->arena, out), OXP_OK, "%s", f->ctx.message);
    cr_assert_eq(oxp_session_create(&session, &f->ctx, graph, NULL), OXP_OK);
    for (int64_t row = 0; row < k; row++) {
        oxp_tensor x = {0}, y = {0};
        const oxp_tensor *fed[1] = {&x};
        cr_assert_eq(oxp_tensor_shape(&x, &f->ctx, OXP_FLOAT, 2, (int64_t[]){1, k}, "x"), OXP_OK);
        cr_assert_eq(oxp_tensor_alloc(&x, &f->ctx, "x"), OXP_OK);
        memset(x.data, 0, oxp_tensor_bytes(&x));
        ((float *)x.data)[row] = 1;
        cr_assert_eq(oxp_session_run(session, fed, &y), OXP_OK, "%s", f->ctx.message);
        for (int64_t c = 0; c < n; c++) {
            double e = (double)((float *)y.data)[c] - (double)w[row * n + c];
            noise += e * e;
        }
        oxp_tensor_release(&x);
        oxp_tensor_release(&y);
    }
    oxp_session_free(session);
    oxp_model_free(out);
    return noise;
}

Test(packed, the_written_expression_is_what_was_measured)
{
    enum { K = 96, N = 23 }; /* 2,208 codes of 3 bits do not fill their last byte alike */
    float w[K * N];
    oxp_random r = oxp_random_make(2, 0, 0);
    for (size_t i = 0; i < K * N; i++)
        w[i] = (float)oxp_random_normal(&r);
    for (int bits = 2; bits <= 7; bits++) {
        fixture f;
        oxp_choice choice = {.technique = &oxp_technique_w4, .limit = (1 << (bits - 1)) - 1};
        start(&f, K, N, w);
        cr_expect_eq(oxp_packed_bits(&choice), bits);
        const oxp_fitted *measured = fit(&f, &choice);
        double noise = written_noise(&f, &choice, w);
        cr_expect_lt(fabs(noise / measured->noise - 1), 1e-5, "%d bits: %g, measured %g", bits,
                     noise, measured->noise);
        cr_expect_lt(10 * log10(measured->signal / measured->noise), 6.02 * bits + 4);
        cr_expect_gt(10 * log10(measured->signal / measured->noise), 6.02 * bits - 8);
        stop(&f);
    }
}

/* Weights of one sign: a zero point holds twice the steps. */
Test(packed, zero_points_are_written_and_taken_off)
{
    enum { K = 96, N = 23 };
    float w[K * N];
    double noise[2];
    oxp_random r = oxp_random_make(3, 0, 0);
    for (size_t i = 0; i < K * N; i++)
        w[i] = (float)(0.2 + oxp_random_uniform(&r));
    for (int zero_point = 0; zero_point < 2; zero_point++) {
        fixture f;
        oxp_choice choice = {.technique = &oxp_technique_w4, .limit = 127};
        start(&f, K, N, w);
        cr_assert_eq(oxp_params_parse(&choice.params, &f.ctx, "w4", oxp_technique_w4.params,
                                      zero_point ? "zero_point=block,block=48" : "block=48",
                                      zero_point ? 25 : 8),
                     OXP_OK, "%s", f.ctx.message);
        cr_expect_eq(oxp_packed_bits(&choice), 4);
        cr_expect_eq(oxp_packed_block(&f.sites[0], &choice), 48);
        const oxp_fitted *measured = fit(&f, &choice);
        noise[zero_point] = written_noise(&f, &choice, w);
        cr_expect_lt(fabs(noise[zero_point] / measured->noise - 1), 1e-5);
        stop(&f);
    }
    cr_expect_lt(noise[1], 0.6 * noise[0], "%g and %g", noise[1], noise[0]);
}

/* With moments of the input the codes are those of the layer's output; `mse` lies between. */
Test(packed, the_fit_keeps_the_output)
{
    enum { K = 64, N = 40 };
    float w[K * N], h[K * K];
    double mean[K] = {0}, errors[3];
    oxp_random r = oxp_random_make(4, 0, 0);
    for (size_t i = 0; i < K * N; i++)
        w[i] = (float)oxp_random_normal(&r);
    for (size_t i = 0; i < K; i++)
        for (size_t j = 0; j < K; j++)
            h[i * K + j] = (float)(pow(0.9, fabs((double)i - (double)j)) *
                                   (double)((1 + i % 5) * (1 + j % 5)));
    static const char *const methods[3] = {"method=rtn", "method=mse", "method=gptq"};
    for (size_t m = 0; m < 3; m++) {
        fixture f;
        float matrix[K * N];
        oxp_fitted fitted = {0};
        oxp_choice choice = {.technique = &oxp_technique_w4, .limit = 127};
        oxp_moments moments = {
            .groups = 1, .columns = K, .block = K, .h = h, .mean = mean, .rows = 99};
        start(&f, K, N, w);
        cr_assert_eq(oxp_params_parse(&choice.params, &f.ctx, "w4", oxp_technique_w4.params,
                                      methods[m], strlen(methods[m])),
                     OXP_OK, "%s", f.ctx.message);
        oxp_site_matrix(matrix, w, &f.sites[0]);
        oxp_fit_input in = {.ctx = &f.ctx,
                            .site = &f.sites[0],
                            .choice = &choice,
                            .w = matrix,
                            .rows = N,
                            .columns = K,
                            .moments = &moments};
        cr_assert_eq(oxp_technique_w4.fit(&fitted, &f.arena, &in), OXP_OK, "%s", f.ctx.message);
        errors[m] = 0;
        for (size_t row = 0; row < N; row++)
            for (size_t i = 0; i < K; i++)
                for (size_t j = 0; j < K; j++)
                    errors[m] += (double)(matrix[row * K + i] - fitted.weight[row * K + i]) *
                                 (double)h[i * K + j] *
                                 (double)(matrix[row * K + j] - fitted.weight[row * K + j]);
        for (size_t i = 0; i < K * N; i++)
            matrix[i] = fitted.weight[i];
        choice.fitted = &fitted;
        float decoded[K * N];
        oxp_site_unmatrix(decoded, matrix, &f.sites[0]);
        cr_expect_lt(written_noise(&f, &choice, decoded), 1e-9, "%s", methods[m]);
        stop(&f);
    }
    cr_expect_lt(errors[1], errors[0]);
    cr_expect_lt(errors[2], 0.5 * errors[1], "%g, %g, %g", errors[0], errors[1], errors[2]);
}

Test(packed, blocks_divide_the_reduction)
{
    static const struct {
        int64_t k;
        size_t asked, block;
    } cases[] = {{96, 32, 32}, {96, 0, 32},    {100, 32, 25}, {97, 32, 97},
                 {96, 64, 48}, {96, 1000, 96}, {30, 16, 30}};
    static float w[100 * 64];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fixture f;
        oxp_choice choice = {.limit = 7, .block = cases[i].asked};
        start(&f, cases[i].k, 64, w);
        size_t block = oxp_packed_block(&f.sites[0], &choice);
        cr_expect_eq(block, cases[i].block, "%lld by %zu: %zu", (long long)cases[i].k,
                     cases[i].asked, block);
        stop(&f);
    }
}
