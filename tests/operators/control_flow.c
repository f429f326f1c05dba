/* control_flow.c - If, Loop and Scan on models written byte by byte: what they give, and that they
 * end. */
#include <criterion/criterion.h>
#include <string.h>

#include "interpreter/interpreter.h"

/* A protobuf message in the making. */
typedef struct message {
    uint8_t bytes[4096];
    size_t size;
} message;

static void put_varint(message *m, uint64_t value)
{
    for (; value > 127; value >>= 7)
        m->bytes[m->size++] = (uint8_t)(value | 128);
    m->bytes[m->size++] = (uint8_t)value;
}

static void put_int(message *m, unsigned field, uint64_t value)
{
    put_varint(m, field << 3);
    put_varint(m, value);
}

static void put_bytes(message *m, unsigned field, const void *bytes, size_t size)
{
    cr_assert(m->size + size + 10 < sizeof m->bytes);
    put_varint(m, field << 3 | 2);
    put_varint(m, size);
    memcpy(m->bytes + m->size, bytes, size);
    m->size += size;
}

static void put_text(message *m, unsigned field, const char *text)
{
    put_bytes(m, field, text, strlen(text));
}

static void put_message(message *m, unsigned field, const message *inner)
{
    put_bytes(m, field, inner->bytes, inner->size);
}

/* Graph input (field 11) or output (12) of a type and rank 0, or of an unknown shape when rank is
 * -1. */
static void put_value(message *graph, unsigned field, const char *name, oxp_dtype dtype, int rank)
{
    message shape = {.size = 0}, tensor = {.size = 0}, type = {.size = 0}, value = {.size = 0},
            dim = {.size = 0};
    put_int(&tensor, 1, (uint64_t)dtype);
    put_text(&dim, 2, "n");
    for (int i = 0; i < rank; i++)
        put_message(&shape, 1, &dim);
    if (rank >= 0)
        put_message(&tensor, 2, &shape);
    put_message(&type, 1, &tensor);
    put_text(&value, 1, name);
    put_message(&value, 2, &type);
    put_message(graph, field, &value);
}

/* A node from its type, inputs and outputs: "Add", "a b", "c"; "-" is an omitted input. */
static message node(const char *type, const char *inputs, const char *outputs)
{
    message n = {.size = 0};
    for (unsigned field = 1; field <= 2; field++) {
        const char *at = field == 1 ? inputs : outputs;
        while (*at) {
            size_t length = strcspn(at, " ");
            bool omitted = length == 1 && *at == '-';
            put_bytes(&n, field, at, omitted ? 0 : length);
            at += length + (at[length] == ' ');
        }
    }
    put_text(&n, 4, type);
    return n;
}

static void put_graph(message *n, const char *name, const message *graph)
{
    message attribute = {.size = 0};
    put_text(&attribute, 1, name);
    put_message(&attribute, 6, graph);
    put_int(&attribute, 20, OXP_ATTR_GRAPH);
    put_message(n, 5, &attribute);
}

static void put_ints(message *n, const char *name, oxp_attribute_type type, size_t count,
                     const int64_t *values)
{
    message attribute = {.size = 0};
    put_text(&attribute, 1, name);
    for (size_t i = 0; i < count; i++)
        put_int(&attribute, type == OXP_ATTR_INT ? 3 : 8, (uint64_t)values[i]);
    put_int(&attribute, 20, (uint64_t)type);
    put_message(n, 5, &attribute);
}

/* A loaded model and one session on it. */
typedef struct fixture {
    oxp_ctx ctx;
    oxp_model *model;
    oxp_arena arena;
    oxp_graph *graph;
    oxp_session *session;
    oxp_tensor out[4];
} fixture;

static void open_model(fixture *f, const message *graph)
{
    message opset = {.size = 0}, model = {.size = 0};
    put_int(&opset, 2, 13);
    put_int(&model, 1, 8);
    put_message(&model, 8, &opset);
    put_message(&model, 7, graph);
    memset(f, 0, sizeof *f);
    oxp_ctx_init(&f->ctx);
    oxp_arena_init(&f->arena, &f->ctx);
    oxp_load_options options = {.keep_nonfinite = false};
    cr_assert_eq(oxp_model_load_memory(&f->model, &f->ctx, model.bytes, model.size, NULL, &options),
                 OXP_OK, "%s", f->ctx.message);
    cr_assert_eq(oxp_graph_build(&f->graph, &f->arena, f->model), OXP_OK, "%s", f->ctx.message);
    cr_assert_eq(oxp_session_create(&f->session, &f->ctx, f->graph, NULL), OXP_OK, "%s",
                 f->ctx.message);
}

static void release_outputs(fixture *f)
{
    for (size_t i = 0; i < 4; i++)
        oxp_tensor_release(&f->out[i]);
}

static void close_model(fixture *f)
{
    release_outputs(f);
    oxp_session_free(f->session);
    oxp_arena_free(&f->arena);
    oxp_model_free(f->model);
    cr_expect_eq(f->ctx.budget->used, 0, "%zu bytes are left", (size_t)f->ctx.budget->used);
}

static oxp_tensor vector(oxp_dtype dtype, int64_t count, const void *data)
{
    oxp_tensor t = {.dtype = dtype, .rank = 1, .dims = {count}, .count = (size_t)count};
    t.data = (void *)(uintptr_t)data;
    return t;
}

static oxp_tensor scalar(oxp_dtype dtype, const void *data)
{
    oxp_tensor t = vector(dtype, 1, data);
    t.rank = 0;
    return t;
}

static void expect_values(const oxp_tensor *t, int64_t count, const double *values)
{
    cr_expect_eq(t->rank, 1);
    cr_assert_eq(t->dims[0], count, "length %lld, expected %lld", (long long)t->dims[0],
                 (long long)count);
    for (int64_t i = 0; i < count; i++)
        cr_expect_eq(oxp_tensor_real(t, (size_t)i), values[i], "element %lld is %g, expected %g",
                     (long long)i, oxp_tensor_real(t, (size_t)i), values[i]);
}

/* ---- If ---- */

static message branch(const char *type, const char *inputs)
{
    message graph = {.size = 0}, n = node(type, inputs, "made");
    put_message(&graph, 1, &n);
    put_text(&graph, 2, type);
    put_value(&graph, 12, "made", OXP_FLOAT, -1);
    return graph;
}

Test(control_flow, if_runs_the_branch_that_the_condition_names)
{
    message then_graph = branch("Add", "x x"), else_graph = branch("Identity", "x"),
            graph = {.size = 0};
    message n = node("If", "c", "y");
    put_graph(&n, "else_branch", &else_graph);
    put_graph(&n, "then_branch", &then_graph);
    put_message(&graph, 1, &n);
    put_text(&graph, 2, "main");
    put_value(&graph, 11, "c", OXP_BOOL, 0);
    put_value(&graph, 11, "x", OXP_FLOAT, -1);
    put_value(&graph, 12, "y", OXP_FLOAT, -1);
    fixture f;
    open_model(&f, &graph);
    const float x[] = {1, 2};
    for (int i = 0; i < 4; i++) {
        uint8_t condition = i % 2 == 0;
        oxp_tensor c = scalar(OXP_BOOL, &condition), v = vector(OXP_FLOAT, 2, x);
        cr_assert_eq(oxp_session_run(f.session, (const oxp_tensor *const[]){&c, &v}, f.out), OXP_OK,
                     "%s", f.ctx.message);
        expect_values(&f.out[0], 2, condition ? (double[]){2, 4} : (double[]){1, 2});
        release_outputs(&f);
    }
    close_model(&f);
}

/* ---- Loop ---- */

/* x' = x + x, next condition = (i < limit), scan output i; the body reads `limit` from outside. */
static message doubling_loop(const char *inputs)
{
    message body = {.size = 0}, graph = {.size = 0};
    message less = node("Less", "i limit", "again"), add = node("Add", "x x", "x2"),
            same = node("Identity", "i", "seen");
    put_message(&body, 1, &less);
    put_message(&body, 1, &add);
    put_message(&body, 1, &same);
    put_text(&body, 2, "body");
    put_value(&body, 11, "i", OXP_INT64, 0);
    put_value(&body, 11, "before", OXP_BOOL, 0);
    put_value(&body, 11, "x", OXP_FLOAT, -1);
    put_value(&body, 12, "again", OXP_BOOL, 0);
    put_value(&body, 12, "x2", OXP_FLOAT, -1);
    put_value(&body, 12, "seen", OXP_INT64, 0);
    message n = node("Loop", inputs, "last all");
    put_graph(&n, "body", &body);
    put_message(&graph, 1, &n);
    put_text(&graph, 2, "main");
    put_value(&graph, 11, "trips", OXP_INT64, 0);
    put_value(&graph, 11, "go", OXP_BOOL, 0);
    put_value(&graph, 11, "start", OXP_FLOAT, -1);
    put_value(&graph, 11, "limit", OXP_INT64, 0);
    put_value(&graph, 12, "last", OXP_FLOAT, -1);
    put_value(&graph, 12, "all", OXP_INT64, -1);
    return graph;
}

static oxp_status run_loop(fixture *f, int64_t trips, uint8_t go, int64_t limit)
{
    const float start[] = {1};
    oxp_tensor t = scalar(OXP_INT64, &trips), g = scalar(OXP_BOOL, &go),
               l = scalar(OXP_INT64, &limit);
    oxp_tensor s = vector(OXP_FLOAT, 1, start);
    release_outputs(f);
    return oxp_session_run(f->session, (const oxp_tensor *const[]){&t, &g, &s, &l}, f->out);
}

Test(control_flow, loop_ends_at_the_trip_count_or_the_condition)
{
    fixture f;
    message graph = doubling_loop("trips go start");
    open_model(&f, &graph);
    cr_assert_eq(run_loop(&f, 3, 1, 100), OXP_OK, "%s", f.ctx.message);
    expect_values(&f.out[0], 1, (double[]){8});
    expect_values(&f.out[1], 3, (double[]){0, 1, 2});
    cr_assert_eq(run_loop(&f, 100, 1, 2), OXP_OK, "%s", f.ctx.message);
    expect_values(&f.out[0], 1, (double[]){8});
    expect_values(&f.out[1], 3, (double[]){0, 1, 2});
    close_model(&f);
}

Test(control_flow, loop_of_no_steps_gives_its_start_and_an_empty_scan)
{
    fixture f;
    message graph = doubling_loop("trips go start");
    open_model(&f, &graph);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(run_loop(&f,
                              i == 0   ? 0
                              : i == 1 ? -5
                                       : 9,
                              i != 2, 100),
                     OXP_OK, "%s", f.ctx.message);
        expect_values(&f.out[0], 1, (double[]){1});
        expect_values(&f.out[1], 0, NULL);
        cr_expect_eq(f.out[1].dtype, OXP_INT64);
    }
    close_model(&f);
}

Test(control_flow, loop_without_a_trip_count_follows_the_condition)
{
    fixture f;
    message graph = doubling_loop("- go start");
    open_model(&f, &graph);
    cr_assert_eq(run_loop(&f, 0, 1, 4), OXP_OK, "%s", f.ctx.message);
    expect_values(&f.out[1], 5, (double[]){0, 1, 2, 3, 4});
    close_model(&f);
}

Test(control_flow, loop_without_a_condition_starts_and_follows_the_body)
{
    fixture f;
    message graph = doubling_loop("trips - start");
    open_model(&f, &graph);
    cr_assert_eq(run_loop(&f, 4, 0, 100), OXP_OK, "%s", f.ctx.message);
    expect_values(&f.out[0], 1, (double[]){16});
    cr_assert_eq(run_loop(&f, 4, 0, 1), OXP_OK, "%s", f.ctx.message);
    expect_values(&f.out[0], 1, (double[]){4});
    close_model(&f);
}

Test(control_flow, loop_without_end_meets_the_limit)
{
    fixture f;
    message graph = doubling_loop("trips go start");
    open_model(&f, &graph);
    f.ctx.step_limit = 10000;
    cr_expect_eq(run_loop(&f, INT64_MAX, 1, INT64_MAX), OXP_ELIMIT);
    cr_expect_str_eq(f.ctx.code, "E-LIMIT-STEPS");
    close_model(&f);
}

/* The body has no node: it hands its condition and variable on. */
Test(control_flow, loop_of_an_idle_body_meets_the_limit)
{
    message body = {.size = 0}, graph = {.size = 0}, n = node("Loop", "trips go start", "last");
    put_text(&body, 2, "body");
    put_value(&body, 11, "i", OXP_INT64, 0);
    put_value(&body, 11, "before", OXP_BOOL, 0);
    put_value(&body, 11, "x", OXP_FLOAT, -1);
    put_value(&body, 12, "before", OXP_BOOL, 0);
    put_value(&body, 12, "x", OXP_FLOAT, -1);
    put_graph(&n, "body", &body);
    put_message(&graph, 1, &n);
    put_text(&graph, 2, "main");
    put_value(&graph, 11, "trips", OXP_INT64, 0);
    put_value(&graph, 11, "go", OXP_BOOL, 0);
    put_value(&graph, 11, "start", OXP_FLOAT, -1);
    put_value(&graph, 11, "limit", OXP_INT64, 0);
    put_value(&graph, 12, "last", OXP_FLOAT, -1);
    fixture f;
    open_model(&f, &graph);
    f.ctx.step_limit = 10000;
    cr_expect_eq(run_loop(&f, INT64_MAX, 1, 0), OXP_ELIMIT);
    cr_expect_str_eq(f.ctx.code, "E-LIMIT-STEPS");
    close_model(&f);
}

Test(control_flow, a_body_that_does_not_fit_is_refused)
{
    message body = {.size = 0}, graph = {.size = 0}, n = node("Loop", "trips go start", "last");
    message same = node("Identity", "before", "again");
    put_message(&body, 1, &same);
    put_text(&body, 2, "body");
    put_value(&body, 11, "i", OXP_INT64, 0);
    put_value(&body, 11, "before", OXP_BOOL, 0);
    put_value(&body, 12, "again", OXP_BOOL, 0);
    put_graph(&n, "body", &body);
    put_message(&graph, 1, &n);
    put_text(&graph, 2, "main");
    put_value(&graph, 11, "trips", OXP_INT64, 0);
    put_value(&graph, 11, "go", OXP_BOOL, 0);
    put_value(&graph, 11, "start", OXP_FLOAT, -1);
    put_value(&graph, 11, "limit", OXP_INT64, 0);
    put_value(&graph, 12, "last", OXP_FLOAT, -1);
    fixture f;
    open_model(&f, &graph);
    cr_expect_eq(run_loop(&f, 1, 1, 0), OXP_EFORMAT);
    cr_expect_str_eq(f.ctx.code, "E-SUBGRAPH");
    close_model(&f);
}

/* ---- Scan ---- */

Test(control_flow, scan_follows_axes_and_directions)
{
    message body = {.size = 0}, graph = {.size = 0}, n = node("Scan", "start x", "sum all");
    message add = node("Add", "s e", "s2"), same = node("Identity", "s2", "part");
    put_message(&body, 1, &add);
    put_message(&body, 1, &same);
    put_text(&body, 2, "body");
    put_value(&body, 11, "s", OXP_FLOAT, -1);
    put_value(&body, 11, "e", OXP_FLOAT, -1);
    put_value(&body, 12, "s2", OXP_FLOAT, -1);
    put_value(&body, 12, "part", OXP_FLOAT, -1);
    put_graph(&n, "body", &body);
    put_ints(&n, "num_scan_inputs", OXP_ATTR_INT, 1, (int64_t[]){1});
    put_ints(&n, "scan_input_axes", OXP_ATTR_INTS, 1, (int64_t[]){1});
    put_ints(&n, "scan_input_directions", OXP_ATTR_INTS, 1, (int64_t[]){1});
    put_ints(&n, "scan_output_axes", OXP_ATTR_INTS, 1, (int64_t[]){-1});
    put_ints(&n, "scan_output_directions", OXP_ATTR_INTS, 1, (int64_t[]){1});
    put_message(&graph, 1, &n);
    put_text(&graph, 2, "main");
    put_value(&graph, 11, "start", OXP_FLOAT, -1);
    put_value(&graph, 11, "x", OXP_FLOAT, -1);
    put_value(&graph, 12, "sum", OXP_FLOAT, -1);
    put_value(&graph, 12, "all", OXP_FLOAT, -1);
    fixture f;
    open_model(&f, &graph);
    const float start[] = {0, 0}, x[] = {1, 2, 3, 10, 20, 30};
    oxp_tensor s = vector(OXP_FLOAT, 2, start),
               v = {.dtype = OXP_FLOAT, .rank = 2, .dims = {2, 3}, .count = 6};
    v.data = (void *)(uintptr_t)x;
    cr_assert_eq(oxp_session_run(f.session, (const oxp_tensor *const[]){&s, &v}, f.out), OXP_OK,
                 "%s", f.ctx.message);
    expect_values(&f.out[0], 2, (double[]){6, 60});
    /* Entries come 3, 2, 1; their sums 3, 5, 6 are put in front of each other along the last
     * axis. */
    const double all[] = {6, 5, 3, 60, 50, 30};
    cr_assert_eq(f.out[1].count, 6);
    cr_expect(f.out[1].rank == 2 && f.out[1].dims[0] == 2 && f.out[1].dims[1] == 3);
    for (size_t i = 0; i < 6; i++)
        cr_expect_eq(oxp_tensor_real(&f.out[1], i), all[i]);
    close_model(&f);
}
