/* source.h - the samples of a call: a dataset, or random ones where the user asked for them. */
#ifndef OXP_CALIBRATION_SOURCE_H
#define OXP_CALIBRATION_SOURCE_H

#include "calibration/dataset.h"
#include "calibration/runner.h"

typedef struct oxp_samples {
    oxp_dataset *dataset; /* NULL: random */
    const oxp_graph *graph;
    oxp_source source;
    const char *const *dims, *const *shapes; /* "N=8", "NAME:1x3", for random samples */
    uint64_t seed;
} oxp_samples;

/* Opens `path` (or makes options->random_samples random ones when it is NULL) for the graph's
 * inputs and outputs. */
oxp_status oxp_samples_open(oxp_samples *out, oxp_ctx *ctx, const oxp_graph *graph,
                            const char *path, const char *labels, const oxp_input_options *options);
void oxp_samples_close(oxp_samples *s);

uint64_t oxp_samples_hash(const oxp_samples *s);

/* How many of n samples are set aside for measuring: a quarter, at least 1 of 2, at most 64. */
size_t oxp_samples_aside(size_t n);

/* What tells a sample from others: the hash of its content, or, of a random one, its index. */
uint64_t oxp_samples_key(const oxp_samples *s, size_t index);

/* Marks `aside` of the samples, those of the least hashes: is_held[source.count]. */
oxp_status oxp_samples_mark_aside(const oxp_samples *s, oxp_arena *arena, size_t aside,
                                  bool *is_held);

/* Sets aside samples for measuring, chosen by the hash of their content: a quarter, at least 1 of
 * 2, at most 64. *fit and *held are lists in sample order, from the arena. With one sample both
 * lists hold it and *in_sample is true. */
oxp_status oxp_samples_split(const oxp_samples *s, oxp_arena *arena, size_t **fit,
                             size_t *fit_count, size_t **held, size_t *held_count, bool *in_sample);

#endif
