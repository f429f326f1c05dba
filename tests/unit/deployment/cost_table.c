/* The cost formulas against single nodes measured in ONNX Runtime 1.32 (AVX-512 VNNI, one thread;
 * the profiler's own 1.4 us a node taken off). */
#include "deployment/cost_table.h"

#include <criterion/criterion.h>
#include <math.h>

typedef struct measured {
    size_t inputs, outputs, taps, side;
    bool depthwise;
    double real_us, integer_us;
} measured;

static const measured nodes[] = {
    {48, 48, 1, 28, false, 13.6, 5.6},    {64, 64, 1, 56, false, 92.6, 31.6},
    {128, 128, 1, 28, false, 91.6, 27.6}, {240, 240, 1, 28, false, 327.6, 87.6},
    {24, 96, 1, 56, false, 70.6, 25.6},   {96, 24, 1, 56, false, 71.6, 22.6},
    {3, 16, 9, 56, false, 15.6, 51.6},    {16, 16, 9, 56, false, 69.6, 36.6},
    {40, 40, 9, 28, false, 118.6, 29.6},  {64, 64, 9, 28, false, 206.6, 57.6},
    {96, 96, 9, 28, false, 487.3, 126.6}, {32, 32, 9, 56, true, 13.6, 31.6},
    {96, 96, 9, 28, true, 11.6, 15.6},    {240, 240, 25, 28, true, 56.6, 71.3},
};

static oxp_conv_shape shape_of(const measured *m)
{
    double positions = (double)(m->side * m->side);
    return (oxp_conv_shape){.positions = positions,
                            .read = positions * (double)m->inputs,
                            .inputs = m->inputs,
                            .outputs = m->outputs,
                            .groups = m->depthwise ? m->inputs : 1,
                            .taps = m->taps};
}

Test(cost_table, within_a_third_of_what_was_measured)
{
    const oxp_cost_table *t = oxp_cost_table_find("vnni");
    for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++) {
        oxp_conv_shape s = shape_of(&nodes[i]);
        double real = oxp_cost_float_conv(t, &s) / nodes[i].real_us;
        double integer = oxp_cost_integer_conv(t, &s) / nodes[i].integer_us;
        cr_expect(real > 0.66 && real < 1.34, "node %zu: float %.2f of measured", i, real);
        cr_expect(integer > 0.66 && integer < 1.34, "node %zu: integer %.2f of measured", i,
                  integer);
    }
}

Test(cost_table, every_cpu_has_one_and_says_where_it_is_from)
{
    static const char *const cpus[] = {"vnni", "avx2", "arm"};
    for (size_t i = 0; i < 3; i++) {
        const oxp_cost_table *t = oxp_cost_table_find(cpus[i]);
        cr_expect_str_eq(t->cpu, cpus[i]);
        cr_expect(t->source[0] && t->caution >= 1 && t->node_us > 0 && t->block > 0);
        oxp_conv_shape large = {784, 784 * 256, 256, 256, 1, 9};
        cr_expect_lt(oxp_cost_integer_conv(t, &large), oxp_cost_float_conv(t, &large), "%s",
                     cpus[i]);
    }
    cr_expect_eq(oxp_cost_table_find(NULL), oxp_cost_table_find("vnni"));
}
