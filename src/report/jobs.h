/* jobs.h - the calls of the public interface that look at models: each runs its job and fills a
 * report. */
#ifndef OXP_REPORT_JOBS_H
#define OXP_REPORT_JOBS_H

#include "calibration/source.h"
#include "report/report.h"

/* A model ready to be run: loaded, its graph built. */
typedef struct oxp_loaded {
    oxp_model *model;
    oxp_graph *graph;
    oxp_arena arena;
    bool arena_ready;
} oxp_loaded;

oxp_status oxp_loaded_open(oxp_loaded *out, oxp_ctx *ctx, const char *path,
                           const oxp_input_options *options);
void oxp_loaded_close(oxp_loaded *l);

/* No output may replace a file of the model or of the samples. */
oxp_status oxp_protect_inputs(oxp_report *r, oxp_model *model, const oxp_samples *samples);

/* Names a file in the errors of what follows; returns what to restore. */
const char *oxp_subject(oxp_ctx *ctx, const char *subject);

#endif
