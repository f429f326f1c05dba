/* Sample counts: known answers on a graph of one watched value, per method and per maker. */
#include "calibration/sample_counts.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "onnx/edit.h"
#include "support/nodes.h"
#include "util/random.h"

enum { ELEMENTS = 4096 };

typedef struct fixture {
    oxp_ctx ctx;
    oxp_arena arena;
    oxp_model *model;
    oxp_graph *graph;
    oxp_ranges ranges;
    oxp_input_statistics statistics;
} fixture;

static oxp_status get(void *user, oxp_ctx *ctx, size_t index, oxp_tensor *inputs)
{
    (void)user;
    int64_t dims[1] = {ELEMENTS};
    OXP_TRY(oxp_tensor_shape(inputs, ctx, OXP_FLOAT, 1, dims, "x"));
    OXP_TRY(oxp_tensor_alloc(inputs, ctx, "x"));
    oxp_random r = oxp_random_make(3, index, 0);
    float *x = inputs->data;
    for (size_t i = 0; i < inputs->count; i++)
        x[i] = (float)oxp_random_normal(&r);
    return OXP_OK;
}

static void io(oxp_model *m, const char *name, bool output)
{
    oxp_value_info info = {
        .name = name, .dtype = OXP_FLOAT, .is_tensor = true, .rank = 1, .dims = {ELEMENTS}};
    oxp_graph_proto *g = oxp_model_graph(m);
    cr_assert_eq((output ? oxp_edit_add_output : oxp_edit_add_input)(m, g, &info), OXP_OK);
}

static void node(oxp_model *m, const char *type, const char *in, const char *out)
{
    cr_assert_eq(append_node(m, type, 1, &in, out, NULL), OXP_OK);
}

/* x -> maker -> n -> Neg -> y; n is watched over `fit` samples and looked at over `seen`. */
static void start(fixture *f, const char *maker, oxp_method method, size_t fit, size_t seen,
                  double percentile)
{
    memset(f, 0, sizeof *f);
    oxp_ctx_init(&f->ctx);
    oxp_arena_init(&f->arena, &f->ctx);
    cr_assert_eq(oxp_model_new(&f->model, &f->ctx, 13), OXP_OK);
    io(f->model, "x", false);
    io(f->model, "y", true);
    node(f->model, maker, "x", "n");
    node(f->model, "Neg", "n", "y");
    cr_assert_eq(oxp_graph_build(&f->graph, &f->arena, f->model), OXP_OK);
    oxp_watch watch = {f->graph, f->graph->nodes[0].outputs[0]};
    oxp_source source = {seen, f, get};
    oxp_calibration_options options = {.method = method, .percentile = percentile};
    cr_assert_eq(oxp_calibrate(&f->ranges, &f->arena, f->graph, &source, NULL, fit, &watch, 1, NULL,
                               0, &options),
                 OXP_OK);
    cr_assert_eq(oxp_input_statistics_collect(&f->statistics, &f->arena, f->graph, &source, NULL,
                                              seen, &f->ranges),
                 OXP_OK);
}

static void stop(fixture *f)
{
    oxp_model_free(f->model);
    oxp_arena_free(&f->arena);
    oxp_ctx_clear(&f->ctx);
}

static oxp_sample_counts ask(fixture *f, double tolerance, size_t inputs)
{
    oxp_sample_counts c;
    cr_assert_eq(oxp_sample_counts_make(&c, &f->arena, f->graph, &f->ranges, &f->statistics,
                                        tolerance, 0.95, inputs),
                 OXP_OK);
    return c;
}

Test(sample_counts, extremes_of_one_end_and_of_two)
{
    fixture f;
    start(&f, "Relu", OXP_METHOD_MINMAX, 20, 20, 99.999); /* below 0 nothing can come */
    oxp_sample_counts c = ask(&f, 0.05, 0);
    cr_assert_eq(c.count, 1);
    cr_expect_eq(c.rows[0].statistic, OXP_STATISTIC_OUTSIDE);
    cr_expect_eq(c.rows[0].method, OXP_INTERVAL_ORDER_STATISTICS);
    cr_expect_eq(c.rows[0].needed, 59); /* ln 0.05 / ln 0.95 */
    cr_expect_lt(fabs(c.rows[0].half_width - (1 - pow(0.05, 1.0 / 20))), 1e-12);
    cr_expect_not(c.rows[0].enough);
    cr_expect(ask(&f, 0.05, 59).rows[0].enough);
    cr_expect_not(ask(&f, 0.05, 58).rows[0].enough);
    stop(&f);
    start(&f, "Identity", OXP_METHOD_MINMAX, 20, 20, 99.999);
    c = ask(&f, 0.05, 0);
    cr_expect_eq(c.rows[0].needed, 146); /* ln 0.025 / ln 0.975 */
    stop(&f);
}

/* Of a normal tensor cut at its 5 and 95 per cent, a tenth of the values lies outside. */
Test(sample_counts, values_cut_off_are_counted_one_an_input)
{
    fixture f;
    start(&f, "Identity", OXP_METHOD_PERCENTILE, 400, 400, 90);
    oxp_sample_counts c = ask(&f, 0.05, 0);
    size_t outside = 0;
    for (size_t k = 0; k < 400; k++)
        outside += oxp_input_statistics_at(&f.statistics, k, 0)->outside;
    cr_expect(outside >= 20 && outside <= 64, "%zu of 400", outside); /* 40 expected, sd 6 */
    oxp_interval i = oxp_interval_proportion(outside, 400, 0.95);
    double share = (double)outside / 400;
    cr_expect_eq(c.rows[0].method, OXP_INTERVAL_CLOPPER_PEARSON);
    cr_expect_lt(fabs(c.rows[0].half_width - fmax(i.high - share, share - i.low)), 1e-12);
    stop(&f);
}

Test(sample_counts, scales_of_least_error_go_with_the_root_of_n)
{
    fixture f;
    start(&f, "Identity", OXP_METHOD_MSE, 40, 40, 99.999);
    oxp_sample_counts few = ask(&f, 0.05, 0), many = ask(&f, 0.05, 160);
    cr_assert_eq(few.rows[0].statistic, OXP_STATISTIC_SCALE);
    cr_expect_eq(few.rows[0].method, OXP_INTERVAL_SANDWICH);
    cr_expect_lt(fabs(few.rows[0].half_width / many.rows[0].half_width - 2), 1e-9);
    /* 0.316 sqrt(1 / 163840) / 0.0309 of the scale is its error on a normal tensor */
    double expected = 1.96 * 0.316 / sqrt(40.0 * ELEMENTS) / 0.0309;
    cr_expect_lt(fabs(log(few.rows[0].half_width / expected)), log(2.5), "%g, expected %g",
                 few.rows[0].half_width, expected);
    stop(&f);
}

Test(sample_counts, known_ranges_bound_their_means)
{
    fixture f;
    start(&f, "Sigmoid", OXP_METHOD_MINMAX, 40, 40, 99.999);
    oxp_sample_counts c = ask(&f, 0.05, 0);
    cr_assert_eq(c.count, 2); /* each at half of the error */
    cr_expect_eq(c.rows[1].statistic, OXP_STATISTIC_MEAN);
    cr_expect(oxp_interval_is_guaranteed(c.rows[1].method));
    cr_expect_leq(c.rows[1].half_width, oxp_hoeffding_half_width(1, 40, 0.0125) + 1e-12);
    cr_expect_eq(c.needed,
                 c.rows[0].needed > c.rows[1].needed ? c.rows[0].needed : c.rows[1].needed);
    stop(&f);
    start(&f, "Identity", OXP_METHOD_MINMAX, 40, 40, 99.999);
    cr_expect_eq(ask(&f, 0.05, 0).count, 1); /* no range is known: none is guessed */
    stop(&f);
}
