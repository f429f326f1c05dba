/* cost_table.h - what nodes cost in ONNX Runtime on one thread, float and in integers, by shape.
 *
 * A formula per kind of node, its coefficients fitted to measurements of single nodes over shapes
 * from 7x7 to 56x56 and 8 to 256 channels (docs/placement.md). They compare forms with each other;
 * nothing else is read off them. */
#ifndef OXP_DEPLOYMENT_COST_TABLE_H
#define OXP_DEPLOYMENT_COST_TABLE_H

#include <stdbool.h>
#include <stddef.h>

typedef struct oxp_cost_table {
    const char *cpu;    /* as --cpu spells it */
    const char *source; /* where the numbers come from */
    double node_us;     /* of a node besides its work */
    size_t block;       /* channels that float convolutions are computed in */
    /* Float Conv, ns: a multiply-accumulate over padded channels; the factor on it where there is
     * one block of outputs, or less than one of inputs; depthwise, an output and a tap of it. */
    double float_mac, one_block, narrow_input, depthwise_element, depthwise_tap;
    /* Integer Conv, ns: a multiply-accumulate, an element read and one written; a position and tap
     * gathered, and that with few channels; depthwise, a position and tap, an element and tap. */
    double integer_mac, integer_in, integer_out, gather, gather_narrow, integer_depthwise_gather,
        integer_depthwise_tap;
    double quantise, dequantise, transpose, reorder; /* ns an element */
    double float_add, integer_add, float_activation, integer_activation;
    double caution; /* what integers must be faster by, as a factor on their cost */
} oxp_cost_table;

/* By --cpu; NULL is "vnni". */
const oxp_cost_table *oxp_cost_table_find(const char *cpu);

typedef struct oxp_conv_shape {
    double positions; /* of the output: N*H*W */
    double read;      /* elements of the input */
    size_t inputs, outputs, groups, taps;
} oxp_conv_shape;

/* Microseconds. */
double oxp_cost_float_conv(const oxp_cost_table *t, const oxp_conv_shape *s);
double oxp_cost_integer_conv(const oxp_cost_table *t, const oxp_conv_shape *s);
/* Codes from a float value that stands in the blocked layout, and a float value from codes. */
double oxp_cost_quantise(const oxp_cost_table *t, double elements);
double oxp_cost_dequantise(const oxp_cost_table *t, double elements);

#endif
