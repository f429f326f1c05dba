/* Zeros where the rule wants them, and what the other weights are then: the error from H is that on
 * the raw inputs; least squares on what stays has no gradient left, loses nothing in any row,
 * returns the weight where all stays and changes nothing where H = I. */
#include "kernels/prune.h"

#include "layer.h"

typedef oxp_status masker(uint8_t *kept, float *out, oxp_ctx *ctx, const oxp_prune_layer *l,
                          const oxp_prune_rule *rule);

static void mask_only(float *out, const uint8_t *kept, const oxp_prune_layer *l)
{
    for (size_t i = 0; i < l->rows * l->columns; i++)
        out[i] = kept[i] ? l->w[i] : 0;
}

static oxp_status magnitude(uint8_t *kept, float *out, oxp_ctx *ctx, const oxp_prune_layer *l,
                            const oxp_prune_rule *rule)
{
    oxp_status status = oxp_prune_magnitude(kept, ctx, l, rule);
    mask_only(out, kept, l);
    return status;
}

static oxp_status wanda(uint8_t *kept, float *out, oxp_ctx *ctx, const oxp_prune_layer *l,
                        const oxp_prune_rule *rule)
{
    oxp_status status = oxp_prune_wanda(kept, ctx, l, rule);
    mask_only(out, kept, l);
    return status;
}

static masker *const maskers[] = {magnitude, wanda, oxp_prune_obs};

static const oxp_prune_rule rules[] = {
    {.sparsity = 0.5, .unit = 1},    {.sparsity = 0.77, .unit = 3},
    {.keep = 2, .of = 4, .unit = 1}, {.keep = 2, .of = 4, .unit = 3},
    {.keep = 1, .of = 5, .unit = 2},
};

typedef struct fixture {
    oxp_ctx ctx;
    test_layer layer;
    oxp_moment_block blocks[2];
    oxp_prune_layer l;
    uint8_t *kept;
    float *out, *resolved;
} fixture;

static void start(fixture *f, uint64_t seed, size_t rows, size_t columns)
{
    oxp_random r = oxp_random_make(seed, 1, 2);
    oxp_ctx_init(&f->ctx);
    f->layer = make_test_layer(&r, rows, columns, 3 * columns, columns / 3 + 1, 0.5);
    f->blocks[0] = (oxp_moment_block){0, columns, f->layer.h};
    f->l = (oxp_prune_layer){f->layer.w, rows, columns, f->blocks, 1};
    f->kept = make_block(rows * columns, 1);
    f->out = make_block(rows * columns, sizeof(float));
    f->resolved = make_block(rows * columns, sizeof(float));
}

static void stop(fixture *f)
{
    cr_expect_eq(f->ctx.budget->used, 0);
    free_test_layer(&f->layer);
    free(f->kept);
    free(f->out);
    free(f->resolved);
}

static void check_groups(const fixture *f, const oxp_prune_rule *rule)
{
    size_t channels = f->l.columns / rule->unit;
    for (size_t r = 0; r < f->l.rows; r++)
        for (size_t tap = 0; tap < rule->unit; tap++)
            for (size_t c = 0; c < channels; c += rule->of) {
                size_t stay = 0, end = c + rule->of < channels ? c + rule->of : channels;
                for (size_t i = c; i < end; i++)
                    stay += f->kept[r * f->l.columns + i * rule->unit + tap];
                size_t most = rule->keep < end - c ? rule->keep : end - c;
                cr_assert_eq(stay, most, "row %zu, channels %zu.., tap %zu: %zu of %zu", r, c, tap,
                             stay, most);
            }
}

static void check_share(const fixture *f, const oxp_prune_rule *rule)
{
    size_t n = f->l.rows * f->l.columns, zeros = 0;
    for (size_t i = 0; i < n; i++)
        zeros += !f->kept[i];
    /* each row or chunk of columns rounds on its own */
    cr_assert_lt(fabs((double)zeros - rule->sparsity * (double)n), (double)f->l.rows + 1);
}

Test(prune, zeros_stand_where_the_rule_wants_them)
{
    for (size_t m = 0; m < 3; m++)
        for (size_t k = 0; k < sizeof rules / sizeof *rules; k++) {
            fixture f;
            start(&f, 3, 7, 138);
            cr_assert_eq(maskers[m](f.kept, f.out, &f.ctx, &f.l, &rules[k]), OXP_OK);
            if (rules[k].of)
                check_groups(&f, &rules[k]);
            else
                check_share(&f, &rules[k]);
            for (size_t i = 0; i < f.l.rows * f.l.columns; i++)
                cr_assert_eq(f.out[i] != 0, f.kept[i]);
            stop(&f);
        }
}

Test(prune, a_block_that_ends_inside_a_group_keeps_the_pattern)
{
    for (size_t m = 0; m < 3; m++) {
        fixture f;
        oxp_prune_rule rule = {.keep = 2, .of = 4, .unit = 2};
        start(&f, 4, 5, 60);
        float *h = make_block(60 * 60, sizeof *h); /* 13 channels, then 17 */
        for (size_t i = 0; i < 26; i++)
            memcpy(h + i * 26, f.layer.h + i * 60, 26 * sizeof *h);
        for (size_t i = 0; i < 34; i++)
            memcpy(h + 26 * 26 + i * 34, f.layer.h + (26 + i) * 60 + 26, 34 * sizeof *h);
        f.blocks[0] = (oxp_moment_block){0, 26, h};
        f.blocks[1] = (oxp_moment_block){26, 34, h + 26 * 26};
        f.l.block_count = 2;
        cr_assert_eq(maskers[m](f.kept, f.out, &f.ctx, &f.l, &rule), OXP_OK);
        check_groups(&f, &rule);
        free(h);
        stop(&f);
    }
}

Test(prune, the_smallest_go)
{
    float w[2 * 4] = {5, -1, 3, -2, 0.5f, 2, -2, 8}, h[16] = {0};
    uint8_t kept[8], by_size[8] = {1, 0, 1, 0, 0, 0, 1, 1}, by_row[8] = {0, 1, 1, 0, 0, 1, 1, 0};
    oxp_ctx ctx;
    oxp_prune_rule half = {.sparsity = 0.5, .unit = 1};
    oxp_ctx_init(&ctx);
    for (size_t i = 0; i < 4; i++)
        h[i * 5] = (float[]){0.01f, 100, 4, 0.01f}[i];
    oxp_moment_block block = {0, 4, h};
    oxp_prune_layer l = {w, 2, 4, &block, 1};
    cr_assert_eq(oxp_prune_magnitude(kept, &ctx, &l, &half), OXP_OK);
    cr_expect_arr_eq(kept, by_size, 8);
    cr_assert_eq(oxp_prune_wanda(kept, &ctx, &l, &half), OXP_OK);
    cr_expect_arr_eq(kept, by_row, 8);
}

Test(prune, the_error_from_h_is_that_on_raw_inputs)
{
    fixture f;
    double from_h = 0;
    start(&f, 5, 6, 50);
    cr_assert_eq(magnitude(f.kept, f.out, &f.ctx, &f.l, &rules[0]), OXP_OK);
    for (size_t r = 0; r < f.l.rows; r++)
        from_h += oxp_prune_error(&f.l, r, f.out + r * f.l.columns);
    double raw = raw_error(&f.layer, f.out);
    cr_expect_lt(fabs(from_h - raw), 1e-5 * raw, "%.9g and %.9g", from_h, raw);
    stop(&f);
}

/* The largest |H (w' - w)| on what stays, of the largest |H w|. */
static double gradient_left(const fixture *f)
{
    double most = 0, size = 0;
    size_t n = f->l.columns;
    for (size_t r = 0; r < f->l.rows; r++)
        for (size_t i = 0; i < n; i++) {
            double g = 0, hw = 0;
            for (size_t j = 0; j < n; j++) {
                double h = (double)f->layer.h[i * n + j], w = (double)f->l.w[r * n + j];
                g += h * ((double)f->resolved[r * n + j] - w);
                hw += h * w;
            }
            size = fmax(size, fabs(hw));
            most = f->kept[r * n + i] ? fmax(most, fabs(g)) : most;
        }
    return most / size;
}

Test(prune, least_squares_have_no_gradient_left_and_lose_less_in_every_row)
{
    for (size_t m = 0; m < 3; m++)
        for (size_t k = 0; k < sizeof rules / sizeof *rules; k++) {
            fixture f;
            start(&f, 6 + k, 9, 150);
            cr_assert_eq(maskers[m](f.kept, f.out, &f.ctx, &f.l, &rules[k]), OXP_OK);
            cr_assert_eq(oxp_prune_resolve(f.resolved, &f.ctx, &f.l, f.kept), OXP_OK);
            cr_expect_lt(gradient_left(&f), 1e-6, "%g", gradient_left(&f));
            for (size_t r = 0; r < f.l.rows; r++) {
                size_t at = r * f.l.columns;
                double before = oxp_prune_error(&f.l, r, f.out + at);
                double after = oxp_prune_error(&f.l, r, f.resolved + at);
                cr_expect_lt(after, before, "row %zu: %g, was %g", r, after, before);
                for (size_t j = at; j < at + f.l.columns; j++)
                    cr_assert(f.kept[j] || f.resolved[j] == 0);
            }
            stop(&f);
        }
}

Test(prune, least_squares_return_the_weight_where_all_stays)
{
    fixture f;
    start(&f, 20, 5, 40);
    memset(f.kept, 1, 5 * 40);
    cr_assert_eq(oxp_prune_resolve(f.resolved, &f.ctx, &f.l, f.kept), OXP_OK);
    cr_expect_arr_eq(f.resolved, f.l.w, 5 * 40 * sizeof(float));
    memset(f.kept, 0, 5 * 40);
    cr_assert_eq(oxp_prune_resolve(f.resolved, &f.ctx, &f.l, f.kept), OXP_OK);
    for (size_t i = 0; i < 5 * 40; i++)
        cr_expect_eq(f.resolved[i], 0);
    stop(&f);
}

/* Independent inputs: nothing can take up what another lost. */
Test(prune, where_h_is_the_identity_only_the_smallest_go)
{
    for (size_t m = 0; m < 3; m++) {
        fixture f;
        start(&f, 21, 4, 100);
        for (size_t i = 0; i < 100 * 100; i++)
            f.layer.h[i] = i % 101 == 0 ? 1 : 0;
        cr_assert_eq(maskers[m](f.kept, f.out, &f.ctx, &f.l, &rules[2]), OXP_OK);
        cr_assert_eq(oxp_prune_resolve(f.resolved, &f.ctx, &f.l, f.kept), OXP_OK);
        uint8_t *plain = make_block(400, 1);
        cr_assert_eq(oxp_prune_magnitude(plain, &f.ctx, &f.l, &rules[2]), OXP_OK);
        cr_expect_arr_eq(f.kept, plain, 400);
        mask_only(f.out, f.kept, &f.l);
        cr_expect_arr_eq(f.resolved, f.out, 400 * sizeof(float));
        free(plain);
        stop(&f);
    }
}

/* On correlated inputs each way that looks at H loses less than the one before. */
Test(prune, what_looks_at_the_inputs_loses_less)
{
    for (size_t k = 0; k < sizeof rules / sizeof *rules; k++) {
        double mask[3], solved[3];
        for (size_t m = 0; m < 3; m++) {
            fixture f;
            start(&f, 30, 24, 300);
            cr_assert_eq(maskers[m](f.kept, f.out, &f.ctx, &f.l, &rules[k]), OXP_OK);
            cr_assert_eq(oxp_prune_resolve(f.resolved, &f.ctx, &f.l, f.kept), OXP_OK);
            mask[m] = raw_error(&f.layer, f.out);
            solved[m] = raw_error(&f.layer, f.resolved);
            stop(&f);
        }
        cr_expect_lt(mask[1], 0.8 * mask[0], "rule %zu: %g, %g", k, mask[1], mask[0]);
        cr_expect_lt(mask[2], 0.8 * mask[1], "rule %zu: %g, %g", k, mask[2], mask[1]);
        cr_expect_lt(solved[2], 0.7 * mask[2], "rule %zu: %g, %g", k, solved[2], mask[2]);
        cr_expect_lt(solved[2], 1.02 * solved[1], "rule %zu: %g, %g", k, solved[2], solved[1]);
    }
}

Test(prune, moments_that_are_no_such_are_an_error)
{
    float w[2] = {1, 2}, h[4] = {1, 2, 2, 1}, out[2];
    uint8_t kept[2];
    oxp_ctx ctx;
    oxp_moment_block block = {0, 2, h};
    oxp_prune_layer l = {w, 1, 2, &block, 1};
    oxp_ctx_init(&ctx);
    cr_expect_eq(oxp_prune_obs(kept, out, &ctx, &l, &rules[0]), OXP_EINTERNAL);
    cr_expect_str_eq(ctx.code, "E-FACTOR");
    cr_expect_eq(ctx.budget->used, 0);
}
