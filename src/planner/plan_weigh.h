/* plan_weigh.h - what the files that weigh forms share. */
#ifndef OXP_PLANNER_PLAN_WEIGH_H
#define OXP_PLANNER_PLAN_WEIGH_H

#include "planner/plan.h"

typedef struct oxp_plan_weigher {
    oxp_plan *p;
    oxp_compression *c;
    oxp_arena arena;
    oxp_codes *bare;     /* the codes without shifts of biases */
    oxp_codes *trial;    /* those of a trial */
    oxp_choice *choices; /* of one trial */
    size_t base;         /* bytes of the model as it is */
    size_t *taken;       /* option of each site in the trial, SIZE_MAX: none */
    int16_t **codes;     /* by column, in a group */
    double *steps;       /* by column; NAN until seen */
    double *singles;     /* as oxp_plan.changes: sum_j (g_j delta_j)^2 */
    float **shifts;      /* by column: of the layers' biases, by channel; NULL: none */
    double *extra;       /* by form: bytes beside the technique's own */
    size_t *extra_count; /* weights that they were seen at */
    bool *reached;       /* by site: some gradient was not zero */
    size_t first, last;  /* the group's sites */
    size_t *site_of;     /* by target */
    size_t weights;      /* targets before this one are weights, the others biases */
    size_t *which;       /* the inputs, samples of the fit */
    size_t draw;
} oxp_plan_weigher;

/* Bytes that a technique names as its own: nodes and names come on top. */
size_t oxp_plan_own_bytes(const oxp_site *s, const oxp_choice *choice);

/* ---- plan_trials.c ---- */
/* Applies w->choices, of the options w->taken; *out is freed with oxp_model_free(). */
oxp_status oxp_plan_trial(oxp_model **out, oxp_plan_weigher *w);
/* Changes and bytes of a form (SIZE_MAX: what --layer forces) at all weights of the group. */
oxp_status oxp_plan_try_form(oxp_plan_weigher *w, size_t form);
/* Losses of the options that no gradient reaches, each measured alone. */
oxp_status oxp_plan_measure_alone(oxp_plan_weigher *w);

/* ---- plan_gradients.c ---- */
/* Fills the plan's changes of the group's weights. */
oxp_status oxp_plan_gradients(oxp_plan_weigher *w);

#endif
