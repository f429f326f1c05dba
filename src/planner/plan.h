/* plan.h - the least loss within so many bytes: which form every weight gets.
 *
 *   forms      what a weight could be stored as (plan_forms.c: a table)
 *   changes    what each form really changes, a_{s,l,c} = g_s . delta_{l,c}, and its bytes
 *              (plan_weigh.c, plan_trials.c, plan_gradients.c)
 *   choice     min sum_l 1/2 mean_s a^2 within the budget (knapsack.h), applied, written, and
 * chosen
 *              again with what the file showed until its bytes fit (plan.c)
 *   promise    predicted loss of the whole, 1/2 mean_s (sum_l a_{s,l,c(l)})^2: with the cross terms
 *              that the choice leaves out; beside it the loss measured on other samples
 *
 * A slot s is one draw of the outputs' information for one input (calibration/fisher.h). */
#ifndef OXP_PLANNER_PLAN_H
#define OXP_PLANNER_PLAN_H

#include "calibration/intervals.h"
#include "planner/compress.h"
#include "planner/knapsack.h"

/* ---- forms ---- */

typedef struct oxp_plan_form {
    const oxp_technique *technique; /* NULL: stays float */
    int bits;                       /* of w4's codes; 0: the technique's own */
    size_t block;                   /* of w4's scales; SIZE_MAX: a scale per channel */
} oxp_plan_form;

extern const oxp_plan_form oxp_plan_forms[];
extern const size_t oxp_plan_form_count;

oxp_choice oxp_plan_choice(const oxp_plan_form *form);
/* "float", "w8", "w4:bits=3,block=32", "w4:bits=3,block=channel". NULL: no memory. */
const char *oxp_plan_choice_text(oxp_arena *arena, const oxp_choice *choice);
/* The other way round; *fault says what is wrong with the text, or NULL. */
oxp_choice oxp_plan_choice_read(const char *text, const char **fault);
/* Whether a plan may give a weight this form; else *why_not. */
bool oxp_plan_choice_applies(const oxp_site *s, const oxp_choice *choice, const char **why_not);

/* ---- plans ---- */

typedef struct oxp_plan_option {
    size_t form; /* in the table; SIZE_MAX: forced by --layer */
    oxp_choice choice;
    size_t bytes;      /* in the file, nodes and names included: an estimate */
    double loss, norm; /* alone, predicted (measured where the row says so); |delta| */
    size_t column;     /* of oxp_plan.changes */
} oxp_plan_option;

/* Where the losses of a row come from. MEASURED: each option alone, as no gradient comes through
 * row->stops. UNREACHED: no sample's outputs depend on the weight; 8 bits and more. */
typedef enum oxp_plan_source {
    OXP_PLAN_GRADIENTS,
    OXP_PLAN_MEASURED,
    OXP_PLAN_UNREACHED
} oxp_plan_source;

typedef struct oxp_plan_row { /* by site */
    oxp_plan_option *options;
    size_t count, chosen;
    oxp_plan_source source;
    const oxp_graph_node *stops;
} oxp_plan_row;

typedef struct oxp_plan {
    const char *kind; /* "size", "ratio", "bpw"; NULL: read from a file */
    const char *path; /* of that file */
    double wanted;    /* a ratio, bits per weight; bytes */
    size_t asked;     /* bytes of the written file */
    oxp_plan_row *rows;
    size_t columns, slots, inputs;
    double *changes;      /* [slot * columns + column] */
    double fixed;         /* bytes of everything that is not chosen */
    size_t bytes, rounds; /* of the file; times that it was made */
    double macs;          /* of one sample's weighted nodes */
    double additive, predicted;
    double lambda, dual_bound, gap;
    oxp_frontier_point *frontier;
    size_t frontier_count;
    bool is_measured;
    double measured; /* on held-out samples */
    oxp_interval interval;
} oxp_plan;

/* Whether the options ask for a plan, made or read. */
bool oxp_plan_is_wanted(const oxp_compress_options *options);
/* Checks the words of the target (OXP_EUSAGE). */
oxp_status oxp_plan_check(oxp_ctx *ctx, const oxp_compress_options *options);
/* The bytes that the target allows; the source is loaded. */
oxp_status oxp_plan_target(oxp_plan *p, const oxp_compression *c);

/* Makes c->plan, or reads it, and sets the choices by it. Ends with the model applied (c->result)
 * where the plan was made. A target that cannot be met gives the smallest plan. */
oxp_status oxp_plan_run(oxp_compression *c);
oxp_status oxp_plan_read(oxp_compression *c);
/* Sets a choice by a plan: its codes' errors, its bias shifts. */
void oxp_plan_set(oxp_compression *c, size_t site, const oxp_choice *choice);
/* Fills rows, changes, losses and bytes. */
oxp_status oxp_plan_weigh(oxp_plan *p, oxp_compression *c);
/* 1/2 mean (sum a)^2 of the chosen options, and what was measured alone. */
double oxp_plan_predicted(const oxp_plan *p, const oxp_compression *c);

/* The loss of what was written on c->reference. */
oxp_status oxp_plan_measure(oxp_compression *c, oxp_model *written);
/* What the metadata say of the plan: a hash of its forms. NULL: no memory. */
const char *oxp_plan_mark(oxp_compression *c);
/* OXP_EBOUND where the file is larger than asked. */
oxp_status oxp_plan_verdict(const oxp_compression *c);

#endif
