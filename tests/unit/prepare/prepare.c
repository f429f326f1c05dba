/* The job around the steps: the check, taking back, samples and random inputs, what the result
 * says. */
#include "unit/prepare/small_models.h"

SMALL_SUITE(prepare);

/* Behind this Conv the numbers are 10^6 and a little; the normalisation takes the 10^6 away and
 * keeps the little, of which float has lost most. In the weights nothing is lost: the outputs
 * differ. */
static void ill_conditioned(const char *x, const char *name)
{
    char names[7][32], inputs[200];
    const char *const suffix[7] = {"w", "b", "s", "o", "m", "v", "c"};
    for (int i = 0; i < 7; i++)
        snprintf(names[i], sizeof names[i], "%.16s_%s", name, suffix[i]);
    weights(names[0], DIMS(4, 4, 1, 1));
    constant(names[1], OXP_FLOAT, DIMS(4), (float[]){1e6f, 1e6f, 1e6f, 1e6f});
    constant(names[2], OXP_FLOAT, DIMS(4), (float[]){1, 1, 1, 1});
    constant(names[3], OXP_FLOAT, DIMS(4), (float[]){0, 0, 0, 0});
    constant(names[4], OXP_FLOAT, DIMS(4), (float[]){1e6f, 1e6f, 1e6f, 1e6f});
    constant(names[5], OXP_FLOAT, DIMS(4), (float[]){1, 1, 1, 1});
    snprintf(inputs, sizeof inputs, "%s %s %s", x, names[0], names[1]);
    node("Conv", inputs, names[6]);
    snprintf(inputs, sizeof inputs, "%s %s %s %s %s", names[6], names[2], names[3], names[4],
             names[5]);
    node("BatchNormalization", inputs, name);
}

static void well_conditioned(const char *x, const char *name)
{
    char w[32], c[32], inputs[100];
    snprintf(w, sizeof w, "%.16s_w", name);
    snprintf(c, sizeof c, "%.16s_c", name);
    weights(w, DIMS(4, 4, 1, 1));
    snprintf(inputs, sizeof inputs, "%s %s", x, w);
    node("Conv", inputs, c);
    normalization(c, name, 4);
}

static size_t undone(const char *value)
{
    size_t found = 0;
    for (size_t i = 0; i < result.entry_count; i++)
        found += result.entries[i].kind == OXP_PREPARE_UNDONE &&
                 strcmp(result.entries[i].value, value) == 0;
    return found;
}

Test(prepare, only_what_changes_the_outputs_is_taken_back)
{
    start(13);
    input("x", DIMS(-1, 4, 3, 3));
    well_conditioned("x", "a");
    ill_conditioned("x", "b");
    well_conditioned("x", "c");
    ill_conditioned("x", "d");
    well_conditioned("x", "e");
    static const char *const names[] = {"a", "b", "c", "d", "e"};
    for (size_t i = 0; i < 5; i++)
        output(names[i]);
    prepare_all();
    cr_expect_eq(result.steps[2].changed, 3);
    cr_expect_eq(result.steps[2].undone, 2);
    cr_expect_eq(undone("b"), 1);
    cr_expect_eq(undone("d"), 1);
    cr_expect_eq(count_type(prepared, "BatchNormalization"), 2);
    cr_expect(has_constant(prepared, "b_v") && is_listed("c_w"));
    cr_expect_not(is_listed("b_w"));
    cr_expect_lt(result.difference, OXP_PREPARE_TOLERANCE);
    expect_sound();
}

Test(prepare, a_model_of_nothing_but_bad_places_ends_after_some)
{
    start(13);
    input("x", DIMS(-1, 4, 3, 3));
    for (int i = 0; i < 12; i++) {
        char name[16];
        snprintf(name, sizeof name, "p%02d", i);
        ill_conditioned("x", name);
        output(name);
    }
    prepare_all();
    cr_expect_eq(result.steps[2].changed, 0);
    cr_expect_eq(count_type(prepared, "BatchNormalization"), 12);
    cr_expect_eq(undone("p00"), 1);
    cr_expect_eq(undone(""), 1, "it says that the step ended early");
    cr_expect_eq(result.difference, 0);
    expect_same_outputs(0);
}

Test(prepare, given_samples_are_what_is_run)
{
    start(13);
    input("x", DIMS(-1, 4, -1, -1));
    ill_conditioned("x", "y");
    output("y");
    /* at 0 nothing is lost: the check sees no difference, and that is what it must say */
    float zeros[4 * 9] = {0};
    oxp_tensor x;
    ok(oxp_tensor_shape(&x, &ctx, OXP_FLOAT, DIMS(1, 4, 3, 3), "x"));
    x.data = zeros;
    const oxp_tensor *const sample[1] = {&x};
    const oxp_tensor *const *const samples[2] = {sample, sample};
    oxp_prepare_options options = everything;
    options.samples = samples;
    options.sample_count = 2;
    prepare_with(options);
    cr_expect(result.checked && !result.random_inputs);
    cr_expect_eq(result.runs, 2);
    cr_expect_eq(result.steps[2].changed, 1);
    cr_expect_eq(result.difference, 0);
}

Test(prepare, a_sample_that_does_not_run_is_an_error)
{
    start(13);
    input("x", DIMS(-1, 4, 3, 3));
    well_conditioned("x", "y");
    output("y");
    float zeros[3 * 9] = {0};
    oxp_tensor x;
    ok(oxp_tensor_shape(&x, &ctx, OXP_FLOAT, DIMS(1, 3, 3, 3), "x"));
    x.data = zeros;
    const oxp_tensor *const sample[1] = {&x};
    const oxp_tensor *const *const samples[1] = {sample};
    oxp_prepare_options options = everything;
    options.samples = samples;
    options.sample_count = 1;
    cr_expect_eq(oxp_prepare(&prepared, &result, model, &options), OXP_EFORMAT);
    cr_expect_null(prepared);
    cr_expect_null(result.entries);
    cr_expect_neq(ctx.status, OXP_OK);
}

/* 24 × 24 pooled by 8 goes, smaller sizes do not: several are tried. */
Test(prepare, sizes_are_found_for_symbolic_dimensions)
{
    start(13);
    input("x", DIMS(-1, 4, -1, -1));
    well_conditioned("x", "n");
    oxp_node_proto *pool = node("MaxPool", "n", "p");
    ints(pool, "kernel_shape", 2, (int64_t[]){40, 40});
    ints(pool, "strides", 2, (int64_t[]){8, 8});
    node("Relu", "p", "y");
    output("y");
    prepare_all();
    cr_expect(result.random_inputs);
    cr_expect_eq(result.runs, 1);
    cr_expect_eq(result.steps[2].changed, 1);
}

Test(prepare, without_anything_that_was_asked_for_nothing_happens)
{
    start(13);
    input("x", DIMS(-1, 4, 3, 3));
    well_conditioned("x", "y");
    output("y");
    prepare_with((oxp_prepare_options){0});
    cr_expect_eq(count_nodes(prepared), 2);
    cr_expect_eq(result.entry_count, 0);
    cr_expect_eq(result.tensor_count, 0);
    for (size_t s = 0; s < OXP_PREPARE_STEPS; s++) {
        cr_expect_not(result.steps[s].ran);
        cr_expect_not_null(result.steps[s].summary);
    }
    expect_same_outputs(0);
}

static int stop(void *user, const char *stage, size_t done, size_t total)
{
    (void)user, (void)stage, (void)done, (void)total;
    return 1;
}

Test(prepare, what_is_prepared_is_not_prepared_again)
{
    start(13);
    input("x", DIMS(-1, 4, 3, 3));
    weights("k", DIMS(4, 4, 1, 1));
    ints(node("Transpose", "k", "w"), "perm", 4, (int64_t[]){1, 0, 2, 3});
    node("Conv", "x w", "v");
    normalization("v", "n", 4);
    node("Identity", "n", "i");
    number("three", 3);
    number("zero", 0);
    number("six", 6);
    number("s", 2);
    node("Add", "i three", "a");
    node("Clip", "a zero six", "h");
    node("Mul", "i h", "q");
    node("Div", "q six", "u");
    node("Mul", "u s", "m");
    node("Add", "m three", "t");
    weights("w2", DIMS(4, 1, 3, 3));
    oxp_node_proto *last = node("Conv", "t w2", "y");
    ok(oxp_edit_set_int(model, last, "group", 4));
    ints(last, "pads", 4, (int64_t[]){1, 1, 1, 1});
    output("y");
    prepare_all();
    for (size_t s = 0; s < OXP_PREPARE_STEPS; s++)
        cr_expect_eq(result.steps[s].changed, result.steps[s].ran ? 1 : 0, "%s",
                     result.steps[s].name);
    cr_expect_eq(count_nodes(prepared), 5);
    expect_sound();
    oxp_model *twice;
    oxp_prepare_result second;
    ok(oxp_prepare(&twice, &second, prepared, &everything));
    cr_expect_eq(count_nodes(twice), 5);
    cr_expect_eq(second.tensor_count, 0);
    cr_expect_eq(second.difference, 0);
    oxp_prepare_release(&second);
    oxp_model_free(twice);
}

Test(prepare, it_can_be_cancelled)
{
    start(13);
    input("x", DIMS(-1, 4, 3, 3));
    well_conditioned("x", "y");
    output("y");
    ctx.progress = stop;
    cr_expect_eq(oxp_prepare(&prepared, &result, model, &everything), OXP_ECANCELLED);
    cr_expect_null(prepared);
}

Test(prepare, the_same_model_gives_the_same_bytes)
{
    uint8_t *first = NULL, *second;
    size_t first_size = 0, second_size;
    for (int i = 0; i < 2; i++) {
        start(13);
        input("x", DIMS(-1, 4, 3, 3));
        well_conditioned("x", "a");
        ill_conditioned("a", "b");
        well_conditioned("b", "y");
        output("y");
        prepare_all();
        if (i == 0)
            ok(oxp_model_pack(&first, &first_size, prepared));
        else
            ok(oxp_model_pack(&second, &second_size, prepared));
        again();
    }
    cr_assert_eq(first_size, second_size);
    cr_expect(memcmp(first, second, first_size) == 0);
    oxp_free(first);
    oxp_free(second);
}
