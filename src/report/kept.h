/* kept.h - what the given model had quantised, or in half precision, and was left alone. */
#ifndef OXP_REPORT_KEPT_H
#define OXP_REPORT_KEPT_H

#include "planner/compress.h"
#include "report/report.h"

/* "kept": [{"name","dtype","shape","bytes","node","op"}], and a line of text when there are any. */
oxp_status oxp_report_kept(oxp_report *r, const oxp_compression *c);

#endif
