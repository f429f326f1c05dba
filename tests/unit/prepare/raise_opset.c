/* Raising the opset with ranks that running shows. */
#include "unit/prepare/small_models.h"

SMALL_SUITE(raise_opset);

/* Softmax of opset 11 on axis 1 works on all axes from the first on; of opset 13 on one. */
static void build(void)
{
    start(11);
    input("x", DIMS(-1, 3, 4));
    node("Relu", "x", "r");
    ok(oxp_edit_set_int(model, node("Softmax", "r", "s"), "axis", 1));
    ints(node("Unsqueeze", "s", "u"), "axes", 1, (int64_t[]){0});
    node("Neg", "u", "y");
    output("y");
}

Test(raise_opset, keeps_the_outputs)
{
    build();
    double difference;
    ok(oxp_prepare_raise_opset(&prepared, &difference, model, 17, NULL, 0));
    cr_expect_eq(oxp_model_opset(prepared, ""), 17);
    cr_expect_eq(oxp_model_opset(model, ""), 11, "the given model stays as it is");
    cr_expect_geq(difference, 0);
    cr_expect_lt(difference, 1e-6);
    expect_same_outputs(1e-6);
}

Test(raise_opset, a_newer_model_is_only_cloned)
{
    build();
    double difference;
    ok(oxp_prepare_raise_opset(&prepared, &difference, model, 10, NULL, 0));
    cr_expect_eq(oxp_model_opset(prepared, ""), 11);
    cr_expect_lt(difference, 0, "nothing was measured");
}

Test(raise_opset, a_prepared_model_can_be_raised)
{
    start(11);
    input("x", DIMS(-1, 4, 6, 6));
    weights("w", DIMS(5, 4, 3, 3));
    number("s", 2);
    node("Conv", "x w", "c");
    node("Mul", "c s", "m");
    ok(oxp_edit_set_int(model, node("Softmax", "m", "y"), "axis", 1));
    output("y");
    prepare_all();
    oxp_model *raised;
    double difference;
    ok(oxp_prepare_raise_opset(&raised, &difference, prepared, 21, NULL, 0));
    cr_expect_eq(oxp_model_opset(raised, ""), 21);
    cr_expect(difference >= 0 && difference < 1e-6);
    oxp_model_free(raised);
}

Test(raise_opset, an_opset_beyond_what_is_known_is_refused)
{
    build();
    double difference = 5;
    cr_expect_eq(oxp_prepare_raise_opset(&prepared, &difference, model, 1000, NULL, 0),
                 OXP_EUNSUPPORTED);
    cr_expect_null(prepared);
    cr_expect_eq(difference, 5);
}
