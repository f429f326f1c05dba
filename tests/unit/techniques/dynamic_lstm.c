/* An LSTM in integers: both weights as codes, the same answers; never one weight alone. */
#include "techniques/dynamic_lstm.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "interpreter/interpreter.h"
#include "planner/placement.h"
#include "util/random.h"

enum { T = 5, B = 2, I = 6, H = 7 };

static oxp_ctx ctx;
static oxp_arena arena;
static oxp_model *model;
static oxp_graph *graph;
static oxp_site *sites;
static size_t count;

static void ok(oxp_status status)
{
    cr_assert_eq(status, OXP_OK, "%s %s", ctx.code, ctx.message);
}

static void weight(oxp_graph_proto *g, const char *name, int rank, const int64_t *dims)
{
    float data[2 * 4 * H * H];
    oxp_random r = oxp_random_make(3, (uint64_t)name[0], 0);
    for (size_t i = 0; i < sizeof data / sizeof *data; i++)
        data[i] = (float)oxp_random_uniform(&r) - 0.5f;
    ok(oxp_edit_add_initializer(model, g, name, OXP_FLOAT, rank, dims, data));
}

/* x [T, B, I] through an LSTM in both directions: y [T, 2, B, H]. */
static void start(void)
{
    oxp_value_info x = {.name = "x",
                        .dtype = OXP_FLOAT,
                        .is_tensor = true,
                        .rank = 3,
                        .dims = {T, B, I}},
                   y = {.name = "y", .dtype = OXP_FLOAT, .is_tensor = true, .rank = -1};
    oxp_ctx_init(&ctx);
    oxp_arena_init(&arena, &ctx);
    ok(oxp_model_new(&model, &ctx, 13));
    oxp_graph_proto *g = oxp_model_graph(model);
    ok(oxp_edit_add_input(model, g, &x));
    ok(oxp_edit_add_output(model, g, &y));
    weight(g, "w", 3, (int64_t[]){2, 4 * H, I});
    weight(g, "r", 3, (int64_t[]){2, 4 * H, H});
    weight(g, "b", 2, (int64_t[]){2, 8 * H});
    const char *inputs[4] = {"x", "w", "r", "b"}, *output = "y";
    oxp_new_node n = {.type = "LSTM",
                      .domain = "",
                      .name = "n",
                      .input_count = 4,
                      .output_count = 1,
                      .inputs = inputs,
                      .outputs = &output};
    oxp_node_proto *made;
    ok(oxp_edit_insert_node(&made, model, g, 0, &n));
    ok(oxp_edit_set_int(model, made, "hidden_size", H));
    ok(oxp_edit_set_string(model, made, "direction", "bidirectional"));
    ok(oxp_graph_build(&graph, &arena, model));
    ok(oxp_sites_find(&sites, &count, &arena, graph));
    cr_assert_eq(count, 2);
}

static void stop(void)
{
    oxp_arena_free(&arena);
    oxp_model_free(model);
    cr_expect_eq(ctx.budget->used, 0);
}

static void run(float out[T * 2 * B * H], oxp_model *m)
{
    float data[T * B * I];
    oxp_tensor x = {0}, y;
    oxp_graph *g;
    oxp_session *session;
    ok(oxp_tensor_shape(&x, &ctx, OXP_FLOAT, 3, (int64_t[]){T, B, I}, "x"));
    oxp_random r = oxp_random_make(4, 4, 4);
    for (size_t i = 0; i < T * B * I; i++)
        data[i] = (float)(2 * oxp_random_uniform(&r) - 1);
    x.data = data;
    const oxp_tensor *inputs[1] = {&x};
    ok(oxp_graph_build(&g, &arena, m));
    ok(oxp_session_create(&session, &ctx, g, NULL));
    ok(oxp_session_run(session, inputs, &y));
    memcpy(out, y.data, T * 2 * B * H * sizeof *out);
    oxp_tensor_release(&y);
    oxp_session_free(session);
}

Test(dynamic_lstm, gives_the_same_answers_from_codes)
{
    start();
    oxp_codes codes[2];
    oxp_choice choices[2];
    oxp_model *made;
    float before[T * 2 * B * H], after[T * 2 * B * H];
    double signal = 0, noise = 0;
    ok(oxp_codes_make(codes, &arena, sites, count, 127));
    for (size_t i = 0; i < 2; i++) {
        const char *why = NULL;
        cr_assert(oxp_technique_dynamic.applies(&sites[i], &why), "%s", why);
        choices[i] = (oxp_choice){.technique = &oxp_technique_dynamic, .limit = 127};
    }
    ok(oxp_edit_apply(&made, model, choices, codes, codes, NULL));
    const oxp_node_proto *n = oxp_graph_proto_node(oxp_model_graph(made), 0);
    cr_expect_str_eq(oxp_node_proto_type(n), "DynamicQuantizeLSTM");
    cr_expect_str_eq(oxp_node_proto_domain(n), "com.microsoft");
    cr_expect_eq(oxp_model_opset(made, "com.microsoft"), 1);
    run(before, model);
    run(after, made);
    for (size_t i = 0; i < T * 2 * B * H; i++) {
        signal += (double)before[i] * (double)before[i];
        noise += pow((double)before[i] - (double)after[i], 2);
    }
    cr_expect(noise > 0 && 10 * log10(signal / noise) > 35, "%.1f dB", 10 * log10(signal / noise));
    oxp_model_free(made);
    stop();
}

Test(dynamic_lstm, one_weight_alone_goes_back)
{
    start();
    oxp_choice choices[2] = {{.technique = &oxp_technique_dynamic, .limit = 127}, {.limit = 127}};
    ok(oxp_settle_choices(graph, sites, count, choices, NULL));
    cr_expect_neq(choices[0].technique, &oxp_technique_dynamic);
    cr_expect_not_null(choices[0].reason);
    stop();
}

Test(dynamic_lstm, a_small_one_is_stored)
{
    start();
    oxp_choice choices[2];
    const oxp_technique *none[2] = {NULL, NULL};
    oxp_place(choices, sites, count, (bool[]){true, true}, (bool[]){false, false}, none, NULL,
              &(oxp_placement_options){.precision = OXP_PRECISION_DYNAMIC});
    for (size_t i = 0; i < 2; i++) {
        cr_expect_neq(choices[i].technique, &oxp_technique_dynamic);
        cr_expect(choices[i].reason && strstr(choices[i].reason, "small LSTM"));
    }
    stop();
}
