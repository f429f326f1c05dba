/* Sessions: memory returns at the last use, a second sample allocates nothing more, outputs may
 * overwrite what dies. */
#include "interpreter/interpreter.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "onnx/edit.h"

enum { N = 4096, CHAIN = 40 };

typedef struct fixture {
    oxp_ctx ctx;
    oxp_arena arena;
    oxp_model *model;
    oxp_graph *graph;
    oxp_tensor x;
    float data[N];
} fixture;

static void io(oxp_model *m, const char *name, bool output)
{
    oxp_value_info info = {
        .name = name, .dtype = OXP_FLOAT, .is_tensor = true, .rank = 1, .dims = {N}};
    oxp_graph_proto *g = oxp_model_graph(m);
    cr_assert_eq((output ? oxp_edit_add_output : oxp_edit_add_input)(m, g, &info), OXP_OK);
}

static void node(oxp_model *m, const char *type, size_t count, const char *const *inputs,
                 const char *out)
{
    oxp_new_node n = {.type = type,
                      .domain = "",
                      .name = out,
                      .input_count = count,
                      .output_count = 1,
                      .inputs = inputs,
                      .outputs = &out};
    oxp_graph_proto *g = oxp_model_graph(m);
    cr_assert_eq(oxp_edit_insert_node(NULL, m, g, oxp_graph_proto_node_count(g), &n), OXP_OK);
}

/* x -> Neg -> Neg -> … ; every second value also feeds the last node when `keep`. */
static void chain(fixture *f)
{
    char names[CHAIN + 1][16];
    oxp_ctx_init(&f->ctx);
    oxp_arena_init(&f->arena, &f->ctx);
    cr_assert_eq(oxp_model_new(&f->model, &f->ctx, 13), OXP_OK);
    io(f->model, "v0", false);
    strcpy(names[0], "v0");
    for (int i = 0; i < CHAIN; i++) {
        snprintf(names[i + 1], 16, "v%d", i + 1);
        const char *inputs[2] = {names[i], "v0"};
        node(f->model, "Add", 2, inputs, names[i + 1]);
    }
    io(f->model, names[CHAIN], true);
    cr_assert_eq(oxp_graph_build(&f->graph, &f->arena, f->model), OXP_OK, "%s", f->ctx.message);
    f->x = (oxp_tensor){.dtype = OXP_FLOAT, .rank = 1, .dims = {N}, .count = N, .data = f->data};
    for (int i = 0; i < N; i++)
        f->data[i] = (float)i;
}

Test(session, memory_follows_what_lives_and_not_the_length_of_the_net)
{
    fixture f;
    oxp_session *s;
    const oxp_tensor *in[1] = {&f.x};
    chain(&f);
    cr_assert_eq(oxp_session_create(&s, &f.ctx, f.graph, NULL), OXP_OK, "%s", f.ctx.message);
    size_t before = f.ctx.budget->used;
    f.ctx.budget->peak = before;
    oxp_tensor out = {0};
    cr_assert_eq(oxp_session_run(s, in, &out), OXP_OK, "%s", f.ctx.message);
    cr_expect_eq(((float *)out.data)[7], 7.0f * (CHAIN + 1));
    cr_expect_leq(f.ctx.budget->peak - before, 3 * N * sizeof(float) + 4096, "%zu bytes",
                  f.ctx.budget->peak - before);
    oxp_tensor_release(&out);
    size_t after = f.ctx.budget->used;
    cr_assert_eq(oxp_session_run(s, in, &out), OXP_OK);
    oxp_tensor_release(&out);
    cr_expect_leq(f.ctx.budget->used, after + 2 * N * sizeof(float));
    oxp_session_free(s);
    oxp_arena_free(&f.arena);
    oxp_model_free(f.model);
    cr_expect_eq(f.ctx.budget->used, 0);
}

Test(session, inputs_are_never_written)
{
    fixture f;
    oxp_session *s;
    const oxp_tensor *in[1] = {&f.x};
    chain(&f);
    cr_assert_eq(oxp_session_create(&s, &f.ctx, f.graph, NULL), OXP_OK);
    oxp_tensor out = {0};
    cr_assert_eq(oxp_session_run(s, in, &out), OXP_OK);
    for (int i = 0; i < N; i++)
        cr_assert_eq(f.data[i], (float)i);
    oxp_tensor_release(&out);
    oxp_session_free(s);
    oxp_arena_free(&f.arena);
    oxp_model_free(f.model);
}

Test(session, the_memory_limit_names_the_node)
{
    fixture f;
    oxp_session *s;
    const oxp_tensor *in[1] = {&f.x};
    chain(&f);
    cr_assert_eq(oxp_session_create(&s, &f.ctx, f.graph, NULL), OXP_OK);
    f.ctx.budget->limit = f.ctx.budget->used + N;
    oxp_tensor out = {0};
    cr_expect_eq(oxp_session_run(s, in, &out), OXP_ELIMIT);
    cr_expect_str_eq(f.ctx.code, "E-LIMIT-MEM");
    cr_expect(strstr(f.ctx.message, "(Add)") != NULL, "%s", f.ctx.message);
    oxp_session_free(s);
    oxp_arena_free(&f.arena);
    oxp_model_free(f.model);
}

Test(session, the_step_limit_names_the_node)
{
    fixture f;
    oxp_session *s;
    const oxp_tensor *in[1] = {&f.x};
    chain(&f);
    f.ctx.step_limit = 10;
    cr_assert_eq(oxp_session_create(&s, &f.ctx, f.graph, NULL), OXP_OK);
    oxp_tensor out = {0};
    cr_expect_eq(oxp_session_run(s, in, &out), OXP_ELIMIT);
    cr_expect_str_eq(f.ctx.code, "E-LIMIT-STEPS");
    oxp_session_free(s);
    oxp_arena_free(&f.arena);
    oxp_model_free(f.model);
}
