/* tape.h - what a run with gradients leaves behind: shared by tape.c, which keeps it, and
 * backward.c, which goes back through it. */
#ifndef OXP_INTERPRETER_TAPE_H
#define OXP_INTERPRETER_TAPE_H

#include "interpreter/backward.h"
#include "interpreter/session_internal.h"

typedef struct oxp_record {
    bool kept;            /* of the last run */
    oxp_tensor *in, *out; /* data only where it is saved */
    size_t capture_count; /* values of this graph that bodies of the node read */
    uint32_t *captures;
    oxp_tensor *captured;
    const oxp_tensor **dout;
    oxp_tensor **din;
} oxp_record;

/* The values that nodes from `first` on read and that were there before: the segment can be run
 * again from them. */
typedef struct oxp_checkpoint {
    size_t first, count;
    uint32_t *ids;
    oxp_tensor *tensors;
} oxp_checkpoint;

typedef struct oxp_tape {
    oxp_reach reach;       /* the same in all sessions of a tree */
    oxp_tensor *gradients; /* by value id; without data: zero so far */
    size_t *first_use;     /* by value id: the node after whose backward nothing is added */
    /* the main graph's: */
    bool ran; /* and was not gone back through yet */
    bool measuring;
    size_t segments; /* 1: everything is kept */
    size_t *starts;  /* the first node of each segment, and the number of nodes */
    oxp_checkpoint *checkpoints;
    size_t taken; /* checkpoints of this run */
    /* bytes, of this run: of the largest output; by node of what backward reads and, when
     * measuring, of all values that are there before it */
    size_t largest, *kept, *live;
    size_t *sizes; /* by value id, of what nodes made */
} oxp_tape;

/* Forgets what a node left. */
void oxp_record_clear(oxp_session *s, oxp_cell *c);
void oxp_checkpoint_clear(oxp_session *s, oxp_checkpoint *c);
/* Forgets a run, its gradients too; those of constants only where asked. */
void oxp_tape_forget(oxp_session *s, bool constants);
/* Runs a segment again, now keeping what backward reads. */
oxp_status oxp_tape_run_segment(oxp_session *s, size_t segment);

#endif
