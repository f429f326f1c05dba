/* regions.h - which nodes are computed in integers: whole regions, by what they and their borders
 * cost.
 *
 * Every node is float or integer. A node costs what its form takes; a value costs a QuantizeLinear
 * when a float node makes it and an integer node reads it, a DequantizeLinear the other way round,
 * once however many read it. The cheapest assignment is a minimum cut: source = integers. Add,
 * LeakyRelu and what moves codes are integer only when all their inputs are. Matrix products take
 * the form that they were given: theirs does not depend on their neighbours. */
#ifndef OXP_PLANNER_REGIONS_H
#define OXP_PLANNER_REGIONS_H

#include "deployment/cost_table.h"
#include "techniques/technique.h"

/* What one sample showed of a node; all zero when it did not run. */
typedef struct oxp_node_work {
    double macs;
    double in, out; /* elements of input 0 and output 0 */
} oxp_node_work;

typedef struct oxp_regions {
    const oxp_cost_table *table;
    const oxp_node_work *const *work; /* by graph id and node index */
    const bool *fixed;                /* by site: the user said what it is; or NULL */
} oxp_regions;

/* Of the sites whose choice is w8a8, keeps those that are worth it: integer[i] for each site. */
oxp_status oxp_regions_cut(bool *integer, const oxp_regions *r, const oxp_graph *graph,
                           const oxp_site *sites, size_t count, const oxp_choice *choices);

#endif
