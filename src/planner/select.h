/* select.h - which nodes the user meant: globs on node names, operator types, forced techniques. */
#ifndef OXP_PLANNER_SELECT_H
#define OXP_PLANNER_SELECT_H

#include "techniques/technique.h"

typedef struct oxp_selection {
    const char *const *nodes, *const *exclude_nodes; /* NULL-terminated lists, or NULL */
    const char *const *op_types, *const *exclude_op_types;
    const char *const *layers; /* "GLOB=TECHNIQUE[:PARAMETERS]"; "float" leaves alone */
} oxp_selection;

/* `*` matches any run of characters, also with '/'; `?` one. */
bool oxp_glob(const char *pattern, const char *text);

/* Sets selected[i], and forced[i] to a technique (or to NULL with is_forced[i] for "float") and
 * params[i] (params may be NULL; without layers all three) to its parameters. A pattern that
 * matches no node, an unknown type or technique: E-SELECT (2), naming it. */
oxp_status oxp_select(const oxp_selection *selection, const oxp_graph *graph, const oxp_site *sites,
                      size_t count, bool *selected, bool *is_forced, const oxp_technique **forced,
                      oxp_params *params);

#endif
