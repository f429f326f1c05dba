/* artefact_collect.h - fills an artefact by running the samples, in as many passes as the memory
 * asks for, and in chunks between which everything can be written down.
 *
 * Neither the passes nor the chunks nor the threads show in the result: histograms are integers,
 * what stands by sample has its place, and sums add sample by sample in order. */
#ifndef OXP_CALIBRATION_ARTEFACT_COLLECT_H
#define OXP_CALIBRATION_ARTEFACT_COLLECT_H

#include "calibration/artefact.h"
#include "calibration/fisher.h"
#include "calibration/ranges.h"

typedef struct oxp_collect {
    oxp_artefact *artefact; /* tables and room made; what a checkpoint held is in it */
    const oxp_graph *graph;
    const oxp_source *source;
    const size_t *which;                /* [artefact->used]: samples of the source, in order */
    const oxp_watch *watches;           /* by tensor */
    const oxp_graph_node *const *nodes; /* by layer: one that reads it */
    size_t positions;                   /* rows of a layer input, from a sample, at most */
    const oxp_fisher_target *targets;   /* by target */
    oxp_fisher_options fisher;          /* powers are filled in */
    /* Asked after every chunk; where it says so, all is made consistent and `pause` is called. */
    bool (*wants_pause)(void *user);
    oxp_status (*pause)(void *user);
    void *user;
    int directory; /* where finished moments lie while others grow; -1: in memory */
    size_t passes; /* over the samples, that of the gradients among them; filled */
} oxp_collect;

/* What an earlier run finished is not done again. */
oxp_status oxp_collect_run(oxp_collect *c);

#endif
