/* sensitivity_pass.h - what the files of the sensitivity job share. */
#ifndef OXP_PLANNER_SENSITIVITY_PASS_H
#define OXP_PLANNER_SENSITIVITY_PASS_H

#include "planner/sensitivity.h"

typedef struct oxp_sensitivity_pass {
    oxp_sensitivity *s;
    const float **weights; /* by site, as float */
    float **owned;         /* those that are not in the model that way, else NULL */
    size_t *site_of;       /* by target */
    float **scales;        /* by site and candidate; NULL for half precision */
    double *changes; /* [(input * sites + site) * OXP_CANDIDATES + candidate]: (g . delta)^2 */
} oxp_sensitivity_pass;

/* ---- candidates.c ---- */
oxp_status oxp_candidate_scales(oxp_sensitivity_pass *p);
/* Fills a row's candidates but for their losses. */
void oxp_candidate_describe(const oxp_sensitivity_pass *p, size_t site);
/* g . delta; g NULL: |delta|^2. */
double oxp_candidate_change(const oxp_sensitivity_pass *p, size_t site, size_t candidate,
                            const float *g);
/* The weight as the candidate stores it; `codes` has room for its elements. */
void oxp_candidate_weight(float *out, const oxp_sensitivity_pass *p, size_t site, size_t candidate,
                          int8_t *codes);

/* ---- measure.c ---- */
/* The loss of every candidate alone: of all weights, or of those that no gradient reaches. */
oxp_status oxp_measure_candidates(oxp_sensitivity_pass *p, bool all);
/* tr F of every weight without gradients: E [KL(w + h z) + KL(w - h z)] / h^2 over a few random
 * signs z, the same for all inputs, so that there is no interval over inputs. */
oxp_status oxp_measure_traces(oxp_sensitivity_pass *p);

#endif
