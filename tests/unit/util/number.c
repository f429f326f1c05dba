/* Decimals: the values that people write, and what is none. */
#include "util/number.h"

#include <criterion/criterion.h>

Test(number, reads_decimals_and_says_where_they_end)
{
    static const struct {
        const char *text;
        double value;
        const char *rest;
    } cases[] = {
        {"12", 12, ""}, {"0.5MB/s", 0.5, "MB/s"}, {"99.999", 99.999, ""}, {".25x", 0.25, "x"},
        {"3.", 3, ""},  {"1.5.2", 1.5, ".2"},     {"007", 7, ""},         {"1e3", 1, "e3"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double value = -1;
        const char *rest = oxp_read_decimal(cases[i].text, &value);
        cr_assert_not_null(rest, "%s", cases[i].text);
        cr_expect_eq(value, cases[i].value, "%s: %.17g", cases[i].text, value);
        cr_expect_str_eq(rest, cases[i].rest);
    }
}

Test(number, refuses_what_begins_with_none)
{
    static const char *const bad[] = {"", "-1", "+1", " 1", ".", "x", "inf", "nan"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        double value = -1;
        cr_expect_null(oxp_read_decimal(bad[i], &value), "%s", bad[i]);
        cr_expect_eq(value, -1);
    }
}
