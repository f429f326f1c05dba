/* Weights as vectors of a book: what the written expression computes is what was fitted, for every
 * width of the indices and every order of a weight's elements; its bytes are those counted. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "interpreter/interpreter.h"
#include "onnx/edit.h"
#include "support/nodes.h"
#include "techniques/expression.h"
#include "techniques/fit.h"
#include "util/random.h"

extern const oxp_technique oxp_technique_codebook;

typedef struct fixture {
    oxp_ctx ctx;
    oxp_arena arena;
    oxp_model *model;
    oxp_graph *graph;
    oxp_site *sites;
    oxp_choice choice;
    oxp_fits fits;
    int64_t x_dims[4];
    int x_rank;
} fixture;

static void io(fixture *f, const char *name, int rank, const int64_t *dims, bool output)
{
    oxp_value_info info = {.name = name, .dtype = OXP_FLOAT, .is_tensor = true, .rank = rank};
    memcpy(info.dims, dims, (size_t)rank * sizeof *dims);
    oxp_graph_proto *g = oxp_model_graph(f->model);
    cr_assert_eq((output ? oxp_edit_add_output : oxp_edit_add_input)(f->model, g, &info), OXP_OK);
}

/* y = type(x, w) */
static void start(fixture *f, const char *type, int x_rank, const int64_t *x_dims, int w_rank,
                  const int64_t *w_dims, const int64_t *y_dims)
{
    const char *inputs[2] = {"x", "w"};
    size_t count = 1;
    memset(f, 0, sizeof *f);
    oxp_ctx_init(&f->ctx);
    oxp_arena_init(&f->arena, &f->ctx);
    for (int i = 0; i < w_rank; i++)
        count *= (size_t)w_dims[i];
    float *w = oxp_arena_alloc(&f->arena, count, sizeof *w);
    oxp_random r = oxp_random_make(2, 0, 0);
    for (size_t i = 0; i < count; i++)
        w[i] = (float)oxp_random_normal(&r);
    cr_assert_eq(oxp_model_new(&f->model, &f->ctx, 13), OXP_OK);
    io(f, "x", x_rank, x_dims, false);
    io(f, "y", x_rank, y_dims, true);
    f->x_rank = x_rank;
    memcpy(f->x_dims, x_dims, (size_t)x_rank * sizeof *x_dims);
    cr_assert_eq(oxp_edit_add_initializer(f->model, oxp_model_graph(f->model), "w", OXP_FLOAT,
                                          w_rank, w_dims, w),
                 OXP_OK);
    cr_assert_eq(append_node(f->model, type, 2, inputs, "y", NULL), OXP_OK);
    cr_assert_eq(oxp_graph_build(&f->graph, &f->arena, f->model), OXP_OK);
    size_t sites;
    cr_assert_eq(oxp_sites_find(&f->sites, &sites, &f->arena, f->graph), OXP_OK);
    cr_assert_eq(sites, 1);
}

static void stop(fixture *f)
{
    oxp_fits_free(&f->fits);
    oxp_arena_free(&f->arena);
    oxp_model_free(f->model);
    cr_expect_eq(f->ctx.budget->used, 0);
}

static void fit(fixture *f, const char *params)
{
    const char *why;
    f->choice.technique = &oxp_technique_codebook;
    cr_assert(oxp_technique_codebook.applies(&f->sites[0], &why), "%s", why);
    cr_assert_eq(oxp_params_parse(&f->choice.params, &f->ctx, "codebook",
                                  oxp_technique_codebook.params, params, strlen(params)),
                 OXP_OK);
    oxp_fit_options options = {.graph = f->graph, .sites = f->sites, .site_count = 1};
    cr_assert_eq(oxp_techniques_fit(&f->fits, &f->choice, &options), OXP_OK, "%s", f->ctx.message);
}

static void run(fixture *f, oxp_model *model, oxp_tensor *y)
{
    oxp_graph *graph;
    oxp_session *session;
    oxp_tensor x = {0};
    const oxp_tensor *fed[1] = {&x};
    oxp_random r = oxp_random_make(3, 0, 0);
    cr_assert_eq(oxp_graph_build(&graph, &f->arena, model), OXP_OK, "%s", f->ctx.message);
    cr_assert_eq(oxp_session_create(&session, &f->ctx, graph, NULL), OXP_OK, "%s", f->ctx.message);
    cr_assert_eq(oxp_tensor_shape(&x, &f->ctx, OXP_FLOAT, f->x_rank, f->x_dims, "x"), OXP_OK);
    cr_assert_eq(oxp_tensor_alloc(&x, &f->ctx, "x"), OXP_OK);
    for (size_t i = 0; i < x.count; i++)
        ((float *)x.data)[i] = (float)oxp_random_normal(&r);
    cr_assert_eq(oxp_session_run(session, fed, y), OXP_OK, "%s", f->ctx.message);
    oxp_tensor_release(&x);
    oxp_session_free(session);
}

/* The model with the fitted weight as plain numbers. */
static oxp_model *expected(fixture *f)
{
    oxp_model *plain;
    const oxp_tensor *t = &f->sites[0].value->constant;
    float *w = oxp_arena_alloc(&f->arena, t->count, sizeof *w);
    oxp_graph *graph;
    oxp_site_unmatrix(w, f->choice.fitted->weight, &f->sites[0]);
    cr_assert_eq(oxp_model_clone(&plain, f->model), OXP_OK);
    cr_assert_eq(oxp_graph_build(&graph, &f->arena, plain), OXP_OK);
    oxp_value *v = &graph->values[oxp_graph_find_value(graph, "w")];
    cr_assert_eq(oxp_edit_set_tensor(plain, v->proto, OXP_FLOAT, t->rank, t->dims, w), OXP_OK);
    return plain;
}

/* Largest difference of the outputs of two models, of the largest output. */
static double apart(fixture *f, oxp_model *a, oxp_model *b)
{
    oxp_tensor x = {0}, y = {0};
    double most = 0, size = 0;
    run(f, a, &x);
    run(f, b, &y);
    cr_assert_eq(x.count, y.count);
    for (size_t i = 0; i < x.count; i++) {
        most = fmax(most, fabs((double)((float *)x.data)[i] - (double)((float *)y.data)[i]));
        size = fmax(size, fabs((double)((float *)x.data)[i]));
    }
    oxp_tensor_release(&x);
    oxp_tensor_release(&y);
    return most / size;
}

static size_t initializer_bytes(const fixture *f, oxp_model *m)
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

static void expect_written(fixture *f, const char *params)
{
    oxp_model *out, *plain;
    oxp_codes codes = {0};
    fit(f, params);
    plain = expected(f);
    cr_assert_eq(oxp_edit_apply(&out, f->model, &f->choice, &codes, NULL, NULL), OXP_OK, "%s: %s",
                 params, f->ctx.message);
    cr_expect_lt(apart(f, plain, out), 1e-6, "%s", params);
    cr_expect_eq(initializer_bytes(f, out), oxp_technique_codebook.bytes(&f->sites[0], &f->choice),
                 "%s: %zu bytes", params, initializer_bytes(f, out));
    cr_expect_gt(f->choice.fitted->noise, 0);
    cr_expect_lt(f->choice.fitted->noise, 0.7 * f->choice.fitted->signal, "%s", params);
    oxp_model_free(out);
    oxp_model_free(plain);
}

/* MatMul has its rows across, 130 is no multiple of 4, and 16 to 4,096 words need 4 to 12 bits. */
Test(codebook, the_written_expression_is_what_was_fitted)
{
    static const char *const params[] = {"size=16",        "size=50",         "dim=2,size=256",
                                         "dim=1,size=512", "dim=1,size=4096", "dim=8,books=2"};
    for (size_t i = 0; i < sizeof params / sizeof *params; i++) {
        fixture f;
        start(&f, "MatMul", 2, (int64_t[]){3, 130}, 2, (int64_t[]){130, 400}, (int64_t[]){3, 400});
        expect_written(&f, params[i]);
        stop(&f);
    }
}

Test(codebook, kernels_and_transposed_kernels)
{
    fixture f;
    start(&f, "Conv", 4, (int64_t[]){1, 64, 5, 5}, 4, (int64_t[]){96, 64, 3, 3},
          (int64_t[]){1, 96, 3, 3});
    expect_written(&f, "dim=4");
    stop(&f);
    start(&f, "ConvTranspose", 4, (int64_t[]){1, 64, 5, 5}, 4, (int64_t[]){64, 96, 3, 3},
          (int64_t[]){1, 96, 7, 7});
    expect_written(&f, "dim=3,size=64");
    stop(&f);
}

Test(codebook, a_small_weight_has_fewer_words)
{
    fixture f;
    start(&f, "MatMul", 2, (int64_t[]){1, 64}, 2, (int64_t[]){64, 64}, (int64_t[]){1, 64});
    fit(&f, "");
    size_t few = oxp_technique_codebook.bytes(&f.sites[0], &f.choice);
    cr_expect_lt(few, 64 * 64 / 4, "%zu bytes", few); /* 256 words would have 2,048 of their own */
    stop(&f);
}

Test(codebook, for_another_stage_plain_numbers)
{
    fixture f;
    oxp_model *out, *plain;
    oxp_codes codes = {0};
    start(&f, "MatMul", 2, (int64_t[]){2, 96}, 2, (int64_t[]){96, 96}, (int64_t[]){2, 96});
    fit(&f, "dim=2");
    f.choice.is_intermediate = true;
    plain = expected(&f);
    cr_assert_eq(oxp_edit_apply(&out, f.model, &f.choice, &codes, NULL, NULL), OXP_OK);
    cr_expect_eq(apart(&f, plain, out), 0);
    cr_expect_eq(initializer_bytes(&f, out), 0);
    oxp_model_free(out);
    oxp_model_free(plain);
    stop(&f);
}
