/* Fisher traces: a softmax of a linear layer, whose trace is E |a|^2 (1 - |p|^2), by every
 * estimator; a logistic and a gaussian output; rows; changes against the KL that they make. */
#include "calibration/fisher.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "onnx/edit.h"
#include "support/nodes.h"
#include "util/random.h"

enum { K = 6, C = 5, ROWS_MAX = 3 };

typedef struct fixture {
    oxp_ctx ctx;
    oxp_arena arena;
    oxp_model *model;
    oxp_graph *graph;
    int64_t rows;
    float w[K * C];
    oxp_source source;
    oxp_fisher_target target;
    double changes, *per_input; /* sum of (g . delta)^2; delta in `delta` */
    const float *delta;
} fixture;

static void input_of(float *x, size_t index, size_t n)
{
    oxp_random r = oxp_random_make(21, index, 0);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)oxp_random_normal(&r);
}

static oxp_status get(void *user, oxp_ctx *ctx, size_t index, oxp_tensor *inputs)
{
    const fixture *f = user;
    OXP_TRY(oxp_tensor_shape(inputs, ctx, OXP_FLOAT, 2, (int64_t[]){f->rows, K}, "x"));
    OXP_TRY(oxp_tensor_alloc(inputs, ctx, "x"));
    input_of(inputs->data, index, inputs->count);
    return OXP_OK;
}

static void io(fixture *f, const char *name, int64_t columns, bool output)
{
    oxp_value_info info = {
        .name = name, .dtype = OXP_FLOAT, .is_tensor = true, .rank = 2, .dims = {f->rows, columns}};
    oxp_graph_proto *g = oxp_model_graph(f->model);
    cr_assert_eq((output ? oxp_edit_add_output : oxp_edit_add_input)(f->model, g, &info), OXP_OK);
}

static void node(fixture *f, const char *type, size_t count, const char *a, const char *b,
                 const char *out)
{
    const char *inputs[2] = {a, b};
    cr_assert_eq(append_node(f->model, type, count, inputs, out, NULL), OXP_OK);
}

/* x [rows, K] . w [K, C] -> behind -> y; behind NULL: the logits themselves. */
static void start(fixture *f, const char *behind, int64_t rows, size_t inputs)
{
    memset(f, 0, sizeof *f);
    oxp_ctx_init(&f->ctx);
    oxp_arena_init(&f->arena, &f->ctx);
    f->rows = rows;
    f->source = (oxp_source){inputs, f, get};
    oxp_random r = oxp_random_make(22, 0, 0);
    for (size_t i = 0; i < K * C; i++)
        f->w[i] = (float)(0.7 * oxp_random_normal(&r));
    cr_assert_eq(oxp_model_new(&f->model, &f->ctx, 13), OXP_OK);
    io(f, "x", K, false);
    io(f, "y", C, true);
    cr_assert_eq(oxp_edit_add_initializer(f->model, oxp_model_graph(f->model), "w", OXP_FLOAT, 2,
                                          (int64_t[]){K, C}, f->w),
                 OXP_OK);
    node(f, "MatMul", 2, "x", "w", behind ? "z" : "y");
    if (behind)
        node(f, behind, 1, "z", NULL, "y");
    cr_assert_eq(oxp_graph_build(&f->graph, &f->arena, f->model), OXP_OK, "%s", f->ctx.message);
    f->target = (oxp_fisher_target){f->graph, oxp_graph_find_value(f->graph, "w")};
}

static void stop(fixture *f)
{
    oxp_arena_free(&f->arena);
    oxp_model_free(f->model);
}

static oxp_status on_gradient(void *user, oxp_ctx *ctx, int worker, size_t slot, size_t target,
                              double weight, const oxp_tensor *g)
{
    (void)ctx;
    (void)worker;
    (void)target;
    fixture *f = user;
    double a = 0;
    for (size_t i = 0; f->delta && i < g->count; i++)
        a += (double)((const float *)g->data)[i] * (double)f->delta[i];
    f->per_input[slot] += weight * a * a;
    return OXP_OK;
}

static double trace_of(fixture *f, oxp_estimator estimator, oxp_output_kind kind, double *error)
{
    oxp_fisher out;
    oxp_fisher_options options = {
        .estimator = estimator, .kinds = &kind, .gradient = on_gradient, .user = f};
    size_t n = f->source.count;
    f->per_input = calloc(n, sizeof *f->per_input);
    cr_assert(f->per_input);
    cr_assert_eq(
        oxp_fisher_run(&out, &f->arena, f->graph, &f->source, NULL, n, &f->target, 1, &options),
        OXP_OK, "%s", f->ctx.message);
    double mean = 0, square = 0;
    f->changes = 0;
    for (size_t i = 0; i < n; i++) {
        mean += out.squares[i] / (double)n;
        square += out.squares[i] * out.squares[i] / (double)n;
        f->changes += f->per_input[i] / (double)n;
    }
    free(f->per_input);
    if (error)
        *error = sqrt((square - mean * mean) / (double)n);
    return mean;
}

/* Probabilities of a row under weights w. */
static void softmax(double *p, const float *x, const float *w)
{
    double sum = 0;
    for (size_t c = 0; c < C; c++) {
        double z = 0;
        for (size_t k = 0; k < K; k++)
            z += (double)x[k] * (double)w[k * C + c];
        sum += p[c] = exp(z);
    }
    for (size_t c = 0; c < C; c++)
        p[c] /= sum;
}

/* E |a|^2 (1 - |p|^2), per row. */
static double exact_trace(const fixture *f)
{
    double total = 0;
    for (size_t i = 0; i < f->source.count; i++) {
        float x[ROWS_MAX * K];
        double p[C];
        input_of(x, i, (size_t)f->rows * K);
        for (int64_t r = 0; r < f->rows; r++) {
            double a = 0, pp = 0;
            softmax(p, x + r * K, f->w);
            for (size_t k = 0; k < K; k++)
                a += (double)x[r * K + (int64_t)k] * (double)x[r * K + (int64_t)k];
            for (size_t c = 0; c < C; c++)
                pp += p[c] * p[c];
            total += a * (1 - pp) / (double)f->rows;
        }
    }
    return total / (double)f->source.count;
}

Test(fisher, every_class_gives_the_exact_trace)
{
    static const char *const ends[] = {NULL, "Softmax", "LogSoftmax"};
    static const oxp_output_kind kinds[] = {OXP_KIND_LOGITS, OXP_KIND_PROBABILITIES,
                                            OXP_KIND_LOG_PROBABILITIES};
    for (size_t e = 0; e < 3; e++) {
        fixture f;
        start(&f, ends[e], 1, 40);
        double found = trace_of(&f, OXP_ESTIMATOR_EXACT, kinds[e], NULL), exact = exact_trace(&f);
        cr_expect_lt(fabs(found / exact - 1), 1e-4, "%g, exact %g", found, exact);
        stop(&f);
    }
}

Test(fisher, draws_agree_within_their_error)
{
    static const char *const ends[] = {NULL, "Softmax", "LogSoftmax"};
    static const oxp_output_kind kinds[] = {OXP_KIND_LOGITS, OXP_KIND_PROBABILITIES,
                                            OXP_KIND_LOG_PROBABILITIES};
    for (int64_t rows = 1; rows <= ROWS_MAX; rows += ROWS_MAX - 1)
        for (size_t e = 0; e < 3; e++)
            for (int estimator = 0; estimator < 2; estimator++) {
                fixture f;
                double error;
                start(&f, ends[e], rows, 2000);
                double found = trace_of(&f, (oxp_estimator)estimator, kinds[e], &error),
                       exact = exact_trace(&f);
                cr_expect_lt(fabs(found - exact), 4 * error, "%s, %lld rows: %g +- %g, exact %g",
                             oxp_estimator_name((oxp_estimator)estimator), (long long)rows, found,
                             error, exact);
                cr_expect_lt(error, 0.1 * exact);
                stop(&f);
            }
}

/* Labels that the model thinks most likely are no draw: they must be seen to differ. */
static const int64_t *most_likely(void *user, size_t index, size_t *count)
{
    static int64_t label[1];
    const fixture *f = user;
    float x[K];
    double p[C];
    input_of(x, index, K);
    softmax(p, x, f->w);
    label[0] = 0;
    for (int64_t c = 1; c < C; c++)
        label[0] = p[c] > p[label[0]] ? c : label[0];
    *count = 1;
    return label;
}

Test(fisher, likeliest_labels_are_not_the_fisher)
{
    fixture f;
    oxp_fisher out;
    oxp_output_kind kind = OXP_KIND_LOGITS;
    oxp_fisher_options options = {
        .estimator = OXP_ESTIMATOR_EMPIRICAL, .kinds = &kind, .labels = most_likely, .user = &f};
    start(&f, NULL, 1, 500);
    f.ctx.threads = 1;
    cr_assert_eq(
        oxp_fisher_run(&out, &f.arena, f.graph, &f.source, NULL, 500, &f.target, 1, &options),
        OXP_OK);
    double mean = 0;
    for (size_t i = 0; i < 500; i++)
        mean += out.squares[i] / 500;
    cr_expect_lt(mean, 0.8 * exact_trace(&f));
    stop(&f);
}

/* p(1 - p) |a|^2 per output for a logistic, |a|^2 C / power for real values. */
Test(fisher, logistic_and_gaussian_outputs)
{
    fixture f;
    double error, exact = 0, power = 0, size = 0;
    start(&f, "Sigmoid", 1, 2000);
    for (size_t i = 0; i < 2000; i++) {
        float x[K];
        double a = 0;
        input_of(x, i, K);
        for (size_t k = 0; k < K; k++)
            a += (double)x[k] * (double)x[k];
        size += a / 2000;
        for (size_t c = 0; c < C; c++) {
            double z = 0;
            for (size_t k = 0; k < K; k++)
                z += (double)x[k] * (double)f.w[k * C + c];
            double p = 1 / (1 + exp(-z));
            exact += a * p * (1 - p) / 2000;
            power += z * z / 2000;
        }
    }
    double found = trace_of(&f, OXP_ESTIMATOR_FACTOR, OXP_KIND_BERNOULLI, &error);
    cr_expect_lt(fabs(found - exact), 4 * error + 1e-4 * exact, "%g, exact %g", found, exact);
    found = trace_of(&f, OXP_ESTIMATOR_SAMPLED, OXP_KIND_BERNOULLI, &error);
    cr_expect_lt(fabs(found - exact), 4 * error, "%g, exact %g", found, exact);
    stop(&f);
    start(&f, NULL, 1, 2000);
    found = trace_of(&f, OXP_ESTIMATOR_FACTOR, OXP_KIND_GAUSSIAN, &error);
    cr_expect_lt(fabs(found / (size * C / power) - 1), 1e-3, "%g, exact %g", found,
                 size * C / power);
    stop(&f);
}

/* Embeddings f = x w: tr F = |x|^2 (C - 1) / |f|^2 per row, and 1/2 mean (g . delta)^2 is 1 - cos
 * of a small change; the length of f does not count. */
static void embed(double *f, const float *x, const float *w)
{
    for (size_t c = 0; c < C; c++) {
        f[c] = 0;
        for (size_t k = 0; k < K; k++)
            f[c] += (double)x[k] * (double)w[k * C + c];
    }
}

static double dot(const double *a, const double *b)
{
    double sum = 0;
    for (size_t c = 0; c < C; c++)
        sum += a[c] * b[c];
    return sum;
}

Test(fisher, embeddings_count_by_their_direction)
{
    float delta[K * C], moved[K * C];
    oxp_random r = oxp_random_make(24, 0, 0);
    for (size_t i = 0; i < K * C; i++)
        delta[i] = (float)(0.003 * oxp_random_normal(&r));
    for (int64_t rows = 1; rows <= ROWS_MAX; rows += ROWS_MAX - 1) {
        fixture f;
        double exact = 0, loss = 0, error;
        start(&f, NULL, rows, 3000);
        for (size_t i = 0; i < K * C; i++)
            moved[i] = f.w[i] + delta[i];
        for (size_t i = 0; i < f.source.count; i++) {
            float x[ROWS_MAX * K];
            double a[C], b[C];
            input_of(x, i, (size_t)rows * K);
            for (int64_t row = 0; row < rows; row++) {
                double size = 0, part = 1 / (double)rows / (double)f.source.count;
                embed(a, x + row * K, f.w);
                embed(b, x + row * K, moved);
                for (size_t k = 0; k < K; k++)
                    size += (double)x[row * K + (int64_t)k] * (double)x[row * K + (int64_t)k];
                exact += size * (C - 1) / dot(a, a) * part;
                loss += (1 - dot(a, b) / sqrt(dot(a, a) * dot(b, b))) * part;
            }
        }
        f.delta = delta;
        for (int estimator = 0; estimator < 2; estimator++) {
            double found = trace_of(&f, (oxp_estimator)estimator, OXP_KIND_EMBEDDING, &error);
            cr_expect_lt(fabs(found - exact), 3 * error, "%g +- %g, exact %g", found, error, exact);
            cr_expect_lt(fabs(0.5 * f.changes / loss - 1), 0.1,
                         "%lld rows: predicted %g, 1 - cos %g", (long long)rows, 0.5 * f.changes,
                         loss);
        }
        stop(&f);
    }
}

/* 1/2 mean (g . delta)^2 against the KL that delta makes, as delta shrinks. */
Test(fisher, predicted_loss_is_the_kl_of_a_small_change)
{
    fixture f;
    float delta[K * C], moved[K * C];
    oxp_random r = oxp_random_make(23, 0, 0);
    for (size_t i = 0; i < K * C; i++)
        delta[i] = (float)(0.01 * oxp_random_normal(&r));
    for (int64_t rows = 1; rows <= ROWS_MAX; rows += ROWS_MAX - 1) {
        start(&f, "Softmax", rows, 3000);
        double kl = 0;
        for (size_t i = 0; i < K * C; i++)
            moved[i] = f.w[i] + delta[i];
        for (size_t i = 0; i < f.source.count; i++) {
            float x[ROWS_MAX * K];
            double p[C], q[C];
            input_of(x, i, (size_t)rows * K);
            for (int64_t row = 0; row < rows; row++) {
                softmax(p, x + row * K, f.w);
                softmax(q, x + row * K, moved);
                for (size_t c = 0; c < C; c++)
                    kl += p[c] * log(p[c] / q[c]) / (double)rows / (double)f.source.count;
            }
        }
        f.delta = delta;
        trace_of(&f, OXP_ESTIMATOR_FACTOR, OXP_KIND_PROBABILITIES, NULL);
        cr_expect_lt(fabs(0.5 * f.changes / kl - 1), 0.1, "%lld rows: predicted %g, KL %g",
                     (long long)rows, 0.5 * f.changes, kl);
        stop(&f);
    }
}

Test(fisher, the_same_at_any_thread_count)
{
    double first = 0;
    for (int threads = 1; threads <= 3; threads++) {
        fixture f;
        start(&f, "Softmax", 2, 37);
        f.ctx.threads = threads;
        double trace = trace_of(&f, OXP_ESTIMATOR_FACTOR, OXP_KIND_PROBABILITIES, NULL);
        first = threads == 1 ? trace : first;
        cr_expect_eq(trace, first);
        stop(&f);
    }
}
