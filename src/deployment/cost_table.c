/* cost_table.c - the coefficients and the formulas. */
#include "deployment/cost_table.h"

#include <string.h>

/* avx2: vectors half as long, so float work takes twice as long; 32 multiply-accumulates are four
 * FMA, or VPMADDUBSW, VPMADDWD and VPADDD, of which two share the ports of the FMA: half the time.
 * arm: no measurement at all; integers only where they would pay at half the gain that the dot
 * product instructions promise. */
static const oxp_cost_table tables[] = {
    {.cpu = "vnni",
     .source = "measured: ONNX Runtime 1.32, AVX-512 VNNI, one thread",
     .node_us = 0.6,
     .block = 16,
     .float_mac = 0.0073,
     .one_block = 1.35,
     .narrow_input = 1.6,
     .depthwise_element = 0.08,
     .depthwise_tap = 0.0075,
     .integer_mac = 0.0019,
     .integer_in = 0.015,
     .integer_out = 0.03,
     .gather = 0.8,
     .gather_narrow = 1.7,
     .integer_depthwise_gather = 0.5,
     .integer_depthwise_tap = 0.0135,
     .quantise = 0.052,
     .dequantise = 0.085,
     .transpose = 0.04,
     .reorder = 0.085,
     .float_add = 0.08,
     .integer_add = 0.16,
     .float_activation = 0.11,
     .integer_activation = 0.25,
     .caution = 1.1},
    {.cpu = "avx2",
     .source = "derived from vnni by vector length and instruction counts, not measured",
     .node_us = 0.6,
     .block = 8,
     .float_mac = 0.0146,
     .one_block = 1.35,
     .narrow_input = 1.3,
     .depthwise_element = 0.1,
     .depthwise_tap = 0.015,
     .integer_mac = 0.0075,
     .integer_in = 0.015,
     .integer_out = 0.04,
     .gather = 0.8,
     .gather_narrow = 1.7,
     .integer_depthwise_gather = 0.5,
     .integer_depthwise_tap = 0.027,
     .quantise = 0.08,
     .dequantise = 0.1,
     .transpose = 0.04,
     .reorder = 0.085,
     .float_add = 0.08,
     .integer_add = 0.2,
     .float_activation = 0.15,
     .integer_activation = 0.25,
     .caution = 1.2},
    {.cpu = "arm",
     .source = "conservative: nothing measured",
     .node_us = 1,
     .block = 1,
     .float_mac = 0.03,
     .one_block = 1,
     .narrow_input = 1,
     .depthwise_element = 0.1,
     .depthwise_tap = 0.03,
     .integer_mac = 0.015,
     .integer_in = 0.03,
     .integer_out = 0.06,
     .gather = 1.6,
     .gather_narrow = 3.4,
     .integer_depthwise_gather = 1,
     .integer_depthwise_tap = 0.06,
     .quantise = 0.2,
     .dequantise = 0.2,
     .transpose = 0.1,
     .reorder = 0,
     .float_add = 0.2,
     .integer_add = 0.4,
     .float_activation = 0.3,
     .integer_activation = 0.5,
     .caution = 1.6},
};

const oxp_cost_table *oxp_cost_table_find(const char *cpu)
{
    for (size_t i = 0; cpu && i < sizeof tables / sizeof *tables; i++)
        if (strcmp(tables[i].cpu, cpu) == 0)
            return &tables[i];
    return &tables[0];
}

static double blocks(const oxp_cost_table *t, size_t channels)
{
    return (double)((channels + t->block - 1) / t->block * t->block);
}

static bool is_depthwise(const oxp_conv_shape *s)
{
    return s->groups > 1 && s->groups == s->inputs && s->groups == s->outputs;
}

double oxp_cost_float_conv(const oxp_cost_table *t, const oxp_conv_shape *s)
{
    double out = blocks(t, s->outputs), taps = (double)s->taps;
    if (is_depthwise(s))
        return t->node_us +
               1e-3 * s->positions * out * (t->depthwise_element + t->depthwise_tap * taps);
    double in = (double)s->inputs / (double)s->groups, mac = t->float_mac;
    if (s->inputs < t->block)
        mac *= t->narrow_input;
    else if (s->groups == 1)
        in = blocks(t, s->inputs);
    if (s->inputs >= t->block && s->outputs <= t->block)
        mac *= t->one_block;
    return t->node_us + 1e-3 * s->positions * out * in * taps * mac;
}

double oxp_cost_integer_conv(const oxp_cost_table *t, const oxp_conv_shape *s)
{
    double taps = (double)s->taps, out = (double)s->outputs,
           in = (double)s->inputs / (double)s->groups;
    double moved = s->read * t->integer_in + s->positions * out * t->integer_out;
    if (is_depthwise(s))
        return t->node_us +
               1e-3 * (moved + s->positions * taps *
                                   (t->integer_depthwise_gather + out * t->integer_depthwise_tap));
    double gather = s->taps == 1 ? 0 : s->inputs < t->block ? t->gather_narrow : t->gather;
    return t->node_us + 1e-3 * (moved + s->positions * taps * (double)s->groups * gather +
                                s->positions * out * in * taps * t->integer_mac);
}

double oxp_cost_quantise(const oxp_cost_table *t, double elements)
{
    return 3 * t->node_us + 1e-3 * elements * (t->reorder + t->quantise + t->transpose);
}

double oxp_cost_dequantise(const oxp_cost_table *t, double elements)
{
    return 3 * t->node_us + 1e-3 * elements * (t->transpose + t->dequantise + t->reorder);
}
