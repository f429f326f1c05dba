/* Weights as vectors of a book: what the written expression computes is what was fitted, for every
 * width of the indices and every order of a weight's elements; its bytes are those counted. */
#include "fitted_layer.h"

extern const oxp_technique oxp_technique_codebook;

static size_t initializer_bytes(const fitted_layer *f, oxp_model *m)
{
    oxp_arena arena;
    oxp_graph *graph;
    size_t bytes = 0;
    oxp_arena_init(&arena, (oxp_ctx *)&f->ctx);
    cr_assert_eq(oxp_graph_build(&graph, &arena, m), OXP_OK);
    for (size_t v = 0; v < graph->value_count; v++)
        if (graph->values[v].kind == OXP_VALUE_CONSTANT &&
            (graph->values[v].constant.dtype == OXP_FLOAT16 ||
             graph->values[v].constant.dtype == OXP_UINT8 ||
             graph->values[v].constant.dtype == OXP_UINT16))
            bytes += oxp_tensor_bytes(&graph->values[v].constant);
    oxp_arena_free(&arena);
    return bytes;
}

static void expect_written(fitted_layer *f, const char *params)
{
    size_t size;
    fit_layer(f, &oxp_technique_codebook, params, false);
    oxp_model *out = write_layer(f, &size);
    size_t bytes = initializer_bytes(f, out);
    cr_expect_eq(bytes, oxp_technique_codebook.bytes(&f->sites[0], &f->choice), "%s: %zu bytes",
                 params, bytes);
    cr_expect_lt(outputs_apart(f, out, plain_layer(f)), 1e-6, "%s", params);
    cr_expect_gt(f->choice.fitted->noise, 0);
    cr_expect_lt(f->choice.fitted->noise, 0.7 * f->choice.fitted->signal, "%s", params);
}

/* MatMul has its rows across, 130 is no multiple of 4, and 16 to 4,096 words need 4 to 12 bits. */
Test(codebook, the_written_expression_is_what_was_fitted)
{
    static const layer_case product = {"MatMul", 2, {3, 130}, 2, {130, 400}, NULL};
    static const char *const params[] = {"size=16",        "size=50",         "dim=2,size=256",
                                         "dim=1,size=512", "dim=1,size=4096", "dim=8,books=2"};
    for (size_t i = 0; i < sizeof params / sizeof *params; i++) {
        fitted_layer f;
        start_layer(&f, &product, NULL);
        expect_written(&f, params[i]);
        stop_layer(&f);
    }
}

Test(codebook, kernels_and_transposed_kernels)
{
    static const layer_case conv = {"Conv", 4, {1, 64, 5, 5}, 4, {96, 64, 3, 3}, NULL};
    static const layer_case transposed = {"ConvTranspose", 4,   {1, 64, 5, 5}, 4,
                                          {64, 96, 3, 3},  NULL};
    fitted_layer f;
    start_layer(&f, &conv, NULL);
    expect_written(&f, "dim=4");
    stop_layer(&f);
    start_layer(&f, &transposed, NULL);
    expect_written(&f, "dim=3,size=64");
    stop_layer(&f);
}

Test(codebook, a_small_weight_has_fewer_words)
{
    static const layer_case small = {"MatMul", 2, {1, 64}, 2, {64, 64}, NULL};
    fitted_layer f;
    start_layer(&f, &small, NULL);
    fit_layer(&f, &oxp_technique_codebook, "", false);
    size_t few = oxp_technique_codebook.bytes(&f.sites[0], &f.choice);
    cr_expect_lt(few, 64 * 64 / 4, "%zu bytes", few); /* 256 words would have 2,048 of their own */
    stop_layer(&f);
}

Test(codebook, for_another_stage_plain_numbers)
{
    static const layer_case square = {"MatMul", 2, {2, 96}, 2, {96, 96}, NULL};
    fitted_layer f;
    size_t size;
    start_layer(&f, &square, NULL);
    fit_layer(&f, &oxp_technique_codebook, "dim=2", false);
    f.choice.is_intermediate = true;
    oxp_model *out = write_layer(&f, &size);
    cr_expect_eq(initializer_bytes(&f, out), 0);
    cr_expect_eq(outputs_apart(&f, out, plain_layer(&f)), 0);
    stop_layer(&f);
}
