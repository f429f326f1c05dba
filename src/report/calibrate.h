/* calibrate.h - what the files of the calibration job share. */
#ifndef OXP_REPORT_CALIBRATE_H
#define OXP_REPORT_CALIBRATE_H

#include "calibration/artefact_collect.h"
#include "calibration/checkpoint.h"
#include "planner/sensitivity.h"
#include "planner/stats.h"

typedef struct oxp_calibration {
    const oxp_calibrate_options *options;
    oxp_sensitivity settled; /* estimator and outputs; its `c` is the prepared model */
    oxp_compression *c;
    oxp_artefact artefact;
    oxp_collect collect;
    size_t *which;
    oxp_watch *watches;
    const oxp_graph_node **nodes;
    oxp_fisher_target *targets;
    const char *output, *part; /* the artefact, and its checkpoint */
    bool resumed, was_complete;
    size_t checkpoints, bytes;
    uint64_t hash;
} oxp_calibration;

/* The artefact's identity, samples and tables for the prepared model, with room for what stands by
 * sample; and what collecting needs. */
oxp_status oxp_calibration_tables(oxp_calibration *k);

#endif
