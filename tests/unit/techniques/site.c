/* Sites beyond the float weights of layers: weights in half precision, stored in 8 bits with a Cast
 * back to their type; large constants that elementary nodes read. */
#include "techniques/site.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "interpreter/interpreter.h"
#include "planner/placement.h"
#include "techniques/technique.h"
#include "util/half.h"

enum { K = 48, N = 32 };

typedef struct fixture {
    oxp_ctx ctx;
    oxp_arena arena;
    oxp_model *model;
    oxp_graph *graph;
    oxp_site *sites;
    size_t count;
} fixture;

static float element(size_t i)
{
    return sinf((float)i * 0.7f) * (1.0f + (float)(i % N));
}

/* y = TYPE(x, w) in one element type; x is [1,K] or, for elementary nodes, [K,N]. */
static void start(fixture *f, const char *type, oxp_dtype dtype)
{
    bool product = strcmp(type, "MatMul") == 0;
    float w[K * N];
    uint16_t bits[K * N];
    for (size_t i = 0; i < K * N; i++) {
        w[i] = element(i);
        bits[i] = dtype == OXP_FLOAT16 ? oxp_float_to_half(w[i]) : oxp_float_to_bfloat16(w[i]);
    }
    memset(f, 0, sizeof *f);
    oxp_ctx_init(&f->ctx);
    oxp_arena_init(&f->arena, &f->ctx);
    cr_assert_eq(oxp_model_new(&f->model, &f->ctx, 14), OXP_OK);
    oxp_graph_proto *g = oxp_model_graph(f->model);
    oxp_value_info x = {
        .name = "x", .dtype = dtype, .is_tensor = true, .rank = 2, .dims = {product ? 1 : K, K}};
    oxp_value_info y = x;
    y.name = "y";
    y.dims[1] = N;
    if (!product)
        x.dims[1] = N;
    cr_assert_eq(oxp_edit_add_input(f->model, g, &x), OXP_OK);
    cr_assert_eq(oxp_edit_add_output(f->model, g, &y), OXP_OK);
    const void *data = dtype == OXP_FLOAT ? (const void *)w : bits;
    cr_assert_eq(oxp_edit_add_initializer(f->model, g, "w", dtype, 2, (int64_t[]){K, N}, data),
                 OXP_OK);
    const char *inputs[2] = {"x", "w"}, *output = "y";
    oxp_new_node n = {.type = type,
                      .domain = "",
                      .name = "n",
                      .input_count = 2,
                      .output_count = 1,
                      .inputs = inputs,
                      .outputs = &output};
    cr_assert_eq(oxp_edit_insert_node(NULL, f->model, g, 0, &n), OXP_OK);
    cr_assert_eq(oxp_graph_build(&f->graph, &f->arena, f->model), OXP_OK, "%s", f->ctx.message);
    cr_assert_eq(oxp_sites_find(&f->sites, &f->count, &f->arena, f->graph), OXP_OK);
}

static void stop(fixture *f)
{
    oxp_arena_free(&f->arena);
    oxp_model_free(f->model);
}

/* The constant `w` as the model computes it, by running it with x = the identity's first rows. */
static double sqnr_of_row(fixture *f, oxp_model *made, oxp_dtype dtype)
{
    oxp_graph *graph;
    oxp_session *session;
    uint16_t row[K] = {0};
    oxp_tensor x = {.dtype = dtype, .rank = 2, .dims = {1, K}, .count = K, .data = row}, y = {0};
    const oxp_tensor *inputs[1] = {&x};
    double signal = 0, noise = 0;
    row[0] = dtype == OXP_FLOAT16 ? oxp_float_to_half(1) : oxp_float_to_bfloat16(1);
    cr_assert_eq(oxp_graph_build(&graph, &f->arena, made), OXP_OK, "%s", f->ctx.message);
    cr_assert_eq(oxp_session_create(&session, &f->ctx, graph, NULL), OXP_OK, "%s", f->ctx.message);
    cr_assert_eq(oxp_session_run(session, inputs, &y), OXP_OK, "%s", f->ctx.message);
    cr_assert_eq(y.dtype, dtype);
    for (size_t i = 0; i < N; i++) {
        double expected = (double)element(i), found = oxp_tensor_real(&y, i);
        signal += expected * expected;
        noise += (expected - found) * (expected - found);
    }
    oxp_tensor_release(&y);
    oxp_session_free(session);
    return 10 * log10(signal / noise);
}

static void check_half(oxp_dtype dtype, double least, double most)
{
    fixture f;
    const char *why = NULL;
    start(&f, "MatMul", dtype);
    cr_assert_eq(f.count, 1);
    cr_expect(oxp_site_is_half(&f.sites[0]));
    cr_expect_not(oxp_technique_fp16.applies(&f.sites[0], &why), "it is half already");
    cr_expect_not(oxp_technique_w8a8.applies(&f.sites[0], &why));
    cr_expect_not(oxp_technique_dynamic.applies(&f.sites[0], &why));
    cr_assert(oxp_technique_w8.applies(&f.sites[0], &why));
    oxp_codes codes[1];
    oxp_choice choice = {.technique = &oxp_technique_w8, .limit = 127};
    oxp_model *out;
    memset(codes, 0, sizeof codes);
    cr_assert_eq(oxp_codes_make(codes, &f.arena, f.sites, 1, 127), OXP_OK);
    cr_assert_eq(oxp_edit_apply(&out, f.model, &choice, codes, NULL, NULL), OXP_OK, "%s",
                 f.ctx.message);
    double db = sqnr_of_row(&f, out, dtype);
    cr_expect(db > least && db < most, "%.2f dB", db);
    oxp_model_free(out);
    stop(&f);
}

Test(site, half_weights_are_stored_in_8_bits_and_keep_their_type)
{
    check_half(OXP_FLOAT16, 38, 60);
}

Test(site, bfloat16_weights_too)
{
    check_half(OXP_BFLOAT16, 35, 60);
}

Test(site, large_constants_of_elementary_nodes_go_into_half_precision)
{
    static const char *const types[] = {"Add", "Mul", "Sub"};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        fixture f;
        start(&f, types[i], OXP_FLOAT);
        cr_assert_eq(f.count, 1, "%s", types[i]);
        cr_expect(f.sites[0].is_operand);
        oxp_choice choice;
        bool selected = true, forced = false;
        const oxp_technique *none = NULL;
        oxp_placement_options options = {.precision = OXP_PRECISION_W8};
        oxp_place(&choice, f.sites, 1, &selected, &forced, &none, NULL, &options);
        cr_expect_eq(choice.technique, &oxp_technique_fp16);
        cr_expect_not_null(choice.reason);
        stop(&f);
    }
}

Test(site, a_layers_weight_is_no_operand)
{
    fixture f;
    start(&f, "MatMul", OXP_FLOAT);
    cr_assert_eq(f.count, 1);
    cr_expect_not(f.sites[0].is_operand);
    cr_expect_not(oxp_site_is_half(&f.sites[0]));
    stop(&f);
}
