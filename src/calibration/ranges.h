/* ranges.h - activation ranges and scales of watched values, from one streaming pass over the
 * samples.
 *
 * Nothing here grows with the number of samples, and the result does not depend on how samples are
 * grouped nor on the number of threads: histograms are exact and integer. */
#ifndef OXP_CALIBRATION_RANGES_H
#define OXP_CALIBRATION_RANGES_H

#include "calibration/runner.h"
#include "kernels/quantise.h"
#include "kernels/statistics.h"

typedef enum oxp_method {
    OXP_METHOD_MINMAX,
    OXP_METHOD_PERCENTILE,
    OXP_METHOD_ENTROPY,
    OXP_METHOD_MSE,
    OXP_METHOD_COUNT
} oxp_method;

typedef struct oxp_range {
    size_t graph_id;
    uint32_t value;        /* in that graph, never OUTER */
    int input;             /* position among the inputs of the main graph, or -1 */
    oxp_histogram *seen;   /* NULL once merged away */
    oxp_scale scale;       /* chosen */
    oxp_method method;     /* that chose it */
    bool fixed;            /* by the operator that makes it (Softmax) or by the model: no method */
    oxp_scale fixed_scale; /* where it is */
    double output_error[OXP_METHOD_COUNT]; /* of the layers it feeds; filled when `auto` looked */
    /* the same with a scale of its own in every run, as DynamicQuantizeLinear makes it; 0 where no
     * judge asked for it */
    double dynamic_error;
    bool judged; /* the errors were measured */
} oxp_range;

typedef struct oxp_ranges {
    oxp_range *items;
    size_t count;
    size_t **index; /* by graph id and value: item + 1, 0 = not watched */
    size_t graph_count;
} oxp_ranges;

/* The range of a value (OUTER ones resolved), or NULL when it is not watched. */
const oxp_range *oxp_ranges_find(const oxp_ranges *r, const oxp_graph *graph, uint32_t value);

const char *oxp_method_name(oxp_method m);

/* The scale that a method reads off a histogram. `percentile` is per cent, e.g. 99.999. */
oxp_scale oxp_scale_by(oxp_method method, const oxp_histogram *h, double percentile);

/* Sum of (x - Q(x))^2 over the counted values, each spread evenly over its bin. */
double oxp_scale_error(const oxp_histogram *h, oxp_scale s);

typedef struct oxp_watch { /* a value to be ranged */
    const oxp_graph *graph;
    uint32_t value; /* not OUTER */
} oxp_watch;

/* What an earlier pass over the same samples found of a watched value. */
typedef struct oxp_seen_range {
    oxp_histogram *values;
    size_t low, high;     /* the first samples that held its smallest and largest */
    double dynamic_error; /* where a judge asks for it */
} oxp_seen_range;

typedef struct oxp_calibration_options {
    bool automatic;    /* per tensor the method of least output error of the layers that it feeds */
    oxp_method method; /* when not automatic */
    double percentile; /* per cent */
    size_t second_pass; /* samples of the second pass, at most; race.h extends what they show */
    const oxp_seen_range *seen; /* by watch, in place of pass one; NULL: the pass is made */
} oxp_calibration_options;

/* Nodes whose output error decides `auto`: integer nodes and the range of what they read. */
typedef struct oxp_judge {
    const oxp_graph_node *node;
    size_t range; /* item of the ranges: the watch that the node's input 0 has */
    bool dynamic; /* a scale of its own in every run is a choice there: dynamic_error is wanted */
} oxp_judge;

/* Pass one over the samples: histograms of the watched values; then scales; with `automatic` a
 * second pass over the first samples. Everything lives in the arena. E-CALIB-NONFINITE (8) names a
 * watched value that is NaN in every element. */
oxp_status oxp_calibrate(oxp_ranges *out, oxp_arena *arena, const oxp_graph *graph,
                         const oxp_source *source, const size_t *which, size_t count,
                         const oxp_watch *watches, size_t watch_count, const oxp_judge *judges,
                         size_t judge_count, const oxp_calibration_options *options);

#endif
