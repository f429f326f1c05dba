/* Calibration passes: the same at any number of threads and in any order of samples; `auto` takes
 * the method of least error of the layer that reads the value; masks and NaN set no range. */
#include "calibration/ranges.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "onnx/edit.h"
#include "util/random.h"

enum { SAMPLES = 24, K = 32, N = 16 };

typedef struct fixture {
    oxp_ctx ctx;
    oxp_arena arena;
    oxp_model *model;
    oxp_graph *graph;
    oxp_source source;
    oxp_ranges ranges;
    int spoil; /* 0 nothing, 1 a mask in every sample, 2 all NaN, 3 one huge outlier */
} fixture;

static void io(oxp_model *m, const char *name, int64_t columns, bool output)
{
    oxp_value_info info = {
        .name = name, .dtype = OXP_FLOAT, .is_tensor = true, .rank = 2, .dims = {8, columns}};
    oxp_graph_proto *g = oxp_model_graph(m);
    cr_assert_eq((output ? oxp_edit_add_output : oxp_edit_add_input)(m, g, &info), OXP_OK);
}

static void node(oxp_model *m, const char *type, const char *a, const char *b, const char *out)
{
    const char *inputs[2] = {a, b};
    oxp_new_node n = {.type = type,
                      .domain = "",
                      .name = out,
                      .input_count = b ? 2 : 1,
                      .output_count = 1,
                      .inputs = inputs,
                      .outputs = &out};
    oxp_graph_proto *g = oxp_model_graph(m);
    cr_assert_eq(oxp_edit_insert_node(NULL, m, g, oxp_graph_proto_node_count(g), &n), OXP_OK);
}

/* Drawn by the sample's number alone. */
static oxp_status get(void *user, oxp_ctx *ctx, size_t index, oxp_tensor *inputs)
{
    const fixture *f = user;
    int64_t dims[2] = {8, K};
    OXP_TRY(oxp_tensor_shape(inputs, ctx, OXP_FLOAT, 2, dims, "x"));
    OXP_TRY(oxp_tensor_alloc(inputs, ctx, "x"));
    oxp_random r = oxp_random_make(1, index, 0);
    float *x = inputs->data;
    for (size_t i = 0; i < inputs->count; i++)
        x[i] = f->spoil == 2 ? NAN : (float)oxp_random_normal(&r);
    if (f->spoil == 1)
        x[5] = -3.4e38f;
    if (f->spoil == 3 && index == 3)
        x[0] = 60.0f;
    return OXP_OK;
}

/* x -> `maker` -> n -> MatMul(w) -> y; n is watched and judged. */
static void start_behind(fixture *f, const char *maker, int threads, int spoil)
{
    float w[K * N];
    oxp_random r = oxp_random_make(9, 9, 9);
    memset(f, 0, sizeof *f);
    oxp_ctx_init(&f->ctx);
    oxp_arena_init(&f->arena, &f->ctx);
    f->ctx.threads = threads;
    f->spoil = spoil;
    f->source = (oxp_source){SAMPLES, f, get};
    for (size_t i = 0; i < K * N; i++)
        w[i] = (float)oxp_random_normal(&r);
    cr_assert_eq(oxp_model_new(&f->model, &f->ctx, 13), OXP_OK);
    io(f->model, "x", K, false);
    io(f->model, "y", N, true);
    cr_assert_eq(oxp_edit_add_initializer(f->model, oxp_model_graph(f->model), "w", OXP_FLOAT, 2,
                                          (int64_t[]){K, N}, w),
                 OXP_OK);
    node(f->model, maker, "x", NULL, "n");
    node(f->model, "MatMul", "n", "w", "y");
    cr_assert_eq(oxp_graph_build(&f->graph, &f->arena, f->model), OXP_OK);
}

static void start(fixture *f, int threads, int spoil)
{
    start_behind(f, "Neg", threads, spoil);
}

static oxp_status calibrate_on(fixture *f, const size_t *which, bool automatic, size_t second)
{
    oxp_watch watch = {f->graph, oxp_graph_find_value(f->graph, "n")};
    oxp_judge judge = {&f->graph->nodes[1], 0, true};
    oxp_calibration_options options = {
        .automatic = automatic, .percentile = 99.9, .second_pass = second};
    return oxp_calibrate(&f->ranges, &f->arena, f->graph, &f->source, which, SAMPLES, &watch, 1,
                         &judge, 1, &options);
}

static oxp_status calibrate(fixture *f, const size_t *which, bool automatic)
{
    return calibrate_on(f, which, automatic, 64);
}

static void stop(fixture *f)
{
    oxp_arena_free(&f->arena);
    oxp_model_free(f->model);
    cr_expect_eq(f->ctx.budget->used, 0);
}

Test(ranges, the_same_at_any_thread_count)
{
    oxp_range first = {0};
    for (int threads = 1; threads <= 4; threads++) {
        fixture f;
        start(&f, threads, 0);
        cr_assert_eq(calibrate(&f, NULL, true), OXP_OK, "%s", f.ctx.message);
        const oxp_range *r = &f.ranges.items[0];
        if (threads == 1)
            first = *r;
        cr_expect_eq(r->scale.scale, first.scale.scale);
        cr_expect_eq(r->scale.zero_point, first.scale.zero_point);
        cr_expect_eq(r->dynamic_error, first.dynamic_error);
        for (int m = 0; m < OXP_METHOD_COUNT; m++)
            cr_expect_eq(r->output_error[m], first.output_error[m], "%d threads", threads);
        stop(&f);
    }
}

Test(ranges, the_order_of_samples_changes_no_histogram)
{
    size_t backwards[SAMPLES];
    fixture a, b;
    for (size_t i = 0; i < SAMPLES; i++)
        backwards[i] = SAMPLES - 1 - i;
    start(&a, 2, 0);
    start(&b, 2, 0);
    cr_assert_eq(calibrate(&a, NULL, false), OXP_OK);
    cr_assert_eq(calibrate(&b, backwards, false), OXP_OK);
    cr_expect_eq(memcmp(a.ranges.items[0].seen, b.ranges.items[0].seen, sizeof(oxp_histogram)), 0);
    cr_expect_eq(a.ranges.items[0].seen->count, SAMPLES * 8 * K);
    stop(&a);
    stop(&b);
}

Test(ranges, auto_takes_the_least_error_and_sees_the_outlier)
{
    fixture f;
    start(&f, 2, 3);
    cr_assert_eq(calibrate(&f, NULL, true), OXP_OK);
    const oxp_range *r = &f.ranges.items[0];
    cr_expect(r->judged);
    for (int m = 0; m < OXP_METHOD_COUNT; m++)
        cr_expect_leq(r->output_error[r->method], r->output_error[m], "method %d", m);
    /* one sample's outlier spoils a fixed min-max range for all, a dynamic one for itself alone */
    cr_expect_lt(r->dynamic_error, r->output_error[OXP_METHOD_MINMAX]);
    stop(&f);
}

Test(ranges, a_mask_sets_no_range)
{
    fixture f;
    start(&f, 1, 1);
    cr_assert_eq(calibrate(&f, NULL, false), OXP_OK);
    cr_expect_lt(f.ranges.items[0].scale.scale, 0.1f);
    cr_expect_eq(f.ranges.items[0].seen->huge, SAMPLES);
    stop(&f);
}

Test(ranges, a_value_that_is_always_nan_is_named)
{
    fixture f;
    start(&f, 1, 2);
    cr_expect_eq(calibrate(&f, NULL, false), OXP_EDATA);
    cr_expect_str_eq(f.ctx.code, "E-CALIB-NONFINITE");
    cr_expect(strstr(f.ctx.message, "\"n\"") != NULL, "%s", f.ctx.message);
    stop(&f);
}

/* Its range is known, and the scale that is taken is the one that is judged. */
Test(ranges, a_softmax_has_a_fixed_scale)
{
    fixture f;
    start_behind(&f, "Softmax", 2, 0);
    cr_assert_eq(calibrate(&f, NULL, true), OXP_OK, "%s", f.ctx.message);
    const oxp_range *r = &f.ranges.items[0];
    cr_expect(r->fixed && r->judged);
    cr_expect_eq(r->scale.scale, 1.0f / 256.0f);
    cr_expect_eq(r->scale.zero_point, 0);
    cr_expect_gt(r->output_error[OXP_METHOD_MSE], 0);
    cr_expect_eq(r->output_error[OXP_METHOD_MINMAX], r->output_error[OXP_METHOD_MSE]);
    stop(&f);
}

/* Few samples tried: what they show is extended by the error of the input, which is known of all;
 * so the estimate knows the outlier, whichever sample holds it. */
Test(ranges, few_trials_tell_what_all_would)
{
    for (int spoil = 0; spoil <= 3; spoil += 3) {
        fixture all, few;
        start(&all, 2, spoil);
        start(&few, 2, spoil);
        cr_assert_eq(calibrate_on(&all, NULL, true, SAMPLES), OXP_OK);
        cr_assert_eq(calibrate_on(&few, NULL, true, 10), OXP_OK);
        const oxp_range *a = &all.ranges.items[0], *b = &few.ranges.items[0];
        cr_expect_eq(a->method, b->method);
        for (int m = 0; m < OXP_METHOD_COUNT; m++)
            if (a->output_error[m] < 4 * a->output_error[a->method])
                cr_expect(fabs(log(b->output_error[m] / a->output_error[m])) < 0.25,
                          "method %d: %g, of all samples %g", m, b->output_error[m],
                          a->output_error[m]);
        cr_expect(fabs(log(b->dynamic_error / a->dynamic_error)) < 0.25, "dynamic: %g, not %g",
                  b->dynamic_error, a->dynamic_error);
        stop(&all);
        stop(&few);
    }
}
