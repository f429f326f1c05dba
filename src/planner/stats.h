/* stats.h - a calibration artefact (.oxc) beside the model and data of a job: whether it is of
 * them, and what it saves.
 *
 * The samples that the artefact used are the job's `fit`, those that it set aside are `held`. Where
 * it set none aside the job measures on samples that the artefact has seen and says `in_sample`. */
#ifndef OXP_PLANNER_STATS_H
#define OXP_PLANNER_STATS_H

#include "calibration/artefact.h"
#include "planner/compress.h"

typedef struct oxp_stats {
    oxp_artefact artefact;
    const char *path;
    oxp_file_id id;
    bool gave_ranges; /* compress took histograms from it */
} oxp_stats;

/* What was run: nodes, names and constants of a graph and its bodies, so that statistics of a model
 * that was prepared in another way are known by it. */
oxp_status oxp_prepared_hash(uint64_t *out, oxp_ctx *ctx, oxp_model *model);

/* What stands in an artefact's identity as options: all that decides what it holds. */
typedef struct oxp_stats_options {
    const char *cpu, *nonfinite, *estimator, *output_kind, *moments; /* NULL: the default */
    const char *const *outputs;
    size_t positions;
    double holdout;
} oxp_stats_options;

#define OXP_STATS_POSITIONS 64 /* rows of a layer's input, from a sample, at most */

const char *oxp_stats_options_text(oxp_arena *arena, const oxp_stats_options *o, uint64_t seed);

/* Those of them that decide squared gradients. */
const char *oxp_stats_gradient_options(oxp_arena *arena, const oxp_stats_options *o, uint64_t seed);

/* The hash of the data that an artefact names; of random samples, of what they are drawn by. */
uint64_t oxp_stats_data_hash(const oxp_samples *s, const char *const *dims);

/* Reads c->options->stats into c->stats and holds it against the model and, where there are some,
 * the samples, whose split it decides. OXP_EDATA: E-STATS-MODEL, E-STATS-DATA, E-STATS-OPTION. */
oxp_status oxp_stats_open(oxp_compression *c, const oxp_artefact_parts *parts);
/* The model has been prepared: as it was for the artefact? E-STATS-MODEL. */
oxp_status oxp_stats_check_prepared(const oxp_compression *c);
void oxp_stats_close(oxp_compression *c);

/* The squared gradients of a weight, one in each row: a column of the artefact's fisher.squares.
 * E-STATS-MODEL when it is not there. */
oxp_status oxp_stats_squares(const double **out, const oxp_compression *c, const oxp_site *site);

/* What the artefact holds of the watched values. NULL without one, where it lacks a value, or where
 * the model is not any more what the artefact is of (equalised, pruned). In the arena. */
oxp_status oxp_stats_seen(const oxp_seen_range **out, oxp_compression *c, const oxp_judge *judges,
                          size_t judge_count);

#endif
