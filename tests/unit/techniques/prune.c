/* prune as a technique: zeros where they were asked for in every kind of layer, written so that the
 * model gives the outputs of the fitted weight exactly, with fewer bytes; with samples what
 * stays is solved for. */
#include "fitted_layer.h"

extern const oxp_technique oxp_technique_prune;

static const layer_case cases[] = {
    {"MatMul", 2, {5, 48}, 2, {48, 30}, NULL},
    {"Gemm", 2, {5, 48}, 2, {30, 48}, "transB"},
    {"Conv", 4, {1, 12, 9, 9}, 4, {20, 12, 3, 3}, "pads"},
};
#define CASES (sizeof cases / sizeof *cases)

static double share_of_zeros(const oxp_fitted *fitted, size_t count)
{
    size_t zeros = 0;
    for (size_t i = 0; i < count; i++)
        zeros += fitted->weight[i] == 0;
    return (double)zeros / (double)count;
}

Test(prune, zeros_are_written_exactly)
{
    static const char *const params[] = {"sparsity=0.5,method=magnitude", "sparsity=0.8",
                                         "sparsity=0.96,method=wanda", "sparsity=0.4,resolve=no"};
    static const double shares[] = {0.5, 0.8, 0.96, 0.4};
    for (size_t k = 0; k < CASES; k++)
        for (size_t p = 0; p < 4; p++) {
            fitted_layer f;
            size_t size, whole;
            uint8_t *bytes;
            start_layer(&f, &cases[k], NULL);
            const oxp_fitted *fitted = fit_layer(&f, &oxp_technique_prune, params[p], true);
            size_t count = f.sites[0].value->constant.count;
            double found = share_of_zeros(fitted, count);
            cr_expect_lt(fabs(found - shares[p]), 0.02, "%s, %s: %g", cases[k].type, params[p],
                         found);
            oxp_model *plain = plain_layer(&f);
            cr_assert_eq(oxp_model_pack(&bytes, &whole, plain), OXP_OK);
            oxp_free(bytes);
            cr_expect_eq(outputs_apart(&f, write_layer(&f, &size), plain), 0);
            size_t told = oxp_technique_prune.bytes(&f.sites[0], &f.choice);
            cr_expect(size < whole &&
                          fabs((double)(whole - size) - (double)(4 * count - told)) < 150,
                      "%s, %s: %zu bytes of %zu, told %zu of %zu", cases[k].type, params[p], size,
                      whole, told, 4 * count);
            stop_layer(&f);
        }
}

Test(prune, the_pattern_runs_along_the_inputs)
{
    for (size_t k = 0; k < CASES; k++) {
        fitted_layer f;
        start_layer(&f, &cases[k], NULL);
        const float *w = fit_layer(&f, &oxp_technique_prune, "pattern=2:4", true)->weight;
        size_t columns = oxp_site_columns(&f.sites[0]), rows = oxp_site_rows(&f.sites[0]);
        size_t taps = cases[k].w_rank == 4 ? 9 : 1;
        for (size_t r = 0; r < rows; r++)
            for (size_t i = 0; i < columns / 4; i++) {
                size_t stay = 0, first = i / taps * 4 * taps + i % taps;
                for (size_t j = 0; j < 4; j++)
                    stay += w[r * columns + first + j * taps] != 0;
                cr_assert_eq(stay, 2, "%s: row %zu, group %zu", cases[k].type, r, i);
            }
        stop_layer(&f);
    }
}

/* How many of the weights that stay are not what they were. */
static size_t moved(fitted_layer *f, const char *params, bool with_samples)
{
    const float *fitted = fit_layer(f, &oxp_technique_prune, params, with_samples)->weight;
    size_t count = f->sites[0].value->constant.count, sum = 0;
    float *w = oxp_arena_alloc(&f->arena, count, sizeof *w);
    oxp_site_matrix(w, f->sites[0].value->constant.data, &f->sites[0]);
    for (size_t i = 0; i < count; i++)
        sum += fitted[i] != 0 && fitted[i] != w[i];
    return sum;
}

Test(prune, what_stays_is_solved_for_with_samples)
{
    for (size_t k = 0; k < CASES; k++) {
        fitted_layer f;
        start_layer(&f, &cases[k], NULL);
        size_t most = f.sites[0].value->constant.count / 2;
        cr_expect_eq(moved(&f, "", false), 0);
        cr_expect_eq(moved(&f, "method=wanda,resolve=no", true), 0);
        cr_expect_eq(moved(&f, "method=magnitude,resolve=no", true), 0);
        cr_expect_gt(moved(&f, "method=wanda", true), most * 9 / 10);
        cr_expect_gt(moved(&f, "resolve=no", true), most * 8 / 10);
        cr_expect_gt(moved(&f, "", true), most * 9 / 10);
        stop_layer(&f);
    }
}

Test(prune, nothing_or_all_of_a_weight)
{
    for (size_t k = 0; k < CASES; k++) {
        fitted_layer f;
        start_layer(&f, &cases[k], NULL);
        size_t count = f.sites[0].value->constant.count;
        cr_expect_eq(share_of_zeros(fit_layer(&f, &oxp_technique_prune, "sparsity=0", true), count),
                     0);
        cr_expect_eq(f.choice.fitted->noise, 0);
        cr_expect_eq(share_of_zeros(fit_layer(&f, &oxp_technique_prune, "sparsity=1", true), count),
                     1);
        size_t size;
        oxp_tensor y = {0};
        oxp_model *written = write_layer(&f, &size);
        run_layer(&f, written, &y);
        for (size_t i = 0; i < y.count; i++)
            cr_assert_eq(((float *)y.data)[i], 0);
        oxp_tensor_release(&y);
        oxp_model_free(written);
        stop_layer(&f);
    }
}

Test(prune, filters_of_one_channel_stay)
{
    const char *why = NULL;
    fitted_layer f;
    static const layer_case c = {"Conv", 4, {1, 16, 12, 12}, 4, {16, 1, 9, 9}, "group"};
    start_layer(&f, &c, NULL);
    cr_expect_not(oxp_technique_prune.applies(&f.sites[0], &why));
    cr_expect_not_null(why);
    stop_layer(&f);
}
