/* compress_steps.h - the steps of the main job that stand in files of their own; compress.c calls
 * them. */
#ifndef OXP_PLANNER_COMPRESS_STEPS_H
#define OXP_PLANNER_COMPRESS_STEPS_H

#include "planner/compress.h"

/* Whether the precision quantises activations: then the SQNR bound is a promise. */
bool oxp_compression_has_integers(const oxp_compression *c);

/* Sites, first choices, ranges, and what they change in the choices (choose.c). */
oxp_status oxp_compression_choose(oxp_compression *c);

/* Applies the choices and writes the result into an open output, or into memory when `file` is
 * NULL; measures what was written; OXP_EBOUND when the bound is missed (write.c). */
oxp_status oxp_compression_apply(oxp_compression *c);
oxp_status oxp_compression_write(oxp_compression *c, oxp_output_file *file);

#endif
