/* pipeline.h - several techniques on one model, one behind the other: "prune:pattern=2:4+w8a8".
 *
 * Every stage but the last edits the model, whose weights the next one finds anew: pruned weights
 * keep their zeros, the factors of a product are weights of their own. The last one is applied as a
 * precision is. Stages are split at `+`, then at the first `:`, parameters at `,` and `=`. */
#ifndef OXP_PLANNER_PIPELINE_H
#define OXP_PLANNER_PIPELINE_H

#include "techniques/technique.h"

#define OXP_PIPELINE_MAX 5

typedef struct oxp_pipeline_stage {
    const oxp_technique *technique;
    oxp_params params;
} oxp_pipeline_stage;

typedef struct oxp_pipeline {
    oxp_pipeline_stage stages[OXP_PIPELINE_MAX];
    size_t count;
} oxp_pipeline;

/* Also says, with the reason, which stage cannot follow which: OXP_EUSAGE, E-PIPELINE. */
oxp_status oxp_pipeline_parse(oxp_pipeline *out, oxp_ctx *ctx, const char *text);

/* Why `b` cannot come somewhere behind `a`, or NULL: codes are the last thing that is stored. */
const char *oxp_pipeline_conflict(const oxp_technique *a, const oxp_technique *b);

/* "prune:sparsity=0.5,…+w8" as parse reads it, the stages in the order given by `order` (NULL: as
 * they stand). NULL: no memory. */
const char *oxp_pipeline_text(oxp_arena *arena, const oxp_pipeline *p, const size_t *order);

#endif
