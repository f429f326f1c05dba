/* Changes in 16 bits against changes in double. */
#include "kernels/changes.h"

#include <criterion/criterion.h>
#include <math.h>

#include "util/random.h"

#define COUNT 1003

Test(changes, products_with_gradients_keep_four_digits)
{
    float before[COUNT], after[COUNT], g[COUNT];
    int16_t codes[COUNT];
    oxp_random r = oxp_random_make(1, 1, 1);
    double expected = 0, squares = 0, sum = 0, size = 0, products = 0;
    for (size_t i = 0; i < COUNT; i++) {
        before[i] = (float)oxp_random_normal(&r);
        after[i] = before[i] + 0.01f * (float)oxp_random_normal(&r);
        g[i] = (float)oxp_random_normal(&r);
        double change = (double)after[i] - (double)before[i];
        expected += (double)g[i] * change;
        size += fabs((double)g[i] * change);
        sum += change * change;
        products += (double)g[i] * change * (double)g[i] * change;
    }
    double step = oxp_changes_pack(codes, &squares, before, after, COUNT);
    cr_expect_lt(fabs(squares - sum), 1e-12);
    double each;
    cr_expect_lt(fabs(step * oxp_changes_dot(&each, g, codes, COUNT) - expected), 1e-4 * size);
    cr_expect_lt(fabs(step * step * each / products - 1), 1e-4);
}

Test(changes, nothing_changed_and_nothing_finite)
{
    const float w[] = {1, -2, 3}, broken[] = {1, NAN, 3};
    int16_t codes[3] = {7, 7, 7};
    double squares = 7;
    cr_expect_eq(oxp_changes_pack(codes, &squares, w, w, 3), 0);
    cr_expect(codes[0] == 0 && codes[1] == 0 && codes[2] == 0);
    cr_expect_eq(squares, 0);
    cr_expect(isnan(oxp_changes_pack(codes, &squares, w, broken, 3)));
}
