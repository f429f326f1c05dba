/* Second moments of what layers read, against patches taken one by one: Conv with groups, strides,
 * dilations and padding, MatMul of rank 3, Gemm with a transposed weight, blocks, rounded inputs,
 * centring, and the same at any number of threads. */
#include "calibration/moments.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "calibration/source.h"
#include "onnx/edit.h"
#include "util/random.h"

#define SAMPLES 11 /* more than one batch */

typedef struct fixture {
    oxp_ctx ctx;
    oxp_arena arena;
    oxp_model *model;
    oxp_graph *graph;
    oxp_samples samples;
    size_t which[SAMPLES];
} fixture;

typedef struct net {
    const char *type;
    int x_rank, w_rank;
    int64_t x[4], w[4];
    bool transposed;
    int64_t group, strides[2], dilations[2], pads[4];
} net;

static const net convolution = {"Conv", 4, 4,      {2, 4, 7, 6}, {6, 2, 3, 2},
                                false,  2, {2, 1}, {1, 2},       {1, 0, 2, 1}};
static const net product = {"MatMul", 3, 2,      {2, 3, 5}, {5, 4},
                            false,    0, {0, 0}, {0, 0},    {0, 0, 0, 0}};
static const net gemm = {"Gemm", 2, 2, {6, 5}, {4, 5}, true, 0, {0, 0}, {0, 0}, {0, 0, 0, 0}};

static void set_attributes(oxp_model *m, oxp_node_proto *n, const net *t)
{
    if (t->transposed)
        cr_assert_eq(oxp_edit_set_int(m, n, "transB", 1), OXP_OK);
    if (!t->group)
        return;
    cr_assert_eq(oxp_edit_set_int(m, n, "group", t->group), OXP_OK);
    cr_assert_eq(oxp_edit_set_ints(m, n, "strides", 2, t->strides), OXP_OK);
    cr_assert_eq(oxp_edit_set_ints(m, n, "dilations", 2, t->dilations), OXP_OK);
    cr_assert_eq(oxp_edit_set_ints(m, n, "pads", 4, t->pads), OXP_OK);
}

static void start(fixture *f, const net *t, int threads)
{
    float weights[256] = {0};
    oxp_input_options options = OXP_INPUT_OPTIONS_INIT;
    memset(f, 0, sizeof *f);
    oxp_ctx_init(&f->ctx);
    f->ctx.threads = threads;
    oxp_arena_init(&f->arena, &f->ctx);
    cr_assert_eq(oxp_model_new(&f->model, &f->ctx, 13), OXP_OK);
    oxp_graph_proto *g = oxp_model_graph(f->model);
    oxp_value_info in = {.name = "x", .dtype = OXP_FLOAT, .is_tensor = true, .rank = t->x_rank};
    oxp_value_info out = {.name = "y", .dtype = OXP_FLOAT, .is_tensor = true, .rank = -1};
    memcpy(in.dims, t->x, sizeof t->x);
    cr_assert_eq(oxp_edit_add_input(f->model, g, &in), OXP_OK);
    cr_assert_eq(oxp_edit_add_output(f->model, g, &out), OXP_OK);
    cr_assert_eq(oxp_edit_add_initializer(f->model, g, "w", OXP_FLOAT, t->w_rank, t->w, weights),
                 OXP_OK);
    const char *inputs[2] = {"x", "w"}, *output = "y";
    oxp_new_node made = {t->type, "", "n", 2, 1, inputs, &output};
    oxp_node_proto *n;
    cr_assert_eq(oxp_edit_insert_node(&n, f->model, g, 0, &made), OXP_OK);
    set_attributes(f->model, n, t);
    cr_assert_eq(oxp_graph_build(&f->graph, &f->arena, f->model), OXP_OK, "%s", f->ctx.message);
    options.random_samples = SAMPLES;
    cr_assert_eq(oxp_samples_open(&f->samples, &f->ctx, f->graph, NULL, NULL, &options), OXP_OK);
    for (size_t i = 0; i < SAMPLES; i++)
        f->which[i] = i;
}

static void stop(fixture *f)
{
    oxp_samples_close(&f->samples);
    oxp_arena_free(&f->arena);
    oxp_model_free(f->model);
    cr_expect_eq(f->ctx.budget->used, 0);
}

static oxp_moments collect(fixture *f, size_t block, size_t wanted, bool centred,
                           const oxp_scale *scale)
{
    const oxp_graph_node **nodes = oxp_arena_alloc(&f->arena, 1, sizeof *nodes);
    oxp_moments m = {.nodes = nodes, .node_count = 1, .scale = scale, .centred = centred};
    size_t unit;
    nodes[0] = &f->graph->nodes[0];
    cr_assert(oxp_moments_shape(nodes[0], &m.groups, &m.columns, &unit));
    m.block = block ? block : m.columns;
    m.wanted = wanted;
    m.h = oxp_arena_alloc(&f->arena, oxp_moments_floats(&m), sizeof *m.h);
    m.mean = oxp_arena_alloc(&f->arena, m.groups * m.columns, sizeof *m.mean);
    m.code_mean = oxp_arena_alloc(&f->arena, m.groups * m.columns, sizeof *m.code_mean);
    cr_assert_eq(
        oxp_moments_collect(&m, 1, &f->ctx, f->graph, &f->samples.source, f->which, SAMPLES),
        OXP_OK, "%s", f->ctx.message);
    return m;
}

#define MOST 32 /* columns of all groups */

/* One patch or row of a sample, as the definition has it; returns false behind the last. */
static bool row_of(const net *t, const float *x, size_t position, double *out)
{
    if (!t->group) {
        size_t columns = (size_t)t->x[t->x_rank - 1], rows = 1;
        for (int i = 0; i < t->x_rank - 1; i++)
            rows *= (size_t)t->x[i];
        for (size_t k = 0; position < rows && k < columns; k++)
            out[k] = (double)x[position * columns + k];
        return position < rows;
    }
    int64_t outs[2], at = (int64_t)position, k = 0;
    for (int a = 0; a < 2; a++)
        outs[a] = (t->x[2 + a] + t->pads[a] + t->pads[2 + a] -
                   (t->dilations[a] * (t->w[2 + a] - 1) + 1)) /
                      t->strides[a] +
                  1;
    if (at >= t->x[0] * outs[0] * outs[1])
        return false;
    int64_t n = at / (outs[0] * outs[1]), o0 = at / outs[1] % outs[0], o1 = at % outs[1];
    for (int64_t c = 0; c < t->x[1]; c++)
        for (int64_t i = 0; i < t->w[2]; i++)
            for (int64_t j = 0; j < t->w[3]; j++) {
                int64_t h = o0 * t->strides[0] + i * t->dilations[0] - t->pads[0];
                int64_t w = o1 * t->strides[1] + j * t->dilations[1] - t->pads[1];
                bool in = h >= 0 && h < t->x[2] && w >= 0 && w < t->x[3];
                out[k++] = in ? (double)x[((n * t->x[1] + c) * t->x[2] + h) * t->x[3] + w] : 0;
            }
    return true;
}

typedef struct expected {
    double h[MOST][MOST], mean[MOST], rows;
} expected;

static void expect_of(fixture *f, const net *t, const oxp_scale *scale, expected *e)
{
    memset(e, 0, sizeof *e);
    for (size_t s = 0; s < SAMPLES; s++) {
        oxp_tensor x = {0};
        double row[MOST] = {0};
        cr_assert_eq(f->samples.source.get(f->samples.source.user, &f->ctx, s, &x), OXP_OK);
        if (scale)
            oxp_fake_quantise_u8(x.data, x.data, x.count, *scale, 255);
        for (size_t p = 0; row_of(t, x.data, p, row); p++, e->rows++)
            for (size_t i = 0; i < MOST; i++) {
                e->mean[i] += row[i];
                for (size_t j = 0; j < MOST; j++)
                    e->h[i][j] += row[i] * row[j];
            }
        oxp_tensor_release(&x);
    }
    for (size_t i = 0; i < MOST; i++) {
        e->mean[i] /= e->rows;
        for (size_t j = 0; j < MOST; j++)
            e->h[i][j] /= e->rows;
    }
}

static void check(const net *t, size_t block, bool centred, const oxp_scale *scale)
{
    fixture f;
    expected e;
    start(&f, t, 2);
    oxp_moments m = collect(&f, block, 10000, centred, scale);
    expect_of(&f, t, scale, &e);
    cr_expect_eq((double)m.rows, e.rows, "%s: %zu rows", t->type, m.rows);
    for (size_t g = 0; g < m.groups; g++)
        for (size_t b = 0; b < oxp_moments_blocks(&m); b++)
            for (size_t n = oxp_moments_width(&m, b), i = 0; i < n; i++)
                for (size_t j = 0; j < n; j++) {
                    size_t row = g * m.columns + b * m.block + i, column = row - i + j;
                    double h = e.h[row][column] - (centred ? e.mean[row] * e.mean[column] : 0);
                    cr_assert_float_eq(oxp_moments_block(&m, g, b)[i * n + j], h, 2e-5,
                                       "%s: H[%zu][%zu]", t->type, row, column);
                }
    for (size_t i = 0; i < m.groups * m.columns; i++)
        cr_assert_float_eq(m.code_mean[i], e.mean[i], 1e-6, "%s: mean %zu", t->type, i);
    stop(&f);
}

Test(moments, patches_and_rows_as_defined)
{
    const oxp_scale coarse = {0.25f, 100};
    const net *nets[] = {&convolution, &product, &gemm};
    for (size_t i = 0; i < 3; i++) {
        check(nets[i], 0, false, NULL);
        check(nets[i], 4, false, NULL);
        check(nets[i], 0, true, NULL);
        check(nets[i], 0, true, &coarse);
    }
}

Test(moments, some_positions_the_same_at_any_thread_count)
{
    float kept[288];
    for (int threads = 1; threads <= 3; threads++) {
        fixture f;
        start(&f, &convolution, threads);
        oxp_moments m = collect(&f, 0, 9, true, NULL);
        cr_expect_eq(m.rows, 9 * SAMPLES);
        cr_assert_eq(oxp_moments_floats(&m), 288);
        if (threads == 1)
            memcpy(kept, m.h, sizeof kept);
        cr_expect_eq(memcmp(kept, m.h, sizeof kept), 0, "%d threads", threads);
        stop(&f);
    }
}

Test(moments, what_is_no_row_is_not_seen)
{
    fixture f;
    net left = gemm;
    size_t groups, columns, unit;
    left.x[0] = 5;
    start(&f, &left, 1);
    cr_assert_eq(oxp_edit_set_int(f.model, f.graph->nodes[0].proto, "transA", 1), OXP_OK);
    cr_assert_eq(oxp_graph_build(&f.graph, &f.arena, f.model), OXP_OK);
    cr_expect_not(oxp_moments_shape(&f.graph->nodes[0], &groups, &columns, &unit));
    stop(&f);
}
