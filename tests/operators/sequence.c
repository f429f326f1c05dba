/* sequence.c - operators on sequences in small graphs: what they give, share and refuse. That they
 * agree with ONNX Runtime is held in tests/conformance/variants.py. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "interpreter/interpreter.h"
#include "onnx/edit.h"

/* Lines of "Type inputs > outputs [attribute=value]"; initializers a = {1, 2}, b = {3, 4},
 * i = {1, 2, 3} INT64 and k0, k1, k9, m1, m9: INT64 scalars. The result is the value "y". */
typedef struct fixture {
    oxp_ctx ctx;
    oxp_model *model;
    oxp_arena arena;
    oxp_graph *graph;
    oxp_session *session;
    oxp_tensor out;
} fixture;

static void add_constants(fixture *f)
{
    static const float a[] = {1, 2}, b[] = {3, 4};
    static const int64_t i[] = {1, 2, 3};
    static const struct {
        const char *name;
        int64_t value;
    } scalars[] = {{"k0", 0}, {"k1", 1}, {"k9", 9}, {"m1", -1}, {"m9", -9}};
    const int64_t two = 2, three = 3;
    oxp_graph_proto *g = oxp_model_graph(f->model);
    oxp_edit_add_initializer(f->model, g, "a", OXP_FLOAT, 1, &two, a);
    oxp_edit_add_initializer(f->model, g, "b", OXP_FLOAT, 1, &two, b);
    oxp_edit_add_initializer(f->model, g, "i", OXP_INT64, 1, &three, i);
    for (size_t k = 0; k < sizeof scalars / sizeof *scalars; k++)
        oxp_edit_add_initializer(f->model, g, scalars[k].name, OXP_INT64, 0, NULL,
                                 &scalars[k].value);
    cr_assert_eq(f->ctx.status, OXP_OK, "%s", f->ctx.message);
}

static void add_line(fixture *f, const char *line)
{
    char copy[200], *words[12], *rest = copy;
    const char *const *named = (const char *const *)words;
    size_t count = 0, arrow = 0, end = 0;
    snprintf(copy, sizeof copy, "%s", line);
    for (char *word; (word = strsep(&rest, " ")) != NULL; count++) {
        words[count] = word;
        if (strcmp(word, ">") == 0)
            arrow = count;
        end += strchr(word, '=') == NULL;
    }
    oxp_new_node n = {.type = words[0],
                      .domain = "",
                      .name = "",
                      .input_count = arrow - 1,
                      .inputs = named + 1,
                      .output_count = end - arrow - 1,
                      .outputs = named + arrow + 1};
    oxp_graph_proto *g = oxp_model_graph(f->model);
    oxp_node_proto *made;
    cr_assert_eq(oxp_edit_insert_node(&made, f->model, g, oxp_graph_proto_node_count(g), &n),
                 OXP_OK);
    for (size_t k = end; k < count; k++) {
        char *value = strchr(words[k], '=');
        *value = '\0';
        oxp_edit_set_int(f->model, made, words[k], atoi(value + 1));
    }
}

/* Builds and runs; the status stands in f->ctx. */
static void run(fixture *f, const char *const *lines)
{
    memset(f, 0, sizeof *f);
    oxp_ctx_init(&f->ctx);
    oxp_arena_init(&f->arena, &f->ctx);
    cr_assert_eq(oxp_model_new(&f->model, &f->ctx, 18), OXP_OK);
    add_constants(f);
    while (*lines)
        add_line(f, *lines++);
    oxp_value_info y = {.name = "y", .dtype = OXP_FLOAT, .is_tensor = true, .rank = -1};
    cr_assert_eq(oxp_edit_add_output(f->model, oxp_model_graph(f->model), &y), OXP_OK);
    cr_assert_eq(oxp_graph_build(&f->graph, &f->arena, f->model), OXP_OK, "%s", f->ctx.message);
    cr_assert_eq(oxp_session_create(&f->session, &f->ctx, f->graph, NULL), OXP_OK, "%s",
                 f->ctx.message);
    oxp_session_run(f->session, NULL, &f->out);
}

/* Nothing may be left, after errors too. */
static void end(fixture *f)
{
    oxp_tensor_release(&f->out);
    oxp_session_free(f->session);
    oxp_arena_free(&f->arena);
    oxp_model_free(f->model);
    cr_expect_eq(f->ctx.budget->used, 0, "%zu bytes are left", (size_t)f->ctx.budget->used);
}

static void expect(const char *const *lines, const char *shape, size_t count, const double *values)
{
    fixture f;
    char found[OXP_SHAPE_TEXT_MAX];
    run(&f, lines);
    cr_assert_eq(f.ctx.status, OXP_OK, "%s: %s %s", lines[0], f.ctx.code, f.ctx.message);
    cr_expect_str_eq(oxp_shape_text(found, f.out.rank, f.out.dims), shape);
    cr_assert_eq(f.out.count, count);
    for (size_t i = 0; i < count; i++) {
        bool real = oxp_dtype_is_float(f.out.dtype);
        double v = real ? oxp_tensor_real(&f.out, i) : (double)oxp_tensor_int(&f.out, i);
        cr_expect_eq(v, values[i], "%s: element %zu is %g", lines[0], i, v);
    }
    end(&f);
}
#define LINES(...) ((const char *const[]){__VA_ARGS__, NULL})
#define VALUES(...)                                            \
    sizeof(double[]){__VA_ARGS__} / sizeof(double), (double[]) \
    {                                                          \
        __VA_ARGS__                                            \
    }

static void expect_refusal(const char *const *lines, const char *code)
{
    fixture f;
    run(&f, lines);
    cr_expect_str_eq(f.ctx.code, code, "%s: %s", lines[0], f.ctx.message);
    end(&f);
}

Test(sequence, lists_keep_their_order)
{
    expect(LINES("SequenceConstruct a b > s", "SequenceInsert s a k1 > t",
                 "ConcatFromSequence t > y axis=0"),
           "[6]", VALUES(1, 2, 1, 2, 3, 4));
    expect(LINES("SequenceConstruct a b > s", "SequenceInsert s b k0 > t", "SequenceErase t > u",
                 "ConcatFromSequence u > y axis=1 new_axis=1"),
           "[2,2]", VALUES(3, 1, 4, 2));
    expect(LINES("SequenceConstruct a b > s", "SequenceErase s k0 > t", "SequenceAt t m1 > y"),
           "[2]", VALUES(3, 4));
    expect(LINES("SequenceEmpty > s", "SequenceInsert s a > t", "SequenceInsert t b > u",
                 "SequenceLength u > y"),
           "[]", VALUES(2));
}

/* What is inserted stays in the list it came from: no list is changed. */
Test(sequence, older_lists_stay)
{
    expect(LINES("SequenceConstruct a > s", "SequenceInsert s b > t", "SequenceErase t k0 > u",
                 "SequenceLength s > n", "SequenceLength t > m", "SequenceLength u > o",
                 "Mul n m > p", "Add p o > y"),
           "[]", VALUES(3));
}

/* A value that is in a list and used outside is not written over. */
Test(sequence, values_in_a_list_are_not_overwritten)
{
    expect(LINES("Add a b > c", "SequenceConstruct c a > s", "Neg c > d", "Neg d > e",
                 "SequenceAt s k0 > f", "Add f e > y"),
           "[2]", VALUES(8, 12));
}

Test(sequence, tensors_are_split)
{
    expect(LINES("SplitToSequence i > s", "SequenceAt s m1 > y"), "[1]", VALUES(3));
    expect(LINES("SplitToSequence i > s keepdims=0", "SequenceAt s k1 > y"), "[]", VALUES(2));
    expect(LINES("SplitToSequence i k1 > s keepdims=0", "SequenceAt s k1 > y"), "[1]", VALUES(2));
    expect(LINES("Size a > two", "SplitToSequence i two > s", "ConcatFromSequence s > y axis=0"),
           "[3]", VALUES(1, 2, 3));
}

Test(sequence, handed_on_as_they_are)
{
    expect(LINES("SequenceConstruct a b > s", "Identity s > t", "OptionalGetElement t > u",
                 "SequenceAt u k1 > y"),
           "[2]", VALUES(3, 4));
    expect(LINES("SequenceConstruct a > s", "OptionalHasElement s > y"), "[]", VALUES(1));
    expect(LINES("OptionalHasElement > y"), "[]", VALUES(0));
    expect(LINES("Optional a > s", "OptionalGetElement s > y"), "[2]", VALUES(1, 2));
}

Test(sequence, refusals)
{
    expect_refusal(LINES("SequenceConstruct a b > s", "SequenceAt s k9 > y"), "E-INDEX");
    expect_refusal(LINES("Optional > s", "OptionalHasElement s > y"), "E-OP-DTYPE");
    expect_refusal(LINES("SequenceConstruct a b > s", "SequenceAt s m9 > y"), "E-INDEX");
    expect_refusal(LINES("SequenceEmpty > s", "SequenceErase s > t", "SequenceLength t > y"),
                   "E-INDEX");
    expect_refusal(
        LINES("SequenceConstruct a > s", "SequenceInsert s b k9 > t", "SequenceLength t > y"),
        "E-INDEX");
    expect_refusal(LINES("SequenceConstruct a i > s", "SequenceLength s > y"), "E-OP-DTYPE");
    expect_refusal(
        LINES("SequenceConstruct a > s", "SequenceConstruct s > t", "SequenceLength t > y"),
        "E-OP-DTYPE");
    expect_refusal(LINES("SequenceLength a > y"), "E-OP-DTYPE");
    expect_refusal(LINES("SequenceConstruct a > s", "Relu s > y"), "E-OP-DTYPE");
    expect_refusal(LINES("SequenceConstruct a b > y"), "E-OP-DTYPE");
    expect_refusal(LINES("SequenceEmpty > s", "ConcatFromSequence s > y axis=0"), "E-SHAPE");
    expect_refusal(LINES("SequenceConstruct a b > s", "ConcatFromSequence s > y"), "E-ATTR-VALUE");
    expect_refusal(LINES("SequenceConstruct a b > s", "ConcatFromSequence s > y axis=3"), "E-AXIS");
    expect_refusal(LINES("SplitToSequence i i > s", "SequenceLength s > y"), "E-SHAPE");
    expect_refusal(LINES("SplitToSequence i m1 > s", "SequenceLength s > y"), "E-SHAPE");
}

/* ---- every other operator ---- */

/* The operator with a list of one tensor at all its inputs. */
static oxp_status run_on_lists(oxp_ctx *ctx, oxp_model *model, const oxp_operator *op)
{
    const int64_t two = 2;
    const float a[] = {1, 2};
    const char *const names[] = {"a", "s", "y", "s", "s", "s", "s", "s", "s", "s", "s"};
    oxp_graph_proto *g = oxp_model_graph(model);
    oxp_new_node list = {"SequenceConstruct", "", "", 1, 1, names, names + 1};
    oxp_new_node user = {op->type, op->domain, "", (size_t)op->min_in, 1, names + 3, names + 2};
    oxp_value_info y = {.name = "y", .dtype = OXP_FLOAT, .is_tensor = true, .rank = -1};
    oxp_arena arena;
    oxp_graph *graph;
    oxp_session *session = NULL;
    oxp_tensor out = {.rank = 0};
    OXP_TRY(oxp_edit_add_initializer(model, g, "a", OXP_FLOAT, 1, &two, a));
    OXP_TRY(oxp_edit_insert_node(NULL, model, g, 0, &list));
    OXP_TRY(oxp_edit_insert_node(NULL, model, g, 1, &user));
    OXP_TRY(oxp_edit_add_output(model, g, &y));
    if (op->domain[0])
        OXP_TRY(oxp_edit_set_opset(model, op->domain, op->since));
    oxp_arena_init(&arena, ctx);
    oxp_status status = oxp_graph_build(&graph, &arena, model);
    if (status == OXP_OK)
        status = oxp_session_create(&session, ctx, graph, NULL);
    if (status == OXP_OK)
        status = oxp_session_run(session, NULL, &out);
    oxp_tensor_release(&out);
    oxp_session_free(session);
    oxp_arena_free(&arena);
    return status;
}

/* Those that ask for nothing but the shape, or for whether there is something, may answer. */
Test(sequence, no_operator_takes_a_list_for_a_tensor)
{
    static const char *const may[] = {"Shape", "Size", "SequenceLength", "OptionalHasElement",
                                      "SequenceErase"};
    for (size_t i = 0; i < oxp_operator_count(); i++) {
        const oxp_operator *op = oxp_operator_at(i);
        oxp_ctx ctx;
        oxp_model *model;
        bool allowed = op->min_in == 0 || op->min_in > 8;
        for (size_t k = 0; k < sizeof may / sizeof *may; k++)
            allowed = allowed || strcmp(op->type, may[k]) == 0;
        oxp_ctx_init(&ctx);
        cr_assert_eq(oxp_model_new(&model, &ctx, op->since < 11 || op->domain[0] ? 11 : op->since),
                     OXP_OK);
        oxp_status status = allowed ? OXP_EFORMAT : run_on_lists(&ctx, model, op);
        cr_expect_neq(status, OXP_OK, "%s-%d", op->type, op->since);
        oxp_model_free(model);
        cr_expect_eq(ctx.budget->used, 0, "%s-%d", op->type, op->since);
    }
}
