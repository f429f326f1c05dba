/* checkpoint.h - an unfinished artefact beside its output, OUT.part: written now and then, read to
 * go on from.
 *
 * It is an artefact whose items say how many samples they hold; sums that still grow stand in it in
 * double, so that what goes on from it ends in the bytes of an uninterrupted run. It appears whole
 * or not at all, as every output does. */
#ifndef OXP_CALIBRATION_CHECKPOINT_H
#define OXP_CALIBRATION_CHECKPOINT_H

#include "calibration/artefact.h"

typedef struct oxp_checkpoint {
    oxp_artefact *artefact;
    const char *path;
    double every; /* seconds between two; writing takes a tenth of the time at most. 0: always */
    oxp_output_options output; /* force is set */
    double last, cost;         /* when the last one was written, and how long that took */
    size_t count;              /* that were written */
} oxp_checkpoint;

void oxp_checkpoint_start(oxp_checkpoint *c, oxp_artefact *artefact, const char *path, double every,
                          const oxp_output_options *output);
bool oxp_checkpoint_is_due(void *checkpoint);
oxp_status oxp_checkpoint_write(void *checkpoint);

/* Whether `found` (of the file `path`) is of the same model, data and options as `wanted`, with
 * arithmetic of the same instruction set, and holds the same tables. OXP_EDATA: E-STATS-MODEL,
 * E-STATS-DATA, E-STATS-OPTION, E-STATS-ISA. */
oxp_status oxp_artefact_same_work(const oxp_artefact *wanted, const oxp_artefact *found,
                                  const char *path);

#endif
