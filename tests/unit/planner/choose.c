/* The main job's choices: a method that the user names gives fixed scales, `auto` makes a product
 * dynamic where that was seen to lose no more; the samples that judge are not those that fit. */
#include "planner/compress.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "onnx/save.h"
#include "support/small_models.h"

typedef struct fixture {
    oxp_ctx ctx;
    char path[64];
    oxp_compress_options options;
    oxp_compression job;
} fixture;

static void start(fixture *f, size_t samples)
{
    oxp_model *model;
    oxp_output_file *file;
    const oxp_output_options options = {.force = true};
    memset(f, 0, sizeof *f);
    oxp_ctx_init(&f->ctx);
    strcpy(f->path, "/tmp/oxp-choose-XXXXXX");
    int fd = mkstemp(f->path);
    cr_assert_geq(fd, 0);
    close(fd);
    cr_assert_eq(small_models[0].build(&model, &f->ctx), OXP_OK);
    cr_assert_eq(oxp_output_open(&file, &f->ctx, f->path, &options), OXP_OK);
    cr_assert_eq(oxp_model_write(file, model), OXP_OK);
    cr_assert_eq(oxp_output_publish(file), OXP_OK);
    oxp_model_free(model);
    f->options = (oxp_compress_options)OXP_COMPRESS_OPTIONS_INIT;
    f->options.precision = "w8a8";
    f->options.quant_format = "qdq"; /* the network is too small to pay */
    f->options.input.random_samples = samples;
    f->options.min_sqnr_db = 0;
    f->options.dry_run = true;
}

static void run(fixture *f)
{
    cr_assert_eq(oxp_compression_run(&f->job, &f->ctx, f->path, NULL, &f->options), OXP_OK, "%s",
                 f->ctx.message);
}

static void stop(fixture *f)
{
    oxp_compression_free(&f->job);
    unlink(f->path);
    cr_expect_eq(f->ctx.budget->used, 0);
}

static const oxp_site *product_of(const fixture *f)
{
    for (size_t i = 0; i < f->job.site_count; i++)
        if (strcmp(f->job.sites[i].consumers[0].node->type, "MatMul") == 0)
            return &f->job.sites[i];
    cr_assert(false, "no product");
    return NULL;
}

static const oxp_range *range_of(const fixture *f, const oxp_site *s)
{
    const oxp_graph_node *n = s->consumers[0].node;
    return oxp_ranges_find(&f->job.ranges, n->graph, n->inputs[0]);
}

Test(choose, a_named_method_gives_fixed_scales)
{
    static const char *const methods[] = {"minmax", "percentile:99", "entropy", "mse"};
    for (int m = 0; m < OXP_METHOD_COUNT; m++) {
        fixture f;
        start(&f, 32);
        f.options.calibration_method = methods[m];
        run(&f);
        const oxp_site *s = product_of(&f);
        cr_expect_eq(f.job.choices[s->index].technique, &oxp_technique_w8a8, "%s", methods[m]);
        cr_expect_eq((int)range_of(&f, s)->method, m, "%s", methods[m]);
        stop(&f);
    }
}

Test(choose, auto_takes_the_scale_that_was_seen_to_lose_less)
{
    fixture f;
    start(&f, 32);
    run(&f);
    const oxp_site *s = product_of(&f);
    const oxp_range *r = range_of(&f, s);
    cr_assert(r->judged);
    cr_expect_gt(r->dynamic_error, 0);
    cr_expect_eq(f.job.choices[s->index].technique, r->output_error[r->method] >= r->dynamic_error
                                                        ? &oxp_technique_dynamic
                                                        : &oxp_technique_w8a8);
    stop(&f);
}

Test(choose, a_quarter_of_the_samples_is_held_out)
{
    static const size_t counts[][2] = {{1, 1}, {2, 1}, {32, 8}, {300, 64}};
    for (size_t k = 0; k < 4; k++) {
        fixture f;
        start(&f, counts[k][0]);
        run(&f);
        bool seen[300] = {false};
        for (size_t i = 0; i < f.job.fit_count; i++)
            seen[f.job.fit[i]] = true;
        for (size_t i = 0; i < f.job.held_count; i++)
            cr_expect(f.job.in_sample || !seen[f.job.held[i]]);
        cr_expect_eq(f.job.held_count, counts[k][1], "of %zu", counts[k][0]);
        cr_expect_eq(f.job.in_sample, counts[k][0] == 1);
        cr_expect_eq(f.job.fit_count, counts[k][0] - (f.job.in_sample ? 0 : counts[k][1]));
        stop(&f);
    }
}
