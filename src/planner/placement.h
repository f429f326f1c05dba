/* placement.h - where integer arithmetic pays: a first choice of form for every site.
 *
 * The rules restate measurements of ONNX Runtime on one thread (docs/placement.md). A product pays
 * when it is large enough; which convolutions do depends on what stands around them, and is
 * weighed for all of them together (regions.h). What does not pay is stored in 8 bits, which costs
 * no time. Without samples nothing is known of sizes, and convolutions stay float. */
#ifndef OXP_PLANNER_PLACEMENT_H
#define OXP_PLANNER_PLACEMENT_H

#include "planner/regions.h"
#include "planner/select.h"

typedef enum oxp_precision {
    OXP_PRECISION_NONE,
    OXP_PRECISION_FP16,
    OXP_PRECISION_W8,
    OXP_PRECISION_DYNAMIC,
    OXP_PRECISION_W8A8,
    OXP_PRECISION_W4,       /* 2 to 7 bits */
    OXP_PRECISION_TECHNIQUE /* the last of a pipeline; NULL: nothing is left to do */
} oxp_precision;

/* What one sample showed of a site's consumers; all zero when none ran. */
typedef struct oxp_site_work {
    double macs;     /* of the smallest consumer that ran */
    double elements; /* that it reads and writes as activations */
} oxp_site_work;

typedef struct oxp_placement_options {
    oxp_precision precision;
    bool stored_only; /* --quant-format stored */
    bool everywhere;  /* --quant-format qdq: integers wherever they have a form, faster or not */
    int limit;        /* of w4's codes */
    size_t block;     /* of w4's scales; 0: its own */
    const oxp_site_work *work;      /* by site; NULL without samples */
    const oxp_technique *technique; /* of OXP_PRECISION_TECHNIQUE */
    oxp_params params;              /* of `technique`, where the choice is that */
    bool by_regions;                /* oxp_settle_choices() will weigh the convolutions */
} oxp_placement_options;

/* Fills choices[count] (limit 127). forced_params: of the forced techniques; NULL: their own.
 * Reasons live as long as the program. */
void oxp_place(oxp_choice *choices, const oxp_site *sites, size_t count, const bool *selected,
               const bool *is_forced, const oxp_technique *const *forced,
               const oxp_params *forced_params, const oxp_placement_options *options);

/* Takes back integer sites that stand where ONNX Runtime would quantise a float layer on its own: a
 * Conv, ConvTranspose or Gemm that reads DequantizeLinear and whose result goes to QuantizeLinear
 * gets a per-tensor int8 weight when the model is loaded, whatever that costs. With `regions`, also
 * what costs more in integers than in float, borders counted. Called again after every change of
 * choices. */
oxp_status oxp_settle_choices(const oxp_graph *graph, const oxp_site *sites, size_t count,
                              oxp_choice *choices, const oxp_regions *regions);

/* Whether 16-bit sums of pairs u8 * s8 can saturate on a CPU without VNNI: some output channel has
 * two neighbouring codes along the reduction with 255 * (sum of their positive parts) > 32767, or
 * of their negative parts > 32768. */
bool oxp_pair_sums_saturate(const oxp_site *site, const int8_t *codes, int activation_max);

#endif
