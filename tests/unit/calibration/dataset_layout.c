/* Datasets from arrays in memory: which axis counts samples, what one call gets, expected outputs,
 * labels, joining. */
#include "calibration/dataset.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static oxp_ctx ctx;

static void setup(void)
{
    oxp_ctx_init(&ctx);
}

static void teardown(void)
{
    cr_expect_eq(atomic_load(&ctx.own_budget.used), 0, "a block was not given back");
}

TestSuite(dataset_layout, .init = setup, .fini = teardown);

/* ---- models and arrays from text: "x:N,3,?" and "x:4,3,2" ---- */

static char words[64][32]; /* names and symbolic dimensions */
static size_t word_count;

static const char *keep_word(const char *text, size_t length)
{
    char *word = words[word_count++ % 64];
    snprintf(word, 32, "%.*s", (int)length, text);
    return word;
}

static oxp_value_info info(const char *text)
{
    oxp_value_info v = {.dtype = OXP_FLOAT, .is_tensor = true};
    size_t name = strcspn(text, ":");
    v.name = keep_word(text, name);
    if (text[name] == '\0') {
        v.rank = -1;
        return v;
    }
    for (const char *at = text + name + 1; *at != '\0'; v.rank++) {
        size_t length = strcspn(at, ",");
        v.dims[v.rank] = -1;
        if (*at >= '0' && *at <= '9')
            v.dims[v.rank] = atoll(at);
        else if (*at != '?')
            v.params[v.rank] = keep_word(at, length);
        at += length + (at[length] == ',');
    }
    return v;
}

/* An array whose element i is i. */
static oxp_tensor numbered(const char *shape)
{
    oxp_tensor t;
    int64_t dims[OXP_MAX_RANK];
    int rank = 0;
    for (const char *at = shape; *at != '\0'; rank++) {
        dims[rank] = atoll(at);
        at += strcspn(at, ",");
        at += *at == ',';
    }
    cr_assert_eq(oxp_tensor_shape(&t, &ctx, OXP_FLOAT, rank, dims, "t"), OXP_OK);
    cr_assert_eq(oxp_tensor_alloc(&t, &ctx, "t"), OXP_OK);
    for (size_t i = 0; i < t.count; i++)
        ((float *)t.data)[i] = (float)i;
    return t;
}

#define MAX 4

typedef struct setting {
    const char *inputs[MAX], *outputs[MAX];
    bool optional[MAX];
    const char *arrays[MAX]; /* "x:4,3" */
    oxp_dataset_options options;
    oxp_dataset *d;
} setting;

static oxp_status open_setting(setting *s)
{
    oxp_value_info inputs[MAX], outputs[MAX];
    oxp_dataset_schema schema = {.inputs = inputs, .outputs = outputs, .optional = s->optional};
    oxp_tensor tensors[MAX];
    oxp_named_tensor arrays[MAX];
    size_t count = 0;
    while (schema.input_count < MAX && s->inputs[schema.input_count] != NULL) {
        inputs[schema.input_count] = info(s->inputs[schema.input_count]);
        schema.input_count++;
    }
    while (schema.output_count < MAX && s->outputs[schema.output_count] != NULL) {
        outputs[schema.output_count] = info(s->outputs[schema.output_count]);
        schema.output_count++;
    }
    for (; count < MAX && s->arrays[count] != NULL; count++) {
        size_t name = strcspn(s->arrays[count], ":");
        tensors[count] = numbered(s->arrays[count] + name + 1);
        arrays[count] = (oxp_named_tensor){keep_word(s->arrays[count], name), &tensors[count]};
    }
    oxp_ctx_clear(&ctx);
    oxp_status status =
        oxp_dataset_from_tensors(&s->d, &ctx, "memory", arrays, count, &schema, &s->options);
    for (size_t i = 0; i < count; i++)
        oxp_tensor_release(&tensors[i]);
    return status;
}

static void open_well(setting *s)
{
    cr_assert_eq(open_setting(s), OXP_OK, "%s %s", ctx.code, ctx.message);
}

static void expect_refused(setting s, oxp_status status, const char *code)
{
    cr_expect_eq(open_setting(&s), status, "%s", code);
    cr_expect_str_eq(ctx.code, code, "%s %s", ctx.code, ctx.message);
}

static void expect_tensor(const oxp_tensor *t, const char *shape, float first, const char *what)
{
    char text[OXP_SHAPE_TEXT_MAX];
    cr_expect_str_eq(oxp_shape_text(text, t->rank, t->dims), shape, "%s is %s", what, text);
    cr_expect_eq(((const float *)t->data)[0], first, "%s begins with %g", what,
                 (double)((const float *)t->data)[0]);
}

/* ---- inputs ---- */

Test(dataset_layout, symbolic_and_one_are_sample_by_sample)
{
    static const char *const models[] = {"x:N,3", "x:?,3", "x:1,3", "x:N,C", "x"};
    for (size_t m = 0; m < 5; m++) {
        setting s = {.inputs = {models[m]}, .arrays = {"x:4,3"}};
        open_well(&s);
        cr_expect_eq(oxp_dataset_count(s.d), 4);
        cr_expect_eq(oxp_dataset_row_total(s.d), 4);
        for (size_t i = 0; i < 4; i++) {
            oxp_tensor x;
            cr_assert_eq(oxp_dataset_sample(s.d, &ctx, i, &x), OXP_OK);
            expect_tensor(&x, "[1,3]", 3.0f * (float)i, models[m]);
            cr_expect_eq(oxp_dataset_rows(s.d, i), 1);
            oxp_tensor_release(&x);
        }
        oxp_dataset_free(s.d);
    }
}

Test(dataset_layout, a_fixed_batch_takes_that_many)
{
    setting s = {.inputs = {"x:4,3", "y:4", "table:10,2"},
                 .arrays = {"x:8,3", "y:8", "table:10,2"}};
    oxp_tensor in[3];
    open_well(&s);
    cr_expect_eq(oxp_dataset_count(s.d), 2);
    cr_expect_eq(oxp_dataset_rows(s.d, 0), 4);
    cr_expect_eq(oxp_dataset_row_total(s.d), 8);
    cr_assert_eq(oxp_dataset_sample(s.d, &ctx, 1, in), OXP_OK);
    expect_tensor(&in[0], "[4,3]", 12, "x");
    expect_tensor(&in[1], "[4]", 4, "y");
    expect_tensor(&in[2], "[10,2]", 0, "table");
    for (int i = 0; i < 3; i++)
        oxp_tensor_release(&in[i]);
    oxp_dataset_free(s.d);
    expect_refused((setting){.inputs = {"x:4,3"}, .arrays = {"x:9,3"}}, OXP_EDATA, "E-CALIB-SHAPE");
    cr_expect_not_null(strstr(ctx.message, "1 are left over"), "%s", ctx.message);
}

Test(dataset_layout, a_batch_elsewhere_is_found_by_its_name)
{
    setting s = {.inputs = {"h:2,N,2", "x:N,3", "sr:"}, .arrays = {"x:3,3", "h:2,3,2", "sr:"}};
    oxp_tensor in[3];
    open_well(&s);
    cr_expect_eq(oxp_dataset_count(s.d), 3);
    cr_assert_eq(oxp_dataset_sample(s.d, &ctx, 1, in), OXP_OK);
    expect_tensor(&in[0], "[2,1,2]", 2, "h");
    static const float wanted[4] = {2, 3, 8, 9}; /* rows 1 of both layers */
    cr_expect_arr_eq(in[0].data, wanted, sizeof wanted);
    expect_tensor(&in[1], "[1,3]", 3, "x");
    expect_tensor(&in[2], "[]", 0, "sr");
    for (int i = 0; i < 3; i++)
        oxp_tensor_release(&in[i]);
    oxp_dataset_free(s.d);
}

Test(dataset_layout, an_override_decides)
{
    oxp_batch_axis axes[] = {{"x", 1}};
    setting s = {.inputs = {"x:T,N,2", "h:2,N,2", "len:T"},
                 .arrays = {"x:5,3,2", "h:2,3,2", "len:5"},
                 .options = {.batch_axes = axes, .batch_axis_count = 1}};
    oxp_tensor in[3];
    open_well(&s);
    cr_expect_eq(oxp_dataset_count(s.d), 3);
    cr_assert_eq(oxp_dataset_sample(s.d, &ctx, 2, in), OXP_OK);
    expect_tensor(&in[0], "[5,1,2]", 4, "x");
    expect_tensor(&in[1], "[2,1,2]", 4, "h follows the name");
    expect_tensor(&in[2], "[5]", 0, "len is a dimension of x, not the batch");
    for (int i = 0; i < 3; i++)
        oxp_tensor_release(&in[i]);
    oxp_dataset_free(s.d);

    oxp_batch_axis unknown[] = {{"z", 0}}, beyond[] = {{"x", 2}}, negative[] = {{"x", -1}};
    setting bad = {.inputs = {"x:N,2"}, .arrays = {"x:3,2"}};
    bad.options = (oxp_dataset_options){.batch_axes = unknown, .batch_axis_count = 1};
    expect_refused(bad, OXP_EUSAGE, "E-CALIB-NAME");
    bad.options.batch_axes = beyond;
    expect_refused(bad, OXP_EUSAGE, "E-CALIB-SHAPE");
    bad.options.batch_axes = negative;
    expect_refused(bad, OXP_EUSAGE, "E-CALIB-SHAPE");
}

Test(dataset_layout, exporters_that_name_each_batch_apart)
{
    setting s = {.inputs = {"ids:ids_0,ids_1", "mask:mask_0,mask_1"},
                 .arrays = {"ids:3,7", "mask:3,7"}};
    open_well(&s);
    cr_expect_eq(oxp_dataset_count(s.d), 3);
    oxp_dataset_free(s.d);
}

Test(dataset_layout, what_is_given_once_serves_every_call)
{
    setting s = {.inputs = {"x:N,2", "scale:1", "size:2", "bias:S"},
                 .arrays = {"x:3,2", "scale:1", "size:2", "bias:3"}};
    oxp_tensor in[4];
    open_well(&s);
    cr_assert_eq(oxp_dataset_sample(s.d, &ctx, 2, in), OXP_OK);
    expect_tensor(&in[1], "[1]", 0, "scale");
    expect_tensor(&in[2], "[2]", 0, "size");
    expect_tensor(&in[3], "[1]", 2, "bias, whose leading dimension is symbolic");
    for (int i = 0; i < 4; i++)
        oxp_tensor_release(&in[i]);
    oxp_dataset_free(s.d);
}

Test(dataset_layout, a_model_without_a_batch_is_one_call)
{
    setting s = {.inputs = {"x:"}, .arrays = {"x:"}};
    open_well(&s);
    cr_expect_eq(oxp_dataset_count(s.d), 1);
    oxp_dataset_free(s.d);
    setting none = {.inputs = {NULL}};
    open_well(&none);
    cr_expect_eq(oxp_dataset_count(none.d), 1);
    oxp_dataset_free(none.d);
}

Test(dataset_layout, optional_inputs_may_be_left_out)
{
    setting s = {.inputs = {"x:N,2", "w:2,2"}, .optional = {false, true}, .arrays = {"x:3,2"}};
    oxp_tensor in[2];
    open_well(&s);
    cr_assert_eq(oxp_dataset_sample(s.d, &ctx, 0, in), OXP_OK);
    cr_expect_eq(in[1].dtype, OXP_UNDEFINED);
    oxp_tensor_release(&in[0]);
    oxp_dataset_free(s.d);
}

Test(dataset_layout, shapes_and_names_must_fit)
{
    expect_refused((setting){.inputs = {"x:N,3"}, .arrays = {"x:4,2"}}, OXP_EDATA, "E-CALIB-SHAPE");
    expect_refused((setting){.inputs = {"x:N,3"}, .arrays = {"x:4,3,1"}}, OXP_EDATA,
                   "E-CALIB-SHAPE");
    expect_refused((setting){.inputs = {"x:N,3"}, .arrays = {"x:3"}}, OXP_EDATA, "E-CALIB-SHAPE");
    expect_refused((setting){.inputs = {"x:N,3"}, .arrays = {"x:"}}, OXP_EDATA, "E-CALIB-SHAPE");
    expect_refused((setting){.inputs = {"x:2,3"}, .arrays = {"x:3,3"}}, OXP_EDATA, "E-CALIB-SHAPE");
    expect_refused((setting){.inputs = {"x:N,3", "y:M,2"}, .arrays = {"x:4,3", "y:3,2"}}, OXP_EDATA,
                   "E-CALIB-SHAPE");
    expect_refused((setting){.inputs = {"x:N,3", "t:5,2"}, .arrays = {"x:4,3", "t:10,2"}},
                   OXP_EDATA, "E-CALIB-SHAPE");
    expect_refused((setting){.inputs = {"x:N,3"}, .arrays = {"x:0,3"}}, OXP_EDATA, "E-CALIB-EMPTY");
    expect_refused((setting){.inputs = {"x:N,3"}, .arrays = {"z:4,3"}}, OXP_EDATA, "E-CALIB-NAME");
    expect_refused((setting){.inputs = {"x:N,3"}, .arrays = {NULL}}, OXP_EDATA, "E-CALIB-NAME");
    expect_refused((setting){.inputs = {"x:N,3"}, .arrays = {"x:4,3", "x:4,3"}}, OXP_EDATA,
                   "E-CALIB-NAME");
    expect_refused((setting){.inputs = {"x:N,3"}, .outputs = {"out:N"}, .arrays = {"x:4,3", "q:1"}},
                   OXP_EDATA, "E-CALIB-NAME");
    cr_expect_not_null(strstr(ctx.message, "\"x\", \"q\""), "the data's side: %s", ctx.message);
    cr_expect_not_null(strstr(ctx.message, "inputs: \"x\"; outputs: \"out\""), "the model's: %s",
                       ctx.message);
}

/* ---- outputs and joining ---- */

typedef struct output_case {
    const char *model, *array; /* of the output */
    int axis;
    const char *shape; /* of the second call's part; NULL: refused */
    float first;
} output_case;

Test(dataset_layout, expected_outputs_are_cut_like_the_inputs)
{
    static const output_case cases[] = {
        {"o:N,4", "o:3,4", 0, "[1,4]", 4},
        {"o:2,N", "o:2,3", 1, "[2,1]", 1},
        {"o:1,4", "o:3,4", 0, "[1,4]", 4},
        {"o:?,4", "o:6,4", 0, "[2,4]", 8},
        {"o:5,4", "o:3,5,4", -1, "[5,4]", 20},
        {"o:", "o:3", -1, "[]", 1},
        {"o", "o:3,4", 0, "[1,4]", 4},
        {"o:N,4", "o:4,4", 0, NULL, 0},
        {"o:5,4", "o:5,4", -1, NULL, 0},
        {"o:N,4", "o:3", 0, NULL, 0},
        {"o:", "o:", -1, NULL, 0},
    };
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        setting s = {
            .inputs = {"x:N,2"}, .outputs = {cases[c].model}, .arrays = {"x:3,2", cases[c].array}};
        if (cases[c].shape == NULL) {
            expect_refused(s, OXP_EDATA, "E-CALIB-SHAPE");
            continue;
        }
        open_well(&s);
        cr_expect_eq(oxp_dataset_output_axis(s.d, 0), cases[c].axis, "case %zu", c);
        cr_expect(oxp_dataset_has_expected(s.d, 0));
        oxp_tensor parts[3], joined;
        for (size_t i = 0; i < 3; i++)
            cr_assert_eq(oxp_dataset_expected(s.d, &ctx, i, &parts[i]), OXP_OK);
        expect_tensor(&parts[1], cases[c].shape, cases[c].first, cases[c].model);

        /* What is joined again is what was given. */
        oxp_tensor whole = numbered(strchr(cases[c].array, ':') + 1);
        cr_assert_eq(oxp_dataset_join(&joined, &ctx, parts, 3, cases[c].axis, "o"), OXP_OK);
        cr_expect_eq(joined.rank, whole.rank);
        cr_expect_arr_eq(joined.dims, whole.dims, sizeof whole.dims);
        cr_expect_arr_eq(joined.data, whole.data, oxp_tensor_bytes(&whole));
        for (size_t i = 0; i < 3; i++)
            oxp_tensor_release(&parts[i]);
        oxp_tensor_release(&joined);
        oxp_tensor_release(&whole);
        oxp_dataset_free(s.d);
    }
}

Test(dataset_layout, a_fixed_batch_has_it_in_its_outputs)
{
    setting s = {.inputs = {"x:4,2"}, .outputs = {"o:4,3", "p:5"}, .arrays = {"x:8,2", "o:8,3"}};
    oxp_tensor out[2];
    open_well(&s);
    cr_expect_eq(oxp_dataset_output_axis(s.d, 0), 0);
    cr_expect_eq(oxp_dataset_output_axis(s.d, 1), -1);
    cr_expect_not(oxp_dataset_has_expected(s.d, 1));
    cr_assert_eq(oxp_dataset_expected(s.d, &ctx, 1, out), OXP_OK);
    expect_tensor(&out[0], "[4,3]", 12, "o");
    cr_expect_eq(out[1].dtype, OXP_UNDEFINED);
    oxp_tensor_release(&out[0]);
    oxp_dataset_free(s.d);
}

Test(dataset_layout, results_of_one_call_are_not_stacked)
{
    oxp_tensor t = numbered("2,3"), joined;
    cr_assert_eq(oxp_dataset_join(&joined, &ctx, &t, 1, -1, "o"), OXP_OK);
    expect_tensor(&joined, "[2,3]", 0, "o");
    oxp_tensor_release(&joined);
    oxp_tensor_release(&t);
}

Test(dataset_layout, results_of_different_lengths_are_joined)
{
    oxp_tensor parts[3] = {numbered("2,1,2"), numbered("2,0,2"), numbered("2,3,2")}, joined;
    cr_assert_eq(oxp_dataset_join(&joined, &ctx, parts, 3, 1, "o"), OXP_OK);
    expect_tensor(&joined, "[2,4,2]", 0, "o");
    static const float wanted[16] = {0, 1, 0, 1, 2, 3, 4, 5, 2, 3, 6, 7, 8, 9, 10, 11};
    cr_expect_arr_eq(joined.data, wanted, sizeof wanted);
    oxp_tensor_release(&joined);
    cr_expect_eq(oxp_dataset_join(&joined, &ctx, parts, 3, -1, "o"), OXP_EDATA);
    cr_expect_str_eq(ctx.code, "E-SHAPE");
    cr_expect_eq(oxp_dataset_join(&joined, &ctx, parts, 3, 3, "o"), OXP_EDATA);
    for (int i = 0; i < 3; i++)
        oxp_tensor_release(&parts[i]);
}

/* ---- types, labels, NaN ---- */

static oxp_tensor over(oxp_dtype dtype, int64_t count, void *data)
{
    return (oxp_tensor){
        .dtype = dtype, .rank = 1, .dims = {count}, .count = (size_t)count, .data = data};
}

static oxp_status open_pair(oxp_dataset **d, const oxp_tensor *x, const char *key,
                            const oxp_tensor *other, const oxp_dataset_options *options)
{
    oxp_value_info x_info = {
        .name = "x", .dtype = OXP_FLOAT, .is_tensor = true, .rank = 1, .dims = {-1}};
    oxp_value_info o_info = x_info;
    o_info.name = "o";
    oxp_dataset_schema schema = {
        .inputs = &x_info, .input_count = 1, .outputs = &o_info, .output_count = 1};
    oxp_named_tensor arrays[2] = {{"x", x}, {key, other}};
    oxp_ctx_clear(&ctx);
    return oxp_dataset_from_tensors(d, &ctx, "memory", arrays, key == NULL ? 1 : 2, &schema,
                                    options);
}

Test(dataset_layout, types_are_never_cast)
{
    oxp_dataset *d;
    double doubles[3] = {1, 2, 3};
    float floats[3] = {1, 2, 3};
    oxp_tensor wrong = over(OXP_DOUBLE, 3, doubles), right = over(OXP_FLOAT, 3, floats);
    cr_expect_eq(open_pair(&d, &wrong, NULL, NULL, NULL), OXP_EDATA);
    cr_expect_str_eq(ctx.code, "E-CALIB-DTYPE");
    cr_expect_not_null(strstr(ctx.message, "DOUBLE"));
    cr_expect_eq(open_pair(&d, &right, "o", &wrong, NULL), OXP_EDATA);
    cr_expect_str_eq(ctx.code, "E-CALIB-DTYPE");
    oxp_tensor packed = over(OXP_INT4, 3, floats);
    cr_expect_eq(open_pair(&d, &packed, NULL, NULL, NULL), OXP_EDATA);
    cr_expect_str_eq(ctx.code, "E-CALIB-DTYPE");
}

Test(dataset_layout, labels_are_integers_one_for_each_sample)
{
    oxp_dataset *d;
    float floats[3] = {1, 2, 3};
    int32_t classes[3] = {7, 0, -1};
    oxp_tensor x = over(OXP_FLOAT, 3, floats), labels = over(OXP_INT32, 3, classes);
    cr_assert_eq(open_pair(&d, &x, "labels", &labels, NULL), OXP_OK, "%s", ctx.message);
    for (size_t i = 0; i < 3; i++)
        cr_expect_eq(oxp_dataset_labels(d, i)[0], classes[i]);
    oxp_dataset_free(d);
    cr_assert_eq(open_pair(&d, &x, NULL, NULL, NULL), OXP_OK);
    cr_expect_null(oxp_dataset_labels(d, 0));
    oxp_dataset_free(d);
    labels = over(OXP_INT32, 2, classes);
    cr_expect_eq(open_pair(&d, &x, "labels", &labels, NULL), OXP_EDATA);
    cr_expect_str_eq(ctx.code, "E-CALIB-SHAPE");
    cr_expect_eq(open_pair(&d, &x, "labels", &x, NULL), OXP_EDATA);
    cr_expect_str_eq(ctx.code, "E-CALIB-DTYPE");
}

Test(dataset_layout, nan_and_infinity)
{
    oxp_dataset *d;
    float floats[4] = {1, NAN, 3, -INFINITY};
    int32_t classes[4] = {0, 1, 2, 3};
    oxp_tensor x = over(OXP_FLOAT, 4, floats), labels = over(OXP_INT32, 4, classes);
    cr_expect_eq(open_pair(&d, &x, "labels", &labels, NULL), OXP_EDATA);
    cr_expect_str_eq(ctx.code, "E-CALIB-NONFINITE");
    cr_expect_str_eq(ctx.message, "memory: sample 1: input \"x\", element 0 is NaN");

    oxp_dataset_options options = {.nonfinite = OXP_DATA_NONFINITE_SKIP};
    cr_assert_eq(open_pair(&d, &x, "labels", &labels, &options), OXP_OK);
    cr_expect_eq(oxp_dataset_count(d), 2);
    cr_expect_eq(oxp_dataset_skipped(d), 2);
    cr_expect_eq(oxp_dataset_row_total(d), 2);
    cr_expect_eq(oxp_dataset_labels(d, 1)[0], 2, "labels follow their samples");
    oxp_tensor sample;
    cr_assert_eq(oxp_dataset_sample(d, &ctx, 1, &sample), OXP_OK);
    cr_expect_eq(oxp_tensor_real(&sample, 0), 3.0);
    oxp_tensor_release(&sample);
    oxp_dataset_free(d);

    options.nonfinite = OXP_DATA_NONFINITE_KEEP;
    cr_assert_eq(open_pair(&d, &x, NULL, NULL, &options), OXP_OK);
    cr_expect_eq(oxp_dataset_count(d), 4);
    oxp_dataset_free(d);

    options.nonfinite = OXP_DATA_NONFINITE_SKIP;
    floats[0] = floats[2] = NAN;
    cr_expect_eq(open_pair(&d, &x, NULL, NULL, &options), OXP_EDATA);
    cr_expect_str_eq(ctx.code, "E-CALIB-EMPTY");
}

Test(dataset_layout, hashes_are_of_the_content)
{
    oxp_dataset *d;
    float floats[3] = {1, 2, 1};
    oxp_tensor x = over(OXP_FLOAT, 3, floats);
    cr_assert_eq(open_pair(&d, &x, NULL, NULL, NULL), OXP_OK);
    uint64_t first = oxp_dataset_sample_hash(d, 0);
    cr_expect_eq(first, oxp_dataset_sample_hash(d, 2));
    cr_expect_neq(first, oxp_dataset_sample_hash(d, 1));
    oxp_dataset_free(d);
}
