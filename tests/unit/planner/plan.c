/* Plans: forms as text, targets as bytes, what a form changes seen where it is used, files that fit
 * whatever is asked, the same bytes from a plan's file. */
#include "planner/plan.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "onnx/save.h"
#include "support/nodes.h"
#include "util/random.h"

/* ---- forms ---- */

Test(plan, every_form_reads_back_as_it_was_written)
{
    oxp_ctx ctx;
    oxp_arena arena;
    oxp_ctx_init(&ctx);
    oxp_arena_init(&arena, &ctx);
    for (size_t f = 0; f < oxp_plan_form_count; f++) {
        oxp_choice choice = oxp_plan_choice(&oxp_plan_forms[f]);
        const char *text = oxp_plan_choice_text(&arena, &choice), *fault;
        oxp_choice again = oxp_plan_choice_read(text, &fault);
        cr_expect_null(fault, "%s: %s", text, fault);
        cr_expect(again.technique == choice.technique && again.limit == choice.limit, "%s", text);
        if (choice.technique == &oxp_technique_w4)
            cr_expect_eq(again.block, choice.block, "%s", text);
    }
    oxp_arena_free(&arena);
}

Test(plan, words_that_are_no_form_are_refused)
{
    static const char *const words[] = {
        "",         "w9",           "w8a8",          "w8:bits=8",          "w4:",
        "w4:bits=", "w4:bits=8",    "w4:bits=1",     "w4:bits=4,",         "w4:block=15",
        "float:x",  "w4:bits=four", "w4:rounding=1", "w4:bits=40000000000"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        const char *fault;
        oxp_plan_choice_read(words[i], &fault);
        cr_expect_not_null(fault, "\"%s\" passed", words[i]);
    }
}

/* ---- a model ---- */

static oxp_status add_weight(oxp_model *m, const char *name, int64_t rows, int64_t columns,
                             double size)
{
    float data[8192];
    oxp_random r = oxp_random_make(9, (uint64_t)name[0], 1);
    for (int64_t i = 0; i < rows * columns; i++)
        data[i] = (float)(size * oxp_random_normal(&r));
    return oxp_edit_add_initializer(m, oxp_model_graph(m), name, OXP_FLOAT, 2,
                                    (int64_t[]){rows, columns}, data);
}

static oxp_status add_value(oxp_model *m, const char *name, int64_t columns, bool is_output)
{
    oxp_value_info info = {
        .name = name, .dtype = OXP_FLOAT, .is_tensor = true, .rank = 2, .dims = {1, columns}};
    return is_output ? oxp_edit_add_output(m, oxp_model_graph(m), &info)
                     : oxp_edit_add_input(m, oxp_model_graph(m), &info);
}

/* softmax(relu(relu(x w) v + relu(x d - 10^6)) u): nothing comes through d. */
static oxp_status build(oxp_model **out, oxp_ctx *ctx)
{
    const float low = -1e6f;
    OXP_TRY(oxp_model_new(out, ctx, 13));
    oxp_model *m = *out;
    OXP_TRY(add_value(m, "x", 64, false));
    OXP_TRY(add_value(m, "y", 10, true));
    OXP_TRY(add_weight(m, "w", 64, 96, 0.2));
    OXP_TRY(add_weight(m, "v", 96, 80, 0.15));
    OXP_TRY(add_weight(m, "d", 64, 80, 0.2));
    OXP_TRY(add_weight(m, "u", 80, 10, 0.2));
    OXP_TRY(oxp_edit_add_initializer(m, oxp_model_graph(m), "low", OXP_FLOAT, 0, NULL, &low));
    OXP_TRY(append_node(m, "MatMul", 2, (const char *[]){"x", "w"}, "a", NULL));
    OXP_TRY(append_node(m, "Relu", 1, (const char *[]){"a"}, "b", NULL));
    OXP_TRY(append_node(m, "MatMul", 2, (const char *[]){"b", "v"}, "e", NULL));
    OXP_TRY(append_node(m, "MatMul", 2, (const char *[]){"x", "d"}, "f", NULL));
    OXP_TRY(append_node(m, "Add", 2, (const char *[]){"f", "low"}, "g", NULL));
    OXP_TRY(append_node(m, "Relu", 1, (const char *[]){"g"}, "h", NULL));
    OXP_TRY(append_node(m, "Add", 2, (const char *[]){"e", "h"}, "i", NULL));
    OXP_TRY(append_node(m, "Relu", 1, (const char *[]){"i"}, "j", NULL));
    OXP_TRY(append_node(m, "MatMul", 2, (const char *[]){"j", "u"}, "k", NULL));
    return append_node(m, "Softmax", 1, (const char *[]){"k"}, "y", NULL);
}

typedef struct fixture {
    oxp_ctx ctx;
    char path[64], output[80];
    oxp_compress_options options;
    oxp_compression job;
} fixture;

static void start(fixture *f)
{
    oxp_model *model;
    oxp_output_file *file;
    const oxp_output_options options = {.force = true};
    memset(f, 0, sizeof *f);
    oxp_ctx_init(&f->ctx);
    strcpy(f->path, "/tmp/oxp-plan-XXXXXX");
    int fd = mkstemp(f->path);
    cr_assert_geq(fd, 0);
    close(fd);
    snprintf(f->output, sizeof f->output, "%s.out", f->path);
    cr_assert_eq(build(&model, &f->ctx), OXP_OK, "%s", f->ctx.message);
    cr_assert_eq(oxp_output_open(&file, &f->ctx, f->path, &options), OXP_OK);
    cr_assert_eq(oxp_model_write(file, model), OXP_OK);
    cr_assert_eq(oxp_output_publish(file), OXP_OK);
    oxp_model_free(model);
    f->options = (oxp_compress_options)OXP_COMPRESS_OPTIONS_INIT;
    f->options.input.random_samples = 32;
    f->options.force = true;
}

static oxp_status run(fixture *f)
{
    return oxp_compression_run(&f->job, &f->ctx, f->path, f->output, &f->options);
}

static void stop(fixture *f)
{
    oxp_compression_free(&f->job);
    unlink(f->path);
    unlink(f->output);
    cr_expect_eq(f->ctx.budget->used, 0);
}

static size_t bytes_of(const char *path)
{
    FILE *file = fopen(path, "rb");
    cr_assert_not_null(file);
    cr_assert_eq(fseek(file, 0, SEEK_END), 0);
    long size = ftell(file);
    fclose(file);
    return (size_t)size;
}

static size_t site_of(const oxp_compression *c, const char *name)
{
    for (size_t i = 0; i < c->site_count; i++)
        if (strcmp(c->sites[i].value->name, name) == 0)
            return i;
    cr_assert(false, "no weight %s", name);
    return 0;
}

/* ---- targets ---- */

Test(plan, targets_are_bytes)
{
    fixture f;
    start(&f);
    f.options.target_size = "40%";
    cr_assert_eq(run(&f), OXP_OK, "%s", f.ctx.message);
    size_t source = bytes_of(f.path), count = 64 * 96 + 96 * 80 + 64 * 80 + 80 * 10 + 1;
    oxp_plan p = {0};
    cr_assert_eq(oxp_plan_target(&p, &f.job), OXP_OK);
    cr_expect_eq(p.asked, source * 40 / 100);
    f.options.target_size = "12kB";
    cr_assert_eq(oxp_plan_target(&p, &f.job), OXP_OK);
    cr_expect_eq(p.asked, 12000);
    f.options.target_size = NULL;
    f.options.target_ratio = 4;
    cr_assert_eq(oxp_plan_target(&p, &f.job), OXP_OK);
    cr_expect_eq(p.asked, source / 4);
    f.options.target_ratio = 0;
    f.options.target_bpw = 4.5;
    cr_assert_eq(oxp_plan_target(&p, &f.job), OXP_OK);
    cr_expect_eq(p.asked, (size_t)floor(4.5 * (double)count / 8));
    stop(&f);
}

Test(plan, words_that_are_no_target_are_refused)
{
    static const char *const words[] = {"", "25", "x%", "0%", "101%", "-5%", "12XB", "0.5B", "1e9"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        oxp_ctx ctx;
        oxp_ctx_init(&ctx);
        oxp_compress_options o = OXP_COMPRESS_OPTIONS_INIT;
        o.data = "x.npz";
        o.target_size = words[i];
        oxp_status expected = strcmp(words[i], "25") == 0 ? OXP_OK : OXP_EUSAGE; /* 25 bytes */
        cr_expect_eq(oxp_plan_check(&ctx, &o), expected, "\"%s\"", words[i]);
    }
}

/* ---- what forms change ---- */

/* Seen in a run of the written form, and what is said of the codes that it was written from. */
Test(plan, changes_are_those_of_the_codes)
{
    size_t seen = 0;
    for (int share = 22; share <= 42; share += 4) {
        char words[32];
        fixture f;
        start(&f);
        snprintf(words, sizeof words, "%d%%", share);
        f.options.target_size = words;
        cr_assert_eq(run(&f), OXP_OK, "%s", f.ctx.message);
        for (size_t i = 0; i < f.job.site_count; i++) {
            const oxp_plan_row *row = &f.job.plan->rows[i];
            const oxp_plan_option *o = &row->options[row->chosen];
            if (o->choice.technique != &oxp_technique_w4 &&
                o->choice.technique != &oxp_technique_w8)
                continue;
            cr_expect_lt(fabs(o->norm * o->norm / f.job.codes[i].noise - 1), 1e-4, "%s at %d %%",
                         f.job.sites[i].value->name, share);
            seen++;
        }
        stop(&f);
    }
    cr_expect_geq(seen, 15);
}

/* More bits and more scales never change more, nor cost more; the loss follows. */
Test(plan, losses_rise_as_bits_fall)
{
    fixture f;
    start(&f);
    f.options.target_size = "30%";
    cr_assert_eq(run(&f), OXP_OK, "%s", f.ctx.message);
    const oxp_plan_row *row = &f.job.plan->rows[site_of(&f.job, "w")];
    const oxp_plan_option *before = NULL;
    for (size_t k = 0; k < row->count; k++) {
        const oxp_plan_option *o = &row->options[k];
        if (o->choice.technique != &oxp_technique_w4 || o->choice.block != SIZE_MAX)
            continue;
        if (before) {
            cr_expect_gt(o->norm, 1.5 * before->norm);
            cr_expect_gt(o->loss, before->loss);
            cr_expect_lt(o->bytes, before->bytes);
        }
        before = o;
    }
    cr_expect_eq(row->options[0].loss, 0); /* float */
    stop(&f);
}

Test(plan, what_no_sample_reaches_keeps_8_bits)
{
    fixture f;
    start(&f);
    f.options.target_size = "1%";
    cr_expect_eq(run(&f), OXP_EBOUND);
    size_t dead = site_of(&f.job, "d"), live = site_of(&f.job, "w");
    cr_expect_eq(f.job.plan->rows[dead].source, OXP_PLAN_UNREACHED);
    cr_expect(f.job.choices[dead].technique == &oxp_technique_w8);
    cr_expect_eq(f.job.plan->rows[live].source, OXP_PLAN_GRADIENTS);
    cr_expect_eq(oxp_packed_bits(&f.job.choices[live]), 2);
    stop(&f);
}

/* ---- files ---- */

static double uniform(oxp_random *r, double low, double high)
{
    return low + (high - low) * oxp_random_uniform(r);
}

/* 200 targets, from what cannot be met to what is slack: a file is there and fits, or none is and
 * the message says the least, which can then be asked for exactly. */
Test(plan, every_file_fits_its_target, .timeout = 300)
{
    oxp_random r = oxp_random_make(2, 0, 0);
    size_t missed = 0, least = 0;
    fixture f;
    start(&f);
    size_t source = bytes_of(f.path);
    for (int trial = 0; trial < 200; trial++) {
        char words[32];
        size_t asked = (size_t)((double)source * uniform(&r, 0.05, 1));
        asked = trial == 199 && least ? least : asked;
        snprintf(words, sizeof words, "%zu", asked);
        f.options.target_size = words;
        unlink(f.output);
        oxp_ctx_clear(&f.ctx);
        oxp_status status = run(&f);
        bool exists = access(f.output, F_OK) == 0;
        if (status == OXP_OK) {
            cr_expect(exists && bytes_of(f.output) <= asked, "%zu bytes asked", asked);
            cr_expect_eq(bytes_of(f.output), f.job.plan->bytes);
        } else {
            cr_expect_eq(status, OXP_EBOUND, "%s", f.ctx.message);
            cr_expect(!exists);
            cr_expect_gt(f.job.output_bytes, asked);
            cr_expect(least == 0 || f.job.output_bytes == least);
            least = f.job.output_bytes;
            missed++;
        }
        if (trial < 199)
            oxp_compression_free(&f.job);
    }
    cr_expect_eq(bytes_of(f.output), least); /* the last: the exact minimum */
    cr_expect(missed > 10 && missed < 100, "%zu of 200 could not be met", missed);
    stop(&f);
}

/* A larger file never loses more, by the prediction it was chosen by. */
Test(plan, a_larger_budget_never_costs_more)
{
    double before = INFINITY;
    for (int share = 25; share <= 65; share += 10) {
        char words[32];
        fixture f;
        start(&f);
        snprintf(words, sizeof words, "%d%%", share);
        f.options.target_size = words;
        cr_assert_eq(run(&f), OXP_OK, "%s", f.ctx.message);
        cr_expect_leq(f.job.plan->additive, before);
        cr_expect_leq(f.job.plan->dual_bound, f.job.plan->additive + 1e-15);
        before = f.job.plan->additive;
        stop(&f);
    }
}

/* Predicted on some samples, measured on others, for changes small enough for the second order. */
Test(plan, the_prediction_is_of_the_size_of_what_is_measured)
{
    fixture f;
    start(&f);
    f.options.input.random_samples = 256;
    f.options.target_size = "32%";
    cr_assert_eq(run(&f), OXP_OK, "%s", f.ctx.message);
    const oxp_plan *p = f.job.plan;
    cr_assert(p->is_measured);
    cr_expect(p->predicted > p->measured / 2 && p->predicted < p->measured * 2,
              "predicted %g, measured %g", p->predicted, p->measured);
    cr_expect(p->interval.low <= p->measured && p->measured <= p->interval.high);
    stop(&f);
}

static uint64_t planned(int threads)
{
    fixture f;
    start(&f);
    f.ctx.threads = threads;
    f.options.target_size = "30%";
    cr_assert_eq(run(&f), OXP_OK, "%s", f.ctx.message);
    uint64_t hash = f.job.output_hash;
    stop(&f);
    return hash;
}

Test(plan, the_same_file_at_any_number_of_threads)
{
    cr_expect_eq(planned(1), planned(3));
}

/* ---- plans from files ---- */

static oxp_status run_plan(fixture *f, const char *json)
{
    char path[96];
    snprintf(path, sizeof path, "%s.json", f->path);
    FILE *file = fopen(path, "wb");
    cr_assert_not_null(file);
    fputs(json, file);
    fclose(file);
    f->options.target_size = NULL;
    f->options.plan = path;
    oxp_status status = run(f);
    f->options.plan = NULL;
    unlink(path);
    return status;
}

Test(plan, names_win_over_globs_and_later_globs_over_earlier)
{
    fixture f;
    start(&f);
    cr_assert_eq(run_plan(&f, "{\"plan\": {\"v\": \"fp16\", \"*\": \"w8\", \"?\": \"w4:bits=3\","
                              " \"u\": \"float\"}}"),
                 OXP_OK, "%s", f.ctx.message);
    const oxp_choice *choices = f.job.choices;
    cr_expect(choices[site_of(&f.job, "v")].technique == &oxp_technique_fp16);
    cr_expect_eq(oxp_packed_bits(&choices[site_of(&f.job, "w")]), 3);
    cr_expect_null(choices[site_of(&f.job, "u")].technique);
    stop(&f);
}

Test(plan, broken_files_are_refused)
{
    static const struct {
        const char *json, *code;
        oxp_status status;
    } cases[] = {
        {"", "E-EMPTY", OXP_EFORMAT},
        {"{", "E-PLAN", OXP_EFORMAT},
        {"[]", "E-PLAN", OXP_EFORMAT},
        {"{\"plan\": 3}", "E-PLAN", OXP_EFORMAT},
        {"{\"plan\": {\"w\": 8}}", "E-PLAN", OXP_EFORMAT},
        {"{\"plan\": {\"w\": \"w9\"}}", "E-PLAN", OXP_EFORMAT},
        {"{\"plan\": {\"w\": \"w8\", \"w\": \"w8\"}}", "E-PLAN", OXP_EFORMAT},
        {"{\"plan\": {\"nothing*\": \"w8\"}}", "E-PLAN", OXP_EFORMAT},
        {"{\"plan\": {\"u\": \"w4\"}}", "E-PLAN", OXP_EFORMAT}, /* too small for it */
        {"{\"model\": {\"xxh3\": \"00\"}, \"plan\": {}}", "E-PLAN-HASH", OXP_EDATA},
        {"{\"data\": {\"xxh3\": \"00\"}, \"plan\": {}}", "E-PLAN-HASH", OXP_EDATA},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fixture f;
        start(&f);
        cr_expect_eq(run_plan(&f, cases[i].json), cases[i].status, "%s: %s", cases[i].json,
                     f.ctx.message);
        cr_expect_str_eq(f.ctx.code, cases[i].code, "%s", cases[i].json);
        cr_expect_neq(access(f.output, F_OK), 0);
        stop(&f);
    }
}
