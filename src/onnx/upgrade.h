/* upgrade.h - raises a model to a newer opset of ai.onnx.
 *
 * The version number is never raised alone: each operator that changed on the way is known to mean
 * the same, is rewritten, or is refused by name (upgrade.def is the table). */
#ifndef OXP_ONNX_UPGRADE_H
#define OXP_ONNX_UPGRADE_H

#include "onnx/model.h"

#define OXP_UPGRADE_OLDEST 7
#define OXP_UPGRADE_NEWEST 21

/* What running the model has shown about a value that `g` can see. Either may be NULL; what they do
 * not know is looked for in the model. */
typedef struct oxp_upgrade_options {
    int (*rank_of)(void *user, const oxp_graph_proto *g, const char *value);        /* -1 unknown */
    oxp_dtype (*dtype_of)(void *user, const oxp_graph_proto *g, const char *value); /* UNDEFINED */
    void *user;
} oxp_upgrade_options;

/* Converts all nodes, those of subgraphs too, and sets the opset; the IR version rises with it. A
 * model at or above the target is left alone. OXP_EUNSUPPORTED: E-OPSET below opset 7, E-OPSET-NEW
 * for a target above 21, E-UPGRADE naming a node that cannot be kept; then the model is changed in
 * part and of no more use, so where the old one is still wanted, a clone is raised. Nodes of
 * model-local functions are not rewritten: one that would have to be is refused. */
oxp_status oxp_model_upgrade(oxp_model *model, int64_t target, const oxp_upgrade_options *options);

#endif
