/* composition.h - what each stage of a pipeline did to each weight, and what that says of the
 * whole: errors that were measured, bounds on them (kernels/chain_error.h), and which order of the
 * stages would have been best.
 *
 * Weights are those of the prepared model, by name, as matrices [rows, columns] (techniques/fit.h).
 * The norms are Frobenius and that of what the layer read in that model. */
#ifndef OXP_PLANNER_COMPOSITION_H
#define OXP_PLANNER_COMPOSITION_H

#include "kernels/chain_error.h"
#include "planner/pipeline.h"
#include "techniques/fit.h"

typedef struct oxp_composed_weight {
    const oxp_site *site;
    /* [rows, columns], owned; of a stage that left the weight alone NULL */
    float *original, *after[OXP_PIPELINE_MAX], *alone[OXP_PIPELINE_MAX], *frozen[OXP_PIPELINE_MAX];
    bool changed[OXP_PIPELINE_MAX];
    /* of a weight in two factors, as the last stage left them, owned; else NULL */
    float *left, *right;
    size_t rank;
    bool is_reshaped;               /* channels were removed: there is nothing to compare with */
    oxp_chain_error error, error_h; /* NAN where there is none */
} oxp_composed_weight;

typedef struct oxp_composition {
    oxp_ctx *ctx;
    oxp_arena arena;
    oxp_graph *graph;
    oxp_site *sites;
    size_t count, stages; /* weights; stages so far */
    oxp_composed_weight *weights;
    oxp_map names;
    /* orders of the stages as given, by place */
    size_t rule[OXP_PIPELINE_MAX], best[OXP_PIPELINE_MAX];
    bool is_measured;              /* `best` and the errors below */
    double rule_error, best_error; /* sqrt of the sum over layers of |E X|^2 / |W X|^2 */
} oxp_composition;

/* `model` outlives it. */
oxp_status oxp_composition_begin(oxp_composition *c, oxp_model *model);
void oxp_composition_free(oxp_composition *c); /* takes zeros */

/* The weight that a site of this name is, or a factor of it: *part 0, or 1 (left), 2 (right); NULL:
 * none. */
oxp_composed_weight *oxp_composition_find(const oxp_composition *c, const char *name, int *part);

/* Runs every order that the format can store on every weight of the techniques, in memory, and
 * finds the one of least error; without samples in the Frobenius norm. `options` names the samples.
 */
oxp_status oxp_composition_orders(oxp_composition *c, const oxp_pipeline *p, const bool *selected,
                                  const oxp_fit_options *options);

/* For oxp_fit_options.also of a stage; user is the composition. */
oxp_status oxp_composition_also(void *user, const oxp_fit_input *in, const oxp_fitted *fitted);
/* A weight as a choice that has no fit leaves it. */
oxp_status oxp_composition_note(oxp_composition *c, const oxp_site *s, const oxp_choice *choice,
                                const oxp_codes *codes);
/* The weights as a stage that rewrote the model left them; it comes first of all. */
oxp_status oxp_composition_rewritten(oxp_composition *c, oxp_model *model);
/* Closes a stage: what comes now belongs to the next. */
oxp_status oxp_composition_end_stage(oxp_composition *c, const oxp_pipeline_stage *stage);

/* Fills error and error_h of all weights. */
oxp_status oxp_composition_measure(oxp_composition *c, const oxp_fit_options *options);

#endif
