/* runs.h - the given model run on samples: what later forms of it are compared with, and what
 * its values look like. */
#ifndef OXP_PREPARE_RUNS_H
#define OXP_PREPARE_RUNS_H

#include "graph/graph.h"
#include "util/map.h"

/* Rank and type of values as the runs showed them, by the id of their graph and by name. */
typedef struct oxp_seen {
    oxp_map *graphs;
    size_t graph_count;
} oxp_seen;

/* -1 (UNDEFINED): never computed, or not always the same. */
int oxp_seen_rank(const oxp_seen *seen, size_t graph, const char *value);
oxp_dtype oxp_seen_dtype(const oxp_seen *seen, size_t graph, const char *value);

/* Of the main graph alone, from type and rank by value id (UNDEFINED: not seen). Free it in any
 * case. */
oxp_status oxp_seen_make(oxp_seen *out, oxp_arena *arena, const oxp_graph *graph,
                         const oxp_tensor *shapes);
void oxp_seen_free(oxp_seen *seen);

typedef struct oxp_runs {
    oxp_ctx *ctx;
    oxp_arena arena;
    const oxp_tensor *const *const *samples;
    size_t sample_count, output_count;
    bool ran;              /* the model runs, on every sample */
    bool random;           /* on inputs drawn at random */
    const char *why_not;   /* "" when it ran */
    oxp_tensor *reference; /* [sample_count * output_count] */
    size_t worst;          /* the sample that the last comparison of all found to differ most */
    oxp_seen seen;
} oxp_runs;

/* Runs the model. Without samples, inputs are drawn for the declared shapes, a few sizes for the
 * symbolic dimensions being tried. A missing operator, or no size that works, is not an error:
 * `ran` is false. A given sample that does not run is. */
oxp_status oxp_runs_open(oxp_runs *out, oxp_ctx *ctx, oxp_model *model,
                         const oxp_tensor *const *const *samples, size_t sample_count);
void oxp_runs_close(oxp_runs *runs);

/* Runs another form of the model. *difference: the largest, over samples and float outputs, of
 * max|a - b| / max|a|; infinite when it does not run or shapes differ. *same: whether every output
 * stays within its tolerance. */
oxp_status oxp_runs_compare(double *difference, bool *same, oxp_runs *runs, oxp_model *model);
/* The same on the worst sample alone: whether a part of the changes does the harm of all. */
oxp_status oxp_runs_probe(bool *same, oxp_runs *runs, oxp_model *model);

/* Inputs for the declared shapes (random_inputs.c). *out is NULL when `size` cannot stand for
 * the symbolic dimensions. */
oxp_status oxp_random_inputs(const oxp_tensor *const **out, oxp_arena *arena,
                             const oxp_graph *graph, int64_t size);

#endif
