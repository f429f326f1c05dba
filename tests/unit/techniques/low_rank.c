/* lowrank as a technique: two layers, or their product in front of one, give the outputs of the
 * fitted weight; the rank asked for; fewer bytes; what would not be smaller stays. */
#include "fitted_layer.h"

extern const oxp_technique oxp_technique_low_rank;

static const layer_case cases[] = {
    {"MatMul", 2, {5, 80}, 2, {80, 96}, NULL},
    {"MatMul", 3, {2, 3, 96}, 2, {96, 64}, NULL},
    {"Gemm", 2, {5, 70}, 2, {90, 70}, "transB"},
    {"Gemm", 2, {5, 70}, 2, {70, 90}, NULL},
    {"Conv", 4, {1, 64, 9, 9}, 4, {64, 64, 1, 1}, NULL},
    {"Conv", 4, {1, 24, 9, 9}, 4, {64, 24, 3, 3}, "pads"},
};
#define CASES (sizeof cases / sizeof *cases)

static size_t nodes_of(const oxp_model *m)
{
    return oxp_graph_proto_node_count(oxp_model_graph((oxp_model *)(uintptr_t)m));
}

Test(low_rank, what_is_written_gives_the_outputs_of_the_factors)
{
    static const char *const forms[] = {"rank=13,form=split", "rank=13,form=fold", "rank=13"};
    for (size_t k = 0; k < CASES; k++)
        for (size_t p = 0; p < 3; p++)
            for (int samples = 0; samples < 2; samples++) {
                fitted_layer f;
                size_t size, whole;
                uint8_t *bytes;
                start_layer(&f, &cases[k], NULL);
                const oxp_fitted *fitted =
                    fit_layer(&f, &oxp_technique_low_rank, forms[p], samples);
                cr_expect_eq(fitted->rank, 13);
                cr_assert_eq(oxp_model_pack(&bytes, &whole, f.model), OXP_OK);
                oxp_free(bytes);
                oxp_model *written = write_layer(&f, &size);
                size_t saved = 4 * f.sites[0].value->constant.count -
                               oxp_technique_low_rank.bytes(&f.sites[0], &f.choice);
                cr_expect(fabs((double)(whole - size) - (double)saved) < 200, "%s, %s",
                          cases[k].type, forms[p]);
                bool is_split = p != 1;
                cr_expect_eq(nodes_of(written), is_split || cases[k].w_rank == 2 ? 2 : 3);
                double apart = outputs_apart(&f, written, plain_layer(&f));
                cr_expect_lt(apart, 2e-6, "%s, %s: %g", cases[k].type, forms[p], apart);
                stop_layer(&f);
            }
}

/* Of W = A B with A [rows, 6] nothing is lost at rank 6, with samples or without. */
Test(low_rank, a_weight_of_that_rank_is_kept)
{
    enum { K = 60, N = 50, RANK = 6 };
    static const layer_case c = {"MatMul", 2, {5, K}, 2, {K, N}, NULL};
    float a[K * RANK], b[RANK * N], w[K * N] = {0};
    oxp_random r = oxp_random_make(4, 0, 0);
    for (size_t i = 0; i < K * RANK; i++)
        a[i] = (float)oxp_random_normal(&r);
    for (size_t i = 0; i < RANK * N; i++)
        b[i] = (float)oxp_random_normal(&r);
    for (size_t i = 0; i < K * N; i++)
        for (size_t j = 0; j < RANK; j++)
            w[i] += a[i / N * RANK + j] * b[j * N + i % N];
    for (int samples = 0; samples < 2; samples++) {
        fitted_layer f;
        start_layer(&f, &c, w);
        const oxp_fitted *fitted = fit_layer(&f, &oxp_technique_low_rank, "rank=6", samples);
        cr_expect_lt(fitted->noise, 1e-11 * fitted->signal, "%g of %g", fitted->noise,
                     fitted->signal);
        fitted = fit_layer(&f, &oxp_technique_low_rank, "energy=0.999999", samples);
        cr_expect_eq(fitted->rank, RANK);
        fitted = fit_layer(&f, &oxp_technique_low_rank, "rank=5", samples);
        cr_expect_gt(fitted->noise, 1e-3 * fitted->signal);
        stop_layer(&f);
    }
}

Test(low_rank, what_would_not_be_smaller_stays)
{
    fitted_layer f;
    size_t size;
    start_layer(&f, &cases[0], NULL); /* breaks even at 43.6 */
    const oxp_fitted *fitted = fit_layer(&f, &oxp_technique_low_rank, "rank=44", true);
    cr_expect(fitted->left == NULL && fitted->noise == 0);
    cr_expect_eq(outputs_apart(&f, write_layer(&f, &size), plain_layer(&f)), 0);
    cr_expect_not_null(fit_layer(&f, &oxp_technique_low_rank, "rank=43", true)->left);
    cr_expect_null(fit_layer(&f, &oxp_technique_low_rank, "energy=1", true)->left);
    stop_layer(&f);
}

/* Two small layers cost more than one: there the factors are folded. */
Test(low_rank, small_layers_are_not_split)
{
    static const layer_case small = {"MatMul", 2, {5, 40}, 2, {40, 48}, NULL};
    fitted_layer f;
    size_t size;
    start_layer(&f, &small, NULL);
    fit_layer(&f, &oxp_technique_low_rank, "rank=4", true);
    oxp_model *written = write_layer(&f, &size);
    oxp_graph *graph;
    cr_assert_eq(oxp_graph_build(&graph, &f.arena, written), OXP_OK);
    cr_expect_neq(oxp_graph_find_value(graph, "w"), OXP_NO_VALUE);
    cr_expect_lt(outputs_apart(&f, written, plain_layer(&f)), 2e-6);
    stop_layer(&f);
}

Test(low_rank, the_projection_is_the_nearest_of_that_rank)
{
    fitted_layer f;
    start_layer(&f, &cases[0], NULL);
    const oxp_fitted *fitted = fit_layer(&f, &oxp_technique_low_rank, "rank=9", false);
    size_t rows = oxp_site_rows(&f.sites[0]), columns = oxp_site_columns(&f.sites[0]);
    float *w = oxp_arena_alloc(&f.arena, rows * columns, sizeof *w);
    float *out = oxp_arena_alloc(&f.arena, rows * columns, sizeof *out);
    oxp_site_matrix(w, f.sites[0].value->constant.data, &f.sites[0]);
    oxp_fit_input in = {.ctx = &f.ctx,
                        .site = &f.sites[0],
                        .choice = &f.choice,
                        .w = w,
                        .rows = rows,
                        .columns = columns};
    cr_assert_eq(oxp_technique_low_rank.project(out, &in, fitted), OXP_OK);
    for (size_t i = 0; i < rows * columns; i++)
        cr_assert_lt(fabsf(out[i] - fitted->weight[i]), 1e-5f);
    in.w = fitted->weight; /* is of that rank already */
    cr_assert_eq(oxp_technique_low_rank.project(out, &in, fitted), OXP_OK);
    for (size_t i = 0; i < rows * columns; i++)
        cr_assert_lt(fabsf(out[i] - fitted->weight[i]), 1e-5f);
    stop_layer(&f);
}
