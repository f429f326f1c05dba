/* sensitivity.h - what each weight's compression costs the model's answers, predicted from
 * gradients.
 *
 * Per weight l with d_l elements: tr F_l; S_l(e) = e tr F_l / d_l, the slope of the loss along a
 * random direction of size e; the budget e_l* = d_l sqrt(2 L / (D tr F_l)), D = sum d_l, which
 * spends a loss L in shares of d_l / D at equal bits saved (capped at |W_l|, what is left given to
 * the others; the course's e_l* ~ 1 / S_l is its case of equal sizes). Per candidate the predicted
 * loss 1/2 mean_i (g_i . delta)^2 of its real change delta. */
#ifndef OXP_PLANNER_SENSITIVITY_H
#define OXP_PLANNER_SENSITIVITY_H

#include "calibration/fisher.h"
#include "calibration/intervals.h"
#include "planner/compress.h"

#define OXP_CANDIDATES 6

typedef struct oxp_candidate {
    const char *technique, *parameters; /* "w8", "bits=4,method=rtn" */
    int bits;                           /* 16: half precision */
    double bits_per_weight, bytes, perturbation_norm;
    double predicted_loss; /* nats; NAN without a gradient */
    oxp_interval interval;
    double measured_loss; /* with this weight alone changed; NAN where it was not measured */
} oxp_candidate;

typedef struct oxp_sensitivity_row {
    const oxp_site *site;
    const oxp_graph_node *stops; /* the node that lets no gradient through, or NULL */
    double norm;                 /* |W| */
    double fisher_trace;         /* NAN without a gradient */
    oxp_interval interval;       /* BCa bootstrap over inputs: approximate */
    double budget;
    oxp_candidate candidates[OXP_CANDIDATES];
} oxp_sensitivity_row;

typedef struct oxp_sensitivity {
    oxp_compression *c; /* prepared */
    oxp_arena arena;
    oxp_estimator estimator;
    bool without_gradients; /* traces from running perturbed weights */
    const oxp_output_kind *kinds;
    const bool *counts;        /* by output; NULL: all */
    oxp_sensitivity_row *rows; /* by site */
    size_t count, inputs;
    bool has_losses;       /* of candidates: false with statistics and no samples */
    double rank_stability; /* Kendall's tau of tr F between halves of the inputs; NAN below 4 */
} oxp_sensitivity;

/* What the options say of estimator and outputs, for `s` that has its prepared model: OXP_EUSAGE,
 * E-SELECT. */
oxp_status oxp_sensitivity_settle(oxp_sensitivity *s, const oxp_sensitivity_options *options);

oxp_status oxp_sensitivity_run(oxp_sensitivity *out, oxp_ctx *ctx, const char *model,
                               const char *data, const oxp_sensitivity_options *options);
void oxp_sensitivity_free(oxp_sensitivity *s);

/* tau-a of two rankings: (concordant - discordant) / pairs. */
double oxp_kendall(const double *a, const double *b, size_t n);

/* Budgets for `count` weights of sizes d, traces t and norms w: see above; out[i] = w[i] where t[i]
 * is zero or not known. */
void oxp_budgets(double *out, const double *d, const double *t, const double *w, size_t count,
                 double loss);

#endif
