/* artefact_rows.h - sums over the rows that layers read: of a chunk of samples into the artefact.
 *
 * Per sample X (rows x columns) the products X^T X are made in float, a panel of columns at a time,
 * and added to the triangle in double, samples in order. */
#ifndef OXP_CALIBRATION_ARTEFACT_ROWS_H
#define OXP_CALIBRATION_ARTEFACT_ROWS_H

#include "calibration/artefact.h"
#include "calibration/moments.h"

typedef struct oxp_sample_rows { /* what a sample showed of a layer: [count, groups * columns] */
    float *x;
    size_t count;
} oxp_sample_rows;

/* Adds samples 0..slots-1: rows[slot * count + i] is of layers[i]. Frees the rows. */
oxp_status oxp_rows_add(oxp_ctx *ctx, oxp_artefact_layer *const *layers, size_t count,
                        oxp_sample_rows *rows, size_t slots);

#endif
