/* Pad in front of a Conv. */
#include "unit/prepare/small_models.h"

SMALL_SUITE(padding);

static const oxp_prepare_options padding_only = {.fold_padding = true};

/* x [N, 4, 6, 7] -> Relu r -> Pad p -> Conv c [5, 4, 3, 3] -> Relu y; the nodes that stay. */
static void expect(int64_t opset, const char *mode, const int64_t pads[8], float value,
                   const char *automatic, const int64_t *own, size_t nodes)
{
    start(opset);
    input("x", DIMS(-1, 4, 6, 7));
    node("Relu", "x", "r");
    weights("w", DIMS(5, 4, 3, 3));
    oxp_node_proto *pad;
    if (opset < 11) {
        pad = node("Pad", "r", "p");
        ints(pad, "pads", 8, pads);
        ok(oxp_edit_set_float(model, pad, "value", value));
    } else {
        number("v", value);
        ok(oxp_edit_add_initializer(model, g, "q", OXP_INT64, 1, (int64_t[]){8}, pads));
        pad = node("Pad", "r q v", "p");
    }
    ok(oxp_edit_set_string(model, pad, "mode", mode));
    oxp_node_proto *conv = node("Conv", "p w", "c");
    if (automatic)
        ok(oxp_edit_set_string(model, conv, "auto_pad", automatic));
    if (own)
        ints(conv, "pads", 4, own);
    node("Relu", "c", "y");
    output("y");
    prepare_with(padding_only);
    cr_assert(result.checked, "%s", result.why_unchecked);
    cr_expect_eq(count_nodes(prepared), nodes, "opset %d, %s", (int)opset, mode);
    expect_sound();
}

static const int64_t around[8] = {0, 0, 1, 2, 0, 0, 1, 0};

Test(padding, zeros_become_the_convs_own)
{
    expect(13, "constant", around, 0, NULL, NULL, 3);
    again();
}

Test(padding, as_an_attribute_too)
{
    expect(10, "constant", around, 0, NULL, NULL, 3);
}

Test(padding, the_convs_own_pads_are_added)
{
    expect(13, "constant", around, 0, NULL, (int64_t[]){1, 0, 0, 2}, 3);
}

Test(padding, an_unpadded_conv_may_say_so)
{
    expect(13, "constant", around, 0, "VALID", NULL, 3);
}

Test(padding, pads_that_depend_on_the_size_stay)
{
    expect(13, "constant", around, 0, "SAME_UPPER", NULL, 4);
}

Test(padding, other_values_stay)
{
    expect(13, "constant", around, 0.5f, NULL, NULL, 4);
}

Test(padding, reflections_stay)
{
    expect(13, "reflect", around, 0, NULL, NULL, 4);
}

Test(padding, what_is_cut_away_stays)
{
    expect(13, "constant", (int64_t[]){0, 0, -1, 0, 0, 0, 0, 0}, 0, NULL, NULL, 4);
}
