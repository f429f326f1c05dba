/* Channels taken away: zeros in the columns that read them and their removal give the same outputs,
 * for every set of coupled channels; what cannot be followed stays whole. */
#include "techniques/coupling.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "calibration/source.h"
#include "interpreter/interpreter.h"
#include "support/nodes.h"
#include "support/small_models.h"
#include "util/random.h"

typedef struct fixture {
    oxp_ctx ctx;
    oxp_arena arena;
    oxp_model *model;
    oxp_graph *graph;
    oxp_coupling coupling;
    bool *removable, *gone;
    oxp_random random;
} fixture;

static void begin(fixture *f, int64_t opset)
{
    memset(f, 0, sizeof *f);
    oxp_ctx_init(&f->ctx);
    oxp_arena_init(&f->arena, &f->ctx);
    f->random = oxp_random_make(5, 6, 7);
    cr_assert_eq(oxp_model_new(&f->model, &f->ctx, opset), OXP_OK);
}

static void io(fixture *f, const char *name, int rank, const int64_t *dims, bool output)
{
    oxp_value_info info = {.name = name, .dtype = OXP_FLOAT, .is_tensor = true, .rank = rank};
    memcpy(info.dims, dims, (size_t)rank * sizeof *dims);
    oxp_graph_proto *g = oxp_model_graph(f->model);
    cr_assert_eq((output ? oxp_edit_add_output : oxp_edit_add_input)(f->model, g, &info), OXP_OK);
}

static const char *floats(fixture *f, const char *name, int rank, const int64_t *dims)
{
    size_t count = 1;
    for (int i = 0; i < rank; i++)
        count *= (size_t)dims[i];
    float *x = oxp_arena_alloc(&f->arena, count, sizeof *x);
    for (size_t i = 0; i < count; i++)
        x[i] = (float)(0.5 * oxp_random_normal(&f->random));
    cr_assert_eq(oxp_edit_add_initializer(f->model, oxp_model_graph(f->model), name, OXP_FLOAT,
                                          rank, dims, x),
                 OXP_OK);
    return name;
}

static const char *integers(fixture *f, const char *name, int64_t count, const int64_t *values)
{
    cr_assert_eq(oxp_edit_add_initializer(f->model, oxp_model_graph(f->model), name, OXP_INT64, 1,
                                          &count, values),
                 OXP_OK);
    return name;
}

static oxp_node_proto *node(fixture *f, const char *type, size_t count, const char *const *inputs,
                            const char *output)
{
    oxp_node_proto *n;
    cr_assert_eq(append_node(f->model, type, count, inputs, output, &n), OXP_OK);
    return n;
}

/* y = Conv(x), 3x3, padded, with a bias */
static void conv(fixture *f, const char *x, int64_t in, int64_t out, int64_t group, const char *y)
{
    const char *w = oxp_arena_printf(&f->arena, "%s_w", y);
    const char *b = oxp_arena_printf(&f->arena, "%s_b", y);
    floats(f, w, 4, (int64_t[]){out, in / group, 3, 3});
    floats(f, b, 1, &out);
    oxp_node_proto *n = node(f, "Conv", 3, (const char *[]){x, w, b}, y);
    cr_assert_eq(oxp_edit_set_ints(f->model, n, "pads", 4, (int64_t[]){1, 1, 1, 1}), OXP_OK);
    cr_assert_eq(oxp_edit_set_int(f->model, n, "group", group), OXP_OK);
}

static void find(fixture *f)
{
    oxp_tensor *seen;
    cr_assert_eq(oxp_graph_build(&f->graph, &f->arena, f->model), OXP_OK, "%s", f->ctx.message);
    cr_assert_eq(oxp_coupling_look(&seen, &f->arena, f->graph, NULL, NULL), OXP_OK, "%s",
                 f->ctx.message);
    cr_assert_eq(oxp_coupling_find(&f->coupling, &f->arena, f->graph, seen, NULL), OXP_OK);
    cr_assert_eq(oxp_coupling_removable(&f->removable, &f->coupling), OXP_OK);
    f->gone = oxp_arena_alloc(&f->arena, f->coupling.variables.count + 1, sizeof *f->gone);
}

static void end(fixture *f)
{
    oxp_coupling_free(&f->coupling);
    oxp_arena_free(&f->arena);
    oxp_model_free(f->model);
    cr_expect_eq(f->ctx.budget->used, 0);
}

static size_t removable_count(const fixture *f)
{
    size_t count = 0;
    for (size_t v = 0; v < f->coupling.variables.count; v++)
        count += f->removable[v];
    return count;
}

typedef struct results {
    oxp_tensor outputs[4];
    size_t count;
} results;

static void run(fixture *f, oxp_model *model, results *out)
{
    oxp_graph *graph;
    oxp_session *session;
    oxp_samples samples;
    oxp_tensor inputs[4] = {0};
    const oxp_tensor *fed[4];
    oxp_input_options options = OXP_INPUT_OPTIONS_INIT;
    options.random_samples = 1;
    cr_assert_eq(oxp_graph_build(&graph, &f->arena, model), OXP_OK, "%s", f->ctx.message);
    cr_assert_eq(oxp_samples_open(&samples, &f->ctx, graph, NULL, NULL, &options), OXP_OK);
    cr_assert_eq(samples.source.get(samples.source.user, &f->ctx, 0, inputs), OXP_OK);
    for (size_t i = 0; i < graph->input_count; i++)
        fed[i] = &inputs[i];
    cr_assert_eq(oxp_session_create(&session, &f->ctx, graph, NULL), OXP_OK, "%s", f->ctx.message);
    cr_assert_eq(oxp_session_run(session, fed, out->outputs), OXP_OK, "%s", f->ctx.message);
    out->count = graph->output_count;
    for (size_t i = 0; i < graph->input_count; i++)
        oxp_tensor_release(&inputs[i]);
    oxp_session_free(session);
    oxp_samples_close(&samples);
}

static void release(results *r)
{
    for (size_t k = 0; k < r->count; k++)
        oxp_tensor_release(&r->outputs[k]);
}

static size_t weights_of(fixture *f, oxp_model *m)
{
    oxp_graph *graph;
    size_t count = 0;
    cr_assert_eq(oxp_graph_build(&graph, &f->arena, m), OXP_OK);
    for (size_t v = 0; v < graph->value_count; v++)
        if (graph->values[v].kind == OXP_VALUE_CONSTANT)
            count += graph->values[v].constant.count;
    return count;
}

/* Without what is gone and with zeros for it. Returns how far the whole model's outputs are. */
static double expect_same(fixture *f, const char *what)
{
    oxp_model *cut, *masked;
    results a = {0}, b = {0}, whole = {0};
    double changed = 0;
    cr_assert_eq(oxp_coupling_cut(&cut, &f->coupling, f->gone, NULL), OXP_OK, "%s: %s", what,
                 f->ctx.message);
    cr_assert_eq(oxp_coupling_mask(&masked, &f->coupling, f->gone), OXP_OK);
    cr_expect_lt(weights_of(f, cut), weights_of(f, f->model), "%s", what);
    run(f, cut, &a);
    run(f, masked, &b);
    run(f, f->model, &whole);
    for (size_t k = 0; k < a.count; k++) {
        double most = 0, size = 0;
        cr_assert_eq(a.outputs[k].count, b.outputs[k].count, "%s", what);
        const float *x = a.outputs[k].data, *y = b.outputs[k].data, *z = whole.outputs[k].data;
        for (size_t i = 0; i < a.outputs[k].count && a.outputs[k].dtype == OXP_FLOAT; i++) {
            most = fmax(most, fabs((double)x[i] - (double)y[i]));
            size = fmax(size, fabs((double)y[i]));
            changed = fmax(changed, fabs((double)z[i] - (double)y[i]));
        }
        cr_expect_leq(most, 1e-5 * size, "%s: %g of %g", what, most, size);
    }
    release(&a);
    release(&b);
    release(&whole);
    oxp_model_free(cut);
    oxp_model_free(masked);
    return changed;
}

/* A half of all channels that can go, but not all of a layer's. */
static void drop_some(fixture *f, uint64_t seed)
{
    oxp_random r = oxp_random_make(seed, 0, 0);
    oxp_variables *v = &f->coupling.variables;
    memset(f->gone, 0, v->count * sizeof *f->gone);
    for (size_t k = 0; k < v->count; k++)
        f->gone[k] = f->removable[k] && oxp_random_uniform(&r) < 0.5;
    for (size_t k = v->count; k-- > 0;)
        if (f->removable[k]) { /* one at least */
            f->gone[k] = true;
            break;
        }
    for (size_t k = 0; k < f->coupling.layer_count; k++)
        f->gone[oxp_variables_root(v, f->coupling.layers[k].out[0])] = false;
}

static void expect_all_same(fixture *f, const char *what)
{
    double changed = 0;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        drop_some(f, seed);
        changed = fmax(changed, expect_same(f, what));
    }
    cr_expect_gt(changed, 1e-3, "%s: nothing that counts was taken away", what);
}

/* x -> a -> Relu, + depthwise of it (residual), gate of its means, Concat with another, Split. */
static void build_net(fixture *f, int64_t opset)
{
    begin(f, opset);
    io(f, "x", 4, (int64_t[]){1, 3, 6, 6}, false);
    conv(f, "x", 3, 12, 1, "a");
    node(f, "Relu", 1, (const char *[]){"a"}, "ar");
    conv(f, "ar", 12, 12, 12, "d");
    floats(f, "slope", 3, (int64_t[]){12, 1, 1});
    node(f, "PRelu", 2, (const char *[]){"d", "slope"}, "dp");
    conv(f, "dp", 12, 12, 1, "e");
    node(f, "Add", 2, (const char *[]){"ar", "e"}, "sum");
    node(f, "GlobalAveragePool", 1, (const char *[]){"sum"}, "mean");
    node(f, "Sigmoid", 1, (const char *[]){"mean"}, "gate");
    node(f, "Mul", 2, (const char *[]){"sum", "gate"}, "gated");
    conv(f, "x", 3, 8, 1, "g");
    oxp_node_proto *n = node(f, "Concat", 2, (const char *[]){"g", "gated"}, "both");
    cr_assert_eq(oxp_edit_set_int(f->model, n, "axis", 1), OXP_OK);
    conv(f, "both", 20, 20, 4, "h"); /* groups */
    conv(f, "h", 20, 16, 1, "s");
}

static void build_head(fixture *f, int64_t opset)
{
    const char *outputs[2] = {"s1", "s2"};
    oxp_new_node split = {.type = "Split",
                          .domain = "",
                          .name = "split",
                          .input_count = 1,
                          .output_count = 2,
                          .inputs = (const char *[]){"s"},
                          .outputs = outputs};
    oxp_node_proto *n;
    oxp_graph_proto *g = oxp_model_graph(f->model);
    cr_assert_eq(oxp_edit_insert_node(&n, f->model, g, oxp_graph_proto_node_count(g), &split),
                 OXP_OK);
    cr_assert_eq(oxp_edit_set_int(f->model, n, "axis", 1), OXP_OK);
    node(f, "Mul", 2, (const char *[]){"s1", "s2"}, "sm"); /* 8 channels, each of two of s */
    const char *bounds[4] = {"sm", integers(f, "from", 1, (int64_t[]){2}),
                             integers(f, "to", 1, (int64_t[]){INT64_MAX}),
                             integers(f, "axes", 1, (int64_t[]){1})};
    node(f, "Slice", 4, bounds, "cut");
    node(f, "MaxPool", 1, (const char *[]){"cut"}, "pool");
    (void)opset;
}

static void pool_window(fixture *f)
{
    oxp_graph_proto *g = oxp_model_graph(f->model);
    for (size_t i = 0; i < oxp_graph_proto_node_count(g); i++) {
        oxp_node_proto *n = oxp_graph_proto_node(g, i);
        if (strcmp(oxp_node_proto_type(n), "MaxPool") == 0)
            cr_assert_eq(oxp_edit_set_ints(f->model, n, "kernel_shape", 2, (int64_t[]){2, 2}),
                         OXP_OK);
    }
}

/* ... Slice, Reshape to rows of 6 * 25, Gemm (transB), FFN of MatMuls, and an output. */
static void build_tail(fixture *f)
{
    pool_window(f);
    node(f, "Reshape", 2, (const char *[]){"pool", integers(f, "rows", 2, (int64_t[]){1, 6 * 25})},
         "flat");
    floats(f, "fc_w", 2, (int64_t[]){24, 6 * 25});
    floats(f, "fc_b", 1, (int64_t[]){24});
    oxp_node_proto *n = node(f, "Gemm", 3, (const char *[]){"flat", "fc_w", "fc_b"}, "fc");
    cr_assert_eq(oxp_edit_set_int(f->model, n, "transB", 1), OXP_OK);
    floats(f, "up_w", 2, (int64_t[]){24, 40});
    node(f, "MatMul", 2, (const char *[]){"fc", "up_w"}, "up");
    floats(f, "up_b", 1, (int64_t[]){40});
    node(f, "Add", 2, (const char *[]){"up", "up_b"}, "up2");
    node(f, "Tanh", 1, (const char *[]){"up2"}, "up3");
    floats(f, "down_w", 2, (int64_t[]){40, 5});
    node(f, "MatMul", 2, (const char *[]){"up3", "down_w"}, "y");
    io(f, "y", 2, (int64_t[]){1, 5}, true);
}

Test(coupling, a_cut_model_computes_what_zeros_do)
{
    for (int64_t opset = 11; opset <= 13; opset += 2) {
        fixture f;
        build_net(&f, opset);
        build_head(&f, opset);
        build_tail(&f);
        find(&f);
        expect_all_same(&f, opset == 11 ? "opset 11" : "opset 13");
        /* a = d = e = gated: 12 and g: 8, all in the five places of a group of h: 20 united to 5;
         * h: 5; s: 8 pairs, two of which are sliced off and read by nobody; fc: 24; up: 40 */
        cr_expect_eq(removable_count(&f), 5 + 5 + 6 + 24 + 40, "%zu", removable_count(&f));
        end(&f);
    }
}

Test(coupling, concat_without_groups_leaves_the_parts_apart)
{
    fixture f;
    begin(&f, 13);
    io(&f, "x", 4, (int64_t[]){1, 3, 6, 6}, false);
    conv(&f, "x", 3, 10, 1, "a");
    conv(&f, "x", 3, 7, 1, "b");
    oxp_node_proto *n = node(&f, "Concat", 2, (const char *[]){"a", "b"}, "both");
    cr_assert_eq(oxp_edit_set_int(f.model, n, "axis", 1), OXP_OK);
    conv(&f, "both", 17, 17, 17, "d");
    conv(&f, "d", 17, 4, 1, "y");
    io(&f, "y", 4, (int64_t[]){1, 4, 6, 6}, true);
    find(&f);
    cr_expect_eq(removable_count(&f), 17);
    expect_all_same(&f, "concat");
    end(&f);
}

/* Heads: a channel axis that a Reshape takes apart goes head by head. */
Test(coupling, what_a_reshape_takes_apart_goes_together)
{
    fixture f;
    begin(&f, 13);
    io(&f, "x", 3, (int64_t[]){1, 5, 6}, false);
    floats(&f, "v_w", 2, (int64_t[]){6, 12});
    node(&f, "MatMul", 2, (const char *[]){"x", "v_w"}, "v");
    node(&f, "Reshape", 2, (const char *[]){"v", integers(&f, "heads", 4, (int64_t[]){0, 5, 3, 4})},
         "v4");
    oxp_node_proto *n = node(&f, "Transpose", 1, (const char *[]){"v4"}, "v_heads");
    cr_assert_eq(oxp_edit_set_ints(f.model, n, "perm", 4, (int64_t[]){0, 2, 1, 3}), OXP_OK);
    node(&f, "Sigmoid", 1, (const char *[]){"v_heads"}, "act");
    n = node(&f, "Transpose", 1, (const char *[]){"act"}, "back");
    cr_assert_eq(oxp_edit_set_ints(f.model, n, "perm", 4, (int64_t[]){0, 2, 1, 3}), OXP_OK);
    node(&f, "Reshape", 2, (const char *[]){"back", integers(&f, "rows", 3, (int64_t[]){1, 5, 12})},
         "rows2");
    floats(&f, "o_w", 2, (int64_t[]){12, 6});
    node(&f, "MatMul", 2, (const char *[]){"rows2", "o_w"}, "y");
    io(&f, "y", 3, (int64_t[]){1, 5, 6}, true);
    find(&f);
    cr_expect_eq(removable_count(&f), 3);
    expect_all_same(&f, "heads");
    end(&f);
}

/* A depthwise Conv whose weights and biases ConstantOfShape makes: its shapes are counted again. */
Test(coupling, numbers_that_are_made_when_loaded)
{
    fixture f;
    begin(&f, 13);
    io(&f, "x", 4, (int64_t[]){1, 3, 6, 6}, false);
    conv(&f, "x", 3, 9, 1, "a");
    const float two = 2;
    const char *shape = integers(&f, "weight_shape", 4, (int64_t[]){9, 1, 1, 1});
    oxp_node_proto *n = node(&f, "ConstantOfShape", 1, &shape, "w");
    cr_assert_eq(
        oxp_edit_set_tensor_attribute(f.model, n, "value", OXP_FLOAT, 1, (int64_t[]){1}, &two),
        OXP_OK);
    shape = integers(&f, "bias_shape", 1, (int64_t[]){9});
    node(&f, "ConstantOfShape", 1, &shape, "b");
    n = node(&f, "Conv", 3, (const char *[]){"a", "w", "b"}, "d");
    cr_assert_eq(oxp_edit_set_int(f.model, n, "group", 9), OXP_OK);
    conv(&f, "d", 9, 4, 1, "y");
    io(&f, "y", 4, (int64_t[]){1, 4, 6, 6}, true);
    find(&f);
    cr_expect_eq(removable_count(&f), 9);
    expect_all_same(&f, "uniform");
    end(&f);
}

/* Outputs, softmax over channels, a shape that is computed, a weight that two nodes read. */
Test(coupling, what_cannot_be_followed_stays_whole)
{
    fixture f;
    begin(&f, 13);
    io(&f, "x", 4, (int64_t[]){1, 3, 6, 6}, false);
    conv(&f, "x", 3, 8, 1, "out");
    io(&f, "out", 4, (int64_t[]){1, 8, 6, 6}, true);
    conv(&f, "x", 3, 8, 1, "p");
    oxp_node_proto *n = node(&f, "Softmax", 1, (const char *[]){"p"}, "q");
    cr_assert_eq(oxp_edit_set_int(f.model, n, "axis", 1), OXP_OK);
    conv(&f, "q", 8, 8, 1, "shaped");
    node(&f, "Shape", 1, (const char *[]){"shaped"}, "shape");
    node(&f, "Reshape", 2, (const char *[]){"shaped", "shape"}, "same");
    conv(&f, "same", 8, 8, 1, "y");
    io(&f, "y", 4, (int64_t[]){1, 8, 6, 6}, true);
    find(&f);
    cr_expect_eq(removable_count(&f), 0);
    end(&f);
}

Test(coupling, the_small_models)
{
    size_t with_channels = 0;
    for (size_t i = 0; i < small_model_count; i++) {
        fixture f;
        begin(&f, 13);
        oxp_model_free(f.model);
        cr_assert_eq(small_models[i].build(&f.model, &f.ctx), OXP_OK);
        find(&f);
        drop_some(&f, 3);
        bool any = false;
        for (size_t v = 0; v < f.coupling.variables.count; v++)
            any = any || f.gone[v];
        if (any)
            expect_same(&f, small_models[i].name);
        with_channels += any;
        end(&f);
    }
    cr_expect_gt(with_channels, 0);
}
