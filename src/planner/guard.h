/* guard.h - the promise that the result still gives the same answers.
 *
 * While the outputs' SQNR on the reference samples is below the bound, sites go up a level: from
 * integers to stored 8 bits, from there to half precision, from there to float; those first that
 * cost most for what they are worth: their share of the work for an integer site, of the weights
 * for a stored one. What a site costs is measured with that site alone compressed. */
#ifndef OXP_PLANNER_GUARD_H
#define OXP_PLANNER_GUARD_H

#include "planner/evaluate.h"
#include "planner/placement.h"

typedef struct oxp_guard {
    oxp_ctx *ctx;
    oxp_model *prepared;
    const oxp_graph *graph; /* of it */
    const oxp_site *sites;
    size_t site_count;
    const oxp_codes *codes, *narrow_codes;
    const oxp_ranges *ranges;
    const oxp_reference *reference;
    double min_sqnr_db;
    const oxp_site_work *work;  /* by site: what integers save there */
    const oxp_regions *regions; /* or NULL */
} oxp_guard;

/* Changes `choices` until the bound holds or nothing is left to take back. cost[i]: noise share of
 * site i alone, NAN where it was not measured. *sqnr_db: what the final choice reaches. */
oxp_status oxp_guard_run(const oxp_guard *g, oxp_choice *choices, double *cost, double *sqnr_db);

/* How far above the noise that was seen its upper 95 % limit lies, in dB, between 1 and 6; 0 where
 * there was none: the ratio of noise and signal over n inputs has the standard error sqrt(sum
 * (noise - ratio signal)^2 n / (n - 1)) / sum signal. Approximate. slots[i * stride]: input i. */
double oxp_guard_margin_db(const oxp_difference *slots, size_t inputs, size_t stride);

#endif
