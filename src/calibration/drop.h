/* drop.h - where along the network two models part.
 *
 * The first drop is the first tensor, among those that both models have by name, whose SQNR is at
 * most `threshold_db`. The order is that in which model A makes them, by some megabytes at a time;
 * within these that of model B. */
#ifndef OXP_CALIBRATION_DROP_H
#define OXP_CALIBRATION_DROP_H

#include "calibration/runner.h"

/* How far above the worst output's SQNR a tensor may lie to count as where the damage begins. */
#define OXP_DROP_MARGIN_DB 3.0

/* Runs sample `which` of the source through both. *name is NULL when nothing drops; it is borrowed
 * from graph b. Both graphs take the same inputs. */
oxp_status oxp_first_drop(const char **name, double *db, oxp_ctx *ctx, const oxp_graph *a,
                          const oxp_graph *b, const oxp_source *source, size_t which,
                          double threshold_db);

#endif
