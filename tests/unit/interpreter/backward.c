/* Going back through a session: gradients through bodies and whole models against differences,
 * what the hooks see, what is refused, what memory is left. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "interpreter/interpreter.h"
#include "support/directional.h"
#include "unit/onnx/encode.h"

enum { N = 3 };

/* ---- models from text ---- */

/* "Mul x w : y" */
static bytes node_of(const char *text)
{
    bytes b = {0};
    char word[32];
    unsigned field = NODE_TYPE;
    for (int used; sscanf(text, "%31s%n", word, &used) == 1; text += used) {
        if (strcmp(word, ":") == 0) {
            field = NODE_OUTPUT;
            continue;
        }
        put_text(&b, field, strcmp(word, "-") == 0 ? "" : word);
        if (field == NODE_TYPE)
            field = NODE_INPUT;
    }
    return b;
}

/* Values of N floats, nowhere near a kink. */
static bytes weight(const char *name, float first)
{
    const int64_t dims[1] = {N};
    bytes t = tensor(name, OXP_FLOAT, 1, dims);
    for (int i = 0; i < N; i++)
        put_float(&t, TENSOR_FLOAT, first + 0.25f * (float)i);
    return t;
}

static bytes count_of(const char *name, int64_t value)
{
    bytes t = tensor(name, OXP_INT64, 0, NULL);
    put_int(&t, TENSOR_INT64, value);
    return t;
}

static bytes typed_value(const char *name, int dtype)
{
    bytes type_of = {0}, type = {0}, b = {0};
    put_int(&type_of, 1, dtype);
    put_message(&type, 1, type_of);
    put_text(&b, 1, name);
    put_message(&b, 2, type);
    return b;
}

static void put_graph(bytes *n, const char *name, bytes body)
{
    bytes a = attribute(name, OXP_ATTR_GRAPH);
    put_message(&a, ATTR_G, body);
    put_message(n, NODE_ATTRIBUTE, a);
}

static void put_int_attribute(bytes *n, const char *name, int64_t value)
{
    bytes a = attribute(name, OXP_ATTR_INT);
    put_int(&a, ATTR_I, value);
    put_message(n, NODE_ATTRIBUTE, a);
}

static void put_direction(bytes *n, const char *name, int64_t value)
{
    bytes a = attribute(name, OXP_ATTR_INTS);
    put_int(&a, ATTR_INTS, value);
    put_message(n, NODE_ATTRIBUTE, a);
}

/* ---- running ---- */

typedef struct fixture {
    loaded l;
    oxp_arena arena;
    oxp_graph *graph;
    oxp_tensor tensors[3];
    const oxp_tensor *inputs[3];
    float x[16];
    uint8_t flag;
} fixture;

static void open_graph(fixture *f, bytes g, int64_t version)
{
    bytes b = {0};
    put_int(&b, MODEL_IR, 8);
    put_message(&b, MODEL_OPSET, opset("", version));
    put_message(&b, MODEL_GRAPH, g);
    memset(f, 0, sizeof *f);
    load_in(&f->l, b, NULL, NULL);
    cr_assert_eq(f->l.ctx.status, OXP_OK, "%s", f->l.ctx.message);
    oxp_arena_init(&f->arena, &f->l.ctx);
    cr_assert_eq(oxp_graph_build(&f->graph, &f->arena, f->l.model), OXP_OK, "%s", f->l.ctx.message);
    for (int i = 0; i < 16; i++)
        f->x[i] = 0.1f + 0.07f * (float)(i * 5 % 11);
}

static void feed(fixture *f, int i, oxp_dtype dtype, int rank, const int64_t *dims, void *data)
{
    oxp_tensor *t = &f->tensors[i];
    cr_assert_eq(oxp_tensor_shape(t, &f->l.ctx, dtype, rank, dims, "input"), OXP_OK);
    t->data = data;
    f->inputs[i] = t;
}

static void close_graph(fixture *f)
{
    oxp_arena_free(&f->arena);
    unload(&f->l);
}

static void expect_agreement(fixture *f, size_t weights)
{
    directional found;
    oxp_status status = directional_check(&f->l.ctx, f->graph, f->inputs, false, &found);
    cr_assert_eq(status, OXP_OK, "%s %s", f->l.ctx.code, f->l.ctx.message);
    cr_expect_eq(found.weights, weights, "%zu weights have a gradient, expected %zu", found.weights,
                 weights);
    cr_expect_eq(found.agreed + found.kinks, found.directions, "%s", found.first);
    cr_expect_leq(found.kinks * 10, found.directions, "%zu of %zu directions stand on a kink",
                  found.kinks, found.directions);
}

/* ---- control flow ---- */

static bytes branch(const char *text, const char *constant)
{
    bytes g = {0};
    put_message(&g, GRAPH_NODE, node_of("Mul x w : t"));
    put_message(&g, GRAPH_NODE, node_of(text));
    put_text(&g, GRAPH_NAME, "branch");
    if (constant)
        put_message(&g, GRAPH_INITIALIZER, weight(constant, 0.5f));
    put_message(&g, GRAPH_OUTPUT, value_info("b"));
    return g;
}

static void check_if(uint8_t flag, size_t weights)
{
    fixture f;
    const int64_t dims[1] = {N};
    bytes g = {0}, n = node_of("If c : y");
    put_graph(&n, "then_branch", branch("Mul t v : b", "v"));
    put_graph(&n, "else_branch", branch("Tanh t : b", NULL));
    put_message(&g, GRAPH_NODE, n);
    put_message(&g, GRAPH_NODE, node_of("Mul y w : z"));
    put_text(&g, GRAPH_NAME, "g");
    put_message(&g, GRAPH_INITIALIZER, weight("w", 0.3f));
    put_message(&g, GRAPH_INPUT, typed_value("c", OXP_BOOL));
    put_message(&g, GRAPH_INPUT, value_info("x"));
    put_message(&g, GRAPH_OUTPUT, value_info("z"));
    open_graph(&f, g, 13);
    f.flag = flag;
    feed(&f, 0, OXP_BOOL, 0, NULL, &f.flag);
    feed(&f, 1, OXP_FLOAT, 1, dims, f.x);
    expect_agreement(&f, weights);
    close_graph(&f);
}

Test(backward, if_goes_through_the_branch_that_was_taken)
{
    check_if(1, 2); /* w and the branch's own v */
    check_if(0, 1);
}

/* h' = tanh(h w) + v, m' = m h, out = h' m; `inner` (or NULL): a node of the body that makes h2 of
 * h1. */
static bytes loop_body(const bytes *inner)
{
    bytes g = {0};
    put_message(&g, GRAPH_NODE, node_of("Mul h w : p"));
    put_message(&g, GRAPH_NODE, node_of("Tanh p : q"));
    put_message(&g, GRAPH_NODE, node_of("Add q v : h1"));
    if (inner)
        put_message(&g, GRAPH_NODE, *inner);
    else
        put_message(&g, GRAPH_NODE, node_of("Identity h1 : h2"));
    put_message(&g, GRAPH_NODE, node_of("Mul m h : m2"));
    put_message(&g, GRAPH_NODE, node_of("Mul h2 m : s"));
    put_message(&g, GRAPH_NODE, node_of("Identity go : more"));
    put_text(&g, GRAPH_NAME, "body");
    put_message(&g, GRAPH_INITIALIZER, weight("v", -0.4f));
    put_message(&g, GRAPH_INPUT, typed_value("i", OXP_INT64));
    put_message(&g, GRAPH_INPUT, typed_value("go", OXP_BOOL));
    put_message(&g, GRAPH_INPUT, value_info("h"));
    put_message(&g, GRAPH_INPUT, value_info("m"));
    put_message(&g, GRAPH_OUTPUT, typed_value("more", OXP_BOOL));
    put_message(&g, GRAPH_OUTPUT, value_info("h2"));
    put_message(&g, GRAPH_OUTPUT, value_info("m2"));
    put_message(&g, GRAPH_OUTPUT, value_info("s"));
    return g;
}

/* In the body of a loop: reads u of the main graph over two levels. */
static bytes inner_loop(void)
{
    bytes g = {0}, n = node_of("Loop two - h1 : h2");
    put_message(&g, GRAPH_NODE, node_of("Mul k u : k1"));
    put_message(&g, GRAPH_NODE, node_of("Sigmoid k1 : k2"));
    put_message(&g, GRAPH_NODE, node_of("Identity go2 : more2"));
    put_text(&g, GRAPH_NAME, "inner");
    put_message(&g, GRAPH_INPUT, typed_value("j", OXP_INT64));
    put_message(&g, GRAPH_INPUT, typed_value("go2", OXP_BOOL));
    put_message(&g, GRAPH_INPUT, value_info("k"));
    put_message(&g, GRAPH_OUTPUT, typed_value("more2", OXP_BOOL));
    put_message(&g, GRAPH_OUTPUT, value_info("k2"));
    put_graph(&n, "body", g);
    return n;
}

/* u = a x is no constant: the bodies capture what a node made. */
static void check_loop(const bytes *inner, size_t weights)
{
    fixture f;
    const int64_t dims[1] = {N};
    bytes g = {0}, n = node_of("Loop three - x u : last product scan");
    put_graph(&n, "body", loop_body(inner));
    put_message(&g, GRAPH_NODE, node_of("Mul x a : u"));
    put_message(&g, GRAPH_NODE, n);
    put_message(&g, GRAPH_NODE, node_of("Mul scan u : out"));
    put_text(&g, GRAPH_NAME, "g");
    put_message(&g, GRAPH_INITIALIZER, weight("w", 0.6f));
    put_message(&g, GRAPH_INITIALIZER, weight("a", 0.2f));
    put_message(&g, GRAPH_INITIALIZER, count_of("two", 2));
    put_message(&g, GRAPH_INITIALIZER, count_of("three", 3));
    put_message(&g, GRAPH_INPUT, value_info("x"));
    put_message(&g, GRAPH_OUTPUT, value_info("last"));
    put_message(&g, GRAPH_OUTPUT, value_info("product"));
    put_message(&g, GRAPH_OUTPUT, value_info("out"));
    open_graph(&f, g, 13);
    feed(&f, 0, OXP_FLOAT, 1, dims, f.x);
    expect_agreement(&f, weights);
    close_graph(&f);
}

Test(backward, loop_adds_up_over_its_steps)
{
    check_loop(NULL, 3);
}

Test(backward, loop_in_a_loop_reaches_the_outermost_values)
{
    bytes inner = inner_loop();
    check_loop(&inner, 3);
}

static bytes scan_body(void)
{
    bytes g = {0};
    put_message(&g, GRAPH_NODE, node_of("Mul h w : p"));
    put_message(&g, GRAPH_NODE, node_of("Add p t : q"));
    put_message(&g, GRAPH_NODE, node_of("Tanh q : h1"));
    put_message(&g, GRAPH_NODE, node_of("Mul h1 t : s"));
    put_text(&g, GRAPH_NAME, "body");
    put_message(&g, GRAPH_INPUT, value_info("h"));
    put_message(&g, GRAPH_INPUT, value_info("t"));
    put_message(&g, GRAPH_OUTPUT, value_info("h1"));
    put_message(&g, GRAPH_OUTPUT, value_info("s"));
    return g;
}

/* The scanned sequence and the first state go through weights, so their gradients are seen. */
static void check_scan(int64_t version, int64_t direction)
{
    fixture f;
    bool batched = version < 9;
    const int64_t state_dims[2] = {2, N}, dims[3] = {2, 2, N};
    bytes g = {0}, n = node_of(batched ? "Scan - h0 xs : last scan" : "Scan h0 xs : last scan");
    put_graph(&n, "body", scan_body());
    put_int_attribute(&n, "num_scan_inputs", 1);
    put_direction(&n, batched ? "directions" : "scan_input_directions", direction);
    if (!batched)
        put_direction(&n, "scan_output_directions", direction);
    put_message(&g, GRAPH_NODE, node_of("Mul x a : xs"));
    put_message(&g, GRAPH_NODE, node_of("Mul start b : h0"));
    put_message(&g, GRAPH_NODE, n);
    put_text(&g, GRAPH_NAME, "g");
    put_message(&g, GRAPH_INITIALIZER, weight("w", 0.6f));
    put_message(&g, GRAPH_INITIALIZER, weight("a", 0.8f));
    put_message(&g, GRAPH_INITIALIZER, weight("b", -0.7f));
    put_message(&g, GRAPH_INPUT, value_info("x"));
    put_message(&g, GRAPH_INPUT, value_info("start"));
    put_message(&g, GRAPH_OUTPUT, value_info("last"));
    put_message(&g, GRAPH_OUTPUT, value_info("scan"));
    open_graph(&f, g, version);
    feed(&f, 0, OXP_FLOAT, batched ? 3 : 2, batched ? dims : dims + 1, f.x);
    feed(&f, 1, OXP_FLOAT, batched ? 2 : 1, batched ? state_dims : state_dims + 1, f.x + 4);
    expect_agreement(&f, 3);
    close_graph(&f);
}

Test(backward, scan_follows_its_directions)
{
    check_scan(9, 0);
    check_scan(9, 1);
    check_scan(8, 0);
    check_scan(8, 1);
}

/* ---- hooks ---- */

typedef struct seen {
    size_t nodes, completed;
    float dw[N], din[N]; /* when complete; at the node that uses w first */
    bool saved;          /* the input was there when the node's backward had run */
} seen;

static oxp_status on_node(void *user, oxp_node *n)
{
    seen *s = user;
    s->nodes++;
    if (strcmp(n->op->type, "Mul") != 0)
        return OXP_OK;
    s->saved = n->in[0]->data && n->in[1]->data && n->dout[0]->data;
    if (n->din[1])
        memcpy(s->din, n->din[1]->data, sizeof s->din);
    return OXP_OK;
}

static oxp_status on_complete(void *user, const oxp_graph *graph, uint32_t value,
                              const oxp_tensor *t)
{
    seen *s = user;
    cr_expect_str_eq(graph->values[value].name, "w");
    cr_expect_eq(t->count, N);
    memcpy(s->dw, t->data, sizeof s->dw);
    s->completed++;
    return OXP_OK;
}

static bytes product_twice(const char *between)
{
    bytes g = {0};
    put_message(&g, GRAPH_NODE, node_of("Mul x w : p"));
    put_message(&g, GRAPH_NODE, node_of(between));
    put_message(&g, GRAPH_NODE, node_of("Mul q w : y"));
    put_text(&g, GRAPH_NAME, "g");
    put_message(&g, GRAPH_INITIALIZER, weight("w", 0.5f));
    put_message(&g, GRAPH_INPUT, value_info("x"));
    put_message(&g, GRAPH_OUTPUT, value_info("y"));
    return g;
}

Test(backward, a_weight_that_is_used_twice_is_complete_once)
{
    fixture f;
    seen s = {0};
    oxp_session *session;
    const int64_t dims[1] = {N};
    oxp_tensor out = {0};
    oxp_gradients gradients = {.node = on_node, .complete = on_complete, .user = &s};
    oxp_session_options options = {.gradients = &gradients};
    open_graph(&f, product_twice("Neg p : q"), 13);
    feed(&f, 0, OXP_FLOAT, 1, dims, f.x);
    cr_assert_eq(oxp_session_create(&session, &f.l.ctx, f.graph, &options), OXP_OK);
    for (int run = 0; run < 2; run++) { /* the second starts from zero again */
        cr_assert_eq(oxp_session_run(session, f.inputs, &out), OXP_OK, "%s", f.l.ctx.message);
        float ones[N] = {1, 1, 1};
        oxp_tensor d = {.dtype = OXP_FLOAT, .rank = 1, .dims = {N}, .count = N, .data = ones};
        cr_assert_eq(oxp_session_backward(session, (const oxp_tensor *const[]){&d}), OXP_OK, "%s",
                     f.l.ctx.message);
        oxp_tensor_release(&out);
        cr_expect_eq(s.completed, (size_t)run + 1);
        cr_expect_eq(s.nodes, 3 * ((size_t)run + 1));
        cr_expect(s.saved);
        for (int i = 0; i < N; i++) {
            float wanted = -2 * f.x[i] * (0.5f + 0.25f * (float)i); /* y = -x w^2 */
            cr_expect_float_eq(s.dw[i], wanted, 1e-6f, "%g, expected %g", (double)s.dw[i],
                               (double)wanted);
            cr_expect_eq(s.din[i], s.dw[i]);
        }
    }
    oxp_session_free(session);
    close_graph(&f);
}

/* ---- refusals ---- */

static void expect_error(oxp_ctx *ctx, oxp_status status, oxp_status wanted, const char *part)
{
    cr_expect_eq(status, wanted, "status %d: %s", (int)status, ctx->message);
    cr_expect_str_eq(ctx->code, "E-GRADIENT");
    cr_expect(strstr(ctx->message, part), "no \"%s\" in: %s", part, ctx->message);
    oxp_ctx_clear(ctx);
}

Test(backward, a_node_without_a_gradient_is_named)
{
    fixture f;
    oxp_session *session;
    const int64_t dims[1] = {N};
    const oxp_graph_node *const *nodes;
    size_t count;
    oxp_tensor out = {0};
    oxp_gradients gradients = {.wanted = NULL};
    oxp_session_options options = {.gradients = &gradients};
    bytes g = {0}, scale = tensor("s", OXP_FLOAT, 0, NULL);
    put_float(&scale, TENSOR_FLOAT, 0.125f);
    put_message(&g, GRAPH_NODE, node_of("Mul x w : p"));
    put_message(&g, GRAPH_NODE, node_of("QuantizeLinear p s : r"));
    put_message(&g, GRAPH_NODE, node_of("DequantizeLinear r s : q"));
    put_message(&g, GRAPH_NODE, node_of("Shape q : n"));
    put_message(&g, GRAPH_NODE, node_of("Reshape q n : q2"));
    put_message(&g, GRAPH_NODE, node_of("Mul q2 w : y"));
    put_text(&g, GRAPH_NAME, "g");
    put_message(&g, GRAPH_INITIALIZER, weight("w", 0.5f));
    put_message(&g, GRAPH_INITIALIZER, scale);
    put_message(&g, GRAPH_INPUT, value_info("x"));
    put_message(&g, GRAPH_OUTPUT, value_info("y"));
    open_graph(&f, g, 13);
    feed(&f, 0, OXP_FLOAT, 1, dims, f.x);
    cr_assert_eq(oxp_graph_differentiable(f.graph, &gradients, &f.arena, &nodes, &count), OXP_OK);
    cr_expect_eq(count, 2, "%zu nodes", count);
    cr_expect_str_eq(nodes[0]->type, "QuantizeLinear");
    cr_expect_str_eq(nodes[1]->type, "DequantizeLinear");
    cr_assert_eq(oxp_session_create(&session, &f.l.ctx, f.graph, &options), OXP_OK);
    float ones[N] = {1, 1, 1};
    oxp_tensor d = {.dtype = OXP_FLOAT, .rank = 1, .dims = {N}, .count = N, .data = ones};
    const oxp_tensor *const dout[1] = {&d};
    cr_assert_eq(oxp_session_run(session, f.inputs, &out), OXP_OK, "%s", f.l.ctx.message);
    expect_error(&f.l.ctx, oxp_session_backward(session, dout), OXP_EUNSUPPORTED,
                 "DequantizeLinear");
    expect_error(&f.l.ctx, oxp_session_backward(session, dout), OXP_EUSAGE, "nothing was run");
    oxp_tensor_release(&out);
    oxp_session_free(session);
    close_graph(&f);
}

/* ---- a whole model ---- */

static oxp_tensor picture(oxp_ctx *ctx)
{
    oxp_tensor x = {0};
    const int64_t dims[4] = {2, 1, 28, 28};
    cr_assert_eq(oxp_tensor_shape(&x, ctx, OXP_FLOAT, 4, dims, "picture"), OXP_OK);
    cr_assert_eq(oxp_tensor_alloc(&x, ctx, "picture"), OXP_OK);
    for (size_t i = 0; i < x.count; i++)
        ((float *)x.data)[i] = (float)(i * 7919 % 256) / 255.0f;
    return x;
}

typedef struct whole {
    oxp_ctx ctx;
    oxp_arena arena;
    oxp_model *model;
    oxp_graph *graph;
    oxp_tensor x;
    const oxp_tensor *inputs[1];
} whole;

static void open_whole(whole *w)
{
    oxp_ctx_init(&w->ctx);
    oxp_arena_init(&w->arena, &w->ctx);
    cr_assert_eq(oxp_model_load(&w->model, &w->ctx, "models/fashion_mnist.onnx", NULL), OXP_OK,
                 "%s", w->ctx.message);
    cr_assert_eq(oxp_graph_build(&w->graph, &w->arena, w->model), OXP_OK, "%s", w->ctx.message);
    w->x = picture(&w->ctx);
    w->inputs[0] = &w->x;
}

static void close_whole(whole *w)
{
    oxp_tensor_release(&w->x);
    oxp_arena_free(&w->arena);
    oxp_model_free(w->model);
    cr_expect_eq(w->ctx.budget->used, 0, "%zu bytes are left", (size_t)w->ctx.budget->used);
}

Test(backward, every_weight_of_a_model_agrees_with_differences)
{
    whole w;
    directional found;
    open_whole(&w);
    cr_assert_eq(directional_check(&w.ctx, w.graph, w.inputs, false, &found), OXP_OK, "%s",
                 w.ctx.message);
    cr_expect_gt(found.weights, 80);
    cr_expect_eq(found.agreed + found.kinks, found.directions, "%s", found.first);
    cr_expect_leq(found.kinks * 20, found.directions, "%zu kinks", found.kinks);
    close_whole(&w);
}

/* All gradients of one run, one behind the other. */
typedef struct pile {
    float *values;
    size_t count, capacity;
    oxp_ctx *ctx;
} pile;

static oxp_status on_gradient(void *user, const oxp_graph *graph, uint32_t value,
                              const oxp_tensor *t)
{
    pile *p = user;
    (void)graph;
    (void)value;
    OXP_TRY(oxp_grow(&p->values, &p->capacity, p->ctx, p->count + t->count, sizeof(float)));
    memcpy(p->values + p->count, t->data, t->count * sizeof(float));
    p->count += t->count;
    return OXP_OK;
}

Test(backward, runs_as_without_gradients_and_repeats_to_the_bit)
{
    whole w;
    open_whole(&w);
    oxp_session *plain, *session;
    pile p = {.ctx = &w.ctx};
    oxp_gradients gradients = {.complete = on_gradient, .user = &p};
    oxp_session_options options = {.gradients = &gradients};
    oxp_tensor expected = {0}, out = {0};
    cr_assert_eq(oxp_session_create(&plain, &w.ctx, w.graph, NULL), OXP_OK);
    cr_assert_eq(oxp_session_create(&session, &w.ctx, w.graph, &options), OXP_OK);
    cr_assert_eq(oxp_session_run(plain, w.inputs, &expected), OXP_OK, "%s", w.ctx.message);
    size_t first = 0;
    for (int run = 0; run < 2; run++) {
        cr_assert_eq(oxp_session_run(session, w.inputs, &out), OXP_OK, "%s", w.ctx.message);
        cr_expect_arr_eq(out.data, expected.data, oxp_tensor_bytes(&out));
        cr_assert_eq(oxp_session_backward(session, (const oxp_tensor *const[]){&expected}), OXP_OK,
                     "%s", w.ctx.message);
        oxp_tensor_release(&out);
        first = run == 0 ? p.count : first;
    }
    cr_assert_eq(p.count, 2 * first);
    cr_expect_arr_eq(p.values, p.values + first, first * sizeof(float));
    oxp_free(p.values);
    oxp_tensor_release(&expected);
    oxp_session_free(plain);
    oxp_session_free(session);
    close_whole(&w);
}

/* ---- memory ---- */

enum { WIDE = 1 << 14, CHAIN = 40 };

/* x -> x w -> tanh -> ..., with one skip over the whole chain. */
static void open_chain(fixture *f, float *w)
{
    char text[64];
    const int64_t dims[1] = {WIDE};
    bytes g = {0}, t = tensor("w", OXP_FLOAT, 1, dims);
    put_blob(&t, TENSOR_RAW, w, WIDE * sizeof *w);
    put_message(&g, GRAPH_NODE, node_of("Identity x : a0"));
    for (int i = 0; i < CHAIN; i++) {
        snprintf(text, sizeof text, "Mul a%d w : b%d", i, i);
        put_message(&g, GRAPH_NODE, node_of(text));
        snprintf(text, sizeof text, "Tanh b%d : a%d", i, i + 1);
        put_message(&g, GRAPH_NODE, node_of(text));
    }
    snprintf(text, sizeof text, "Add a%d b1 : y", CHAIN);
    put_message(&g, GRAPH_NODE, node_of(text));
    put_text(&g, GRAPH_NAME, "g");
    put_message(&g, GRAPH_INITIALIZER, t);
    put_message(&g, GRAPH_INPUT, value_info("x"));
    put_message(&g, GRAPH_OUTPUT, value_info("y"));
    open_graph(f, g, 13);
}

/* The gradient of w with `room` bytes to go; *peak: how many were in use beyond the session's. */
static void gradient_in(fixture *f, size_t room, pile *p, size_t *peak)
{
    oxp_session *session;
    oxp_gradients gradients = {.complete = on_gradient, .user = p};
    oxp_session_options options = {.gradients = &gradients};
    oxp_budget *b = f->l.ctx.budget;
    oxp_tensor out = {0};
    p->ctx = &f->l.ctx;
    cr_assert_eq(oxp_session_create(&session, &f->l.ctx, f->graph, &options), OXP_OK);
    size_t limit = b->limit, before = b->used;
    b->limit = room ? before + room : limit;
    b->peak = before;
    for (int run = 0; run < 2; run++) {
        cr_assert_eq(oxp_session_run(session, f->inputs, &out), OXP_OK, "%s %s", f->l.ctx.code,
                     f->l.ctx.message);
        cr_assert_eq(oxp_session_backward(session, (const oxp_tensor *const[]){&out}), OXP_OK,
                     "%s %s", f->l.ctx.code, f->l.ctx.message);
        oxp_tensor_release(&out);
    }
    *peak = b->peak - before;
    b->limit = limit;
    oxp_session_free(session);
}

Test(backward, what_does_not_fit_is_run_again_in_segments)
{
    fixture f;
    pile full = {0}, cut = {0};
    size_t all, some;
    const int64_t dims[1] = {WIDE};
    float *w = malloc(WIDE * sizeof *w), *x = malloc(WIDE * sizeof *x);
    cr_assert(w && x);
    for (int i = 0; i < WIDE; i++) {
        w[i] = 1.0f + 0.5f * (float)(i % 97) / 97.0f;
        x[i] = (float)(i % 31) / 31.0f - 0.5f;
    }
    open_chain(&f, w);
    feed(&f, 0, OXP_FLOAT, 1, dims, x);
    gradient_in(&f, 0, &full, &all);
    size_t room = 30 * WIDE * sizeof(float); /* of 40 pairs that all must be kept otherwise */
    cr_assert_gt(all, 2 * room);
    gradient_in(&f, room, &cut, &some);
    cr_expect_leq(some, room);
    cr_assert_eq(full.count, 2 * WIDE);
    cr_assert_eq(cut.count, full.count);
    cr_expect_arr_eq(cut.values, full.values, full.count * sizeof(float));
    oxp_free(full.values);
    oxp_free(cut.values);
    close_graph(&f);
    free(w);
    free(x);
}
