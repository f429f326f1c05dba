/* observed.h - shapes and work of every node, from one random sample. */
#ifndef OXP_REPORT_OBSERVED_H
#define OXP_REPORT_OBSERVED_H

#include "report/jobs.h"

typedef struct oxp_observed_node {
    bool ran;
    double macs;  /* negative: the operator counts none */
    double bytes; /* read and written */
    int rank;     /* of output 0 */
    int64_t dims[OXP_MAX_RANK];
} oxp_observed_node;

typedef struct oxp_observed {
    oxp_observed_node **nodes; /* by graph id and node; NULL when nothing was run */
    const char *why_not;       /* why nothing was run; "" otherwise */
} oxp_observed;

/* Leading symbolic dimensions are 1, others come from options->dims. A model that does not run that
 * way is no error: *why_not says it. */
oxp_status oxp_observe(oxp_observed *out, oxp_loaded *l, const oxp_input_options *options);

#endif
