/* artefact_pass.h - one pass over the samples for some items of an artefact: its hooks, and the
 * steps between chunks. artefact_collect.c alone uses it. */
#ifndef OXP_CALIBRATION_ARTEFACT_PASS_H
#define OXP_CALIBRATION_ARTEFACT_PASS_H

#include "calibration/artefact_collect.h"
#include "calibration/artefact_rows.h"

typedef struct oxp_collecting {
    oxp_collect *collect;
    /* tensors, then layers, then the powers of outputs: what grows in this pass */
    bool *has, any;
    size_t part;        /* of the memory: one in so many goes to what grows */
    size_t from, done;  /* samples that its items have: at its beginning, and so far */
    size_t base, slots; /* of the chunk under way */

    oxp_arena arena;
    size_t **tensor_of, **layer_of; /* by graph and value, by graph and node: index + 1 */
    oxp_histogram **seen;           /* [worker * tensors + tensor] */
    oxp_artefact_layer **layers;    /* of this pass */
    oxp_moments *shapes;            /* of them: how rows are taken */
    size_t layer_count;
    oxp_sample_rows *rows; /* [slot * layer_count + layer] */
    size_t row_capacity;
} oxp_collecting;

oxp_run_hooks oxp_collecting_hooks(oxp_collecting *p);
oxp_status oxp_collecting_open(oxp_collecting *p);
void oxp_collecting_close(oxp_collecting *p); /* also where open failed */

oxp_status oxp_collecting_open_chunk(oxp_collecting *p);
oxp_status oxp_collecting_close_chunk(oxp_collecting *p);

/* What the workers counted goes into the artefact, and its items are as far as the pass is. With
 * `whole` histograms become bytes. */
oxp_status oxp_collecting_settle(oxp_collecting *p, bool whole);

/* H of finished layers becomes float, in a file without a name where there can be one. */
oxp_status oxp_collecting_put_away(oxp_collecting *p);

/* An item begins anew. */
void oxp_collecting_forget(oxp_artefact *a, size_t item);

#endif
