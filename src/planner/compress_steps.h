/* compress_steps.h - the steps of the main job that stand in files of their own; compress.c calls
 * them. */
#ifndef OXP_PLANNER_COMPRESS_STEPS_H
#define OXP_PLANNER_COMPRESS_STEPS_H

#include "planner/compress.h"

/* A model of more multiply-accumulates in one sample is run less often where that costs little. */
#define OXP_LARGE_MACS 1e9

/* Samples held in memory, in the form that checks of a model take them in. */
typedef struct oxp_fed_samples {
    size_t count, tensor_count;
    oxp_tensor *tensors;
    const oxp_tensor *const **samples; /* [count], one tensor per input of the source */
} oxp_fed_samples;

/* Free it in any case. */
oxp_status oxp_fed_samples_read(oxp_fed_samples *out, oxp_compression *c, const size_t *which,
                                size_t count);
void oxp_fed_samples_free(oxp_fed_samples *f);

/* Whether the precision quantises activations: then the SQNR bound is a promise. */
bool oxp_compression_has_integers(const oxp_compression *c);

/* The precision or the pipeline, as it was asked for (settings.c). */
const char *oxp_compression_plan(const oxp_compression *c);

/* Gives the system what is free: between steps that take much and keep little. */
void oxp_compression_trim(void);

/* Multiplications of a sample by weights, as far as measured. */
double oxp_compression_macs(const oxp_compression *c);
/* At most `most` of the samples for fitting, evenly spread over them; returns how many. */
size_t oxp_compression_spread(const oxp_compression *c, size_t *which, size_t most);

/* Replaces `raised` by its equalised form where that helps (equalize.c). */
oxp_status oxp_compression_equalize(oxp_compression *c);

/* The stages of a pipeline but the last, which the choices take; the order they run in (stages.c).
 */
oxp_status oxp_compression_stages(oxp_compression *c);
/* Fits the choices whose techniques fit; and, once they are final, what all stages did together. */
oxp_status oxp_compression_fit(oxp_compression *c);
oxp_status oxp_compression_compose(oxp_compression *c);

/* Sites, first choices, ranges, and what they change in the choices (choose.c). */
oxp_status oxp_compression_choose(oxp_compression *c);

/* Applies the choices and writes the result into an open output, or into memory when `file` is
 * NULL; measures what was written; OXP_EBOUND when the bound is missed (write.c). */
oxp_status oxp_compression_apply(oxp_compression *c);
oxp_status oxp_compression_write(oxp_compression *c, oxp_output_file *file);
/* What applying made would have as files. */
oxp_status oxp_compression_packed_bytes(size_t *bytes, oxp_compression *c);

/* The file beside the output that takes large tensors, opened where it is asked for or needed; and
 * what was written gets its name (write.c). */
/* Where a large model's codes lie meanwhile: an unnamed file in the output's directory. */
void oxp_compression_open_scratch(oxp_compression *c);
oxp_status oxp_compression_open_data(oxp_compression *c);
oxp_status oxp_compression_publish(oxp_compression *c, oxp_output_file *file);

#endif
