/* plan.h - what a plan chose and promised: for the reports of compress and plan. */
#ifndef OXP_REPORT_PLAN_H
#define OXP_REPORT_PLAN_H

#include "planner/plan.h"
#include "report/report.h"

/* "target" and "loss", where there is a plan; nothing otherwise. */
void oxp_report_plan(json_t *root, const oxp_compression *c);
oxp_status oxp_report_plan_text(oxp_report *r, const oxp_compression *c);

/* The page, and the table of all candidates (plan_page.c, plan_csv.c); the report's inputs are
 * never replaced. */
oxp_status oxp_plan_page(oxp_compression *c, const oxp_report *r, const char *path);
oxp_status oxp_plan_csv(oxp_compression *c, const oxp_report *r, const char *path);

#endif
