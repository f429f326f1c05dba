/* Calibration artefacts: what is written is read back; sums of rows against sums taken one by one,
 * in whatever chunks; halves merge into the whole, integers to the bit and sums to 1e-12; what was
 * damaged, and what no artefact can be, is refused. */
#include "calibration/artefact.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "calibration/artefact_rows.h"
#include "calibration/checkpoint.h"
#include "util/random.h"

enum { SAMPLES = 12, TENSORS = 3, LAYERS = 3, TARGETS = 2, MOST_ROWS = 9 };

static const size_t groups_of[LAYERS] = {1, 2, 3}, columns_of[LAYERS] = {150, 40, 9};

typedef struct fixture {
    oxp_ctx ctx;
    char directory[64], path[96];
} fixture;

static void start(fixture *f)
{
    oxp_ctx_init(&f->ctx);
    strcpy(f->directory, "/tmp/onnxpress-artefact-XXXXXX");
    cr_assert_not_null(mkdtemp(f->directory));
    snprintf(f->path, sizeof f->path, "%s/a.oxc", f->directory);
}

static void stop(fixture *f)
{
    unlink(f->path);
    cr_assert_eq(rmdir(f->directory), 0);
    cr_assert_eq(f->ctx.own_budget.used, 0, "%zu bytes are left", f->ctx.own_budget.used);
}

/* ---- an artefact of samples first..first + count - 1 ---- */

static float value(size_t sample, size_t item, size_t i)
{
    oxp_random r = oxp_random_make(7, sample, item * 100000 + i);
    double x = oxp_random_normal(&r);
    return (float)(x * (1 + (double)item) + 0.3);
}

static size_t rows_of(size_t sample, size_t layer)
{
    return (sample * 5 + layer) % MOST_ROWS;
}

static void fill_rows(oxp_artefact *a, size_t first, size_t count)
{
    oxp_artefact_layer *layers[LAYERS];
    oxp_sample_rows rows[SAMPLES * LAYERS];
    memset(rows, 0, sizeof rows);
    for (size_t l = 0; l < LAYERS; l++)
        layers[l] = &a->layers[l];
    for (size_t s = 0; s < count; s++)
        for (size_t l = 0; l < LAYERS; l++) {
            oxp_sample_rows *r = &rows[s * LAYERS + l];
            size_t width = groups_of[l] * columns_of[l];
            r->count = rows_of(first + s, l);
            cr_assert_eq(oxp_alloc(&r->x, a->ctx, MOST_ROWS * width, sizeof *r->x, "rows"), OXP_OK);
            for (size_t i = 0; i < r->count * width; i++)
                r->x[i] = value(first + s, 10 + l, i);
        }
    cr_assert_eq(oxp_rows_add(a->ctx, layers, LAYERS, rows, count), OXP_OK);
}

static void fill_tensors(oxp_artefact *a, size_t first, size_t count)
{
    for (size_t t = 0; t < TENSORS; t++) {
        oxp_artefact_tensor *at = &a->tensors[t];
        oxp_histogram h;
        oxp_histogram_init(&h);
        for (size_t s = 0; s < count; s++) {
            float x[500];
            for (size_t i = 0; i < 500; i++)
                x[i] = t == 2 ? 0 : value(first + s, t, i);
            oxp_histogram_add(&h, x, t == 2 ? 0 : 500);
            oxp_extremes(x, 500, &at->low[s], &at->high[s]);
            if (t == 2) /* a sample that had no element */
                at->low[s] = at->high[s] = NAN;
            if (at->is_dynamic)
                at->dynamic_errors[s] = (double)x[0];
        }
        cr_assert_eq(oxp_histogram_pack(&at->packed, &at->packed_bytes, a->ctx, &h), OXP_OK);
        at->done = count;
    }
}

static void fill_samples(oxp_artefact *a, size_t first, size_t count)
{
    a->sample_count = count + 1; /* and one that is set aside */
    a->used = count;
    a->hashes = oxp_arena_alloc(&a->arena, count + 1, sizeof *a->hashes);
    a->is_held = oxp_arena_alloc(&a->arena, count + 1, 1);
    for (size_t s = 0; s <= count; s++)
        a->hashes[s] = 1000 + first + s + (s == count ? 500 : 0);
    a->is_held[count] = 1;
}

static void make_tables(oxp_artefact *a)
{
    static const char *const nodes[] = {"one", "two"};
    a->moments = OXP_KEEP_FULL;
    a->identity = (oxp_artefact_identity){.model_hash = 1,
                                          .model_bytes = 2,
                                          .prepared_hash = 3,
                                          .data_count = 1,
                                          .options = "seed=0\nmoments=full\n",
                                          .isa = "avx2",
                                          .version = "0.1.0"};
    a->identity.data_hashes = oxp_arena_alloc(&a->arena, 1, sizeof(uint64_t));
    a->tensor_count = TENSORS;
    a->layer_count = LAYERS;
    a->tensors = oxp_arena_alloc(&a->arena, TENSORS, sizeof *a->tensors);
    a->layers = oxp_arena_alloc(&a->arena, LAYERS, sizeof *a->layers);
    for (size_t t = 0; t < TENSORS; t++)
        a->tensors[t] = (oxp_artefact_tensor){.name = oxp_arena_printf(&a->arena, "t%zu", t),
                                              .graph_id = t % 2,
                                              .is_dynamic = t == 1};
    for (size_t l = 0; l < LAYERS; l++) {
        a->layers[l] = (oxp_artefact_layer){
            .value = "x", .node_count = 2, .groups = groups_of[l], .columns = columns_of[l]};
        a->layers[l].nodes = oxp_arena_alloc(&a->arena, 2, sizeof(char *));
        memcpy(a->layers[l].nodes, nodes, sizeof nodes);
        cr_assert_eq(oxp_alloc(&a->layers[l].h, a->ctx, oxp_layer_triangle(&a->layers[l]),
                               sizeof(double), "h"),
                     OXP_OK);
    }
    oxp_artefact_fisher *f = &a->fisher;
    f->estimator = "factor";
    f->output_count = 1;
    f->is_powered = oxp_arena_alloc(&a->arena, 1, 1);
    f->is_powered[0] = 1;
    f->is_unscaled = true;
    f->target_count = TARGETS;
    f->targets = oxp_arena_alloc(&a->arena, TARGETS, sizeof *f->targets);
    for (size_t t = 0; t < TARGETS; t++)
        f->targets[t] = (oxp_artefact_target){"w", t, 100 + t};
}

static void make(oxp_artefact *a, oxp_ctx *ctx, size_t first, size_t count, size_t chunk)
{
    oxp_artefact_init(a, ctx);
    make_tables(a);
    a->identity.data_hashes[0] = first;
    fill_samples(a, first, count);
    cr_assert_eq(oxp_artefact_make_room(a), OXP_OK);
    fill_tensors(a, first, count);
    for (size_t s = 0; s < count; s += chunk)
        fill_rows(a, first + s, chunk < count - s ? chunk : count - s);
    for (size_t l = 0; l < LAYERS; l++)
        a->layers[l].done = count;
    for (size_t s = 0; s < count; s++) {
        a->fisher.powers[s] = 1 + (double)(first + s);
        for (size_t t = 0; t < TARGETS; t++)
            a->fisher.squares[s * TARGETS + t] = (double)(first + s) + 0.1 * (double)t;
    }
    a->fisher.done = a->fisher.powers_done = count;
}

static const oxp_artefact_parts everything = {.histograms = true, .moments = true, .fisher = true};

static void write_file(fixture *f, oxp_artefact *a, oxp_oxc_kind kind)
{
    oxp_output_options options = {.force = true};
    oxp_output_file *file;
    cr_assert_eq(oxp_output_open(&file, &f->ctx, f->path, &options), OXP_OK);
    cr_assert_eq(oxp_artefact_write(file, a, kind, NULL, NULL), OXP_OK, "%s", f->ctx.message);
    cr_assert_eq(oxp_output_publish(file), OXP_OK);
}

/* ---- sums ---- */

Test(artefact, sums_are_those_of_rows_taken_one_by_one)
{
    fixture f;
    start(&f);
    oxp_artefact a;
    make(&a, &f.ctx, 0, SAMPLES, 5);
    for (size_t l = 0; l < LAYERS; l++) {
        const oxp_artefact_layer *at = &a.layers[l];
        size_t n = at->columns, width = at->groups * n, rows = 0;
        for (size_t s = 0; s < SAMPLES; s++)
            rows += rows_of(s, l);
        cr_assert_eq(at->rows, rows);
        for (size_t g = 0; g < at->groups; g++)
            for (size_t i = 0; i < n; i += 7)
                for (size_t j = i; j < n; j += 3) {
                    double sum = 0, size = 0;
                    for (size_t s = 0; s < SAMPLES; s++)
                        for (size_t r = 0; r < rows_of(s, l); r++) {
                            double x = (double)value(s, 10 + l, r * width + g * n + i);
                            double y = (double)value(s, 10 + l, r * width + g * n + j);
                            sum += x * y;
                            size += fabs(x * y);
                        }
                    double found = at->h[g * n * (n + 1) / 2 + oxp_triangle_at(n, i, j)];
                    cr_assert_float_eq(found, sum, 1e-6 * size, "layer %zu [%zu, %zu]: %g, %g", l,
                                       i, j, found, sum);
                    if (i == j)
                        cr_assert_float_eq(at->squares[g * n + i], sum, 1e-13 * size);
                }
    }
    oxp_artefact_free(&a);
    stop(&f);
}

Test(artefact, chunks_and_threads_do_not_show)
{
    fixture f;
    start(&f);
    oxp_artefact a, b;
    f.ctx.threads = 1;
    make(&a, &f.ctx, 0, SAMPLES, 1);
    f.ctx.threads = 4;
    make(&b, &f.ctx, 0, SAMPLES, SAMPLES);
    for (size_t l = 0; l < LAYERS; l++) {
        size_t bytes = oxp_layer_triangle(&a.layers[l]) * sizeof(double);
        size_t width = groups_of[l] * columns_of[l] * sizeof(double);
        cr_assert_eq(memcmp(a.layers[l].h, b.layers[l].h, bytes), 0);
        cr_assert_eq(memcmp(a.layers[l].sums, b.layers[l].sums, width), 0);
        cr_assert_eq(memcmp(a.layers[l].squares, b.layers[l].squares, width), 0);
    }
    oxp_artefact_free(&a);
    oxp_artefact_free(&b);
    stop(&f);
}

/* ---- histograms as bytes ---- */

Test(artefact, histograms_come_back_from_their_bytes)
{
    fixture f;
    start(&f);
    static const float scales[] = {0, 1e-40f, 1e-3f, 1, 1e29f};
    for (size_t k = 0; k < sizeof scales / sizeof *scales; k++) {
        oxp_histogram h, back;
        oxp_oxc_reader r = {.ctx = &f.ctx, .path = "h"};
        uint8_t *packed;
        size_t bytes;
        float x[3000];
        oxp_histogram_init(&h);
        for (size_t i = 0; i < 3000; i++)
            x[i] = fmaxf(-9, fminf(9, value(1, k, i))) * scales[k];
        x[17] = NAN;
        x[18] = -INFINITY;
        oxp_histogram_add(&h, x, 3000);
        cr_assert_eq(oxp_histogram_pack(&packed, &bytes, &f.ctx, &h), OXP_OK);
        oxp_oxc_cursor c = {.reader = &r, .at = packed, .end = packed + bytes};
        cr_assert_eq(oxp_histogram_unpack(&back, &c), OXP_OK, "%s", f.ctx.message);
        cr_assert_eq(oxp_oxc_section_end(&c), OXP_OK);
        cr_assert_eq(memcmp(&h, &back, sizeof h), 0, "scale %g", (double)scales[k]);
        for (size_t cut = 0; cut < bytes; cut += 13) {
            oxp_oxc_cursor less = {.reader = &r, .at = packed, .end = packed + cut};
            cr_assert_eq(oxp_histogram_unpack(&back, &less), OXP_EFORMAT);
            oxp_ctx_clear(&f.ctx);
        }
        oxp_free(packed);
    }
    stop(&f);
}

/* ---- files ---- */

Test(artefact, what_is_written_is_read_back)
{
    fixture f;
    start(&f);
    oxp_artefact a, b;
    make(&a, &f.ctx, 0, SAMPLES, 5);
    write_file(&f, &a, OXP_OXC_ARTEFACT);
    cr_assert_eq(oxp_artefact_read(&b, &f.ctx, f.path, OXP_OXC_ARTEFACT, &everything, NULL), OXP_OK,
                 "%s", f.ctx.message);
    cr_assert_eq(oxp_artefact_same_work(&a, &b, f.path), OXP_OK, "%s", f.ctx.message);
    cr_assert_eq(b.used, SAMPLES);
    for (size_t t = 0; t < TENSORS; t++) {
        cr_assert_eq(a.tensors[t].packed_bytes, b.tensors[t].packed_bytes);
        cr_assert_eq(memcmp(a.tensors[t].packed, b.tensors[t].packed, b.tensors[t].packed_bytes),
                     0);
        cr_assert_eq(memcmp(a.tensors[t].low, b.tensors[t].low, SAMPLES * sizeof(float)), 0);
        cr_assert_eq(memcmp(a.tensors[t].high, b.tensors[t].high, SAMPLES * sizeof(float)), 0);
    }
    for (size_t l = 0; l < LAYERS; l++)
        for (size_t i = 0; i < oxp_layer_triangle(&a.layers[l]); i++)
            cr_assert_eq(b.layers[l].h_whole[i], (float)a.layers[l].h[i]);
    cr_assert_eq(memcmp(a.fisher.squares, b.fisher.squares, SAMPLES * TARGETS * sizeof(double)), 0);
    cr_assert_float_eq(oxp_artefact_scale(&b), 1 / 6.5, 1e-12); /* mean of 1..12 */
    oxp_artefact_free(&a);
    oxp_artefact_free(&b);
    stop(&f);
}

Test(artefact, a_checkpoint_keeps_growing_sums_in_double)
{
    fixture f;
    start(&f);
    oxp_artefact a, b;
    make(&a, &f.ctx, 0, SAMPLES, 5);
    a.layers[0].done = 5;
    write_file(&f, &a, OXP_OXC_CHECKPOINT);
    cr_assert_eq(oxp_artefact_read(&b, &f.ctx, f.path, OXP_OXC_ARTEFACT, &everything, NULL),
                 OXP_EFORMAT);
    cr_assert_str_eq(f.ctx.code, "E-OXC-KIND");
    oxp_artefact_free(&b);
    oxp_ctx_clear(&f.ctx);
    cr_assert_eq(oxp_artefact_read(&b, &f.ctx, f.path, OXP_OXC_CHECKPOINT, &everything, NULL),
                 OXP_OK, "%s", f.ctx.message);
    cr_assert_eq(b.layers[0].done, 5);
    cr_assert_eq(b.layers[1].done, SAMPLES);
    cr_assert_null(b.layers[0].h_whole);
    cr_assert_eq(
        memcmp(a.layers[0].h, b.layers[0].h, oxp_layer_triangle(&a.layers[0]) * sizeof(double)), 0);
    oxp_artefact_free(&a);
    oxp_artefact_free(&b);
    stop(&f);
}

/* ---- merging ---- */

static void read_whole(fixture *f, oxp_artefact *out, size_t first, size_t count)
{
    oxp_artefact a;
    make(&a, &f->ctx, first, count, 3);
    write_file(f, &a, OXP_OXC_ARTEFACT);
    oxp_artefact_free(&a);
    cr_assert_eq(oxp_artefact_read(out, &f->ctx, f->path, OXP_OXC_ARTEFACT, &everything, NULL),
                 OXP_OK, "%s", f->ctx.message);
}

Test(artefact, halves_merge_into_the_whole)
{
    fixture f;
    start(&f);
    oxp_artefact whole, a, b;
    read_whole(&f, &whole, 0, SAMPLES);
    read_whole(&f, &a, 0, 5);
    read_whole(&f, &b, 5, SAMPLES - 5);
    cr_assert_eq(oxp_artefact_merge(&a, "a", &b, "b"), OXP_OK, "%s", f.ctx.message);
    cr_assert_eq(a.used, SAMPLES);
    cr_assert_eq(a.sample_count, SAMPLES + 2);
    cr_assert_eq(a.identity.data_count, 2);
    for (size_t t = 0; t < TENSORS; t++) {
        cr_assert_eq(a.tensors[t].packed_bytes, whole.tensors[t].packed_bytes);
        cr_assert_eq(
            memcmp(a.tensors[t].packed, whole.tensors[t].packed, a.tensors[t].packed_bytes), 0);
        cr_assert_eq(memcmp(a.tensors[t].low, whole.tensors[t].low, SAMPLES * sizeof(float)), 0);
    }
    for (size_t l = 0; l < LAYERS; l++) {
        const oxp_artefact_layer *x = &a.layers[l], *y = &whole.layers[l];
        cr_assert_eq(x->rows, y->rows);
        for (size_t j = 0; j < groups_of[l] * columns_of[l]; j++) {
            cr_assert_float_eq(x->sums[j], y->sums[j],
                               1e-12 * sqrt(y->squares[j] * (double)y->rows));
            cr_assert_float_eq(x->squares[j], y->squares[j], 1e-12 * y->squares[j]);
        }
        float most = 0;
        for (size_t i = 0; i < oxp_layer_triangle(y); i++)
            most = fmaxf(most, fabsf(y->h_whole[i]));
        for (size_t i = 0; i < oxp_layer_triangle(y); i++)
            cr_assert_float_eq(x->h_whole[i], y->h_whole[i], 1.8e-7f * most);
    }
    cr_assert_eq(memcmp(a.fisher.squares, whole.fisher.squares, SAMPLES * TARGETS * sizeof(double)),
                 0);
    cr_assert_float_eq(oxp_artefact_scale(&a), oxp_artefact_scale(&whole), 1e-15);
    oxp_artefact_free(&whole);
    oxp_artefact_free(&a);
    oxp_artefact_free(&b);
    stop(&f);
}

static void expect_merge(fixture *f, const oxp_artefact *b, const char *code)
{
    oxp_artefact a;
    read_whole(f, &a, 0, 5);
    cr_assert_eq(oxp_artefact_merge(&a, "a", b, "b"), OXP_EDATA);
    cr_assert_str_eq(f->ctx.code, code);
    oxp_ctx_clear(&f->ctx);
    oxp_artefact_free(&a);
}

Test(artefact, what_does_not_belong_together_is_not_merged)
{
    fixture f;
    start(&f);
    oxp_artefact b;
    read_whole(&f, &b, 4, 5); /* sample 4 is in both */
    expect_merge(&f, &b, "E-STATS-OVERLAP");
    oxp_artefact_free(&b);
    read_whole(&f, &b, 5, 5);
    b.identity.model_hash++;
    expect_merge(&f, &b, "E-STATS-MODEL");
    b.identity.model_hash--;
    b.identity.options = "seed=1\nmoments=full\n";
    expect_merge(&f, &b, "E-STATS-OPTION");
    b.identity.options = "seed=0\nmoments=full\n";
    b.identity.prepared_hash++;
    expect_merge(&f, &b, "E-STATS-MODEL");
    b.identity.prepared_hash--;
    b.tensors[1].name = "other";
    expect_merge(&f, &b, "E-STATS-MODEL");
    b.tensors[1].name = "t1";
    b.fisher.is_unscaled = false; /* and in the other it is */
    expect_merge(&f, &b, "E-STATS-MODEL");
    oxp_artefact_free(&b);
    stop(&f);
}

Test(artefact, an_option_that_differs_is_named)
{
    fixture f;
    start(&f);
    oxp_artefact a;
    oxp_artefact_init(&a, &f.ctx);
    a.identity.options = "seed=0\nmoments=full\nmoments-of=x\n";
    cr_assert_eq(oxp_artefact_same_options(&a, "p", "moments=full\n"), OXP_OK);
    cr_assert_eq(oxp_artefact_same_options(&a, "p", "moments=ful\n"), OXP_EDATA);
    cr_assert_not_null(strstr(f.ctx.message, "option moments is \"ful\" here and \"full\" in"));
    oxp_ctx_clear(&f.ctx);
    cr_assert_eq(oxp_artefact_same_options(&a, "p", "cpu=arm\n"), OXP_EDATA);
    cr_assert_not_null(strstr(f.ctx.message, "option cpu is \"arm\" here and \"\" in"));
    cr_assert_str_eq(oxp_artefact_option(&a, "moments", &a.arena), "full");
    cr_assert_null(oxp_artefact_option(&a, "moment", &a.arena));
    oxp_artefact_free(&a);
    stop(&f);
}
