/* Layouts: with and without leave to reorder, a graph gives the same outputs, and observers see
 * values of the same shape and the same elements. */
#include "interpreter/interpreter.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "onnx/edit.h"
#include "util/random.h"

enum { C = 24, SIDE = 10, FLOATS = 2 * C * SIDE * SIDE };

typedef struct fixture {
    oxp_ctx ctx;
    oxp_arena arena;
    oxp_model *model;
    oxp_graph *graph;
    float x[FLOATS];
    double sums[64]; /* of values, by id, as an observer saw them */
} fixture;

static void io(fixture *f, const char *name, bool output)
{
    oxp_value_info info = {.name = name, .dtype = OXP_FLOAT, .is_tensor = true, .rank = -1};
    oxp_graph_proto *g = oxp_model_graph(f->model);
    if (!output) {
        info.rank = 4;
        memcpy(info.dims, (int64_t[]){2, C, SIDE, SIDE}, 4 * sizeof(int64_t));
    }
    cr_assert_eq((output ? oxp_edit_add_output : oxp_edit_add_input)(f->model, g, &info), OXP_OK);
}

static oxp_node_proto *node(fixture *f, const char *type, const char *a, const char *b,
                            const char *out)
{
    const char *inputs[2] = {a, b};
    oxp_node_proto *made;
    oxp_new_node n = {.type = type,
                      .domain = "",
                      .name = out,
                      .input_count = b ? 2 : 1,
                      .output_count = 1,
                      .inputs = inputs,
                      .outputs = &out};
    oxp_graph_proto *g = oxp_model_graph(f->model);
    cr_assert_eq(oxp_edit_insert_node(&made, f->model, g, oxp_graph_proto_node_count(g), &n),
                 OXP_OK);
    return made;
}

static void weight(fixture *f, const char *name, int rank, const int64_t *dims)
{
    float w[C * C * 9];
    oxp_random r = oxp_random_make(3, (uint64_t)name[0], (uint64_t)name[1]);
    for (size_t i = 0; i < sizeof w / sizeof *w; i++)
        w[i] = (float)oxp_random_normal(&r) * 0.1f;
    cr_assert_eq(oxp_edit_add_initializer(f->model, oxp_model_graph(f->model), name, OXP_FLOAT,
                                          rank, dims, w),
                 OXP_OK);
}

static void conv(fixture *f, const char *in, const char *w, int64_t side, const char *out)
{
    oxp_node_proto *n = node(f, "Conv", in, w, out);
    weight(f, w, 4, (int64_t[]){C, C, side, side});
    int64_t pad = side / 2;
    cr_assert_eq(oxp_edit_set_ints(f->model, n, "pads", 4, (int64_t[]){pad, pad, pad, pad}),
                 OXP_OK);
}

/* x -> Conv -> a -> Relu -> b -> Conv -> c */
static void begin(fixture *f, uint64_t seed)
{
    memset(f, 0, sizeof *f);
    oxp_ctx_init(&f->ctx);
    oxp_arena_init(&f->arena, &f->ctx);
    oxp_random r = oxp_random_make(seed, 2, 3);
    for (size_t i = 0; i < FLOATS; i++)
        f->x[i] = (float)oxp_random_normal(&r);
    cr_assert_eq(oxp_model_new(&f->model, &f->ctx, 13), OXP_OK);
    io(f, "x", false);
    conv(f, "x", "wa", 3, "a");
    node(f, "Relu", "a", NULL, "b");
    conv(f, "b", "wb", 1, "c");
}

/* Everything that can meet a channels-last tensor: activations, residual sums, sums with what a
 * plain operator made, scales per channel and per column, pools, operators that know nothing of it,
 * and an output in the middle of the chain. */
static void start(fixture *f)
{
    begin(f, 1);
    node(f, "Add", "c", "b", "d");
    node(f, "Softmax", "x", NULL, "e");
    node(f, "Mul", "d", "e", "g");
    weight(f, "sc", 4, (int64_t[]){1, C, 1, 1});
    node(f, "Mul", "g", "sc", "h");
    weight(f, "st", 1, (int64_t[]){SIDE});
    node(f, "Add", "h", "st", "i");
    weight(f, "sf", 3, (int64_t[]){C, SIDE, SIDE});
    node(f, "Add", "i", "sf", "j");
    conv(f, "j", "wc", 3, "k");
    oxp_node_proto *pool = node(f, "MaxPool", "k", NULL, "l");
    cr_assert_eq(oxp_edit_set_ints(f->model, pool, "kernel_shape", 2, (int64_t[]){2, 2}), OXP_OK);
    conv(f, "l", "wd", 3, "m");
    node(f, "GlobalAveragePool", "m", NULL, "n");
    node(f, "Sigmoid", "n", NULL, "o");
    node(f, "Mul", "m", "o", "p");
    oxp_node_proto *turned = node(f, "Transpose", "p", NULL, "q");
    cr_assert_eq(oxp_edit_set_ints(f->model, turned, "perm", 4, (int64_t[]){0, 2, 3, 1}), OXP_OK);
    io(f, "q", true);
    io(f, "d", true);
    cr_assert_eq(oxp_graph_build(&f->graph, &f->arena, f->model), OXP_OK, "%s", f->ctx.message);
}

static void stop(fixture *f)
{
    oxp_arena_free(&f->arena);
    oxp_model_free(f->model);
    cr_expect_eq(f->ctx.budget->used, 0);
}

static oxp_status see(void *user, const oxp_graph *graph, uint32_t value, const oxp_tensor *t)
{
    fixture *f = user;
    (void)graph;
    f->sums[value] = t->rank == 4 ? (double)t->dims[1] * 1e6 : 0; /* channels stay in their place */
    for (size_t i = 0; i < t->count; i++)
        f->sums[value] += fabs((double)((const float *)t->data)[i]);
    return OXP_OK;
}

static void run(fixture *f, oxp_session_options *options, oxp_tensor *outputs)
{
    oxp_session *session;
    oxp_tensor x = {
        .dtype = OXP_FLOAT, .rank = 4, .dims = {2, C, SIDE, SIDE}, .count = FLOATS, .data = f->x};
    const oxp_tensor *inputs[1] = {&x};
    options->user = f;
    cr_assert_eq(oxp_session_create(&session, &f->ctx, f->graph, options), OXP_OK);
    for (int i = 0; i < 2; i++) { /* the second run finds everything prepared */
        for (size_t k = 0; k < 2; k++)
            oxp_tensor_release(&outputs[k]);
        cr_assert_eq(oxp_session_run(session, inputs, outputs), OXP_OK, "%s", f->ctx.message);
    }
    oxp_session_free(session);
}

static void expect_close(const oxp_tensor *a, const oxp_tensor *b, const char *what)
{
    cr_assert_eq(a->count, b->count);
    cr_expect_eq(memcmp(a->dims, b->dims, sizeof a->dims), 0, "%s: other shape", what);
    const float *x = a->data, *y = b->data;
    for (size_t i = 0; i < a->count; i++)
        cr_assert(fabsf(x[i] - y[i]) <= 1e-4f * (1 + fabsf(y[i])), "%s: element %zu is %g, not %g",
                  what, i, (double)x[i], (double)y[i]);
}

Test(layout, any_layout_gives_the_same_outputs)
{
    fixture f;
    oxp_tensor plain[2] = {{0}}, any[2] = {{0}};
    start(&f);
    run(&f, &(oxp_session_options){0}, plain);
    run(&f, &(oxp_session_options){.any_layout = true}, any);
    expect_close(&any[0], &plain[0], "q");
    expect_close(&any[1], &plain[1], "d");
    for (int i = 0; i < 2; i++) {
        oxp_tensor_release(&plain[i]);
        oxp_tensor_release(&any[i]);
    }
    stop(&f);
}

Test(layout, observers_see_the_same_values)
{
    fixture f;
    double plain[64];
    oxp_tensor outputs[2] = {{0}};
    start(&f);
    run(&f, &(oxp_session_options){.observer = see}, outputs);
    memcpy(plain, f.sums, sizeof plain);
    memset(f.sums, 0, sizeof f.sums);
    run(&f, &(oxp_session_options){.observer = see, .any_layout = true}, outputs);
    cr_assert_lt(f.graph->value_count, 64);
    for (size_t v = 0; v < f.graph->value_count; v++)
        cr_expect(fabs(f.sums[v] - plain[v]) <= 1e-5 * fabs(plain[v]), "value %s",
                  f.graph->values[v].name);
    oxp_tensor_release(&outputs[0]);
    oxp_tensor_release(&outputs[1]);
    stop(&f);
}

/* The layout is used: what lies in memory behind the first convolution is not ONNX's order. */
static oxp_status keep(void *user, const oxp_graph *graph, uint32_t value, const oxp_tensor *t)
{
    fixture *f = user;
    if (strcmp(graph->values[value].name, "a") == 0)
        f->sums[f->sums[0] > 0] = (double)((const float *)t->data)[1];
    return OXP_OK;
}

Test(layout, convolutions_leave_their_output_channels_last)
{
    fixture f;
    oxp_tensor outputs[2] = {{0}};
    start(&f);
    run(&f, &(oxp_session_options){.observer = keep}, outputs);
    double plain = f.sums[0] + f.sums[1];
    f.sums[0] = f.sums[1] = 0;
    run(&f, &(oxp_session_options){.observer = keep, .any_layout = true}, outputs);
    cr_expect_neq(f.sums[0] + f.sums[1], plain);
    oxp_tensor_release(&outputs[0]);
    oxp_tensor_release(&outputs[1]);
    stop(&f);
}

/* What starts a chain has its input turned by the session when nobody else reads it. */
static oxp_status note_first(void *user, oxp_node *n)
{
    fixture *f = user;
    if (strcmp(n->def->name, "a") == 0)
        f->sums[0] += n->in_last ? 1 : 100;
    return OXP_OK;
}

static void start_chain(fixture *f, bool shared)
{
    begin(f, 4);
    node(f, "Softmax", shared ? "x" : "c", NULL, "e");
    node(f, "Add", "c", "e", "d");
    io(f, "d", true);
    io(f, "e", true);
    cr_assert_eq(oxp_graph_build(&f->graph, &f->arena, f->model), OXP_OK, "%s", f->ctx.message);
}

Test(layout, an_input_read_once_is_turned_for_the_chain)
{
    for (int shared = 0; shared < 2; shared++) {
        fixture f;
        oxp_tensor plain[2] = {{0}}, any[2] = {{0}};
        float before[FLOATS];
        start_chain(&f, shared);
        memcpy(before, f.x, sizeof before);
        run(&f, &(oxp_session_options){0}, plain);
        run(&f, &(oxp_session_options){.any_layout = true, .node_observer = note_first}, any);
        cr_expect_eq(f.sums[0], shared ? 200.0 : 2.0, "%g", f.sums[0]); /* two runs */
        cr_expect_eq(memcmp(before, f.x, sizeof before), 0, "the caller's tensor was written");
        for (int i = 0; i < 2; i++) {
            expect_close(&any[i], &plain[i], i ? "e" : "d");
            oxp_tensor_release(&plain[i]);
            oxp_tensor_release(&any[i]);
        }
        stop(&f);
    }
}
