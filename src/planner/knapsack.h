/* knapsack.h - one option of every group at the least total loss within a budget of bytes: the
 * multiple-choice knapsack, with what is known about how good the answer is.
 *
 * Dynamic programming over bytes above each group's least, in units of q = floor(rest / steps),
 * at least 1. Increments rounded up never break the budget and give `loss`; rounded down once more
 * they give `lower`, which no plan undercuts:
 *
 *   lower <= optimum <= loss,  gap = (loss - max(lower, dual_bound)) / loss
 *
 * The dual bound is max over lambda >= 0 of sum_l min_c (loss + lambda bytes) - lambda budget, the
 * value of the hulls of all groups filled by falling slope; its lambda, the smallest that gives it,
 * is the loss that a byte more would save. Prices alone reach points of hulls only (Sinha and
 * Zoltners 1979). */
#ifndef OXP_PLANNER_KNAPSACK_H
#define OXP_PLANNER_KNAPSACK_H

#include "planner/frontier.h"
#include "util/memory.h"

#define OXP_KNAPSACK_STEPS 100000

typedef struct oxp_knapsack_option {
    size_t bytes;
    double loss; /* finite; an option that is not is never taken */
} oxp_knapsack_option;

typedef struct oxp_knapsack_group {
    const oxp_knapsack_option *options; /* at least one of a finite loss */
    size_t count;
} oxp_knapsack_group;

typedef struct oxp_knapsack {
    bool is_feasible;
    size_t least_bytes; /* of any plan; what follows stands only where that fits */
    size_t *chosen;     /* option by group; where nothing fits, those of least_bytes */
    size_t bytes;
    double loss, lower, dual_bound, lambda, gap;
} oxp_knapsack;

/* The result lives in the arena. */
oxp_status oxp_knapsack_solve(oxp_knapsack *out, oxp_arena *arena, const oxp_knapsack_group *groups,
                              size_t count, size_t budget, size_t steps);

/* The best plans of all budgets, of one table: non-dominated points in the arena (index unused). */
oxp_status oxp_knapsack_frontier(oxp_frontier_point **out, size_t *out_count, oxp_arena *arena,
                                 const oxp_knapsack_group *groups, size_t count, size_t steps);

#endif
