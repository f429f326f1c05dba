/* Globs as selectors use them. */
#include "planner/select.h"

#include <criterion/criterion.h>

Test(glob, star_crosses_slashes)
{
    cr_expect(oxp_glob("*", ""));
    cr_expect(oxp_glob("/a/*", "/a/b/c"));
    cr_expect(oxp_glob("*Conv*", "/features/Conv_1"));
    cr_expect(oxp_glob("a?c", "abc"));
    cr_expect(oxp_glob("*a*b*c", "xxaxxbxxc"));
    cr_expect_not(oxp_glob("a", "ab"));
    cr_expect_not(oxp_glob("*x", "abc"));
    cr_expect_not(oxp_glob("", "a"));
}

Test(glob, many_stars_take_no_exponential_time)
{
    cr_expect_not(oxp_glob("*a*a*a*a*a*a*a*a*a*a*a*a*b",
                           "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
}
