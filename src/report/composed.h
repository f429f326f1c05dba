/* composed.h - what the stages of a pipeline did together, for the report of the main job. */
#ifndef OXP_REPORT_COMPOSED_H
#define OXP_REPORT_COMPOSED_H

#include "planner/compress.h"
#include "report/report.h"

/* "composition": {"pipeline","given","used","rule","best","rule_error","best_error","regret"}. */
void oxp_report_composition(json_t *root, const oxp_compression *c);
/* A weight's "error" and "error_h", the relative norms of composition.h; false without a pipeline:
 * then there is one stage. */
bool oxp_report_composed_errors(json_t *weight, const oxp_compression *c, const oxp_site *s);
/* The parameters of a choice's technique, by name. */
void oxp_report_params(json_t *object, const oxp_choice *choice);
/* A line or two of text for pipelines of several stages. */
oxp_status oxp_report_composition_text(oxp_report *r, const oxp_compression *c);

#endif
